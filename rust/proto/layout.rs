// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Offsets and limits (protocol.rst, "Region layout", "Link header", "Device window").
//!
//! Every offset is in bytes. Every field is a little-endian 32-bit word, naturally aligned. The
//! word "line" means 64 aligned bytes: no line has more than one writer.

/// Size of every structure of the region: header, windows; alignment of the pool.
pub const PAGE: u32 = 4096;
/// Size of the unit that has exactly one writer.
pub const LINE: u32 = 64;
/// Smallest region: header, one window, and a pool of 64 KiB.
pub const REGION_MIN: u32 = 2 * PAGE + 0x1_0000;
/// Largest region. Offsets are 32-bit words and the end has to be one as well.
pub const REGION_MAX: u32 = 0xffff_f000;
/// Most devices of one link.
pub const DEVICES_MAX: usize = 32;
/// Most virtqueues of one device.
pub const QUEUES_MAX: usize = 64;
/// Least bytes of the pool for each virtqueue of the link.
pub const SHARE_MIN: u32 = 4 * PAGE;
/// Largest virtqueue (VIRTIO 2.7: a split queue has at most 32768 entries).
pub const QUEUE_SIZE_MAX: u32 = 32768;
/// Most descriptors of a chain, in the ring or in an indirect table.
pub const CHAIN_DESCRIPTORS_MAX: usize = 64;
/// Most bytes of a chain, readable and writable ones together.
pub const CHAIN_BYTES_MAX: u32 = CHAIN_DESCRIPTORS_MAX as u32 * PAGE;
/// Longest heartbeat period that a peer may announce, in milliseconds.
pub const HEARTBEAT_PERIOD_MAX: u32 = 60_000;

/// `"vHVL"`, first byte at the lowest address.
pub const MAGIC: u32 = 0x4c56_4876;
/// Major version: both sides must agree on it.
pub const VERSION_MAJOR: u32 = 2;
/// Minor version: additions that the other side may ignore.
pub const VERSION_MINOR: u32 = 1;
/// The version word of this implementation.
pub const VERSION: u32 = (VERSION_MAJOR << 16) | VERSION_MINOR;

/// Link header, at the start of the region.
pub mod link {
    /// Identity line, written by the peer before it becomes ready, constant during an epoch.
    pub const IDENTITY: u32 = 0x000;
    /// In the identity's `LinkFeatures`: the peer can ring by message-signalled interrupts.
    pub const FEATURE_MSI: u32 = 1;
    /// In the identity's `LinkFeatures`: the peer reaches Linux's memory. In `DRIVER_FEATURES`: it is given
    /// addresses there.
    pub const FEATURE_MEMORY: u32 = 2;
    /// In the identity's `LinkFeatures`: the peer looks at [`DEVICE_NOTIFIES`]. In `DRIVER_FEATURES`: they are
    /// counted.
    pub const FEATURE_NOTIFY: u32 = 4;
    /// Words in the identity line.
    pub const IDENTITY_WORDS: usize = 16;
    /// Offset of the epoch word, which is published after the rest of the identity.
    pub const EPOCH: u32 = 0x008;

    /// Peer's status line: [`super::super::PeerState`].
    pub const PEER_STATE: u32 = 0x040;
    /// Counter that the peer increments once a heartbeat period.
    pub const HEARTBEAT: u32 = 0x044;
    /// The last test request that the peer has seen.
    pub const TEST_ACK: u32 = 0x048;
    /// How it came to see it: [`super::super::TestCause`].
    pub const TEST_CAUSE: u32 = 0x04c;
    /// The driver epoch for which the peer has dropped all older state.
    pub const DRIVER_EPOCH_SEEN: u32 = 0x050;
    /// Number of the last ring that the driver acknowledges.
    pub const RINGS: u32 = 0x054;
    /// Epoch of the last boot that has begun, which [`EPOCH`] does not show before that is at its end.
    pub const BOOT_EPOCH: u32 = 0x058;

