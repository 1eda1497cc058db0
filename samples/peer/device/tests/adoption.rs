// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which driver there is, and what the peer leaves alone without one (protocol.rst, "DriverState").

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::device::Device;
use hvl_device::net::{Net, FRAME_MAX};
use hvl_device::proto::layout::{link, window, VERSION};
use hvl_device::proto::virtio::{feature, reg, status};
use hvl_device::proto::{DriverState, Entry, Status};

fn rig() -> Rig<Net> {
    Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true))
}

/// All words of the region.
fn words(rig: &Rig<Net>) -> Vec<u32> {
    let all = (0..SIZE).step_by(4);
    all.map(|at| rig.mem().read32(at)).collect()
}

/// Offsets of the words that have changed since `before`.
fn changed(rig: &Rig<Net>, before: &[u32]) -> Vec<u32> {
    let all = (0..SIZE).step_by(4).zip(before);
    all.filter(|&(at, word)| rig.mem().read32(at) != *word)
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn without_a_driver_nothing_is_answered() {
    let mut rig = rig();
    rig.write_transaction(rig.link.epoch(), 1, &[Entry::register(reg::QUEUE_SEL, 1)]);
    rig.mem().write32(link::TEST_REQUEST, 7);
    let (before, rung) = (words(&rig), rig.bell.0);
    rig.looks = false;
    for wake in [RANG, LOOKED, RANG] {
        rig.pass(wake);
    }
    assert_eq!(changed(&rig, &before), []);
    assert_eq!(rig.bell.0, rung);
    rig.pass(TICK);
    assert_eq!(rig.mem().read32(link::HEARTBEAT), 1, "the heart beats");
    // The adoption answers both, and counts no event.
    let events = rig.mem().read32(link::device_event(0));
    rig.attach(1);
    assert_eq!(rig.outcome(), (Status::Stale, 0));
    assert_eq!(rig.mem().read32(link::TEST_ACK), 7);
    assert_eq!(rig.mem().read32(link::device_event(0)), events);
    assert_eq!(rig.bell.0, rung + 1);
}

#[test]
fn what_makes_no_driver_is_none() {
    let cases = [
        (link::DRIVER_STATE, DriverState::Absent as u32),
        (link::DRIVER_STATE, 2),
        (link::DRIVER_STATE, u32::MAX),
        (link::DRIVER_EPOCH, 0),
        (link::EPOCH_ACK, 0x1234),
        (link::DRIVER_VERSION, VERSION ^ 0x1_0000),
    ];
    for (word, value) in cases {
        let mut rig = rig();
        rig.attach(1);
        let mut rings = rig.bring_up(0, &[8, 8]);
        rig.mem().write32(word, value);
        let rung = rig.bell.0;
        rig.pass(LOOKED);
        assert!(!rig.link.attached(), "{word:#x} = {value:#x}");
        assert_eq!(rig.view(reg::STATUS), 0, "{word:#x} = {value:#x}");
        assert_eq!(rig.bell.0, rung, "it leaves without a ring");
        let buffer = rig.alloc(2048);
        rings[1].add(0, &[(buffer, 100, false)]);
        let shared = *rig.link.shared();
        assert_eq!(
            rig.device.port(&shared).receive(&mut vec![0; FRAME_MAX]),
            None
        );
        // And there can be one again.
        rig.attach(2);
        rig.bring_up(0, &[8, 8]);
    }
}

#[test]
fn another_epoch_is_another_driver() {
    let mut rig = rig();
    rig.attach(1);
    rig.bring_up(0, &[8, 8]);
    rig.attach(2);
    assert_eq!(rig.view(reg::STATUS), 0);
    // One that went and came again between two looks.
    rig.bring_up(0, &[8, 8]);
    rig.mem().write32(link::DRIVER_STATE, 0);
    rig.attach(3);
    assert_eq!(rig.view(reg::STATUS), 0);
}

#[test]
fn before_the_driver_is_ready_its_queues_are_left_alone() {
    let mut rig = rig();
    rig.attach(1);
    assert!(rig.negotiate(feature::MANDATORY));
    let mut rings = [rig.queue(0, 8), rig.queue(1, 8)];
    let buffer = rig.alloc(2048);
    rings[1].add(0, &[(buffer, 100, false)]);
    rig.mem().write32(rig.window + window::notify_count(1), 5);
    let before = words(&rig);
    rig.link.quieten(&mut [&mut rig.device]);
    rig.pass(RANG);
    assert!(!rig.link.listen(&mut [&mut rig.device]));
    let shared = *rig.link.shared();
    let mut frame = vec![0; FRAME_MAX];
    assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
    assert_eq!(changed(&rig, &before), []);
    rig.driver_ok();
    assert_eq!(rig.device.port(&shared).receive(&mut frame), Some(88));
}

#[test]
fn after_a_fault_no_queue_of_the_device_is_used() {
    let mut rig = rig();
    rig.attach(1);
    let mut rings = rig.bring_up(0, &[8, 8]);
    let buffer = rig.alloc(2048);
    // A chain that is used, but not shown yet, when the fault comes.
    rings[1].add(0, &[(buffer, 100, false)]);
    rings[1].write_desc(1, 0, 64, 0, 0);
    rings[1].offer(1);
    let shared = *rig.link.shared();
    let mut frame = vec![0; FRAME_MAX];
    assert_eq!(rig.device.port(&shared).receive(&mut frame), Some(88));
    rings[0].add(0, &[(buffer, 2048, true)]);
    assert!(rig.device.port(&shared).can_send());
    rig.device.port(&shared).send(&mut [0; 60]);
    assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
    assert_ne!(
        rig.device.transport().status() & status::NEEDS_RESET,
        0,
        "the second chain is a fault"
    );
    rig.finish();
    rig.link.quieten(&mut [&mut rig.device]);
    assert_eq!(rings[0].used_index(), 0);
    assert_eq!((rings[0].used_flags(), rings[1].used_flags()), (0, 0));
}
