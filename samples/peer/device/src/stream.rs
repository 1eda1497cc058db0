// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection as services see it, whether vsock or TCP carries it.

#![forbid(unsafe_code)]

/// One end of a byte stream.
pub trait Stream {
    /// Bytes that have arrived, as far as they lie in one piece.
    fn peek(&mut self) -> &[u8];

    /// Takes the first `count` of the bytes that have arrived.
    fn consume(&mut self, count: usize);

    /// How many bytes can be sent now.
    fn room(&self) -> usize;

    /// Lets `fill` write bytes to be sent into a piece of the buffer and say how many these are.
    /// Returns that number; 0 without room.
    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize;

    /// Whether the other end takes what is sent. Once it does not, there is no room any more.
    fn is_heard(&self) -> bool;

    /// Whether the other end sends no more and everything that has arrived was taken.
    fn at_end(&self) -> bool;

    /// Sends nothing more: closes this direction once everything is out.
    fn finish(&mut self);
}

/// Bytes in a ring, first in, first out.
///
/// # Invariants
///
/// `start < data.len()` unless `data` is empty; `len <= data.len()`.
#[derive(Debug)]
pub struct Ring<'a> {
    data: &'a mut [u8],
    start: usize,
    len: usize,
}

impl<'a> Ring<'a> {
    /// An empty ring over `data`.
    pub fn new(data: &'a mut [u8]) -> Self {
        Self {
            data,
            start: 0,
            len: 0,
        }
    }

    /// Bytes that fit in all.
    pub fn capacity(&self) -> usize {
        self.data.len()
    }

    /// Bytes in the ring.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no byte in the ring.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that fit now.
    pub fn room(&self) -> usize {
        self.data.len() - self.len
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        self.start = 0;
        self.len = 0;
    }

    /// The first bytes, as far as they lie in one piece.
    pub fn readable(&self) -> &[u8] {
        let end = (self.start + self.len).min(self.data.len());
        self.data.get(self.start..end).unwrap_or(&[])
    }

    /// Drops the first `count` bytes.
    pub fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        self.start += count;
        if self.start >= self.data.len() {
            self.start -= self.data.len();
        }
        if self.len == 0 {
            self.start = 0;
        }
    }

    /// The room behind the last byte, as far as it lies in one piece.
    pub fn writable(&mut self) -> &mut [u8] {
        let size = self.data.len();
        let end = self.start + self.len;
        let range = if end < size {
            end..size
        } else {
            end - size..self.start
        };
        self.data.get_mut(range).unwrap_or(&mut [])
    }

    /// Adds the first `count` bytes of what [`Ring::writable`] returned.
    pub fn commit(&mut self, count: usize) {
        self.len += count.min(self.room());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn ring_is_a_queue(steps in prop::collection::vec((any::<bool>(), 0usize..40), 0..200)) {
            let mut data = [0; 32];
            let mut ring = Ring::new(&mut data);
            let mut model = VecDeque::new();
            let mut next = 0u8;
            for (write, count) in steps {
                if write {
                    let room = ring.writable();
                    let count = count.min(room.len());
                    for byte in &mut room[..count] {
                        *byte = next;
                        model.push_back(next);
                        next = next.wrapping_add(1);
                    }
                    ring.commit(count);
                } else {
                    let count = count.min(ring.readable().len());
                    let got: Vec<u8> = ring.readable()[..count].to_vec();
                    let want: Vec<u8> = model.drain(..count).collect();
                    prop_assert_eq!(got, want);
                    ring.consume(count);
                }
                prop_assert_eq!(ring.len(), model.len());
                prop_assert_eq!(ring.room(), 32 - model.len());
                prop_assert_eq!(ring.readable().is_empty(), model.is_empty());
                prop_assert_eq!(ring.writable().is_empty(), model.len() == 32);
            }
        }
    }
}
