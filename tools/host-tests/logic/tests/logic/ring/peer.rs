// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rings of both kinds against the device library of the sample peer, with all features.

use super::memory::features;
use super::others::{bytes, Other, Talk, World};
use hvl_device::mem::{barrier, Pool, Region};
use hvl_device::queue::{self, Chain, Virtqueue};
use hvl_logic::algo::ring::{Layout, Memory};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// Address at which the peer sees the region.
const PEER: u64 = 0x4000_0000;
/// The virtqueue and its buffers begin behind the first page.
const START: u32 = 4096;

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; START as usize]);

/// A region, of which Linux's side uses what lies in the pool.
struct Shared {
    region: Region,
    pool: Pool,
    /// What the region lies in.
    _pages: Vec<Page>,
}

impl Shared {
    fn new(len: u32) -> Self {
        let count = 1 + len.div_ceil(START);
        let mut pages = vec![Page([0x55; START as usize]); count as usize];
        // SAFETY: The pages live as long as the region, and nobody looks into them in any other way.
        let region = unsafe { Region::new(pages.as_mut_ptr().cast(), count * START) }.unwrap();
        Self {
            region,
            pool: Pool::new(PEER, START, len),
            _pages: pages,
        }
    }
}

impl Memory for Shared {
    fn read16(&self, at: u32) -> u16 {
        self.region.read16(START + at)
    }

    fn read32(&self, at: u32) -> u32 {
        self.region.read32(START + at)
    }

    fn write16(&self, at: u32, value: u16) {
        self.region.write16(START + at, value);
    }

    fn write32(&self, at: u32, value: u32) {
        self.region.write32(START + at, value);
    }

    fn write_barrier(&self) {
        barrier();
    }

    fn read_barrier(&self) {
        barrier();
    }

    fn full_barrier(&self) {
        barrier();
    }
}

impl World for Shared {
    fn load(&self, at: u32, to: &mut [u8]) {
        assert!(self.region.read_bytes(START + at, to));
    }

    fn store(&self, at: u32, from: &[u8]) {
        assert!(self.region.write_bytes(START + at, from));
    }
}

struct Device {
    queue: Virtqueue,
    held: BTreeMap<u16, Box<Chain>>,
}

impl Device {
    fn new(layout: &Layout, number: u8, shared: &Shared) -> Self {
        let address = |at| PEER + u64::from(START + at);
        let features = features(number);
        let known = queue::Features {
            packed: features.packed,
            indirect: features.indirect,
            in_order: features.in_order,
            event_idx: features.event_idx,
        };
        let layout = queue::Layout {
            size: layout.size().into(),
            desc: address(layout.descriptors()),
            driver: address(layout.driver()),
            device: address(layout.device()),
        };
        Self {
            queue: Virtqueue::new(&layout, &shared.pool, known).unwrap(),
            held: BTreeMap::new(),
        }
    }
}

impl Other<Shared> for Device {
    fn pop(&mut self, shared: &Shared) -> Option<(u16, Vec<u8>, u32)> {
        let mut chain = Box::new(Chain::new());
        let found = self.queue.pop(&shared.region, &shared.pool, &mut chain);
        if !found.unwrap() {
            return None;
        }
        let mut question = vec![0; chain.readable_len() as usize];
        let len = chain.read(&shared.region, 0, &mut question);
        assert_eq!(len, question.len());
        let (id, room) = (chain.id(), chain.writable_len());
        let other = self.held.insert(id, chain);
        assert!(other.is_none(), "id {id} is there twice");
        Some((id, question, room))
    }

    fn give(&mut self, shared: &Shared, id: u16, bytes: &[u8]) {
        let chain = self.held.remove(&id).unwrap();
        assert_eq!(chain.write(&shared.region, 0, bytes), bytes.len());
        let result = self.queue.push(&shared.region, &chain, bytes.len() as u32);
        assert_eq!(result, Ok(()));
    }

    fn wants(&mut self, shared: &Shared) -> bool {
        self.queue.publish(&shared.region);
        self.queue.wants_notification(&shared.region)
    }

    fn listen(&mut self, shared: &Shared) -> bool {
        self.queue.listen(&shared.region, 1).unwrap()
    }

    fn quieten(&mut self, shared: &Shared) {
        self.queue.quieten(&shared.region);
    }
}

fn run(number: u8, size: u16, table: u16, seed: u64, chains: u64) {
    let layout = Layout::new(size, number & 1 != 0, table).unwrap();
    let shared = Shared::new(bytes(&layout));
    let base = PEER + u64::from(START);
    let new = |shared: &Shared| Device::new(&layout, number, shared);
    Talk::new(layout, number, base, shared, seed, new).run(chains);
}

proptest! {
    #[test]
    fn any_talk(
        number in 0u8..32,
        size in 1u16..70,
        table in 0u16..10,
        seed in any::<u64>(),
        chains in 1u64..1000,
    ) {
        // Only packed rings may have any size.
        let size = if number & 1 != 0 { size } else { 1 << size.ilog2() };
        run(number, size, table, seed, chains);
    }
}

#[test]
fn longer_than_the_indices() {
    for number in 0..32 {
        let size = if number & 1 != 0 { 61 } else { 64 };
        run(number, size, 8, 1, 70_000);
    }
}
