// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's side of virtqueues: against a model of a device, a hostile one, and device sides
//! that others wrote.

mod bench;
pub(crate) mod device;
mod hostile;
mod lies;
pub(crate) mod memory;
mod model;
mod others;
mod peer;
mod rust_vmm;
mod wakeup;
