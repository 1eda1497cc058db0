// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control queue, and several pairs of queues.

use super::trains::{sends_train, HOST_USO};
use super::*;
use hvl_device::net::{Setup, PAIRS};
use hvl_device::proto::virtio::reg;
use proptest::prelude::*;

const GUEST_OFFLOADS: u64 = 1 << 2;
const CTRL_VQ: u64 = 1 << 17;
const CTRL_RX: u64 = 1 << 18;
const CTRL_VLAN: u64 = 1 << 19;
const CTRL_RX_EXTRA: u64 = 1 << 20;
const ANNOUNCE: u64 = 1 << 21;
const MQ: u64 = 1 << 22;
const CTRL_MAC_ADDR: u64 = 1 << 23;
const ALL: u64 = GUEST_OFFLOADS
    | CTRL_VQ
    | CTRL_RX
    | CTRL_VLAN
    | CTRL_RX_EXTRA
    | ANNOUNCE
    | CTRL_MAC_ADDR
    | GUEST_CSUM
    | GUEST_TSO4;
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 2];
const OK: u8 = 0;
const ERROR: u8 = 1;

struct Several {
    rig: Rig<Net>,
    rings: Vec<Ring>,
    control: Ring,
    buffer: u32,
}

impl Several {
    /// A device with `pairs` pairs, and a driver that has taken `features`.
    fn new(pairs: usize, features: u64) -> Self {
        let setup = Setup {
            control: true,
            pairs,
            ..Setup::new(OWN, 1500, true)
        };
        let mut rig = Rig::new(Net::with(setup));
        rig.attach(1);
        let used = if features & MQ != 0 { pairs } else { 1 };
        let mut rings = rig.bring_up(features, &vec![16; 2 * used + 1]);
        let control = rings.pop().unwrap();
        let buffer = rig.alloc(512);
        Self {
            rig,
            rings,
            control,
            buffer,
        }
    }

    /// What is answered to a command.
    fn ask(&mut self, class: u8, command: u8, data: &[u8]) -> Option<u8> {
        let mut bytes = vec![class, command];
        bytes.extend_from_slice(data);
        self.ask_bytes(&bytes)
    }

    fn ask_bytes(&mut self, bytes: &[u8]) -> Option<u8> {
        let len = bytes.len() as u32;
        self.rig.mem().write_bytes(self.buffer, bytes);
        let answer = self.buffer + 500;
        self.rig.mem().write_bytes(answer, &[0xee]);
        let chain = [(self.buffer, len, false), (answer, 1, true)];
        let skip = usize::from(len == 0);
        self.control.add(0, &chain[skip..]);
        self.rig.pass(RANG);
        let used = self.control.take()?;
        assert_eq!(used, (0, 1));
        Some(super::bytes(&self.rig, answer, 1)[0])
    }

    fn config(&self, at: u32, len: u32) -> Vec<u8> {
        super::bytes(&self.rig, self.rig.window + 0x100 + at, len)
    }

    fn generation(&self) -> u32 {
        self.rig.view(reg::CONFIG_GENERATION)
    }

    /// Whether a frame to `to` gets through.
    fn gets(&mut self, to: [u8; 6]) -> bool {
        self.gets_frame(&to, &[])
    }

    fn gets_frame(&mut self, to: &[u8], tag: &[u8]) -> bool {
        let at = self.rig.alloc(2048);
        self.rings[0].add(0, &[(at, 1500, true)]);
        let mut sent = frame(20);
        sent[..6].copy_from_slice(to);
        sent.splice(12..12, tag.iter().copied());
        assert!(send(&mut self.rig, &sent));
        let gets = self.rings[0].take().is_some();
        if !gets {
            // The buffer is still there for the next one.
            self.rings[0].avail_index = self.rings[0].avail_index.wrapping_sub(1);
            self.rig
                .mem()
                .publish16(self.rings[0].avail + 2, self.rings[0].avail_index);
        }
        gets
    }
}

