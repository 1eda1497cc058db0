// SPDX-License-Identifier: GPL-2.0

//! What a driver is told before something of its device goes.
//!
//! virtio_console takes a port away from under those who read and write it: they use memory that it has freed
//! (`fill_readbuf`, `port_fops_write`). Nobody writes to a port whose other end is closed, and nobody reads from one that also
//! has nothing to be read. So that is what the driver is told, and waited for, before it is told that the port is gone, or
//! the device.

use super::HvlDevice;
use crate::{
    algo::{
        console::{
            receive,
            CONTROL_TO, //
        },
        drivers, //
    },
    virtio::Device,
    virtio_hvl::queue::{
        Queue,
        Watch, //
    }, //
};
use kernel::{
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Between two looks whether they have left, in ms.
const LOOK_MS: i64 = 2;
/// Looks in all, and without anything that has happened between them: who has a port open need not read it.
const LOOKS: u32 = 1000;
const LOOKS_IDLE: u32 = 100;
/// For who is on the way out of a function of the driver's, in ms. There is nothing to see of that.
const LEAVE_MS: i64 = 50;

impl HvlDevice {
    /// Has those leave who use a port of a console, which its driver does not wait for. It receives nothing any more; what
    /// it sends still goes to the peer, which may be well. Process context, the device's keeper.
    pub(crate) fn farewell(&self, device: &Device<Self>) {
        let Some(Watch::Ports(ports)) = &self.role.watch else {
            return;
        };
        if !self.ready.load(Relaxed) {
            return;
        }
        for queue in self.queues() {
            if !drivers::breaks(self.entry.device_id, queue.index()) {
                queue.give_up();
            }
        }
        let (mut last, mut told) = (None, 0u64);
        loop {
            // Not beside the queue's lock.
            let next = ports.lock().farewell(last);
            let Some((port, message)) = next else {
                break;
            };
            last = Some(port);
            if self.speak(device, &message) {
                told |= 1u64.checked_shl(port).unwrap_or(0);
            }
        }
        if told != 0 {
            let is_told = |port: &u32| told & (1 << port) != 0;
            self.await_home(|queue| {
                let mut ports = (0..u64::BITS).filter(is_told);
                queue.index() == CONTROL_TO || ports.any(|port| receive(port) == queue.index())
            });
            self.await_leave(|| ports.lock().is_open());
        }
    }

    /// Whether there is something for [`HvlDevice::see_off`].
    pub(crate) fn is_leaving(&self) -> bool {
        let watch = self.role.watch.as_ref();
        watch.is_some_and(|watch| watch.leaving().is_some())
    }

    /// The same for a port that the peer has taken away, which its users know to be closed. Process context, the device's
    /// keeper.
    pub(crate) fn see_off(&self, device: &Device<Self>) {
        let Some(Watch::Ports(ports)) = &self.role.watch else {
            return;
        };
        let leaving = ports.lock().leaving();
        let Some(port) = leaving else {
            return;
        };
        let users =
            |queue: &Arc<Queue>| queue.index() == receive(port) || queue.index() == CONTROL_TO;
        self.await_home(users);
        // A peer that goes on sending all the same does so in vain; what an honest one has sent was there by now, so that
        // the next port of that number gets none of it.
        let queue = self.queues().get(receive(port) as usize);
        if let Some(queue) = queue {
            queue.hold(true);
            self.await_home(users);
        }
        self.await_leave(|| ports.lock().is_open());
        // It may be there again.
        let message = ports.lock().leave(port);
        if let Some(message) = message {
            self.speak(device, &message);
            self.await_home(|queue| queue.index() == CONTROL_TO);
        }
        if let Some(queue) = queue {
            queue.hold(false);
        }
        // One at a time: the peer is not to keep the keeper here, who may be asked to have the device removed.
        if self.is_leaving() {
            self.wire.wake();
        }
    }

    /// Tells the driver of a console `message`. `false`: it is not there to be told.
    fn speak(&self, device: &Device<Self>, message: &[u8]) -> bool {
        let Some(control) = self.queues().get(CONTROL_TO as usize) else {
            return false;
        };
        let mut told = false;
        device.interrupt_queue(CONTROL_TO as usize, || {
            told = control.tell(message);
            told
        });
        told
    }

    /// Waits until the driver holds nothing that it has received from those of the queues that are `which`, or nobody takes it.
    fn await_home(&self, which: impl Fn(&Arc<Queue>) -> bool) {
        let (mut steps, mut idle) = (self.steps(), 0);
        for _ in 0..LOOKS {
            let mut received = self.queues().iter().filter(|queue| which(queue));
            if received.all(|queue| queue.is_home()) {
                return;
            }
            fsleep(Delta::from_millis(LOOK_MS));
            let now = self.steps();
            idle = if now == steps { idle + 1 } else { 0 };
            if idle == LOOKS_IDLE {
                return;
            }
            steps = now;
        }
    }

    /// Waits for those who are on their way out, while a port `is_open`.
    fn await_leave(&self, is_open: impl Fn() -> bool) {
        for _ in 0..LEAVE_MS / LOOK_MS {
            if !is_open() {
                return;
            }
            fsleep(Delta::from_millis(LOOK_MS));
        }
    }
}
