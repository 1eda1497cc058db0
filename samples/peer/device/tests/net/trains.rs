// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Several datagrams in one frame, both ways.

use super::*;
use hvl_device::proto::virtio::reg;

/// Linux sends `frame`, which is several datagrams of `size` bytes.
pub(crate) fn sends_train(rig: &mut Rig<Net>, ring: &mut Ring, gso: u8, size: u16, frame: &[u8]) {
    let at = rig.alloc(HEADER + frame.len() as u32);
    let mut header = [0; HEADER as usize];
    header[..2].copy_from_slice(&[1, gso]);
    header[4..6].copy_from_slice(&size.to_le_bytes());
    rig.mem().write_bytes(at, &header);
    rig.mem().write_bytes(at + HEADER, frame);
    let len = HEADER + frame.len() as u32;
    ring.add(0, &[(at, 20, false), (at + 20, len - 20, false)]);
}

pub(crate) const HOST_USO: u64 = (1 << 56) | CSUM;

#[test]
fn datagrams_that_come_as_one_are_taken_one_by_one() {
    let (mut rig, mut rings) = rig(HOST_USO);
    let whole = frame(2500);
    sends_train(&mut rig, &mut rings[1], 5, 1000, &whole);
    let mut got = Vec::new();
    for left in [1, 1, 0] {
        let part = receive(&mut rig).unwrap();
        let place = checksum::find(&part).unwrap();
        let mut right = part.clone();
        checksum::complete(&mut right, &place);
        assert!(checksum::verify(&right, &place));
        got.extend_from_slice(&part[42..]);
        // The chain is Linux's again when all were taken.
        let shared = *rig.link.shared();
        assert_eq!(rig.device.pending(&shared), left == 1);
        rig.finish();
        assert_eq!(rings[1].used_index(), 1 - left);
    }
    assert_eq!(got, whole[42..]);
    assert_eq!(receive(&mut rig), None);
    let stats = *rig.device.stats();
    assert_eq!((stats.received, stats.trains, stats.bad()), (3, 1, 0));
}

#[test]
fn datagrams_that_are_none_are_refused() {
    let (mut rig, mut rings) = rig(HOST_USO);
    let mut longer = frame(2500);
    longer[39] ^= 1;
    for (size, whole) in [(0, frame(2500)), (1000, longer), (1000, frame(0))] {
        sends_train(&mut rig, &mut rings[1], 5, size, &whole);
        assert_eq!(receive(&mut rig), None);
        rig.finish();
        assert!(rings[1].take().is_some());
    }
    assert_eq!(rig.device.stats().header, 3);
    // Where it was not agreed on, it is a frame.
    let (mut rig, mut rings) = super::rig(CSUM);
    sends_train(&mut rig, &mut rings[1], 5, 1000, &frame(2500));
    assert_eq!(receive(&mut rig), Some(frame(2500)));
}

#[test]
fn a_reset_ends_what_came_as_one() {
    let (mut rig, mut rings) = rig(HOST_USO | 1 << 40);
    sends_train(&mut rig, &mut rings[1], 5, 1000, &frame(2500));
    assert!(receive(&mut rig).is_some());
    // Of that queue alone: its next chain is another one.
    rig.set(&[(reg::QUEUE_SEL, 1), (reg::QUEUE_RESET, 1)]);
    let mut ring = rig.queue(1, 16);
    linux_sends(&mut rig, &mut ring, 0, &frame(30));
    assert_eq!(receive(&mut rig), Some(frame(30)));
    rig.finish();
    assert_eq!((ring.take(), ring.take()), (Some((0, 0)), None));
    // Of the device.
    sends_train(&mut rig, &mut ring, 5, 1000, &frame(2500));
    assert!(receive(&mut rig).is_some());
    let mut rings = rig.bring_up(HOST_USO, &[16, 16]);
    assert_eq!(receive(&mut rig), None);
    linux_sends(&mut rig, &mut rings[1], 0, &frame(30));
    assert_eq!(receive(&mut rig), Some(frame(30)));
}

#[test]
fn linux_is_told_how_to_cut_datagrams() {
    for (features, want) in [
        (GUEST_CSUM | 1 << 54, vec![(5, 3042)]),
        (GUEST_CSUM, vec![(0, 1042), (0, 1042), (0, 1042)]),
    ] {
        let (mut rig, mut rings) = rig(features | MRG_RXBUF);
        let at: Vec<u32> = (0..16).map(|_| rig.alloc(4096)).collect();
        for (head, at) in at.iter().enumerate() {
            rings[0].add(head as u16, &[(*at, 4096, true)]);
        }
        let shared = *rig.link.shared();
        rig.device
            .port(&shared)
            .send_datagrams(&mut frame(3000), 1000);
        rig.finish();
        let mut got = Vec::new();
        while let Some((head, len)) = rings[0].take() {
            let header = bytes(&rig, at[head as usize], HEADER);
            if header[1] == 5 {
                assert_eq!(header[..6], [1, 5, 42, 0, 0xe8, 3]);
            }
            got.push((header[1], len - HEADER));
        }
        assert_eq!(got, want);
    }
}
