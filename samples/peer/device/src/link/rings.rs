// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When Linux is rung (protocol.rst, "Interrupts").

#![forbid(unsafe_code)]

use super::Link;
use crate::device::{Devices, Doorbell};
use crate::faults::Faults;
use crate::mem::barrier;
use crate::mishaps::Fate;
use crate::proto::layout::link;
use crate::proto::{PeerState, Vector};
use crate::transport::Transport;

impl Link {
    /// Shows Linux what the pass has done and rings, once, if anything of it calls for that.
    pub fn finish<D: Devices + ?Sized>(&mut self, devices: &mut D, doorbell: &mut dyn Doorbell) {
        if self.state != PeerState::Ready {
            return;
        }
        let mut events = false;
        for index in self.live.now() {
            if let Some(device) = devices.device(index) {
                let transport = device.transport_mut();
                events |= transport.flush(&self.shared);
                self.live.set_asleep(index, transport.is_asleep());
            }
        }
        if let Some(device) = devices.device(0) {
            let transport = device.transport_mut();
            let beat = self.heartbeat;
            // Last, so that Linux sees it before it is put right.
            if self.liar.pass(&self.shared, self.faults, beat, transport) {
                transport.flush(&self.shared);
                self.ring = true;
            }
        }
        if self.attached {
            for index in self.live.now() {
                let Some(device) = devices.device(index) else {
                    continue;
                };
                let transport = device.transport_mut();
                if transport.has_vectors_due() {
                    events |= self.ring_vectors(transport, doorbell);
                }
            }
        }
        if let Some(vector) = self.late_vector.take() {
            doorbell.ring_vector(vector);
        }
        if self.woken && self.attached && self.mishaps.for_nothing() {
            self.rings = self.rings.wrapping_add(1);
            doorbell.ring();
            if let Some(vector) = self.last_vector {
                doorbell.ring_vector(vector);
            }
        }
        // Nobody listens without a driver, but one may wait for us to become ready.
        let announce = core::mem::take(&mut self.announce);
        if (core::mem::take(&mut self.ring) && self.attached) || announce {
            self.ring(doorbell);
        } else if events && self.attached {
            self.ring_merged(doorbell);
        }
    }

    /// Rings, unless the driver has not looked since it was rung last, and will (protocol.rst,
    /// "Interrupts").
    fn ring_merged(&mut self, doorbell: &mut dyn Doorbell) {
        let mem = self.shared.mem;
        // The counters before the look at what the driver has seen; pairs with the driver's between
        // its writing that and its look at the counters.
        barrier();
        if mem.read32(link::RINGS_SEEN) == self.numbered {
            self.numbered = self.numbered.wrapping_add(1);
            mem.publish32(link::RINGS, self.numbered);
            self.ring(doorbell);
        } else {
            self.merged = self.merged.wrapping_add(1);
        }
    }

    /// Rings the vectors that have something to say. `true`: not all of them can be rung, and the doorbell
    /// has to.
    fn ring_vectors(&mut self, transport: &mut Transport, doorbell: &mut dyn Doorbell) -> bool {
        transport.ring_vectors(|vector| self.ring_vector(vector, doorbell))
    }

    /// Whether this vector can be rung, which it was, but for deliberate faults.
    fn ring_vector(&mut self, vector: Vector, doorbell: &mut dyn Doorbell) -> bool {
        if self.faults.has(Faults::NORING) || self.faults.has(Faults::NOVECTOR) {
            return true;
        }
        let times = match self.mishaps.fate() {
            Fate::Good => 1,
            Fate::Lost => return true,
            Fate::Double => 2,
            Fate::Late => {
                // There is one place for that: who held it goes now.
                let before = self.held_vector.replace(vector);
                return before.is_none_or(|before| doorbell.ring_vector(before));
            }
        };
        self.last_vector = Some(vector);
        (0..times).all(|_| {
            let rung = doorbell.ring_vector(vector);
            self.rings = self.rings.wrapping_add(u64::from(rung));
            rung
        })
    }

    pub(super) fn ring(&mut self, doorbell: &mut dyn Doorbell) {
        if self.faults.has(Faults::NORING) {
            return;
        }
        let times = match self.mishaps.fate() {
            Fate::Good => 1,
            Fate::Lost => 0,
            Fate::Double => 2,
            Fate::Late => {
                self.held = true;
                0
            }
        };
        for _ in 0..times {
            self.rings = self.rings.wrapping_add(1);
            doorbell.ring();
        }
    }
}
