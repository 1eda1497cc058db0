// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Virtqueues against a driver that may do anything.

use super::split::{AVAIL_NO_INTERRUPT, USED_NO_NOTIFY};
use super::table::{NEXT as DESC_NEXT, WRITE as DESC_WRITE};
use super::*;
use proptest::prelude::*;

const SIZE: u32 = 0x4000;
const BASE: u64 = 0x4000_0000;
/// The pool begins behind the first page.
const POOL: u32 = 0x1000;
const DESC: u32 = 0x1000;
const AVAIL: u32 = 0x1800;
const USED: u32 = 0x1c00;
const ENTRIES: u16 = 8;

#[repr(C, align(4096))]
struct Memory([u8; SIZE as usize]);

struct Bench {
    // Boxed so that the region does not move.
    memory: Box<Memory>,
    mem: Region,
    pool: Pool,
    queue: Split,
}

impl Bench {
    #[expect(unsafe_code, reason = "a region is raw memory")]
    fn new(event_idx: bool) -> Self {
        let mut memory = Box::new(Memory([0; SIZE as usize]));
        // SAFETY: The box lives as long as the region, and nothing else looks into it.
        let mem = unsafe { Region::new(memory.0.as_mut_ptr(), SIZE) }.unwrap();
        let pool = Pool::new(BASE, POOL, SIZE - POOL);
        let layout = Layout {
            size: u32::from(ENTRIES),
            desc: BASE + u64::from(DESC),
            driver: BASE + u64::from(AVAIL),
            device: BASE + u64::from(USED),
        };
        let features = Features {
            event_idx,
            ..Features::default()
        };
        let queue = Split::new(&layout, &pool, features).unwrap();
        Self {
            memory,
            mem,
            pool,
            queue,
        }
    }

    fn desc(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = DESC + 16 * u32::from(index);
        self.mem.write32(at, address as u32);
        self.mem.write32(at + 4, (address >> 32) as u32);
        self.mem.write32(at + 8, len);
        self.mem.write16(at + 12, flags);
        self.mem.write16(at + 14, next);
    }

    fn offer(&self, index: u16, head: u16) {
        let slot = u32::from(index % ENTRIES);
        self.mem.write16(AVAIL + 4 + 2 * slot, head);
        self.mem.write16(AVAIL + 2, index.wrapping_add(1));
    }

    fn pop(&mut self) -> Result<Option<Chain>, Fault> {
        let mut chain = Chain::new();
        let found = self.queue.pop(&self.mem, &self.pool, &mut chain)?;
        Ok(found.then_some(chain))
    }

    /// A chain goes there and back, the one of that index.
    fn answer(&mut self, index: u16) {
        self.desc(0, at(0x2000), 1, 0, 0);
        self.offer(index, 0);
        let chain = self.pop().unwrap().unwrap();
        self.queue.push(&self.mem, &chain, 0).unwrap();
    }
}

const fn at(offset: u32) -> u64 {
    BASE + offset as u64
}

#[test]
fn a_chain_is_read_and_written_piece_by_piece() {
    let mut bench = Bench::new(false);
    bench.memory.0[0x2000..0x2003].copy_from_slice(b"abc");
    bench.memory.0[0x2100..0x2102].copy_from_slice(b"de");
    bench.desc(3, at(0x2000), 3, DESC_NEXT, 5);
    bench.desc(5, at(0x2100), 2, DESC_NEXT, 0);
    bench.desc(0, at(0x2200), 2, DESC_NEXT | DESC_WRITE, 1);
    bench.desc(1, at(0x2300), 4, DESC_WRITE, 0);
    bench.offer(0, 3);
    let chain = bench.pop().unwrap().unwrap();
    assert_eq!(
        (chain.id(), chain.readable_len(), chain.writable_len()),
        (3, 5, 6)
    );
    let mut text = [0; 8];
    assert_eq!(chain.read(&bench.mem, 0, &mut text), 5);
    assert_eq!(&text[..5], b"abcde");
    assert_eq!(chain.read(&bench.mem, 2, &mut text[..2]), 2);
    assert_eq!(&text[..2], b"cd");
    assert_eq!(chain.write(&bench.mem, 1, b"12345678"), 5);
    assert_eq!(&bench.memory.0[0x2200..0x2202], b"\x001");
    assert_eq!(&bench.memory.0[0x2300..0x2305], b"2345\0");
    // Two bytes at 0x2200, then some at 0x2300.
    let places = chain.places::<4>(0).unwrap();
    places.write(&bench.mem, b"abcd");
    let mut seen = [0; 2];
    bench.mem.read_bytes(0x2200, &mut seen);
    assert_eq!(seen, *b"ab");
    bench.mem.read_bytes(0x2300, &mut seen);
    assert_eq!(seen, *b"cd");
    assert!(chain.places::<2000>(0).is_none());

    bench.queue.push(&bench.mem, &chain, 6).unwrap();
    assert_eq!(bench.mem.read16(USED + 2), 0);
    assert!(bench.queue.publish(&bench.mem));
    assert_eq!(bench.mem.read16(USED + 2), 1);
    assert_eq!(
        (bench.mem.read32(USED + 4), bench.mem.read32(USED + 8)),
        (3, 6)
    );
    assert!(!bench.queue.publish(&bench.mem));
}

