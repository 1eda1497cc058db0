// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device table entries and the entries of transactions.

use crate::header::good as good_identity;
use hvl_logic::proto::layout::{
    link::DEVICE_ENTRY_WORDS, window, DEVICES_MAX, PAGE, QUEUES_MAX, REGION_MAX,
};
use hvl_logic::proto::{DeviceEntry, Entry, Identity, Kind, Status};
use proptest::prelude::*;

type Words = [u32; DEVICE_ENTRY_WORDS];

const WINDOW: usize = 0;
const DEVICE_ID: usize = 1;
const QUEUE_COUNT: usize = 2;
const CONFIG_LENGTH: usize = 3;
const VENDOR_ID: usize = 4;
const RESERVED: usize = 5;

fn good() -> DeviceEntry {
    DeviceEntry {
        window: PAGE,
        device_id: 1,
        queue_count: 3,
        config_length: 12,
        vendor_id: 0x4c56_4876,
    }
}

/// The document's rules, in numbers that cannot wrap.
fn is_legal(words: &Words, identity: &Identity) -> bool {
    let [window, id, queues, config, ..] = words.map(u64::from);
    let pool = u64::from(identity.pool_offset);
    let pool_end = pool + u64::from(identity.pool_size);
    window % 4096 == 0
        && window >= 4096
        && window + 4096 <= u64::from(identity.region_size)
        && (window + 4096 <= pool || window >= pool_end)
        && id != 0
        && queues <= 64
        && config <= 1792
}

fn with(at: usize, value: u32) -> Words {
    let mut words = good().emit();
    words[at] = value;
    words
}

#[track_caller]
fn refused(at: usize, value: u32, identity: &Identity, kind: Kind, field: &str) {
    let error = DeviceEntry::parse(&with(at, value), identity).expect_err(field);
    assert_eq!((error.kind, error.field), (kind, field));
    assert_eq!(error.value, u64::from(value));
    assert!(error
        .to_string()
        .starts_with(&format!("{field} is {value:#x}, must be ")));
}

#[test]
fn each_field_by_itself() {
    let identity = good_identity();
    assert_eq!(DeviceEntry::parse(&good().emit(), &identity), Ok(good()));
    let window = "WindowOffset";
    refused(WINDOW, PAGE + 1, &identity, Kind::Malformed, window);
    refused(WINDOW, PAGE + 2048, &identity, Kind::Malformed, window);
    refused(WINDOW, u32::MAX, &identity, Kind::Malformed, window);
    refused(WINDOW, 0, &identity, Kind::Range, window);
    refused(WINDOW, identity.region_size, &identity, Kind::Range, window);
    refused(WINDOW, REGION_MAX, &identity, Kind::Range, window);
    refused(DEVICE_ID, 0, &identity, Kind::Malformed, "DeviceId");
    refused(QUEUE_COUNT, 65, &identity, Kind::Range, "QueueCount");
    refused(QUEUE_COUNT, u32::MAX, &identity, Kind::Range, "QueueCount");
    refused(CONFIG_LENGTH, 1793, &identity, Kind::Range, "ConfigLength");
    refused(
        CONFIG_LENGTH,
        u32::MAX,
        &identity,
        Kind::Range,
        "ConfigLength",
    );

    let queues = DeviceEntry::parse(&with(QUEUE_COUNT, 64), &identity).unwrap();
    assert_eq!(queues.queue_count as usize, QUEUES_MAX);
    let config = DeviceEntry::parse(&with(CONFIG_LENGTH, 1792), &identity).unwrap();
    assert_eq!(config.config_length, window::CONFIG_MAX);
    for at in [QUEUE_COUNT, CONFIG_LENGTH, VENDOR_ID] {
        assert!(DeviceEntry::parse(&with(at, 0), &identity).is_ok());
    }
    for at in [DEVICE_ID, VENDOR_ID] {
        assert!(DeviceEntry::parse(&with(at, u32::MAX), &identity).is_ok());
    }
    for at in RESERVED..DEVICE_ENTRY_WORDS {
        let words = with(at, u32::MAX);
        assert_eq!(DeviceEntry::parse(&words, &identity), Ok(good()));
    }
}

/// A window at every page of a small region, with the pool at its start, middle and end.
#[test]
fn windows_around_the_pool() {
    let pages = 20;
    for first in 1..pages {
        for length in 1..=pages - first {
            let identity = Identity {
                region_size: pages * PAGE,
                pool_offset: first * PAGE,
                pool_size: length * PAGE,
                ..good_identity()
            };
            for page in 0..pages + 2 {
                let result = DeviceEntry::parse(&with(WINDOW, page * PAGE), &identity);
                let inside = (1..pages).contains(&page);
                let in_pool = (first..first + length).contains(&page);
                assert_eq!(result.is_ok(), inside && !in_pool, "{page}: {identity:?}");
                if inside && in_pool {
                    assert_eq!(result.unwrap_err().kind, Kind::Malformed);
                }
            }
        }
    }
}

/// The end of the largest region is where a sum would wrap first.
#[test]
fn windows_of_the_largest_region() {
    let identity = Identity {
        region_size: REGION_MAX,
        pool_offset: 2 * PAGE,
        pool_size: REGION_MAX - 3 * PAGE,
        ..good_identity()
    };
    let last = REGION_MAX - PAGE;
    for (window, legal) in [
        (PAGE, true),
        (last, true),
        (last - PAGE, false),
        (REGION_MAX, false),
    ] {
        let words = with(WINDOW, window);
        assert_eq!(is_legal(&words, &identity), legal);
        assert_eq!(DeviceEntry::parse(&words, &identity).is_ok(), legal);
    }
}

