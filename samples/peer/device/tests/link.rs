// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The link: header, attachment, link test, heartbeat, stop.

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
use hvl_device::link::{Link, StartError, Wake};
use hvl_device::net::Net;
use hvl_device::proto::layout::{link, window, PAGE, REGION_MIN};
use hvl_device::proto::virtio::{device, reg, MMIO_MAGIC};
use hvl_device::proto::{DriverState, Entry, Kind, PeerState, Status};

fn net() -> Net {
    Net::new([2, 0, 0, 0, 0, 2], 1500, true)
}

#[test]
fn a_driver_accepts_what_is_published() {
    let memory = Memory::new(SIZE);
    let (mut a, mut b) = (net(), net());
    let link = Link::start(memory.region, &params(Faults::NONE), &mut [&mut a, &mut b]).unwrap();
    let found = identity(&memory.region).unwrap();
    assert_eq!(found.epoch, link.epoch());
    assert_eq!((found.peer_base, found.region_size), (BASE, SIZE));
    assert_eq!((found.device_count, found.heartbeat_ms), (2, 100));
    assert_eq!(
        (found.pool_offset, found.pool_size),
        (3 * PAGE, SIZE - 3 * PAGE)
    );
    let first = entry(&memory.region, 0).unwrap();
    let second = entry(&memory.region, 1).unwrap();
    second.check_distinct(&[first]).unwrap();
    assert_eq!((first.device_id, first.queue_count), (device::NET, 2));
    assert_eq!(memory.region.read32(first.window + reg::MAGIC), MMIO_MAGIC);
    assert_eq!(memory.region.read32(first.window + reg::STATUS), 0);
    assert_eq!(memory.region.read32(first.window + 0x100), 0x0000_0002);
    assert_eq!(
        memory.region.read32(link::PEER_STATE),
        PeerState::Ready as u32
    );
}

#[test]
fn each_fault_of_the_header_is_refused() {
    for (fault, kind, field) in [
        (Faults::MAGIC, Kind::NotHvl, "Magic"),
        (Faults::VERSION, Kind::Version, "Version"),
        (Faults::COUNT, Kind::Range, "DeviceCount"),
        (Faults::POOLSIZE, Kind::Range, "PoolSize"),
        (Faults::BASE, Kind::Malformed, "PeerBase"),
    ] {
        let memory = Memory::new(SIZE);
        Link::start(memory.region, &params(fault), &mut [&mut net()]).unwrap();
        let error = identity(&memory.region).unwrap_err();
        assert_eq!((error.kind, error.field), (kind, field));
    }
    for (fault, field) in [
        (Faults::TABLE, "WindowOffset"),
        (Faults::OVERLAP, "WindowOffset"),
        (Faults::MANYQUEUES, "QueueCount"),
    ] {
        let memory = Memory::new(SIZE);
        Link::start(memory.region, &params(fault), &mut [&mut net()]).unwrap();
        assert_eq!(entry(&memory.region, 0).unwrap_err().field, field);
    }
}

#[test]
fn absurd_queue_sizes_are_shown() {
    for (fault, size) in [
        (Faults::QSIZE, 3),
        (Faults::QSIZE0, 0),
        (Faults::QSIZEMAX, 65535),
    ] {
        assert_eq!(
            Rig::with_faults(net(), fault).view(reg::QUEUE_SIZE_MAX),
            size
        );
    }
}

#[test]
fn every_boot_has_another_epoch() {
    let memory = Memory::new(SIZE);
    let boot = || Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap();
    let first = boot().epoch();
    assert_ne!(boot().epoch(), first);
    memory.region.write32(link::EPOCH, u32::MAX);
    assert_eq!(boot().epoch(), 1);
}

/// While a peer boots its epoch is 0. A boot that ends there is not forgotten: the one before it may be what a driver is
/// still attached to.
#[test]
fn a_boot_that_comes_to_nothing_has_an_epoch() {
    let memory = Memory::new(SIZE);
    let boot = || Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap();
    let first = boot().epoch();
    boot();
    memory.region.write32(link::EPOCH, 0);
    assert_ne!(boot().epoch(), first);
    assert_eq!(memory.region.read32(link::BOOT_EPOCH), first + 2);
}

