// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts of Linux's for single queues: which is rung when, and what is not believed.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::bench::{Bench, ROOM};
use hvl_device::device::{Bells, Doorbell};
use hvl_device::faults::Faults;
use hvl_device::link::{Link, Params};
use hvl_device::proto::layout::{link, window};
use hvl_device::proto::{DriverState, Vector};

/// Where messages may go.
const FRAME: u64 = 0x802_0040;

/// Remembers what was rung, if it may be.
#[derive(Default)]
struct Bells2 {
    link: u32,
    vectors: Vec<Vector>,
    refused: u32,
}

impl Doorbell for Bells2 {
    fn ring(&mut self) {
        self.link += 1;
    }

    fn ring_vector(&mut self, vector: Vector) -> bool {
        let allowed = match vector {
            Vector::Doorbell(number) => (1..=4).contains(&number),
            Vector::Msi { address, .. } => address == FRAME,
        };
        if allowed {
            self.vectors.push(vector);
        } else {
            self.refused += 1;
        }
        allowed
    }
}

struct World {
    rig: Rig<Bench>,
    bells: Bells2,
    rings: Vec<Ring>,
    room: Box<[u8; ROOM]>,
    buffer: u32,
}

impl World {
    /// Three queues in use, with these entries in the table, and these vectors for the queues.
    fn new(entries: &[Vector], count: u32, vectors: [u32; 3]) -> Self {
        Self::with_faults(Faults::NONE, entries, count, vectors)
    }

    fn with_faults(faults: Faults, entries: &[Vector], count: u32, vectors: [u32; 3]) -> Self {
        let mut rig = Rig::with_faults(Bench::new(3), faults);
        rig.attach(1);
        let mem = rig.memory.region;
        for (index, entry) in entries.iter().enumerate() {
            for (at, word) in (link::vector_entry(index)..).step_by(4).zip(entry.emit()) {
                mem.write32(at, word);
            }
        }
        mem.write32(link::VECTOR_COUNT, count);
        for (index, vector) in vectors.into_iter().enumerate() {
            mem.write32(rig.window + window::queue_vector(index), vector);
        }
        let rings = rig.bring_up(0, &[8, 8, 8]);
        let buffer = rig.alloc(64);
        Self {
            rig,
            bells: Bells2::default(),
            rings,
            room: Box::new([0; ROOM]),
            buffer,
        }
    }

    /// A chain in each of `queues`, and a pass; what was rung: the doorbell so often, and vectors.
    fn pass(&mut self, queues: &[usize]) -> (u32, Vec<Vector>) {
        for &queue in queues {
            self.rings[queue].add(0, &[(self.buffer, 64, false)]);
        }
        let rig = &mut self.rig;
        rig.link.poll(RANG, &mut [&mut rig.device]);
        let shared = *rig.link.shared();
        rig.device.pass(&shared, &mut self.room);
        rig.link.finish(&mut [&mut rig.device], &mut self.bells);
        rig.look();
        let bells = std::mem::take(&mut self.bells);
        self.bells.refused = bells.refused;
        (bells.link, bells.vectors)
    }
}

const MSI: Vector = Vector::Msi {
    address: FRAME,
    data: 77,
};

#[test]
fn each_queue_rings_its_own() {
    let entries = [Vector::Doorbell(1), MSI, Vector::Doorbell(3)];
    let mut world = World::new(&entries, 3, [0, 1, window::NO_VECTOR]);
    assert_eq!(world.pass(&[]), (0, vec![]));
    assert_eq!(world.pass(&[0]), (0, vec![Vector::Doorbell(1)]));
    assert_eq!(world.pass(&[1]), (0, vec![MSI]));
    assert_eq!(world.pass(&[2]), (1, vec![]));
    assert_eq!(world.pass(&[0, 1, 2]), (1, vec![Vector::Doorbell(1), MSI]));
}

#[test]
fn one_for_several_is_rung_once() {
    let mut world = World::new(&[MSI], 1, [0, 0, 0]);
    assert_eq!(world.pass(&[0, 1, 2]), (0, vec![MSI]));
}

#[test]
fn they_go_wrong_on_purpose() {
    for (faults, least, most) in [
        (Faults::NONE, 1000, 1000),
        (Faults::BELL_LOST, 850, 950),
        (Faults::BELL_DOUBLE, 1200, 1400),
        (Faults::BELL_LATE, 999, 1000),
        (Faults::BELL_SPURIOUS, 1200, 1400),
    ] {
        let mut world = World::with_faults(faults, &[MSI], 1, [0, 0, 0]);
        let mut rung = 0;
        for _ in 0..1000 {
            rung += world.pass(&[0]).1.len();
        }
        assert!((least..=most).contains(&rung), "{faults:?}: {rung}");
        // A late one comes when it is time.
        let late = world.rig.link.mishaps().late as usize;
        world.rig.link.poll(TICK, &mut [&mut world.rig.device]);
        world
            .rig
            .link
            .finish(&mut [&mut world.rig.device], &mut world.bells);
        assert!(late < 50 || rung + world.bells.vectors.len() == 1000);
    }
}

