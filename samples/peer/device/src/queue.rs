// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Split virtqueues, device side (VIRTIO 2.7).

#![cfg_attr(not(test), forbid(unsafe_code))]

use crate::mem::{barrier, Pool, Region};

/// Most descriptors of one chain: as many as the protocol allows.
pub const CHAIN_MAX: usize = crate::proto::layout::CHAIN_DESCRIPTORS_MAX;

/// Bytes of a descriptor.
const DESC_SIZE: u32 = 16;
/// Bytes of an element of the used ring.
const USED_SIZE: u32 = 8;
/// Bytes of the flags and the index at the start of either ring.
const RING_HEADER: u32 = 4;

/// Descriptor flags (VIRTIO 2.7.5).
const DESC_NEXT: u16 = 1;
const DESC_WRITE: u16 = 2;
/// The only bits of the descriptor flags that this library understands.
const DESC_KNOWN: u16 = DESC_NEXT | DESC_WRITE;

/// Linux wants no used buffer notifications.
const AVAIL_NO_INTERRUPT: u16 = 1;
/// We want no available buffer notifications.
const USED_NO_NOTIFY: u16 = 1;

/// What Linux did wrong with a virtqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A ring or a buffer reaches outside the pool.
    Outside {
        /// Address that Linux gave.
        address: u64,
        /// Bytes from there on.
        len: u32,
    },
    /// The available index is more than the queue's size ahead.
    AvailIndex(u16),
    /// A descriptor's number is not below the queue's size.
    DescIndex(u16),
    /// A chain has more descriptors than the queue or [`CHAIN_MAX`].
    ChainLength,
    /// A readable descriptor follows a writable one, or a flag is not known.
    DescFlags(u16),
    /// Size not a power of two, or the parts of the queue are misaligned.
    Layout,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Outside { address, len } => {
                write!(f, "{address:#x}+{len:#x} lies outside the pool")
            }
            Self::AvailIndex(index) => write!(f, "available index {index} is too far ahead"),
            Self::DescIndex(index) => write!(f, "descriptor {index} does not exist"),
            Self::ChainLength => f.write_str("a chain is too long, or a loop"),
            Self::DescFlags(flags) => write!(f, "descriptor flags {flags:#x} are not allowed"),
            Self::Layout => f.write_str("size or alignment of the queue is not allowed"),
        }
    }
}

/// One buffer of a chain, checked.
///
/// # Invariants
///
/// Made by [`SplitQueue::pop`], it lies inside the pool.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// From the start of the region.
    offset: u32,
    /// Bytes.
    len: u32,
}

/// A chain of buffers, copied and checked.
#[derive(Debug)]
pub struct Chain {
    head: u16,
    segments: [Segment; CHAIN_MAX],
    /// Number of segments that Linux filled; they come first.
    readable: usize,
    /// Number of all segments.
    count: usize,
    readable_len: u32,
    writable_len: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// An empty chain, for [`SplitQueue::pop`] to fill.
    pub const fn new() -> Self {
        Self {
            head: 0,
            segments: [Segment { offset: 0, len: 0 }; CHAIN_MAX],
            readable: 0,
            count: 0,
            readable_len: 0,
            writable_len: 0,
        }
    }

    /// Number under which the chain is given back.
    pub const fn head(&self) -> u16 {
        self.head
    }

    /// Bytes that Linux wrote for us.
    pub const fn readable_len(&self) -> u32 {
        self.readable_len
    }

    /// Bytes that Linux has room for.
    pub const fn writable_len(&self) -> u32 {
        self.writable_len
    }

    /// Copies out what Linux wrote, from byte `skip` on; returns how many bytes that were.
    pub fn read(&self, mem: &Region, skip: u32, to: &mut [u8]) -> usize {
        let mut done = 0;
        let segments = self.segments.get(..self.readable).unwrap_or(&[]);
        walk(segments, skip, to.len(), |offset, at, len| {
            done = at + len;
            to.get_mut(at..at + len)
                .is_some_and(|part| mem.read_bytes(offset, part))
        });
        done
    }

    /// Copies `from` into the room that Linux gave, from its byte `skip` on; returns how many
    /// bytes fitted.
    pub fn write(&self, mem: &Region, skip: u32, from: &[u8]) -> usize {
        let mut done = 0;
        let segments = self.segments.get(self.readable..self.count).unwrap_or(&[]);
        walk(segments, skip, from.len(), |offset, at, len| {
            done = at + len;
            from.get(at..at + len)
                .is_some_and(|part| mem.write_bytes(offset, part))
        });
        done
    }

    /// Where the `N` bytes of the room from `skip` on are, to be written once the chain has been
    /// given back; `None` if there are fewer.
    pub fn places<const N: usize>(&self, skip: u32) -> Option<Places<N>> {
        let segments = self.segments.get(self.readable..self.count)?;
        let mut places = Places {
            list: [Segment::default(); N],
        };
        let mut free = places.list.iter_mut();
        let mut found = 0;
        walk(segments, skip, N, |offset, _, len| {
            // No piece is empty, so there is a slot for each.
            if let Some(slot) = free.next() {
                // At most `N`.
                let len = len as u32;
                // INVARIANT: A part of a segment lies inside the pool as well.
                *slot = Segment { offset, len };
                found += len as usize;
            }
            true
        });
        (found == N).then_some(places)
    }

