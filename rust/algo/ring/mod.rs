// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's side of a virtqueue in memory that a hostile device shares: split (VIRTIO 1.3,
//! 2.7) and packed (2.8), each with any combination of VIRTIO_F_INDIRECT_DESC, VIRTIO_F_IN_ORDER,
//! VIRTIO_F_EVENT_IDX and VIRTIO_F_NOTIFICATION_DATA.
//!
//! ```text
//!   post ... post  ->  publish  ->  Some(word): notify the device
//!   take ... take  ->  None     ->  listen      ->  true: take again; false: wait to be notified
//! ```
//!
//! # What is trusted
//!
//! The caller, the book ([`Slot`]), and nothing else. The device may write any byte of the shared
//! memory at any time; what it can reach by that is a wrong length within the writable bytes of a
//! chain, a chain that is given back too early or never, a [`Lie`], and a notification too many or
//! too few.
//!
//! - What the driver writes is never read back: free numbers, the links of a chain, indices and wrap
//!   counters are private.
//! - What the device writes is read one aligned word at a time, each word once for each time it
//!   is looked at, and checked before anything changes: the used index (at most as far ahead as
//!   the device has chains, never back), the used id (of a chain that the device has, so each comes
//!   back once), the used length (at most the chain's writable bytes, or without meaning as VIRTIO
//!   2.8.4 has it), the device's wish for
//!   notifications (which only decides about a notification).
//! - The first lie is the last: [`Ring::take`] returns it for ever, and reads no more.
//! - Nothing loops for as long as the device says. A call takes constant time, but for
//!   [`Ring::post`], which writes as many descriptors as the chain has segments, and
//!   [`Ring::new`].
//!
//! With VIRTIO_F_IN_ORDER one used element may stand for a batch: the chains before its own were
//! used as well. [`Ring::take`] hands them out one by one; for those that were skipped, the
//! specification has the driver assume that they were used completely, so that their length is
//! all of their writable bytes.
//!
//! # Which barrier pairs with which
//!
//! | here | between | pairs, on the device's side, with the one between |
//! |---|---|---|
//! | write barrier in [`Ring::publish`] | descriptors, available elements; available index, or flags of the first new descriptor | its read of that index or those flags; its read of the rest |
//! | full barrier in [`Ring::publish`] | available index, or flags; the device's wish | its write of the wish; its last look for available chains |
//! | read barrier in [`Ring::take`] and [`Ring::listen`] | used index, or flags of the used descriptor; the rest of the element, and the data | its write of these; its write of the index or flags |
//! | full barrier in [`Ring::listen`] | our wish; our last look for used chains | its write of the used index or flags; its read of our wish |
//!
//! The full barriers are two halves of the same thing: of a side that says "wake me" and then looks,
//! and one that writes and then asks "shall I wake?", at least one sees the other's write.
//!
//! A packed ring's descriptors are written by both sides, so its memory has to be coherent, or
//! mapped without caching on both sides; every other 64-byte line has one writer ([`Layout`]).

mod book;
mod common;
mod layout;
mod lie;
mod packed;
mod split;
mod table;

use core::ops::DerefMut;

use self::common::Common;
use super::super::proto::virtio::feature;

pub use self::book::Slot;
pub use self::layout::{Layout, SIZE_MAX};
pub use self::lie::Lie;
pub use self::packed::Packed;
pub use self::split::Split;

/// The shared memory of one virtqueue, or more of it.
///
/// `at` is in bytes from the start of the virtqueue's area, and a multiple of the width. Values are
/// little-endian in memory; the implementation converts. Each access is a single one that the
/// compiler neither repeats nor leaves out.
pub trait Memory {
    /// Reads 16 bits; 0 where `at` is out of bounds.
    fn read16(&self, at: u32) -> u16;
    /// Reads 32 bits; 0 where `at` is out of bounds.
    fn read32(&self, at: u32) -> u32;
    /// Writes 16 bits; nothing where `at` is out of bounds.
    fn write16(&self, at: u32, value: u16);
    /// Writes 32 bits; nothing where `at` is out of bounds.
    fn write32(&self, at: u32, value: u32);
    /// Writes before it are seen before writes after it.
    fn write_barrier(&self);
    /// Reads before it come before reads and writes after it.
    fn read_barrier(&self);
    /// Everything before it comes before everything after it, writes before reads as well.
    fn full_barrier(&self);
}

