// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which feature bits of a device reach Linux's driver.
//!
//! Drivers take it for granted that a device offers only what makes sense: virtio_net, for one, has a
//! BUG where features need a control queue that the device does not have. So a bit that is not known
//! for the type of device is hidden, and one whose requirement in VIRTIO 5 is not met is dropped.

use super::super::proto::virtio::{device, feature};
use super::console::ports_of;
use super::share::{Plan, LARGE};
use core::fmt;

/// A bit that needs another one.
struct Rule {
    bit: u32,
    /// At least one of these.
    any: u64,
}

/// What is known of a type of device.
struct Kind {
    device: u32,
    known: u64,
    rules: &'static [Rule],
}

const fn bits(list: &[u32]) -> u64 {
    let mut sum = 0;
    let mut at = 0;
    while at < list.len() {
        sum |= 1 << list[at];
        at += 1;
    }
    sum
}

const fn needs(bit: u32, any: &[u32]) -> Rule {
    Rule {
        bit,
        any: bits(any),
    }
}

const fn plain(device: u32, known: &[u32]) -> Kind {
    Kind {
        device,
        known: bits(known),
        rules: &[],
    }
}

/// Network device (VIRTIO 5.1.3).
mod net {
    pub(super) const CSUM: u32 = 0;
    pub(super) const GUEST_CSUM: u32 = 1;
    pub(super) const CTRL_GUEST_OFFLOADS: u32 = 2;
    pub(super) const MTU: u32 = 3;
    pub(super) const MAC: u32 = 5;
    pub(super) const GUEST_TSO4: u32 = 7;
    pub(super) const GUEST_TSO6: u32 = 8;
    pub(super) const GUEST_ECN: u32 = 9;
    pub(super) const GUEST_UFO: u32 = 10;
    pub(super) const HOST_TSO4: u32 = 11;
    pub(super) const HOST_TSO6: u32 = 12;
    pub(super) const HOST_ECN: u32 = 13;
    pub(super) const HOST_UFO: u32 = 14;
    pub(super) const MRG_RXBUF: u32 = 15;
    pub(super) const STATUS: u32 = 16;
    pub(super) const CTRL_VQ: u32 = 17;
    pub(super) const CTRL_RX: u32 = 18;
    pub(super) const CTRL_VLAN: u32 = 19;
    pub(super) const CTRL_RX_EXTRA: u32 = 20;
    pub(super) const GUEST_ANNOUNCE: u32 = 21;
    pub(super) const MQ: u32 = 22;
    pub(super) const CTRL_MAC_ADDR: u32 = 23;
    pub(super) const DEVICE_STATS: u32 = 50;
    pub(super) const HASH_TUNNEL: u32 = 51;
    pub(super) const VQ_NOTF_COAL: u32 = 52;
    pub(super) const NOTF_COAL: u32 = 53;
    pub(super) const GUEST_USO4: u32 = 54;
    pub(super) const GUEST_USO6: u32 = 55;
    pub(super) const HOST_USO: u32 = 56;
    pub(super) const HASH_REPORT: u32 = 57;
    pub(super) const GUEST_HDRLEN: u32 = 59;
    pub(super) const RSS: u32 = 60;
    pub(super) const RSC_EXT: u32 = 61;
    pub(super) const SPEED_DUPLEX: u32 = 63;

    /// Fewest queues of a device that has one for control.
    pub(super) const CONTROL_QUEUES: u32 = 3;
}

