// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network stack and its services: ICMP, ARP, DHCP, TCP and UDP echo, discard and chargen,
//! HTTP, iperf3.

use crate::config::USUAL_MTU;
use crate::dhcp::{self, DhcpStats};
use crate::drops::Drops;
use crate::guard::{Guard, Six, FOLLOWED};
use crate::hold::Hold;
use crate::iperf::{self, Ends, Iperf, IperfStats};
use crate::phy::{capabilities, Phy};
use crate::report::{UdpStats, PAGE_MAX};
use crate::session::{Env, Kind};
use crate::tcp::{listen, listens, meet, Met, Slot, SOCKETS_EACH};
use crate::udp::Service;
use hvl_device::net::{Net, Port};
use hvl_device::shared::{Shared, BUDGET};
use smoltcp::iface::{Config, Interface, PollResult, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, RxToken, TxToken};
use smoltcp::socket::{tcp, udp};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, IpCidr, Ipv4Address, Ipv4Cidr, Ipv6Address, Ipv6Cidr, IPV4_HEADER_LEN,
    UDP_HEADER_LEN,
};

mod memory;

pub use self::memory::{Books, Memory};
pub use crate::phy::Frames;

/// Connections at a time of each of echo, discard and chargen.
const PER_SERVICE: usize = 8;
/// HTTP connections at a time.
const HTTP: usize = 4;
/// Their sockets.
const SERVICE_SOCKETS: usize = SOCKETS_EACH * PER_SERVICE;
const HTTP_SOCKETS: usize = SOCKETS_EACH * HTTP;
const TCP_SOCKETS: usize = 3 * SERVICE_SOCKETS + HTTP_SOCKETS + iperf::CONNECTIONS;
const UDP_SERVICES: usize = 3;
const UDP_SOCKETS: usize = UDP_SERVICES + 1;
const SOCKETS: usize = TCP_SOCKETS + UDP_SOCKETS;
/// Ports of the services.
const ECHO: u16 = 7;
const DISCARD: u16 = 9;
const CHARGEN: u16 = 19;
const WEB: u16 = 80;
const IPERF: u16 = 5201;
pub(crate) const TCP_PORTS: [u16; 5] = [ECHO, DISCARD, CHARGEN, WEB, IPERF];
pub(crate) const UDP_PORTS: [u16; UDP_SOCKETS] = [ECHO, DISCARD, CHARGEN, IPERF];

/// Buffer of a direction that carries little.
const SMALL: usize = 4096;
/// Buffer of a direction that carries pages: larger than the longest, with the line that precedes it.
const PAGE: usize = PAGE_MAX + 1024;
/// Buffer of a direction that carries bulk.
const LARGE: usize = 64 * 1024;
/// Buffer of a direction that carries nothing but bulk.
const HUGE: usize = 256 * 1024;
/// Datagrams that wait, each way, in a UDP socket.
const DATAGRAMS: usize = 32;
const DATAGRAM_BYTES: usize = 32 * 1024;
/// The same, from Linux, where none is to be lost for want of room here: a pass brings [`BUDGET`] of them at
/// most, of the usual link's size.
const BURST: usize = 2 * BUDGET;
const BURST_BYTES: usize = 1024 * 1024;
const _: () = assert!(BURST >= BUDGET && BURST_BYTES >= BUDGET * USUAL_MTU as usize);

/// Milliseconds to the next try while Linux takes no frames.
const PATIENCE: u64 = 100;
/// Packets that one socket sends in a pass at most.
const ROUNDS: usize = 16;

/// What a look at the sockets leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    /// There may be more to do at once.
    Busy,
    /// Nothing until something comes, or until this time in milliseconds.
    IdleUntil(Option<u64>),
    /// What was said last still holds.
    Unchanged,
}

/// Addresses of both ends of the link.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Our Ethernet address.
    pub own_mac: [u8; 6],
    /// Linux's Ethernet address.
    pub linux_mac: [u8; 6],
    /// Our IPv4 address.
    pub own: [u8; 4],
    /// Bits of the netmask.
    pub prefix: u8,
    /// The address that Linux gets by DHCP.
    pub linux: [u8; 4],
    /// Our IPv6 address with its prefix, besides the link-local one.
    pub own6: Option<([u8; 16], u8)>,
    /// Largest IP packet.
    pub mtu: u16,
}

