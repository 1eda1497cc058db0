// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The status page and the list of finished connections.

use crate::dhcp::{DhcpStats, LEASES};
use crate::drops::Drops;
use crate::iperf::IperfStats;
use crate::kind::{Carrier, Kind};
use crate::servo::Figures;
use core::fmt::{self, Write};
use hvl_device::console::ConsoleStats;
use hvl_device::net::NetStats;
use hvl_device::transport::{QueueStats, Transport};
use hvl_device::vsock::VsockStats;

/// Finished connections that are remembered.
const FINISHED: usize = 64;
/// Queues that have a line of their own on a page; a device with more than are left has one for all.
const QUEUE_LINES: usize = 16;

/// Text in a fixed buffer; what does not fit is cut off.
#[derive(Debug)]
pub struct Buffer<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

/// Room for a page.
pub type Text = Buffer<PAGE_MAX>;

/// Bytes of the longest page.
pub(crate) const PAGE_MAX: usize = 24 * 1024;

impl<const N: usize> Default for Buffer<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Buffer<N> {
    /// No text.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
        }
    }

    /// Forgets the text.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// The text.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

impl<const N: usize> Write for Buffer<N> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        let count = s.len().min(room.len());
        for (to, from) in room.iter_mut().zip(s.bytes()) {
            *to = from;
        }
        self.len += count;
        Ok(())
    }
}

/// A connection that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The service.
    pub kind: Kind,
    /// What carried it.
    pub carrier: Carrier,
    /// Port at the other end.
    pub remote: u32,
    /// Bytes from Linux.
    pub received: u64,
    /// CRC-32 of these.
    pub received_crc: u32,
    /// Bytes to Linux.
    pub sent: u64,
    /// CRC-32 of these.
    pub sent_crc: u32,
    /// Messages from and to Linux, of a connection that carries messages.
    pub messages: Option<(u64, u64)>,
}

/// The last connections that have ended.
#[derive(Debug)]
pub struct Sums {
    entries: [Option<Finished>; FINISHED],
    count: u64,
}

impl Default for Sums {
    fn default() -> Self {
        Self::new()
    }
}

impl Sums {
    /// None so far.
    pub const fn new() -> Self {
        Self {
            entries: [None; FINISHED],
            count: 0,
        }
    }

    /// Remembers one; the oldest is forgotten for it.
    pub fn add(&mut self, entry: Finished) {
        let slot = (self.count % FINISHED as u64) as usize;
        if let Some(slot) = self.entries.get_mut(slot) {
            *slot = Some(entry);
        }
        self.count = self.count.wrapping_add(1);
    }

    /// The remembered ones with their numbers, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Finished)> {
        let first = self.count.saturating_sub(FINISHED as u64);
        (first..self.count).filter_map(|number| {
            let slot = (number % FINISHED as u64) as usize;
            Some((number, self.entries.get(slot)?.as_ref()?))
        })
    }
}

/// What a device has done.
#[derive(Clone, Copy, Debug)]
pub struct DeviceSnapshot {
    name: &'static str,
    status: u32,
    features: u64,
    transactions: u64,
    queue_count: usize,
    /// The first of them.
    queues: [QueueStats; QUEUE_LINES],
    /// What all have done, with what the last of them was told last.
    total: QueueStats,
}

impl DeviceSnapshot {
    /// A device that has done nothing.
    pub const NONE: Self = Self {
        name: "",
        status: 0,
        features: 0,
        transactions: 0,
        queue_count: 0,
        queues: [QueueStats::NONE; QUEUE_LINES],
        total: QueueStats::NONE,
    };

    fn add(&mut self, queue: &QueueStats) {
        if let Some(slot) = self.queues.get_mut(self.queue_count) {
            *slot = *queue;
        }
        self.queue_count += 1;
        let sum = &self.total;
        self.total = QueueStats {
            kicks: sum.kicks.wrapping_add(queue.kicks),
            notify_data: queue.notify_data,
            chains: sum.chains.wrapping_add(queue.chains),
            bytes: sum.bytes.wrapping_add(queue.bytes),
            events: sum.events.wrapping_add(queue.events),
            outside: sum.outside.wrapping_add(queue.outside),
            faults: sum.faults.wrapping_add(queue.faults),
        };
    }

    /// Copies a device's counters.
    pub fn of(transport: &Transport) -> Self {
        let mut snapshot = Self {
            name: transport.name(),
            status: transport.status(),
            features: transport.features(),
            transactions: transport.transactions(),
            ..Self::NONE
        };
        for queue in transport.stats() {
            snapshot.add(queue);
        }
        snapshot
    }
}

