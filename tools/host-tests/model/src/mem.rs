// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The region in the model, and how the peer's code is run in it: a piece at a time.
//!
//! The peer's own code, a boot or a pass of its loop, is a function that cannot be stopped in the middle and cloned. So
//! it is run again from its beginning for each piece: what it has read is noted, and read once more from the note; what
//! it has written is not written again. Where it comes to the end of the piece it is left by unwinding.

use crate::ghost::Ghost;
use crate::mutation::Mutation;
use crate::proto::layout::{link, window, PAGE};
use crate::{DEVICES, POOL};
use std::cell::RefCell;
use std::panic::{catch_unwind, resume_unwind, AssertUnwindSafe};

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

/// The words of a region that are not 0, in the order of their offsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Memory(Vec<(u32, u32)>);

impl Memory {
    /// The word at `at`.
    pub fn get(&self, at: u32) -> u32 {
        match self.0.binary_search_by_key(&at, |word| word.0) {
            Ok(index) => self.0[index].1,
            Err(_) => 0,
        }
    }

    /// Writes the word at `at`.
    pub fn set(&mut self, at: u32, value: u32) {
        assert_eq!(at % 4, 0);
        match (self.0.binary_search_by_key(&at, |word| word.0), value) {
            (Ok(index), 0) => {
                self.0.remove(index);
            }
            (Ok(index), _) => self.0[index].1 = value,
            (Err(_), 0) => {}
            (Err(index), _) => self.0.insert(index, (at, value)),
        }
    }

    /// The half word at `at`.
    pub fn get16(&self, at: u32) -> u16 {
        (self.get(at & !3) >> (8 * (at & 2))) as u16
    }

    /// Writes the half word at `at`.
    pub fn set16(&mut self, at: u32, value: u16) {
        let shift = 8 * (at & 2);
        let word = self.get(at & !3) & !(0xffff << shift);
        self.set(at & !3, word | (u32::from(value) << shift));
    }

    /// Makes the words of `range` 0.
    pub fn clear(&mut self, range: core::ops::Range<u32>) {
        self.0.retain(|(at, _)| !range.contains(at));
    }
}

/// How finely what the peer does is cut into pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grain {
    /// A pass of its loop is one.
    Pass,
    /// A piece ends before each word of Linux's that is read, before each word that is published, and before a
    /// virtqueue is looked at.
    Word,
}

/// What the peer has done so far of what it does, as far as it is not at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Done {
    /// Reads, writes and rings.
    count: usize,
    /// What was read.
    read: Vec<u32>,
}

/// What there is while the peer's code runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) memory: Memory,
    pub(crate) ghost: Ghost,
    pub(crate) rung: bool,
    pub(crate) mutation: Mutation,
    /// The pieces end at all, and where those of a boot do.
    grain: Grain,
    boots: bool,
    done: Done,
    /// Reads, writes and rings since the beginning, those that were repeated among them.
    count: usize,
    repeated: usize,
    /// This piece has done something.
    moved: bool,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

/// What the peer is left by.
struct Pause;

impl Running {
    /// Whether it is a boot.
    pub(crate) fn is_boot(&self) -> bool {
        self.boots
    }

    /// Whether what comes was done before.
    fn repeats(&mut self) -> bool {
        self.count += 1;
        self.count <= self.done.count
    }

    /// The next of what was read before.
    fn note(&mut self) -> u32 {
        self.repeated += 1;
        self.done.read[self.repeated - 1]
    }

    /// Whether the piece ends before what comes.
    fn ends(&self, is_edge: bool) -> bool {
        is_edge && self.moved && self.count >= self.done.count
    }

    fn act(&mut self) {
        self.moved = true;
        self.done.count = self.count;
    }

    fn keep(&mut self, value: u32) -> u32 {
        self.act();
        self.done.read.push(value);
        self.repeated += 1;
        value
    }

    /// Whether another piece may begin with a read of `at`.
    fn is_read_edge(&self, at: u32) -> bool {
        if self.grain == Grain::Pass || self.boots {
            return false;
        }
        match at {
            link::DRIVER_STATE
            | link::DRIVER_EPOCH
            | link::EPOCH_ACK
            | link::DRIVER_FEATURES
            | link::TEST_REQUEST => true,
            _ if at >= POOL => crate::ring::is_avail_index(at),
            _ if at >= PAGE => matches!(at % PAGE, window::TXN_SEQ | window::TXN_COUNT),
            _ => false,
        }
    }

    fn is_write_edge(&self, publishes: bool) -> bool {
        // A boot ends in the middle whatever the grain is.
        publishes && (self.boots || self.grain == Grain::Word)
    }
}

/// Runs `code` of the peer's from the end of `done` on: to the end of a piece, then the result is `None`, or its own.
/// `boots`: it is a boot.
pub(crate) fn run<R>(
    state: (Memory, Ghost, Mutation),
    grain: Grain,
    boots: bool,
    done: Done,
    code: impl FnOnce() -> R,
) -> (Option<R>, Done, Running) {
    let (memory, ghost, mutation) = state;
    RUNNING.set(Some(Running {
        memory,
        ghost,
        rung: false,
        mutation,
        grain,
        boots,
        done,
        count: 0,
        repeated: 0,
        moved: false,
    }));
    let result = match catch_unwind(AssertUnwindSafe(code)) {
        Ok(result) => Some(result),
        Err(reason) if reason.is::<Pause>() => None,
        Err(reason) => resume_unwind(reason),
    };
    let mut running = RUNNING.take().expect("the peer runs");
    (result, core::mem::take(&mut running.done), running)
}

