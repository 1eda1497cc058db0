// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The console device.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::console::{Console, Port, PortKind, PORTS};
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::proto::layout::window;
use hvl_device::stream::Stream;
use proptest::prelude::*;

const PORT_BUFFER: usize = 0x1_0000;
const MULTIPORT: u64 = 1 << 1;
const KINDS: [PortKind; PORTS] = [
    PortKind {
        terminal: true,
        name: "",
    },
    PortKind {
        terminal: false,
        name: "a.name",
    },
];

struct World {
    rig: Rig<Console<'static>>,
    rings: Vec<Ring>,
    at: u32,
    next: [u16; 6],
}

const ROOM: u32 = 0x1_4000;

impl World {
    fn wanted(&self) -> [u16; 6] {
        let mut wanted = [0; 6];
        self.rig.device.wanted(&mut wanted);
        wanted
    }

    fn new(features: u64, faults: Faults) -> Self {
        let ports = KINDS.map(|kind| {
            let room = || vec![0; PORT_BUFFER].leak();
            Port::new(kind, room(), room())
        });
        let mut rig = Rig::with_faults(Console::new(ports, (80, 25)), faults);
        rig.attach(1);
        let rings = rig.bring_up(features, &[64; 6]);
        let at = rig.alloc(6 * ROOM);
        Self {
            rig,
            rings,
            at,
            next: [0; 6],
        }
    }

    fn place(&self, queue: usize) -> u32 {
        self.at + queue as u32 * ROOM
    }

    /// Linux sends `bytes` in `queue`, and the device has its pass.
    fn send(&mut self, queue: usize, bytes: &[u8]) {
        let at = self.place(queue);
        assert!(self.rig.mem().write_bytes(at, bytes));
        let head = self.next[queue] % 64;
        self.next[queue] += 1;
        self.rings[queue].add(head, &[(at, bytes.len() as u32, false)]);
        self.pass();
        assert!(self.rings[queue].take().is_some(), "all is taken at once");
    }

    fn pass(&mut self) {
        let shared = *self.rig.link.shared();
        self.rig.device.receive(&shared);
        self.rig.device.send(&shared);
        self.rig.finish();
    }

    /// Linux has room for `len` bytes in `queue`: what came there, if anything.
    fn get(&mut self, queue: usize, len: u32) -> Option<Vec<u8>> {
        let at = self.place(queue);
        if self.rings[queue].avail_index == self.rings[queue].used_seen {
            let head = self.next[queue] % 64;
            self.next[queue] += 1;
            self.rings[queue].add(head, &[(at, len, true)]);
        }
        self.pass();
        let (_, len) = self.rings[queue].take()?;
        let mut got = vec![0; len as usize];
        assert!(self.rig.mem().read_bytes(at, &mut got));
        Some(got)
    }

    fn control(&mut self, port: u32, event: u16, value: u16) {
        let message = message(port, event, value);
        self.send(3, &message);
    }

    /// Linux's driver finds all ports.
    fn ports(&mut self) {
        self.control(0, 0, 1);
        for port in 0..PORTS as u32 {
            assert_eq!(self.get(2, 64), Some(message(port, 1, 1)));
        }
        (0..PORTS as u32).for_each(|port| self.control(port, 3, 1));
        assert_eq!(self.get(2, 64), Some(message(0, 4, 1)));
        assert_eq!(self.get(2, 64), Some(resize(0, 80, 25)));
        assert_eq!(self.get(2, 64), Some(message(0, 6, 1)));
        // Open when somebody finds it by its name.
        assert_eq!(self.get(2, 64), Some(message(1, 6, 1)));
        let name = [&message(1, 7, 1)[..], b"a.name"].concat();
        assert_eq!(self.get(2, 64), Some(name));
        assert_eq!(self.get(2, 64), None);
    }

    fn write(&mut self, port: usize, mut bytes: &[u8]) {
        let port = self.rig.device.port(port).unwrap();
        while !bytes.is_empty() {
            let sent = port.send(&mut |room| {
                let count = room.len().min(bytes.len());
                room[..count].copy_from_slice(&bytes[..count]);
                count
            });
            assert_ne!(sent, 0);
            bytes = &bytes[sent..];
        }
    }

    fn read(&mut self, port: usize) -> Vec<u8> {
        let port = self.rig.device.port(port).unwrap();
        let mut all = Vec::new();
        while !port.peek().is_empty() {
            let part = port.peek().to_vec();
            port.consume(part.len());
            all.extend(part);
        }
        all
    }
}

/// What Linux is told of the size of a terminal.
fn resize(port: u32, columns: u16, rows: u16) -> Vec<u8> {
    let mut bytes = message(port, 5, 1);
    bytes.extend(columns.to_le_bytes());
    bytes.extend(rows.to_le_bytes());
    bytes
}

fn message(port: u32, event: u16, value: u16) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

#[test]
fn ports_are_told_of_in_order() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    let config = |at| {
        world
            .rig
            .mem()
            .read32(world.rig.window + window::CONFIG + at)
    };
    assert_eq!((config(0), config(4)), (25 << 16 | 80, PORTS as u32));
    world.ports();
    // Once: there is no port twice.
    world.control(0, 0, 1);
    assert_eq!(world.get(2, 64), None);
    assert_eq!(world.rig.device.stats().bad, 0);
}

