// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The register state machine: what a write to an MMIO transport does (VIRTIO 4.2.2).

#![forbid(unsafe_code)]

use crate::proto::layout::window;
use crate::proto::virtio::{feature, reg, status, MMIO_MAGIC, MMIO_VERSION};
use crate::proto::{Entry, Status};
use crate::shared::Shared;
use crate::transport::{Queue, Transport};

/// The status bits that a driver may set.
const DRIVER_STATUS: u32 =
    status::ACKNOWLEDGE | status::DRIVER | status::DRIVER_OK | status::FEATURES_OK | status::FAILED;

/// `word` with its upper or lower half replaced.
fn set_half(word: &mut u64, high: bool, value: u32) {
    let value = u64::from(value);
    *word = if high {
        (*word & 0xffff_ffff) | (value << 32)
    } else {
        (*word & !0xffff_ffff) | value
    };
}

/// The half of `word` that selector `sel` picks; 0 behind the end.
const fn half(word: u64, sel: u32) -> u32 {
    match sel {
        0 => word as u32,
        1 => (word >> 32) as u32,
        _ => 0,
    }
}

impl Transport {
    /// Applies one register write.
    ///
    /// # Errors
    ///
    /// What the transaction's status becomes.
    pub(crate) fn apply(&mut self, shared: &Shared, entry: Entry) -> Result<(), Status> {
        // No device of this library has configuration space that can be written.
        if entry.offset >= window::CONFIG {
            return Err(Status::BadOffset);
        }
        let value = entry.value;
        match entry.offset {
            reg::DEVICE_FEATURES_SEL => self.device_features_sel = value,
            reg::DRIVER_FEATURES_SEL => self.driver_features_sel = value,
            reg::DRIVER_FEATURES => {
                if self.status & status::FEATURES_OK != 0 {
                    return Err(Status::BadValue);
                }
                match self.driver_features_sel {
                    0 | 1 => set_half(&mut self.accepted, self.driver_features_sel == 1, value),
                    _ if value == 0 => {}
                    _ => return Err(Status::BadValue),
                }
            }
            reg::QUEUE_SEL => self.queue_sel = value,
            reg::SHM_SEL => {}
            reg::QUEUE_SIZE => {
                let packed = self.has_feature(feature::RING_PACKED);
                let queue = self.idle_queue()?;
                let right = if packed {
                    value != 0
                } else {
                    value.is_power_of_two()
                };
                if !right || value > queue.size_max {
                    return Err(Status::BadValue);
                }
                queue.layout.size = value;
            }
            reg::QUEUE_DESC_LOW | reg::QUEUE_DESC_HIGH => {
                let high = entry.offset == reg::QUEUE_DESC_HIGH;
                set_half(&mut self.idle_queue()?.layout.desc, high, value);
            }
            reg::QUEUE_DRIVER_LOW | reg::QUEUE_DRIVER_HIGH => {
                let high = entry.offset == reg::QUEUE_DRIVER_HIGH;
                set_half(&mut self.idle_queue()?.layout.driver, high, value);
            }
            reg::QUEUE_DEVICE_LOW | reg::QUEUE_DEVICE_HIGH => {
                let high = entry.offset == reg::QUEUE_DEVICE_HIGH;
                set_half(&mut self.idle_queue()?.layout.device, high, value);
            }
            reg::QUEUE_READY => self.write_queue_ready(shared, value)?,
            reg::QUEUE_RESET => {
                if value != 1 || !self.has_feature(feature::RING_RESET) {
                    return Err(Status::BadValue);
                }
                let queue = self.selected_mut().ok_or(Status::BadValue)?;
                queue.ring = None;
                queue.layout = crate::queue::Layout::default();
            }
            reg::STATUS => self.write_status(shared, value)?,
            _ => return Err(Status::BadOffset),
        }
        Ok(())
    }

