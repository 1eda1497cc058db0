// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The pool allocator against a model that keeps one flag per smallest block.

use hvl_logic::algo::buddy::{blocks_in, order_for, Buddy, Node, BLOCK, ORDERS};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TOP: u8 = ORDERS as u8 - 1;

/// The allocator together with what must be true of it.
struct Checked {
    buddy: Buddy<Vec<Node>>,
    /// Allocated blocks: first smallest block and order.
    taken: BTreeMap<u32, u8>,
    used: Vec<bool>,
    high_water: u32,
}

impl Checked {
    fn new(blocks: u32) -> Self {
        let checked = Self {
            buddy: Buddy::new(vec![Node::NEW; blocks as usize]),
            taken: BTreeMap::new(),
            used: vec![false; blocks as usize],
            high_water: 0,
        };
        checked.check_counts();
        checked
    }

    fn in_use(&self) -> u32 {
        self.used.iter().filter(|&&used| used).count() as u32
    }

    fn check_counts(&self) {
        assert_eq!(self.buddy.total(), self.used.len() as u32);
        assert_eq!(self.buddy.taken(), self.in_use());
        assert_eq!(self.buddy.high_water(), self.high_water);
    }

    /// Whether an aligned free run of this order exists. Buddies merge at once, so the allocator
    /// has to find it.
    fn has_room(&self, order: u8) -> bool {
        order <= TOP
            && self
                .used
                .chunks_exact(1 << order)
                .any(|run| run.iter().all(|&used| !used))
    }

    fn alloc(&mut self, order: u8) -> Option<u32> {
        let room = self.has_room(order);
        let got = self.buddy.alloc(order);
        assert_eq!(got.is_some(), room, "order {order}");
        if let Some(at) = got {
            let length = 1u32 << order;
            assert_eq!(at % length, 0, "block {at} of order {order} is misaligned");
            assert!(at + length <= self.used.len() as u32, "{at} reaches out");
            for block in &mut self.used[at as usize..(at + length) as usize] {
                assert!(!*block, "block {at} of order {order} overlaps another");
                *block = true;
            }
            self.taken.insert(at, order);
            self.high_water = self.high_water.max(self.in_use());
            assert_eq!(self.buddy.order_of(at), Some(order));
        }
        self.check_counts();
        got
    }

    /// Frees `at`, whether or not a block begins there.
    fn free(&mut self, at: u32) {
        let order = self.taken.remove(&at);
        assert_eq!(self.buddy.order_of(at), order);
        assert_eq!(self.buddy.free(at), order.is_some(), "block {at}");
        if let Some(order) = order {
            self.used[at as usize..][..1 << order].fill(false);
            assert_eq!(self.buddy.order_of(at), None);
        }
        self.check_counts();
    }

    /// Every smallest block knows the allocated block that it lies in.
    fn check_heads(&self) {
        for at in (0..self.used.len() as u32 + 2).chain([u32::MAX]) {
            let last = self.taken.range(..=at).next_back();
            let head = last.filter(|&(&head, &order)| at - head < 1 << order);
            assert_eq!(self.buddy.head_of(at), head.map(|(&head, _)| head), "{at}");
        }
    }

    fn free_all(&mut self) {
        while let Some((&at, _)) = self.taken.first_key_value() {
            self.free(at);
        }
        assert_eq!(self.buddy.taken(), 0);
    }

    /// Takes everything in blocks as large as possible. In a pool where nothing is in use that
    /// gives the same sizes however the pool was used before, if all buddies were merged.
    fn drain(&mut self) -> Vec<u8> {
        let mut orders = Vec::new();
        for order in (0..=TOP).rev() {
            while self.alloc(order).is_some() {
                orders.push(order);
            }
        }
        assert_eq!(self.buddy.taken(), self.buddy.total());
        self.check_heads();
        orders
    }
}

/// The fewest aligned blocks that make up `blocks`: its binary digits, with the largest order
/// standing for all above.
fn partition(blocks: u32) -> Vec<u8> {
    let mut orders = vec![TOP; (blocks >> TOP) as usize];
    orders.extend((0..TOP).rev().filter(|order| (blocks >> order) & 1 == 1));
    orders
}

#[test]
fn every_small_pool() {
    for blocks in 0..=130 {
        let mut pool = Checked::new(blocks);
        assert_eq!(pool.drain(), partition(blocks), "{blocks} blocks");
        for at in 0..blocks + 2 {
            pool.free(at);
        }
        assert_eq!(pool.buddy.taken(), 0);
        // One by one, then back in another order: all of it has to merge again.
        for _ in 0..blocks {
            pool.alloc(0).expect("room");
        }
        assert_eq!(pool.alloc(0), None);
        for at in (0..blocks).step_by(2).chain((1..blocks).step_by(2)) {
            pool.free(at);
        }
        assert_eq!(pool.drain(), partition(blocks), "{blocks} blocks, merged");
    }
}

