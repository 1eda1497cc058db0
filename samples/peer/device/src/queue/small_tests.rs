// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every chain that a small ring can have: what the walk makes of it is what a plain reading of VIRTIO 2.7.5, 2.8.6 makes of
//! it, which knows of no memory. All rings of up to four descriptors, with each descriptor one of all that
//! differ in what decides: flags, the next one, whether the buffer may be there, an indirect table and what is in it.

use super::hostile_tests::{Bench, BASE, DESC, DRIVER, POOL, SIZE};
use super::*;

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const UNKNOWN: u16 = 8;
/// Where buffers are, and tables.
const BUFFER: u32 = 0x1800;
const TABLES: u32 = 0x7000;
/// Room of a table.
const TABLE: u32 = 0x80;

/// Where a buffer lies, with how many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    /// In the pool, at its first byte, with its last byte, and with none behind it.
    Inside,
    First,
    Last,
    Empty,
    /// Not there: a byte before or behind it, at address 0, over the end of all addresses.
    Before,
    Behind,
    Zero,
    Wrap,
}

impl Where {
    fn place(self) -> (u64, u32) {
        let end = BASE + u64::from(SIZE);
        match self {
            Self::Inside => (BASE + u64::from(BUFFER), 24),
            Self::First => (BASE + u64::from(POOL), 1),
            Self::Last => (end - 8, 8),
            Self::Empty => (end, 0),
            Self::Before => (BASE + u64::from(POOL) - 1, 2),
            Self::Behind => (end - 8, 9),
            Self::Zero => (0, 16),
            Self::Wrap => (u64::MAX - 3, 16),
        }
    }

    /// Its offset and bytes, if it may be there.
    fn allowed(self) -> Option<(u32, u32)> {
        let (address, len) = self.place();
        let inside = matches!(self, Self::Inside | Self::First | Self::Last | Self::Empty);
        inside.then(|| ((address - BASE) as u32, len))
    }
}

/// What is in a table: flags and next number of each descriptor, all in the pool but for one.
type Inner = &'static [(u16, u16, Where)];

/// A descriptor, but for its number.
#[derive(Clone, Copy, Debug)]
struct Kind {
    flags: u16,
    next: u16,
    at: Where,
    /// With what length its table is announced.
    table: Option<(u32, Inner)>,
}

const IN: Where = Where::Inside;
const TABLES_THERE_ARE: [(u32, Inner); 13] = [
    (16, &[(0, 0, IN)]),
    (16, &[(WRITE, 0, IN)]),
    (32, &[(NEXT, 1, IN), (WRITE, 0, Where::Last)]),
    (32, &[(NEXT | WRITE, 1, IN), (0, 0, IN)]),
    // Loops, and what is not in the table.
    (16, &[(NEXT, 0, IN)]),
    (32, &[(NEXT, 1, IN), (NEXT, 0, IN)]),
    (16, &[(NEXT, 1, IN)]),
    (16, &[(NEXT, u16::MAX, IN)]),
    // A table in a table, buffers that may not be there.
    (16, &[(INDIRECT, 0, IN)]),
    (32, &[(NEXT, 1, IN), (0, 0, Where::Behind)]),
    // Lengths of no table.
    (0, &[]),
    (17, &[(0, 0, IN)]),
    (SIZE, &[]),
];

const PLAIN: Kind = Kind {
    flags: 0,
    next: 0,
    at: IN,
    table: None,
};

/// All kinds there are in a ring of `size`.
fn kinds(size: u16, packed: bool, indirect: bool) -> Vec<Kind> {
    let plain = |flags, next, at| Kind {
        flags,
        next,
        at,
        ..PLAIN
    };
    let mut all = Vec::new();
    for at in [
        IN,
        Where::First,
        Where::Last,
        Where::Empty,
        Where::Before,
        Where::Behind,
        Where::Zero,
        Where::Wrap,
    ] {
        all.push(plain(0, 0, at));
    }
    all.extend([plain(WRITE, 0, IN), plain(WRITE, 0, Where::Wrap)]);
    all.push(plain(UNKNOWN, 0, IN));
    let nexts: Vec<u16> = match packed {
        true => vec![0],
        false => (0..=size).chain([u16::MAX]).collect(),
    };
    for next in nexts {
        all.extend([plain(NEXT, next, IN), plain(NEXT | WRITE, next, IN)]);
    }
    all.push(plain(NEXT, 0, Where::Behind));
    if indirect {
        // Of all with all in a ring of four there would be minutes.
        let (tables, marks) = if size == 4 {
            (&TABLES_THERE_ARE[..6], &[INDIRECT][..])
        } else {
            (&TABLES_THERE_ARE[..], &[INDIRECT, INDIRECT | WRITE][..])
        };
        for table in tables {
            for flags in marks {
                all.push(Kind {
                    table: Some(*table),
                    ..plain(*flags, 0, IN)
                });
            }
        }
        let table = Some(TABLES_THERE_ARE[0]);
        all.push(Kind {
            table,
            ..plain(INDIRECT | NEXT, 0, IN)
        });
    } else {
        all.push(plain(INDIRECT, 0, IN));
    }
    all
}

