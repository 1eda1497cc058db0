// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages on the way to whoever reads them in Linux.
//!
//! Credit is not all that Linux keeps to: it counts some 600 bytes of its own for each packet that
//! waits to be read, and ends the connection where these are more than the buffer. It does not put
//! the ends of messages together as it does the bytes of a stream. So the packets are counted here.

#![forbid(unsafe_code)]

use super::list::move_up;

/// Messages that can be on their way.
const MESSAGES: usize = 64;
/// Bytes of Linux's buffer for each packet in it.
const PACKET: u32 = 1024;

/// A message that was sent.
#[derive(Clone, Copy, Debug)]
struct Sent {
    /// How many bytes were sent until its end, wrapping.
    until: u32,
    packets: u32,
    /// It has no bytes, so that nothing is counted when it is read.
    empty: bool,
}

/// What was sent and, as far as Linux says, not read.
///
/// # Invariants
///
/// `len <= MESSAGES`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    sent: [Sent; MESSAGES],
    len: usize,
    /// Packets of all of them, and of the message that is not sent to its end.
    packets: u32,
    /// The latter alone.
    begun: u32,
    /// How many bytes were sent until the end of the last message that was read.
    read: u32,
    /// And until the end of the last one that was sent.
    ended: u32,
}

impl Flight {
    /// Nothing.
    pub(super) const fn new() -> Self {
        Self {
            sent: [Sent {
                until: 0,
                packets: 0,
                empty: false,
            }; MESSAGES],
            len: 0,
            packets: 0,
            begun: 0,
            read: 0,
            ended: 0,
        }
    }

    /// Whether Linux has read all messages that were sent to their end.
    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether a buffer of `alloc` bytes takes one more packet. A message that is alone is not held
    /// up in the middle: nothing of it is read before.
    pub(super) fn takes_one(&self, alloc: u32) -> bool {
        self.len < MESSAGES && (self.len == 0 || self.packets < (alloc / PACKET).max(1))
    }

    /// A packet was sent, `until` so many bytes in all, at the end of a message or not.
    pub(super) fn sent(&mut self, until: u32, ended: bool) {
        self.begun = self.begun.saturating_add(1);
        self.packets = self.packets.saturating_add(1);
        if !ended {
            return;
        }
        if let Some(slot) = self.sent.get_mut(self.len) {
            *slot = Sent {
                until,
                packets: core::mem::take(&mut self.begun),
                empty: until == self.ended,
            };
            self.len += 1;
            self.ended = until;
        }
    }

    /// Linux says that it has taken `taken` bytes of `sent`. What cannot be says nothing.
    pub(super) fn acknowledge(&mut self, taken: u32, sent: u32) {
        let left = sent.wrapping_sub(taken);
        if left > sent.wrapping_sub(self.read) {
            return;
        }
        // Whoever has read one with bytes has read the empty ones before it.
        let messages = self.sent.get(..self.len).unwrap_or(&[]);
        let last = messages
            .iter()
            .rposition(|message| !message.empty && sent.wrapping_sub(message.until) >= left);
        self.drop_first(last.map_or(0, |last| last + 1));
    }

    /// Linux has said something that says nothing new: it does that when a message without bytes was
    /// read.
    pub(super) fn repeated(&mut self) {
        if self.sent.first().is_some_and(|message| message.empty) {
            self.drop_first(self.len.min(1));
        }
    }

    fn drop_first(&mut self, count: usize) {
        let gone = self.sent.get(..count).unwrap_or(&[]);
        let packets: u32 = gone.iter().map(|message| message.packets).sum();
        if let Some(last) = gone.last() {
            self.read = last.until;
            self.packets = self.packets.saturating_sub(packets);
            move_up(&mut self.sent, count, self.len);
            self.len = self.len.saturating_sub(count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_those_of_messages_that_were_not_read() {
        let mut flight = Flight::new();
        // Any number of packets of one message, if it is the only one.
        for packet in 1..=10 {
            assert!(flight.takes_one(0));
            flight.sent(packet * 100, packet == 10);
        }
        assert!(!flight.is_empty());
        assert!(!flight.takes_one(10 * PACKET) && flight.takes_one(11 * PACKET));
        flight.sent(1100, true);
        for (taken, left) in [(999, 11), (1000, 1), (999, 1), (1101, 1), (1100, 0)] {
            flight.acknowledge(taken, 1100);
            assert_eq!((flight.packets, flight.is_empty()), (left, left == 0));
        }
    }

    #[test]
    fn messages_without_bytes_are_read_when_linux_repeats_itself() {
        let mut flight = Flight::new();
        flight.sent(10, true);
        flight.sent(10, true);
        flight.sent(10, true);
        flight.sent(20, true);
        flight.sent(20, true);
        flight.repeated();
        assert_eq!(flight.packets, 5, "the first one has bytes");
        flight.acknowledge(10, 20);
        assert_eq!(flight.packets, 4);
        flight.repeated();
        assert_eq!(flight.packets, 3);
        flight.acknowledge(20, 20);
        assert_eq!(flight.packets, 1);
        flight.repeated();
        flight.repeated();
        assert!(flight.is_empty() && flight.packets == 0);
    }

    #[test]
    fn no_more_than_can_be_remembered() {
        let mut flight = Flight::new();
        for number in 1..=MESSAGES as u32 {
            assert!(flight.takes_one(u32::MAX));
            flight.sent(number, true);
        }
        assert!(!flight.takes_one(u32::MAX));
        flight.acknowledge(MESSAGES as u32, MESSAGES as u32);
        assert!(flight.is_empty() && flight.takes_one(0));
    }
}
