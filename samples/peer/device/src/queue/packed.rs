// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packed virtqueues (VIRTIO 2.8).

#![forbid(unsafe_code)]

use super::chain::Chain;
use super::pending::{Batch, Pending};
use super::table::{follow, Descriptor, INDIRECT, NEXT, SIZE as DESC_SIZE, WRITE};
use super::{Fault, Features, Layout};
use crate::mem::{barrier, Pool, Region};

/// Most entries (VIRTIO 2.8.10.1).
const SIZE_MAX: u16 = 1 << 15;
/// Bytes of an event suppression structure (VIRTIO 2.8.14).
const EVENT_SIZE: u32 = 4;

/// Flags of a descriptor that say whose it is (VIRTIO 2.8.1).
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;
/// Those that Linux may set in the ring.
const KNOWN: u16 = NEXT | WRITE | INDIRECT | AVAIL | USED;
/// From the start of a descriptor to its parts.
const LEN: u32 = 8;
const ID: u32 = 12;
const FLAGS: u32 = 14;

/// Flags of an event suppression structure: all events, none, that of one descriptor.
const ENABLE: u16 = 0;
const DISABLE: u16 = 1;
const ONE: u16 = 2;

/// How often a request to be notified is repeated because of what has come meanwhile.
const TRIES: u32 = 4;

/// A place in the ring, with the wrap counter that belongs to it (VIRTIO 2.8.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Place {
    /// Below the size.
    pub(super) at: u16,
    pub(super) wrap: bool,
}

impl Place {
    pub(super) const START: Self = Self { at: 0, wrap: true };

    /// The place `count` descriptors ahead, at most `size`.
    pub(super) const fn ahead(self, count: u16, size: u16) -> Self {
        // Neither is above 2^15, but both together may be.
        let to = self.at as u32 + count as u32;
        if to < size as u32 {
            Self {
                at: to as u16,
                wrap: self.wrap,
            }
        } else {
            Self {
                at: (to - size as u32) as u16,
                wrap: !self.wrap,
            }
        }
    }

    /// The place `count` descriptors back, at most `size`.
    const fn back(self, count: u16, size: u16) -> Self {
        if self.at >= count {
            Self {
                at: self.at - count,
                wrap: self.wrap,
            }
        } else {
            Self {
                at: self.at.wrapping_add(size).wrapping_sub(count),
                wrap: !self.wrap,
            }
        }
    }

    /// As event suppression structures have it.
    const fn word(self) -> u16 {
        self.at | ((self.wrap as u16) << 15)
    }

    /// Descriptors from `event`, as an event suppression structure has it, to here. `None`: there
    /// is no such place.
    pub(super) fn since(self, event: u16, size: u16) -> Option<u32> {
        let (at, wrap) = (event & !(1 << 15), event & (1 << 15) != 0);
        if at >= size {
            return None;
        }
        // On the circle of two laps.
        let lap = u32::from(size);
        let here = u32::from(self.at) + if self.wrap == wrap { 0 } else { lap };
        Some((here + 2 * lap - u32::from(at)) % (2 * lap))
    }

    /// Whether these are the flags of a descriptor that Linux has made available here.
    const fn is_available(self, flags: u16) -> bool {
        (flags & AVAIL != 0) == self.wrap && (flags & USED != 0) != self.wrap
    }
}

/// A packed virtqueue that is ready.
///
/// # Invariants
///
/// `size` is from 1 to 32768; a descriptor ring of that size lies inside the pool at `desc`, the
/// event suppression structures at `driver` and `device`, aligned as VIRTIO 2.8.10 wants it.
/// Places are below `size`.
#[derive(Clone, Debug, Hash)]
pub struct Packed {
    size: u16,
    desc: u32,
    driver: u32,
    device: u32,
    features: Features,
    pending: Pending,
    /// Where the next chain will be taken.
    pub(super) taken: Place,
    /// Chains from there on that are known to be available, and their descriptors.
    known: u16,
    known_descriptors: u16,
    /// Where the next used descriptor goes.
    pub(super) used: Place,
    /// Place and flags of the first used descriptor that Linux cannot see yet. It hides all after
    /// it.
    hidden: Option<(u32, u16)>,
    /// Descriptors that were used since it was last decided whether to notify, at most two laps.
    pub(super) undecided: u32,
    /// Our event suppression structure.
    wish: u32,
}

