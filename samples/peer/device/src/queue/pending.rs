// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains that were given back and are not in the ring yet: they can be taken back, and with
//! VIRTIO_F_IN_ORDER those that Linux has to know nothing of but their end go out as one.

#![forbid(unsafe_code)]

use super::{Chain, Fault, UNDO_MAX};

/// A chain that was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Done {
    /// What Linux calls it.
    pub(super) id: u16,
    /// Descriptors of the ring.
    pub(super) descriptors: u16,
    /// Bytes that were written to it.
    pub(super) len: u32,
    /// Whether it has room for any, so that the length means something.
    pub(super) writable: bool,
}

/// Used chains of one element: itself, and those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Batch {
    /// The last chain, with the descriptors of all.
    pub(super) done: Done,
    /// How many they are.
    pub(super) chains: u16,
}

/// The chains that were given back, in order.
///
/// # Invariants
///
/// `start` is below [`UNDO_MAX`], `count` not above. `taken - given` is the number of chains that
/// the device model has.
#[derive(Clone, Debug, Hash)]
pub(super) struct Pending {
    in_order: bool,
    /// Chains that were taken and given back, ever; these wrap.
    taken: u16,
    given: u16,
    list: [Done; UNDO_MAX],
    start: usize,
    count: usize,
}

impl Pending {
    pub(super) const fn new(in_order: bool) -> Self {
        const NONE: Done = Done {
            id: 0,
            descriptors: 0,
            len: 0,
            writable: false,
        };
        // INVARIANT: Nothing was taken yet.
        Self {
            in_order,
            taken: 0,
            given: 0,
            list: [NONE; UNDO_MAX],
            start: 0,
            count: 0,
        }
    }

    /// A chain was taken; returns its number.
    pub(super) fn take(&mut self) -> u16 {
        let number = self.taken;
        self.taken = self.taken.wrapping_add(1);
        number
    }

    /// The chain comes back. Returns the oldest of those that are here, if there is no room for
    /// one more.
    pub(super) fn give(&mut self, chain: &Chain, len: u32) -> Result<Option<Batch>, Fault> {
        let turn = !self.in_order || chain.number() == self.given;
        if self.taken == self.given || !turn {
            return Err(Fault::Order);
        }
        self.given = self.given.wrapping_add(1);
        let oldest = if self.count == UNDO_MAX {
            self.next()
        } else {
            None
        };
        let at = (self.start + self.count) % UNDO_MAX;
        if let Some(slot) = self.list.get_mut(at) {
            *slot = Done {
                id: chain.id(),
                descriptors: chain.descriptors(),
                len,
                writable: chain.writable_len() != 0,
            };
            self.count += 1;
        }
        Ok(oldest)
    }

    /// The last one was neither given back nor taken.
    pub(super) fn undo(&mut self) -> Option<Done> {
        let last = self.count.checked_sub(1)?;
        let done = *self.list.get((self.start + last) % UNDO_MAX)?;
        self.count = last;
        self.given = self.given.wrapping_sub(1);
        self.taken = self.taken.wrapping_sub(1);
        Some(done)
    }

    /// What goes into the ring next.
    ///
    /// In order, a used element stands for all chains up to its own (VIRTIO 2.7.9, 2.8.8). Linux
    /// then takes it that those before were filled, so only such go together as have no room.
    pub(super) fn next(&mut self) -> Option<Batch> {
        let mut batch = Batch {
            done: self.pull()?,
            chains: 1,
        };
        while self.in_order && !batch.done.writable {
            match self.list.get(self.start) {
                Some(next) if self.count != 0 && !next.writable => {
                    let descriptors = batch.done.descriptors.saturating_add(next.descriptors);
                    batch.done = Done {
                        descriptors,
                        ..*next
                    };
                    batch.chains += 1;
                    self.pull();
                }
                _ => break,
            }
        }
        Some(batch)
    }

    fn pull(&mut self) -> Option<Done> {
        if self.count == 0 {
            return None;
        }
        let done = *self.list.get(self.start)?;
        self.start = (self.start + 1) % UNDO_MAX;
        self.count -= 1;
        Some(done)
    }
}