#[test]
fn bytes_go_both_ways() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    world.send(1, b"to the terminal");
    world.send(5, b"to the port");
    assert_eq!(world.read(0), b"to the terminal");
    assert_eq!(world.read(1), b"to the port");
    world.write(0, b"to Linux");
    assert_eq!(world.get(0, 3), Some(b"to ".to_vec()));
    assert_eq!(world.get(0, 64), Some(b"Linux".to_vec()));
    // Nobody has this one open, and Linux would throw it away.
    world.write(1, b"kept");
    assert_eq!(world.wanted()[4], 0);
    assert_eq!(world.get(4, 64), None);
    // The room that was there before is used at once.
    world.control(1, 6, 1);
    assert_eq!(world.wanted()[4], 0);
    assert_eq!(world.get(4, 64), Some(b"kept".to_vec()));
    // What was meant for one is not for the next, nor what one has sent and nobody has taken.
    world.write(1, b"lost");
    let at = world.place(5);
    world.rings[5].add(1, &[(at, 4, false)]);
    world.control(1, 6, 0);
    assert!(world.rings[5].take().is_some());
    assert_eq!(world.read(1), b"");
    world.control(1, 6, 1);
    assert_eq!(world.get(4, 64), None);
}

#[test]
fn one_port_is_what_there_is_without_the_feature() {
    let mut world = World::new(0, Faults::NONE);
    world.send(1, b"hello");
    assert_eq!(world.read(0), b"hello");
    world.write(0, b"world");
    assert_eq!(world.get(0, 64), Some(b"world".to_vec()));
    let wanted = world.wanted();
    assert_eq!(wanted[..2], [0, 1]);
    assert!(wanted[2..].iter().all(|least| *least == 0));
}

#[test]
fn what_there_is_no_room_for_is_lost() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    let all: Vec<u8> = (0..PORT_BUFFER + 100).map(|i| (i % 251) as u8).collect();
    world.send(1, &all);
    assert_eq!(world.rig.device.stats().lost, 100);
    assert!(world.read(0) == all[..PORT_BUFFER]);
    // Over the end of the buffer as well.
    world.send(1, &all[..1000]);
    assert_eq!(world.read(0), &all[..1000]);
    world.send(1, &all[..PORT_BUFFER]);
    assert!(world.read(0) == all[..PORT_BUFFER]);
}

#[test]
fn a_reset_forgets() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    world.control(1, 6, 1);
    world.send(5, b"before");
    world.write(1, b"before");
    world.rings = world.rig.bring_up(MULTIPORT, &[64; 6]);
    world.next = [0; 6];
    assert_eq!(world.read(1), b"");
    assert_eq!(world.get(4, 64), None);
    world.ports();
}

/// What a terminal has no room for is lost; for any other port it waits.
#[test]
fn a_port_has_its_sender_wait() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    let all: Vec<u8> = (0..PORT_BUFFER).map(|i| (i % 251) as u8).collect();
    world.send(5, &all[..PORT_BUFFER - 10]);
    assert_eq!(world.wanted()[5], 1);
    let at = world.place(5);
    assert!(world.rig.mem().write_bytes(at, &all[..20]));
    world.rings[5].add(1, &[(at, 20, false)]);
    for _ in 0..3 {
        world.pass();
        assert!(world.rings[5].take().is_none());
    }
    assert!(world.read(1) == all[..PORT_BUFFER - 10]);
    world.pass();
    assert!(world.rings[5].take().is_some());
    assert_eq!(world.read(1), &all[..20]);
    // With no room at all there is nothing to be notified of.
    world.next[5] += 1;
    world.send(5, &all);
    assert_eq!(world.wanted()[5], 0);
    assert_eq!(world.rig.device.stats().lost, 0);
    // More than there ever is room for is cut.
    assert!(world.read(1) == all);
    world.send(5, &[&all[..], &all[..7]].concat());
    assert_eq!(world.rig.device.stats().lost, 7);
    let faults = world
        .rig
        .device
        .transport()
        .stats()
        .map(|queue| queue.faults);
    assert_eq!(faults.sum::<u64>(), 0);
}

#[test]
fn a_port_is_unplugged_and_plugged_in() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    world.control(1, 6, 1);
    world.write(1, b"before");
    assert!(world.rig.device.plug(1, false));
    // Linux does not know yet.
    world.send(5, b"between");
    assert_eq!(world.get(2, 64), Some(message(1, 2, 1)));
    assert_eq!(world.read(1), b"");
    assert_eq!(world.get(2, 64), None);
    // Late, of the one that is gone.
    world.control(1, 3, 1);
    assert_eq!(world.get(2, 64), None);
    world.send(5, b"late");
    assert_eq!(world.read(1), b"");
    assert!(world.rig.device.plug(1, true));
    assert_eq!(world.get(2, 64), Some(message(1, 1, 1)));
    world.control(1, 3, 1);
    assert_eq!(world.get(2, 64), Some(message(1, 6, 1)));
    let name = [&message(1, 7, 1)[..], b"a.name"].concat();
    assert_eq!(world.get(2, 64), Some(name));
    world.control(1, 6, 1);
    assert_eq!(world.get(4, 64), None);
    // It is away in the next driver's eyes, too.
    assert!(world.rig.device.plug(1, false));
    world.rings = world.rig.bring_up(MULTIPORT, &[64; 6]);
    world.next = [0; 6];
    world.control(0, 0, 1);
    assert_eq!(world.get(2, 64), Some(message(0, 1, 1)));
    assert_eq!(world.get(2, 64), None);
    assert!(!world.rig.device.plug(PORTS, true));
}

