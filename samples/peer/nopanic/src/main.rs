// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All that a main loop calls of the device library, in a program whose panic handler needs a function that there
//! is not: it links only if no way through the library ends in a panic. It is never run.
//!
//! It is built as the firmware is (profile `release`: one unit, link-time optimisation, arithmetic that wraps), so that
//! what is shown of it holds for that. Nothing of what Linux writes, and nothing of what a machine is told at boot, is known to the
//! compiler. Log lines are not part of it: nobody takes them here, so that `core::fmt` is left out.

#![cfg_attr(target_os = "none", no_std)]
#![cfg_attr(target_os = "none", no_main)]

#[cfg(not(target_os = "none"))]
fn main() {}

#[cfg(target_os = "none")]
mod library;
