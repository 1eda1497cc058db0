// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Descriptors, as they are written into a ring or an indirect table.

use super::layout::DESC;
use super::{Memory, Segment};

/// The chain goes on (VIRTIO 2.7.5, 2.8.6).
pub(super) const NEXT: u16 = 1;
/// The device writes, and does not read (VIRTIO 2.7.5); or it has written (2.8.3).
pub(super) const WRITE: u16 = 2;
/// The buffer holds descriptors (VIRTIO 2.7.5.3, 2.8.7).
pub(super) const INDIRECT: u16 = 4;

/// Writes address and length; the last word of the descriptor is the caller's.
pub(super) fn buffer<M: Memory + ?Sized>(memory: &M, at: u32, segment: Segment) {
    memory.write32(at, segment.address as u32);
    memory.write32(at.wrapping_add(4), (segment.address >> 32) as u32);
    memory.write32(at.wrapping_add(8), segment.len);
}

/// The segments of a chain, in order, each with its flags: the readable ones come first.
pub(super) fn chain<'a>(
    readable: &'a [Segment],
    writable: &'a [Segment],
) -> impl Iterator<Item = (Segment, u16)> + 'a {
    let total = readable.len().saturating_add(writable.len());
    readable
        .iter()
        .map(|segment| (*segment, 0))
        .chain(writable.iter().map(|segment| (*segment, WRITE)))
        .zip(1..)
        .map(move |((segment, flags), count)| {
            let next = if count < total { NEXT } else { 0 };
            (segment, flags | next)
        })
}

/// Writes an indirect table at `at`, its descriptors one after the other.
///
/// A split virtqueue links them all the same (VIRTIO 2.7.5.3); a packed one takes the table's
/// length, and knows no flag but WRITE there (2.8.7).
pub(super) fn indirect<M: Memory + ?Sized>(
    memory: &M,
    at: u32,
    packed: bool,
    readable: &[Segment],
    writable: &[Segment],
) {
    let mut at = at;
    for ((segment, flags), next) in chain(readable, writable).zip(1u32..) {
        buffer(memory, at, segment);
        let tail = if packed {
            // Id, which nobody looks at, and flags.
            u32::from(flags & WRITE) << 16
        } else if flags & NEXT != 0 {
            u32::from(flags) | (next << 16)
        } else {
            u32::from(flags)
        };
        memory.write32(at.wrapping_add(12), tail);
        at = at.wrapping_add(DESC);
    }
}
