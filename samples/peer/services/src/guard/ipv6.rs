// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPv6: our addresses, whom a packet is for, and which of them the stack may see.

use super::{For, Guard};
use crate::drops::Cause;
use smoltcp::wire::{
    EthernetAddress, Icmpv6Message, Icmpv6Packet, IpProtocol, Ipv6Address, Ipv6Cidr, Ipv6Packet,
    TcpPacket, UdpPacket,
};

/// The group of all nodes of the link.
const ALL_NODES: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// The hop limit that no router lets through (RFC 4861 7.1).
const FROM_THIS_LINK: u8 = 255;
/// Bytes of a message of neighbour discovery without options, and of the longest that is looked at.
const DISCOVERY: usize = 24;
const DISCOVERY_MAX: usize = 256;
/// Options of these messages: Ethernet addresses, and how long they are.
const SOURCE_ADDRESS: u8 = 1;
const TARGET_ADDRESS: u8 = 2;
const ADDRESS_OPTION: usize = 8;

/// Our IPv6 addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Six {
    local: Ipv6Cidr,
    other: Option<Ipv6Cidr>,
}

const fn is_link_local(address: &Ipv6Address) -> bool {
    let [first, second, ..] = address.octets();
    first == 0xfe && second & 0xc0 == 0x80
}

/// Whether it is an address that one host can have.
const fn is_unicast(address: &Ipv6Address) -> bool {
    !address.is_multicast() && !address.is_unspecified() && !address.is_loopback()
}

impl Six {
    /// The link-local address that `mac` makes (RFC 4291, appendix A), and `other`, if there is to be one more.
    pub(crate) const fn new(mac: EthernetAddress, other: Option<Ipv6Cidr>) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let local = Ipv6Address::new(
            0xfe80,
            0,
            0,
            0,
            ((a ^ 2) as u16) << 8 | b as u16,
            (c as u16) << 8 | 0xff,
            0xfe00 | d as u16,
            (e as u16) << 8 | f as u16,
        );
        Self {
            local: Ipv6Cidr::new(local, 64),
            other,
        }
    }

    /// Each address with its prefix.
    pub(crate) fn all(&self) -> impl Iterator<Item = Ipv6Cidr> {
        [self.local].into_iter().chain(self.other)
    }

    fn is_own(&self, address: &Ipv6Address) -> bool {
        self.all().any(|own| own.address() == *address)
    }

    /// Whether it is a group of ours: that of all, or one in which we are asked for our Ethernet address
    /// (RFC 4291 2.7.1).
    fn is_group(&self, address: &Ipv6Address) -> bool {
        *address == ALL_NODES || self.all().any(|own| solicited(&own.address()) == *address)
    }

    /// Whether another host of this link can have the address.
    pub(crate) fn is_neighbour(&self, address: &Ipv6Address) -> bool {
        let near = |prefix: Ipv6Cidr| prefix.contains_addr(address);
        is_unicast(address)
            && !self.is_own(address)
            && (is_link_local(address) || self.other.is_some_and(near))
    }
}

/// The group in which the host with this address is asked for its Ethernet address.
const fn solicited(address: &Ipv6Address) -> Ipv6Address {
    let [.., x, y, z] = address.octets();
    Ipv6Address::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | x as u16,
        (y as u16) << 8 | z as u16,
    )
}

impl Guard {
    pub(super) fn ipv6(&mut self, bytes: &mut [u8]) -> Result<For, Cause> {
        let packet = Ipv6Packet::new_checked(&*bytes).map_err(|_| Cause::Malformed)?;
        if packet.version() != 6 {
            return Err(Cause::Malformed);
        }
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        let own = self.six.is_own(&to);
        if !own && !self.six.is_group(&to) {
            return Err(Cause::Destination);
        }
        let payload = packet.payload();
        let protocol = packet.next_header();
        match protocol {
            IpProtocol::Ipv6Frag => return Err(Cause::Fragment),
            IpProtocol::HopByHop | IpProtocol::Ipv6Route | IpProtocol::Ipv6Opts => {
                return Err(Cause::Extension);
            }
            IpProtocol::Icmpv6 => return self.icmpv6(&packet),
            _ if !self.six.is_neighbour(&from) => return Err(Cause::Source),
            _ => {}
        }
        match protocol {
            IpProtocol::Tcp if !own => Err(Cause::Destination),
            IpProtocol::Tcp => {
                let excess = self.segment(from.into(), to.into(), payload)?;
                if excess > 0 {
                    self.drops.add(Cause::Window);
                    cut(bytes, excess);
                }
                Ok(For::Sockets)
            }
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(payload).map_err(|_| Cause::Malformed)?;
                let port = udp.dst_port();
                if port == 0 {
                    return Err(Cause::Malformed);
                }
                if let Some(service) = self.service(port) {
                    service.shown = service.shown.wrapping_add(1);
                    return Ok(For::Sockets);
                }
                if !own {
                    // What is sent to a group is not answered by an error (RFC 4443 2.4).
                    return Err(Cause::Closed);
                }
                self.drops.add(Cause::Closed);
                self.owed = true;
                Ok(For::Stack)
            }
            _ if !own => Err(Cause::Protocol),
            _ => {
                self.owed = true;
                Ok(For::Stack)
            }
        }
    }

    /// The stack sees what it answers and what it learns from.
    fn icmpv6(&mut self, packet: &Ipv6Packet<&[u8]>) -> Result<For, Cause> {
        let (from, to) = (packet.src_addr(), packet.dst_addr());
        let icmp = Icmpv6Packet::new_checked(packet.payload()).map_err(|_| Cause::Malformed)?;
        if !icmp.verify_checksum(&from, &to) {
            return Err(Cause::Checksum);
        }
        let neighbour = self.six.is_neighbour(&from);
        let kind = icmp.msg_type();
        match kind {
            Icmpv6Message::NeighborSolicit | Icmpv6Message::NeighborAdvert => {
                let target = discovery(packet).ok_or(Cause::Malformed)?;
                let asked = kind == Icmpv6Message::NeighborSolicit;
                match (asked, self.six.is_own(&target)) {
                    (true, false) => Err(Cause::Destination),
                    // Somebody wants to have our address; the stack does not object.
                    (true, true) if from.is_unspecified() => Err(Cause::Unanswered),
                    _ if !neighbour => Err(Cause::Source),
                    // A socket may wait for its neighbour's address.
                    _ => Ok(For::Sockets),
                }
            }
            _ if !neighbour => Err(Cause::Source),
            Icmpv6Message::EchoRequest => {
                self.owed = true;
                Ok(For::Stack)
            }
            _ => Err(Cause::Protocol),
        }
    }
}

