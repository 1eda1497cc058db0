// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What of a device's features reaches a driver.

use hvl_logic::algo::console::ports_of;
use hvl_logic::algo::drivers::{
    entries, last_word, least_written, refusal, returns, sleeps, spins,
};
use hvl_logic::algo::features::{
    filter, fit, may_announce, mtu, pairs_in_use, pairs_of, Dropped, Shape, OWN,
};
use hvl_logic::algo::ring::Features;
use hvl_logic::algo::share::{Plan, BULK};
use hvl_logic::proto::virtio::{device, feature};
use proptest::prelude::*;

const BASE: u64 = feature::MANDATORY;

fn run_shape(shape: Shape, offered: u64) -> (u64, Vec<Dropped>) {
    let mut dropped = Vec::new();
    let shown = filter(shape, offered, |bit| dropped.push(bit));
    (shown, dropped)
}

fn run(device: u32, offered: u64) -> (u64, Vec<Dropped>) {
    let shape = Shape {
        device,
        queues: 9,
        pairs: 4,
        ports: 0,
    };
    run_shape(shape, offered)
}

#[test]
fn what_comes_back() {
    // What a network sends, on each of its pairs, and not what it receives; its control queue has a deadline.
    let net: Vec<_> = (0..7)
        .filter(|&index| returns(device::NET, 7, index))
        .collect();
    assert_eq!(net, [1, 3, 5]);
    assert!(returns(device::VSOCK, 3, 1) && returns(device::RPMSG, 2, 1));
    assert!(!returns(device::VSOCK, 3, 0) && !returns(device::VSOCK, 3, 2));
    assert!((0..4).all(|index| returns(device::BLOCK, 4, index)));
    for silent in [4, device::CONSOLE, device::CAN] {
        assert!((0..4).all(|index| !returns(silent, 4, index)));
    }
}

#[test]
fn several_pairs_are_as_many_as_there_are_queues_for() {
    assert_eq!(
        [1, 2, 3, 4, 5, 9, 64].map(pairs_of),
        [None, None, Some(1), None, Some(2), Some(4), None]
    );
    for bit in [22u32, 60] {
        let offered = BASE | (1 << bit) | (1 << 17);
        for (queues, pairs, right) in [
            (9, 4, true),
            (3, 1, true),
            (9, 0, false),
            (9, 3, false),
            (9, 5, false),
            (9, 0xffff, false),
            // Nobody knows where the control queue is.
            (10, 4, false),
            (4, 1, false),
        ] {
            let shape = Shape {
                device: device::NET,
                queues,
                pairs,
                ports: 0,
            };
            let (shown, dropped) = run_shape(shape, offered);
            if right {
                assert_eq!((shown, dropped), (offered, vec![]));
                assert_eq!(pairs_in_use(shown, queues), pairs);
            } else {
                assert_eq!(shown, offered & !(1 << bit));
                assert_eq!(dropped, [Dropped::Pairs(bit, pairs, queues)]);
                assert_eq!(pairs_in_use(shown, queues), 1);
            }
        }
    }
}

#[test]
fn a_control_queue_is_there_or_not_offered() {
    for queues in [1, 2] {
        let shape = Shape {
            device: device::NET,
            queues,
            pairs: 1,
            ports: 0,
        };
        let (shown, dropped) = run_shape(shape, BASE | (1 << 17) | (1 << 21));
        assert_eq!(shown, BASE);
        let want = [Dropped::Queues(17, 3), Dropped::Needs(21, 1 << 17)];
        assert_eq!(dropped, want);
    }
    // No other type has one.
    let shape = Shape {
        device: device::BLOCK,
        queues: 1,
        pairs: 0,
        ports: 0,
    };
    let (shown, dropped) = run_shape(shape, BASE | (1 << 12));
    assert_eq!((shown, dropped), (BASE | (1 << 12), vec![]));
}

#[test]
fn several_ports_are_as_many_as_there_are_queues_for() {
    assert_eq!(
        [1, 2, 3, 4, 5, 6, 64].map(ports_of),
        [None, None, None, Some(1), None, Some(2), Some(31)]
    );
    for (queues, ports, right) in [
        (4, 1, true),
        (6, 2, true),
        (6, 0, false),
        (6, 1, false),
        (6, 3, false),
        (6, u32::MAX, false),
        (2, 0, false),
        (7, 2, false),
    ] {
        let shape = Shape {
            device: device::CONSOLE,
            queues,
            pairs: 0,
            ports,
        };
        let (shown, dropped) = run_shape(shape, BASE | 3);
        if right {
            assert_eq!((shown, dropped), (BASE | 3, vec![]));
        } else {
            assert_eq!(shown, BASE | 1);
            assert_eq!(dropped, [Dropped::Ports(1, ports, queues)]);
        }
    }
    let text = Dropped::Ports(1, u32::MAX, 6).to_string();
    assert!(text.contains("max_nr_ports 4294967295 needs 8589934592 queues, QueueCount is 6"));
}

