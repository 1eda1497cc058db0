// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Division of a link's pool into one part per virtqueue, so that queues never contend.

use super::super::proto::layout::{LINE, PAGE, SHARE_MIN};

/// Equal parts of a pool, each a whole number of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    offset: u32,
    each: u32,
    count: u32,
}

impl Shares {
    /// Divides the `size` bytes at `offset` among `count` queues.
    pub fn new(offset: u32, size: u32, count: u32) -> Self {
        let each = match size.checked_div(count) {
            Some(each) if each >= SHARE_MIN => each - each % PAGE,
            _ => 0,
        };
        Self {
            offset,
            each,
            count,
        }
    }

    /// Bytes that each queue gets, 0 where the pool has less than [`SHARE_MIN`] for each.
    pub fn each(&self) -> u32 {
        self.each
    }

    /// Offset and size of part `index`; `None` for a queue that was not counted, or where the
    /// pool has less than [`SHARE_MIN`] for each.
    pub fn part(&self, index: u32) -> Option<(u32, u32)> {
        if index >= self.count || self.each == 0 {
            return None;
        }
        let start = self.each.checked_mul(index)?.checked_add(self.offset)?;
        Some((start, self.each))
    }
}

/// Bytes of a split virtqueue of `size` entries, with its used ring in a line of its own
/// (VIRTIO 2.7).
fn ring_bytes(size: u32) -> u64 {
    let size = u64::from(size);
    let driver = 16 * size + 6 + 2 * size;
    driver.next_multiple_of(u64::from(LINE)) + 6 + 8 * size
}

/// Entries of a virtqueue that may have `size_max` of them, a power of two, in a share of `share`
/// bytes: so many that its ring takes a quarter of the share at most. The rest is for buffers.
pub fn ring_max(size_max: u32, share: u32) -> u32 {
    let mut size = size_max;
    // The allocator rounds up to a power of two.
    while size > 1 && ring_bytes(size).next_power_of_two() > u64::from(share / 4) {
        size /= 2;
    }
    size
}
