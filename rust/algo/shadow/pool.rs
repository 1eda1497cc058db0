// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The memory that buffers are copied to: chunks of one size, so that nothing fragments and no
//! search is needed.
//!
//! A buffer gets as many chunks as it takes, wherever they are. They are linked, and so are the free
//! ones, the one that was freed last first: it is the likeliest to be in a cache.

use core::ops::DerefMut;

/// No chunk.
pub(super) const NONE: u16 = u16::MAX;

/// Book-keeping of one chunk.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// The next one of the buffer, or of those that are free.
    next: u16,
    /// Pieces of data in it that were not fetched yet.
    users: u16,
}

impl Chunk {
    /// A chunk before [`Pool::new`] has seen it.
    pub const NEW: Chunk = Chunk {
        next: NONE,
        users: 0,
    };
}

/// Chunks, numbered from 0.
///
/// # Invariants
///
/// `free` heads a list of `left` chunks; no chunk of it is in another list.
#[derive(Debug)]
pub(super) struct Pool<L> {
    chunks: L,
    free: u16,
    left: u16,
    least: u16,
}

impl<L: DerefMut<Target = [Chunk]>> Pool<L> {
    /// A pool of all of `chunks`, 65534 at most.
    pub(super) fn new(mut chunks: L) -> Self {
        let count = chunks.len().min(usize::from(NONE) - 1) as u16;
        for (chunk, next) in chunks.iter_mut().zip(1..=count) {
            *chunk = Chunk {
                next: if next < count { next } else { NONE },
                users: 0,
            };
        }
        Self {
            chunks,
            free: if count == 0 { NONE } else { 0 },
            left: count,
            least: count,
        }
    }

    /// Chunks that are free.
    pub(super) fn left(&self) -> u16 {
        self.left
    }

    /// Fewest that ever were.
    pub(super) fn least(&self) -> u16 {
        self.least
    }

    /// All chunks.
    pub(super) fn total(&self) -> u16 {
        self.chunks.len().min(usize::from(NONE) - 1) as u16
    }

    /// The chunk after `chunk` in its list.
    pub(super) fn next(&self, chunk: u16) -> u16 {
        self.chunks.get(usize::from(chunk)).map_or(NONE, |c| c.next)
    }

    /// Takes `count` chunks, in a list; `None`: there are not so many.
    pub(super) fn take(&mut self, count: u16) -> Option<u16> {
        if count > self.left {
            return None;
        }
        let first = self.free;
        let mut last = NONE;
        for _ in 0..count {
            last = self.free;
            self.free = self.next(last);
        }
        if let Some(last) = self.chunks.get_mut(usize::from(last)) {
            last.next = NONE;
        }
        self.left -= count;
        self.least = self.least.min(self.left);
        Some(if count == 0 { NONE } else { first })
    }

    /// Gives one chunk back; the one after it.
    pub(super) fn give(&mut self, chunk: u16) -> u16 {
        let Some(entry) = self.chunks.get_mut(usize::from(chunk)) else {
            return NONE;
        };
        let next = entry.next;
        entry.next = self.free;
        entry.users = 0;
        self.free = chunk;
        self.left = self.left.saturating_add(1);
        next
    }

    /// One more piece of data in the chunk has to be fetched.
    pub(super) fn hold(&mut self, chunk: u16) {
        if let Some(entry) = self.chunks.get_mut(usize::from(chunk)) {
            entry.users = entry.users.saturating_add(1);
        }
    }

    /// Whether data in the chunk has to be fetched.
    pub(super) fn is_held(&self, chunk: u16) -> bool {
        self.chunks
            .get(usize::from(chunk))
            .is_some_and(|entry| entry.users != 0)
    }

    /// A piece was fetched: gives the chunk back if it was the last; the one after it.
    pub(super) fn drop_hold(&mut self, chunk: u16) -> u16 {
        let Some(entry) = self.chunks.get_mut(usize::from(chunk)) else {
            return NONE;
        };
        entry.users = entry.users.saturating_sub(1);
        if entry.users == 0 {
            self.give(chunk)
        } else {
            entry.next
        }
    }
}
