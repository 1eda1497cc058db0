// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Remote processor messaging, as Linux's `virtio_rpmsg_bus` speaks it.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::{Rig, Ring};
use hvl_device::faults::Faults;
use hvl_device::rpmsg::{App, Channel, Rpmsg, PAYLOAD};
use proptest::prelude::*;

const BUFFER: u32 = 512;
const ENTRIES: u16 = 16;

/// Echoes at each of its addresses; the first one may be hidden.
#[derive(Default)]
struct Echo {
    hidden: bool,
}

impl App for Echo {
    fn channels(&self) -> &'static [Channel] {
        const CHANNELS: [Channel; 2] = [
            Channel {
                name: "one",
                address: 0x400,
            },
            Channel {
                name: "a name that is longer than any that Linux has",
                address: 0x401,
            },
        ];
        &CHANNELS
    }

    fn is_there(&self, index: usize) -> bool {
        index != 0 || !self.hidden
    }

    fn message(&mut self, _: u32, bytes: &[u8], answer: &mut [u8; PAYLOAD]) -> Option<usize> {
        answer[..bytes.len()].copy_from_slice(bytes);
        self.hidden = bytes == b"hide";
        (bytes != b"silence").then_some(bytes.len())
    }
}

struct Linux {
    rig: Rig<Rpmsg>,
    rings: Vec<Ring>,
    place: u32,
    sent: u16,
    app: Echo,
}

/// Source, destination, flags and reserved word, bytes.
type Message = (u32, u32, u32, Vec<u8>);

impl Linux {
    fn new(features: u64) -> Self {
        Self::with_faults(features, Faults::NONE)
    }

    fn with_faults(features: u64, faults: Faults) -> Self {
        let mut rig = Rig::with_faults(Rpmsg::new(), faults);
        rig.attach(1);
        let mut rings = rig.bring_up(features, &[ENTRIES; 2]);
        let place = rig.alloc(2 * u32::from(ENTRIES) * BUFFER);
        for slot in 0..ENTRIES {
            rings[0].add(slot, &[(place + u32::from(slot) * BUFFER, BUFFER, true)]);
        }
        Self {
            rig,
            rings,
            place,
            sent: 0,
            app: Echo::default(),
        }
    }

    fn pass(&mut self) {
        let shared = *self.rig.link.shared();
        self.rig.device.pass(&shared, &mut self.app);
        self.rig.finish();
        while self.rings[1].take().is_some() {}
    }

    fn send_raw(&mut self, bytes: &[u8]) {
        let slot = self.sent % ENTRIES;
        let at = self.place + u32::from(ENTRIES + slot) * BUFFER;
        self.rig.mem().write_bytes(at, bytes);
        self.rings[1].add(slot, &[(at, bytes.len() as u32, false)]);
        self.sent = self.sent.wrapping_add(1);
    }

    fn send(&mut self, from: u32, to: u32, payload: &[u8]) {
        self.send_raw(&message(from, to, payload.len(), payload));
        self.pass();
    }

    fn receive(&mut self) -> Option<Message> {
        let (head, len) = self.rings[0].take()?;
        let at = self.place + head * BUFFER;
        let mut bytes = vec![0; len as usize];
        assert!(self.rig.mem().read_bytes(at, &mut bytes));
        self.rings[0].add(head as u16, &[(at, BUFFER, true)]);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(12) as usize, bytes.len() - 16);
        Some((word(0), word(4), word(8), bytes[16..].to_vec()))
    }
}

