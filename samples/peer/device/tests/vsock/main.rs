// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The socket device: connections, credit, shutdown, reset (VIRTIO 5.10.6).

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod churn;
#[path = "../common/mod.rs"]
mod common;
mod credit;
mod linux;
mod message_rules;
mod messages;
mod model;
mod scarce;

use hvl_device::device::Device;
use hvl_device::vsock::packet::{op, Header, HEADER};
use hvl_device::vsock::RX_BUFFER;
use linux::{packet, room, shutdown, Linux, TX};
use proptest::prelude::*;

const ECHO: (u32, u32) = (5000, 7);
const DISCARD: (u32, u32) = (5001, 9);
const STUCK: (u32, u32) = (5002, 11);
const CHARGEN: (u32, u32) = (5003, 19);

#[test]
fn what_is_sent_comes_back() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let header = linux.open(ECHO);
    assert_eq!((header.buf_alloc, header.fwd_cnt), (RX_BUFFER as u32, 0));
    linux.send(ECHO, op::RW, b"hello");
    let (header, data) = linux.expect(op::RW);
    assert_eq!((data.as_slice(), header.fwd_cnt), (&b"hello"[..], 5));
    linux.silence();
}

#[test]
fn a_long_stream_comes_back_in_order() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    let mut sent = 0u32;
    let mut got = 0u32;
    let mut fwd_cnt = 0u32;
    while got < 600_000 {
        if sent < 600_000 && sent - got < 0x8000 {
            let data: Vec<u8> = (sent..sent + 3000).map(|i| (i % 251) as u8).collect();
            sent += 3000;
            let header = Header {
                fwd_cnt,
                ..packet(ECHO, op::RW, data.len())
            };
            linux.send_raw(&header, &data);
        }
        linux.pass();
        while let Some((header, data)) = linux.receive() {
            assert!([op::RW, op::CREDIT_UPDATE].contains(&header.op));
            assert!(data
                .iter()
                .zip(got..)
                .all(|(byte, i)| *byte == (i % 251) as u8));
            got += data.len() as u32;
            fwd_cnt = got;
        }
    }
    assert_eq!(got, sent);
}

#[test]
fn packets_of_no_connection_are_reset_but_resets_are_not() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    for op in [
        op::RW,
        op::RESPONSE,
        op::SHUTDOWN,
        op::CREDIT_UPDATE,
        op::CREDIT_REQUEST,
        0,
        99,
    ] {
        linux.send((1, 7), op, &[]);
        linux.expect(op::RST);
    }
    linux.send((1, 7), op::RST, &[]);
    linux.silence();
}

#[test]
fn another_type_context_or_length_is_reset() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let good = packet(ECHO, op::REQUEST, 0);
    for bad in [
        Header { kind: 3, ..good },
        Header { dst_cid: 4, ..good },
        Header { src_cid: 9, ..good },
        Header { len: 1, ..good },
    ] {
        linux.send_raw(&bad, &[]);
        linux.pass();
        let (head, len) = linux.rings[0].take().unwrap();
        let mut bytes = [0; HEADER];
        assert_eq!(len as usize, HEADER);
        linux
            .rig
            .mem()
            .read_bytes(linux.rx[head as usize], &mut bytes);
        linux.post(head as u16);
        let reset = Header::parse(&bytes);
        assert_eq!((reset.op, reset.kind), (op::RST, bad.kind));
        assert_eq!((reset.src_cid, reset.dst_cid), (bad.dst_cid, bad.src_cid));
    }
    assert_eq!(linux.rig.device.stats().bad, 4);
    linux.open(ECHO);
}

#[test]
fn more_than_the_credit_resets_the_connection() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(STUCK);
    let data = vec![7; 0x8000];
    for _ in 0..RX_BUFFER / data.len() {
        linux.send(STUCK, op::RW, &data);
    }
    linux.silence();
    linux.send(STUCK, op::RW, b"x");
    linux.expect(op::RST);
    assert_eq!(linux.app.open, []);
}

#[test]
fn credit_is_told_when_asked_and_when_half_is_used() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(DISCARD);
    linux.send(DISCARD, op::RW, &[1; 1000]);
    linux.silence();
    linux.send(DISCARD, op::CREDIT_REQUEST, &[]);
    let (header, _) = linux.expect(op::CREDIT_UPDATE);
    assert_eq!((header.fwd_cnt, header.buf_alloc), (1000, RX_BUFFER as u32));
    // Half of Linux's own buffer, which is the smaller one.
    let data = vec![2; 0x4000];
    linux.send(DISCARD, op::RW, &data);
    linux.silence();
    linux.send(DISCARD, op::RW, &data);
    let (header, _) = linux.expect(op::CREDIT_UPDATE);
    assert_eq!(header.fwd_cnt, 1000 + 0x8000);
    linux.silence();
    // Another size is answered at once: somebody may wait for what it allows.
    let resized = |buf_alloc| Header {
        buf_alloc,
        ..packet(DISCARD, op::CREDIT_UPDATE, 0)
    };
    for buf_alloc in [10, u32::MAX] {
        linux.send_raw(&resized(buf_alloc), &[]);
        linux.pass();
        linux.expect(op::CREDIT_UPDATE);
        linux.silence();
    }
    // And half of ours is what counts.
    for count in 1..=RX_BUFFER / 2 / data.len() {
        let header = Header {
            buf_alloc: u32::MAX,
            ..packet(DISCARD, op::RW, data.len())
        };
        linux.send_raw(&header, &data);
        linux.pass();
        if count < RX_BUFFER / 2 / data.len() {
            linux.silence();
        }
    }
    let (header, _) = linux.expect(op::CREDIT_UPDATE);
    assert_eq!(header.fwd_cnt as usize, 1000 + 0x8000 + RX_BUFFER / 2);
    linux.silence();
}

