// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The block device.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::blk::{Blk, Shape, SECTOR, SEG_MAX, SIZE_MAX};
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::proto::layout::window;
use hvl_device::proto::virtio::feature;
use proptest::prelude::*;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const WRITE_ZEROES: u32 = 13;

const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

/// What the device can do beside flushing, which is needed for none of this.
const ALL: u64 = 1 << 5 | 1 << 6 | 1 << 9 | 1 << 12 | 1 << 13 | 1 << 14;
const SECTORS: usize = 64;

fn shape() -> Shape {
    let mut serial = [0; 20];
    serial[..4].copy_from_slice(b"disk");
    Shape {
        block: 512,
        queues: 2,
        read_only: false,
        physical_exp: 0,
        size_max: SIZE_MAX,
        seg_max: SEG_MAX,
        serial,
    }
}

/// A disk, its driver, and places for header, data and status.
struct World {
    rig: Rig<Blk<'static>>,
    rings: Vec<Ring>,
    at: u32,
}

const ROOM: u32 = 0x4_2000;

impl World {
    fn new(shape: &Shape, faults: Faults, features: u64) -> Self {
        let disk: &'static mut [u8] = vec![0; SECTORS * SECTOR].leak();
        let mut rig = Rig::with_faults(Blk::new(disk, shape), faults);
        rig.attach(1);
        let offered = rig.offered();
        let sizes = vec![128; shape.queues];
        let rings = rig.bring_up(features & offered & !feature::MANDATORY, &sizes);
        let at = rig.alloc(2 * ROOM);
        Self { rig, rings, at }
    }

    fn pass(&mut self) -> u64 {
        let shared = *self.rig.link.shared();
        let served = self.rig.device.pass(&shared);
        self.rig.finish();
        served
    }

    /// One request: header and data in one buffer, `room` bytes for data and the status in another.
    /// What came back.
    fn raw(&mut self, sent: &[u8], room: u32) -> Option<(u32, Vec<u8>)> {
        let (from, to) = (self.at, self.at + ROOM);
        assert!(self.rig.mem().write_bytes(from, sent));
        assert!(self.rig.mem().write_bytes(to, &vec![0xee; room as usize]));
        let all = [(from, sent.len() as u32, false), (to, room, true)];
        let some: Vec<Buffer> = all.into_iter().filter(|buffer| buffer.1 != 0).collect();
        self.rings[0].add(0, &some);
        self.pass();
        let (_, len) = self.rings[0].take()?;
        let mut got = vec![0; room as usize];
        assert!(self.rig.mem().read_bytes(to, &mut got));
        Some((len, got))
    }

    /// The status, and the data that was read.
    fn request(&mut self, kind: u32, sector: u64, sent: &[u8], room: u32) -> (u8, Vec<u8>) {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.extend(sector.to_le_bytes());
        bytes.extend(sent);
        let (len, mut got) = self.raw(&bytes, room + 1).unwrap();
        assert_eq!(len, room + 1, "all of the room was written");
        let status = got.pop().unwrap();
        (status, got)
    }

    fn write(&mut self, sector: u64, data: &[u8]) -> u8 {
        self.request(OUT, sector, data, 0).0
    }

    fn violations(&self) -> u64 {
        let stats = self.rig.device.transport().stats();
        stats.map(|queue| queue.faults).sum()
    }
}

fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(sectors.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn what_was_written_is_read() {
    let mut world = World::new(&shape(), Faults::NONE, ALL);
    let want = data(4 * SECTOR);
    assert_eq!(world.write(3, &want), OK);
    assert_eq!(world.request(FLUSH, 0, &[], 0).0, OK);
    assert_eq!(world.request(IN, 3, &[], 4 * 512), (OK, want.clone()));
    let (status, got) = world.request(IN, 2, &[], 3 * 512);
    assert_eq!(
        (status, &got[..512], &got[512..]),
        (OK, &[0; 512][..], &want[..1024])
    );
    let (status, id) = world.request(GET_ID, 0, &[], 20);
    assert_eq!((status, &id[..5]), (OK, &b"disk\0"[..]));
    assert_eq!(world.request(GET_ID, 0, &[], 2), (OK, b"di".to_vec()));
    assert_eq!(world.rig.device.stats().failed, 0);
}

#[test]
fn each_mistake_has_its_status() {
    let mut world = World::new(&shape(), Faults::NONE, ALL);
    let end = SECTORS as u64;
    let ok = |sectors| range(0, sectors, 0);
    let five: Vec<u8> = (0..5).flat_map(|_| ok(1)).collect();
    let second_is_wrong = [ok(1), range(end, 1, 0)].concat();
    let cases: &[(u32, u64, &[u8], u32, u8)] = &[
        (IN, end, &[], 512, IOERR),
        (IN, end - 1, &[], 1024, IOERR),
        (IN, u64::MAX, &[], 512, IOERR),
        (IN, 0, &[], 511, IOERR),
        (IN, end, &[], 0, OK),
        (OUT, end - 1, &[1; 1024], 0, IOERR),
        (OUT, u64::MAX / 512, &[1; 512], 0, IOERR),
        (OUT, 0, &[1; 513], 0, IOERR),
        (DISCARD, 0, &[], 0, IOERR),
        (DISCARD, 0, &[0; 15], 0, IOERR),
        (DISCARD, 0, &five, 0, IOERR),
        (DISCARD, 0, &range(0, 65, 0), 0, IOERR),
        (DISCARD, 0, &range(0, 2049, 0), 0, IOERR),
        (DISCARD, 0, &range(u64::MAX, 1, 0), 0, IOERR),
        (DISCARD, 0, &range(0, 1, 1), 0, UNSUPP),
        (DISCARD, 0, &second_is_wrong, 0, IOERR),
        (WRITE_ZEROES, 0, &range(0, 1, 1), 0, OK),
        (WRITE_ZEROES, 0, &range(0, 1, 2), 0, UNSUPP),
        (WRITE_ZEROES, 0, &range(end, 1, 0), 0, IOERR),
        (2, 0, &[], 0, UNSUPP),
        (u32::MAX, 0, &[1; 512], 512, UNSUPP),
    ];
    assert_eq!(world.write(0, &data(512)), OK);
    assert_eq!(world.write(0, &data(512)), OK);
    for (kind, sector, sent, room, want) in cases {
        let (status, got) = world.request(*kind, *sector, sent, *room);
        assert_eq!(status, *want, "{kind} {sector} {} {room}", sent.len());
        // Nothing is there that came from elsewhere.
        assert!(got.iter().all(|byte| *byte == 0));
        if *want != OK {
            let (_, first) = world.request(IN, 0, &[], 512);
            assert_eq!(first, data(512), "{kind} {sector} {} {room}", sent.len());
        }
        world.write(0, &data(512));
    }
    assert_eq!(world.violations(), 0);
}

#[test]
fn what_is_no_request_comes_back_empty() {
    let mut world = World::new(&shape(), Faults::NONE, ALL);
    assert_eq!(world.raw(&[0; 15], 513).unwrap(), (0, vec![0xee; 513]));
    assert_eq!(world.raw(&[0; 16], 0).unwrap(), (0, vec![]));
    assert_eq!(world.raw(&[], 1).unwrap(), (0, vec![0xee]));
    assert_eq!(world.rig.device.stats().bad, 3);
}

#[test]
fn ranges_are_zeroed() {
    for kind in [DISCARD, WRITE_ZEROES] {
        let mut world = World::new(&shape(), Faults::NONE, ALL);
        assert_eq!(world.write(0, &[9; 8 * 512]), OK);
        let two = [range(1, 2, 0), range(6, 1, 0)].concat();
        assert_eq!(world.request(kind, 0, &two, 0).0, OK);
        let (_, got) = world.request(IN, 0, &[], 8 * 512);
        let sectors: Vec<u8> = got.chunks(512).map(|sector| sector[0]).collect();
        assert_eq!(sectors, [9, 0, 0, 9, 9, 9, 0, 9]);
        assert!(got
            .chunks(512)
            .all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    }
}

#[test]
fn only_what_was_agreed_on_is_done() {
    let mut world = World::new(&shape(), Faults::NONE, 0);
    for (kind, sent) in [
        (FLUSH, vec![]),
        (DISCARD, range(0, 1, 0)),
        (WRITE_ZEROES, range(0, 1, 0)),
    ] {
        assert_eq!(world.request(kind, 0, &sent, 0).0, UNSUPP);
    }
    assert_eq!(world.rig.device.stats().unsupported, 3);
}

#[test]
fn a_read_only_disk_stays_as_it_is() {
    let shape = Shape {
        read_only: true,
        ..shape()
    };
    let mut world = World::new(&shape, Faults::NONE, ALL);
    assert_eq!(world.write(0, &[1; 512]), IOERR);
    assert_eq!(world.request(DISCARD, 0, &range(0, 1, 0), 0).0, UNSUPP);
    assert_eq!(world.request(IN, 0, &[], 512), (OK, vec![0; 512]));
    let offered = world.rig.offered();
    assert_eq!((offered >> 5 & 1, offered >> 13 & 3), (1, 0));
}

#[test]
fn it_says_what_it_is() {
    let config = |world: &World, at: u32| {
        let base = world.rig.window + window::CONFIG + at;
        world.rig.mem().read32(base)
    };
    let shape = Shape {
        block: 4096,
        queues: 4,
        ..shape()
    };
    let world = World::new(&shape, Faults::NONE, ALL);
    assert_eq!((config(&world, 0), config(&world, 4)), (SECTORS as u32, 0));
    assert_eq!((config(&world, 8), config(&world, 12)), (0x1_0000, 62));
    assert_eq!((config(&world, 20), config(&world, 32) >> 16), (4096, 4));
    assert_eq!(
        (config(&world, 36), config(&world, 40), config(&world, 44)),
        (2048, 4, 8)
    );
    assert_eq!(world.rig.device.transport().stats().count(), 4);
    // What is no whole block is left out.
    let disk: &'static mut [u8] = vec![0; 4096 + 512].leak();
    assert_eq!(Blk::new(disk, &shape).size(), 4096);
}

#[test]
fn a_pass_is_bounded() {
    let mut world = World::new(&shape(), Faults::NONE, ALL);
    // All the disk, again and again, in both queues.
    let mut header = IN.to_le_bytes().to_vec();
    header.extend([0; 12]);
    let (from, to) = (world.at, world.at + ROOM);
    assert!(world.rig.mem().write_bytes(from, &header));
    for ring in &mut world.rings {
        for _ in 0..60 {
            ring.add(
                0,
                &[(from, 16, false), (to, SECTORS as u32 * 512 + 1, true)],
            );
        }
    }
    // 16 times 32 KiB is what a pass moves, and no queue waits for the other one to be empty.
    assert_eq!(world.pass(), 16);
    assert_eq!(world.pass(), 16);
    let used: Vec<u16> = world.rings.iter().map(Ring::used_index).collect();
    assert_eq!(used, [16, 16]);
    while world.pass() != 0 {}
    assert!(world.rings.iter().all(|ring| ring.used_index() == 60));
    // What one cannot ask for is not begun.
    let mut header = OUT.to_le_bytes().to_vec();
    header.extend([0; 12]);
    header.extend(vec![1; 0x4_0000 + 512]);
    assert_eq!(world.raw(&header, 1).unwrap().1, [IOERR]);
}

/// What comes of a request that is none is written as well, into all the room that it has.
#[test]
fn a_pass_of_requests_that_fail_is_bounded_as_well() {
    for kind in [99_u32, GET_ID, FLUSH, OUT] {
        let mut world = World::new(&shape(), Faults::NONE, ALL);
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 12]);
        let (from, to) = (world.at, world.at + ROOM);
        assert!(world.rig.mem().write_bytes(from, &header));
        for _ in 0..60 {
            world.rings[0].add(0, &[(from, 16, false), (to, 0x4_0000 + 1, true)]);
        }
        // Twice 256 KiB is what a pass moves.
        assert_eq!(world.pass(), 2, "{kind}");
        while world.pass() != 0 {}
        assert_eq!(world.rings[0].used_index(), 60);
    }
}

