// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network device between a driver and a network stack.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;
#[path = "net/control.rs"]
mod control;
#[path = "net/large.rs"]
mod large;
#[path = "net/trains.rs"]
mod trains;

use common::*;
use hvl_device::checksum;
use hvl_device::device::Device;
use hvl_device::net::{Net, BUFFERS, FRAME_MAX};
use hvl_device::shared::BUDGET;

const CSUM: u64 = 1 << 0;
const GUEST_CSUM: u64 = 1 << 1;
const GUEST_TSO4: u64 = 1 << 7;
const MRG_RXBUF: u64 = 1 << 15;
const EVENT_IDX: u64 = 1 << 29;
const HEADER: u32 = 12;

fn rig(features: u64) -> (Rig<Net>, Vec<Ring>) {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 9000, true));
    rig.attach(1);
    let rings = rig.bring_up(features, &[16, 16]);
    (rig, rings)
}

/// An Ethernet frame with a UDP datagram and a right checksum.
fn frame(len: usize) -> Vec<u8> {
    let mut frame = vec![0; 34];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((20 + 8 + len) as u16).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[26..34].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
    frame.extend_from_slice(&[0, 7, 0, 7]);
    frame.extend_from_slice(&((8 + len) as u16).to_be_bytes());
    frame.extend_from_slice(&[0, 0]);
    frame.extend((0..len).map(|i| i as u8));
    let place = checksum::find(&frame).unwrap();
    checksum::complete(&mut frame, &place);
    frame
}

/// Linux sends `frame` behind a header with `flags`.
fn linux_sends(rig: &mut Rig<Net>, ring: &mut Ring, flags: u8, frame: &[u8]) {
    let at = rig.alloc(HEADER + frame.len() as u32);
    let mut header = [0; HEADER as usize];
    header[0] = flags;
    rig.mem().write_bytes(at, &header);
    rig.mem().write_bytes(at + HEADER, frame);
    ring.add(
        0,
        &[
            (at, HEADER, false),
            (at + HEADER, frame.len() as u32, false),
        ],
    );
}

fn receive(rig: &mut Rig<Net>) -> Option<Vec<u8>> {
    let shared = *rig.link.shared();
    let mut buffer = vec![0; FRAME_MAX];
    let len = rig.device.port(&shared).receive(&mut buffer)?;
    buffer.truncate(len);
    Some(buffer)
}

fn send(rig: &mut Rig<Net>, frame: &[u8]) -> bool {
    let shared = *rig.link.shared();
    let mut port = rig.device.port(&shared);
    let room = port.can_send();
    if room {
        port.send(&mut frame.to_vec());
    }
    rig.finish();
    room
}

fn bytes(rig: &Rig<Net>, at: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    assert!(rig.mem().read_bytes(at, &mut bytes));
    bytes
}

#[test]
fn a_frame_of_linuxs_arrives() {
    let (mut rig, mut rings) = rig(0);
    let sent = frame(100);
    linux_sends(&mut rig, &mut rings[1], 0, &sent);
    assert_eq!(receive(&mut rig), Some(sent));
    let rung = rig.bell.0;
    rig.finish();
    assert_eq!(rings[1].take(), Some((0, 0)));
    assert_eq!(rig.bell.0, rung + 1);
    assert_eq!(rig.device.stats().received, 1);
}

#[test]
fn a_wrong_checksum_counts_only_where_linux_has_made_it() {
    let (mut rig, mut rings) = rig(CSUM);
    let mut sent = frame(100);
    sent[60] ^= 1;
    linux_sends(&mut rig, &mut rings[1], 0, &sent);
    assert_eq!(receive(&mut rig), None);
    let stats = *rig.device.stats();
    assert_eq!((stats.checksum, stats.length, stats.bad()), (1, 0, 1));
    linux_sends(&mut rig, &mut rings[1], 1, &sent);
    assert_eq!(receive(&mut rig), Some(sent));
}

#[test]
fn impossible_frames_are_given_back() {
    let (mut rig, mut rings) = rig(0);
    let at = rig.alloc(64);
    for (len, writable) in [(0, false), (11, false), (64, true)] {
        rings[1].add(0, &[(at, len, writable)]);
        assert_eq!(receive(&mut rig), None);
        rig.finish();
        assert_eq!(rings[1].take().map(|(head, _)| head), Some(0));
    }
    // More than any frame, by naming the same memory again and again.
    let whole: Vec<Buffer> = vec![(at, 64, false); 1];
    rings[1].add(0, &whole);
    assert_eq!(receive(&mut rig).map(|frame| frame.len()), Some(52));
    let big = rig.alloc(0x2000);
    rings[1].add(0, &[(big, 0x2000, false); 9]);
    assert_eq!(receive(&mut rig), None);
    let stats = *rig.device.stats();
    assert_eq!((stats.checksum, stats.length, stats.bad()), (0, 4, 4));
}

