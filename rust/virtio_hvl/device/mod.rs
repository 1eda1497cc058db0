// SPDX-License-Identifier: GPL-2.0

//! One device of the peer's as a virtio transport.

mod caller;
mod config;
mod farewell;
mod look;
mod ops;
mod plan;
mod vectors;
mod watchdog;

pub(crate) use self::caller::Caller;
use self::{
    config::Config,
    vectors::Vectors, //
};
use crate::{
    algo::{
        drivers,
        share::{
            Sum,
            Want, //
        },
        vectors::doorbell_of, //
    },
    proto::{
        layout::window,
        virtio::{
            reg,
            status,
            MMIO_MAGIC,
            MMIO_VERSION, //
        },
        DeviceEntry,
        Entry,
        FieldError,
        Kind,
        PeerState, //
    },
    sys::series,
    virtio_hvl::{
        fault::Fault,
        queue::{
            Queue,
            Role, //
        },
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
        Arc, //
    }, //
};

/// What a device has of what the devices of a link share.
pub(crate) struct Place {
    /// What the queues of the devices before it ask for.
    pub(crate) before: Sum,
    /// How many queues those are.
    pub(crate) queues: u32,
    /// Entries of the vector table that it has for itself.
    pub(crate) vectors: KVec<usize>,
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
    queues: KVec<Arc<Queue>>,
    /// The event counter of each, as last seen by it when an interrupt came.
    events: KVec<Atomic<u32>>,
    /// What its driver needs that most do not.
    role: Role,
    config: Pin<KBox<Config>>,
    config_seen: Atomic<u32>,
    vectors: Pin<KBox<Vectors>>,
    /// What the device offers, what of it the driver is shown, and what is used.
    offered: Atomic<u64>,
    shown: Atomic<u64>,
    features: Atomic<u64>,
    /// Number of a queue that the peer does not serve, plus one; 0: none is known.
    unserved: Atomic<u32>,
    /// The status that the driver wrote, less what the device refused.
    status: Atomic<u32>,
    /// What of it the device was told. That the driver is there can wait for the next transaction,
    /// since a device does nothing about it.
    told: Atomic<u32>,
    /// Its driver has said that it is ready, whatever became of that.
    ready: AtomicFlag,
    /// Microseconds from the beginning of its registration to its end, drivers' probes included; 0 before.
    set_up_us: Atomic<u64>,
    /// Set by the first fault: nothing is sent to the device any more but what ends its use of
    /// memory.
    failed: AtomicFlag,
}

