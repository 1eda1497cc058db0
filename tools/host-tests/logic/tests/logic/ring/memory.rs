// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory between a ring and a device of the tests, that watches what the ring does with it.

use hvl_logic::algo::ring::{Features, Layout, Memory};
use std::cell::{Cell, RefCell};

/// Address at which the device sees the memory.
pub(crate) const BASE: u64 = 0x12_3456_0000_0040;

/// Numbers that look random (xorshift).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | (1 << 63))
    }

    pub(crate) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.roll() % end
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

type Hook = Box<dyn FnMut(&Shared)>;
/// Writes of the driver's: offset and bytes.
type Log = Vec<(u32, Vec<u8>)>;

/// The memory of one virtqueue. [`Memory`] is the driver's way to it, `get` and `put` are the
/// device's.
///
/// Panics where the driver reads what only it writes, reads a used element without a read barrier
/// after what showed it, or writes what only the device writes. What the driver writes reaches the
/// device late and in any order, but for its barriers, if `weak` says so.
pub(crate) struct Shared {
    layout: Layout,
    bytes: RefCell<Vec<u8>>,
    /// The driver's writes that the device cannot see yet: offset, and bytes.
    pending: RefCell<Vec<(usize, Vec<u8>)>>,
    weak: Cell<bool>,
    log: RefCell<Option<Log>>,
    /// Whether a read barrier came after the last look at the used index or flags.
    fenced: Cell<bool>,
    dice: RefCell<Dice>,
    /// Called before the driver's accesses and barriers.
    hook: RefCell<Option<Hook>>,
}

impl Shared {
    /// Memory full of noise: a ring must not rely on what was there.
    pub(crate) fn new(layout: Layout) -> Self {
        let mut dice = Dice::new(1);
        let bytes = (0..layout.bytes()).map(|_| dice.roll() as u8).collect();
        Self {
            layout,
            bytes: RefCell::new(bytes),
            pending: RefCell::new(Vec::new()),
            weak: Cell::new(false),
            log: RefCell::new(None),
            fenced: Cell::new(false),
            dice: RefCell::new(dice),
            hook: RefCell::new(None),
        }
    }

    /// From now on writes are late.
    pub(crate) fn weaken(&self, seed: u64) {
        self.weak.set(true);
        *self.dice.borrow_mut() = Dice::new(seed);
    }

    pub(crate) fn set_hook(&self, hook: impl FnMut(&Shared) + 'static) {
        *self.hook.borrow_mut() = Some(Box::new(hook));
    }

    /// What the device reads.
    pub(crate) fn get<const N: usize>(&self, at: u32) -> [u8; N] {
        let at = at as usize;
        self.bytes.borrow()[at..at + N].try_into().unwrap()
    }

