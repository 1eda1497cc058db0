// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Socket device (VIRTIO 5.10): sockets between Linux and services on this side, which carry streams
//! of bytes or sequences of messages.
//!
//! To Linux we are the host, context id 2. A fixed number of connections of either type, each with
//! buffers of a fixed size; whoever comes when all are taken is refused.
//!
//! That number is exact for Linux, which takes a connection for over as soon as it has sent its
//! last packet. So the place is free when that packet was taken; and where the service has not
//! yet seen all that came before it, nothing more is taken until there is a place.

#![forbid(unsafe_code)]

mod app;
mod bounds;
mod conn;
mod ends;
mod flight;
mod lies;
mod list;
pub mod packet;
mod seqpacket;
mod transmit;
mod waiting;

pub use self::app::{App, SocketType, VsockStats};
use self::conn::{Conn, State, Todo};
use self::lies::Liar;
use self::list::List;
use self::packet::{op, Header, HEADER, TYPE_SEQPACKET, TYPE_STREAM};
use self::seqpacket::Next;
use self::waiting::WAITING;
use crate::device::Device;
use crate::proto::virtio::device;
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport};

/// Connections at a time.
pub const CONNECTIONS: usize = 32;
/// Bytes of a connection's receive buffer, which is the credit that Linux gets.
pub const RX_BUFFER: usize = 128 * 1024;
/// Bytes of a connection's send buffer.
pub const TX_BUFFER: usize = 64 * 1024;
/// As much of the receive buffer is used for messages, which is the largest that Linux can send.
pub const SEQ_BUFFER: usize = 64 * 1024;
const _: () = assert!(SEQ_BUFFER <= RX_BUFFER && SEQ_BUFFER.is_power_of_two());
/// Messages without bytes, which cost no credit, that a connection holds at most.
pub use self::bounds::EMPTY_MOST;
/// Our context id: the host's.
pub const PEER_CID: u64 = 2;

/// Linux receives from the first queue and sends by the second; the third carries events, of
/// which we have none.
const RXQ: usize = 0;
const TXQ: usize = 1;
/// Theirs, and that of the events.
const SIZES: [u16; 3] = [128, 128, 16];

/// Refusals that wait for a buffer. While there are as many, nothing more is taken from Linux.
const REFUSALS: usize = 32;
/// Milliseconds for Linux to answer a request, and to end a connection that we have closed.
const PATIENCE: u64 = 10_000;
/// First port that connections of ours come from.
const FIRST_PORT: u32 = 0x1_0000;

/// VIRTIO_VSOCK_F_STREAM and VIRTIO_VSOCK_F_SEQPACKET (VIRTIO 5.10.3).
const F_STREAM: u32 = 0;
const F_SEQPACKET: u32 = 1;

/// The buffers of one connection.
#[derive(Debug)]
pub struct Buffers {
    rx: [u8; RX_BUFFER],
    tx: [u8; TX_BUFFER],
    /// Two bits for each byte of messages, see [`bounds`].
    rx_ends: [u64; SEQ_BUFFER / 32],
}

