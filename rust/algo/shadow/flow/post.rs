// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From the driver to the device.

use super::super::super::ring::{Memory, Segment};
use super::super::maps::Maps;
use super::super::{Data, Store, SEGMENTS_MAX};
use super::{Flow, Post};

/// A chain on its way into the pool.
#[derive(Clone, Copy, Debug)]
pub(super) struct Job {
    pub(super) head: u16,
    /// Readable bytes that are not copied yet.
    left: u32,
    /// The private descriptor that comes next, and the byte of it.
    desc: u16,
    done: u32,
    /// Where the next byte goes: a chunk, and the byte in it.
    chunk: u16,
    skip: u32,
}

/// What [`Flow::post`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Posted {
    /// A part of a chain.
    Again,
    /// The last part of a chain, which is on the shared ring now.
    Chain,
    /// The driver has made nothing more available.
    Idle,
    /// The next chain has to wait until the device, or the driver, gives back room.
    Starved,
    /// The next chain has this many bytes, and will never fit.
    Never(u64),
    /// The next chain has a part at this address that is not mapped.
    Stray(u64),
}

impl<S: Store> Flow<S> {
    /// Does a part of bringing the next chain of the private ring to the shared one: copies
    /// [`Geometry::step`] bytes at most.
    pub(in super::super) fn post<P, M, D>(
        &mut self,
        maps: &Maps<S::Maps>,
        private: &P,
        shared: &M,
        data: &D,
    ) -> Posted
    where
        P: Memory + ?Sized,
        M: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        if self.geometry.direct {
            return self.post_direct(maps, private, shared, data);
        }
        let mut job = match self.job.take() {
            Some(job) => job,
            None => match self.begin(maps, private) {
                Ok(job) => job,
                Err(posted) => return posted,
            },
        };
        let mut budget = self.geometry.step;
        while job.left != 0 && budget != 0 {
            budget = self.copy(&mut job, maps, private, data, budget);
        }
        if job.left != 0 {
            self.job = Some(job);
            return Posted::Again;
        }
        self.finish(job.head, shared);
        Posted::Chain
    }

    /// Takes the next chain of the private ring, and room for it.
    fn begin<P: Memory + ?Sized>(
        &mut self,
        maps: &Maps<S::Maps>,
        private: &P,
    ) -> Result<Job, Posted> {
        let Some(head) = self.private.peek(private) else {
            self.starved = false;
            return Err(Posted::Idle);
        };
        if self.keeps && self.kept.is_none() {
            self.private.take();
            self.kept = Some(head);
            return Err(Posted::Again);
        }
        let (mut readable, mut writable) = (0u64, 0u64);
        let mut number = Some(head);
        // No chain is longer than the ring.
        for _ in 0..self.private.size() {
            let Some(at) = number else {
                break;
            };
            let desc = self.private.desc(private, at);
            number = desc.next;
            if !maps.holds(desc.part) {
                return Err(Posted::Stray(desc.part.address));
            }
            let sum = if desc.writable {
                &mut writable
            } else {
                &mut readable
            };
            *sum += u64::from(desc.part.len);
        }
        let bytes = readable + writable;
        let (Ok(readable), Ok(writable)) = (u32::try_from(readable), u32::try_from(writable))
        else {
            return Err(Posted::Never(bytes));
        };
        let count = self.count(readable).saturating_add(self.count(writable));
        let fits = count <= u32::from(self.pool.total())
            && count as usize <= SEGMENTS_MAX
            && self.ring.fits(count as usize);
        if !fits {
            return Err(Posted::Never(bytes));
        }
        // At most `SEGMENTS_MAX`, as just checked.
        let count = count as u16;
        let room = self.ring.has_room(count.into());
        let Some(first) = room.then(|| self.pool.take(count)).flatten() else {
            (self.starved, self.freed, self.wanted) = (true, false, count);
            return Err(Posted::Starved);
        };
        self.private.take();
        self.starved = false;
        if let Some(post) = self.posts.get_mut(usize::from(head)) {
            *post = Post {
                first,
                readable,
                writable,
            };
        }
        Ok(Job {
            head,
            left: readable,
            desc: head,
            done: 0,
            chunk: first,
            skip: 0,
        })
    }

    /// Copies up to `budget` bytes of one descriptor into one chunk; what is left of the budget.
    fn copy<P, D>(
        &mut self,
        job: &mut Job,
        maps: &Maps<S::Maps>,
        private: &P,
        data: &D,
        budget: u32,
    ) -> u32
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let desc = self.private.desc(private, job.desc);
        let chunk = self.geometry.chunk;
        let len = desc
            .part
            .len
            .saturating_sub(job.done)
            .min(chunk.saturating_sub(job.skip))
            .min(job.left)
            .min(budget);
        if let Some((slot, offset)) = maps.find(desc.part.address) {
            if let Some(buffer) = maps.buffer(slot) {
                let to = self.geometry.chunk_at(job.chunk).wrapping_add(job.skip);
                data.copy_in(to, &buffer, offset.saturating_add(job.done), len);
            }
        }
        job.left -= len;
        job.done += len;
        job.skip += len;
        if job.skip >= chunk {
            job.chunk = self.pool.next(job.chunk);
            job.skip = 0;
        }
        if job.done >= desc.part.len {
            job.done = 0;
            match desc.next {
                Some(next) => job.desc = next,
                // Only if the driver has changed the chain since it was measured.
                None => job.left = 0,
            }
        }
        // An empty descriptor costs something too: the driver does not choose how often we go round.
        budget - len.max(1)
    }

    /// Puts a chain whose data is in the pool on the shared ring.
    fn finish<M: Memory + ?Sized>(&mut self, head: u16, shared: &M) {
        let Some(&post) = self.posts.get(usize::from(head)) else {
            return;
        };
        let (readable, chunk, used) = self.pieces(post.first, post.readable, 0);
        let (writable, _, _) = self.pieces(chunk, post.writable, used);
        let pieces = self.segments.get(..readable + writable).unwrap_or(&[]);
        let (readable, writable) = pieces.split_at(readable.min(pieces.len()));
        // There is room, as `begin` has seen to: nothing else posts.
        if self.ring.post(shared, readable, writable, head).is_ok() && post.writable != 0 {
            self.writable = self.writable.saturating_add(1);
        }
    }

    /// Lists the memory of `bytes` in the chunks from `first` on, after the `skip` pieces that are
    /// there: how many pieces that are, the chunk behind them, and the number of all pieces.
    fn pieces(&mut self, first: u16, bytes: u32, skip: usize) -> (usize, u16, usize) {
        let (mut chunk, mut left) = (first, bytes);
        let mut count = 0usize;
        let mut end = 0;
        while left != 0 {
            let len = left.min(self.geometry.chunk);
            let address = self.geometry.address_of(chunk);
            let at = skip.saturating_add(count);
            let last = at.checked_sub(1).filter(|_| count != 0);
            match last.and_then(|last| self.segments.get_mut(last)) {
                // What lies side by side is one piece.
                Some(last) if end == address => last.len = last.len.saturating_add(len),
                _ => {
                    if let Some(slot) = self.segments.get_mut(at) {
                        *slot = Segment { address, len };
                    }
                    count += 1;
                }
            }
            end = address.wrapping_add(len.into());
            left -= len;
            chunk = self.pool.next(chunk);
        }
        (count, chunk, skip.saturating_add(count))
    }

    /// Shows the device what was posted. `Some`: it wants to be notified, with this word.
    pub(in super::super) fn publish<M: Memory + ?Sized>(
        &mut self,
        shared: &M,
        queue: u16,
    ) -> Option<u32> {
        self.ring.publish(shared, queue)
    }
}
