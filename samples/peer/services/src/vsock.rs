// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The vsock services.

use crate::messages::Conversation;
use crate::session::{Carrier, Env, Kind, Session};
use hvl_device::messages::Messages;
use hvl_device::stream::Stream;
use hvl_device::vsock::{App, SocketType, CONNECTIONS};

/// Ports and what they are for.
const SERVICES: [(u32, Kind); 7] = [
    (7, Kind::Echo),
    (9, Kind::Discard),
    (19, Kind::Chargen),
    (20, Kind::Callback),
    (21, Kind::Status),
    (22, Kind::Control),
    (37, Kind::Stamp),
];

/// A connection, by what it carries.
#[derive(Clone, Copy, Debug)]
enum Talk {
    Stream(Session),
    Messages(Conversation),
}

impl Talk {
    const fn new(kind: Kind, socket: SocketType, out: bool, remote: u32) -> Self {
        match (socket, out) {
            (SocketType::Stream, false) => Self::Stream(Session::new(kind, Carrier::Vsock, remote)),
            (SocketType::Stream, true) => {
                Self::Stream(Session::new(kind, Carrier::VsockOut, remote))
            }
            (SocketType::Seqpacket, false) => {
                Self::Messages(Conversation::new(kind, Carrier::Seqpacket, remote))
            }
            (SocketType::Seqpacket, true) => {
                Self::Messages(Conversation::new(kind, Carrier::SeqpacketOut, remote))
            }
        }
    }
}

/// The connections of the vsock services.
#[derive(Debug)]
pub struct VsockServices {
    talks: [Option<Talk>; CONNECTIONS],
    /// Linux ports that callbacks want, for streams and for messages.
    connect: Option<u32>,
    connect_messages: Option<u32>,
}

impl Default for VsockServices {
    fn default() -> Self {
        Self::new()
    }
}

impl VsockServices {
    /// No connection.
    pub const fn new() -> Self {
        Self {
            talks: [None; CONNECTIONS],
            connect: None,
            connect_messages: None,
        }
    }

    /// The services for one pass.
    pub fn pass<'a, 'e>(&'a mut self, env: &'a mut Env<'e>) -> VsockPass<'a, 'e> {
        VsockPass {
            services: self,
            env,
        }
    }
}

/// The services during one pass.
#[derive(Debug)]
pub struct VsockPass<'a, 'e> {
    services: &'a mut VsockServices,
    env: &'a mut Env<'e>,
}

impl App for VsockPass<'_, '_> {
    fn accept(&mut self, id: usize, socket: SocketType, port: u32, remote: u32) -> bool {
        let kind = SERVICES
            .iter()
            .find(|(number, _)| *number == port)
            .filter(|(_, kind)| socket == SocketType::Stream || Conversation::serves(*kind));
        match (kind, self.services.talks.get_mut(id)) {
            (Some((_, kind)), Some(slot)) => {
                *slot = Some(Talk::new(*kind, socket, false, remote));
                true
            }
            _ => false,
        }
    }

    fn poll(&mut self, id: usize, stream: &mut dyn Stream) -> bool {
        let services = &mut *self.services;
        match services.talks.get_mut(id) {
            Some(Some(Talk::Stream(session))) => {
                session.poll(stream, self.env, &mut services.connect)
            }
            _ => false,
        }
    }

    fn poll_messages(&mut self, id: usize, messages: &mut dyn Messages) -> bool {
        let services = &mut *self.services;
        match services.talks.get_mut(id) {
            Some(Some(Talk::Messages(conversation))) => {
                conversation.poll(messages, &mut services.connect_messages)
            }
            _ => false,
        }
    }

    fn closed(&mut self, id: usize) {
        match self.services.talks.get_mut(id).and_then(Option::take) {
            Some(Talk::Stream(session)) => session.record(self.env.sums),
            Some(Talk::Messages(conversation)) => conversation.record(self.env.sums),
            None => {}
        }
    }

    fn wants_connection(&mut self) -> Option<(SocketType, u32)> {
        let services = &mut *self.services;
        let stream = services.connect.take();
        let stream = stream.map(|port| (SocketType::Stream, port));
        stream.or_else(|| {
            let port = services.connect_messages.take()?;
            Some((SocketType::Seqpacket, port))
        })
    }

    fn waits(&self) -> bool {
        self.services.connect.is_some() || self.services.connect_messages.is_some()
    }

    fn connecting(&mut self, id: usize, socket: SocketType, remote: u32) {
        if let Some(slot) = self.services.talks.get_mut(id) {
            *slot = Some(Talk::new(Kind::Echo, socket, true, remote));
        }
    }
}
