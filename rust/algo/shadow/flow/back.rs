// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From the device to the driver.

use super::super::super::ring::{Lie, Memory, Used};
use super::super::maps::{self, Maps};
use super::super::{Data, Store};
use super::{Flow, Post, Record};

/// What [`Flow::complete`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completed {
    /// Chains that came back.
    pub chains: u16,
    /// The driver is to be called for them.
    pub call: bool,
    /// The device owes a notification for them.
    pub due: bool,
    /// There are more, or may be.
    pub more: bool,
}

impl<S: Store> Flow<S> {
    /// Takes back what the device has used, `most` chains at most, and shows the driver.
    ///
    /// # Errors
    ///
    /// A lie of the device's, for the rest of the flow's life. What came back before it is shown.
    pub(in super::super) fn complete<P, M>(
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
        let mut due = false;
        let mut end = Ok(true);
        while chains < most {
            match self.ring.take(shared) {
                Ok(Some(used)) => {
                    chains += 1;
                    self.to_go = self.to_go.saturating_sub(1);
                    self.freed = true;
                    due |= self.to_go == 0;
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
        end.map(|more| Completed {
            chains,
            call,
            due,
            more,
        })
    }

    /// Asks for the next notification. `true`: there is something already.
    fn listen<M: Memory + ?Sized>(&mut self, shared: &M) -> bool {
        // Without the event index the device was never told not to notify.
        if !self.event_idx {
            self.to_go = 1;
            return false;
        }
        // What the device only reads it is through with soon, and nobody waits for the first: one
        // notification for most of it. What it writes is waited for.
        let chains = if self.writable == 0 {
            self.ring.outstanding() / 4 * 3
        } else {
            0
        };
        self.to_go = chains.max(1);
        self.ring.listen_after(shared, self.to_go)
    }

    /// Enters one used chain.
    fn accept<P: Memory + ?Sized>(&mut self, maps: &mut Maps<S::Maps>, private: &P, used: Used) {
        let head = used.token;
        let Some(post) = self.posts.get(usize::from(head)).copied() else {
            return;
        };
        if post.writable != 0 {
            self.writable = self.writable.saturating_sub(1);
        }
        if !self.geometry.direct {
            self.give_back(maps, private, head, &post, used.len);
        }
        self.private.push(private, head, used.len);
    }

    /// Gives back the chunks of the chain `post`, but for those with data that is to be fetched.
    fn give_back<P: Memory + ?Sized>(
        &mut self,
        maps: &mut Maps<S::Maps>,
        private: &P,
        head: u16,
        post: &Post,
        len: u32,
    ) {
        let mut chunk = post.first;
        for _ in 0..self.count(post.readable) {
            chunk = self.pool.give(chunk);
        }
        if post.writable == 0 {
            return;
        }
        self.record(maps, private, head, chunk, len);
        // What nothing was written to, or what nobody will fetch.
        for _ in 0..self.count(post.writable) {
            let next = self.pool.next(chunk);
            if !self.pool.is_held(chunk) {
                self.pool.give(chunk);
            }
            chunk = next;
        }
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

    /// Bytes that are left to fetch of the mapping in `slot`.
    pub(in super::super) fn written(&self, maps: &Maps<S::Maps>, slot: u16) -> u32 {
        let mut number = maps.first(slot, self.number);
        let mut sum = 0u32;
        for _ in 0..self.private.size() {
            let Some(record) = self.records.get(usize::from(number)) else {
                break;
            };
            sum = sum.saturating_add(record.len);
            number = record.next;
        }
        sum
    }

    /// Fetches a part of what the device wrote into bytes `from..to` of the mapping in `slot`, one
    /// chunk at most, or with no `data` all of it without a copy. `true`: there is more.
    ///
    /// A record that is touched is fetched whole: the device is through with it.
    pub(in super::super) fn fetch<D: Data<S::Buffer> + ?Sized>(
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
                self.freed = true;
                record.skip = 0;
            }
        }
        false
    }
}
