// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What stands between Linux's frames and smoltcp, which takes two things for granted that a
//! hostile sender need not grant: that whoever opens a connection has an address, and that
//! nobody sends more than the window allows. It panics where they do not hold.
//!
//! Frames that no neighbour on this link could have sent are dropped. Each TCP connection is
//! followed from its SYN on, and payload beyond the window that Linux was told of is cut off.
//!
//! smoltcp needs every byte it takes to lie below the edge of the window that it believes to have
//! advertised last. That edge can move back: by as much as a scaled window rounds down, and
//! unseen here where an answer is dropped for want of the neighbour's address. So Linux is told
//! of one unit of the scaled window less than smoltcp says: the highest edge that was ever told
//! then lies below any that smoltcp can believe in later.

mod ipv6;
mod packet;
mod size;

pub(crate) use self::ipv6::Six;
use self::packet::{cut, shift, Packet};

use crate::dhcp;
use crate::drops::{Cause, Drops};
use crate::stack::{TCP_PORTS, UDP_PORTS};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol,
    Icmpv4Message, Icmpv4Packet, IpAddress, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet,
    TcpPacket, TcpRepr, UdpPacket, IPV4_HEADER_LEN,
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Connections that are followed. Half as many can be alive, which leaves room for those that a
/// pass opens.
pub(crate) const FOLLOWED: usize = 144;

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A socket, or somebody that a socket waits for.
    Sockets,
    /// The stack itself, which answers at once.
    Stack,
    /// The DHCP server.
    Dhcp,
}

/// Whether an address is one that another host of the link, on which we are `own`, can have.
pub(crate) fn is_neighbour(own: Ipv4Cidr, address: Ipv4Address) -> bool {
    let hosts = !own.netmask().to_bits();
    let host = address.to_bits() & hosts;
    own.contains_addr(&address) && address != own.address() && host != 0 && host != hosts
}

/// The ends of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) remote: IpAddress,
    pub(crate) own: IpAddress,
    pub(crate) remote_port: u16,
    pub(crate) port: u16,
}

/// What Linux was told of a connection.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Bits that windows are shifted by.
    shift: u8,
    /// Sequence number that Linux may send up to.
    edge: u32,
}

/// A connection that Linux has asked for.
#[derive(Clone, Copy, Debug)]
struct Followed {
    key: Key,
    told: Option<Told>,
    /// Most bytes that Linux takes in one segment.
    mss: u16,
    /// A SYN came after our last word. Nobody can have an answer to what was not said yet.
    asked: bool,
}

/// The connections, and the addresses of the link.
#[derive(Debug)]
pub(crate) struct Guard {
    mac: EthernetAddress,
    own: Ipv4Cidr,
    six: Six,
    mtu: u16,
    followed: [Option<Followed>; FOLLOWED],
    /// How many there are, and where the one is that was looked for last: the next segment is likely to
    /// be one of its.
    used: usize,
    last: usize,
    /// The connection that the last frame has asked for.
    fresh: Option<Key>,
    /// The connection that the last frame asks for, new to us or not.
    pub(crate) begun: Option<Key>,
    /// The stack owes an answer to the last frame.
    owed: bool,
    /// What came to nothing.
    pub(crate) drops: Drops,
    /// Of each of the UDP services.
    pub(crate) datagrams: [Datagrams; UDP_PORTS.len()],
    /// A frame came that ends a connection, or Linux's half of it.
    pub(crate) ended: bool,
}

/// Datagrams of one service.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Datagrams {
    /// Those that the stack was shown.
    pub(crate) shown: u64,
    /// Those that have gone out.
    pub(crate) gone: u64,
}