/// A chain: its buffers, and how many of them Linux wrote.
#[derive(Debug, Default, PartialEq, Eq)]
struct Walk {
    buffers: Vec<(u32, u32)>,
    readable: usize,
}

impl Walk {
    /// One more; `None`: that is against the rules.
    fn add(&mut self, flags: u16, at: Where, size: u16) -> Option<()> {
        let buffer = at.allowed()?;
        if self.buffers.len() == usize::from(size) {
            return None;
        }
        if flags & WRITE == 0 {
            // What Linux writes comes first.
            if self.readable != self.buffers.len() {
                return None;
            }
            self.readable += 1;
        }
        self.buffers.push(buffer);
        Some(())
    }

    fn table(&mut self, (len, inner): (u32, Inner), packed: bool, size: u16) -> Option<()> {
        if len == 0 || len % 16 != 0 || len == SIZE {
            return None;
        }
        let count = len / 16;
        let mut next = 0;
        for step in 0.. {
            // The order is that of the table where it is packed.
            let index = if packed { step } else { u32::from(next) };
            if packed && step == count {
                return Some(());
            }
            let (flags, following, at) = *inner.get(index as usize).filter(|_| index < count)?;
            let known = if packed { WRITE } else { NEXT | WRITE };
            if flags & !known != 0 {
                return None;
            }
            self.add(flags, at, size)?;
            if !packed && flags & NEXT == 0 {
                return Some(());
            }
            next = following;
        }
        None
    }

    /// The chain that begins at `head`, and how many descriptors of the ring it has.
    fn of(ring: &[Kind], head: u16, packed: bool, indirect: bool) -> Option<(Self, u16)> {
        let size = ring.len() as u16;
        let mut walk = Self::default();
        let mut next = head;
        for step in 1.. {
            let kind = ring.get(usize::from(next))?;
            let flags = kind.flags;
            if let (true, Some(table)) = (indirect && flags & INDIRECT != 0, kind.table) {
                // Alone, or the last one; with a packed ring it is the only one.
                if flags & NEXT != 0 || (packed && step != 1) {
                    return None;
                }
                walk.table(table, packed, size)?;
                return Some((walk, step));
            }
            if flags & !(NEXT | WRITE) != 0 {
                return None;
            }
            walk.add(flags, kind.at, size)?;
            if flags & NEXT == 0 {
                return Some((walk, step));
            }
            next = if packed { next + 1 } else { kind.next };
        }
        None
    }
}

/// A ring that is written anew as its descriptors change.
struct Ring {
    bench: Bench,
    features: Features,
    fresh: Virtqueue,
}

impl Ring {
    fn new(size: u16, features: Features) -> Self {
        let bench = Bench::new(size, features);
        for (at, (_, inner)) in (0..).zip(TABLES_THERE_ARE) {
            // What lies behind it would do.
            let rest = core::iter::repeat(&(0, 0, IN));
            for (index, (flags, next, at_all)) in (0..TABLE / 16).zip(inner.iter().chain(rest)) {
                let (address, len) = at_all.place();
                let tail = match features.packed {
                    true => u32::from(*flags) << 16,
                    false => u32::from(*flags) | u32::from(*next) << 16,
                };
                Self::write(
                    &bench.mem,
                    TABLES + TABLE * at + 16 * index,
                    address,
                    len,
                    tail,
                );
            }
        }
        let fresh = bench.queue.clone();
        let ring = Self {
            bench,
            features,
            fresh,
        };
        // What lies behind it would do.
        ring.set(size, &PLAIN);
        ring
    }

