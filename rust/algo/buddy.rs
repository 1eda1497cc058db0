// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Buddy allocator for a virtqueue's share of the pool.
//!
//! Allocation and release take at most [`ORDERS`] steps, whatever the pool's size, because both
//! run with interrupts off. The book-keeping lies in memory of the caller's, never in the pool,
//! so that nothing the peer writes can disturb it.

use core::ops::DerefMut;

/// Bytes of the smallest block. An Ethernet header with a small packet fits.
pub const BLOCK: u32 = 256;
/// Number of block sizes: [`BLOCK`] to [`BLOCK`]` << (ORDERS - 1)`, 1 MiB, which holds the largest
/// virtqueue.
pub const ORDERS: usize = 13;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    /// Inside a larger block.
    Interior,
    /// First of a free block.
    Free,
    /// First of an allocated block.
    Taken,
}

/// Book-keeping of one smallest block.
#[derive(Clone, Copy, Debug)]
pub struct Node {
    next: u32,
    prev: u32,
    order: u8,
    used: Use,
}

impl Node {
    /// A node before [`Buddy::new`] has seen it.
    pub const NEW: Node = Node {
        next: NONE,
        prev: NONE,
        order: 0,
        used: Use::Interior,
    };
}

/// Allocator of blocks numbered from 0, each [`BLOCK`] bytes.
///
/// # Invariants
///
/// Free and taken blocks partition `0..nodes.len()`; each is as long as its order says, starts at
/// a multiple of its length, and ends inside. `free[o]` heads a doubly linked list of exactly the
/// free blocks of order `o`. No two free buddies of one order exist.
pub struct Buddy<S> {
    nodes: S,
    free: [u32; ORDERS],
    taken: u32,
    high_water: u32,
}

/// Smallest order that holds `size` bytes; `None` where no block is large enough.
pub fn order_for(size: usize) -> Option<u8> {
    let blocks = size.div_ceil(BLOCK as usize).max(1);
    let order = blocks.checked_next_power_of_two()?.trailing_zeros();
    if (order as usize) < ORDERS {
        Some(order as u8)
    } else {
        None
    }
}

/// Number of blocks in a pool of `bytes`.
pub const fn blocks_in(bytes: u32) -> u32 {
    bytes / BLOCK
}

impl<S: DerefMut<Target = [Node]>> Buddy<S> {
    /// An allocator with every one of `nodes` free. At most `u32::MAX - 1` nodes are used.
    pub fn new(nodes: S) -> Self {
        let mut buddy = Self {
            nodes,
            free: [NONE; ORDERS],
            taken: 0,
            high_water: 0,
        };
        for node in buddy.nodes.iter_mut() {
            *node = Node::NEW;
        }
        let len = buddy.len();
        let mut at = 0;
        while at < len {
            let align = if at == 0 { 31 } else { at.trailing_zeros() };
            let fit = (len - at).ilog2();
            let order = align.min(fit).min(ORDERS as u32 - 1) as u8;
            buddy.push(at, order);
            at += 1 << order;
        }
        buddy
    }

    fn len(&self) -> u32 {
        self.nodes.len().min(NONE as usize - 1) as u32
    }

    fn push(&mut self, at: u32, order: u8) {
        let head = self.free[usize::from(order)];
        self.nodes[at as usize] = Node {
            next: head,
            prev: NONE,
            order,
            used: Use::Free,
        };
        if head != NONE {
            self.nodes[head as usize].prev = at;
        }
        self.free[usize::from(order)] = at;
    }

    fn unlink(&mut self, at: u32) {
        let Node {
            next, prev, order, ..
        } = self.nodes[at as usize];
        if prev == NONE {
            self.free[usize::from(order)] = next;
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[at as usize] = Node::NEW;
    }

    /// Takes a block of `order`, and tells the number of its first smallest block.
    ///
    /// `None`: no free block is large enough, which is back-pressure and not an error.
    pub fn alloc(&mut self, order: u8) -> Option<u32> {
        let found = (usize::from(order)..ORDERS).find(|&o| self.free[o] != NONE)?;
        let at = self.free[found];
        self.unlink(at);
        // Give back the upper half until the block has the size that was asked for.
        let mut have = found as u8;
        while have > order {
            have -= 1;
            self.push(at + (1 << have), have);
        }
        self.nodes[at as usize] = Node {
            next: NONE,
            prev: NONE,
            order,
            used: Use::Taken,
        };
        self.taken += 1 << order;
        self.high_water = self.high_water.max(self.taken);
        Some(at)
    }

    /// Order of the allocated block that begins at `at`; `None` where none does.
    pub fn order_of(&self, at: u32) -> Option<u8> {
        self.nodes
            .get(at as usize)
            .filter(|node| node.used == Use::Taken)
            .map(|node| node.order)
    }

    /// First smallest block of the allocated block that `at` lies in; `None` where it is free.
    pub fn head_of(&self, at: u32) -> Option<u32> {
        (0..ORDERS as u32)
            .map(|order| (order, at & (u32::MAX << order)))
            .find(|&(order, head)| self.order_of(head).is_some_and(|o| u32::from(o) >= order))
            .map(|(_, head)| head)
    }

    /// Gives back the block that begins at `at`. `false`: no allocated block does.
    pub fn free(&mut self, at: u32) -> bool {
        let Some(mut order) = self.order_of(at) else {
            return false;
        };
        self.taken -= 1 << order;
        self.nodes[at as usize] = Node::NEW;
        let mut at = at;
        while usize::from(order) + 1 < ORDERS {
            let other = at ^ (1 << order);
            match self.nodes.get(other as usize) {
                Some(node) if node.used == Use::Free && node.order == order => {}
                _ => break,
            }
            self.unlink(other);
            at = at.min(other);
            order += 1;
        }
        self.push(at, order);
        true
    }

    /// Smallest blocks in use.
    pub fn taken(&self) -> u32 {
        self.taken
    }

    /// Most smallest blocks that were in use at one time.
    pub fn high_water(&self) -> u32 {
        self.high_water
    }

    /// Smallest blocks altogether.
    pub fn total(&self) -> u32 {
        self.len()
    }
}
