// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A TCP connection as a stream, and the sockets of a TCP service.
//!
//! A service other than that for iperf3 has twice as many sockets as connections at a time. One that Linux has ended, by a FIN
//! or a reset, does not count any more, but its socket is in use until all that is left is out and
//! Linux has acknowledged it; meanwhile another one listens in its place. So as many sockets
//! listen as there may be connections more, and who comes beyond these is refused, after a moment in
//! which a place may become free ([`crate::hold`]).

use crate::guard::Key;
use crate::iperf::{Conn, Iperf, Next};
use crate::report::Sums;
use crate::session::{Carrier, Env, Kind, Session};
use hvl_device::stream::Stream;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Duration;
use smoltcp::wire::IpAddress;

/// A connection whose other end keeps silent for this long is given up.
const SILENCE: Duration = Duration::from_secs(30);
/// After this much silence the other end is asked whether it is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(8);

/// A smoltcp socket as a stream.
struct TcpStream<'a, 's>(&'a mut Socket<'s>);

impl Stream for TcpStream<'_, '_> {
    fn peek(&mut self) -> &[u8] {
        self.0.peek(usize::MAX).unwrap_or(&[])
    }

    fn consume(&mut self, count: usize) {
        let mut left = count;
        // The bytes may lie in two pieces.
        for _ in 0..2 {
            let taken = self.0.recv(|bytes| {
                let count = bytes.len().min(left);
                (count, count)
            });
            left -= taken.unwrap_or(0);
        }
    }

    fn room(&self) -> usize {
        if self.0.may_send() {
            self.0.send_capacity() - self.0.send_queue()
        } else {
            0
        }
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        if self.room() == 0 {
            return 0;
        }
        self.0
            .send(|room| {
                let count = fill(room).min(room.len());
                (count, count)
            })
            .unwrap_or(0)
    }

    fn is_heard(&self) -> bool {
        // TCP has no way to say so but a reset, which ends the connection.
        true
    }

    fn at_end(&self) -> bool {
        !self.0.may_recv() && self.0.recv_queue() == 0
    }

    fn finish(&mut self) {
        self.0.close();
    }
}

/// One socket that waits for a connection or has one.
#[derive(Debug)]
pub(crate) struct Slot {
    kind: Kind,
    port: u16,
    handle: SocketHandle,
    session: Option<Session>,
    /// In place of a session, if it is for iperf3.
    iperf: Option<Conn>,
    /// The connection was over in the last pass.
    over: bool,
    /// Everything was said, the end included; it is Linux's turn to acknowledge that.
    said: bool,
    /// Linux is to be told that the connection is no more.
    resetting: bool,
    /// The socket's state when it was looked at last.
    seen: State,
}

impl Slot {
    /// Adds `socket` to serve `kind` on `port`.
    pub(crate) fn new<'s>(
        sockets: &mut SocketSet<'s>,
        mut socket: Socket<'s>,
        kind: Kind,
        port: u16,
    ) -> Self {
        // Who always has more to say sends what Linux, or the device, can cut: not the little that an
        // acknowledgement has made room for. The others answer at once.
        socket.set_nagle_enabled(kind == Kind::Chargen);
        // smoltcp goes by the size of what it sends itself, which is many segments of Linux's. A pass
        // takes all that has come, and acknowledges it once.
        socket.set_ack_delay(None);
        socket.set_timeout(Some(SILENCE));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        Self {
            kind,
            port,
            handle: sockets.add(socket),
            session: None,
            iperf: None,
            over: false,
            said: false,
            resetting: false,
            seen: State::Closed,
        }
    }

    /// Serves the socket; `true` if it has to be served again.
    pub(crate) fn poll(
        &mut self,
        sockets: &mut SocketSet<'_>,
        env: &mut Env<'_>,
        iperf: &mut Iperf,
    ) -> bool {
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        let was_over = core::mem::replace(&mut self.over, socket.state() == State::TimeWait);
        match socket.state() {
            // What has just ended is acknowledged at the end of this pass; to forget the
            // connection would forget that.
            State::TimeWait if !was_over => true,
            State::TimeWait => {
                self.record(env.sums);
                // Waiting would keep the ports for ten seconds; the link does not reorder frames.
                // To listen can only fail for port 0 or a socket that is in use.
                let _ = socket.listen(self.port);
                socket.close();
                true
            }
            State::Closed => {
                self.record(env.sums);
                false
            }
            State::Listen | State::SynSent | State::SynReceived => false,
            _ => {
                if self.kind == Kind::Iperf {
                    let six = matches!(
                        socket.remote_endpoint().map(|end| end.addr),
                        Some(IpAddress::Ipv6(_))
                    );
                    let conn = self.iperf.get_or_insert_with(|| Conn::new(env.now, six));
                    let next = iperf.serve(conn, &mut TcpStream(socket), env);
                    socket.set_nagle_enabled(conn.is_bulk());
                    if next == Next::Reset {
                        socket.abort();
                        self.resetting = true;
                    }
                    return next != Next::Idle;
                }
                let remote = socket.remote_endpoint().map_or(0, |end| end.port);
                let new = || Session::new(self.kind, Carrier::Tcp, u32::from(remote));
                let session = self.session.get_or_insert_with(new);
                // TCP has no callbacks: nothing asks for a connection.
                session.poll(&mut TcpStream(socket), env, &mut None)
            }
        }
    }

    /// Whether the socket is in another state than the last time.
    pub(crate) fn changed(&mut self, sockets: &SocketSet<'_>) -> bool {
        let state = self.state(sockets);
        core::mem::replace(&mut self.seen, state) != state
    }

    /// Whether the socket has a connection, if it did when [`Slot::changed`] was asked last.
    pub(crate) const fn is_active(&self) -> bool {
        !matches!(self.seen, State::Listen | State::Closed)
    }

    /// Accounts for a connection that is over.
    fn record(&mut self, sums: &mut Sums) {
        self.iperf = None;
        if let Some(session) = self.session.take() {
            session.record(sums);
        }
    }

    /// The connection that the socket has or waits to be rid of.
    pub(crate) fn key(&self, sockets: &SocketSet<'_>) -> Option<Key> {
        let socket = sockets.get::<Socket<'_>>(self.handle);
        let (local, remote) = (socket.local_endpoint()?, socket.remote_endpoint()?);
        Some(Key {
            remote: remote.addr,
            own: local.addr,
            remote_port: remote.port,
            port: local.port,
        })
    }

    /// Notes that whoever has something to say has said some of it.
    pub(crate) fn note(&mut self, sockets: &SocketSet<'_>) {
        let socket = sockets.get::<Socket<'_>>(self.handle);
        self.said = socket.state() == State::LastAck && socket.send_queue() == 0;
    }

    /// Has nothing of its connection any more, and says so to nobody.
    fn forget(&mut self, sockets: &mut SocketSet<'_>, sums: &mut Sums) {
        self.listen(sockets, sums);
        sockets.get_mut::<Socket<'_>>(self.handle).close();
    }

    /// Waits for a connection.
    fn listen(&mut self, sockets: &mut SocketSet<'_>, sums: &mut Sums) {
        self.record(sums);
        self.over = false;
        self.said = false;
        self.resetting = false;
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        // Nothing is sent: to listen is to forget.
        socket.abort();
        // It can only fail for port 0 or a socket that is in use.
        let _ = socket.listen(self.port);
    }

    fn state(&self, sockets: &SocketSet<'_>) -> State {
        sockets.get::<Socket<'_>>(self.handle).state()
    }

    /// Whether there is a reset to be sent yet.
    fn has_reset(&self, sockets: &SocketSet<'_>) -> bool {
        let socket = sockets.get::<Socket<'_>>(self.handle);
        self.resetting && socket.remote_endpoint().is_some()
    }

    /// Ends whatever is going on: Linux's end of the device is gone.
    pub(crate) fn abort(&mut self, sockets: &mut SocketSet<'_>) {
        self.resetting = false;
        sockets.get_mut::<Socket<'_>>(self.handle).abort();
    }
}

