// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Minimum, median and maximum of a set of round-trip times.

/// Summary of a measurement, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Number of samples.
    pub count: usize,
    /// Shortest.
    pub min: u64,
    /// Middle one; the lower of two.
    pub median: u64,
    /// 99 of 100 were at most this long.
    pub p99: u64,
    /// Longest.
    pub max: u64,
}

/// Sorts `samples` and sums them up; all zero for an empty set.
pub fn summarize(samples: &mut [u64]) -> Summary {
    samples.sort_unstable();
    let count = samples.len();
    let at = |index: usize| samples.get(index).copied().unwrap_or(0);
    let last = count.saturating_sub(1);
    Summary {
        count,
        min: at(0),
        median: at(last / 2),
        p99: at(last.saturating_sub(count / 100)),
        max: at(last),
    }
}
