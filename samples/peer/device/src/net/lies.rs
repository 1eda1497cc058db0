// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Lies in a network device's own words, deliberately: what Linux must bear.

#![forbid(unsafe_code)]

use super::port::HEADER;
use super::{Net, ANNOUNCE, LINK_UP};
use crate::faults::Faults;
use crate::shared::Shared;

/// Heartbeats before the first lie: everything is in use then.
const PATIENCE: u32 = 30;
/// Of how many frames one lies.
const EVERY: u32 = 4;
/// How often the link goes down or up in a heartbeat.
const FLAPS: u32 = 3;

/// Lies about how a frame is to be cut: type and size.
const CUTS: [(u8, u16); 10] = [
    (1, 0),
    (1, 1),
    (1, u16::MAX),
    (2, 1000),
    (3, 1000),
    (4, 1000),
    (5, 1000),
    (0x7f, 1000),
    (0x81, 8),
    (0xff, u16::MAX),
];

/// What is known of lies told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lies {
    faults: Faults,
    beats: u32,
    frames: u32,
    told: bool,
}

impl Lies {
    /// A frame of `len` bytes is about to be given to Linux: the next lie in its header, and whether its
    /// used length is one.
    pub(super) fn header(&mut self, header: &mut [u8; HEADER], len: usize) {
        if self.faults == Faults::NONE {
            return;
        }
        self.frames = self.frames.wrapping_add(1);
        if self.frames % EVERY != 0 {
            return;
        }
        let number = self.frames / EVERY;
        let [.., low, high] = *header;
        let more = u16::from_le_bytes([low, high]).wrapping_add(1);
        let mut put = |at: usize, value: u16| {
            for (to, from) in header.iter_mut().skip(at).zip(value.to_le_bytes()) {
                *to = from;
            }
        };
        if self.faults.has(Faults::NET_NUM_NONE) {
            put(10, 0);
        }
        if self.faults.has(Faults::NET_NUM_MORE) {
            put(10, more);
        }
        if self.faults.has(Faults::NET_NUM_MOST) {
            put(10, u16::MAX);
        }
        if self.faults.has(Faults::NET_CSUM) {
            let len = len as u16;
            let places = [
                (0, 0),
                (len, 0),
                (len.wrapping_sub(1), 16),
                (14, u16::MAX),
                (u16::MAX, u16::MAX),
                (13, 1),
            ];
            if let Some((start, offset)) = places.get(number as usize % places.len()) {
                put(0, 1);
                put(6, *start);
                put(8, *offset);
            }
        }
        if self.faults.has(Faults::NET_GSO) {
            if let Some((gso, size)) = CUTS.get(number as usize % CUTS.len()) {
                // With and without a checksum to be made.
                put(
                    0,
                    u16::from(*gso) << 8 | u16::from(number / CUTS.len() as u32 % 2 == 0),
                );
                put(4, *size);
            }
        }
    }

    /// The used length of a frame's first buffer.
    pub(super) fn used(&self, len: u32) -> u32 {
        let lie = self.faults.has(Faults::NET_SHORT) && self.frames % EVERY == EVERY - 1;
        if lie {
            len.min(self.frames / EVERY % (HEADER as u32 + 2))
        } else {
            len
        }
    }
}

impl Net {
    /// A heartbeat period is over: lies begin when everything is in use, and some go on.
    pub(super) fn lie(&mut self, shared: &Shared) {
        let faults = self.transport.faults();
        if faults == Faults::NONE || !self.transport.may_use_queues() {
            return;
        }
        self.lies.beats = self.lies.beats.saturating_add(1);
        if self.lies.beats < PATIENCE {
            return;
        }
        if !self.lies.told && faults.is_net() {
            self.lies.told = true;
            log::warn!("net: lies of itself");
        }
        self.lies.faults = faults;
        if faults.has(Faults::NET_FLAP) {
            for _ in 0..FLAPS {
                self.set_status(shared, self.status ^ LINK_UP);
            }
        }
        if faults.has(Faults::NET_ANNOUNCE) {
            self.set_status(shared, self.status | ANNOUNCE);
        }
    }

    /// Whether commands are not looked at.
    pub(super) fn leaves_commands(&self) -> bool {
        self.transport.faults().has(Faults::CONTROL)
    }

    /// Whether answers to commands are none, and nothing is done about these.
    pub(super) const fn lies_of_answers(&self) -> bool {
        self.lies.faults.has(Faults::NET_ANSWER)
    }

    /// The answer to a command.
    pub(super) fn lie_answer(&self, answer: u8) -> u8 {
        if self.lies_of_answers() {
            // One of those that are none.
            0x42 + (self.stats.commands as u8 & 0x3f)
        } else {
            answer
        }
    }
}