    fn write(mem: &Region, at: u32, address: u64, len: u32, tail: u32) {
        for (word, value) in (0..).zip([address as u32, (address >> 32) as u32, len, tail]) {
            mem.write32(at + 4 * word, value);
        }
    }

    /// Descriptor `number` of the ring is one of `kind`.
    fn set(&self, number: u16, kind: &Kind) {
        let (mut address, mut len) = kind.at.place();
        if let Some((bytes, _)) = kind.table {
            let same = |table: &(u32, Inner)| Some(*table) == kind.table;
            let place = TABLES_THERE_ARE.iter().position(same).unwrap() as u32;
            address = BASE + u64::from(TABLES + TABLE * place);
            len = bytes;
        }
        let tail = match self.features.packed {
            // Available in the first lap; the id is the number.
            true => u32::from(number) | u32::from(kind.flags | 1 << 7) << 16,
            false => u32::from(kind.flags) | u32::from(kind.next) << 16,
        };
        let at = DESC + 16 * u32::from(number);
        Self::write(&self.bench.mem, at, address, len, tail);
    }

    /// The first chain is taken, and is what it should be.
    #[expect(clippy::panic, reason = "a test that panics has failed")]
    fn check(&mut self, ring: &[Kind], head: u16, chain: &mut Chain) -> bool {
        let Bench {
            mem, pool, queue, ..
        } = &mut self.bench;
        queue.clone_from(&self.fresh);
        let Features {
            packed, indirect, ..
        } = self.features;
        if !packed {
            mem.write16(DRIVER + 4, head);
            mem.write16(DRIVER + 2, 1);
        }
        let want = Walk::of(ring, head, packed, indirect);
        match (queue.pop(mem, pool, chain), &want) {
            (Ok(true), Some((walk, descriptors))) => {
                assert!(
                    chain.buffers().eq(walk.buffers.iter().copied()),
                    "{ring:?} {head}"
                );
                let sum = |list: &[(u32, u32)]| list.iter().map(|(_, len)| len).sum::<u32>();
                let (readable, writable) = walk.buffers.split_at(walk.readable);
                assert_eq!(chain.readable_len(), sum(readable), "{ring:?} {head}");
                assert_eq!(chain.writable_len(), sum(writable), "{ring:?} {head}");
                let id = if packed { descriptors - 1 } else { head };
                assert_eq!(chain.id(), id, "{ring:?} {head}");
            }
            (Err(_), None) => {}
            (got, want) => panic!("{ring:?} {head}: {got:?}, not {want:?}"),
        }
        want.is_some()
    }
}

/// All rings of `size` descriptors, and each place that a chain can begin at.
fn all_rings(size: u16, features: Features) {
    let Features {
        packed, indirect, ..
    } = features;
    let kinds = kinds(size, packed, indirect);
    let mut ring = Ring::new(size, features);
    let mut chain = Chain::new();
    let mut numbers = vec![0; size.into()];
    let mut list = vec![kinds[0]; size.into()];
    for number in 0..size {
        ring.set(number, &kinds[0]);
    }
    let (mut good, mut bad) = (0_u64, 0_u64);
    'all: loop {
        // In a packed ring the first chain begins with the first descriptor.
        let heads = if packed { 0..=0 } else { 0..=size };
        for head in heads {
            if ring.check(&list, head, &mut chain) {
                good += 1;
            } else {
                bad += 1;
            }
        }
        for (number, index) in (0..size).zip(&mut numbers) {
            *index = (*index + 1) % kinds.len();
            list[usize::from(number)] = kinds[*index];
            ring.set(number, &kinds[*index]);
            if *index != 0 {
                continue 'all;
            }
        }
        break;
    }
    let count = (kinds.len() as u64).pow(size.into());
    let heads = if packed { 1 } else { u64::from(size) + 1 };
    assert_eq!(good + bad, count * heads);
    assert!(good > count / 20 && bad > count / 20, "{good} {bad}");
}

fn features(packed: bool, indirect: bool) -> Features {
    Features {
        packed,
        indirect,
        ..Features::default()
    }
}

#[test]
fn each_chain_of_a_small_split_ring() {
    for size in [1, 2, 4] {
        all_rings(size, features(false, false));
        all_rings(size, features(false, true));
    }
}

#[test]
fn each_chain_of_a_small_packed_ring() {
    for size in [1, 2, 3, 4] {
        all_rings(size, features(true, false));
        all_rings(size, features(true, true));
    }
}
