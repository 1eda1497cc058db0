// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Division of a link's pool into one part per virtqueue, so that queues never contend.

use super::super::proto::layout::PAGE;

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
            Some(each) => each - each % PAGE,
            None => 0,
        };
        Self {
            offset,
            each,
            count,
        }
    }

    /// Bytes that each queue gets.
    pub fn each(&self) -> u32 {
        self.each
    }

    /// Offset and size of part `index`; `None` for a queue that was not counted, or where the
    /// pool has less than a page per queue.
    pub fn part(&self, index: u32) -> Option<(u32, u32)> {
        if index >= self.count || self.each == 0 {
            return None;
        }
        let start = self.each.checked_mul(index)?.checked_add(self.offset)?;
        Some((start, self.each))
    }
}