const NET: Kind = {
    use net::*;
    Kind {
        device: device::NET,
        known: bits(&[
            CSUM,
            GUEST_CSUM,
            CTRL_GUEST_OFFLOADS,
            MTU,
            MAC,
            GUEST_TSO4,
            GUEST_TSO6,
            GUEST_ECN,
            GUEST_UFO,
            HOST_TSO4,
            HOST_TSO6,
            HOST_ECN,
            HOST_UFO,
            MRG_RXBUF,
            STATUS,
            CTRL_VQ,
            CTRL_RX,
            CTRL_VLAN,
            CTRL_RX_EXTRA,
            GUEST_ANNOUNCE,
            MQ,
            CTRL_MAC_ADDR,
            DEVICE_STATS,
            HASH_TUNNEL,
            VQ_NOTF_COAL,
            NOTF_COAL,
            GUEST_USO4,
            GUEST_USO6,
            HOST_USO,
            HASH_REPORT,
            GUEST_HDRLEN,
            RSS,
            RSC_EXT,
            SPEED_DUPLEX,
        ]),
        // VIRTIO 5.1.3.1. What needs something that itself needs something comes after that.
        rules: &[
            needs(GUEST_TSO4, &[GUEST_CSUM]),
            needs(GUEST_TSO6, &[GUEST_CSUM]),
            needs(GUEST_ECN, &[GUEST_TSO4, GUEST_TSO6]),
            needs(GUEST_UFO, &[GUEST_CSUM]),
            needs(GUEST_USO4, &[GUEST_CSUM]),
            needs(GUEST_USO6, &[GUEST_CSUM]),
            needs(HOST_TSO4, &[CSUM]),
            needs(HOST_TSO6, &[CSUM]),
            needs(HOST_ECN, &[HOST_TSO4, HOST_TSO6]),
            needs(HOST_UFO, &[CSUM]),
            needs(HOST_USO, &[CSUM]),
            needs(CTRL_GUEST_OFFLOADS, &[CTRL_VQ]),
            needs(CTRL_RX, &[CTRL_VQ]),
            needs(CTRL_VLAN, &[CTRL_VQ]),
            needs(CTRL_RX_EXTRA, &[CTRL_VQ]),
            needs(GUEST_ANNOUNCE, &[CTRL_VQ]),
            needs(MQ, &[CTRL_VQ]),
            needs(CTRL_MAC_ADDR, &[CTRL_VQ]),
            needs(DEVICE_STATS, &[CTRL_VQ]),
            needs(VQ_NOTF_COAL, &[CTRL_VQ]),
            needs(NOTF_COAL, &[CTRL_VQ]),
            needs(RSS, &[CTRL_VQ]),
            needs(HASH_REPORT, &[CTRL_VQ]),
            needs(HASH_TUNNEL, &[HASH_REPORT]),
            needs(RSC_EXT, &[HOST_TSO4, HOST_TSO6]),
        ],
    }
};

const BLOCK: Kind = Kind {
    device: device::BLOCK,
    known: bits(&[1, 2, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16]),
    // VIRTIO 5.2.3: CONFIG_WCE without FLUSH.
    rules: &[needs(11, &[9])],
};

/// A console with several ports (VIRTIO 5.3.3).
const MULTIPORT: u32 = 1;

/// The types that drivers of Linux's have features for, by VIRTIO 5.
const KINDS: [Kind; 17] = [
    NET,
    BLOCK,
    plain(device::CONSOLE, &[0, MULTIPORT, 2]),
    plain(device::RPMSG, &[0]),
    plain(device::SCSI, &[0, 1, 2, 3]),
    plain(device::P9, &[0]),
    plain(device::GPU, &[0, 1, 2, 3, 4]),
    plain(device::VSOCK, &[0, 1, 2]),
    plain(device::CRYPTO, &[0, 1, 2, 3, 4]),
    plain(device::SOUND, &[0]),
    plain(device::FS, &[0]),
    plain(device::PMEM, &[0]),
    plain(device::I2C, &[0]),
    plain(device::SCMI, &[0, 1]),
    plain(device::CAN, &[0, 1, 2, 3]),
    plain(device::BLUETOOTH, &[0, 1, 2, 3]),
    plain(device::GPIO, &[0]),
];

/// Bits of the transport and the rings (VIRTIO 6) that are this transport's own matter, and are
/// never shown to a driver: its ring is private, and split.
pub const OWN: u64 = bits(&[
    feature::INDIRECT_DESC,
    feature::EVENT_IDX,
    feature::RING_PACKED,
    feature::IN_ORDER,
    feature::NOTIFICATION_DATA,
]);

/// Bits of the transport that a driver is shown.
const SHOWN: u64 = feature::MANDATORY | bits(&[feature::RING_RESET]);

/// Bits of the transport that mean nothing here and that a device may offer all the same: those
/// of older devices, and those of PCI.
const IGNORED: u64 = bits(&[24, 27, 37, 39, 41]);

