// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whether a peer that lives gives back what a queue has given to it.

/// What is known of a queue whose buffers should come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stall {
    /// Buffers that had come back when it was looked at last.
    used: u64,
    /// Since when, in milliseconds, the peer has some and none has come back; `None`: it has none.
    since: Option<u64>,
    /// That this is so for too long was said.
    said: bool,
}

impl Stall {
    /// A queue that was not looked at yet.
    pub const fn new() -> Self {
        Self {
            used: 0,
            since: None,
            said: false,
        }
    }

    /// Looks at the queue, of which `used` buffers have come back in all, at `now_ms`, a clock that does not run
    /// backwards; `settled`: the peer has none. For how long none has come back, if that is `limit_ms` at least and was not said.
    pub fn look(&mut self, settled: bool, used: u64, limit_ms: u64, now_ms: u64) -> Option<u64> {
        if settled {
            *self = Self {
                used,
                ..Self::new()
            };
            return None;
        }
        if used != self.used || self.since.is_none() {
            *self = Self {
                used,
                since: Some(now_ms),
                said: false,
            };
        }
        let silent = now_ms.saturating_sub(self.since?);
        (!self.said && silent >= limit_ms).then_some(silent)
    }

    /// It was said. It is again when some have come back since.
    pub fn note_said(&mut self) {
        self.said = true;
    }

    /// Whether it was said, and is still so.
    pub const fn is_known(&self) -> bool {
        self.said
    }
}
