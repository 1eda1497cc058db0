// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packed virtqueues, and indirect tables in either kind.

use super::hostile_tests::{Bench, BASE, DESC, DEVICE, DRIVER, POOL, SIZE};
use super::*;
use proptest::prelude::*;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

const PACKED: Features = Features {
    packed: true,
    indirect: true,
    in_order: false,
    event_idx: false,
};

/// A buffer that is good.
fn good() -> u64 {
    BASE + u64::from(SIZE - 0x1000)
}

impl Bench {
    /// Descriptor `index` of a packed ring.
    fn packed(&self, index: u16, (address, len): (u64, u32), id: u16, flags: u16) {
        self.words(DESC + 16 * u32::from(index), address, len, id, flags);
    }

    fn split(&self, index: u16, (address, len): (u64, u32), flags: u16, next: u16) {
        self.words(DESC + 16 * u32::from(index), address, len, flags, next);
    }

    fn words(&self, at: u32, address: u64, len: u32, low: u16, high: u16) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&len.to_le_bytes());
        bytes[12..14].copy_from_slice(&low.to_le_bytes());
        bytes[14..].copy_from_slice(&high.to_le_bytes());
        assert!(self.mem.write_bytes(at, &bytes));
    }

    fn pop(&mut self) -> Result<Option<Chain>, Fault> {
        let mut chain = Chain::new();
        let found = self.queue.pop(&self.mem, &self.pool, &mut chain)?;
        Ok(found.then_some(chain))
    }

    fn give(&mut self, chain: &Chain, len: u32) {
        assert_eq!(self.queue.push(&self.mem, chain, len), Ok(()));
    }

    /// Length, id and flags of a used descriptor.
    fn used(&self, index: u16) -> (u32, u16, u16) {
        let at = DESC + 16 * u32::from(index);
        let mem = &self.mem;
        (mem.read32(at + 8), mem.read16(at + 12), mem.read16(at + 14))
    }
}

#[test]
fn a_chain_goes_there_and_back() {
    let mut bench = Bench::new(5, PACKED);
    assert!(bench.pop().unwrap().is_none());
    bench.packed(0, (good(), 3), 9, AVAIL | NEXT);
    bench.packed(1, (good() + 8, 2), 7, AVAIL | WRITE);
    let chain = bench.pop().unwrap().unwrap();
    // The id is that of the last descriptor.
    assert_eq!(
        (chain.id(), chain.readable_len(), chain.writable_len()),
        (7, 3, 2)
    );
    assert!(bench.pop().unwrap().is_none());
    bench.give(&chain, 1);
    // Nothing is seen of it before it is published.
    assert_eq!(bench.used(0), (3, 9, AVAIL | NEXT));
    assert!(bench.queue.publish(&bench.mem));
    assert!(!bench.queue.publish(&bench.mem));
    assert_eq!(bench.used(0), (1, 7, AVAIL | USED | WRITE));
    // The next one is where the chain ends, over the ring's end.
    bench.packed(2, (good(), 1), 1, AVAIL | NEXT);
    bench.packed(3, (good(), 1), 1, AVAIL | NEXT);
    bench.packed(4, (good(), 1), 1, AVAIL | NEXT);
    bench.packed(0, (good(), 1), 4, USED);
    let chain = bench.pop().unwrap().unwrap();
    assert_eq!((chain.id(), chain.readable_len()), (4, 4));
    bench.give(&chain, 0);
    bench.queue.publish(&bench.mem);
    assert_eq!(bench.used(2), (0, 4, AVAIL | USED));
    // From here on it is the second lap.
    bench.packed(1, (good(), 1), 2, USED);
    let chain = bench.pop().unwrap().unwrap();
    bench.give(&chain, 0);
    bench.queue.publish(&bench.mem);
    assert_eq!(bench.used(1), (0, 2, 0));
}