/// All bytes that the peer sends now.
fn sent_by_peer(linux: &mut Linux<'_>) -> usize {
    linux.pass();
    let mut count = 0;
    while let Some((header, data)) = linux.receive() {
        assert!(data.is_empty() || header.op == op::RW);
        count += data.len();
        linux.pass();
    }
    count
}

#[test]
fn linuxs_credit_is_kept_to() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let say = |op, fwd_cnt, buf_alloc| Header {
        fwd_cnt,
        buf_alloc,
        ..packet(ECHO, op, 0)
    };
    linux.send_raw(&say(op::REQUEST, 0, 10_000), &[]);
    linux.pass();
    linux.expect(op::RESPONSE);
    let header = Header {
        len: 30_000,
        ..say(op::RW, 0, 10_000)
    };
    linux.send_raw(&header, &[5; 30_000]);
    assert_eq!(sent_by_peer(&mut linux), 10_000);
    for (fwd_cnt, buf_alloc, sent) in [
        (6000, 10_000, 6000),
        // More taken than was ever sent is nonsense, and no credit.
        (500_000, 10_000, 0),
        (16_000, 0, 0),
        (16_000, 4999, 4999),
        (16_000, 4999, 0),
        (16_000, u32::MAX, 9001),
    ] {
        linux.send_raw(&say(op::CREDIT_UPDATE, fwd_cnt, buf_alloc), &[]);
        assert_eq!(sent_by_peer(&mut linux), sent, "{fwd_cnt} {buf_alloc}");
    }
}

#[test]
fn a_small_buffer_of_linuxs_holds_one_packet() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let say = |op, fwd_cnt, len| Header {
        fwd_cnt,
        buf_alloc: 4095,
        ..packet(ECHO, op, len)
    };
    linux.send_raw(&say(op::REQUEST, 0, 0), &[]);
    linux.pass();
    linux.expect(op::RESPONSE);
    linux.send_raw(&say(op::RW, 0, 100), &[5; 100]);
    assert_eq!(sent_by_peer(&mut linux), 100);
    linux.send_raw(&say(op::RW, 0, 100), &[5; 100]);
    linux.send_raw(&say(op::RW, 0, 100), &[5; 100]);
    linux.send_raw(&say(op::CREDIT_UPDATE, 99, 0), &[]);
    assert_eq!(sent_by_peer(&mut linux), 0);
    linux.send_raw(&say(op::CREDIT_UPDATE, 100, 0), &[]);
    assert_eq!(sent_by_peer(&mut linux), 200);
}

#[test]
fn the_end_of_linuxs_stream_ends_ours() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.send_raw(&packet(ECHO, op::RW, 3), b"abc");
    linux.send_raw(&shutdown(ECHO, 2), &[]);
    linux.pass();
    assert_eq!(linux.expect(op::RW).1, b"abc");
    assert_eq!(linux.expect(op::SHUTDOWN).0.flags, 3);
    linux.silence();
    linux.send(ECHO, op::RST, &[]);
    assert_eq!(linux.app.closed, [0]);
    linux.silence();
}

#[test]
fn a_close_of_linuxs_is_answered_when_all_is_read() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(DISCARD);
    linux.send_raw(&packet(DISCARD, op::RW, 5), b"12345");
    linux.send_raw(&shutdown(DISCARD, 3), &[]);
    linux.pass();
    linux.pass();
    linux.expect(op::RST);
    assert_eq!((linux.app.taken, linux.app.closed.len()), (5, 1));
    linux.silence();
}

#[test]
fn a_connection_that_linux_does_not_end_is_ended() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.app.finish_at_once = true;
    linux.pass();
    linux.expect(op::SHUTDOWN);
    linux.now = 9_999;
    linux.silence();
    linux.now = 10_000;
    linux.pass();
    linux.pass();
    linux.expect(op::RST);
    assert_eq!(linux.app.open, []);
}

#[test]
fn we_connect_to_linux() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.app.connect.push_back(1234);
    linux.pass();
    let (header, _) = linux.expect(op::REQUEST);
    assert_eq!(header.dst_port, 1234);
    let ports = (1234, header.src_port);
    linux.send(ports, op::RESPONSE, &[]);
    linux.send(ports, op::RW, b"ping");
    assert_eq!(linux.expect(op::RW).1, b"ping");
    // Another one gets another port, and is refused.
    linux.app.connect.push_back(1234);
    linux.pass();
    let (second, _) = linux.expect(op::REQUEST);
    assert_ne!(second.src_port, header.src_port);
    linux.send((1234, second.src_port), op::RST, &[]);
    assert_eq!(linux.app.closed, [1]);
}

