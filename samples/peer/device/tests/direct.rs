// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buffers in Linux's own memory.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::bench::{Bench, ROOM};
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::mem::{Pool, Window};
use hvl_device::proto::layout::link;
use hvl_device::proto::virtio::{reg, status};

/// What Linux calls it: two pieces side by side, that lie apart here.
const ADDRESS: u64 = 0x1_2345_6000;
const LEN: usize = 0x1000;

/// The pieces of memory, and how the peer reaches them.
fn memory() -> (&'static [Window], [*mut u8; 2]) {
    let pieces = [0, 1].map(|_| Box::leak(vec![0u8; LEN].into_boxed_slice()).as_mut_ptr());
    let windows: Vec<Window> = pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| {
            let address = ADDRESS + (index * LEN) as u64;
            // SAFETY: It is leaked, and only looked at through pointers.
            unsafe { Window::new(address, *piece, LEN as u64) }.unwrap()
        })
        .collect();
    (Vec::leak(windows), pieces)
}

fn put(piece: *mut u8, at: usize, bytes: &[u8]) {
    assert!(at + bytes.len() <= LEN);
    // SAFETY: Inside, as just checked.
    unsafe { piece.add(at).copy_from(bytes.as_ptr(), bytes.len()) };
}

fn get(piece: *mut u8, at: usize, len: usize) -> Vec<u8> {
    assert!(at + len <= LEN);
    let mut bytes = vec![0; len];
    // SAFETY: Inside, as just checked.
    unsafe { bytes.as_mut_ptr().copy_from(piece.add(at), len) };
    bytes
}

fn serve(rig: &mut Rig<Bench>) {
    let shared = *rig.link.shared();
    rig.device.pass(&shared, &mut [7; ROOM]);
    rig.finish();
}

/// A link whose driver makes use of `features`, and the rings of its device.
fn rig(features: u32) -> (Rig<Bench>, Vec<Ring>, [*mut u8; 2]) {
    let (windows, pieces) = memory();
    let mut rig = Rig::with_windows(Bench::new(3), Faults::NONE, windows);
    rig.attach_with(1, features);
    let rings = rig.bring_up(0, &[128, 128, 128]);
    (rig, rings, pieces)
}

/// A chain of two descriptors, to be read and to be written, for the echo.
fn echo(ring: &mut Ring, from: (u64, u32), to: (u64, u32)) {
    ring.write_desc(0, from.0, from.1, 1, 1);
    ring.write_desc(1, to.0, to.1, 2, 0);
    ring.offer(0);
}

fn has_given_up(rig: &Rig<Bench>) -> bool {
    rig.view(reg::STATUS) & status::NEEDS_RESET != 0
}

#[test]
fn a_peer_says_whether_it_reaches_memory() {
    let (windows, _) = memory();
    for (windows, features) in [(windows, link::FEATURE_MEMORY), (&[][..], 0)] {
        let rig = Rig::with_windows(<Bench>::new(3), Faults::NONE, windows);
        let identity = identity(rig.mem()).unwrap();
        assert_eq!(identity.features, features);
        assert_eq!(identity.reaches_memory(), features != 0);
    }
}

#[test]
fn buffers_are_read_and_written_where_they_are() {
    let (mut rig, mut rings, [first, second]) = rig(link::FEATURE_MEMORY);
    let sent: Vec<u8> = (0..101).collect();
    put(first, 13, &sent);
    // Any address, and any length.
    let to = ADDRESS + LEN as u64 + 777;
    echo(&mut rings[0], (ADDRESS + 13, 101), (to, 300));
    serve(&mut rig);
    assert_eq!(rings[0].take(), Some((0, 101)));
    assert_eq!(get(second, 777, 101), sent);
    assert_eq!(get(second, 776, 1), [0]);
    assert_eq!(
        get(second, 878, 300),
        [0; 300],
        "what was not written is as it was"
    );
    // From the first to the last byte, and with the pool beside it.
    let at = rig.alloc(64);
    rig.mem().write_bytes(at, &[5; 64]);
    let all = (ADDRESS, LEN as u32);
    echo(&mut rings[0], (BASE + u64::from(at), 64), all);
    serve(&mut rig);
    assert_eq!(rings[0].take(), Some((0, 64)));
    assert_eq!(get(first, 0, 64), [5; 64]);
    assert!(!has_given_up(&rig));
}

