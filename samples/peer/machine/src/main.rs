// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The sample peer: a program on one arm64 core that is the virtio devices of the Linux beside it.
//!
//! It is started by remoteproc (`psci_rproc`) on a core that Linux gives away, or by a boot loader.
//! See README.md for the command line and the services.

#![no_std]
#![no_main]
#![warn(unsafe_code)]

mod cell;
mod console;
mod control;
mod cpu;
mod devices;
mod ears;
mod entropy;
mod exceptions;
mod gic;
mod leave;
mod machine;
mod memory;
mod mmu;
mod mortal;
mod peer;
mod pmu;
mod probe;
mod spin;
mod time;

use crate::peer::Peer;
use aarch64_rt::entry;

/// Version of this program.
const VERSION: &str = env!("CARGO_PKG_VERSION");

// 1 MiB: the devices and the stack are made on it before they are where they stay.
entry!(main, 256);

/// `context` is what PSCI CPU_ON was given, reserved; `el` is where the core came from.
fn main(context: u64, el: u64, _: u64, _: u64) -> ! {
    let machine = machine::start(el);
    if context != 0 {
        log::info!("context id {context:#x} is not known, ignored");
    }
    Peer::new(machine).run()
}