impl Buffers {
    /// Buffers, all zero so that they cost nothing in a program's image.
    pub const fn new() -> Self {
        Self {
            rx: [0; RX_BUFFER],
            tx: [0; TX_BUFFER],
            rx_ends: [0; SEQ_BUFFER / 32],
        }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// The socket device.
#[derive(Debug)]
pub struct Vsock<'a> {
    transport: Transport<[Queue; SIZES.len()]>,
    guest_cid: u64,
    chain: Chain,
    conns: [Conn<'a>; CONNECTIONS],
    refusals: List<REFUSALS>,
    /// Requests that found no place, and milliseconds until which they wait for one.
    waiting: List<WAITING>,
    doubt: Option<u64>,
    next_port: u32,
    /// Connections that are not free.
    used: usize,
    /// Connection that sends first in the next pass.
    turn: usize,
    /// Bytes that a packet to Linux has room for, as the last buffer had.
    room: usize,
    /// Something could not be sent for want of a buffer.
    starved: bool,
    stats: VsockStats,
    /// For deliberate faults.
    liar: Liar,
}

impl<'a> Vsock<'a> {
    /// A device that tells Linux that its context id is `guest_cid`.
    pub fn new(guest_cid: u64, buffers: &'a mut [Buffers; CONNECTIONS]) -> Self {
        let mut buffers = buffers.iter_mut();
        let model = Model {
            name: "vsock",
            id: device::VSOCK,
            features: (1 << F_STREAM) | (1 << F_SEQPACKET),
            in_order: true,
            queues: &SIZES,
        };
        Self {
            transport: Transport::new(model, &guest_cid.to_le_bytes()),
            guest_cid,
            chain: Chain::new(),
            conns: core::array::from_fn(|_| Conn::new(buffers.next())),
            refusals: List::new(),
            waiting: List::new(),
            doubt: None,
            next_port: FIRST_PORT,
            used: 0,
            turn: 0,
            room: 0,
            starved: false,
            stats: VsockStats::default(),
            liar: Liar::default(),
        }
    }

    /// Counters.
    pub const fn stats(&self) -> &VsockStats {
        &self.stats
    }

    /// Connections in use.
    pub fn connections(&self) -> usize {
        self.conns.iter().filter(|conn| conn.alive()).count()
    }

    /// One pass: takes packets of Linux's, lets the services work, sends. `true` if anything
    /// happened. `now` is in milliseconds.
    pub fn poll(&mut self, shared: &Shared, app: &mut dyn App, now: u64) -> bool {
        // A pass over all connections is worth it only if there is one.
        if self.used == 0
            && self.refusals.is_empty()
            && !app.waits()
            && self.transport.chains(shared, TXQ) == 0
        {
            return false;
        }
        let mut busy = self.bury(app);
        busy |= self.receive(shared, app);
        busy |= self.serve(app, now);
        busy |= self.call(app, now);
        busy |= self.storm(shared);
        busy | self.transmit(shared, now)
    }

    /// Frees the connections that went with the device's reset.
    fn bury(&mut self, app: &mut dyn App) -> bool {
        let mut busy = false;
        for id in 0..CONNECTIONS {
            if self.conns.get(id).is_some_and(|c| c.state == State::Dead) {
                self.free(app, id);
                busy = true;
            }
        }
        busy
    }

    /// Ends a connection.
    fn free(&mut self, app: &mut dyn App, id: usize) {
        if let Some(conn) = self.conns.get_mut(id) {
            app.closed(id);
            conn.state = State::Free;
            self.used = self.used.saturating_sub(1);
        }
    }

    /// Whether all places are taken, one of them by a connection that Linux has closed.
    fn crowded(&self) -> bool {
        self.used == CONNECTIONS && self.conns.iter().any(Conn::closed)
    }

    /// Takes packets of Linux's.
    fn receive(&mut self, shared: &Shared, app: &mut dyn App) -> bool {
        let mut busy = false;
        for _ in 0..BUDGET {
            // Each packet can cost one refusal, and each can be a request.
            if self.refusals.is_full()
                || self.crowded()
                || !self.transport.pop(shared, TXQ, &mut self.chain)
            {
                break;
            }
            busy = true;
            self.stats.received = self.stats.received.wrapping_add(1);

            let mut bytes = [0; HEADER];
            if self.chain.read(&shared.mem, 0, &mut bytes) == HEADER {
                let header = Header::parse(&bytes);
                self.packet(shared, app, &header);
            } else {
                self.stats.bad = self.stats.bad.wrapping_add(1);
            }
            let len = self.chain.readable_len();
            self.transport.push(shared, TXQ, &self.chain, len);
            self.settle(app);
        }
        busy
    }

    /// Handles one packet, whose bytes are still in the chain.
    fn packet(&mut self, shared: &Shared, app: &mut dyn App, header: &Header) {
        let carried = self.chain.readable_len().saturating_sub(HEADER as u32);
        let ours = header.src_cid == self.guest_cid && header.dst_cid == PEER_CID;
        let found = self.conns.iter().position(|conn| {
            ours && conn.alive() && conn.local == header.dst_port && conn.remote == header.src_port
        });
        let kind = self.socket_type(header);
        if !ours || header.len > carried {
            // The refusal ends a connection for Linux, so it has to end here as well.
            self.fail(app, found, header);
            return;
        }
        // What is refused with another type ends nothing, neither for Linux nor here. But the ports of a
        // connection that we have closed can be another one's.
        let closing = |conn: &Conn<'_>| matches!(conn.state, State::Closing(_));
        let same = |conn: &Conn<'_>| {
            Some(conn.kind) == kind || (header.op == op::REQUEST && closing(conn))
        };
        let conn = found.and_then(|id| self.conns.get(id));
        let Some(kind) = kind.filter(|_| conn.is_none_or(same)) else {
            self.fail(app, None, header);
            return;
        };
        let Some(id) = found else {
            // Whoever asks again does not ask twice.
            self.waiting.forget(header);
            if header.op == op::REQUEST {
                self.request(app, kind, header);
            } else {
                self.refuse(header);
            }
            return;
        };
        let Some(conn) = self.conns.get_mut(id) else {
            return;
        };

        conn.learn_credit(header);
        conn.heard = true;
        match (header.op, conn.state) {
            (op::RST, _) => self.free(app, id),
            (op::RESPONSE, State::Connecting(_)) if conn.opening == Todo::Nothing => {
                conn.state = State::Open;
                self.stats.opened = self.stats.opened.wrapping_add(1);
            }
            (op::RW, State::Open) => {
                let took = Self::take(shared, &self.chain, conn, header.len as usize)
                    && (kind == SocketType::Stream
                        || conn.arrived(header.len as usize, header.flags));
                if !took {
                    if self.transport.quota.take() {
                        log::warn!(
                            "vsock: port {}: more bytes than credit, or more than {EMPTY_MOST} \
                             messages without bytes",
                            conn.local
                        );
                    }
                    self.fail(app, found, header);
                }
            }
            (op::SHUTDOWN, State::Open | State::Closing(_)) => {
                conn.peer_shutdown(header.flags);
                if conn.over() {
                    self.reset_one(app, id);
                }
            }
            (op::CREDIT_REQUEST, State::Open) => conn.credit_owed = true,
            // On the way when we closed.
            (op::RW | op::CREDIT_UPDATE | op::CREDIT_REQUEST, State::Open | State::Closing(_)) => {}
            // The old connection of these ports is over for Linux: this is a new one.
            (op::REQUEST, State::Closing(_)) => {
                self.free(app, id);
                self.request(app, kind, header);
            }
            _ => self.fail(app, found, header),
        }
    }

    /// The type of socket that a packet is for, if there is such a type.
    fn socket_type(&self, header: &Header) -> Option<SocketType> {
        match header.kind {
            // Implied where neither it nor anything else was agreed on (VIRTIO 5.10.3).
            TYPE_STREAM => Some(SocketType::Stream),
            TYPE_SEQPACKET if self.transport.has_feature(F_SEQPACKET) => {
                Some(SocketType::Seqpacket)
            }
            _ => None,
        }
    }

    /// Refuses a packet that makes no sense, and ends the connection that it is of.
    fn fail(&mut self, app: &mut dyn App, found: Option<usize>, header: &Header) {
        if let Some(id) = found {
            self.free(app, id);
        }
        self.stats.bad = self.stats.bad.wrapping_add(1);
        self.refuse(header);
    }

    /// Ends a connection and owes Linux the reset that says so. There has to be room for it.
    fn reset_one(&mut self, app: &mut dyn App, id: usize) {
        if let Some(conn) = self.conns.get_mut(id) {
            let header = conn.header(op::RST, (PEER_CID, self.guest_cid), 0);
            self.refusals.push(header);
            self.free(app, id);
        }
    }

    /// Copies the bytes of a packet to the connection; `false` if Linux had no credit for them.
    fn take(shared: &Shared, chain: &Chain, conn: &mut Conn<'_>, len: usize) -> bool {
        if len > conn.rx_room() {
            return false;
        }
        let mut skip = HEADER as u32;
        let mut left = len;
        // Two turns at most: the ring's room lies in two pieces at most.
        for _ in 0..2 {
            let room = conn.rx.writable();
            let part = left.min(room.len());
            let room = room.get_mut(..part).unwrap_or(&mut []);
            let got = chain.read(&shared.mem, skip, room);
            conn.rx.commit(got);
            left -= got;
            skip = skip.wrapping_add(got as u32);
        }
        left == 0
    }

    /// Linux opens a connection.
    fn request(&mut self, app: &mut dyn App, kind: SocketType, header: &Header) {
        // A reset of an older connection between these ports would end the new one.
        self.refusals.forget(&header.refusal());

        let free = self.conns.iter().position(|c| c.state == State::Free);
        if let Some(id) = free {
            if app.accept(id, kind, header.dst_port, header.src_port) {
                if let Some(conn) = self.conns.get_mut(id) {
                    let ports = (header.dst_port, header.src_port);
                    conn.open(State::Open, kind, ports, Todo::Response);
                    conn.learn_credit(header);
                    self.used += 1;
                    self.stats.opened = self.stats.opened.wrapping_add(1);
                }
                return;
            }
        } else if self.wait(header) {
            return;
        }
        self.refuse(header);
    }

    /// Owes Linux a reset for this packet.
    fn refuse(&mut self, header: &Header) {
        // Two sides that answer a reset by a reset would never stop.
        if header.op == op::RST {
            return;
        }
        self.stats.refused = self.stats.refused.wrapping_add(1);
        self.refusals.push(header.refusal());
    }

    /// Lets the services work, and ends what is over.
    fn serve(&mut self, app: &mut dyn App, now: u64) -> bool {
        let mut busy = false;
        for id in 0..CONNECTIONS {
            let full = self.used == CONNECTIONS;
            let Some(conn) = self.conns.get_mut(id) else {
                break;
            };
            let moved = conn.state == State::Open
                && match conn.kind {
                    SocketType::Stream => app.poll(id, conn),
                    SocketType::Seqpacket => app.poll_messages(id, conn),
                };
            busy |= moved;
            let too_large = conn.kind == SocketType::Seqpacket
                && conn.next_part(self.room) == Next::TooLarge
                && !self.refusals.is_full();
            if too_large {
                self.stats.too_large = self.stats.too_large.wrapping_add(1);
                if self.transport.quota.take() {
                    log::warn!(
                        "vsock: port {}: a message larger than Linux's buffer of {} bytes",
                        conn.local,
                        conn.peer_alloc
                    );
                }
            }
            let ended = too_large
                || match conn.state {
                    State::Connecting(deadline) | State::Closing(deadline) if now >= deadline => {
                        true
                    }
                    // A service that does not take what is left keeps nobody out.
                    _ => conn.over() || (conn.closed() && full && !moved),
                };
            if ended && !self.refusals.is_full() {
                self.reset_one(app, id);
                busy = true;
            }
        }
        self.hurry(app, now);
        busy
    }

    /// Opens the connection that a service wants.
    fn call(&mut self, app: &mut dyn App, now: u64) -> bool {
        let mut busy = false;
        if self.transport.status() & crate::proto::virtio::status::DRIVER_OK == 0 {
            return busy;
        }
        let Some(id) = self.conns.iter().position(|c| c.state == State::Free) else {
            return busy;
        };
        if let Some((kind, remote)) = app.wants_connection() {
            let local = self.next_port;
            self.next_port = self.next_port.checked_add(1).unwrap_or(FIRST_PORT);
            if let Some(conn) = self.conns.get_mut(id) {
                let state = State::Connecting(now.saturating_add(PATIENCE));
                conn.open(state, kind, (local, remote), Todo::Request);
                self.used += 1;
                app.connecting(id, kind, remote);
                busy = true;
            }
        }
        busy
    }
}

impl Device for Vsock<'_> {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {
        for conn in &mut self.conns {
            if conn.alive() {
                conn.state = State::Dead;
            }
        }
        self.refusals.clear();
        self.waiting.clear();
        self.starved = false;
    }

    fn wanted(&self, least: &mut [u16]) {
        let (rx, tx) = (self.starved, !self.refusals.is_full());
        for (queue, wants) in [(RXQ, rx), (TXQ, tx)] {
            if let Some(least) = least.get_mut(queue) {
                *least = u16::from(wants);
            }
        }
    }
}
