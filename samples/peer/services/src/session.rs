// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One connection of a service, whatever carries it.

use crate::chargen;
use crate::control::{self, Wish};
use crate::crc::Crc32;
pub use crate::kind::{Carrier, Kind};
use crate::report::{Buffer, Finished, Page, Snapshot, Sums, Text};
use crate::stamp;
use core::fmt::{self, Write};
use hvl_device::stream::Stream;

/// Most bytes that a connection moves each way in one pass.
const BUDGET: usize = 64 * 1024;
/// Bytes moved at a time by a service that reads and writes.
const PIECE: usize = 4096;
/// Bytes of a request's first line that are looked at.
const LINE: usize = 256;

/// What is sent of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// The page.
    Text,
    /// The page, as HTTP.
    Http,
    /// What HTTP says of the page.
    Head,
}

/// Tells the time where milliseconds are too coarse.
pub trait Clock: fmt::Debug {
    /// Microseconds since boot.
    fn micros(&self) -> u64;

    /// What Linux's user space reads as well, in ticks of that counter, if there is such a thing.
    fn counter(&self) -> u64 {
        self.micros()
    }
}

/// What a pass has for all its connections.
#[derive(Debug)]
pub struct Env<'a> {
    /// Milliseconds since boot.
    pub now: u64,
    /// The same, to be looked at.
    pub clock: &'a dyn Clock,
    /// The figures of the status page, if somebody asked for them in the last pass.
    pub snapshot: Option<&'a Snapshot<'a>>,
    /// Set when somebody wants them in the next pass.
    pub snapshot_wanted: &'a mut bool,
    /// Connections that have ended.
    pub sums: &'a mut Sums,
    /// Where pages are written before they are sent.
    pub text: &'a mut Text,
    /// What somebody wants to have done in the end of the pass.
    pub wish: &'a mut Option<Wish>,
}

/// The first line of a request, as far as it has come. It is taken as it comes: what waits to be
/// taken has to fit into the sender's buffer, which may hold less than a line.
#[derive(Clone, Copy, Debug)]
struct Line {
    bytes: [u8; LINE],
    len: usize,
    /// Its end has come, or it is too long.
    ended: bool,
}

impl Line {
    const fn new() -> Self {
        Self {
            bytes: [0; LINE],
            len: 0,
            ended: false,
        }
    }

    /// Takes what has come of it; `true` if that was anything.
    fn take(&mut self, stream: &mut dyn Stream) -> bool {
        let mut busy = false;
        while !self.ended {
            let bytes = stream.peek();
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(&[]);
            let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
            let count = text.len().min(room.len());
            for (to, from) in room.iter_mut().zip(text) {
                *to = *from;
            }
            let fits = count == text.len();
            let taken = count + usize::from(fits && end.is_some());
            if taken == 0 && fits {
                break;
            }
            self.len += count;
            self.ended = !fits || end.is_some();
            stream.consume(taken);
            busy = true;
        }
        busy
    }

    /// The line without its end; `None` until that has come. A line that is too long is cut.
    fn get(&self) -> Option<&[u8]> {
        self.bytes.get(..self.len).filter(|_| self.ended)
    }
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub struct Session {
    kind: Kind,
    carrier: Carrier,
    remote: u32,
    received: u64,
    received_crc: Crc32,
    sent: u64,
    sent_crc: Crc32,
    finished: bool,
    line: Line,
}

impl Session {
    /// A connection that was just opened; `remote` is the port at the other end.
    pub const fn new(kind: Kind, carrier: Carrier, remote: u32) -> Self {
        Self {
            kind,
            carrier,
            remote,
            received: 0,
            received_crc: Crc32::new(),
            sent: 0,
            sent_crc: Crc32::new(),
            finished: false,
            line: Line::new(),
        }
    }

    /// Notes a connection that has ended.
    pub fn record(&self, sums: &mut Sums) {
        if !matches!(self.kind, Kind::Echo | Kind::Discard | Kind::Chargen) {
            return;
        }
        sums.add(Finished {
            kind: self.kind,
            carrier: self.carrier,
            remote: self.remote,
            received: self.received,
            received_crc: self.received_crc.value(),
            sent: self.sent,
            sent_crc: self.sent_crc.value(),
            messages: None,
        });
    }

