// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer, Linux, and the time that passes for both.

use crate::common::{Rig, Ring, RANG, TICK};
use crate::frames::{folded, sum_of, widen};
use crate::ipv6::{LINUX6, NEAR6, OWN6};
use hvl_device::net::Net;
use hvl_device::proto::layout::PAGE;
use hvl_services::report::{Snapshot, Sums, Text};
use hvl_services::session::{Clock, Env};
use hvl_services::stack::{Addresses, Books, Frames, Memory, Stack};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, IpAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv6Cidr, TcpPacket,
};
use std::collections::VecDeque;

pub(crate) const HEADER: u32 = 12;
pub(crate) const ENTRIES: u16 = 32;
pub(crate) const BUFFER: u32 = 2048;
pub(crate) const GUEST_CSUM: u64 = 1 << 1;
pub(crate) const GUEST_TSO4: u64 = 1 << 7;
const MRG_RXBUF: u64 = 1 << 15;
const EVENT_IDX: u64 = 1 << 29;
pub(crate) const PEER: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
pub(crate) const LINUX: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
/// Milliseconds between two looks of a peer that sleeps.
const HEARTBEAT: u64 = 100;

/// A time, in milliseconds.
#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn micros(&self) -> u64 {
        1000 * self.0
    }
}

/// The peer: its device and its stack.
pub(crate) struct Peer {
    pub(crate) rig: Rig<Net>,
    pub(crate) stack: Stack,
    pub(crate) frames: Box<Frames>,
    pub(crate) text: Box<Text>,
    pub(crate) sums: Sums,
    snapshot_wanted: bool,
    asleep: bool,
    next_beat: u64,
    /// The device learns of heartbeats.
    pub(crate) ticks: bool,
    pub(crate) passes: u64,
}

impl Peer {
    /// One pass, whether there is reason for it or not; `true` if there was.
    pub(crate) fn pass(&mut self, now: u64) -> bool {
        let shared = *self.rig.link.shared();
        let snapshot = std::mem::take(&mut self.snapshot_wanted).then(|| Snapshot {
            version: "9.8.7",
            ..Snapshot::default()
        });
        let mut env = Env {
            now,
            clock: &At(now),
            snapshot: snapshot.as_ref(),
            snapshot_wanted: &mut self.snapshot_wanted,
            sums: &mut self.sums,
            text: &mut self.text,
            wish: &mut None,
        };
        let net = &mut self.rig.device;
        let busy = self.stack.pass(net, &shared, &mut self.frames, &mut env);
        self.rig.pass(RANG);
        self.passes += 1;
        busy | self.snapshot_wanted
    }

    /// What the machine's main loop does in a millisecond: passes until there is nothing more to
    /// do, then sleep until Linux rings or something is due.
    pub(crate) fn run(&mut self, now: u64, rung: bool) {
        let beat = now >= self.next_beat;
        if beat {
            self.next_beat = now + HEARTBEAT;
            if self.ticks {
                self.rig.pass(TICK);
            }
        }
        self.asleep &= !(rung || beat || now >= self.stack.due());
        // A pass takes its time as well.
        for _ in 0..20 {
            if self.asleep {
                break;
            }
            let mut devices: [&mut dyn hvl_device::device::Device; 1];
            if self.pass(now) {
                devices = [&mut self.rig.device];
                self.rig.link.quieten(&mut devices);
            } else {
                devices = [&mut self.rig.device];
                self.asleep = !self.rig.link.listen(&mut devices);
            }
        }
    }
}

/// Where the pool begins.
const POOL: u32 = 2 * PAGE;
/// Bytes of a place for a frame that is larger than any buffer, and how many there are.
const HUGE: u32 = 66_000;
const HUGE_FRAMES: u32 = 6;

/// Linux's network driver as a smoltcp device.
pub(crate) struct Driver {
    pub(crate) rings: Vec<Ring>,
    pub(crate) rx: Vec<u32>,
    pub(crate) tx: Vec<u32>,
    pub(crate) next_tx: u16,
    huge: u32,
    next_huge: u32,
    /// Available indices when it was last decided whether to ring.
    decided: [u16; 2],
    pub(crate) mtu: u16,
    device_mtu: u16,
    features: u64,
    /// Buffers are kept back.
    pub(crate) stingy: bool,
    kept: Vec<u16>,
    /// So many are never given to the peer again.
    pub(crate) hoard: usize,
    /// Linux takes it that the peer takes segments of any size, as if the device cut them.
    pub(crate) leaves_cutting: bool,
    /// Segments that frames of the peer's were cut into, and the largest of either.
    cut: VecDeque<Vec<u8>>,
    pub(crate) largest_frame: usize,
    pub(crate) largest_segment: usize,
}

