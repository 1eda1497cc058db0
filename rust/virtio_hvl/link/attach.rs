// SPDX-License-Identifier: GPL-2.0

//! Attaching to a peer and letting go of it (protocol.rst, "States").

use super::{
    selftest::Dead,
    state::{
        HvlVirtio,
        Link, //
    }, //
};
use crate::{
    algo::{
        drivers::callbacks,
        handshake::driver_epoch,
        setting,
        share::{
            Shares,
            Sum, //
        },
        vectors, //
    },
    proto::{
        layout::{
            link,
            DEVICES_MAX,
            VERSION, //
        },
        DeviceEntry,
        DriverState,
        FieldError,
        Identity,
        PeerState, //
    },
    series::EOPNOTSUPP,
    virtio::Device,
    virtio_hvl::{
        device::{
            HvlDevice,
            Place, //
        },
        fault::Fault,
        wire::Peer, //
    }, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// How often a missing acknowledgement is looked for, in ms.
const POLL_MS: i64 = 5;

/// The identity and the device table of a peer, copied and not yet checked.
struct Copied {
    identity: [u32; link::IDENTITY_WORDS],
    table: [[u32; link::DEVICE_ENTRY_WORDS]; DEVICES_MAX],
}

impl Link {
    /// Copies the header of the peer of `epoch`.
    ///
    /// # Errors
    ///
    /// [`Fault::Down`] for a peer that is not, or no longer, the ready one.
    fn copy_header(&self, epoch: u32) -> Result<KBox<Copied>> {
        let copied = Copied {
            identity: self.wire().header().copy_words(link::IDENTITY),
            table: core::array::from_fn(|index| {
                self.wire().header().copy_words(link::device_entry(index))
            }),
        };
        // Pairs with the peer's writes of state and epoch around its changes of the header.
        self.wire().header().full_barrier();
        if !self.shows(epoch) {
            return Err(Fault::Down.error());
        }
        Ok(KBox::new(copied, GFP_KERNEL)?)
    }

    /// Whether the peer of `epoch` says that it is ready.
    fn shows(&self, epoch: u32) -> bool {
        let view = self.wire().view();
        view.epoch == epoch && view.state == Some(PeerState::Ready)
    }

    /// Attaches to the peer of `epoch`; its devices.
    ///
    /// # Errors
    ///
    /// Those of [`Fault::error`] for a header that is not right, `ETIMEDOUT` and `EIO` for
    /// doorbells that do not work, `EINTR` when the link is to end, `ENOMEM`. Each was logged,
    /// unless the peer is gone again.
    pub(super) fn attach(self: &Arc<Self>, epoch: u32) -> Result<KVec<Arc<HvlVirtio>>> {
        let copied = self.copy_header(epoch)?;
        let size = self.wire().region().size() as u64;
        let identity = Identity::parse(&copied.identity, size).map_err(|error| {
            self.wire().counters.malformed.add(1, Relaxed);
            self.complain_once(epoch, fmt!("the peer's header is refused: {error}"));
            Fault::from(error).error()
        })?;
        if identity.epoch != epoch {
            return Err(ENODEV);
        }
        if self.wire().dma().is_some() && !identity.reaches_memory() {
            let (version, features) = (identity.version, identity.features);
            self.complain_once(
                epoch,
                fmt!(
                    "direct mode is refused: the peer's Version is {version:#x}, LinkFeatures {features:#x}, must \
                     have bit {} of a peer that reaches Linux's memory: start one that does, or remove \
                     virtio-hvl,direct from the node",
                    link::FEATURE_MEMORY.trailing_zeros()
                ),
            );
            return Err(EOPNOTSUPP);
        }
        self.announce(epoch, &identity);
        let devices = self.greet(&identity, &copied.table);
        if devices.is_err() {
            self.depart();
        }
        devices
    }

    /// Makes sure that the peer hears us and we hear it; its devices.
    fn greet(
        self: &Arc<Self>,
        identity: &Identity,
        table: &[[u32; link::DEVICE_ENTRY_WORDS]; DEVICES_MAX],
    ) -> Result<KVec<Arc<HvlVirtio>>> {
        let epoch = identity.epoch;
        let ns = self.selftest.run(self.wire()).map_err(|dead| {
            if dead != Dead::Stopping && self.shows(epoch) {
                self.complain_once(epoch, fmt!("link test failed: {dead}"));
            }
            dead.error()
        })?;
        self.selftest.first_ns.store(ns, Relaxed);
        self.wait_adopted(epoch)?;

        let mut entries = self
            .entries(identity, table)
            .inspect_err(|_| self.no_memory())?;
        let peer = Peer {
            identity: *identity,
            shares: self.divide(identity, &mut entries)?,
        };
        *self.peer.lock() = Some(peer);
        self.wire().counters.attachments.add(1, Relaxed);
        self.complained.store(0, Relaxed);
        self.device_count.store(identity.device_count, Relaxed);
        self.wire().set_epoch(epoch);
        let polled = self.wire().polled();
        if self.wire().may_say() {
            dev_info!(
                self.wire().dev(),
                "peer attached: epoch {epoch}, protocol {}.{}, {} devices, doorbell round trip {} us{}{}\n",
                identity.version >> 16,
                identity.version & 0xffff,
                identity.device_count,
                ns.div_ceil(1000),
                polled.map_or("", |_| ", "),
                polled.unwrap_or("")
            );
        }
        if let Some(dma) = self.wire().dma().filter(|_| self.wire().may_say()) {
            dev_notice!(
                self.wire().dev(),
                "direct mode: the peer can read and write all memory that it reaches by addresses of {} bits\n",
                dma.bits()
            );
        }
        self.devices(peer, &entries)
            .inspect_err(|_| self.no_memory())
    }

    fn no_memory(&self) {
        dev_err!(self.wire().dev(), "no memory for the peer's devices\n");
    }

    /// Says once why the peer of `epoch` is refused.
    fn complain_once(&self, epoch: u32, why: fmt::Arguments<'_>) {
        if self.complained.xchg(epoch, Relaxed) != epoch {
            self.wire().complain(why);
        }
    }

    /// Publishes a new attachment, and rings.
    fn announce(&self, epoch: u32, identity: &Identity) {
        // SAFETY: May be called anywhere.
        let random = unsafe { kernel::bindings::get_random_u32() };
        let seen = self.wire().header().read(link::DRIVER_EPOCH_SEEN);
        let shown = self.wire().header().read(link::DRIVER_EPOCH);
        let own = driver_epoch(random, seen, shown);
        self.driver_epoch.store(own, Relaxed);
        self.wire().alarm.arm(true);
        self.wire().header().write(link::DRIVER_VERSION, VERSION);
        self.wire().header().write(link::EPOCH_ACK, epoch);
        self.show_vectors(identity);
        let looks = identity.looks_at_notifies();
        self.wire().count_notifications(looks);
        let counted = if looks { link::FEATURE_NOTIFY } else { 0 };
        let used = self.wire().dma().map_or(0, |_| link::FEATURE_MEMORY) | counted;
        self.wire().header().write(link::DRIVER_FEATURES, used);
        self.wire().acknowledge_rings();
        self.wire().header().publish(link::DRIVER_EPOCH, own);
        self.wire()
            .header()
            .publish(link::DRIVER_STATE, DriverState::Attached as u32);
    }

    /// Writes the vector table, or that there is none where the peer of `identity` could not use it.
    fn show_vectors(&self, identity: &Identity) {
        let interrupts = self.wire().interrupts();
        let any = interrupts.iter().any(|other| other.is_usable(identity));
        let count = if any { interrupts.len() } else { 0 };
        for (index, interrupt) in interrupts.iter().enumerate().take(count) {
            self.wire().set_vector(index, interrupt.vector());
        }
        self.wire().header().write(link::VECTOR_COUNT, count as u32);
    }

    /// Which entries of the vector table each of `entries` has for itself.
    fn vectors(
        &self,
        identity: &Identity,
        entries: &[Option<DeviceEntry>],
    ) -> Result<KVec<KVec<usize>>> {
        let mut usable = KVec::new();
        for (index, interrupt) in self.wire().interrupts().iter().enumerate() {
            if interrupt.is_usable(identity) {
                usable.push(index, GFP_KERNEL)?;
            }
        }
        let mut wanted = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for entry in entries {
            let callbacks = entry
                .as_ref()
                .map_or(0, |entry| callbacks(entry.device_id, entry.queue_count));
            wanted.push(callbacks as usize, GFP_KERNEL)?;
        }
        let mut all = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for part in vectors::parts(usable.len(), &wanted) {
            let own = usable.iter().skip(part.first).take(part.count);
            let mut list = KVec::with_capacity(part.count, GFP_KERNEL)?;
            for vector in own {
                list.push(*vector, GFP_KERNEL)?;
            }
            all.push(list, GFP_KERNEL)?;
        }
        Ok(all)
    }

    /// Waits until the peer has dropped what it knew of earlier drivers.
    fn wait_adopted(&self, epoch: u32) -> Result {
        let own = self.driver_epoch.load(Relaxed);
        let limit = self.wire().now_ms() + u64::from(self.wire().timeout_ms());
        while self.wire().header().observe(link::DRIVER_EPOCH_SEEN) != own {
            if !self.shows(epoch) {
                return Err(ENODEV);
            }
            if self.wire().is_stopping() {
                return Err(EINTR);
            }
            if self.wire().now_ms() >= limit {
                let seen = self.wire().header().read(link::DRIVER_EPOCH_SEEN);
                self.complain_once(
                    epoch,
                    fmt!("the peer does not adopt the driver: DriverEpochSeen is {seen:#x}, must be {own:#x}"),
                );
                return Err(ETIMEDOUT);
            }
            fsleep(Delta::from_millis(POLL_MS));
        }
        Ok(())
    }

    /// The device table; `None` for an entry that is refused.
    fn entries(
        &self,
        identity: &Identity,
        table: &[[u32; link::DEVICE_ENTRY_WORDS]; DEVICES_MAX],
    ) -> Result<KVec<Option<DeviceEntry>>> {
        let mut entries: KVec<Option<DeviceEntry>> = KVec::new();
        for (index, words) in table
            .iter()
            .enumerate()
            .take(identity.device_count as usize)
        {
            let entry = DeviceEntry::parse(words, identity).and_then(|entry| {
                for (other, known) in entries.iter().enumerate() {
                    entry
                        .check_distinct(known.as_slice())
                        .map_err(|error| FieldError {
                            bound: other as u64,
                            ..error
                        })?;
                }
                Ok(entry)
            });
            let entry = entry
                .inspect_err(|error| {
                    self.wire().counters.malformed.add(1, Relaxed);
                    self.wire()
                        .complain(fmt!("device {index} is skipped: its {error}"));
                })
                .ok();
            entries.push(entry, GFP_KERNEL)?;
        }
        Ok(entries)
    }

    /// Divides the pool among the queues of `entries`, without those of devices that it has no room
    /// for.
    fn divide(&self, identity: &Identity, entries: &mut [Option<DeviceEntry>]) -> Result<Shares> {
        let (size, pool) = (identity.region_size, identity.pool_size);
        // The region would have to be larger by as much as the pool.
        let region_for = |bytes: u64| bytes.saturating_add(u64::from(size.saturating_sub(pool)));
        let settings = self.wire().settings();
        let (mut all, mut wanted) = (Sum::default(), Sum::default());
        for (index, slot) in entries.iter_mut().enumerate() {
            let Some(entry) = slot else {
                continue;
            };
            let (number, kind, queues) = (index as u32, entry.device_id, entry.queue_count);
            if let Some(lack) = setting::lack(settings, number, kind, queues) {
                self.wire().complain(fmt!(
                    "device {index} (virtio type {kind}) is skipped: queue {} has {:#x} bytes by its \
                     node's virtio-hvl,queue-share-bytes: must be at least {:#x}",
                    lack.queue,
                    lack.bytes,
                    lack.least
                ));
                *slot = None;
                continue;
            }
            let own = Sum::of_set_device(settings, number, kind, queues);
            wanted = wanted.and(own);
            if all.and(own).need() <= u64::from(pool) {
                all = all.and(own);
                continue;
            }
            self.wire().complain(fmt!(
                "device {index} (virtio type {}) is skipped: its queues need {:#x} bytes of the pool, \
                 {:#x} are left: the region must have at least {:#x}",
                entry.device_id,
                own.need(),
                u64::from(pool).saturating_sub(all.need()),
                region_for(wanted.need())
            ));
            *slot = None;
        }
        let copied = self.wire().dma().is_none();
        if copied && wanted.plenty() > u64::from(pool) && self.wire().may_say() {
            dev_warn!(
                self.wire().dev(),
                "the region has {size:#x} bytes: with {:#x} no queue would have to wait for room\n",
                region_for(wanted.plenty())
            );
        }
        Shares::new(identity.pool_offset, pool, all).ok_or(EINVAL)
    }

    /// What `entries` describe, ready to be registered. A device that shows something else is
    /// skipped.
    fn devices(
        self: &Arc<Self>,
        peer: Peer,
        entries: &[Option<DeviceEntry>],
    ) -> Result<KVec<Arc<HvlVirtio>>> {
        let mut devices = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        let (mut before, mut queues) = (Sum::default(), 0u32);
        let vectors = self.vectors(&peer.identity, entries)?;
        let each = entries.iter().zip(vectors).enumerate();
        for (index, (entry, vectors)) in each {
            let Some(entry) = entry else {
                continue;
            };
            let place = Place {
                before,
                queues,
                vectors,
            };
            queues = queues.saturating_add(entry.queue_count);
            match HvlDevice::new(self.wire(), peer, index, *entry, place) {
                Ok(device) => devices.push(Device::new(device)?, GFP_KERNEL)?,
                Err(ENOMEM) => return Err(ENOMEM),
                // It was said why.
                Err(_) => {}
            }
            before = before.and(Sum::of_set_device(
                self.wire().settings(),
                index as u32,
                entry.device_id,
                entry.queue_count,
            ));
        }
        Ok(devices)
    }

    /// Tells the peer that no driver is left.
    pub(super) fn depart(&self) {
        self.wire().set_epoch(0);
        *self.peer.lock() = None;
        self.wire()
            .header()
            .publish(link::DRIVER_STATE, DriverState::Absent as u32);
        self.wire().ring();
        self.wire().alarm.arm(false);
    }
}
