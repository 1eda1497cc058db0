// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the socket device and its services know of each other.

#![forbid(unsafe_code)]

use super::packet::{TYPE_SEQPACKET, TYPE_STREAM};
use crate::messages::Messages;
use crate::stream::Stream;

/// What a socket carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// Bytes.
    Stream,
    /// Messages.
    Seqpacket,
}

impl SocketType {
    /// As a packet says it.
    pub(super) const fn number(self) -> u16 {
        match self {
            Self::Stream => TYPE_STREAM,
            Self::Seqpacket => TYPE_SEQPACKET,
        }
    }
}

/// What serves the connections. `id` is below [`CONNECTIONS`](super::CONNECTIONS).
pub trait App {
    /// Linux wants to connect to `port`; `false` refuses.
    fn accept(&mut self, id: usize, kind: SocketType, port: u32, remote: u32) -> bool;

    /// Moves bytes of an open connection; `true` if there were any.
    fn poll(&mut self, id: usize, stream: &mut dyn Stream) -> bool;

    /// The same for one that carries messages; `true` if anything of them was moved. Not called where
    /// none is accepted.
    fn poll_messages(&mut self, _id: usize, _messages: &mut dyn Messages) -> bool {
        false
    }

    /// A connection has ended, or was refused by Linux.
    fn closed(&mut self, id: usize);

    /// The Linux port that a service wants to be connected to, if there is one, and for what. Only
    /// asked when a connection is free.
    fn wants_connection(&mut self) -> Option<(SocketType, u32)>;

    /// Whether a service waits for [`App::wants_connection`] to be called.
    fn waits(&self) -> bool;

    /// That connection is number `id`; it is open once [`App::poll`] is called for it.
    fn connecting(&mut self, id: usize, kind: SocketType, remote: u32);
}

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct VsockStats {
    /// Packets that Linux sent.
    pub received: u64,
    /// Packets that Linux was given.
    pub sent: u64,
    /// Packets of Linux that made no sense.
    pub bad: u64,
    /// Connections opened.
    pub opened: u64,
    /// Packets refused by a reset.
    pub refused: u64,
    /// Connections ended because Linux's buffer was too small for a message.
    pub too_large: u64,
}
