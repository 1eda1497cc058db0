// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection that carries messages (VIRTIO 5.10.6.6.1).

#![forbid(unsafe_code)]

use super::conn::{Conn, State, Todo};
use super::packet::{op, Header, SEQ_EOM, SEQ_EOR};
use crate::messages::{End, Messages};
use crate::stream::Stream;

/// What is sent next of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// So many bytes.
    pub(super) len: usize,
    /// It ends with them.
    pub(super) end: Option<End>,
}

/// What there is to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing, or nothing yet.
    Nothing,
    /// A part of a message.
    Part(Part),
    /// A message that Linux's buffer is too small for: as nobody in Linux reads a part of a message, no
    /// room would ever become free.
    TooLarge,
}

impl End {
    /// As flags of a packet.
    pub(super) const fn flags(self) -> u32 {
        SEQ_EOM | if self.record { SEQ_EOR } else { 0 }
    }

    /// Of a packet's flags; the end of a record without one of a message means nothing.
    pub(super) fn of(flags: u32) -> Option<Self> {
        (flags & SEQ_EOM != 0).then_some(Self {
            record: flags & SEQ_EOR != 0,
        })
    }
}

impl Conn<'_> {
    /// Those of the first bytes that are of the first message.
    pub(super) fn first_message<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        // A long message is looked at a piece at a time: with each look bits are searched for its end.
        const LOOK: usize = 0x4000;
        let len = self.rx_bounds.within(bytes.len().min(LOOK));
        bytes.get(..len).unwrap_or(&[])
    }

    /// Takes what a packet says of the messages that were read.
    pub(super) fn learn_read(&mut self, header: &Header) {
        let same = (self.peer_alloc, self.peer_fwd) == (header.buf_alloc, header.fwd_cnt);
        if header.op == op::CREDIT_UPDATE && same {
            self.flight.repeated();
        } else {
            self.flight.acknowledge(header.fwd_cnt, self.tx_cnt);
        }
    }

    /// `count` bytes of a packet have arrived, which has these flags; `false` if it ends a message
    /// without bytes that is one too many.
    pub(super) fn arrived(&mut self, count: usize, flags: u32) -> bool {
        self.rx_bounds.wrote(count);
        End::of(flags).is_none_or(|end| self.rx_bounds.end(end))
    }

    /// What is sent next, in a buffer that has room for so many bytes.
    pub(super) fn next_part(&self, room: usize) -> Next {
        if self.state != State::Open || self.opening != Todo::Nothing {
            return Next::Nothing;
        }
        let len = self.tx_ends.within(self.tx.len().min(room));
        let end = self.tx_ends.end_at(len);
        // What is no end, and could be more, waits for the rest: nobody reads it before.
        let full = len == room || self.tx.room() == 0 || self.finished;
        if end.is_none() && (len == 0 || !full) {
            return Next::Nothing;
        }
        if !self.flight.takes_one(self.peer_alloc) {
            Next::Nothing
        } else if len <= self.credit() {
            Next::Part(Part { len, end })
        } else if self.flight.is_empty() {
            Next::TooLarge
        } else {
            Next::Nothing
        }
    }

    /// Notes that a part was sent.
    pub(super) fn sent_part(&mut self, part: Part) {
        self.tx_ends.took(part.len);
        if part.end.is_some() {
            self.tx_ends.took_end();
        }
        self.sent(part.len);
        self.flight.sent(self.tx_cnt, part.end.is_some());
    }
}

impl Messages for Conn<'_> {
    fn take_end(&mut self) -> Option<End> {
        self.rx_bounds.take_end()
    }

    fn can_end(&self) -> bool {
        !self.finished && self.is_heard() && self.tx_ends.can_end()
    }

    fn end(&mut self, end: End) {
        if self.can_end() {
            self.tx_ends.end(end);
        }
    }
}
