// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The virtio-hvl wire protocol, version 2.1: what stands where in the shared region, who writes
//! it, and which values are legal.
//!
//! This module is the one implementation of `Documentation/virtio-hvl/protocol.rst`; section
//! numbers in the comments refer to that document, "VIRTIO" to the OASIS Virtual I/O Device
//! specification, version 1.3. Both sides compile it: the kernel module as `crate::proto`, the
//! peer through a facade crate. It therefore has no crate attributes, uses only `core`, `self::`
//! and `super::` paths, allocates nothing, and touches no memory: callers copy words out of the
//! region once and pass the private copies in.

pub mod entry;
pub mod error;
pub mod generation;
pub mod header;
pub mod layout;
pub mod state;
pub mod transaction;
pub mod vector;
pub mod virtio;

pub use self::entry::DeviceEntry;
pub use self::error::{FieldError, Kind};
pub use self::header::Identity;
pub use self::state::{DriverState, PeerState, TestCause};
pub use self::transaction::{Entry, Status};
pub use self::vector::Vector;
