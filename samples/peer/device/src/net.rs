// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Network device (VIRTIO 5.1): raw Ethernet frames for a network stack on this side.

#![forbid(unsafe_code)]

use crate::checksum;
use crate::device::{Device, Shared, BUDGET};
use crate::proto::virtio::device;
use crate::queue::Chain;
use crate::transport::{Model, Transport};

/// Linux receives from the first queue and sends by the second.
const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;

/// Feature bits (VIRTIO 5.1.3).
const F_CSUM: u32 = 0;
const F_GUEST_CSUM: u32 = 1;
const F_MTU: u32 = 3;
const F_MAC: u32 = 5;
const F_HOST_TSO4: u32 = 11;
const F_STATUS: u32 = 16;

/// Header before each frame (VIRTIO 5.1.6).
const HEADER: usize = 12;
const HDR_NEEDS_CSUM: u8 = 1;

/// Ethernet frame with the largest IPv4 packet, which segmentation offloading may hand over.
pub const FRAME_MAX: usize = 14 + 65535;
/// Largest IP packet that is sent to Linux.
pub const MTU: usize = 1500;

/// Bit of the configuration space's status: the link is up.
const LINK_UP: u16 = 1;

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetStats {
    /// Frames that Linux sent.
    pub received: u64,
    /// Frames that Linux was given.
    pub sent: u64,
    /// Frames of Linux with an impossible length or a wrong checksum.
    pub bad: u64,
    /// Frames for which Linux had no room.
    pub dropped: u64,
}

/// The network device.
#[derive(Debug)]
pub struct Net {
    transport: Transport,
    chain: Chain,
    stats: NetStats,
    /// The stack wanted to send and found no buffer.
    starved: bool,
    was_reset: bool,
}

impl Net {
    /// A device which tells Linux to use the address `mac`; `offload` offers checksum and
    /// segmentation offloading.
    pub fn new(mac: [u8; 6], offload: bool) -> Self {
        let mut features = (1 << F_MAC) | (1 << F_STATUS) | (1 << F_MTU);
        if offload {
            features |= (1 << F_CSUM) | (1 << F_GUEST_CSUM) | (1 << F_HOST_TSO4);
        }
        let [a, b, c, d, e, f] = mac;
        let [status_low, status_high] = LINK_UP.to_le_bytes();
        let [mtu_low, mtu_high] = (MTU as u16).to_le_bytes();
        // mac, status, max_virtqueue_pairs, mtu (VIRTIO 5.1.4).
        let config = [
            a, b, c, d, e, f, status_low, status_high, 1, 0, mtu_low, mtu_high,
        ];
        let model = Model {
            name: "net",
            id: device::NET,
            features,
            queues: &[256, 256],
        };
        Self {
            transport: Transport::new(model, &config),
            chain: Chain::new(),
            stats: NetStats::default(),
            starved: false,
            was_reset: false,
        }
    }

    /// Whether the device was reset since the last call: the stack's connections are void.
    pub fn take_reset(&mut self) -> bool {
        core::mem::take(&mut self.was_reset)
    }

    /// Whether Linux has sent something, or given room that was missing.
    pub fn pending(&mut self, shared: &Shared) -> bool {
        let queue = if self.starved { RECEIVEQ } else { TRANSMITQ };
        self.transport.has_chain(shared, queue)
    }

    /// Counters.
    pub const fn stats(&self) -> &NetStats {
        &self.stats
    }

    /// Access to the frames for one pass, in which at most [`BUDGET`] go each way.
    pub fn port<'a>(&'a mut self, shared: &'a Shared) -> Port<'a> {
        self.starved = false;
        Port {
            net: self,
            shared,
            receive_left: BUDGET,
            send_left: BUDGET,
        }
    }
}

impl Device for Net {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {
        self.starved = false;
        self.was_reset = true;
    }

    fn wanted(&self) -> u32 {
        // Without room for an answer nothing is taken: see `Port::can_send`.
        if self.starved {
            1 << RECEIVEQ
        } else {
            1 << TRANSMITQ
        }
    }
}

