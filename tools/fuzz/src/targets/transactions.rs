// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Linux's lines of the header and of a window: attachment, link test, transactions, notifications.

use crate::input::Input;
use crate::rig::{Rig, LOOKED, RANG, TICK};
use hvl_device::net::Net;
use hvl_device::proto::layout::{link, window};
use hvl_device::proto::{Entry, PeerState, Status};
use std::ops::Range;

/// Words that only Linux writes: in the header, and in the one window.
const LINUX: [Range<u32>; 5] = [
    0x080..0x400,
    0x880..0x1000,
    0x1800..0x1940,
    0x19c0..0x1c00,
    0x1d00..0x2000,
];

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 9000, true));
    rig.attach(1);
    let words = |rig: &Rig<Net>| -> Vec<u32> {
        let all = LINUX.into_iter().flat_map(|lines| lines.step_by(4));
        all.map(|at| rig.mem().read32(at)).collect()
    };
    let mut steps = 0;
    while !input.is_empty() && steps < 60 {
        steps += 1;
        match input.byte() % 8 {
            // Transactions as they should be, but for what they write.
            0..=3 => {
                let count = 1 + input.below(16);
                let entries: Vec<Entry> = (0..count)
                    .map(|_| Entry {
                        offset: match input.byte() {
                            some @ 0..=0xbf => u32::from(some) * 4 % window::VIEW_SIZE,
                            some => u32::from(some) * 16 + u32::from(input.byte()),
                        },
                        length: [4, 4, 4, 1, 2, 0, 8, 4][input.below(8) as usize],
                        value: match input.below(4) {
                            0 => input.word(),
                            1 => 0x7a00_0000 | (u32::from(input.half()) << 4),
                            _ => input.byte().into(),
                        },
                    })
                    .collect();
                let before = rig.device_transactions();
                let epoch = rig.link.epoch();
                rig.write_transaction(epoch, count, &entries);
                rig.pass(RANG);
                if rig.link.attached() && rig.device_transactions() != before {
                    let (status, done) = rig.outcome();
                    assert!(if status == Status::Ok {
                        done == count
                    } else {
                        done < count
                    });
                }
            }
            4 => {
                let lines = &LINUX[input.below(5) as usize];
                let at = lines.start + (u32::from(input.half()) * 4) % (lines.end - lines.start);
                rig.mem().write32(at, input.word());
            }
            5 => {
                let at = link::DRIVER_VERSION + 4 * input.below(7);
                rig.mem().write32(at, input.byte().into());
            }
            step => {
                let wake = [RANG, TICK, LOOKED][usize::from(step) % 3];
                let before = words(&rig);
                rig.link.poll(wake, &mut [&mut rig.device]);
                rig.finish();
                rig.link.listen(&mut [&mut rig.device]);
                assert!(words(&rig) == before, "Linux's lines were written");
            }
        }
    }
    assert_eq!(rig.mem().read32(link::PEER_STATE), PeerState::Ready as u32);
}

impl Rig<Net> {
    fn device_transactions(&self) -> u64 {
        hvl_device::device::Device::transport(&self.device).transactions()
    }
}
