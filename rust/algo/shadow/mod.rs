// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checked shadow virtqueues: a driver that trusts its device, and a device that is not to be
//! trusted.
//!
//! ```text
//!                 private                              |       shared
//!   driver  <->  split ring  <->  Shadow: maps, book   |   ring  <->  device
//!     \                             |                  |
//!      `-- buffers  ------- copies -+------------------|-> chunks of the pool
//! ```
//!
//! The driver works on a split ring in private memory, with a device that keeps every rule: us. It
//! maps its buffers and gets handles ([`Shadow::map`]), makes chains of them available, and notifies.
//! We copy what a chain has to say into chunks of the pool and post it on the ring that the device
//! sees ([`Shadow::post`], [`Shadow::publish`]), in as few descriptors as it takes, however many
//! the driver's had. What the device gives back is checked by that ring
//! ([`ring`](super::ring)), noted, and shown on the private ring ([`Shadow::complete`]). The data
//! is copied when the driver takes its buffer back ([`Shadow::fetch`], [`Shadow::unmap`]), in the
//! driver's context, and just as much of it as the device says it wrote.
//!
//! Where the device reaches the driver's memory itself ([`Geometry::direct`]) there are no chunks and
//! no copies: a chain is posted part by part, each with the address that the device has for it
//! ([`Data::address`]). All else is the same: handles, books, checks, and what the driver sees.
//!
//! - *Nothing that the device writes is seen by the driver* but used lengths, each at most what was
//!   writable, and the data itself, copied once.
//! - *A full pool is back-pressure.* A chain that finds no room stays on the private ring, the
//!   driver's ring fills up, and it waits as for any slow device. Room comes back with every chain
//!   and every fetched buffer. So a ring may be larger than what the pool holds.
//! - *Nothing is cleared.* Chunks hold what earlier chains had: of the driver's, which the device has
//!   seen, or of the device's own. A device that says it wrote more than it did hands such data
//!   to the driver. It could have written the same itself; and what it never saw is never in the
//!   pool, for only what the driver sends goes there. (Without a pool it is the buffer's own old
//!   content.)
//! - *Time is bounded.* Mapping takes constant time. One step of posting or fetching copies
//!   [`Geometry::step`] bytes at most, so that a lock around it is held no longer.
//!
//! The caller serializes all calls, and tells no device of a queue before its flow was installed.

mod flow;
mod maps;
mod pool;
mod private;

use core::ops::DerefMut;

use super::super::proto::layout::CHAIN_DESCRIPTORS_MAX;
use super::ring::{Lie, Memory, Segment, Slot};

pub use self::flow::{Completed, Ended, Flow, Post, Posted, Record};
pub use self::maps::Mapping;
pub use self::pool::Chunk;

/// Most descriptors of a chain on the shared ring.
pub const SEGMENTS_MAX: usize = CHAIN_DESCRIPTORS_MAX;
/// Alignment of the private used ring, in bytes.
pub const PRIVATE_ALIGN: u32 = 64;

/// Where the books are kept. All lists are private memory of the caller's.
pub trait Store {
    /// What stands for memory of the driver's.
    type Buffer: Copy + 'static;
    /// Book of the shared ring: as many as it has entries.
    type Slots: DerefMut<Target = [Slot]>;
    /// As many as there are chunks.
    type Chunks: DerefMut<Target = [Chunk]>;
    /// As many as there may be mappings.
    type Maps: DerefMut<Target = [Mapping<Self::Buffer>]>;
    /// As many as the private ring has entries.
    type Posts: DerefMut<Target = [Post]>;
    /// As many as the private ring has entries.
    type Records: DerefMut<Target = [Record]>;
    /// [`SEGMENTS_MAX`] of them.
    type Segments: DerefMut<Target = [Segment]>;
}

/// The lists that a [`Flow`] works with, with any content.
pub struct Lists<S: Store> {
    /// Book of the chunks.
    pub chunks: S::Chunks,
    /// Book of the chains.
    pub posts: S::Posts,
    /// Book of what was written.
    pub records: S::Records,
    /// Room to put a chain together.
    pub segments: S::Segments,
}

