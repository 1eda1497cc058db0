// SPDX-License-Identifier: GPL-2.0

//! Remote processor driver for cores of Linux's own cluster that PSCI starts.
//!
//! A core that the device tree names is taken from Linux when the user starts its firmware, and is
//! given back when the firmware has stopped.
//!
//! Limitations:
//! - A firmware is stopped only by its own doing: PSCI knows no way to switch off another core. One
//!   that does not stop outlives the driver, and with kexec even Linux.
//! - Without a notification from PSCI, a firmware that ends by itself is noticed only within about half
//!   a second.
#![crate_name = "psci_rproc"]

pub mod psci_rproc {
    //! The driver.

    pub mod cpu;
    pub mod driver;
    pub mod elf;
    pub mod firmware;
    pub mod image;
    pub mod psci;
}
pub mod remoteproc;
pub mod series;

use kernel::{
    driver,
    platform,
    prelude::*, //
};

use psci_rproc::{
    cpu::Hotplug,
    driver::Driver, //
};

/// What the module consists of. The fields are dropped in this order: the cores are given back while
/// they still are protected.
#[pin_data]
struct Module {
    #[pin]
    driver: driver::Registration<platform::Adapter<Driver>>,
    hotplug: Hotplug,
}

impl kernel::InPlaceModule for Module {
    fn init(module: &'static ThisModule) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            hotplug: Hotplug::register()?,
            driver <- driver::Registration::new(c"psci_rproc", module),
        })
    }
}

module! {
    type: Module,
    name: "psci_rproc",
    authors: ["The virtio-hvl authors"],
    description: "Runs firmware on a core taken from Linux by PSCI",
    license: "GPL",
}
