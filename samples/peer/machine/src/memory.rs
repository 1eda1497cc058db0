// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is large lives here: all zero, so that it costs nothing in the image's file.

use crate::cell::Once;
use crate::devices::More;
use heapless::Vec;
use hvl_device::bench::{self, Bench};
use hvl_device::transport::QUEUES;
use hvl_device::vsock::{Buffers, CONNECTIONS};
use hvl_services::devices::DEVICES;
use hvl_services::report::{DeviceSnapshot, Sums, Text};
use hvl_services::stack::{Books, Frames, Memory};

/// What waits in the ports of a console: from Linux, and to it. The longest answer of a shell is a page, and a
/// pipe of Linux's has 64 KiB.
pub(crate) struct Console {
    pub(crate) shell: ([u8; 4 << 10], [u8; 32 << 10]),
    pub(crate) echo: ([u8; 64 << 10], [u8; 16 << 10]),
}

pub(crate) static VSOCK: Once<[Buffers; CONNECTIONS]> =
    Once::new([const { Buffers::new() }; CONNECTIONS]);
pub(crate) static ROOM: Once<[u8; bench::ROOM]> = Once::new([0; bench::ROOM]);
pub(crate) static TCP: Once<Memory> = Once::new(Memory::new());
pub(crate) static BOOKS: Once<Books> = Once::new(Books::new());
pub(crate) static FRAMES: Once<Frames> = Once::new(Frames::new());
pub(crate) static TEXT: Once<Text> = Once::new(Text::new());
pub(crate) static SUMS: Once<Sums> = Once::new(Sums::new());
pub(crate) static MORE: Once<Vec<More, DEVICES>> = Once::new(Vec::new());
pub(crate) static CONSOLE: Once<Console> = Once::new(Console {
    shell: ([0; 4 << 10], [0; 32 << 10]),
    echo: ([0; 64 << 10], [0; 16 << 10]),
});
/// A device for measurements with all queues that there can be.
pub(crate) static WIDE: Once<Option<Bench<QUEUES>>> = Once::new(None);
/// For disks of which the command line does not say where they are.
pub(crate) static DISKS: Once<[u8; 64 << 10]> = Once::new([0; 64 << 10]);
pub(crate) static SEEN: Once<[DeviceSnapshot; DEVICES]> =
    Once::new([DeviceSnapshot::NONE; DEVICES]);
