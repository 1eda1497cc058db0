// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What there is at one moment, and which moments are alike.

use crate::devices::Dev;
use crate::driver::Driver;
use crate::ghost::Ghost;
use crate::mem::{window_of, Memory};
use crate::peer::Peer;
use crate::proto::layout::{link, window};
use crate::ring::{Place, NOTIFY, PLACES};
use crate::DEVICES;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Rings that are on their way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Bells {
    pub(crate) to_peer: bool,
    pub(crate) to_driver: bool,
}

/// How often something may happen. What stands here is what a check is bounded by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The peer crashes, in the middle of a boot or of a pass as well.
    pub peer_crashes: u8,
    /// Linux crashes, or is replaced.
    pub driver_crashes: u8,
    /// A ring is lost, either way.
    pub lost: u8,
    /// A ring comes twice, either way.
    pub twice: u8,
    /// The peer is asked to stop.
    pub stops: u8,
    /// The driver is unloaded.
    pub unloads: u8,
    /// A device's driver is removed and probed again.
    pub rebinds: u8,
    /// A queue is reset and set up again.
    pub resizes: u8,
    /// Somebody wants a new attachment.
    pub recoveries: u8,
    /// Half a second passes. All that is due then may come as late as it likes.
    pub ticks: u8,
    /// All of these together, but for ticks.
    pub faults: u8,
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?}\n{:?} clock {}\n{:?}\n{:?}",
            self.driver, self.bells, self.clock, self.ghost, self.memory
        )
    }
}

/// The two sides, and all between them.
#[derive(Clone, Debug, Hash)]
#[allow(
    clippy::derived_hash_with_manual_eq,
    reason = "it is compared by the hash"
)]
pub struct State {
    pub(crate) memory: Memory,
    pub(crate) peer: Peer,
    pub(crate) driver: Option<Driver>,
    pub(crate) bells: Bells,
    /// Ticks so far.
    pub(crate) clock: u8,
    /// It is time for a heartbeat, and for the driver to look by itself.
    pub(crate) beat_due: bool,
    pub(crate) look_due: bool,
    pub(crate) left: Bounds,
    pub(crate) ghost: Ghost,
}

impl State {
    /// A number that is another one for another state.
    pub(crate) fn print(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

impl PartialEq for State {
    // As the checker itself has it.
    fn eq(&self, other: &Self) -> bool {
        self.print() == other.print()
    }
}

impl State {
    /// Makes states alike that differ in what has no meaning. Counters that are only compared with each other begin with
    /// 0, and words that nobody reads any more are 0.
    ///
    /// `false`, and nothing is done, where the peer is in the middle of something: what it has read is noted.
    pub fn settle(&mut self) -> bool {
        let state = self;
        let machine = match &mut state.peer {
            Peer::Off => None,
            Peer::Runs(machine, None) => Some(machine),
            Peer::Boots(_) | Peer::Runs(_, Some(_)) => return false,
        };
        let memory = &mut state.memory;
        let shift = |memory: &mut Memory, at: u32, base: u32| {
            memory.set(at, memory.get(at).wrapping_sub(base));
        };
        let (tests, rings) = (memory.get(link::TEST_ACK), memory.get(link::RINGS));
        for at in [link::TEST_ACK, link::TEST_REQUEST] {
            shift(memory, at, tests);
        }
        for at in [link::RINGS, link::RINGS_SEEN] {
            shift(memory, at, rings);
        }
        if let Some(driver) = &mut state.driver {
            driver.request = driver.request.wrapping_sub(tests);
            driver.found = driver.found.wrapping_sub(tests);
        }
        let mut machine = machine;
        if let Some(machine) = &mut machine {
            machine.settle(tests, rings);
        }
        for index in 0..DEVICES {
            let at = window_of(index);
            let base = memory.get(at + window::DONE_SEQ);
            shift(memory, at + window::DONE_SEQ, base);
            shift(memory, at + window::TXN_SEQ, base);
            if let Some(machine) = &mut machine {
                machine.count_from(index, base);
            }
            if let Some(driver) = &mut state.driver {
                driver.devices[index].count_from(base);
            }
            memory.set(link::device_event(index), 0);
            for event in [window::CONFIG_EVENT, window::queue_event(0), NOTIFY] {
                memory.set(at + event, 0);
            }
            // Of a transaction that was answered all is written anew before the next one is published.
            if memory.get(at + window::TXN_SEQ) == 0 {
                memory.clear(at + window::TXN_COUNT..at + window::CONFIG_VECTOR);
            }
            let count = memory.get(at + window::TXN_COUNT) as usize;
            memory.clear(at + window::txn_entry(count)..at + window::txn_entry(window::TXN_MAX));
            for place in 0..PLACES {
                if !state.ghost.is_given(index, place) {
                    memory.clear(Place::of(index, place).words());
                }
            }
        }
        true
    }
}

impl Dev {
    fn count_from(&mut self, base: u32) {
        if self.is_gone() {
            // What one was there before is of no interest.
            *self = Self::NEW;
        } else {
            self.sequence.count_from(base);
        }
    }
}

/// Whether a thread of the driver's waits for the peer.
pub(crate) fn waits(state: &State) -> bool {
    state.driver.as_ref().is_some_and(Driver::waits)
}
