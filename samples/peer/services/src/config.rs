// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer's command line.

mod death;

pub use death::{Death, End};

use crate::devices::{self, List};
use crate::servo::HZ_MOST;
use crate::spis::{spi, Spis};
use core::fmt;
use hvl_device::adversary::{Plan, Strategy};
use hvl_device::bench::QUEUES_LEAST;
use hvl_device::blk::{BLK_QUEUES, SEG_MAX, SIZE_MAX};
use hvl_device::faults::Faults;
use hvl_device::net::{MTU_MAX, MTU_MIN, PAIRS};
use hvl_device::poll::Bounds;
use hvl_device::proto::virtio::feature;
use hvl_device::transport::{Offer, QUEUES};

/// Below this size of the region, packets are not larger than on any Ethernet.
const SMALL_REGION: u64 = 0x8_0000;
const SMALL_MTU: u16 = 1500;
/// What is offered unless another one is asked for: most of what a larger one saves, and Linux's memory
/// for packets stays small.
pub(crate) const USUAL_MTU: u16 = 16_000;
/// Entries of a queue, and bytes of the region, with which larger ones have room.
const LARGE_QUEUE: u16 = 128;
const LARGE_REGION: u64 = 0x20_0000;
/// Entries of a queue of which half holds a packet of the largest MTU.
const SMALL_QUEUE: u16 = 32;

/// Most pieces of Linux's memory that can be named.
pub const DIRECTS: usize = 2;

/// Microseconds of looking around before sleep, at most: by default, and that can be asked for.
const SPIN_US: u64 = 128;
const SPIN_US_MOST: u64 = 10_000;

/// Which interrupt controller there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GicKind {
    /// As the core says.
    Auto,
    /// GICv2.
    V2,
    /// GICv3 or later.
    V3,
}

/// How firmware is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// As the core says.
    Auto,
    /// By HVC.
    Hvc,
    /// By SMC.
    Smc,
}

/// Most block devices whose memory the command line names.
pub const DISKS: usize = 4;

/// Memory of a block device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is, on a page; `None`: in the memory of the program.
    pub address: Option<u64>,
    /// Bytes.
    pub size: u64,
}

/// A piece of Linux's memory that buffers may lie in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What Linux calls its first byte in the rings.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Where it is for this core.
    pub here: u64,
}

/// Everything that the command line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Devices in the order of the table.
    pub devices: List,
    /// Queues of each device for measurements.
    pub bench_queues: usize,
    /// Memory of the first block devices; the others share what the machine has for them.
    pub disks: [Option<Disk>; DISKS],
    /// Queues of each block device.
    pub blk_queues: usize,
    /// Bytes of a block, 512 or 4096.
    pub blk_block: u32,
    /// Whether block devices cannot be written to.
    pub blk_ro: bool,
    /// The logarithm of how many of a block device's blocks a physical one has.
    pub blk_physical_exp: u8,
    /// What block devices tell of their segments: bytes, and how many.
    pub blk_size_max: u32,
    /// The latter.
    pub blk_seg_max: u32,
    /// Address of the region.
    pub region: u64,
    /// Bytes of the region.
    pub size: u64,
    /// Whether the region, and Linux's memory, are mapped with caches.
    pub coherent: bool,
    /// Linux's memory, if it may be reached.
    pub direct: [Option<Memory>; DIRECTS],
    /// Interrupt controller.
    pub gic: GicKind,
    /// Distributor.
    pub gicd: u64,
    /// First redistributor (GICv3).
    pub gicr: u64,
    /// CPU interface (GICv2).
    pub gicc: u64,
    /// Interrupt by which Linux is rung; `None`: it looks by itself.
    pub irq_out: Option<u32>,
    /// Interrupt by which Linux rings; `None`: it is looked at every now and then.
    pub irq_in: Option<u32>,
    /// How often that is.
    pub poll: Bounds,
    /// Interrupt by which remoteproc asks us to look at its request to stop.
    pub irq_stop: u32,
    /// Further interrupts of Linux's, which it has for single queues.
    pub irqs: Spis,
    /// Further ones of our own, which it rings for single queues.
    pub irqs_in: Spis,
    /// A frame that takes MSIs (GICv2m).
    pub msi: Option<u64>,
    /// UART (PL011) for log lines.
    pub uart: Option<u64>,
    /// Own address.
    pub ip: [u8; 4],
    /// Bits of the netmask.
    pub prefix: u8,
    /// Own IPv6 address besides the link-local one, and the bits of its prefix.
    pub ip6: Option<([u8; 16], u8)>,
    /// Linux's context id.
    pub cid: u64,
    /// Whether checksum and segmentation offloading is offered.
    pub offload: bool,
    /// Largest IP packet.
    pub mtu: u16,
    /// Pairs of queues of the network device.
    pub net_queues: usize,
    /// Whether it has a control queue even with one pair.
    pub net_control: bool,
    /// What Linux is told of its speed, in Mbit/s.
    pub net_speed: Option<u32>,
    /// How firmware is called.
    pub psci: Conduit,
    /// Milliseconds to wait before the link is published.
    pub delay_ms: u64,
    /// Most microseconds of looking around before sleep; 0: none.
    pub spin_us: u64,
    /// What virtqueues can be.
    pub offer: Offer,
    /// Interrupt of Linux's that tells of each stamp, if one does.
    pub stamp_irq: Option<u32>,
    /// How often in a second a control loop runs beside the link.
    pub control_hz: Option<u32>,
    /// Deliberate faults.
    pub faults: Faults,
    /// An attack on Linux.
    pub adversary: Option<Plan>,
    /// A death on purpose.
    pub death: Option<Death>,
}

