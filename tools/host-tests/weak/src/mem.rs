// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The region in the model: words that are watched are loom's atomics, all others are plain, as
//! only one side uses them while a model runs.
//!
//! Barriers are as weak as the protocol allows them to be, not as strong as either side has them: so
//! what a model shows holds for every peer that keeps protocol.rst ("Memory ordering and
//! attributes").

use hvl_logic::algo::ring::Memory;
use loom::sync::atomic::{fence, AtomicU16, AtomicU32, Ordering};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

#[path = "../../../../samples/peer/device/src/mem/pool.rs"]
mod pool;

pub use self::pool::Pool;

/// Memory of Linux's, of which there is none here.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Window {}

impl Window {
    /// Whether some bytes lie inside.
    pub fn holds(&self, _address: u64, _len: u64) -> bool {
        match *self {}
    }
}

/// A barrier that a model can be without, to show that it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// The driver's before it publishes.
    DriverWrite,
    /// The driver's after it has observed.
    DriverRead,
    /// The driver's between what it writes and what it then reads.
    DriverFull,
    /// The peer's before it publishes.
    PeerWrite,
    /// The peer's after it has observed.
    PeerRead,
    /// The peer's between what it writes and what it then reads.
    PeerFull,
}

/// A watched word, of the size by which it is accessed.
enum Watched {
    Half(AtomicU16),
    Word(AtomicU32),
}

struct Space {
    plain: Vec<Cell<u16>>,
    watched: BTreeMap<u32, Watched>,
    turn: AtomicU32,
    without: Option<Fence>,
}

thread_local! {
    // All threads of a model are one thread of the system.
    static SPACE: RefCell<Option<Rc<Space>>> = const { RefCell::new(None) };
}

fn space() -> Rc<Space> {
    SPACE.with_borrow(|space| Rc::clone(space.as_ref().expect("no region was made")))
}

fn order(which: Fence, ordering: Ordering) {
    if space().without != Some(which) {
        fence(ordering);
    }
}

impl Space {
    /// The watched word at `offset`, before whose use another thread's turn may come.
    ///
    /// Loom tries the others where two threads use the same word, but remembers only who did so
    /// last. Here all write one that nobody reads, which orders nothing.
    fn watched(&self, offset: u32) -> Option<&Watched> {
        let watched = self.watched.get(&offset)?;
        self.turn.store(0, Ordering::Relaxed);
        Some(watched)
    }
}

/// The region, as the peer's library knows it.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Region {
    len: u32,
}

impl Region {
    /// A region of zeros. `halves` and `words` are watched, by halves of a word and by words.
    ///
    /// It replaces the one before, which loom is done with when it begins another execution.
    pub fn new(
        len: u32,
        halves: &[Range<u32>],
        words: &[Range<u32>],
        without: Option<Fence>,
    ) -> Self {
        let mut watched = BTreeMap::new();
        for at in halves.iter().flat_map(|range| range.clone().step_by(2)) {
            watched.insert(at, Watched::Half(AtomicU16::new(0)));
        }
        for at in words.iter().flat_map(|range| range.clone().step_by(4)) {
            watched.insert(at, Watched::Word(AtomicU32::new(0)));
        }
        let plain = vec![Cell::new(0); len as usize / 2];
        SPACE.set(Some(Rc::new(Space {
            plain,
            watched,
            turn: AtomicU32::new(0),
            without,
        })));
        Self { len }
    }

    /// Bytes of the region.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the region has no byte at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads a half word.
    pub fn read16(&self, offset: u32) -> u16 {
        assert_eq!(offset % 2, 0);
        let space = space();
        match space.watched(offset) {
            Some(Watched::Half(half)) => half.load(Ordering::Relaxed),
            Some(Watched::Word(_)) => panic!("half of a word is read at {offset:#x}"),
            None => space.plain[offset as usize / 2].get(),
        }
    }

    /// Writes a half word.
    pub fn write16(&self, offset: u32, value: u16) {
        assert_eq!(offset % 2, 0);
        let space = space();
        match space.watched(offset) {
            Some(Watched::Half(half)) => half.store(value, Ordering::Relaxed),
            Some(Watched::Word(_)) => panic!("half of a word is written at {offset:#x}"),
            None => space.plain[offset as usize / 2].set(value),
        }
    }

    /// Reads a word: one access where it is watched as one, two where by halves.
    pub fn read32(&self, offset: u32) -> u32 {
        assert_eq!(offset % 4, 0);
        if let Some(Watched::Word(word)) = space().watched(offset) {
            return word.load(Ordering::Relaxed);
        }
        let low = self.read16(offset);
        u32::from(low) | (u32::from(self.read16(offset + 2)) << 16)
    }