impl Packed {
    /// The descriptor ring, from and to.
    pub(super) const fn span(&self) -> (u32, u32) {
        (self.desc, self.desc + self.size as u32 * DESC_SIZE)
    }

    pub(super) fn new(layout: &Layout, pool: &Pool, features: Features) -> Result<Self, Fault> {
        let size = u16::try_from(layout.size).map_err(|_| Fault::Layout)?;
        if !(1..=SIZE_MAX).contains(&size) {
            return Err(Fault::Layout);
        }
        let entries = u32::from(size);
        let place = |address, len, align| Layout::place(pool, address, len, align);
        // INVARIANT: Checked here.
        Ok(Self {
            size,
            desc: place(layout.desc, entries * DESC_SIZE, 16)?,
            driver: place(layout.driver, EVENT_SIZE, 4)?,
            device: place(layout.device, EVENT_SIZE, 4)?,
            features,
            pending: Pending::new(features.in_order),
            taken: Place::START,
            known: 0,
            known_descriptors: 0,
            used: Place::START,
            hidden: None,
            undecided: 0,
            // As Linux has to leave it: all events.
            wish: 0,
        })
    }

    pub(super) const fn size(&self) -> u16 {
        self.size
    }

    /// Offset of the descriptor at a place.
    fn at(&self, place: Place) -> u32 {
        self.desc.wrapping_add(u32::from(place.at) * DESC_SIZE)
    }

    /// Looks at each new descriptor, as far as they are available: at most one lap.
    pub(super) fn available(&mut self, mem: &Region) -> u16 {
        let mut descriptors = self.known_descriptors;
        let mut place = self.taken.ahead(descriptors, self.size);
        while descriptors < self.size {
            let flags = mem.read16(self.at(place).wrapping_add(FLAGS));
            if !place.is_available(flags) {
                break;
            }
            descriptors += 1;
            place = place.ahead(1, self.size);
            // Only a whole chain counts. What is in it is looked at when it is taken.
            if flags & NEXT == 0 {
                self.known = self.known.saturating_add(1);
                self.known_descriptors = descriptors;
            }
        }
        self.known
    }

    pub(super) fn pop(
        &mut self,
        mem: &Region,
        pool: &Pool,
        chain: &mut Chain,
    ) -> Result<bool, Fault> {
        // The flags come first; pairs with Linux's barrier before it writes those of the first
        // descriptor.
        let mut flags = mem.observe16(self.at(self.taken).wrapping_add(FLAGS));
        if !self.taken.is_available(flags) {
            if self.known != 0 {
                return Err(Fault::Unavailable(self.taken.at));
            }
            return Ok(false);
        }

        chain.clear();
        let mut place = self.taken;
        let mut count = 0u16;
        // The id that counts is that of the last descriptor (VIRTIO 2.8.6).
        let mut id;
        // `add` bounds this: no chain is longer than the queue.
        loop {
            let at = self.at(place);
            let descriptor = if count == 0 {
                Descriptor {
                    high: flags,
                    ..Descriptor::read_but_flags(mem, at)
                }
            } else {
                let descriptor = Descriptor::read(mem, at);
                flags = descriptor.high;
                if !place.is_available(flags) {
                    return Err(Fault::Unavailable(place.at));
                }
                descriptor
            };
            id = descriptor.low;
            count = count.wrapping_add(1);
            place = place.ahead(1, self.size);
            if flags & !KNOWN != 0 {
                return Err(Fault::DescFlags(flags));
            }
            if flags & INDIRECT != 0 {
                // A table is the whole chain (VIRTIO 2.8.20).
                if !self.features.indirect || count != 1 || flags & NEXT != 0 {
                    return Err(Fault::DescFlags(flags));
                }
                follow(mem, pool, chain, &descriptor, true, self.size)?;
                break;
            }
            chain.add(pool, &descriptor, flags, self.size)?;
            if flags & NEXT == 0 {
                break;
            }
        }

        // INVARIANT: `place` is a place.
        self.taken = place;
        self.known = self.known.saturating_sub(1);
        self.known_descriptors = if self.known == 0 {
            0
        } else {
            self.known_descriptors.saturating_sub(count)
        };
        chain.finish(id, count, self.pending.take());
        Ok(true)
    }

