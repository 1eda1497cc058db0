// SPDX-License-Identifier: GPL-2.0

//! Attaching to a peer and letting go of it (protocol.rst, "States").

use super::{
    Link,
    Peer, //
};
use crate::{
    algo::share::Shares,
    fault::Fault,
    proto::{
        layout::{
            link,
            VERSION, //
        },
        state::next_epoch,
        DeviceEntry,
        DriverState,
        Identity,
        PeerState, //
    },
    transport::HvlDevice,
    virtio::{
        Device,
        Registration,
        Released, //
    }, //
};
use kernel::{
    device,
    faux,
    fmt,
    prelude::*,
    str::CString,
    sync::{
        atomic::Relaxed,
        Arc, //
    },
    time::delay::fsleep,
    time::Delta, //
};

/// How often a missing acknowledgement is looked for, in ms.
const POLL_MS: i64 = 5;

/// A registered device of the peer's.
pub(super) struct Attached {
    index: usize,
    // Dropped in this order: the device, then its parent.
    registration: Registration<HvlDevice>,
    _parent: faux::Registration,
}

impl Link {
    /// Copies the header of the peer of `epoch` and checks it.
    fn identify(&self, epoch: u32) -> Result<Identity, Fault> {
        let words = self.header.copy_words(link::IDENTITY);
        // Pairs with the peer's writes of state and epoch around its changes of the header.
        crate::shmem::full_barrier();
        let view = self.view();
        if view.epoch != epoch || view.state != Some(PeerState::Ready) {
            return Err(Fault::Down);
        }
        let identity = Identity::parse(&words, self.region().size() as u64)?;
        if identity.epoch != epoch {
            return Err(Fault::Down);
        }
        Ok(identity)
    }

    /// Attaches to the peer of `epoch` and registers its devices.
    ///
    /// # Errors
    ///
    /// Those of [`Fault::error`] for a header that is not right, `ETIMEDOUT` and `EIO` for
    /// doorbells that do not work, `ENOMEM`. Each was logged, unless the peer is gone again.
    pub(super) fn attach(self: &Arc<Self>, epoch: u32) -> Result<KVec<Attached>> {
        let identity = self.identify(epoch).inspect_err(|&fault| {
            if fault != Fault::Down {
                self.counters.malformed.add(1, Relaxed);
                self.complain(epoch, fmt!("the peer's header is refused: {fault}"));
            }
        })?;
        self.announce(epoch);
        let ns = self.test().map_err(|dead| {
            if self.view().epoch == epoch {
                self.complain(epoch, fmt!("link test failed: {dead}"));
            }
            dead.error()
        })?;
        self.selftest.first_ns.store(ns, Relaxed);
        self.wait_adopted(epoch)?;

        let entries = self.entries(&identity)?;
        let queues = entries
            .iter()
            .flatten()
            .fold(0u32, |sum, entry| sum.saturating_add(entry.queue_count));
        *self.peer.lock() = Some(Peer {
            identity,
            shares: Shares::new(identity.pool_offset, identity.pool_size, queues),
        });
        self.counters.attachments.add(1, Relaxed);
        self.set_epoch(epoch);
        dev_info!(
            self.dev(),
            "peer attached: epoch {epoch}, protocol {}.{}, {} devices, doorbell round trip {} us\n",
            identity.version >> 16,
            identity.version & 0xffff,
            identity.device_count,
            ns.div_ceil(1000)
        );
        self.register(&entries)
    }

    /// Says once why the peer of `epoch` is refused.
    fn complain(&self, epoch: u32, why: fmt::Arguments<'_>) {
        if self.complained.xchg(epoch, Relaxed) != epoch {
            dev_err!(self.dev(), "{why}\n");
        }
    }

    /// Publishes a new attachment, and rings.
    fn announce(&self, epoch: u32) {
        // SAFETY: May be called anywhere.
        let random = unsafe { kernel::bindings::get_random_u32() };
        let last = self.header.read(link::DRIVER_EPOCH_SEEN);
        let own = if random == 0 || random == last {
            next_epoch(last)
        } else {
            random
        };
        self.driver_epoch.store(own, Relaxed);
        self.header.write(link::DRIVER_VERSION, VERSION);
        self.header.write(link::EPOCH_ACK, epoch);
        self.header.write(link::MSI_COUNT, 0);
        self.header.publish(link::DRIVER_EPOCH, own);
        self.header
            .publish(link::DRIVER_STATE, DriverState::Attached as u32);
    }

