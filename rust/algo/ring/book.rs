// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The private book: which chains the device has, what it may do with them, what is free.
//!
//! Every step takes constant time. Nothing in here comes from shared memory but the used id and
//! length, which are checked against the book before anything changes.

use core::ops::DerefMut;

use super::layout::Layout;
use super::{Lie, Used};

/// No number: above every size.
const NONE: u16 = u16::MAX;

/// Private book-keeping of one entry of the virtqueue.
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// How many chains were posted before this one.
    order: u64,
    /// Bytes that the device may write.
    writable: u32,
    token: u16,
    /// Descriptors of the ring; 0: no chain of this number is outstanding.
    descriptors: u16,
    /// Number after this one: of the same chain, or in the list of free numbers.
    next: u16,
    /// Last number of the chain.
    last: u16,
}

impl Slot {
    /// A slot before [`Ring::new`](super::Ring::new) has seen it.
    pub const NEW: Slot = Slot {
        order: 0,
        writable: 0,
        token: 0,
        descriptors: 0,
        next: NONE,
        last: NONE,
    };
}

/// Used chains that one used element stands for (VIRTIO 2.7.9, 2.8.8).
#[derive(Clone, Copy, Debug)]
struct Batch {
    /// Chains that were not handed out yet, at least one.
    left: u16,
    /// Length that the device gave for the last one.
    len: u32,
}

/// The length in a used element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    /// It says how many bytes were written.
    Told(u32),
    /// It need not mean anything.
    Reserved(u32),
}

/// A used chain, and the ring descriptors that it had.
#[derive(Clone, Copy, Debug)]
pub(super) struct Done {
    pub(super) used: Used,
    pub(super) descriptors: u16,
}

/// The book of one virtqueue.
///
/// A chain has one number (packed, indirect) or one for each descriptor (split); the first is its
/// id. Numbers come from a list, the last freed first, or in ring order with VIRTIO_F_IN_ORDER.
///
/// # Invariants
///
/// `slots` has at least `size` entries. `taken <= shown <= posted <= taken + size`. `room` is
/// `size` less the descriptors of all outstanding chains. The numbers from `free` on, by
/// [`Book::after`], are not those of outstanding chains, and are at least `room`.
#[derive(Debug)]
pub(super) struct Book<B> {
    slots: B,
    size: u16,
    in_order: bool,
    /// Number of the next chain.
    free: u16,
    /// Number of the oldest outstanding chain; only in order.
    oldest: u16,
    room: u16,
    /// Chains posted, shown to the device, and taken back, ever.
    posted: u64,
    shown: u64,
    taken: u64,
    batch: Option<Batch>,
    /// Bytes that the driver takes to be written in each chain that has room for any.
    least: u32,
}

impl<B: DerefMut<Target = [Slot]>> Book<B> {
    /// An empty book. `None`: `slots` has fewer entries than the virtqueue.
    pub(super) fn new(slots: B, layout: &Layout, in_order: bool) -> Option<Self> {
        let size = layout.size();
        let mut book = Self {
            slots,
            size,
            in_order,
            free: 0,
            oldest: 0,
            room: size,
            posted: 0,
            shown: 0,
            taken: 0,
            batch: None,
            least: 0,
        };
        for (slot, next) in book.slots.get_mut(..size.into())?.iter_mut().zip(1..) {
            *slot = Slot {
                next: if next < size { next } else { NONE },
                ..Slot::NEW
            };
        }
        Some(book)
    }

    /// Descriptors that are free.
    pub(super) fn room(&self) -> u16 {
        self.room
    }

    /// Chains that were posted and not taken back.
    pub(super) fn outstanding(&self) -> u16 {
        self.posted.wrapping_sub(self.taken) as u16
    }

    /// Chains that the device can see and that were not taken back.
    pub(super) fn with_device(&self) -> u16 {
        self.shown.wrapping_sub(self.taken) as u16
    }

    /// Whether a batch has chains left.
    pub(super) fn in_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Number of the next chain, its id.
    pub(super) fn first(&self) -> u16 {
        self.free
    }

    /// Number that follows: of a chain that is being made or is outstanding.
    pub(super) fn after(&self, number: u16) -> u16 {
        if self.in_order {
            step(number, 1, self.size)
        } else {
            self.slots.get(usize::from(number)).map_or(NONE, |s| s.next)
        }
    }

