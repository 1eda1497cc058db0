// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How long to look around before sleep.

use crate::time::Clock;

/// Microseconds of looking around before sleep: they double when that finds something, up to what
/// the command line allows, and halve when it does not.
const SPIN_MIN: u64 = 4;

/// How long to look around before sleep.
pub(crate) struct Spin {
    window: u64,
    /// Most of it; 0: no look around at all.
    most: u64,
    /// Microseconds at which the look around ends; 0: there is none.
    until: u64,
}

impl Spin {
    /// No more than `most` microseconds.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            window: SPIN_MIN.min(most),
            most,
            until: 0,
        }
    }

    /// Whether there is any look around.
    pub(crate) const fn is_any(&self) -> bool {
        self.most != 0
    }

    /// Something was found: there may be more.
    pub(crate) fn found(&mut self) {
        if self.until != 0 {
            self.window = (self.window * 2).min(self.most);
        }
        self.until = 0;
    }

    /// Whether to look around once more before sleep.
    pub(crate) fn goes_on(&mut self, clock: &Clock) -> bool {
        if self.most == 0 {
            return false;
        }
        let now = clock.micros();
        if self.until == 0 {
            self.until = now + self.window;
            return true;
        }
        if now < self.until {
            return true;
        }
        self.window = (self.window / 2).max(SPIN_MIN.min(self.most));
        false
    }

    /// There was a sleep.
    pub(crate) fn slept(&mut self) {
        self.until = 0;
    }
}
