// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packed virtqueues (VIRTIO 2.8).

use core::ops::DerefMut;

use super::book::{step, Done, Length};
use super::common::Common;
use super::table::{self, INDIRECT, WRITE};
use super::{notification, total, Full, Lie, Memory, Segment, Slot, Used};

/// Flags of a descriptor that say whose it is (VIRTIO 2.8.1).
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// From the start of a descriptor to its words.
const LEN: u32 = 8;
const ID: u32 = 12;
const FLAGS: u32 = 14;

/// Flags of an event suppression structure (VIRTIO 2.8.14): notify of nothing, of one descriptor.
const DISABLE: u16 = 1;
const DESC_EVENT: u16 = 2;
/// Those flags that are not reserved.
const EVENT_FLAGS: u16 = 3;

/// A place in the ring, and the lap's wrap counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Position {
    at: u16,
    wrap: bool,
}

impl Position {
    const START: Self = Self { at: 0, wrap: true };

    /// `by` descriptors further, at most the size.
    fn step(self, by: u16, size: u16) -> Self {
        let at = step(self.at, by, size);
        Self {
            at,
            // At most one lap, and a whole one ends where it began.
            wrap: self.wrap != (by != 0 && at <= self.at),
        }
    }

    /// As event suppression structures and notifications have it.
    fn word(self) -> u16 {
        self.at | (u16::from(self.wrap) << 15)
    }

    /// How far it is on a round of two laps.
    fn round(self, size: u16) -> u32 {
        u32::from(self.at) + if self.wrap { 0 } else { u32::from(size) }
    }
}

/// A packed virtqueue, the driver's side.
///
/// # Invariants
///
/// `taken` is where the device writes the next used descriptor, if it is honest.
#[derive(Debug)]
pub struct Packed<B> {
    common: Common<B>,
    /// Where the next chain goes.
    next: Position,
    /// Place and flags of the first descriptor that the device cannot see yet. It hides all after
    /// it.
    hidden: Option<(u32, u16)>,
    /// Descriptors that the device cannot see yet.
    added: u16,
    /// Where the next used descriptor will be.
    taken: Position,
}

impl<B: DerefMut<Target = [Slot]>> Packed<B> {
    pub(super) fn new(common: Common<B>) -> Self {
        // INVARIANT: Both sides begin at the start.
        Self {
            common,
            next: Position::START,
            hidden: None,
            added: 0,
            taken: Position::START,
        }
    }

    pub(super) fn common(&self) -> &Common<B> {
        &self.common
    }

    pub(super) fn common_mut(&mut self) -> &mut Common<B> {
        &mut self.common
    }

