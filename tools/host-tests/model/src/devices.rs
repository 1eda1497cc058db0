// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's devices: what a keeper of `rust/virtio_hvl/link/keeper.rs` has one do, as transactions.

use crate::algo::sequence::Sequence;
use crate::ghost::Wrong;
use crate::mem::window_of;
use crate::model::World;
use crate::mutation::Mutation;
use crate::proto::layout::{link, window};
use crate::proto::virtio::{feature, reg, status};
use crate::proto::{Entry, PeerState, Status};
use crate::ring::{Place, NOTIFY, PLACES};
use crate::state::State;
use crate::{DEADLINE, DEVICES};

const EARLY: u32 = status::ACKNOWLEDGE | status::DRIVER;
const READY: u32 = EARLY | status::FEATURES_OK;
const FEATURES: u64 = feature::MANDATORY | (1 << feature::RING_RESET);

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A reset, and that there is a driver.
    Start,
    /// The features, and a queue; the latter alone where the device is at work.
    Queue(bool),
    /// The driver is ready.
    Ready,
    /// QueueReset: the queue is set up anew.
    Resize,
    /// A reset, since the driver goes.
    End,
    /// The same, and another one comes.
    Rebind,
}

/// How far a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    /// There is none, or no driver uses it or its memory any more.
    Gone,
    /// Its turn has not come.
    Queued,
    /// A transaction is to begin, for which the link has to be up.
    Begins(Kind),
    /// It was, and the transaction is posted next.
    Posts(Kind),
    /// It waits for the answer, until then.
    Waits(Kind, u8),
    /// DoneSeq says that it is there; how long it waits for the link's thread where that is wrong.
    Answered(Kind, u8),
    /// It is at work.
    Works,
    /// It has failed, and waits for its end.
    Failed,
}

impl At {
    /// Whether it waits for the peer, or is about to.
    pub(crate) fn waits(self) -> bool {
        !matches!(self, Self::Gone | Self::Works | Self::Failed)
    }
}

/// One device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Dev {
    pub(crate) at: At,
    pub(crate) sequence: Sequence,
    /// The place of its queue, if it has one.
    place: Option<usize>,
    /// A buffer was offered there, and came back.
    posted: bool,
    back: bool,
    failed: bool,
    /// It is to go as soon as it is at work.
    leaves: bool,
}

impl Dev {
    pub(crate) const NEW: Self = Self {
        at: At::Gone,
        sequence: Sequence::new(0),
        place: None,
        posted: false,
        back: false,
        failed: false,
        leaves: false,
    };

