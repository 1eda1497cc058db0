// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The identity line: what is accepted, what is refused, and how that is told.

use hvl_logic::proto::layout::{
    link::IDENTITY_WORDS, DEVICES_MAX, HEARTBEAT_PERIOD_MAX, MAGIC, PAGE, REGION_MAX, REGION_MIN,
    VERSION,
};
use hvl_logic::proto::{Identity, Kind};
use proptest::prelude::*;

type Words = [u32; IDENTITY_WORDS];

// Places of the words, so that a test can break one; `document.rs` checks them.
const VERSION_WORD: usize = 1;
const EPOCH: usize = 2;
const REGION_SIZE: usize = 3;
const BASE_LOW: usize = 4;
const BASE_HIGH: usize = 5;
const DEVICE_COUNT: usize = 6;
const POOL_OFFSET: usize = 7;
const POOL_SIZE: usize = 8;
const HEARTBEAT: usize = 9;
const FEATURES: usize = 10;
const DOORBELLS: usize = 11;
const OWN_DOORBELLS: usize = 12;
const RESERVED: usize = 13;

const REGION: u32 = 0x200_0000;

pub(crate) fn good() -> Identity {
    Identity {
        version: VERSION,
        epoch: 7,
        region_size: REGION,
        peer_base: 0x7a00_0000,
        device_count: 2,
        pool_offset: 0x1_0000,
        pool_size: REGION - 0x1_0000,
        heartbeat_ms: 500,
        features: 0,
        doorbells: 0,
        own_doorbells: 0,
    }
}

/// What the type's invariants and the document say of an accepted identity, in numbers so wide
/// that nothing can wrap.
fn is_legal(words: &Words, available: u64) -> bool {
    let w = |at: usize| u128::from(words[at]);
    let page = |at: usize| w(at) % 4096 == 0;
    let base = w(BASE_LOW) + (w(BASE_HIGH) << 32);
    w(0) == u128::from(MAGIC)
        && w(VERSION_WORD) / 0x1_0000 == 2
        && w(EPOCH) != 0
        && page(REGION_SIZE)
        && w(REGION_SIZE) >= 73728
        && w(REGION_SIZE) <= u128::from(available)
        && page(BASE_LOW)
        && base + w(REGION_SIZE) < 1 << 64
        && w(DEVICE_COUNT) <= 32
        && page(POOL_OFFSET)
        && w(POOL_OFFSET) >= 4096
        && page(POOL_SIZE)
        && w(POOL_SIZE) > 0
        && w(POOL_OFFSET) + w(POOL_SIZE) <= w(REGION_SIZE)
        && w(HEARTBEAT) <= 60_000
}

fn with(changes: &[(usize, u32)]) -> Words {
    let mut words = good().emit();
    for &(at, value) in changes {
        words[at] = value;
    }
    words
}

fn accepted(changes: &[(usize, u32)], available: u64) -> Identity {
    Identity::parse(&with(changes), available)
        .unwrap_or_else(|error| panic!("{changes:x?}: {error}"))
}

#[track_caller]
fn refused(changes: &[(usize, u32)], available: u64, kind: Kind, field: &str) {
    let error = Identity::parse(&with(changes), available)
        .expect_err(&format!("{changes:x?} of {available:#x} bytes"));
    assert_eq!((error.kind, error.field), (kind, field), "{changes:x?}");
    let text = error.to_string();
    assert!(
        text.starts_with(&format!("{field} is {:#x}, must be ", error.value)),
        "{text}"
    );
    assert!(text.ends_with(&format!(" {:#x}", error.bound)), "{text}");
    assert!(!text.contains("  "), "{text}");
}

#[test]
fn good_identity() {
    let all = u64::from(REGION);
    assert_eq!(Identity::parse(&good().emit(), all), Ok(good()));
}

