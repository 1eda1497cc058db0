// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One virtqueue at work: chains from the private ring to the shared one, and back.

use super::super::ring::{Lie, Memory, Ring, Segment, Used};
use super::maps::{self, Maps};
use super::pool::{self, Pool};
use super::private::Private;
use super::{Data, Geometry, Store};

/// A chain that the device has, or that is being made for it: by the number of its first
/// descriptor in the private ring.
#[derive(Clone, Copy, Debug)]
pub struct Post {
    /// The first of its chunks: those that the device reads come before those that it writes.
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

/// A chain on its way into the pool.
#[derive(Clone, Copy, Debug)]
struct Job {
    head: u16,
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

/// What [`Flow::complete`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Chains that came back.
    pub chains: u16,
    /// The driver is to be called for them.
    pub call: bool,
    /// There are more, or may be.
    pub more: bool,
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
    starved: bool,
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
        lists: super::Lists<S>,
    ) -> Option<Self> {
        let super::Lists {
            chunks,
            mut posts,
            mut records,
            segments,
        } = lists;
        let size = usize::from(geometry.size);
        if chunks.len() < usize::from(geometry.chunks) || segments.len() < super::SEGMENTS_MAX {
            return None;
        }
        posts.get_mut(..size)?.fill(Post::NEW);
        records.get_mut(..size)?.fill(Record::NEW);
        Some(Self {
            geometry,
            number,
            ring,
            event_idx,
            private: Private::new(geometry.size, super::PRIVATE_ALIGN),
            pool: Pool::new(chunks),
            posts,
            records,
            segments,
            job: None,
            writable: 0,
            starved: false,
        })
    }

    /// The shared ring.
    pub fn ring(&self) -> &Ring<S::Slots> {
        &self.ring
    }

    /// Chunks: all, those that are free, the fewest that ever were.
    pub fn chunks(&self) -> (u16, u16, u16) {
        (self.pool.total(), self.pool.left(), self.pool.least())
    }

    /// Whether a chain waits for room that was given back since.
    pub const fn is_starved(&self) -> bool {
        self.starved
    }

    /// Whether the device has given back all that the driver has made available.
    pub fn is_settled<P: Memory + ?Sized>(&self, private: &P) -> bool {
        self.job.is_none() && self.ring.outstanding() == 0 && self.private.peek(private).is_none()
    }

    // --- to the device

