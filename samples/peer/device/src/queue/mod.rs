// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Virtqueues, device side: split (VIRTIO 2.7) and packed (2.8).
//!
//! ```text
//!   pop ... push ... pop ... push  ->  publish  ->  wants_notification  ->  true: notify Linux
//!                                      listen   ->  true: pop again; false: wait to be notified
//! ```
//!
//! Linux may write any byte of the rings at any time. Each word of its own is read once, into
//! private memory, and checked before it is used: [`Fault`] says what cannot be. What this side
//! writes is never read back.

#![cfg_attr(not(test), forbid(unsafe_code))]

mod chain;
mod packed;
mod pending;
mod split;
mod table;

use crate::mem::{Pool, Region};
use crate::proto::virtio::feature;

pub use self::chain::{Chain, Places};
pub use self::packed::Packed;
pub use self::split::Split;

/// Most descriptors of one chain, those of an indirect table among them: as many as the protocol
/// allows.
pub const CHAIN_MAX: usize = crate::proto::layout::CHAIN_DESCRIPTORS_MAX;
/// How many chains [`Virtqueue::undo`] can take back.
pub const UNDO_MAX: usize = 64;

/// What Linux did wrong with a virtqueue; [`Fault::Order`] alone is this side's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A ring or a buffer reaches outside the pool.
    Outside {
        /// Address that Linux gave.
        address: u64,
        /// Bytes from there on.
        len: u32,
    },
    /// The available index is more than the queue's size ahead.
    AvailIndex(u16),
    /// A descriptor's number is not below the size of the queue or of its indirect table.
    DescIndex(u16),
    /// A chain has more descriptors than the queue or [`CHAIN_MAX`].
    ChainLength,
    /// A readable descriptor follows a writable one, or a flag is not known here.
    DescFlags(u16),
    /// An indirect table's length is no multiple of a descriptor's, or 0.
    Table(u32),
    /// A descriptor of a packed ring was shown as available, or belongs to a chain that was, and
    /// is not.
    Unavailable(u16),
    /// Size or alignment is not allowed for this kind of virtqueue.
    Layout,
    /// A chain was given back that was not taken, or, with VIRTIO_F_IN_ORDER, not in its turn.
    Order,
}

impl core::fmt::Display for Fault {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Self::Outside { address, len } => {
                write!(f, "{address:#x}+{len:#x} lies outside the pool")
            }
            Self::AvailIndex(index) => write!(f, "available index {index} is too far ahead"),
            Self::DescIndex(index) => write!(f, "descriptor {index} does not exist"),
            Self::ChainLength => f.write_str("a chain is too long, or a loop"),
            Self::DescFlags(flags) => write!(f, "descriptor flags {flags:#x} are not allowed"),
            Self::Table(len) => write!(f, "an indirect table of {len:#x} bytes is not allowed"),
            Self::Unavailable(at) => write!(f, "descriptor {at} is not available any more"),
            Self::Layout => f.write_str("size or alignment of the queue is not allowed"),
            Self::Order => f.write_str("the device gave a chain back out of its turn"),
        }
    }
}

/// What Linux says of a virtqueue before it makes it ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Layout {
    /// Entries.
    pub size: u32,
    /// Address of the descriptor area (VIRTIO 2.6).
    pub desc: u64,
    /// Address of the driver area.
    pub driver: u64,
    /// Address of the device area.
    pub device: u64,
}

impl Layout {
    /// Offset in the region of the `len` bytes at `address`, a multiple of `align`.
    fn place(pool: &Pool, address: u64, len: u32, align: u64) -> Result<u32, Fault> {
        if address % align != 0 {
            return Err(Fault::Layout);
        }
        pool.translate(address, len)
            .ok_or(Fault::Outside { address, len })
    }
}

/// Where the parts of a split virtqueue lie in the region, and its entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) size: u16,
    pub(crate) desc: u32,
    pub(crate) avail: u32,
    pub(crate) used: u32,
}

/// Features that decide how a virtqueue looks and works (VIRTIO 6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features {
    /// VIRTIO_F_RING_PACKED.
    pub packed: bool,
    /// VIRTIO_F_INDIRECT_DESC.
    pub indirect: bool,
    /// VIRTIO_F_IN_ORDER.
    pub in_order: bool,
    /// VIRTIO_F_EVENT_IDX.
    pub event_idx: bool,
}

impl Features {
    /// Picks them from the negotiated feature bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self {
            packed: bits & (1 << feature::RING_PACKED) != 0,
            indirect: bits & (1 << feature::INDIRECT_DESC) != 0,
            in_order: bits & (1 << feature::IN_ORDER) != 0,
            event_idx: bits & (1 << feature::EVENT_IDX) != 0,
        }
    }
}