#[test]
fn each_field_by_itself() {
    let all = u64::from(REGION);
    let cases: &[(usize, u32, Kind, &str)] = &[
        (0, 0, Kind::NotHvl, "Magic"),
        (0, u32::MAX, Kind::NotHvl, "Magic"),
        (0, MAGIC ^ 1, Kind::NotHvl, "Magic"),
        (0, MAGIC.swap_bytes(), Kind::NotHvl, "Magic"),
        (VERSION_WORD, 0, Kind::Version, "Version"),
        (VERSION_WORD, 0x0000_ffff, Kind::Version, "Version"),
        (VERSION_WORD, 0x0003_0000, Kind::Version, "Version"),
        (VERSION_WORD, VERSION.swap_bytes(), Kind::Version, "Version"),
        (EPOCH, 0, Kind::Malformed, "Epoch"),
        (REGION_SIZE, REGION + 4, Kind::Malformed, "RegionSize"),
        (REGION_SIZE, u32::MAX, Kind::Malformed, "RegionSize"),
        (REGION_SIZE, 0, Kind::Range, "RegionSize"),
        (REGION_SIZE, REGION + PAGE, Kind::Range, "RegionSize"),
        (REGION_SIZE, REGION_MAX, Kind::Range, "RegionSize"),
        (BASE_LOW, 0x7a00_0001, Kind::Malformed, "PeerBase"),
        (BASE_LOW, 0x7a00_0800, Kind::Malformed, "PeerBase"),
        (DEVICE_COUNT, 33, Kind::Range, "DeviceCount"),
        (DEVICE_COUNT, u32::MAX, Kind::Range, "DeviceCount"),
        (POOL_OFFSET, 0x1_0004, Kind::Malformed, "PoolOffset"),
        (POOL_OFFSET, 0, Kind::Range, "PoolOffset"),
        (POOL_OFFSET, 0x1_1000, Kind::Range, "PoolSize"),
        (POOL_OFFSET, REGION, Kind::Range, "PoolSize"),
        (POOL_OFFSET, 0xffff_f000, Kind::Range, "PoolSize"),
        (POOL_SIZE, 0, Kind::Malformed, "PoolSize"),
        (POOL_SIZE, 0x1_0001, Kind::Malformed, "PoolSize"),
        (POOL_SIZE, REGION, Kind::Range, "PoolSize"),
        (POOL_SIZE, 0xffff_f000, Kind::Range, "PoolSize"),
        (HEARTBEAT, 60_001, Kind::Range, "HeartbeatPeriod"),
        (HEARTBEAT, u32::MAX, Kind::Range, "HeartbeatPeriod"),
    ];
    for &(at, value, kind, field) in cases {
        refused(&[(at, value)], all, kind, field);
    }
}

#[test]
fn base_just_inside_and_outside() {
    let all = u64::from(REGION);
    let high = (BASE_HIGH, u32::MAX);
    // The last byte of the region may not be the last one of 64 bits: its end has to be a number.
    let last = 0u32.wrapping_sub(REGION + PAGE);
    let identity = accepted(&[high, (BASE_LOW, last)], all);
    assert_eq!(
        identity.peer_base,
        u64::MAX - u64::from(REGION) - u64::from(PAGE) + 1
    );
    refused(
        &[high, (BASE_LOW, last + PAGE)],
        all,
        Kind::Range,
        "PeerBase",
    );
    refused(
        &[high, (BASE_LOW, 0xffff_f000)],
        all,
        Kind::Range,
        "PeerBase",
    );
    assert_eq!(accepted(&[(BASE_LOW, 0)], all).peer_base, 0);
}