#[test]
fn a_boot_leaves_the_drivers_lines_alone() {
    let memory = Memory::new(SIZE);
    for at in (0..2 * PAGE).step_by(4) {
        memory.region.write32(at, 0xa5a5_a5a5);
    }
    Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap();
    let driver = [
        0x080..0x400,
        0x880..0x1000,
        0x1800..0x1940,
        0x19c0..0x1c00,
        0x1d00..0x2000,
    ];
    for at in driver.into_iter().flat_map(|lines| lines.step_by(4)) {
        assert_eq!(memory.region.read32(at), 0xa5a5_a5a5, "{at:#x}");
    }
}

#[test]
fn a_boot_clears_what_is_reserved() {
    let memory = Memory::new(SIZE);
    for at in (0..2 * PAGE).step_by(4) {
        memory.region.write32(at, 0xa5a5_a5a5);
    }
    Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap();
    let window = entry(&memory.region, 0).unwrap().window;
    let done = window + window::DONE_SEQ;
    let reserved = [
        link::DRIVER_EPOCH_SEEN..link::RINGS,
        link::BOOT_EPOCH + 4..link::DRIVER_VERSION,
        // DoneStatus, DoneIndex, and the rest of the two lines.
        done + 4..done + 0x80,
    ];
    for at in reserved.into_iter().flat_map(|words| words.step_by(4)) {
        assert_eq!(memory.region.read32(at), 0, "{at:#x}");
    }
    assert_eq!(memory.region.read32(done), 0xa5a5_a5a5);
}

#[test]
fn a_region_that_is_too_small_is_refused() {
    let memory = Memory::new(REGION_MIN - PAGE);
    let error = Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap_err();
    assert_eq!(error, StartError::Size(REGION_MIN - PAGE));
    let memory = Memory::new(REGION_MIN);
    Link::start(memory.region, &params(Faults::NONE), &mut [&mut net()]).unwrap();
}

#[test]
fn only_the_announcement_rings_before_a_driver_is_there() {
    let mut rig = Rig::new(net());
    assert_eq!(rig.bell.0, 1);
    rig.pass(TICK);
    rig.pass(RANG);
    assert_eq!(rig.bell.0, 1);
    rig.attach(77);
    assert_eq!(rig.bell.0, 2);
}

#[test]
fn attachment_needs_our_epoch_and_our_version() {
    let mut rig = Rig::new(net());
    let mem = *rig.mem();
    mem.write32(link::DRIVER_VERSION, 0x2_0007);
    mem.write32(link::EPOCH_ACK, rig.link.epoch() + 1);
    mem.write32(link::DRIVER_EPOCH, 5);
    mem.write32(link::DRIVER_STATE, DriverState::Attached as u32);
    rig.pass(RANG);
    assert!(!rig.link.attached());
    mem.write32(link::EPOCH_ACK, rig.link.epoch());
    mem.write32(link::DRIVER_VERSION, 0x3_0000);
    rig.pass(RANG);
    assert!(!rig.link.attached());
    assert_eq!(mem.read32(link::DRIVER_EPOCH_SEEN), 0);
    mem.write32(link::DRIVER_VERSION, 0x2_0007);
    rig.pass(RANG);
    assert!(rig.link.attached());
    assert_eq!(mem.read32(link::DRIVER_EPOCH_SEEN), 5);
}

#[test]
fn a_new_driver_finds_reset_devices_and_no_old_transaction() {
    let mut rig = Rig::new(net());
    rig.attach(1);
    rig.bring_up(0, &[8, 8]);
    // This driver dies in the middle of a transaction.
    rig.write_transaction(rig.link.epoch(), 1, &[Entry::register(reg::QUEUE_SEL, 1)]);
    rig.attach(2);
    assert_eq!(rig.view(reg::STATUS), 0);
    assert_eq!(rig.view(reg::QUEUE_READY), 0);
    assert_eq!(rig.device.transport().status(), 0);
    // The old transaction counts as answered, and was not applied.
    assert_eq!(rig.outcome(), (Status::Stale, 0));
    rig.bring_up(0, &[8, 8]);
}

#[test]
fn a_driver_that_goes_takes_its_queues_along() {
    let mut rig = Rig::new(net());
    rig.attach(1);
    let mut rings = rig.bring_up(0, &[8, 8]);
    rig.mem()
        .write32(link::DRIVER_STATE, DriverState::Absent as u32);
    rig.pass(RANG);
    let rung = rig.bell.0;
    let buffer = rig.alloc(2048);
    rings[1].add(0, &[(buffer, 100, false)]);
    let shared = *rig.link.shared();
    let mut frame = vec![0; hvl_device::net::FRAME_MAX];
    assert_eq!(rig.device.port(&shared).receive(&mut frame), None);
    rig.pass(RANG);
    assert_eq!(rings[1].take(), None);
    assert_eq!(rig.bell.0, rung);
    rig.attach(1);
}

