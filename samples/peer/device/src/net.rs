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
const F_MRG_RXBUF: u32 = 15;
const F_STATUS: u32 = 16;

/// Header before each frame (VIRTIO 5.1.6).
const HEADER: usize = 12;
const HDR_NEEDS_CSUM: u8 = 1;

/// Ethernet frame with the largest IPv4 packet, which segmentation offloading may hand over.
pub const FRAME_MAX: usize = 14 + 65535;
/// Largest IP packet that can be sent to Linux.
pub const MTU_MAX: usize = 16000;
/// Smallest one that can be agreed on.
pub const MTU_MIN: usize = 1280;
/// Least size of the buffers that Linux posts in order to have frames spread over several.
const BUFFER_LEAST: u16 = 1400;
/// Most buffers of Linux's that one frame is spread over.
const MERGE_MAX: usize = 32;

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
    /// Buffers of Linux's that the largest frame may take.
    buffers_needed: u16,
}

impl Net {
    /// A device which tells Linux to use the address `mac`; `offload` offers checksum and
    /// segmentation offloading; `mtu` is the largest IP packet.
    pub fn new(mac: [u8; 6], mtu: u16, offload: bool) -> Self {
        let mut features = (1 << F_MAC) | (1 << F_STATUS) | (1 << F_MTU) | (1 << F_MRG_RXBUF);
        if offload {
            features |= (1 << F_CSUM) | (1 << F_GUEST_CSUM) | (1 << F_HOST_TSO4);
        }
        let [a, b, c, d, e, f] = mac;
        let [status_low, status_high] = LINK_UP.to_le_bytes();
        let [mtu_low, mtu_high] = mtu.to_le_bytes();
        // mac, status, max_virtqueue_pairs, mtu (VIRTIO 5.1.4).
        let config = [
            a,
            b,
            c,
            d,
            e,
            f,
            status_low,
            status_high,
            1,
            0,
            mtu_low,
            mtu_high,
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
            buffers_needed: 1 + mtu / BUFFER_LEAST,
        }
    }

    /// Whether the device was reset since the last call: the stack's connections are void.
    pub fn take_reset(&mut self) -> bool {
        core::mem::take(&mut self.was_reset)
    }

    /// Whether the stack wanted to send and found no room.
    pub const fn starved(&self) -> bool {
        self.starved
    }

    /// Whether Linux has sent something, or given room that was missing.
    pub fn pending(&mut self, shared: &Shared) -> bool {
        if self.starved {
            self.has_room(shared)
        } else {
            self.transport.chains(shared, TRANSMITQ) != 0
        }
    }

    /// Whether Linux has buffers for a frame of any size.
    fn has_room(&mut self, shared: &Shared) -> bool {
        let found = self.transport.chains(shared, RECEIVEQ);
        let needed = if self.transport.has_feature(F_MRG_RXBUF) {
            self.buffers_needed
        } else {
            1
        };
        found >= needed || (found != 0 && found >= self.transport.queue_size(RECEIVEQ) / 2)
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
        let found = self.net.has_room(self.shared);
        self.net.starved = !found;
        found
    }

    /// Gives a frame to Linux. The TCP or UDP checksum is filled in here, or left to Linux.
    pub fn send(&mut self, frame: &mut [u8]) {
        let sent = self.send_left > 0 && self.put(frame);
        self.send_left = self.send_left.saturating_sub(1);
        let stats = &mut self.net.stats;
        if sent {
            stats.sent = stats.sent.wrapping_add(1);
        } else {
            stats.dropped = stats.dropped.wrapping_add(1);
        }
    }

    /// Writes the frame to as many buffers of Linux's as it takes and may take; `false` if there
    /// are too few.
    fn put(&mut self, frame: &mut [u8]) -> bool {
        let net = &mut *self.net;
        let shared = self.shared;
        let mut header = Self::header(net, frame);
        let merge = net.transport.has_feature(F_MRG_RXBUF);
        let most = if merge { MERGE_MAX } else { 1 };

        // The header goes first, but says how many buffers there are: so it is written last.
        let mut first = None;
        let mut done = 0;
        let mut taken = 0;
        while done < frame.len() && taken < most {
            if !net.transport.pop(shared, RECEIVEQ, &mut net.chain) {
                break;
            }
            taken += 1;
            let skip = if first.is_none() { HEADER as u32 } else { 0 };
            let rest = frame.get(done..).unwrap_or(&[]);
            let count = net.chain.write(&shared.mem, skip, rest);
            done += count;
            if first.is_none() {
                first = net.chain.place(0, HEADER as u32);
            }
            let len = skip.wrapping_add(count as u32);
            net.transport.push(shared, RECEIVEQ, &net.chain, len);
        }
        let complete = done == frame.len() && first.is_some();
        if !complete {
            // Nothing of it was shown to Linux.
            for _ in 0..taken {
                net.transport.undo(shared, RECEIVEQ);
            }
            return false;
        }
        let [count_low, count_high] = (taken as u16).to_le_bytes();
        header[10] = count_low;
        header[11] = count_high;
        first.is_some_and(|at| shared.mem.write_bytes(at, &header))
    }

    /// The header of a frame to Linux, after the checksum was begun or completed.
    fn header(net: &Net, frame: &mut [u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        if let Some(place) = checksum::find(frame) {
            if net.transport.has_feature(F_GUEST_CSUM) {
                checksum::begin(frame, &place);
                header[0] = HDR_NEEDS_CSUM;
                let [start_low, start_high] = (place.start as u16).to_le_bytes();
                let [offset_low, offset_high] = (place.offset as u16).to_le_bytes();
                header[6] = start_low;
                header[7] = start_high;
                header[8] = offset_low;
                header[9] = offset_high;
            } else {
                checksum::complete(frame, &place);
            }
        }
        header
    }
}