    pub(super) fn push(&mut self, mem: &Region, chain: &Chain, written: u32) -> Result<(), Fault> {
        if let Some(batch) = self.pending.give(chain, written)? {
            self.write(mem, &batch);
        }
        Ok(())
    }

    pub(super) fn undo(&mut self) {
        if let Some(done) = self.pending.undo() {
            // INVARIANT: It was taken there.
            self.taken = self.taken.back(done.descriptors, self.size);
            self.known = self.known.saturating_add(1);
            self.known_descriptors = self
                .known_descriptors
                .saturating_add(done.descriptors)
                .min(self.size);
        }
    }

    /// Writes a used descriptor, over the first of those that the chains had; Linux does not see
    /// it yet.
    fn write(&mut self, mem: &Region, batch: &Batch) {
        let done = &batch.done;
        let at = self.at(self.used);
        let mut flags = if self.used.wrap { AVAIL | USED } else { 0 };
        if done.writable {
            flags |= WRITE;
        }
        mem.write32(at.wrapping_add(LEN), done.len);
        if self.hidden.is_none() {
            mem.write16(at.wrapping_add(ID), done.id);
            self.hidden = Some((at.wrapping_add(FLAGS), flags));
        } else {
            let tail = u32::from(done.id) | (u32::from(flags) << 16);
            mem.write32(at.wrapping_add(ID), tail);
        }
        let count = done.descriptors.min(self.size);
        // INVARIANT: A place again.
        self.used = self.used.ahead(count, self.size);
        let most = 2 * u32::from(self.size);
        self.undecided = self.undecided.saturating_add(count.into()).min(most);
    }

    pub(super) fn publish(&mut self, mem: &Region) -> bool {
        while let Some(batch) = self.pending.next() {
            self.write(mem, &batch);
        }
        let Some((at, flags)) = self.hidden.take() else {
            return false;
        };
        mem.publish16(at, flags);
        true
    }

    pub(super) fn wants_notification(&mut self, mem: &Region) -> bool {
        let new = core::mem::take(&mut self.undecided);
        if new == 0 {
            return false;
        }
        // The flags have to be visible before Linux's wish is read; pairs with the barrier between
        // Linux's write of its wish and its last look at the flags.
        barrier();
        // Both halves at once: they belong together.
        let wish = mem.read32(self.driver);
        match (wish >> 16) as u16 & 3 {
            DISABLE => false,
            ONE if self.features.event_idx => {
                // Passed if it is among those that are new; a place that is none is no reason to
                // keep silent.
                let since = self.used.since(wish as u16, self.size);
                since.is_none_or(|since| (1..=new).contains(&since))
            }
            _ => true,
        }
    }

    /// Sets our event suppression structure, if it is another one.
    fn want(&mut self, mem: &Region, flags: u16, event: u16) {
        let wish = u32::from(event) | (u32::from(flags) << 16);
        if wish != self.wish {
            // At once, so that Linux never sees half of it.
            mem.write32(self.device, wish);
            self.wish = wish;
        }
    }

    pub(super) fn quieten(&mut self, mem: &Region) {
        self.want(mem, DISABLE, 0);
    }

    pub(super) fn listen(&mut self, mem: &Region, least: u16) -> bool {
        let least = least.max(1);
        if !self.features.event_idx {
            self.want(mem, ENABLE, 0);
            // Pairs with Linux's barrier between its flags and its look at our wish.
            barrier();
            return self.available(mem) >= least;
        }
        self.available(mem);
        for _ in 0..TRIES {
            // The descriptor that completes them, if each has one; if they have more and that one is
            // there already, the next.
            let ahead = (least - 1).max(self.known_descriptors);
            let event = self.taken.ahead(ahead.min(self.size - 1), self.size);
            self.want(mem, ONE, event.word());
            // As above.
            barrier();
            if self.available(mem) >= least {
                return true;
            }
            if self.known_descriptors <= ahead {
                return false;
            }
        }
        // They keep coming.
        true
    }
}
