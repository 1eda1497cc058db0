// SPDX-License-Identifier: GPL-2.0

//! One device of the peer's as a virtio transport.

mod ops;
mod spin;

use crate::{
    algo::storm::Storm,
    proto::{
        layout::window,
        virtio::{
            reg,
            MMIO_MAGIC,
            MMIO_VERSION, //
        },
        DeviceEntry,
        Entry,
        FieldError,
        Kind, //
    },
    virtio::Device,
    virtio_hvl::{
        bounce::Share,
        fault::Fault,
        shmem::{
            Area,
            Page, //
        },
        window::{
            Last,
            Window, //
        },
        wire::{
            Peer,
            Wire, //
        }, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex,
        SetOnce, //
    }, //
};

/// Changes of the configuration that are followed in one second.
const GENERATIONS_PER_S: u32 = 64;

/// One virtqueue as the transport sees it.
pub(crate) struct Queue {
    /// Its memory, once a driver has asked for the queue.
    pub(crate) share: SetOnce<Arc<Share>>,
    notify_count: Atomic<u32>,
    /// Addresses of the driver area and the device area.
    driver: Atomic<u64>,
    device: Atomic<u64>,
    event_seen: Atomic<u32>,
    /// Entries, 0 while it is not in use.
    pub(crate) size: Atomic<u32>,
    /// Notifications sent.
    pub(crate) kicks: Atomic<u64>,
    /// Used buffer notifications seen.
    pub(crate) interrupts: Atomic<u64>,
}

struct Generation {
    shown: u32,
    storm: Storm,
}

/// One device of the peer of one epoch.
pub(crate) struct HvlDevice {
    wire: Arc<Wire>,
    peer: Peer,
    index: usize,
    /// What the device table says.
    pub(crate) entry: DeviceEntry,
    name: CString,
    window: Pin<KBox<Window>>,
    /// Its queues.
    pub(crate) queues: KVec<Queue>,
    /// Number of the first queue's share of the pool.
    first_share: u32,
    generation: Pin<KBox<Mutex<Generation>>>,
    config_seen: Atomic<u32>,
    /// The features that are used.
    features: Atomic<u64>,
    /// Number of a queue that the peer does not serve, plus one; 0: none is known.
    unserved: Atomic<u32>,
    /// The status that the driver wrote, less what the device refused.
    status: Atomic<u32>,
    /// Set by the first fault: nothing is sent to the device any more but what ends its use of
    /// memory.
    failed: AtomicFlag,
}

impl HvlDevice {
    /// Device `index` of `peer`. `first_share` counts the queues of the devices before it.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the window does not show a device of this type, or for a type that no peer may
    /// have; `ENOMEM`. Each but `ENOMEM` was logged.
    pub(crate) fn new(
        wire: &Arc<Wire>,
        peer: Peer,
        index: usize,
        entry: DeviceEntry,
        first_share: u32,
    ) -> Result<Self> {
        if spin::is_endless(entry.device_id) {
            wire.complain(fmt!(
                "device {index} is skipped: its DeviceId is {:#x}, must be other than an IOMMU",
                entry.device_id
            ));
            return Err(ENODEV);
        }
        let page = Page::new(wire.region(), entry.window)?;
        check_view(&page, &entry).map_err(|fault| {
            wire.complain(fmt!("device {index} is skipped: {fault}"));
            fault.error()
        })?;

        let mut queues = KVec::with_capacity(entry.queue_count as usize, GFP_KERNEL)?;
        for q in 0..entry.queue_count as usize {
            let queue = Queue {
                share: SetOnce::new(),
                notify_count: Atomic::new(page.read(window::notify_count(q))),
                driver: Atomic::new(0),
                device: Atomic::new(0),
                event_seen: Atomic::new(page.read(window::queue_event(q))),
                size: Atomic::new(0),
                kicks: Atomic::new(0),
                interrupts: Atomic::new(0),
            };
            queues.push(queue, GFP_KERNEL)?;
        }
        let generation = Generation {
            shown: page.read(reg::CONFIG_GENERATION),
            storm: Storm::new(GENERATIONS_PER_S, 1000),
        };
        Ok(Self {
            wire: wire.clone(),
            peer,
            index,
            entry,
            name: CString::try_from_fmt(fmt!("{}.{index}", wire.name()))?,
            config_seen: Atomic::new(page.read(window::CONFIG_EVENT)),
            window: KBox::pin_init(Window::new(page, peer.identity.epoch), GFP_KERNEL)?,
            queues,
            first_share,
            generation: KBox::pin_init(new_mutex!(generation), GFP_KERNEL)?,
            features: Atomic::new(0),
            unserved: Atomic::new(0),
            status: Atomic::new(0),
            failed: AtomicFlag::new(false),
        })
    }

    /// Name of the device: the link's and its number.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Its number in the device table.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// Says that a driver, or who holds it `open`, does not let go of the device.
    pub(crate) fn report_stuck(&self, open: bool) {
        dev_warn!(
            self.wire.dev(),
            "device {} (virtio type {}) cannot go: {}\n",
            self.index,
            self.entry.device_id,
            if open {
                "somebody keeps it open"
            } else {
                "its driver does not come to an end, though its queues are broken"
            }
        );
    }