    /// Moves bytes; `true` if there were any. `connect` takes the port of a callback.
    pub fn poll(
        &mut self,
        stream: &mut dyn Stream,
        env: &mut Env<'_>,
        connect: &mut Option<u32>,
    ) -> bool {
        if self.finished {
            return self.drain(stream);
        }
        let busy = match self.kind {
            // What nobody would hear is taken all the same.
            Kind::Echo if !stream.is_heard() => self.discard(stream),
            Kind::Echo => self.echo(stream),
            Kind::Discard => self.discard(stream),
            Kind::Chargen => self.drain(stream) | self.chargen(stream),
            Kind::Http => self.http(stream, env),
            Kind::Status => self.page(stream, env, Page::Status, Form::Text),
            Kind::Callback => self.callback(stream, connect),
            // Has a server of its own.
            Kind::Iperf => false,
            Kind::Control => self.control(stream, env),
            Kind::Stamp => stamp::answer(stream, env.clock),
        };
        if stream.at_end() || (self.kind == Kind::Chargen && !stream.is_heard()) {
            self.finish(stream);
        }
        busy
    }

    fn finish(&mut self, stream: &mut dyn Stream) {
        if !self.finished {
            self.finished = true;
            stream.finish();
        }
    }

    /// Takes what nobody wants.
    fn drain(&mut self, stream: &mut dyn Stream) -> bool {
        let mut left = BUDGET;
        loop {
            let count = stream.peek().len().min(left);
            if count == 0 {
                return left != BUDGET;
            }
            stream.consume(count);
            left -= count;
        }
    }

    fn discard(&mut self, stream: &mut dyn Stream) -> bool {
        let mut left = BUDGET;
        loop {
            let bytes = stream.peek();
            let count = bytes.len().min(left);
            if count == 0 {
                return left != BUDGET;
            }
            self.received_crc.update(bytes.get(..count).unwrap_or(&[]));
            self.received = self.received.wrapping_add(count as u64);
            stream.consume(count);
            left -= count;
        }
    }

    fn echo(&mut self, stream: &mut dyn Stream) -> bool {
        let mut left = BUDGET;
        let mut piece = [0; PIECE];
        loop {
            let room = stream.room();
            let bytes = stream.peek();
            let count = bytes.len().min(room).min(left).min(PIECE);
            if count == 0 {
                return left != BUDGET;
            }
            let (Some(to), Some(from)) = (piece.get_mut(..count), bytes.get(..count)) else {
                return false;
            };
            to.copy_from_slice(from);
            // The room may lie in two pieces; what does not go now goes in the next turn.
            let sent = stream.send(&mut |room| {
                let count = room.len().min(count);
                if let (Some(to), Some(from)) = (room.get_mut(..count), piece.get(..count)) {
                    to.copy_from_slice(from);
                }
                count
            });
            if sent == 0 {
                return left != BUDGET;
            }
            self.received_crc.update(piece.get(..sent).unwrap_or(&[]));
            self.received = self.received.wrapping_add(sent as u64);
            self.sent = self.sent.wrapping_add(sent as u64);
            self.sent_crc = self.received_crc;
            stream.consume(sent);
            left -= sent;
        }
    }

    fn chargen(&mut self, stream: &mut dyn Stream) -> bool {
        let mut left = BUDGET;
        while left > 0 {
            let position = self.sent;
            let crc = &mut self.sent_crc;
            let sent = stream.send(&mut |room| {
                let count = room.len().min(left);
                let room = room.get_mut(..count).unwrap_or(&mut []);
                chargen::fill(position, room);
                crc.update(room);
                count
            });
            if sent == 0 {
                break;
            }
            self.sent = self.sent.wrapping_add(sent as u64);
            left -= sent;
        }
        left != BUDGET
    }

    /// Sends a page as soon as its figures are there, and finishes.
    fn page(&mut self, stream: &mut dyn Stream, env: &mut Env<'_>, page: Page, form: Form) -> bool {
        let Some(snapshot) = env.snapshot else {
            *env.snapshot_wanted = true;
            return false;
        };
        env.text.clear();
        page.write(env.text, snapshot, env.sums);
        let mut head = Buffer::<256>::new();
        if form != Form::Text {
            let status = match page {
                Page::Missing => "404 Not Found",
                _ => "200 OK",
            };
            // The buffer is larger than the longest head.
            let _ = write!(
                head,
                "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n",
                env.text.bytes().len()
            );
        }
        let body = if form == Form::Head {
            &[]
        } else {
            env.text.bytes()
        };
        for mut part in [head.bytes(), body] {
            while !part.is_empty() {
                let sent = stream.send(&mut |room| {
                    let count = room.len().min(part.len());
                    if let (Some(to), Some(from)) = (room.get_mut(..count), part.get(..count)) {
                        to.copy_from_slice(from);
                    }
                    count
                });
                // The connection's buffer is larger than any page: it is only full if the other
                // side has gone.
                let Some(rest) = part.get(sent..).filter(|_| sent > 0) else {
                    break;
                };
                part = rest;
            }
        }
        self.finish(stream);
        true
    }

