// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Shares of a pool, limits of storms, summaries of round trips, epochs.

use hvl_logic::algo::rtt::{summarize, Summary};
use hvl_logic::algo::share::{ring_max, Shares};
use hvl_logic::algo::storm::Storm;
use hvl_logic::proto::layout::{PAGE, QUEUE_SIZE_MAX, SHARE_MIN};
use hvl_logic::proto::state::next_epoch;
use proptest::prelude::*;

fn check_shares(offset: u32, size: u32, count: u32) {
    let shares = Shares::new(offset, size, count);
    let each = shares.each();
    assert_eq!(each % PAGE, 0);
    let end = u64::from(offset) + u64::from(size);
    let mut next = u64::from(offset);
    for index in 0..count {
        let Some((start, bytes)) = shares.part(index) else {
            assert_eq!(each, 0, "part {index} is missing");
            continue;
        };
        assert_eq!(bytes, each);
        assert!(bytes > 0, "part {index} is empty");
        // In order and without a gap, so disjoint.
        assert_eq!(u64::from(start), next);
        next += u64::from(bytes);
        assert!(next <= end, "part {index} reaches out of the pool");
    }
    for index in [count, count.saturating_add(1), u32::MAX] {
        assert_eq!(shares.part(index), None);
    }
    if count == 0 {
        assert_eq!(each, 0);
    } else if each == 0 {
        // Too little for each.
        assert!(size / count < SHARE_MIN);
    } else {
        assert!(each >= SHARE_MIN);
        // No part could be a page larger.
        assert!((u64::from(each) + u64::from(PAGE)) * u64::from(count) > u64::from(size));
    }
}

/// Bytes of a ring as the specification lays it out (VIRTIO 2.7), a power of two for the allocator.
fn ring_block(size: u64) -> u64 {
    let used = (16 * size + 6 + 2 * size).div_ceil(64) * 64;
    (used + 6 + 8 * size).next_power_of_two()
}

#[test]
fn rings_leave_room_for_buffers() {
    for share in [
        SHARE_MIN,
        SHARE_MIN + PAGE,
        1 << 18,
        1 << 20,
        (1 << 22) + PAGE,
        0xffff_e000,
    ] {
        for order in 0..=15 {
            let wanted = 1u32 << order;
            let size = ring_max(wanted, share);
            assert!(size.is_power_of_two() && size <= wanted);
            assert!(
                ring_block(u64::from(size)) <= u64::from(share / 4),
                "{wanted} in {share}"
            );
            // Not smaller than it has to be.
            if size < wanted {
                assert!(ring_block(2 * u64::from(size)) > u64::from(share / 4));
            }
        }
    }
    assert_eq!(ring_max(256, 1 << 20), 256);
    assert_eq!(ring_max(QUEUE_SIZE_MAX, SHARE_MIN), 128);
    assert_eq!(ring_max(QUEUE_SIZE_MAX, 4 << 20), QUEUE_SIZE_MAX);
    // No share at all: nothing fits, and it still ends.
    assert_eq!(ring_max(QUEUE_SIZE_MAX, 0), 1);
}

#[test]
fn shares_at_the_limits() {
    let max = 0xffff_e000;
    for count in [0, 1, 2, 3, 63, 64, 65, 2048] {
        for size in [0, PAGE, 64 * PAGE - PAGE, 64 * PAGE, 65 * PAGE, max] {
            check_shares(PAGE, size, count);
        }
    }
    assert_eq!(Shares::new(PAGE, max, 1).part(0), Some((PAGE, max)));
    assert_eq!(Shares::new(PAGE, 2 * SHARE_MIN - PAGE, 2).part(0), None);
    assert_eq!(
        Shares::new(PAGE, 2 * SHARE_MIN, 2).part(1),
        Some((PAGE + SHARE_MIN, SHARE_MIN))
    );
    assert_eq!(Shares::new(PAGE, SHARE_MIN, 0).part(0), None);
}

