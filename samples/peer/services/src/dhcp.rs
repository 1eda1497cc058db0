// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A DHCP server (RFC 2131) for whoever asks on the link: Linux's interface, and what stands
//! behind it when it is part of a bridge or has others on top.
//!
//! It is the only one on its link: it refuses what is wrong, and lends an address that it does not
//! know of to whom has it, since it forgets everything when the peer is restarted.
//!
//! One message is one look at a table of [`LEASES`] addresses, and one answer at most.

mod leases;

pub use self::leases::LEASES;

use self::leases::{Client, Leases, AVOID, LEASE};
use crate::guard::is_neighbour;
use hvl_device::shared::Quota;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    DhcpFlags, DhcpMessageType, DhcpOpCode, DhcpOption, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet,
    Ipv4Repr, UdpPacket, UdpRepr,
};

/// Port of the server.
pub const SERVER_PORT: u16 = 67;
/// Port of the client.
pub const CLIENT_PORT: u16 = 68;
/// Longest message that is sent: what every client can take (RFC 2131 2).
pub const MESSAGE_MAX: usize = 548;
/// Seconds of a lease.
pub const LEASE_SECONDS: u32 = (LEASE / 1000) as u32;

/// First bytes of the options (RFC 2131 3).
const MAGIC: u32 = 0x6382_5363;
/// Options (RFC 2132).
const REQUESTED_IP: u8 = 50;
const MESSAGE_TYPE: u8 = 53;
const SERVER_ID: u8 = 54;
const CLIENT_ID: u8 = 61;

/// Milliseconds after which one more line may be logged.
const QUOTA_PERIOD: u64 = 100;
/// Bytes of the headers before a message.
const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Longest frame with an answer.
pub const FRAME_MAX: usize = ETHERNET + IPV4 + UDP + MESSAGE_MAX;

/// What the server has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DhcpStats {
    /// Addresses that are lent or offered now.
    pub used: usize,
    /// Answers: an address was offered, lent, or refused; an address of a client's own was noted.
    pub offered: u64,
    /// See `offered`.
    pub lent: u64,
    /// See `offered`.
    pub refused: u64,
    /// See `offered`.
    pub informed: u64,
    /// Addresses that were given back.
    pub released: u64,
    /// Addresses that a client has found in use.
    pub declined: u64,
    /// Requests for an address when all were in use.
    pub full: u64,
    /// Messages for another server.
    pub elsewhere: u64,
    /// Messages that make no sense, or that came through a relay.
    pub bad: u64,
}

/// An answer, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Bytes of the message.
    pub len: usize,
    /// IPv4 address that it goes to.
    pub to: Ipv4Address,
    /// Ethernet address that it goes to.
    pub mac: EthernetAddress,
}

/// What a client says.
#[derive(Debug)]
struct Message<'a> {
    kind: DhcpMessageType,
    transaction: u32,
    mac: EthernetAddress,
    client: Client,
    /// The option as it came.
    id: Option<&'a [u8]>,
    /// The address that it has.
    has: Ipv4Address,
    broadcast: bool,
    requested: Option<Ipv4Address>,
    server: Option<Ipv4Address>,
}

fn address(bytes: &[u8]) -> Option<Ipv4Address> {
    <[u8; 4]>::try_from(bytes).ok().map(Ipv4Address::from)
}

impl<'a> Message<'a> {
    fn parse(packet: &'a DhcpPacket<&'a [u8]>) -> Option<Self> {
        let mac = packet.client_hardware_address();
        let sensible = packet.opcode() == DhcpOpCode::Request
            && packet.hardware_type() == smoltcp::wire::ArpHardware::Ethernet
            && packet.hardware_len() == 6
            && packet.magic_number() == MAGIC
            && packet.relay_agent_ip().is_unspecified()
            && mac.is_unicast()
            && mac != EthernetAddress([0; 6]);
        if !sensible {
            return None;
        }
        let (mut kind, mut id, mut requested, mut server) = (None, None, None, None);
        for option in packet.options() {
            match (option.kind, option.data) {
                (MESSAGE_TYPE, [value]) => kind = Some(DhcpMessageType::from(*value)),
                (REQUESTED_IP, data) => requested = address(data),
                (SERVER_ID, data) => server = address(data),
                (CLIENT_ID, data) => id = Some(data),
                _ => {}
            }
        }
        Some(Self {
            kind: kind?,
            transaction: packet.transaction_id(),
            mac,
            client: Client::new(id, mac),
            id,
            has: packet.client_ip(),
            broadcast: packet.flags().contains(DhcpFlags::BROADCAST),
            requested: requested.filter(|address| !address.is_unspecified()),
            server,
        })
    }
}