#[test]
fn what_is_undone_comes_again() {
    let mut bench = Bench::new(3, PACKED);
    bench.packed(0, (good(), 1), 1, AVAIL | NEXT);
    bench.packed(1, (good(), 1), 1, AVAIL);
    bench.packed(2, (good(), 1), 2, AVAIL | WRITE);
    for _ in 0..2 {
        assert_eq!(bench.queue.available(&bench.mem), Ok(2));
        let ids = [(); 2].map(|()| {
            let chain = bench.pop().unwrap().unwrap();
            bench.give(&chain, 0);
            chain.id()
        });
        assert_eq!(ids, [1, 2]);
        bench.queue.undo();
        bench.queue.undo();
        // There is no third.
        bench.queue.undo();
        assert!(!bench.queue.publish(&bench.mem));
    }
    let chain = bench.pop().unwrap().unwrap();
    bench.give(&chain, 0);
    bench.queue.publish(&bench.mem);
    // What Linux sees cannot be undone.
    bench.queue.undo();
    assert_eq!(bench.pop().unwrap().unwrap().id(), 2);
}

#[test]
fn a_table_may_lie_anywhere_and_is_the_whole_chain() {
    for (packed, at) in [(false, 1), (true, 3)] {
        let mut bench = Bench::new(8, Features { packed, ..PACKED });
        let table = SIZE - 0x800 + at;
        // Not in order, for the kind that links them.
        let order = if packed { [0, 1, 2] } else { [0, 2, 1] };
        for (step, place) in order.into_iter().enumerate() {
            let flags = if step == 2 { WRITE } else { 0 };
            let (low, high) = if packed {
                (99, flags)
            } else if step < 2 {
                (flags | NEXT, order[step + 1] as u16)
            } else {
                (flags, 0)
            };
            let address = good() + 16 * step as u64;
            bench.words(table + 16 * place, address, 1 + step as u32, low, high);
        }
        let address = BASE + u64::from(table);
        if packed {
            bench.packed(0, (address, 48), 5, AVAIL | INDIRECT | WRITE);
        } else {
            bench.split(5, (address, 48), INDIRECT | WRITE, 0);
            bench.mem.write16(DRIVER + 4, 5);
            bench.mem.write16(DRIVER + 2, 1);
        }
        let chain = bench.pop().unwrap().unwrap();
        assert_eq!(
            (chain.id(), chain.readable_len(), chain.writable_len()),
            (5, 3, 3)
        );
        bench.give(&chain, 3);
        assert!(bench.queue.publish(&bench.mem));
    }
}

#[test]
fn a_table_may_end_a_chain_of_a_split_ring() {
    let mut bench = Bench::new(
        8,
        Features {
            packed: false,
            ..PACKED
        },
    );
    bench.split(0, (good(), 1), NEXT, 1);
    bench.split(1, (good(), 16), INDIRECT, 0);
    bench.words(SIZE - 0x1000, good() + 64, 2, WRITE, 0);
    bench.mem.write16(DRIVER + 2, 1);
    let chain = bench.pop().unwrap().unwrap();
    assert_eq!((chain.readable_len(), chain.writable_len()), (1, 2));
}