#[test]
fn linux_gets_the_checksum_begun_or_whole() {
    for features in [0, GUEST_CSUM] {
        let (mut rig, mut rings) = rig(features);
        let want = frame(100);
        let mut blank = want.clone();
        blank[40..42].copy_from_slice(&[0, 0]);
        let at = rig.alloc(2048);
        rings[0].add(0, &[(at, 2048, true)]);
        assert!(send(&mut rig, &blank));
        let total = HEADER + want.len() as u32;
        assert_eq!(rings[0].take(), Some((0, total)));
        let header = bytes(&rig, at, HEADER);
        let mut got = bytes(&rig, at + HEADER, want.len() as u32);
        assert_eq!(header[10..12], [1, 0]);
        if features == 0 {
            assert_eq!(header[0], 0);
        } else {
            // NEEDS_CSUM from byte 34 on, to be put 6 bytes behind; Linux completes it.
            assert_eq!((header[0], &header[6..10]), (1, &[34, 0, 6, 0][..]));
            assert_ne!(got, want);
            let place = checksum::find(&got).unwrap();
            checksum::complete(&mut got, &place);
        }
        assert_eq!(got, want);
    }
}

#[test]
fn a_frame_is_spread_over_several_buffers() {
    let (mut rig, mut rings) = rig(MRG_RXBUF);
    let want = frame(3000);
    let at: Vec<u32> = (0..16).map(|_| rig.alloc(1500)).collect();
    for (head, at) in at.iter().enumerate() {
        rings[0].add(head as u16, &[(*at, 1500, true)]);
    }
    assert!(send(&mut rig, &want));
    assert_eq!(rings[0].take(), Some((0, 1500)));
    assert_eq!(rings[0].take(), Some((1, 1500)));
    assert_eq!(
        rings[0].take(),
        Some((2, HEADER + want.len() as u32 - 3000))
    );
    assert_eq!(rings[0].take(), None);
    assert_eq!(bytes(&rig, at[0], HEADER)[10..12], [3, 0]);
    let mut got = bytes(&rig, at[0] + HEADER, 1500 - HEADER);
    got.extend(bytes(&rig, at[1], 1500));
    got.extend(bytes(&rig, at[2], HEADER + want.len() as u32 - 3000));
    assert_eq!(got, want);
}

#[test]
fn a_frame_that_does_not_fit_leaves_the_buffers_alone() {
    let (mut rig, mut rings) = rig(MRG_RXBUF);
    let at: Vec<u32> = (0..10).map(|_| rig.alloc(100)).collect();
    for (head, at) in at.iter().enumerate() {
        rings[0].add(head as u16, &[(*at, 100, true)]);
    }
    assert!(send(&mut rig, &frame(3000)));
    assert_eq!(
        (rig.device.stats().sent, rig.device.stats().dropped),
        (0, 1)
    );
    assert_eq!(rings[0].take(), None);
    assert!(send(&mut rig, &frame(20)));
    assert_eq!(rings[0].take(), Some((0, HEADER + 62)));
}

#[test]
fn nothing_is_sent_without_buffers_and_linux_is_asked_for_some() {
    let (mut rig, mut rings) = rig(0);
    assert!(!send(&mut rig, &frame(20)));
    assert!(!rig.link.listen(&mut [&mut rig.device]));
    // Of receive buffers it wants to hear; while it cannot answer, of nothing else.
    assert_eq!((rings[0].used_flags(), rings[1].used_flags()), (0, 1));
    let at = rig.alloc(4096);
    for head in 0..16 {
        rings[0].add(head, &[(at, 1500, true)]);
    }
    // For these Linux rings, as it was asked to.
    assert!(!rig.link.listen(&mut [&mut rig.device]));
    let shared = *rig.link.shared();
    assert!(rig.device.pending(&shared));
    // But not for those that come while it is awake.
    rig.link.quieten(&mut [&mut rig.device]);
    assert!(rig.link.listen(&mut [&mut rig.device]));
    assert!(send(&mut rig, &frame(20)));
    assert!(!rig.link.listen(&mut [&mut rig.device]));
    assert_eq!(rings[1].used_flags(), 0);
}

#[test]
fn a_pass_has_an_end() {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    let mut rings = rig.bring_up(0, &[16, 256]);
    let at = rig.alloc(128);
    rig.mem().write_bytes(at + HEADER, &frame(20));
    for head in 0..256 {
        rings[1].add(head, &[(at, HEADER + 62, false)]);
    }
    let shared = *rig.link.shared();
    let mut buffer = vec![0; FRAME_MAX];
    let mut port = rig.device.port(&shared);
    let mut count = 0;
    while port.receive(&mut buffer).is_some() {
        count += 1;
    }
    assert_eq!(count, BUDGET);
    assert!(port.exhausted());
}

