// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames of up to 64 KiB to Linux.

use super::*;

/// A frame with a TCP segment of `len` bytes, without checksum.
fn segment(len: usize) -> Vec<u8> {
    let mut frame = vec![0; 54];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((40 + len) as u16).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 6]);
    frame[26..34].copy_from_slice(&[10, 77, 0, 1, 10, 77, 0, 2]);
    frame[34..38].copy_from_slice(&[0, 19, 0x9c, 0x40]);
    frame[46..48].copy_from_slice(&[0x50, 0x18]);
    frame.extend((0..len).map(|i| (i % 249) as u8));
    frame
}

fn send_segment(rig: &mut Rig<Net>, frame: &[u8], mss: u16) {
    let shared = *rig.link.shared();
    rig.device
        .port(&shared)
        .send_segment(&mut frame.to_vec(), mss);
    rig.finish();
}

/// So many buffers of that size, posted.
fn post(rig: &mut Rig<Net>, ring: &mut Ring, count: u16, len: u32) -> Vec<u32> {
    let at: Vec<u32> = (0..count).map(|_| rig.alloc(len)).collect();
    for (head, at) in at.iter().enumerate() {
        ring.add(head as u16, &[(*at, len, true)]);
    }
    at
}

/// What lies in the buffers that were used: headers of the device, and the frames.
fn frames(rig: &Rig<Net>, ring: &mut Ring, at: &[u32]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some((head, len)) = ring.take() {
        let mut frame = bytes(rig, at[head as usize], len);
        let header: Vec<u8> = frame.drain(..HEADER as usize).collect();
        for _ in 1..header[10] {
            let (head, len) = ring.take().unwrap();
            frame.extend(bytes(rig, at[head as usize], len));
        }
        frames.push((header, frame));
    }
    frames
}

#[test]
fn linux_is_told_how_to_cut_a_large_frame() {
    let (mut rig, mut rings) = rig(MRG_RXBUF | GUEST_CSUM | GUEST_TSO4);
    let at = post(&mut rig, &mut rings[0], 16, 4096);
    let want = segment(50_000);
    send_segment(&mut rig, &want, 1460);
    let got = frames(&rig, &mut rings[0], &at);
    assert_eq!(got.len(), 1);
    let (header, mut frame) = got[0].clone();
    // NEEDS_CSUM, TCPV4, 54 bytes of headers, 1460 of payload, sum from 34 on at 16, 13 buffers.
    assert_eq!(header, [1, 1, 54, 0, 180, 5, 34, 0, 16, 0, 13, 0]);
    let place = checksum::find(&frame).unwrap();
    let mut begun = frame.clone();
    checksum::begin(&mut begun, &place);
    assert!(begun == frame);
    frame[50..52].fill(0);
    assert!(frame == want);
    let stats = *rig.device.stats();
    assert_eq!((stats.sent, stats.large_sent, stats.cut), (1, 1, 0));
    // What fits is sent as ever.
    send_segment(&mut rig, &segment(1460), 1460);
    let (header, _) = frames(&rig, &mut rings[0], &at)[0].clone();
    assert_eq!(header[..6], [1, 0, 0, 0, 0, 0]);
    assert_eq!(rig.device.stats().large_sent, 1);
}

#[test]
fn who_cannot_cut_gets_segments() {
    // Without the feature, and with it where the buffers are too few for all of it.
    for (features, count, whole) in [
        (0, 16, true),
        (GUEST_CSUM, 16, true),
        (GUEST_CSUM | GUEST_TSO4, 4, false),
    ] {
        let (mut rig, mut rings) = rig(MRG_RXBUF | features);
        let at = post(&mut rig, &mut rings[0], count, 2048);
        let want = segment(10_001);
        send_segment(&mut rig, &want, 1000);
        let got = frames(&rig, &mut rings[0], &at);
        assert_eq!(got.len(), if whole { 11 } else { 4 });
        for (number, (header, frame)) in got.iter().enumerate() {
            assert_eq!(header[1..6], [0; 5]);
            let mut frame = frame.clone();
            let place = checksum::find(&frame).unwrap();
            if features != 0 {
                checksum::complete(&mut frame, &place);
            }
            assert!(checksum::verify(&frame, &place));
            assert_eq!(frame[38..42], (1000 * number as u32).to_be_bytes());
            let from = 54 + 1000 * number;
            let to = want.len().min(from + 1000);
            assert!(frame[54..] == want[from..to]);
        }
        let stats = *rig.device.stats();
        let dropped = u64::from(!whole);
        assert_eq!(
            (stats.sent, stats.large_sent, stats.cut, stats.dropped),
            (got.len() as u64, 0, 1, dropped)
        );
    }
}

#[test]
fn a_segment_is_cut_to_the_links_size_whatever_its_receiver_takes() {
    let (mut rig, mut rings) = rig(MRG_RXBUF);
    let at = post(&mut rig, &mut rings[0], 16, 4096);
    send_segment(&mut rig, &segment(20_000), u16::MAX);
    let lengths: Vec<usize> = frames(&rig, &mut rings[0], &at)
        .iter()
        .map(|(_, frame)| frame.len())
        .collect();
    assert_eq!(lengths, [9014, 9014, 54 + 20_000 - 2 * 8960]);
    let shared = *rig.link.shared();
    let port = rig.device.port(&shared);
    assert_eq!(
        (port.mss(), port.burst(1460), port.burst(u16::MAX)),
        (8960, 1460, 8960)
    );
}

#[test]
fn a_burst_is_what_a_quarter_of_the_ring_holds() {
    for (entries, mss, want) in [
        (16, 1460, 4 * 1400),
        (64, 1460, 16 * 1400),
        (256, 1460, 65_455),
        (256, 100, 4600),
        (256, 1, 46),
        // A quarter of the ring does not hold one of those.
        (2, 1460, 1460),
    ] {
        let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 9000, true));
        rig.attach(1);
        rig.bring_up(MRG_RXBUF | GUEST_CSUM | GUEST_TSO4, &[entries, 16]);
        let shared = *rig.link.shared();
        assert_eq!(rig.device.port(&shared).burst(mss), want);
    }
}

#[test]
fn large_frames_are_not_waited_for_in_a_small_ring() {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 9000, true));
    rig.attach(1);
    let mut rings = rig.bring_up(MRG_RXBUF | GUEST_CSUM | GUEST_TSO4, &[64, 16]);
    // Linux's own ring may be smaller, and it lets half of that be used up.
    let at = rig.alloc(2048);
    for head in 0..16 {
        rings[0].add(head, &[(at, 1500, true)]);
    }
    assert!(send(&mut rig, &frame(20)));
    // Linux has no time for a while: what had to do then is not what has to do for good.
    while rings[0].take().is_some() {}
    assert!(!send(&mut rig, &frame(20)));
    for _ in 0..12 {
        rig.pass(TICK);
    }
    let shared = *rig.link.shared();
    assert!(rig.device.pending(&shared));
    for head in 16..64 {
        rings[0].add(head, &[(at, 1500, true)]);
    }
    assert!(send(&mut rig, &frame(3000)));
    while send(&mut rig, &frame(20)) {}
    // Sixteen again, not the fifteen that there were.
    assert_eq!(rings[0].avail_index.wrapping_sub(rings[0].used_index()), 15);
}
