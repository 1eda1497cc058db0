// SPDX-License-Identifier: GPL-2.0

//! The thread that calls a driver whose callback sleeps. It is there while the device is registered, for the few
//! kinds that need it, and waits for nothing but the callback.

use super::HvlDevice;
use crate::{
    sys::{
        event::Event,
        thread::{
            Run,
            Thread, //
        }, //
    },
    virtio::Device, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            AtomicFlag,
            Release, //
        },
        Arc, //
    }, //
};

/// How long it sleeps before it looks whether there is still nothing to do, in ms.
const IDLE_MS: u32 = 600_000;

/// Calls the driver of a device.
pub(crate) struct Caller {
    device: Arc<Device<HvlDevice>>,
    event: Arc<Event>,
    stopping: AtomicFlag,
}

impl Caller {
    /// The thread for `device`, if that needs one.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn start(device: &Arc<Device<HvlDevice>>) -> Result<Option<Thread<Self>>> {
        let Some(event) = &device.transport().role.caller else {
            return Ok(None);
        };
        let this = Self {
            device: device.clone(),
            event: event.clone(),
            stopping: AtomicFlag::new(false),
        };
        Thread::spawn(c"virtio-hvl-call", Arc::new(this, GFP_KERNEL)?).map(Some)
    }

    /// Has each of its queues pass on one chain. `true`: there may be more.
    fn turn(&self, first: bool) -> bool {
        let transport = self.device.transport();
        let (mut all, mut starved) = (false, false);
        for (index, queue) in transport.queues().iter().enumerate() {
            if !queue.is_left() {
                continue;
            }
            let mut more = false;
            self.device.call_queue(index, || {
                let turn = queue.take_turn(first);
                starved |= queue.is_starved();
                more = turn.more;
                turn.call
            });
            all |= more;
        }
        transport.care_for(starved);
        // What has failed has no driver that would be called.
        all && !transport.has_failed() && transport.wire.is_up(transport.window.epoch())
    }
}

impl Run for Caller {
    fn run(&self) {
        let mut first = true;
        while !self.stopping.load(Acquire) {
            first = !self.turn(first);
            if first {
                self.event.wait_idle(IDLE_MS);
            }
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Release);
        self.event.signal();
    }
}