#[test]
fn windows_are_distinct() {
    let at = |page: u32| DeviceEntry {
        window: page * PAGE,
        ..good()
    };
    let table: Vec<_> = (1..=DEVICES_MAX as u32).map(at).collect();
    for (index, entry) in table.iter().enumerate() {
        assert_eq!(entry.check_distinct(&table[..index]), Ok(()));
        assert_eq!(entry.check_distinct(&table[index + 1..]), Ok(()));
        let error = entry.check_distinct(&table).unwrap_err();
        assert_eq!((error.kind, error.field), (Kind::Malformed, "WindowOffset"));
        assert_eq!(error.value, u64::from(entry.window));
        assert_eq!(error.bound, index as u64);
    }
    assert_eq!(at(1).check_distinct(&[]), Ok(()));
}

proptest! {
    #[test]
    fn any_entry(
        words in any::<Words>(),
        page in 0u32..0x2100,
        tame in any::<[bool; 4]>(),
        pool in 1u32..0x1fff,
        pages in 1u32..0x1fff,
    ) {
        let mut words = words;
        // Tame some of the words, or nearly all entries would be refused for the first.
        for (at, value) in [page * PAGE, words[1] | 1, words[2] % 66, words[3] % 1794]
            .into_iter()
            .enumerate()
        {
            if tame[at] {
                words[at] = value;
            }
        }
        let identity = Identity {
            pool_offset: pool * PAGE,
            pool_size: pages.min(0x2000 - pool) * PAGE,
            ..good_identity()
        };
        let result = DeviceEntry::parse(&words, &identity);
        prop_assert_eq!(result.is_ok(), is_legal(&words, &identity), "{:?}", result);
        if let Ok(entry) = result {
            prop_assert_eq!(&entry.emit()[..RESERVED], &words[..RESERVED]);
            prop_assert_eq!(&entry.emit()[RESERVED..], &[0, 0, 0]);
            prop_assert_eq!(DeviceEntry::parse(&entry.emit(), &identity), Ok(entry));
        }
    }

    /// An identity that nobody has checked does no harm beyond being useless.
    #[test]
    fn unchecked_identity(
        words in any::<Words>(),
        (region_size, pool_offset, pool_size) in any::<(u32, u32, u32)>(),
    ) {
        let identity = Identity { region_size, pool_offset, pool_size, ..good_identity() };
        let _ = DeviceEntry::parse(&words, &identity);
    }
}

/// What the document says of a transaction's entry; it leaves open which defect is named where
/// there are two.
fn entry_is_legal(offset: u64, length: u64) -> bool {
    if offset < 0x100 {
        offset % 4 == 0 && length == 4
    } else {
        [1, 2, 4].contains(&length) && offset % length == 0 && offset + length <= 0x800
    }
}

/// Each offset up to well behind the configuration space, and the ends of the numbers.
#[test]
fn transaction_entries() {
    let far = [0x7fff_fffc, 0x8000_0000, 0xffff_fffc, 0xffff_ffff];
    let lengths = [0, 1, 2, 3, 4, 5, 8, 0x8000_0000, 0xffff_fffc, 0xffff_ffff];
    let mut accepted = 0;
    for offset in (0..0x2000).chain(far) {
        for length in lengths {
            let words = [offset, length, 0xdead_beef, 0x1234_5678];
            let result = Entry::parse(&words);
            let legal = entry_is_legal(u64::from(offset), u64::from(length));
            assert_eq!(result.is_ok(), legal, "{offset:#x}, {length}: {result:?}");
            match result {
                Ok(entry) => {
                    accepted += 1;
                    assert_eq!(entry.emit(), [offset, length, 0xdead_beef, 0]);
                    assert_eq!(Entry::parse(&entry.emit()), Ok(entry));
                }
                Err(status) => {
                    let length_fits = match offset {
                        0..0x100 => length == 4,
                        _ => matches!(length, 1 | 2 | 4),
                    };
                    match status {
                        Status::BadOffset => assert!(
                            offset >= 0x800 || offset % 4 != 0,
                            "{offset:#x} is no bad offset"
                        ),
                        Status::BadLength => assert!(!length_fits, "{length} is no bad length"),
                        other => panic!("{offset:#x}, {length}: {other:?}"),
                    }
                }
            }
        }
    }
    // 64 registers; 1792 bytes in ones, twos and fours.
    assert_eq!(accepted, 64 + 1792 + 896 + 448);
}

#[test]
fn register_entries() {
    for offset in (0..0x100).step_by(4) {
        let entry = Entry::register(offset, 5);
        assert_eq!((entry.offset, entry.length, entry.value), (offset, 4, 5));
        assert_eq!(Entry::parse(&entry.emit()), Ok(entry));
    }
}

proptest! {
    #[test]
    fn any_transaction_entry(words in any::<[u32; 4]>()) {
        let legal = entry_is_legal(u64::from(words[0]), u64::from(words[1]));
        prop_assert_eq!(Entry::parse(&words).is_ok(), legal);
    }
}
