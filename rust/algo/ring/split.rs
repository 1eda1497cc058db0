// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Split virtqueues (VIRTIO 2.7).

use core::ops::DerefMut;

use super::book::Length;
use super::common::Common;
use super::layout::SIZE_MAX;
use super::table::{self, INDIRECT, NEXT};
use super::{notification, total, Full, Lie, Memory, Segment, Slot, Used};

/// In the available ring's flags: no used buffer notifications, please (VIRTIO 2.7.6).
const NO_INTERRUPT: u16 = 1;
/// In the used ring's flags: no available buffer notifications, please (VIRTIO 2.7.8).
const NO_NOTIFY: u16 = 1;
/// From the start of either ring to its index.
const INDEX: u32 = 2;

/// A split virtqueue, the driver's side.
///
/// # Invariants
///
/// `seen - taken` is at most the number of chains that the device has.
#[derive(Debug)]
pub struct Split<B> {
    common: Common<B>,
    /// Available elements that were written, and how far the device can see them.
    written: u16,
    shown: u16,
    /// Used elements that were taken, and how far the used index showed them.
    taken: u16,
    seen: u16,
}

impl<B: DerefMut<Target = [Slot]>> Split<B> {
    pub(super) fn new(common: Common<B>) -> Self {
        // INVARIANT: The device has nothing yet.
        Self {
            common,
            written: 0,
            shown: 0,
            taken: 0,
            seen: 0,
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
        let first = self.common.book.first();
        let last = if segments > usize::from(cost) {
            let whole = self.common.indirect(memory, first, readable, writable);
            self.write(memory, first, whole, INDIRECT, 0);
            first
        } else {
            let mut number = first;
            let mut last = first;
            for (segment, flags) in table::chain(readable, writable) {
                let next = self.common.book.after(number);
                let link = if flags & NEXT == 0 { 0 } else { next };
                self.write(memory, number, segment, flags, link);
                last = number;
                number = next;
            }
            last
        };
        memory.write16(self.common.layout.avail_at(self.written), first);
        self.written = self.written.wrapping_add(1);
        self.common.book.enter(last, cost, total(writable), token);
        Ok(())
    }

    fn write<M: Memory + ?Sized>(
        &self,
        memory: &M,
        number: u16,
        segment: Segment,
        flags: u16,
        next: u16,
    ) {
        let at = self.common.layout.descriptor(number);
        table::buffer(memory, at, segment);
        let tail = u32::from(flags) | (u32::from(next) << 16);
        memory.write32(at.wrapping_add(12), tail);
    }

    pub(super) fn publish<M: Memory + ?Sized>(&mut self, memory: &M, queue: u16) -> Option<u32> {
        let (old, new) = (self.shown, self.written);
        if old == new {
            return None;
        }
        // Descriptors and elements before the index that shows them; pairs with the device's
        // between its reads of the index and of these.
        memory.write_barrier();
        memory.write16(self.common.layout.driver().wrapping_add(INDEX), new);
        self.shown = new;
        self.common.book.show();
        // The index before the device's wish; pairs with the device's between its write of the
        // wish and its last look at the index.
        memory.full_barrier();
        let wanted = if self.common.features.event_idx {
            let event = memory.read16(self.common.layout.avail_event());
            passes(event, old, new)
        } else {
            memory.read16(self.common.layout.device()) & NO_NOTIFY == 0
        };
        wanted.then(|| notification(self.common.features, queue, new))
    }

    /// Used elements that wait to be taken; looks at the used index where none is known of.
    fn look<M: Memory + ?Sized>(&mut self, memory: &M) -> Result<u16, Lie> {
        if let Some(lie) = self.common.lie {
            return Err(lie);
        }
        let known = self.seen.wrapping_sub(self.taken);
        if known != 0 {
            return Ok(known);
        }
        let index = memory.read16(self.common.layout.device().wrapping_add(INDEX));
        let shown = index.wrapping_sub(self.seen);
        let outstanding = self.common.book.with_device();
        if shown > outstanding {
            // No virtqueue has more than 2^15 entries, so beyond that it is nearer backwards.
            let lie = if shown > SIZE_MAX {
                Lie::IndexBack {
                    from: self.seen,
                    to: index,
                }
            } else {
                Lie::IndexJump {
                    by: shown,
                    outstanding,
                }
            };
            return Err(self.caught(lie));
        }
        if shown != 0 {
            // INVARIANT: Checked here; what the device has becomes less by takes only.
            self.seen = index;
            // The index before the elements and the data; pairs with the device's between its writes
            // of these and of the index.
            memory.read_barrier();
        }
        Ok(shown)
    }

    fn caught(&mut self, lie: Lie) -> Lie {
        self.common.lie = Some(lie);
        lie
    }

    pub(super) fn take<M: Memory + ?Sized>(&mut self, memory: &M) -> Result<Option<Used>, Lie> {
        let shown = self.look(memory)?;
        if shown == 0 {
            return Ok(None);
        }
        // With a batch under way there are elements that the device has skipped.
        let done = match self.common.book.rest_of_batch() {
            Some(done) => done,
            None => {
                let at = self.common.layout.used_at(self.taken);
                let id = memory.read32(at);
                let len = memory.read32(at.wrapping_add(4));
                match self.common.book.take(id, Length::Told(len), shown) {
                    Ok(done) => done,
                    Err(lie) => return Err(self.caught(lie)),
                }
            }
        };
        self.taken = self.taken.wrapping_add(1);
        Ok(Some(done.used))
    }

    pub(super) fn listen<M: Memory + ?Sized>(&mut self, memory: &M, chains: u16) -> bool {
        if self.look(memory) != Ok(0) {
            return true;
        }
        if self.common.features.event_idx {
            // Not beyond what the device has: it might never get there.
            let before = chains.min(self.common.book.with_device()).saturating_sub(1);
            let event = self.taken.wrapping_add(before);
            memory.write16(self.common.layout.used_event(), event);
        } else if self.common.quiet {
            memory.write16(self.common.layout.driver(), 0);
        }
        self.common.quiet = false;
        // Our wish before our last look; pairs with the device's between its write of the used index
        // and its read of our wish.
        memory.full_barrier();
        self.look(memory) != Ok(0)
    }

    pub(super) fn quieten<M: Memory + ?Sized>(&mut self, memory: &M) {
        // With the event index it is enough not to move the event: once passed, it is 2^16 chains
        // away. The flags have to stay 0 then (VIRTIO 2.7.7.1).
        if !self.common.features.event_idx && !self.common.quiet {
            memory.write16(self.common.layout.driver(), NO_INTERRUPT);
        }
        self.common.quiet = true;
    }
}

/// Whether an index that moves from `old` to `new` passes `event` (VIRTIO 2.7.10).
fn passes(event: u16, old: u16, new: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}