/// Features that decide how a virtqueue looks and works (VIRTIO 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// VIRTIO_F_RING_PACKED.
    pub packed: bool,
    /// VIRTIO_F_INDIRECT_DESC.
    pub indirect: bool,
    /// VIRTIO_F_IN_ORDER.
    pub in_order: bool,
    /// VIRTIO_F_EVENT_IDX.
    pub event_idx: bool,
    /// VIRTIO_F_NOTIFICATION_DATA.
    pub notification_data: bool,
}

impl Features {
    /// Picks them from the negotiated feature bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            packed: bits & (1 << feature::RING_PACKED) != 0,
            indirect: bits & (1 << feature::INDIRECT_DESC) != 0,
            in_order: bits & (1 << feature::IN_ORDER) != 0,
            event_idx: bits & (1 << feature::EVENT_IDX) != 0,
            notification_data: bits & (1 << feature::NOTIFICATION_DATA) != 0,
        }
    }
}

/// A piece of a buffer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Where the device sees it.
    pub address: u64,
    /// Bytes.
    pub len: u32,
}

/// A chain that the device has given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// What the chain was posted with.
    pub token: u16,
    /// Bytes that the device says it wrote, at most the writable ones of the chain.
    pub len: u32,
}

/// A chain does not fit: not now, or never ([`Ring::fits`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The driver's side of one virtqueue.
///
/// The memory is passed to every call that needs it: it has to be the same each time.
#[derive(Debug)]
pub enum Ring<B> {
    /// VIRTIO 2.7.
    Split(Split<B>),
    /// VIRTIO 2.8.
    Packed(Packed<B>),
}

impl<B: DerefMut<Target = [Slot]>> Ring<B> {
    /// A virtqueue with nothing posted that listens, and its memory zeroed but for the indirect
    /// tables. The device must not have the virtqueue yet, or not any more.
    ///
    /// `base` is the address, a multiple of 64, at which the device sees the start of the memory.
    /// `book` is private memory whose content does not matter.
    ///
    /// `None`: `book` has fewer slots than the layout has entries, `features.packed` is not the
    /// layout's, or the memory would end beyond the address space.
    pub fn new<M: Memory + ?Sized>(
        memory: &M,
        layout: Layout,
        base: u64,
        features: Features,
        book: B,
    ) -> Option<Self> {
        base.checked_add(layout.bytes().into())?;
        if features.packed != layout.packed() {
            return None;
        }
        let book = book::Book::new(book, &layout, features.in_order)?;
        let common = Common::new(layout, base, features, book);
        for at in (0..layout.tables()).step_by(4) {
            memory.write32(at, 0);
        }
        memory.write_barrier();
        Some(if features.packed {
            Self::Packed(Packed::new(common))
        } else {
            Self::Split(Split::new(common))
        })
    }

    fn common(&self) -> &Common<B> {
        match self {
            Self::Split(ring) => ring.common(),
            Self::Packed(ring) => ring.common(),
        }
    }

    fn common_mut(&mut self) -> &mut Common<B> {
        match self {
            Self::Split(ring) => ring.common_mut(),
            Self::Packed(ring) => ring.common_mut(),
        }
    }

    /// From here on the device has to write `least` bytes of each chain that has so many writable
    /// ones, and else all of them: what is used with fewer is a [`Lie::Short`].
    pub fn require(&mut self, least: u32) {
        self.common_mut().book.require(least);
    }

    /// Entries of the virtqueue.
    pub fn size(&self) -> u16 {
        self.common().layout.size()
    }

    /// Chains that were posted and not taken back, shown to the device or not.
    pub fn outstanding(&self) -> u16 {
        self.common().book.outstanding()
    }

    /// Descriptors of the ring that are free.
    pub fn room(&self) -> u16 {
        self.common().book.room()
    }

    /// What the device has been caught at.
    pub fn lie(&self) -> Option<Lie> {
        self.common().lie
    }

