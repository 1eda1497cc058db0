// SPDX-License-Identifier: GPL-2.0

//! The books of a queue.

use crate::{
    algo::{
        ring::{
            Segment,
            Slot, //
        },
        shadow::{
            Chunk,
            Mapping,
            Post,
            Record,
            Shadow,
            Store, //
        }, //
    },
    virtio_hvl::{
        buffer::Buffer,
        fault::Fault,
        private::PrivateRing, //
    },
};
use kernel::{
    prelude::*,
    sync::atomic::{
        Atomic,
        Relaxed, //
    }, //
};

/// Rings of the virtio core's that a queue may have at once: when it is resized, the new one is
/// made before the old one is freed.
pub(super) const RINGS: usize = 2;

/// Where the books of a queue are kept.
pub(super) struct Books;

impl Store for Books {
    type Buffer = Buffer;
    type Slots = KVVec<Slot>;
    type Chunks = KVVec<Chunk>;
    type Maps = KVVec<Mapping<Buffer>>;
    type Posts = KVVec<Post>;
    type Records = KVVec<Record>;
    type Segments = KVVec<Segment>;
}

/// What is done under the queue's lock.
pub(super) struct State {
    pub(super) shadow: Option<Shadow<Books>>,
    /// The virtio core's rings, and the one that the flow works on.
    pub(super) rings: [Option<PrivateRing>; RINGS],
    pub(super) used: usize,
    /// What the peer, or a driver, was caught at. Nothing is done for the queue any more.
    pub(super) fault: Option<Fault>,
    /// The peer is given nothing any more, and the driver no more than [`super::Queue::end`] gives it.
    pub(super) over: bool,
    /// The same for now.
    pub(super) held: bool,
}

impl State {
    /// The flow's part, and the ring that it works on; `None`: there is none, or it is over.
    pub(super) fn parts(&mut self) -> Option<(&mut Shadow<Books>, &PrivateRing)> {
        if self.over || self.held {
            return None;
        }
        self.last_parts()
    }

    /// The same, also if it is over.
    pub(super) fn last_parts(&mut self) -> Option<(&mut Shadow<Books>, &PrivateRing)> {
        let ring = self.rings.get(self.used)?.as_ref()?;
        Some((self.shadow.as_mut()?, ring))
    }
}

/// Counters of a queue.
pub(crate) struct Counters {
    /// Notifications sent.
    pub(crate) kicks: Atomic<u64>,
    /// Used buffer notifications seen.
    pub(crate) interrupts: Atomic<u64>,
    /// Chains shown to the peer.
    pub(crate) posted: Atomic<u64>,
    /// Chains that came back.
    pub(crate) used: Atomic<u64>,
    /// Mappings made. What is not in [`Counters::unmaps`] or [`Counters::reclaimed`] is mapped now.
    pub(crate) maps: Atomic<u64>,
    /// Mappings undone by the driver.
    pub(crate) unmaps: Atomic<u64>,
    /// Times that a chain had to wait for room.
    pub(crate) full: Atomic<u64>,
    /// Addresses that the driver gave back although nothing was mapped there.
    pub(crate) strays: Atomic<u64>,
    /// Mappings that a driver left behind when its queue was deleted.
    pub(crate) reclaimed: Atomic<u64>,
}

/// How much of a queue's part of the pool is in use, in bytes of its chunks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Altogether.
    pub(crate) total: u64,
    /// Now.
    pub(crate) used: u64,
    /// At most, ever.
    pub(crate) high_water: u64,
}

impl Counters {
    /// Nothing counted.
    pub(super) fn new() -> Self {
        Self {
            kicks: Atomic::new(0),
            interrupts: Atomic::new(0),
            posted: Atomic::new(0),
            used: Atomic::new(0),
            maps: Atomic::new(0),
            unmaps: Atomic::new(0),
            full: Atomic::new(0),
            strays: Atomic::new(0),
            reclaimed: Atomic::new(0),
        }
    }

    /// Number that changes whenever the driver and the device have to do with the queue.
    pub(super) fn steps(&self) -> u64 {
        let counters = [
            &self.maps,
            &self.unmaps,
            &self.kicks,
            &self.interrupts,
            &self.used,
        ];
        counters.iter().fold(0, |sum: u64, counter| {
            sum.wrapping_add(counter.load(Relaxed))
        })
    }
}
