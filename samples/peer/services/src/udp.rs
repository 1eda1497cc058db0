// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The UDP services.

use crate::chargen;
use crate::report::UdpStats;
use crate::session::Kind;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::Socket;

/// Datagrams of one service that are handled in one pass.
const BUDGET: usize = 16;
/// Bytes of the datagram that chargen answers with, at most 512 (RFC 864).
const CHARGEN: usize = 512;

/// A UDP service.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    handle: SocketHandle,
    pub(crate) stats: UdpStats,
}

impl Service {
    /// Adds `socket` to serve `kind` on `port`.
    pub(crate) fn new<'s>(
        sockets: &mut SocketSet<'s>,
        mut socket: Socket<'s>,
        kind: Kind,
        port: u16,
    ) -> Self {
        // Fails only for port 0 or a socket that is open.
        let _ = socket.bind(port);
        Self {
            kind,
            handle: sockets.add(socket),
            stats: UdpStats::default(),
        }
    }

    /// Serves the socket; `true` if there was anything.
    pub(crate) fn poll(&mut self, sockets: &mut SocketSet<'_>) -> bool {
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        if !socket.can_recv() {
            return false;
        }
        self.answer(socket)
    }

    /// Answers what has arrived. Apart, so that the room is only made when it is needed.
    #[inline(never)]
    fn answer(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut busy = false;
        let mut datagram = [0; 2048];
        for _ in 0..BUDGET {
            if self.kind != Kind::Discard && !socket.can_send() {
                break;
            }
            let Ok((len, from)) = socket.recv_slice(&mut datagram) else {
                break;
            };
            busy = true;
            self.stats.received = self.stats.received.wrapping_add(1);
            let answer = match self.kind {
                Kind::Echo => datagram.get(..len),
                Kind::Chargen => {
                    let answer = datagram.get_mut(..CHARGEN).unwrap_or(&mut []);
                    chargen::fill(0, answer);
                    Some(&*answer)
                }
                _ => None,
            };
            if let Some(answer) = answer {
                if socket.send_slice(answer, from.endpoint).is_ok() {
                    self.stats.sent = self.stats.sent.wrapping_add(1);
                }
            }
        }
        busy
    }
}