    fn write_queue_ready(&mut self, shared: &Shared, value: u32) -> Result<(), Status> {
        match value {
            0 => {
                self.selected_mut().ok_or(Status::BadValue)?.ring = None;
                Ok(())
            }
            1 => {
                if self.status & status::FEATURES_OK == 0 {
                    return Err(Status::BadValue);
                }
                self.idle_queue()?;
                self.start_queue(shared, self.queue_sel as usize)
                    .map_err(|_| Status::BadValue)
            }
            _ => Err(Status::BadValue),
        }
    }

    fn write_status(&mut self, shared: &Shared, value: u32) -> Result<(), Status> {
        if value == 0 {
            self.reset();
            return Ok(());
        }
        // A driver may read NEEDS_RESET back and write it; it can neither set nor clear it. No
        // other bit goes away but by a reset.
        let asked = value & !status::NEEDS_RESET;
        let had = self.status & DRIVER_STATUS;
        if asked & !DRIVER_STATUS != 0 || asked & had != had {
            return Err(Status::BadValue);
        }
        let mut new = asked;
        if asked & !had & status::FEATURES_OK != 0 && !self.features_acceptable() {
            if self.quota.take() {
                log::warn!(
                    "{}: features {:#x} refused, offered {:#x}",
                    self.model.name,
                    self.accepted,
                    self.offered()
                );
            }
            new &= !status::FEATURES_OK;
        }
        if new & status::DRIVER_OK != 0 && new & status::FEATURES_OK == 0 {
            return Err(Status::BadValue);
        }
        if new & !had & status::DRIVER_OK != 0 && self.quota.take() {
            log::info!(
                "{}: driver ready, features {:#x}",
                self.model.name,
                self.accepted
            );
        }
        if new & !had & status::DRIVER_OK != 0 {
            self.take_config_vector(shared);
        }
        self.status = (self.status & status::NEEDS_RESET) | new;
        Ok(())
    }

    /// Whether the driver took only what is offered, and all that is mandatory.
    fn features_acceptable(&self) -> bool {
        self.accepted & !self.offered() == 0
            && self.accepted & feature::MANDATORY == feature::MANDATORY
    }

    fn selected(&self) -> Option<&Queue> {
        let index = self.queue_sel as usize;
        (index < self.model.queues.len())
            .then(|| self.queues.get(index))
            .flatten()
    }

    fn selected_mut(&mut self) -> Option<&mut Queue> {
        let index = self.queue_sel as usize;
        (index < self.model.queues.len())
            .then(|| self.queues.get_mut(index))
            .flatten()
    }

    /// The selected queue, which exists and is not in use.
    fn idle_queue(&mut self) -> Result<&mut Queue, Status> {
        match self.selected_mut() {
            Some(queue) if queue.ring.is_none() => Ok(queue),
            _ => Err(Status::BadValue),
        }
    }

    /// What a read of the register at `offset` returns.
    pub(crate) fn register(&self, offset: u32) -> u32 {
        match offset {
            reg::MAGIC => MMIO_MAGIC,
            reg::VERSION => MMIO_VERSION,
            reg::DEVICE_ID => self.claimed,
            reg::VENDOR_ID => crate::shared::VENDOR,
            reg::DEVICE_FEATURES => half(self.offered(), self.device_features_sel),
            reg::QUEUE_SIZE_MAX => self.selected().map_or(0, |queue| queue.size_max),
            reg::QUEUE_READY => u32::from(self.selected().is_some_and(|q| q.ring.is_some())),
            reg::STATUS => self.status,
            // No device of this library has shared-memory regions.
            reg::SHM_LEN_LOW | reg::SHM_LEN_HIGH | reg::SHM_BASE_LOW | reg::SHM_BASE_HIGH => {
                u32::MAX
            }
            reg::CONFIG_GENERATION => self.config_generation,
            // Write-only registers, those that the link does without, and QueueReset: a reset is
            // over before anybody looks.
            _ => 0,
        }
    }
}