#[test]
fn statistics_are_hidden() {
    let (shown, dropped) = run(device::NET, BASE | (1 << 50) | (1 << 17));
    assert_eq!(shown, BASE | (1 << 17));
    assert_eq!(dropped, [Dropped::Believed(50)]);
}

#[test]
fn packets_have_room() {
    let plan = |bytes, size| Plan::new(bytes, size, Features::default()).unwrap();
    let plenty = plan(0x10_0000, 256);
    assert_eq!(mtu(&plenty, &plenty), u16::MAX);
    // The least that any queue has: seven chunks of half a page.
    let least = plan(0x4000, 256);
    assert_eq!(mtu(&least, &plenty), 7 * 2048 - 64);
    assert_eq!(mtu(&plenty, &least), 3 * 1400);
    assert_eq!(mtu(&plenty, &plan(0x10_0000, 2)), 1500);
    for bytes in (0x4000..0x4_0000).step_by(0x1000) {
        for size in [1, 4, 16, 256] {
            let send = plan(bytes, size);
            let most = u32::from(mtu(&send, &plenty));
            // Headers, and two tags of VLANs.
            assert!(
                send.holds((12 + 14 + 8 + most, 0)),
                "{bytes:#x} {size}: {most}"
            );
        }
    }
}

#[test]
fn control_features_need_a_control_queue() {
    // What hits a BUG in virtio_net, and its like.
    for bit in [2u32, 18, 19, 20, 21, 22, 23, 50, 52, 53, 57, 60] {
        let (shown, dropped) = run(device::NET, BASE | (1 << bit));
        assert_eq!(shown, BASE, "bit {bit}");
        assert_eq!(dropped, [Dropped::Needs(bit, 1 << 17)]);
        if bit != 50 {
            let (shown, dropped) = run(device::NET, BASE | (1 << bit) | (1 << 17));
            assert_eq!((shown, dropped), (BASE | (1 << bit) | (1 << 17), vec![]));
        }
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
    assert_eq!(
        text(Dropped::Pairs(22, 65535, 9)),
        "feature bit 22 with max_virtqueue_pairs 65535 needs 131071 queues, QueueCount is 9"
    );
    assert_eq!(
        text(Dropped::Mtu(65535, 4200)),
        "mtu 65535 is made 4200: the queues have no room for larger packets, a larger region would do"
    );
}

#[test]
fn who_reads_without_a_look_at_the_length() {
    for index in 0..4 {
        assert_eq!(least_written(device::BLOCK, 0, index), u32::MAX);
        assert_eq!(least_written(device::CONSOLE, 0, index), 0);
        let control = if index == 2 { 8 } else { 0 };
        assert_eq!(least_written(device::CONSOLE, 2, index), control);
        let header = if index == 0 { 16 } else { 0 };
        assert_eq!(least_written(device::RPMSG, 1, index), header);
        assert_eq!(least_written(device::NET, u64::MAX, index), 0);
    }
}

#[test]
fn whose_requests_are_to_end() {
    // VIRTIO_BLK_S_IOERR.
    assert_eq!(last_word(device::BLOCK), Some(1));
    for device in (0..64).filter(|device| *device != device::BLOCK) {
        assert_eq!(last_word(device), None);
    }
}

#[test]
fn who_spins() {
    assert!(!spins(device::NET, 3, 0, 2));
    assert!(spins(device::NET, 3, 1 << 17, 2));
    assert!(!spins(device::NET, 9, (1 << 17) | (1 << 22), 2));
    assert!(spins(device::NET, 9, (1 << 17) | (1 << 22), 8));
    assert!(spins(device::CONSOLE, 2, 0, 1) && !spins(device::CONSOLE, 2, 0, 0));
    for index in 0..6 {
        assert_eq!(spins(device::CONSOLE, 6, 2, index), index % 2 == 1);
    }
    assert!(spins(device::CAN, 3, 0, 2) && !spins(device::VSOCK, 3, u64::MAX, 1));
}

#[test]
fn who_sleeps() {
    for device in 0..64 {
        for index in 0..4 {
            assert_eq!(sleeps(device, index), (device, index) == (device::RPMSG, 0));
        }
        // A power of two, as rings have.
        let same = (device == device::RPMSG).then_some(256);
        assert_eq!(entries(device), same);
    }
}

#[test]
fn who_is_refused() {
    for device in 0..64 {
        let never = matches!(device, device::IOMMU | device::BALLOON | device::MEM);
        assert_eq!(refusal(device, true).is_some(), never);
        // Network, block, console, entropy, rpmsg, vsock (VIRTIO 5).
        let known = matches!(device, 1 | 2 | 3 | 4 | 7 | 19);
        assert_eq!(refusal(device, false).is_none(), known);
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
            | Dropped::Entries(bit, _) | Dropped::Queues(bit, _) | Dropped::Pairs(bit, ..)
            | Dropped::Ports(bit, ..) | Dropped::Believed(bit)) = reason else {
                panic!("{reason}");
            };
            prop_assert_eq!(shown & (1 << bit), 0);
            prop_assert_ne!(offered & (1 << bit), 0);
        }
        prop_assert_eq!(run(device, shown), (shown, vec![]));
    }
}

