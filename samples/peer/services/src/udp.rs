// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The UDP services.

use crate::chargen;
use crate::guard::Datagrams;
use crate::report::UdpStats;
use crate::session::Kind;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{SendError, Socket, UdpMetadata};
use smoltcp::wire::{IpAddress, IPV4_HEADER_LEN, IPV6_HEADER_LEN};

/// Datagrams of one service that are handled in one pass.
const BUDGET: usize = 16;
/// Bytes of the datagram that chargen answers with, at most 512 (RFC 864).
const CHARGEN: usize = 512;
/// Milliseconds after which answers are given up that nobody can be found for.
const SILENCE: u64 = 3000;

/// Where the answer to a datagram goes, and where it comes from.
pub(crate) fn answer_to(asked: &UdpMetadata) -> UdpMetadata {
    let mut to = *asked;
    // The one of our addresses that was asked: of IPv4 there is only one, and a group is none.
    let own = |asked: &IpAddress| matches!(asked, IpAddress::Ipv6(_)) && asked.is_unicast();
    to.local_address = to.local_address.filter(own);
    to
}

/// A UDP service.
#[derive(Debug)]
pub(crate) struct Service {
    kind: Kind,
    port: u16,
    handle: SocketHandle,
    pub(crate) stats: UdpStats,
    /// Datagrams that had gone out when the last one did, and when that was.
    gone: u64,
    moved: u64,
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
            port,
            handle: sockets.add(socket),
            stats: UdpStats::default(),
            gone: 0,
            moved: 0,
        }
    }

    /// Serves the socket; `true` if there was anything. `piece` has room for the largest datagram that
    /// goes by IPv4.
    pub(crate) fn poll(&mut self, sockets: &mut SocketSet<'_>, piece: &mut [u8]) -> bool {
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        let mut busy = false;
        for _ in 0..BUDGET {
            let Ok((data, meta)) = socket.peek() else {
                break;
            };
            let to = answer_to(meta);
            let larger = match to.endpoint.addr {
                IpAddress::Ipv6(_) => IPV6_HEADER_LEN - IPV4_HEADER_LEN,
                IpAddress::Ipv4(_) => 0,
            };
            let fits = data.len() + larger <= piece.len();
            let answer = match self.kind {
                Kind::Echo => piece.get_mut(..data.len()).filter(|_| fits).map(|piece| {
                    piece.copy_from_slice(data);
                    &*piece
                }),
                Kind::Chargen => piece.get_mut(..CHARGEN).map(|piece| {
                    chargen::fill(0, piece);
                    &*piece
                }),
                _ => Some(&[][..]),
            };
            let silent = self.kind == Kind::Discard;
            let sent = match answer {
                Some(_) if silent => Ok(()),
                Some(answer) => socket.send_slice(answer, to),
                // Longer than any packet that could carry it back.
                None => Err(SendError::Unaddressable),
            };
            // What waits for room leaves some, so the answer can wait as well.
            if sent == Err(SendError::BufferFull) && socket.send_queue() > 0 {
                break;
            }
            // It is there: it was looked at.
            let _ = socket.recv();
            busy = true;
            let stats = &mut self.stats;
            stats.received = stats.received.wrapping_add(1);
            if sent.is_err() {
                stats.dropped = stats.dropped.wrapping_add(1);
            } else if !silent {
                stats.sent = stats.sent.wrapping_add(1);
            }
        }
        busy
    }

    /// Looks after what does not get on. `now` is in milliseconds; `takes` says whether Linux takes
    /// frames.
    pub(crate) fn settle(
        &mut self,
        sockets: &mut SocketSet<'_>,
        datagrams: Datagrams,
        takes: bool,
        now: u64,
    ) {
        let socket = sockets.get_mut::<Socket<'_>>(self.handle);
        let stats = &mut self.stats;
        let waiting = stats.sent.wrapping_sub(datagrams.gone);
        if waiting == 0 || datagrams.gone != self.gone || !takes {
            self.gone = datagrams.gone;
            self.moved = now;
        } else if now.saturating_sub(self.moved) > SILENCE {
            // Whoever the first one is for does not tell its Ethernet address; the socket would
            // keep the others waiting for good.
            stats.dropped = stats.dropped.wrapping_add(waiting);
            stats.sent = datagrams.gone;
            socket.close();
            // As in `new`.
            let _ = socket.bind(self.port);
        }
        // What is not taken yet is not lost.
        if !socket.can_recv() {
            stats.lost = datagrams.shown.wrapping_sub(stats.received);
        }
    }
}