    /// Enters the chain with numbers from [`Book::first`] to `last`, and `descriptors` of the ring,
    /// for which there has to be room.
    pub(super) fn enter(&mut self, last: u16, descriptors: u16, writable: u32, token: u16) {
        let first = self.free;
        self.free = self.after(last);
        let order = self.posted;
        if let Some(slot) = self.slots.get_mut(usize::from(first)) {
            slot.order = order;
            slot.writable = writable;
            slot.token = token;
            slot.descriptors = descriptors;
            slot.last = last;
        }
        self.posted = self.posted.wrapping_add(1);
        self.room = self.room.saturating_sub(descriptors);
    }

    /// The device can see all that was entered.
    pub(super) fn show(&mut self) {
        self.shown = self.posted;
    }

    /// The next chain of the batch that an earlier used element stood for.
    pub(super) fn rest_of_batch(&mut self) -> Option<Done> {
        let Batch { left, len } = self.batch?;
        let number = self.oldest;
        let slot = *self.slots.get(usize::from(number))?;
        if left > 1 {
            self.batch = Some(Batch {
                left: left - 1,
                len,
            });
            // Skipped, so the device is taken to have used all of it.
            Some(self.release(number, slot, slot.writable))
        } else {
            self.batch = None;
            Some(self.release(number, slot, len))
        }
    }

    /// See [`Ring::require`](super::Ring::require).
    pub(super) fn require(&mut self, least: u32) {
        self.least = least;
    }

    /// Judges a used element, and takes the first chain back that it stands for. `shown`: chains
    /// that it can stand for at most.
    ///
    /// # Errors
    ///
    /// The device lies; nothing has changed.
    pub(super) fn take(&mut self, id: u32, len: Length, shown: u16) -> Result<Done, Lie> {
        let (number, slot) = self.look_up(id)?;
        let len = match len {
            Length::Told(len) if len > slot.writable => {
                return Err(Lie::Length {
                    id: number,
                    len,
                    writable: slot.writable,
                });
            }
            Length::Reserved(len) if len > slot.writable => 0,
            Length::Told(len) | Length::Reserved(len) => len,
        };
        let least = self.least.min(slot.writable);
        if len < least {
            return Err(Lie::Short {
                id: number,
                len,
                least,
            });
        }
        if !self.in_order {
            return Ok(self.release(number, slot, len));
        }
        // The chain is outstanding, so not older than the oldest.
        let chains = (slot.order.wrapping_sub(self.taken) as u16).wrapping_add(1);
        if chains > shown {
            return Err(Lie::Batch {
                id: number,
                chains,
                shown,
            });
        }
        self.batch = Some(Batch { left: chains, len });
        self.rest_of_batch()
            .ok_or(Lie::NotOutstanding { id: number })
    }

    /// Takes a chain back that nobody gives back any more, at or behind number `from`: that number, and its
    /// token.
    pub(super) fn abandon(&mut self, from: u16) -> Option<(u16, u16)> {
        let all = self.slots.get(..usize::from(self.size))?;
        let (number, slot) = (from..self.size)
            .zip(all.iter().skip(usize::from(from)))
            .find(|(_, slot)| slot.descriptors != 0)?;
        let slot = *slot;
        let done = self.release(number, slot, 0);
        Some((number, done.used.token))
    }

    /// The chain with this id, if the device has it.
    fn look_up(&self, id: u32) -> Result<(u16, Slot), Lie> {
        let size = self.size;
        let number = u16::try_from(id)
            .ok()
            .filter(|&number| number < size)
            .ok_or(Lie::IdRange { id, size })?;
        self.slots
            .get(usize::from(number))
            .filter(|slot| slot.descriptors != 0 && slot.order < self.shown)
            .map(|slot| (number, *slot))
            .ok_or(Lie::NotOutstanding { id: number })
    }

    fn release(&mut self, number: u16, slot: Slot, len: u32) -> Done {
        if self.in_order {
            self.oldest = self.after(slot.last);
        } else {
            // The chain's own numbers are still linked: its end joins the list, whole.
            if let Some(last) = self.slots.get_mut(usize::from(slot.last)) {
                last.next = self.free;
            }
            self.free = number;
        }
        if let Some(slot) = self.slots.get_mut(usize::from(number)) {
            slot.descriptors = 0;
        }
        self.taken = self.taken.wrapping_add(1);
        self.room = self.room.saturating_add(slot.descriptors);
        Done {
            used: Used {
                token: slot.token,
                len,
            },
            descriptors: slot.descriptors,
        }
    }
}

/// The position `by` after `at` in a ring of `size`, none of them above `size`.
pub(super) fn step(at: u16, by: u16, size: u16) -> u16 {
    // Neither is above 2^15.
    let to = at.wrapping_add(by);
    if to >= size {
        to.wrapping_sub(size)
    } else {
        to
    }
}
