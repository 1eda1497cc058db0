// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's part of a virtqueue in the pool: one buffer, and where it lies.
//!
//! Each device has two places for its queue, which it uses in turn. In truth there is one; but with two the address
//! alone tells which use of the memory an access is about.

use crate::mem::Memory;
use crate::proto::layout::window;
use crate::proto::virtio::reg;
use crate::proto::Entry;
use crate::{BASE, POOL};

/// Places of a device.
pub(crate) const PLACES: usize = 2;
/// Entries of a queue.
pub(crate) const ENTRIES: u32 = 2;

const SIZE: u32 = 256;
const AVAIL: u32 = 64;
const USED: u32 = 128;
const BUFFER: u32 = 192;
/// A descriptor that the peer may write to.
const WRITE: u32 = 2;

/// What the peer writes.
pub(crate) const ANSWER: u32 = 0x600d;

/// A place for a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(u32);

/// The device that the word at `at` of the pool belongs to, and the number of its place.
pub(crate) fn owner(at: u32) -> (usize, usize) {
    let place = (at - POOL) as usize / SIZE as usize;
    (place / PLACES, place % PLACES)
}

/// Whether the available index of a queue is at `at`.
pub(crate) const fn is_avail_index(at: u32) -> bool {
    (at - POOL) % SIZE == AVAIL + 2
}

impl Place {
    pub(crate) const fn of(device: usize, place: usize) -> Self {
        Self(POOL + (device * PLACES + place) as u32 * SIZE)
    }

    /// All of it.
    pub(crate) fn words(self) -> core::ops::Range<u32> {
        self.0..self.0 + SIZE
    }

    /// What the peer is told of it.
    pub(crate) fn entries(self) -> [Entry; 6] {
        let low = |at: u32| BASE as u32 + self.0 + at;
        [
            Entry::register(reg::QUEUE_SEL, 0),
            Entry::register(reg::QUEUE_SIZE, ENTRIES),
            Entry::register(reg::QUEUE_DESC_LOW, low(0)),
            Entry::register(reg::QUEUE_DRIVER_LOW, low(AVAIL)),
            Entry::register(reg::QUEUE_DEVICE_LOW, low(USED)),
            Entry::register(reg::QUEUE_READY, 1),
        ]
    }

    /// Offers a buffer of a word.
    pub(crate) fn post(self, memory: &mut Memory) {
        memory.set(self.0, BASE as u32 + self.0 + BUFFER);
        memory.set(self.0 + 8, 4);
        memory.set(self.0 + 12, WRITE);
        memory.set16(self.0 + AVAIL + 2, 1);
    }

    /// Whether it came back; with what it has to have.
    pub(crate) fn is_back(self, memory: &Memory) -> bool {
        memory.get16(self.0 + USED + 2) == 1 && memory.get(self.0 + BUFFER) == ANSWER
    }
}

/// Where the queue's notifications are counted.
pub(crate) const NOTIFY: u32 = window::notify_count(0);
