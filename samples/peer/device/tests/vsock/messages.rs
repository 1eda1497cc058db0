// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sockets that carry messages: whatever their sizes, those of Linux's buffers and of what is written
//! and read when, each message arrives as it was sent, and nothing stops.

use crate::linux::{packet, pattern, room, seqpacket, Linux};
use crate::model::{Socket, OVERHEAD};
use crate::{ECHO, STUCK};
use hvl_device::vsock::packet::{op, Header, SEQ_EOM, SEQ_EOR, TYPE_SEQPACKET};
use hvl_device::vsock::{SocketType, CONNECTIONS, EMPTY_MOST, SEQ_BUFFER};
use proptest::prelude::*;

const EOM: u32 = SEQ_EOM;
const EOR: u32 = SEQ_EOM | SEQ_EOR;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Some of the message whose turn it is.
    Write(usize),
    /// So many messages are read, if they are there.
    Read(usize),
    Take(usize),
    Pass,
    Grow(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![1usize..10, 1usize..200_000].prop_map(Step::Write),
        4 => (1usize..40).prop_map(Step::Read),
        4 => (1usize..100).prop_map(Step::Take),
        4 => Just(Step::Pass),
        1 => (1u32..200_000).prop_map(Step::Grow),
    ]
}

/// Bytes of messages: none, few, those of a packet and of a buffer.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..10,
        4 => 1usize..3000,
        1 => 970usize..990,
        1 => 60_000usize..70_000,
        1 => 1usize..300_000,
    ]
}

struct Talk<'a> {
    linux: Linux<'a>,
    socket: Socket,
    port: u32,
    /// What Linux writes, or gets from port 19, and whether it ends a record.
    messages: Vec<(Vec<u8>, bool)>,
    /// The message that is being written, what of it was, and the message to be read next.
    writing: usize,
    at: usize,
    read: usize,
}

impl Talk<'_> {
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Write(count) => {
                let mut sent = 0;
                if self.port != 19 {
                    if let Some((bytes, record)) = self.messages.get(self.writing) {
                        // send() gets all of a message, and blocks while there is no credit.
                        let rest = &bytes[self.at..];
                        assert!(!self.socket.established || rest.len() <= self.socket.largest());
                        sent = if count < rest.len() {
                            self.socket.write(&rest[..count])
                        } else {
                            self.socket.write_message(rest, *record)
                        };
                        self.at += sent;
                        if self.at == bytes.len() {
                            self.writing += 1;
                            self.at = 0;
                        }
                    }
                }
                self.socket.flush(&mut self.linux) || sent > 0
            }
            Step::Read(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some(got) = self.socket.read_message() else {
                        break;
                    };
                    assert!(self.port != 9);
                    let want = &self.messages[self.read];
                    assert_eq!((got.0.len(), got.1), (want.0.len(), want.1));
                    assert!(got.0 == want.0, "message {}", self.read);
                    self.read += 1;
                    any = true;
                }
                self.socket.flush(&mut self.linux) || any
            }
            Step::Take(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some((header, data)) = self.linux.receive() else {
                        break;
                    };
                    assert!(header.op == op::RST || header.buf_alloc as usize == SEQ_BUFFER);
                    self.socket.deliver(&header, data);
                    any = true;
                }
                self.socket.flush(&mut self.linux) || any
            }
            Step::Pass => self.linux.pass() | self.socket.flush(&mut self.linux),
            Step::Grow(size) => {
                if size > self.socket.buf_alloc {
                    self.socket.resize(size);
                }
                self.socket.flush(&mut self.linux)
            }
        }
    }

    fn done(&self) -> bool {
        let count = self.messages.len();
        match self.port {
            7 => self.read == count,
            9 => self.writing == count && self.linux.app.ends == count,
            _ => self.read == count,
        }
    }
}