#[test]
fn pools_around_the_largest_block() {
    let top = 1 << TOP;
    for blocks in [top - 1, top, top + 1, 2 * top - 1, 2 * top, 3 * top + 5] {
        let mut pool = Checked::new(blocks);
        assert_eq!(pool.drain(), partition(blocks), "{blocks} blocks");
        pool.free_all();
        // In pieces of middle size, so that the largest blocks have to come from merging.
        while pool.alloc(5).is_some() {}
        pool.free_all();
        assert_eq!(pool.drain(), partition(blocks), "{blocks} blocks, merged");
    }
}

#[test]
fn orders_out_of_range() {
    let mut pool = Checked::new(2 << TOP);
    for order in ORDERS as u8..=u8::MAX {
        assert_eq!(pool.buddy.alloc(order), None, "order {order}");
    }
    pool.check_counts();
    assert!(pool.alloc(TOP).is_some());
}

#[test]
fn foreign_and_double_free() {
    let mut pool = Checked::new(100);
    let at = pool.alloc(3).unwrap();
    for wrong in (0..200).chain([u32::MAX - 1, u32::MAX]) {
        if wrong != at {
            assert!(!pool.buddy.free(wrong), "{wrong}");
            assert_eq!(pool.buddy.order_of(wrong), None);
        }
    }
    pool.check_counts();
    assert!(pool.buddy.free(at));
    assert!(!pool.buddy.free(at), "freed twice");
    assert_eq!(pool.buddy.taken(), 0);
    assert_eq!(pool.buddy.high_water(), 8);
}

/// How a queue's share is reclaimed: by trying to free every block there is.
#[test]
fn freeing_every_block_frees_everything() {
    let mut pool = Checked::new(100);
    for order in [3, 0, 5, 1, 0, 2] {
        pool.alloc(order).expect("room");
    }
    for at in 0..100 {
        pool.free(at);
    }
    assert_eq!(pool.buddy.taken(), 0);
    assert_eq!(pool.drain(), partition(100));
}

#[test]
fn orders_of_sizes() {
    assert_eq!(order_for(0), Some(0));
    for order in 0..ORDERS as u8 {
        let size = (BLOCK as usize) << order;
        assert_eq!(order_for(size), Some(order));
        assert_eq!(order_for(size - 1), Some(order));
        let next = (order < TOP).then_some(order + 1);
        assert_eq!(order_for(size + 1), next);
    }
    for size in [usize::MAX, usize::MAX / 2 + 2, 1 << 40] {
        assert_eq!(order_for(size), None, "{size:#x}");
    }
    for bytes in [0, BLOCK - 1, BLOCK, BLOCK + 1, u32::MAX] {
        assert_eq!(blocks_in(bytes), bytes / 256);
    }
    // The largest virtqueue of VIRTIO 2.7: descriptors, available ring and used ring.
    let queue = 32768usize;
    let ring = 16 * queue + (6 + 2 * queue).next_multiple_of(4) + 6 + 8 * queue;
    assert!(order_for(ring).is_some());
}

#[derive(Clone, Debug)]
enum Step {
    Alloc(u8),
    /// Free one of the allocated blocks.
    Free(prop::sample::Index),
    /// Free whatever this is, most often nothing.
    FreeAt(u32),
}

fn steps(length: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        // Small blocks are frequent, large ones and impossible ones happen.
        4 => (0u8..5).prop_map(Step::Alloc),
        1 => (0u8..16).prop_map(Step::Alloc),
        4 => any::<prop::sample::Index>().prop_map(Step::Free),
        1 => (0u32..700).prop_map(Step::FreeAt),
    ];
    prop::collection::vec(step, 0..length)
}

proptest! {
    #[test]
    fn any_sequence(blocks in 0u32..600, steps in steps(300)) {
        let mut pool = Checked::new(blocks);
        for step in steps {
            match step {
                Step::Alloc(order) => {
                    pool.alloc(order);
                }
                Step::Free(index) if !pool.taken.is_empty() => {
                    let at = *pool.taken.keys().nth(index.index(pool.taken.len())).unwrap();
                    pool.free(at);
                }
                Step::Free(_) => {}
                Step::FreeAt(at) => pool.free(at),
            }
        }
        pool.check_heads();
        pool.free_all();
        prop_assert_eq!(pool.drain(), partition(blocks));
    }

    #[test]
    fn any_size(size in 0usize..3_000_000) {
        match order_for(size) {
            Some(order) => {
                let bytes = (BLOCK as usize) << order;
                prop_assert!(size <= bytes && (order == 0 || size > bytes / 2));
            }
            None => prop_assert!(size > 1 << 20),
        }
    }
}
