// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer that attacks: that it does, the same for each seed, and that it does not hurt itself.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::adversary::{Adversary, Plan, Strategy};
use hvl_device::bench::{Bench, ROOM};
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::link::Link;
use hvl_device::proto::virtio::{feature, reg};

const WORDS: [&str; 9] = [
    "all", "anywhere", "header", "windows", "rings", "answers", "content", "types", "storm",
];

fn plan(seed: u32, word: &str) -> Plan {
    let strategy = Strategy::from_word(word).unwrap();
    Plan { seed, strategy }
}

/// What it has made of the region in so many lives: words, rings, and a sum of the region.
fn attack(seed: u32, word: &str, features: u64, lives: u32) -> (u64, u32, u64) {
    let mut adversary = Adversary::new(plan(seed, word));
    let (mut rings, mut sum) = (0, 0u64);
    for _ in 0..lives {
        adversary.begin();
        let mut rig = Rig::new(Bench::<9>::new(3));
        rig.attach(1);
        let mut queues = rig.bring_up(features, &[8, 8, 8]);
        let at = rig.alloc(64);
        let mut room = Box::new([0; ROOM]);
        for pass in 0..400 {
            let wake = if pass % 20 == 0 { TICK } else { RANG };
            if features == 0 {
                queues[pass % 3].add(0, &[(at, 64, false)]);
            }
            rig.link.poll(wake, &mut [&mut rig.device]);
            let shared = *rig.link.shared();
            rig.device.pass(&shared, &mut room);
            rig.link.finish(&mut [&mut rig.device], &mut rig.bell);
            let before = rig.bell.0;
            let devices: &mut [&mut dyn Device] = &mut [&mut rig.device];
            adversary.pass(&rig.link, devices, &mut rig.bell);
            rings += rig.bell.0 - before;
            if adversary.is_over(rig.link.heartbeats()) {
                break;
            }
        }
        let mem = rig.mem();
        for at in (0..mem.len()).step_by(4) {
            sum = sum.rotate_left(1) ^ u64::from(mem.read32(at));
        }
    }
    (adversary.counts().1, rings, sum)
}

#[test]
fn each_way_of_lying_has_a_word() {
    for word in WORDS {
        assert_eq!(Strategy::from_word(word).unwrap().to_string(), word);
    }
    assert_eq!(Strategy::from_word("honest"), None);
}

#[test]
fn it_lies_in_each_way_and_the_same_again() {
    let packed = 1 << feature::RING_PACKED;
    for features in [0, packed] {
        for word in WORDS {
            let once = attack(3, word, features, 12);
            assert_eq!(attack(3, word, features, 12), once, "{word}");
            assert_ne!(attack(4, word, features, 12).2, once.2, "{word}");
            let overwrites = !matches!(word, "content" | "storm");
            assert_eq!(once.0 > 100, overwrites, "{word}: {} words", once.0);
            assert!(once.1 > 10, "{word}: {} rings", once.1);
        }
    }
}

#[test]
fn its_lives_are_short_and_not_alike() {
    let mut adversary = Adversary::new(plan(1, "all"));
    let mut kinds = std::collections::BTreeSet::new();
    let mut faults = 0;
    for _ in 0..300 {
        faults += u32::from(adversary.begin() != Faults::NONE);
        assert!(!adversary.is_over(3) && adversary.is_over(15));
        kinds.insert(adversary.to_string());
    }
    assert!(kinds.len() > 100);
    assert!((50..110).contains(&faults), "{faults}");
    assert_eq!(adversary.counts(), (300, 0));
}

#[test]
fn devices_say_that_they_are_others() {
    let mut adversary = Adversary::new(plan(1, "types"));
    let mut types = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let faults = adversary.begin();
        assert!(faults.invents());
        types.extend((0..6).map(|index| faults.claimed(index).unwrap()));
    }
    assert_eq!(types, (1..=48).collect());
    // That of one device, and of nothing else.
    let one = Faults::claiming(18);
    assert_eq!((one.claimed(0), one.claimed(1)), (Some(18), None));
    assert!(!one.invents() && Faults::NONE.claimed(0).is_none());
}

#[test]
fn what_is_invented_is_forgotten() {
    let shown = |rig: &mut Rig<Bench<9>>| {
        rig.attach(1);
        let of = entry(rig.mem(), 0).unwrap();
        (
            of.device_id,
            of.config_length,
            rig.view(reg::DEVICE_ID),
            rig.offered(),
        )
    };
    let mut rig = Rig::new(Bench::<9>::new(3));
    let honest = shown(&mut rig);
    let mut rig = Rig::with_faults(rig.device, Faults::claiming(70));
    let invented = shown(&mut rig);
    assert!(invented.0 == 23 && invented.2 == 23 && invented.1 == 64 && invented.3 != honest.3);
    let mut rig = Rig::with_faults(rig.device, Faults::NONE);
    assert_eq!(shown(&mut rig), honest);
}

#[test]
fn content_is_any_fault_of_devices_in_use_and_no_other() {
    let mut adversary = Adversary::new(plan(1, "content"));
    let mut all = Faults::NONE;
    for _ in 0..2000 {
        all = all.with(adversary.begin());
    }
    for fault in [
        Faults::NEEDS_RESET,
        Faults::CONFIG_STORM,
        Faults::RNG_EMPTY,
        Faults::BLK_CAPACITY,
        Faults::VSOCK_CREDIT,
        Faults::VSOCK_NOISE,
        Faults::RPMSG_LENGTH,
        Faults::RPMSG_STORM,
        Faults::NET_NUM_NONE,
        Faults::NET_ANNOUNCE,
        Faults::CONSOLE_RANGE,
        Faults::CONSOLE_CHURN,
    ] {
        assert!(all.has(fault), "{fault:?}");
    }
    for fault in [
        Faults::CRASH,
        Faults::VANISH,
        Faults::DEAF,
        Faults::NORING,
        Faults::LIE_FLAG,
        Faults::NET_MTU,
        Faults::BELL_LOST,
        Faults::CONSOLE_PORTS,
    ] {
        assert!(!all.has(fault), "{fault:?}");
    }
}

#[test]
fn a_link_that_was_abandoned_begins_anew() {
    let mut rig = Rig::new(Bench::<9>::new(3));
    rig.attach(1);
    rig.bring_up(0, &[8, 8, 8]);
    let (epoch, mem) = (rig.link.epoch(), *rig.mem());
    rig.link.abandon(&mut [&mut rig.device]);
    let link = Link::start(mem, &params(Faults::NONE), &mut [&mut rig.device]).unwrap();
    assert_ne!(link.epoch(), epoch);
    assert!(!link.attached());
    assert_eq!(rig.device.transport().status(), 0);
}
