// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver, a shadow virtqueue and a device, and all the memory between them.

use super::driver::{Driver, Part, Private};
use crate::ring::device::{Chain, Device};
use crate::ring::memory::{features, Dice, Shared, BASE};
use hvl_logic::algo::ring::{Features, Layout, Lie, Ring, Segment, Slot};
use hvl_logic::algo::shadow::{
    Chunk, Completed, Data, Fetched, Flow, Geometry, Lists, Mapping, Post, Posted, Record, Shadow,
    Store, SEGMENTS_MAX,
};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// What a byte of the driver's memory is that nobody has written.
pub(crate) const BLANK: u8 = 0xb1;
/// Where a device sees buffers that it reaches itself, and how far one is from the next.
const REACH: u64 = 0x7000_0000_0000;
const APART: u64 = 1 << 20;

pub(crate) struct Books;

impl Store for Books {
    /// Number of one of [`Bytes::buffers`].
    type Buffer = usize;
    type Slots = Vec<Slot>;
    type Chunks = Vec<Chunk>;
    type Maps = Vec<Mapping<usize>>;
    type Posts = Vec<Post>;
    type Records = Vec<Record>;
    type Segments = Vec<Segment>;
}

/// The pool's part behind the ring, and the driver's memory.
pub(crate) struct Bytes {
    pub(crate) pool: RefCell<Vec<u8>>,
    pub(crate) buffers: RefCell<Vec<Vec<u8>>>,
    /// Most bytes of one copy, and bytes since it was looked at.
    pub(crate) copied: Cell<u32>,
}

// Out of bounds panics: the shadow has to keep to what it was given.
impl Data<usize> for Bytes {
    fn copy_in(&self, at: u32, from: &usize, skip: u32, len: u32) {
        let (at, skip, len) = (at as usize, skip as usize, len as usize);
        self.copied.set(self.copied.get() + len as u32);
        let buffers = self.buffers.borrow();
        self.pool.borrow_mut()[at..at + len].copy_from_slice(&buffers[*from][skip..skip + len]);
    }
    fn copy_out(&self, at: u32, to: &usize, skip: u32, len: u32) {
        let (at, skip, len) = (at as usize, skip as usize, len as usize);
        self.copied.set(self.copied.get() + len as u32);
        let mut buffers = self.buffers.borrow_mut();
        buffers[*to][skip..skip + len].copy_from_slice(&self.pool.borrow()[at..at + len]);
    }
    fn put(&self, to: &usize, at: u32, byte: u8) {
        self.buffers.borrow_mut()[*to][at as usize] = byte;
    }
    fn address(&self, buffer: &usize) -> Option<u64> {
        Some(REACH + APART * *buffer as u64)
    }
}

/// What the device says of its part of a chain is where it reads or writes.
enum Place {
    Pool(usize),
    /// A buffer, and the byte in it.
    Buffer(usize, usize),
}

/// A chain that the driver has made available.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) head: u16,
    /// What the device has to read.
    pub(crate) readable: Vec<u8>,
    /// Mapping, buffer, offset, bytes, in order.
    pub(crate) writable: Vec<(u64, usize, usize, u32)>,
    pub(crate) handles: Vec<u64>,
    /// What the device wrote.
    pub(crate) written: Vec<u8>,
}

impl Made {
    pub(crate) fn room(&self) -> u32 {
        self.writable.iter().map(|part| part.3).sum()
    }

    /// Parts that are not empty.
    fn parts(&self) -> usize {
        self.writable.iter().filter(|part| part.3 != 0).count()
    }
}

pub(crate) struct World {
    pub(crate) dice: Dice,
    pub(crate) geometry: Geometry,
    pub(crate) features: Features,
    pub(crate) shadow: Shadow<Books>,
    pub(crate) private: Private,
    pub(crate) shared: Shared,
    pub(crate) bytes: Bytes,
    pub(crate) driver: Driver,
    pub(crate) device: Device,
    /// Made available, and not seen by the device yet.
    pub(crate) made: VecDeque<Made>,
    /// The device has them.
    pub(crate) held: VecDeque<(Chain, Made)>,
    /// Given back by the device, in that order.
    pub(crate) given: VecDeque<Made>,
}

impl World {
    /// A queue of `size` entries with `chunks` chunks of `chunk` bytes, and features by number.
    pub(crate) fn new(seed: u64, size: u16, chunk: u32, chunks: u16, number: u8) -> Self {
        Self::with(seed, size, chunk, chunks, number, false)
    }

    /// The same where the device reaches the driver's buffers itself: there are no chunks. The
    /// driver's ring has twice the entries.
    pub(crate) fn direct(seed: u64, size: u16, number: u8) -> Self {
        Self::with(seed, size, 64, 0, number, true)
    }

