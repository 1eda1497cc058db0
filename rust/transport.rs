// SPDX-License-Identifier: GPL-2.0

//! One device of the peer's as a virtio transport.

mod ops;

use crate::{
    algo::storm::Storm,
    bounce::Share,
    fault::Fault,
    link::Link,
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
    shmem::Page,
    virtio::Device,
    window::{
        Last,
        Window, //
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
    link: Arc<Link>,
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
    /// The status that the driver wrote, less what the device refused.
    status: Atomic<u32>,
    /// Set by the first fault: nothing is sent to the device any more but a reset.
    failed: AtomicFlag,
}

impl HvlDevice {
    /// Device `index` of the peer that `link` is attached to. `first_share` counts the queues of
    /// the devices before it.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the window does not show a device of this type; `ENOMEM`.
    pub(crate) fn new(
        link: &Arc<Link>,
        index: usize,
        entry: DeviceEntry,
        first_share: u32,
    ) -> Result<Self> {
        let page = Page::new(link.region(), entry.window)?;
        check_view(&page, &entry).map_err(|fault| {
            dev_err!(link.dev(), "device {index} is skipped: {fault}\n");
            fault.error()
        })?;

        let mut queues = KVec::with_capacity(entry.queue_count as usize, GFP_KERNEL)?;
        for q in 0..entry.queue_count as usize {
            let queue = Queue {
                share: SetOnce::new(),
                notify_count: Atomic::new(page.read(window::notify_count(q))),
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
            link: link.clone(),
            index,
            entry,
            name: CString::try_from_fmt(fmt!("{}.{index}", link.name()))?,
            config_seen: Atomic::new(page.read(window::CONFIG_EVENT)),
            window: KBox::pin_init(Window::new(page, link.epoch()), GFP_KERNEL)?,
            queues,
            first_share,
            generation: KBox::pin_init(new_mutex!(generation), GFP_KERNEL)?,
            status: Atomic::new(0),
            failed: AtomicFlag::new(false),
        })
    }

    /// Name of the device: the link's and its number.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// Passes on what changed while the virtio core did not know the device.
    pub(crate) fn look(&self) {
        self.link.look_at(self.index);
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
            let pending = queue.event_seen.xchg(count, Relaxed) != count;
            if pending {
                queue.interrupts.add(1, Relaxed);
            }
            pending
        });
    }

    /// Remembers that the device cannot be used, and says why, once.
    fn fail(&self, fault: Fault) -> Error {
        if fault != Fault::Down && !self.failed.xchg(true, Release) {
            self.link.counters.faults.add(1, Relaxed);
            dev_err!(
                self.link.dev(),
                "device {} (virtio type {}) failed: {fault}\n",
                self.index,
                self.entry.device_id
            );
        }
        fault.error()
    }

    /// A transaction, unless the device has failed before.
    fn transact<R>(&self, entries: &[Entry], read: impl FnOnce(&Page) -> R) -> Result<R> {
        if self.has_failed() {
            return Err(EIO);
        }
        self.window
            .transact(&self.link, entries, read)
            .map_err(|fault| self.fail(fault))
    }

    fn share(&self, index: u32) -> Result<Arc<Share>> {
        let queue = self.queues.get(index as usize).ok_or(ENOENT)?;
        if let Some(share) = queue.share.as_ref() {
            return Ok(share.clone());
        }
        let share = self.link.new_share(self.first_share + index)?;
        queue.share.populate(share.clone());
        Ok(share)
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
