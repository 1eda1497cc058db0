// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A limit on how often the other side may make this one do something.

/// Parts of the period that are counted by themselves, at most.
const PARTS: u64 = 8;
/// A stretch as long as the period lies in so many of them, wherever it begins.
const COUNTED: usize = PARTS as usize + 1;

/// Allows `burst` events in any stretch of `period_ms`. What was allowed is forgotten after that long, or up to two
/// eighths of it later.
#[derive(Clone, Copy, Debug)]
pub struct Storm {
    burst: u32,
    /// Milliseconds of a part, never 0, and how many parts a stretch may lie in.
    length: u64,
    parts: u64,
    /// The last part in which there was an event, by number, and how many were allowed in it and in those
    /// before: that of part `n` stands at `n` modulo their number.
    last: u64,
    seen: [u32; COUNTED],
}

impl Storm {
    /// A limit of `burst` events per `period_ms`.
    pub const fn new(burst: u32, period_ms: u64) -> Self {
        let length = period_ms.div_ceil(PARTS);
        let length = if length == 0 { 1 } else { length };
        Self {
            burst,
            length,
            parts: period_ms.div_ceil(length) + 1,
            last: 0,
            seen: [0; COUNTED],
        }
    }

    /// Counts one event at `now_ms`, a clock that does not run backwards; `false`: over the limit.
    pub fn allow(&mut self, now_ms: u64) -> bool {
        let part = (now_ms / self.length).max(self.last);
        // Those that have begun since had none.
        for number in (self.last..part).take(COUNTED) {
            if let Some(seen) = self.place(number.wrapping_add(1)) {
                *seen = 0;
            }
        }
        self.last = part;
        let mut sum = 0u32;
        for before in 0..self.parts {
            let place = part.checked_sub(before).and_then(|part| self.place(part));
            sum = sum.saturating_add(place.map_or(0, |seen| *seen));
        }
        if sum >= self.burst {
            return false;
        }
        if let Some(seen) = self.place(part) {
            *seen = seen.saturating_add(1);
        }
        true
    }

    fn place(&mut self, part: u64) -> Option<&mut u32> {
        self.seen.get_mut((part % COUNTED as u64) as usize)
    }
}