    /// What the device table says.
    pub(crate) fn entry(&self) -> &DeviceEntry {
        &self.entry
    }

    /// Number that changes whenever the driver and the device have to do with each other.
    pub(crate) fn steps(&self) -> u64 {
        self.queues.iter().fold(self.window.steps(), |sum, queue| {
            let share = queue.share.as_ref().map_or(0, |share| {
                let counters = &share.counters;
                counters
                    .maps
                    .load(Relaxed)
                    .wrapping_add(counters.unmaps.load(Relaxed))
            });
            sum.wrapping_add(share)
                .wrapping_add(queue.kicks.load(Relaxed))
                .wrapping_add(queue.interrupts.load(Relaxed))
        })
    }

    /// Latches a fault that was noticed where that is not possible. Process context.
    pub(crate) fn catch_up(&self) {
        let unserved = self.unserved.xchg(0, Relaxed);
        if unserved != 0 {
            self.fail(Fault::Unserved(unserved - 1));
        }
    }

    /// Whether a fault was latched.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// How the last transaction went, once one was made.
    pub(crate) fn last_transaction(&self) -> Option<Last> {
        self.window.last()
    }

    /// Status as the driver sees it.
    pub(crate) fn shown_status(&self) -> u32 {
        self.status.load(Relaxed)
    }

    /// Passes on what the peer has counted up. Any context.
    pub(crate) fn interrupt(&self, device: &Device<Self>) {
        self.window.interrupt();
        let page = self.window.page();
        let count = page.read(window::CONFIG_EVENT);
        // Seen only when there was somebody to tell.
        if self.config_seen.load(Relaxed) != count && device.config_changed() {
            self.config_seen.store(count, Relaxed);
        }
        device.interrupt_queues(|index| {
            let Some(queue) = self.queues.get(index) else {
                return false;
            };
            // Pairs with the peer's increment after it published the used index.
            let count = page.observe(window::queue_event(index));
            let differs = queue.event_seen.xchg(count, Relaxed) != count;
            if differs {
                queue.interrupts.add(1, Relaxed);
            }
            differs
        });
    }

    /// Remembers that the device cannot be used, and says why, once. The link's thread then breaks
    /// its queues, so that nobody waits for it.
    pub(crate) fn fail(&self, fault: Fault) -> Error {
        if fault != Fault::Down && !self.failed.xchg(true, Release) {
            self.wire.counters.faults.add(1, Relaxed);
            // First: who waits for the device may keep the log from being written.
            self.wire.wake();
            self.wire.complain(fmt!(
                "device {} (virtio type {}) failed: {fault}",
                self.index,
                self.entry.device_id
            ));
        }
        fault.error()
    }

    /// A transaction, unless the device has failed before.
    fn transact<R>(&self, entries: &[Entry], read: impl FnOnce(&Page) -> R) -> Result<R> {
        if self.has_failed() {
            return Err(EIO);
        }
        self.window
            .transact(&self.wire, entries, read)
            .map_err(|fault| self.fail(fault))
    }

    /// A transaction that ends the device's use of memory, which a device that has failed is told
    /// as well.
    fn end_use(&self, entries: &[Entry]) {
        if let Err(fault) = self.window.transact(&self.wire, entries, |_| ()) {
            // Then the link is down, or the device has failed and what it may still write stays
            // inside of its queues' shares.
            self.fail(fault);
        }
    }

    /// The memory of queue `index`.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a queue that is not there, `ENOSPC` for a pool that is too small for its queues,
    /// `ENOMEM`.
    fn share(&self, index: u32) -> Result<Arc<Share>> {
        let queue = self.queues.get(index as usize).ok_or(ENOENT)?;
        if let Some(share) = queue.share.as_ref() {
            return Ok(share.clone());
        }
        let identity = self.peer.identity;
        let Some((offset, size)) = self.peer.shares.part(self.first_share + index) else {
            return Err(self.fail(Fault::Pool(identity.pool_size)));
        };
        let area = Area::new(self.wire.region(), offset, size)?;
        let share = Share::new(area, size, identity.peer_base + u64::from(offset))?;
        queue.share.populate(share.clone());
        Ok(share)
    }

    /// Physical address of the `len` bytes that the peer sees at `base`; `None` where they are not
    /// all inside of the region.
    fn to_physical(&self, base: u64, len: u64) -> Option<u64> {
        let identity = self.peer.identity;
        let offset = base.checked_sub(identity.peer_base)?;
        if offset.checked_add(len)? > u64::from(identity.region_size) {
            return None;
        }
        self.wire.region().start().checked_add(offset)
    }
}

/// Checks that the window shows what the table promises.
fn check_view(page: &Page, entry: &DeviceEntry) -> Result<(), Fault> {
    for (name, offset, want) in [
        ("MagicValue", reg::MAGIC, MMIO_MAGIC),
        ("register layout Version", reg::VERSION, MMIO_VERSION),
        ("DeviceID", reg::DEVICE_ID, entry.device_id),
    ] {
        let value = page.read(offset);
        if value != want {
            Err(FieldError::new(
                Kind::NotHvl,
                name,
                u64::from(value),
                "equal to",
                u64::from(want),
            ))?;
        }
    }
    Ok(())
}
