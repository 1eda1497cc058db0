// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Network device (VIRTIO 5.1): raw Ethernet frames for a network stack on this side.

#![forbid(unsafe_code)]

mod control;
mod filter;
mod lies;
mod pair;
mod port;
mod steer;
mod train;

pub use self::port::Port;

use self::filter::{Address, Filter};
use self::pair::Pair;
use self::steer::Steer;
use self::train::Train;
use crate::device::Device;
use crate::proto::virtio::device;
use crate::queue::{Chain, UNDO_MAX};
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport, QUEUES};

/// Most pairs of queues, one to receive from and one to send by for Linux. After them comes the
/// control queue.
pub const PAIRS: usize = (QUEUES - 1) / 2;

/// The queue of a pair from which Linux receives, and that by which it sends.
const fn receiveq(pair: usize) -> usize {
    2 * pair
}
const fn transmitq(pair: usize) -> usize {
    2 * pair + 1
}

/// Feature bits (VIRTIO 5.1.3).
const F_CSUM: u32 = 0;
const F_GUEST_CSUM: u32 = 1;
const F_CTRL_GUEST_OFFLOADS: u32 = 2;
const F_MTU: u32 = 3;
const F_MAC: u32 = 5;
const F_GUEST_TSO4: u32 = 7;
const F_GUEST_TSO6: u32 = 8;
const F_GUEST_ECN: u32 = 9;
const F_HOST_TSO4: u32 = 11;
const F_HOST_TSO6: u32 = 12;
const F_HOST_ECN: u32 = 13;
const F_MRG_RXBUF: u32 = 15;
const F_STATUS: u32 = 16;
const F_CTRL_VQ: u32 = 17;
const F_CTRL_RX: u32 = 18;
const F_CTRL_VLAN: u32 = 19;
const F_CTRL_RX_EXTRA: u32 = 20;
const F_GUEST_ANNOUNCE: u32 = 21;
const F_MQ: u32 = 22;
const F_CTRL_MAC_ADDR: u32 = 23;
const F_GUEST_USO4: u32 = 54;
const F_GUEST_USO6: u32 = 55;
const F_HOST_USO: u32 = 56;
const F_SPEED_DUPLEX: u32 = 63;

/// Those of any network device.
const BASE: u64 = 1 << F_MAC | 1 << F_STATUS | 1 << F_MTU | 1 << F_MRG_RXBUF;
/// Those that come with offloading.
const OFFLOADS: u64 = GUEST_OFFLOADS
    | 1 << F_CSUM
    | 1 << F_HOST_TSO4
    | 1 << F_HOST_TSO6
    | 1 << F_HOST_ECN
    | 1 << F_HOST_USO;
/// Those of them that Linux can switch off and on again.
const GUEST_OFFLOADS: u64 = 1 << F_GUEST_CSUM
    | 1 << F_GUEST_TSO4
    | 1 << F_GUEST_TSO6
    | 1 << F_GUEST_ECN
    | 1 << F_GUEST_USO4
    | 1 << F_GUEST_USO6;
/// Those that come with a control queue.
const CONTROL: u64 = 1 << F_CTRL_VQ
    | 1 << F_CTRL_RX
    | 1 << F_CTRL_VLAN
    | 1 << F_CTRL_RX_EXTRA
    | 1 << F_GUEST_ANNOUNCE
    | 1 << F_CTRL_MAC_ADDR;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Ethernet frame with the largest IPv4 packet, which segmentation offloading may hand over.
pub const FRAME_MAX: usize = ETHERNET + MTU_MAX;
/// Largest IP packet that can be sent to Linux.
pub const MTU_MAX: usize = 65535;
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

/// Where in the configuration space the address is, and the status (VIRTIO 5.1.4).
const ADDRESS: usize = 0;
const STATUS: usize = 6;
/// Bits of the status: the link is up, Linux is to announce itself.
const LINK_UP: u16 = 1;
const ANNOUNCE: u16 = 2;
/// The duplex mode of a link of known speed: full.
const DUPLEX_FULL: u8 = 1;

/// Entries of the queues: those of a device with fewer pairs are the last ones.
const SIZES: [u16; 2 * PAIRS + 1] = {
    let mut sizes = [256; 2 * PAIRS + 1];
    sizes[2 * PAIRS] = 64;
    sizes
};

/// What a network device is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    /// The Ethernet address that Linux is told to use.
    pub mac: [u8; 6],
    /// The largest IP packet.
    pub mtu: u16,
    /// Whether checksum and segmentation offloading are offered.
    pub offload: bool,
    /// Whether there is a control queue: for receive modes, another address, announcements and the
    /// like.
    pub control: bool,
    /// Pairs of queues, [`PAIRS`] at most. With more than one there is a control queue.
    pub pairs: usize,
    /// What Linux is told of the link's speed, in Mbit/s.
    pub speed: Option<u32>,
}

impl Setup {
    /// One pair of queues and nothing else.
    pub const fn new(mac: [u8; 6], mtu: u16, offload: bool) -> Self {
        Self {
            mac,
            mtu,
            offload,
            control: false,
            pairs: 1,
            speed: None,
        }
    }
}

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
    /// Frames of Linux's that were several UDP datagrams; each of these counts as received.
    pub trains: u64,
    /// Frames of Linux's whose header contradicts them.
    pub header: u64,
    /// Frames that Linux has said that it does not want.
    pub filtered: u64,
    /// Frames either way while the link was down.
    pub down: u64,
    /// Commands on the control queue, and those of them that were refused.
    pub commands: u64,
    /// See there.
    pub refused: u64,
}

impl NetStats {
    /// Frames of Linux that were not taken.
    pub const fn bad(&self) -> u64 {
        self.length
            .wrapping_add(self.checksum)
            .wrapping_add(self.header)
    }
}