    /// Does a part of bringing the next chain of the private ring to the shared one: copies
    /// [`Geometry::step`] bytes at most.
    pub(super) fn post<P, M, D>(
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
            && count as usize <= super::SEGMENTS_MAX
            && self.ring.fits(count as usize);
        if !fits {
            return Err(Posted::Never(bytes));
        }
        // At most `SEGMENTS_MAX`, as just checked.
        let count = count as u16;
        let room = self.ring.has_room(count.into());
        let Some(first) = room.then(|| self.pool.take(count)).flatten() else {
            self.starved = true;
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
    pub(super) fn publish<M: Memory + ?Sized>(&mut self, shared: &M, queue: u16) -> Option<u32> {
        self.ring.publish(shared, queue)
    }

    // --- from the device

    /// Takes back what the device has used, `most` chains at most, and shows the driver.
    ///
    /// # Errors
    ///
    /// A lie of the device's, for the rest of the flow's life. What came back before it is shown.
    pub(super) fn complete<P, M>(
        &mut self,
        maps: &mut Maps<S::Maps>,
        private: &P,
        shared: &M,
        most: u16,
    ) -> Result<Completed, Lie>
    where
        P: Memory + ?Sized,
        M: Memory + ?Sized,
    {
        let mut chains = 0;
        let mut end = Ok(true);
        while chains < most {
            match self.ring.take(shared) {
                Ok(Some(used)) => {
                    chains += 1;
                    self.accept(maps, private, used);
                }
                Ok(None) => {
                    end = Ok(self.listen(shared));
                    if end == Ok(false) {
                        break;
                    }
                }
                Err(lie) => {
                    end = Err(lie);
                    break;
                }
            }
        }
        let call = self.private.show(private);
        end.map(|more| Completed { chains, call, more })
    }

    /// Asks for the next notification. `true`: there is something already.
    fn listen<M: Memory + ?Sized>(&mut self, shared: &M) -> bool {
        // Without the event index the device was never told not to notify.
        if !self.event_idx {
            return false;
        }
        // What the device only reads it is through with soon, and nobody waits for the first: one
        // notification for most of it. What it writes is waited for.
        let chains = if self.writable == 0 {
            self.ring.outstanding() / 4 * 3
        } else {
            0
        };
        self.ring.listen_after(shared, chains.max(1))
    }

    /// Enters one used chain.
    fn accept<P: Memory + ?Sized>(&mut self, maps: &mut Maps<S::Maps>, private: &P, used: Used) {
        let head = used.token;
        let Some(post) = self.posts.get(usize::from(head)).copied() else {
            return;
        };
        let mut chunk = post.first;
        for _ in 0..self.count(post.readable) {
            chunk = self.pool.give(chunk);
        }
        if post.writable != 0 {
            self.writable = self.writable.saturating_sub(1);
            self.record(maps, private, head, chunk, used.len);
            // What nothing was written to, or what nobody will fetch.
            for _ in 0..self.count(post.writable) {
                let next = self.pool.next(chunk);
                if !self.pool.is_held(chunk) {
                    self.pool.give(chunk);
                }
                chunk = next;
            }
        }
        self.private.push(private, head, used.len);
    }

    /// Notes for each descriptor of the chain what the device wrote for it: `len` bytes in all, in
    /// the chunks from `first` on.
    fn record<P: Memory + ?Sized>(
        &mut self,
        maps: &mut Maps<S::Maps>,
        private: &P,
        head: u16,
        first: u16,
        len: u32,
    ) {
        let (mut chunk, mut skip, mut left) = (first, 0u32, len);
        let mut number = Some(head);
        // No chain is longer than the ring.
        for _ in 0..self.private.size() {
            let Some(at) = number.filter(|_| left != 0) else {
                return;
            };
            let desc = self.private.desc(private, at);
            number = desc.next;
            if !desc.writable {
                continue;
            }
            let bytes = desc.part.len.min(left);
            left -= bytes;
            let entered = bytes != 0 && self.enter(maps, at, desc.part.address, bytes, chunk, skip);
            // On to the first byte behind it.
            let mut rest = bytes;
            while rest != 0 {
                if entered {
                    self.pool.hold(chunk);
                }
                let here = rest.min(self.geometry.chunk.saturating_sub(skip)).max(1);
                rest = rest.saturating_sub(here);
                skip += here;
                if skip >= self.geometry.chunk {
                    chunk = self.pool.next(chunk);
                    skip = 0;
                }
            }
        }
    }

    /// Enters a record at the end of its mapping's list. `false`: the driver has undone the mapping.
    fn enter(
        &mut self,
        maps: &mut Maps<S::Maps>,
        number: u16,
        handle: u64,
        len: u32,
        chunk: u16,
        skip: u32,
    ) -> bool {
        let Some((slot, at)) = maps.find(handle) else {
            return false;
        };
        let (flow, Some(mapping)) = (self.number, maps.slot(slot)) else {
            return false;
        };
        if mapping.flow != flow {
            (mapping.flow, mapping.first) = (flow, maps::NONE);
        }
        if let Some(record) = self.records.get_mut(usize::from(number)) {
            *record = Record {
                at,
                len,
                chunk,
                skip: skip as u16,
                next: maps::NONE,
            };
        }
        if mapping.first == maps::NONE {
            mapping.first = number;
        } else if let Some(last) = self.records.get_mut(usize::from(mapping.last)) {
            last.next = number;
        }
        mapping.last = number;
        true
    }

    // --- to the driver

    /// Fetches a part of what the device wrote into bytes `from..to` of the mapping in `slot`, one
    /// chunk at most, or with no `data` all of it without a copy. `true`: there is more.
    ///
    /// A record that is touched is fetched whole: the device is through with it.
    pub(super) fn fetch<D: Data<S::Buffer> + ?Sized>(
        &mut self,
        maps: &mut Maps<S::Maps>,
        slot: u16,
        (from, to): (u32, u32),
        data: Option<&D>,
    ) -> bool {
        let Some(buffer) = maps.buffer(slot) else {
            return false;
        };
        let Some(mapping) = maps.slot(slot).filter(|slot| slot.flow == self.number) else {
            return false;
        };
        let mut before = maps::NONE;
        let mut number = mapping.first;
        let mut budget = self.geometry.step;
        // Almost always the first one: drivers fetch in the order of use.
        for _ in 0..self.private.size() {
            let Some(&record) = self.records.get(usize::from(number)) else {
                return false;
            };
            let end = record.at.saturating_add(record.len);
            if record.at >= to || end <= from {
                before = number;
                number = record.next;
                continue;
            }
            let left = self.fetch_record(number, &buffer, data, &mut budget);
            if left {
                return true;
            }
            let next = record.next;
            if before == maps::NONE {
                mapping.first = next;
            } else if let Some(before) = self.records.get_mut(usize::from(before)) {
                before.next = next;
            }
            if mapping.last == number {
                mapping.last = before;
            }
            number = next;
        }
        false
    }

    /// Fetches from record `number` what `budget` allows. `true`: there is more.
    fn fetch_record<D: Data<S::Buffer> + ?Sized>(
        &mut self,
        number: u16,
        buffer: &S::Buffer,
        data: Option<&D>,
        budget: &mut u32,
    ) -> bool {
        let Some(record) = self.records.get_mut(usize::from(number)) else {
            return false;
        };
        while record.len != 0 {
            if *budget == 0 {
                return true;
            }
            let skip = u32::from(record.skip);
            let mut len = record
                .len
                .min(self.geometry.chunk.saturating_sub(skip))
                .max(1);
            if let Some(data) = data {
                len = len.min(*budget);
                *budget -= len;
                let from = self.geometry.chunk_at(record.chunk).wrapping_add(skip);
                data.copy_out(from, buffer, record.at, len);
            }
            record.at = record.at.saturating_add(len);
            record.len = record.len.saturating_sub(len);
            record.skip = record.skip.saturating_add(len as u16);
            if record.len == 0 || u32::from(record.skip) >= self.geometry.chunk {
                record.chunk = self.pool.drop_hold(record.chunk);
                record.skip = 0;
            }
        }
        false
    }

    // --- sums

    /// Chunks that `bytes` take.
    fn count(&self, bytes: u32) -> u32 {
        bytes.div_ceil(self.geometry.chunk)
    }
}