#[test]
fn terminals_are_resized() {
    let mut world = World::new(MULTIPORT, Faults::NONE);
    world.ports();
    let shared = *world.rig.link.shared();
    world.rig.device.resize(&shared, (132, 43));
    let config = world.rig.mem().read32(world.rig.window + window::CONFIG);
    assert_eq!(config, 43 << 16 | 132);
    assert_eq!(world.get(2, 64), Some(resize(0, 132, 43)));
    assert_eq!(world.get(2, 64), None);
}

/// What Linux is told after the ports, and once it has opened the last one, with each fault.
#[test]
fn faults_are_as_they_say() {
    let cases = [
        (
            Faults::CONSOLE_RANGE,
            Some(message(PORTS as u32, 1, 1)),
            None,
        ),
        (Faults::CONSOLE_TWICE, Some(message(1, 1, 1)), None),
        (Faults::CONSOLE_EVENT, Some(message(1, 0x7fff, 1)), None),
        (
            Faults::CONSOLE_SHORT,
            Some(message(1, 6, 1)[..3].to_vec()),
            None,
        ),
        (Faults::CONSOLE_RESIZE, Some(message(0, 5, 1)), None),
        (Faults::CONSOLE_LATE, None, Some(message(1, 4, 1))),
    ];
    for (fault, first, second) in cases {
        let mut world = World::new(MULTIPORT, fault);
        world.ports_but_for_the_end();
        assert_eq!(world.get(2, 64), first);
        assert_eq!(world.get(2, 64), None);
        world.control(1, 6, 1);
        assert_eq!(world.get(2, 64), second);
        assert_eq!(world.get(2, 64), None);
    }
    let mut world = World::new(MULTIPORT, Faults::CONSOLE_LENGTH);
    world.ports();
    assert_eq!(world.get(2, 64), None);
    world.control(1, 6, 1);
    assert_eq!(world.rings[2].take().unwrap().1, 1 << 20);
}

#[test]
fn a_port_that_comes_and_goes() {
    let mut world = World::new(MULTIPORT, Faults::CONSOLE_CHURN);
    let mut heard = Vec::new();
    world.control(0, 0, 1);
    for _ in 0..50 {
        let shared = *world.rig.link.shared();
        world.rig.device.attend(&shared);
        let Some(got) = world.get(2, 64) else {
            continue;
        };
        if got[4] == 1 {
            world.control(got[0].into(), 3, 1);
        }
        heard.extend((got[0] == 1 && got[4] < 3).then_some(got[4]));
    }
    assert!(heard.len() > 6);
    assert!(heard.windows(2).all(|two| two[0] != two[1]));
}

#[test]
fn a_configuration_with_too_many_ports() {
    let world = World::new(MULTIPORT, Faults::CONSOLE_PORTS);
    let ports = world
        .rig
        .mem()
        .read32(world.rig.window + window::CONFIG + 4);
    assert_eq!(ports, 0xffff);
}

impl World {
    fn ports_but_for_the_end(&mut self) {
        self.control(0, 0, 1);
        (0..PORTS).for_each(|_| assert!(self.get(2, 64).is_some()));
        (0..PORTS as u32).for_each(|port| self.control(port, 3, 1));
        (0..5).for_each(|_| assert!(self.get(2, 64).is_some()));
    }
}

proptest! {
    /// Whatever Linux says: what it is told is of ports that there are, and of each but once.
    #[test]
    fn any_messages(
        messages in prop::collection::vec(
            (prop_oneof![0u32..3, any::<u32>()], prop_oneof![0u16..8, any::<u16>()], any::<u16>()),
            0..60),
        cut in 0usize..9
    ) {
        let mut world = World::new(MULTIPORT, Faults::NONE);
        let mut added = 0;
        for (port, event, value) in messages {
            let value = if value % 3 == 0 { value } else { value % 2 };
            world.send(3, &message(port, event, value)[..cut.max(1).max(if value == 1 { 8 } else { 1 })]);
            for _ in 0..3 {
                if let Some(got) = world.get(2, 64) {
                    prop_assert!(got[0] < PORTS as u8 && got[1..4] == [0; 3]);
                    prop_assert!([1, 4, 5, 6, 7].contains(&got[4]));
                    added += u32::from(got[4] == 1);
                }
            }
        }
        prop_assert!(added <= PORTS as u32);
        let faults: u64 = world.rig.device.transport().stats().map(|queue| queue.faults).sum();
        prop_assert_eq!(faults, 0);
    }
}