#[test]
fn the_link_test_tells_how_it_was_seen() {
    let mut rig = Rig::new(net());
    rig.attach(1);
    let ack = |rig: &Rig<Net>| {
        let mem = rig.mem();
        (mem.read32(link::TEST_ACK), mem.read32(link::TEST_CAUSE))
    };
    rig.mem().write32(link::TEST_REQUEST, 11);
    let rung = rig.bell.0;
    // Seen too early: the doorbell may be on its way.
    rig.pass(LOOKED);
    assert_eq!((ack(&rig).0, rig.bell.0), (0, rung));
    rig.pass(RANG);
    assert_eq!((ack(&rig), rig.bell.0), ((11, 1), rung + 1));
    // First seen at a tick, it may be as young; at the next it is not.
    rig.mem().write32(link::TEST_REQUEST, 12);
    rig.pass(TICK);
    assert_eq!((ack(&rig), rig.bell.0), ((11, 1), rung + 1));
    rig.pass(TICK);
    assert_eq!((ack(&rig), rig.bell.0), ((12, 2), rung + 2));
    rig.pass(RANG);
    assert_eq!((ack(&rig), rig.bell.0), ((12, 2), rung + 2));
    rig.mem().write32(link::TEST_REQUEST, 13);
    rig.pass(LOOKED);
    rig.pass(TICK);
    assert_eq!(ack(&rig), (13, 2));
    rig.mem().write32(link::TEST_REQUEST, 14);
    rig.pass(TICK);
    rig.pass(RANG);
    assert_eq!(ack(&rig), (14, 1));
}

#[test]
fn the_heart_beats_with_the_clock() {
    let mut rig = Rig::new(net());
    for wake in [TICK, RANG, LOOKED, TICK] {
        rig.pass(wake);
    }
    assert_eq!(rig.mem().read32(link::HEARTBEAT), 2);
    let mut rig = Rig::with_faults(net(), Faults::NOHB);
    rig.pass(TICK);
    assert_eq!(rig.mem().read32(link::HEARTBEAT), 0);
}

#[test]
fn a_stopped_peer_touches_nothing_more() {
    let mut rig = Rig::new(net());
    rig.attach(1);
    let rung = rig.bell.0;
    rig.link.stop(PeerState::Stopped, &mut rig.bell);
    assert_eq!(
        rig.mem().read32(link::PEER_STATE),
        PeerState::Stopped as u32
    );
    assert_eq!(rig.bell.0, rung + 1);
    let before: Vec<u32> = (0..SIZE)
        .step_by(4)
        .map(|at| rig.mem().read32(at))
        .collect();
    rig.pass(TICK);
    rig.pass(RANG);
    rig.link.stop(PeerState::Failed, &mut rig.bell);
    let after: Vec<u32> = (0..SIZE)
        .step_by(4)
        .map(|at| rig.mem().read32(at))
        .collect();
    assert_eq!(before, after);
    assert_eq!(rig.bell.0, rung + 1);
}

#[test]
fn a_peer_that_does_not_ring_does_not() {
    let mut rig = Rig::with_faults(net(), Faults::NORING);
    rig.attach(1);
    rig.bring_up(0, &[8, 8]);
    assert_eq!(rig.bell.0, 0);
}

#[test]
fn a_peer_that_does_not_reply_does_not() {
    let mut rig = Rig::with_faults(net(), Faults::NOREPLY);
    rig.attach(1);
    rig.write_transaction(rig.link.epoch(), 1, &[Entry::register(reg::STATUS, 0)]);
    let window = rig.window;
    let done = rig.mem().read32(window + 0x940);
    rig.pass(RANG);
    rig.pass(TICK);
    assert_eq!(rig.mem().read32(window + 0x940), done);
}

