// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's side of a link, for tests: what Linux would do, and what it should not.

#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

pub mod echo;

use hvl_device::device::{Bells, Device, Doorbell};
use hvl_device::faults::Faults;
use hvl_device::link::{Link, Params, Wake};
use hvl_device::mem::{Region, Window};
use hvl_device::proto::layout::{link, window, PAGE};
use hvl_device::proto::virtio::{feature, reg, status};
use hvl_device::proto::{DeviceEntry, DriverState, Entry, FieldError, Identity, Status};
use hvl_device::transport::Offer;

pub const SIZE: u32 = 0x10_0000;
/// The peer sees the region elsewhere than at its address, as on a 32-bit peer.
pub const BASE: u64 = 0x7a00_0000;

#[repr(C, align(4096))]
#[derive(Clone)]
struct Page([u8; PAGE as usize]);

/// Memory for a region.
pub struct Memory {
    pages: Vec<Page>,
    pub region: Region,
}

impl Memory {
    pub fn new(size: u32) -> Self {
        let mut pages = vec![Page([0; PAGE as usize]); (size / PAGE) as usize];
        // SAFETY: The pages live as long as the value, and nothing else looks at them.
        let region = unsafe { Region::new(pages.as_mut_ptr().cast(), size) }.unwrap();
        Self { pages, region }
    }

    /// The first byte, for drivers that want pointers.
    pub fn base(&mut self) -> *mut u8 {
        self.pages.as_mut_ptr().cast()
    }
}

/// Counts rings.
#[derive(Default)]
pub struct Bell(pub u32);

impl Doorbell for Bell {
    fn ring(&mut self) {
        self.0 += 1;
    }
}

pub const RANG: Wake = Wake {
    doorbell: true,
    queues: false,
    tick: false,
    timer: false,
};
pub const TICK: Wake = Wake {
    doorbell: false,
    queues: false,
    tick: true,
    timer: false,
};
pub const LOOKED: Wake = Wake {
    doorbell: false,
    queues: false,
    tick: false,
    timer: false,
};

pub fn params(faults: Faults) -> Params {
    Params {
        peer_base: BASE,
        heartbeat_ms: 100,
        polled: false,
        offer: Offer::ALL,
        bells: Bells::default(),
        faults,
    }
}

pub fn identity(region: &Region) -> Result<Identity, FieldError> {
    let words = core::array::from_fn(|i| region.read32(link::IDENTITY + 4 * i as u32));
    Identity::parse(&words, u64::from(SIZE))
}

pub fn entry(region: &Region, index: usize) -> Result<DeviceEntry, FieldError> {
    let at = link::device_entry(index);
    let words = core::array::from_fn(|i| region.read32(at + 4 * i as u32));
    DeviceEntry::parse(&words, &identity(region).unwrap())
}

/// A link with one device, and its driver.
pub struct Rig<D: Device> {
    pub memory: Memory,
    pub device: D,
    pub link: Link,
    pub bell: Bell,
    pub window: u32,
    /// The driver looks at once when it is rung.
    pub looks: bool,
    /// Next free byte of the pool.
    free: u32,
}

impl<D: Device> Rig<D> {
    pub fn new(device: D) -> Self {
        Self::with_faults(device, Faults::NONE)
    }

    pub fn with_faults(device: D, faults: Faults) -> Self {
        Self::with_windows(device, faults, &[])
    }

    /// The same for a peer that reaches some memory of Linux's.
    pub fn with_windows(mut device: D, faults: Faults, windows: &'static [Window]) -> Self {
        let mut memory = Memory::new(SIZE);
        memory.region = memory.region.with_windows(windows);
        let link = Link::start(memory.region, &params(faults), &mut [&mut device]).unwrap();
        let identity = identity(&memory.region);
        let mut rig = Self {
            window: entry(&memory.region, 0).map_or(PAGE, |entry| entry.window),
            free: identity.map_or(2 * PAGE, |identity| identity.pool_offset),
            memory,
            device,
            link,
            bell: Bell::default(),
            looks: true,
        };
        rig.finish();
        rig
    }

    pub fn mem(&self) -> &Region {
        &self.memory.region
    }

    pub fn finish(&mut self) {
        self.link.finish(&mut [&mut self.device], &mut self.bell);
    }

    pub fn pass(&mut self, wake: Wake) {
        self.link.poll(wake, &mut [&mut self.device]);
        self.finish();
        if self.looks {
            self.look();
        }
    }

