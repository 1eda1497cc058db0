// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What nobody in the model knows, and the properties are about: whose memory it is, and whom an answer is for. None
//! of it has an influence on what either side does.

use crate::mem::{in_window, Running};
use crate::mutation::Mutation;
use crate::proto::layout::{link, window};
use crate::proto::{DriverState, Status};
use crate::ring::{owner, PLACES};
use crate::{DEVICES, POOL};

/// What must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wrong {
    /// The peer uses a virtqueue that an earlier driver has given it, or that an earlier peer was given.
    RingOfAnother,
    /// The peer uses a virtqueue after the device's reset, or the queue's, was acknowledged.
    RingAfterReset,
    /// The peer does what a driver wanted of an earlier peer.
    TransactionOfAnother,
    /// The driver takes for an answer to its transaction what is none, or another peer's.
    AnswerOfAnother,
    /// The driver attaches by the answer to a link test that it, or this peer, had no part in.
    TestOfAnother,
    /// The driver takes itself for adopted, while the peer has adopted another.
    AdoptionOfAnother,
    /// The peer rings the vector of a virtqueue that is not its any more.
    VectorOfAnother,
    /// The driver blames a peer for what that has not done.
    Blame,
}

/// Whose memory a place for a virtqueue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    /// Nobody's: it was not used yet.
    #[default]
    Nobody,
    /// It is given to the peer's incarnation of this number.
    Peer(u8),
    /// The driver's: a reset was acknowledged.
    Reset,
    /// The driver's: the peer has adopted it, and so dropped what was before.
    Adopted,
}

/// The knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Ghost {
    places: [[Owner; PLACES]; DEVICES],
    /// The one that each device used last.
    last: [usize; DEVICES],
    /// Boots of the peer that have begun.
    pub(crate) boots: u8,
    /// The one whose header the driver has copied.
    pub(crate) attached_to: u8,
    /// This attachment's DriverEpoch stands in the header.
    announced: bool,
    /// The peer has read it there, and adopted it.
    epoch_read: bool,
    adopted: bool,
    /// The peer has read the transaction that stands in the window, and answered it.
    read: [bool; DEVICES],
    answered: [bool; DEVICES],
    /// The link test that the driver waits for is asked, was read, and was answered.
    asked: bool,
    asked_read: bool,
    tested: bool,
    /// What has gone wrong, the first of it.
    pub(crate) wrong: Option<Wrong>,
}

