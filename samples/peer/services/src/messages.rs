// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One connection of a service that carries messages.
//!
//! No message is held back until it is complete: its bytes are taken, and echoed, as they come. So
//! messages can be larger than any buffer here.

use crate::chargen;
use crate::crc::Crc32;
use crate::kind::{Carrier, Kind};
use crate::report::{Finished, Sums};
use hvl_device::messages::{End, Messages};

/// Most bytes that a connection moves each way in one pass.
const BUDGET: usize = 64 * 1024;
/// What the end of a message counts for in it.
const END: usize = 64;
/// Bytes moved at a time by a service that reads and writes.
const PIECE: usize = 4096;
/// Bytes of a message that says something to a service.
const TEXT: usize = 64;
/// Bytes of a message of chargen, until it is told otherwise: a line.
const LINE: u32 = 74;
/// Bytes of the largest message that it makes.
const LARGEST: u32 = 1 << 24;

/// What has gone in one direction.
#[derive(Clone, Copy, Debug)]
struct Count {
    bytes: u64,
    crc: Crc32,
    messages: u64,
}

impl Count {
    const NONE: Self = Self {
        bytes: 0,
        crc: Crc32::new(),
        messages: 0,
    };

    fn add(&mut self, bytes: &[u8]) {
        self.crc.update(bytes);
        self.bytes = self.bytes.wrapping_add(bytes.len() as u64);
    }

    fn end(&mut self) {
        self.messages = self.messages.wrapping_add(1);
    }
}

/// The message that comes, as far as it is looked at.
#[derive(Clone, Copy, Debug)]
struct Text {
    bytes: [u8; TEXT],
    len: usize,
}

impl Text {
    fn add(&mut self, bytes: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        self.len += room.len().min(bytes.len());
        for (to, from) in room.iter_mut().zip(bytes) {
            *to = *from;
        }
    }

    /// The number in it that follows `word`.
    fn number(&self, word: &str) -> Option<u32> {
        let text = core::str::from_utf8(self.bytes.get(..self.len)?).ok()?;
        text.trim().strip_prefix(word)?.trim().parse().ok()
    }
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    kind: Kind,
    carrier: Carrier,
    remote: u32,
    received: Count,
    sent: Count,
    text: Text,
    /// Chargen: bytes of a message, and of the one that is being made those that are still to come.
    size: u32,
    left: u32,
    finished: bool,
}

impl Conversation {
    /// A connection that was just opened; `remote` is the port at the other end.
    pub const fn new(kind: Kind, carrier: Carrier, remote: u32) -> Self {
        Self {
            kind,
            carrier,
            remote,
            received: Count::NONE,
            sent: Count::NONE,
            text: Text {
                bytes: [0; TEXT],
                len: 0,
            },
            size: LINE,
            left: LINE,
            finished: false,
        }
    }

    /// Whether there is such a service for messages.
    pub const fn serves(kind: Kind) -> bool {
        matches!(
            kind,
            Kind::Echo | Kind::Discard | Kind::Chargen | Kind::Callback
        )
    }

    /// Notes a connection that has ended.
    pub fn record(&self, sums: &mut Sums) {
        if self.kind == Kind::Callback {
            return;
        }
        sums.add(Finished {
            kind: self.kind,
            carrier: self.carrier,
            remote: self.remote,
            received: self.received.bytes,
            received_crc: self.received.crc.value(),
            sent: self.sent.bytes,
            sent_crc: self.sent.crc.value(),
            messages: Some((self.received.messages, self.sent.messages)),
        });
    }

    /// Moves messages; `true` if there was anything of one. `connect` takes the port of a callback.
    pub fn poll(&mut self, messages: &mut dyn Messages, connect: &mut Option<u32>) -> bool {
        let mut busy = match self.kind {
            Kind::Echo if messages.is_heard() && !self.finished => self.echo(messages),
            _ => self.take(messages, connect),
        };
        if self.kind == Kind::Chargen && !self.finished {
            busy |= self.chargen(messages);
        }
        if messages.at_end() || (self.kind == Kind::Chargen && !messages.is_heard()) {
            self.finish(messages);
        }
        busy
    }

    fn finish(&mut self, messages: &mut dyn Messages) {
        if !self.finished {
            self.finished = true;
            messages.finish();
        }
    }