impl Default for Config {
    /// QEMU's virt machine with the overlays of `dts/`.
    fn default() -> Self {
        Self {
            devices: devices::DEFAULT,
            bench_queues: QUEUES_LEAST,
            disks: [None; DISKS],
            blk_queues: 2,
            blk_block: 512,
            blk_ro: false,
            blk_physical_exp: 0,
            blk_size_max: SIZE_MAX,
            blk_seg_max: SEG_MAX,
            region: 0x7a00_0000,
            size: 0x200_0000,
            coherent: true,
            direct: [None; DIRECTS],
            gic: GicKind::Auto,
            gicd: 0x0800_0000,
            gicr: 0x080a_0000,
            gicc: 0x0801_0000,
            irq_out: Some(132),
            irq_in: Some(133),
            poll: Bounds::DEFAULT,
            irq_stop: 134,
            irqs: Spis::NONE,
            irqs_in: Spis::NONE,
            msi: None,
            uart: Some(0x0904_0000),
            ip: [10, 77, 0, 1],
            prefix: 24,
            ip6: None,
            cid: 3,
            offload: true,
            mtu: USUAL_MTU,
            net_queues: 1,
            net_control: false,
            net_speed: None,
            psci: Conduit::Auto,
            delay_ms: 0,
            spin_us: SPIN_US,
            offer: Offer::ALL,
            stamp_irq: None,
            control_hz: None,
            faults: Faults::NONE,
            adversary: None,
            death: None,
        }
    }
}

/// A word that makes no sense; the rest of the line holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWord<'a>(pub &'a str);

impl fmt::Display for BadWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command line: \"{}\" makes no sense, ignored", self.0)
    }
}

/// A number, decimal or with 0x.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// An interrupt that can be set pending, or that there is none.
fn spi_or_none(text: &str) -> Option<Option<u32>> {
    match text {
        "none" => Some(None),
        _ => spi(text).map(Some),
    }
}

/// The shortest and the longest interval.
fn bounds(text: &str) -> Option<Bounds> {
    let (min, max) = text.split_once(',')?;
    Bounds::new(min.parse().ok()?, max.parse().ok()?)
}

/// A device's address: below what the page tables reach, on a page.
fn address(text: &str) -> Option<u64> {
    number(text).filter(|at| *at < 1 << 38 && *at % 4096 == 0)
}

/// `BASE+SIZE`, and `,HERE` where this core sees it at another address.
fn memory(text: &str) -> Option<Memory> {
    let (range, here) = match text.split_once(',') {
        Some((range, here)) => (range, Some(here)),
        None => (text, None),
    };
    let (base, size) = range.split_once('+')?;
    let base = address(base)?;
    let here = match here {
        Some(here) => address(here)?,
        None => base,
    };
    let size = number(size).filter(|size| *size % 4096 == 0 && (1..=1 << 38).contains(size))?;
    (here != 0).then_some(Memory {
        address: base,
        size,
        here,
    })
}

