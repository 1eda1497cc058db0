// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The wire protocol as a crate.
//!
//! The code is `rust/proto/`, which the kernel module compiles as well; this is only the name by
//! which cargo finds it.

#![no_std]
#![forbid(unsafe_code)]

#[path = "../../../../rust/proto/mod.rs"]
#[allow(
    clippy::all,
    clippy::indexing_slicing,
    reason = "linted where it is built for the kernel"
)]
mod proto;

pub use proto::*;
