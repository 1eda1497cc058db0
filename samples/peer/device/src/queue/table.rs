// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Descriptors, in a ring or in an indirect table.

#![forbid(unsafe_code)]

use super::chain::Chain;
use super::{Fault, CHAIN_MAX};
use crate::mem::{Pool, Region};

/// Bytes of a descriptor.
pub(super) const SIZE: u32 = 16;

/// The chain goes on (VIRTIO 2.7.5, 2.8.6).
pub(super) const NEXT: u16 = 1;
/// The device writes (VIRTIO 2.7.5), or has written (2.8.3).
pub(super) const WRITE: u16 = 2;
/// The buffer is a table of descriptors (VIRTIO 2.7.5.3, 2.8.7).
pub(super) const INDIRECT: u16 = 4;

/// A descriptor's buffer, and its last word: flags and next number in a split virtqueue, id and
/// flags in a packed one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) len: u32,
    /// Lower half of the last word.
    pub(super) low: u16,
    /// Upper half.
    pub(super) high: u16,
}

impl Descriptor {
    /// Reads the descriptor at offset `at` of the region, a multiple of 4, each word once.
    pub(super) fn read(mem: &Region, at: u32) -> Self {
        let word = |index: u32| mem.read32(at.wrapping_add(4 * index));
        Self::of([word(0), word(1), word(2), word(3)])
    }

    /// Reads it but for the upper half of the last word, which was read before.
    pub(super) fn read_but_flags(mem: &Region, at: u32) -> Self {
        let word = |index: u32| mem.read32(at.wrapping_add(4 * index));
        let id = mem.read16(at.wrapping_add(12));
        Self::of([word(0), word(1), word(2), id.into()])
    }

    /// Reads that at any offset.
    fn read_unaligned(mem: &Region, at: u32) -> Self {
        let mut bytes = [0; SIZE as usize];
        mem.read_bytes(at, &mut bytes);
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = bytes.try_into().map_or(0, u32::from_le_bytes);
        }
        Self::of(words)
    }

    const fn of(words: [u32; 4]) -> Self {
        let [low, high, len, tail] = words;
        Self {
            address: low as u64 | ((high as u64) << 32),
            len,
            low: tail as u16,
            high: (tail >> 16) as u16,
        }
    }
}

/// Adds what the indirect table says to the chain: `table` is the descriptor that names it, `size`
/// the queue's.
pub(super) fn follow(
    mem: &Region,
    pool: &Pool,
    chain: &mut Chain,
    table: &Descriptor,
    packed: bool,
    size: u16,
) -> Result<(), Fault> {
    let (address, len) = (table.address, table.len);
    if len == 0 || len % SIZE != 0 {
        return Err(Fault::Table(len));
    }
    let offset = pool
        .translate(address, len)
        .ok_or(Fault::Outside { address, len })?;
    // A table that is larger than a chain may be need not be used up to its end, but in a packed
    // virtqueue.
    let count = len / SIZE;
    let read = |index: u32| Descriptor::read_unaligned(mem, offset.wrapping_add(index * SIZE));
    if packed {
        // The table's length is that of the chain (VIRTIO 2.8.7).
        if count > u32::from(size) || count as usize > CHAIN_MAX {
            return Err(Fault::ChainLength);
        }
        for index in 0..count {
            let descriptor = read(index);
            if descriptor.high & !WRITE != 0 {
                return Err(Fault::DescFlags(descriptor.high));
            }
            chain.add(pool, &descriptor, descriptor.high, size)?;
        }
        return Ok(());
    }
    let mut next = 0u16;
    // `add` bounds this.
    loop {
        if u32::from(next) >= count {
            return Err(Fault::DescIndex(next));
        }
        let descriptor = read(next.into());
        // No table in a table (VIRTIO 2.7.5.3.1).
        if descriptor.low & !(NEXT | WRITE) != 0 {
            return Err(Fault::DescFlags(descriptor.low));
        }
        chain.add(pool, &descriptor, descriptor.low, size)?;
        if descriptor.low & NEXT == 0 {
            return Ok(());
        }
        next = descriptor.high;
    }
}
