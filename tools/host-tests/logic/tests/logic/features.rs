// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What of a device's features reaches a driver.

use hvl_logic::algo::drivers::{refusal, spins};
use hvl_logic::algo::features::{filter, fit, Dropped, OWN};
use hvl_logic::algo::ring::Features;
use hvl_logic::algo::share::{Plan, BULK};
use hvl_logic::proto::virtio::{device, feature};
use proptest::prelude::*;

const BASE: u64 = feature::MANDATORY;

fn run(device: u32, offered: u64) -> (u64, Vec<Dropped>) {
    let mut dropped = Vec::new();
    let shown = filter(device, offered, |bit| dropped.push(bit));
    (shown, dropped)
}

#[test]
fn control_features_need_a_control_queue() {
    // What hits a BUG in virtio_net, and its like.
    for bit in [2u32, 18, 19, 20, 21, 22, 23, 50, 52, 53, 57, 60] {
        let (shown, dropped) = run(device::NET, BASE | (1 << bit));
        assert_eq!(shown, BASE, "bit {bit}");
        assert_eq!(dropped, [Dropped::Needs(bit, 1 << 17)]);
        let (shown, dropped) = run(device::NET, BASE | (1 << bit) | (1 << 17));
        assert_eq!((shown, dropped), (BASE | (1 << bit) | (1 << 17), vec![]));
    }
}

#[test]
fn what_needs_something_falls_with_it() {
    // ECN needs TSO, which needs checksums.
    let (shown, dropped) = run(device::NET, BASE | (1 << 13) | (1 << 11) | (1 << 61));
    assert_eq!(shown, BASE);
    let needs = [
        Dropped::Needs(11, 1),
        Dropped::Needs(13, (1 << 11) | (1 << 12)),
        Dropped::Needs(61, (1 << 11) | (1 << 12)),
    ];
    assert_eq!(dropped, needs);
    let whole = BASE | (1 << 13) | (1 << 11) | 1;
    assert_eq!(run(device::NET, whole), (whole, vec![]));
}

#[test]
fn unknown_bits_are_hidden() {
    // STANDBY would make another interface's life depend on the peer.
    let (shown, dropped) = run(device::NET, BASE | (1 << 62) | (1 << 5) | (1 << 4));
    assert_eq!(shown, BASE | (1 << 5));
    assert_eq!(dropped, [Dropped::Unknown(4), Dropped::Unknown(62)]);
    let (shown, dropped) = run(device::ENTROPY, BASE | 1);
    assert_eq!((shown, dropped), (BASE, vec![Dropped::Unknown(0)]));
}

#[test]
fn rings_are_not_the_drivers_matter() {
    for device in 0..64 {
        let (shown, dropped) = run(device, BASE | OWN | (1 << 40) | (1 << 24) | (1 << 27));
        assert_eq!((shown, dropped), (BASE | (1 << 40), vec![]));
    }
}

#[test]
fn small_queues_get_no_large_frames() {
    let large = (1 << 11) | (1 << 12) | (1 << 56);
    let count = |shown, (send, sent): (u32, u32), (receive, received): (u32, u32)| {
        let mut dropped = Vec::new();
        let plan = |bytes, size| Plan::new(bytes, size, Features::default()).unwrap();
        let (to, from) = (
            (send, &plan(send, sent)),
            (receive, &plan(receive, received)),
        );
        let fitting = fit(device::NET, shown, to, from, |what| dropped.push(what));
        (fitting, dropped)
    };
    let none = Vec::new;
    let all = BASE | 1 | large;
    assert_eq!(count(all, (BULK, 256), (BULK, 256)), (all, none()));
    let (fitting, dropped) = count(all, (BULK - 1, 256), (BULK, 256));
    assert_eq!((fitting, dropped.len()), (BASE | 1, 3));
    assert_eq!(dropped[0], Dropped::Room(11, BULK - 1));
    // A ring of four holds what a driver sends at once, in parts of a quarter of that.
    assert_eq!(count(all, (BULK, 4), (BULK, 1)), (all, none()));
    let (fitting, dropped) = count(all, (BULK, 2), (BULK, 1));
    assert_eq!((fitting, dropped.len()), (BASE | 1, 3));
    assert_eq!(dropped[0], Dropped::Entries(11, 2));
    let guest = (1 << 7) | (1 << 8);
    let merged = BASE | 2 | guest | (1 << 15);
    let (fitting, dropped) = count(merged, (BULK, 256), (0x7_ffff, 256));
    assert_eq!((fitting, dropped.len()), (BASE | 2 | (1 << 15), 2));
    assert_eq!(count(merged, (BULK, 256), (0x8_0000, 64)), (merged, none()));
    let (fitting, dropped) = count(merged, (BULK, 256), (0x8_0000, 32));
    assert_eq!((fitting, dropped.len()), (BASE | 2 | (1 << 15), 2));
    assert_eq!(dropped[0], Dropped::Entries(7, 32));
    let plan = Plan::new(BULK, 2, Features::default()).unwrap();
    let room = (0, &plan);
    assert_eq!(fit(device::VSOCK, large, room, room, |_| panic!()), large);
}