#[test]
fn tiny_buffers_make_no_more_work() {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    let mut rings = rig.bring_up(MRG_RXBUF, &[256, 16]);
    let at = rig.alloc(64);
    for head in 0..256 {
        rings[0].add(head, &[(at, 16, true)]);
    }
    let shared = *rig.link.shared();
    let mut port = rig.device.port(&shared);
    let mut tries = 0;
    while port.can_send() {
        port.send(&mut frame(1000));
        tries += 1;
    }
    // Each has tried 64 buffers.
    assert_eq!(tries, BUFFERS / 64);
    assert!(port.exhausted());
    rig.finish();
    assert_eq!(rings[0].take(), None);
    assert_eq!(rig.device.stats().dropped, tries as u64);
    let queue = rig.device.transport().stats().next().unwrap();
    assert_eq!((queue.chains, queue.bytes), (0, 0));
}

#[test]
fn the_header_may_lie_in_pieces() {
    let (mut rig, mut rings) = rig(MRG_RXBUF);
    let want = frame(1200);
    let (a, b, c) = (rig.alloc(5), rig.alloc(700), rig.alloc(2048));
    rings[0].add(0, &[(a, 5, true), (b, 700, true)]);
    rings[0].add(4, &[(c, 2048, true)]);
    for head in 5..16 {
        rings[0].add(head, &[(c, 2048, true)]);
    }
    assert!(send(&mut rig, &want));
    let mut got = bytes(&rig, a, 5);
    got.extend(bytes(&rig, b, 700));
    got.extend(bytes(&rig, c, 12 + want.len() as u32 - 705));
    assert_eq!(got[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0]);
    assert_eq!(got[12..], want);
    assert_eq!(rings[0].take(), Some((0, 705)));
    assert_eq!(rings[0].take(), Some((4, 12 + want.len() as u32 - 705)));
}

#[test]
fn too_few_buffers_are_waited_for_and_in_the_end_made_do_with() {
    // Seven buffers may be needed; Linux never posts more than three.
    let (mut rig, mut rings) = rig(MRG_RXBUF | EVENT_IDX);
    let at = rig.alloc(2048);
    for head in 0..3 {
        rings[0].add(head, &[(at, 1500, true)]);
    }
    assert!(!send(&mut rig, &frame(20)));
    // It sleeps, and is rung when there are seven.
    assert!(!rig.link.listen(&mut [&mut rig.device]));
    let event = rings[0].used + 4 + 8 * 16;
    assert_eq!(rig.mem().read16(event), 6);
    let shared = *rig.link.shared();
    for _ in 0..10 {
        rig.pass(TICK);
        assert!(!rig.device.pending(&shared));
        assert!(!rig.link.listen(&mut [&mut rig.device]));
    }
    rig.pass(TICK);
    assert!(rig.device.pending(&shared));
    assert!(send(&mut rig, &frame(3000)));
    assert_eq!(rings[0].take(), Some((0, 1500)));
}

#[test]
fn after_the_buffers_ran_out_more_of_them_are_waited_for() {
    let (mut rig, mut rings) = rig(0);
    let at = rig.alloc(2048);
    for head in 0..16 {
        rings[0].add(head, &[(at, 1500, true)]);
    }
    while send(&mut rig, &frame(20)) {}
    let shared = *rig.link.shared();
    for head in 0..8 {
        assert!(!rig.device.pending(&shared));
        rings[0].add(head, &[(at, 1500, true)]);
    }
    assert!(rig.device.pending(&shared));
    while send(&mut rig, &frame(20)) {}
    // Fewer will have to do if no more come.
    rings[0].add(8, &[(at, 1500, true)]);
    assert!(!rig.device.pending(&shared));
    rig.pass(TICK);
    assert!(rig.device.pending(&shared));
}

#[test]
fn a_wish_not_to_be_rung_is_kept() {
    let (mut rig, mut rings) = rig(0);
    let sent = frame(100);
    rings[1].set_avail_flags(1);
    linux_sends(&mut rig, &mut rings[1], 0, &sent);
    let rung = rig.bell.0;
    assert!(receive(&mut rig).is_some());
    rig.finish();
    assert!(rings[1].take().is_some());
    assert_eq!(rig.bell.0, rung);
    assert_eq!(rig.device.transport().status() & 0x40, 0);
}

#[test]
fn kicks_are_counted_from_when_the_queue_is_ready() {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    let count = rig.window + 0xa00 + 8;
    rig.mem().write32(count, 1000);
    rig.bring_up(0, &[16, 16]);
    rig.pass(RANG);
    rig.mem().write32(count, 1003);
    rig.pass(TICK);
    let kicks: Vec<u64> = rig
        .device
        .transport()
        .stats()
        .map(|queue| queue.kicks)
        .collect();
    assert_eq!(kicks, [0, 3]);
}
