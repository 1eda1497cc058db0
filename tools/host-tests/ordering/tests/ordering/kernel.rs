// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the kernel module does in the region outside of virtqueues. Its own code needs the kernel;
//! this is the order of its accesses and barriers, each function that of the one that it names.

use crate::bench::EARLY;
use hvl_logic::algo::ring::Memory;
use hvl_logic::algo::snapshot::{attempt, Space};
use hvl_logic::proto::layout::{link, window, VERSION};
use hvl_logic::proto::virtio::reg;
use hvl_logic::proto::{DriverState, Entry, Identity, PeerState};
use hvl_weak::mem::{Driver, Region};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::Mutex;

/// The kernel's side.
#[derive(Clone, Copy)]
pub(crate) struct Kernel {
    pub(crate) region: Region,
}

/// `Window` of the configuration, and where it is.
struct Configuration<'a>(&'a Kernel, u32);

impl Space for Configuration<'_> {
    fn generation(&self) -> u32 {
        self.0.observe(self.1 + reg::CONFIG_GENERATION)
    }

    fn word(&self, index: usize) -> u32 {
        let at = self.1 + window::CONFIG + 4 * index as u32;
        self.0.region.read32(at)
    }

    fn read_barrier(&self) {
        self.0.memory().read_barrier();
    }
}

/// `RingsSeen` as last written.
pub(crate) struct Seen(Mutex<u32>);

impl Seen {
    pub(crate) fn new(rings: u32) -> Self {
        Self(Mutex::new(rings))
    }
}

impl Kernel {
    fn memory(&self) -> Driver {
        Driver {
            region: self.region,
            base: 0,
        }
    }

    /// `Page::observe`
    pub(crate) fn observe(&self, at: u32) -> u32 {
        let value = self.region.read32(at);
        self.memory().read_barrier();
        value
    }

    /// `Page::publish`
    fn publish(&self, at: u32, value: u32) {
        self.memory().write_barrier();
        self.region.write32(at, value);
    }

    /// `Wire::view` before and after the identity is copied
    pub(crate) fn identity(&self) -> Option<Identity> {
        let ready = || self.observe(link::PEER_STATE) == PeerState::Ready as u32;
        if !ready() {
            return None;
        }
        let epoch = self.observe(link::EPOCH);
        let words = core::array::from_fn(|i| self.region.read32(link::IDENTITY + 4 * i as u32));
        self.memory().read_barrier();
        let same = ready() && self.observe(link::EPOCH) == epoch;
        let identity = Identity::parse(&words, u64::from(self.region.len()));
        same.then(|| identity.expect(EARLY))
    }

    /// `Link::attach`
    pub(crate) fn attach(&self, peer: u32, epoch: u32) {
        self.region.write32(link::DRIVER_VERSION, VERSION);
        self.region.write32(link::EPOCH_ACK, peer);
        self.publish(link::DRIVER_EPOCH, epoch);
        self.publish(link::DRIVER_STATE, DriverState::Attached as u32);
    }

    /// `Window::post`
    pub(crate) fn post(&self, window: u32, epoch: u32, entries: &[Entry]) -> u32 {
        let seq = self.observe(window + window::DONE_SEQ) + 1;
        for (index, entry) in entries.iter().enumerate() {
            let at = window + window::txn_entry(index);
            for (at, value) in (at..).step_by(4).zip(entry.emit()) {
                self.region.write32(at, value);
            }
        }
        let count = entries.len() as u32;
        self.region.write32(window + window::TXN_COUNT, count);
        self.region.write32(window + window::TXN_EPOCH, epoch);
        self.publish(window + window::TXN_SEQ, seq);
        seq
    }

    /// `Window::wait` and `Window::answer`, of the peer of `epoch`: outcome, index, and a register of the view
    pub(crate) fn answer(
        &self,
        epoch: u32,
        window: u32,
        seq: u32,
        register: u32,
    ) -> Option<(u32, u32, u32)> {
        if self.observe(window + window::DONE_SEQ) != seq {
            return None;
        }
        let read = |at| self.region.read32(window + at);
        let answer = (
            read(window::DONE_STATUS),
            read(window::DONE_INDEX),
            read(register),
        );
        self.memory().read_barrier();
        let ready = self.observe(link::PEER_STATE) == PeerState::Ready as u32;
        (ready && self.observe(link::EPOCH) == epoch).then_some(answer)
    }

    /// `Copy::take`, one try: the generation, and what was copied
    pub(crate) fn configuration(&self, window: u32) -> Option<(u32, [u32; 2])> {
        let mut words = [0; 2];
        let generation = attempt(&Configuration(self, window), &mut words).ok()?;
        Some((generation, words))
    }

    /// `Queue::kick`
    pub(crate) fn kick(&self, window: u32, count: u32, word: u32) {
        self.region.write32(window + window::notify_data(0), word);
        self.publish(window + window::notify_count(0), count);
    }

    /// `Wire::notify` for device 0
    pub(crate) fn notify(&self, count: u32) {
        self.publish(link::device_notify(0), count);
    }

    /// `Wire::acknowledge_rings`
    pub(crate) fn acknowledge(&self, seen: &Seen) {
        let mut seen = seen.0.lock().unwrap();
        let rings = self.region.read32(link::RINGS);
        if *seen != rings {
            *seen = rings;
            self.region.write32(link::RINGS_SEEN, rings);
            self.memory().full_barrier();
        }
    }

    /// The same without a lock, twice since another CPU may have looked after us, and written
    /// before. It is not enough: who finds the right number noted may have written it before an
    /// older one.
    pub(crate) fn acknowledge_unlocked(&self, seen: &AtomicU32) {
        for _ in 0..2 {
            let rings = self.region.read32(link::RINGS);
            if seen.swap(rings, Ordering::Relaxed) == rings {
                return;
            }
            self.region.write32(link::RINGS_SEEN, rings);
            self.memory().full_barrier();
        }
    }

    /// What an interrupt does: it acknowledges, and looks at a device's counter.
    pub(crate) fn look(&self, seen: &Seen, device: usize) -> u32 {
        self.acknowledge(seen);
        self.observe(link::device_event(device))
    }
}
