// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Shadow virtqueues: a driver as Linux's on the private ring, a device on the shared one.

mod driver;
mod end;
mod honest;
mod hostile;
mod tell;
mod world;