    /// Takes what comes, and does what it says.
    fn take(&mut self, messages: &mut dyn Messages, connect: &mut Option<u32>) -> bool {
        let mut left = BUDGET;
        while left > 0 {
            let bytes = messages.peek();
            let bytes = bytes.get(..left.min(bytes.len())).unwrap_or(&[]);
            let count = bytes.len();
            self.received.add(bytes);
            self.text.add(bytes);
            messages.consume(count);
            left -= count;
            if count == 0 {
                // One callback after the other: there is one place for the port.
                if self.kind == Kind::Callback && connect.is_some() {
                    break;
                }
                if messages.take_end().is_none() {
                    break;
                }
                left = left.saturating_sub(END);
                self.received.end();
                self.told(messages, connect);
                self.text.len = 0;
            }
        }
        left != BUDGET
    }

    /// A message has come whole.
    fn told(&mut self, messages: &mut dyn Messages, connect: &mut Option<u32>) {
        match self.kind {
            Kind::Chargen => {
                let size = self.text.number("").filter(|size| *size <= LARGEST);
                self.size = size.unwrap_or(self.size);
            }
            Kind::Callback if !self.finished => {
                *connect = self.text.number("connect ");
                let answer: &[u8] = match connect {
                    Some(_) => b"connecting",
                    None => b"say: connect <port>",
                };
                messages.send(&mut |room| {
                    for (to, from) in room.iter_mut().zip(answer) {
                        *to = *from;
                    }
                    room.len().min(answer.len())
                });
                messages.end(End::default());
                self.finish(messages);
            }
            _ => {}
        }
    }

    fn echo(&mut self, messages: &mut dyn Messages) -> bool {
        let mut left = BUDGET;
        let mut piece = [0; PIECE];
        while left > 0 {
            let room = messages.room();
            let bytes = messages.peek();
            let count = bytes.len().min(room).min(left).min(PIECE);
            if bytes.is_empty() {
                let Some(end) = messages.can_end().then(|| messages.take_end()).flatten() else {
                    break;
                };
                messages.end(end);
                self.received.end();
                self.sent.end();
                left = left.saturating_sub(END);
                continue;
            }
            let (Some(to), Some(from)) = (piece.get_mut(..count), bytes.get(..count)) else {
                break;
            };
            to.copy_from_slice(from);
            let sent = messages.send(&mut |room| {
                let count = room.len().min(count);
                if let (Some(to), Some(from)) = (room.get_mut(..count), piece.get(..count)) {
                    to.copy_from_slice(from);
                }
                count
            });
            if sent == 0 {
                break;
            }
            let bytes = piece.get(..sent).unwrap_or(&[]);
            self.received.add(bytes);
            self.sent.add(bytes);
            messages.consume(sent);
            left -= sent;
        }
        left != BUDGET
    }

    fn chargen(&mut self, messages: &mut dyn Messages) -> bool {
        let mut left = BUDGET;
        while left > 0 {
            if self.left == 0 {
                if !messages.can_end() {
                    break;
                }
                messages.end(End::default());
                self.sent.end();
                self.left = self.size;
                left = left.saturating_sub(END);
                continue;
            }
            let count = left.min(self.left as usize);
            let position = self.sent.bytes;
            let sum = &mut self.sent;
            let sent = messages.send(&mut |room| {
                let count = room.len().min(count);
                let room = room.get_mut(..count).unwrap_or(&mut []);
                chargen::fill(position, room);
                sum.add(room);
                count
            });
            if sent == 0 {
                break;
            }
            self.left = self.left.saturating_sub(sent as u32);
            left -= sent;
        }
        left != BUDGET
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hvl_device::stream::Stream;
    use std::collections::VecDeque;

    /// A connection with room for so many bytes.
    #[derive(Default)]
    struct Line {
        arrived: VecDeque<(Vec<u8>, Option<End>)>,
        sent: Vec<(Vec<u8>, Option<End>)>,
        room: usize,
        closed: bool,
        finished: bool,
    }

    impl Stream for Line {
        fn peek(&mut self) -> &[u8] {
            self.arrived.front().map_or(&[], |(bytes, _)| bytes)
        }

        fn consume(&mut self, count: usize) {
            if let Some((bytes, _)) = self.arrived.front_mut() {
                bytes.drain(..count);
            }
        }

        fn room(&self) -> usize {
            self.room
        }

        fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
            // Two pieces, as the room of a ring may be.
            let mut room = vec![0; self.room.min(100)];
            let count = if room.is_empty() { 0 } else { fill(&mut room) };
            self.room -= count;
            if !self.sent.last().is_some_and(|(_, end)| end.is_none()) {
                self.sent.push((Vec::new(), None));
            }
            self.sent.last_mut().unwrap().0.extend(&room[..count]);
            count
        }

        fn is_heard(&self) -> bool {
            true
        }

        fn at_end(&self) -> bool {
            self.closed && self.arrived.is_empty()
        }

        fn finish(&mut self) {
            self.finished = true;
        }
    }

