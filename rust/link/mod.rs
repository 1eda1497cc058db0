// SPDX-License-Identifier: GPL-2.0

//! One link: the region, its header and doorbells, and the devices of the peer that is attached.

mod attach;
mod life;
mod selftest;

use crate::{
    algo::share::Shares,
    bottom_half::BottomHalves,
    bounce::Share,
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
        Area,
        Page,
        Region, //
    },
    transport::HvlDevice,
    virtio::Device, //
};
use kernel::{
    device,
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

/// A device of the attached peer.
pub(crate) type HvlVirtio = Device<HvlDevice>;

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
    /// The devices that interrupts go to.
    #[pin]
    slots: SpinLockIrq<[Option<Arc<HvlVirtio>>; DEVICES_MAX]>,
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
                slots <- new_spinlock_irq!([const { None }; DEVICES_MAX]),
                events_seen: [const { Atomic::new(0) }; DEVICES_MAX],
                peer_seen: Atomic::new(0),
                selftest <- SelfTest::new(),
                wake <- Event::new(),
                stopping: AtomicFlag::new(false),
                complained: Atomic::new(0),
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
        self.scan(|_| false) || changed || answered
    }

    /// Passes on to the devices what the peer has counted up. Any context.
    ///
    /// `force`: whether device `index` looks at its counters even if its event counter is
    /// unchanged. `true`: at least one was changed.
    fn scan(&self, force: impl Fn(usize) -> bool) -> bool {
        if self.epoch() == 0 {
            return false;
        }
        let mut changed = false;
        let slots = self.slots.lock();
        for (index, (slot, seen)) in slots.iter().zip(&self.events_seen).enumerate() {
            let Some(device) = slot else {
                continue;
            };
            // Pairs with the peer's increment after those in the device's window.
            let count = self.header.observe(link::device_event(index));
            let differs = seen.xchg(count, Relaxed) != count;
            if differs || force(index) {
                device.transport().interrupt(device);
            }
            changed |= differs;
        }
        changed
    }

    /// Has each device for which `force` holds look at its counters now. Process context.
    fn look(&self, force: impl Fn(usize) -> bool) {
        // Callbacks raise softirqs, as they do from the interrupt; those run when this ends.
        let _bottom_halves = BottomHalves::disable();
        self.scan(force);
    }

    /// Has device `index` look at its counters now. Process context.
    pub(crate) fn look_at(&self, index: usize) {
        self.look(|other| other == index);
    }

    /// Device `index`, if it is registered.
    pub(crate) fn device(&self, index: usize) -> Option<Arc<HvlVirtio>> {
        self.slots.lock().get(index).cloned().flatten()
    }

    fn set_slot(&self, index: usize, device: Option<Arc<HvlVirtio>>) {
        // What was there is dropped after the lock, since that frees memory.
        let old = match self.slots.lock().get_mut(index) {
            Some(slot) => core::mem::replace(slot, device),
            None => None,
        };
        drop(old);
    }

    /// Bytes of each virtqueue's share of the pool.
    pub(crate) fn share_size(&self) -> u32 {
        self.peer().map_or(0, |peer| peer.shares.each())
    }

    /// Share `number` of the pool.
    ///
    /// # Errors
    ///
    /// `ENODEV` while no peer is attached, `ENOSPC` for a pool that is too small for its queues,
    /// `ENOMEM`.
    pub(crate) fn new_share(&self, number: u32) -> Result<Arc<Share>> {
        let peer = self.peer().ok_or(ENODEV)?;
        let Some((offset, size)) = peer.shares.part(number) else {
            dev_err!(
                self.dev(),
                "the pool of {} bytes is too small: it must have a page for each virtqueue\n",
                peer.identity.pool_size
            );
            return Err(ENOSPC);
        };
        let area = Area::new(self.region(), offset, size)?;
        let address = peer.identity.peer_base + u64::from(offset);
        Share::new(area, size, address)
    }

    /// Physical address of the `len` bytes that the peer sees at `base`; `None` where they are not
    /// all inside of the region.
    pub(crate) fn to_physical(&self, base: u64, len: u64) -> Option<u64> {
        let identity = self.peer()?.identity;
        let offset = base.checked_sub(identity.peer_base)?;
        if offset.checked_add(len)? > u64::from(identity.region_size) {
            return None;
        }
        self.region().start().checked_add(offset)
    }

    fn set_epoch(&self, epoch: u32) {
        self.epoch.store(epoch, Release);
    }
}