/// The network stack.
pub struct Stack {
    interface: Interface,
    guard: Guard,
    hold: Hold,
    sockets: SocketSet<'static>,
    tcp: [Slot; TCP_SOCKETS],
    /// Bit mask of those that have a connection; only a SYN adds to them.
    active: u128,
    /// Not as many listen as should.
    wanting: bool,
    udp: [Service; UDP_SERVICES],
    /// A datagram on its way back: as many bytes as fit into the largest packet of IPv4.
    datagram: &'static mut [u8],
    dhcp: dhcp::Server,
    iperf: Iperf,
    ends: Ends,
    mac: EthernetAddress,
    /// Milliseconds at which there is something to do by itself.
    due: u64,
}

impl core::fmt::Debug for Stack {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Stack").finish_non_exhaustive()
    }
}

/// Says to smoltcp what kind of device there will be.
struct NoDevice;

/// A frame that never was.
struct NoToken;

impl RxToken for NoToken {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&[])
    }
}

impl TxToken for NoToken {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, _len: usize, f: F) -> R {
        f(&mut [])
    }
}

impl Device for NoDevice {
    type RxToken<'a> = NoToken;
    type TxToken<'a> = NoToken;

    fn receive(&mut self, _now: Instant) -> Option<(NoToken, NoToken)> {
        None
    }

