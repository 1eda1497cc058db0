// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Limits of storms, intervals of looks, summaries of round trips, epochs.

use hvl_logic::algo::poll::{Bounds, Interval};
use hvl_logic::algo::rtt::{summarize, Summary};
use hvl_logic::algo::stall::Stall;
use hvl_logic::algo::storm::Storm;
use hvl_logic::proto::state::next_epoch;
use proptest::prelude::*;

#[test]
fn storm_edges() {
    let mut none = Storm::new(0, 1000);
    assert!((0..5000).all(|now| !none.allow(now)));

    let mut storm = Storm::new(2, 1000);
    let now = [0, 0, 0, 999, 1124, 1125, 1125, 1999, 2249, 2250, 2250, 2251];
    let want = [
        true, true, false, false, false, true, true, false, false, true, true, false,
    ];
    assert_eq!(now.map(|now| storm.allow(now)), want);
    // One by one they come back as they went.
    let mut storm = Storm::new(2, 1000);
    let now = [0, 500, 1124, 1125, 1624, 1625];
    let want = [true, true, false, true, false, true];
    assert_eq!(now.map(|now| storm.allow(now)), want);

    // A clock that starts late, stands still or runs backwards.
    let mut storm = Storm::new(1, 1000);
    assert!(storm.allow(u64::MAX));
    assert!(!storm.allow(u64::MAX));
    assert!(!storm.allow(0));
}

#[test]
fn stalls() {
    let mut stall = Stall::new();
    // The peer has nothing, for however long.
    assert_eq!(stall.look(true, 5, 1000, 0), None);
    assert_eq!(stall.look(true, 5, 1000, 100_000), None);
    // From when it was seen to have some.
    assert_eq!(stall.look(false, 5, 1000, 100_500), None);
    assert_eq!(stall.look(false, 5, 1000, 101_499), None);
    assert_eq!(stall.look(false, 5, 1000, 101_500), Some(1000));
    // Until it is said; then never again,
    assert_eq!(stall.look(false, 5, 1000, 101_600), Some(1100));
    assert!(!stall.is_known());
    stall.note_said();
    assert!(stall.is_known());
    assert_eq!(stall.look(false, 5, 1000, 999_999), None);
    assert!(stall.is_known());
    // but when one has come back meanwhile.
    assert_eq!(stall.look(false, 6, 1000, 1_000_000), None);
    assert!(!stall.is_known());
    assert_eq!(stall.look(false, 6, 1000, 1_001_000), Some(1000));
    // One that gives back some all the time is only slow.
    let slow = (7..100).all(|used| {
        stall
            .look(false, used, 1000, 1_001_000 + used * 999)
            .is_none()
    });
    assert!(slow);
    // A clock that stands still, or runs backwards.
    assert_eq!(stall.look(false, 99, 1000, 0), None);
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
        let passed = |from: u64, to: u64| {
            let pairs = events.iter().zip(&got);
            pairs.filter(|&(&e, &ok)| ok && (from..=to).contains(&e)).count() as u64
        };
        let longest = period + 2 * period.div_ceil(8);
        for (&now, &ok) in events.iter().zip(&got) {
            // No stretch of this length sees more than a burst, wherever it begins.
            prop_assert!(passed(now, now + period - 1) <= u64::from(burst));
            // And none is refused without one in a stretch that is a little longer.
            prop_assert!(ok || passed(now.saturating_sub(longest), now) >= u64::from(burst));
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

#[test]
fn intervals_that_cannot_be() {
    assert_eq!(Bounds::new(50, 4000), Some(Bounds::DEFAULT));
    assert!(Bounds::new(10, 10).is_some() && Bounds::new(1_000_000, 1_000_000).is_some());
    for (min, max) in [(9, 10), (0, 0), (11, 10), (10, 1_000_001), (10, u32::MAX)] {
        assert_eq!(Bounds::new(min, max), None);
    }
}

#[test]
fn looks_in_vain_become_seldom_and_a_find_makes_them_frequent() {
    let mut interval = Interval::new(Bounds::new(50, 300).unwrap());
    let found = [false, false, false, false, true, true, false, false];
    let want = [50, 100, 200, 300, 50, 50, 100, 200];
    assert_eq!(found.map(|found| interval.next(found)), want);
    let mut rested = Interval::rested(Bounds::new(50, 300).unwrap());
    let want = [300, 300, 300, 300, 50, 50, 100, 200];
    assert_eq!(found.map(|found| rested.next(found)), want);
}

proptest! {
    /// However it comes: never out of bounds, at most doubled, and at the longest after a few looks.
    #[test]
    fn any_interval(
        min in Bounds::LEAST_US..=Bounds::MOST_US,
        more in 0..=Bounds::MOST_US,
        found in prop::collection::vec(any::<bool>(), 1..100),
    ) {
        let max = min.saturating_add(more).min(Bounds::MOST_US);
        let mut interval = Interval::new(Bounds::new(min, max).unwrap());
        let mut last = min;
        for found in found {
            let us = interval.next(found);
            prop_assert!((min..=max).contains(&us));
            prop_assert!(us <= last * 2 && (!found || us == min));
            last = us;
        }
        for _ in 0..17 {
            interval.next(false);
        }
        prop_assert_eq!(interval.next(false), max);
    }
}
