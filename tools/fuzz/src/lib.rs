// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Everything that reads what the other side of a link has written, each as a function of some
//! bytes. A target panics where something is wrong: an index out of bounds and an overflow are, as
//! the kernel's and the peer's code has neither; and what the target asserts besides.

mod input;
mod targets {
    pub(crate) mod available;
    pub(crate) mod blk;
    pub(crate) mod cmdline;
    pub(crate) mod console;
    pub(crate) mod dhcp;
    pub(crate) mod elf;
    pub(crate) mod features;
    pub(crate) mod header;
    pub(crate) mod net;
    pub(crate) mod rpmsg;
    pub(crate) mod segment;
    pub(crate) mod shadow;
    pub(crate) mod stack;
    pub(crate) mod transactions;
    pub(crate) mod used;
    pub(crate) mod view;
    pub(crate) mod vsock;
}

/// The rig of the device library's own tests.
#[path = "../../../samples/peer/device/tests/common/mod.rs"]
mod rig;

/// Those of the shadow virtqueues' tests: a driver, a device, and the memory between them.
#[path = "../../host-tests/logic/tests/logic"]
#[allow(dead_code, reason = "the tests there use more of it")]
#[allow(
    clippy::manual_is_multiple_of,
    reason = "they are for an older Rust as well"
)]
mod logic {
    pub(crate) mod ring {
        pub(crate) mod device;
        pub(crate) mod memory;
    }
    pub(crate) mod shadow {
        pub(crate) mod driver;
        pub(crate) mod world;
    }
}

use logic::ring;

/// A function that takes any bytes.
#[derive(Debug)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Runs it.
    pub run: fn(&[u8]),
    /// Runs with new input in the short form: about a second.
    pub short: u32,
}

macro_rules! targets {
    ($($name:literal: $run:path, $short:literal;)*) => {
        /// All targets.
        pub const TARGETS: &[Target] = &[$(Target { name: $name, run: $run, short: $short }),*];
    };
}

targets! {
    // What a peer writes.
    "header": targets::header::run, 200_000;
    "features": targets::features::run, 200_000;
    "view": targets::view::run, 200_000;
    "used_split": targets::used::split, 80_000;
    "used_packed": targets::used::packed, 80_000;
    "shadow": targets::shadow::run, 12_000;
    "console": targets::console::run, 80_000;
    "names": targets::rpmsg::names, 80_000;
    // What Linux writes.
    "transactions": targets::transactions::run, 8_000;
    "avail_split": targets::available::split, 80_000;
    "avail_packed": targets::available::packed, 80_000;
    "net": targets::net::run, 8_000;
    "segment": targets::segment::run, 200_000;
    "vsock": targets::vsock::run, 4_000;
    "blk": targets::blk::run, 8_000;
    "rpmsg": targets::rpmsg::served, 8_000;
    "stack": targets::stack::run, 1_200;
    "dhcp": targets::dhcp::run, 80_000;
    // What whoever starts a peer gives it.
    "cmdline": targets::cmdline::run, 200_000;
    "elf": targets::elf::run, 200_000;
}

/// The target of that name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
