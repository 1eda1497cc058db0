// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The socket device while Linux's buffers are few.

use crate::linux::{packet, room, Linux, RX};
use crate::{CHARGEN, ECHO};
use hvl_device::vsock::packet::{op, Header};

#[test]
fn buffers_that_come_a_few_at_a_time_are_for_all() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let ask = |port| Header {
        buf_alloc: u32::MAX,
        ..packet((port, 19), op::REQUEST, 0)
    };
    for port in 0..8 {
        linux.send_raw(&ask(100 + port), &[]);
    }
    linux.pass();
    let mut bytes = [0; 8];
    let mut opened = None;
    for round in 0..20 {
        while linux.pass() {}
        if round == 10 {
            linux.send_raw(&ask(200), &[]);
            linux.pass();
        }
        let mut heads = Vec::new();
        while let Some((header, data, head)) = linux.take() {
            match header.dst_port {
                200 if header.op == op::RESPONSE => opened = Some(round),
                200 => {}
                port => bytes[(port - 100) as usize] += data.len(),
            }
            heads.push(head);
        }
        assert!(heads.len() <= usize::from(RX));
        for head in heads {
            linux.post(head);
        }
    }
    // All posted buffers are used each time, and the reader's share is even.
    let (least, most) = (bytes.iter().min().unwrap(), bytes.iter().max().unwrap());
    assert!(*least > 0 && *most <= 2 * *least, "{bytes:?}");
    assert_eq!(opened, Some(11));
}

#[test]
fn a_reset_that_waits_does_not_hit_the_next_connection() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    // Nothing can be sent: all buffers are in Linux's hands.
    let mut heads = Vec::new();
    linux.send_raw(
        &Header {
            buf_alloc: u32::MAX,
            ..packet(CHARGEN, op::REQUEST, 0)
        },
        &[],
    );
    while linux.pass() {}
    while let Some((_, _, head)) = linux.take() {
        heads.push(head);
    }
    linux.send(ECHO, op::RW, b"of no connection");
    linux.send(ECHO, op::REQUEST, &[]);
    for head in heads {
        linux.post(head);
    }
    linux.pass();
    let mut seen = Vec::new();
    while let Some((header, _)) = linux.receive() {
        if header.dst_port == ECHO.0 {
            seen.push(header.op);
        }
    }
    assert_eq!(seen, [op::RESPONSE]);
}
