// SPDX-License-Identifier: GPL-2.0

//! One link: the region, its header and doorbells, and the devices of the peer that is attached.

mod attach;
mod crew;
mod keeper;
mod life;
mod selftest;

use crate::{
    algo::{
        share::Shares,
        storm::Storm, //
    },
    bottom_half::BottomHalves,
    doorbell::Doorbell,
    event::Event,
    proto::{
        layout::{
            link,
            DEVICES_MAX, //
        },
        Identity,
        PeerState, //
    },
    shmem::{
        Page,
        Region, //
    },
    transport::HvlDevice,
    virtio::{
        Device,
        Registration, //
    }, //
};
use kernel::{
    device,
    fmt,
    new_mutex,
    new_spinlock_irq,
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
        lock::{
            spinlock::SpinLockIrqBackend,
            Guard, //
        },
        Arc,
        Mutex,
        SpinLockIrq, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

pub(crate) use self::{
    life::Life,
    selftest::SelfTest, //
};

/// Lines about one peer in a period of the log.
const LINES: u32 = 200;
/// That period, in milliseconds.
const LINES_MS: u64 = 60_000;

/// A device of the attached peer.
pub(crate) type HvlVirtio = Device<HvlDevice>;

/// Where interrupts for one device go.
type Slot = SpinLockIrq<Option<Arc<HvlVirtio>>>;

/// A slot that is locked.
type SlotGuard<'a> = Guard<'a, Option<Arc<HvlVirtio>>, SpinLockIrqBackend>;

/// What keeps it registered.
type HvlRegistration = Registration<HvlDevice>;

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
}

/// Events of a link since the driver bound.
pub(crate) struct Counters {
    /// Doorbells rung.
    pub(crate) rings: Atomic<u64>,
    /// Interrupts taken.
    pub(crate) interrupts: Atomic<u64>,
    /// Transactions started.
    pub(crate) transactions: Atomic<u64>,
    /// Transactions that were not answered in time.
    pub(crate) timeouts: Atomic<u64>,
    /// Transactions that the peer refused.
    pub(crate) refusals: Atomic<u64>,
    /// Answers that were found by polling, because no interrupt came.
    pub(crate) missed: Atomic<u64>,
    /// Devices that failed.
    pub(crate) faults: Atomic<u64>,
    /// Headers and table entries that were refused.
    pub(crate) malformed: Atomic<u64>,
    /// Messages about the peer that were left out of the log.
    pub(crate) unsaid: Atomic<u64>,
    /// Attachments to a peer.
    pub(crate) attachments: Atomic<u64>,
}

/// What is known of the attached peer.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Its identity line.
    pub(crate) identity: Identity,
    /// How the pool is divided.
    pub(crate) shares: Shares,
}

/// One link.
#[pin_data]
pub(crate) struct Link {
    parts: Parts,
    name: CString,
    header: Page,
    start: Instant<Monotonic>,
    /// Epoch of the attached peer; 0: none, and every operation fails at once.
    epoch: Atomic<u32>,
    /// Number of this attachment of ours.
    driver_epoch: Atomic<u32>,
    #[pin]
    peer: Mutex<Option<Peer>>,
    /// The devices that interrupts go to. A lock of its own for each, since a driver's callback
    /// runs under it: what is stuck in one keeps nobody from the others.
    #[pin]
    slots: [Slot; DEVICES_MAX],
    /// Entries of the device table.
    device_count: Atomic<u32>,
    events_seen: [Atomic<u32>; DEVICES_MAX],
    /// `PeerState` and `Epoch` as last seen by the interrupt handler.
    peer_seen: Atomic<u64>,
    #[pin]
    pub(crate) selftest: SelfTest,
    /// Wakes the link's thread.
    #[pin]
    wake: Event,
    stopping: AtomicFlag,
    /// Epoch of the peer whose refusal was logged: it is tried again, but not complained of again.
    complained: Atomic<u32>,
    /// What limits the lines that a peer can cause.
    #[pin]
    lines: Mutex<Storm>,
    /// Name of the life cycle's state.
    #[pin]
    state: Mutex<&'static str>,
    pub(crate) counters: Counters,
}

impl Link {
    /// A link that looks for no peer yet; the thread does, see [`crate::thread`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ERANGE` for a region of less than a page.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let header = Page::new(&parts.region, 0)?;
        let name = CString::try_from(parts.dev.name())?;
        Arc::pin_init(
            try_pin_init!(Self {
                parts,
                name,
                header,
                start: Instant::now(),
                epoch: Atomic::new(0),
                driver_epoch: Atomic::new(0),
                peer <- new_mutex!(None),
                slots <- pin_init::pin_init_array_from_fn(|_| new_spinlock_irq!(None)),
                device_count: Atomic::new(0),
                events_seen: [const { Atomic::new(0) }; DEVICES_MAX],
                peer_seen: Atomic::new(0),
                selftest <- SelfTest::new(),
                wake <- Event::new(),
                stopping: AtomicFlag::new(false),
                complained: Atomic::new(0),
                lines <- new_mutex!(Storm::new(LINES, LINES_MS)),
                state <- new_mutex!("waiting"),
                counters: Counters {
                    rings: Atomic::new(0),
                    interrupts: Atomic::new(0),
                    transactions: Atomic::new(0),
                    timeouts: Atomic::new(0),
                    refusals: Atomic::new(0),
                    missed: Atomic::new(0),
                    faults: Atomic::new(0),
                    malformed: Atomic::new(0),
                    unsaid: Atomic::new(0),
                    attachments: Atomic::new(0),
                },
            }? Error),
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

    /// How the peer is rung.
    pub(crate) fn doorbell(&self) -> &dyn Doorbell {
        &*self.parts.doorbell
    }

    /// Deadline of each wait for the peer, in milliseconds.
    pub(crate) fn timeout_ms(&self) -> u32 {
        self.parts.timeout_ms
    }

    /// Milliseconds since the driver bound.
    pub(crate) fn now_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(0)
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(0)
    }

