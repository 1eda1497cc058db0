// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One connection: its state, its buffers, its credit (VIRTIO 5.10.6.3, 5.10.6.5).

#![forbid(unsafe_code)]

use super::bounds::Bounds;
use super::ends::Ends;
use super::flight::Flight;
use super::packet::{op, Header, SHUTDOWN_BOTH, SHUTDOWN_RCV, SHUTDOWN_SEND};
use super::{Buffers, SocketType, SEQ_BUFFER};
use crate::stream::{Ring, Stream};

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not in use.
    Free,
    /// We asked Linux for it; milliseconds at which we give up.
    Connecting(u64),
    /// Bytes flow.
    Open,
    /// We have told Linux that we are done and wait for its reset; milliseconds at which we
    /// reset it ourselves.
    Closing(u64),
    /// Gone with the device's reset, and the service was not told yet.
    Dead,
}

/// A control packet that has to be sent, in the order in which they go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Nothing,
    Request,
    Response,
    Ask,
    Credit,
    Shutdown,
}

/// Linux's receive buffers below this many bytes hold one packet at a time. Linux counts some 600
/// bytes of its own for each packet that waits to be read and resets the connection where these
/// are more than the buffer; only from three packets on does it put them together.
const ONE_PACKET: u32 = 4096;

/// A connection.
#[derive(Debug)]
pub(super) struct Conn<'a> {
    pub(super) state: State,
    pub(super) kind: SocketType,
    pub(super) local: u32,
    pub(super) remote: u32,
    pub(super) rx: Ring<'a>,
    pub(super) tx: Ring<'a>,
    /// Where messages end in these; without any in a stream.
    pub(super) rx_bounds: Bounds<'a>,
    pub(super) tx_ends: Ends,
    /// Messages that Linux has not read.
    pub(super) flight: Flight,
    /// `Request` and `Response` are owed.
    pub(super) opening: Todo,
    pub(super) credit_owed: bool,
    /// Linux has said something since it was told that the connection is open.
    pub(super) heard: bool,
    /// It has to be asked whether it is there, and was.
    ask_owed: bool,
    asked: bool,
    /// Bytes that have left `rx`, and what of it Linux was told.
    fwd_cnt: u32,
    fwd_told: u32,
    /// Bytes sent, and what Linux says of its buffer.
    pub(super) tx_cnt: u32,
    pub(super) peer_alloc: u32,
    pub(super) peer_fwd: u32,
    /// [`SHUTDOWN_BOTH`] as far as Linux has said it.
    pub(super) peer_shut: u32,
    /// The service sends no more.
    pub(super) finished: bool,
    pub(super) shut_sent: bool,
}

impl<'a> Conn<'a> {
    /// One that is free, with its buffers.
    pub(super) fn new(buffers: Option<&'a mut Buffers>) -> Self {
        let (rx, tx, rx_ends): (&mut [u8], &mut [u8], &mut [u64]) = match buffers {
            Some(own) => (&mut own.rx, &mut own.tx, &mut own.rx_ends),
            None => (&mut [], &mut [], &mut []),
        };
        Self {
            state: State::Free,
            kind: SocketType::Stream,
            local: 0,
            remote: 0,
            rx: Ring::new(rx),
            tx: Ring::new(tx),
            rx_bounds: Bounds::new(rx_ends),
            tx_ends: Ends::new(),
            flight: Flight::new(),
            opening: Todo::Nothing,
            credit_owed: false,
            heard: false,
            ask_owed: false,
            asked: false,
            fwd_cnt: 0,
            fwd_told: 0,
            tx_cnt: 0,
            peer_alloc: 0,
            peer_fwd: 0,
            peer_shut: 0,
            finished: false,
            shut_sent: false,
        }
    }

    /// Begins a new life, between the ports `local` and `remote`.
    pub(super) fn open(
        &mut self,
        state: State,
        kind: SocketType,
        (local, remote): (u32, u32),
        opening: Todo,
    ) {
        self.state = state;
        self.local = local;
        self.remote = remote;
        self.rx.clear();
        self.tx.clear();
        // A stream has not touched them.
        if self.kind == SocketType::Seqpacket || kind == SocketType::Seqpacket {
            self.rx_bounds.clear();
            self.tx_ends = Ends::new();
            self.flight = Flight::new();
        }
        self.kind = kind;
        self.opening = opening;
        self.credit_owed = false;
        self.heard = false;
        self.ask_owed = false;
        self.asked = false;
        self.fwd_cnt = 0;
        self.fwd_told = 0;
        self.tx_cnt = 0;
        self.peer_alloc = 0;
        self.peer_fwd = 0;
        self.peer_shut = 0;
        self.finished = false;
        self.shut_sent = false;
    }

    /// Whether a packet of Linux's can belong to this connection.
    pub(super) const fn alive(&self) -> bool {
        !matches!(self.state, State::Free | State::Dead)
    }

    /// Whether Linux may have given the connection up before it was open, without a word.
    pub(super) fn doubtful(&self) -> bool {
        self.state == State::Open && !self.heard
    }

    /// Has Linux asked whether the connection is there, once.
    pub(super) fn ask(&mut self) {
        self.ask_owed |= !self.asked;
        self.asked = true;
    }