    fn transmit(&mut self, _now: Instant) -> Option<NoToken> {
        None
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

/// Milliseconds as smoltcp counts them.
fn instant(now: u64) -> Instant {
    Instant::from_millis(i64::try_from(now).unwrap_or(i64::MAX))
}

impl Stack {
    /// A stack with all services; `seed` should not repeat.
    pub fn new(
        addresses: &Addresses,
        seed: u64,
        memory: &'static mut Memory,
        books: &'static mut Books,
    ) -> Self {
        let mac = EthernetAddress(addresses.own_mac);
        let mut config = Config::new(mac.into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, &mut NoDevice, instant(0));
        let [a, b, c, d] = addresses.own;
        let own = Ipv4Address::new(a, b, c, d);
        let cidr = Ipv4Cidr::new(own, addresses.prefix.min(32));
        let other = addresses.own6.map(|(address, prefix)| {
            Ipv6Cidr::new(Ipv6Address::from_octets(address), prefix.min(128))
        });
        let six = Six::new(mac, other);
        interface.update_ip_addrs(|list| {
            // The list has room for three.
            let _ = list.push(IpCidr::Ipv4(cidr));
            list.extend(six.all().map(IpCidr::Ipv6));
        });

        let mut sockets = SocketSet::new(&mut books.sockets[..]);
        let [book0, book1, book2] = &mut books.udp;
        let [(rx0, tx0), (rx1, tx1), (rx2, tx2)] = &mut memory.udp;
        let udp = [
            Service::new(&mut sockets, udp_socket(book0, rx0, tx0), Kind::Echo, ECHO),
            Service::new(
                &mut sockets,
                udp_socket(book1, rx1, tx1),
                Kind::Discard,
                DISCARD,
            ),
            Service::new(
                &mut sockets,
                udp_socket(book2, rx2, tx2),
                Kind::Chargen,
                CHARGEN,
            ),
        ];
        let (rx, tx) = &mut memory.iperf_udp;
        let ends = Ends::new(
            &mut sockets,
            udp_socket(&mut books.iperf_udp, rx, tx),
            IPERF,
        );
        // Behind the others, which send little: whoever sends goes by this order.
        let mut buffers = {
            let echo = memory
                .echo
                .iter_mut()
                .map(|(a, b)| pair(a, b, Kind::Echo, ECHO));
            let discard = memory
                .discard
                .iter_mut()
                .map(|(a, b)| pair(a, b, Kind::Discard, DISCARD));
            let chargen = memory
                .chargen
                .iter_mut()
                .map(|(a, b)| pair(a, b, Kind::Chargen, CHARGEN));
            let http = memory
                .http
                .iter_mut()
                .map(|(a, b)| pair(a, b, Kind::Http, WEB));
            let iperf = memory
                .iperf
                .iter_mut()
                .map(|(a, b)| pair(a, b, Kind::Iperf, IPERF));
            http.chain(echo).chain(discard).chain(chargen).chain(iperf)
        };
        let tcp = core::array::from_fn(|_| {
            // There are as many buffers as sockets.
            let (rx, tx, kind, port) =
                buffers
                    .next()
                    .unwrap_or((&mut [], &mut [], Kind::Echo, ECHO));
            let socket = tcp::Socket::new(tcp::SocketBuffer::new(rx), tcp::SocketBuffer::new(tx));
            Slot::new(&mut sockets, socket, kind, port)
        });

        // What answers with more than that is told so, and does not wait for somebody to cut it.
        let room = usize::from(addresses.mtu).saturating_sub(IPV4_HEADER_LEN + UDP_HEADER_LEN);
        let (datagram, _) = memory.datagram.split_at_mut(room);

        let [a, b, c, d] = addresses.linux;
        let linux = Ipv4Address::new(a, b, c, d);
        let dhcp = dhcp::Server::new(cidr, EthernetAddress(addresses.linux_mac), linux);
        Self {
            interface,
            guard: Guard::new(mac, cidr, six, addresses.mtu),
            hold: Hold::new(),
            sockets,
            tcp,
            active: 0,
            wanting: true,
            udp,
            datagram,
            dhcp,
            iperf: Iperf::new(addresses.mtu),
            ends,
            mac,
            due: 0,
        }
    }

    /// Milliseconds at which [`Stack::pass`] has something to do without being asked to by Linux.
    pub const fn due(&self) -> u64 {
        self.due
    }

    /// One pass, if there is anything to do; `true` if there was.
    pub fn pass(
        &mut self,
        net: &mut Net,
        shared: &Shared,
        frames: &mut Frames,
        env: &mut Env<'_>,
    ) -> bool {
        if net.take_reset() {
            self.reset();
            self.due = env.now;
        }
        let starved = net.starved();
        let mut due = env.now >= self.due || env.snapshot.is_some();
        if !due && !net.pending(shared) {
            return false;
        }
        // Sockets may have what there was no room for.
        due |= starved;
        match self.poll(&mut net.port(shared), frames, env, due) {
            Rest::Busy => self.due = env.now,
            Rest::IdleUntil(until) => self.due = until.unwrap_or(u64::MAX),
            Rest::Unchanged => {}
        }
        // Without room for an answer nobody is answered.
        if !net.starved() {
            self.due = self.due.min(self.hold.due().unwrap_or(u64::MAX));
        }
        true
    }

    /// Takes frames, and looks at the sockets if one of them is for these, or if they are `due`.
    fn poll(
        &mut self,
        port: &mut Port<'_>,
        frames: &mut Frames,
        env: &mut Env<'_>,
        due: bool,
    ) -> Rest {
        let now = instant(env.now);
        let mut phy = Phy {
            port,
            frames,
            guard: &mut self.guard,
            dhcp: &mut self.dhcp,
            mac: self.mac,
            now: env.now,
            for_sockets: false,
            staged: None,
        };
        let mut begun = false;
        if self.wanting {
            self.wanting = !listen(&mut self.tcp, &mut self.sockets, env.sums);
        }
        // The port's budget bounds this, and how many can wait.
        loop {
            // The next frame may ask for the place of a connection that the last one has ended.
            if core::mem::take(&mut phy.guard.ended) {
                self.wanting |= !listen(&mut self.tcp, &mut self.sockets, env.sums);
            }
            let (slots, sockets) = (&mut self.tcp, &mut self.sockets);
            if let Some(key) = phy.restage(&mut self.hold, |port| listens(slots, sockets, port)) {
                if !phy.guard.ask(key) {
                    continue;
                }
                begun = true;
            } else if !phy.stage() {
                break;
            } else if let Some(key) = phy.guard.begun {
                match meet(slots, sockets, env.sums, &key) {
                    Met::Itself => continue,
                    Met::Nobody if phy.keep(&mut self.hold, key) => continue,
                    Met::Nobody | Met::Socket => {}
                }
                if !phy.guard.ask(key) {
                    continue;
                }
                begun = true;
            }
            self.interface
                .poll_ingress_single(now, &mut phy, &mut self.sockets);
        }
        // Pings and the like need no look at the sockets.
        if !phy.for_sockets && !due {
            return Rest::Unchanged;
        }

        let mut busy = false;
        if begun {
            self.active = u128::MAX;
        }
        for index in bits(self.active) {
            let Some(slot) = self.tcp.get_mut(index) else {
                // There are no more.
                self.active &= (1 << index) - 1;
                break;
            };
            busy |= slot.poll(&mut self.sockets, env, &mut self.iperf);
            self.wanting |= slot.changed(&self.sockets);
            if !slot.is_active() {
                self.active &= !(1 << index);
            }
        }
        busy |= self.iperf.datagrams(&mut self.ends, &mut self.sockets, env);
        let measured = self.iperf.settle();
        if self.wanting {
            self.wanting = !listen(&mut self.tcp, &mut self.sockets, env.sums);
        }
        for service in &mut self.udp {
            busy |= service.poll(&mut self.sockets, self.datagram);
        }
        // A socket sends one packet a round.
        for round in 0..ROUNDS {
            let sent = self.interface.poll_egress(now, &mut phy, &mut self.sockets);
            // There was room for all in this round: what the others may fill after it does not count.
            if round == 0 && phy.port.can_send() {
                for index in bits(self.active) {
                    if let Some(slot) = self.tcp.get_mut(index) {
                        slot.note(&self.sockets);
                    }
                }
            }
            if sent == PollResult::None {
                break;
            }
            busy = true;
        }
        let takes = phy.port.can_send();
        for (service, datagrams) in self.udp.iter_mut().zip(phy.guard.datagrams) {
            service.settle(&mut self.sockets, datagrams, takes, env.now);
        }
        // Whoever has no socket any more needs not be followed. Half of the places stay free for
        // those who come.
        if phy.guard.used() > FOLLOWED / 2 {
            let (tcp, sockets) = (&self.tcp, &self.sockets);
            phy.guard
                .retain(|key| tcp.iter().any(|slot| slot.key(sockets) == Some(*key)));
        }
        if busy || phy.port.exhausted() {
            return Rest::Busy;
        }
        // What cannot be sent is not tried again at once.
        let least = if takes { 1 } else { PATIENCE };
        let delay = self.interface.poll_delay(now, &self.sockets);
        let until = delay.map(|delay| {
            let delay = delay.total_millis().max(least);
            env.now.saturating_add(delay)
        });
        Rest::IdleUntil(until.into_iter().chain(measured).min())
    }

    /// Drops all connections: the device was reset.
    fn reset(&mut self) {
        for slot in &mut self.tcp {
            slot.abort(&mut self.sockets);
        }
        self.wanting = true;
        self.hold.clear();
    }

    /// What became of nothing of what Linux has sent.
    pub const fn drops(&self) -> &Drops {
        &self.guard.drops
    }

    /// Counters of the DHCP server at `now`, in milliseconds since boot.
    pub fn dhcp_stats(&self, now: u64) -> DhcpStats {
        self.dhcp.stats(now)
    }

    /// Counters of the tests of iperf3.
    pub const fn iperf_stats(&self) -> IperfStats {
        self.iperf.stats
    }

    /// Counters of UDP echo, discard and chargen.
    pub fn udp_stats(&self) -> [UdpStats; UDP_SERVICES] {
        let [echo, discard, chargen] = &self.udp;
        [echo.stats, discard.stats, chargen.stats]
    }
}

const _: () = assert!(TCP_SOCKETS <= FOLLOWED / 2 && TCP_SOCKETS < u128::BITS as usize);

/// The numbers of the bits that are set.
fn bits(mask: u128) -> impl Iterator<Item = usize> {
    let mut left = mask;
    core::iter::from_fn(move || {
        let index = left.trailing_zeros() as usize;
        let found = left != 0;
        left &= left.wrapping_sub(1);
        found.then_some(index)
    })
}

/// What a TCP socket is made of.
type Parts = (&'static mut [u8], &'static mut [u8], Kind, u16);

/// A UDP socket with these buffers, and a book for each.
fn udp_socket<const N: usize>(
    books: &'static mut [[udp::PacketMetadata; N]; 2],
    rx: &'static mut [u8],
    tx: &'static mut [u8],
) -> udp::Socket<'static> {
    let [rx_book, tx_book] = books;
    udp::Socket::new(
        udp::PacketBuffer::new(&mut rx_book[..], rx),
        udp::PacketBuffer::new(&mut tx_book[..], tx),
    )
}

fn pair(rx: &'static mut [u8], tx: &'static mut [u8], kind: Kind, port: u16) -> Parts {
    (rx, tx, kind, port)
}
