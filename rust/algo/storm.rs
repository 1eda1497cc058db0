// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A limit on how often the other side may make this one do something.

/// Allows `burst` events in each period of `period_ms`.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    burst: u32,
    period_ms: u64,
    since: u64,
    seen: u32,
}

impl Storm {
    /// A limit of `burst` events per `period_ms`.
    pub const fn new(burst: u32, period_ms: u64) -> Self {
        Self {
            burst,
            period_ms,
            since: 0,
            seen: 0,
        }
    }

    /// Counts one event at `now_ms`, a clock that does not run backwards; `false`: over the limit.
    pub fn allow(&mut self, now_ms: u64) -> bool {
        if self.seen == 0 || now_ms.saturating_sub(self.since) >= self.period_ms {
            self.since = now_ms;
            self.seen = 0;
        }
        if self.seen >= self.burst {
            return false;
        }
        self.seen += 1;
        true
    }
}