impl HvlDevice {
    /// Device `index` of `peer`, in its `place` beside others.
    ///
    /// # Errors
    ///
    /// `ENODEV` if the window does not show a device of this type, or for a type that this peer may
    /// not have; `ENOMEM`. Each but `ENOMEM` was logged.
    pub(crate) fn new(
        wire: &Arc<Wire>,
        peer: Peer,
        index: usize,
        entry: DeviceEntry,
        place: Place,
    ) -> Result<Self> {
        let (id, trusted) = (entry.device_id, wire.trusts());
        let of_series = || series::refusal(id).filter(|_| !trusted);
        if let Some(what) = drivers::refusal(id, trusted).or_else(of_series) {
            wire.complain(fmt!(
                "device {index} is skipped: its DeviceId is {:#x}, must be {what}",
                entry.device_id
            ));
            return Err(ENODEV);
        }
        let page = Page::new(wire.region(), entry.window)?;
        check_view(&page, &entry).map_err(|fault| {
            wire.complain(fmt!("device {index} is skipped: {fault}"));
            fault.error()
        })?;

        let role = Role::new(&entry, wire.dma().is_none())?;
        let config = KBox::pin_init(Config::new(&page, &entry)?, GFP_KERNEL)?;
        let queues = queues(wire, &peer, index, &entry, &place, &role)?;
        let mut events = KVec::with_capacity(queues.len(), GFP_KERNEL)?;
        for _ in 0..queues.len() {
            events.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let this = Self {
            wire: wire.clone(),
            peer,
            index,
            entry,
            name: CString::try_from_fmt(fmt!("{}.{index}", wire.name()))?,
            config_seen: Atomic::new(page.read(window::CONFIG_EVENT)),
            window: KBox::pin_init(Window::new(page, index, peer.identity.epoch), GFP_KERNEL)?,
            queues,
            events,
            role,
            config,
            vectors: KBox::pin_init(Vectors::new(place.vectors), GFP_KERNEL)?,
            offered: Atomic::new(0),
            shown: Atomic::new(0),
            features: Atomic::new(0),
            unserved: Atomic::new(0),
            status: Atomic::new(0),
            told: Atomic::new(0),
            ready: AtomicFlag::new(false),
            set_up_us: Atomic::new(0),
            failed: AtomicFlag::new(false),
        };
        this.show_doorbells();
        Ok(this)
    }

    /// Tells a peer that has several interrupts of its own which is rung for each queue.
    fn show_doorbells(&self) {
        if self.peer.identity.own_doorbells <= 1 {
            return;
        }
        for four in self.queues().chunks(4) {
            let (mut at, mut word) = (window::QUEUE_DOORBELLS, 0);
            for queue in four {
                let (offset, shift) = window::queue_doorbell(queue.index() as usize);
                (at, word) = (offset, word | ((queue.doorbell() & 0xff) << shift));
            }
            self.window.page().write(at, word);
        }
    }

    /// Name of the device: the link's and its number.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// It was registered, which took so long.
    pub(crate) fn note_set_up(&self, us: u64) {
        self.set_up_us.store(us, Relaxed);
    }

    /// How long its registration took, in microseconds; 0: it is not over.
    pub(crate) fn set_up_us(&self) -> u64 {
        self.set_up_us.load(Relaxed)
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

    fn report_silence(&self, queue: u32) {
        if self.wire.may_say() {
            dev_warn!(
                self.wire.dev(),
                "device {} (virtio type {}): queue {queue}: buffers come back without an event, they \
                 are looked for once a second: the peer must count QueueEvent and DeviceEvent\n",
                self.index,
                self.entry.device_id
            );
        }
    }

    /// What the device table says.
    pub(crate) fn entry(&self) -> &DeviceEntry {
        &self.entry
    }

    /// Its queues.
    pub(crate) fn queues(&self) -> &[Arc<Queue>] {
        &self.queues
    }

    /// Number that changes whenever the driver and the device have to do with each other.
    pub(crate) fn steps(&self) -> u64 {
        let queues = self.queues().iter();
        queues.fold(self.window.steps(), |sum, queue| {
            sum.wrapping_add(queue.steps())
        })
    }

    /// Latches a fault that was noticed where that is not possible. Process context.
    pub(crate) fn catch_up(&self) {
        let unserved = self.unserved.xchg(0, Relaxed);
        if unserved != 0 {
            self.fail(Fault::Unserved(unserved - 1));
        }
        if let Some(fault) = self.wrong_status() {
            self.fail(fault);
        }
        if self.has_failed() {
            return;
        }
        for queue in self.queues() {
            if let Some(fault) = queue.fault() {
                self.fail(fault);
                return;
            }
            if queue.take_silence() {
                self.report_silence(queue.index());
            }
            if queue.take_mute() {
                self.report_mute(queue);
            }
            // What found no room when it was its turn.
            if queue.is_waiting() {
                queue.post();
            }
        }
    }

    /// Whether a fault was latched.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Acquire)
    }

    /// What is wrong with the status that the peer shows (protocol.rst, "What the driver makes of
    /// Status").
    fn wrong_status(&self) -> Option<Fault> {
        if self.needs_reset() {
            return Some(Fault::NeedsReset);
        }
        // As in `needs_reset`: an old status shown beside a new one that was written is none.
        let written = self.status.load(Acquire) & !status::FAILED;
        // What comes before that may not have been told yet.
        if written & status::FEATURES_OK == 0 {
            return None;
        }
        let shown = self.window.page().observe(reg::STATUS);
        if written & !shown == 0 || self.has_failed() {
            return None;
        }
        // The peer says that it boots, or is gone, before it writes anything else there.
        let epoch = self.window.epoch();
        let view = self.wire.view();
        let live =
            self.wire.is_up(epoch) && view.epoch == epoch && view.state == Some(PeerState::Ready);
        live.then_some(Fault::Lost(shown, written))
    }

    /// Whether the peer asks for a reset of the device (VIRTIO 2.1.2), which was not reset since. Any
    /// context.
    fn needs_reset(&self) -> bool {
        // Acquire: a status that was written after a reset is never seen beside a view from before it.
        // Pairs with the release in `set_status`.
        self.status.load(Acquire) != 0
            && self.window.page().read(reg::STATUS) & status::NEEDS_RESET != 0
    }

    /// How the last transaction went, once one was made.
    pub(crate) fn last_transaction(&self) -> Option<Last> {
        self.window.last()
    }

    /// Status as the driver sees it.
    pub(crate) fn shown_status(&self) -> u32 {
        self.status.load(Relaxed)
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
        let mut batch = Batch::new();
        let (told, now) = (self.told.load(Relaxed), self.status.load(Relaxed));
        // Bit by bit (VIRTIO 3.1.1).
        for bit in [status::ACKNOWLEDGE, status::DRIVER] {
            let until = now & (bit | (bit - 1));
            if now & bit & !told != 0 {
                batch.add(&[Entry::register(reg::STATUS, until)]);
            }
        }
        batch.add(entries);
        self.told.store(told | (now & EARLY), Relaxed);
        self.window
            .transact(&self.wire, batch.entries(), read)
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

    /// Queue `index`.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a queue that is not there.
    fn queue(&self, index: u32) -> Result<&Arc<Queue>> {
        self.queues.get(index as usize).ok_or(ENOENT)
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

/// The status bits that wait for the next transaction.
const EARLY: u32 = status::ACKNOWLEDGE | status::DRIVER;

/// The entries of one transaction.
struct Batch {
    entries: [Entry; window::TXN_MAX],
    len: usize,
}

impl Batch {
    fn new() -> Self {
        Self {
            entries: [Entry::default(); window::TXN_MAX],
            len: 0,
        }
    }

    /// Adds what there is room for.
    fn add(&mut self, entries: &[Entry]) {
        for (to, from) in self.entries.iter_mut().skip(self.len).zip(entries) {
            *to = *from;
            self.len += 1;
        }
    }

    fn entries(&self) -> &[Entry] {
        self.entries.get(..self.len).unwrap_or(&[])
    }
}

/// The queues of the device that `entry` describes, with their parts of the pool.
fn queues(
    wire: &Arc<Wire>,
    peer: &Peer,
    device: usize,
    entry: &DeviceEntry,
    place: &Place,
    role: &Role,
) -> Result<KVec<Arc<Queue>>> {
    let count = entry.queue_count;
    let mut before = place.before;
    let doorbells = wire.doorbell().count().min(peer.identity.own_doorbells);
    let mut queues = KVec::with_capacity(count as usize, GFP_KERNEL)?;
    for index in 0..count {
        let number = device as u32;
        let want = Want::of_set(wire.settings(), number, entry.device_id, index, count);
        let (offset, size) = peer.shares.part(before, want).ok_or(ENOSPC)?;
        before = before.with(want);
        let page = Page::new(wire.region(), entry.window)?;
        let area = Area::new(wire.region(), offset, size)?;
        let base = peer.identity.peer_base + u64::from(offset);
        let doorbell = doorbell_of(place.queues.wrapping_add(index), doorbells);
        let role = role.of_queue(entry.device_id, index);
        queues.push(
            Queue::new(wire, page, device, index, area, base, doorbell, role)?,
            GFP_KERNEL,
        )?;
    }
    Ok(queues)
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