#[test]
fn what_is_undone_comes_again() {
    let mut bench = Bench::new(false);
    for head in 0..3 {
        bench.desc(head, at(0x2000), 8, DESC_WRITE, 0);
        bench.offer(head, head);
    }
    for _ in 0..3 {
        let chain = bench.pop().unwrap().unwrap();
        bench.queue.push(&bench.mem, &chain, 1).unwrap();
    }
    bench.queue.undo();
    bench.queue.undo();
    assert_eq!(bench.pop().unwrap().unwrap().id(), 1);
    bench.queue.publish(&bench.mem);
    // What Linux sees cannot be undone.
    bench.queue.undo();
    assert_eq!(bench.pop().unwrap().unwrap().id(), 2);
}

#[test]
fn bad_chains_are_faults() {
    let mut bench = Bench::new(false);
    bench.offer(0, ENTRIES);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescIndex(ENTRIES));

    let mut bench = Bench::new(false);
    bench.desc(0, at(0x2000), 1, DESC_NEXT, 9);
    bench.offer(0, 0);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescIndex(9));

    let mut bench = Bench::new(false);
    bench.desc(0, at(0x2000), 1, DESC_NEXT, 0);
    bench.offer(0, 0);
    assert_eq!(bench.pop().unwrap_err(), Fault::ChainLength);

    let mut bench = Bench::new(false);
    bench.desc(0, at(0x2000), 1, DESC_NEXT | DESC_WRITE, 1);
    bench.desc(1, at(0x2000), 1, 0, 0);
    bench.offer(0, 0);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(0));

    let mut bench = Bench::new(false);
    bench.desc(0, at(0x2000), 16, 4, 0);
    bench.offer(0, 0);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(4));

    let mut bench = Bench::new(false);
    bench.mem.write16(AVAIL + 2, ENTRIES + 1);
    assert_eq!(bench.pop().unwrap_err(), Fault::AvailIndex(ENTRIES + 1));

    // A byte before the pool, a byte behind it, and the largest address.
    for (address, len) in [(at(POOL) - 1, 4), (at(SIZE) - 3, 4), (u64::MAX, 1)] {
        let mut bench = Bench::new(false);
        bench.desc(0, address, len, 0, 0);
        bench.offer(0, 0);
        assert_eq!(bench.pop().unwrap_err(), Fault::Outside { address, len });
    }
}

#[test]
fn the_whole_pool_can_be_named() {
    let mut bench = Bench::new(false);
    bench.desc(0, at(POOL), SIZE - POOL, 0, 0);
    bench.offer(0, 0);
    assert_eq!(bench.pop().unwrap().unwrap().readable_len(), SIZE - POOL);
}

