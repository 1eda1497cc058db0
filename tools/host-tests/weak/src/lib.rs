// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Both sides of a link over memory in which accesses are seen in any order that their barriers
//! allow.
//!
//! The peer's side is the device library of the sample peer, file by file, with another `mem`: the
//! one file that touches the region there. The driver's side is `algo::ring` of `hvl-logic`, which
//! takes its memory as a trait. Nothing of either is copied.

pub mod mem;

pub use hvl_logic::proto;

#[path = "../../../../samples/peer/device/src"]
#[allow(dead_code, reason = "what the device models use is not here")]
mod library {
    pub mod device;
    pub mod faults;
    pub(crate) mod liar;
    pub mod link;
    pub(crate) mod mask;
    pub mod mishaps;
    pub mod queue;
    mod registers;
    pub mod shared;
    pub mod transport;
}

pub use library::{device, faults, link, mishaps, queue, shared, transport};
use library::{liar, mask};
