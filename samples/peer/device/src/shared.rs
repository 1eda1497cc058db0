// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the devices of a link have in common.

#![forbid(unsafe_code)]

use crate::mem::{Pool, Region};

/// Vendor id of all devices of this library: "vHVL".
pub const VENDOR: u32 = crate::proto::layout::MAGIC;

/// Most chains of one queue that a device handles in one pass.
pub const BUDGET: usize = 64;

/// What all devices of a link share.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Shared {
    /// The region.
    pub mem: Region,
    /// The part of it that Linux may name in its rings.
    pub pool: Pool,
    /// Number of this boot of ours.
    pub epoch: u32,
}

/// How much may be logged because of what Linux does: lines are slow on a UART, and Linux could
/// cause any number of them.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Quota(u8);

impl Quota {
    /// Lines that may come at once. Each heartbeat allows one more.
    const MOST: u8 = 32;

    /// As many lines as can be.
    pub const fn new() -> Self {
        Self(Self::MOST)
    }

    /// Whether one more line may be logged.
    pub fn take(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        left
    }

    /// A heartbeat period is over.
    pub fn refill(&mut self) {
        self.0 = self.0.saturating_add(1).min(Self::MOST);
    }
}

impl Default for Quota {
    fn default() -> Self {
        Self::new()
    }
}
