// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Transactions and the register state machine behind them.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::net::Net;
use hvl_device::proto::layout::window;
use hvl_device::proto::virtio::{feature, reg, status};
use hvl_device::proto::{Entry, Status};
use proptest::prelude::*;

fn rig() -> Rig<Net> {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    rig
}

#[test]
fn words_that_have_changed_are_named() {
    let shared = Memory::new(4096);
    let mem = &shared.region;
    mem.write32(0x108, 7);
    mem.write32(0x110, 1);
    assert_eq!(mem.changed::<2>(0x100, &[0, 7, 0, 0]), 0b100);
    assert_eq!(mem.changed::<2>(0x100, &[0, 7, 1, 0]), 0);
    assert_eq!(mem.changed::<1>(0x100, &[1; 80]), !0b1_0000);
    // The last word, and what is not inside.
    assert_eq!(mem.changed::<2>(4096 - 8, &[1]), 1);
    assert_eq!(mem.changed::<2>(4096 - 8, &[1, 1]), 0);
    assert_eq!(mem.changed::<1>(!3, &[1; 64]), 0);
    assert_eq!(mem.changed::<1>(0x102, &[1]), 0);
    assert_eq!(mem.changed::<1>(0x100, &[]), 0);
}

fn outside(rig: &Rig<Net>) -> u64 {
    rig.device
        .transport()
        .stats()
        .map(|queue| queue.outside)
        .sum()
}

#[test]
fn a_transaction_for_another_epoch_is_stale() {
    let mut rig = rig();
    rig.write_transaction(
        rig.link.epoch() + 1,
        1,
        &[Entry::register(reg::QUEUE_SEL, 1)],
    );
    rig.pass(RANG);
    assert_eq!(rig.outcome(), (Status::Stale, 0));
    assert_ne!(rig.view(reg::QUEUE_SIZE_MAX), 0);
}

#[test]
fn a_bad_count_applies_nothing() {
    for count in [0, 17, u32::MAX] {
        let mut rig = rig();
        rig.write_transaction(
            rig.link.epoch(),
            count,
            &[Entry::register(reg::QUEUE_SEL, 9); 16],
        );
        rig.pass(RANG);
        assert_eq!(rig.outcome(), (Status::BadCount, 0));
        assert_eq!(rig.view(reg::QUEUE_SIZE_MAX), 256);
    }
}

#[test]
fn a_refused_entry_ends_the_transaction() {
    let mut rig = rig();
    let sel = Entry::register(reg::QUEUE_SEL, 1);
    let cases = [
        (Entry::register(reg::QUEUE_NOTIFY, 0), Status::BadOffset),
        (Entry::register(reg::INTERRUPT_ACK, 1), Status::BadOffset),
        (Entry::register(reg::MAGIC, 0), Status::BadOffset),
        (Entry::register(0x012, 0), Status::BadOffset),
        (Entry::register(0x100, 0), Status::BadOffset),
        (Entry::register(0x800, 0), Status::BadOffset),
        (Entry::register(reg::QUEUE_SIZE, 3), Status::BadValue),
        (Entry::register(reg::QUEUE_SIZE, 512), Status::BadValue),
        (Entry::register(reg::QUEUE_READY, 1), Status::BadValue),
        (Entry::register(reg::STATUS, 0x100), Status::BadValue),
        (
            Entry::register(reg::STATUS, status::DRIVER_OK),
            Status::BadValue,
        ),
        (
            Entry {
                offset: reg::STATUS,
                length: 2,
                value: 0,
            },
            Status::BadLength,
        ),
    ];
    for (bad, want) in cases {
        let last = Entry::register(reg::QUEUE_SEL, 99);
        assert_eq!(rig.transact(&[sel, bad, last]), (want, 1), "{bad:?}");
        // The entry before was applied, the one behind was not.
        assert_eq!(rig.view(reg::QUEUE_SIZE_MAX), 256);
    }
}

#[test]
fn selectors_show_what_is_not_there_as_nothing() {
    let mut rig = rig();
    rig.set(&[
        (reg::QUEUE_SEL, 2),
        (reg::DEVICE_FEATURES_SEL, 2),
        (reg::SHM_SEL, 0),
    ]);
    assert_eq!(rig.view(reg::QUEUE_SIZE_MAX), 0);
    assert_eq!(rig.view(reg::DEVICE_FEATURES), 0);
    assert_eq!(rig.view(reg::SHM_LEN_LOW), u32::MAX);
    assert_eq!(rig.view(reg::SHM_BASE_HIGH), u32::MAX);
}

