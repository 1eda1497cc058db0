// SPDX-License-Identifier: GPL-2.0

//! What the virtio core asks of a device, as transactions with the peer.

use super::{
    config::Source,
    Batch,
    HvlDevice,
    EARLY, //
};
use crate::{
    algo::{
        config::{
            self,
            Limits, //
        },
        console::ports_of,
        drivers::{
            self,
            has_ports,
            least_written,
            spins, //
        },
        features::{
            self,
            Dropped,
            Shape,
            OWN, //
        },
        share::BULK, //
    },
    proto::{
        layout::window,
        virtio::{
            device,
            feature,
            reg,
            status, //
        },
        Entry, //
    },
    virtio::{
        Device,
        Id,
        QueueSetup,
        ShmRegion,
        Spread,
        Transport,
        Wanted, //
    },
    virtio_hvl::{
        fault::Fault,
        queue::Queue, //
    }, //
};
use core::hint::spin_loop;
use kernel::{
    bindings,
    cpumask::Cpumask,
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Relaxed,
            Release, //
        },
        Arc, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Longest wait for a queue whose driver spins, in milliseconds: nothing else runs on this CPU
/// meanwhile, and the kernel's detectors of that look away for ten seconds at least.
const SPIN_MS: u32 = 5000;
/// Largest segment of a block request and the like, in bytes.
const MAPPING_MAX: usize = config::MAPPING_MAX as usize;

/// The writes of a 64-bit address to the pair of registers that begins at `low`.
fn address(low: u32, address: u64) -> [Entry; 2] {
    [
        Entry::register(low, address as u32),
        Entry::register(low + 4, (address >> 32) as u32),
    ]
}