proptest! {
    #[test]
    fn any_shares(start in 1u32..0xf_ffff, pages in any::<u32>(), count in 0u32..2100) {
        check_shares(start * PAGE, pages % (0xf_ffff - start + 1) * PAGE, count);
    }

    /// Arguments that no checked identity has: useless answers, no panic.
    #[test]
    fn nonsense_shares((offset, size, count, index) in any::<(u32, u32, u32, u32)>()) {
        let shares = Shares::new(offset, size, count);
        let _ = shares.part(index);
        let _ = shares.part(count.wrapping_sub(1));
    }
}

/// The rule by itself: a period begins with the first event after the last period's end.
fn allowed(burst: u32, period: u64, events: &[u64]) -> Vec<bool> {
    let mut result = Vec::new();
    let mut at = 0;
    while at < events.len() {
        let begin = events[at];
        let in_period = events[at..].iter().take_while(|&&e| e - begin < period);
        let count = in_period.count().max(1);
        result.extend((0..count).map(|n| (n as u64) < u64::from(burst)));
        at += count;
    }
    result
}

#[test]
fn storm_edges() {
    let mut none = Storm::new(0, 1000);
    assert!((0..5000).all(|now| !none.allow(now)));

    let mut storm = Storm::new(2, 1000);
    let now = [0, 0, 0, 999, 1000, 1000, 1999, 2000];
    let want = [true, true, false, false, true, true, false, true];
    assert_eq!(now.map(|now| storm.allow(now)), want);

    // A clock that starts late, stands still or runs backwards.
    let mut storm = Storm::new(1, 1000);
    assert!(storm.allow(u64::MAX));
    assert!(!storm.allow(u64::MAX));
    assert!(!storm.allow(0));
}

proptest! {
    #[test]
    fn any_storm(
        burst in 0u32..6,
        period in 1u64..50,
        start in 0u64..1000,
        gaps in prop::collection::vec(prop_oneof![3 => 0u64..4, 1 => 0u64..100], 1..200),
    ) {
        let events: Vec<_> = gaps
            .iter()
            .scan(start, |now, gap| {
                *now += gap;
                Some(*now)
            })
            .collect();
        let mut storm = Storm::new(burst, period);
        let got: Vec<_> = events.iter().map(|&now| storm.allow(now)).collect();
        if burst > 0 {
            prop_assert_eq!(&got, &allowed(burst, period, &events));
        }
        // Whatever the periods' beginnings: no stretch of this length sees more than two bursts.
        for (at, &begin) in events.iter().enumerate() {
            let stretch = events[at..].iter().zip(&got[at..]);
            let passed = stretch.filter(|&(&e, &ok)| ok && e - begin < period).count();
            prop_assert!(passed as u64 <= 2 * u64::from(burst));
        }
    }
}

/// By the words of the definitions, without sorting.
fn naive(samples: &[u64]) -> Summary {
    let not_above = |limit: u64| samples.iter().filter(|&&s| s <= limit).count();
    // The smallest sample that is at least as long as `part` of `whole` samples.
    let rank = |part: usize, whole: usize| {
        let fits = |&&s: &&u64| not_above(s) * whole >= samples.len() * part;
        samples.iter().filter(fits).min().copied().unwrap_or(0)
    };
    Summary {
        count: samples.len(),
        min: samples.iter().min().copied().unwrap_or(0),
        median: rank(1, 2),
        p99: rank(99, 100),
        max: samples.iter().max().copied().unwrap_or(0),
    }
}

#[test]
fn summaries_of_each_count() {
    assert_eq!(summarize(&mut []), Summary::default());
    for count in 1..=1000 {
        // Neither ascending nor descending.
        let mut samples: Vec<u64> = (0..count).map(|n| (n * 389) % count * 10).collect();
        let want = naive(&samples);
        assert_eq!(summarize(&mut samples), want, "{count} samples");
    }
}

proptest! {
    #[test]
    fn any_summary(mut samples in prop::collection::vec(prop_oneof![any::<u64>(), 0u64..9], 0..300)) {
        let want = naive(&samples);
        prop_assert_eq!(summarize(&mut samples), want);
    }

    #[test]
    fn any_epoch(epoch in any::<u32>()) {
        let next = next_epoch(epoch);
        prop_assert!(next != 0 && next != epoch);
        prop_assert!(next == epoch.wrapping_add(1) || epoch == u32::MAX);
    }
}