impl Driver {
    /// Brings the device up.
    fn new(rig: &mut Rig<Net>, mtu: u16, features: u64) -> Self {
        let mut rings = rig.bring_up(MRG_RXBUF | EVENT_IDX | features, &[ENTRIES, ENTRIES]);
        let rx: Vec<u32> = (0..ENTRIES).map(|_| rig.alloc(BUFFER)).collect();
        let tx: Vec<u32> = (0..ENTRIES).map(|_| rig.alloc(BUFFER)).collect();
        let huge = rig.alloc(HUGE * HUGE_FRAMES);
        for (head, at) in (0..).zip(&rx) {
            rings[0].add(head, &[(*at, BUFFER, true)]);
        }
        Self {
            rings,
            rx,
            tx,
            next_tx: 0,
            huge,
            next_huge: 0,
            decided: [0; 2],
            mtu,
            device_mtu: mtu,
            features,
            stingy: false,
            kept: Vec::new(),
            hoard: 0,
            leaves_cutting: false,
            cut: VecDeque::new(),
            largest_frame: 0,
            largest_segment: 0,
        }
    }

    /// Whether one more frame can be sent.
    pub(crate) fn can_send(&mut self) -> bool {
        while self.rings[1].take().is_some() {}
        let sent = self.rings[1].avail_index;
        sent.wrapping_sub(self.rings[1].used_seen) < ENTRIES
    }

    /// Sends a frame. The larger ones take turns: too many of them overwrite each other.
    pub(crate) fn send_frame(&mut self, frame: &[u8]) {
        let head = self.next_tx;
        let len = HEADER + frame.len() as u32;
        let at = if len <= BUFFER {
            self.tx[usize::from(head)]
        } else {
            self.next_huge = (self.next_huge + 1) % HUGE_FRAMES;
            self.huge + self.next_huge * HUGE
        };
        let region = self.rings[1].region;
        region.write_bytes(at, &[0; HEADER as usize]);
        region.write_bytes(at + HEADER, frame);
        self.rings[1].add(head, &[(at, len, false)]);
        self.next_tx = (head + 1) % ENTRIES;
    }

    /// The next frame of the peer's, put together from its buffers; cut as Linux does it, if it is
    /// larger than one.
    pub(crate) fn receive_frame(&mut self) -> Option<Vec<u8>> {
        if let Some(segment) = self.cut.pop_front() {
            return Some(segment);
        }
        let mut header = [0; HEADER as usize];
        let mut frame = Vec::new();
        let mut left = 1;
        while left > 0 {
            let (head, len) = self.rings[0].take()?;
            let mut bytes = vec![0; len as usize];
            let at = self.rx[head as usize];
            assert!(self.rings[0].region.read_bytes(at, &mut bytes));
            if frame.is_empty() {
                left = u16::from_le_bytes([bytes[10], bytes[11]]);
                header.copy_from_slice(&bytes[..HEADER as usize]);
                bytes.drain(..HEADER as usize);
            }
            frame.extend(bytes);
            left -= 1;
            if self.stingy || self.kept.len() < self.hoard {
                self.kept.push(head as u16);
            } else {
                self.rings[0].add(head as u16, &[(at, BUFFER, true)]);
            }
        }
        self.largest_frame = self.largest_frame.max(frame.len());
        let word = |at: usize| usize::from(u16::from_le_bytes([header[at], header[at + 1]]));
        let [headers, gso, start, offset] = [2, 4, 6, 8].map(word);
        let (begun, kind) = (header[0] & 1 != 0, header[1]);
        assert!(!begun || self.features & GUEST_CSUM != 0);
        if begun {
            // From there on it is Linux's to sum up, the sum of the pseudo header included.
            let sum = folded(&frame[start..]).to_be_bytes();
            frame[start + offset..start + offset + 2].copy_from_slice(&sum);
        }
        if self.leaves_cutting {
            widen(&mut frame);
        }
        if kind == 0 {
            assert!(frame.len() <= 14 + usize::from(self.device_mtu));
            return Some(frame);
        }
        assert!(self.features & GUEST_TSO4 != 0 && begun && kind == 1);
        assert_eq!((start, offset), (34, 16));
        assert_eq!(headers, 34 + usize::from(frame[46] >> 4) * 4);
        self.segments(&frame, headers, gso);
        self.cut.pop_front()
    }

