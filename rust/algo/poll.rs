// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How often to look where no doorbell says that there is something to see.

/// Bounds of the interval between two looks, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    min_us: u32,
    max_us: u32,
}

impl Bounds {
    /// Shortest interval that can be asked for: a look takes a few microseconds itself.
    pub const LEAST_US: u32 = 10;
    /// Longest: each side has to look once in two seconds anyhow (protocol.rst, "Interrupts").
    pub const MOST_US: u32 = 1_000_000;
    /// What holds where nothing else is said: 250 looks a second when idle.
    pub const DEFAULT: Self = Self {
        min_us: 50,
        max_us: 4000,
    };

    /// These bounds; `None` where they cannot be.
    pub const fn new(min_us: u32, max_us: u32) -> Option<Self> {
        if min_us < Self::LEAST_US || max_us > Self::MOST_US || min_us > max_us {
            return None;
        }
        Some(Self { min_us, max_us })
    }

    /// After something was found.
    pub const fn min_us(self) -> u32 {
        self.min_us
    }

    /// When idle.
    pub const fn max_us(self) -> u32 {
        self.max_us
    }
}

/// The interval: shortest after something was found, since more may follow, and twice as long after each
/// look in vain.
#[derive(Clone, Copy, Debug)]
pub struct Interval {
    bounds: Bounds,
    /// The next one, if nothing is found.
    us: u32,
}

impl Interval {
    /// An interval that begins with the shortest.
    pub const fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            us: bounds.min_us,
        }
    }

    /// An interval that begins with the longest: there is nothing to expect.
    pub const fn rested(bounds: Bounds) -> Self {
        Self {
            bounds,
            us: bounds.max_us,
        }
    }

    /// How long to sleep after a look that `found` something, or not, in microseconds.
    pub fn next(&mut self, found: bool) -> u32 {
        let us = if found { self.bounds.min_us } else { self.us };
        self.us = us.saturating_mul(2).min(self.bounds.max_us);
        us
    }
}
