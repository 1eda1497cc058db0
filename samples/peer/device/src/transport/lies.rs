// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What deliberate lies about a ring need of it ([`crate::liar`]).

use super::Transport;
use crate::faults::Faults;
use crate::proto::layout::window;
use crate::proto::virtio::status;
use crate::queue::Parts;
use crate::shared::Shared;

impl Transport {
    /// What is to be done wrong.
    pub(crate) const fn faults(&self) -> Faults {
        self.faults
    }

    /// Where queue `index` lies, if it is in use; for deliberate faults.
    pub(crate) fn parts(&self, index: usize) -> Option<Parts> {
        if self.status & status::DRIVER_OK == 0 {
            return None;
        }
        self.queues.get(index)?.ring.as_ref()?.parts()
    }

    /// The part of queue `index` that may be written to, if it is in use; for deliberate faults.
    pub(crate) fn span(&self, index: usize) -> Option<(u32, u32)> {
        if self.status & status::DRIVER_OK == 0 {
            return None;
        }
        Some(self.queues.get(index)?.ring.as_ref()?.span())
    }

    /// Counts an event of queue `index`, whatever there is to say.
    pub(crate) fn announce(&mut self, shared: &Shared, index: usize) {
        let base = self.base;
        let Some(queue) = self.queues.get_mut(index) else {
            return;
        };
        queue.event = queue.event.wrapping_add(1);
        let at = base.wrapping_add(window::queue_event(index));
        shared.mem.publish32(at, queue.event);
        self.event_pending = true;
    }
}