/// Does something with what the peer runs in, or ends the piece before.
fn with<R>(is_edge: impl FnOnce(&Running) -> bool, f: impl FnOnce(&mut Running) -> R) -> R {
    let result = RUNNING.with_borrow_mut(|running| {
        let running = running.as_mut().expect("the peer runs");
        if running.ends(is_edge(running)) {
            return None;
        }
        Some(f(running))
    });
    // Without the hook of a panic: it is none.
    result.unwrap_or_else(|| resume_unwind(Box::new(Pause)))
}

/// Rings Linux, or does something else that is not in the region.
pub(crate) fn beside(f: impl FnOnce(&mut Running)) {
    with(
        |_| false,
        |running| {
            if !running.repeats() {
                running.act();
                f(running);
            }
        },
    );
}

/// The region, as the peer's library knows it.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Region {
    /// Bytes.
    pub len: u32,
}

impl Region {
    /// Bytes of the region.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the region has no byte at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What of Linux's memory is reached beside the region.
    pub fn windows(&self) -> &'static [Window] {
        &[]
    }

    /// Reads a word.
    pub fn read32(&self, offset: u32) -> u32 {
        assert!(offset % 4 == 0 && offset < self.len, "read at {offset:#x}");
        with(
            |running| running.is_read_edge(offset),
            |running| {
                if running.repeats() {
                    return running.note();
                }
                let value = running.memory.get(offset);
                let value = crate::ghost::read(running, offset, value);
                running.keep(value)
            },
        )
    }

    /// Reads a half word.
    pub fn read16(&self, offset: u32) -> u16 {
        assert!(offset % 2 == 0 && offset < self.len, "read at {offset:#x}");
        let value = with(
            |running| running.is_read_edge(offset),
            |running| {
                if running.repeats() {
                    return running.note();
                }
                crate::ghost::reach(running, offset);
                let value = running.memory.get16(offset);
                running.keep(value.into())
            },
        );
        value as u16
    }

    fn put(&self, publishes: bool, offset: u32, f: impl FnOnce(&mut Running)) {
        assert!(offset < self.len, "write at {offset:#x}");
        with(
            |running| running.is_write_edge(publishes),
            |running| {
                if !running.repeats() {
                    running.act();
                    f(running);
                }
            },
        );
    }

    fn put32(&self, publishes: bool, offset: u32, value: u32) {
        self.put(publishes, offset, |running| {
            crate::ghost::write(running, offset, value);
        });
    }

    fn put16(&self, publishes: bool, offset: u32, value: u16) {
        self.put(publishes, offset, |running| {
            crate::ghost::reach(running, offset);
            running.memory.set16(offset, value);
        });
    }

    /// Writes a word.
    pub fn write32(&self, offset: u32, value: u32) {
        self.put32(false, offset, value);
    }

    /// Writes a half word.
    pub fn write16(&self, offset: u32, value: u16) {
        self.put16(false, offset, value);
    }

    /// Writes one byte.
    pub fn write8(&self, offset: u32, value: u8) {
        self.put(false, offset, |running| {
            let shift = 8 * (offset & 3);
            let word = running.memory.get(offset & !3) & !(0xff << shift);
            let word = word | (u32::from(value) << shift);
            running.memory.set(offset & !3, word);
        });
    }

    /// Which of the words from `offset` on, `N` words apart, are not those of `seen`.
    pub fn changed<const N: usize>(&self, offset: u32, seen: &[u32]) -> u64 {
        let word = |index: usize| self.read32(offset + (4 * N * index) as u32);
        let changed = |(index, seen): (usize, &u32)| u64::from(word(index) != *seen) << index;
        seen.iter().enumerate().map(changed).sum()
    }

    /// Copies whole words out of the region.
    pub fn read_bytes(&self, offset: u32, to: &mut [u8]) -> bool {
        for (at, part) in (offset..).step_by(4).zip(to.chunks_mut(4)) {
            part.copy_from_slice(&self.read32(at).to_le_bytes()[..part.len()]);
        }
        true
    }

    /// Copies whole words into the region.
    pub fn write_bytes(&self, offset: u32, from: &[u8]) -> bool {
        for (at, part) in (offset..).step_by(4).zip(from.chunks(4)) {
            let word = part.try_into().expect("whole words");
            self.write32(at, u32::from_le_bytes(word));
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

    /// Publishes a word.
    pub fn publish32(&self, offset: u32, value: u32) {
        self.put32(true, offset, value);
    }

    /// Publishes a half word.
    pub fn publish16(&self, offset: u32, value: u16) {
        self.put16(true, offset, value);
    }

    /// Observes a word.
    pub fn observe32(&self, offset: u32) -> u32 {
        self.read32(offset)
    }

    /// Observes a half word.
    pub fn observe16(&self, offset: u32) -> u16 {
        self.read16(offset)
    }
}

/// The peer's full barrier. The order of accesses is that of the program here; other orders are tried where two sides
/// meet, in the tests `ordering`.
pub fn barrier() {}

/// Where the window of device `index` begins.
pub(crate) const fn window_of(index: usize) -> u32 {
    (1 + index as u32) * PAGE
}

/// The device whose window has the word at `at`, and the word's offset there.
pub(crate) const fn in_window(at: u32) -> Option<(usize, u32)> {
    if at < PAGE || at >= POOL {
        return None;
    }
    let index = at as usize / PAGE as usize - 1;
    assert!(index < DEVICES);
    Some((index, at % PAGE))
}