#[test]
fn features_must_be_offered_and_mandatory_ones_taken() {
    let mut rig = rig();
    let offered = rig.offered();
    assert_eq!(offered & feature::MANDATORY, feature::MANDATORY);
    assert!(rig.negotiate(offered));
    assert!(rig.negotiate(feature::MANDATORY));
    // That of a queue for administration.
    assert_eq!(offered & (1 << 41), 0);
    assert!(!rig.negotiate(offered | (1 << 41)));
    for bit in [
        feature::VERSION_1,
        feature::ACCESS_PLATFORM,
        feature::ORDER_PLATFORM,
    ] {
        assert!(!rig.negotiate(offered & !(1 << bit)));
        let refused = rig.transact(&[Entry::register(reg::STATUS, 7)]);
        assert_eq!(
            refused,
            (Status::BadValue, 0),
            "DRIVER_OK without FEATURES_OK"
        );
    }
}

#[test]
fn features_stay_once_they_are_agreed_on() {
    let mut rig = rig();
    assert!(rig.negotiate(feature::MANDATORY));
    let late = [Entry::register(reg::DRIVER_FEATURES, 1)];
    assert_eq!(rig.transact(&late), (Status::BadValue, 0));
    assert_eq!(rig.device.transport().features(), feature::MANDATORY);
}

#[test]
fn status_bits_only_go_by_a_reset() {
    let mut rig = rig();
    rig.set(&[(reg::STATUS, 3)]);
    assert_eq!(
        rig.transact(&[Entry::register(reg::STATUS, 1)]),
        (Status::BadValue, 0)
    );
    assert_eq!(rig.view(reg::STATUS), 3);
    rig.set(&[(reg::STATUS, 0)]);
    assert_eq!(rig.view(reg::STATUS), 0);
}

#[test]
fn a_queue_outside_the_pool_is_refused_and_counted() {
    let mut rig = rig();
    assert!(rig.negotiate(feature::MANDATORY));
    let ring = rig.queue(0, 8);
    let good = Rig::<Net>::queue_registers(1, &ring);
    // Descriptors, available and used ring; each once behind and once before the pool.
    for register in [
        reg::QUEUE_DESC_LOW,
        reg::QUEUE_DRIVER_LOW,
        reg::QUEUE_DEVICE_LOW,
    ] {
        for address in [BASE as u32 + SIZE - 16, BASE as u32, 0, 0xffff_fff0] {
            let before = outside(&rig);
            let registers =
                good.map(|(at, value)| (at, if at == register { address } else { value }));
            let entries = registers.map(|(at, value)| Entry::register(at, value));
            assert_eq!(rig.transact(&entries), (Status::BadValue, 8));
            assert_eq!(outside(&rig), before + 1);
            assert_eq!(rig.view(reg::QUEUE_READY), 0);
        }
    }
    let high = [
        Entry::register(reg::QUEUE_DESC_HIGH, 1),
        Entry::register(reg::QUEUE_READY, 1),
    ];
    assert_eq!(rig.transact(&high).0, Status::BadValue);
    rig.set(&good);
    assert_eq!(rig.view(reg::QUEUE_READY), 1);
}

#[test]
fn a_misaligned_queue_is_refused() {
    let mut rig = rig();
    assert!(rig.negotiate(feature::MANDATORY));
    let ring = rig.queue(0, 8);
    let good = Rig::<Net>::queue_registers(1, &ring);
    for (register, shift) in [
        (reg::QUEUE_DESC_LOW, 8),
        (reg::QUEUE_DRIVER_LOW, 1),
        (reg::QUEUE_DEVICE_LOW, 2),
    ] {
        let registers = good.map(|(at, value)| (at, value + u32::from(at == register) * shift));
        let entries = registers.map(|(at, value)| Entry::register(at, value));
        assert_eq!(rig.transact(&entries), (Status::BadValue, 8));
    }
    assert_eq!(outside(&rig), 0);
}

#[test]
fn a_ready_queue_does_not_move() {
    let mut rig = rig();
    assert!(rig.negotiate(feature::MANDATORY));
    rig.queue(0, 8);
    for register in [reg::QUEUE_SIZE, reg::QUEUE_DESC_LOW, reg::QUEUE_READY] {
        assert_eq!(
            rig.transact(&[Entry::register(register, 1)]),
            (Status::BadValue, 0)
        );
    }
    rig.set(&[(reg::QUEUE_READY, 0), (reg::QUEUE_SIZE, 4)]);
    assert_eq!(rig.view(reg::QUEUE_READY), 0);
}