    pub(super) fn post<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        readable: &[Segment],
        writable: &[Segment],
        token: u16,
    ) -> Result<(), Full> {
        let segments = readable.len().saturating_add(writable.len());
        let cost = self.common.room_for(segments)?;
        let id = self.common.book.first();
        if segments > usize::from(cost) {
            let whole = self.common.indirect(memory, id, readable, writable);
            self.write(memory, whole, INDIRECT, id, true);
        } else {
            let mut head = true;
            for (segment, flags) in table::chain(readable, writable) {
                self.write(memory, segment, flags, id, head);
                head = false;
            }
        }
        self.added = self.added.saturating_add(cost);
        // In order, ids are positions: the chain ends before the next one.
        let last = if self.common.features.in_order {
            step(id, cost.wrapping_sub(1), self.common.layout.size())
        } else {
            id
        };
        self.common.book.enter(last, cost, total(writable), token);
        Ok(())
    }

    /// Writes the next descriptor. The device goes no further than the first `head` whose flags
    /// it cannot see, so only these are held back.
    fn write<M: Memory + ?Sized>(
        &mut self,
        memory: &M,
        segment: Segment,
        flags: u16,
        id: u16,
        head: bool,
    ) {
        let at = self.common.layout.descriptor(self.next.at);
        let flags = flags | if self.next.wrap { AVAIL } else { USED };
        table::buffer(memory, at, segment);
        if head && self.hidden.is_none() {
            memory.write16(at.wrapping_add(ID), id);
            self.hidden = Some((at.wrapping_add(FLAGS), flags));
        } else {
            let tail = u32::from(id) | (u32::from(flags) << 16);
            memory.write32(at.wrapping_add(ID), tail);
        }
        self.next = self.next.step(1, self.common.layout.size());
    }

    pub(super) fn publish<M: Memory + ?Sized>(&mut self, memory: &M, queue: u16) -> Option<u32> {
        let (at, flags) = self.hidden.take()?;
        // Everything else before the flags that show it; pairs with the device's between its reads
        // of the flags and of the rest.
        memory.write_barrier();
        memory.write16(at, flags);
        let added = core::mem::take(&mut self.added);
        self.common.book.show();
        // The flags before the device's wish; pairs with the device's between its write of the
        // wish and its last look at the flags.
        memory.full_barrier();
        let wish = memory.read32(self.common.layout.device());
        self.wanted(wish, added)
            .then(|| notification(self.common.features, queue, self.next.word()))
    }

    /// Whether the device wants a notification of the last `added` descriptors. A wish that means
    /// nothing is one to be notified.
    fn wanted(&self, wish: u32, added: u16) -> bool {
        match (wish >> 16) as u16 & EVENT_FLAGS {
            DISABLE => false,
            DESC_EVENT if self.common.features.event_idx => {
                let event = Position {
                    at: wish as u16 & !(1 << 15),
                    wrap: wish & (1 << 15) != 0,
                };
                let size = self.common.layout.size();
                if event.at >= size {
                    return true;
                }
                // Both are below `lap`, and the event is passed if it is among those behind.
                let lap = 2 * u32::from(size);
                let ahead = self.next.round(size) + lap - event.round(size);
                let behind = if ahead >= lap { ahead - lap } else { ahead };
                (1..=u32::from(added)).contains(&behind)
            }
            _ => true,
        }
    }

    /// Flags of the next used descriptor, if the device has marked it.
    fn marked<M: Memory + ?Sized>(&self, memory: &M) -> Option<u16> {
        let at = self.common.layout.descriptor(self.taken.at);
        let used = if self.taken.wrap { AVAIL | USED } else { 0 };
        let flags = memory.read16(at.wrapping_add(FLAGS));
        (flags & (AVAIL | USED) == used).then_some(flags)
    }

    fn caught(&mut self, lie: Lie) -> Lie {
        self.common.lie = Some(lie);
        lie
    }

    pub(super) fn take<M: Memory + ?Sized>(&mut self, memory: &M) -> Result<Option<Used>, Lie> {
        if let Some(lie) = self.common.lie {
            return Err(lie);
        }
        // With a batch under way there are descriptors that the device has skipped.
        let Done { used, descriptors } = match self.common.book.rest_of_batch() {
            Some(done) => done,
            None => {
                let Some(flags) = self.marked(memory) else {
                    return Ok(None);
                };
                let shown = self.common.book.with_device();
                if shown == 0 {
                    let position = self.taken.at;
                    return Err(self.caught(Lie::Idle { position }));
                }
                // The flags before the rest and the data; pairs with the device's between its
                // writes of these and of the flags.
                memory.read_barrier();
                let at = self.common.layout.descriptor(self.taken.at);
                let len = memory.read32(at.wrapping_add(LEN));
                let id = memory.read16(at.wrapping_add(ID));
                // Without the flag the length is reserved (VIRTIO 2.8.4). But there are devices
                // that never set the flag, and drivers that always believe the length: what can
                // be true counts, and what cannot is no lie.
                let len = if flags & WRITE != 0 {
                    Length::Told(len)
                } else {
                    Length::Reserved(len)
                };
                match self.common.book.take(id.into(), len, shown) {
                    Ok(done) => done,
                    Err(lie) => return Err(self.caught(lie)),
                }
            }
        };
        // INVARIANT: The device skips the descriptors of the chain (VIRTIO 2.8.6, 2.8.8).
        self.taken = self.taken.step(descriptors, self.common.layout.size());
        Ok(Some(used))
    }

    pub(super) fn listen<M: Memory + ?Sized>(&mut self, memory: &M, chains: u16) -> bool {
        if self.common.lie.is_some() || self.common.book.in_batch() {
            return true;
        }
        // Both words at once, so that the device never sees one without the other.
        if self.common.features.event_idx {
            let event = self
                .taken
                .step(self.ahead(chains), self.common.layout.size());
            let wish = u32::from(event.word()) | (u32::from(DESC_EVENT) << 16);
            memory.write32(self.common.layout.driver(), wish);
        } else if self.common.quiet {
            memory.write32(self.common.layout.driver(), 0);
        }
        self.common.quiet = false;
        // Our wish before our last look; pairs with the device's between its write of the used flags
        // and its read of our wish.
        memory.full_barrier();
        self.marked(memory).is_some()
    }

    /// Descriptors from the next used one to that of the last of `chains` chains, if those of all
    /// that the device has were alike; fewer than it has, so that it gets there.
    fn ahead(&self, chains: u16) -> u16 {
        let there = u32::from(self.common.book.with_device());
        let before = u32::from(chains).min(there).saturating_sub(1);
        let taken = self
            .common
            .layout
            .size()
            .wrapping_sub(self.common.book.room());
        let descriptors = u32::from(taken.saturating_sub(self.added));
        // Below 2^15 each, and less than `descriptors` as `before` is less than `there`.
        (descriptors * before).checked_div(there).unwrap_or(0) as u16
    }

    pub(super) fn quieten<M: Memory + ?Sized>(&mut self, memory: &M) {
        if !self.common.quiet {
            memory.write32(self.common.layout.driver(), u32::from(DISABLE) << 16);
        }
        self.common.quiet = true;
    }
}
