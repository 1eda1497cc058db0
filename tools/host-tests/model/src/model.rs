// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All that can happen next.

use crate::devices::Kind;
use crate::driver::Driver;
use crate::fair::Known;
use crate::ghost::{Ghost, Wrong};
use crate::mem::{run, Done, Grain, Memory};
use crate::mutation::Mutation;
use crate::peer::{Machine, Peer, Why};
use crate::state::{Bells, Bounds, State};
use crate::DEVICES;
use stateright::{Model, Property};

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of the steps")]
pub enum Action {
    Boot,
    Pass(Why),
    PeerGoesOn,
    PeerCrashes,
    Load,
    Unload,
    Recover,
    LinuxCrashes,
    Life,
    Device(usize),
    Interrupt,
    Rebind(usize),
    Resize(usize),
    RingToPeerIsLost,
    RingToDriverIsLost,
    RingToPeerComesTwice,
    RingToDriverComesTwice,
    Tick,
}

/// A check: what is bounded, and how, and which rule is not kept.
#[derive(Clone, Debug)]
pub struct World {
    /// How often something may happen.
    pub bounds: Bounds,
    /// How finely what the peer does is cut.
    pub grain: Grain,
    /// The rule that is not kept.
    pub mutation: Mutation,
    /// Where it begins.
    pub start: Start,
    /// The peer's heartbeat period, in milliseconds; 0: it has none.
    pub period_ms: u32,
    /// States that need not be followed once more.
    pub known: Known,
}

/// Where a check begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// Neither side is there, and the memory is clear.
    Nothing,
    /// The driver begins its link test. The end of the check is that of the attachment.
    Test,
    /// Both sides are up, and all devices at work.
    Up,
}

/// Names of the properties.
pub mod property {
    /// No side uses memory or an answer of another incarnation.
    pub const OWN: &str = "1: nothing of another incarnation is used";
    /// From each state a schedule without further faults leads to where everything works.
    pub const RECOVERS: &str = "2: both come back";
    /// From each state all waits end, whatever the peer does not do.
    pub const ENDS: &str = "3: nobody waits for ever";
    /// A reset that was acknowledged is final.
    pub const FINAL: &str = "4: a reset is final";
}

impl World {
    fn begin(&self) -> State {
        State {
            memory: Memory::default(),
            peer: Peer::Off,
            driver: None,
            bells: Bells::default(),
            clock: 0,
            beat_due: false,
            look_due: false,
            left: self.bounds,
            ghost: Ghost::default(),
        }
    }

    /// A piece of what the peer does; `done`: what of it was done before.
    fn piece<R>(
        &self,
        state: &mut State,
        boots: bool,
        done: Done,
        code: impl FnOnce() -> R,
    ) -> (Option<R>, Done) {
        let memory = core::mem::take(&mut state.memory);
        let ghost = core::mem::take(&mut state.ghost);
        let all = (memory, ghost, self.mutation);
        let (result, done, running) = run(all, self.grain, boots, done, code);
        (state.memory, state.ghost) = (running.memory, running.ghost);
        state.bells.to_driver |= running.rung;
        (result, done)
    }

    fn boot(&self, state: &mut State, done: Done) {
        if done == Done::default() {
            state.ghost.boot();
        }
        let (machine, done) = self.piece(state, true, done, || Machine::boot(self.period_ms));
        state.peer = match machine {
            Some(machine) => Peer::Runs(Box::new(machine), None),
            None => Peer::Boots(done),
        };
    }

    fn pass(&self, state: &mut State, machine: Box<Machine>, why: Why, done: Done) {
        let mut after = machine.clone();
        let mutation = self.mutation;
        let (end, done) = self.piece(state, false, done, || {
            after.pass(why, mutation);
        });
        state.peer = match end {
            // It touches the region no more.
            Some(()) if why == Why::Stop => Peer::Off,
            Some(()) => Peer::Runs(after, None),
            None => Peer::Runs(machine, Some((why, done))),
        };
    }

    /// Takes one of so many; `false`: there is none left.
    fn spend(state: &mut State, which: impl FnOnce(&mut Bounds) -> &mut u8) -> bool {
        if state.left.faults == 0 {
            return false;
        }
        let left = which(&mut state.left);
        if *left == 0 {
            return false;
        }
        *left -= 1;
        state.left.faults -= 1;
        true
    }

    /// As [`Model::next_state`], without making states alike.
    pub fn step(&self, state: &mut State, action: Action) -> bool {
        self.apply(state, action)
    }

