// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What goes to Linux: refusals, control packets, then bytes, the connections in turn.

#![forbid(unsafe_code)]

use super::conn::{Conn, State, Todo};
use super::packet::{op, Header, HEADER};
use super::seqpacket::{Next, Part};
use super::{SocketType, Vsock, CONNECTIONS, PATIENCE, PEER_CID, RXQ};
use crate::messages::End;
use crate::shared::{Shared, BUDGET};

/// What kind of packet is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One without bytes.
    Control,
    /// Any.
    All,
}

impl Vsock<'_> {
    /// Sends what is owed, as far as Linux has buffers.
    pub(super) fn transmit(&mut self, shared: &Shared, now: u64) -> bool {
        let mut left = BUDGET;
        self.starved = false;

        while let Some(header) = self.refusals.first().filter(|_| left > 0) {
            if !self.send(shared, &header, None) {
                return left < BUDGET;
            }
            self.refusals.drop_first();
            left -= 1;
        }

        // Whoever opens or closes a connection does not wait for those that have much to say.
        for kind in [Kind::Control, Kind::All] {
            for step in 0..CONNECTIONS {
                let id = (self.turn + step) % CONNECTIONS;
                let before = left;
                while left > 0 {
                    match self.send_next(shared, id, now, kind) {
                        Some(true) => left -= 1,
                        Some(false) => {
                            // Buffers come a few at a time: the next ones are for the others.
                            self.turn = (id + usize::from(left < before)) % CONNECTIONS;
                            return left < BUDGET;
                        }
                        None => break,
                    }
                }
                if left == 0 {
                    self.turn = (id + 1) % CONNECTIONS;
                    return true;
                }
            }
        }
        self.turn = (self.turn + 1) % CONNECTIONS;
        left < BUDGET
    }

    /// Sends the next packet of a connection: `None` if it has none, `Some(false)` if Linux has
    /// no buffer.
    fn send_next(&mut self, shared: &Shared, id: usize, now: u64, kind: Kind) -> Option<bool> {
        let cids = (PEER_CID, self.guest_cid);
        let conn = self.conns.get_mut(id)?;
        let room = self.room;
        let can_send = |conn: &Conn<'_>| match conn.kind {
            SocketType::Stream => conn.can_send(),
            SocketType::Seqpacket => matches!(conn.next_part(room), Next::Part(_)),
        };
        let op = match conn.todo() {
            Todo::Request => op::REQUEST,
            Todo::Response => op::RESPONSE,
            Todo::Ask => op::CREDIT_REQUEST,
            Todo::Credit if !can_send(conn) => op::CREDIT_UPDATE,
            Todo::Shutdown => op::SHUTDOWN,
            Todo::Credit | Todo::Nothing if kind == Kind::All && can_send(conn) => op::RW,
            Todo::Credit | Todo::Nothing => return None,
        };
        if self.transport.chains(shared, RXQ) == 0 {
            self.starved = true;
            return Some(false);
        }

        let conn = self.conns.get_mut(id)?;
        let header = conn.header(op, cids, 0);
        match op {
            op::RW => return Some(self.send(shared, &header, Some(id))),
            op::SHUTDOWN => {
                conn.shut_sent = true;
                conn.state = State::Closing(now.saturating_add(PATIENCE));
            }
            op::REQUEST | op::RESPONSE => conn.opening = Todo::Nothing,
            _ => {}
        }
        Some(self.send(shared, &header, None))
    }

    /// Sends one packet, with as many bytes of connection `from` as Linux's buffer and credit
    /// allow; `false` if Linux has no buffer.
    pub(super) fn send(&mut self, shared: &Shared, header: &Header, from: Option<usize>) -> bool {
        if !self.transport.pop(shared, RXQ, &mut self.chain) {
            self.starved = true;
            return false;
        }
        let mut header = *header;
        let mut count = 0;
        let before = self.room;
        self.room = (self.chain.writable_len() as usize).saturating_sub(HEADER);
        if let Some(conn) = from.and_then(|id| self.conns.get_mut(id)) {
            let mut part = match (conn.kind, conn.next_part(before)) {
                (SocketType::Seqpacket, Next::Part(part)) => part,
                (SocketType::Seqpacket, _) => Part { len: 0, end: None },
                (SocketType::Stream, _) => Part {
                    len: conn.tx.readable().len().min(conn.credit()),
                    end: None,
                },
            };
            if part.len > self.room {
                part = Part {
                    len: self.room,
                    end: None,
                };
            }
            count = part.len;
            header.flags |= part.end.map_or(0, End::flags);
            let mut at = HEADER as u32;
            let mut left = count;
            // A message is sent in one packet also where it lies in two pieces.
            while left > 0 {
                let piece = conn.tx.readable();
                let bytes = piece.get(..left.min(piece.len())).unwrap_or(&[]);
                self.chain.write(&shared.mem, at, bytes);
                let done = bytes.len();
                if done == 0 {
                    break;
                }
                at = at.wrapping_add(done as u32);
                left -= done;
                conn.tx.consume(done);
            }
            match conn.kind {
                SocketType::Stream => conn.sent(count),
                SocketType::Seqpacket => conn.sent_part(part),
            }
        }
        header.len = count as u32;
        self.lie(&mut header);
        let written = self.chain.write(&shared.mem, 0, &header.emit());
        self.transport
            .push(shared, RXQ, &self.chain, (written + count) as u32);
        self.stats.sent = self.stats.sent.wrapping_add(1);
        true
    }
}