    impl Messages for Line {
        fn take_end(&mut self) -> Option<End> {
            let ended = |(bytes, end): &(Vec<u8>, Option<End>)| bytes.is_empty() && end.is_some();
            self.arrived.front().filter(|first| ended(first))?;
            self.arrived.pop_front()?.1
        }

        fn can_end(&self) -> bool {
            true
        }

        fn end(&mut self, end: End) {
            match self.sent.last_mut() {
                Some((_, last @ None)) => *last = Some(end),
                _ => self.sent.push((Vec::new(), Some(end))),
            }
        }
    }

    #[test]
    fn echo_keeps_messages_and_their_ends() {
        let mut line = Line {
            room: 1 << 20,
            ..Line::default()
        };
        let messages: Vec<(Vec<u8>, Option<End>)> = [0usize, 1, 99, 100, 101, 5000, 0, 70_000]
            .iter()
            .map(|len| {
                (
                    vec![*len as u8; *len],
                    Some(End {
                        record: len % 2 == 1,
                    }),
                )
            })
            .collect();
        line.arrived.extend(messages.clone());
        line.closed = true;
        let mut echo = Conversation::new(Kind::Echo, Carrier::Seqpacket, 1);
        while echo.poll(&mut line, &mut None) {}
        assert_eq!(line.sent, messages);
        assert!(line.finished);
        let mut sums = Sums::new();
        echo.record(&mut sums);
        let (_, entry) = sums.iter().next().unwrap();
        assert_eq!((entry.messages, entry.received), (Some((8, 8)), 75_301));
        assert_eq!(entry.received_crc, entry.sent_crc);
    }

    #[test]
    fn chargen_makes_messages_of_the_size_that_it_is_told() {
        let mut line = Line {
            room: 2000,
            ..Line::default()
        };
        let mut chargen = Conversation::new(Kind::Chargen, Carrier::Seqpacket, 1);
        let end = Some(End::default());
        line.arrived.push_back((b"500\n".to_vec(), end));
        line.arrived.push_back((b"what".to_vec(), end));
        while chargen.poll(&mut line, &mut None) {}
        let sizes: Vec<usize> = line.sent.iter().map(|(bytes, _)| bytes.len()).collect();
        // The one that was begun is ended first.
        assert_eq!(sizes, [74, 500, 500, 500, 426]);
        let all: Vec<u8> = line
            .sent
            .iter()
            .flat_map(|(bytes, _)| bytes.clone())
            .collect();
        let mut want = vec![0; all.len()];
        chargen::fill(0, &mut want);
        assert_eq!(all, want);
    }

    #[test]
    fn a_pass_has_an_end_whatever_comes() {
        let mut line = Line {
            room: 1 << 20,
            ..Line::default()
        };
        line.arrived.extend(std::iter::repeat_n(
            (Vec::new(), Some(End::default())),
            5000,
        ));
        let mut discard = Conversation::new(Kind::Discard, Carrier::Seqpacket, 1);
        assert!(discard.poll(&mut line, &mut None));
        assert_eq!(line.arrived.len(), 5000 - BUDGET / END);
        let mut chargen = Conversation::new(Kind::Chargen, Carrier::Seqpacket, 1);
        line.arrived = [(b"0".to_vec(), Some(End::default()))].into();
        assert!(chargen.poll(&mut line, &mut None));
        assert!(line.sent.len() <= BUDGET / END);
    }

    #[test]
    fn a_callback_is_one_message() {
        let mut line = Line {
            room: 100,
            ..Line::default()
        };
        let mut connect = None;
        for (text, port) in [("connect 17", Some(17)), ("connect x", None), ("", None)] {
            let mut callback = Conversation::new(Kind::Callback, Carrier::Seqpacket, 1);
            line.room = 100;
            line.arrived
                .push_back((text.as_bytes().to_vec(), Some(End::default())));
            callback.poll(&mut line, &mut connect);
            assert_eq!(connect.take(), port);
            assert!(callback.finished);
        }
        assert_eq!(line.sent.len(), 3);
        assert_eq!(line.sent[0].0, b"connecting");
    }
}