impl Ghost {
    pub(crate) fn is_wrong(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    /// The peer begins to boot: none of what was answered was answered by this one.
    pub(crate) fn boot(&mut self) {
        self.boots += 1;
        self.peer_gone();
        self.answered = [false; DEVICES];
        self.tested = false;
    }

    /// What the peer has read is forgotten.
    pub(crate) fn peer_gone(&mut self) {
        self.epoch_read = false;
        self.read = [false; DEVICES];
        self.asked_read = false;
    }

    /// The driver is another, or attaches anew.
    pub(crate) fn attach(&mut self) {
        self.announced = false;
        self.epoch_read = false;
        self.adopted = false;
        self.asked = false;
        self.asked_read = false;
        self.tested = false;
        for device in 0..DEVICES {
            self.post(device);
        }
    }

    /// The driver publishes its DriverEpoch.
    pub(crate) fn announce(&mut self) {
        self.announced = true;
    }

    /// The driver publishes a request for a link test.
    pub(crate) fn ask(&mut self) {
        self.asked = true;
        self.asked_read = false;
        self.tested = false;
    }

    /// Whether what it takes for the answer is one.
    pub(crate) fn is_tested(&self) -> bool {
        self.tested
    }

    /// The driver takes itself for adopted: all places are its own again.
    pub(crate) fn adopt(&mut self, is_tested: bool) {
        if !self.adopted {
            self.is_wrong(Wrong::AdoptionOfAnother);
        }
        if !is_tested {
            self.is_wrong(Wrong::TestOfAnother);
        }
        for place in self.places.iter_mut().flatten() {
            if *place != Owner::Nobody {
                *place = Owner::Adopted;
            }
        }
    }

    /// The driver posts a transaction.
    pub(crate) fn post(&mut self, device: usize) {
        self.read[device] = false;
        self.answered[device] = false;
    }

    /// The driver takes its answer.
    pub(crate) fn take(&mut self, device: usize) {
        if !self.answered[device] {
            self.is_wrong(Wrong::AnswerOfAnother);
        }
    }

    /// A place for a queue, which the peer may use from here on.
    pub(crate) fn give(&mut self, device: usize) -> usize {
        self.last[device] = (self.last[device] + 1) % PLACES;
        self.places[device][self.last[device]] = Owner::Peer(self.attached_to);
        self.last[device]
    }

    /// The place of the queue is the driver's again.
    pub(crate) fn give_back(&mut self, device: usize) {
        let place = &mut self.places[device][self.last[device]];
        if matches!(place, Owner::Peer(_)) {
            *place = Owner::Reset;
        }
    }

    /// Whether nobody may use a place.
    pub(crate) fn is_given(&self, device: usize, place: usize) -> bool {
        matches!(self.places[device][place], Owner::Peer(_))
    }

    fn owner(&self, device: usize, place: usize) -> Result<(), Wrong> {
        match self.places[device][place] {
            Owner::Peer(boot) if boot == self.boots => Ok(()),
            Owner::Reset => Err(Wrong::RingAfterReset),
            Owner::Peer(_) | Owner::Adopted | Owner::Nobody => Err(Wrong::RingOfAnother),
        }
    }

    /// The peer rings the vector that belongs to a place.
    pub(crate) fn ring_vector(&mut self, data: u32) {
        let place = data as usize;
        if self.owner(place / PLACES, place % PLACES).is_err() {
            self.is_wrong(Wrong::VectorOfAnother);
        }
    }
}

/// The peer uses the word at `at`.
pub(crate) fn reach(running: &mut Running, at: u32) {
    if at < POOL {
        return;
    }
    let (device, place) = owner(at);
    if let Err(wrong) = running.ghost.owner(device, place) {
        running.ghost.is_wrong(wrong);
    }
}

/// The peer reads `value` at `at`; what it sees.
pub(crate) fn read(running: &mut Running, at: u32, value: u32) -> u32 {
    reach(running, at);
    let (ghost, mutation) = (&mut running.ghost, running.mutation);
    match at {
        link::DRIVER_EPOCH => ghost.epoch_read = ghost.announced,
        link::TEST_REQUEST => ghost.asked_read = ghost.asked,
        link::EPOCH_ACK if mutation == Mutation::EpochNotCompared => {
            return running.memory.get(link::EPOCH);
        }
        _ => {}
    }
    let adopted = running.memory.get(link::DRIVER_EPOCH_SEEN);
    if mutation == Mutation::DriverNotWatched && adopted != 0 {
        match at {
            link::DRIVER_STATE => return DriverState::Attached as u32,
            link::DRIVER_EPOCH => return adopted,
            link::EPOCH_ACK => return running.memory.get(link::EPOCH),
            _ => {}
        }
    }
    match in_window(at) {
        Some((device, window::TXN_COUNT)) => {
            ghost.read[device] = true;
            if mutation == Mutation::DoneBeforeAnswer {
                let (seq, done) = (
                    at - window::TXN_COUNT + window::TXN_SEQ,
                    at - window::TXN_COUNT + window::DONE_SEQ,
                );
                let seq = running.memory.get(seq);
                running.memory.set(done, seq);
            }
        }
        Some((_, window::TXN_EPOCH)) if mutation == Mutation::EpochNotCompared => {
            return running.memory.get(link::EPOCH);
        }
        _ => {}
    }
    value
}

/// The peer writes `value` at `at`.
pub(crate) fn write(running: &mut Running, at: u32, value: u32) {
    reach(running, at);
    let (ghost, mutation) = (&mut running.ghost, running.mutation);
    let mut value = value;
    match at {
        link::DRIVER_EPOCH_SEEN => ghost.adopted = value != 0 && ghost.epoch_read,
        link::TEST_ACK if !running.is_boot() => running.ghost.tested = running.ghost.asked_read,
        link::BOOT_EPOCH if mutation == Mutation::BootForgotten => value = 0,
        _ => {}
    }
    if let Some((device, window::DONE_SEQ)) = in_window(at) {
        let ghost = &mut running.ghost;
        let is_answer = core::mem::take(&mut ghost.read[device]);
        if mutation == Mutation::StaleKept && !is_answer && !running.is_boot() {
            return;
        }
        let ghost = &mut running.ghost;
        let is_mine = ghost.attached_to == ghost.boots;
        ghost.answered[device] = is_answer && is_mine;
        let status = at - window::DONE_SEQ + window::DONE_STATUS;
        if is_answer && !is_mine && running.memory.get(status) == Status::Ok as u32 {
            ghost.is_wrong(Wrong::TransactionOfAnother);
        }
    }
    running.memory.set(at, value);
}
