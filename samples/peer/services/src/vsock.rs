// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The vsock services.

use crate::session::{Carrier, Env, Kind, Session};
use hvl_device::stream::Stream;
use hvl_device::vsock::{App, CONNECTIONS};

/// Ports and what they are for.
const SERVICES: [(u32, Kind); 5] = [
    (7, Kind::Echo),
    (9, Kind::Discard),
    (19, Kind::Chargen),
    (20, Kind::Callback),
    (21, Kind::Status),
];

/// The connections of the vsock services.
#[derive(Debug)]
pub struct VsockServices {
    sessions: [Option<Session>; CONNECTIONS],
    /// Linux port that a callback wants.
    connect: Option<u32>,
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
            sessions: [None; CONNECTIONS],
            connect: None,
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
    fn accept(&mut self, id: usize, port: u32, remote: u32) -> bool {
        let kind = SERVICES.iter().find(|(number, _)| *number == port);
        match (kind, self.services.sessions.get_mut(id)) {
            (Some((_, kind)), Some(slot)) => {
                *slot = Some(Session::new(*kind, Carrier::Vsock, remote));
                true
            }
            _ => false,
        }
    }

    fn poll(&mut self, id: usize, stream: &mut dyn Stream) -> bool {
        let services = &mut *self.services;
        match services.sessions.get_mut(id) {
            Some(Some(session)) => session.poll(stream, self.env, &mut services.connect),
            _ => false,
        }
    }

    fn closed(&mut self, id: usize) {
        if let Some(session) = self.services.sessions.get_mut(id).and_then(Option::take) {
            session.record(self.env.sums);
        }
    }

    fn wants_connection(&mut self) -> Option<u32> {
        self.services.connect.take()
    }

    fn waits(&self) -> bool {
        self.services.connect.is_some()
    }

    fn connecting(&mut self, id: usize, remote: u32) {
        if let Some(slot) = self.services.sessions.get_mut(id) {
            *slot = Some(Session::new(Kind::Echo, Carrier::VsockOut, remote));
        }
    }
}
