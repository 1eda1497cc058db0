// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The link: header, states, attachment, link test, heartbeat (protocol.rst, "States").

#![forbid(unsafe_code)]

mod identity;
mod live;
mod rings;

use self::live::Live;
use crate::device::{Bells, Devices, Doorbell};
use crate::faults::Faults;
use crate::liar::Liar;
use crate::mem::{barrier, Pool, Region};
use crate::mishaps::{Counts, Mishaps};
use crate::proto::layout::{link, DEVICES_MAX, PAGE, REGION_MAX, REGION_MIN, VERSION_MAJOR};
use crate::proto::state::{boot_epoch, next_epoch};
use crate::proto::{DriverState, PeerState, TestCause, Vector};
use crate::shared::{Quota, Shared};
use crate::transport::{Offer, QUEUES};

/// What the machine says of the link.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    /// Address at which this program sees the region's first byte.
    pub peer_base: u64,
    /// Milliseconds between two heartbeats.
    pub heartbeat_ms: u32,
    /// There is no doorbell: Linux is looked at every now and then.
    pub polled: bool,
    /// What the virtqueues of the devices can be.
    pub offer: Offer,
    /// Further interrupts, each way.
    pub bells: Bells,
    /// Deliberate faults.
    pub faults: Faults,
}

/// Why a link cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The region has no room for header, windows and pool, or more than the protocol allows.
    Size(u32),
    /// More devices than a link can have.
    Devices(usize),
}

impl core::fmt::Display for StartError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Size(size) => write!(f, "a region of {size:#x} bytes will not do"),
            Self::Devices(count) => write!(f, "{count} devices are too many"),
        }
    }
}

/// What made the machine look at the link.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wake {
    /// The doorbell's interrupt fired.
    pub doorbell: bool,
    /// Another one of ours fired, which Linux rings for notifications of queues only.
    pub queues: bool,
    /// A heartbeat period is over.
    pub tick: bool,
    /// The time to sleep is over, and nobody had to ring for that: whatever ring got lost is made up for.
    pub timer: bool,
}

impl Wake {
    /// Linux has rung.
    const fn is_rung(self) -> bool {
        self.doorbell || self.queues
    }

    /// Nobody needs to have rung.
    const fn is_time(self) -> bool {
        self.tick || self.timer
    }
}

/// The peer's side of a link.
#[derive(Clone, Debug, Hash)]
pub struct Link {
    shared: Shared,
    faults: Faults,
    polled: bool,
    devices: usize,
    state: PeerState,
    heartbeat: u32,
    pub(crate) driver_epoch: u32,
    pub(crate) attached: bool,
    pub(crate) test_ack: u32,
    /// The last request that was seen.
    pub(crate) test_seen: u32,
    /// The start of the link was not announced yet.
    announce: bool,
    ring: bool,
    live: Live,
    /// `Rings` as last published.
    pub(crate) numbered: u32,
    /// Doorbell interrupts taken, rings sent, and those that merged with the one before.
    pub(crate) rung: u64,
    pub(crate) rings: u64,
    pub(crate) merged: u64,
    liar: Liar,
    /// Something was there that Linux should have rung for, and did not.
    pub(crate) missed: bool,
    mishaps: Mishaps,
    /// A ring that is held back on purpose, and one of a vector; the vector that was rung last.
    held: bool,
    held_vector: Option<Vector>,
    late_vector: Option<Vector>,
    last_vector: Option<Vector>,
    /// The pass began with a ring, or when it was time.
    pub(crate) woken: bool,
    pub(crate) quota: Quota,
}

/// The pool's place behind the header and `devices` windows.
const fn pool_offset(devices: usize) -> u32 {
    (devices as u32 + 1) * PAGE
}

impl Link {
    /// Ends it without a word, as a crash does: the same devices can be published anew.
    pub fn abandon<D: Devices + ?Sized>(self, devices: &mut D) {
        for index in 0..self.devices {
            if let Some(device) = devices.device(index) {
                device.transport_mut().reset();
                device.reset();
            }
        }
    }