#[test]
fn what_is_not_linuxs_is_not_touched() {
    let end = ADDRESS + 2 * LEN as u64;
    let hostile = [
        // Before it, behind it, and from one piece into the next.
        (ADDRESS - 1, 1),
        (end, 1),
        (end - 1, 2),
        (ADDRESS + LEN as u64 - 1, 2),
        (0, u32::MAX),
        (u64::MAX, 1),
        (u64::MAX - 1, u32::MAX),
        // What the library calls places in it, and the header of the region.
        (ADDRESS + Pool::BEYOND, 1),
        (BASE, 64),
    ];
    for bad in hostile {
        for swapped in [false, true] {
            let (mut rig, mut rings, pieces) = rig(link::FEATURE_MEMORY);
            let good = (ADDRESS, 64);
            let (from, to) = if swapped { (good, bad) } else { (bad, good) };
            echo(&mut rings[0], from, to);
            serve(&mut rig);
            assert_eq!(rings[0].take(), None, "{bad:x?}");
            assert!(has_given_up(&rig), "{bad:x?}");
            let counts: Vec<u64> = rig.device.transport().stats().map(|q| q.outside).collect();
            assert_eq!(counts, [1, 0, 0]);
            assert!(pieces.iter().all(|piece| get(*piece, 0, LEN) == [0; LEN]));
        }
    }
}

#[test]
fn rings_and_tables_stay_in_the_pool() {
    let (mut rig, _, _) = rig(link::FEATURE_MEMORY);
    rig.set(&[(reg::QUEUE_SEL, 0), (reg::QUEUE_READY, 0)]);
    let ring = [
        (reg::QUEUE_DESC_LOW, ADDRESS as u32),
        (reg::QUEUE_DESC_HIGH, (ADDRESS >> 32) as u32),
    ];
    rig.set(&ring);
    let entry = hvl_device::proto::Entry::register(reg::QUEUE_READY, 1);
    let (status, _) = rig.transact(&[entry]);
    assert_eq!(status, hvl_device::proto::Status::BadValue);
}

#[test]
fn the_driver_says_whether_it_is_meant() {
    // One that copies its buffers has no reason to name anything else, whatever the peer could do.
    let (mut rig, mut rings, _) = rig(0);
    echo(&mut rings[0], (ADDRESS, 64), (ADDRESS, 64));
    serve(&mut rig);
    assert_eq!(rings[0].take(), None);
    assert!(has_given_up(&rig));
    // The next one may be of another mind, and the one after that.
    for (epoch, features, works) in [
        (2, link::FEATURE_MEMORY, true),
        (3, !link::FEATURE_MEMORY, false),
    ] {
        rig.attach_with(epoch, features);
        let at = rig.link.shared().pool.reach(ADDRESS, 64);
        assert_eq!(at.is_some(), works);
    }
}

#[test]
fn a_window_is_whole() {
    let mut byte = 0u8;
    let at = &raw mut byte;
    // SAFETY: None is ever used.
    unsafe {
        assert!(Window::new(5, at, 0).is_none());
        assert!(Window::new(5, core::ptr::null_mut(), 1).is_none());
        assert!(Window::new(u64::MAX, at, 1).is_none());
        assert!(Window::new(5, at, u64::MAX - 5).is_none());
        let window = Window::new(5, at, 1).unwrap();
        assert!(window.holds(5, 1) && window.holds(6, 0) && !window.holds(6, 1));
        assert!(!window.holds(4, 2) && !window.holds(5, u64::MAX));
    }
}