#[test]
fn commands_are_checked() {
    let mut net = Several::new(2, ALL | MQ);
    for (class, command, data, want) in [
        (0, 0, &[1][..], OK),
        (0, 1, &[0][..], OK),
        (0, 5, &[1][..], OK),
        (0, 0, &[2][..], ERROR),
        (0, 0, &[][..], ERROR),
        (0, 0, &[1, 0][..], ERROR),
        (0, 6, &[1][..], ERROR),
        (1, 1, &[2, 1, 1, 1, 1, 1][..], OK),
        (1, 1, &[3, 1, 1, 1, 1, 1][..], ERROR),
        (1, 1, &[0; 6][..], ERROR),
        (1, 1, &[2; 7][..], ERROR),
        (1, 2, &[2; 6][..], ERROR),
        (1, 0, &[0; 8][..], OK),
        (1, 0, &[0; 7][..], ERROR),
        (1, 0, &[0; 9][..], ERROR),
        (1, 0, &[1, 0, 0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0][..], OK),
        (1, 0, &[2, 0, 0, 0, 2, 1, 1, 1, 1, 1, 0, 0, 0, 0][..], ERROR),
        (1, 0, &[0xff; 40][..], ERROR),
        (2, 0, &[0, 16][..], ERROR),
        (2, 0, &[255, 15][..], OK),
        (2, 1, &[255, 15][..], OK),
        (2, 2, &[1, 0][..], ERROR),
        (2, 0, &[1][..], ERROR),
        // Nothing was asked for that there is to acknowledge.
        (3, 0, &[][..], ERROR),
        (4, 0, &[1, 0][..], OK),
        (4, 0, &[2, 0][..], OK),
        (4, 0, &[0, 0][..], ERROR),
        (4, 0, &[3, 0][..], ERROR),
        (4, 0, &[0, 0x80][..], ERROR),
        (4, 1, &[2, 0][..], ERROR),
        (5, 0, &[2, 0, 0, 0, 0, 0, 0, 0][..], OK),
        (5, 0, &[2][..], ERROR),
        // What was not agreed on.
        (5, 0, &[0, 1, 0, 0, 0, 0, 0, 0][..], ERROR),
        (6, 0, &[][..], ERROR),
        (255, 255, &[][..], ERROR),
    ] {
        assert_eq!(
            net.ask(class, command, data),
            Some(want),
            "{class} {command} {data:?}"
        );
    }
    for len in 0..2 {
        assert_eq!(net.ask_bytes(&[0; 2][..len]), Some(ERROR));
    }
    // Where there is no room for an answer there is none, and nothing else happens.
    net.control.add(0, &[(net.buffer, 3, false)]);
    net.rig.pass(RANG);
    assert_eq!(net.control.take(), Some((0, 0)));
    let stats = net.rig.device.stats();
    assert_eq!((stats.commands, stats.refused), (38, 27));
}

#[test]
fn what_was_not_agreed_on_is_refused() {
    let mut net = Several::new(2, CTRL_VQ);
    for (class, data) in [
        (0, &[1][..]),
        (1, &[2, 1, 1, 1, 1, 1][..]),
        (2, &[1, 0][..]),
        (3, &[][..]),
        (4, &[1, 0][..]),
        (5, &[0; 8][..]),
    ] {
        for command in 0..3 {
            assert_eq!(net.ask(class, command, data), Some(ERROR));
        }
    }
}

#[test]
fn without_a_control_queue_nothing_of_it_is_there() {
    let mut rig = Rig::new(Net::new(OWN, 1500, true));
    rig.attach(1);
    assert_eq!(rig.offered() & (ALL | MQ) & !(GUEST_CSUM | GUEST_TSO4), 0);
    assert_eq!(rig.device.transport().stats().count(), 2);
}

#[test]
fn frames_that_linux_does_not_want_do_not_get_through() {
    let mut net = Several::new(1, ALL);
    let (other, group) = ([2, 9, 9, 9, 9, 9], [1, 0, 0x5e, 0, 0, 1]);
    assert!(net.gets(other) && net.gets(group) && net.gets(OWN));
    assert_eq!(net.ask(0, 0, &[0]), Some(OK));
    assert!(!net.gets(other) && !net.gets(group) && net.gets(OWN) && net.gets([0xff; 6]));
    let mut table = vec![1, 0, 0, 0];
    table.extend(other);
    table.extend([1, 0, 0, 0]);
    table.extend(group);
    assert_eq!(net.ask(1, 0, &table), Some(OK));
    assert!(net.gets(other) && net.gets(group));
    assert_eq!(net.rig.device.stats().filtered, 2);
    // VLANs.
    let tag = [0x81, 0, 0, 7];
    assert!(!net.gets_frame(&OWN, &tag));
    assert_eq!(net.ask(2, 0, &[7, 0]), Some(OK));
    assert!(net.gets_frame(&OWN, &tag));
    // A reset forgets all of that.
    let rings = net.rig.bring_up(ALL, &[16, 16, 16]);
    net.rings = rings;
    net.control = net.rings.pop().unwrap();
    assert!(net.gets([2, 8, 8, 8, 8, 8]) && !net.gets_frame(&OWN, &tag));
}

