// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The devices that the command line asks for.

use crate::memory;
use heapless::Vec;
use hvl_device::bench::{Bench, ROOM};
use hvl_device::device::Device;
use hvl_device::net::Net;
use hvl_device::shared::Shared;
use hvl_device::vsock::Vsock;
use hvl_services::config::Config;
use hvl_services::devices::{DeviceKind, List, DEVICES};
use hvl_services::report::DeviceSnapshot;

/// Ethernet address of Linux's end.
pub(crate) const LINUX_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A device that there can be several of, and that nothing but the main loop has to know.
#[derive(Debug)]
pub(crate) enum More {
    /// For measurements.
    Bench(Bench),
}

impl More {
    /// A device of `kind`, if it is one of these kinds.
    fn new(kind: DeviceKind, config: &Config) -> Option<Self> {
        match kind {
            DeviceKind::Net | DeviceKind::Vsock => None,
            DeviceKind::Bench => Some(Self::Bench(Bench::new(config.bench_queues))),
        }
    }

    fn device(&mut self) -> &mut dyn Device {
        match self {
            Self::Bench(bench) => bench,
        }
    }

    /// One pass; how many chains were served.
    pub(crate) fn pass(&mut self, shared: &Shared, scratch: &mut Scratch) -> u64 {
        match self {
            Self::Bench(bench) => bench.pass(shared, scratch.room),
        }
    }
}

/// What the devices work with during a pass, and need not keep.
pub(crate) struct Scratch {
    room: &'static mut [u8; ROOM],
}

impl Scratch {
    /// All there is.
    #[expect(clippy::expect_used, reason = "taken once, here")]
    pub(crate) fn new() -> Self {
        Self {
            room: memory::ROOM.take().expect("taken once"),
        }
    }
}

/// The devices.
pub(crate) struct Devices {
    pub(crate) net: Option<Net>,
    pub(crate) vsock: Option<Vsock<'static>>,
    /// All others, in the order of the table.
    pub(crate) more: &'static mut Vec<More, DEVICES>,
    /// The order of the table.
    order: List,
    vsock_first: bool,
}

impl Devices {
    /// Those that `config` names; frames of the network device are of IP packets of up to `mtu`
    /// bytes.
    #[expect(clippy::expect_used, reason = "each is taken once, here")]
    pub(crate) fn new(config: &Config, mtu: u16) -> Self {
        let order = config.devices;
        let has = |kind| order.contains(&Some(kind));
        let net = has(DeviceKind::Net).then(|| Net::new(LINUX_MAC, mtu, config.offload));
        let vsock = has(DeviceKind::Vsock).then(|| {
            let buffers = memory::VSOCK.take().expect("taken once");
            Vsock::new(config.cid, buffers)
        });
        let more = memory::MORE.take().expect("taken once");
        for kind in order.iter().flatten() {
            if let Some(device) = More::new(*kind, config) {
                // There is room for all that the command line can name.
                let _ = more.push(device);
            }
        }
        Self {
            net,
            vsock,
            more,
            order,
            vsock_first: order.first() == Some(&Some(DeviceKind::Vsock)),
        }
    }

    /// Calls `f` with the devices in the order of the table.
    pub(crate) fn with<R>(&mut self, f: impl FnOnce(&mut [&mut dyn Device]) -> R) -> R {
        if !self.more.is_empty() {
            return self.with_more(f);
        }
        match (&mut self.net, &mut self.vsock) {
            (Some(net), Some(vsock)) if self.vsock_first => f(&mut [vsock, net]),
            (Some(net), Some(vsock)) => f(&mut [net, vsock]),
            (Some(net), None) => f(&mut [net]),
            (None, Some(vsock)) => f(&mut [vsock]),
            (None, None) => f(&mut []),
        }
    }

    /// The same where there are more than these, so that the usual ones cost what they do without.
    fn with_more<R>(&mut self, f: impl FnOnce(&mut [&mut dyn Device]) -> R) -> R {
        let mut list: Vec<&mut dyn Device, DEVICES> = Vec::new();
        let mut more = self.more.iter_mut();
        let (mut net, mut vsock) = (self.net.as_mut(), self.vsock.as_mut());
        for kind in self.order.iter().map_while(|slot| *slot) {
            let device: Option<&mut dyn Device> = match kind {
                DeviceKind::Net => net.take().map(|net| net as _),
                DeviceKind::Vsock => vsock.take().map(|vsock| vsock as _),
                _ => more.next().map(More::device),
            };
            if let Some(device) = device {
                // There is room for all that the command line can name.
                let _ = list.push(device);
            }
        }
        f(&mut list)
    }

    /// Copies what each has done into `seen`; returns the part of it that was used.
    pub(crate) fn look<'a>(
        &mut self,
        seen: &'a mut [DeviceSnapshot; DEVICES],
    ) -> &'a [DeviceSnapshot] {
        self.with(|devices| {
            for (to, device) in seen.iter_mut().zip(devices.iter()) {
                *to = DeviceSnapshot::of(device.transport());
            }
            seen.get(..devices.len()).unwrap_or(&[])
        })
    }
}
