// SPDX-License-Identifier: GPL-2.0

//! The way to the peer of one link: the region, its header, the doorbell, the clock, and the books
//! on what came of it. What devices and their windows need of a link is this, and no more.

use crate::{
    algo::{
        link::View,
        poll::Bounds,
        setting::Setting,
        share::Shares,
        storm::Storm, //
    },
    proto::{
        layout::{
            link,
            DEVICES_MAX, //
        },
        Identity,
        PeerState,
        Vector, //
    },
    sys::{
        event::Event,
        series::{
            new_spinlock_irq,
            SpinLockIrq, //
        }, //
    },
    virtio_hvl::{
        alarm::Alarm,
        dma::Dma,
        doorbell::Doorbell,
        interrupts::Interrupt,
        shmem::{
            Page,
            Region, //
        }, //
    },
};
use kernel::{
    device,
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        aref::ARef,
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Relaxed,
            Release, //
        },
        Arc,
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Lines about one peer in a period of the log.
const LINES: u32 = 200;
/// That period, in milliseconds.
const LINES_MS: u64 = 60_000;

/// What the watchdog's limit may be, in milliseconds.
pub(crate) const WATCHDOG_LIMITS: core::ops::RangeInclusive<u32> = 100..=600_000;

/// What a link is made of.
pub(crate) struct Parts {
    /// The platform device.
    pub(crate) dev: ARef<device::Device>,
    /// The shared memory.
    pub(crate) region: Arc<Region>,
    /// How the peer is rung.
    pub(crate) doorbell: KBox<dyn Doorbell>,
    /// Deadline of each wait for the peer, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// For how long a peer that lives may give no buffer back, in milliseconds; 0: for ever.
    pub(crate) watchdog_ms: u32,
    /// The peer may have devices whose drivers believe what it says.
    pub(crate) trusted: bool,
    /// How often the peer is looked at, which cannot ring; `None`: it can.
    pub(crate) poll: Option<Bounds>,
    /// Parts of the pool that the node sets.
    pub(crate) settings: KVec<Setting>,
    /// Interrupts that the peer can raise for single queues: the vector table.
    pub(crate) interrupts: KVec<Interrupt>,
    /// What maps buffers for a peer that reaches them; `None`: they are copied.
    pub(crate) dma: Option<Dma>,
}

/// Events of a link since the driver bound.
pub(crate) struct Counters {
    /// Doorbells rung.
    pub(crate) rings: Atomic<u64>,
    /// Interrupts taken.
    pub(crate) interrupts: Atomic<u64>,
    /// Looks without an interrupt, where there is none.
    pub(crate) polls: Atomic<u64>,
    /// Transactions started.
    pub(crate) transactions: Atomic<u64>,
    /// Transactions that were not answered in time.
    pub(crate) timeouts: Atomic<u64>,
    /// Transactions that the peer refused.
    pub(crate) refusals: Atomic<u64>,
    /// Answers that were found by polling, because no interrupt came.
    pub(crate) missed: Atomic<u64>,
    /// Events of queues whose ring did not come.
    pub(crate) lost: Atomic<u64>,
    /// Devices that failed.
    pub(crate) faults: Atomic<u64>,
    /// Headers and table entries that were refused.
    pub(crate) malformed: Atomic<u64>,
    /// Messages about the peer that were left out of the log.
    pub(crate) unsaid: Atomic<u64>,
    /// Attachments to a peer.
    pub(crate) attachments: Atomic<u64>,
    /// Times that a queue's buffers did not come back in time.
    pub(crate) stalls: Atomic<u64>,
    /// Times that a new attachment was asked for.
    pub(crate) recoveries: Atomic<u64>,
}

/// What is known of the attached peer.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its identity line.
    pub(crate) identity: Identity,
    /// How the pool is divided.
    pub(crate) shares: Shares,
}

/// The way to the peer.
#[pin_data]
pub(crate) struct Wire {
    parts: Parts,
    name: CString,
    header: Page,
    start: Instant<Monotonic>,
    /// Epoch of the attached peer; 0: none, and every operation fails at once.
    epoch: Atomic<u32>,
    /// `RingsSeen` as last written.
    #[pin]
    rings_seen: SpinLockIrq<u32>,
    /// The peer looks at `DeviceNotify`.
    is_counted: AtomicFlag,
    /// `DeviceNotify` as last written.
    #[pin]
    notified: [SpinLockIrq<u32>; DEVICES_MAX],
    /// Wakes the link's thread.
    #[pin]
    wake: Event,
    /// Wakes the thread that polls.
    #[pin]
    pub(crate) alarm: Alarm,
    /// Devices that are to look at their counters, see [`Wire::want_look`].
    looks: [AtomicFlag; DEVICES_MAX],
    stopping: AtomicFlag,
    watchdog_ms: Atomic<u32>,
    /// A new attachment is asked for.
    recover: AtomicFlag,
    /// What limits the lines that a peer can cause.
    #[pin]
    lines: Mutex<Storm>,
    pub(crate) counters: Counters,
}