    /// What the driver does before it looks.
    pub fn look(&self) {
        let rings = self.mem().read32(link::RINGS);
        self.mem().write32(link::RINGS_SEEN, rings);
    }

    /// Attaches a driver.
    pub fn attach(&mut self, epoch: u32) {
        self.attach_with(epoch, 0);
    }

    /// Attaches one that makes use of `features`.
    pub fn attach_with(&mut self, epoch: u32, features: u32) {
        let mem = self.memory.region;
        mem.write32(link::DRIVER_FEATURES, features);
        mem.write32(link::DRIVER_VERSION, hvl_device::proto::layout::VERSION);
        mem.write32(link::EPOCH_ACK, self.link.epoch());
        mem.write32(link::DRIVER_EPOCH, epoch);
        mem.publish32(link::DRIVER_STATE, DriverState::Attached as u32);
        self.pass(RANG);
        assert_eq!(mem.read32(link::DRIVER_EPOCH_SEEN), epoch);
    }

    pub fn view(&self, register: u32) -> u32 {
        self.mem().read32(self.window + register)
    }

    /// Puts a transaction into the window, as it is.
    pub fn write_transaction(&mut self, epoch: u32, count: u32, entries: &[Entry]) {
        let mem = self.memory.region;
        for (index, entry) in entries.iter().enumerate() {
            for (word, value) in entry.emit().into_iter().enumerate() {
                mem.write32(
                    self.window + window::txn_entry(index) + 4 * word as u32,
                    value,
                );
            }
        }
        mem.write32(self.window + window::TXN_COUNT, count);
        mem.write32(self.window + window::TXN_EPOCH, epoch);
        let seq = mem.read32(self.window + window::DONE_SEQ).wrapping_add(1);
        mem.publish32(self.window + window::TXN_SEQ, seq);
        self.count();
    }

    /// Counts that there is something for the device.
    pub fn count(&self) {
        let at = link::device_notify(0);
        let count = self.mem().read32(at).wrapping_add(1);
        self.mem().publish32(at, count);
    }

    /// Runs a transaction; its status and the number of entries applied.
    pub fn transact(&mut self, entries: &[Entry]) -> (Status, u32) {
        self.write_transaction(self.link.epoch(), entries.len() as u32, entries);
        self.pass(RANG);
        self.outcome()
    }

    /// The outcome of the last transaction.
    pub fn outcome(&self) -> (Status, u32) {
        let at = |offset| self.mem().read32(self.window + offset);
        assert_eq!(at(window::DONE_SEQ), at(window::TXN_SEQ));
        let status = Status::from_word(at(window::DONE_STATUS)).unwrap();
        (status, at(window::DONE_INDEX))
    }

    /// Writes registers, all of which have to be accepted.
    pub fn set(&mut self, registers: &[(u32, u32)]) {
        let entries: Vec<Entry> = registers
            .iter()
            .map(|(offset, value)| Entry::register(*offset, *value))
            .collect();
        for part in entries.chunks(window::TXN_MAX) {
            assert_eq!(self.transact(part), (Status::Ok, part.len() as u32));
        }
    }

    pub fn offered(&mut self) -> u64 {
        self.set(&[(reg::DEVICE_FEATURES_SEL, 1)]);
        let high = u64::from(self.view(reg::DEVICE_FEATURES)) << 32;
        self.set(&[(reg::DEVICE_FEATURES_SEL, 0)]);
        high | u64::from(self.view(reg::DEVICE_FEATURES))
    }

