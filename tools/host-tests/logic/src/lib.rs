// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Facade over the modules that the kernel module and the peer share, so that they can be tested
//! on the host: no code of its own.
//!
//! The attributes here hold for the shared modules, which have none: what would need `std`, an
//! allocator or `unsafe` does not compile.

#![no_std]
#![forbid(unsafe_code)]

#[path = "../../../../rust/algo/mod.rs"]
pub mod algo;
#[path = "../../../../rust/proto/mod.rs"]
pub mod proto;
// Only the kernel's, but as free of it as the others.
#[path = "../../../../rust/psci_rproc/elf.rs"]
pub mod elf;