#[test]
fn texts() {
    let text = |dropped: Dropped| dropped.to_string();
    assert_eq!(
        text(Dropped::Needs(13, (1 << 11) | (1 << 12))),
        "feature bit 13 needs bit 11 or 12, which the device does not offer"
    );
    assert_eq!(
        text(Dropped::Unknown(4)),
        "feature bit 4 is not known for this type"
    );
}

#[test]
fn who_spins() {
    assert!(!spins(device::NET, 3, 0, 2));
    assert!(spins(device::NET, 3, 1 << 17, 2));
    assert!(!spins(device::NET, 9, (1 << 17) | (1 << 22), 2));
    assert!(spins(device::NET, 9, (1 << 17) | (1 << 22), 8));
    assert!(spins(device::CONSOLE, 2, 0, 1) && !spins(device::CONSOLE, 2, 0, 0));
    assert!(spins(device::CONSOLE, 4, 2, 3) && !spins(device::CONSOLE, 4, 2, 1));
    assert!(spins(device::CAN, 3, 0, 2) && !spins(device::VSOCK, 3, u64::MAX, 1));
}

#[test]
fn who_is_refused() {
    for device in 0..64 {
        let refused = matches!(device, device::IOMMU | device::BALLOON | device::MEM);
        assert_eq!(refusal(device).is_some(), refused);
    }
}

proptest! {
    /// Each bit is shown, dropped with a reason, or the transport's own; and what is shown is
    /// shown whole when it is all that is offered.
    #[test]
    fn every_bit_has_a_place(device in 0u32..64, offered in any::<u64>()) {
        let (shown, dropped) = run(device, offered);
        prop_assert_eq!(shown & !offered, 0);
        prop_assert_eq!(shown & OWN, 0);
        for reason in &dropped {
            let (Dropped::Unknown(bit) | Dropped::Needs(bit, _) | Dropped::Room(bit, _)
            | Dropped::Entries(bit, _)) = reason;
            prop_assert_eq!(shown & (1 << bit), 0);
            prop_assert_ne!(offered & (1 << bit), 0);
        }
        prop_assert_eq!(run(device, shown), (shown, vec![]));
    }
}

#[test]
fn block_requests_fit() {
    use hvl_logic::algo::config::{fit, MAPPING_MAX};
    // What the driver then sends at once: so many segments of that size, and one each for a header
    // and a status.
    let largest = |size_max: u32, seg_max: u32| {
        let mut words = [7, 7, size_max, seg_max, 7];
        fit(device::BLOCK, &mut words);
        assert_eq!([words[0], words[1], words[4]], [7; 3]);
        assert!(words[2] <= MAPPING_MAX && words[3] <= seg_max.max(1));
        (words[2].min(MAPPING_MAX), words[3])
    };
    for size_max in [0, 1, 511, 512, 4096, 0x1_0000, 0x1_0001, u32::MAX] {
        for seg_max in [0, 1, 2, 62, 126, u32::MAX] {
            let (size, count) = largest(size_max, seg_max);
            assert!(u64::from(size) * u64::from(count) + 4096 <= u64::from(BULK));
        }
    }
    assert_eq!(largest(4096, 126), (4096, 19));
    let mut words = [9; 8];
    fit(device::NET, &mut words);
    assert_eq!(words, [9; 8]);
    fit(device::BLOCK, &mut []);
}