    /// Negotiates `features`; whether the device accepted them.
    pub fn negotiate(&mut self, features: u64) -> bool {
        let before = status::ACKNOWLEDGE | status::DRIVER;
        self.set(&[
            (reg::STATUS, 0),
            (reg::STATUS, status::ACKNOWLEDGE),
            (reg::STATUS, before),
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features as u32),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, (features >> 32) as u32),
            (reg::STATUS, before | status::FEATURES_OK),
        ]);
        self.view(reg::STATUS) & status::FEATURES_OK != 0
    }

    pub fn driver_ok(&mut self) {
        let all = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
        self.set(&[(reg::STATUS, all)]);
        assert_eq!(self.view(reg::STATUS), all);
    }

    /// Takes all memory of the pool back, which begins at `pool`.
    pub fn free_all(&mut self, pool: u32) {
        self.free = pool;
    }

    /// Memory of the pool.
    pub fn alloc(&mut self, len: u32) -> u32 {
        let at = self.free.next_multiple_of(64);
        self.free = at + len;
        assert!(self.free <= SIZE);
        at
    }

    /// The registers that make queue `index` ready, with `ring` as its memory.
    pub fn queue_registers(index: u32, ring: &Ring) -> [(u32, u32); 9] {
        let at = |offset: u32| BASE as u32 + offset;
        [
            (reg::QUEUE_SEL, index),
            (reg::QUEUE_SIZE, u32::from(ring.size)),
            (reg::QUEUE_DESC_LOW, at(ring.desc)),
            (reg::QUEUE_DESC_HIGH, 0),
            (reg::QUEUE_DRIVER_LOW, at(ring.avail)),
            (reg::QUEUE_DRIVER_HIGH, 0),
            (reg::QUEUE_DEVICE_LOW, at(ring.used)),
            (reg::QUEUE_DEVICE_HIGH, 0),
            (reg::QUEUE_READY, 1),
        ]
    }

    /// Makes queue `index` ready.
    pub fn queue(&mut self, index: u32, size: u16) -> Ring {
        let entries = u32::from(size);
        let ring = Ring {
            size,
            desc: self.alloc(16 * entries),
            avail: self.alloc(6 + 2 * entries),
            used: self.alloc(6 + 8 * entries),
            avail_index: 0,
            used_seen: 0,
            region: self.memory.region,
        };
        self.set(&Self::queue_registers(index, &ring));
        assert_eq!(self.view(reg::QUEUE_READY), 1);
        ring
    }

    /// From reset to DRIVER_OK with `features` and all of `sizes`.
    pub fn bring_up(&mut self, features: u64, sizes: &[u16]) -> Vec<Ring> {
        assert!(self.negotiate(features | feature::MANDATORY));
        let rings = (0..)
            .zip(sizes)
            .map(|(i, size)| self.queue(i, *size))
            .collect();
        self.driver_ok();
        rings
    }
}

/// The driver's side of a split virtqueue. Buffers are at most as many as entries, used in turn.
pub struct Ring {
    pub size: u16,
    pub desc: u32,
    pub avail: u32,
    pub used: u32,
    pub avail_index: u16,
    pub used_seen: u16,
    pub region: Region,
}

/// A buffer: offset in the region, length, whether the device writes it.
pub type Buffer = (u32, u32, bool);

impl Ring {
    pub fn write_desc(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = self.desc + 16 * u32::from(index);
        self.region.write32(at, address as u32);
        self.region.write32(at + 4, (address >> 32) as u32);
        self.region.write32(at + 8, len);
        self.region.write16(at + 12, flags);
        self.region.write16(at + 14, next);
    }

    /// Makes the chain that begins at descriptor `head` available.
    pub fn offer(&mut self, head: u16) {
        let slot = u32::from(self.avail_index % self.size);
        self.region.write16(self.avail + 4 + 2 * slot, head);
        self.avail_index = self.avail_index.wrapping_add(1);
        self.region.publish16(self.avail + 2, self.avail_index);
    }

    /// Makes `buffers` available as one chain, from descriptor `head` on.
    pub fn add(&mut self, head: u16, buffers: &[Buffer]) {
        for (i, (offset, len, write)) in buffers.iter().enumerate() {
            let index = head + i as u16;
            let last = i + 1 == buffers.len();
            let flags = u16::from(!last) | (u16::from(*write) << 1);
            self.write_desc(index, BASE + u64::from(*offset), *len, flags, index + 1);
        }
        self.offer(head);
    }

    pub fn used_index(&self) -> u16 {
        self.region.observe16(self.used + 2)
    }

    /// The next used chain: its head and the bytes written.
    pub fn take(&mut self) -> Option<(u32, u32)> {
        if self.used_index() == self.used_seen {
            return None;
        }
        let slot = u32::from(self.used_seen % self.size);
        self.used_seen = self.used_seen.wrapping_add(1);
        let at = self.used + 4 + 8 * slot;
        Some((self.region.read32(at), self.region.read32(at + 4)))
    }

    pub fn used_flags(&self) -> u16 {
        self.region.read16(self.used)
    }

    pub fn set_avail_flags(&self, flags: u16) {
        self.region.write16(self.avail, flags);
    }

    /// Tells the device which used index to notify at.
    pub fn set_used_event(&self, index: u16) {
        self.region
            .write16(self.avail + 4 + 2 * u32::from(self.size), index);
    }
}