#[test]
fn faults_are_as_they_say() {
    let mut world = World::new(&shape(), Faults::BLK_STATUS, ALL);
    assert_eq!(world.request(FLUSH, 0, &[], 0).0, 0x81);
    let mut world = World::new(&shape(), Faults::BLK_EMPTY, ALL);
    assert_eq!(world.write(0, &[1; 512]), OK);
    // No status either.
    let (len, got) = world.raw(&[0; 16], 513).unwrap();
    assert_eq!((len, got[512]), (0, 0xee));

    let mut world = World::new(&shape(), Faults::BLK_CAPACITY, ALL);
    let mut seen = Vec::new();
    for _ in 0..5 {
        (0..4).for_each(|_| world.rig.pass(TICK));
        let at = world.rig.window + window::CONFIG;
        seen.push((world.rig.mem().read32(at), world.rig.mem().read32(at + 4)));
    }
    let end = SECTORS as u32;
    let max = (u32::MAX, u32::MAX);
    assert_eq!(seen, [(end / 2, 0), (end * 2, 0), (0, 0), max, (end, 0)]);
}

proptest! {
    /// Any requests: the disk is what it should be, and each has the status that it should have.
    #[test]
    fn a_disk_is_an_array(
        requests in prop::collection::vec(
            (prop_oneof![Just(IN), Just(OUT), Just(WRITE_ZEROES), 0u32..16],
             prop_oneof![0u64..70, any::<u64>()],
             prop_oneof![Just(1usize), 0usize..6], 0u8..255),
            0..40)
    ) {
        let mut world = World::new(&shape(), Faults::NONE, ALL);
        let mut model = vec![0u8; SECTORS * SECTOR];
        for (kind, sector, count, fill) in requests {
            let from = (sector as usize).saturating_mul(SECTOR);
            let inside = sector < 1 << 32 && from + count * SECTOR <= model.len();
            let sent = match kind {
                OUT => vec![fill; count * SECTOR],
                DISCARD | WRITE_ZEROES => range(sector, count as u32, 0),
                _ => vec![],
            };
            let room = if kind == IN { count as u32 * 512 } else { 0 };
            let (status, got) = world.request(kind, sector, &sent, room);
            let known = [IN, OUT, FLUSH, GET_ID, DISCARD, WRITE_ZEROES].contains(&kind);
            let anywhere = kind == FLUSH || kind == GET_ID;
            let want = if !known { UNSUPP } else if inside || anywhere { OK } else { IOERR };
            prop_assert_eq!(status, want, "kind {} sector {} count {}", kind, sector, count);
            if status == OK && !anywhere {
                let part = &mut model[from..from + count * SECTOR];
                match kind {
                    OUT => part.fill(fill),
                    IN => prop_assert_eq!(&got[..], &*part),
                    _ => part.fill(0),
                }
            }
        }
        let (status, all) = world.request(IN, 0, &[], model.len() as u32);
        prop_assert_eq!(status, OK);
        prop_assert!(all == model);
        prop_assert_eq!(world.violations(), 0);
    }
}