/// A virtqueue that is ready, of either kind.
#[derive(Clone, Debug, Hash)]
pub enum Virtqueue {
    /// VIRTIO 2.7.
    Split(Split),
    /// VIRTIO 2.8.
    Packed(Packed),
}

impl Virtqueue {
    /// Checks what Linux says of a queue.
    ///
    /// # Errors
    ///
    /// [`Fault::Layout`] or [`Fault::Outside`].
    pub fn new(layout: &Layout, pool: &Pool, features: Features) -> Result<Self, Fault> {
        Ok(if features.packed {
            Self::Packed(Packed::new(layout, pool, features)?)
        } else {
            Self::Split(Split::new(layout, pool, features)?)
        })
    }

    /// Entries of the queue.
    pub const fn size(&self) -> u16 {
        match self {
            Self::Split(queue) => queue.size(),
            Self::Packed(queue) => queue.size(),
        }
    }

    /// Where it lies, if it is split.
    pub(crate) const fn parts(&self) -> Option<Parts> {
        match self {
            Self::Split(queue) => Some(queue.parts()),
            Self::Packed(_) => None,
        }
    }

    /// The part of the region that both sides write when it is packed, or all of it, from and to.
    pub(crate) const fn span(&self) -> (u32, u32) {
        match self {
            Self::Split(queue) => {
                let parts = queue.parts();
                (parts.desc, parts.used + 6 + parts.size as u32 * 8)
            }
            Self::Packed(queue) => queue.span(),
        }
    }

    /// Chains that Linux has made available and that were not taken yet.
    ///
    /// # Errors
    ///
    /// [`Fault::AvailIndex`].
    pub fn available(&mut self, mem: &Region) -> Result<u16, Fault> {
        match self {
            Self::Split(queue) => queue.available(mem),
            Self::Packed(queue) => Ok(queue.available(mem)),
        }
    }

    /// Takes the next available chain; `false` if there is none.
    ///
    /// # Errors
    ///
    /// Any [`Fault`] but [`Fault::Layout`] and [`Fault::Order`]. The queue cannot go on after one.
    pub fn pop(&mut self, mem: &Region, pool: &Pool, chain: &mut Chain) -> Result<bool, Fault> {
        match self {
            Self::Split(queue) => queue.pop(mem, pool, chain),
            Self::Packed(queue) => queue.pop(mem, pool, chain),
        }
    }

    /// Gives a chain back, with how many bytes were written to it; Linux does not see it before
    /// [`Virtqueue::publish`]. With VIRTIO_F_IN_ORDER chains come back as they were taken.
    ///
    /// # Errors
    ///
    /// [`Fault::Order`]; nothing has changed.
    pub fn push(&mut self, mem: &Region, chain: &Chain, written: u32) -> Result<(), Fault> {
        match self {
            Self::Split(queue) => queue.push(mem, chain, written),
            Self::Packed(queue) => queue.push(mem, chain, written),
        }
    }

    /// Takes back the last chain that was given back, which has to be the last that was taken, so
    /// that it will be taken again. Nothing where Linux sees it already, and after
    /// [`UNDO_MAX`] calls.
    pub fn undo(&mut self) {
        match self {
            Self::Split(queue) => queue.undo(),
            Self::Packed(queue) => queue.undo(),
        }
    }

    /// Shows Linux all chains that were given back; `true` if there were new ones.
    pub fn publish(&mut self, mem: &Region) -> bool {
        match self {
            Self::Split(queue) => queue.publish(mem),
            Self::Packed(queue) => queue.publish(mem),
        }
    }

    /// Whether Linux wants a notification for what was published since the last call.
    pub fn wants_notification(&mut self, mem: &Region) -> bool {
        match self {
            Self::Split(queue) => queue.wants_notification(mem),
            Self::Packed(queue) => queue.wants_notification(mem),
        }
    }

    /// Tells Linux that it need not notify: we look by ourselves.
    pub fn quieten(&mut self, mem: &Region) {
        match self {
            Self::Split(queue) => queue.quieten(mem),
            Self::Packed(queue) => queue.quieten(mem),
        }
    }

    /// Asks Linux to notify once there are `least` chains, at least one; `true` if there are
    /// already. It may notify before, of each chain where there is no event index.
    ///
    /// # Errors
    ///
    /// [`Fault::AvailIndex`].
    pub fn listen(&mut self, mem: &Region, least: u16) -> Result<bool, Fault> {
        match self {
            Self::Split(queue) => queue.listen(mem, least),
            Self::Packed(queue) => Ok(queue.listen(mem, least)),
        }
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod packed_tests;
#[cfg(test)]
mod small_tests;
#[cfg(test)]
mod tests;
