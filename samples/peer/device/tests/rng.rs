// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The entropy device.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::*;
use hvl_device::faults::Faults;
use hvl_device::rng::{Entropy, Rng, MOST};
use hvl_device::shared::BUDGET;

/// 1, 2, 3, ...
struct Count(u8);

impl Entropy for Count {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_add(1);
            *byte = self.0;
        }
    }
}

fn rig(faults: Faults) -> (Rig<Rng>, Ring) {
    let mut rig = Rig::with_faults(Rng::new(), faults);
    rig.attach(1);
    let ring = rig.bring_up(0, &[16]).pop().unwrap();
    (rig, ring)
}

fn serve(rig: &mut Rig<Rng>, source: &mut Count) -> u64 {
    let shared = *rig.link.shared();
    let served = rig.device.pass(&shared, source);
    rig.finish();
    served
}

fn bytes(rig: &Rig<Rng>, at: u32, len: u32) -> Vec<u8> {
    let mut bytes = vec![0; len as usize];
    assert!(rig.mem().read_bytes(at, &mut bytes));
    bytes
}

#[test]
fn what_there_is_room_for_is_filled() {
    let (mut rig, mut ring) = rig(Faults::NONE);
    let mut source = Count(0);
    assert_eq!(serve(&mut rig, &mut source), 0);
    let at = rig.alloc(100);
    ring.add(0, &[(at, 3, true), (at + 10, 4, true)]);
    assert_eq!(serve(&mut rig, &mut source), 1);
    assert_eq!(ring.take(), Some((0, 7)));
    assert_eq!(bytes(&rig, at, 3), [1, 2, 3]);
    assert_eq!(bytes(&rig, at + 10, 5), [4, 5, 6, 7, 0]);
}

#[test]
fn a_chain_gets_no_more_than_is_asked_for_at_once() {
    let (mut rig, mut ring) = rig(Faults::NONE);
    let len = MOST as u32 + 100;
    let at = rig.alloc(len);
    ring.add(0, &[(at, len, true)]);
    assert_eq!(serve(&mut rig, &mut Count(0)), 1);
    assert_eq!(ring.take(), Some((0, MOST as u32)));
    assert_eq!(bytes(&rig, at + MOST as u32, 100), vec![0; 100]);
}

#[test]
fn a_chain_without_room_comes_back() {
    let (mut rig, mut ring) = rig(Faults::NONE);
    let at = rig.alloc(100);
    ring.add(0, &[(at, 10, false)]);
    ring.add(1, &[(at, 10, false), (at + 20, 2, true)]);
    assert_eq!(serve(&mut rig, &mut Count(0)), 2);
    assert_eq!((ring.take(), ring.take()), (Some((0, 0)), Some((1, 2))));
    assert_eq!(bytes(&rig, at + 20, 2), [1, 2]);
}

#[test]
fn a_pass_is_bounded() {
    let (mut rig, mut ring) = rig(Faults::NONE);
    let at = rig.alloc(16);
    for _ in 0..20 {
        // The same one, as often as the queue has entries: more than that it cannot say.
        (0..16).for_each(|_| ring.add(0, &[(at, 16, true)]));
        assert!(serve(&mut rig, &mut Count(0)) <= BUDGET as u64);
    }
}

#[test]
fn with_a_fault_it_claims_what_it_has_not_written() {
    let (mut rig, mut ring) = rig(Faults::RNG_EMPTY);
    let at = rig.alloc(100);
    rig.mem().write_bytes(at, &[9; 10]);
    ring.add(0, &[(at, 10, true)]);
    assert_eq!(serve(&mut rig, &mut Count(0)), 1);
    assert_eq!(ring.take(), Some((0, 10)));
    assert_eq!(bytes(&rig, at, 10), [9; 10]);
}