/// What waits for a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    /// A socket that listens, or nobody and never anybody.
    Socket,
    /// The socket that has just answered an earlier one like it.
    Itself,
    /// Nobody: the service has all the connections that it can have.
    Nobody,
}

/// Whether a socket listens on `port`.
pub(crate) fn listens(slots: &[Slot], sockets: &SocketSet<'_>, port: u16) -> bool {
    let mut service = slots.iter().filter(|slot| slot.port == port);
    service.any(|slot| slot.state(sockets) == State::Listen)
}

/// Looks for who waits for the SYN that asks for `key`.
///
/// smoltcp would show it to the first socket that listens, also if another one has a connection with
/// these ends.
pub(crate) fn meet(
    slots: &mut [Slot],
    sockets: &mut SocketSet<'_>,
    sums: &mut Sums,
    key: &Key,
) -> Met {
    let known = |slot: &&mut Slot| slot.key(sockets) == Some(*key);
    if let Some(slot) = slots.iter_mut().find(known) {
        if slot.state(sockets) == State::SynReceived {
            return Met::Itself;
        }
        // Who asks anew has nothing of it any more.
        slot.forget(sockets, sums);
    }
    // What has been acknowledged since the last time may have made room.
    if !listens(slots, sockets, key.port) {
        listen(slots, sockets, sums);
    }
    let served = slots.iter().any(|slot| slot.port == key.port);
    if served && !listens(slots, sockets, key.port) {
        Met::Nobody
    } else {
        Met::Socket
    }
}

/// Sockets that a service has for each connection that it may have.
pub(crate) const SOCKETS_EACH: usize = 2;

impl Kind {
    /// Most connections that so many sockets have at a time.
    const fn limit(self, sockets: usize) -> usize {
        match self {
            // Its tests take one another's place, and the next client can wait for that.
            Self::Iperf => sockets,
            _ => sockets / SOCKETS_EACH,
        }
    }
}

/// Has as many sockets of each service listen as it may have connections more; `false` if not so many are
/// free yet.
pub(crate) fn listen(slots: &mut [Slot], sockets: &mut SocketSet<'_>, sums: &mut Sums) -> bool {
    let mut enough = true;
    for service in slots.chunk_by_mut(|one, other| one.port == other.port) {
        let limit = service
            .first()
            .map_or(0, |slot| slot.kind.limit(service.len()));
        let taken = service
            .iter()
            .filter(|slot| {
                use State::{Established, FinWait1, FinWait2, Listen, SynReceived, SynSent};
                matches!(
                    slot.state(sockets),
                    Listen | SynSent | SynReceived | Established | FinWait1 | FinWait2
                )
            })
            .count();
        let mut wanted = limit.saturating_sub(taken);
        // In want of a free one, one that has nothing to do but to wait. Linux has our end, as the
        // link loses nothing, and that it has it does not need to be known.
        for waiting in [false, true] {
            for slot in service.iter_mut() {
                let idle = match slot.state(sockets) {
                    State::Closed => !waiting && !slot.has_reset(sockets),
                    State::LastAck => waiting && slot.said,
                    State::TimeWait => waiting && slot.over,
                    _ => false,
                };
                if wanted > 0 && idle {
                    slot.listen(sockets, sums);
                    wanted -= 1;
                }
            }
        }
        enough &= wanted == 0;
    }
    enough
}