    fn segments(&mut self, frame: &[u8], headers: usize, gso: usize) {
        assert!(frame.len() > headers + gso, "nothing to cut");
        // The whole is right, as one segment would be.
        assert_eq!(sum_of(frame), 0);
        let payload = &frame[headers..];
        for (part, from) in payload.chunks(gso).zip((0u32..).step_by(gso)) {
            let mut bytes = frame[..headers].to_vec();
            bytes.extend(part);
            let len = bytes.len() - 14;
            let mut ip = Ipv4Packet::new_unchecked(&mut bytes[14..]);
            ip.set_total_len(len as u16);
            ip.fill_checksum();
            let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
            let seq = tcp.seq_number();
            tcp.set_seq_number(seq + from as usize);
            if from as usize + part.len() < payload.len() {
                tcp.set_psh(false);
                tcp.set_fin(false);
            }
            tcp.fill_checksum(&PEER.into(), &LINUX.into());
            self.largest_segment = self.largest_segment.max(part.len());
            self.cut.push_back(bytes);
        }
    }

    /// Gives the peer the buffers that were kept back.
    pub(crate) fn relent(&mut self) {
        self.stingy = false;
        self.give(usize::MAX);
    }

    /// Gives the peer some of the buffers that were kept back.
    pub(crate) fn give(&mut self, count: usize) {
        let count = count.min(self.kept.len());
        for head in self.kept.drain(..count).collect::<Vec<_>>() {
            let at = self.rx[usize::from(head)];
            self.rings[0].add(head, &[(at, BUFFER, true)]);
        }
    }

    /// Whether Linux would ring the doorbell: the peer wants to hear of one of the chains that
    /// were made available since the last call (VIRTIO 2.7.10).
    pub(crate) fn rings(&mut self) -> bool {
        let mut rung = false;
        for (ring, decided) in self.rings.iter().zip(&mut self.decided) {
            let event = ring.region.read16(ring.used + 4 + 8 * u32::from(ring.size));
            let (old, new) = (*decided, ring.avail_index);
            *decided = new;
            rung |= new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old);
        }
        rung
    }
}

pub(crate) struct RxToken(Vec<u8>);

impl smoltcp::phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

pub(crate) struct TxToken<'a>(&'a mut Driver);

impl smoltcp::phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        self.0.send_frame(&frame);
        result
    }
}

impl Device for Driver {
    type RxToken<'a> = RxToken;
    type TxToken<'a> = TxToken<'a>;

    fn receive(&mut self, now: Instant) -> Option<(RxToken, TxToken<'_>)> {
        self.transmit(now)?;
        let frame = self.receive_frame()?;
        Some((RxToken(frame), TxToken(self)))
    }

    fn transmit(&mut self, _: Instant) -> Option<TxToken<'_>> {
        self.can_send().then_some(TxToken(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // Checksums are made and checked here, so that the peer's are seen to be right.
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 14 + usize::from(self.mtu);
        capabilities
    }
}

/// Linux's stack.
fn interface(driver: &mut Driver, now: Instant) -> Interface {
    let config = Config::new(EthernetAddress([2, 0, 0, 0, 0, 2]).into());
    let mut interface = Interface::new(config, driver, now);
    interface.update_ip_addrs(|list| {
        list.push(IpCidr::Ipv4(Ipv4Cidr::new(LINUX, 24))).unwrap();
        for address in [LINUX6, NEAR6] {
            list.push(IpCidr::Ipv6(Ipv6Cidr::new(address, 64))).unwrap();
        }
    });
    interface
}

/// Both ends.
pub(crate) struct World {
    pub(crate) peer: Peer,
    pub(crate) driver: Driver,
    pub(crate) interface: Interface,
    pub(crate) sockets: SocketSet<'static>,
    pub(crate) now: u64,
    driver_epoch: u32,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_mtu(1500)
    }

