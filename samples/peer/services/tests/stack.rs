// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network services, reached as Linux reaches them: by another stack behind the driver's side
//! of the network device.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "../../device/tests/common/mod.rs"]
mod common;

use common::{Rig, Ring, RANG};
use hvl_device::net::Net;
use hvl_services::chargen;
use hvl_services::crc::Crc32;
use hvl_services::report::{Snapshot, Sums, Text};
use hvl_services::session::Env;
use hvl_services::stack::{Addresses, Books, Frames, Memory, Stack};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, IpCidr, IpEndpoint, Ipv4Address,
    Ipv4Cidr,
};

const HEADER: u32 = 12;
const ENTRIES: u16 = 32;
const BUFFER: u32 = 2048;
const MRG_RXBUF: u64 = 1 << 15;
const PEER: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
const LINUX: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);

/// The peer: its device and its stack.
struct Peer {
    rig: Rig<Net>,
    stack: Stack,
    frames: Box<Frames>,
    text: Box<Text>,
    sums: Sums,
    snapshot_wanted: bool,
}

impl Peer {
    fn pass(&mut self, now: u64) {
        let shared = *self.rig.link.shared();
        let snapshot = std::mem::take(&mut self.snapshot_wanted).then(|| Snapshot {
            version: "9.8.7",
            ..Snapshot::default()
        });
        let mut env = Env {
            now,
            snapshot: snapshot.as_ref(),
            snapshot_wanted: &mut self.snapshot_wanted,
            sums: &mut self.sums,
            text: &mut self.text,
        };
        let mut port = self.rig.device.port(&shared);
        self.stack.poll(&mut port, &mut self.frames, &mut env, true);
        self.rig.pass(RANG);
    }
}

/// Linux's network driver as a smoltcp device.
struct Driver {
    rings: Vec<Ring>,
    rx: Vec<u32>,
    tx: Vec<u32>,
    next_tx: u16,
}

impl Driver {
    /// The next frame of the peer's, put together from its buffers.
    fn receive_frame(&mut self) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        let mut left = 1;
        while left > 0 {
            let (head, len) = self.rings[0].take()?;
            let mut bytes = vec![0; len as usize];
            let at = self.rx[head as usize];
            assert!(self.rings[0].region.read_bytes(at, &mut bytes));
            if frame.is_empty() {
                left = u16::from_le_bytes([bytes[10], bytes[11]]);
                bytes.drain(..HEADER as usize);
            }
            frame.extend(bytes);
            left -= 1;
            self.rings[0].add(head as u16, &[(at, BUFFER, true)]);
        }
        Some(frame)
    }
}

struct RxToken(Vec<u8>);

impl smoltcp::phy::RxToken for RxToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct TxToken<'a>(&'a mut Driver);

impl smoltcp::phy::TxToken for TxToken<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        let driver = self.0;
        while driver.rings[1].take().is_some() {}
        let mut frame = vec![0; len];
        let result = f(&mut frame);
        let head = driver.next_tx;
        let at = driver.tx[usize::from(head)];
        driver.rings[1]
            .region
            .write_bytes(at, &[0; HEADER as usize]);
        driver.rings[1].region.write_bytes(at + HEADER, &frame);
        driver.rings[1].add(head, &[(at, HEADER + len as u32, false)]);
        driver.next_tx = (head + 1) % ENTRIES;
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
        while self.rings[1].take().is_some() {}
        let flying = self.rings[1]
            .avail_index
            .wrapping_sub(self.rings[1].used_seen);
        (flying < ENTRIES).then_some(TxToken(self))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        // Checksums are made and checked here, so that the peer's are seen to be right.
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// Both ends.
struct World {
    peer: Peer,
    driver: Driver,
    interface: Interface,
    sockets: SocketSet<'static>,
    now: u64,
}