fn talk(port: u32, call: bool, size: u32, lengths: &[usize], steps: &[Step]) {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    // Those that are sent to Linux have to fit there, those that it sends too, and it sends none
    // without bytes.
    let largest = if port == 19 {
        size as usize
    } else {
        SEQ_BUFFER.min(size as usize)
    };
    let least = usize::from(port != 19);
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|len| (*len).min(largest).max(least))
        .collect();
    let mut position = 0;
    let messages = (1..)
        .zip(&lengths)
        .map(|(number, len)| {
            let bytes: Vec<u8> = (position..position + len).map(pattern).collect();
            position += len;
            (bytes, number % 3 == 0)
        })
        .collect();
    let mut socket;
    if call {
        linux.app.connect_type = Some(SocketType::Seqpacket);
        linux.app.connect.push_back(1234);
        linux.pass();
        let (header, _) = linux.expect(op::REQUEST);
        socket = Socket::of_messages((1234, header.src_port), size);
        socket.deliver(&header, Vec::new());
    } else {
        linux.app.sizes = lengths;
        socket = Socket::of_messages((5000, port), size);
        socket.emit(op::REQUEST, 0, &[]);
    }
    let mut talk = Talk {
        linux,
        socket,
        port,
        messages,
        writing: 0,
        at: 0,
        read: 0,
    };
    for step in steps {
        talk.step(*step);
        assert_eq!(talk.socket.dead, None);
    }
    let mut idle = 0;
    while !talk.done() {
        let mut any = false;
        for step in [
            Step::Write(usize::MAX),
            Step::Pass,
            Step::Take(1000),
            Step::Read(1),
        ] {
            any |= talk.step(step);
        }
        assert_eq!(talk.socket.dead, None);
        idle = if any { 0 } else { idle + 1 };
        assert!(
            idle < 3,
            "stopped: {} written and {} read of {}",
            talk.writing,
            talk.read,
            talk.messages.len()
        );
    }
    assert_eq!(talk.linux.rig.device.stats().too_large, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn messages_arrive_as_they_were_sent(
        port in prop_oneof![Just(7u32), Just(9), Just(19)],
        call in any::<bool>(),
        size in prop_oneof![1u32..300, 4000u32..70_000, Just(262_144), 100_000u32..2_000_000],
        lengths in prop::collection::vec(length(), 1..40),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        // Linux's own count of what a packet costs: the buffers of this test are small, so a message of
        // few packets costs more than it has bytes.
        let port = if size < 4 * OVERHEAD { 9 } else { port };
        talk(port, call && port == 7, size, &lengths, &steps);
    }
}

#[test]
fn many_small_messages_do_not_fill_linux_with_packets() {
    // A byte each: there is credit for all of them, and Linux has room for some hundred.
    for len in [0, 1, 100] {
        talk(
            19,
            false,
            65_536,
            &[len; 3000],
            &[Step::Pass, Step::Take(5000), Step::Pass],
        );
    }
    talk(7, false, 65_536, &[1; 3000], &[]);
}

fn open(linux: &mut Linux<'_>, ports: (u32, u32), buf_alloc: u32) {
    let header = Header {
        buf_alloc,
        ..seqpacket(ports, op::REQUEST, 0)
    };
    linux.send_raw(&header, &[]);
    linux.pass();
    assert_eq!(linux.expect(op::RESPONSE).0.kind, TYPE_SEQPACKET);
}

fn send(linux: &mut Linux<'_>, ports: (u32, u32), flags: u32, data: &[u8]) {
    let header = Header {
        flags,
        ..seqpacket(ports, op::RW, data.len())
    };
    linux.send_raw(&header, data);
    linux.pass();
}

#[test]
fn both_types_are_offered_and_one_needs_to_be_agreed_on() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    assert_eq!(linux.rig.offered() & 7, 3);
    open(&mut linux, ECHO, 1000);
    drop(linux);
    let mut linux = Linux::with_features(&mut room, 0);
    linux.send_raw(&seqpacket(ECHO, op::REQUEST, 0), &[]);
    linux.pass();
    assert_eq!(linux.expect(op::RST).0.kind, TYPE_SEQPACKET);
    linux.open(ECHO);
}

#[test]
fn boundaries_and_records_are_those_that_were_sent() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    open(&mut linux, ECHO, 65_536);
    send(&mut linux, ECHO, 0, b"one ");
    linux.silence();
    // The end of a record without that of a message means nothing, nor do other flags.
    send(&mut linux, ECHO, SEQ_EOR | 0xffff_fffc, b"mess");
    linux.silence();
    send(&mut linux, ECHO, EOM, b"age");
    send(&mut linux, ECHO, EOR, b"two");
    send(&mut linux, ECHO, EOM, b"");
    send(&mut linux, ECHO, EOR, b"");
    // An end that comes after the bytes, and by itself.
    send(&mut linux, ECHO, 0, b"three");
    send(&mut linux, ECHO, EOR, b"");
    let want: [(&[u8], u32); 5] = [
        (b"one message", EOM),
        (b"two", EOR),
        (b"", EOM),
        (b"", EOR),
        (b"three", EOR),
    ];
    for (bytes, flags) in want {
        let (header, data) = linux.expect(op::RW);
        assert_eq!((&data[..], header.flags), (bytes, flags));
    }
    linux.silence();
}

