// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where Linux may point to.

#![forbid(unsafe_code)]

/// The part of the region in which everything that Linux names has to lie.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// Address at which this program sees the region's first byte; rings hold such addresses.
    peer_base: u64,
    /// First byte, from the start of the region.
    start: u32,
    /// Behind the last byte, from the start of the region.
    end: u32,
}

impl Pool {
    /// The pool of `size` bytes at `start` in a region that this program sees at `peer_base`.
    pub const fn new(peer_base: u64, start: u32, size: u32) -> Self {
        Self {
            peer_base,
            start,
            end: start.saturating_add(size),
        }
    }

    /// Offset in the region of `len` bytes at `address`, if all of them lie in the pool.
    pub fn translate(&self, address: u64, len: u32) -> Option<u32> {
        let offset = u32::try_from(address.checked_sub(self.peer_base)?).ok()?;
        let end = offset.checked_add(len)?;
        (offset >= self.start && end <= self.end).then_some(offset)
    }
}