    /// Whether a chain of this many segments can ever be posted. One without any cannot.
    pub fn fits(&self, segments: usize) -> bool {
        self.common().cost(segments).is_some()
    }

    /// Whether a chain of this many segments can be posted now.
    pub fn has_room(&self, segments: usize) -> bool {
        self.common().room_for(segments).is_ok()
    }

    /// Writes a chain; the device does not see it before [`Ring::publish`].
    ///
    /// It goes into an indirect table where the feature is on, it has more than one segment and
    /// no more than a table holds; into the ring else. `token` comes back with it; no two need
    /// differ.
    ///
    /// # Errors
    ///
    /// [`Full`], where [`Ring::has_room`] is false. Nothing has changed.
    pub fn post<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        readable: &[Segment],
        writable: &[Segment],
        token: u16,
    ) -> Result<(), Full> {
        match self {
            Self::Split(ring) => ring.post(memory, readable, writable, token),
            Self::Packed(ring) => ring.post(memory, readable, writable, token),
        }
    }

    /// Shows the device what was posted since the last call.
    ///
    /// `Some`: the device wants to be notified of it, with this word (VIRTIO 2.9): `queue`, its
    /// index, and with VIRTIO_F_NOTIFICATION_DATA in the upper half where the next chain will be.
    /// Nothing new is never notified of.
    pub fn publish<M: Memory + ?Sized>(&mut self, memory: &M, queue: u16) -> Option<u32> {
        match self {
            Self::Split(ring) => ring.publish(memory, queue),
            Self::Packed(ring) => ring.publish(memory, queue),
        }
    }

    /// Takes the next used chain back; `None`: there is none.
    ///
    /// # Errors
    ///
    /// A [`Lie`]: what the device wrote cannot be. The virtqueue is dead, and every later call
    /// returns the same. A chain that has not come back by then never will.
    pub fn take<M: Memory + ?Sized>(&mut self, memory: &M) -> Result<Option<Used>, Lie> {
        match self {
            Self::Split(ring) => ring.take(memory),
            Self::Packed(ring) => ring.take(memory),
        }
    }

    /// Takes a chain back, at or behind number `from`, that the device has or was to get: that number, where
    /// the next call goes on, and the chain's token. The virtqueue is dead: nothing but this is to be called
    /// from the first time on.
    pub fn abandon(&mut self, from: u16) -> Option<(u16, u16)> {
        self.common_mut().book.abandon(from)
    }

    /// Asks to be notified of the next used chain.
    ///
    /// `true`: there is one already, or a lie; the device need not notify of it, so take what there
    /// is and then ask again. `false`: there is none, and the device has to notify of the next.
    pub fn listen<M: Memory + ?Sized>(&mut self, memory: &M) -> bool {
        self.listen_after(memory, 1)
    }

    /// As [`Ring::listen`], with event index for a notification when about so many chains more were
    /// used, or all that the device has; without event index, for the next.
    pub fn listen_after<M: Memory + ?Sized>(&mut self, memory: &M, chains: u16) -> bool {
        match self {
            Self::Split(ring) => ring.listen(memory, chains),
            Self::Packed(ring) => ring.listen(memory, chains),
        }
    }

    /// Does without notifications of used chains until [`Ring::listen`]. Some can come all the
    /// same: those on their way, and a few with event index, which cannot be turned off quite.
    pub fn quieten<M: Memory + ?Sized>(&mut self, memory: &M) {
        match self {
            Self::Split(ring) => ring.quieten(memory),
            Self::Packed(ring) => ring.quieten(memory),
        }
    }
}

/// Bytes that the device may write, `u32::MAX` where there are more (VIRTIO 2.7.5.2 forbids that).
fn total(segments: &[Segment]) -> u32 {
    segments
        .iter()
        .fold(0, |sum: u32, segment| sum.saturating_add(segment.len))
}

/// The word that a notification carries: the virtqueue's index, and what VIRTIO_F_NOTIFICATION_DATA
/// adds to it (VIRTIO 2.9).
fn notification(features: Features, queue: u16, next: u16) -> u32 {
    let data = if features.notification_data { next } else { 0 };
    u32::from(queue) | (u32::from(data) << 16)
}
