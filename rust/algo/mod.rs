// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Logic without hardware: everything here works on plain values, allocates nothing, has no
//! `unsafe`, and is tested on the host (`tools/host-tests`).
//!
//! Like `proto`, this is compiled into the kernel module and into host crates alike: no crate
//! attributes, only `core`, `self::` and `super::` paths.

pub mod config;
pub mod console;
pub mod drivers;
pub mod features;
pub mod handshake;
pub mod link;
pub mod poll;
pub mod ring;
pub mod rpmsg;
pub mod rtt;
pub mod sequence;
pub mod setting;
pub mod shadow;
pub mod share;
pub mod snapshot;
pub mod stall;
pub mod storm;
pub mod vectors;
