// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Network device (VIRTIO 5.1): raw Ethernet frames for a network stack on this side.

#![forbid(unsafe_code)]

mod port;

pub use self::port::Port;

use crate::device::Device;
use crate::proto::virtio::device;
use crate::queue::{Chain, UNDO_MAX};
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Transport, QUEUES};

/// Linux receives from the first queue and sends by the second.
const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;

/// Feature bits (VIRTIO 5.1.3).
const F_CSUM: u32 = 0;
const F_GUEST_CSUM: u32 = 1;
const F_MTU: u32 = 3;
const F_MAC: u32 = 5;
const F_GUEST_TSO4: u32 = 7;
const F_HOST_TSO4: u32 = 11;
const F_MRG_RXBUF: u32 = 15;
const F_STATUS: u32 = 16;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Ethernet frame with the largest IPv4 packet, which segmentation offloading may hand over.
pub const FRAME_MAX: usize = ETHERNET + 65535;
/// Largest IP packet that can be sent to Linux.
pub const MTU_MAX: usize = 16000;
/// Smallest one that can be agreed on.
pub const MTU_MIN: usize = 1280;
/// Least size of the buffers that Linux posts in order to have frames spread over several.
const BUFFER_LEAST: u16 = 1400;
/// Most buffers of Linux's that one frame is spread over.
const MERGE_MAX: usize = UNDO_MAX;
/// Buffers that the largest frame takes where it is large because Linux cuts it.
const LARGEST: u16 = 1 + (FRAME_MAX / BUFFER_LEAST as usize) as u16;
/// Buffers of Linux's that are filled, or tried, in one pass: enough for a large frame from each
/// of many sockets.
pub const BUFFERS: usize = 4 * BUDGET;
/// Heartbeats after which it is taken for granted that Linux posts no more buffers.
const HOPE: u8 = 10;

/// Bit of the configuration space's status: the link is up.
const LINK_UP: u16 = 1;

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetStats {
    /// Frames that Linux sent.
    pub received: u64,
    /// Frames that Linux was given.
    pub sent: u64,
    /// Frames of Linux that are shorter than their header, or longer than any frame.
    pub length: u64,
    /// Frames of Linux with a wrong TCP or UDP checksum.
    pub checksum: u64,
    /// Frames for which Linux had no room.
    pub dropped: u64,
    /// Frames of Linux that are larger than the link's: it leaves segmentation to us.
    pub large_received: u64,
    /// Frames that were given to Linux like that.
    pub large_sent: u64,
    /// Frames that were cut here, since Linux would not, or had no room for all of it at once.
    pub cut: u64,
}

impl NetStats {
    /// Frames of Linux that were not taken.
    pub const fn bad(&self) -> u64 {
        self.length.wrapping_add(self.checksum)
    }
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
    /// Largest IP packet.
    mtu: u16,
    /// How many buffers have to do, if Linux posts fewer than the largest frame takes.
    scarce: Option<u16>,
    /// The most that were there of late.
    seen: u16,
    /// Heartbeats in which there was no room for anything.
    stuck: u8,
    /// Something was sent since the last heartbeat.
    moved: bool,
}

impl Net {
    /// A device which tells Linux to use the address `mac`; `offload` offers checksum and
    /// segmentation offloading; `mtu` is the largest IP packet.
    pub fn new(mac: [u8; 6], mtu: u16, offload: bool) -> Self {
        let mut features = (1 << F_MAC) | (1 << F_STATUS) | (1 << F_MTU) | (1 << F_MRG_RXBUF);
        if offload {
            features |= (1 << F_CSUM) | (1 << F_GUEST_CSUM);
            features |= (1 << F_HOST_TSO4) | (1 << F_GUEST_TSO4);
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
            in_order: true,
            queues: &[256, 256],
        };
        Self {
            transport: Transport::new(model, &config),
            chain: Chain::new(),
            stats: NetStats::default(),
            starved: false,
            was_reset: false,
            mtu,
            scarce: None,
            seen: 0,
            stuck: 0,
            moved: false,
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
            self.room(shared).is_some()
        } else {
            self.transport.chains(shared, TRANSMITQ) != 0
        }
    }

    /// How many buffers Linux has beyond those for a frame of any size; `None`: not as many.
    fn room(&mut self, shared: &Shared) -> Option<u16> {
        let found = self.transport.chains(shared, RECEIVEQ);
        self.seen = self.seen.max(found);
        if found >= self.enough() {
            self.scarce = None;
        }
        found.checked_sub(self.least())
    }

    /// Whether Linux takes frames that it has to cut itself.
    fn takes_large(&self) -> bool {
        self.transport.has_feature(F_GUEST_TSO4) && self.transport.has_feature(F_GUEST_CSUM)
    }

    /// Buffers of Linux's that are enough for any frame, if Linux posts as many as it should: those for
    /// the link's largest, and where Linux cuts frames, for a [`Port::burst`].
    fn enough(&self) -> u16 {
        let size = self.transport.queue_size(RECEIVEQ);
        let large = if self.takes_large() {
            LARGEST.min(size / 4)
        } else {
            0
        };
        // Linux posts more only when half of its own ring is used up, which may be smaller.
        let frame = 1 + self.mtu / BUFFER_LEAST;
        frame.max(large).min((size / 2).max(1))
    }

    /// How many buffers there have to be.
    ///
    /// After they ran out it takes more of them to go on: as many as a frame of each socket may
    /// take, as far as Linux posts that many. Otherwise the first sockets would take all, again
    /// and again. They are not waited for longer than a heartbeat.
    fn least(&self) -> u16 {
        let half = (self.transport.queue_size(RECEIVEQ) / 2).max(1);
        let needed = if self.transport.has_feature(F_MRG_RXBUF) {
            self.scarce.unwrap_or_else(|| self.enough())
        } else {
            1
        };
        if self.starved {
            needed.max(half.min(self.seen / 2))
        } else {
            needed
        }
    }

    /// Counters.
    pub const fn stats(&self) -> &NetStats {
        &self.stats
    }

    /// Access to the frames for one pass, in which at most [`BUDGET`] frames come from Linux, and
    /// those that go there take at most [`BUFFERS`] buffers.
    pub fn port<'a>(&'a mut self, shared: &'a Shared) -> Port<'a> {
        Port {
            net: self,
            shared,
            receive_left: BUDGET,
            send_left: BUFFERS,
            spare: None,
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
        self.scarce = None;
        self.seen = 0;
        self.stuck = 0;
    }

    fn wanted(&self) -> [u16; QUEUES] {
        let mut wanted = [0; QUEUES];
        // Without room for an answer nothing is taken: see `Port::can_send`.
        if self.starved {
            wanted[RECEIVEQ] = self.least();
        } else {
            wanted[TRANSMITQ] = 1;
        }
        wanted
    }

    fn tick(&mut self, shared: &Shared) {
        let moved = core::mem::take(&mut self.moved);
        if !self.starved || moved {
            self.stuck = 0;
        }
        if !self.starved {
            return;
        }
        // What Linux could post once, it may not be able to now.
        self.seen = 0;
        self.stuck = self.stuck.saturating_add(1);
        let found = self.transport.chains(shared, RECEIVEQ);
        if self.stuck > HOPE && (1..self.least()).contains(&found) {
            if self.transport.quota.take() {
                log::warn!(
                    "net: Linux posts {found} buffers where the largest frame may take {}: the \
                     region is too small for this mtu, large frames are lost",
                    self.enough()
                );
            }
            self.scarce = Some(found);
        }
    }
}