/// UDP datagrams of one service.
#[derive(Clone, Copy, Debug, Default)]
pub struct UdpStats {
    /// Datagrams from Linux.
    pub received: u64,
    /// Datagrams to Linux.
    pub sent: u64,
    /// Datagrams that could not be answered.
    pub dropped: u64,
    /// Datagrams that came when there was no room for more of them, or were larger than all of it.
    pub lost: u64,
}

/// All figures at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Snapshot<'a> {
    /// Version of the peer.
    pub version: &'static str,
    /// The machine, in a few words.
    pub machine: &'static str,
    /// Milliseconds since boot.
    pub uptime_ms: u64,
    /// Number of this boot.
    pub epoch: u32,
    /// Doorbell interrupts taken and rings sent.
    pub doorbells: (u64, u64, u64),
    /// Passes of the main loop, and how often it slept.
    pub passes: (u64, u64),
    /// Milliseconds of sleep.
    pub slept_ms: u64,
    /// The control loop, if there is one, and what passes cost.
    pub control: Option<Figures>,
    /// Devices, in the order of the table.
    pub devices: &'a [DeviceSnapshot],
    /// The network device.
    pub net: Option<NetStats>,
    /// The socket device.
    pub vsock: Option<VsockStats>,
    /// The console.
    pub console: Option<ConsoleStats>,
    /// What came to nothing in the stack.
    pub drops: Drops,
    /// The DHCP server.
    pub dhcp: DhcpStats,
    /// UDP echo, discard, chargen.
    pub udp: [UdpStats; 3],
    /// Tests of iperf3.
    pub iperf: IperfStats,
}

/// A page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Counters, and the finished connections.
    Status,
    /// The finished connections.
    Sums,
    /// What is not there.
    Missing,
}

impl Page {
    /// Writes the page.
    pub fn write(self, to: &mut Text, snapshot: &Snapshot<'_>, sums: &Sums) {
        // A text buffer cannot fail.
        let _ = match self {
            Self::Status => status(to, snapshot).and_then(|()| {
                to.write_str("\n")?;
                finished(to, sums)
            }),
            Self::Sums => finished(to, sums),
            Self::Missing => to.write_str("not here: try / or /sums\n"),
        };
    }
}

/// What there is to say of the link.
pub(crate) fn link(to: &mut Text, s: &Snapshot<'_>) -> fmt::Result {
    let seconds = s.uptime_ms / 1000;
    writeln!(to, "virtio-hvl peer {}", s.version)?;
    writeln!(to, "machine: {}", s.machine)?;
    writeln!(to, "uptime: {seconds}.{:03} s", s.uptime_ms % 1000)?;
    writeln!(to, "epoch: {:#x}", s.epoch)?;
    let (rung, rings, merged) = s.doorbells;
    writeln!(to, "doorbells: {rung} in, {rings} out, {merged} merged")?;
    let (passes, sleeps) = s.passes;
    writeln!(
        to,
        "passes: {passes}, slept {sleeps} times, {} ms",
        s.slept_ms
    )?;
    for line in s.control.iter().flat_map(Figures::lines) {
        writeln!(to, "{line}")?;
    }
    Ok(())
}

/// A line for each device.
pub(crate) fn devices(to: &mut Text, s: &Snapshot<'_>) -> fmt::Result {
    for (index, device) in s.devices.iter().enumerate() {
        writeln!(
            to,
            "{index} {}: status {:#x}, features {:#x}, transactions {}, queues {}",
            device.name, device.status, device.features, device.transactions, device.queue_count
        )?;
    }
    Ok(())
}

/// A line for each queue of device `only`, or of all.
pub(crate) fn queues(to: &mut Text, s: &Snapshot<'_>, only: Option<usize>) -> fmt::Result {
    if let Some(only) = only.filter(|only| *only >= s.devices.len()) {
        return writeln!(to, "no device {only}");
    }
    for (at, device) in s.devices.iter().enumerate() {
        if only.is_some_and(|only| only != at) {
            continue;
        }
        for (index, queue) in device.queues.iter().take(device.queue_count).enumerate() {
            write!(to, "{at} {} queue {index}: ", device.name)?;
            queue_line(to, queue)?;
        }
        if device.queue_count > QUEUE_LINES {
            write!(to, "{at} {} {} queues: ", device.name, device.queue_count)?;
            queue_line(to, &device.total)?;
        }
    }
    Ok(())
}

