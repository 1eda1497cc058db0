// SPDX-License-Identifier: GPL-2.0

//! The transport. Each file uses only those below it on this stair, from top to bottom: driver,
//! link, device, window and queue, wire, interrupts, shmem; debugfs looks at all of them.

pub(crate) mod debugfs;
pub(crate) mod driver;

mod alarm;
mod buffer;
mod device;
mod dma;
mod doorbell;
mod dt;
mod fault;
mod interrupts;
mod link;
mod private;
mod queue;
mod shmem;
mod window;
mod wire;
