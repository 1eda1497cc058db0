// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which devices a pass has to do with, where the driver counts DeviceNotify and where it does not.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::bench::Bench;
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::link::Link;
use hvl_device::mem::Region;
use hvl_device::proto::layout::{link, DEVICES_MAX};
use hvl_device::proto::virtio::{feature, reg};
use hvl_device::proto::{DriverState, Entry};
use hvl_device::rng::{Entropy, Rng};

struct Zero;

impl Entropy for Zero {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// A source of random numbers in use, of a driver that makes use of `features`.
fn rig(features: u32) -> (Rig<Rng>, Ring) {
    let mut rig = Rig::new(Rng::new());
    rig.attach_with(1, features);
    let ring = rig.bring_up(1 << feature::EVENT_IDX, &[16]).pop().unwrap();
    (rig, ring)
}

fn count(mem: &Region, index: usize) {
    let at = link::device_notify(index);
    mem.publish32(at, mem.read32(at).wrapping_add(1));
}

/// What the machine does in a pass; how many chains were served.
fn pass(rig: &mut Rig<Rng>, wake: hvl_device::link::Wake) -> u64 {
    rig.link.poll(wake, &mut [&mut rig.device]);
    let shared = *rig.link.shared();
    let mut served = 0;
    for _ in rig.link.live() {
        served += rig.device.pass(&shared, &mut Zero);
    }
    rig.finish();
    served
}

fn listen(rig: &mut Rig<Rng>) -> bool {
    rig.link.listen(&mut [&mut rig.device])
}

fn live(rig: &Rig<Rng>) -> bool {
    rig.link.live().eq([0])
}

#[test]
fn a_device_that_sleeps_is_looked_at_when_it_is_counted() {
    let (mut rig, mut ring) = rig(link::FEATURE_NOTIFY);
    assert!(!listen(&mut rig));
    assert_eq!(pass(&mut rig, RANG), 0);
    assert!(!live(&rig));
    let at = rig.alloc(64);
    ring.add(0, &[(at, 8, true)]);
    // Not before the driver says so.
    assert_eq!(pass(&mut rig, RANG), 0);
    assert!(ring.take().is_none());
    rig.count();
    assert_eq!(pass(&mut rig, LOOKED), 1);
    assert_eq!(ring.take(), Some((0, 8)));
    // It is awake then, and needs no notification.
    ring.add(1, &[(at, 8, true)]);
    assert_eq!(pass(&mut rig, LOOKED), 1);
    assert_eq!(ring.take(), Some((1, 8)));
}

#[test]
fn what_is_not_counted_is_found_at_the_next_heartbeat() {
    let (mut rig, mut ring) = rig(link::FEATURE_NOTIFY);
    assert!(!listen(&mut rig));
    let at = rig.alloc(64);
    ring.add(0, &[(at, 8, true)]);
    assert_eq!(pass(&mut rig, RANG), 0);
    assert_eq!(pass(&mut rig, TICK), 1);
    assert!(ring.take().is_some());
}

#[test]
fn a_transaction_counts() {
    let (mut rig, _) = rig(link::FEATURE_NOTIFY);
    assert!(!listen(&mut rig));
    rig.pass(LOOKED);
    let epoch = rig.link.epoch();
    let reset = [Entry::register(reg::STATUS, 0)];
    let seen = rig.mem().read32(link::device_notify(0));
    rig.write_transaction(epoch, 1, &reset);
    rig.mem().write32(link::device_notify(0), seen);
    rig.pass(RANG);
    assert_ne!(rig.view(reg::STATUS), 0);
    rig.count();
    rig.pass(RANG);
    assert_eq!(rig.view(reg::STATUS), 0);
    // A device that no driver uses sleeps as well.
    assert!(!listen(&mut rig));
    rig.pass(RANG);
    assert!(!live(&rig));
}

#[test]
fn without_counts_all_devices_are_looked_at() {
    let (mut rig, mut ring) = rig(0);
    assert!(!listen(&mut rig));
    let at = rig.alloc(64);
    ring.add(0, &[(at, 8, true)]);
    assert_eq!(pass(&mut rig, LOOKED), 1);
    assert!(ring.take().is_some());
}

#[test]
fn so_they_are_by_a_peer_with_deliberate_faults() {
    let mut rig = Rig::with_faults(Rng::new(), Faults::NOEVENT);
    rig.attach_with(1, link::FEATURE_NOTIFY);
    rig.bring_up(0, &[16]);
    assert!(!listen(&mut rig));
    rig.pass(LOOKED);
    assert!(live(&rig));
}

#[test]
fn linux_is_to_count_where_devices_can_be_left_out_or_have_many_queues() {
    for (count, queues, faults, offered) in [
        (2, 3, Faults::NONE, false),
        (3, 3, Faults::NONE, true),
        (3, 3, Faults::BELL_LOST.with(Faults::EAR_SPURIOUS), true),
        (3, 3, Faults::LIE_FLAG, false),
        (DEVICES_MAX, 3, Faults::NONE, true),
        (1, 15, Faults::NONE, false),
        (1, 16, Faults::NONE, true),
        (2, 8, Faults::NONE, true),
        (1, 64, Faults::LIE_FLAG, false),
    ] {
        let memory = Memory::new(SIZE);
        let mut benches: Vec<Bench<64>> = (0..count).map(|_| Bench::new(queues)).collect();
        let mut devices: Vec<&mut dyn Device> =
            benches.iter_mut().map(|bench| bench as _).collect();
        Link::start(memory.region, &params(faults), devices.as_mut_slice()).unwrap();
        let identity = identity(&memory.region).unwrap();
        assert_eq!(
            identity.looks_at_notifies(),
            offered,
            "{count} devices of {queues} queues"
        );
    }
}

#[test]
fn of_many_devices_only_those_that_are_counted() {
    let memory = Memory::new(SIZE);
    let mem = memory.region;
    let mut benches: Vec<Bench> = (0..DEVICES_MAX).map(|_| Bench::new(9)).collect();
    let mut devices: Vec<&mut dyn Device> = benches.iter_mut().map(|bench| bench as _).collect();
    let devices = devices.as_mut_slice();
    let mut link = Link::start(mem, &params(Faults::NONE), devices).unwrap();
    mem.write32(link::DRIVER_FEATURES, link::FEATURE_NOTIFY);
    mem.write32(link::DRIVER_VERSION, hvl_device::proto::layout::VERSION);
    mem.write32(link::EPOCH_ACK, link.epoch());
    mem.write32(link::DRIVER_EPOCH, 1);
    mem.publish32(link::DRIVER_STATE, DriverState::Attached as u32);
    link.poll(RANG, devices);
    assert!(link.live().eq(0..DEVICES_MAX));
    assert!(!link.listen(devices));
    link.poll(RANG, devices);
    assert_eq!(link.live().count(), 0);
    for some in [&[0][..], &[31], &[3, 17, 30]] {
        for index in some {
            count(&mem, *index);
        }
        link.poll(RANG, devices);
        assert!(link.live().eq(some.iter().copied()));
        assert!(!link.listen(devices));
    }
}
