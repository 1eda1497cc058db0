// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where messages end among the bytes of a buffer.
//!
//! Credit counts bytes and not messages, so whatever fits must not fail for the number of messages
//! that it is. Each byte of the buffer therefore has a bit that says whether it is the last of a
//! message. Messages without bytes, which cost no credit, are few.

#![forbid(unsafe_code)]

use crate::messages::End;

/// Messages without bytes that can wait in a buffer.
pub const EMPTY_MOST: usize = 16;

/// The ends of messages in a buffer.
///
/// Places are counts of bytes since the connection was opened, wrapping; the bit of a place is its
/// rest by the number of bits, which is a power of two.
///
/// # Invariants
///
/// Bits are set only for places from `read` to `written`. While `reached` is there, or the first of
/// `empty` is at `read`, nothing beyond it is read.
#[derive(Debug)]
pub(super) struct Bounds<'a> {
    ends: &'a mut [u64],
    /// Of these, the ends of records.
    records: &'a mut [u64],
    read: u32,
    written: u32,
    /// Bytes were written that belong to a message without an end.
    open: bool,
    /// The end of the message whose bytes were read up to here.
    reached: Option<End>,
    /// Messages without bytes: at which place, the first first.
    empty: [(u32, End); EMPTY_MOST],
    empty_len: usize,
}

impl<'a> Bounds<'a> {
    /// None so far, for a buffer of 32 bytes for each element of `map`.
    pub(super) fn new(map: &'a mut [u64]) -> Self {
        let (ends, records) = map.split_at_mut(map.len() / 2);
        Self {
            ends,
            records,
            read: 0,
            written: 0,
            open: false,
            reached: None,
            empty: [(0, End { record: false }); EMPTY_MOST],
            empty_len: 0,
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        while let Some(offset) = self.find(self.written.wrapping_sub(self.read) as usize) {
            let at = self.read.wrapping_add(offset as u32);
            self.unmark(at);
            self.read = at.wrapping_add(1);
        }
        self.read = 0;
        self.written = 0;
        self.open = false;
        self.reached = None;
        self.empty_len = 0;
    }

    fn place(map: &[u64], at: u32) -> Option<(usize, u64)> {
        let at = (at as usize).checked_rem(map.len() * 64)?;
        Some((at / 64, 1 << (at % 64)))
    }

    fn set(map: &mut [u64], at: u32) {
        if let Some((word, bit)) = Self::place(map, at) {
            if let Some(word) = map.get_mut(word) {
                *word |= bit;
            }
        }
    }

    /// Takes the end at this place away, if there is one.
    fn unmark(&mut self, at: u32) -> Option<End> {
        let (word, bit) = Self::place(self.ends, at)?;
        let end = self.ends.get_mut(word)?;
        let record = self.records.get_mut(word)?;
        let found = (*end & bit != 0).then_some(End {
            record: *record & bit != 0,
        });
        *end &= !bit;
        *record &= !bit;
        found
    }

    /// The first byte of the next `len` that ends a message, by its distance.
    fn find(&self, len: usize) -> Option<usize> {
        let bits = self.ends.len() * 64;
        let mut at = (self.read as usize).checked_rem(bits)?;
        let mut done = 0;
        while done < len {
            let word = self.ends.get(at / 64)? >> (at % 64);
            if word != 0 {
                let found = done + word.trailing_zeros() as usize;
                return (found < len).then_some(found);
            }
            let step = 64 - at % 64;
            done += step;
            at = (at + step) % bits;
        }
        None
    }

    /// Bytes were written to the buffer.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written = self.written.wrapping_add(count as u32);
        self.open |= count > 0;
    }

    /// What was written belongs to a message that is over; `false` if it has no bytes and there are
    /// as many of those as can be.
    pub(super) fn end(&mut self, end: End) -> bool {
        if !self.open {
            let Some(slot) = self.empty.get_mut(self.empty_len) else {
                return false;
            };
            *slot = (self.written, end);
            self.empty_len += 1;
            return true;
        }
        self.open = false;
        if self.read == self.written {
            self.reached = Some(end);
        } else {
            let last = self.written.wrapping_sub(1);
            Self::set(self.ends, last);
            if end.record {
                Self::set(self.records, last);
            }
        }
        true
    }