#[test]
fn linux_cannot_make_us_talk_for_ever() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static LINES: AtomicUsize = AtomicUsize::new(0);
    struct Count;
    impl log::Log for Count {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }
        fn log(&self, record: &log::Record<'_>) {
            if record.args().to_string().contains("transaction 0x") {
                LINES.fetch_add(1, Ordering::Relaxed);
            }
        }
        fn flush(&self) {}
    }
    log::set_logger(&Count).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    let mut rig = Rig::new(net());
    rig.attach(1);
    for _ in 0..1000 {
        let refused = rig.transact(&[Entry::register(reg::MAGIC, 0)]);
        assert_eq!(refused, (Status::BadOffset, 0));
    }
    let lines = LINES.load(Ordering::Relaxed);
    // Other tests of this file may run at the same time, but refuse nothing.
    assert!((1..=32).contains(&lines), "{lines} lines");
    rig.pass(TICK);
    rig.transact(&[Entry::register(reg::MAGIC, 0)]);
    rig.transact(&[Entry::register(reg::MAGIC, 0)]);
    assert_eq!(LINES.load(Ordering::Relaxed), lines + 1);
}

#[test]
fn a_ring_that_got_lost_is_noticed_when_it_is_time_to_look() {
    const TIMER: Wake = Wake {
        timer: true,
        ..LOOKED
    };
    let mut rig = Rig::new(net());
    rig.attach(1);
    rig.bring_up(0, &[8, 8]);
    let mut count = rig.mem().read32(rig.window + window::notify_count(1));
    let mut missed = |wake, notify: bool| {
        count += u32::from(notify);
        rig.mem()
            .write32(rig.window + window::notify_count(1), count);
        rig.pass(wake);
        rig.link.has_missed()
    };
    assert!(!missed(RANG, true));
    assert!(!missed(TICK, false));
    for wake in [TICK, TIMER] {
        assert!(missed(wake, true));
        assert!(!missed(wake, false));
    }
    // It came in the end, or nobody had to ring: whoever is awake looks all the time.
    assert!(!missed(LOOKED, true));
    assert!(!missed(RANG, false));
    assert!(!missed(
        Wake {
            doorbell: true,
            ..TICK
        },
        true
    ));
    // A transaction is asked for by a ring, too.
    let entries = [Entry::register(reg::QUEUE_SEL, 0)];
    rig.write_transaction(rig.link.epoch(), 1, &entries);
    rig.pass(TICK);
    assert!(rig.link.has_missed());
    assert_eq!(rig.outcome(), (Status::Ok, 1));
}

#[test]
fn doorbells_go_wrong_on_purpose() {
    let faults = Faults::BELL_LATE.with(Faults::BELL_SPURIOUS);
    let mut rig = Rig::with_faults(net(), faults);
    rig.attach(1);
    // Each transaction is one ring: at once, or when it is time.
    let (mut passes, mut held) = (0, 0);
    for _ in 0..1000 {
        rig.transact(&[Entry::register(reg::QUEUE_SEL, 0)]);
        passes += 1;
        while rig.link.holds_ring() {
            held += 1;
            let rung = rig.link.doorbells().1;
            rig.pass(TICK);
            passes += 1;
            assert!(rig.link.holds_ring() || rig.link.doorbells().1 > rung);
        }
    }
    let counts = rig.link.mishaps();
    assert!(held >= 80 && counts.late == held);
    assert!((passes / 5..passes / 2).contains(&counts.spurious));
    assert_eq!((counts.lost, counts.double), (0, 0));
}

#[test]
fn rings_merge_until_the_driver_has_looked() {
    let mut rig = Rig::new(net());
    rig.attach(1);
    rig.looks = false;
    // Each transaction is an event.
    let rung = |rig: &mut Rig<Net>| {
        let before = rig.bell.0;
        rig.transact(&[Entry::register(reg::QUEUE_SEL, 1)]);
        rig.bell.0 - before
    };
    rig.look();
    assert_eq!(rung(&mut rig), 1);
    // It has not looked yet; when it does, it sees all of them.
    for _ in 0..5 {
        assert_eq!(rung(&mut rig), 0);
    }
    // The link test rings whatever was seen, since it is about rings.
    rig.mem().write32(link::TEST_REQUEST, 11);
    let before = rig.bell.0;
    rig.pass(RANG);
    assert_eq!(rig.bell.0, before + 1);
    rig.look();
    assert_eq!(rung(&mut rig), 1);
    assert_eq!(rung(&mut rig), 0);
    assert_eq!(rig.link.doorbells().2, 6);
    // Another boot begins where the driver is.
    rig.mem().write32(link::RINGS_SEEN, 0xdead_beef);
    let mut device = net();
    let faults = params(Faults::NONE);
    rig.link = Link::start(*rig.mem(), &faults, &mut [&mut device]).unwrap();
    assert_eq!(rig.mem().read32(link::RINGS), 0xdead_beef);
}