    /// Publishes the link and its devices; from the return on Linux may use them.
    ///
    /// # Errors
    ///
    /// [`StartError`]; nothing but PeerState was written then.
    pub fn start<D: Devices + ?Sized>(
        mem: Region,
        params: &Params,
        devices: &mut D,
    ) -> Result<Self, StartError> {
        let count = devices.count();
        let size = mem.len() & !(PAGE - 1);
        mem.publish32(link::PEER_STATE, PeerState::Init as u32);
        if count > DEVICES_MAX {
            return Err(StartError::Devices(count));
        }
        let offset = pool_offset(count);
        if !(REGION_MIN..=REGION_MAX).contains(&size) || offset >= size {
            return Err(StartError::Size(mem.len()));
        }
        let pool_size = size - offset;

        let faults = params.faults;
        let believed = if faults.has(Faults::OUTSIDE) {
            pool_size / 8
        } else {
            pool_size
        };
        let shared = Shared {
            mem,
            pool: Pool::new(params.peer_base, offset, believed),
            epoch: boot_epoch(mem.read32(link::EPOCH), mem.read32(link::BOOT_EPOCH)),
        };
        // A boot that ends before its epoch is shown has had it all the same: the driver may still be
        // attached to the one before, and must not find that number again.
        mem.write32(link::BOOT_EPOCH, shared.epoch);
        // Nothing of what follows is seen before INIT and that number. Pairs with the driver's before it looks
        // at the state once more, behind a copy of the header, or an answer.
        barrier();

        // Whoever lies has more to do than Linux notifies of.
        let live = Live::new(devices, !faults.are_of_bells());
        let words = identity::words(&shared, params, count, pool_size, live.is_worth_counting());

        // Epoch comes last; until then it is 0, so that no mixture passes for a header.
        for (at, word) in (link::IDENTITY..).step_by(4).zip(words) {
            mem.write32(at, if at == link::EPOCH { 0 } else { word });
        }
        let test_ack = mem.read32(link::TEST_REQUEST);
        mem.write32(link::HEARTBEAT, 0);
        mem.write32(link::TEST_ACK, test_ack);
        mem.write32(link::TEST_CAUSE, 0);
        // And the words behind it, up to the end of the line.
        for at in (link::DRIVER_EPOCH_SEEN..link::DRIVER_VERSION).step_by(4) {
            if at != link::BOOT_EPOCH {
                mem.write32(at, 0);
            }
        }
        let numbered = mem.read32(link::RINGS_SEEN);
        mem.write32(link::RINGS, numbered);
        let table = link::DEVICE_TABLE..link::DEVICE_EVENTS + DEVICES_MAX as u32 * 4;
        for at in table.step_by(4) {
            mem.write32(at, 0);
        }
        for index in 0..count {
            let Some(device) = devices.device(index) else {
                continue;
            };
            let base = pool_offset(index);
            let transport = device.transport_mut();
            transport.publish(&shared, index, base, params.offer, faults);
            device.reset();
        }
        mem.publish32(link::EPOCH, shared.epoch);
        mem.publish32(link::PEER_STATE, PeerState::Ready as u32);

        Ok(Self {
            shared,
            faults,
            polled: params.polled,
            devices: count,
            live,
            state: PeerState::Ready,
            heartbeat: 0,
            driver_epoch: 0,
            attached: false,
            test_ack,
            test_seen: test_ack,
            announce: true,
            ring: false,
            numbered,
            rung: 0,
            rings: 0,
            merged: 0,
            liar: Liar::default(),
            missed: false,
            mishaps: Mishaps::to_linux(faults),
            held: false,
            held_vector: None,
            late_vector: None,
            last_vector: None,
            woken: false,
            quota: Quota::new(),
        })
    }

    /// What the devices need to reach their queues.
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Number of this boot.
    pub const fn epoch(&self) -> u32 {
        self.shared.epoch
    }

    /// Whether a driver is there.
    pub const fn attached(&self) -> bool {
        self.attached
    }

    /// Doorbell interrupts taken, rings sent, and those that were spared because Linux had not
    /// looked since the one before.
    pub const fn doorbells(&self) -> (u64, u64, u64) {
        (self.rung, self.rings, self.merged)
    }

    /// Whether the last pass has found, when it was time to look, what Linux should have rung for: rings get
    /// lost, and it is better to look again soon. (Or the ring is still on its way.)
    pub const fn has_missed(&self) -> bool {
        self.missed
    }