impl World {
    fn new() -> Self {
        let addresses = Addresses {
            own_mac: [2, 0, 0, 0, 0, 1],
            linux_mac: [2, 0, 0, 0, 0, 2],
            own: [10, 77, 0, 1],
            prefix: 24,
            linux: [10, 77, 0, 2],
            mtu: 1500,
        };
        let mut rig = Rig::new(Net::new(addresses.linux_mac, addresses.mtu, true));
        rig.attach(1);
        let mut rings = rig.bring_up(MRG_RXBUF, &[ENTRIES, ENTRIES]);
        let rx: Vec<u32> = (0..ENTRIES).map(|_| rig.alloc(BUFFER)).collect();
        let tx: Vec<u32> = (0..ENTRIES).map(|_| rig.alloc(BUFFER)).collect();
        for (head, at) in (0..).zip(&rx) {
            rings[0].add(head, &[(*at, BUFFER, true)]);
        }
        let mut driver = Driver {
            rings,
            rx,
            tx,
            next_tx: 0,
        };
        let config = Config::new(EthernetAddress(addresses.linux_mac).into());
        let mut interface = Interface::new(config, &mut driver, Instant::ZERO);
        interface.update_ip_addrs(|list| {
            list.push(IpCidr::Ipv4(Ipv4Cidr::new(LINUX, 24))).unwrap();
        });
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
            },
            driver,
            interface,
            sockets: SocketSet::new(Vec::new()),
            now: 0,
        }
    }

    /// Lets both work until `done` says so.
    fn until<R>(&mut self, mut done: impl FnMut(&mut SocketSet<'static>) -> Option<R>) -> R {
        for _ in 0..200_000 {
            let now = Instant::from_millis(self.now as i64);
            self.interface
                .poll(now, &mut self.driver, &mut self.sockets);
            self.peer.pass(self.now);
            if let Some(result) = done(&mut self.sockets) {
                return result;
            }
            self.now += 1;
        }
        panic!("it takes too long");
    }

    fn connect(&mut self, port: u16, local: u16) -> SocketHandle {
        let buffer = || tcp::SocketBuffer::new(vec![0; 32768]);
        let mut socket = tcp::Socket::new(buffer(), buffer());
        socket
            .connect(self.interface.context(), (PEER, port), local)
            .unwrap();
        self.sockets.add(socket)
    }

    fn udp(&mut self, port: u16) -> SocketHandle {
        let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 4], vec![0; 8192]);
        let mut socket = udp::Socket::new(buffer(), buffer());
        socket.bind(port).unwrap();
        self.sockets.add(socket)
    }

    /// Sends `data` on a connection and takes what comes, until the peer has closed it.
    fn converse(&mut self, handle: SocketHandle, data: &[u8]) -> Vec<u8> {
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
fn with_room(f: fn()) {
    std::thread::Builder::new()
        .stack_size(64 << 20)
        .spawn(f)
        .unwrap()
        .join()
        .unwrap();
}

fn crc(data: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(data);
    crc.value()
}

#[test]
fn tcp_echo_returns_what_it_gets_and_keeps_account() {
    with_room(|| {
        let mut world = World::new();
        let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 253) as u8).collect();
        let handle = world.connect(7, 40_001);
        assert!(world.converse(handle, &data) == data);
        // Until the last acknowledgement is through.
        let mut steps = 0;
        world.until(|_| {
            steps += 1;
            (steps == 50).then_some(())
        });
        let (_, entry) = world
            .peer
            .sums
            .iter()
            .next()
            .expect("a finished connection");
        assert_eq!((entry.remote, entry.received), (40_001, 300_000));
        assert_eq!(entry.received_crc, crc(&data));
        assert_eq!((entry.sent, entry.sent_crc), (300_000, crc(&data)));
    });
}

#[test]
fn more_connections_than_sockets_one_after_the_other() {
    with_room(|| {
        let mut world = World::new();
        for number in 0..20 {
            let handle = world.connect(7, 41_000 + number);
            assert_eq!(world.converse(handle, b"again"), b"again");
        }
    });
}

#[test]
fn chargen_gives_the_pattern_until_it_is_closed() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.connect(19, 40_002);
        let mut got = Vec::new();
        world.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_recv() {
                socket
                    .recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            (got.len() > 100_000).then_some(())
        });
        let mut want = vec![0; got.len()];
        chargen::fill(0, &mut want);
        assert!(got == want);
    });
}

#[test]
fn http_has_a_status_page_and_no_other() {
    with_room(|| {
        let mut world = World::new();
        for (number, path, status, text) in [
            (0, "/", "200 OK", "virtio-hvl peer 9.8.7\n"),
            (1, "/sums", "200 OK", "\r\n\r\n"),
            (2, "/what", "404 Not Found", "not here"),
        ] {
            let handle = world.connect(80, 42_000 + number);
            let request = format!("GET {path} HTTP/1.1\r\nHost: peer\r\n\r\n");
            let page = String::from_utf8(world.converse(handle, request.as_bytes())).unwrap();
            assert!(
                page.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{page}"
            );
            assert!(page.contains(text), "{page}");
            let (head, body) = page.split_once("\r\n\r\n").unwrap();
            let length = format!("Content-Length: {}\r\n", body.len());
            assert!(head.contains(length.trim_end()), "{page}");
        }
    });
}

#[test]
fn udp_echo_and_chargen_answer() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.udp(5000);
        for (port, want) in [
            (7, b"datagram".to_vec()),
            (19, {
                let mut pattern = vec![0; 512];
                chargen::fill(0, &mut pattern);
                pattern
            }),
        ] {
            let to = IpEndpoint::new(PEER.into(), port);
            let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(b"datagram", to).unwrap();
            let got = world.until(|sockets| {
                let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
                socket.recv().ok().map(|(data, _)| data.to_vec())
            });
            assert_eq!(got, want);
        }
        assert_eq!(world.peer.stack.udp_stats()[0].sent, 1);
        assert_eq!(world.peer.stack.udp_stats()[2].received, 1);
    });
}

#[test]
fn dhcp_offers_by_broadcast() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.udp(68);
        let repr = DhcpRepr {
            message_type: DhcpMessageType::Discover,
            transaction_id: 77,
            secs: 0,
            client_hardware_address: EthernetAddress([2, 0, 0, 0, 0, 2]),
            client_ip: Ipv4Address::UNSPECIFIED,
            your_ip: Ipv4Address::UNSPECIFIED,
            server_ip: Ipv4Address::UNSPECIFIED,
            router: None,
            subnet_mask: None,
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: false,
            requested_ip: None,
            client_identifier: None,
            server_identifier: None,
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: None,
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .unwrap();
        let everybody = IpEndpoint::new(Ipv4Address::BROADCAST.into(), 67);
        let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(&bytes, everybody).unwrap();
        let answer = world.until(|sockets| {
            let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.recv().ok().map(|(data, _)| data.to_vec())
        });
        let packet = DhcpPacket::new_checked(&answer[..]).unwrap();
        let offer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(offer.message_type, DhcpMessageType::Offer);
        assert_eq!((offer.transaction_id, offer.your_ip), (77, LINUX));
    });
}
