// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A peer that lies about its rings, deliberately: what the driver must bear.
//!
//! It writes to the virtqueues of one device behind the back of the library, half a second after
//! that is in use. They are split ones of the plainest kind, but for noise.

#![forbid(unsafe_code)]

use crate::faults::{Faults, Patience};
use crate::proto::virtio::status;
use crate::queue::Parts;
use crate::shared::Shared;
use crate::transport::Transport;
use core::num::{NonZeroU16, NonZeroU32};

/// In descriptors, at this offset (VIRTIO 2.7.5).
const DESC_FLAGS: u32 = 12;
const NEXT: u16 = 1;
/// From the start of either ring to its index and its first element.
const INDEX: u32 = 2;
const RING: u32 = 4;

/// What is known of lies told.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Liar {
    patience: Patience,
    told: bool,
    noise: u32,
}

impl Liar {
    /// Tells the next lie, if it is time; `true` if Linux is to look.
    pub(crate) fn pass(
        &mut self,
        shared: &Shared,
        faults: Faults,
        heartbeat: u32,
        transport: &mut Transport,
    ) -> bool {
        if faults == Faults::NONE || !self.patience.is_over(transport.may_use_queues(), heartbeat) {
            return false;
        }
        if faults.has(Faults::NEEDS_RESET) && !self.told {
            log::warn!("{}: asks for a reset", transport.name());
            self.told = true;
            transport.demand_reset(shared);
            return true;
        }
        for (fault, shown) in [
            (Faults::STATUS_NOISE, !status::NEEDS_RESET),
            (Faults::STATUS_LOST, 0),
        ] {
            if faults.has(fault) && !self.told {
                log::warn!("{}: shows status {shown:#x}", transport.name());
                self.told = true;
                transport.show_status(shared, shown);
                return true;
            }
        }
        if !faults.lies() {
            return false;
        }
        let mut told = false;
        for index in 0..transport.queue_count() {
            if let (Some((start, end)), true) =
                (transport.span(index), faults.has(Faults::LIE_NOISE))
            {
                self.scribble(shared, start, end);
                transport.announce(shared, index);
                told = true;
            } else if let Some(parts) = transport.parts(index) {
                if self.lie(shared, faults, &parts, index) {
                    transport.announce(shared, index);
                    told = true;
                }
            }
        }
        if told && !self.told {
            log::warn!("{}: telling lies", transport.name());
        }
        self.told |= told;
        told
    }

    /// The lie about one queue; `true` if one was told.
    fn lie(&mut self, shared: &Shared, faults: Faults, parts: &Parts, index: usize) -> bool {
        let mem = &shared.mem;
        let Some(size) = NonZeroU16::new(parts.size) else {
            return false;
        };
        let descriptors = u32::from(parts.size);
        // Again and again.
        if faults.has(Faults::LIE_FLAGS) {
            for number in 0..descriptors {
                let at = parts.desc + number * 16 + DESC_FLAGS;
                mem.write16(at, mem.read16(at) | NEXT);
            }
            return true;
        }
        if faults.has(Faults::LIE_REWRITE) {
            self.scribble(shared, parts.desc, parts.used);
            return true;
        }
        if faults.has(Faults::LIE_EVENTS) {
            for at in [
                parts.avail,
                parts.avail + RING + descriptors * 2,
                parts.used,
                parts.used + RING + descriptors * 8,
            ] {
                let value = self.random() as u16;
                mem.write16(at, value);
            }
            return true;
        }

        // About the queue that this is possible for, until Linux gives it up: the library, which
        // knows of nothing, goes on as well.
        let used = mem.read16(parts.used + INDEX);
        let made = mem.read16(parts.avail + INDEX);
        let out = made.wrapping_sub(used);
        // The last that was made available, which is not used yet.
        let slot = u32::from(made.wrapping_sub(1) % size);
        let last = mem.read16(parts.avail + RING + slot * 2);
        let give = |ahead: u16, id: u32, len: u32| {
            let slot = u32::from(used.wrapping_add(ahead) % size);
            let at = parts.used + RING + slot * 8;
            mem.write32(at, id);
            mem.write32(at + 4, len);
            mem.publish16(parts.used + INDEX, used.wrapping_add(ahead).wrapping_add(1));
        };
        if faults.has(Faults::LIE_FLAG) && !self.told {
            let at = parts.desc + 16 * self.below(descriptors) + DESC_FLAGS;
            mem.write16(at, mem.read16(at) ^ NEXT);
        } else if faults.has(Faults::LIE_RANGE) && out > 0 {
            give(0, descriptors + 44, 0);
        } else if faults.has(Faults::LIE_TWICE) && out > 1 && index == 0 {
            give(0, last.into(), 0);
            give(1, last.into(), 0);
        } else if faults.has(Faults::LIE_NEVER) && out > 0 && index == 1 {
            // What comes next in a ring that was filled once from its start, and is not full.
            give(0, (u32::from(last) + 1) % NonZeroU32::from(size), 0);
        } else if faults.has(Faults::LIE_LENGTH) && out > 0 && index == 0 {
            give(0, last.into(), 0x7fff_ffff);
        } else if faults.has(Faults::LIE_JUMP) {
            mem.publish16(parts.used + INDEX, used.wrapping_add(1000));
        } else if faults.has(Faults::LIE_BACK) {
            mem.publish16(parts.used + INDEX, used.wrapping_sub(1));
        } else {
            return false;
        }
        true
    }

    /// Writes noise to a few places from `start` to `end`.
    fn scribble(&mut self, shared: &Shared, start: u32, end: u32) {
        for _ in 0..64 {
            let at = start + self.below(end.saturating_sub(start)) / 2 * 2;
            let value = self.random() as u16;
            shared.mem.write16(at, value);
        }
    }

    /// One below `end`; 0 if that is 0.
    fn below(&mut self, end: u32) -> u32 {
        self.random().checked_rem(end).unwrap_or(0)
    }

    /// Numbers that look random (a linear congruential generator's upper bits).
    fn random(&mut self) -> u32 {
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        self.noise >> 8
    }
}
