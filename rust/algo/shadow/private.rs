// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The device's side of the private ring: a split virtqueue (VIRTIO 2.7) in memory that nobody but
//! the driver and we write, without event index and without indirect descriptors.
//!
//! What the driver writes is believed, but no value of it makes anything here panic.

use super::super::ring::{Memory, Segment};

/// In the available ring's flags: the driver does not want to be called (VIRTIO 2.7.6).
const NO_INTERRUPT: u16 = 1;
/// Descriptor flags (VIRTIO 2.7.5).
const NEXT: u16 = 1;
const WRITE: u16 = 2;
/// From the start of either ring to its index, and to its first element.
const INDEX: u32 = 2;
const RING: u32 = 4;
/// Bytes of a descriptor, an element of the available and of the used ring.
const DESC: u32 = 16;
const AVAIL: u32 = 2;
const USED: u32 = 8;

/// A descriptor of the private ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desc {
    /// What [`Shadow::map`](super::Shadow::map) returned, and how many bytes from there.
    pub(super) part: Segment,
    /// The device writes it.
    pub(super) writable: bool,
    /// Number of the next one of the chain.
    pub(super) next: Option<u16>,
}

/// The private ring, as the device that the driver takes us for.
#[derive(Debug)]
pub(super) struct Private {
    size: u16,
    /// Offset of the used ring. The descriptors begin at 0, the available ring behind them.
    used: u32,
    /// Available elements that were taken.
    taken: u16,
    /// Used elements that were written, and how many of them the driver sees.
    written: u16,
    shown: u16,
}

impl Private {
    /// A ring of `size` entries, a power of two, whose used ring is aligned to `align` bytes.
    pub(super) const fn new(size: u16, align: u32) -> Self {
        let avail = size as u32 * DESC;
        let end = avail + RING + size as u32 * AVAIL + 2;
        Self {
            size,
            used: end.next_multiple_of(align),
            taken: 0,
            written: 0,
            shown: 0,
        }
    }

    /// Entries.
    pub(super) const fn size(&self) -> u16 {
        self.size
    }

    const fn avail(&self) -> u32 {
        self.size as u32 * DESC
    }

    const fn slot(&self, index: u16) -> u32 {
        (index & self.size.wrapping_sub(1)) as u32
    }

    /// Head of the next chain that the driver has made available; it stays the next one.
    pub(super) fn peek<P: Memory + ?Sized>(&self, memory: &P) -> Option<u16> {
        if memory.read16(self.avail() + INDEX) == self.taken {
            return None;
        }
        // Pairs with the driver's barrier between an element and the index.
        memory.read_barrier();
        Some(memory.read16(self.avail() + RING + self.slot(self.taken) * AVAIL))
    }

    /// Takes the chain that [`Private::peek`] has shown.
    pub(super) fn take(&mut self) {
        self.taken = self.taken.wrapping_add(1);
    }

    /// Descriptor `number`; one that does not exist is empty.
    pub(super) fn desc<P: Memory + ?Sized>(&self, memory: &P, number: u16) -> Desc {
        let at = self.slot(number) * DESC;
        let address = u64::from(memory.read32(at)) | (u64::from(memory.read32(at + 4)) << 32);
        let tail = memory.read32(at + 12);
        let flags = tail as u16;
        Desc {
            part: Segment {
                address,
                len: memory.read32(at + 8),
            },
            writable: flags & WRITE != 0,
            next: (flags & NEXT != 0).then_some((tail >> 16) as u16),
        }
    }

    /// Writes a used element; the driver does not see it before [`Private::show`].
    pub(super) fn push<P: Memory + ?Sized>(&mut self, memory: &P, head: u16, len: u32) {
        let at = self.used + RING + self.slot(self.written) * USED;
        memory.write32(at, u32::from(head));
        memory.write32(at + 4, len);
        self.written = self.written.wrapping_add(1);
    }

    /// Whether the driver has put all its buffers into the ring, or none ever: it holds none of what it was shown.
    pub(super) fn is_home<P: Memory + ?Sized>(&self, memory: &P) -> bool {
        let added = memory.read16(self.avail() + INDEX);
        let there = added.wrapping_sub(self.written);
        there == self.size || (added == 0 && self.written == 0)
    }

    /// Shows the driver the used elements; whether it wants to be called for new ones.
    pub(super) fn show<P: Memory + ?Sized>(&mut self, memory: &P) -> bool {
        if self.shown == self.written {
            return false;
        }
        // Elements before the index; pairs with the driver's barrier after its look at the index.
        memory.write_barrier();
        memory.write16(self.used + INDEX, self.written);
        self.shown = self.written;
        // The index before the driver's wish; pairs with the driver's barrier between its wish and
        // its last look at the index.
        memory.full_barrier();
        memory.read16(self.avail()) & NO_INTERRUPT == 0
    }
}