impl Wire {
    /// A wire with no peer attached.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ERANGE` for a region of less than a page.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let header = Page::new(&parts.region, 0)?;
        let name = CString::try_from(parts.dev.name())?;
        let watchdog_ms = parts.watchdog_ms;
        Arc::pin_init(
            pin_init!(Self {
                parts,
                name,
                start: Instant::now(),
                epoch: Atomic::new(0),
                rings_seen <- new_spinlock_irq!(header.read(link::RINGS_SEEN)),
                is_counted: AtomicFlag::new(false),
                notified <- pin_init::pin_init_array_from_fn(|_| new_spinlock_irq!(0)),
                header,
                wake <- Event::new(),
                alarm <- Alarm::new(),
                looks: [const { AtomicFlag::new(false) }; DEVICES_MAX],
                stopping: AtomicFlag::new(false),
                watchdog_ms: Atomic::new(watchdog_ms),
                recover: AtomicFlag::new(false),
                lines <- new_mutex!(Storm::new(LINES, LINES_MS)),
                counters: Counters {
                    rings: Atomic::new(0),
                    interrupts: Atomic::new(0),
                    polls: Atomic::new(0),
                    transactions: Atomic::new(0),
                    timeouts: Atomic::new(0),
                    refusals: Atomic::new(0),
                    missed: Atomic::new(0),
                    lost: Atomic::new(0),
                    faults: Atomic::new(0),
                    malformed: Atomic::new(0),
                    unsaid: Atomic::new(0),
                    attachments: Atomic::new(0),
                    stalls: Atomic::new(0),
                    recoveries: Atomic::new(0),
                },
            }),
            GFP_KERNEL,
        )
    }

    /// The platform device.
    pub(crate) fn dev(&self) -> &device::Device {
        &self.parts.dev
    }

    /// Name of the platform device.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// The shared memory.
    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.parts.region
    }

    /// The link header.
    pub(crate) fn header(&self) -> &Page {
        &self.header
    }

    /// How the peer is rung.
    pub(crate) fn doorbell(&self) -> &dyn Doorbell {
        &*self.parts.doorbell
    }

    /// Deadline of each wait for the peer, in milliseconds.
    pub(crate) fn timeout_ms(&self) -> u32 {
        self.parts.timeout_ms
    }

    /// For how long a peer that lives may give no buffer back of a queue where they come back, in milliseconds; 0: for
    /// ever.
    pub(crate) fn watchdog_ms(&self) -> u32 {
        self.watchdog_ms.load(Relaxed)
    }

    /// Sets that.
    ///
    /// # Errors
    ///
    /// `ERANGE`.
    pub(crate) fn set_watchdog_ms(&self, ms: u32) -> Result {
        if ms != 0 && !WATCHDOG_LIMITS.contains(&ms) {
            return Err(ERANGE);
        }
        self.watchdog_ms.store(ms, Relaxed);
        self.wake();
        Ok(())
    }

    /// Has the peer given up, and attached to afresh.
    ///
    /// # Errors
    ///
    /// `ENODEV`: none is attached.
    pub(crate) fn ask_to_recover(&self) -> Result {
        if self.epoch() == 0 {
            return Err(ENODEV);
        }
        self.recover.store(true, Release);
        self.wake();
        Ok(())
    }

    /// Whether that was asked for since the last time.
    pub(crate) fn take_recover(&self) -> bool {
        self.recover.load(Relaxed) && self.recover.xchg(false, Acquire)
    }

    /// Whether the peer may have devices of any type, see [`drivers::refusal`](crate::algo::drivers::refusal).
    pub(crate) fn trusts(&self) -> bool {
        self.parts.trusted
    }

    /// How often the peer is looked at, which cannot ring; `None`: it can.
    pub(crate) fn poll(&self) -> Option<Bounds> {
        self.parts.poll
    }

    /// Which sides look by themselves; `None`: each is rung.
    pub(crate) fn polled(&self) -> Option<&'static str> {
        match (self.poll().is_some(), self.doorbell().is_real()) {
            (false, true) => None,
            (true, true) => Some("Linux polls"),
            (false, false) => Some("the peer polls"),
            (true, false) => Some("both sides poll"),
        }
    }

    /// Parts of the pool that the node sets.
    pub(crate) fn settings(&self) -> &[Setting] {
        &self.parts.settings
    }

    /// Interrupts that the peer can raise for single queues, in the order of the vector table.
    pub(crate) fn interrupts(&self) -> &[Interrupt] {
        &self.parts.interrupts
    }

    /// Writes entry `index` of the vector table.
    pub(crate) fn set_vector(&self, index: usize, vector: Vector) {
        for (at, word) in (link::vector_entry(index)..).step_by(4).zip(vector.emit()) {
            self.header.write(at, word);
        }
    }

    /// What maps buffers for the peer, in direct mode.
    pub(crate) fn dma(&self) -> Option<&Dma> {
        self.parts.dma.as_ref()
    }

    /// Milliseconds since the driver bound.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }

    /// Nanoseconds since the driver bound.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(0)
    }

    /// Epoch of the attached peer, 0: none.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Acquire)
    }

    /// Makes the peer of `epoch` the one that is attached; 0: none is.
    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Release);
    }

    /// Whether the peer of `epoch` is the one that is attached.
    pub(crate) fn is_up(&self, epoch: u32) -> bool {
        epoch != 0 && self.epoch() == epoch
    }

    /// Whether one more line about what the peer does may go to the log. Process context.
    pub(crate) fn may_say(&self) -> bool {
        let allowed = self.lines.lock().allow(self.now_ms());
        if !allowed {
            // The first one tells that there are more.
            if self.counters.unsaid.fetch_add(1, Relaxed) == 0 {
                dev_warn!(
                    self.dev(),
                    "more than {LINES} messages about the peer in a minute: the rest is only counted\n"
                );
            }
        }
        allowed
    }

    /// Logs an error that the peer is at fault for. Process context.
    pub(crate) fn complain(&self, what: fmt::Arguments<'_>) {
        if self.may_say() {
            dev_err!(self.dev(), "{what}\n");
        }
    }

    /// Wakes the link's thread. Any context.
    pub(crate) fn wake(&self) {
        self.wake.signal();
    }

    /// What wakes the link's thread.
    pub(crate) fn wakeups(&self) -> &Event {
        &self.wake
    }

    /// Has the link's thread look soon at what the peer has counted up for device `index`. Any
    /// context.
    pub(crate) fn want_look(&self, index: usize) {
        self.mark_look(index);
        self.wake();
    }

    /// As [`Wire::want_look`], when the link's thread looks next.
    pub(crate) fn mark_look(&self, index: usize) {
        if let Some(look) = self.looks.get(index) {
            look.store(true, Release);
        }
    }

    /// Whether device `index` is to be looked at; asked once after [`Wire::want_look`].
    pub(crate) fn take_look(&self, index: usize) -> bool {
        self.looks
            .get(index)
            .is_some_and(|look| look.xchg(false, Acquire))
    }

    /// The peer's status words.
    pub(crate) fn view(&self) -> View {
        View {
            state: PeerState::from_word(self.header.observe(link::PEER_STATE)),
            epoch: self.header.observe(link::EPOCH),
            heartbeat: self.header.read(link::HEARTBEAT),
        }
    }

    /// Tells the peer that what it has rung for is looked at now (protocol.rst, "Interrupts"). Any
    /// context.
    pub(crate) fn acknowledge_rings(&self) {
        // Another CPU may look at the same time, and must not write an older number over a newer one:
        // the peer would take it that nobody has looked, and the next look that all is said.
        let mut seen = self.rings_seen.lock();
        let rings = self.header.read(link::RINGS);
        if *seen != rings {
            *seen = rings;
            self.header.write(link::RINGS_SEEN, rings);
            // Pairs with the peer's between its counters and its look at this word.
            self.header.full_barrier();
        }
    }

    /// Has `DeviceNotify` be counted from here on, if the peer that attaches `looks` at it.
    pub(crate) fn count_notifications(&self, looks: bool) {
        for (index, count) in self.notified.iter().enumerate().filter(|_| looks) {
            // The peer, which is not attached yet, takes what it finds as seen.
            self.header.write(link::device_notify(index), *count.lock());
        }
        self.is_counted.store(looks, Relaxed);
    }

    /// Rings doorbell `number` of the peer's, for device `index`. Any context.
    pub(crate) fn notify(&self, index: usize, number: u32) {
        if self.is_counted.load(Relaxed) {
            if let Some(count) = self.notified.get(index) {
                // Another CPU may notify for another queue of the device, and must not write an older number
                // over a newer one: the peer may have seen the older one.
                let mut count = count.lock();
                *count = count.wrapping_add(1);
                self.header.publish(link::device_notify(index), *count);
            }
        }
        self.ring_number(number);
    }

    /// Rings the peer. Any context.
    pub(crate) fn ring(&self) {
        self.ring_number(0);
    }

    /// Rings doorbell `number` of the peer's. Any context.
    fn ring_number(&self, number: u32) {
        self.counters.rings.add(1, Relaxed);
        self.header.ring_barrier();
        self.parts.doorbell.ring(number);
        self.alarm.ring();
    }

    /// Whether the driver is being removed from the link.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    /// Ends the link's thread, soon.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Release);
        self.wake();
    }
}