/// Why a bit is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dropped {
    /// No bit of this number is known for the type of device.
    Unknown(u32),
    /// The bit needs one of those that are not offered.
    Needs(u32, u64),
    /// What the bit allows to send has no room in this part of the pool, in bytes.
    Room(u32, u32),
    /// It has none in a ring of so many entries.
    Entries(u32, u16),
    /// The bit means so many queues at least, and there are fewer.
    Queues(u32, u32),
    /// It means several pairs of queues: as many as the configuration says are not what the device has.
    Pairs(u32, u16, u32),
    /// It means several ports of a console: as many as the configuration says are not what the device has
    /// queues for.
    Ports(u32, u32, u32),
    /// Linux's driver believes what comes of it, whatever it is.
    Believed(u32),
    /// No bit, but the largest packet, which has no room: that, and what it is made.
    Mtu(u16, u16),
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Unknown(bit) => write!(f, "feature bit {bit} is not known for this type"),
            Self::Needs(bit, any) => {
                write!(f, "feature bit {bit} needs bit")?;
                let mut word = "";
                for other in (0..64).filter(|other| any & (1 << other) != 0) {
                    write!(f, "{word} {other}")?;
                    word = " or";
                }
                f.write_str(", which the device does not offer")
            }
            Self::Room(bit, bytes) => write!(
                f,
                "feature bit {bit} is of no use with a queue that has {bytes:#x} bytes of the pool: \
                 the region is too small"
            ),
            Self::Entries(bit, entries) => write!(
                f,
                "feature bit {bit} is of no use with a queue of {entries} entries: QueueSizeMax is too \
                 small"
            ),
            Self::Queues(bit, least) => write!(
                f,
                "feature bit {bit} needs {least} queues: QueueCount is too small"
            ),
            Self::Pairs(bit, pairs, queues) => write!(
                f,
                "feature bit {bit} with max_virtqueue_pairs {pairs} needs {} queues, QueueCount is {queues}",
                2 * u32::from(pairs) + 1
            ),
            Self::Ports(bit, ports, queues) => write!(
                f,
                "feature bit {bit} with max_nr_ports {ports} needs {} queues, QueueCount is {queues}",
                2 * (u64::from(ports) + 1)
            ),
            Self::Believed(bit) => write!(
                f,
                "feature bit {bit} is hidden: the driver of this kernel believes whatever comes of it"
            ),
            Self::Mtu(mtu, most) => write!(
                f,
                "mtu {mtu} is made {most}: the queues have no room for larger packets, a larger region \
                 would do"
            ),
        }
    }
}

/// What else a device is that decides about its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Device type.
    pub device: u32,
    /// Virtqueues.
    pub queues: u32,
    /// Pairs of queues that a network device says it has, in its configuration space.
    pub pairs: u16,
    /// Ports that a console says it has.
    pub ports: u32,
}

/// What of `offered` a driver of a device of that shape is shown; `drop` is called for each bit
/// that it is not, but for those of [`OWN`].
pub fn filter(shape: Shape, offered: u64, mut drop: impl FnMut(Dropped)) -> u64 {
    let kind = KINDS.iter().find(|kind| kind.device == shape.device);
    let known = kind.map_or(0, |kind| kind.known) | SHOWN;
    for bit in (0..64).filter(|bit| offered & !known & !OWN & !IGNORED & (1 << bit) != 0) {
        drop(Dropped::Unknown(bit));
    }
    let mut shown = offered & known;
    let net = shape.device == device::NET;
    if net && shown & (1 << net::CTRL_VQ) != 0 && shape.queues < net::CONTROL_QUEUES {
        shown &= !(1 << net::CTRL_VQ);
        drop(Dropped::Queues(net::CTRL_VQ, net::CONTROL_QUEUES));
    }
    for rule in kind.map_or(&[][..], |kind| kind.rules) {
        if shown & (1 << rule.bit) != 0 && shown & rule.any == 0 {
            shown &= !(1 << rule.bit);
            drop(Dropped::Needs(rule.bit, rule.any));
        }
    }
    if net {
        shown = several(shape, shown, &mut drop);
    }
    let ports = shape.device == device::CONSOLE && shown & (1 << MULTIPORT) != 0;
    if ports && ports_of(shape.queues) != Some(shape.ports) {
        shown &= !(1 << MULTIPORT);
        drop(Dropped::Ports(MULTIPORT, shape.ports, shape.queues));
    }
    shown
}