#[test]
fn after_a_reset_of_a_queue_it_is_left_alone() {
    let mut rig = rig();
    let mut rings = rig.bring_up(1 << feature::RING_RESET, &[8, 8]);
    let buffer = rig.alloc(2048);
    let shared = *rig.link.shared();
    let mut frame = vec![0; hvl_device::net::FRAME_MAX];
    rings[1].add(0, &[(buffer, 100, false)]);
    assert_eq!(rig.device.port(&shared).receive(&mut frame), Some(88));
    rig.set(&[(reg::QUEUE_SEL, 1), (reg::QUEUE_RESET, 1)]);
    assert_eq!(
        (rig.view(reg::QUEUE_RESET), rig.view(reg::QUEUE_READY)),
        (0, 0)
    );
    rings[1].add(0, &[(buffer, 100, false)]);
    assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
    // And can be used again.
    let mut ring = rig.queue(1, 4);
    ring.add(0, &[(buffer, 100, false)]);
    assert_eq!(rig.device.port(&shared).receive(&mut frame), Some(88));
}

#[test]
fn reset_of_a_queue_needs_its_feature() {
    let mut rig = rig();
    rig.bring_up(0, &[8, 8]);
    assert_eq!(
        rig.transact(&[Entry::register(reg::QUEUE_RESET, 1)]),
        (Status::BadValue, 0)
    );
}

#[test]
fn a_buffer_outside_the_pool_stops_the_device() {
    for (address, len) in [
        (BASE, 64),
        (0, 64),
        (BASE + u64::from(SIZE) - 32, 64),
        (u64::MAX - 8, 64),
        (BASE + u64::from(SIZE) + (1 << 32), 64),
        (BASE + u64::from(SIZE / 2), u32::MAX),
    ] {
        let mut rig = rig();
        let mut rings = rig.bring_up(0, &[8, 8]);
        rings[1].write_desc(0, address, len, 0, 0);
        rings[1].offer(0);
        let shared = *rig.link.shared();
        let mut frame = vec![0; hvl_device::net::FRAME_MAX];
        let rung = rig.bell.0;
        assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
        rig.finish();
        assert_eq!(outside(&rig), 1, "{address:#x}");
        assert_ne!(rig.view(reg::STATUS) & status::NEEDS_RESET, 0);
        assert_eq!(rig.mem().read32(rig.window + window::CONFIG_EVENT), 1);
        assert_eq!(rig.bell.0, rung + 1);
        // A reset heals it.
        rig.bring_up(0, &[8, 8]);
    }
}

#[test]
fn a_smaller_pool_makes_the_counter_count() {
    let device = Net::new([2, 0, 0, 0, 0, 2], 1500, true);
    let mut rig = Rig::with_faults(device, Faults::OUTSIDE);
    rig.attach(1);
    let mut rings = rig.bring_up(0, &[8, 8]);
    let far = SIZE / 2;
    rings[1].add(0, &[(far, 64, false)]);
    let shared = *rig.link.shared();
    let mut frame = vec![0; hvl_device::net::FRAME_MAX];
    assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
    assert_eq!(outside(&rig), 1);
}

proptest! {
    /// Whatever is written: an answer comes, the view stays what it has to be, and the device
    /// works after a reset.
    #[test]
    fn any_transaction_is_answered(
        writes in prop::collection::vec(
            (0u32..0x41, prop_oneof![0u32..16, any::<u32>()], 0u32..40), 1..60)
    ) {
        let mut rig = rig();
        for (register, value, length) in writes {
            let length = if length > 4 { 4 } else { length };
            let entry = Entry { offset: register * 4, length, value };
            let (status, index) = rig.transact(&[entry]);
            prop_assert_eq!(index, u32::from(status == Status::Ok));
            prop_assert_eq!(rig.view(reg::DEVICE_ID), 1);
            let shown = rig.view(reg::STATUS);
            prop_assert_eq!(shown, rig.device.transport().status());
            prop_assert!(shown & status::DRIVER_OK == 0 || shown & status::FEATURES_OK != 0);
        }
        rig.bring_up(0, &[8, 8]);
    }
}