fn flag(text: &str) -> Option<bool> {
    match text {
        "yes" | "on" | "1" => Some(true),
        "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Those of `rings` that a list does not name.
fn without(rings: u64, list: &str) -> Option<u64> {
    let mut rings = rings;
    for name in list.split(',') {
        let bit = match name {
            "packed" => feature::RING_PACKED,
            "indirect" => feature::INDIRECT_DESC,
            "in-order" => feature::IN_ORDER,
            "event-index" => feature::EVENT_IDX,
            "notification-data" => feature::NOTIFICATION_DATA,
            "queue-reset" => feature::RING_RESET,
            _ => return None,
        };
        rings &= !(1 << bit);
    }
    Some(rings)
}

/// A size that a virtqueue can have.
fn entries(text: &str) -> Option<u16> {
    text.parse()
        .ok()
        .filter(|size| (1..=1 << 15).contains(size))
}

/// An MTU that frames have room for.
fn mtu(text: &str) -> Option<u16> {
    let mtu = text.parse().ok()?;
    (MTU_MIN..=MTU_MAX)
        .contains(&usize::from(mtu))
        .then_some(mtu)
}

/// Memory for block devices: `<address>+<size>` or `<size>` for each.
fn disks(text: &str) -> Option<[Option<Disk>; DISKS]> {
    let mut list = [None; DISKS];
    let mut slots = list.iter_mut();
    for word in text.split(',') {
        let (at, size) = match word.split_once('+') {
            Some((at, size)) => (Some(address(at)?), size),
            None => (None, word),
        };
        *slots.next()? = Some(Disk {
            address: at,
            size: number(size).filter(|size| (1 << 12..1 << 38).contains(size))?,
        });
    }
    Some(list)
}

fn ip(text: &str) -> Option<([u8; 4], u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: core::net::Ipv4Addr = address.parse().ok()?;
    let prefix = prefix.parse().ok().filter(|bits| (8..=30).contains(bits))?;
    Some((address.octets(), prefix))
}

/// An address that a host can have, of another network than the link-local one.
fn ip6(text: &str) -> Option<([u8; 16], u8)> {
    let (address, prefix) = text.split_once('/')?;
    let address: core::net::Ipv6Addr = address.parse().ok()?;
    let prefix = prefix
        .parse()
        .ok()
        .filter(|bits| (8..=126).contains(bits))?;
    let special = address.is_unspecified()
        || address.is_loopback()
        || address.is_multicast()
        || address.is_unicast_link_local();
    (!special).then_some((address.octets(), prefix))
}

impl Config {
    /// Reads a command line; `bad` is told of each word that makes no sense.
    pub fn parse<'a>(line: &'a str, mut bad: impl FnMut(BadWord<'a>)) -> Self {
        let mut config = Self::default();
        for word in line.split_ascii_whitespace() {
            if config.word(word).is_none() {
                bad(BadWord(word));
            }
        }
        config
    }

    fn word(&mut self, word: &str) -> Option<()> {
        let (key, value) = word.split_once('=')?;
        match key {
            "devices" => self.devices = devices::parse(value)?,
            "bench-queues" => {
                self.bench_queues = value
                    .parse()
                    .ok()
                    .filter(|n| (QUEUES_LEAST..=QUEUES).contains(n))?;
            }
            "disk" => self.disks = disks(value)?,
            "blk-queues" => {
                self.blk_queues = value
                    .parse()
                    .ok()
                    .filter(|n| (1..=BLK_QUEUES).contains(n))?;
            }
            "blk-block" => {
                self.blk_block = value
                    .parse()
                    .ok()
                    .filter(|bytes| [512, 4096].contains(bytes))?;
            }
            "blk-ro" => self.blk_ro = flag(value)?,
            "blk-physical-exp" => self.blk_physical_exp = value.parse().ok()?,
            "blk-size-max" => self.blk_size_max = value.parse().ok()?,
            "blk-seg-max" => self.blk_seg_max = value.parse().ok()?,
            "region" => self.region = address(value)?,
            "size" => self.size = number(value).filter(|size| *size < 1 << 32)?,
            "coherent" => self.coherent = flag(value)?,
            "direct" => {
                let memory = memory(value)?;
                *self.direct.iter_mut().find(|slot| slot.is_none())? = Some(memory);
            }
            "gic" => {
                self.gic = match value {
                    "auto" => GicKind::Auto,
                    "2" => GicKind::V2,
                    "3" => GicKind::V3,
                    _ => return None,
                }
            }
            "gicd" => self.gicd = address(value)?,
            "gicr" => self.gicr = address(value)?,
            "gicc" => self.gicc = address(value)?,
            "irq-out" => self.irq_out = spi_or_none(value)?,
            "irq-in" => self.irq_in = spi_or_none(value)?,
            "poll" => self.poll = bounds(value)?,
            "irq-stop" => self.irq_stop = spi(value)?,
            "irqs" => self.irqs = Spis::parse(value)?,
            "irqs-in" => self.irqs_in = Spis::parse(value)?,
            "msi" => self.msi = Some(address(value)?),
            "uart" if value == "none" => self.uart = None,
            "uart" => self.uart = Some(address(value)?),
            "ip" => (self.ip, self.prefix) = ip(value)?,
            "ip6" => self.ip6 = Some(ip6(value)?),
            "cid" => self.cid = number(value).filter(|cid| (3..0xffff_ffff).contains(cid))?,
            "offload" => self.offload = flag(value)?,
            "mtu" => self.mtu = mtu(value)?,
            "net-queues" => {
                let pairs = value.parse().ok().filter(|n| (1..=PAIRS).contains(n));
                self.net_queues = pairs?;
            }
            "net-control" => self.net_control = flag(value)?,
            "net-speed" => self.net_speed = Some(value.parse().ok()?),
            "psci" => {
                self.psci = match value {
                    "auto" => Conduit::Auto,
                    "hvc" => Conduit::Hvc,
                    "smc" => Conduit::Smc,
                    _ => return None,
                }
            }
            "without" => self.offer.rings = without(self.offer.rings, value)?,
            "queue" => self.offer.size = entries(value)?,
            "delay" => self.delay_ms = number(value)?,
            "spin" => self.spin_us = number(value).filter(|us| *us <= SPIN_US_MOST)?,
            "stamp-irq" => self.stamp_irq = Some(spi(value)?),
            "control" => {
                let hz = value.parse().ok().filter(|hz| (1..=HZ_MOST).contains(hz));
                self.control_hz = Some(hz?);
            }
            "fault" => {
                let mut faults = self.faults;
                for name in value.split(',') {
                    faults = faults.with(Faults::from_word(name)?);
                }
                self.faults = faults;
            }
            "type" => {
                let it = number(value).filter(|it| (1..64).contains(it))? as u32;
                self.faults = self.faults.with(Faults::claiming(it));
            }
            "die" => self.death = Some(Death::parse(value)?),
            "adversary" => {
                let (seed, strategy) = value.split_once(',').unwrap_or((value, "all"));
                self.adversary = Some(Plan {
                    seed: seed.parse().ok()?,
                    strategy: Strategy::from_word(strategy)?,
                });
            }
            _ => return None,
        }
        Some(())
    }

    /// The MTU that is offered: in a small region, or a small queue, Linux has too few buffers for
    /// packets that take many of them.
    pub fn usable_mtu(&self) -> u16 {
        if self.size < SMALL_REGION || self.offer.size < SMALL_QUEUE {
            self.mtu.min(SMALL_MTU)
        } else if self.size < LARGE_REGION || self.offer.size < LARGE_QUEUE {
            self.mtu.min(USUAL_MTU)
        } else {
            self.mtu
        }
    }

    /// The address that Linux gets: the one behind ours, or before it where that is none.
    pub fn linux_ip(&self) -> [u8; 4] {
        let own = u32::from_be_bytes(self.ip);
        let hosts = u32::MAX.checked_shr(u32::from(self.prefix)).unwrap_or(0);
        let next = own.wrapping_add(1);
        let usable = next & hosts != 0 && next & hosts != hosts;
        let linux = if usable { next } else { own.wrapping_sub(1) };
        linux.to_be_bytes()
    }
}

#[cfg(test)]
mod tests;