#[test]
fn nothing_is_rung_that_a_driver_before_has_asked_for() {
    let faults = Faults::BELL_LATE.with(Faults::BELL_SPURIOUS);
    let mut world = World::with_faults(faults, &[MSI], 1, [0, 0, 0]);
    while world.rig.link.mishaps().late == 0 {
        world.pass(&[0]);
    }
    world.rig.attach(2);
    let before = world.rig.link.mishaps().spurious;
    for wake in [TICK, RANG, TICK, RANG, TICK, RANG, TICK, RANG, TICK, RANG] {
        world.rig.link.poll(wake, &mut [&mut world.rig.device]);
        world
            .rig
            .link
            .finish(&mut [&mut world.rig.device], &mut world.bells);
    }
    assert!(world.rig.link.mishaps().spurious > before);
    assert_eq!(world.bells.vectors, []);
}

#[test]
fn vectors_count_events_as_doorbells_do() {
    let mut world = World::new(&[MSI], 1, [0, 0, 0]);
    let mem = world.rig.memory.region;
    let at = world.rig.window + window::queue_event(1);
    let before = (mem.read32(at), mem.read32(link::device_event(0)));
    world.pass(&[1]);
    let after = (mem.read32(at), mem.read32(link::device_event(0)));
    assert_eq!(after, (before.0 + 1, before.1 + 1));
    // They have nothing to do with what merges rings of the doorbell.
    assert_eq!(mem.read32(link::RINGS), mem.read32(link::RINGS_SEEN));
}

#[test]
fn what_may_not_be_rung_is_the_doorbells() {
    let elsewhere = Vector::Msi {
        address: FRAME + 4,
        data: 77,
    };
    for (entry, count, vector) in [
        // Not there.
        (MSI, 0, 0),
        (MSI, 1, 1),
        (MSI, u32::MAX, 64),
        (MSI, u32::MAX, u32::MAX),
        // Anywhere in memory; an interrupt that is none of ours; the doorbell itself.
        (elsewhere, 1, 0),
        (Vector::Doorbell(5), 1, 0),
        (Vector::Doorbell(u32::MAX), 1, 0),
        (Vector::Doorbell(0), 1, 0),
    ] {
        let mut world = World::new(&[entry], count, [vector; 3]);
        assert_eq!(world.pass(&[0]), (1, vec![]), "{entry:?} {count} {vector}");
        assert_eq!(world.pass(&[0]), (1, vec![]), "{entry:?} {count} {vector}");
        // It is asked for once.
        assert!(world.bells.refused <= 1);
    }
}

#[test]
fn a_vector_is_taken_when_the_queue_becomes_ready() {
    let mut world = World::new(&[MSI, Vector::Doorbell(2)], 2, [0, 0, 0]);
    let mem = world.rig.memory.region;
    mem.write32(world.rig.window + window::queue_vector(0), 1);
    mem.write32(link::VECTOR_COUNT, 0);
    assert_eq!(world.pass(&[0]), (0, vec![MSI]));
}

#[test]
fn the_configuration_has_one_too() {
    for (vector, rung) in [(0, (0, vec![MSI])), (1, (1, vec![]))] {
        let mut rig = Rig::new(<Bench>::new(3));
        rig.attach(1);
        let mem = rig.memory.region;
        for (at, word) in (link::vector_entry(0)..).step_by(4).zip(MSI.emit()) {
            mem.write32(at, word);
        }
        mem.write32(link::VECTOR_COUNT, 1);
        mem.write32(rig.window + window::CONFIG_VECTOR, vector);
        rig.bring_up(0, &[8, 8, 8]);
        let shared = *rig.link.shared();
        let mut bells = Bells2::default();
        hvl_device::device::Device::transport_mut(&mut rig.device).change_config(&shared, |_| ());
        rig.link.finish(&mut [&mut rig.device], &mut bells);
        assert_eq!((bells.link, bells.vectors), rung);
    }
}

#[test]
fn what_there_is_stands_in_the_header() {
    for (bells, words) in [
        (Bells::default(), [0, 0, 0]),
        (
            Bells {
                more: 8,
                msi: true,
                own: 2,
            },
            [link::FEATURE_MSI, 9, 3],
        ),
    ] {
        let memory = Memory::new(SIZE);
        let mut device = <Bench>::new(3);
        let params = Params {
            bells,
            ..params(Faults::NONE)
        };
        Link::start(memory.region, &params, &mut [&mut device]).unwrap();
        let identity = identity(&memory.region).unwrap();
        let found = [
            identity.features & !link::FEATURE_NOTIFY,
            identity.doorbells,
            identity.own_doorbells,
        ];
        assert_eq!(found, words);
    }
}

#[test]
fn without_a_driver_no_vector_is_rung() {
    let mut world = World::new(&[MSI], 1, [0, 0, 0]);
    let mem = world.rig.memory.region;
    mem.write32(link::DRIVER_STATE, DriverState::Absent as u32);
    assert_eq!(world.pass(&[0]), (0, vec![]));
}
