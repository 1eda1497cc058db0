// SPDX-License-Identifier: GPL-2.0

//! Queues whose driver spins until the device has used the buffer that it just got.
//!
//! virtio_net does so with the RTNL lock held, virtio_console with interrupts off: with a peer that
//! does not answer that would be the end of the CPU, and on the last one nobody would be left to
//! break the queue. virtio_can sleeps, and breaking the queue does not wake it. All of them stop
//! when the notification fails. So the notification of such a queue waits for the device itself,
//! with a deadline.

use super::{
    HvlDevice,
    Queue, //
};
use crate::proto::virtio::device;
use core::hint::spin_loop;
use kernel::{
    sync::atomic::Relaxed,
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// The network device has a control queue (VIRTIO 5.1.3).
const NET_CTRL_VQ: u32 = 17;
/// It has several pairs of queues, after which comes the control queue.
const NET_MQ: u32 = 22;
/// Likewise.
const NET_RSS: u32 = 60;
/// The console has several ports, and queues to control them (VIRTIO 5.3.3).
const CONSOLE_MULTIPORT: u32 = 1;

/// Longest wait in milliseconds: nothing else runs on this CPU meanwhile, and the kernel's
/// detectors of that look away for ten seconds at least.
const LIMIT_MS: u32 = 5000;

/// Whether the driver would spin for ever, broken queue or not: virtio-iommu does. It also decides
/// about the memory of other devices, which is not for a peer to do.
pub(super) fn is_endless(device: u32) -> bool {
    device == device::IOMMU
}

/// Whether the driver of a device of type `device` with `queues` virtqueues and these `features`
/// spins for queue `index`.
pub(super) fn spins(device: u32, queues: u32, features: u64, index: u32) -> bool {
    let has = |feature: u32| features & (1 << feature) != 0;
    match device {
        device::NET if !has(NET_CTRL_VQ) => false,
        device::NET if has(NET_MQ) || has(NET_RSS) => index + 1 == queues,
        device::NET => index == 2,
        // The ports of a multiport console wait asleep, but for their common control queue.
        device::CONSOLE if has(CONSOLE_MULTIPORT) => index == 3,
        device::CONSOLE => index == 1,
        device::CAN => index == 2,
        _ => false,
    }
}

impl HvlDevice {
    /// Waits until the peer has used all buffers of `queue`. `false`: it did not in time. Any
    /// context.
    pub(super) fn wait_used(&self, queue: &Queue) -> bool {
        let Some(share) = queue.share.as_ref() else {
            return false;
        };
        let (driver, device) = (queue.driver.load(Relaxed), queue.device.load(Relaxed));
        let limit = i64::from(self.wire.timeout_ms().min(LIMIT_MS));
        let start = Instant::<Monotonic>::now();
        loop {
            // Both rings have flags and an index, 16 bits each (VIRTIO 2.7.6, 2.7.8).
            let made = share.read_u16(driver.wrapping_add(2));
            if made.is_none() || share.read_u16(device.wrapping_add(2)) == made {
                return made.is_some();
            }
            let up = self.wire.is_up(self.window.epoch()) && !self.has_failed();
            if !up || start.elapsed().as_millis() >= limit {
                return false;
            }
            spin_loop();
        }
    }
}