    /// Adds a segment; `false` if there is no room for one more.
    fn add(&mut self, segment: Segment, writable: bool) -> bool {
        let Some(slot) = self.segments.get_mut(self.count) else {
            return false;
        };
        *slot = segment;
        self.count += 1;
        if writable {
            self.writable_len = self.writable_len.saturating_add(segment.len);
        } else {
            self.readable += 1;
            self.readable_len = self.readable_len.saturating_add(segment.len);
        }
        true
    }
}

/// Places for `N` bytes, in as many pieces as it may be.
#[derive(Clone, Copy, Debug)]
pub struct Places<const N: usize> {
    list: [Segment; N],
}

impl<const N: usize> Places<N> {
    /// Writes the bytes.
    pub fn write(&self, mem: &Region, bytes: &[u8; N]) {
        let mut rest = &bytes[..];
        for piece in &self.list {
            let (now, later) = rest.split_at(rest.len().min(piece.len as usize));
            // Inside the region, by the invariant.
            mem.write_bytes(piece.offset, now);
            rest = later;
        }
    }
}

/// Calls `f(offset in the region, position, length)` for each part of the `total` bytes that begin
/// `skip` bytes into `segments`, until `f` returns `false`.
fn walk(
    segments: &[Segment],
    skip: u32,
    total: usize,
    mut f: impl FnMut(u32, usize, usize) -> bool,
) {
    let mut skip = skip;
    let mut at = 0;
    for segment in segments {
        if at == total {
            return;
        }
        if skip >= segment.len {
            skip -= segment.len;
            continue;
        }
        let len = ((segment.len - skip) as usize).min(total - at);
        // A segment lies inside the region, so this cannot wrap.
        if !f(segment.offset.wrapping_add(skip), at, len) {
            return;
        }
        skip = 0;
        at += len;
    }
}

/// What Linux says of a virtqueue before it makes it ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Entries.
    pub size: u32,
    /// Address of the descriptor table.
    pub desc: u64,
    /// Address of the available ring.
    pub driver: u64,
    /// Address of the used ring.
    pub device: u64,
}

/// Where the parts of a split virtqueue lie in the region, and its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) size: u16,
    pub(crate) desc: u32,
    pub(crate) avail: u32,
    pub(crate) used: u32,
}

/// A split virtqueue that is ready.
///
/// # Invariants
///
/// `size` is a power of two up to 32768; descriptor table and both rings of that size lie inside
/// the pool at `desc`, `avail` and `used`, aligned as VIRTIO 2.7 wants it.
#[derive(Debug)]
pub struct SplitQueue {
    size: u16,
    desc: u32,
    avail: u32,
    used: u32,
    event_idx: bool,
    /// Available entries that were taken.
    taken: u16,
    /// The last available index that was read.
    avail_seen: u16,
    /// Used entries that were written, and how far the ring shows them.
    used_next: u16,
    used_shown: u16,
    /// `used_next` when it was last decided whether to notify.
    used_decided: u16,
    /// Whether Linux was told not to notify.
    quiet: bool,
}

impl SplitQueue {
    /// Checks what Linux says of a queue.
    ///
    /// # Errors
    ///
    /// [`Fault::Layout`] or [`Fault::Outside`].
    pub fn new(layout: &Layout, pool: &Pool, event_idx: bool) -> Result<Self, Fault> {
        let size = u16::try_from(layout.size).map_err(|_| Fault::Layout)?;
        if !size.is_power_of_two() {
            return Err(Fault::Layout);
        }
        let entries = u32::from(size);
        let place = |address: u64, len: u32, align: u64| {
            if address % align != 0 {
                return Err(Fault::Layout);
            }
            pool.translate(address, len)
                .ok_or(Fault::Outside { address, len })
        };
        // Each ring ends with the event index of the other side. `entries` is at most 32768.
        // INVARIANT: Checked here.
        Ok(Self {
            size,
            desc: place(layout.desc, entries * DESC_SIZE, 16)?,
            avail: place(layout.driver, RING_HEADER + entries * 2 + 2, 2)?,
            used: place(layout.device, RING_HEADER + entries * USED_SIZE + 2, 4)?,
            event_idx,
            taken: 0,
            avail_seen: 0,
            used_next: 0,
            used_shown: 0,
            used_decided: 0,
            quiet: false,
        })
    }

    /// Entries of the queue.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Where it lies.
    pub(crate) const fn parts(&self) -> Parts {
        Parts {
            size: self.size,
            desc: self.desc,
            avail: self.avail,
            used: self.used,
        }
    }