    pub(crate) fn with(
        seed: u64,
        size: u16,
        chunk: u32,
        chunks: u16,
        number: u8,
        direct: bool,
    ) -> Self {
        let features = features(number);
        let mut dice = Dice::new(seed);
        let table = [0, 4, 20][dice.below(3) as usize];
        let layout = Layout::new(size, features.packed, table).unwrap();
        let entries = size;
        let size = if direct { 2 * size } else { size };
        let geometry = Geometry {
            size,
            chunk,
            chunks,
            first: layout.bytes().next_multiple_of(chunk),
            base: BASE,
            step: 1 + dice.below(2 * u64::from(chunk)) as u32,
            direct,
        };
        let shared = Shared::new(layout);
        let end = geometry.first + u32::from(chunks) * chunk;
        let ring = Ring::new(
            &shared,
            layout,
            BASE,
            features,
            vec![Slot::NEW; entries.into()],
        )
        .unwrap();
        let mut shadow = Shadow::new(vec![Mapping::NEW; 2 * usize::from(size) + 4]);
        let flow = flow(&mut shadow, geometry, ring, features);
        assert!(shadow.install(Some(flow)).is_none());
        Self {
            dice,
            geometry,
            features,
            shadow,
            private: Private::new(size),
            bytes: Bytes {
                pool: RefCell::new(vec![0x5a; end as usize]),
                buffers: RefCell::new(Vec::new()),
                copied: Cell::new(0),
            },
            driver: Driver::new(size),
            device: Device::new(layout, features),
            shared,
            made: VecDeque::new(),
            held: VecDeque::new(),
            given: VecDeque::new(),
        }
    }

    /// Maps a buffer of `len` bytes that look random: its handle and number.
    pub(crate) fn map(&mut self, len: u32, blank: bool) -> Option<(u64, usize)> {
        let data = (0..len)
            .map(|_| if blank { BLANK } else { self.dice.roll() as u8 })
            .collect();
        let number = self.bytes.buffers.borrow().len();
        self.bytes.buffers.borrow_mut().push(data);
        let handle = self.shadow.map(number, len)?;
        assert!(handle != 0 && handle != u64::MAX);
        Some((handle, number))
    }

    /// Makes a chain available with parts of these sizes; each part is inside of a mapping of its
    /// own, sometimes not at its start. `false`: there is no room on the private ring.
    pub(crate) fn add(&mut self, readable: &[u32], writable: &[u32]) -> bool {
        if self.driver.room() < readable.len() + writable.len() {
            return false;
        }
        let mut made = Made {
            head: 0,
            readable: Vec::new(),
            writable: Vec::new(),
            handles: Vec::new(),
            written: Vec::new(),
        };
        let mut parts: Vec<Part> = Vec::new();
        let both = readable.iter().map(|len| (*len, false));
        for (len, blank) in both.chain(writable.iter().map(|len| (*len, true))) {
            let skip = if self.dice.one_in(3) {
                self.dice.below(50) as u32
            } else {
                0
            };
            let Some((handle, number)) = self.map(skip + len, blank) else {
                panic!("no slot for a mapping");
            };
            made.handles.push(handle);
            parts.push((handle + u64::from(skip), len, blank));
            if blank {
                made.writable.push((handle, number, skip as usize, len));
            } else {
                let buffers = self.bytes.buffers.borrow();
                made.readable.extend(&buffers[number][skip as usize..]);
            }
        }
        made.head = self.driver.add(&self.private, &parts);
        self.made.push_back(made);
        true
    }

    /// What a notification does; how it ended.
    pub(crate) fn notify(&mut self) -> Posted {
        let end = loop {
            self.bytes.copied.set(0);
            let posted = self.shadow.post(&self.private, &self.shared, &self.bytes);
            assert!(self.bytes.copied.get() <= self.geometry.step);
            match posted {
                Posted::Again | Posted::Chain => {}
                other => break other,
            }
        };
        let _ = self.shadow.publish(&self.shared, 3);
        self.shared.settle();
        end
    }

    /// The device takes a chain, which has to be the next that was made, and has to say what the
    /// driver said.
    pub(crate) fn pop(&mut self) -> bool {
        let Some(chain) = self.device.pop(&self.shared) else {
            return false;
        };
        let made = self.made.pop_front().expect("a chain that nobody made");
        let mut read = Vec::new();
        for segment in &chain.readable {
            let len = segment.len as usize;
            match self.place(segment) {
                Place::Pool(at) => read.extend_from_slice(&self.bytes.pool.borrow()[at..at + len]),
                Place::Buffer(number, at) => {
                    let buffers = self.bytes.buffers.borrow();
                    read.extend_from_slice(&buffers[number][at..at + len]);
                }
            }
        }
        assert!(read == made.readable, "other data than the driver's");
        assert_eq!(chain.room(), made.room());
        if self.geometry.direct {
            // Each part is one, and where the driver has it.
            assert_eq!(chain.writable.len(), made.parts());
            let parts = made.writable.iter().filter(|part| part.3 != 0);
            for (segment, part) in chain.writable.iter().zip(parts) {
                assert!(
                    matches!(self.place(segment), Place::Buffer(number, at) if (number, at) == (part.1, part.2))
                );
            }
        } else {
            // As few as it takes.
            let most = |bytes: usize| bytes.div_ceil(self.geometry.chunk as usize);
            assert!(chain.readable.len() <= most(made.readable.len()));
            assert!(chain.writable.len() <= most(made.room() as usize));
        }
        self.held.push_back((chain, made));
        true
    }

