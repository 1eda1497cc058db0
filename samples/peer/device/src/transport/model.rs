// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a device is, what its queues can be, and what they have done.

#![forbid(unsafe_code)]

use crate::proto::virtio::feature;

/// Feature bits that decide how virtqueues look and work (VIRTIO 6), all of which this library knows.
pub const RINGS: u64 = (1 << feature::RING_PACKED)
    | (1 << feature::INDIRECT_DESC)
    | (1 << feature::IN_ORDER)
    | (1 << feature::EVENT_IDX)
    | (1 << feature::NOTIFICATION_DATA)
    | (1 << feature::RING_RESET);

/// What the virtqueues of a link's devices can be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Offer {
    /// Those of [`RINGS`] that are offered.
    pub rings: u64,
    /// Most entries of a queue; a power of two where packed rings are not offered.
    pub size: u16,
}

impl Offer {
    /// Everything.
    pub const ALL: Self = Self {
        rings: RINGS,
        size: 1 << 15,
    };
}

impl Default for Offer {
    fn default() -> Self {
        Self::ALL
    }
}

/// What a device is.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Model {
    /// Name for log and status page.
    pub name: &'static str,
    /// Device type (VIRTIO 5).
    pub id: u32,
    /// Feature bits of the device type; those of the transport and its rings are added.
    pub features: u64,
    /// Whether the device gives the chains of a queue back in the order in which it takes them.
    pub in_order: bool,
    /// Largest size of each queue, a power of two.
    pub queues: &'static [u16],
}

/// What a queue has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub struct QueueStats {
    /// Notifications that Linux sent.
    pub kicks: u64,
    /// What the last one of them said (VIRTIO 2.9).
    pub notify_data: u32,
    /// Chains that were given back.
    pub chains: u64,
    /// Bytes that were read from or written to chains.
    pub bytes: u64,
    /// Used buffer notifications.
    pub events: u64,
    /// Addresses outside the pool.
    pub outside: u64,
    /// All faults that made the queue stop, those of `outside` included.
    pub faults: u64,
}

impl QueueStats {
    /// Nothing so far.
    pub const NONE: Self = Self {
        kicks: 0,
        notify_data: 0,
        chains: 0,
        bytes: 0,
        events: 0,
        outside: 0,
        faults: 0,
    };
}
