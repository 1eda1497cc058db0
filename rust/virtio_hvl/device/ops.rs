// SPDX-License-Identifier: GPL-2.0

//! What the virtio core asks of a device, as transactions with the peer.

use super::{
    spin::spins,
    HvlDevice, //
};
use crate::{
    algo::share::ring_max,
    proto::{
        layout::{
            window,
            QUEUE_SIZE_MAX, //
        },
        virtio::{
            feature,
            reg,
            status, //
        },
        Entry,
        FieldError,
        Kind, //
    },
    virtio::{
        Id,
        QueueAddresses,
        QueueSetup,
        ShmRegion,
        Transport, //
    },
    virtio_hvl::{
        bounce::{
            self,
            Share, //
        },
        fault::Fault,
        shmem::read_barrier, //
    }, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// The writes of a 64-bit address to the pair of registers that begins at `low`.
fn address(low: u32, address: u64) -> [Entry; 2] {
    [
        Entry::register(low, address as u32),
        Entry::register(low + 4, (address >> 32) as u32),
    ]
}

impl Transport for HvlDevice {
    type Map = Share;

    fn id(&self) -> Id {
        Id {
            device: self.entry.device_id,
            vendor: self.entry.vendor_id,
        }
    }

    fn bus_name(&self) -> &CStr {
        &self.name
    }

    fn features(&self) -> u64 {
        let half = |select| {
            self.transact(
                &[Entry::register(reg::DEVICE_FEATURES_SEL, select)],
                |page| page.read(reg::DEVICE_FEATURES),
            )
        };
        match (half(0), half(1)) {
            // Packed virtqueues are not supported yet.
            (Ok(low), Ok(high)) => {
                (u64::from(low) | (u64::from(high) << 32)) & !(1 << feature::RING_PACKED)
            }
            // The failure is latched; `finalize_features` returns it.
            _ => 0,
        }
    }

    fn finalize_features(&self, features: u64) -> Result {
        if self.has_failed() {
            return Err(EIO);
        }
        // Then the features could not be read either, and nothing is wrong with them.
        if !self.wire.is_up(self.window.epoch()) {
            return Err(ENODEV);
        }
        let missing = feature::MANDATORY & !features;
        if missing != 0 {
            return Err(self.fail(Fault::Features(missing)));
        }
        let entries = [
            Entry::register(reg::DRIVER_FEATURES_SEL, 1),
            Entry::register(reg::DRIVER_FEATURES, (features >> 32) as u32),
            Entry::register(reg::DRIVER_FEATURES_SEL, 0),
            Entry::register(reg::DRIVER_FEATURES, features as u32),
        ];
        self.features.store(features, Relaxed);
        self.transact(&entries, |_| ())
    }

    fn status(&self) -> u8 {
        // What the driver did not write is not believed, or a peer could make the core warn.
        let own = self.status.load(Relaxed);
        let needs_reset = if own == 0 {
            0
        } else {
            self.window.page().read(reg::STATUS) & status::NEEDS_RESET
        };
        (own | needs_reset) as u8
    }

    fn set_status(&self, status: u8) {
        let status = u32::from(status) & !status::NEEDS_RESET;
        let shown = self.transact(&[Entry::register(reg::STATUS, status)], |page| {
            page.read(reg::STATUS)
        });
        let accepted = match shown {
            // The one bit that a device may refuse.
            Ok(shown) => status & (shown | !status::FEATURES_OK),
            Err(_) => self.status.load(Relaxed) | (status & status::FAILED),
        };
        self.status.store(accepted, Relaxed);
        if status & status::DRIVER_OK != 0 {
            self.wire.want_look(self.index);
        }
    }

    fn reset(&self) {
        self.status.store(0, Relaxed);
        for queue in &self.queues {
            queue.size.store(0, Relaxed);
        }
        self.end_use(&[Entry::register(reg::STATUS, 0)]);
    }

    fn config_read(&self, offset: u32, data: &mut [u8]) {
        let page = self.window.page();
        // Each word once: the peer may change it meanwhile, and a field in one word is whole.
        let mut word = (0, 0);
        for (index, (at, byte)) in (offset..).zip(data.iter_mut()).enumerate() {
            if at >= self.entry.config_length {
                *byte = 0;
                continue;
            }
            if index == 0 || at & !3 != word.0 {
                word = (at & !3, page.read(window::CONFIG + (at & !3)));
            }
            *byte = (word.1 >> (8 * (at & 3))) as u8;
        }
    }

    fn config_write(&self, offset: u32, data: &[u8]) {
        // One field, as the core calls this: one entry, unless it is longer than a register.
        let mut at = offset;
        for part in data.chunks(4) {
            let (length, pieces) = match (part.len(), at % 4) {
                (4, 0) => (4, part.chunks(4)),
                (2, 0 | 2) => (2, part.chunks(2)),
                _ => (1, part.chunks(1)),
            };
            for piece in pieces {
                let value = piece
                    .iter()
                    .rev()
                    .fold(0u32, |value, byte| (value << 8) | u32::from(*byte));
                let entry = Entry {
                    offset: window::CONFIG.saturating_add(at),
                    length,
                    value,
                };
                if self.transact(&[entry], |_| ()).is_err() {
                    return;
                }
                at = at.saturating_add(length);
            }
        }
    }

    fn config_generation(&self) -> u32 {
        // The core reads it before and after the configuration: neither may be satisfied on the
        // wrong side of those reads. Pairs with the peer's writes around a change.
        read_barrier();
        let current = self.window.page().observe(reg::CONFIG_GENERATION);
        let mut generation = self.generation.lock();
        if current != generation.shown && !self.has_failed() {
            if generation.storm.allow(self.wire.now_ms()) {
                generation.shown = current;
            } else {
                self.fail(Fault::Storm);
            }
        }
        generation.shown
    }

    fn shm_region(&self, id: u8) -> Option<ShmRegion> {
        let (len, base) = self
            .transact(&[Entry::register(reg::SHM_SEL, u32::from(id))], |page| {
                let pair =
                    |low, high| u64::from(page.read(low)) | (u64::from(page.read(high)) << 32);
                (
                    pair(reg::SHM_LEN_LOW, reg::SHM_LEN_HIGH),
                    pair(reg::SHM_BASE_LOW, reg::SHM_BASE_HIGH),
                )
            })
            .ok()?;
        if len == u64::MAX {
            return None;
        }
        // What lies outside of the region is not the peer's to give.
        self.to_physical(base, len)
            .map(|start| ShmRegion { start, len })
    }

    fn queue_setup(&self, index: u32) -> Result<QueueSetup<Share>> {
        if index >= self.entry.queue_count {
            return Err(ENOENT);
        }
        let size_max = self.transact(&[Entry::register(reg::QUEUE_SEL, index)], |page| {
            page.read(reg::QUEUE_SIZE_MAX)
        })?;
        // 0, which other transports take for a queue that is not there, contradicts QueueCount.
        if !size_max.is_power_of_two() || size_max > QUEUE_SIZE_MAX {
            return Err(self.fail(Fault::Field(FieldError::new(
                Kind::Range,
                "QueueSizeMax",
                u64::from(size_max),
                "a power of two, at most",
                u64::from(QUEUE_SIZE_MAX),
            ))));
        }
        let map = self.share(index)?;
        Ok(QueueSetup {
            // Most of a share is for buffers.
            size_max: ring_max(size_max, self.peer.shares.each()),
            map,
        })
    }

    fn queue_enable(&self, index: u32, queue: &QueueAddresses) -> Result {
        let [desc_low, desc_high] = address(reg::QUEUE_DESC_LOW, queue.desc);
        let [driver_low, driver_high] = address(reg::QUEUE_DRIVER_LOW, queue.driver);
        let [device_low, device_high] = address(reg::QUEUE_DEVICE_LOW, queue.device);
        let entries = [
            Entry::register(reg::QUEUE_SEL, index),
            Entry::register(reg::QUEUE_SIZE, queue.size),
            desc_low,
            desc_high,
            driver_low,
            driver_high,
            device_low,
            device_high,
            Entry::register(reg::QUEUE_READY, 1),
        ];
        // Set first: the peer may use buffers of a queue that is enabled anew at once.
        let state = self.queues.get(index as usize).ok_or(ENOENT)?;
        state.driver.store(queue.driver, Relaxed);
        state.device.store(queue.device, Relaxed);
        state.size.store(queue.size, Relaxed);
        let result = match self.transact(&entries, |page| page.read(reg::QUEUE_READY)) {
            Ok(1) => Ok(()),
            Ok(_) => Err(self.fail(Fault::Ignored("QueueReady"))),
            Err(error) => Err(error),
        };
        if result.is_err() {
            state.size.store(0, Relaxed);
        }
        result
    }

    fn queue_reset(&self, index: u32) -> Result {
        let entries = [
            Entry::register(reg::QUEUE_SEL, index),
            Entry::register(reg::QUEUE_RESET, 1),
        ];
        if self.transact(&entries, |page| page.read(reg::QUEUE_READY))? != 0 {
            return Err(self.fail(Fault::Ignored("QueueReset")));
        }
        if let Some(state) = self.queues.get(index as usize) {
            state.size.store(0, Relaxed);
        }
        Ok(())
    }

    fn queue_disable(&self, index: u32) {
        let Some(queue) = self.queues.get(index as usize) else {
            return;
        };
        if queue.size.xchg(0, Relaxed) != 0 && self.status.load(Relaxed) != 0 {
            self.end_use(&[
                Entry::register(reg::QUEUE_SEL, index),
                Entry::register(reg::QUEUE_READY, 0),
            ]);
        }
    }

    fn queue_deleted(&self, index: u32) {
        let queue = self.queues.get(index as usize);
        if let Some(share) = queue.and_then(|queue| queue.share.as_ref()) {
            share.reclaim();
        }
    }

    fn notify(&self, index: u32, data: Option<u32>) -> bool {
        let Some(queue) = self.queues.get(index as usize) else {
            return false;
        };
        if self.has_failed() || !self.wire.is_up(self.window.epoch()) {
            return false;
        }
        let count = queue.notify_count.fetch_add(1, Relaxed).wrapping_add(1);
        let page = self.window.page();
        page.write(window::notify_data(index as usize), data.unwrap_or(index));
        page.publish(window::notify_count(index as usize), count);
        queue.kicks.add(1, Relaxed);
        self.wire.ring();
        let (entry, features) = (&self.entry, self.features.load(Relaxed));
        if !spins(entry.device_id, entry.queue_count, features, index) || self.wait_used(queue) {
            return true;
        }
        self.unserved.store(index + 1, Relaxed);
        self.wire.wake();
        false
    }

    fn mapping_max(&self) -> usize {
        bounce::MAPPING_MAX.min(self.peer.shares.each() as usize / 4)
    }
}
