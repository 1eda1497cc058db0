// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the messages end that wait to be sent: they are as many as we let them be, so a list will do.

#![forbid(unsafe_code)]

use super::list::move_up;
use crate::messages::End;

/// Ends that wait.
const MOST: usize = 64;

/// The ends, with how many bytes come before each since the connection was opened, wrapping.
///
/// # Invariants
///
/// `len <= MOST`. The places are in order, from `read` to `written`.
#[derive(Debug)]
pub(super) struct Ends {
    list: [(u32, End); MOST],
    len: usize,
    read: u32,
    written: u32,
}

impl Ends {
    /// None so far.
    pub(super) const fn new() -> Self {
        Self {
            list: [(0, End { record: false }); MOST],
            len: 0,
            read: 0,
            written: 0,
        }
    }

    fn first(&self) -> Option<(u32, End)> {
        self.list.get(..self.len)?.first().copied()
    }

    /// Whether none waits.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes were written to the buffer.
    pub(super) fn wrote(&mut self, count: usize) {
        self.written = self.written.wrapping_add(count as u32);
    }

    /// Whether there is room for one more.
    pub(super) const fn can_end(&self) -> bool {
        self.len < MOST
    }

    /// A message ends behind what was written.
    pub(super) fn end(&mut self, end: End) {
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = (self.written, end);
            self.len += 1;
        }
    }

    /// How many of the next `len` bytes belong to the first message.
    pub(super) fn within(&self, len: usize) -> usize {
        let rest = |at: u32| at.wrapping_sub(self.read) as usize;
        self.first().map_or(len, |(at, _)| len.min(rest(at)))
    }

    /// The end that is right behind the next `len` bytes of the first message.
    pub(super) fn end_at(&self, len: usize) -> Option<End> {
        let here = self.read.wrapping_add(len as u32);
        self.first()
            .filter(|(at, _)| *at == here)
            .map(|(_, end)| end)
    }

    /// Bytes were sent, no more than [`Ends::within`] says.
    pub(super) fn took(&mut self, count: usize) {
        self.read = self.read.wrapping_add(count as u32);
    }

    /// An end was sent.
    pub(super) fn took_end(&mut self) {
        if self.len > 0 {
            move_up(&mut self.list, 1, self.len);
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_found_where_they_were_put() {
        let mut ends = Ends::new();
        ends.read = u32::MAX - 3;
        ends.written = u32::MAX - 3;
        let (plain, record) = (End { record: false }, End { record: true });
        ends.wrote(10);
        ends.end(plain);
        ends.end(record);
        ends.wrote(5);
        assert_eq!((ends.within(4), ends.within(99)), (4, 10));
        assert_eq!((ends.end_at(9), ends.end_at(10)), (None, Some(plain)));
        ends.took(10);
        ends.took_end();
        assert_eq!((ends.within(5), ends.end_at(0)), (0, Some(record)));
        ends.took_end();
        assert_eq!((ends.within(5), ends.end_at(5)), (5, None));
        assert!(ends.is_empty());
        for _ in 0..MOST {
            assert!(ends.can_end());
            ends.end(plain);
        }
        assert!(!ends.can_end());
        ends.end(plain);
        assert_eq!(ends.len, MOST);
    }
}
