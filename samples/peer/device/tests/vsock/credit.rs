// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Credit: whatever the sizes of Linux's buffers and of what is written and read, everything
//! arrives and nothing stops.

use crate::linux::{pattern, room, Linux};
use crate::model::{Socket, OVERHEAD};
use hvl_device::vsock::packet::op;
use hvl_device::vsock::RX_BUFFER;
use proptest::prelude::*;

/// What happens on Linux's side, and in which amount.
#[derive(Clone, Copy, Debug)]
enum Step {
    Write(usize),
    Read(usize),
    /// Linux takes so many packets of the peer's.
    Take(usize),
    Pass,
    Resize(u32),
}

/// Sizes of buffers, those near the limits of either side among them.
fn size() -> impl Strategy<Value = u32> {
    prop_oneof![
        1u32..300,
        500u32..5000,
        Just(2 * OVERHEAD),
        Just(3 * OVERHEAD - 1),
        Just(3 * OVERHEAD),
        4000u32..70_000,
        prop_oneof![Just(32_768u32), Just(65_536), Just(131_072), Just(262_144)],
        100_000u32..2_000_000,
    ]
}

fn amount() -> impl Strategy<Value = usize> {
    prop_oneof![1usize..10, 1usize..1000, 1usize..200_000]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => amount().prop_map(Step::Write),
        4 => amount().prop_map(Step::Read),
        4 => (1usize..100).prop_map(Step::Take),
        4 => Just(Step::Pass),
        1 => size().prop_map(Step::Resize),
    ]
}

/// A conversation of one connection.
struct Talk<'a> {
    linux: Linux<'a>,
    socket: Socket,
    port: u32,
    written: usize,
    got: usize,
    /// Bytes to write and to get.
    total: (usize, usize),
    /// The least that may be sent ahead, and how often the size changed.
    window: u32,
    resizes: usize,
}

impl Talk<'_> {
    /// Whether the service has got everything.
    fn taken(&self) -> bool {
        self.port == 19 || self.linux.app.taken == self.written
    }

    /// One step; `true` if anything moved.
    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Write(count) => {
                let count = count.min(self.total.0 - self.written);
                let data: Vec<u8> = (self.written..self.written + count).map(pattern).collect();
                let sent = self.socket.write(&data);
                self.written += sent;
                self.socket.flush(&mut self.linux) || sent > 0
            }
            Step::Read(count) => {
                let bytes = self.socket.read(count);
                let right = bytes.iter().zip(self.got..);
                assert!(right.clone().all(|(byte, at)| *byte == pattern(at)));
                self.got += bytes.len();
                self.socket.flush(&mut self.linux) || !bytes.is_empty()
            }
            Step::Take(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some((header, data)) = self.linux.receive() else {
                        break;
                    };
                    // No more is promised than there is, and nothing is taken back.
                    assert!(header.op == op::RST || header.buf_alloc as usize == RX_BUFFER);
                    assert!(header.fwd_cnt as usize <= self.written);
                    assert!(header.op == op::RW || data.is_empty());
                    self.socket.deliver(&header, data);
                    any = true;
                }
                self.socket.flush(&mut self.linux) || any
            }
            Step::Pass => self.linux.pass() | self.socket.flush(&mut self.linux),
            Step::Resize(size) => {
                // What is on its way into a buffer that shrinks ends the connection, whatever the
                // peer does; and one that is too small takes nothing at all.
                let idle = self.port == 9
                    || (self.port == 7 && self.got == self.written && self.socket.drained());
                if size >= self.socket.buf_alloc || (idle && (self.port == 9 || size >= OVERHEAD)) {
                    self.socket.resize(size);
                    self.window = self.window.min(size);
                    self.resizes += 1;
                }
                self.socket.flush(&mut self.linux)
            }
        }
    }
}

/// Talks to the service on `port`; the peer has to `call` for it if it is not Linux that does.
fn talk(port: u32, call: bool, size: u32, steps: &[Step]) {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    let socket = if call {
        linux.app.connect.push_back(1234);
        linux.pass();
        let (header, _) = linux.expect(op::REQUEST);
        let mut socket = Socket::new((1234, header.src_port), size);
        socket.deliver(&header, Vec::new());
        socket
    } else {
        let mut socket = Socket::new((5000, port), size);
        socket.emit(op::REQUEST, 0, &[]);
        socket
    };
    converse(linux, socket, port, steps);
}

fn converse(linux: Linux<'_>, socket: Socket, port: u32, steps: &[Step]) {
    let size = socket.buf_alloc;
    let total = (4 * size as usize).clamp(100, 600_000);
    let mut talk = Talk {
        linux,
        socket,
        port,
        written: 0,
        got: 0,
        total: match port {
            7 => (total, total),
            9 => (total, 0),
            _ => (0, total),
        },
        window: size,
        resizes: 0,
    };
    for step in steps {
        talk.step(*step);
        assert_eq!(talk.socket.dead, None);
    }
    // From here on everybody does what there is to do.
    let mut idle = 0;
    loop {
        let mut any = false;
        for step in [
            Step::Write(50_000),
            Step::Pass,
            Step::Take(1000),
            Step::Read(50_000),
        ] {
            any |= talk.step(step);
        }
        assert_eq!(talk.socket.dead, None);
        if talk.got >= talk.total.1 && talk.written == talk.total.0 && talk.taken() {
            break;
        }
        idle = if any { 0 } else { idle + 1 };
        assert!(
            idle < 3,
            "stopped: {} of {:?} written, {} got",
            talk.written,
            talk.total,
            talk.got
        );
    }
    let half = (talk.window.min(RX_BUFFER as u32) / 2).max(1) as usize;
    let most = talk.total.0 / half + talk.resizes + 1;
    assert!(
        talk.socket.updates <= most,
        "{} > {most}",
        talk.socket.updates
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 3 / 5))]

    #[test]
    fn everything_arrives_whatever_the_buffers(
        port in prop_oneof![Just(7u32), Just(9), Just(19)],
        call in any::<bool>(),
        size in size(),
        steps in prop::collection::vec(step(), 0..200),
    ) {
        // A buffer that has no room for what Linux counts for a packet takes none.
        let port = if size < OVERHEAD { 9 } else { port };
        // What the peer calls is its echo.
        let call = call && port == 7;
        talk(port, call, size, &steps);
    }
}

#[test]
fn buffers_of_every_power_of_two() {
    for bits in 0..=20 {
        let size = 1 << bits;
        talk(9, false, size, &[]);
        if size >= OVERHEAD {
            talk(7, false, size, &[]);
            talk(7, true, size, &[]);
            talk(19, false, size, &[]);
        }
    }
}
