// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Split virtqueues (VIRTIO 2.7).

#![forbid(unsafe_code)]

use super::chain::Chain;
use super::pending::{Batch, Pending};
use super::table::{follow, Descriptor, INDIRECT, NEXT, SIZE as DESC_SIZE, WRITE};
use super::{Fault, Features, Layout, Parts};
use crate::mem::{barrier, Pool, Region};

/// Bytes of an element of the used ring.
const USED_SIZE: u32 = 8;
/// Bytes of the flags and the index at the start of either ring.
const RING_HEADER: u32 = 4;

/// Linux wants no used buffer notifications.
pub(super) const AVAIL_NO_INTERRUPT: u16 = 1;
/// We want no available buffer notifications.
pub(super) const USED_NO_NOTIFY: u16 = 1;

/// A split virtqueue that is ready.
///
/// # Invariants
///
/// `size` is a power of two up to 32768; descriptor table and both rings of that size lie inside
/// the pool at `desc`, `avail` and `used`, aligned as VIRTIO 2.7 wants it.
#[derive(Clone, Debug, Hash)]
pub struct Split {
    size: u16,
    desc: u32,
    avail: u32,
    used: u32,
    features: Features,
    pending: Pending,
    /// Available entries that were taken.
    taken: u16,
    /// The last available index that was read.
    avail_seen: u16,
    /// Used entries that were written, and how far the ring shows them.
    pub(super) used_next: u16,
    pub(super) used_shown: u16,
    /// `used_next` when it was last decided whether to notify.
    pub(super) used_decided: u16,
    /// Whether Linux was told not to notify.
    quiet: bool,
}

impl Split {
    pub(super) fn new(layout: &Layout, pool: &Pool, features: Features) -> Result<Self, Fault> {
        let size = u16::try_from(layout.size).map_err(|_| Fault::Layout)?;
        if !size.is_power_of_two() {
            return Err(Fault::Layout);
        }
        let entries = u32::from(size);
        let place = |address, len, align| Layout::place(pool, address, len, align);
        // Each ring ends with the event index of the other side. `entries` is at most 32768.
        // INVARIANT: Checked here.
        Ok(Self {
            size,
            desc: place(layout.desc, entries * DESC_SIZE, 16)?,
            avail: place(layout.driver, RING_HEADER + entries * 2 + 2, 2)?,
            used: place(layout.device, RING_HEADER + entries * USED_SIZE + 2, 4)?,
            features,
            pending: Pending::new(features.in_order),
            taken: 0,
            avail_seen: 0,
            used_next: 0,
            used_shown: 0,
            used_decided: 0,
            quiet: false,
        })
    }

    pub(super) const fn size(&self) -> u16 {
        self.size
    }

    pub(super) const fn parts(&self) -> Parts {
        Parts {
            size: self.size,
            desc: self.desc,
            avail: self.avail,
            used: self.used,
        }
    }

    pub(super) fn available(&mut self, mem: &Region) -> Result<u16, Fault> {
        let index = mem.observe16(self.avail.wrapping_add(2));
        let count = index.wrapping_sub(self.taken);
        if count > self.size {
            return Err(Fault::AvailIndex(index));
        }
        self.avail_seen = index;
        Ok(count)
    }

    pub(super) fn pop(
        &mut self,
        mem: &Region,
        pool: &Pool,
        chain: &mut Chain,
    ) -> Result<bool, Fault> {
        if self.taken == self.avail_seen && self.available(mem)? == 0 {
            return Ok(false);
        }

        let slot = u32::from(self.taken & (self.size - 1));
        let head = mem.read16(self.avail.wrapping_add(RING_HEADER + slot * 2));
        chain.clear();

        let mut next = head;
        // `add` bounds this, loops among descriptors or not.
        loop {
            if next >= self.size {
                return Err(Fault::DescIndex(next));
            }
            let at = self.desc.wrapping_add(u32::from(next) * DESC_SIZE);
            let descriptor = Descriptor::read(mem, at);
            let flags = descriptor.low;
            if self.features.indirect && flags & INDIRECT != 0 {
                // A table ends the chain; whether it can be written means nothing (VIRTIO 2.7.5.3).
                if flags & !(INDIRECT | WRITE) != 0 {
                    return Err(Fault::DescFlags(flags));
                }
                follow(mem, pool, chain, &descriptor, false, self.size)?;
                break;
            }
            if flags & !(NEXT | WRITE) != 0 {
                return Err(Fault::DescFlags(flags));
            }
            chain.add(pool, &descriptor, flags, self.size)?;
            if flags & NEXT == 0 {
                break;
            }
            next = descriptor.high;
        }

        self.taken = self.taken.wrapping_add(1);
        chain.finish(head, 1, self.pending.take());
        Ok(true)
    }

    pub(super) fn push(&mut self, mem: &Region, chain: &Chain, written: u32) -> Result<(), Fault> {
        if let Some(batch) = self.pending.give(chain, written)? {
            self.write(mem, &batch);
        }
        Ok(())
    }

    pub(super) fn undo(&mut self) {
        if self.pending.undo().is_some() {
            self.taken = self.taken.wrapping_sub(1);
        }
    }

    /// Writes a used element; Linux does not see it yet.
    fn write(&mut self, mem: &Region, batch: &Batch) {
        let slot = u32::from(self.used_next & (self.size - 1));
        let element = self.used.wrapping_add(RING_HEADER + slot * USED_SIZE);
        mem.write32(element, u32::from(batch.done.id));
        mem.write32(element.wrapping_add(4), batch.done.len);
        self.used_next = self.used_next.wrapping_add(batch.chains);
    }

    pub(super) fn publish(&mut self, mem: &Region) -> bool {
        while let Some(batch) = self.pending.next() {
            self.write(mem, &batch);
        }
        if self.used_shown == self.used_next {
            return false;
        }
        mem.publish16(self.used.wrapping_add(2), self.used_next);
        self.used_shown = self.used_next;
        true
    }

    pub(super) fn wants_notification(&mut self, mem: &Region) -> bool {
        let old = self.used_decided;
        let new = self.used_shown;
        if old == new {
            return false;
        }
        self.used_decided = new;
        // The index has to be visible before Linux's wish is read; pairs with the barrier between
        // Linux's write of its wish and its last look at the index.
        barrier();
        if self.features.event_idx {
            let tail = RING_HEADER + u32::from(self.size) * 2;
            let event = mem.read16(self.avail.wrapping_add(tail));
            // VIRTIO 2.7.10: notify when the index passes the event.
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            mem.read16(self.avail) & AVAIL_NO_INTERRUPT == 0
        }
    }

    pub(super) fn quieten(&mut self, mem: &Region) {
        // With the event index it is enough not to move the event.
        if !self.features.event_idx && !self.quiet {
            mem.write16(self.used, USED_NO_NOTIFY);
        }
        self.quiet = true;
    }

    pub(super) fn listen(&mut self, mem: &Region, least: u16) -> Result<bool, Fault> {
        let least = least.max(1);
        if self.quiet || self.features.event_idx {
            if self.features.event_idx {
                let tail = RING_HEADER + u32::from(self.size) * USED_SIZE;
                let event = self.taken.wrapping_add(least - 1);
                mem.write16(self.used.wrapping_add(tail), event);
            } else {
                mem.write16(self.used, 0);
            }
            self.quiet = false;
            // Pairs with Linux's barrier between its index and its look at our wish.
            barrier();
        }
        Ok(self.available(mem)? >= least)
    }
}