/// What is left of `shown` where it is checked what several pairs of queues, and statistics, rest on.
fn several(shape: Shape, shown: u64, drop: &mut impl FnMut(Dropped)) -> u64 {
    let mut left = shown;
    for bit in [net::MQ, net::RSS] {
        // The driver takes the control queue to be behind all pairs.
        if left & (1 << bit) != 0 && pairs_of(shape.queues) != Some(shape.pairs) {
            left &= !(1 << bit);
            drop(Dropped::Pairs(bit, shape.pairs, shape.queues));
        }
    }
    // `__virtnet_get_hw_stats` goes through the answer in steps that the answer names, which may be 0,
    // and writes where it says.
    if left & (1 << net::DEVICE_STATS) != 0 {
        left &= !(1 << net::DEVICE_STATS);
        drop(Dropped::Believed(net::DEVICE_STATS));
    }
    left
}

/// Pairs of a network device with so many queues, if it can have several: the last queue is that for
/// control.
pub fn pairs_of(queues: u32) -> Option<u16> {
    let pairs = queues.checked_sub(1)?;
    (pairs >= 2 && pairs % 2 == 0).then_some(u16::try_from(pairs / 2).ok()?)
}

/// Pairs of queues that a driver uses which has taken `shown`.
pub fn pairs_in_use(shown: u64, queues: u32) -> u16 {
    let several = shown & bits(&[net::MQ, net::RSS]) != 0;
    pairs_of(queues).filter(|_| several).unwrap_or(1)
}

/// Bytes of the pool from which on a receive queue holds several frames of 64 KiB at once, each in
/// some 44 buffers of a chunk. With fewer than that, a device that sends such frames waits for Linux
/// more than it sends.
const RECEIVE_LARGE: u32 = 0x8_0000;
/// And entries: for one such frame.
const RECEIVE_ENTRIES: u16 = 48;

/// Least buffers of Linux's that frames are spread over.
const BUFFER: u32 = 1400;
/// What any network has.
const MTU_LEAST: u32 = 1500;
/// Bytes of a chain beside the packet: two headers, and two tags of VLANs, rounded up.
const AROUND: u32 = 64;

/// The largest packet for which there is room in both queues: one of those on which the driver sends, and one
/// of those on which it receives, in buffers of which half are posted at any time.
pub fn mtu(send: &Plan, receive: &Plan) -> u16 {
    let there = send.chain_max().saturating_sub(AROUND);
    let buffers = u32::from(receive.layout.size().min(receive.chunks)) / 2;
    let back = (buffers * BUFFER).max(MTU_LEAST);
    u16::try_from(there.min(back)).unwrap_or(u16::MAX)
}

/// Whether a driver may be shown that a network device with the features `shown` wants an announcement:
/// virtio_net has a BUG for one without a control queue.
pub fn may_announce(shown: u64) -> bool {
    let both = bits(&[net::GUEST_ANNOUNCE, net::CTRL_VQ]);
    shown & both == both
}

/// What of `shown` has room where the queue on which the driver sends has so many bytes of the pool and is
/// of that plan, and the same of the one on which it receives; `drop` is called for each bit that has
/// not.
pub fn fit(
    device: u32,
    shown: u64,
    send: (u32, &Plan),
    receive: (u32, &Plan),
    mut drop: impl FnMut(Dropped),
) -> u64 {
    use net::*;
    if device != device::NET {
        return shown;
    }
    let mut fitting = shown;
    let mut check = |list: &[u32], bytes: u32, least: u32, plan: &Plan, fits: bool| {
        for &bit in list {
            if (bytes < least || !fits) && fitting & (1 << bit) != 0 {
                fitting &= !(1 << bit);
                drop(if bytes < least {
                    Dropped::Room(bit, bytes)
                } else {
                    Dropped::Entries(bit, plan.layout.size())
                });
            }
        }
    };
    let (bytes, plan) = send;
    check(
        &[HOST_TSO4, HOST_TSO6, HOST_ECN, HOST_UFO, HOST_USO, RSC_EXT],
        bytes,
        super::share::BULK,
        plan,
        plan.holds((LARGE, 0)),
    );
    let (bytes, plan) = receive;
    check(
        &[
            GUEST_TSO4, GUEST_TSO6, GUEST_ECN, GUEST_UFO, GUEST_USO4, GUEST_USO6,
        ],
        bytes,
        RECEIVE_LARGE,
        plan,
        plan.layout.size() >= RECEIVE_ENTRIES,
    );
    fitting
}