#[test]
fn flags_suppress_notifications_both_ways() {
    let mut bench = Bench::new(false);
    bench.answer(0);
    bench.queue.publish(&bench.mem);
    assert!(bench.queue.wants_notification(&bench.mem));
    assert!(!bench.queue.wants_notification(&bench.mem));
    bench.mem.write16(AVAIL, AVAIL_NO_INTERRUPT);
    bench.answer(1);
    bench.queue.publish(&bench.mem);
    assert!(!bench.queue.wants_notification(&bench.mem));

    bench.queue.quieten(&bench.mem);
    assert_eq!(bench.mem.read16(USED), USED_NO_NOTIFY);
    assert_eq!(bench.queue.listen(&bench.mem, 1), Ok(false));
    assert_eq!(bench.mem.read16(USED), 0);
    bench.offer(2, 0);
    assert_eq!(bench.queue.listen(&bench.mem, 1), Ok(true));
}

#[test]
fn listening_moves_the_event_behind_what_was_taken() {
    let mut bench = Bench::new(true);
    let event = USED + 4 + 8 * u32::from(ENTRIES);
    for index in 0..5 {
        bench.desc(index % ENTRIES, at(0x2000), 1, 0, 0);
        bench.offer(index, index % ENTRIES);
        bench.pop().unwrap().unwrap();
        assert_eq!(bench.queue.listen(&bench.mem, 1), Ok(false));
        assert_eq!(bench.mem.read16(event), index + 1);
    }
}

proptest! {
    /// The event index decides as VIRTIO 2.7.10 says, wherever the indices are.
    #[test]
    fn event_index_is_passed_or_not(start in any::<u16>(), count in 0u16..8, event in any::<u16>()) {
        let mut bench = Bench::new(true);
        bench.queue.used_next = start;
        bench.queue.used_shown = start;
        bench.queue.used_decided = start;
        bench.mem.write16(AVAIL + 4 + 2 * u32::from(ENTRIES), event);
        for index in 0..count {
            bench.answer(index);
        }
        bench.queue.publish(&bench.mem);
        let passed = (0..count).any(|step| start.wrapping_add(step) == event);
        prop_assert_eq!(bench.queue.wants_notification(&bench.mem), passed);
    }

    /// Whatever stands in the memory, a popped chain lies inside the pool.
    #[test]
    fn nothing_outside_the_pool_is_ever_named(
        descs in prop::array::uniform8((0u32..SIZE + 8, 0u32..64, 0u16..4, 0u16..9)),
        heads in prop::collection::vec(0u16..9, 1..8),
        far in prop::option::of(any::<u64>()),
    ) {
        let mut bench = Bench::new(false);
        for (index, (offset, len, flags, next)) in descs.into_iter().enumerate() {
            let address = far.filter(|_| index == 3).unwrap_or(at(offset));
            bench.desc(index as u16, address, len, flags, next);
        }
        for (index, head) in heads.iter().enumerate() {
            bench.offer(index as u16, *head);
        }
        while let Ok(Some(chain)) = bench.pop() {
            for (offset, len) in chain.buffers() {
                prop_assert!(offset >= POOL);
                prop_assert!(offset + len <= SIZE);
            }
            let total: u32 = chain.buffers().map(|(_, len)| len).sum();
            prop_assert_eq!(total, chain.readable_len() + chain.writable_len());
            let mut all = vec![0; total as usize];
            prop_assert_eq!(chain.read(&bench.mem, 0, &mut all), chain.readable_len() as usize);
        }
    }

    /// A layout is accepted only if all of it lies in the pool.
    #[test]
    fn layouts_are_checked(size in 0u32..70000, places in prop::array::uniform3(0u32..SIZE + 64)) {
        let pool = Pool::new(BASE, POOL, SIZE - POOL);
        let [desc, driver, device] = places.map(at);
        let layout = Layout { size, desc, driver, device };
        if let Ok(queue) = Split::new(&layout, &pool, Features::default()) {
            prop_assert!(size.is_power_of_two() && size <= 32768);
            let [d, a, u] = places;
            prop_assert!(d >= POOL && d + 16 * size <= SIZE && d % 16 == 0);
            prop_assert!(a >= POOL && a + 6 + 2 * size <= SIZE && a % 2 == 0);
            prop_assert!(u >= POOL && u + 6 + 8 * size <= SIZE && u % 4 == 0);
            prop_assert_eq!(u32::from(queue.size()), size);
        }
    }
}