    pub(crate) fn get16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.get(at))
    }

    pub(crate) fn get32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    pub(crate) fn get64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.get(at))
    }

    /// What the device writes, or whoever can.
    pub(crate) fn put(&self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.bytes.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(crate) fn put16(&self, at: u32, value: u16) {
        self.put(at, &value.to_le_bytes());
    }

    pub(crate) fn put32(&self, at: u32, value: u32) {
        self.put(at, &value.to_le_bytes());
    }

    /// From now on the driver's writes are kept for [`Shared::take_log`].
    pub(crate) fn keep_log(&self) {
        *self.log.borrow_mut() = Some(Vec::new());
    }

    /// What the driver has written since the last call, in order.
    pub(crate) fn take_log(&self) -> Log {
        self.log.borrow_mut().replace(Vec::new()).unwrap()
    }

    /// The device sees all that the driver has written.
    pub(crate) fn settle(&self) {
        for (at, bytes) in self.pending.borrow_mut().drain(..) {
            self.put(at as u32, &bytes);
        }
    }

    /// The device sees one more of the driver's writes, any one.
    fn trickle(&self) {
        let mut pending = self.pending.borrow_mut();
        if pending.is_empty() {
            return;
        }
        let any = self.dice.borrow_mut().below(pending.len() as u64) as usize;
        let (at, len) = (pending[any].0, pending[any].1.len());
        // The first to the same place: writes to one place keep their order.
        let first = pending
            .iter()
            .position(|(other, bytes)| *other < at + len && at < other + bytes.len());
        let (at, bytes) = pending.remove(first.unwrap());
        self.put(at as u32, &bytes);
    }

    fn before_access(&self) {
        if self.weak.get() {
            while self.dice.borrow_mut().one_in(2) && !self.pending.borrow().is_empty() {
                self.trickle();
            }
        }
        let hook = self.hook.borrow_mut().take();
        if let Some(mut hook) = hook {
            hook(self);
            *self.hook.borrow_mut() = Some(hook);
        }
    }

    fn read<const N: usize>(&self, at: u32) -> [u8; N] {
        self.before_access();
        self.check_read(at, N as u32);
        let mut value = self.get::<N>(at);
        // A core sees its own writes at once.
        for (other, bytes) in self.pending.borrow().iter() {
            for (index, byte) in bytes.iter().enumerate() {
                let place = (other + index).wrapping_sub(at as usize);
                if place < N {
                    value[place] = *byte;
                }
            }
        }
        value
    }

    /// The driver reads what the device writes, and in the right order.
    fn check_read(&self, at: u32, width: u32) {
        assert_eq!(at % width, 0, "misaligned read of {width} bytes at {at}");
        let layout = &self.layout;
        let device = layout.device()..layout.tables();
        if layout.packed() {
            match (at / 16 < layout.size().into(), at % 16, width) {
                (true, 14, 2) => self.fenced.set(false),
                (true, 8, 4) | (true, 12, 2) => assert!(self.fenced.get(), "no read barrier"),
                _ => assert_eq!((at, width), (layout.device(), 4), "read of what is ours"),
            }
            return;
        }
        assert!(device.contains(&at), "read of what is ours at {at}");
        let entries = u32::from(layout.size());
        match (at - layout.device(), width) {
            (0, 2) => {}
            (2, 2) => self.fenced.set(false),
            (place, 2) => assert_eq!(place, 4 + 8 * entries, "used event"),
            (place, _) => {
                assert!((4..4 + 8 * entries).contains(&place));
                assert!(self.fenced.get(), "no read barrier");
            }
        }
    }

    fn write(&self, at: u32, bytes: &[u8]) {
        self.before_access();
        let layout = &self.layout;
        assert_eq!(at as usize % bytes.len(), 0, "misaligned write at {at}");
        assert!(at < layout.bytes(), "write at {at} is outside");
        let device = layout.device()..layout.tables();
        let fresh = bytes.iter().all(|byte| *byte == 0);
        assert!(fresh || !device.contains(&at), "write of what is not ours");
        if let Some(log) = self.log.borrow_mut().as_mut() {
            log.push((at, bytes.into()));
        }
        if self.weak.get() {
            self.pending.borrow_mut().push((at as usize, bytes.into()));
        } else {
            self.put(at, bytes);
        }
    }
}

impl Memory for Shared {
    fn read16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.read(at))
    }

    fn read32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.read(at))
    }

    fn write16(&self, at: u32, value: u16) {
        self.write(at, &value.to_le_bytes());
    }

    fn write32(&self, at: u32, value: u32) {
        self.write(at, &value.to_le_bytes());
    }

    fn write_barrier(&self) {
        self.before_access();
        self.settle();
    }

    fn read_barrier(&self) {
        self.fenced.set(true);
    }

    fn full_barrier(&self) {
        self.before_access();
        self.settle();
    }
}

/// All combinations of features, as bits of `number`, for which the low five count.
pub(crate) fn features(number: u8) -> Features {
    // As VIRTIO 6 numbers them.
    let bits = [34, 28, 35, 29, 38];
    let set = bits
        .iter()
        .zip(0..)
        .map(|(bit, position)| u64::from((number >> position) & 1) << bit);
    Features::from_bits(set.sum())
}
