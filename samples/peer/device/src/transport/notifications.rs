// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux notifies of, and whether it is to (VIRTIO 2.7.10).

use super::Transport;
use crate::faults::Faults;
use crate::mask::{bit, each};
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

    /// Whether Linux notifies of whatever there is, so that nobody has to look.
    pub(crate) const fn is_asleep(&self) -> bool {
        self.armed || !self.may_use_queues()
    }

    /// Tells Linux that it need not notify, for each queue that is in use.
    pub(crate) fn quieten(&mut self, shared: &Shared) {
        self.armed = false;
        let loud = if self.may_use_queues() { self.loud } else { 0 };
        self.loud &= !loud;
        for index in each(loud) {
            let ring = self.queues.get_mut(index).map(|queue| &mut queue.ring);
            if let Some(Some(ring)) = ring {
                ring.quieten(&shared.mem);
            }
        }
    }

    /// Asks Linux to notify once a queue has as many chains as are `wanted`, if any; `true` if one
    /// has them already.
    pub(crate) fn listen(&mut self, shared: &Shared, wanted: &[u16]) -> bool {
        if self.faults.has(Faults::UNSERVED) {
            return false;
        }
        let mut queues = self.queues.iter().zip(wanted);
        // It was looked after it was asked, and what came then rings.
        if self.armed && queues.all(|(queue, least)| queue.wanted == *least) {
            return false;
        }
        let mut pending = false;
        for (index, least) in wanted.iter().enumerate() {
            let found = self.with_ring(shared, index, |ring, _| {
                if *least == 0 {
                    ring.quieten(&shared.mem);
                    return Ok(false);
                }
                ring.listen(&shared.mem, *least)
            });
            pending |= found.unwrap_or(false);
            if let Some(queue) = self.queues.get_mut(index) {
                queue.wanted = *least;
                self.loud |= bit(index);
            }
        }
        self.armed = !pending && self.may_use_queues();
        pending
    }
}
