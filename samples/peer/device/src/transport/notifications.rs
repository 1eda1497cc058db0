// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux notifies of, and whether it is to (VIRTIO 2.7.10).

use super::{Transport, QUEUES};
use crate::faults::Faults;
use crate::proto::layout::window;
use crate::shared::Shared;

impl Transport {
    /// Counts the notifications that came since the last call. `true` if there were any.
    pub(crate) fn count_kicks(&mut self, shared: &Shared) -> bool {
        let mut any = false;
        let count = self.model.queues.len();
        for (index, queue) in self.queues.iter_mut().enumerate().take(count) {
            if queue.ring.is_some() {
                let at = self.base.wrapping_add(window::notify_count(index));
                let count = shared.mem.observe32(at);
                let new = count.wrapping_sub(queue.notify_seen);
                queue.notify_seen = count;
                if new != 0 {
                    any = true;
                    queue.stats.kicks = queue.stats.kicks.wrapping_add(u64::from(new));
                    let at = self.base.wrapping_add(window::notify_data(index));
                    queue.stats.notify_data = shared.mem.read32(at);
                }
            }
        }
        any
    }

    /// Tells Linux that it need not notify, for each queue that is in use.
    pub(crate) fn quieten(&mut self, shared: &Shared) {
        self.armed = None;
        let count = self.model.queues.len();
        let usable = if self.may_use_queues() { count } else { 0 };
        for queue in self.queues.iter_mut().take(usable) {
            if let Some(ring) = &mut queue.ring {
                ring.quieten(&shared.mem);
            }
        }
    }

    /// Asks Linux to notify once a queue has as many chains as are `wanted`, if any; `true` if one
    /// has them already.
    pub(crate) fn listen(&mut self, shared: &Shared, wanted: &[u16; QUEUES]) -> bool {
        if self.faults.has(Faults::UNSERVED) {
            return false;
        }
        // It was looked after it was asked, and what came then rings.
        if self.armed == Some(*wanted) {
            return false;
        }
        let mut pending = false;
        let used = wanted.iter().enumerate().take(self.model.queues.len());
        for (index, least) in used {
            let found = self.with_ring(shared, index, |ring, _| {
                if *least == 0 {
                    ring.quieten(&shared.mem);
                    return Ok(false);
                }
                ring.listen(&shared.mem, *least)
            });
            pending |= found.unwrap_or(false);
        }
        self.armed = (!pending && self.may_use_queues()).then_some(*wanted);
        pending
    }
}