/// The frames of one pass.
#[derive(Debug)]
pub struct Port<'a> {
    net: &'a mut Net,
    shared: &'a Shared,
    receive_left: usize,
    send_left: usize,
}

impl Port<'_> {
    /// Whether one of the budgets of this pass is used up.
    pub const fn exhausted(&self) -> bool {
        self.receive_left == 0 || self.send_left == 0
    }

    /// Copies the next frame of Linux's to `to`, which has [`FRAME_MAX`] bytes; returns its length.
    ///
    /// Its TCP or UDP checksum needs no look any more.
    pub fn receive(&mut self, to: &mut [u8]) -> Option<usize> {
        while self.receive_left > 0 {
            let net = &mut *self.net;
            if !net.transport.pop(self.shared, TRANSMITQ, &mut net.chain) {
                return None;
            }
            self.receive_left -= 1;
            let frame = Self::take(net, self.shared, to);
            let len = net.chain.readable_len();
            net.transport.push(self.shared, TRANSMITQ, &net.chain, len);
            match frame {
                Some(len) => {
                    net.stats.received = net.stats.received.wrapping_add(1);
                    return Some(len);
                }
                None => net.stats.bad = net.stats.bad.wrapping_add(1),
            }
        }
        None
    }

    /// Copies the frame out of the chain and checks it.
    fn take(net: &Net, shared: &Shared, to: &mut [u8]) -> Option<usize> {
        let mut header = [0; HEADER];
        if net.chain.read(&shared.mem, 0, &mut header) != HEADER {
            return None;
        }
        let len = net.chain.readable_len() as usize - HEADER;
        let frame = to.get_mut(..len)?;
        if net.chain.read(&shared.mem, HEADER as u32, frame) != len {
            return None;
        }
        // What was not to be completed by us was not on a wire either, but may have been
        // forwarded.
        let [flags, ..] = header;
        if flags & HDR_NEEDS_CSUM == 0 {
            if let Some(place) = checksum::find(frame) {
                if !checksum::verify(frame, &place) {
                    return None;
                }
            }
        }
        Some(len)
    }

    /// Whether [`Port::send`] would find a buffer.
    pub fn can_send(&mut self) -> bool {
        if self.send_left == 0 {
            return false;
        }
        let found = self.net.transport.has_chain(self.shared, RECEIVEQ);
        self.net.starved = !found;
        found
    }

    /// Gives a frame to Linux. The TCP or UDP checksum is filled in here, or left to Linux.
    pub fn send(&mut self, frame: &mut [u8]) {
        let net = &mut *self.net;
        if self.send_left == 0 || !net.transport.pop(self.shared, RECEIVEQ, &mut net.chain) {
            net.stats.dropped = net.stats.dropped.wrapping_add(1);
            return;
        }
        self.send_left -= 1;
        let total = frame.len().saturating_add(HEADER);
        if (net.chain.writable_len() as usize) < total {
            net.transport.push(self.shared, RECEIVEQ, &net.chain, 0);
            net.stats.dropped = net.stats.dropped.wrapping_add(1);
            return;
        }

        let mut header = [0; HEADER];
        header[10] = 1; // num_buffers
        if let Some(place) = checksum::find(frame) {
            if net.transport.has_feature(F_GUEST_CSUM) {
                checksum::begin(frame, &place);
                header[0] = HDR_NEEDS_CSUM;
                let start = (place.start as u16).to_le_bytes();
                let offset = (place.offset as u16).to_le_bytes();
                header[6..8].copy_from_slice(&start);
                header[8..10].copy_from_slice(&offset);
            } else {
                checksum::complete(frame, &place);
            }
        }
        let mem = &self.shared.mem;
        net.chain.write(mem, 0, &header);
        net.chain.write(mem, HEADER as u32, frame);
        net.transport
            .push(self.shared, RECEIVEQ, &net.chain, total as u32);
        net.stats.sent = net.stats.sent.wrapping_add(1);
    }
}
