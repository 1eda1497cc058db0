// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Device side of virtio-hvl.
//!
//! A program that links this library *is* the virtio device: there is no hypervisor between it and
//! Linux. It hands over the shared region once ([`mem::Region`]), publishes its devices
//! ([`link::Link::start`]) and from then on calls [`link::Link::poll`] whenever its doorbell
//! rings, its timer fires, or it has nothing better to do.
//!
//! What one call does is bounded, whatever Linux writes: transactions have at most 16 entries, a
//! device handles at most [`shared::BUDGET`] chains of a queue ([`net::BUFFERS`] of that for
//! frames to Linux), a chain has at most [`queue::CHAIN_MAX`] descriptors. Nothing is allocated. Each word that Linux writes is read
//! once, checked, and used from the private copy; addresses must lie in the pool of the region,
//! and what does not is counted and never touched.
//!
//! A device model is a file: [`rng`] is the shortest, [`net`] and [`vsock`] the longest.

#![cfg_attr(not(test), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::unwrap_used,
        reason = "a test that panics has failed"
    )
)]
#![deny(unsafe_code)]

pub mod adversary;
pub mod bench;
pub mod blk;
pub mod checksum;
pub mod console;
pub mod device;
pub mod faults;
mod liar;
pub mod link;
mod mask;
pub mod mem;
pub mod messages;
pub mod mishaps;
pub mod net;
pub mod queue;
mod registers;
pub mod rng;
pub mod rpmsg;
pub mod segment;
pub mod shared;
pub mod stream;
pub mod transport;
pub mod vsock;

pub use hvl_proto as proto;

/// The interval between two looks without a doorbell, which the driver has as well.
#[path = "../../../../rust/algo/poll.rs"]
pub mod poll;

/// The example for firmware is compiled.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