#[test]
fn block_requests_fit() {
    use hvl_logic::algo::config::{fit, Limits, MAPPING_MAX, SEGMENT};
    // Of what size, and how many, the driver then sends at once, beside a header and a status.
    let largest = |segment: Option<u32>, size_max: u32, seg_max: u32| {
        let limits = Limits {
            segment,
            ..Limits::default()
        };
        let mut words = [7, 7, size_max, seg_max, 7];
        fit(device::BLOCK, &limits, &mut words);
        assert_eq!([words[0], words[1], words[4]], [7; 3]);
        (words[2], words[3])
    };
    for size_max in [0, 1, 511, 512, 4095, 4096, 0x1_0000, 0x1_0001, u32::MAX] {
        for seg_max in [0, 1, 2, 15, 16, 17, 62, 126, u32::MAX] {
            // Linux warns of a size below this one, and takes no count below one.
            let (size, count) = largest(None, size_max, seg_max);
            assert!((SEGMENT..=MAPPING_MAX).contains(&size));
            assert_eq!(count, seg_max);
            for chunk in [2048, 4096, 4160, 0x8000] {
                let (size, count) = largest(Some(chunk), size_max, seg_max);
                assert_eq!(size, SEGMENT);
                let data = size * count;
                assert!((SEGMENT..=MAPPING_MAX).contains(&data));
                assert!(count >= seg_max.clamp(1, 16) || chunk < SEGMENT);
                // As the device sees it: what is written comes with the header, what is read with the
                // status.
                let sent = (16 + data).div_ceil(chunk);
                assert!(count == 1 || sent <= seg_max.saturating_add(1));
            }
        }
    }
    assert_eq!(largest(Some(4096), 0x1_0000, 62), (4096, 16));
    assert_eq!(largest(Some(4096), 0x1_0000, 5), (4096, 5));
    assert_eq!(largest(Some(2048), 0x1_0000, 16), (4096, 8));
    assert_eq!(largest(Some(0x8000), 0x1_0000, 2), (4096, 16));
    // Physical blocks of 2^40 blocks: Linux would shift by that. What is beside it stays.
    for (exp, fits) in [
        (0, 0),
        (3, 3),
        (15, 15),
        (16, 15),
        (31, 15),
        (40, 15),
        (255, 15),
    ] {
        let mut words = [0, 0, 4096, 5, 7, 7, 0x0102_0300 | exp, 7];
        fit(device::BLOCK, &Limits::default(), &mut words);
        assert_eq!(words, [0, 0, 4096, 5, 7, 7, 0x0102_0300 | fits, 7]);
    }
    let mut words = [9; 8];
    fit(device::VSOCK, &Limits::default(), &mut words);
    assert_eq!(words, [9; 8]);
    fit(device::BLOCK, &Limits::default(), &mut []);
}

#[test]
fn a_network_device_says_nothing_that_it_must_not() {
    use hvl_logic::algo::config::{announces, fit, pairs_and_mtu, Limits};
    let words = [0x0403_0201, 0xffff_0605, 0xffff_0007, 0x1234_5678];
    let run = |limits: Limits, words: [u32; 4]| {
        let mut words = words;
        fit(device::NET, &limits, &mut words);
        words
    };
    assert!(announces(device::NET, &words) && !announces(device::BLOCK, &words));
    assert!(!announces(device::NET, &[0, 0xfffd_ffff]) && !announces(device::NET, &[]));
    // Before anything is known: no announcement.
    let got = run(Limits::default(), words);
    assert_eq!(got, [words[0], 0x0001_0605, words[2], words[3]]);
    let limits = Limits {
        pairs: Some(4),
        mtu: Some(9000),
        announce: true,
        ..Limits::default()
    };
    let got = run(limits, words);
    assert_eq!(got[1], 0x0003_0605);
    assert_eq!(pairs_and_mtu(got[2]), (4, 9000));
    assert_eq!(run(limits, [0, 0, 60 << 16, 0])[2], (60 << 16) | 4);
    fit(device::NET, &limits, &mut []);
    // The number of a console's ports is that of its queues.
    let mut console = [0x0019_0050, 7, 0];
    fit(device::CONSOLE, &Limits::default(), &mut console);
    assert_eq!(console, [0x0019_0050, 7, 0]);
    let ports = Limits {
        ports: Some(2),
        ..limits
    };
    fit(device::CONSOLE, &ports, &mut console);
    assert_eq!(console, [0x0019_0050, 2, 0]);
    fit(device::CONSOLE, &ports, &mut console[..1]);
    assert!(
        may_announce((1 << 17) | (1 << 21)) && !may_announce(1 << 21) && !may_announce(1 << 17)
    );
}
