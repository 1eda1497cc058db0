// SPDX-License-Identifier: GPL-2.0

//! Hypervisor-less virtio: a virtio transport whose devices are implemented by a program on another
//! core, through shared memory and doorbells.
//!
//! `Documentation/virtio-hvl/protocol.rst` is the protocol, [`virtio_hvl::driver`] is where a link begins.
//!
//! Limitations:
//! - Virtio's freeze and restore are not used: over a suspend the peer goes on, and what was on its way with it. After
//!   a hibernation it is another peer.

#![crate_name = "virtio_hvl"]

pub mod algo;
pub mod proto;
pub mod series;
mod sys;
mod virtio;
mod virtio_hvl;

use self::virtio_hvl::{
    debugfs,
    driver, //
};
use kernel::{
    driver::Registration,
    platform,
    prelude::*, //
};

module! {
    type: VirtioHvl,
    name: "virtio_hvl",
    authors: ["The virtio-hvl authors"],
    description: "Hypervisor-less virtio transport",
    license: "GPL",
}

/// Field order is drop order: links have files in the directory.
#[pin_data]
struct VirtioHvl {
    #[pin]
    driver: Registration<platform::Adapter<driver::Driver>>,
    _debugfs: debugfs::Root,
}

impl kernel::InPlaceModule for VirtioHvl {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            // First, since links appear as soon as the driver is registered.
            // SAFETY: A module is initialized once, and there are no links yet.
            _debugfs: unsafe { debugfs::Root::create() },
            driver <- Registration::new(c"virtio_hvl", module),
        })
    }
}
