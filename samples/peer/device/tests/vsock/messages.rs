// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sockets that carry messages: whatever their sizes, those of Linux's buffers and of what is written
//! and read when, each message arrives as it was sent, and nothing stops.

use crate::linux::{pattern, room, Linux};
use crate::model::{Socket, OVERHEAD};
use hvl_device::vsock::packet::op;
use hvl_device::vsock::{SocketType, SEQ_BUFFER};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Some of the message whose turn it is.
    Write(usize),
    /// So many messages are read, if they are there.
    Read(usize),
    Take(usize),
    Pass,
    Grow(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![1usize..10, 1usize..200_000].prop_map(Step::Write),
        4 => (1usize..40).prop_map(Step::Read),
        4 => (1usize..100).prop_map(Step::Take),
        4 => Just(Step::Pass),
        1 => (1u32..200_000).prop_map(Step::Grow),
    ]
}

/// Bytes of messages: none, few, those of a packet and of a buffer.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        4 => 0usize..10,
        4 => 1usize..3000,
        1 => 970usize..990,
        1 => 60_000usize..70_000,
        1 => 1usize..300_000,
    ]
}

struct Talk<'a> {
    linux: Linux<'a>,
    socket: Socket,
    port: u32,
    /// What Linux writes, or gets from port 19, and whether it ends a record.
    messages: Vec<(Vec<u8>, bool)>,
    /// The message that is being written, what of it was, and the message to be read next.
    writing: usize,
    at: usize,
    read: usize,
}

impl Talk<'_> {
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Write(count) => {
                let mut sent = 0;
                if self.port != 19 {
                    if let Some((bytes, record)) = self.messages.get(self.writing) {
                        // send() gets all of a message, and blocks while there is no credit.
                        let rest = &bytes[self.at..];
                        assert!(!self.socket.established || rest.len() <= self.socket.largest());
                        sent = if count < rest.len() {
                            self.socket.write(&rest[..count])
                        } else {
                            self.socket.write_message(rest, *record)
                        };
                        self.at += sent;
                        if self.at == bytes.len() {
                            self.writing += 1;
                            self.at = 0;
                        }
                    }
                }
                self.socket.flush(&mut self.linux) || sent > 0
            }
            Step::Read(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some(got) = self.socket.read_message() else {
                        break;
                    };
                    assert!(self.port != 9);
                    let want = &self.messages[self.read];
                    assert_eq!((got.0.len(), got.1), (want.0.len(), want.1));
                    assert!(got.0 == want.0, "message {}", self.read);
                    self.read += 1;
                    any = true;
                }
                self.socket.flush(&mut self.linux) || any
            }
            Step::Take(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some((header, data)) = self.linux.receive() else {
                        break;
                    };
                    assert!(header.op == op::RST || header.buf_alloc as usize == SEQ_BUFFER);
                    self.socket.deliver(&header, data);
                    any = true;
                }
                self.socket.flush(&mut self.linux) || any
            }
            Step::Pass => self.linux.pass() | self.socket.flush(&mut self.linux),
            Step::Grow(size) => {
                if size > self.socket.buf_alloc {
                    self.socket.resize(size);
                }
                self.socket.flush(&mut self.linux)
            }
        }
    }

    fn done(&self) -> bool {
        let count = self.messages.len();
        match self.port {
            7 => self.read == count,
            9 => self.writing == count && self.linux.app.ends == count,
            _ => self.read == count,
        }
    }
}

fn talk(port: u32, call: bool, size: u32, lengths: &[usize], steps: &[Step]) {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    // Those that are sent to Linux have to fit there, those that it sends too, and it sends none
    // without bytes.
    let largest = if port == 19 {
        size as usize
    } else {
        SEQ_BUFFER.min(size as usize)
    };
    let least = usize::from(port != 19);
    let lengths: Vec<usize> = lengths
        .iter()
        .map(|len| (*len).min(largest).max(least))
        .collect();
    let mut position = 0;
    let messages = (1..)
        .zip(&lengths)
        .map(|(number, len)| {
            let bytes: Vec<u8> = (position..position + len).map(pattern).collect();
            position += len;
            (bytes, number % 3 == 0)
        })
        .collect();
    let mut socket;
    if call {
        linux.app.connect_type = Some(SocketType::Seqpacket);
        linux.app.connect.push_back(1234);
        linux.pass();
        let (header, _) = linux.expect(op::REQUEST);
        socket = Socket::of_messages((1234, header.src_port), size);
        socket.deliver(&header, Vec::new());
    } else {
        linux.app.sizes = lengths;
        socket = Socket::of_messages((5000, port), size);
        socket.emit(op::REQUEST, 0, &[]);
    }
    let mut talk = Talk {
        linux,
        socket,
        port,
        messages,
        writing: 0,
        at: 0,
        read: 0,
    };
    for step in steps {
        talk.step(*step);
        assert_eq!(talk.socket.dead, None);
    }
    let mut idle = 0;
    while !talk.done() {
        let mut any = false;
        for step in [
            Step::Write(usize::MAX),
            Step::Pass,
            Step::Take(1000),
            Step::Read(1),
        ] {
            any |= talk.step(step);
        }
        assert_eq!(talk.socket.dead, None);
        idle = if any { 0 } else { idle + 1 };
        assert!(
            idle < 3,
            "stopped: {} written and {} read of {}",
            talk.writing,
            talk.read,
            talk.messages.len()
        );
    }
    assert_eq!(talk.linux.rig.device.stats().too_large, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn messages_arrive_as_they_were_sent(
        port in prop_oneof![Just(7u32), Just(9), Just(19)],
        call in any::<bool>(),
        size in prop_oneof![1u32..300, 4000u32..70_000, Just(262_144), 100_000u32..2_000_000],
        lengths in prop::collection::vec(length(), 1..40),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        // Linux's own count of what a packet costs: the buffers of this test are small, so a message of
        // few packets costs more than it has bytes.
        let port = if size < 4 * OVERHEAD { 9 } else { port };
        talk(port, call && port == 7, size, &lengths, &steps);
    }
}

#[test]
fn many_small_messages_do_not_fill_linux_with_packets() {
    // A byte each: there is credit for all of them, and Linux has room for some hundred.
    for len in [0, 1, 100] {
        talk(
            19,
            false,
            65_536,
            &[len; 3000],
            &[Step::Pass, Step::Take(5000), Step::Pass],
        );
    }
    talk(7, false, 65_536, &[1; 3000], &[]);
}
