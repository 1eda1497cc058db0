// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets as the guard sees them.

use super::ETHERNET;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, Icmpv6Message, Icmpv6Packet, IpAddress, IpProtocol,
    Ipv4Packet, Ipv6Packet, TcpOption, TcpPacket, IPV6_HEADER_LEN,
};

/// An IP packet of the stack's, or one that was admitted, which has no extension headers.
pub(super) struct Packet<'a> {
    pub(super) from: IpAddress,
    pub(super) to: IpAddress,
    pub(super) protocol: IpProtocol,
    /// Bytes of its header.
    pub(super) header: usize,
    pub(super) payload: &'a mut [u8],
}

impl<'a> Packet<'a> {
    /// The one in a frame, if there is one.
    pub(super) fn of(frame: &'a mut [u8]) -> Option<Self> {
        let kind = EthernetFrame::new_checked(&*frame).ok()?.ethertype();
        let bytes = frame.get_mut(ETHERNET..)?;
        let (from, to, protocol, header, end) = match kind {
            EthernetProtocol::Ipv4 => {
                let packet = Ipv4Packet::new_checked(&*bytes).ok()?;
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                let (header, end) = (packet.header_len().into(), packet.total_len().into());
                (from, to, packet.next_header(), header, end)
            }
            EthernetProtocol::Ipv6 => {
                let packet = Ipv6Packet::new_checked(&*bytes).ok()?;
                let (from, to) = (packet.src_addr().into(), packet.dst_addr().into());
                (
                    from,
                    to,
                    packet.next_header(),
                    IPV6_HEADER_LEN,
                    packet.total_len(),
                )
            }
            _ => return None,
        };
        Some(Self {
            from,
            to,
            protocol,
            header,
            payload: bytes.get_mut(header..end)?,
        })
    }

    /// Whether it asks for an Ethernet address.
    pub(super) fn asks(&self) -> bool {
        self.protocol == IpProtocol::Icmpv6
            && Icmpv6Packet::new_checked(&*self.payload)
                .is_ok_and(|icmp| icmp.msg_type() == Icmpv6Message::NeighborSolicit)
    }
}

/// The shift that a SYN of ours names; without the option windows are not scaled.
pub(super) fn shift(options: &[u8]) -> u8 {
    let mut options = options;
    while let Ok((rest, option)) = TcpOption::parse(options) {
        match option {
            TcpOption::WindowScale(shift) => return shift,
            TcpOption::EndOfList => break,
            _ if rest.is_empty() => break,
            _ => options = rest,
        }
    }
    0
}

/// Cuts the last `excess` bytes off the TCP segment in an IPv4 packet, and a FIN that follows them.
pub(super) fn cut(packet: &mut [u8], header: usize, excess: usize) {
    let mut packet = Ipv4Packet::new_unchecked(packet);
    TcpPacket::new_unchecked(packet.payload_mut()).set_fin(false);
    let len = usize::from(packet.total_len()).saturating_sub(excess);
    packet.set_total_len(u16::try_from(len.max(header)).unwrap_or(u16::MAX));
    packet.fill_checksum();
}