    /// Waits until the peer has dropped what it knew of earlier drivers.
    fn wait_adopted(&self, epoch: u32) -> Result {
        let own = self.driver_epoch.load(Relaxed);
        let limit = self.now_ms() + u64::from(self.timeout_ms());
        while self.header.observe(link::DRIVER_EPOCH_SEEN) != own {
            if self.view().epoch != epoch {
                return Err(ENODEV);
            }
            if self.now_ms() >= limit {
                let seen = self.header.read(link::DRIVER_EPOCH_SEEN);
                self.complain(
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
    fn entries(&self, identity: &Identity) -> Result<KVec<Option<DeviceEntry>>> {
        let mut entries: KVec<Option<DeviceEntry>> = KVec::new();
        for index in 0..identity.device_count as usize {
            let words = self.header.copy_words(link::device_entry(index));
            let entry = DeviceEntry::parse(&words, identity).and_then(|entry| {
                for other in entries.iter().flatten() {
                    entry.check_distinct(core::slice::from_ref(other))?;
                }
                Ok(entry)
            });
            let entry = entry
                .inspect_err(|error| {
                    self.counters.malformed.add(1, Relaxed);
                    dev_err!(self.dev(), "device {index} is skipped: its {error}\n");
                })
                .ok();
            entries.push(entry, GFP_KERNEL)?;
        }
        Ok(entries)
    }

    /// Registers what `entries` describe. A device that cannot be registered is skipped.
    fn register(self: &Arc<Self>, entries: &[Option<DeviceEntry>]) -> Result<KVec<Attached>> {
        let mut devices = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        let mut first_share = 0;
        for (index, entry) in entries.iter().enumerate() {
            let Some(entry) = entry else {
                continue;
            };
            match self.register_one(index, *entry, first_share) {
                Ok(device) => devices.push(device, GFP_KERNEL)?,
                Err(error) => dev_err!(
                    self.dev(),
                    "device {index} (virtio type {}) is not registered: {error:?}\n",
                    entry.device_id
                ),
            }
            first_share += entry.queue_count;
        }
        Ok(devices)
    }

    fn register_one(
        self: &Arc<Self>,
        index: usize,
        entry: DeviceEntry,
        first_share: u32,
    ) -> Result<Attached> {
        let device = Device::new(HvlDevice::new(self, index, entry, first_share)?)?;
        let parent_name = CString::try_from_fmt(fmt!("{}.{index}", self.name()))?;
        let parent = faux::Registration::new(&parent_name, Some(self.dev()))?;
        // Its transactions are answered by interrupts from here on.
        self.set_slot(index, Some(device.clone()));
        let bound: &device::Device<device::Bound> = parent.as_ref().as_ref();
        let registration =
            Registration::new(device, bound).inspect_err(|_| self.set_slot(index, None))?;
        registration.device().transport().look();
        Ok(Attached {
            index,
            registration,
            _parent: parent,
        })
    }

    /// Removes all devices. The peer is still told to reset them if the link is up. `leaving` gets
    /// those that may still have users; these are waited for when it is dropped.
    pub(super) fn release(&self, devices: KVec<Attached>, leaving: &mut KVec<Released<HvlDevice>>) {
        leaving.retain(|device| !device.is_done());
        for Attached {
            index,
            registration,
            _parent,
        } in devices
        {
            if self.epoch() == 0 {
                // Nobody will answer: let go of everything that waits for it.
                registration.device().break_queues();
            }
            let released = registration.unregister();
            self.set_slot(index, None);
            // Where there is no memory for it, it is dropped and so waited for now.
            let _ = leaving.push(released, GFP_KERNEL);
        }
        *self.peer.lock() = None;
    }

    /// Tells the peer that no driver is left.
    pub(super) fn depart(&self) {
        self.set_epoch(0);
        self.header
            .publish(link::DRIVER_STATE, DriverState::Absent as u32);
        self.ring();
    }
}
