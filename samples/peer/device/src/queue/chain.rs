// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A chain of buffers, copied out of shared memory and checked.

#![forbid(unsafe_code)]

use super::table::{Descriptor, WRITE};
use super::{Fault, CHAIN_MAX};
use crate::mem::{Pool, Region};

/// One buffer of a chain, checked.
///
/// # Invariants
///
/// Made by [`Chain::add`], it lies inside the pool, or in memory that Linux may name.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    /// As of [`Pool::reach`].
    place: u64,
    /// Bytes.
    len: u32,
}

/// A chain of buffers, copied and checked.
#[derive(Debug)]
pub struct Chain {
    /// What Linux calls it.
    id: u16,
    /// Descriptors of the ring; one, for a split virtqueue, where nobody has to know.
    descriptors: u16,
    /// How many were taken from the queue before it, modulo 2^16.
    number: u16,
    segments: [Segment; CHAIN_MAX],
    /// Number of segments that Linux filled; they come first.
    readable: usize,
    /// Number of all segments.
    count: usize,
    readable_len: u32,
    writable_len: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

impl Chain {
    /// An empty chain, for [`Virtqueue::pop`](super::Virtqueue::pop) to fill.
    pub const fn new() -> Self {
        Self {
            id: 0,
            descriptors: 0,
            number: 0,
            segments: [Segment { place: 0, len: 0 }; CHAIN_MAX],
            readable: 0,
            count: 0,
            readable_len: 0,
            writable_len: 0,
        }
    }

    /// What Linux calls the chain; no two need differ if it is hostile.
    pub const fn id(&self) -> u16 {
        self.id
    }

    pub(super) const fn descriptors(&self) -> u16 {
        self.descriptors
    }

    pub(super) const fn number(&self) -> u16 {
        self.number
    }

    /// Bytes that Linux wrote for us.
    pub const fn readable_len(&self) -> u32 {
        self.readable_len
    }

    /// Bytes that Linux has room for.
    pub const fn writable_len(&self) -> u32 {
        self.writable_len
    }

    /// Copies out what Linux wrote, from byte `skip` on; returns how many bytes that were.
    pub fn read(&self, mem: &Region, skip: u32, to: &mut [u8]) -> usize {
        let mut done = 0;
        let segments = self.segments.get(..self.readable).unwrap_or(&[]);
        walk(segments, skip, to.len(), |place, at, len| {
            done = at + len;
            to.get_mut(at..at + len)
                .is_some_and(|part| mem.read_at(place, part))
        });
        done
    }

    /// Copies `from` into the room that Linux gave, from its byte `skip` on; returns how many
    /// bytes fitted.
    pub fn write(&self, mem: &Region, skip: u32, from: &[u8]) -> usize {
        let mut done = 0;
        let segments = self.segments.get(self.readable..self.count).unwrap_or(&[]);
        walk(segments, skip, from.len(), |place, at, len| {
            done = at + len;
            from.get(at..at + len)
                .is_some_and(|part| mem.write_at(place, part))
        });
        done
    }

    /// Where the `N` bytes of the room from `skip` on are, to be written once the chain has been
    /// given back; `None` if there are fewer.
    pub fn places<const N: usize>(&self, skip: u32) -> Option<Places<N>> {
        let segments = self.segments.get(self.readable..self.count)?;
        let mut places = Places {
            list: [Segment::default(); N],
        };
        let mut free = places.list.iter_mut();
        let mut found = 0;
        walk(segments, skip, N, |place, _, len| {
            // No piece is empty, so there is a slot for each.
            if let Some(slot) = free.next() {
                // At most `N`.
                let len = len as u32;
                // INVARIANT: A part of a segment lies inside as well.
                *slot = Segment { place, len };
                found += len as usize;
            }
            true
        });
        (found == N).then_some(places)
    }

    /// Forgets what was in it.
    pub(super) fn clear(&mut self) {
        self.readable = 0;
        self.count = 0;
        self.readable_len = 0;
        self.writable_len = 0;
    }

    /// All of it is there.
    pub(super) fn finish(&mut self, id: u16, descriptors: u16, number: u16) {
        self.id = id;
        self.descriptors = descriptors;
        self.number = number;
    }

    /// Adds a descriptor's buffer; `size` is the queue's, which no chain is longer than.
    ///
    /// # Errors
    ///
    /// [`Fault::DescFlags`], [`Fault::Outside`], [`Fault::ChainLength`].
    pub(super) fn add(
        &mut self,
        pool: &Pool,
        descriptor: &Descriptor,
        flags: u16,
        size: u16,
    ) -> Result<(), Fault> {
        let writable = flags & WRITE != 0;
        if !writable && self.readable != self.count {
            return Err(Fault::DescFlags(flags));
        }
        let (address, len) = (descriptor.address, descriptor.len);
        let place = pool
            .reach(address, len)
            .ok_or(Fault::Outside { address, len })?;
        if self.count >= usize::from(size) {
            return Err(Fault::ChainLength);
        }
        let slot = self
            .segments
            .get_mut(self.count)
            .ok_or(Fault::ChainLength)?;
        // INVARIANT: `reach` has checked where it lies.
        *slot = Segment { place, len };
        self.count += 1;
        if writable {
            self.writable_len = self.writable_len.saturating_add(len);
        } else {
            self.readable += 1;
            self.readable_len = self.readable_len.saturating_add(len);
        }
        Ok(())
    }

    /// Where the buffers are, and how many bytes each.
    #[cfg(test)]
    pub(super) fn buffers(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.segments[..self.count]
            .iter()
            .map(|segment| (segment.place.try_into().unwrap(), segment.len))
    }
}

/// Places for `N` bytes, in as many pieces as it may be.
#[derive(Clone, Copy, Debug)]
pub struct Places<const N: usize> {
    list: [Segment; N],
}

impl<const N: usize> Places<N> {
    /// Writes the bytes.
    pub fn write(&self, mem: &Region, bytes: &[u8; N]) {
        let mut rest = &bytes[..];
        for piece in &self.list {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(piece.len as usize));
            // It may be written, by the invariant.
            mem.write_at(piece.place, now);
            rest = later;
        }
    }
}

/// Calls `f(place, position, length)` for each part of the `total` bytes that begin
/// `skip` bytes into `segments`, until `f` returns `false`.
fn walk(
    segments: &[Segment],
    skip: u32,
    total: usize,
    mut f: impl FnMut(u64, usize, usize) -> bool,
) {
    let mut skip = skip;
    let mut at = 0;
    for segment in segments {
        if at == total {
            return;
        }
        if skip >= segment.len {
            skip -= segment.len;
            continue;
        }
        let len = ((segment.len - skip) as usize).min(total - at);
        // A segment lies inside, so this cannot wrap.
        if !f(segment.place.wrapping_add(skip.into()), at, len) {
            return;
        }
        skip = 0;
        at += len;
    }
}
