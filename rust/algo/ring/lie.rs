// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a device can write that cannot be.

use core::fmt;

/// What the device wrote that cannot be, with what would be right. The device is at fault.
///
/// In one line, without a full stop, to follow the queue's name and a colon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The used index is further ahead than chains are outstanding (split).
    IndexJump {
        /// Entries since it was last looked at.
        by: u16,
        /// Chains that the device has.
        outstanding: u16,
    },
    /// The used index is behind what it was (split).
    IndexBack {
        /// Index that was seen before.
        from: u16,
        /// Index now.
        to: u16,
    },
    /// A descriptor is marked used while the device has no chain (packed).
    Idle {
        /// Position in the ring.
        position: u16,
    },
    /// A used id is not below the queue's size.
    IdRange {
        /// Id that the device wrote.
        id: u32,
        /// Entries of the queue.
        size: u16,
    },
    /// A used id belongs to no chain that the device has: never posted, not shown yet, or used
    /// before.
    NotOutstanding {
        /// Id that the device wrote.
        id: u16,
    },
    /// More bytes were written than the chain has writable ones (packed: and the flag is set that
    /// says that any were).
    Length {
        /// Id of the chain.
        id: u16,
        /// Bytes that the device says it wrote.
        len: u32,
        /// Writable bytes of the chain.
        writable: u32,
    },
    /// Fewer bytes were written than the driver takes for granted ([`Ring::require`](super::Ring::require)).
    Short {
        /// Id of the chain.
        id: u16,
        /// Bytes that the device says it wrote.
        len: u32,
        /// Fewest bytes that Linux's driver can do with.
        least: u32,
    },
    /// A used element stands for more chains than the used index has moved by (split, in order).
    Batch {
        /// Id of the last chain of the batch.
        id: u16,
        /// Chains up to that one.
        chains: u16,
        /// Entries that the used index shows.
        shown: u16,
    },
}

impl fmt::Display for Lie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::IndexJump { by, outstanding } => write!(
                f,
                "used index jumped by {by}, {outstanding} chains are outstanding"
            ),
            Self::IndexBack { from, to } => {
                write!(f, "used index went back from {from} to {to}")
            }
            Self::Idle { position } => write!(
                f,
                "descriptor {position} is marked used, no chain is outstanding"
            ),
            Self::IdRange { id, size } => write!(
                f,
                "used id {id} is out of range: the queue has {size} entries"
            ),
            Self::NotOutstanding { id } => {
                write!(f, "used id {id} is not the id of an outstanding chain")
            }
            Self::Length { id, len, writable } => write!(
                f,
                "used length {len} of id {id} exceeds its {writable} writable bytes"
            ),
            Self::Short { id, len, least } => write!(
                f,
                "used length {len} of id {id} is below the {least} bytes that Linux's driver reads"
            ),
            Self::Batch { id, chains, shown } => write!(
                f,
                "used id {id} ends a batch of {chains} chains, the used index shows {shown}"
            ),
        }
    }
}