#[test]
fn limits_just_inside() {
    let all = u64::from(REGION);
    let max = HEARTBEAT_PERIOD_MAX;
    assert_eq!(accepted(&[(HEARTBEAT, max)], all).heartbeat_ms, max);
    assert_eq!(accepted(&[(HEARTBEAT, 0)], all).heartbeat_ms, 0);
    let devices = DEVICES_MAX as u32;
    assert_eq!(
        accepted(&[(DEVICE_COUNT, devices)], all).device_count,
        devices
    );
    assert_eq!(accepted(&[(DEVICE_COUNT, 0)], all).device_count, 0);
    assert_eq!(accepted(&[(EPOCH, u32::MAX)], all).epoch, u32::MAX);
    // Another minor version, features that are not known and reserved words are no reason.
    assert_eq!(
        accepted(&[(VERSION_WORD, 0x0002_ffff)], all).version,
        0x0002_ffff
    );
    assert_eq!(accepted(&[(FEATURES, u32::MAX)], all).features, u32::MAX);
    let rich = accepted(&[(DOORBELLS, u32::MAX), (OWN_DOORBELLS, 7)], all);
    assert_eq!((rich.doorbells, rich.own_doorbells), (u32::MAX, 7));
    for at in RESERVED..IDENTITY_WORDS {
        assert_eq!(accepted(&[(at, u32::MAX)], all), good());
    }
    // The pool may begin right behind the header and end with the region.
    let pool = [(POOL_OFFSET, PAGE), (POOL_SIZE, REGION - PAGE)];
    assert_eq!(accepted(&pool, all).pool_size, REGION - PAGE);
    refused(
        &[(POOL_OFFSET, PAGE), (POOL_SIZE, REGION)],
        all,
        Kind::Range,
        "PoolSize",
    );
    accepted(&[(POOL_OFFSET, REGION - PAGE), (POOL_SIZE, PAGE)], all);
}

#[test]
fn region_just_inside_and_outside() {
    let tiny = |size: u32| {
        [
            (REGION_SIZE, size),
            (POOL_OFFSET, 2 * PAGE),
            (POOL_SIZE, PAGE),
        ]
    };
    accepted(&tiny(REGION_MIN), u64::from(REGION_MIN));
    accepted(&tiny(REGION_MIN), u64::MAX);
    refused(
        &tiny(REGION_MIN - PAGE),
        u64::MAX,
        Kind::Range,
        "RegionSize",
    );
    refused(
        &tiny(REGION_MIN),
        u64::from(REGION_MIN) - 1,
        Kind::Range,
        "RegionSize",
    );
    refused(&tiny(REGION_MIN), 0, Kind::Range, "RegionSize");
    // The largest region, all of it: no sum may wrap.
    let largest = [
        (REGION_SIZE, REGION_MAX),
        (POOL_OFFSET, PAGE),
        (POOL_SIZE, REGION_MAX - PAGE),
    ];
    let identity = accepted(&largest, u64::from(REGION_MAX));
    assert_eq!(identity.pool_offset + identity.pool_size, REGION_MAX);
    refused(
        &largest,
        u64::from(REGION_MAX) - 1,
        Kind::Range,
        "RegionSize",
    );
}