/// Copies between the pool and the driver's memory. What is out of bounds on either side is left
/// out.
pub trait Data<B> {
    /// Copies `len` bytes of `from`, from `skip` on, to offset `at` of the queue's memory.
    fn copy_in(&self, at: u32, from: &B, skip: u32, len: u32);
    /// Copies `len` bytes at offset `at` of the queue's memory to `to`, from `skip` on.
    fn copy_out(&self, at: u32, to: &B, skip: u32, len: u32);
    /// Writes `byte` at `at` of the driver's memory.
    fn put(&self, to: &B, at: u32, byte: u8);
    /// Where the device sees the first byte of `buffer`, if it is to reach it itself.
    fn address(&self, buffer: &B) -> Option<u64>;
}

/// Sizes and places of one virtqueue. Offsets are in bytes from the start of its part of the pool,
/// where the shared ring lies.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Entries of the private ring, a power of two.
    pub size: u16,
    /// Bytes of a chunk, at most 32768.
    pub chunk: u32,
    /// Number of chunks.
    pub chunks: u16,
    /// Offset of the first chunk.
    pub first: u32,
    /// Where the device sees offset 0.
    pub base: u64,
    /// Most bytes that are copied in one step, at least one.
    pub step: u32,
    /// The device reaches the driver's buffers itself. There need not be any chunk then.
    pub direct: bool,
}

impl Geometry {
    fn chunk_at(&self, chunk: u16) -> u32 {
        self.first
            .wrapping_add(u32::from(chunk).wrapping_mul(self.chunk))
    }

    fn address_of(&self, chunk: u16) -> u64 {
        self.base.wrapping_add(self.chunk_at(chunk).into())
    }

    /// Bytes of a private ring of `size` entries.
    pub const fn private_bytes(size: u16) -> u32 {
        // As of Linux's `vring_size`, whose ring this is.
        let size = size as u32;
        (16 * size + 6 + 2 * size).next_multiple_of(PRIVATE_ALIGN) + 6 + 8 * size
    }
}

/// How [`Shadow::unmap`] or [`Shadow::fetch`] went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// A part was copied; call again.
    Again,
    /// All is done.
    Done,
    /// Nothing is mapped there.
    Stray,
}

/// One virtqueue: what the driver has mapped, and, while the device may use the queue, the flow.
pub struct Shadow<S: Store> {
    maps: maps::Maps<S::Maps>,
    flow: Option<Flow<S>>,
    flows: u32,
}

impl<S: Store> Shadow<S> {
    /// A virtqueue that is not in use, with room for as many mappings as `maps` has elements.
    pub fn new(maps: S::Maps) -> Self {
        Self {
            maps: maps::Maps::new(maps),
            flow: None,
            flows: 0,
        }
    }

    /// Replaces the flow; the old one is the caller's to drop. Mappings stay, but what the device
    /// wrote there and was not fetched is forgotten.
    pub fn install(&mut self, flow: Option<Flow<S>>) -> Option<Flow<S>> {
        core::mem::replace(&mut self.flow, flow)
    }

    /// The flow.
    pub fn flow(&self) -> Option<&Flow<S>> {
        self.flow.as_ref()
    }

    /// Number for another flow, unlike that of the last.
    pub fn next_flow(&mut self) -> u32 {
        self.flows = self.flows.wrapping_add(1);
        self.flows
    }

    /// Mappings that there are.
    pub fn mapped(&self) -> u16 {
        self.maps.mapped()
    }

    /// Maps `len` bytes of `buffer`; `None`: there are too many mappings. The handle is never 0, nor
    /// all ones.
    pub fn map(&mut self, buffer: S::Buffer, len: u32) -> Option<u64> {
        self.maps.enter(buffer, len)
    }

    /// The memory that `handle` means, and the offset in it; `None`: nothing is mapped there.
    pub fn buffer(&self, handle: u64) -> Option<(S::Buffer, u32)> {
        let (slot, at) = self.maps.find(handle)?;
        Some((self.maps.buffer(slot)?, at))
    }