/// How far `to` is ahead of `from` in sequence space.
const fn ahead(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

impl Guard {
    pub(crate) const fn new(mac: EthernetAddress, own: Ipv4Cidr, six: Six, mtu: u16) -> Self {
        Self {
            mac,
            own,
            six,
            mtu,
            followed: [None; FOLLOWED],
            used: 0,
            last: 0,
            fresh: None,
            begun: None,
            owed: false,
            drops: Drops::new(),
            datagrams: [Datagrams { shown: 0, gone: 0 }; UDP_PORTS.len()],
            ended: false,
        }
    }

    /// Looks at a frame of Linux's and cuts off what is too much; `None` if the stack must not
    /// see it. One that asks for a connection ([`Guard::begun`]) it may see after [`Guard::ask`].
    pub(crate) fn admit(&mut self, frame: &mut [u8]) -> Option<For> {
        self.fresh = None;
        self.begun = None;
        self.owed = false;
        self.check(frame)
            .inspect_err(|cause| self.drops.add(*cause))
            .ok()
    }

    fn check(&mut self, frame: &mut [u8]) -> Result<For, Cause> {
        let mut frame = EthernetFrame::new_checked(frame).map_err(|_| Cause::Malformed)?;
        let to = frame.dst_addr();
        if to != self.mac && to.is_unicast() {
            return Err(Cause::Destination);
        }
        match frame.ethertype() {
            EthernetProtocol::Arp => self.arp(frame.payload_mut()),
            EthernetProtocol::Ipv4 => self.ipv4(frame.payload_mut()),
            EthernetProtocol::Ipv6 => self.ipv6(frame.payload_mut()),
            _ => Err(Cause::Protocol),
        }
    }

    fn arp(&self, bytes: &[u8]) -> Result<For, Cause> {
        let packet = ArpPacket::new_checked(bytes).map_err(|_| Cause::Malformed)?;
        let Ok(ArpRepr::EthernetIpv4 {
            operation,
            source_hardware_addr,
            source_protocol_addr,
            target_protocol_addr,
            ..
        }) = ArpRepr::parse(&packet)
        else {
            return Err(Cause::Malformed);
        };
        if target_protocol_addr != self.own.address() {
            return Err(Cause::Destination);
        }
        if matches!(operation, ArpOperation::Unknown(_)) || !source_hardware_addr.is_unicast() {
            return Err(Cause::Malformed);
        }
        if !is_neighbour(self.own, source_protocol_addr) {
            return Err(Cause::Source);
        }
        // A socket may wait for its neighbour's address.
        Ok(For::Sockets)
    }

    fn ipv4(&mut self, bytes: &mut [u8]) -> Result<For, Cause> {
        let packet = Ipv4Packet::new_checked(&*bytes).map_err(|_| Cause::Malformed)?;
        let header = usize::from(packet.header_len());
        // smoltcp believes a header length that is too small.
        if packet.version() != 4 || header < IPV4_HEADER_LEN {
            return Err(Cause::Malformed);
        }
        if !packet.verify_checksum() {
            return Err(Cause::Checksum);
        }
        let to = packet.dst_addr();
        let own = to == self.own.address();
        if !own && !to.is_broadcast() && Some(to) != self.own.broadcast() {
            return Err(Cause::Destination);
        }
        if packet.more_frags() || packet.frag_offset() != 0 {
            return Err(Cause::Fragment);
        }
        let from = packet.src_addr();
        let neighbour = is_neighbour(self.own, from);
        match packet.next_header() {
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(packet.payload()).map_err(|_| Cause::Malformed)?;
                let port = udp.dst_port();
                if port == dhcp::SERVER_PORT {
                    // Whoever asks for an address has none yet, or one of another link.
                    return Ok(For::Dhcp);
                }
                if !neighbour {
                    return Err(Cause::Source);
                }
                if port == 0 {
                    return Err(Cause::Malformed);
                }
                let Some(service) = self.service(port) else {
                    self.drops.add(Cause::Closed);
                    self.owed = own;
                    return Ok(For::Stack);
                };
                service.shown = service.shown.wrapping_add(1);
                Ok(For::Sockets)
            }
            _ if !neighbour => Err(Cause::Source),
            IpProtocol::Tcp if !own => Err(Cause::Destination),
            IpProtocol::Tcp => {
                let excess = self.segment(from.into(), to.into(), packet.payload())?;
                if excess > 0 {
                    self.drops.add(Cause::Window);
                    cut(bytes, header, excess);
                }
                Ok(For::Sockets)
            }
            IpProtocol::Icmp => {
                let icmp =
                    Icmpv4Packet::new_checked(packet.payload()).map_err(|_| Cause::Malformed)?;
                if !icmp.verify_checksum() {
                    return Err(Cause::Checksum);
                }
                self.owed = icmp.msg_type() == Icmpv4Message::EchoRequest;
                Ok(For::Stack)
            }
            _ => {
                self.owed = own;
                Ok(For::Stack)
            }
        }
    }

    /// The datagrams of the service on UDP port `port`.
    fn service(&mut self, port: u16) -> Option<&mut Datagrams> {
        let at = UDP_PORTS.iter().position(|served| *served == port)?;
        self.datagrams.get_mut(at)
    }

    /// The stack has said all that it has to say to the last frame.
    pub(crate) fn settle(&mut self) {
        if core::mem::take(&mut self.owed) {
            self.drops.add(Cause::Unanswered);
        }
    }

    /// Looks at a TCP segment; returns how many of its bytes are too many.
    fn segment(&mut self, remote: IpAddress, own: IpAddress, bytes: &[u8]) -> Result<usize, Cause> {
        let tcp = TcpPacket::new_checked(bytes).map_err(|_| Cause::Malformed)?;
        let repr = TcpRepr::parse(&tcp, &remote, &own, &ChecksumCapabilities::ignored());
        // What neither begins nor ends a connection acknowledges something (RFC 9293 3.10.7).
        if repr.is_err() || !(tcp.syn() || tcp.rst() || tcp.ack()) {
            return Err(Cause::Malformed);
        }
        let key = Key {
            remote,
            own,
            remote_port: tcp.src_port(),
            port: tcp.dst_port(),
        };
        self.ended |= tcp.fin() || tcp.rst();
        if tcp.syn() && !tcp.ack() {
            self.begun = Some(key);
            return Ok(0);
        }
        let Some(followed) = self.find(key) else {
            // No socket has it: it is answered by a reset.
            self.owed = !tcp.rst();
            return Ok(0);
        };
        if tcp.rst() {
            return Ok(0);
        }
        let told = followed.told.filter(|_| !followed.asked);
        let edge = told.ok_or(Cause::Early)?.edge;
        let room = ahead(edge, tcp.seq_number().0 as u32);
        let room = usize::try_from(room).unwrap_or(0);
        Ok(tcp.payload().len().saturating_sub(room))
    }

    /// The stack is about to see that Linux asks for a connection; `false`, and it must not, if there are
    /// too many to follow.
    pub(crate) fn ask(&mut self, key: Key) -> bool {
        self.begun = Some(key);
        self.fresh = None;
        self.owed = false;
        if let Some(followed) = self.find(key) {
            followed.asked = true;
            return true;
        }
        let Some(slot) = self.followed.iter_mut().find(|slot| slot.is_none()) else {
            self.drops.add(Cause::Crowd);
            return false;
        };
        *slot = Some(Followed {
            key,
            told: None,
            mss: size::DEFAULT,
            asked: true,
        });
        self.used += 1;
        self.fresh = Some(key);
        true
    }

    fn find(&mut self, key: Key) -> Option<&mut Followed> {
        let is = |slot: &Option<Followed>| slot.is_some_and(|followed| followed.key == key);
        if !self.followed.get(self.last).is_some_and(is) {
            self.last = self.followed.iter().position(is)?;
        }
        self.followed.get_mut(self.last)?.as_mut()
    }

    /// Takes note of a frame of the stack's before it goes out, and makes the window and the size that
    /// it tells of those that will be kept to. Returns how many bytes Linux takes in one segment; `None`
    /// if the frame must not go out.
    pub(crate) fn note(&mut self, frame: &mut [u8]) -> Option<u16> {
        let large = frame.len() > usize::from(self.mtu) + ETHERNET;
        let Some(packet) = Packet::of(frame) else {
            // Somebody is asked for an Ethernet address, or told one.
            return (!large).then_some(size::DEFAULT);
        };
        let tcp = packet.protocol == IpProtocol::Tcp;
        if large && !tcp {
            // Nobody cuts these.
            return None;
        }
        // A question for the Ethernet address comes in the place of an answer.
        self.owed &= packet.asks();
        let own = size::of(self.mtu, packet.header);
        // The stack's frames are well-formed.
        Some(self.told(packet).unwrap_or(own))
    }

    fn told(&mut self, packet: Packet<'_>) -> Option<u16> {
        if packet.protocol == IpProtocol::Udp {
            let udp = UdpPacket::new_checked(&*packet.payload).ok()?;
            let service = self.service(udp.src_port())?;
            service.gone = service.gone.wrapping_add(1);
        }
        if packet.protocol != IpProtocol::Tcp {
            return None;
        }
        let own = size::of(self.mtu, packet.header);
        let bytes = packet.payload;
        let tcp = TcpPacket::new_checked(&*bytes).ok()?;
        let key = Key {
            remote: packet.to,
            own: packet.from,
            remote_port: tcp.dst_port(),
            port: tcp.src_port(),
        };
        let fresh = self.fresh.take();
        if tcp.rst() {
            // What was just asked for is refused: there is nothing to follow.
            if fresh == Some(key) {
                self.retain(|other| *other != key);
                let served = TCP_PORTS.contains(&key.port);
                self.drops
                    .add(if served { Cause::Busy } else { Cause::Closed });
            }
            return None;
        }

        let ack = tcp.ack_number().0 as u32;
        let window = tcp.window_len();
        let syn = tcp.syn();
        // The stack forgets at once what it says in these (one zero byte, not pushed), so they
        // must say nothing new.
        let keep_alive = tcp.payload() == [0] && !tcp.psh() && !tcp.fin();
        let scale = shift(tcp.options());
        let followed = self.find(key)?;
        followed.asked = false;
        let mss = followed.mss;
        let told = if syn {
            // The stack does not know what the link takes.
            size::set(bytes, |said| said.min(own));
            // The window of a SYN is not scaled, and was not rounded.
            Told {
                shift: scale,
                edge: ack.wrapping_add(u32::from(window)),
            }
        } else {
            let Told { shift, edge: old } = followed.told?;
            let unit = u16::from(shift > 0);
            let new = ack.wrapping_add(u32::from(window.saturating_sub(unit)) << shift);
            let edge = if keep_alive || ahead(new, old) < 0 {
                old
            } else {
                new
            };
            let room = u32::try_from(ahead(edge, ack)).unwrap_or(0) >> shift;
            let room = window.min(u16::try_from(room).unwrap_or(u16::MAX));
            TcpPacket::new_unchecked(bytes).set_window_len(room);
            Told { shift, edge }
        };
        followed.told = Some(told);
        Some(mss)
    }

    /// How many connections are followed.
    pub(crate) const fn used(&self) -> usize {
        self.used
    }

    /// Forgets the connections that are not `alive` any more.
    pub(crate) fn retain(&mut self, mut alive: impl FnMut(&Key) -> bool) {
        for slot in &mut self.followed {
            if slot.as_ref().is_some_and(|followed| !alive(&followed.key)) {
                *slot = None;
                self.used -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