/// Whom a message of neighbour discovery is about; `None` if it is none that is valid (RFC 4861 7.1).
fn discovery(packet: &Ipv6Packet<&[u8]>) -> Option<Ipv6Address> {
    let bytes = packet.payload();
    let code = *bytes.get(1)?;
    if packet.hop_limit() != FROM_THIS_LINK || code != 0 || bytes.len() > DISCOVERY_MAX {
        return None;
    }
    let target: [u8; 16] = bytes.get(8..DISCOVERY)?.try_into().ok()?;
    let target = Ipv6Address::from_octets(target);
    let mut options = bytes.get(DISCOVERY..)?;
    // Each turn goes on by eight bytes at least.
    while let [kind, len, ..] = *options {
        let len = 8 * usize::from(len);
        let address = matches!(kind, SOURCE_ADDRESS | TARGET_ADDRESS);
        if len == 0 || (address && len != ADDRESS_OPTION) {
            return None;
        }
        options = options.get(len..)?;
    }
    (options.is_empty() && is_unicast(&target)).then_some(target)
}

/// Cuts the last `excess` bytes off the TCP segment in a packet, and a FIN that follows them.
fn cut(packet: &mut [u8], excess: usize) {
    let mut packet = Ipv6Packet::new_unchecked(packet);
    TcpPacket::new_unchecked(packet.payload_mut()).set_fin(false);
    let len = usize::from(packet.payload_len()).saturating_sub(excess);
    packet.set_payload_len(u16::try_from(len).unwrap_or(u16::MAX));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0xab, 0xcd, 0xef]);
    const OTHER: Ipv6Address = Ipv6Address::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);

    fn six() -> Six {
        Six::new(MAC, Some(Ipv6Cidr::new(OTHER, 64)))
    }

    #[test]
    fn the_address_comes_from_the_ethernet_address() {
        let own: Vec<String> = six().all().map(|own| own.to_string()).collect();
        assert_eq!(own, ["fe80::ff:feab:cdef/64", "fd00:77::1/64"]);
        assert_eq!(Six::new(MAC, None).all().count(), 1);
    }

    #[test]
    fn groups_and_neighbours() {
        let address = |text: &str| text.parse::<Ipv6Address>().unwrap();
        for (text, group, near) in [
            ("ff02::1", true, false),
            ("ff02::1:ffab:cdef", true, false),
            ("ff02::1:ff00:1", true, false),
            ("ff02::2", false, false),
            ("ff02::1:ff00:2", false, false),
            ("fe80::1", false, true),
            ("fe80::ff:feab:cdef", false, false),
            ("fd00:77::2", false, true),
            ("fd00:77::1", false, false),
            ("fd00:78::2", false, false),
            ("::", false, false),
            ("::1", false, false),
        ] {
            let address = address(text);
            assert_eq!(six().is_group(&address), group, "{text}");
            assert_eq!(six().is_neighbour(&address), near, "{text}");
        }
        let six = Six::new(MAC, None);
        assert!(!six.is_neighbour(&address("fd00:77::2")));
        assert!(!six.is_group(&address("ff02::1:ff00:1")));
    }

    proptest! {
        #[test]
        fn any_packet(bytes in prop::collection::vec(any::<u8>(), 0..200), icmp: bool, solicit: bool) {
            let mut bytes = bytes;
            let mut guard = Guard::new(MAC, "10.77.0.1/24".parse().unwrap(), six(), 1500);
            if bytes.len() >= 48 {
                bytes[0] = 0x60;
                bytes[24..40].copy_from_slice(&OTHER.octets());
                let len = (bytes.len() - 40) as u16;
                bytes[4..6].copy_from_slice(&len.to_be_bytes());
                if icmp {
                    bytes[6] = 58;
                    bytes[7] = 255;
                    bytes[40] = if solicit { 135 } else { 136 };
                    let from = Ipv6Packet::new_unchecked(&bytes[..]).src_addr();
                    let mut packet = Icmpv6Packet::new_unchecked(&mut bytes[40..]);
                    packet.fill_checksum(&from, &OTHER);
                }
            }
            let _ = guard.ipv6(&mut bytes);
        }
    }
}