fn message(from: u32, to: u32, len: usize, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [from, to, 0, len as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(payload);
    bytes
}

#[test]
fn names_are_announced_once_where_linux_wants_to_know() {
    let mut linux = Linux::new(1);
    linux.pass();
    for (name, address) in [
        (&b"one"[..], 0x400u32),
        (b"a name that is longer than any ", 0x401),
    ] {
        let (from, to, _, bytes) = linux.receive().unwrap();
        assert_eq!((from, to, bytes.len()), (address, 53, 40));
        assert_eq!(&bytes[..name.len()], name);
        assert!(bytes[name.len()..32].iter().all(|byte| *byte == 0));
        assert_eq!(bytes[32..], [address.to_le_bytes(), [0; 4]].concat());
    }
    linux.pass();
    assert_eq!(linux.receive(), None);
    // A driver that comes again is told again.
    linux.rig.set(&[(0x070, 0)]);
    linux.rings = linux.rig.bring_up(1, &[ENTRIES; 2]);
    for slot in 0..ENTRIES {
        let at = linux.place + u32::from(slot) * BUFFER;
        linux.rings[0].add(slot, &[(at, BUFFER, true)]);
    }
    linux.pass();
    assert!(linux.receive().is_some());
    let mut linux = Linux::new(0);
    linux.pass();
    assert_eq!(linux.receive(), None);
}

#[test]
fn a_channel_goes_and_comes() {
    let mut linux = Linux::new(1);
    linux.pass();
    while linux.receive().is_some() {}
    for (said, flags) in [(&b"hide"[..], 1u32), (b"show", 0)] {
        linux.send(5, 0x401, said);
        assert_eq!(linux.receive(), Some((0x401, 5, 0, said.to_vec())));
        let (from, to, _, bytes) = linux.receive().unwrap();
        assert_eq!((from, to, &bytes[..4]), (0x400, 53, &b"one\0"[..]));
        assert_eq!(
            bytes[32..],
            [0x400u32.to_le_bytes(), flags.to_le_bytes()].concat()
        );
        linux.send(5, 0x401, said);
        assert!(linux.receive().is_some());
        assert_eq!(linux.receive(), None);
    }
}

#[test]
fn messages_of_all_sizes_are_answered() {
    let mut linux = Linux::new(0);
    for len in [0, 1, 12, 495, 496] {
        let payload = vec![len as u8; len];
        linux.send(0x99, 0x401, &payload);
        assert_eq!(linux.receive(), Some((0x401, 0x99, 0, payload)));
    }
    linux.send(0x99, 0x400, b"silence");
    assert_eq!(linux.receive(), None);
    assert_eq!(linux.rig.device.stats().bad, 0);
}

#[test]
fn what_makes_no_sense_is_counted_and_nothing_else() {
    let mut linux = Linux::new(0);
    for bytes in [
        vec![],
        vec![0; 15],
        message(1, 0x400, 5, b"four"),
        message(1, 0x400, 0xffff, &[0; 400]),
        message(1, 0x402, 4, b"none"),
    ] {
        if bytes.is_empty() {
            continue;
        }
        linux.send_raw(&bytes);
        linux.pass();
        assert_eq!(linux.receive(), None);
    }
    assert_eq!(linux.rig.device.stats().bad, 4);
    linux.send(2, 0x400, b"still");
    assert_eq!(linux.receive().unwrap().3, b"still");
}

#[test]
fn without_buffers_messages_wait() {
    let mut linux = Linux::new(0);
    for _ in 0..3 {
        for _ in 0..ENTRIES / 2 {
            linux.send_raw(&message(7, 0x400, 2, b"hi"));
        }
        linux.pass();
    }
    // All buffers are used, and the rest is where it was.
    let left = linux.rings[1]
        .avail_index
        .wrapping_sub(linux.rings[1].used_seen);
    assert_eq!(left, ENTRIES / 2);
    let mut count = 0;
    while linux.receive().is_some() {
        count += 1;
        linux.pass();
    }
    assert_eq!(count, 3 * ENTRIES / 2);
}

/// What Linux finds in the buffer that was used last: how much was written, and the header.
fn found(linux: &mut Linux) -> Option<(u32, [u32; 4])> {
    let (head, len) = linux.rings[0].take()?;
    let at = linux.place + head * BUFFER;
    let header = std::array::from_fn(|word| linux.rig.mem().read32(at + 4 * word as u32));
    linux.rings[0].add(head as u16, &[(at, BUFFER, true)]);
    Some((len, header))
}

#[test]
fn lies_are_told_when_it_has_been_honest_for_a_while() {
    for (fault, want) in [
        (Faults::RPMSG_LENGTH, (18, [0x400, 9, 0, 0xffff])),
        (Faults::RPMSG_SHORT, (14, [0x400, 9, 0, 0xffff])),
        (Faults::RPMSG_NOBODY, (18, [0x7777, 0x7777, 0, 2])),
    ] {
        let mut linux = Linux::with_faults(0, fault);
        for _ in 0..7 {
            linux.send(9, 0x400, b"hi");
            assert_eq!(found(&mut linux), Some((18, [0x400, 9, 0, 2])));
        }
        linux.send(9, 0x400, b"hi");
        assert_eq!(found(&mut linux), Some(want));
    }
}

#[test]
fn names_that_nobody_has_asked_for() {
    let mut linux = Linux::with_faults(1, Faults::RPMSG_NAME);
    linux.pass();
    assert_eq!(
        linux.receive().unwrap().3[..32],
        [&b"one"[..], &[b'x'; 29]].concat()
    );
    for fault in [Faults::RPMSG_FLOOD, Faults::RPMSG_CHURN] {
        let mut linux = Linux::with_faults(1, fault);
        let mut words = Vec::new();
        for _ in 0..10 {
            linux.pass();
            while let Some((_, to, _, bytes)) = linux.receive() {
                assert_eq!(to, 53);
                words.push(bytes[32..].to_vec());
            }
        }
        assert!(words.len() > 50);
        words.sort();
        words.dedup();
        // Each another one; or two names, and one that comes and goes.
        assert_eq!(words.len() > 50, fault == Faults::RPMSG_FLOOD);
    }
}

#[test]
fn a_storm_takes_nothing() {
    let mut linux = Linux::with_faults(0, Faults::RPMSG_STORM);
    for _ in 0..8 {
        linux.send(9, 0x400, b"hi");
        assert!(linux.receive().is_some());
    }
    linux.send(9, 0x400, b"hi");
    for _ in 0..100 {
        linux.pass();
        assert_eq!(linux.receive(), Some((0x400, 9, 0, b"again".to_vec())));
    }
    assert_ne!(linux.rings[1].avail_index, linux.rings[1].used_seen);
}

proptest! {
    #[test]
    fn any_messages_are_survived(
        messages in prop::collection::vec(
            (prop::collection::vec(any::<u8>(), 1..512), any::<bool>()), 1..50),
    ) {
        let mut linux = Linux::new(1);
        for (mut bytes, near) in messages {
            if near && bytes.len() >= 16 {
                bytes[4..8].copy_from_slice(&0x400u32.to_le_bytes());
                bytes[13] &= 1;
            }
            linux.send_raw(&bytes);
            linux.pass();
            while linux.receive().is_some() {}
        }
        prop_assert_eq!(linux.rings[1].avail_index, linux.rings[1].used_seen);
        linux.send(3, 0x400, b"still");
        prop_assert_eq!(linux.receive().unwrap().3, b"still");
    }
}