#[test]
fn bad_tables_are_faults() {
    let inside = good() + 64;
    // Descriptor of the table, first one in it, fault: in a packed ring, and in a split one.
    let cases = [
        (
            (good(), 16),
            (inside, 1, INDIRECT),
            Fault::DescFlags(INDIRECT),
            true,
        ),
        (
            (good(), 16),
            (inside, 1, INDIRECT),
            Fault::DescFlags(INDIRECT),
            false,
        ),
        (
            (good(), 16),
            (inside, 1, NEXT),
            Fault::DescFlags(NEXT),
            true,
        ),
        ((good(), 16), (inside, 1, NEXT), Fault::DescIndex(7), false),
        ((good(), 0), (inside, 1, 0), Fault::Table(0), true),
        ((good(), 0), (inside, 1, 0), Fault::Table(0), false),
        ((good(), 24), (inside, 1, 0), Fault::Table(24), true),
        ((good(), 24), (inside, 1, 0), Fault::Table(24), false),
        // Longer than the queue.
        ((good(), 9 * 16), (inside, 1, 0), Fault::ChainLength, true),
        (
            (good(), 16),
            (1, 1, 0),
            Fault::Outside { address: 1, len: 1 },
            true,
        ),
        (
            (good(), 16),
            (1, 1, 0),
            Fault::Outside { address: 1, len: 1 },
            false,
        ),
        (
            (5, 16),
            (inside, 1, 0),
            Fault::Outside {
                address: 5,
                len: 16,
            },
            true,
        ),
        (
            (5, 16),
            (inside, 1, 0),
            Fault::Outside {
                address: 5,
                len: 16,
            },
            false,
        ),
    ];
    for (table, (address, len, flags), fault, packed) in cases {
        let mut bench = Bench::new(8, Features { packed, ..PACKED });
        let (low, high) = if packed { (7, flags) } else { (flags, 7) };
        bench.words(SIZE - 0x1000, address, len, low, high);
        bench.words(DESC, table.0, table.1, 0, AVAIL | INDIRECT);
        if !packed {
            bench.split(0, table, INDIRECT, 0);
            bench.mem.write16(DRIVER + 2, 1);
        }
        assert_eq!(bench.pop().unwrap_err(), fault, "packed {packed}");
    }
    // A loop inside a table that is as long as the queue.
    let mut bench = Bench::new(
        8,
        Features {
            packed: false,
            ..PACKED
        },
    );
    bench.words(SIZE - 0x1000, inside, 1, NEXT, 0);
    bench.split(0, (good(), 16), INDIRECT, 0);
    bench.mem.write16(DRIVER + 2, 1);
    assert_eq!(bench.pop().unwrap_err(), Fault::ChainLength);
}

#[test]
fn tables_need_their_feature_and_their_place() {
    let off = Features {
        indirect: false,
        ..PACKED
    };
    let mut bench = Bench::new(8, off);
    bench.packed(0, (good(), 16), 0, AVAIL | INDIRECT);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(AVAIL | INDIRECT));
    let mut bench = Bench::new(8, PACKED);
    bench.packed(0, (good(), 16), 0, AVAIL | NEXT);
    bench.packed(1, (good(), 16), 0, AVAIL | INDIRECT);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(AVAIL | INDIRECT));
    for packed in [false, true] {
        let mut bench = Bench::new(8, Features { packed, ..PACKED });
        let flags = INDIRECT | NEXT | if packed { AVAIL } else { 0 };
        bench.words(DESC, good(), 16, if packed { 0 } else { flags }, flags);
        bench.mem.write16(DRIVER + 2, 1);
        assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(flags));
    }
    let mut bench = Bench::new(
        8,
        Features {
            packed: false,
            ..off
        },
    );
    bench.split(0, (good(), 16), INDIRECT, 0);
    bench.mem.write16(DRIVER + 2, 1);
    assert_eq!(bench.pop().unwrap_err(), Fault::DescFlags(INDIRECT));
}

#[test]
fn torn_chains_are_faults() {
    let mut bench = Bench::new(4, PACKED);
    bench.packed(0, (good(), 1), 0, AVAIL | NEXT);
    assert_eq!(bench.queue.available(&bench.mem), Ok(0));
    assert_eq!(bench.pop().unwrap_err(), Fault::Unavailable(1));
    let mut bench = Bench::new(4, PACKED);
    bench.packed(0, (good(), 1), 0, AVAIL);
    assert_eq!(bench.queue.available(&bench.mem), Ok(1));
    bench.packed(0, (good(), 1), 0, 0);
    assert_eq!(bench.pop().unwrap_err(), Fault::Unavailable(0));
    // All descriptors in one chain that does not end.
    let mut bench = Bench::new(4, PACKED);
    for index in 0..4 {
        bench.packed(index, (good(), 1), 0, AVAIL | NEXT);
    }
    assert_eq!(bench.queue.available(&bench.mem), Ok(0));
    assert_eq!(bench.pop().unwrap_err(), Fault::Unavailable(0));
}

