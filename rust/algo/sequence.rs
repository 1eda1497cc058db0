// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The numbers of a window's transactions, on the driver's side.

/// The last number, and whether its answer is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sequence {
    seq: u32,
    late: bool,
}

impl Sequence {
    /// The numbers that follow `done`, what `DoneSeq` shows once the peer has adopted the driver.
    pub const fn new(done: u32) -> Self {
        Self {
            seq: done,
            late: false,
        }
    }

    /// The number of the last transaction.
    pub const fn number(&self) -> u32 {
        self.seq
    }

    /// Whether `done`, what `DoneSeq` shows, answers the last transaction.
    pub const fn is_answered(&self, done: u32) -> bool {
        self.seq == done
    }

    /// The number of a transaction that begins while `DoneSeq` shows `done`. `None`: none may begin, as the entries of
    /// the last one, which was not answered in time, may still be read.
    pub fn begin(&mut self, done: u32) -> Option<u32> {
        if self.late && !self.is_answered(done) {
            return None;
        }
        self.late = false;
        self.seq = self.seq.wrapping_add(1);
        Some(self.seq)
    }

    /// Has the numbers begin at `base`, which then is 0: nothing but their differences has a meaning.
    pub fn count_from(&mut self, base: u32) {
        self.seq = self.seq.wrapping_sub(base);
    }

    /// The last transaction has ended, with an answer or without.
    pub fn end(&mut self, is_answered: bool) {
        self.late = !is_answered;
    }
}