#[test]
fn another_address_is_shown_until_a_reset() {
    let mut net = Several::new(1, ALL);
    let other = [2, 9, 9, 9, 9, 9];
    assert_eq!(net.config(0, 6), OWN);
    let generation = net.generation();
    assert_eq!(net.ask(1, 1, &other), Some(OK));
    assert_eq!(net.config(0, 6), other);
    assert_ne!(net.generation(), generation);
    assert_eq!(net.ask(0, 0, &[0]), Some(OK));
    assert!(net.gets(other) && !net.gets(OWN));
    net.rig.set(&[(reg::STATUS, 0)]);
    assert_eq!(net.config(0, 6), OWN);
}

#[test]
fn the_link_goes_down_and_up() {
    let mut net = Several::new(1, ALL);
    let shared = *net.rig.link.shared();
    assert_eq!(net.config(6, 2), [1, 0]);
    net.rig.device.set_link(&shared, false);
    net.rig.pass(LOOKED);
    assert_eq!(net.config(6, 2), [0, 0]);
    assert!(!net.gets(OWN));
    linux_sends(&mut net.rig, &mut net.rings[1], 0, &frame(100));
    assert_eq!(receive(&mut net.rig), None);
    net.rig.finish();
    assert!(net.rings[1].take().is_some());
    assert_eq!(net.rig.device.stats().down, 2);
    let generation = net.generation();
    net.rig.device.set_link(&shared, false);
    assert_eq!(net.generation(), generation);
    net.rig.device.set_link(&shared, true);
    assert_eq!(net.config(6, 2), [1, 0]);
    assert!(net.gets(OWN));
}

#[test]
fn an_announcement_is_asked_for_and_acknowledged() {
    let mut net = Several::new(1, ALL);
    let shared = *net.rig.link.shared();
    assert!(net.rig.device.announce(&shared));
    assert_eq!(net.config(6, 2), [3, 0]);
    assert!(!net.rig.device.announce(&shared));
    assert_eq!(net.ask(3, 0, &[0]), Some(ERROR));
    assert_eq!(net.ask(3, 0, &[]), Some(OK));
    assert_eq!(net.config(6, 2), [1, 0]);
    assert!(net.rig.device.announce(&shared));
    // A reset ends it; without the feature there is none.
    net.rig.bring_up(0, &[16, 16]);
    assert_eq!(net.config(6, 2), [1, 0]);
    assert!(!net.rig.device.announce(&shared));
}

#[test]
fn offloads_can_be_switched() {
    let mut net = Several::new(1, ALL);
    let at = net.rig.alloc(2048);
    for (on, flags) in [
        (ALL & (GUEST_CSUM | GUEST_TSO4), 1),
        (0, 0),
        (GUEST_CSUM, 1),
    ] {
        assert_eq!(net.ask(5, 0, &on.to_le_bytes()), Some(OK));
        net.rings[0].add(0, &[(at, 1500, true)]);
        assert!(send(&mut net.rig, &frame(20)));
        assert!(net.rings[0].take().is_some());
        assert_eq!(bytes(&net.rig, at, 1)[0], flags);
    }
}

/// A frame as [`frame`] makes it, of another flow.
fn flow(port: u16) -> Vec<u8> {
    let mut frame = frame(20);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    let place = checksum::find(&frame).unwrap();
    checksum::complete(&mut frame, &place);
    frame
}

/// The same, from whom it was to.
fn back(frame: &[u8]) -> Vec<u8> {
    let mut back = frame.to_vec();
    back[26..30].copy_from_slice(&frame[30..34]);
    back[30..34].copy_from_slice(&frame[26..30]);
    back[34..36].copy_from_slice(&frame[36..38]);
    back[36..38].copy_from_slice(&frame[34..36]);
    back
}