impl Transport for HvlDevice {
    type Map = Queue;

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
        let (Ok(low), Ok(high)) = (half(0), half(1)) else {
            // The failure is latched; `finalize_features` returns it.
            return 0;
        };
        let offered = u64::from(low) | (u64::from(high) << 32);
        // The core asks more than once.
        if self.offered.xchg(offered, Relaxed) == offered {
            return self.shown.load(Relaxed);
        }
        let report = |dropped| self.report_dropped(dropped);
        let kind = self.entry.device_id;
        let net = kind == device::NET;
        let console = kind == device::CONSOLE;
        let (pairs, mtu) = if net { self.pairs_and_mtu() } else { (0, 0) };
        let shape = Shape {
            device: kind,
            queues: self.entry.queue_count,
            pairs,
            ports: if console {
                self.config_word(config::PORTS)
            } else {
                0
            },
        };
        let shown = features::filter(shape, offered, report);
        let shown = if net {
            // What a driver sends, and is sent, at once has to have room.
            let (Ok((received, receive)), Ok((sent, send))) =
                (self.narrowest(0, shown), self.narrowest(1, shown))
            else {
                return 0;
            };
            // Where nothing is copied all memory is room.
            let direct = self.wire.dma().is_some();
            let most = if direct {
                u16::MAX
            } else {
                features::mtu(&send, &receive)
            };
            if mtu > most {
                report(Dropped::Mtu(mtu, most));
            }
            self.config.limit(Limits {
                pairs: features::pairs_of(self.entry.queue_count),
                mtu: Some(most),
                announce: features::may_announce(shown),
                ..Limits::default()
            });
            let least = if direct { u32::MAX } else { 0 };
            let (received, sent) = (received.max(least), sent.max(least));
            features::fit(kind, shown, (sent, &send), (received, &receive), report)
        } else if kind == device::BLOCK {
            let Ok(limits) = self.block_limits(shown) else {
                return 0;
            };
            self.config.limit(limits);
            shown
        } else {
            self.config.limit(Limits {
                ports: ports_of(self.entry.queue_count),
                ..Limits::default()
            });
            shown
        };
        self.shown.store(shown, Relaxed);
        shown
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
        // What the ring in the region can be is between the peer and us.
        let features = features | (self.offered.load(Relaxed) & OWN);
        // The device is told together with FEATURES_OK.
        self.features.store(features, Relaxed);
        Ok(())
    }

    fn status(&self) -> u8 {
        // What the driver did not write is not believed, or a peer could make the core warn.
        let own = self.status.load(Relaxed);
        let needs_reset = if self.needs_reset() {
            status::NEEDS_RESET
        } else {
            0
        };
        (own | needs_reset) as u8
    }

    fn set_status(&self, status: u8) {
        let status = u32::from(status) & !status::NEEDS_RESET;
        let known = self.status.load(Relaxed);
        if status & !(known | EARLY) == 0 {
            // As below.
            self.status.store(status, Release);
            return;
        }
        let features = self.features.load(Relaxed);
        let mut batch = Batch::new();
        if status & status::FEATURES_OK & !known != 0 {
            batch.add(&[
                Entry::register(reg::DRIVER_FEATURES_SEL, 1),
                Entry::register(reg::DRIVER_FEATURES, (features >> 32) as u32),
                Entry::register(reg::DRIVER_FEATURES_SEL, 0),
                Entry::register(reg::DRIVER_FEATURES, features as u32),
            ]);
        }
        batch.add(&[Entry::register(reg::STATUS, status)]);
        let shown = self.transact(batch.entries(), |page| page.read(reg::STATUS));
        let accepted = match shown {
            // The one bit that a device may refuse.
            Ok(shown) => status & (shown | !status::FEATURES_OK),
            Err(_) => known | (status & status::FAILED),
        };
        self.told.store(accepted & EARLY, Relaxed);
        // Pairs with the acquire in `needs_reset`.
        self.status.store(accepted, Release);
        if status & status::DRIVER_OK != 0 {
            self.ready.store(true, Relaxed);
            self.wire.want_look(self.index);
        }
    }

    fn reset(&self) {
        self.status.store(0, Relaxed);
        self.told.store(0, Relaxed);
        self.ready.store(false, Relaxed);
        self.end_use(&[Entry::register(reg::STATUS, 0)]);
        for queue in self.queues() {
            queue.close();
        }
        if let Some(watch) = &self.role.watch {
            watch.reset();
        }
    }

    fn config_read(&self, offset: u32, data: &mut [u8]) {
        // Nobody waits for a device that has failed.
        let source = (!self.has_failed()).then(|| self.config_source());
        if let Err(fault) = self.config.read(source.as_ref(), offset, data) {
            self.fail(fault);
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
        self.config.forget();
    }

    fn config_generation(&self) -> u32 {
        let source = (!self.has_failed()).then(|| self.config_source());
        let (generation, result) = self.config.generation(source.as_ref());
        if let Err(fault) = result {
            self.fail(fault);
        }
        generation
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

    fn request_interrupts(
        &self,
        device: &Arc<Device<Self>>,
        name: &CStr,
        wanted: &[Wanted<'_>],
        spread: Option<Spread>,
    ) -> Result {
        self.request_vectors(device, name, wanted, spread)
    }

    fn release_interrupts(&self) {
        self.release_vectors();
    }

    fn set_queue_affinity(&self, index: u32, cpus: Option<&Cpumask>) -> Result {
        self.set_affinity(index, cpus)
    }

    fn queue_affinity(&self, index: u32) -> Option<*const bindings::cpumask> {
        self.affinity(index)
    }

    fn queue_setup(&self, index: u32) -> Result<QueueSetup<Queue>> {
        let queue = self.queue(index)?;
        let plan = self.plan(index)?;
        queue.prepare(plan.private)?;
        Ok(QueueSetup {
            size_max: plan.private.into(),
            map: queue.clone(),
        })
    }

    fn queue_enable(&self, index: u32, ring: u64, size: u32) -> Result {
        let queue = self.queue(index)?;
        let plan = self.plan_within(index, size)?;
        let private = u16::try_from(size).map_err(|_| EINVAL)?;
        let shown = {
            let (device, features) = (self.entry.device_id, self.features.load(Relaxed));
            let least = least_written(device, features, index);
            queue.open(&plan, ring, private, self.ring_features(), least)?
        };
        let [desc_low, desc_high] = address(reg::QUEUE_DESC_LOW, shown.desc);
        let [driver_low, driver_high] = address(reg::QUEUE_DRIVER_LOW, shown.driver);
        let [device_low, device_high] = address(reg::QUEUE_DEVICE_LOW, shown.device);
        let entries = [
            Entry::register(reg::QUEUE_SEL, index),
            Entry::register(reg::QUEUE_SIZE, shown.size),
            desc_low,
            desc_high,
            driver_low,
            driver_high,
            device_low,
            device_high,
            Entry::register(reg::QUEUE_READY, 1),
        ];
        match self.transact(&entries, |page| page.read(reg::QUEUE_READY)) {
            Ok(1) => Ok(()),
            Ok(_) => Err(self.fail(Fault::Ignored("QueueReady"))),
            Err(error) => Err(error),
        }
        .inspect_err(|_| {
            queue.close();
        })
    }

    fn queue_reset(&self, index: u32) -> Result {
        let entries = [
            Entry::register(reg::QUEUE_SEL, index),
            Entry::register(reg::QUEUE_RESET, 1),
        ];
        if self.transact(&entries, |page| page.read(reg::QUEUE_READY))? != 0 {
            return Err(self.fail(Fault::Ignored("QueueReset")));
        }
        self.queue(index)?.close();
        Ok(())
    }

    fn queue_disable(&self, index: u32) {
        let Some(queue) = self.queues().get(index as usize) else {
            return;
        };
        if queue.size.load(Relaxed) != 0 && self.status.load(Relaxed) != 0 {
            self.end_use(&[
                Entry::register(reg::QUEUE_SEL, index),
                Entry::register(reg::QUEUE_READY, 0),
            ]);
        }
        queue.close();
    }

    fn queue_deleted(&self, index: u32) {
        if let Some(queue) = self.queues().get(index as usize) {
            queue.forget();
        }
    }

    fn notify(&self, index: u32) -> bool {
        let Some(queue) = self.queues().get(index as usize) else {
            return false;
        };
        if self.has_failed() || !self.wire.is_up(self.window.epoch()) || !queue.post() {
            if self.last_word().is_none() {
                queue.give_up();
                return !drivers::breaks(self.entry.device_id, index);
            }
            // Not here: the driver may be in the middle of something. It is called by the link's thread.
            self.wire.wake();
            return true;
        }
        if !self.spins_for(index) || self.wait_used(queue) {
            return true;
        }
        self.unserved.store(index + 1, Relaxed);
        self.wire.wake();
        // Which breaks it, as above: its driver may free what it has added at once.
        queue.give_up();
        false
    }

    fn mapping_max(&self) -> usize {
        let shown = self.shown.load(Relaxed);
        if self.entry.device_id == device::BLOCK && shown & config::SEG_MAX != 0 {
            // Of these it takes several.
            return config::SEGMENT as usize;
        }
        if let Some(dma) = self.wire.dma() {
            // What a chain may have in all is the same.
            return MAPPING_MAX.min(dma.mapping_max());
        }
        // A request has a header and more, too.
        let least = self.queues().iter().map(|queue| queue.bytes()).min();
        match least {
            Some(bytes) if bytes < BULK => bytes as usize / 4,
            _ => MAPPING_MAX,
        }
    }
}

impl HvlDevice {
    /// Where its configuration space is copied from.
    fn config_source(&self) -> Source<'_> {
        Source {
            page: self.window.page(),
            wire: &self.wire,
            epoch: self.window.epoch(),
        }
    }

    /// Whether the driver spins for queue `index`, for all that is known.
    fn spins_for(&self, index: u32) -> bool {
        let (entry, features) = (&self.entry, self.features.load(Relaxed));
        if !spins(entry.device_id, entry.queue_count, features, index) {
            return false;
        }
        let watch = self.role.watch.as_ref();
        let watch = watch.filter(|_| has_ports(features));
        watch.is_none_or(|watch| watch.spins(index))
    }

    fn report_dropped(&self, dropped: Dropped) {
        if self.wire.may_say() {
            let (index, kind) = (self.index, self.entry.device_id);
            dev_warn!(
                self.wire.dev(),
                "device {index} (virtio type {kind}): {}\n",
                Shown(dropped)
            );
        }
    }

    /// Waits, for a driver that would do it itself and without end, until the peer has used all
    /// buffers of `queue`. `false`: it did not in time. Any context.
    fn wait_used(&self, queue: &Queue) -> bool {
        let limit = i64::from(self.wire.timeout_ms().min(SPIN_MS));
        let start = Instant::<Monotonic>::now();
        loop {
            queue.complete();
            match queue.is_settled() {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
            let up = self.wire.is_up(self.window.epoch()) && !self.has_failed();
            if !up || start.elapsed().as_millis() >= limit {
                return false;
            }
            spin_loop();
        }
    }
}

/// For the kernel's formatting, which has traits of its own.
struct Shown(Dropped);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(&self.0, f)
    }
}