/// Every combination of values at and beside the limits, against the rules as the document has
/// them.
#[test]
fn combinations() {
    let sizes = [
        0,
        PAGE,
        REGION_MIN - PAGE,
        REGION_MIN,
        REGION_MIN + 1,
        REGION,
        REGION_MAX,
        u32::MAX,
    ];
    let offsets = [0, 1, PAGE, 2 * PAGE, REGION_MIN, REGION, REGION_MAX];
    let lengths = [
        0,
        1,
        PAGE,
        REGION_MIN - PAGE,
        REGION_MIN,
        REGION_MAX - PAGE,
        REGION_MAX,
    ];
    let bases = [
        0,
        PAGE,
        PAGE + 8,
        0xffff_f000,
        0u32.wrapping_sub(REGION_MIN),
    ];
    let available = [0, 73_727, 73_728, u64::from(REGION), 1 << 32, u64::MAX];
    let (mut yes, mut no) = (0, 0);
    for size in sizes {
        for offset in offsets {
            for length in lengths {
                for base in bases {
                    for high in [0, u32::MAX] {
                        for (count, beat) in [(0, 0), (32, 60_000), (33, 1), (1, 60_001)] {
                            let words = with(&[
                                (REGION_SIZE, size),
                                (POOL_OFFSET, offset),
                                (POOL_SIZE, length),
                                (BASE_LOW, base),
                                (BASE_HIGH, high),
                                (DEVICE_COUNT, count),
                                (HEARTBEAT, beat),
                            ]);
                            for available in available {
                                let result = Identity::parse(&words, available);
                                let legal = is_legal(&words, available);
                                assert_eq!(
                                    result.is_ok(),
                                    legal,
                                    "{words:x?} of {available:#x}: {result:?}"
                                );
                                yes += u32::from(legal);
                                no += u32::from(!legal);
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(yes > 500 && no > 50_000, "{yes} accepted, {no} refused");
}

fn any_identity() -> impl Strategy<Value = Identity> {
    // In pages: the region, then a pool inside, then a base that leaves room.
    (18u32..=0xf_ffff)
        .prop_flat_map(|region| (Just(region), 1..region))
        .prop_flat_map(|(region, start)| (Just(region), Just(start), 1..=region - start))
        .prop_flat_map(|(region, start, pages)| {
            (
                (Just(region), Just(start), Just(pages)),
                0..=(u64::MAX / u64::from(PAGE) - u64::from(region)),
                0u32..=0xffff,
                1u32..,
                0u32..=32,
                0u32..=60_000,
                any::<[u32; 3]>(),
            )
        })
        .prop_map(
            |((region, start, pages), base, minor, epoch, device_count, heartbeat_ms, words)| {
                let [features, doorbells, own_doorbells] = words;
                Identity {
                    version: VERSION | minor,
                    epoch,
                    region_size: region * PAGE,
                    peer_base: base * u64::from(PAGE),
                    device_count,
                    pool_offset: start * PAGE,
                    pool_size: pages * PAGE,
                    heartbeat_ms,
                    features,
                    doorbells,
                    own_doorbells,
                }
            },
        )
}

proptest! {
    #[test]
    fn round_trip(identity in any_identity(), more in 0u64..0x1_0000_0000) {
        let words = identity.emit();
        let available = u64::from(identity.region_size);
        prop_assert_eq!(Identity::parse(&words, available), Ok(identity));
        prop_assert_eq!(Identity::parse(&words, available + more), Ok(identity));
        prop_assert!(Identity::parse(&words, available - 1).is_err());
        prop_assert!(words[RESERVED..].iter().all(|&word| word == 0));
    }

    #[test]
    fn one_word_changed(
        identity in any_identity(),
        at in 0..IDENTITY_WORDS,
        value in any::<u32>(),
        available in any::<u64>(),
    ) {
        let mut words = identity.emit();
        words[at] = value;
        prop_assert_eq!(
            Identity::parse(&words, available).is_ok(),
            is_legal(&words, available)
        );
    }

    #[test]
    fn any_words(mut words in any::<Words>(), sane in any::<bool>(), available in any::<u64>()) {
        if sane {
            words[0] = MAGIC;
            words[VERSION_WORD] = VERSION;
        }
        prop_assert_eq!(
            Identity::parse(&words, available).is_ok(),
            is_legal(&words, available)
        );
    }
}

#[test]
fn only_a_peer_that_can_know_of_it_reaches_memory() {
    let all = u64::MAX;
    for (version, features, reaches) in [
        (0x0002_0001, 2, true),
        (0x0002_0001, 0xffff_ffff, true),
        (0x0002_0001, 0xffff_fffd, false),
        (0x0002_0000, 2, false),
        (0x0002_ffff, 3, true),
    ] {
        let identity = accepted(&[(VERSION_WORD, version), (FEATURES, features)], all);
        assert_eq!(
            identity.reaches_memory(),
            reaches,
            "{version:#x} {features:#x}"
        );
    }
}