/// The network device.
#[derive(Debug)]
pub struct Net {
    transport: Transport<[Queue; SIZES.len()]>,
    chain: Chain,
    stats: NetStats,
    /// The stack wanted to send and found no buffer.
    starved: bool,
    was_reset: bool,
    /// Largest IP packet.
    mtu: u16,
    setup: Setup,
    pairs: [Pair; PAIRS],
    /// Pairs that frames to Linux may use, those that Linux may have sent on, and the one of these
    /// that is looked at next.
    enabled: usize,
    served: usize,
    next: usize,
    steer: Steer,
    /// Datagrams that came as one, and the chain that they are in.
    train: Option<Train>,
    train_chain: Chain,
    filter: Filter,
    /// Bit mask of the offloads that Linux has switched off.
    off: u64,
    /// Linux's address, and the status, as the configuration says.
    address: Address,
    status: u16,
    /// The configuration says what it did before a reset.
    stale: bool,
    lies: lies::Lies,
}

impl Net {
    /// A device which tells Linux to use the address `mac`; `offload` offers checksum and
    /// segmentation offloading; `mtu` is the largest IP packet.
    pub fn new(mac: [u8; 6], mtu: u16, offload: bool) -> Self {
        Self::with(Setup::new(mac, mtu, offload))
    }

    /// A device of which `setup` tells more.
    pub fn with(setup: Setup) -> Self {
        let setup = Setup {
            pairs: setup.pairs.clamp(1, PAIRS),
            ..setup
        };
        let several = setup.pairs > 1;
        let control = setup.control || several;
        let mut features = BASE;
        if setup.offload {
            features |= OFFLOADS;
        }
        if control {
            features |= CONTROL;
        }
        if control && setup.offload {
            features |= 1 << F_CTRL_GUEST_OFFLOADS;
        }
        if several {
            features |= 1 << F_MQ;
        }
        if setup.speed.is_some() {
            features |= 1 << F_SPEED_DUPLEX;
        }

        // mac, status, max_virtqueue_pairs, mtu, speed, duplex (VIRTIO 5.1.4).
        let mut config = [0; 17];
        let [a, b, c, d, e, f] = setup.mac;
        let [status_low, status_high] = LINK_UP.to_le_bytes();
        let [pairs_low, pairs_high] = (setup.pairs as u16).to_le_bytes();
        let [mtu_low, mtu_high] = setup.mtu.to_le_bytes();
        let [speed_0, speed_1, speed_2, speed_3] = setup.speed.unwrap_or(0).to_le_bytes();
        for (to, from) in config.iter_mut().zip([
            a,
            b,
            c,
            d,
            e,
            f,
            status_low,
            status_high,
            pairs_low,
            pairs_high,
            mtu_low,
            mtu_high,
            speed_0,
            speed_1,
            speed_2,
            speed_3,
            DUPLEX_FULL,
        ]) {
            *to = from;
        }
        let len = if setup.speed.is_some() { 17 } else { 12 };
        let queues = SIZES.get(2 * (PAIRS - setup.pairs)..).unwrap_or(&SIZES);
        let model = Model {
            name: "net",
            id: device::NET,
            features,
            in_order: true,
            queues: if control {
                queues
            } else {
                SIZES.get(..2).unwrap_or(&SIZES)
            },
        };
        Self {
            transport: Transport::new(model, config.get(..len).unwrap_or(&config)),
            chain: Chain::new(),
            stats: NetStats::default(),
            starved: false,
            was_reset: false,
            mtu: setup.mtu,
            setup,
            pairs: [Pair::default(); PAIRS],
            enabled: 1,
            served: 1,
            next: 0,
            steer: Steer::new(),
            train: None,
            train_chain: Chain::new(),
            filter: Filter::new(),
            off: 0,
            address: setup.mac,
            status: LINK_UP,
            stale: false,
            lies: lies::Lies::default(),
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
            (0..self.enabled).any(|pair| self.room(shared, pair).is_some())
        } else {
            self.train.is_some()
                || (0..self.served).any(|pair| self.transport.chains(shared, transmitq(pair)) != 0)
        }
    }

    /// Whether an offload that is Linux's to do was agreed on, and was not switched off.
    fn guest(&self, bit: u32) -> bool {
        self.transport.features() & !self.off & (1 << bit) != 0
    }

    /// Whether Linux takes frames that it has to cut itself.
    fn takes_large(&self) -> bool {
        self.guest(F_GUEST_TSO4) && self.guest(F_GUEST_CSUM)
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
            spare: [None; PAIRS],
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
        self.pairs = [Pair::default(); PAIRS];
        self.train = None;
        self.steer = Steer::new();
        self.forget_commands();
    }

    fn wanted(&self, wanted: &mut [u16]) {
        // Without room for an answer nothing is taken: see `Port::can_send`.
        let (count, queue): (usize, fn(usize) -> usize) = if self.starved {
            (self.enabled, receiveq)
        } else {
            (self.served, transmitq)
        };
        for pair in 0..count {
            if let Some(slot) = wanted.get_mut(queue(pair)) {
                *slot = if self.starved { self.least(pair) } else { 1 };
            }
        }
        if let Some(slot) = self.control_queue().and_then(|queue| wanted.get_mut(queue)) {
            *slot = 1;
        }
    }

    fn attend(&mut self, shared: &Shared) -> bool {
        if self.stale {
            self.refresh(shared);
        }
        self.answer(shared)
    }

    fn tick(&mut self, shared: &Shared) {
        self.lie(shared);
        for pair in 0..self.enabled {
            self.tick_pair(shared, pair);
        }
    }
}
