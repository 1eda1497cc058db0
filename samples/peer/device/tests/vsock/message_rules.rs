// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sockets that carry messages: what is allowed, and what becomes of what is not.

use crate::linux::{packet, room, seqpacket, Linux};
use crate::{ECHO, STUCK};
use hvl_device::vsock::packet::{op, Header, SEQ_EOM, SEQ_EOR, TYPE_SEQPACKET};
use hvl_device::vsock::{CONNECTIONS, EMPTY_MOST, SEQ_BUFFER};
use proptest::prelude::*;

const EOM: u32 = SEQ_EOM;
const EOR: u32 = SEQ_EOM | SEQ_EOR;

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
        linux.settle();
        open(&mut linux, (77, 9), 1000);
    }
}