    fn place(&self, segment: &Segment) -> Place {
        assert_ne!(segment.len, 0);
        if self.geometry.direct {
            let at = segment.address.checked_sub(REACH).unwrap();
            let (number, at) = ((at / APART) as usize, (at % APART) as usize);
            assert!(at + segment.len as usize <= self.bytes.buffers.borrow()[number].len());
            return Place::Buffer(number, at);
        }
        let at = segment.address.checked_sub(BASE).unwrap() as usize;
        assert!(at >= self.geometry.first as usize, "inside of the ring");
        assert!(at + segment.len as usize <= self.bytes.pool.borrow().len());
        Place::Pool(at)
    }

    /// The device writes up to `len` bytes to the chain at `index` of those that it has, and gives
    /// it back.
    pub(crate) fn give(&mut self, index: usize, len: u32) {
        let index = if self.features.in_order { 0 } else { index };
        let (chain, mut made) = self.held.remove(index).unwrap();
        let len = len.min(chain.room());
        let mut left = len as usize;
        for segment in &chain.writable {
            let place = self.place(segment);
            for index in 0..left.min(segment.len as usize) {
                let byte = self.dice.roll() as u8;
                match place {
                    Place::Pool(at) => self.bytes.pool.borrow_mut()[at + index] = byte,
                    Place::Buffer(number, at) => {
                        self.bytes.buffers.borrow_mut()[number][at + index] = byte;
                    }
                }
                made.written.push(byte);
            }
            left = len as usize - made.written.len();
        }
        self.device.give(&self.shared, &[chain], len);
        self.given.push_back(made);
    }

    /// The interrupt: what the device has given back is shown to the driver.
    ///
    /// # Errors
    ///
    /// The device lies.
    pub(crate) fn complete(&mut self, most: u16) -> Result<Completed, Lie> {
        self.shadow.complete(&self.private, &self.shared, most)
    }

    /// The driver takes one chain, and its buffers, back: they hold what the device wrote, and for
    /// the rest what they held before. `false`: there is none.
    pub(crate) fn take(&mut self) -> bool {
        let Some((head, len)) = self.driver.take(&self.private) else {
            return false;
        };
        let made = self.given.pop_front().expect("used, and not given back");
        assert_eq!((head, len), (made.head, made.written.len() as u32));
        let mut written = &made.written[..];
        for &(handle, number, skip, len) in &made.writable {
            let (here, rest) = written.split_at(written.len().min(len as usize));
            written = rest;
            if !self.geometry.direct {
                assert_eq!(self.shadow.written(handle) as usize, here.len());
            }
            if self.dice.one_in(2) {
                // As drivers do that look at a part first.
                let at = handle + skip as u64;
                let part = self.dice.below(u64::from(len) + 1) as u32;
                while self.shadow.fetch(at, part, &self.bytes) == Fetched::Again {}
                let some = here.len().min(part as usize);
                let buffers = self.bytes.buffers.borrow();
                assert!(buffers[number][skip..skip + some] == here[..some]);
            }
            self.unmap(handle, true);
            let buffers = self.bytes.buffers.borrow();
            let (before, rest) = buffers[number].split_at(skip);
            let (data, after) = rest.split_at(here.len());
            assert!(data == here, "other data than the device's");
            assert!(before.iter().chain(after).all(|&byte| byte == BLANK));
        }
        let read_only = made.handles.len() - made.writable.len();
        for handle in &made.handles[..read_only] {
            self.unmap(*handle, false);
        }
        true
    }

    pub(crate) fn unmap(&mut self, handle: u64, copy: bool) {
        let data = copy.then_some(&self.bytes);
        loop {
            self.bytes.copied.set(0);
            let fetched = self.shadow.unmap(handle, data);
            assert!(self.bytes.copied.get() <= self.geometry.step);
            match fetched {
                Fetched::Again => {}
                Fetched::Done => break,
                Fetched::Stray => panic!("{handle:#x} was mapped"),
            }
        }
        assert_eq!(self.shadow.unmap(handle, data), Fetched::Stray);
    }
}

/// A flow with lists of the right sizes.
pub(crate) fn flow(
    shadow: &mut Shadow<Books>,
    geometry: Geometry,
    ring: Ring<Vec<Slot>>,
    features: Features,
) -> Flow<Books> {
    let lists = Lists {
        chunks: vec![Chunk::NEW; geometry.chunks.into()],
        posts: vec![Post::NEW; geometry.size.into()],
        records: vec![Record::NEW; geometry.size.into()],
        segments: vec![Segment::default(); SEGMENTS_MAX],
    };
    Flow::new(
        geometry,
        shadow.next_flow(),
        ring,
        features.event_idx,
        lists,
    )
    .unwrap()
}