    /// Which of the words from `offset` on, `N` words apart, are not those of `seen`.
    pub fn changed<const N: usize>(&self, offset: u32, seen: &[u32]) -> u64 {
        let word = |index: usize| self.read32(offset + (4 * N * index) as u32);
        let changed = |(index, seen): (usize, &u32)| u64::from(word(index) != *seen) << index;
        seen.iter().enumerate().map(changed).sum()
    }

    /// Writes a word, likewise.
    pub fn write32(&self, offset: u32, value: u32) {
        assert_eq!(offset % 4, 0);
        if let Some(Watched::Word(word)) = space().watched(offset) {
            return word.store(value, Ordering::Relaxed);
        }
        self.write16(offset, value as u16);
        self.write16(offset + 2, (value >> 16) as u16);
    }

    /// Writes one byte, of a watched word as if it were all of it: who does so is alone with it.
    pub fn write8(&self, offset: u32, value: u8) {
        let space = space();
        if let Some(Watched::Word(word)) = space.watched(offset & !3) {
            let mut bytes = word.load(Ordering::Relaxed).to_le_bytes();
            bytes[offset as usize % 4] = value;
            return word.store(u32::from_le_bytes(bytes), Ordering::Relaxed);
        }
        let at = offset & !1;
        assert!(!space.watched.contains_key(&at));
        let half = &space.plain[at as usize / 2];
        let mut bytes = half.get().to_le_bytes();
        bytes[offset as usize % 2] = value;
        half.set(u16::from_le_bytes(bytes));
    }

    /// Copies whole words out of the region.
    pub fn read_bytes(&self, offset: u32, to: &mut [u8]) -> bool {
        for (at, part) in (offset..).step_by(4).zip(to.chunks_mut(4)) {
            part.copy_from_slice(&self.read32(at).to_le_bytes()[..part.len()]);
        }
        true
    }

    /// Copies whole words out of a place in the region.
    pub fn read_at(&self, place: u64, to: &mut [u8]) -> bool {
        self.read_bytes(place.try_into().expect("a place in the region"), to)
    }

    /// Copies whole words to a place in the region.
    pub fn write_at(&self, place: u64, from: &[u8]) -> bool {
        self.write_bytes(place.try_into().expect("a place in the region"), from)
    }

    /// What of Linux's memory is reached beside the region.
    pub fn windows(&self) -> &'static [Window] {
        &[]
    }

    /// Copies whole words into the region.
    pub fn write_bytes(&self, offset: u32, from: &[u8]) -> bool {
        for (at, part) in (offset..).step_by(4).zip(from.chunks(4)) {
            self.write32(
                at,
                u32::from_le_bytes(part.try_into().expect("whole words")),
            );
        }
        true
    }

    /// Publishes a word.
    pub fn publish32(&self, offset: u32, value: u32) {
        order(Fence::PeerWrite, Ordering::Release);
        self.write32(offset, value);
    }

    /// Publishes a half word.
    pub fn publish16(&self, offset: u32, value: u16) {
        order(Fence::PeerWrite, Ordering::Release);
        self.write16(offset, value);
    }

    /// Observes a word.
    pub fn observe32(&self, offset: u32) -> u32 {
        let value = self.read32(offset);
        order(Fence::PeerRead, Ordering::Acquire);
        value
    }

    /// Observes a half word.
    pub fn observe16(&self, offset: u32) -> u16 {
        let value = self.read16(offset);
        order(Fence::PeerRead, Ordering::Acquire);
        value
    }
}

/// The peer's full barrier.
pub fn barrier() {
    order(Fence::PeerFull, Ordering::SeqCst);
}

/// The region as the driver knows it, from some offset on.
#[derive(Clone, Copy, Debug)]
pub struct Driver {
    /// The region.
    pub region: Region,
    /// Where the driver's part begins.
    pub base: u32,
}

impl Memory for Driver {
    fn read16(&self, at: u32) -> u16 {
        self.region.read16(self.base + at)
    }

    fn read32(&self, at: u32) -> u32 {
        self.region.read32(self.base + at)
    }

    fn write16(&self, at: u32, value: u16) {
        self.region.write16(self.base + at, value);
    }

    fn write32(&self, at: u32, value: u32) {
        self.region.write32(self.base + at, value);
    }

    fn write_barrier(&self) {
        order(Fence::DriverWrite, Ordering::Release);
    }

    fn read_barrier(&self) {
        order(Fence::DriverRead, Ordering::Acquire);
    }

    fn full_barrier(&self) {
        order(Fence::DriverFull, Ordering::SeqCst);
    }
}