    /// Whether a ring is held back on purpose, until it is time to look again.
    pub const fn holds_ring(&self) -> bool {
        self.held
    }

    /// Linux's doorbells that went wrong on purpose.
    pub const fn mishaps(&self) -> Counts {
        self.mishaps.counts()
    }

    /// Heartbeats so far.
    pub const fn heartbeats(&self) -> u32 {
        self.heartbeat
    }

    /// Looks at what Linux wrote: attachment, link test, transactions. `true` if there was any.
    /// Without a driver there is nothing but the first.
    ///
    /// The machine lets the devices work on their queues afterwards, those of [`Link::live`], and then calls
    /// [`Link::finish`].
    pub fn poll<D: Devices + ?Sized>(&mut self, wake: Wake, devices: &mut D) -> bool {
        if self.state != PeerState::Ready {
            return false;
        }
        let mem = self.shared.mem;
        if wake.is_rung() {
            self.rung = self.rung.wrapping_add(1);
        }
        self.missed = false;
        self.woken = wake.is_rung() || wake.is_time();
        if wake.is_time() {
            self.ring |= core::mem::take(&mut self.held);
            self.late_vector = self.held_vector.take();
        }
        if wake.tick {
            self.quota.refill();
            for index in 0..self.devices {
                if let Some(device) = devices.device(index) {
                    device.transport_mut().quota.refill();
                    device.tick(&self.shared);
                }
            }
        }
        if wake.tick && self.faults.has(Faults::EPOCHS) {
            self.shared.epoch = next_epoch(self.shared.epoch);
            mem.publish32(link::EPOCH, self.shared.epoch);
            self.announce = true;
        }
        if wake.tick && !self.faults.has(Faults::NOHB) {
            self.heartbeat = self.heartbeat.wrapping_add(1);
            mem.write32(link::HEARTBEAT, self.heartbeat);
        }

        let mut busy = self.poll_driver(devices);
        if !self.attached {
            return busy;
        }
        busy |= self.poll_test(wake);
        let mut told = self.live.begin(&mem, wake.tick);
        let counted = self.live.is_counted();
        if let Some(device) = devices.device(0) {
            let beat = wake.tick.then_some(self.heartbeat);
            device.transport_mut().unsettle(&self.shared, beat);
        }
        for index in self.live.now() {
            let Some(device) = devices.device(index) else {
                continue;
            };
            let transport = device.transport_mut();
            if wake.tick || (!counted && (self.woken || self.polled)) {
                told |= transport.count_kicks(&self.shared) && !counted;
            }
            let asked = transport.poll_transaction(&self.shared);
            told |= asked;
            busy |= asked;
            if core::mem::take(&mut transport.was_reset) {
                device.reset();
            }
            busy |= device.attend(&self.shared);
        }
        self.missed = told && wake.is_time() && !wake.is_rung();
        busy
    }

    /// The epoch of the driver that there is, if there is one for us (protocol.rst, "DriverState").
    fn driver(&self) -> Option<u32> {
        let mem = self.shared.mem;
        let state = mem.observe32(link::DRIVER_STATE);
        let epoch = mem.observe32(link::DRIVER_EPOCH);
        let ours = DriverState::from_word(state) == Some(DriverState::Attached)
            && epoch != 0
            && mem.read32(link::EPOCH_ACK) == self.shared.epoch
            && mem.read32(link::DRIVER_VERSION) >> 16 == VERSION_MAJOR;
        ours.then_some(epoch)
    }