#[test]
fn both_types_on_one_port_at_once() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let (one, two) = ((5000, 7), (5001, 7));
    linux.open(one);
    open(&mut linux, two, 65_536);
    linux.send(one, op::RW, b"bytes");
    send(&mut linux, two, EOM, b"message");
    let (stream, bytes) = linux.expect(op::RW);
    assert_eq!(
        (stream.dst_port, &bytes[..], stream.flags),
        (5000, &b"bytes"[..], 0)
    );
    let (messages, bytes) = linux.expect(op::RW);
    assert_eq!((messages.dst_port, &bytes[..]), (5001, &b"message"[..]));
    assert_eq!((stream.kind, messages.kind), (1, 2));
}

#[test]
fn another_type_is_reset_and_the_connection_goes_on() {
    for kind in [2, 0, 3] {
        let mut room = room();
        let mut linux = Linux::new(&mut room);
        linux.open(ECHO);
        for op in [op::RW, op::REQUEST, op::SHUTDOWN, op::CREDIT_UPDATE] {
            let header = Header {
                kind,
                flags: 3,
                ..packet(ECHO, op, 0)
            };
            linux.send_raw(&header, &[]);
            linux.pass();
            assert_eq!(linux.expect(op::RST).0.kind, kind);
        }
        // Nobody answers a reset.
        linux.send_raw(
            &Header {
                kind,
                ..packet(ECHO, op::RST, 0)
            },
            &[],
        );
        linux.silence();
        linux.send(ECHO, op::RW, b"still");
        assert_eq!(linux.expect(op::RW).1, b"still");
    }
}

#[test]
fn the_ports_of_a_closed_connection_can_be_of_another_type() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.app.finish_at_once = true;
    linux.pass();
    linux.expect(op::SHUTDOWN);
    linux.app.finish_at_once = false;
    open(&mut linux, ECHO, 1000);
    assert_eq!(
        (linux.app.closed.len(), linux.rig.device.connections()),
        (1, 1)
    );
    send(&mut linux, ECHO, EOM, b"again");
    assert_eq!(linux.expect(op::RW).1, b"again");
}

#[test]
fn messages_without_bytes_are_bounded() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    open(&mut linux, STUCK, 0x1_0000);
    for _ in 0..EMPTY_MOST {
        send(&mut linux, STUCK, EOM, b"");
        send(&mut linux, STUCK, 0, b"");
    }
    linux.silence();
    send(&mut linux, STUCK, EOM, b"");
    linux.expect(op::RST);
    assert_eq!(linux.app.open, []);
    // Any number of those with bytes.
    open(&mut linux, STUCK, 0x1_0000);
    for _ in 0..5000 {
        send(&mut linux, STUCK, EOM, b"x");
    }
    linux.silence();
    // The buffers of the old connection have no ends of its messages in the next one.
    linux.send_raw(
        &Header {
            flags: 3,
            ..seqpacket(STUCK, op::SHUTDOWN, 0)
        },
        &[],
    );
    for port in 0..CONNECTIONS as u32 {
        linux.send_raw(&seqpacket((6000 + port, 7), op::REQUEST, 0), &[]);
    }
    linux.pass();
    while linux.receive().is_some() {}
    for port in 0..CONNECTIONS as u32 - 1 {
        let ports = (6000 + port, 7);
        send(&mut linux, ports, EOM, &[1; 3000]);
        let mut got = 0;
        while let Some((header, data)) = linux.receive() {
            got += data.len();
            assert_eq!(header.flags & EOM != 0, got == 3000);
        }
        assert_eq!(got, 3000, "{port}");
    }
}

#[test]
fn credit_is_kept_to_by_messages_too() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    open(&mut linux, STUCK, 0x1_0000);
    let data = vec![7; 0x8000];
    for _ in 0..SEQ_BUFFER / data.len() {
        send(&mut linux, STUCK, 0, &data);
    }
    linux.silence();
    send(&mut linux, STUCK, EOM, b"x");
    linux.expect(op::RST);
    assert_eq!(linux.app.open, []);
}

#[test]
fn a_message_that_linux_has_no_room_for_ends_the_connection() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.app.sizes = vec![500, 5001];
    open(&mut linux, (5000, 19), 5000);
    let (_, first) = linux.expect(op::RW);
    assert_eq!(first.len(), 500);
    // The first one is still there: so far there is hope.
    while linux.pass() {}
    let mut got = 0;
    while let Some((header, data)) = linux.receive() {
        assert_eq!(header.flags, 0);
        got += data.len();
        linux.pass();
    }
    assert!((2900..=4500).contains(&got), "{got}");
    let read = Header {
        buf_alloc: 5000,
        fwd_cnt: 500,
        ..seqpacket((5000, 19), op::CREDIT_UPDATE, 0)
    };
    linux.send_raw(&read, &[]);
    while linux.pass() {}
    let mut last = None;
    while let Some((header, _)) = linux.receive() {
        last = Some(header.op);
        linux.pass();
    }
    assert_eq!(last, Some(op::RST));
    assert_eq!(linux.app.open, []);
    assert_eq!(linux.rig.device.stats().too_large, 1);
}

