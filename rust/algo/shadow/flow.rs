// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One virtqueue at work: chains from the private ring to the shared one, and back.

mod back;
mod direct;
mod end;
mod post;

use super::super::ring::{Memory, Ring};
use super::maps;
use super::pool::{self, Pool};
use super::private::Private;
use super::{Geometry, Lists, Store, PRIVATE_ALIGN, SEGMENTS_MAX};

use self::post::Job;
pub use self::{back::Completed, end::Ended, post::Posted};

/// A chain that the device has, or that is being made for it: by the number of its first
/// descriptor in the private ring.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// The first of its chunks, if it has any: those that the device reads come before those that it
    /// writes.
    first: u16,
    readable: u32,
    writable: u32,
}

impl Post {
    /// A slot before [`Flow::new`] has seen it.
    pub const NEW: Post = Post {
        first: pool::NONE,
        readable: 0,
        writable: 0,
    };
}

/// A piece of data that the device has written and the driver has not fetched: by the number of
/// the private descriptor that it is for.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Where it goes, in bytes from the start of the mapping.
    at: u32,
    /// Bytes that are left to fetch.
    len: u32,
    /// Where the first of them is: a chunk, and the byte in it.
    chunk: u16,
    skip: u16,
    /// The next one of the mapping.
    next: u16,
}

impl Record {
    /// A slot before [`Flow::new`] has seen it.
    pub const NEW: Record = Record {
        at: 0,
        len: 0,
        chunk: pool::NONE,
        skip: 0,
        next: maps::NONE,
    };
}

/// A virtqueue that the device may use.
pub struct Flow<S: Store> {
    geometry: Geometry,
    /// Tells the records of one flow from those of the next.
    number: u32,
    ring: Ring<S::Slots>,
    event_idx: bool,
    private: Private,
    pool: Pool<S::Chunks>,
    posts: S::Posts,
    records: S::Records,
    segments: S::Segments,
    job: Option<Job>,
    /// Chains on the shared ring that the device writes to.
    writable: u16,
    /// The next chain has found no room, how many chunks it takes, and whether something has come back since.
    starved: bool,
    wanted: u16,
    freed: bool,
    /// Chains until the device owes a notification.
    to_go: u16,
    /// Where those begin that were not given up, if any were.
    abandoned: u16,
    /// One chain is kept from the device, to tell the driver something: which one, once there is one.
    keeps: bool,
    kept: Option<u16>,
}

impl<S: Store> Flow<S> {
    /// A flow with nothing in it, over a shared and a private ring with nothing in them.
    ///
    /// `None`: the lists are shorter than `geometry` says.
    pub fn new(
        geometry: Geometry,
        number: u32,
        ring: Ring<S::Slots>,
        event_idx: bool,
        lists: Lists<S>,
    ) -> Option<Self> {
        let Lists {
            chunks,
            mut posts,
            mut records,
            segments,
        } = lists;
        let size = usize::from(geometry.size);
        if chunks.len() < usize::from(geometry.chunks) || segments.len() < SEGMENTS_MAX {
            return None;
        }
        posts.get_mut(..size)?.fill(Post::NEW);
        records.get_mut(..size)?.fill(Record::NEW);
        Some(Self {
            geometry,
            number,
            ring,
            event_idx,
            private: Private::new(geometry.size, PRIVATE_ALIGN),
            pool: Pool::new(chunks),
            posts,
            records,
            segments,
            job: None,
            writable: 0,
            starved: false,
            wanted: 0,
            freed: false,
            to_go: 1,
            abandoned: 0,
            keeps: false,
            kept: None,
        })
    }

    /// Keeps one of the driver's chains from the device, for [`Shadow::tell`](super::Shadow::tell).
    pub fn keep_one(&mut self) {
        self.keeps = true;
    }

    /// The shared ring.
    pub fn ring(&self) -> &Ring<S::Slots> {
        &self.ring
    }

    /// Chunks: all, those that are free, the fewest that ever were.
    pub fn chunks(&self) -> (u16, u16, u16) {
        (self.pool.total(), self.pool.left(), self.pool.least())
    }

    /// Whether a chain waited for room, which may be there now.
    ///
    /// Not when the device has used a buffer: what it wrote there keeps the room until the driver has fetched it.
    pub fn is_starved(&self) -> bool {
        self.starved && self.freed && self.pool.left() >= self.wanted
    }

    /// Whether the driver has made something available that could be brought to the device, for
    /// all that is known.
    pub fn is_waiting<P: Memory + ?Sized>(&self, private: &P) -> bool {
        let stuck = self.starved && !self.is_starved();
        !stuck && self.has_more(private)
    }

    fn has_more<P: Memory + ?Sized>(&self, private: &P) -> bool {
        self.job.is_some() || self.private.peek(private).is_some()
    }

    /// Whether the device has given back all that the driver has made available.
    pub fn is_settled<P: Memory + ?Sized>(&self, private: &P) -> bool {
        self.ring.outstanding() == 0 && !self.has_more(private)
    }

    /// Chunks that `bytes` take.
    fn count(&self, bytes: u32) -> u32 {
        bytes.div_ceil(self.geometry.chunk)
    }
}
