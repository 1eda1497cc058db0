// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A service of sockets for tests.

use hvl_device::stream::Stream;
use hvl_device::vsock::{App, SocketType};

/// Echoes on every port.
pub struct Echo;

impl App for Echo {
    fn accept(&mut self, _: usize, kind: SocketType, _: u32, _: u32) -> bool {
        kind == SocketType::Stream
    }

    fn poll(&mut self, _: usize, stream: &mut dyn Stream) -> bool {
        let bytes = stream.peek().to_vec();
        let sent = stream.send(&mut |room| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            count
        });
        stream.consume(sent);
        if stream.at_end() {
            stream.finish();
        }
        sent != 0
    }

    fn closed(&mut self, _: usize) {}

    fn wants_connection(&mut self) -> Option<(SocketType, u32)> {
        None
    }

    fn waits(&self) -> bool {
        false
    }

    fn connecting(&mut self, _: usize, _: SocketType, _: u32) {}
}