    /// Bytes that the device has written to what is mapped at `handle`, and that were not fetched.
    pub fn written(&self, handle: u64) -> u32 {
        let slot = self.maps.find(handle);
        let flow = self.flow.as_ref();
        slot.zip(flow)
            .map_or(0, |((slot, _), flow)| flow.written(&self.maps, slot))
    }

    /// The memory that is mapped.
    pub fn buffers(&self) -> impl Iterator<Item = S::Buffer> + '_ {
        self.maps.buffers()
    }

    /// Forgets all mappings; how many there were.
    pub fn forget(&mut self) -> u16 {
        self.maps.clear()
    }

    /// Undoes the mapping that `handle` means, after a part of what the device wrote was copied;
    /// with no `data` nothing is. To be called again until it is done.
    pub fn unmap<D>(&mut self, handle: u64, data: Option<&D>) -> Fetched
    where
        D: Data<S::Buffer> + ?Sized,
    {
        let Some((slot, 0)) = self.maps.find(handle) else {
            return Fetched::Stray;
        };
        if let Some(flow) = &mut self.flow {
            if flow.fetch(&mut self.maps, slot, (0, u32::MAX), data) {
                return Fetched::Again;
            }
        }
        self.maps.leave(slot);
        Fetched::Done
    }

    /// Copies a part of what the device wrote into the `len` bytes at `handle`, which may have an
    /// offset added. To be called again until it is done.
    pub fn fetch<D>(&mut self, handle: u64, len: u32, data: &D) -> Fetched
    where
        D: Data<S::Buffer> + ?Sized,
    {
        let Some((slot, at)) = self.maps.find(handle) else {
            return Fetched::Stray;
        };
        let part = (at, at.saturating_add(len));
        let flow = self.flow.as_mut();
        if flow.is_some_and(|flow| flow.fetch(&mut self.maps, slot, part, Some(data))) {
            Fetched::Again
        } else {
            Fetched::Done
        }
    }

    /// Does a part of posting the next chain, see [`Flow::post`].
    pub fn post<P, M, D>(&mut self, private: &P, shared: &M, data: &D) -> Posted
    where
        P: Memory + ?Sized,
        M: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        match &mut self.flow {
            Some(flow) => flow.post(&self.maps, private, shared, data),
            None => Posted::Idle,
        }
    }

    /// Shows the device what was posted, see [`Flow::publish`].
    pub fn publish<M: Memory + ?Sized>(&mut self, shared: &M, queue: u16) -> Option<u32> {
        self.flow.as_mut()?.publish(shared, queue)
    }

    /// Gives the driver back what a device that is gone has of it, see [`Flow::end`].
    pub fn end<P, D>(&mut self, private: &P, data: &D, word: u8, most: u16) -> Ended
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        match &mut self.flow {
            Some(flow) => flow.end(&self.maps, private, data, word, most),
            None => Ended {
                chains: 0,
                more: false,
            },
        }
    }

    /// Tells the driver something that the device has not said, see [`Flow::tell`].
    pub fn tell<P, D>(&mut self, private: &P, data: &D, bytes: &[u8], last: bool) -> bool
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        match &mut self.flow {
            Some(flow) => flow.tell(&self.maps, private, data, bytes, last),
            None => false,
        }
    }

    /// Whether the driver holds no buffer that it was given back, see [`Flow::is_home`]; so it is with no flow.
    pub fn is_home<P: Memory + ?Sized>(&self, private: &P) -> bool {
        self.flow.as_ref().is_none_or(|flow| flow.is_home(private))
    }

    /// Takes back what the device has used, see [`Flow::complete`].
    ///
    /// # Errors
    ///
    /// A lie of the device's.
    pub fn complete<P, M>(&mut self, private: &P, shared: &M, most: u16) -> Result<Completed, Lie>
    where
        P: Memory + ?Sized,
        M: Memory + ?Sized,
    {
        match &mut self.flow {
            Some(flow) => flow.complete(&mut self.maps, private, shared, most),
            None => Ok(Completed {
                chains: 0,
                call: false,
                due: false,
                more: false,
            }),
        }
    }
}