    /// The end that comes next, if no byte comes before it.
    fn next_end(&self) -> Option<End> {
        let empty = self.empty.get(..self.empty_len)?.first();
        let here = empty.filter(|(at, _)| *at == self.read);
        self.reached.or(here.map(|(_, end)| *end))
    }

    /// How many of the next `len` bytes belong to the first message.
    pub(super) fn within(&self, len: usize) -> usize {
        if self.next_end().is_some() {
            return 0;
        }
        self.find(len).map_or(len, |last| last + 1)
    }

    /// Bytes were read, no more than [`Bounds::within`] says.
    pub(super) fn took(&mut self, count: usize) {
        self.read = self.read.wrapping_add(count as u32);
        if count > 0 {
            self.reached = self.unmark(self.read.wrapping_sub(1));
        }
    }

    /// Takes the end that comes next, if no byte comes before it.
    pub(super) fn take_end(&mut self) -> Option<End> {
        let end = self.next_end()?;
        if self.reached.take().is_none() && self.empty_len > 0 {
            self.empty.copy_within(1..self.empty_len, 0);
            self.empty_len -= 1;
        }
        Some(end)
    }

    /// Whether no end waits to be taken but those of bytes.
    pub(super) const fn is_empty(&self) -> bool {
        self.reached.is_none() && self.empty_len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const SIZE: usize = 128;

    /// A byte, or the end of a message.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Item {
        Byte,
        End(End),
    }

    proptest! {
        #[test]
        fn bounds_are_those_of_a_queue_of_messages(
            start in prop_oneof![Just(0u32), any::<u32>(), (u32::MAX - 200)..=u32::MAX],
            steps in prop::collection::vec((0u8..5, 0usize..150, any::<bool>()), 0..300),
        ) {
            let mut map = [0; SIZE / 32];
            let mut bounds = Bounds::new(&mut map);
            bounds.read = start;
            bounds.written = start;
            let mut model = VecDeque::new();
            let mut open = false;
            let bytes = |model: &VecDeque<Item>| model.iter().filter(|i| **i == Item::Byte).count();
            for (step, count, record) in steps {
                match step {
                    0 | 1 => {
                        let count = count.min(SIZE - bytes(&model));
                        bounds.wrote(count);
                        model.extend(std::iter::repeat_n(Item::Byte, count));
                        open |= count > 0;
                    }
                    2 => {
                        // An end behind bytes costs nothing; one behind none, or behind bytes that
                        // have gone, is among the few.
                        let can = open || bounds.empty_len < EMPTY_MOST;
                        prop_assert_eq!(bounds.end(End { record }), can);
                        if can {
                            model.push_back(Item::End(End { record }));
                            open = false;
                        }
                    }
                    3 => {
                        let first = model.iter().take_while(|i| **i == Item::Byte).count();
                        let within = bounds.within(bytes(&model));
                        prop_assert_eq!(within, first);
                        let count = count.min(within);
                        bounds.took(count);
                        model.drain(..count);
                    }
                    _ => {
                        let next = match model.front() {
                            Some(Item::End(end)) => Some(*end),
                            _ => None,
                        };
                        prop_assert_eq!(bounds.next_end(), next);
                        prop_assert_eq!(bounds.take_end(), next);
                        if next.is_some() {
                            model.pop_front();
                        }
                    }
                }
                if model.is_empty() {
                    prop_assert!(bounds.is_empty());
                }
            }
            bounds.clear();
            prop_assert!(bounds.is_empty() && map.iter().all(|word| *word == 0));
        }
    }

    #[test]
    fn without_a_map_there_are_no_ends() {
        let mut bounds = Bounds::new(&mut []);
        bounds.wrote(5);
        assert!(bounds.end(End::default()));
        assert_eq!(bounds.within(5), 5);
        bounds.clear();
    }
}
