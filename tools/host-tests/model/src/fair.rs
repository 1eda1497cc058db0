// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What follows from a state if nothing goes wrong any more, and what if the peer does nothing any more. Both are one
//! schedule each, so that they can be run from every state.

use crate::driver::Driver;
use crate::model::{Action, World};
use crate::peer::{Peer, Why};
use crate::state::{waits, Bells, Bounds, State};
use crate::{DEVICES, RETRY};
use std::collections::HashSet;
use std::sync::{Arc, Mutex};

/// Most steps between two ticks.
const STEPS: usize = 1000;
/// Ticks after which everything works: as long as a peer is left alone that was tried in vain, and some more.
pub const UP_TICKS: u8 = RETRY + 20;
/// Ticks after which nobody waits: some deadlines, one after the other.
pub const END_TICKS: u8 = 16;

/// States from which everything comes up, by their hashes.
#[derive(Clone, Default)]
pub struct Known(Arc<Mutex<HashSet<u64>>>);

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} states", self.0.lock().unwrap().len())
    }
}

impl Known {
    fn has(&self, print: u64) -> bool {
        self.0.lock().unwrap().contains(&print)
    }

    fn add(&self, prints: &[u64]) {
        self.0.lock().unwrap().extend(prints);
    }
}

impl World {
    /// One of the driver's threads goes on, and so on. `false`: none can.
    fn run_driver(&self, state: &mut State) -> bool {
        let mut any = false;
        for _ in 0..STEPS {
            let mut moved = self.apply(state, Action::Interrupt) | self.apply(state, Action::Life);
            for index in 0..DEVICES {
                moved |= self.apply(state, Action::Device(index));
            }
            if !moved {
                return any;
            }
            any = true;
        }
        panic!("the driver has no end: {state}");
    }

    fn finish_piece(&self, state: &mut State) {
        while self.apply(state, Action::PeerGoesOn) {}
    }

    /// All that can be done before time has to pass. `passes`: is told of each state on the way, and says whether it is
    /// known what comes of it; then the result is `true`.
    fn run_all(&self, state: &mut State, mut passes: impl FnMut(&mut State) -> bool) -> bool {
        for _ in 0..STEPS {
            self.finish_piece(state);
            if passes(state) {
                return true;
            }
            let mut moved = false;
            if matches!(state.peer, Peer::Off) {
                moved |= self.apply(state, Action::Boot);
                self.finish_piece(state);
            }
            for why in [Why::Tick, Why::Bell] {
                moved |= self.apply(state, Action::Pass(why));
                self.finish_piece(state);
            }
            moved |= self.apply(state, Action::Load);
            moved |= self.run_driver(state);
            if !moved {
                let before = state.memory.clone();
                self.apply(state, Action::Pass(Why::Look));
                self.finish_piece(state);
                if state.memory == before {
                    return false;
                }
            }
        }
        panic!("there is no end: {state}");
    }

    /// Has the driver attach, up to its link test.
    pub(crate) fn begin_test(&self, state: &mut State) {
        self.apply(state, Action::Boot);
        self.finish_piece(state);
        self.apply(state, Action::Load);
        state.bells = Bells::default();
        while !state.driver.as_ref().is_some_and(Driver::tests) {
            assert!(self.apply(state, Action::Life));
        }
    }

    /// Brings everything up, if that is what comes; `false`: it does not in time. `known`: states from which it is
    /// known to; those that are passed are added.
    pub(crate) fn bring_up(&self, state: &mut State, known: &Known) -> bool {
        // What has failed before is only helped by another attachment; it is said in driver.rst.
        let failed = Self::failed(state);
        let up_of = |state: &State| state.driver.as_ref().map(|driver| driver.up);
        let before = up_of(state);
        // What may happen beside has no influence.
        state.left = Bounds::default();
        let (mut passed, excuses) = (Vec::new(), failed != [false; DEVICES]);
        for _ in 0..UP_TICKS {
            let mut is_over = self.run_all(state, |state| {
                if excuses {
                    return false;
                }
                state.settle();
                let print = state.print();
                passed.push(print);
                known.has(print)
            });
            if state.ghost.wrong.is_some() {
                return false;
            }
            let same = before.is_some() && up_of(state) == before;
            let without = if same { failed } else { [false; DEVICES] };
            let is_up = |driver: &Driver| driver.is_up(&without);
            let serves =
                matches!(&state.peer, Peer::Runs(machine, None) if machine.serves(&without));
            is_over |= serves && state.driver.as_ref().is_some_and(is_up);
            if is_over {
                known.add(&passed);
                return true;
            }
            self.tick(state);
        }
        false
    }

    /// Whether everything works soon, if nothing goes wrong any more.
    pub(crate) fn recovers(&self, state: &State) -> bool {
        // Then it is another property that is broken.
        if state.ghost.wrong.is_some() {
            return true;
        }
        let mut state = state.clone();
        self.bring_up(&mut state, &self.known) || state.ghost.wrong.is_some()
    }

    /// Whether every wait of the driver's ends if the peer does nothing any more, and the driver can be unloaded.
    pub(crate) fn ends(&self, state: &State) -> bool {
        let mut state = state.clone();
        let mut until = |is_over: fn(&State) -> bool| {
            for _ in 0..END_TICKS {
                self.run_driver(&mut state);
                if is_over(&state) {
                    return true;
                }
                self.tick(&mut state);
            }
            false
        };
        if !until(|state| !waits(state)) {
            return false;
        }
        if let Some(driver) = &mut state.driver {
            driver.leaves = true;
        }
        for _ in 0..END_TICKS {
            self.run_driver(&mut state);
            if state.driver.is_none() {
                return true;
            }
            self.tick(&mut state);
        }
        false
    }
}
