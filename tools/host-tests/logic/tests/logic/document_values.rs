// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The protocol document's states, outcomes and other values are those of the enumerations.

use crate::rst::{number, number_after, Document, Field};
use hvl_logic::algo::link::{HANG_MIN_MS, HANG_PERIODS};
use hvl_logic::proto::layout::window;
use hvl_logic::proto::state::{boot_epoch, next_epoch};
use hvl_logic::proto::virtio::{feature, reg, MMIO_MAGIC, MMIO_VERSION};
use hvl_logic::proto::{DriverState, PeerState, Status};

/// Words that are tried for each enumeration: all small ones and the neighbours of the signs.
fn words() -> impl Iterator<Item = u32> {
    (0..0x1_0000).chain([0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff])
}

/// Checks a table of values and names against `from_word`, whose result is shown as word and name.
fn check_values(title: &str, table: usize, from_word: impl Fn(u32) -> Option<(u32, String)>) {
    let mut documented = 0;
    let rows = Document::protocol().table(title, table);
    for row in &rows {
        let value = number(&row[0]).expect("a value") as u32;
        assert_eq!(
            from_word(value),
            Some((value, row[1].clone())),
            "{title}: value {value}"
        );
        documented += 1;
    }
    let known = words().filter(|&word| from_word(word).is_some()).count();
    assert_eq!(
        known, documented,
        "{title}: values that are not in the table"
    );
}

/// `BadOffset` in the document's spelling: `BAD_OFFSET`.
pub(crate) fn screaming(name: String) -> String {
    let mut text = String::new();
    for (at, letter) in name.char_indices() {
        if at > 0 && letter.is_uppercase() {
            text.push('_');
        }
        text.push(letter.to_ascii_uppercase());
    }
    text
}

#[test]
fn peer_states() {
    check_values("PeerState", 0, |word| {
        PeerState::from_word(word).map(|s| (s as u32, screaming(format!("{s:?}"))))
    });
    let above = number_after(&Document::protocol().text("PeerState"), "Values above");
    assert_eq!(above, u64::from(PeerState::Failed as u32));
    for state in (0..).map_while(PeerState::from_word) {
        assert_eq!(state.name(), format!("{state:?}").to_lowercase());
    }
}

#[test]
fn peer_transitions() {
    let states: Vec<_> = (0..).map_while(PeerState::from_word).collect();
    let rows = Document::protocol().table("PeerState", 1);
    let named = |row: &str, state: PeerState| row == screaming(format!("{state:?}"));
    let mut legal = 0;
    for &from in &states {
        for &to in &states {
            let documented = rows
                .iter()
                .any(|row| (row[0] == "any" || named(&row[0], from)) && named(&row[1], to));
            assert_eq!(from.may_become(to), documented, "{from:?} to {to:?}");
            legal += usize::from(documented);
        }
    }
    // "any" is all five states; nothing else in the table may fail to match a name.
    assert_eq!(legal, states.len() + rows.len() - 1);
}

#[test]
fn driver_states() {
    check_values("DriverState", 0, |word| {
        DriverState::from_word(word).map(|s| (s as u32, screaming(format!("{s:?}"))))
    });
}

#[test]
fn transaction_outcomes() {
    check_values("Transactions", 0, |word| {
        Status::from_word(word).map(|s| (s as u32, screaming(format!("{s:?}"))))
    });
    let names: std::collections::BTreeSet<_> = (0..)
        .map_while(Status::from_word)
        .map(Status::name)
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
}

#[test]
fn transaction_entries() {
    let text = Document::protocol().text("Transactions");
    let below = number_after(&text, "writes one register (Offset below");
    assert_eq!(below, u64::from(window::VIEW_SIZE));
    let from = number_after(&text, "of configuration space (Offset from");
    assert_eq!(from, u64::from(window::CONFIG));
    let above = number_after(&text, "the count is 0 or above");
    assert_eq!(above, window::TXN_MAX as u64);
    let more = number_after(&text, "BAD_COUNT 0 or more than");
    assert_eq!(more, window::TXN_MAX as u64);
}

#[test]
fn view() {
    let text = Document::protocol().text("Register view");
    assert_eq!(number_after(&text, "MagicValue is"), u64::from(MMIO_MAGIC));
    assert_eq!(number_after(&text, ", Version"), u64::from(MMIO_VERSION));
    assert!(
        Field::parse(&Document::protocol().table("Device window", 0)[0])
            .text
            .contains("MMIO transport, version 2")
    );
    assert_eq!(&MMIO_MAGIC.to_le_bytes(), b"virt");
    assert_eq!(reg::CONFIG_GENERATION + 4, window::VIEW_SIZE);
}

#[test]
fn mandatory_features() {
    let text = Document::protocol().text("Features");
    let (must, _) = text
        .split_once("and MUST refuse FEATURES_OK")
        .expect("the sentence about mandatory features");
    let named = must
        .split(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'))
        .filter(|word| word.starts_with("VIRTIO_F_"));
    let bits = named.map(|name| match name {
        "VIRTIO_F_VERSION_1" => feature::VERSION_1,
        "VIRTIO_F_ACCESS_PLATFORM" => feature::ACCESS_PLATFORM,
        "VIRTIO_F_ORDER_PLATFORM" => feature::ORDER_PLATFORM,
        other => panic!("{other} became mandatory"),
    });
    let mask = bits.fold(0u64, |mask, bit| mask | (1 << bit));
    assert_eq!(mask, feature::MANDATORY);
}

#[test]
fn epochs() {
    let text = Document::protocol().text("Peer start");
    assert!(text.contains("Read the old Epoch or, where that is 0, BootEpoch"));
    assert!(text.contains("the new one is that plus 1, or 1 where that would be 0"));
    assert_eq!((boot_epoch(1, 0), boot_epoch(0, 1)), (2, 2));
    assert_eq!(next_epoch(0), 1);
    assert_eq!(next_epoch(1), 2);
    assert_eq!(next_epoch(u32::MAX - 1), u32::MAX);
    assert_eq!(next_epoch(u32::MAX), 1);
}

#[test]
fn heartbeat() {
    let text = Document::protocol().text("Heartbeat");
    assert!(text.contains("has not changed for four periods and at least one second"));
    assert_eq!(HANG_PERIODS, 4);
    assert_eq!(HANG_MIN_MS, 1000);
}
