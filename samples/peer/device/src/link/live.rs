// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which devices a pass has to do with: a pass costs nothing for those that Linux has not notified
//! (protocol.rst, "Notifications").

#![forbid(unsafe_code)]

use crate::device::Devices;
use crate::mask::{bit, each};
use crate::mem::Region;
use crate::proto::layout::{link, DEVICES_MAX};

/// Devices, a bit each.
#[derive(Clone, Debug, Hash)]
pub(super) struct Live {
    /// All that there are.
    all: u64,
    /// Those that may have something to do at any time.
    active: u64,
    /// Those that had something to do and of which Linux was not asked to notify since.
    awake: u64,
    /// Those that this pass looks at.
    now: u64,
    /// Queues of all that are not looked at whatever Linux says.
    queues: usize,
    /// The driver counts DeviceNotify.
    counted: bool,
    /// DeviceNotify of each as last seen.
    seen: [u32; DEVICES_MAX],
}

/// Of how many devices that can be left out it has to be worth while, or for how many queues in all: to look at
/// one more costs less than a line that Linux writes for each notification.
const WORTH: u32 = 3;
const WORTH_QUEUES: usize = 16;

impl Live {
    /// All of `devices` are, and if `always` they stay so.
    pub(super) fn new<D: Devices + ?Sized>(devices: &mut D, always: bool) -> Self {
        let (mut all, mut active, mut queues) = (0, 0, 0);
        for index in 0..devices.count().min(DEVICES_MAX) {
            all |= bit(index);
            let device = devices.device(index);
            queues += device
                .as_ref()
                .map_or(0, |device| device.transport().queue_count());
            if always || device.is_some_and(|device| device.is_active()) {
                active |= bit(index);
            }
        }
        Self {
            all,
            active,
            queues: if always { 0 } else { queues },
            awake: all,
            now: all,
            counted: false,
            seen: [0; DEVICES_MAX],
        }
    }

    /// Whether Linux is to count DeviceNotify.
    pub(super) const fn is_worth_counting(&self) -> bool {
        (self.all & !self.active).count_ones() >= WORTH || self.queues >= WORTH_QUEUES
    }

    /// A driver was adopted, which counts DeviceNotify or does not, or there is none.
    pub(super) fn adopt(&mut self, mem: &Region, counted: bool) {
        for (index, seen) in self.seen.iter_mut().enumerate() {
            *seen = mem.read32(link::device_notify(index));
        }
        self.counted = counted;
        self.awake = self.all;
        self.now = self.all;
    }

    /// Finds those of a pass that begins; `everything`: all of them. `true`: Linux has notified of something
    /// since the pass before.
    pub(super) fn begin(&mut self, mem: &Region, everything: bool) -> bool {
        self.now = self.active | self.awake;
        if everything || !self.counted {
            self.now = self.all;
        }
        if !self.counted {
            return false;
        }
        let mut told = false;
        for index in each(self.all) {
            let Some(seen) = self.seen.get_mut(index) else {
                continue;
            };
            if mem.read32(link::device_notify(index)) != *seen {
                // Before anything else of the device is read; pairs with the driver's publishing it.
                *seen = mem.observe32(link::device_notify(index));
                self.now |= bit(index);
                told = true;
            }
        }
        told
    }

    /// Whether the driver counts what it notifies of.
    pub(super) const fn is_counted(&self) -> bool {
        self.counted
    }

    /// Those of this pass.
    pub(super) fn now(&self) -> impl Iterator<Item = usize> {
        each(self.now)
    }

    /// Those of which Linux may not notify by itself.
    pub(super) fn open(&self) -> impl Iterator<Item = usize> {
        each(self.now | self.awake)
    }

    /// Whether something may be there for device `index` at any time.
    pub(super) const fn is_active(&self, index: usize) -> bool {
        self.active & bit(index) != 0
    }

    /// Whether Linux notifies of all there is for device `index`.
    pub(super) fn set_asleep(&mut self, index: usize, is_asleep: bool) {
        if is_asleep {
            self.awake &= !bit(index);
        } else {
            self.awake |= bit(index);
        }
    }
}

const _: () = assert!(DEVICES_MAX <= u64::BITS as usize);