    fn http(&mut self, stream: &mut dyn Stream, env: &mut Env<'_>) -> bool {
        let busy = self.line.take(stream);
        let Some(line) = self.line.get() else {
            return busy;
        };
        let (form, path) = request(line);
        let page = match path {
            b"/" => Page::Status,
            b"/sums" => Page::Sums,
            _ => Page::Missing,
        };
        busy | self.page(stream, env, page, form)
    }

    fn callback(&mut self, stream: &mut dyn Stream, connect: &mut Option<u32>) -> bool {
        let busy = self.line.take(stream);
        let Some(line) = self.line.get() else {
            return busy;
        };
        if connect.is_some() {
            return busy;
        }
        let port = core::str::from_utf8(line)
            .ok()
            .and_then(|line| line.trim().strip_prefix("connect "))
            .and_then(|port| port.trim().parse().ok());
        *connect = port;
        let answer: &[u8] = match port {
            Some(_) => b"connecting\n",
            None => b"say: connect <port>\n",
        };
        self.answer(stream, answer);
        true
    }

    fn control(&mut self, stream: &mut dyn Stream, env: &mut Env<'_>) -> bool {
        let busy = self.line.take(stream);
        let Some(line) = self.line.get() else {
            return busy;
        };
        if env.wish.is_some() {
            return busy;
        }
        *env.wish = core::str::from_utf8(line).ok().and_then(Wish::parse);
        let answer = match env.wish {
            Some(_) => control::DONE,
            None => control::HELP,
        };
        self.answer(stream, answer);
        true
    }

    /// Says a few words, the last ones.
    fn answer(&mut self, stream: &mut dyn Stream, answer: &[u8]) {
        stream.send(&mut |room| {
            let count = room.len().min(answer.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), answer.get(..count)) {
                to.copy_from_slice(from);
            }
            count
        });
        self.finish(stream);
    }
}

/// What an HTTP request's first line asks for; no path if it is neither GET nor HEAD.
fn request(line: &[u8]) -> (Form, &[u8]) {
    let mut words = line.split(|byte| *byte == b' ');
    match (words.next(), words.next()) {
        (Some(b"GET"), Some(path)) => (Form::Http, path),
        (Some(b"HEAD"), Some(path)) => (Form::Head, path),
        _ => (Form::Http, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream whose other end has stopped to read.
    struct Unheard {
        left: Vec<u8>,
        finished: bool,
    }

    impl Stream for Unheard {
        fn peek(&mut self) -> &[u8] {
            &self.left
        }

        fn consume(&mut self, count: usize) {
            self.left.drain(..count);
        }

        fn room(&self) -> usize {
            0
        }

        fn send(&mut self, _: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
            0
        }

        fn is_heard(&self) -> bool {
            false
        }

        fn at_end(&self) -> bool {
            false
        }

        fn finish(&mut self) {
            self.finished = true;
        }
    }

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn micros(&self) -> u64 {
            0
        }
    }

    #[test]
    fn a_line_is_taken_as_it_comes() {
        let long = [b'x'; LINE + 9];
        let cases: [(&[u8], Option<&[u8]>); 6] = [
            (b"", None),
            (b"connect 12", None),
            (b"connect 12\nand more", Some(b"connect 12")),
            (b"\n", Some(b"")),
            (&long[..LINE], None),
            (&long, Some(&long[..LINE])),
        ];
        for (text, want) in cases {
            for step in [1, 7, 300] {
                let mut line = Line::new();
                for part in text.chunks(step) {
                    let mut stream = Unheard {
                        left: part.to_vec(),
                        finished: false,
                    };
                    let before = line.ended;
                    assert_eq!(
                        line.take(&mut stream),
                        !before && line.len > 0 || line.ended != before
                    );
                    assert!(stream.left.is_empty() || line.ended);
                }
                assert_eq!(line.get(), want);
            }
        }
    }

    #[test]
    fn what_nobody_hears_does_not_count_as_sent() {
        for (kind, received, finished) in [(Kind::Echo, 5, false), (Kind::Chargen, 0, true)] {
            let mut stream = Unheard {
                left: b"hello".to_vec(),
                finished: false,
            };
            let mut sums = Sums::new();
            let mut session = Session::new(kind, Carrier::Vsock, 1);
            let mut env = Env {
                now: 0,
                clock: &Stopped,
                snapshot: None,
                snapshot_wanted: &mut false,
                sums: &mut sums,
                text: &mut Text::new(),
                wish: &mut None,
            };
            assert!(session.poll(&mut stream, &mut env, &mut None));
            assert!(!session.poll(&mut stream, &mut env, &mut None));
            session.record(&mut sums);
            let (_, entry) = sums.iter().next().unwrap();
            assert_eq!((entry.received, entry.sent), (received, 0));
            assert_eq!((stream.finished, stream.left.len()), (finished, 0));
        }
    }
}
