// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What split and packed virtqueues have in common.

use core::ops::DerefMut;

use super::book::Book;
use super::layout::{Layout, DESC};
use super::{table, Features, Full, Lie, Memory, Segment, Slot};

/// What both kinds know of a virtqueue.
#[derive(Debug)]
pub(super) struct Common<B> {
    pub(super) layout: Layout,
    /// Address at which the device sees the start of the memory.
    base: u64,
    pub(super) features: Features,
    pub(super) book: Book<B>,
    /// Whether the device was told not to notify.
    pub(super) quiet: bool,
    pub(super) lie: Option<Lie>,
}

impl<B: DerefMut<Target = [Slot]>> Common<B> {
    pub(super) fn new(layout: Layout, base: u64, features: Features, book: Book<B>) -> Self {
        Self {
            layout,
            base,
            features,
            book,
            quiet: false,
            lie: None,
        }
    }

    /// Descriptors of the ring that a chain of so many segments takes; `None`: it can never be
    /// posted.
    pub(super) fn cost(&self, segments: usize) -> Option<u16> {
        self.layout.cost(segments, self.features.indirect)
    }

    /// The same, if there is room for them now.
    ///
    /// # Errors
    ///
    /// [`Full`] if not.
    pub(super) fn room_for(&self, segments: usize) -> Result<u16, Full> {
        let cost = self.cost(segments).ok_or(Full)?;
        if cost > self.book.room() {
            return Err(Full);
        }
        Ok(cost)
    }

    /// Writes a chain into the indirect table of descriptor `id`; returns the table as a segment.
    pub(super) fn indirect<M: Memory + ?Sized>(
        &self,
        memory: &M,
        id: u16,
        readable: &[Segment],
        writable: &[Segment],
    ) -> Segment {
        let at = self.layout.table_at(id);
        table::indirect(memory, at, self.features.packed, readable, writable);
        let segments = readable.len().saturating_add(writable.len());
        Segment {
            address: self.base.wrapping_add(at.into()),
            // As long as a table at most, which is as long as the memory.
            len: (segments as u32).wrapping_mul(DESC),
        }
    }
}
