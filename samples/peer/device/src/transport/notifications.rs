// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux notifies of, and whether it is to (VIRTIO 2.7.10).

use super::Transport;
use crate::faults::Faults;
use crate::mask::{bit, each};
use crate::proto::layout::window;
use crate::shared::Shared;

const NOTIFY_WORDS: usize = window::NOTIFY_SLOT as usize / 4;

impl Transport {
    /// Counts the notifications that came since the last call. `true` if there were any.
    pub(crate) fn count_kicks(&mut self, shared: &Shared) -> bool {
        let count = self.model.queues.len();
        let notified = self.notified.get(..count).unwrap_or(&[]);
        // In one go: most have none.
        let first = self.base.wrapping_add(window::notify_count(0));
        let news = shared.mem.changed::<NOTIFY_WORDS>(first, notified);
        let mut any = false;
        for index in each(news) {
            let (Some(queue), Some(notified)) =
                (self.queues.get_mut(index), self.notified.get_mut(index))
            else {
                continue;
            };
            let at = self.base.wrapping_add(window::notify_count(index));
            let count = shared.mem.observe32(at);
            let new = count.wrapping_sub(*notified);
            *notified = count;
            if queue.ring.is_some() {
                any = true;
                queue.stats.kicks = queue.stats.kicks.wrapping_add(u64::from(new));
                let at = self.base.wrapping_add(window::notify_data(index));
                queue.stats.notify_data = shared.mem.read32(at);
            }
        }
        any
    }

    /// Whether Linux notifies of whatever there is, so that nobody has to look.
    pub(crate) const fn is_asleep(&self) -> bool {
        self.armed || !self.may_use_queues()
    }

    /// Tells Linux that it need not notify, for each queue of which it was asked to.
    pub(crate) fn quieten(&mut self, shared: &Shared) {
        self.armed = false;
        let loud = if self.may_use_queues() { self.loud } else { 0 };
        self.loud &= !loud;
        self.due |= loud;
        for index in each(loud) {
            let ring = self.queues.get_mut(index).map(|queue| &mut queue.ring);
            if let Some(Some(ring)) = ring {
                ring.quieten(&shared.mem);
            }
        }
    }

    /// Asks Linux to notify once a queue has as many chains as are `wanted`, if any; `true` if one
    /// has them already. What it takes depends on how many queues have changed, and not on how many there are.
    pub(crate) fn listen(&mut self, shared: &Shared, wanted: &[u16]) -> bool {
        if self.faults.has(Faults::UNSERVED) || !self.may_use_queues() {
            return false;
        }
        // (Of slices the compiler compares bytes one after the other here.)
        let pairs = self.asked.iter().zip(wanted);
        let same = pairs.fold(0, |any, (asked, least)| any | (asked ^ least)) == 0;
        // It was looked after it was asked, and what came then rings.
        if self.armed && same {
            return false;
        }
        let mut ask = self.due;
        if !same {
            for (index, (asked, least)) in self.asked.iter().zip(wanted).enumerate() {
                ask |= if asked == least { 0 } else { bit(index) };
            }
        }
        self.due = 0;
        for index in each(ask) {
            let Some((asked, least)) = self.asked.get_mut(index).zip(wanted.get(index)) else {
                continue;
            };
            *asked = *least;
            let found = self.with_ring(shared, index, |ring, _| {
                if *least == 0 {
                    ring.quieten(&shared.mem);
                    return Ok(false);
                }
                ring.listen(&shared.mem, *least)
            });
            if found.unwrap_or(false) {
                self.due |= bit(index);
            }
            if *least == 0 {
                self.loud &= !bit(index);
            } else {
                self.loud |= bit(index);
            }
        }
        self.armed = self.due == 0 && self.may_use_queues();
        self.due != 0
    }
}
