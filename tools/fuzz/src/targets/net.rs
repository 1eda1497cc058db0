// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames of Linux's with their virtio headers, and the buffers that it posts for those of the peer.

use crate::input::Input;
use crate::rig::{Rig, RANG};
use hvl_device::net::{Net, FRAME_MAX};

const BUFFER: u32 = 0x4000;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 9000, true));
    rig.attach(1);
    let features = u64::from(input.word()) & rig.offered() & 0x0fff_ffff;
    let mut rings = rig.bring_up(features, &[8, 8]);
    let at = rig.alloc(8 * BUFFER);
    let mut frame = vec![0; FRAME_MAX];
    let (mut sent, mut posted) = (0u16, 0u16);
    while !input.is_empty() {
        match input.byte() % 4 {
            // A frame, in one buffer or two.
            0 | 1 => {
                while rings[1].take().is_some() {}
                if sent.wrapping_sub(rings[1].used_seen) > 5 {
                    return;
                }
                let len = usize::from(input.half()) % 2000;
                let bytes = input.bytes(len);
                let cut = u32::from(input.byte()).min(bytes.len() as u32);
                rig.mem().write_bytes(at, bytes);
                let rest = bytes.len() as u32 - cut;
                rings[1].add(sent * 2 % 8, &[(at, cut, false), (at + cut, rest, false)]);
                sent = sent.wrapping_add(1);
            }
            2 => {
                while rings[0].take().is_some() {}
                if posted.wrapping_sub(rings[0].used_seen) < 8 {
                    let len = u32::from(input.half()) % BUFFER;
                    let place = at + BUFFER * u32::from(posted % 8);
                    rings[0].add(posted % 8, &[(place, len, true)]);
                    posted = posted.wrapping_add(1);
                }
            }
            _ => {
                let mss = input.half();
                let shared = *rig.link.shared();
                let mut port = rig.device.port(&shared);
                while let Some(len) = port.receive(&mut frame) {
                    if port.can_send() {
                        port.send_segment(&mut frame[..len], mss);
                    }
                }
                rig.pass(RANG);
            }
        }
    }
}