#[test]
fn chains_come_back_in_their_turn() {
    for packed in [false, true] {
        let features = Features {
            packed,
            in_order: true,
            ..PACKED
        };
        let mut bench = Bench::new(8, features);
        // Two that are read, one to be written, two that are read.
        for index in 0..5u16 {
            let flags = if index == 2 { WRITE } else { 0 };
            if packed {
                bench.packed(index, (good(), 8), index, AVAIL | flags);
            } else {
                bench.split(index, (good(), 8), flags, 0);
                bench.mem.write16(DRIVER + 4 + 2 * u32::from(index), index);
            }
        }
        bench.mem.write16(DRIVER + 2, 5);
        let chains = [(); 5].map(|()| bench.pop().unwrap().unwrap());
        let early = bench.queue.push(&bench.mem, &chains[1], 0);
        assert_eq!(early, Err(Fault::Order));
        for (chain, len) in chains.iter().zip([0, 0, 3, 0, 0]) {
            bench.give(chain, len);
        }
        assert_eq!(
            bench.queue.push(&bench.mem, &chains[4], 0),
            Err(Fault::Order)
        );
        assert!(bench.queue.publish(&bench.mem));
        // One element for those that only need to have an end; it lies where they begin.
        let seen: Vec<(u32, u32)> = [0, 2, 3]
            .iter()
            .map(|&at| {
                if packed {
                    let (len, id, flags) = bench.used(at);
                    assert_eq!(flags & !WRITE, AVAIL | USED);
                    (id.into(), len)
                } else {
                    let at = DEVICE + 4 + 8 * u32::from(at);
                    (bench.mem.read32(at), bench.mem.read32(at + 4))
                }
            })
            .collect();
        assert_eq!(seen, [(1, 0), (2, 3), (4, 0)]);
        if !packed {
            assert_eq!(bench.mem.read16(DEVICE + 2), 5);
        }
    }
}

#[test]
fn more_wait_than_can_be_taken_back() {
    for packed in [false, true] {
        let mut bench = Bench::new(128, Features { packed, ..PACKED });
        for index in 0..100u16 {
            if packed {
                bench.packed(index, (good(), 8), index, AVAIL | WRITE);
            } else {
                bench.split(index, (good(), 8), WRITE, 0);
                bench.mem.write16(DRIVER + 4 + 2 * u32::from(index), index);
            }
        }
        bench.mem.write16(DRIVER + 2, 100);
        for _ in 0..100 {
            let chain = bench.pop().unwrap().unwrap();
            bench.give(&chain, 8);
        }
        for _ in 0..100 {
            bench.queue.undo();
        }
        // As many as that came back.
        assert_eq!(bench.queue.available(&bench.mem), Ok(UNDO_MAX as u16));
        assert_eq!(bench.pop().unwrap().unwrap().id(), 100 - UNDO_MAX as u16);
        assert!(bench.queue.publish(&bench.mem));
        if packed {
            assert_eq!(bench.used(0), (8, 0, AVAIL | USED | WRITE));
            assert_eq!(bench.used(35), (8, 35, AVAIL | USED | WRITE));
            assert_eq!(bench.used(36), (8, 36, AVAIL | WRITE));
        } else {
            assert_eq!(bench.mem.read16(DEVICE + 2), 36);
        }
    }
}