    /// What `action` makes of `state`; `false`: it cannot be, or it changes nothing.
    pub(crate) fn apply(&self, state: &mut State, action: Action) -> bool {
        match action {
            Action::Boot if matches!(state.peer, Peer::Off) => self.boot(state, Done::default()),
            Action::PeerGoesOn => match core::mem::replace(&mut state.peer, Peer::Off) {
                Peer::Boots(done) => self.boot(state, done),
                Peer::Runs(machine, Some((why, done))) => self.pass(state, machine, why, done),
                other => {
                    state.peer = other;
                    return false;
                }
            },
            Action::Pass(why) => {
                let due = match why {
                    Why::Look => true,
                    Why::Bell => state.bells.to_peer,
                    Why::Tick => state.beat_due,
                    Why::Stop => Self::spend(state, |left| &mut left.stops),
                };
                if !due {
                    return false;
                }
                match core::mem::replace(&mut state.peer, Peer::Off) {
                    Peer::Runs(machine, None) => {
                        match why {
                            Why::Bell => state.bells.to_peer = false,
                            Why::Tick => state.beat_due = false,
                            Why::Look | Why::Stop => {}
                        }
                        self.pass(state, machine, why, Done::default());
                    }
                    other => {
                        state.peer = other;
                        return false;
                    }
                }
            }
            Action::PeerCrashes => {
                if matches!(state.peer, Peer::Off)
                    || !Self::spend(state, |left| &mut left.peer_crashes)
                {
                    return false;
                }
                state.peer = Peer::Off;
                state.ghost.peer_gone();
            }
            Action::Load if state.driver.is_none() => {
                let mut driver = Driver::new();
                driver.found = 0;
                state.driver = Some(driver);
            }
            Action::Unload => {
                let loaded = state.driver.as_ref().is_some_and(|driver| !driver.leaves);
                if !loaded || !Self::spend(state, |left| &mut left.unloads) {
                    return false;
                }
                if let Some(driver) = &mut state.driver {
                    driver.leaves = true;
                }
            }
            Action::Recover => {
                if !state.driver.as_ref().is_some_and(Driver::may_be_asked)
                    || !Self::spend(state, |left| &mut left.recoveries)
                {
                    return false;
                }
                self.begin_afresh(state);
            }
            Action::LinuxCrashes => {
                if state.driver.is_none() || !Self::spend(state, |left| &mut left.driver_crashes) {
                    return false;
                }
                state.driver = None;
                state.ghost.attach();
            }
            Action::Life => return self.step_life(state),
            Action::Device(index) => return self.step_device(state, index),
            Action::Interrupt => {
                if !(state.bells.to_driver || state.look_due) || state.driver.is_none() {
                    return false;
                }
                state.bells.to_driver = false;
                state.look_due = false;
                self.interrupt(state);
            }
            Action::Rebind(index) | Action::Resize(index) => {
                let at_work = |driver: &Driver| driver.devices[index].is_at_work();
                if !state.driver.as_ref().is_some_and(at_work) {
                    return false;
                }
                let (spent, kind) = match action {
                    Action::Rebind(_) => {
                        let spent = Self::spend(state, |left| &mut left.rebinds);
                        (spent, Kind::Rebind)
                    }
                    _ => {
                        let spent = Self::spend(state, |left| &mut left.resizes);
                        (spent, Kind::Resize)
                    }
                };
                if !spent {
                    return false;
                }
                self.again(state, index, kind);
            }
            Action::RingToPeerIsLost => {
                if !state.bells.to_peer || !Self::spend(state, |left| &mut left.lost) {
                    return false;
                }
                state.bells.to_peer = false;
            }
            Action::RingToDriverIsLost => {
                if !state.bells.to_driver || !Self::spend(state, |left| &mut left.lost) {
                    return false;
                }
                state.bells.to_driver = false;
            }
            Action::RingToPeerComesTwice => {
                let running = matches!(state.peer, Peer::Runs(_, None));
                if state.bells.to_peer || !running || !Self::spend(state, |left| &mut left.twice) {
                    return false;
                }
                state.bells.to_peer = true;
            }
            Action::RingToDriverComesTwice => {
                if state.bells.to_driver || !Self::spend(state, |left| &mut left.twice) {
                    return false;
                }
                state.bells.to_driver = true;
            }
            Action::Tick => {
                if state.left.ticks == 0 {
                    return false;
                }
                state.left.ticks -= 1;
                self.tick(state);
            }
            _ => return false,
        }
        true
    }

    pub(crate) fn tick(&self, state: &mut State) {
        state.clock += 1;
        state.beat_due = true;
        state.look_due = true;
    }

    fn actions_of(state: &State, actions: &mut Vec<Action>) {
        let pausing = matches!(state.peer, Peer::Boots(_) | Peer::Runs(_, Some(_)));
        if pausing {
            actions.push(Action::PeerGoesOn);
        } else if matches!(state.peer, Peer::Off) {
            actions.push(Action::Boot);
        } else {
            for why in [Why::Look, Why::Bell, Why::Tick, Why::Stop] {
                actions.push(Action::Pass(why));
            }
        }
        actions.extend([Action::Life, Action::Interrupt, Action::Load]);
        for index in 0..DEVICES {
            actions.extend([
                Action::Device(index),
                Action::Rebind(index),
                Action::Resize(index),
            ]);
        }
        actions.extend([
            Action::PeerCrashes,
            Action::LinuxCrashes,
            Action::Unload,
            Action::Recover,
            Action::RingToPeerIsLost,
            Action::RingToDriverIsLost,
            Action::RingToPeerComesTwice,
            Action::RingToDriverComesTwice,
            Action::Tick,
        ]);
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = self.begin();
        match self.start {
            Start::Nothing => {}
            Start::Test => self.begin_test(&mut state),
            Start::Up => {
                let is_up = self.bring_up(&mut state, &Known::default());
                assert!(is_up, "it does not come up: {state}");
                state.clock = 0;
            }
        }
        state.left = self.bounds;
        state.settle();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // What comes after a wrong step is of no interest.
        if state.ghost.wrong.is_none() {
            Self::actions_of(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        if !self.apply(&mut state, action) {
            return None;
        }
        state.settle();
        Some(state)
    }

    fn within_boundary(&self, state: &State) -> bool {
        let is_up = |driver: &Driver| driver.up != 0;
        self.start != Start::Test || !state.driver.as_ref().is_some_and(is_up)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(property::OWN, |_, state: &State| {
                matches!(state.ghost.wrong, None | Some(Wrong::RingAfterReset))
            }),
            Property::always(property::FINAL, |_, state: &State| {
                state.ghost.wrong != Some(Wrong::RingAfterReset)
            }),
            Property::always(property::ENDS, |world: &Self, state| world.ends(state)),
            Property::always(property::RECOVERS, |world: &Self, state| {
                world.recovers(state)
            }),
        ]
    }
}