    /// Takes what every packet says of Linux's buffer.
    pub(super) fn learn_credit(&mut self, header: &Header) {
        // Linux sends no more than its own buffer holds, and wakes who waits for that only when
        // it hears from us. So it hears from us when that has changed.
        self.credit_owed |= self.state == State::Open && self.peer_alloc != header.buf_alloc;
        if self.kind == SocketType::Seqpacket {
            self.learn_read(header);
        }
        self.peer_alloc = header.buf_alloc;
        self.peer_fwd = header.fwd_cnt;
    }

    /// Bytes that Linux has room for. What it says may be nonsense; then there is none.
    pub(super) fn credit(&self) -> usize {
        let flying = self.tx_cnt.wrapping_sub(self.peer_fwd);
        self.peer_alloc.saturating_sub(flying) as usize
    }

    /// The next control packet that is owed.
    pub(super) fn todo(&self) -> Todo {
        if self.opening != Todo::Nothing {
            return self.opening;
        }
        match self.state {
            State::Open if self.finished && self.all_sent() && !self.shut_sent => Todo::Shutdown,
            State::Open if self.ask_owed => Todo::Ask,
            State::Open if self.credit_owed || self.credit_stale() => Todo::Credit,
            _ => Todo::Nothing,
        }
    }

    /// Bytes that Linux may send ahead in all.
    fn rx_size(&self) -> u32 {
        let size = self.rx.capacity();
        match self.kind {
            SocketType::Stream => size as u32,
            SocketType::Seqpacket => size.min(SEQ_BUFFER) as u32,
        }
    }

    /// And those of it that can come now.
    pub(super) fn rx_room(&self) -> usize {
        (self.rx_size() as usize).saturating_sub(self.rx.len())
    }

    /// Whether nothing that the service has sent is still here.
    fn all_sent(&self) -> bool {
        self.tx.is_empty() && self.tx_ends.is_empty()
    }

    /// Whether so much room became free that Linux may be waiting to hear of it. What Linux sends
    /// ahead is bounded by its own buffer as well as by ours, so half of the smaller one is much.
    fn credit_stale(&self) -> bool {
        let freed = self.fwd_cnt.wrapping_sub(self.fwd_told);
        let window = self.rx_size().min(self.peer_alloc);
        self.peer_shut & SHUTDOWN_SEND == 0 && freed > 0 && freed >= window / 2
    }

    /// Whether bytes can be sent.
    pub(super) fn can_send(&self) -> bool {
        self.state == State::Open
            && self.opening == Todo::Nothing
            && !self.tx.is_empty()
            && self.credit() > 0
            && (self.peer_alloc >= ONE_PACKET || self.tx_cnt == self.peer_fwd)
    }

    /// Notes that `count` bytes were taken from `tx` and sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.tx_cnt = self.tx_cnt.wrapping_add(count as u32);
    }

    /// A header of this connection's; whoever asks for it has to send it.
    pub(super) fn header(&mut self, op: u16, cids: (u64, u64), len: u32) -> Header {
        self.fwd_told = self.fwd_cnt;
        self.credit_owed = false;
        self.ask_owed &= op != op::CREDIT_REQUEST;
        Header {
            src_cid: cids.0,
            dst_cid: cids.1,
            src_port: self.local,
            dst_port: self.remote,
            len,
            kind: self.kind.number(),
            op,
            flags: if op == op::SHUTDOWN { SHUTDOWN_BOTH } else { 0 },
            buf_alloc: self.rx_size(),
            fwd_cnt: self.fwd_cnt,
        }
    }

    /// Linux sends or receives no more.
    pub(super) fn peer_shutdown(&mut self, flags: u32) {
        self.peer_shut |= flags & SHUTDOWN_BOTH;
        if self.peer_shut & SHUTDOWN_RCV != 0 {
            self.tx.clear();
            self.tx_ends = Ends::new();
        }
    }

    /// Whether Linux has closed the connection; for it, it does not exist any more.
    pub(super) const fn closed(&self) -> bool {
        self.alive() && self.peer_shut == SHUTDOWN_BOTH
    }

    /// Whether the service has taken all that has arrived.
    const fn all_taken(&self) -> bool {
        self.rx.is_empty() && self.rx_bounds.is_empty()
    }

    /// Whether Linux has closed the connection and the service has seen all of it.
    pub(super) const fn over(&self) -> bool {
        self.closed() && (self.all_taken() || self.finished)
    }
}

impl Stream for Conn<'_> {
    fn peek(&mut self) -> &[u8] {
        let bytes = self.rx.readable();
        match self.kind {
            SocketType::Stream => bytes,
            SocketType::Seqpacket => self.first_message(bytes),
        }
    }

    fn consume(&mut self, count: usize) {
        let mut count = count.min(self.rx.len());
        if self.kind == SocketType::Seqpacket {
            count = self.rx_bounds.within(count);
            self.rx_bounds.took(count);
        }
        self.rx.consume(count);
        self.fwd_cnt = self.fwd_cnt.wrapping_add(count as u32);
    }

    fn room(&self) -> usize {
        if self.finished || !self.is_heard() {
            0
        } else {
            self.tx.room()
        }
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        if self.room() == 0 {
            return 0;
        }
        let room = self.tx.writable();
        let count = fill(room).min(room.len());
        self.tx.commit(count);
        if self.kind == SocketType::Seqpacket {
            self.tx_ends.wrote(count);
        }
        count
    }

    fn is_heard(&self) -> bool {
        self.peer_shut & SHUTDOWN_RCV == 0
    }

    fn at_end(&self) -> bool {
        self.peer_shut & SHUTDOWN_SEND != 0 && self.all_taken()
    }

    fn finish(&mut self) {
        self.finished = true;
    }
}
