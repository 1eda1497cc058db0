// SPDX-License-Identifier: GPL-2.0

//! A peer that lives, and gives no buffers back: where the link is watched for that, it is said.

use super::HvlDevice;
use crate::{
    algo::drivers,
    virtio_hvl::queue::Queue, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

impl HvlDevice {
    /// The queues whose buffers come back soon.
    fn returning(&self) -> impl Iterator<Item = &Queue> {
        let (device, queues) = (self.entry.device_id, self.entry.queue_count);
        let queues = move |queue: &&Queue| drivers::returns(device, queues, queue.index());
        self.queues().iter().map(|queue| &**queue).filter(queues)
    }

    /// Whether of one of them none has come back for `limit_ms`, which was not said. What the peer has used counts when
    /// it was looked at. Process context.
    pub(crate) fn is_stalled(&self, limit_ms: u32, now_ms: u64) -> bool {
        self.returning().fold(false, |any, queue| {
            queue.stalled_ms(limit_ms, now_ms).is_some() | any
        })
    }

    /// Says of which, and counts it.
    pub(crate) fn report_stalls(&self, limit_ms: u32, now_ms: u64) {
        for queue in self.returning() {
            let Some(ms) = queue.stalled_ms(limit_ms, now_ms) else {
                continue;
            };
            queue.stall.lock().note_said();
            self.wire.counters.stalls.add(1, Relaxed);
            if self.wire.may_say() {
                dev_warn!(
                    self.wire.dev(),
                    "device {} (virtio type {}): queue {}: the peer has given no buffer back for {ms} ms, but lives: \
                     see its own log; a 1 written to recover in debugfs begins afresh\n",
                    self.index,
                    self.entry.device_id,
                    queue.index()
                );
            }
        }
    }
}

impl Queue {
    /// For how long the peer has given nothing back, if that is `limit_ms` at least and was not said.
    fn stalled_ms(&self, limit_ms: u32, now_ms: u64) -> Option<u64> {
        // (One that is at its end has had its line.)
        let settled = self.is_settled().unwrap_or(true);
        let used = self.counters.used.load(Relaxed);
        self.stall
            .lock()
            .look(settled, used, limit_ms.into(), now_ms)
    }
}
