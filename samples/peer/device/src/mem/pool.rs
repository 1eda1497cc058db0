// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where Linux may point to.

#![forbid(unsafe_code)]

use super::Window;

/// The part of the region in which everything that Linux names has to lie, and what else its buffers
/// may lie in.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Pool {
    /// Address at which this program sees the region's first byte; rings hold such addresses.
    peer_base: u64,
    /// First byte, from the start of the region.
    start: u32,
    /// Behind the last byte, from the start of the region.
    end: u32,
    /// Linux's own memory.
    windows: &'static [Window],
}

impl Pool {
    /// What is added to the address of a place outside of the region: offsets in it are less.
    pub const BEYOND: u64 = 1 << 32;

    /// The pool of `size` bytes at `start` in a region that this program sees at `peer_base`.
    pub const fn new(peer_base: u64, start: u32, size: u32) -> Self {
        Self {
            peer_base,
            start,
            end: start.saturating_add(size),
            windows: &[],
        }
    }

    /// The same pool; buffers may lie in `windows` as well.
    #[must_use]
    pub const fn with_windows(self, windows: &'static [Window]) -> Self {
        Self { windows, ..self }
    }

    /// Offset in the region of `len` bytes at `address`, if all of them lie in the pool.
    pub fn translate(&self, address: u64, len: u32) -> Option<u32> {
        let offset = u32::try_from(address.checked_sub(self.peer_base)?).ok()?;
        let end = offset.checked_add(len)?;
        (offset >= self.start && end <= self.end).then_some(offset)
    }

    /// The place of the buffer of `len` bytes at `address`, if it may lie there: its offset in the region,
    /// or its address and [`Pool::BEYOND`].
    pub fn reach(&self, address: u64, len: u32) -> Option<u64> {
        match self.translate(address, len) {
            Some(offset) => Some(offset.into()),
            None => {
                let mut windows = self.windows.iter();
                windows.find(|window| window.holds(address, len.into()))?;
                address.checked_add(Self::BEYOND)
            }
        }
    }
}