    /// Chains that Linux has made available and that were not taken yet.
    ///
    /// # Errors
    ///
    /// [`Fault::AvailIndex`].
    pub fn available(&mut self, mem: &Region) -> Result<u16, Fault> {
        let index = mem.observe16(self.avail.wrapping_add(2));
        let count = index.wrapping_sub(self.taken);
        if count > self.size {
            return Err(Fault::AvailIndex(index));
        }
        self.avail_seen = index;
        Ok(count)
    }

    /// Takes the next available chain; `false` if there is none.
    ///
    /// # Errors
    ///
    /// Any [`Fault`] but [`Fault::Layout`]. The queue cannot go on after one.
    pub fn pop(&mut self, mem: &Region, pool: &Pool, chain: &mut Chain) -> Result<bool, Fault> {
        if self.taken == self.avail_seen && self.available(mem)? == 0 {
            return Ok(false);
        }

        let slot = u32::from(self.taken & (self.size - 1));
        let head = mem.read16(self.avail.wrapping_add(RING_HEADER + slot * 2));
        chain.head = head;
        chain.readable = 0;
        chain.count = 0;
        chain.readable_len = 0;
        chain.writable_len = 0;

        let mut next = head;
        let mut writable = false;
        loop {
            if next >= self.size {
                return Err(Fault::DescIndex(next));
            }
            let desc = self.desc.wrapping_add(u32::from(next) * DESC_SIZE);
            let address =
                u64::from(mem.read32(desc)) | (u64::from(mem.read32(desc.wrapping_add(4))) << 32);
            let len = mem.read32(desc.wrapping_add(8));
            let flags = mem.read16(desc.wrapping_add(12));

            if flags & !DESC_KNOWN != 0 || (writable && flags & DESC_WRITE == 0) {
                return Err(Fault::DescFlags(flags));
            }
            writable = flags & DESC_WRITE != 0;

            let offset = pool
                .translate(address, len)
                .ok_or(Fault::Outside { address, len })?;
            // INVARIANT: `translate` has checked that it lies inside the pool.
            // The bound ends loops as well: no chain is longer than the queue.
            if chain.count >= usize::from(self.size)
                || !chain.add(Segment { offset, len }, writable)
            {
                return Err(Fault::ChainLength);
            }
            if flags & DESC_NEXT == 0 {
                break;
            }
            next = mem.read16(desc.wrapping_add(14));
        }

        self.taken = self.taken.wrapping_add(1);
        Ok(true)
    }

    /// Writes the element of the used ring for a chain; Linux does not see it before
    /// [`SplitQueue::publish`].
    pub fn push(&mut self, mem: &Region, head: u16, written: u32) {
        let slot = u32::from(self.used_next & (self.size - 1));
        let element = self.used.wrapping_add(RING_HEADER + slot * USED_SIZE);
        mem.write32(element, u32::from(head));
        mem.write32(element.wrapping_add(4), written);
        self.used_next = self.used_next.wrapping_add(1);
    }

    /// Takes back the last element of the used ring, if Linux does not see it yet, and its chain,
    /// which has to be the last that was popped, to be popped again.
    pub fn undo(&mut self) {
        if self.used_next != self.used_shown {
            self.used_next = self.used_next.wrapping_sub(1);
            self.taken = self.taken.wrapping_sub(1);
        }
    }

    /// Shows Linux all used elements; `true` if there were new ones.
    pub fn publish(&mut self, mem: &Region) -> bool {
        if self.used_shown == self.used_next {
            return false;
        }
        mem.publish16(self.used.wrapping_add(2), self.used_next);
        self.used_shown = self.used_next;
        true
    }

    /// Whether Linux wants a notification for what was published since the last call.
    pub fn wants_notification(&mut self, mem: &Region) -> bool {
        let old = self.used_decided;
        let new = self.used_shown;
        if old == new {
            return false;
        }
        self.used_decided = new;
        // The index has to be visible before Linux's wish is read; pairs with the barrier between
        // Linux's write of its wish and its last look at the index.
        barrier();
        if self.event_idx {
            let tail = RING_HEADER + u32::from(self.size) * 2;
            let event = mem.read16(self.avail.wrapping_add(tail));
            // VIRTIO 2.7.10: notify when the index passes the event.
            new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
        } else {
            mem.read16(self.avail) & AVAIL_NO_INTERRUPT == 0
        }
    }

    /// Tells Linux that it need not notify: we look by ourselves.
    pub fn quieten(&mut self, mem: &Region) {
        // With the event index it is enough not to move the event.
        if !self.event_idx && !self.quiet {
            mem.write16(self.used, USED_NO_NOTIFY);
        }
        self.quiet = true;
    }

    /// Asks Linux to notify once there are `least` chains, at least one; `true` if there are
    /// already.
    ///
    /// Without event index Linux notifies of each.
    ///
    /// # Errors
    ///
    /// [`Fault::AvailIndex`].
    pub fn listen(&mut self, mem: &Region, least: u16) -> Result<bool, Fault> {
        let least = least.max(1);
        if self.quiet || self.event_idx {
            if self.event_idx {
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

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