    /// Epoch of the attached peer, 0: none.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Acquire)
    }

    /// Whether the peer of `epoch` is the one that is attached.
    pub(crate) fn is_up(&self, epoch: u32) -> bool {
        epoch != 0 && self.epoch() == epoch
    }

    /// Name of the life cycle's state.
    pub(crate) fn state(&self) -> &'static str {
        *self.state.lock()
    }

    /// What is known of the attached peer.
    pub(crate) fn peer(&self) -> Option<Peer> {
        *self.peer.lock()
    }

    /// Whether one more line about what the peer does may go to the log. Process context.
    fn may_say(&self) -> bool {
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

    /// The peer's status words.
    pub(crate) fn view(&self) -> crate::algo::link::View {
        crate::algo::link::View {
            state: PeerState::from_word(self.header.observe(link::PEER_STATE)),
            epoch: self.header.observe(link::EPOCH),
            heartbeat: self.header.read(link::HEARTBEAT),
        }
    }

    /// Rings the peer. Any context.
    pub(crate) fn ring(&self) {
        self.counters.rings.add(1, Relaxed);
        self.parts.doorbell.ring();
    }

    /// The peer rang. Hard interrupt context; the work is bounded by the limits of the protocol.
    /// `false`: there was nothing new to see.
    pub(crate) fn interrupt(&self) -> bool {
        self.counters.interrupts.add(1, Relaxed);
        let answered = self.selftest.interrupt(&self.header, || self.now_ns());

        let state = u64::from(self.header.observe(link::PEER_STATE));
        let seen = (state << 32) | u64::from(self.header.observe(link::EPOCH));
        let changed = self.peer_seen.xchg(seen, Relaxed) != seen;
        if changed {
            self.wake.signal();
        }
        self.scan(|slot| Some(slot.lock()), |_| false) || changed || answered
    }

    /// Passes on to the devices what the peer has counted up. Any context.
    ///
    /// `enter` takes a device's lock, or leaves that device out. `force`: whether device `index`
    /// looks at its counters even if its event counter is unchanged. `true`: at least one was
    /// changed.
    fn scan<'a>(
        &'a self,
        enter: impl Fn(&'a Slot) -> Option<SlotGuard<'a>>,
        force: impl Fn(usize) -> bool,
    ) -> bool {
        if self.epoch() == 0 {
            return false;
        }
        let count = self.device_count.load(Relaxed) as usize;
        let mut changed = false;
        for (index, (slot, seen)) in self.slots.iter().zip(&self.events_seen).enumerate() {
            if index >= count {
                break;
            }
            // Pairs with the peer's increment after those in the device's window.
            let count = self.header.observe(link::device_event(index));
            let differs = seen.load(Relaxed) != count;
            if !differs && !force(index) {
                continue;
            }
            let Some(slot) = enter(slot) else {
                continue;
            };
            let Some(device) = &*slot else {
                continue;
            };
            // What is counted after this is for the next interrupt.
            seen.store(count, Relaxed);
            device.transport().interrupt(device);
            changed |= differs;
        }
        changed
    }

    /// Has each device for which `force` holds look at its counters now, but for those whose
    /// callback is running. Process context.
    fn look(&self, force: impl Fn(usize) -> bool) {
        // Callbacks raise softirqs, as they do from the interrupt; those run when this ends.
        let _bottom_halves = BottomHalves::disable();
        self.scan(|slot| slot.try_lock(), force);
    }

    /// Has device `index` look at its counters now. Process context.
    pub(crate) fn look_at(&self, index: usize) {
        let _bottom_halves = BottomHalves::disable();
        self.scan(|slot| Some(slot.lock()), |other| other == index);
    }

    /// Device `index`, if it is registered.
    pub(crate) fn device(&self, index: usize) -> Option<Arc<HvlVirtio>> {
        self.slots.get(index)?.lock().clone()
    }

    /// Passes interrupts of device `index` on to `device`.
    fn fill_slot(&self, index: usize, device: &Arc<HvlVirtio>) {
        if let Some(slot) = self.slots.get(index) {
            // What was there is dropped after the lock, since that frees memory.
            let old = slot.lock().replace(device.clone());
            drop(old);
        }
    }

    /// Passes no more interrupts on to `device`, if they went there.
    fn clear_slot(&self, index: usize, device: &Arc<HvlVirtio>) {
        if let Some(slot) = self.slots.get(index) {
            let mut slot = slot.lock();
            let ours = slot
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, device));
            let old = if ours { slot.take() } else { None };
            drop(slot);
            drop(old);
        }
    }

    /// Whether the driver is being removed from the link.
    fn is_stopping(&self) -> bool {
        self.stopping.load(Acquire)
    }

    fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Release);
    }
}
