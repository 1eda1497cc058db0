// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory of a stack's sockets.

use super::{
    iperf, BURST, BURST_BYTES, DATAGRAMS, DATAGRAM_BYTES, HTTP_SOCKETS, HUGE, LARGE, PAGE,
    SERVICE_SOCKETS, SMALL, SOCKETS, UDP_SERVICES,
};
use hvl_device::net::MTU_MAX;
use smoltcp::iface::SocketStorage;
use smoltcp::socket::udp;

/// The sockets' memory, all zero so that it costs nothing in a program's image.
#[derive(Debug)]
pub struct Memory {
    pub(super) echo: [([u8; LARGE], [u8; LARGE]); SERVICE_SOCKETS],
    pub(super) discard: [([u8; HUGE], [u8; SMALL]); SERVICE_SOCKETS],
    pub(super) chargen: [([u8; SMALL], [u8; HUGE]); SERVICE_SOCKETS],
    pub(super) http: [([u8; SMALL], [u8; PAGE]); HTTP_SOCKETS],
    pub(super) iperf: [([u8; LARGE], [u8; LARGE]); iperf::CONNECTIONS],
    pub(super) udp: [([u8; DATAGRAM_BYTES], [u8; DATAGRAM_BYTES]); UDP_SERVICES],
    pub(super) iperf_udp: ([u8; BURST_BYTES], [u8; HUGE]),
    pub(super) datagram: [u8; MTU_MAX],
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Memory for one stack.
    pub const fn new() -> Self {
        Self {
            echo: [([0; LARGE], [0; LARGE]); SERVICE_SOCKETS],
            discard: [([0; HUGE], [0; SMALL]); SERVICE_SOCKETS],
            chargen: [([0; SMALL], [0; HUGE]); SERVICE_SOCKETS],
            http: [([0; SMALL], [0; PAGE]); HTTP_SOCKETS],
            iperf: [([0; LARGE], [0; LARGE]); iperf::CONNECTIONS],
            udp: [([0; DATAGRAM_BYTES], [0; DATAGRAM_BYTES]); UDP_SERVICES],
            iperf_udp: ([0; BURST_BYTES], [0; HUGE]),
            datagram: [0; MTU_MAX],
        }
    }
}

/// The sockets' bookkeeping.
#[derive(Debug)]
pub struct Books {
    pub(super) sockets: [SocketStorage<'static>; SOCKETS],
    pub(super) udp: [[[udp::PacketMetadata; DATAGRAMS]; 2]; UDP_SERVICES],
    pub(super) iperf_udp: [[udp::PacketMetadata; BURST]; 2],
}

impl Default for Books {
    fn default() -> Self {
        Self::new()
    }
}

impl Books {
    /// Bookkeeping for one stack.
    pub const fn new() -> Self {
        Self {
            sockets: [SocketStorage::EMPTY; SOCKETS],
            udp: [[[udp::PacketMetadata::EMPTY; DATAGRAMS]; 2]; UDP_SERVICES],
            iperf_udp: [[udp::PacketMetadata::EMPTY; BURST]; 2],
        }
    }
}