#[test]
fn a_request_of_ours_that_nobody_answers_is_given_up() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.app.connect.push_back(1234);
    linux.pass();
    linux.expect(op::REQUEST);
    linux.now = 10_000;
    linux.pass();
    linux.pass();
    linux.expect(op::RST);
    assert_eq!(linux.app.closed, [0]);
}

#[test]
fn a_reset_of_the_device_ends_all_connections() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.open(DISCARD);
    linux.rig.set(&[(0x070, 0)]);
    linux.pass();
    assert_eq!(linux.app.closed, [0, 1]);
    assert_eq!(linux.rig.device.connections(), 0);
}

#[test]
fn while_linux_takes_no_answers_nothing_more_is_taken_from_it() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    // All that Linux has posted is used up.
    linux.open(ECHO);
    let flood = packet((1, 7), op::RW, 0);
    let mut answers = 0;
    for _ in 0..200 {
        for _ in 0..usize::from(TX) / 2 {
            linux.send_raw(&flood, &[]);
        }
        while linux.pass() {}
        if linux.rings[1]
            .avail_index
            .wrapping_sub(linux.rings[1].used_seen)
            > TX / 4
        {
            break;
        }
    }
    let left = linux.rings[1]
        .avail_index
        .wrapping_sub(linux.rings[1].used_seen);
    assert!(left > 0, "the peer has to stop taking");
    let mut wanted = [0; 3];
    linux.rig.device.wanted(&mut wanted);
    assert_eq!(wanted[1], 0);
    // With buffers again, everything is answered.
    for _ in 0..50 {
        while linux.receive().is_some() {
            answers += 1;
        }
        linux.pass();
    }
    assert_eq!(linux.rings[1].avail_index, linux.rings[1].used_seen);
    assert!(answers > 64);
}

#[test]
fn who_reads_no_more_is_sent_no_more() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let endless = Header {
        buf_alloc: 2000,
        ..packet(CHARGEN, op::REQUEST, 0)
    };
    linux.send_raw(&endless, &[]);
    linux.pass();
    while linux.pass() {}
    linux.expect(op::RESPONSE);
    linux.send_raw(&shutdown(CHARGEN, 1), &[]);
    // It comes to rest, although Linux has only stopped to read.
    let passes = (0..100).take_while(|_| linux.pass()).count();
    assert!(passes < 10);
    while let Some((header, _)) = linux.receive() {
        if header.op == op::SHUTDOWN {
            return;
        }
    }
    panic!("the connection has to be closed");
}

#[test]
fn what_nobody_reads_is_taken() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.send_raw(&shutdown(ECHO, 1), &[]);
    linux.send(ECHO, op::RW, b"hello");
    linux.silence();
    assert_eq!(linux.app.taken, 5);
    linux.send(ECHO, op::CREDIT_REQUEST, &[]);
    assert_eq!(linux.expect(op::CREDIT_UPDATE).0.fwd_cnt, 5);
}

#[test]
fn a_connection_that_is_refused_is_gone() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let good = packet(DISCARD, op::RW, 0);
    linux.open(DISCARD);
    linux.send_raw(&Header { len: 7, ..good }, &[]);
    linux.pass();
    linux.expect(op::RST);
    assert_eq!(linux.rig.device.connections(), 0);
    assert_eq!(linux.app.open, []);
    // What is of another context is of no connection.
    linux.open(DISCARD);
    linux.send_raw(&Header { src_cid: 9, ..good }, &[]);
    linux.pass();
    assert_eq!(linux.rig.device.connections(), 1);
}

#[test]
fn ports_can_be_used_again_while_the_old_connection_closes() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.open(ECHO);
    linux.app.finish_at_once = true;
    linux.pass();
    linux.expect(op::SHUTDOWN);
    linux.app.finish_at_once = false;
    // Linux has closed its end, and connects again from the same port.
    linux.open(ECHO);
    assert_eq!(linux.app.closed, [0]);
    assert_eq!(linux.rig.device.connections(), 1);
    linux.send(ECHO, op::RW, b"again");
    assert_eq!(linux.expect(op::RW).1, b"again");
    linux.silence();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    /// Whatever packets come: no panic, services are told consistently (the asserts above), every
    /// packet is given back, and a connection can be opened afterwards.
    #[test]
    fn any_packets_are_survived(packets in prop::collection::vec(
        (0u32..3, prop_oneof![Just(7u32), Just(9), Just(11), Just(5)], 0u16..9, 0u32..4,
         0usize..2000, any::<u16>(), prop_oneof![Just(0u32), Just(1000), any::<u32>()]), 1..120)
    ) {
        let mut room = room();
        let mut linux = Linux::new(&mut room);
        for (from, to, op, flags, len, fwd_cnt, buf_alloc) in packets {
            let header = Header {
                flags,
                fwd_cnt: u32::from(fwd_cnt),
                buf_alloc,
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
        linux.open((77, 9));
    }
}
