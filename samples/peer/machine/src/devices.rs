// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The devices that the command line asks for.

use crate::entropy::Source;
use crate::memory;
use crate::peer::MANY;
use heapless::Vec;
use hvl_device::bench::{Bench, QUEUES_USUAL, ROOM};
use hvl_device::blk::{Blk, Shape, SERIAL};
use hvl_device::console::{Console, ConsoleStats, Port, PortKind};
use hvl_device::device::{self, Device};
use hvl_device::net::{Net, Setup};
use hvl_device::rng::Rng;
use hvl_device::rpmsg::Rpmsg;
use hvl_device::shared::Shared;
use hvl_device::transport::QUEUES;
use hvl_device::vsock::Vsock;
use hvl_services::config::{Config, Disk, DISKS};
use hvl_services::control::Wish;
use hvl_services::devices::{self, DeviceKind, DEVICES};
use hvl_services::report::DeviceSnapshot;
use hvl_services::rpmsg::RpmsgServices;
use hvl_services::session::Env;
use hvl_services::shell::{self, Shell};

/// Ethernet address of Linux's end.
pub(crate) const LINUX_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A device that there can be several of, and that nothing but the main loop has to know.
#[derive(Debug)]
pub(crate) enum More {
    /// Random numbers.
    Rng(Rng),
    /// A disk.
    Blk(Blk<'static>),
    /// A shell on a terminal, and a port that echoes.
    Console(Console<'static>),
    /// For measurements.
    Bench(Bench),
    /// The one of these that has more queues than the others.
    Wide(&'static mut Bench<QUEUES>),
    /// Messages between processors.
    Rpmsg(Rpmsg, RpmsgServices),
}

/// The ports of a console.
const SHELL: PortKind = PortKind {
    terminal: true,
    name: "",
};
const ECHO: PortKind = PortKind {
    terminal: false,
    name: "hvl.echo",
};
/// Columns and rows of the terminal.
const TERMINAL_SIZE: (u16, u16) = (120, 40);

impl More {
    /// A device of `kind`, if it is one of these kinds.
    fn new(kind: DeviceKind, place: usize, config: &Config, disks: &mut Disks) -> Option<Self> {
        match kind {
            DeviceKind::Net | DeviceKind::Vsock => None,
            DeviceKind::Rng => Some(Self::Rng(Rng::new())),
            DeviceKind::Blk => {
                let mut serial = [0; SERIAL];
                let digits = [b'0' + (place / 10) as u8, b'0' + (place % 10) as u8];
                for (to, from) in serial.iter_mut().zip(b"hvl-disk-".iter().chain(&digits)) {
                    *to = *from;
                }
                let shape = Shape {
                    block: config.blk_block,
                    queues: config.blk_queues,
                    read_only: config.blk_ro,
                    physical_exp: config.blk_physical_exp,
                    size_max: config.blk_size_max,
                    seg_max: config.blk_seg_max,
                    serial,
                };
                Some(Self::Blk(Blk::new(disks.take(), &shape)))
            }
            DeviceKind::Console => {
                let memory::Console { shell, echo } = memory::CONSOLE.take()?;
                let shell = Port::new(SHELL, &mut shell.0, &mut shell.1);
                let echo = Port::new(ECHO, &mut echo.0, &mut echo.1);
                Some(Self::Console(Console::new([shell, echo], TERMINAL_SIZE)))
            }
            DeviceKind::Bench => Some(Self::bench(config.bench_queues)),
            DeviceKind::Rpmsg => Some(Self::Rpmsg(Rpmsg::new(), RpmsgServices::default())),
        }
    }

    /// The first one has as many queues as it is to have, others maybe fewer.
    fn bench(queues: usize) -> Self {
        let wide = (queues > QUEUES_USUAL).then(|| memory::WIDE.take());
        match wide.flatten() {
            Some(place) => Self::Wide(place.insert(Bench::new(queues))),
            None => Self::Bench(Bench::new(queues)),
        }
    }

    fn device(&mut self) -> &mut dyn Device {
        match self {
            Self::Rng(rng) => rng,
            Self::Blk(blk) => blk,
            Self::Console(console) => console,
            Self::Bench(bench) => bench,
            Self::Wide(bench) => *bench,
            Self::Rpmsg(rpmsg, _) => rpmsg,
        }
    }

    /// One pass; how many chains were served.
    pub(crate) fn pass(
        &mut self,
        shared: &Shared,
        scratch: &mut Scratch,
        env: &mut Env<'_>,
    ) -> u64 {
        match self {
            Self::Rng(rng) => rng.pass(shared, &mut scratch.entropy),
            Self::Blk(blk) => blk.pass(shared),
            Self::Console(console) => {
                if !console.is_in_use() {
                    scratch.shell.clear();
                    return 0;
                }
                let taken = console.receive(shared);
                if let Some(port) = console.port(0) {
                    scratch.shell.pass(port, env, crate::console::recent);
                }
                if let Some(port) = console.port(1) {
                    shell::echo(port);
                }
                let served = taken + console.send(shared);
                // What there was no room for before.
                if served != 0 && console.is_waiting() {
                    served.max(MANY)
                } else {
                    served
                }
            }
            Self::Bench(bench) => bench.pass(shared, scratch.room),
            Self::Wide(bench) => bench.pass(shared, scratch.room),
            Self::Rpmsg(rpmsg, services) => rpmsg.pass(shared, services),
        }
    }
}

/// What the devices work with during a pass, and need not keep.
pub(crate) struct Scratch {
    room: &'static mut [u8; ROOM],
    entropy: Source,
    shell: Shell,
}

impl Scratch {
    /// All there is.
    #[expect(clippy::expect_used, reason = "taken once, here")]
    pub(crate) fn new() -> Self {
        Self {
            room: memory::ROOM.take().expect("taken once"),
            entropy: Source::new(),
            shell: Shell::new(),
        }
    }
}

/// Memory for disks that the command line names by its address.
pub(crate) type Named = [Option<&'static mut [u8]>; DISKS];

/// Memory for disks, in the order of the devices.
struct Disks {
    named: core::array::IntoIter<(Option<&'static mut [u8]>, Option<Disk>), DISKS>,
    /// What is left of the program's own.
    own: &'static mut [u8],
    /// What one gets of it that the command line says nothing about.
    share: usize,
}

impl Disks {
    /// For so many devices.
    #[expect(clippy::expect_used, reason = "taken once, here")]
    fn new(named: Named, config: &Config, count: usize) -> Self {
        let own: &'static mut [u8] = memory::DISKS.take().expect("taken once");
        let asked = |disk: &Disk| disk.address.map_or(disk.size as usize, |_| 0);
        let taken: usize = config.disks.iter().flatten().map(asked).sum();
        let others = count.saturating_sub(config.disks.iter().flatten().count());
        let share = own.len().saturating_sub(taken) / others.max(1);
        let mut words = config.disks.iter();
        Self {
            named: named
                .map(|memory| (memory, words.next().copied().flatten()))
                .into_iter(),
            own,
            share: share & !0xfff,
        }
    }

    /// Memory for the next one.
    fn take(&mut self) -> &'static mut [u8] {
        let word = match self.named.next() {
            Some((Some(memory), _)) => return memory,
            Some((None, word)) => word,
            None => None,
        };
        let size = match word {
            // It cannot be used, which was said.
            Some(Disk {
                address: Some(_), ..
            }) => 0,
            Some(disk) => disk.size as usize,
            None => self.share,
        };
        let own = core::mem::take(&mut self.own);
        if size > own.len() {
            log::warn!("a disk has {:#x} bytes in place of {size:#x}", own.len());
        }
        let (disk, rest) = own.split_at_mut(size.min(own.len()));
        self.own = rest;
        disk
    }
}

/// The devices.
pub(crate) struct Devices {
    pub(crate) net: Option<Net>,
    pub(crate) vsock: Option<Vsock<'static>>,
    /// All others, in the order of the table.
    pub(crate) more: &'static mut Vec<More, DEVICES>,
    /// Where each of the table is.
    places: Vec<Place, DEVICES>,
}

/// Where a device is.
#[derive(Clone, Copy, Debug)]
enum Place {
    Net,
    Vsock,
    /// In the list of all others.
    More(usize),
}

impl Devices {
    /// Those that `config` names; frames of the network device are of IP packets of up to `mtu`
    /// bytes.
    #[expect(clippy::expect_used, reason = "each is taken once, here")]
    pub(crate) fn new(config: &Config, mtu: u16, named: Named) -> Self {
        let order = config.devices;
        let blks = devices::count(&order, DeviceKind::Blk);
        let mut disks = Disks::new(named, config, blks);
        let has = |kind| order.contains(&Some(kind));
        let net = has(DeviceKind::Net).then(|| {
            Net::with(Setup {
                control: config.net_control,
                pairs: config.net_queues,
                speed: config.net_speed,
                ..Setup::new(LINUX_MAC, mtu, config.offload)
            })
        });
        let vsock = has(DeviceKind::Vsock).then(|| {
            let buffers = memory::VSOCK.take().expect("taken once");
            Vsock::new(config.cid, buffers)
        });
        let more = memory::MORE.take().expect("taken once");
        let mut places = Vec::new();
        for (place, kind) in order.iter().flatten().enumerate() {
            let at = match More::new(*kind, place, config, &mut disks) {
                Some(device) => {
                    // There is room for all that the command line can name.
                    let _ = more.push(device);
                    Place::More(more.len().saturating_sub(1))
                }
                None if *kind == DeviceKind::Net => Place::Net,
                None => Place::Vsock,
            };
            let _ = places.push(at);
        }
        Self {
            net,
            vsock,
            more,
            places,
        }
    }

    /// Device `index` of the table, if it is one of those that nothing but the main loop has to know.
    pub(crate) fn more(&mut self, index: usize) -> Option<&mut More> {
        match *self.places.get(index)? {
            Place::More(at) => self.more.get_mut(at),
            Place::Net | Place::Vsock => None,
        }
    }

    /// What the console has done, if there is one.
    pub(crate) fn console_stats(&self) -> Option<ConsoleStats> {
        self.more.iter().find_map(|device| match device {
            More::Console(console) => Some(*console.stats()),
            _ => None,
        })
    }

    /// Does what was asked for.
    pub(crate) fn grant(&mut self, wish: Wish, shared: &Shared) {
        if let Some(net) = &mut self.net {
            wish.grant(net, shared);
        }
        for device in self.more.iter_mut() {
            if let More::Console(console) = device {
                wish.grant_console(console, shared);
            }
        }
        if wish == Wish::ResetCounters {
            for index in 0..device::Devices::count(self) {
                if let Some(device) = device::Devices::device(self, index) {
                    device.transport_mut().reset_stats();
                }
            }
        }
    }

    /// Copies what each has done into `seen`; returns the part of it that was used.
    pub(crate) fn look<'a>(
        &mut self,
        seen: &'a mut [DeviceSnapshot; DEVICES],
    ) -> &'a [DeviceSnapshot] {
        let count = device::Devices::count(self);
        for (index, to) in seen.iter_mut().enumerate().take(count) {
            if let Some(device) = device::Devices::device(self, index) {
                *to = DeviceSnapshot::of(device.transport());
            }
        }
        seen.get(..count).unwrap_or(&[])
    }
}

impl device::Devices for Devices {
    fn count(&self) -> usize {
        self.places.len()
    }

    fn device(&mut self, index: usize) -> Option<&mut dyn Device> {
        Some(match *self.places.get(index)? {
            Place::Net => self.net.as_mut()?,
            Place::Vsock => self.vsock.as_mut()?,
            Place::More(at) => self.more.get_mut(at)?.device(),
        })
    }
}