/// What a message is answered by.
#[derive(Clone, Copy, Debug)]
struct Answer {
    kind: DhcpMessageType,
    /// The address that is offered or lent.
    gives: Option<Ipv4Address>,
    /// The client can be reached there.
    has: Option<Ipv4Address>,
}

/// The server.
#[derive(Debug)]
pub struct Server {
    /// Our own address, with the link's subnet.
    own: Ipv4Cidr,
    leases: Leases,
    stats: DhcpStats,
    quota: Quota,
    /// Milliseconds up to which `quota` was filled again.
    filled: u64,
}

impl Server {
    /// A server at `own`, which keeps the address `linux` for the interface with the Ethernet
    /// address `mac`.
    pub fn new(own: Ipv4Cidr, mac: EthernetAddress, linux: Ipv4Address) -> Self {
        Self {
            own,
            leases: Leases::new(mac, linux, own),
            stats: DhcpStats::default(),
            quota: Quota::new(),
            filled: 0,
        }
    }

    /// Counters at `now`, in milliseconds since boot.
    pub fn stats(&self, now: u64) -> DhcpStats {
        DhcpStats {
            used: self.leases.used(now),
            ..self.stats
        }
    }

    /// Answers `request` in `answer`; `None` if the server keeps silent. `now` is in milliseconds
    /// since boot.
    pub fn handle(
        &mut self,
        now: u64,
        request: &[u8],
        answer: &mut [u8; MESSAGE_MAX],
    ) -> Option<Reply> {
        self.fill_quota(now);
        let packet = DhcpPacket::new_checked(request).ok();
        let Some(message) = packet.as_ref().and_then(Message::parse) else {
            self.stats.bad = self.stats.bad.wrapping_add(1);
            return None;
        };
        let reply = self.decide(now, &message)?;
        self.write(&message, reply, answer)
    }

    /// As many lines as the time since the last call allows.
    fn fill_quota(&mut self, now: u64) {
        // More than the quota holds changes nothing.
        for _ in 0..u8::MAX {
            if now.saturating_sub(self.filled) < QUOTA_PERIOD {
                return;
            }
            self.filled = self.filled.saturating_add(QUOTA_PERIOD);
            self.quota.refill();
        }
        self.filled = now;
    }

    fn decide(&mut self, now: u64, message: &Message<'_>) -> Option<Answer> {
        let stats = &mut self.stats;
        let for_us = message.server.is_none_or(|id| id == self.own.address());
        if !for_us {
            if message.kind == DhcpMessageType::Request {
                // So a client says that it has taken another one's offer.
                self.leases.release(&message.client, None, now);
            }
            stats.elsewhere = stats.elsewhere.wrapping_add(1);
            return None;
        }
        match message.kind {
            DhcpMessageType::Discover => {
                let wanted = message.requested;
                let found = self.leases.offer(&message.client, message.mac, wanted, now);
                let Some(address) = found else {
                    stats.full = stats.full.wrapping_add(1);
                    if self.quota.take() {
                        log::warn!(
                            "dhcp: no address left for {}: {} are lent or offered",
                            message.mac,
                            self.leases.used(now)
                        );
                    }
                    return None;
                };
                stats.offered = stats.offered.wrapping_add(1);
                Some(Answer {
                    kind: DhcpMessageType::Offer,
                    gives: Some(address),
                    has: None,
                })
            }
            DhcpMessageType::Request => self.request(now, message),
            DhcpMessageType::Inform if is_neighbour(self.own, message.has) => {
                stats.informed = stats.informed.wrapping_add(1);
                Some(Answer {
                    kind: DhcpMessageType::Ack,
                    gives: None,
                    has: Some(message.has),
                })
            }
            DhcpMessageType::Release => {
                self.leases.release(&message.client, Some(message.has), now);
                stats.released = stats.released.wrapping_add(1);
                None
            }
            DhcpMessageType::Decline => {
                let address = message.requested.unwrap_or(message.has);
                if self.leases.avoid(&message.client, address, now) {
                    stats.declined = stats.declined.wrapping_add(1);
                    if self.quota.take() {
                        log::warn!(
                            "dhcp: {} says that somebody uses {address} already: not lent for {} s",
                            message.mac,
                            AVOID / 1000
                        );
                    }
                } else {
                    stats.bad = stats.bad.wrapping_add(1);
                }
                None
            }
            _ => {
                stats.bad = stats.bad.wrapping_add(1);
                None
            }
        }
    }