    pub(crate) fn with_mtu(mtu: u16) -> Self {
        Self::with_features(mtu, 0)
    }

    pub(crate) fn with_features(mtu: u16, features: u64) -> Self {
        let addresses = Addresses {
            own_mac: [2, 0, 0, 0, 0, 1],
            linux_mac: [2, 0, 0, 0, 0, 2],
            own: [10, 77, 0, 1],
            prefix: 24,
            linux: [10, 77, 0, 2],
            own6: Some((OWN6.octets(), 64)),
            mtu,
        };
        let mut rig = Rig::new(Net::new(addresses.linux_mac, addresses.mtu, true));
        rig.attach(1);
        let mut driver = Driver::new(&mut rig, mtu, features);
        let interface = interface(&mut driver, Instant::ZERO);
        // Leaked: a stack has its memory for good.
        let stack = Stack::new(
            &addresses,
            1,
            Box::leak(zeroed()),
            Box::leak(Box::new(Books::new())),
        );
        Self {
            peer: Peer {
                rig,
                stack,
                frames: Box::new(Frames::new()),
                text: Box::new(Text::new()),
                sums: Sums::new(),
                snapshot_wanted: false,
                asleep: false,
                next_beat: 0,
                ticks: false,
                passes: 0,
            },
            driver,
            interface,
            sockets: SocketSet::new(Vec::new()),
            now: 0,
            driver_epoch: 1,
        }
    }

    /// Has Linux's stack go by the driver's MTU.
    pub(crate) fn rewire(&mut self) {
        let now = Instant::from_millis(self.now as i64);
        self.interface = interface(&mut self.driver, now);
    }

    /// Starts over with another driver.
    pub(crate) fn renew(&mut self) {
        self.driver_epoch += 1;
        self.peer.rig.attach(self.driver_epoch);
        self.peer.rig.free_all(POOL);
        let rings = [0; 4 * PAGE as usize];
        self.peer.rig.mem().write_bytes(POOL, &rings);
        let (mtu, features) = (self.driver.device_mtu, self.driver.features);
        self.driver = Driver::new(&mut self.peer.rig, mtu, features);
    }

    /// Lets both work until `done` says so.
    pub(crate) fn until<R>(
        &mut self,
        mut done: impl FnMut(&mut SocketSet<'static>) -> Option<R>,
    ) -> R {
        for _ in 0..200_000 {
            let now = Instant::from_millis(self.now as i64);
            self.interface
                .poll(now, &mut self.driver, &mut self.sockets);
            self.peer.run(self.now, self.driver.rings());
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
            self.now += 1;
        }
        panic!("it takes too long");
    }

    pub(crate) fn connect(&mut self, port: u16, local: u16) -> SocketHandle {
        self.connect_to(PEER.into(), port, local)
    }

    pub(crate) fn connect_to(&mut self, to: IpAddress, port: u16, local: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 32768]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket
            .connect(self.interface.context(), (to, port), local)
            .unwrap();
        self.sockets.add(socket)
    }

    pub(crate) fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer =
            || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 65_536]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Sends `data` on a connection and takes what comes, until the peer has closed it.
    pub(crate) fn converse(&mut self, handle: SocketHandle, data: &[u8]) -> Vec<u8> {
        let mut sent = 0;
        let mut got = Vec::new();
        self.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && sent < data.len() {
                sent += socket.send_slice(&data[sent..]).unwrap();
            } else if socket.may_send() && sent == data.len() {
                socket.close();
            }
            while socket.can_recv() {
                socket
                    .recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            let over = !matches!(socket.state(), tcp::State::SynSent) && !socket.may_recv();
            (over && sent == data.len()).then_some(())
        });
        got
    }
}

/// A large value on the heap without a copy on the stack.
fn zeroed() -> Box<Memory> {
    let vec: Vec<Memory> = std::iter::repeat_with(Memory::new).take(1).collect();
    let boxed: Box<[Memory; 1]> = vec.into_boxed_slice().try_into().unwrap();
    let [memory] = *boxed;
    Box::new(memory)
}

/// Runs `f` with a stack that is large enough for debug builds.
pub(crate) fn with_room(f: fn()) {
    std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(f)
        .unwrap()
        .join()
        .unwrap();
}
