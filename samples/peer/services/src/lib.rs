// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the sample peer serves over its network and socket devices.
//!
//! Independent of the machine: everything here runs in a test on the host as well. One pass of
//! [`stack::Stack::poll`] and [`vsock::VsockServices`] does a bounded amount of work.

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

pub mod chargen;
pub mod config;
pub mod control;
pub mod crc;
pub mod devices;
pub mod dhcp;
pub mod drops;
mod guard;
mod hold;
pub mod iperf;
pub mod kind;
pub mod messages;
mod phy;
pub mod report;
pub mod rpmsg;
pub mod servo;
pub mod session;
pub mod shell;
pub mod spis;
pub mod stack;
mod stamp;
mod tcp;
mod udp;
pub mod vsock;
