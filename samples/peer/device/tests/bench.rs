// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The device for measurements.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::bench::{Bench, ROOM};
use hvl_device::device::Device;
use hvl_device::shared::BUDGET;

fn rig() -> (Rig<Bench>, Vec<Ring>) {
    let mut rig = Rig::new(Bench::new(3));
    rig.attach(1);
    let rings = rig.bring_up(0, &[128, 128, 128]);
    (rig, rings)
}

fn serve(rig: &mut Rig<Bench>) -> bool {
    let shared = *rig.link.shared();
    let busy = rig.device.pass(&shared, &mut [7; ROOM]) != 0;
    rig.finish();
    busy
}

fn bytes(rig: &Rig<Bench>, at: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    assert!(rig.mem().read_bytes(at, &mut bytes));
    bytes
}

#[test]
fn it_echoes_takes_and_gives() {
    let (mut rig, mut rings) = rig();
    assert!(!serve(&mut rig));
    let at = rig.alloc(300);
    rig.mem().write_bytes(at, &[1; 100]);
    rings[0].add(0, &[(at, 100, false), (at + 100, 100, true)]);
    rings[1].add(0, &[(at, 100, false)]);
    rings[2].add(0, &[(at + 200, 100, true)]);
    assert!(serve(&mut rig));
    assert_eq!(rings[0].take(), Some((0, 100)));
    assert_eq!(rings[1].take(), Some((0, 0)));
    assert_eq!(rings[2].take(), Some((0, 100)));
    assert_eq!(bytes(&rig, at + 100, 100), vec![1; 100]);
    // what came to the sink went through the same room
    assert_eq!(bytes(&rig, at + 200, 100), vec![1; 100]);
}

#[test]
fn an_echo_is_as_long_as_there_is_room_for() {
    let (mut rig, mut rings) = rig();
    let at = rig.alloc(300);
    rings[0].add(0, &[(at, 100, false), (at + 100, 40, true)]);
    assert!(serve(&mut rig));
    assert_eq!(rings[0].take(), Some((0, 40)));
}

#[test]
fn one_pass_does_a_bounded_amount() {
    let (mut rig, mut rings) = rig();
    let at = rig.alloc(64);
    for id in 0..BUDGET as u16 + 1 {
        rings[1].add(id, &[(at, 64, false)]);
    }
    assert!(serve(&mut rig));
    let queues: Vec<u64> = rig.device.transport().stats().map(|q| q.chains).collect();
    assert_eq!(queues, [0, BUDGET as u64, 0]);
    assert!(serve(&mut rig));
    assert!(!serve(&mut rig));
}

#[test]
fn queues_beyond_the_three_are_idle() {
    let rig = Rig::new(<Bench>::new(8));
    assert_eq!(rig.device.transport().stats().count(), 8);
    let mut wanted = [0; 8];
    rig.device.wanted(&mut wanted);
    let (used, idle) = wanted.split_at(3);
    assert!(used.iter().all(|wanted| *wanted == 1) && idle.iter().all(|wanted| *wanted == 0));
    assert_eq!(<Bench>::new(0).transport().stats().count(), 3);
}