    /// Driver's line: the version that the driver speaks, 0 before it has attached.
    pub const DRIVER_VERSION: u32 = 0x080;
    /// Number of this incarnation of the driver, never 0 while it is attached.
    pub const DRIVER_EPOCH: u32 = 0x084;
    /// The peer epoch that the driver has adopted.
    pub const EPOCH_ACK: u32 = 0x088;
    /// Driver's status: [`super::super::DriverState`].
    pub const DRIVER_STATE: u32 = 0x08c;
    /// Number of the current link test; a change asks the peer to answer.
    pub const TEST_REQUEST: u32 = 0x090;
    /// Number of valid entries of the vector table.
    pub const VECTOR_COUNT: u32 = 0x094;
    /// The last `RINGS` that the driver has seen before it looked.
    pub const RINGS_SEEN: u32 = 0x098;
    /// What of the identity's `LinkFeatures` the driver makes use of in another way.
    pub const DRIVER_FEATURES: u32 = 0x09c;

    /// Device table, written by the peer.
    pub const DEVICE_TABLE: u32 = 0x400;
    /// Size of one entry of the device table.
    pub const DEVICE_ENTRY: u32 = 32;
    /// Words of one entry of the device table.
    pub const DEVICE_ENTRY_WORDS: usize = 8;
    /// One event counter per device, written by the peer.
    pub const DEVICE_EVENTS: u32 = 0x800;
    /// One counter of notifications and transactions per device, written by the driver.
    pub const DEVICE_NOTIFIES: u32 = 0x880;
    /// Vector table, written by the driver.
    pub const VECTOR_TABLE: u32 = 0xc00;
    /// Size of one entry of the vector table: address low, address high, data, reserved.
    pub const VECTOR_ENTRY: u32 = 16;
    /// Words of one entry of the vector table.
    pub const VECTOR_ENTRY_WORDS: usize = 4;
    /// Entries of the vector table.
    pub const VECTORS_MAX: usize = 64;

    /// Offset of entry `index` of the device table; `index < DEVICES_MAX`.
    pub const fn device_entry(index: usize) -> u32 {
        DEVICE_TABLE + (index as u32) * DEVICE_ENTRY
    }

    /// Offset of the event counter of device `index`; `index < DEVICES_MAX`.
    pub const fn device_event(index: usize) -> u32 {
        DEVICE_EVENTS + (index as u32) * 4
    }

    /// Offset of the notification counter of device `index`; `index < DEVICES_MAX`.
    pub const fn device_notify(index: usize) -> u32 {
        DEVICE_NOTIFIES + (index as u32) * 4
    }

    /// Offset of entry `index` of the vector table; `index < VECTORS_MAX`.
    pub const fn vector_entry(index: usize) -> u32 {
        VECTOR_TABLE + (index as u32) * VECTOR_ENTRY
    }
}

/// Device window, relative to the window's start.
pub mod window {
    /// Size of the published register view (VIRTIO 4.2.2), written by the peer.
    pub const VIEW_SIZE: u32 = 0x100;
    /// Configuration space, written by the peer.
    pub const CONFIG: u32 = 0x100;
    /// Most bytes of configuration space.
    pub const CONFIG_MAX: u32 = 0x700;

    /// Sequence number of the driver's transaction, published last.
    pub const TXN_SEQ: u32 = 0x800;
    /// Number of entries of the transaction.
    pub const TXN_COUNT: u32 = 0x804;
    /// The peer epoch that the transaction is meant for.
    pub const TXN_EPOCH: u32 = 0x808;
    /// Vector of configuration changes (index into the vector table).
    pub const CONFIG_VECTOR: u32 = 0x80c;
    /// A vector that is none; as is any other that is not below the number of entries.
    pub const NO_VECTOR: u32 = u32::MAX;
    /// The entries, written by the driver.
    pub const TXN_ENTRIES: u32 = 0x840;
    /// Size of one entry: offset, length, value, reserved.
    pub const TXN_ENTRY: u32 = 16;
    /// Most entries of one transaction.
    pub const TXN_MAX: usize = 16;

    /// Sequence number of the last finished transaction, published last.
    pub const DONE_SEQ: u32 = 0x940;
    /// Its outcome: [`super::super::Status`].
    pub const DONE_STATUS: u32 = 0x944;
    /// Index of the entry that failed, or the number of entries applied.
    pub const DONE_INDEX: u32 = 0x948;

    /// Counter of configuration changes, written by the peer.
    pub const CONFIG_EVENT: u32 = 0x980;