#[test]
fn an_answer_goes_back_where_the_flow_came_from() {
    let pairs = 4;
    let mut net = Several::new(pairs, ALL | MQ | MRG_RXBUF);
    let at = net.rig.alloc(2048);
    for pair in 0..pairs {
        for head in 0..16 {
            net.rings[2 * pair].add(head, &[(at, 2048, true)]);
        }
    }
    let came = |net: &mut Several, pair: usize| net.rings[2 * pair].take().is_some();
    // Before Linux has asked for more there is one pair.
    for port in 0..4 {
        assert!(send(&mut net.rig, &flow(port)));
        assert!(came(&mut net, 0));
    }
    assert_eq!(net.ask(4, 0, &[pairs as u8, 0]), Some(OK));
    let mut seen = vec![0; pairs];
    for port in 0..30 {
        let pair = usize::from(port) % pairs;
        linux_sends(
            &mut net.rig,
            &mut net.rings[2 * pair + 1],
            0,
            &flow(1000 + port),
        );
        assert_eq!(receive(&mut net.rig), Some(flow(1000 + port)));
        net.rig.finish();
        assert!(net.rings[2 * pair + 1].take().is_some());
        if port < 12 {
            assert!(send(&mut net.rig, &back(&flow(1000 + port))));
            assert!(came(&mut net, pair), "port {port}");
            seen[pair] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0));
    // Only one again, but what was sent on others before still comes.
    assert_eq!(net.ask(4, 0, &[1, 0]), Some(OK));
    linux_sends(&mut net.rig, &mut net.rings[3], 0, &flow(7));
    assert!(receive(&mut net.rig).is_some());
    assert!(send(&mut net.rig, &back(&flow(7))));
    assert!(came(&mut net, 0));
}

#[test]
fn all_pairs_have_their_turn() {
    let pairs = PAIRS;
    let mut net = Several::new(pairs, ALL | MQ);
    assert_eq!(net.ask(4, 0, &[pairs as u8, 0]), Some(OK));
    let at = net.rig.alloc(128);
    net.rig.mem().write_bytes(at + HEADER, &frame(20));
    for pair in 0..pairs {
        for head in 0..16 {
            net.rings[2 * pair + 1].add(head, &[(at, HEADER + 62, false)]);
        }
    }
    let shared = *net.rig.link.shared();
    assert!(net.rig.device.pending(&shared));
    let mut buffer = vec![0; FRAME_MAX];
    let mut port = net.rig.device.port(&shared);
    for _ in 0..2 * pairs {
        assert!(port.receive(&mut buffer).is_some());
    }
    net.rig.finish();
    for pair in 0..pairs {
        assert_eq!(net.rings[2 * pair + 1].used_index(), 2);
    }
}

#[test]
fn a_pair_without_room_does_not_hold_up_the_others() {
    let mut net = Several::new(2, ALL | MQ);
    assert_eq!(net.ask(4, 0, &[2, 0]), Some(OK));
    let at = net.rig.alloc(2048);
    assert!(!send(&mut net.rig, &flow(1)));
    assert!(!net.rig.link.listen(&mut [&mut net.rig.device]));
    // It waits for buffers in either pair, and for commands.
    let flags: Vec<u16> = net.rings.iter().map(Ring::used_flags).collect();
    assert_eq!((flags, net.control.used_flags()), (vec![0, 1, 0, 1], 0));
    for head in 0..16 {
        net.rings[2].add(head, &[(at, 1500, true)]);
    }
    for port in 0..8 {
        assert!(send(&mut net.rig, &flow(port)));
        assert!(net.rings[2].take().is_some());
    }
    assert_eq!(net.rig.device.stats().dropped, 0);
}

proptest! {
    /// Whatever Linux asks, it gets an answer.
    #[test]
    fn any_commands(commands in prop::collection::vec(
        (0u8..7, 0u8..7, prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..40)), 1..20)
    ) {
        let mut net = Several::new(2, ALL | MQ);
        for (class, command, data) in commands {
            let answer = net.ask(class, command, &data);
            prop_assert!(matches!(answer, Some(OK | ERROR)));
        }
        prop_assert_eq!(net.rig.device.transport().status() & 0x40, 0);
    }

    /// Whatever a frame says of its datagrams, it comes to an end, and is given back once.
    #[test]
    fn any_train(size in any::<u16>(), len in 0usize..3000, at in 12usize..48, byte in any::<u8>()) {
        let (mut rig, mut rings) = rig(HOST_USO);
        let mut whole = frame(len);
        if let Some(slot) = whole.get_mut(at) {
            *slot = byte;
        }
        sends_train(&mut rig, &mut rings[1], 5, size, &whole);
        let mut total = 0;
        for _ in 0..3002 {
            total += receive(&mut rig).map_or(0, |part| part.len());
        }
        prop_assert!(total <= 3000 * 120);
        rig.finish();
        prop_assert!(rings[1].take().is_some());
        prop_assert_eq!(rings[1].take(), None);
    }
}