    fn request(&mut self, now: u64, message: &Message<'_>) -> Option<Answer> {
        // What it asks for stands in the option, or, when it renews, in its address.
        let wanted = message.requested.unwrap_or(message.has);
        if wanted.is_unspecified() {
            self.stats.bad = self.stats.bad.wrapping_add(1);
            return None;
        }
        let lent = self.leases.lend(&message.client, message.mac, wanted, now);
        let Some(new) = lent else {
            self.stats.refused = self.stats.refused.wrapping_add(1);
            if self.quota.take() {
                log::info!("dhcp: {} cannot have {wanted}", message.mac);
            }
            return Some(Answer {
                kind: DhcpMessageType::Nak,
                gives: None,
                has: None,
            });
        };
        self.stats.lent = self.stats.lent.wrapping_add(1);
        if new && self.quota.take() {
            log::info!("dhcp: {wanted} is lent to {}", message.mac);
        }
        Some(Answer {
            kind: DhcpMessageType::Ack,
            gives: Some(wanted),
            has: (message.has == wanted).then_some(wanted),
        })
    }

    fn write(
        &self,
        message: &Message<'_>,
        answer: Answer,
        to: &mut [u8; MESSAGE_MAX],
    ) -> Option<Reply> {
        let nak = answer.kind == DhcpMessageType::Nak;
        // RFC 6842: as it came.
        let id = message.id.map(|data| DhcpOption {
            kind: CLIENT_ID,
            data,
        });
        let reply = DhcpRepr {
            message_type: answer.kind,
            transaction_id: message.transaction,
            secs: 0,
            client_hardware_address: message.mac,
            client_ip: answer.has.unwrap_or(Ipv4Address::UNSPECIFIED),
            your_ip: answer.gives.unwrap_or(Ipv4Address::UNSPECIFIED),
            server_ip: self.own.address(),
            // No router: this link leads nowhere else.
            router: None,
            subnet_mask: (!nak).then_some(self.own.netmask()),
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: message.broadcast,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.own.address()),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: answer.gives.map(|_| LEASE_SECONDS),
            renew_duration: None,
            rebind_duration: None,
            additional_options: id.as_slice(),
        };
        let len = reply.buffer_len();
        let bytes = to.get_mut(..len)?;
        reply.emit(&mut DhcpPacket::new_unchecked(bytes)).ok()?;
        // RFC 2131 4.1. A client that renews may listen to nothing but its address.
        let (to, mac) = match (answer.has, answer.gives) {
            (Some(address), _) => (address, message.mac),
            (None, Some(address)) if !message.broadcast => (address, message.mac),
            _ => (Ipv4Address::BROADCAST, EthernetAddress::BROADCAST),
        };
        Some(Reply { len, to, mac })
    }

    /// Answers the message in an IPv4 packet of Linux's, by a frame from `mac` in `to`; returns its
    /// length. The UDP checksum is left out.
    pub(crate) fn serve(
        &mut self,
        now: u64,
        mac: EthernetAddress,
        packet: &[u8],
        to: &mut [u8],
    ) -> Option<usize> {
        let packet = Ipv4Packet::new_checked(packet).ok()?;
        let udp = UdpPacket::new_checked(packet.payload()).ok()?;
        let mut message = [0; MESSAGE_MAX];
        let reply = self.handle(now, udp.payload(), &mut message)?;
        let message = message.get(..reply.len)?;

        let len = ETHERNET + IPV4 + UDP + reply.len;
        let mut frame = EthernetFrame::new_checked(to.get_mut(..len)?).ok()?;
        EthernetRepr {
            src_addr: mac,
            dst_addr: reply.mac,
            ethertype: EthernetProtocol::Ipv4,
        }
        .emit(&mut frame);
        let ip = Ipv4Repr {
            src_addr: self.own.address(),
            dst_addr: reply.to,
            next_header: IpProtocol::Udp,
            payload_len: UDP + reply.len,
            hop_limit: 64,
        };
        let all = ChecksumCapabilities::default();
        // A new packet has no lengths yet to go by.
        ip.emit(&mut Ipv4Packet::new_unchecked(frame.payload_mut()), &all);
        let segment = frame.payload_mut().get_mut(IPV4..)?;
        UdpRepr {
            src_port: SERVER_PORT,
            dst_port: CLIENT_PORT,
        }
        .emit(
            &mut UdpPacket::new_unchecked(segment),
            &ip.src_addr.into(),
            &ip.dst_addr.into(),
            message.len(),
            |payload| payload.copy_from_slice(message),
            &ChecksumCapabilities::ignored(),
        );
        Some(len)
    }
}
