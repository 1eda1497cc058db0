// SPDX-License-Identifier: GPL-2.0

//! What a device does when the peer has rung, or may have.

use super::HvlDevice;
use crate::{
    algo::drivers,
    proto::layout::window,
    virtio::Device,
    virtio_hvl::queue::END_CALLS, //
};
use kernel::sync::atomic::Relaxed;

impl HvlDevice {
    /// Passes on what the peer has counted up; `vector`: the device's own has come, not the link's doorbell.
    /// Any context.
    pub(crate) fn interrupt(&self, device: &Device<Self>, vector: bool) {
        self.look_at_window(device);
        let mut starved = false;
        let page = self.window.page();
        let mut news = page.changed(window::QUEUE_EVENTS, &self.events);
        while news != 0 {
            let index = news.trailing_zeros() as usize;
            news &= news - 1;
            let (Some(queue), Some(seen)) = (self.queues.get(index), self.events.get(index)) else {
                break;
            };
            // Before its lock: it may have been looked at otherwise.
            if queue.has_news() {
                if vector {
                    queue.note_vector();
                }
                device.interrupt_queue(index, || {
                    let call = queue.look(false);
                    starved |= queue.is_starved();
                    call
                });
            }
            // (Where it could not be looked at it stays news.)
            seen.store(queue.event_seen(), Relaxed);
        }
        self.care_for(starved);
    }

    /// The same for the queue `index` alone, without the configuration, whose vector has come.
    pub(super) fn interrupt_one(&self, device: &Device<Self>, index: usize) {
        let Some(queue) = self.queues.get(index) else {
            return;
        };
        let mut starved = false;
        queue.note_vector();
        device.interrupt_queue(index, || {
            let call = queue.look(false);
            starved = queue.is_starved();
            call
        });
        self.care_for(starved);
    }

    /// The same for all queues, whatever their counters say; but for those whose callback is running,
    /// unless it is to `wait` for that. `false`: one was left out. Any context.
    pub(crate) fn look(&self, device: &Device<Self>, wait: bool) -> bool {
        self.look_at_window(device);
        let (mut starved, mut all) = (false, true);
        for (index, queue) in self.queues().iter().enumerate() {
            let pending = || {
                let call = queue.look(true);
                starved |= queue.is_starved();
                call
            };
            if wait {
                device.interrupt_queue(index, pending);
            } else {
                all &= device.try_interrupt_queue(index, pending);
            }
        }
        self.care_for(starved);
        all
    }

    /// Has nobody wait for the device, which has failed or is gone. To be called again when its driver adds something
    /// all the same, for which the link's thread is woken. Process context.
    ///
    /// Before DRIVER_OK no driver may notify (VIRTIO 3.1.1), and none waits; but virtio_rpmsg_bus fills its queue then,
    /// and has a WARN_ON for each buffer that the queue does not take, as a broken one takes none. `in_vain`: somebody
    /// has been waiting for long, whenever that is.
    pub(crate) fn let_go(&self, device: &Device<Self>, in_vain: bool) {
        let Some(word) = self.last_word() else {
            if in_vain || self.ready.load(Relaxed) {
                // Who sees that a queue is broken may free what he has added to it, virtio_net its commands: not even
                // what waits for its turn is looked at from here on.
                for queue in self.queues() {
                    queue.give_up();
                }
                device.break_queues(|index| drivers::breaks(self.entry.device_id, index));
            }
            return;
        };
        for (index, queue) in self.queues().iter().enumerate() {
            for _ in 0..END_CALLS {
                let mut more = false;
                device.interrupt_queue(index, || {
                    let ended = queue.end(word);
                    more = ended.more;
                    ended.chains != 0
                });
                if !more {
                    break;
                }
            }
        }
    }

    /// What ends a request of a driver's that waits whatever becomes of the device, see [`drivers::last_word`].
    pub(super) fn last_word(&self) -> Option<u8> {
        // Where the peer reaches the buffers, we do not.
        drivers::last_word(self.entry.device_id).filter(|_| self.wire.dma().is_none())
    }

    /// Whether an event of a queue was not looked at, see [`crate::virtio_hvl::queue::Queue::suspects`].
    pub(crate) fn suspects(&self) -> bool {
        // Each of them has to remember.
        self.queues()
            .iter()
            .fold(false, |any, queue| queue.suspects() | any)
    }

    /// Looks for an answer, and for a change of the configuration.
    fn look_at_window(&self, device: &Device<Self>) {
        self.window.interrupt();
        let count = self.window.page().read(window::CONFIG_EVENT);
        if self.config_seen.load(Relaxed) != count {
            // The link's thread latches it: not here, since that writes to the log.
            if self.needs_reset() {
                self.wire.wake();
            }
            // Seen only when there was somebody to tell.
            if device.config_changed() {
                self.config_seen.store(count, Relaxed);
            }
        }
    }

    /// Has chains brought to the peer that may find room now. Copying takes time: not here, with
    /// interrupts off.
    pub(super) fn care_for(&self, starved: bool) {
        if starved {
            self.wire.wake();
        }
    }
}
