// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver has mapped.
//!
//! Mapping gives a handle and nothing else: no memory of the pool is used before the driver makes
//! the buffer available. The handle is an address to the driver, who may add an offset to it.

use core::ops::DerefMut;

use super::super::ring::Segment;

/// No mapping, and no record.
pub(super) const NONE: u16 = u16::MAX;

/// Book-keeping of one mapping; `B` is what stands for the driver's memory.
#[derive(Clone, Copy, Debug)]
pub struct Mapping<B> {
    /// `None`: the slot is free.
    buffer: Option<B>,
    len: u32,
    /// Number of times that the slot was used, never 0 in a handle.
    generation: u16,
    /// What the device wrote there and was not fetched: the first and the last record.
    pub(super) first: u16,
    pub(super) last: u16,
    /// Which flow the records are of.
    pub(super) flow: u32,
    /// The next free slot.
    next: u16,
}

impl<B> Mapping<B> {
    /// A slot before [`Maps::new`] has seen it.
    pub const NEW: Mapping<B> = Mapping {
        buffer: None,
        len: 0,
        generation: 0,
        first: NONE,
        last: NONE,
        flow: 0,
        next: NONE,
    };
}

/// The mappings of a virtqueue.
#[derive(Debug)]
pub(super) struct Maps<L> {
    slots: L,
    free: u16,
    mapped: u16,
}

impl<B: Copy + 'static, L: DerefMut<Target = [Mapping<B>]>> Maps<L> {
    /// Room for as many mappings as `slots` has elements, 65534 at most.
    pub(super) fn new(mut slots: L) -> Self {
        let count = slots.len().min(usize::from(NONE) - 1) as u16;
        for (slot, next) in slots.iter_mut().zip(1..=count) {
            *slot = Mapping {
                next: if next < count { next } else { NONE },
                ..Mapping::NEW
            };
        }
        Self {
            slots,
            free: if count == 0 { NONE } else { 0 },
            mapped: 0,
        }
    }

    /// Mappings that there are.
    pub(super) fn mapped(&self) -> u16 {
        self.mapped
    }

    /// Maps `len` bytes of `buffer`; `None`: no slot is free.
    pub(super) fn enter(&mut self, buffer: B, len: u32) -> Option<u64> {
        let number = self.free;
        let slot = self.slots.get_mut(usize::from(number))?;
        self.free = slot.next;
        slot.buffer = Some(buffer);
        slot.len = len;
        slot.generation = slot.generation.checked_add(1).unwrap_or(1);
        slot.first = NONE;
        slot.last = NONE;
        self.mapped = self.mapped.saturating_add(1);
        Some((u64::from(slot.generation) << 48) | (u64::from(number) << 32))
    }

    /// The slot that `handle` means, and the offset in its buffer; `None` for one that is not mapped.
    pub(super) fn find(&self, handle: u64) -> Option<(u16, u32)> {
        let number = (handle >> 32) as u16;
        let slot = self.slots.get(usize::from(number))?;
        let offset = handle as u32;
        let fits = slot.buffer.is_some() && (handle >> 48) as u16 == slot.generation;
        (fits && offset <= slot.len).then_some((number, offset))
    }

    /// Whether all of `part` is inside of one mapping.
    pub(super) fn holds(&self, part: Segment) -> bool {
        self.find(part.address).is_some_and(|(number, offset)| {
            let len = self.slots.get(usize::from(number)).map_or(0, |s| s.len);
            // `find` has checked that the offset is not behind the end.
            part.len <= len.saturating_sub(offset)
        })
    }

    /// The memory that all of `part` is inside of, and where in it that begins.
    pub(super) fn within(&self, part: Segment) -> Option<(B, u32)> {
        let (number, offset) = self.find(part.address)?;
        let slot = self.slots.get(usize::from(number))?;
        let fits = part.len <= slot.len.saturating_sub(offset);
        Some((slot.buffer.filter(|_| fits)?, offset))
    }

    /// The memory behind slot `number`.
    pub(super) fn buffer(&self, number: u16) -> Option<B> {
        self.slots.get(usize::from(number))?.buffer
    }

    /// All memory that is mapped.
    pub(super) fn buffers(&self) -> impl Iterator<Item = B> + '_ {
        self.slots.iter().filter_map(|slot| slot.buffer)
    }

    /// The first record of slot `number`, if it has any of `flow`'s.
    pub(super) fn first(&self, number: u16, flow: u32) -> u16 {
        let slot = self.slots.get(usize::from(number));
        slot.filter(|slot| slot.flow == flow)
            .map_or(NONE, |slot| slot.first)
    }

    /// Slot `number`.
    pub(super) fn slot(&mut self, number: u16) -> Option<&mut Mapping<B>> {
        self.slots.get_mut(usize::from(number))
    }

    /// Ends the mapping of slot `number`.
    pub(super) fn leave(&mut self, number: u16) {
        let Some(slot) = self.slots.get_mut(usize::from(number)) else {
            return;
        };
        if slot.buffer.take().is_some() {
            slot.next = self.free;
            self.free = number;
            self.mapped = self.mapped.saturating_sub(1);
        }
    }

    /// Ends all mappings; how many there were.
    pub(super) fn clear(&mut self) -> u16 {
        let left = self.mapped;
        let count = self.slots.len().min(usize::from(NONE) - 1) as u16;
        for number in 0..count {
            self.leave(number);
        }
        left
    }
}