    /// One of a peer that was attached; `Window::new`.
    pub(crate) const fn queued(done: u32) -> Self {
        Self {
            at: At::Queued,
            sequence: Sequence::new(done),
            ..Self::NEW
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.at == At::Gone
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// A buffer went round.
    pub(crate) fn works(&self) -> bool {
        self.at == At::Works && self.back
    }

    /// Whether something may be done with it beside.
    pub(crate) fn is_at_work(&self) -> bool {
        self.at == At::Works && !self.leaves && !self.failed
    }

    /// `Keeper::dismiss`
    pub(crate) fn dismiss(&mut self) {
        self.leaves = self.at != At::Gone;
        match self.at {
            At::Queued => self.at = At::Gone,
            At::Works | At::Failed => self.at = At::Begins(Kind::End),
            _ => {}
        }
    }

    /// The link is down: `Crew::break_all` and `Crew::dismiss`
    pub(crate) fn lose(&mut self) {
        self.dismiss();
        if self.at == At::Begins(Kind::End) {
            self.at = At::Gone;
        }
    }

    /// `HvlDevice::fail`, and what becomes of a device whose driver finds that.
    fn fail(&mut self, kind: Kind) {
        self.failed = true;
        self.end(kind);
    }

    /// A transaction has come to nothing.
    fn end(&mut self, kind: Kind) {
        self.at = match kind {
            Kind::End => At::Gone,
            _ if self.leaves => At::Begins(Kind::End),
            _ => At::Failed,
        };
    }
}

/// The writes of a transaction; `place`: of the queue that it is about.
fn entries(kind: Kind, place: usize, device: usize) -> Vec<Entry> {
    let status = |value| Entry::register(reg::STATUS, value);
    match kind {
        Kind::Start => vec![
            status(0),
            status(status::ACKNOWLEDGE),
            status(EARLY),
            Entry::register(reg::DEVICE_FEATURES_SEL, 1),
        ],
        Kind::Queue(first) => {
            let mut all = Vec::new();
            if first {
                for (half, word) in [(1, FEATURES >> 32), (0, FEATURES & 0xffff_ffff)] {
                    all.push(Entry::register(reg::DRIVER_FEATURES_SEL, half));
                    all.push(Entry::register(reg::DRIVER_FEATURES, word as u32));
                }
                all.push(status(READY));
            }
            all.extend(Place::of(device, place).entries());
            all
        }
        Kind::Ready => vec![status(READY | status::DRIVER_OK)],
        Kind::Resize => vec![
            Entry::register(reg::QUEUE_SEL, 0),
            Entry::register(reg::QUEUE_RESET, 1),
        ],
        Kind::End | Kind::Rebind => vec![status(0)],
    }
}

impl World {
    /// Device `index` takes a step; `false`: there is none to take.
    pub(crate) fn step_device(&self, state: &mut State, index: usize) -> bool {
        let takes_any = self.takes_any(state, index);
        let Some(driver) = &mut state.driver else {
            return false;
        };
        let (up, clock) = (driver.up, state.clock);
        // One after the other: `Crew::tend`
        let starts = |device: &Dev| !device.leaves && device.at.waits() && device.at != At::Queued;
        let busy = driver.devices.iter().any(starts);
        let queued = |device: &Dev| device.at == At::Queued;
        let next = driver.devices.iter().position(queued).filter(|_| !busy);
        let memory = &mut state.memory;
        let base = window_of(index);
        let device = &mut driver.devices[index];
        let done = memory.get(base + window::DONE_SEQ);
        let answered = device.sequence.is_answered(done);
        match device.at {
            At::Queued if next == Some(index) => device.at = At::Begins(Kind::Start),
            At::Begins(kind) => {
                if up == 0 {
                    device.end(kind);
                } else if device.failed && kind != Kind::End {
                    device.fail(kind);
                } else if device.sequence.begin(done).is_none() {
                    device.fail(kind);
                    self.unanswered(state, index);
                } else {
                    device.at = At::Posts(kind);
                }
            }
            At::Posts(kind) => self.post(state, index, kind),
            At::Waits(kind, _) if answered || takes_any => {
                device.at = At::Answered(kind, clock + DEADLINE);
            }
            At::Waits(kind, _) if up == 0 => {
                device.sequence.end(false);
                device.end(kind);
            }
            At::Waits(kind, until)
                if clock >= until && self.mutation != Mutation::AnswerWithoutEnd =>
            {
                device.sequence.end(false);
                device.fail(kind);
                self.unanswered(state, index);
            }
            At::Answered(kind, until) => return self.take(state, index, kind, until),
            At::Works if !device.posted => {
                let Some(place) = device.place else {
                    return false;
                };
                device.posted = true;
                Place::of(index, place).post(memory);
                let count = memory.get(base + NOTIFY).wrapping_add(1);
                memory.set(base + NOTIFY, count);
                state.bells.to_peer = true;
            }
            At::Works if !device.back => {
                let Some(place) = device.place else {
                    return false;
                };
                device.back = Place::of(index, place).is_back(memory);
                return device.back;
            }
            _ => return false,
        }
        true
    }

    fn takes_any(&self, state: &State, index: usize) -> bool {
        let device = state.driver.as_ref().map(|driver| driver.devices[index]);
        let done = state.memory.get(window_of(index) + window::DONE_SEQ);
        // An earlier answer stands there, and an interrupt has come.
        self.mutation == Mutation::AnyAnswer
            && !state.bells.to_driver
            && device.is_some_and(|device| device.sequence.number() != done)
    }

    /// A reset was not answered.
    fn unanswered(&self, state: &mut State, index: usize) {
        if self.mutation == Mutation::ResetUnanswered {
            state.ghost.give_back(index);
        }
    }

    /// `Window::post`, and what comes before it.
    fn post(&self, state: &mut State, index: usize, kind: Kind) {
        let base = window_of(index);
        let Some(driver) = &mut state.driver else {
            return;
        };
        let device = &mut driver.devices[index];
        if let Kind::Queue(_) = kind {
            let place = state.ghost.give(index);
            device.place = Some(place);
            (device.posted, device.back) = (false, false);
            state.memory.clear(Place::of(index, place).words());
            let vector = match index {
                0 => (index * PLACES + place) as u32,
                _ => window::NO_VECTOR,
            };
            let memory = &mut state.memory;
            memory.set(base + window::queue_vector(0), vector);
            memory.set(base + window::CONFIG_VECTOR, window::NO_VECTOR);
        }
        let entries = entries(kind, device.place.unwrap_or(0), index);
        let memory = &mut state.memory;
        for (number, entry) in entries.iter().enumerate() {
            let at = base + window::txn_entry(number);
            for (at, word) in (at..).step_by(4).zip(entry.emit()) {
                memory.set(at, word);
            }
        }
        memory.set(base + window::TXN_COUNT, entries.len() as u32);
        // The window's, which is that of the peer that it was made for.
        memory.set(base + window::TXN_EPOCH, memory.get(link::EPOCH_ACK));
        memory.set(base + window::TXN_SEQ, device.sequence.number());
        device.at = At::Waits(kind, state.clock + DEADLINE);
        state.ghost.post(index);
        state.bells.to_peer = true;
    }

    /// `Window::transact`, once there is an answer, and what it is for.
    fn take(&self, state: &mut State, index: usize, kind: Kind, until: u8) -> bool {
        let base = window_of(index);
        let memory = &state.memory;
        let own = memory.get(link::EPOCH_ACK);
        let ready = memory.get(link::PEER_STATE) == PeerState::Ready as u32;
        let lives = ready && memory.get(link::EPOCH) == own;
        let of_ours = lives || self.mutation == Mutation::AnswerOfAnyEpoch;
        let status = memory.get(base + window::DONE_STATUS);
        let is_ready = memory.get(base + reg::QUEUE_READY) == 1;
        let features = memory.get(base + reg::STATUS) & status::FEATURES_OK != 0;
        let Some(driver) = &mut state.driver else {
            return false;
        };
        let is_up = driver.up == own || self.mutation == Mutation::AnswerWhileDown;
        let down = driver.up != own;
        let device = &mut driver.devices[index];
        if !of_ours || !is_up {
            if down {
                device.end(kind);
            } else if state.clock >= until {
                device.fail(kind);
            }
            return down || state.clock >= until;
        }
        device.sequence.end(true);
        state.ghost.take(index);
        let right = match kind {
            Kind::Start | Kind::End | Kind::Rebind => true,
            Kind::Queue(_) => is_ready && features,
            Kind::Ready => features,
            Kind::Resize => !is_ready,
        };
        if status != Status::Ok as u32 || !right {
            state.ghost.is_wrong(Wrong::Blame);
            device.fail(kind);
            return true;
        }
        if matches!(kind, Kind::Start | Kind::Resize | Kind::End | Kind::Rebind) {
            state.ghost.give_back(index);
            device.place = None;
        }
        device.at = match kind {
            Kind::Start => At::Begins(Kind::Queue(true)),
            Kind::Queue(true) => At::Begins(Kind::Ready),
            Kind::Resize => At::Begins(Kind::Queue(false)),
            Kind::Queue(false) | Kind::Ready if device.leaves => At::Begins(Kind::End),
            Kind::Queue(false) | Kind::Ready => At::Works,
            Kind::Rebind => At::Begins(Kind::Start),
            Kind::End => At::Gone,
        };
        true
    }

    /// Which devices have failed.
    pub(crate) fn failed(state: &State) -> [bool; DEVICES] {
        let failed = |index: usize| {
            let driver = state.driver.as_ref();
            driver.is_some_and(|driver| driver.devices[index].has_failed())
        };
        core::array::from_fn(failed)
    }
}
