// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Changes of the configuration space (protocol.rst, "Configuration"), deliberate faults included.

use super::Transport;
use crate::faults::Faults;
use crate::mem::barrier;
use crate::proto::generation;
use crate::proto::layout::window;
use crate::proto::virtio::reg;
use crate::shared::Shared;

/// Two addresses of a network device, of which no half fits the other.
const ADDRESSES: [[u8; 6]; 2] = [
    [2, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa],
    [2, 0xbb, 0xbb, 0xbb, 0xbb, 0xbb],
];

impl Transport {
    /// Has `change` change the configuration space, as one change, and Linux told of it in the end
    /// of the pass. Linux follows 64 of them in a second.
    pub fn change_config(&mut self, shared: &Shared, change: impl FnOnce(&mut [u8])) {
        if let Some(config) = self.config.get_mut(..self.config_len) {
            change(config);
        }
        self.begin_change(shared);
        self.write_config(shared, 0, self.config.len());
        self.end_change(shared);
    }

    /// From here on no copy that Linux makes is taken for whole.
    fn begin_change(&mut self, shared: &Shared) {
        self.config_generation = generation::begun(self.config_generation);
        self.write(shared, reg::CONFIG_GENERATION, self.config_generation);
        // Before the first word of the change. Pairs with the driver's before its second look at the
        // generation.
        barrier();
    }

    /// Shows the bytes from `start` to `end`, which are multiples of 4.
    fn write_config(&self, shared: &Shared, start: usize, end: usize) {
        let count = self.config_len.min(end).div_ceil(4);
        let words = self
            .config
            .chunks_exact(4)
            .zip((window::CONFIG..).step_by(4));
        for (bytes, at) in words.take(count).skip(start / 4) {
            if let Ok(bytes) = bytes.try_into() {
                self.write(shared, at, u32::from_le_bytes(bytes));
            }
        }
    }

    fn end_change(&mut self, shared: &Shared) {
        self.config_generation = generation::ended(self.config_generation);
        let at = self.base.wrapping_add(reg::CONFIG_GENERATION);
        shared.mem.publish32(at, self.config_generation);
        self.announce_config(shared);
    }

    /// Counts a change of the configuration, or of Status.
    pub(super) fn announce_config(&mut self, shared: &Shared) {
        self.config_event = self.config_event.wrapping_add(1);
        self.write(shared, window::CONFIG_EVENT, self.config_event);
        if self.config_vector.is_some() {
            self.config_due = true;
        } else {
            self.event_pending = true;
        }
    }

    /// Deliberate faults; `beat`: the number of a heartbeat that has begun.
    pub(crate) fn unsettle(&mut self, shared: &Shared, beat: Option<u32>) {
        let usable = self.may_use_queues();
        let late = beat.is_some_and(|beat| self.patience.is_over(usable, beat));
        let settled = generation::is_settled(self.config_generation);
        if self.faults.has(Faults::CONFIG_STORM) && self.may_use_queues() {
            self.change_config(shared, |_| ());
        } else if self.faults.has(Faults::CONFIG_STUCK) && late && settled {
            log::warn!("{}: begins a change without an end", self.model.name);
            self.begin_change(shared);
            self.announce_config(shared);
        } else if let (Some(beat), true) = (beat, self.faults.has(Faults::CONFIG_SLOW)) {
            // Half of the words at one beat, the rest at the next.
            if settled {
                let address = ADDRESSES.get((beat as usize / 2) % 2).copied();
                for (to, from) in self.config.iter_mut().zip(address.unwrap_or_default()) {
                    *to = from;
                }
                self.begin_change(shared);
                self.write_config(shared, 0, 4);
            } else {
                self.write_config(shared, 4, self.config.len());
                self.end_change(shared);
            }
        }
    }
}