    /// Which of the peer's own doorbells the driver rings for a queue's notifications, a byte each, written
    /// by the driver.
    pub const QUEUE_DOORBELLS: u32 = 0x9c0;
    /// Notifications, written by the driver: per queue a counter and the notification's data.
    pub const NOTIFY: u32 = 0xa00;
    /// Size of one notification slot.
    pub const NOTIFY_SLOT: u32 = 8;
    /// One event counter per queue, written by the peer.
    pub const QUEUE_EVENTS: u32 = 0xc00;
    /// Vector per queue (index into the vector table), written by the driver.
    pub const QUEUE_VECTORS: u32 = 0xd00;

    /// Offset of entry `index` of a transaction; `index < TXN_MAX`.
    pub const fn txn_entry(index: usize) -> u32 {
        TXN_ENTRIES + (index as u32) * TXN_ENTRY
    }

    /// Offset of the notification counter of queue `index`; `index < QUEUES_MAX`.
    pub const fn notify_count(index: usize) -> u32 {
        NOTIFY + (index as u32) * NOTIFY_SLOT
    }

    /// Offset of the notification data of queue `index`; `index < QUEUES_MAX`.
    pub const fn notify_data(index: usize) -> u32 {
        notify_count(index) + 4
    }

    /// Offset of the word that has the doorbell of queue `index`, and how many bits are below it there;
    /// `index < QUEUES_MAX`.
    pub const fn queue_doorbell(index: usize) -> (u32, u32) {
        let index = index as u32;
        (QUEUE_DOORBELLS + index / 4 * 4, index % 4 * 8)
    }

    /// Offset of the event counter of queue `index`; `index < QUEUES_MAX`.
    pub const fn queue_event(index: usize) -> u32 {
        QUEUE_EVENTS + (index as u32) * 4
    }

    /// Offset of the vector of queue `index`; `index < QUEUES_MAX`.
    pub const fn queue_vector(index: usize) -> u32 {
        QUEUE_VECTORS + (index as u32) * 4
    }

    // Structures of different writers must not share a line, and none may reach the next one.
    const _: () = {
        use super::{LINE, PAGE, QUEUES_MAX};
        assert!(CONFIG + CONFIG_MAX <= TXN_SEQ);
        assert!(TXN_ENTRIES + (TXN_MAX as u32) * TXN_ENTRY <= DONE_SEQ);
        assert!(QUEUE_DOORBELLS + (QUEUES_MAX as u32) <= NOTIFY);
        assert!(NOTIFY + (QUEUES_MAX as u32) * NOTIFY_SLOT <= QUEUE_EVENTS);
        assert!(QUEUE_EVENTS + (QUEUES_MAX as u32) * 4 <= QUEUE_VECTORS);
        assert!(QUEUE_VECTORS + (QUEUES_MAX as u32) * 4 <= PAGE);
        assert!(TXN_SEQ % LINE == 0 && TXN_ENTRIES % LINE == 0 && DONE_SEQ % LINE == 0);
        assert!(CONFIG_EVENT % LINE == 0 && QUEUE_DOORBELLS % LINE == 0 && NOTIFY % LINE == 0);
        assert!(QUEUE_EVENTS % LINE == 0 && QUEUE_VECTORS % LINE == 0);
    };
}

const _: () = {
    assert!(link::DEVICE_TABLE + (DEVICES_MAX as u32) * link::DEVICE_ENTRY <= link::DEVICE_EVENTS);
    assert!(link::DEVICE_EVENTS + (DEVICES_MAX as u32) * 4 <= link::DEVICE_NOTIFIES);
    assert!(link::DEVICE_NOTIFIES % LINE == 0);
    assert!(link::DEVICE_NOTIFIES + (DEVICES_MAX as u32) * 4 <= link::VECTOR_TABLE);
    assert!(link::VECTOR_TABLE + (link::VECTORS_MAX as u32) * link::VECTOR_ENTRY <= PAGE);
    assert!(link::PEER_STATE % LINE == 0 && link::DRIVER_VERSION % LINE == 0);
    assert!((link::IDENTITY_WORDS as u32) * 4 == LINE);
    assert!(link::VECTOR_ENTRY_WORDS as u32 * 4 == link::VECTOR_ENTRY);
};