fn status(to: &mut Text, s: &Snapshot<'_>) -> fmt::Result {
    link(to, s)?;

    let totals = || s.devices.iter().map(|device| &device.total);
    let outside: u64 = totals().map(|total| total.outside).sum();
    let faults: u64 = totals().map(|total| total.faults).sum();
    writeln!(to, "outside: {outside}")?;
    writeln!(to, "violations: {faults}")?;

    let mut lines = QUEUE_LINES;
    for (index, device) in s.devices.iter().enumerate() {
        write!(to, "\n{}", device.name)?;
        let mut others = s.devices.iter().enumerate();
        if others.any(|(at, other)| at != index && other.name == device.name) {
            write!(to, " {index}")?;
        }
        writeln!(
            to,
            ": status {:#x}, features {:#x}, transactions {}",
            device.status, device.features, device.transactions
        )?;
        if device.queue_count <= lines {
            lines -= device.queue_count;
            for (index, queue) in device.queues.iter().take(device.queue_count).enumerate() {
                write!(to, "  queue {index}: ")?;
                queue_line(to, queue)?;
            }
        } else {
            write!(to, "  {} queues: ", device.queue_count)?;
            queue_line(to, &device.total)?;
        }
    }
    if let Some(net) = &s.net {
        writeln!(
            to,
            "\nnet: received {} sent {} bad {} dropped {}",
            net.received,
            net.sent,
            net.bad(),
            net.dropped
        )?;
        writeln!(
            to,
            "net large: received {} sent {} cut {}",
            net.large_received, net.large_sent, net.cut
        )?;
        writeln!(
            to,
            "net drops: length {} checksum {} header {} no-room {} filtered {} down {}",
            net.length, net.checksum, net.header, net.dropped, net.filtered, net.down
        )?;
        writeln!(
            to,
            "net control: commands {} refused {} trains {}",
            net.commands, net.refused, net.trains
        )?;
        writeln!(to, "stack: refused {}", s.drops.refused())?;
        write!(to, "stack drops:")?;
        for (name, count) in s.drops.iter() {
            write!(to, " {name} {count}")?;
        }
        let dhcp = &s.dhcp;
        writeln!(
            to,
            "\ndhcp: used {} of {LEASES} offered {} lent {} informed {} released {}",
            dhcp.used, dhcp.offered, dhcp.lent, dhcp.informed, dhcp.released
        )?;
        writeln!(
            to,
            "dhcp drops: refused {} full {} declined {} elsewhere {} bad {}",
            dhcp.refused, dhcp.full, dhcp.declined, dhcp.elsewhere, dhcp.bad
        )?;
        for (name, udp) in ["echo", "discard", "chargen"].iter().zip(&s.udp) {
            writeln!(
                to,
                "udp {name}: received {} sent {} dropped {} lost {}",
                udp.received, udp.sent, udp.dropped, udp.lost
            )?;
        }
    }
    if s.net.is_some() {
        let iperf = &s.iperf;
        writeln!(
            to,
            "iperf: begun {} done {} denied {} refused {} expired {} broken {}",
            iperf.begun, iperf.done, iperf.denied, iperf.refused, iperf.expired, iperf.broken
        )?;
    }
    if let Some(vsock) = &s.vsock {
        writeln!(
            to,
            "\nvsock: received {} sent {} bad {} opened {} refused {} too-large {}",
            vsock.received, vsock.sent, vsock.bad, vsock.opened, vsock.refused, vsock.too_large
        )?;
    }
    if let Some(console) = &s.console {
        writeln!(
            to,
            "\nconsole: received {} sent {} lost {} messages {} bad {}",
            console.received, console.sent, console.lost, console.messages, console.bad
        )?;
    }
    Ok(())
}

fn queue_line(to: &mut Text, queue: &QueueStats) -> fmt::Result {
    writeln!(
        to,
        "kicks {} chains {} bytes {} events {} outside {} violations {} last-kick {:#x}",
        queue.kicks,
        queue.chains,
        queue.bytes,
        queue.events,
        queue.outside,
        queue.faults,
        queue.notify_data
    )
}

fn finished(to: &mut Text, sums: &Sums) -> fmt::Result {
    for (number, entry) in sums.iter() {
        write!(
            to,
            "{number} {} {} port {} received {} crc32 {:08x} sent {} crc32 {:08x}",
            entry.carrier,
            entry.kind.name(),
            entry.remote,
            entry.received,
            entry.received_crc,
            entry.sent,
            entry.sent_crc
        )?;
        if let Some((received, sent)) = entry.messages {
            write!(to, " messages {received} {sent}")?;
        }
        to.write_str("\n")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
