// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests of Linux's to a disk: headers, ranges, and buffers of any shape.

use crate::input::Input;
use crate::rig::{Buffer, Rig};
use hvl_device::blk::{Blk, Shape, SEG_MAX, SIZE_MAX};
use hvl_device::device::Device;

/// Bytes of the disk, and of the place for requests.
const DISK: usize = 16 * 512;
const ROOM: u32 = 0x4000;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let how = input.byte();
    let shape = Shape {
        block: if how & 1 == 0 { 512 } else { 4096 },
        queues: 1,
        read_only: how & 2 != 0,
        physical_exp: 0,
        size_max: SIZE_MAX,
        seg_max: SEG_MAX,
        serial: [b'x'; 20],
    };
    let mut disk = [0; DISK];
    disk[..].fill(1);
    let mut rig = Rig::new(Blk::new(&mut disk, &shape));
    rig.attach(1);
    let features = u64::from(input.word()) & rig.offered() & 0x0fff_ffff;
    let mut rings = rig.bring_up(features, &[8]);
    let at = rig.alloc(ROOM);
    while !input.is_empty() {
        // Most kinds are known, and most sectors are there.
        let kind = u32::from(input.byte()) & 0xf;
        let sector = match input.byte() {
            near @ 0..=127 => u64::from(near & 0x1f),
            _ => input.wide(),
        };
        let mut header = kind.to_le_bytes().to_vec();
        header.extend([0; 4]);
        header.extend(sector.to_le_bytes());
        let len = usize::from(input.byte());
        header.extend(input.bytes(len));
        assert!(rig.mem().write_bytes(at, &header));
        // The bytes that are sent, in a piece or two, and room in as many.
        let sent = u32::from(input.half()) % 0x1000;
        let room = u32::from(input.half()) % 0x1000;
        let (cut, gap) = (u32::from(input.byte()), u32::from(input.byte()));
        let (cut, gap) = (cut.min(sent), gap.min(room));
        let pieces: [Buffer; 4] = [
            (at, cut, false),
            (at + cut, sent - cut, false),
            (at + 0x2000, gap, true),
            (at + 0x2000 + gap, room - gap, true),
        ];
        let some: Vec<Buffer> = pieces.into_iter().filter(|piece| piece.1 != 0).collect();
        if some.is_empty() {
            continue;
        }
        rings[0].add(0, &some);
        let shared = *rig.link.shared();
        assert_eq!(rig.device.pass(&shared), 1);
        rig.finish();
        let (_, len) = rings[0].take().unwrap_or_default();
        // All of the room, or what is no request.
        assert!(len == room || (len == 0 && (sent < 16 || room == 0)));
        if len != 0 {
            let mut status = [0xff];
            rig.mem().read_bytes(at + 0x2000 + room - 1, &mut status);
            assert!(status[0] <= 2);
        }
    }
    let faults: u64 = rig
        .device
        .transport()
        .stats()
        .map(|queue| queue.faults)
        .sum();
    assert_eq!(faults, 0);
    let read_only = shape.read_only;
    drop(rig);
    assert!(!read_only || disk == [1; DISK]);
}
