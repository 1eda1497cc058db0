// SPDX-License-Identifier: GPL-2.0

//! What the modules need of the kernel and the kernel crate does not have.

pub(crate) mod bindings;
pub(crate) mod bottom_half;
pub(crate) mod debugfs;
pub(crate) mod event;
pub(crate) mod irq;
pub(crate) mod series;
pub(crate) mod thread;
pub(crate) mod words;