#[test]
fn a_wish_of_ours_is_one_word() {
    let event_idx = Features {
        event_idx: true,
        ..PACKED
    };
    let mut bench = Bench::new(6, event_idx);
    assert!(!bench.queue.listen(&bench.mem, 1).unwrap());
    assert_eq!(bench.mem.read32(DEVICE), 0x2_8000);
    bench.queue.quieten(&bench.mem);
    assert_eq!(bench.mem.read16(DEVICE + 2), 1);
    // Three chains are wanted: that is the third descriptor at the earliest.
    assert!(!bench.queue.listen(&bench.mem, 3).unwrap());
    assert_eq!(bench.mem.read32(DEVICE), 0x2_8002);
    // One chain has three: the next descriptor.
    bench.packed(0, (good(), 1), 0, AVAIL | NEXT);
    bench.packed(1, (good(), 1), 0, AVAIL | NEXT);
    bench.packed(2, (good(), 1), 0, AVAIL);
    assert!(!bench.queue.listen(&bench.mem, 3).unwrap());
    assert_eq!(bench.mem.read32(DEVICE), 0x2_8003);
    bench.packed(3, (good(), 1), 0, AVAIL);
    bench.packed(4, (good(), 1), 0, AVAIL);
    assert!(bench.queue.listen(&bench.mem, 3).unwrap());
    for _ in 0..3 {
        bench.pop().unwrap().unwrap();
    }
    assert!(!bench.queue.listen(&bench.mem, 2).unwrap());
    // The place behind the ring's end is the first of the next lap.
    assert_eq!(bench.mem.read32(DEVICE), 0x2_0000);

    let mut bench = Bench::new(6, PACKED);
    bench.queue.quieten(&bench.mem);
    assert_eq!(bench.mem.read32(DEVICE), 0x1_0000);
    assert!(!bench.queue.listen(&bench.mem, 3).unwrap());
    assert_eq!(bench.mem.read32(DEVICE), 0);
}

proptest! {
    /// Linux's wish is kept wherever the ring stands: the event is passed if it is one of the
    /// descriptors that were used, counted in numbers that never wrap.
    #[test]
    fn the_event_is_passed_or_not(
        size in 1u16..20,
        before in 0u32..60,
        count in 0u32..20,
        event in 0u32..100,
        event_idx in any::<bool>(),
    ) {
        let count = count.min(size.into());
        let mut bench = Bench::new(size, Features { event_idx, ..PACKED });
        let word = |at: u32| {
            let wrap = at / u32::from(size) % 2 == 0;
            (at % u32::from(size)) as u16 | (u16::from(wrap) << 15)
        };
        for at in 0..before + count {
            if at == before {
                bench.queue.wants_notification(&bench.mem);
            }
            let flags = if word(at) & (1 << 15) != 0 { AVAIL } else { USED };
            bench.packed((at % u32::from(size)) as u16, (good(), 1), 0, flags);
            let chain = bench.pop().unwrap().unwrap();
            bench.give(&chain, 0);
            bench.queue.publish(&bench.mem);
        }
        if count == 0 {
            bench.queue.wants_notification(&bench.mem);
        }
        bench.mem.write32(DRIVER, u32::from(word(event)) | (2 << 16));
        // Without the feature nobody can mean one descriptor.
        let passed = (before..before + count).any(|at| word(at) == word(event));
        let want = if event_idx { passed } else { count != 0 };
        prop_assert_eq!(bench.queue.wants_notification(&bench.mem), want);
        prop_assert!(!bench.queue.wants_notification(&bench.mem));
    }

    /// A layout is accepted only if all of it lies in the pool.
    #[test]
    fn layouts_are_checked(size in 0u32..70000, places in prop::array::uniform3(0u32..SIZE + 64)) {
        let pool = Pool::new(BASE, POOL, SIZE - POOL);
        let [desc, driver, device] = places.map(|at| BASE + u64::from(at));
        let layout = Layout { size, desc, driver, device };
        if let Ok(queue) = Virtqueue::new(&layout, &pool, PACKED) {
            prop_assert!((1..=32768).contains(&size));
            let [d, a, u] = places;
            prop_assert!(d >= POOL && d + 16 * size <= SIZE && d % 16 == 0);
            prop_assert!(a >= POOL && a + 4 <= SIZE && a % 4 == 0);
            prop_assert!(u >= POOL && u + 4 <= SIZE && u % 4 == 0);
            prop_assert_eq!(u32::from(queue.size()), size);
        }
    }
}