    /// Adopts the driver, or lets it go.
    fn poll_driver<D: Devices + ?Sized>(&mut self, devices: &mut D) -> bool {
        let driver = self.driver();
        if driver == self.attached.then_some(self.driver_epoch) {
            return false;
        }
        for index in 0..self.devices {
            let Some(device) = devices.device(index) else {
                continue;
            };
            let transport = device.transport_mut();
            transport.reset();
            transport.was_reset = false;
            transport.show_view(&self.shared);
            if driver.is_some() {
                transport.drop_pending(&self.shared);
            }
            device.reset();
        }
        self.attached = driver.is_some();
        (self.held_vector, self.late_vector, self.last_vector) = (None, None, None);
        // What it does not count has to be looked for.
        let features = self.shared.mem.read32(link::DRIVER_FEATURES);
        self.live
            .adopt(&self.shared.mem, features & link::FEATURE_NOTIFY != 0);
        match driver {
            Some(epoch) => {
                if self.quota.take() {
                    log::info!("link: driver attached, epoch {epoch:#x}");
                }
                self.driver_epoch = epoch;
                let mem = self.shared.mem;
                // A driver that copies its buffers has no reason to name anything else.
                let direct = features & link::FEATURE_MEMORY != 0;
                let windows = if direct { mem.windows() } else { &[] };
                self.shared.pool = self.shared.pool.with_windows(windows);
                mem.publish32(link::DRIVER_EPOCH_SEEN, epoch);
                self.ring = true;
            }
            None => {
                if self.quota.take() {
                    log::info!("link: driver gone");
                }
            }
        }
        true
    }

    /// Answers a link test.
    ///
    /// When the request is seen before the doorbell that belongs to it, the answer waits for
    /// that, at most until the next tick: only then the doorbell is known to be dead. One that is
    /// first seen at a tick may have been made a moment ago, and waits for the next. Without a doorbell
    /// there is nothing to wait for.
    fn poll_test(&mut self, wake: Wake) -> bool {
        let mem = self.shared.mem;
        let request = mem.observe32(link::TEST_REQUEST);
        if request == self.test_ack {
            return false;
        }
        let waited = request == self.test_seen;
        self.test_seen = request;
        let cause = if wake.doorbell {
            TestCause::Doorbell
        } else if self.polled || (wake.tick && waited) {
            TestCause::Poll
        } else {
            return false;
        };
        self.test_ack = request;
        mem.write32(link::TEST_CAUSE, cause as u32);
        mem.publish32(link::TEST_ACK, request);
        self.ring = true;
        true
    }

    /// Tells Linux that queues are looked at without notifications: those of the devices that had something to
    /// do.
    pub fn quieten<D: Devices + ?Sized>(&mut self, devices: &mut D) {
        for index in self.live.now() {
            let Some(device) = devices.device(index) else {
                continue;
            };
            let transport = device.transport_mut();
            if self.live.is_active(index) || !transport.is_asleep() {
                transport.quieten(&self.shared);
            }
        }
    }

    /// Asks Linux for notifications again; `true` if there is something to do already.
    ///
    /// The machine calls it before it sleeps, and does not sleep when it returns `true`.
    pub fn listen<D: Devices + ?Sized>(&mut self, devices: &mut D) -> bool {
        let mut pending = false;
        for index in self.live.open() {
            let Some(device) = devices.device(index) else {
                continue;
            };
            let mut wanted = [0; QUEUES];
            let count = device.transport().queue_count().min(QUEUES);
            let wanted = wanted.get_mut(..count).unwrap_or(&mut []);
            device.wanted(wanted);
            let transport = device.transport_mut();
            pending |= transport.listen(&self.shared, wanted);
            self.live.set_asleep(index, transport.is_asleep());
        }
        pending
    }

    /// Brings the counters of notifications up to date, which they are after each heartbeat by themselves.
    pub fn count<D: Devices + ?Sized>(&mut self, devices: &mut D) {
        for index in 0..self.devices {
            if let Some(device) = devices.device(index) {
                device.transport_mut().count_kicks(&self.shared);
            }
        }
    }

    /// The devices that this pass has to do with, after [`Link::poll`]: their places in the table. The others
    /// need not be served; whoever does serves them in vain, or has it shown to Linux some passes later.
    pub fn live(&self) -> impl Iterator<Item = usize> {
        self.live.now()
    }

    /// Ends the link in order (`Stopped`) or after a fault of our own (`Failed`).
    pub fn stop(&mut self, state: PeerState, doorbell: &mut dyn Doorbell) {
        if self.state == PeerState::Ready && self.state.may_become(state) {
            self.state = state;
            self.shared.mem.publish32(link::PEER_STATE, state as u32);
            self.ring(doorbell);
        }
    }

    /// Number of devices.
    pub const fn devices(&self) -> usize {
        self.devices
    }
}