#[test]
fn shutdown_and_close_are_as_for_streams() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let close = |ports, flags| Header {
        flags,
        ..seqpacket(ports, op::SHUTDOWN, 0)
    };
    // What has come is answered, then it is over.
    open(&mut linux, ECHO, 65_536);
    send(&mut linux, ECHO, EOM, b"last");
    linux.send_raw(&close(ECHO, 2), &[]);
    linux.pass();
    assert_eq!(linux.expect(op::RW).1, b"last");
    assert_eq!(linux.expect(op::SHUTDOWN).0.flags, 3);
    linux.send_raw(&seqpacket(ECHO, op::RST, 0), &[]);
    linux.silence();
    // All is taken, and a message without an end is none.
    open(&mut linux, (5001, 9), 65_536);
    linux.send_raw(
        &Header {
            flags: EOM,
            ..seqpacket((5001, 9), op::RW, 3)
        },
        b"abc",
    );
    linux.send_raw(&seqpacket((5001, 9), op::RW, 3), b"def");
    linux.send_raw(&close((5001, 9), 3), &[]);
    linux.pass();
    linux.pass();
    linux.expect(op::RST);
    assert_eq!((linux.app.ends, linux.rig.device.connections()), (2, 0));
    // Nobody hears the echo, so nothing of it is kept.
    open(&mut linux, ECHO, 65_536);
    linux.send_raw(&close(ECHO, 1), &[]);
    send(&mut linux, ECHO, EOM, b"unheard");
    linux.silence();
    linux.send_raw(&close(ECHO, 3), &[]);
    linux.pass();
    linux.pass();
    linux.expect(op::RST);
    linux.silence();
}

#[test]
fn a_message_that_lies_in_two_pieces_is_one_packet() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    open(&mut linux, ECHO, u32::MAX);
    let mut got = 0u32;
    for round in 0..3000u32 {
        let data = vec![round as u8; 1 + (round as usize * 37) % 900];
        let header = Header {
            flags: EOM,
            buf_alloc: u32::MAX,
            fwd_cnt: got,
            ..seqpacket(ECHO, op::RW, data.len())
        };
        linux.send_raw(&header, &data);
        let mut packets = Vec::new();
        while linux.pass() {
            while let Some((header, data)) = linux.receive() {
                if header.op == op::RW {
                    packets.push((header.flags, data));
                }
            }
        }
        assert_eq!(packets, [(EOM, data.clone())], "{round}");
        got += data.len() as u32;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever packets come, of both types: services are told consistently, each is given back, and
    /// a connection can be opened afterwards.
    #[test]
    fn any_packets_of_messages_are_survived(packets in prop::collection::vec(
        (0u32..3, prop_oneof![Just(7u32), Just(9), Just(11), Just(19), Just(5)], 0u16..9,
         prop_oneof![0u32..4, any::<u32>()], prop_oneof![0usize..4, 0usize..2000], any::<u16>(),
         prop_oneof![Just(0u32), Just(1000), any::<u32>()],
         prop_oneof![6 => Just(2u16), 2 => Just(1), 1 => any::<u16>()]), 1..120)
    ) {
        let mut room = room();
        let mut linux = Linux::new(&mut room);
        linux.app.sizes = (0..200).map(|n| n * 7 % 1500).collect();
        for (from, to, op, flags, len, fwd_cnt, buf_alloc, kind) in packets {
            let header = Header {
                flags,
                fwd_cnt: u32::from(fwd_cnt),
                buf_alloc,
                kind,
                ..packet((from, to), op, len)
            };
            linux.send_raw(&header, &vec![1; len]);
            linux.now += 100;
            linux.pass();
            while let Some((header, data)) = linux.receive() {
                prop_assert!(header.op == op::RW || data.is_empty());
            }
        }
        while linux.pass() {
            while linux.receive().is_some() {}
        }
        prop_assert_eq!(linux.receive(), None);
        prop_assert_eq!(linux.rig.device.connections(), linux.app.open.len());
        prop_assert_eq!(linux.rings[1].avail_index, linux.rings[1].used_seen);
        open(&mut linux, (77, 9), 1000);
    }
}
