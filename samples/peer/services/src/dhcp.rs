// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A DHCP server with exactly one lease (RFC 2131): that of Linux's end of the link.

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};

/// Port of the server.
pub const SERVER_PORT: u16 = 67;
/// Port of the client.
pub const CLIENT_PORT: u16 = 68;
/// Longest message that is sent: what every client can take (RFC 2131 2).
pub const MESSAGE_MAX: usize = 548;

/// Seconds of the lease. There is nobody else to give the address to.
const LEASE: u32 = 24 * 60 * 60;

/// The lease.
#[derive(Clone, Copy, Debug)]
pub struct Server {
    /// The server's own address.
    pub address: Ipv4Address,
    /// Netmask of the link.
    pub netmask: Ipv4Address,
    /// The address that is given away.
    pub lease: Ipv4Address,
    /// Whom it is given to.
    pub client: EthernetAddress,
}

impl Server {
    /// Answers `request` in `answer`; returns the number of bytes and where they go, `None` if the
    /// server keeps silent.
    pub fn handle(
        &self,
        request: &[u8],
        answer: &mut [u8; MESSAGE_MAX],
    ) -> Option<(usize, Ipv4Address)> {
        let packet = DhcpPacket::new_checked(request).ok()?;
        let request = DhcpRepr::parse(&packet).ok()?;
        if request.client_hardware_address != self.client {
            return None;
        }
        let kind = match request.message_type {
            DhcpMessageType::Discover => DhcpMessageType::Offer,
            DhcpMessageType::Request => {
                // Another server was chosen.
                if request
                    .server_identifier
                    .is_some_and(|id| id != self.address)
                {
                    return None;
                }
                // What it asks for stands in the option, or, when it renews, in its address.
                let wanted = request.requested_ip.unwrap_or(request.client_ip);
                if wanted == self.lease {
                    DhcpMessageType::Ack
                } else {
                    DhcpMessageType::Nak
                }
            }
            _ => return None,
        };
        let nak = kind == DhcpMessageType::Nak;
        // RFC 2131 4.1: a client that renews has its address, and may listen to nothing else.
        let renews = !nak && request.client_ip == self.lease;
        let reply = DhcpRepr {
            message_type: kind,
            transaction_id: request.transaction_id,
            secs: 0,
            client_hardware_address: request.client_hardware_address,
            client_ip: if renews {
                self.lease
            } else {
                Ipv4Address::UNSPECIFIED
            },
            your_ip: if nak {
                Ipv4Address::UNSPECIFIED
            } else {
                self.lease
            },
            server_ip: self.address,
            // No router: this link leads nowhere else.
            router: None,
            subnet_mask: (!nak).then_some(self.netmask),
            relay_agent_ip: Ipv4Address::UNSPECIFIED,
            broadcast: !renews,
            requested_ip: None,
            client_identifier: None,
            server_identifier: Some(self.address),
            parameter_request_list: None,
            dns_servers: None,
            max_size: None,
            lease_duration: (!nak).then_some(LEASE),
            renew_duration: None,
            rebind_duration: None,
            additional_options: &[],
        };
        let len = reply.buffer_len();
        let bytes = answer.get_mut(..len)?;
        reply.emit(&mut DhcpPacket::new_unchecked(bytes)).ok()?;
        // A client without an address hears what goes to everybody.
        let to = if renews {
            self.lease
        } else {
            Ipv4Address::BROADCAST
        };
        Some((len, to))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLIENT: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
    const SERVER: Server = Server {
        address: Ipv4Address::new(10, 77, 0, 1),
        netmask: Ipv4Address::new(255, 255, 255, 0),
        lease: Ipv4Address::new(10, 77, 0, 2),
        client: CLIENT,
    };

    fn request(kind: DhcpMessageType) -> DhcpRepr<'static> {
        DhcpRepr {
            message_type: kind,
            transaction_id: 0x1234_5678,
            secs: 0,
            client_hardware_address: CLIENT,
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
        }
    }

    /// The server's answer: its type, the address given, the lease's time.
    fn ask(repr: &DhcpRepr<'_>) -> Option<(DhcpMessageType, Ipv4Address, Option<u32>)> {
        ask_where(repr, Ipv4Address::BROADCAST)
    }

    /// As `ask`, for an answer that has to go to `want`.
    fn ask_where(
        repr: &DhcpRepr<'_>,
        want: Ipv4Address,
    ) -> Option<(DhcpMessageType, Ipv4Address, Option<u32>)> {
        let mut bytes = vec![0; repr.buffer_len()];
        repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
            .unwrap();
        let mut answer = [0; MESSAGE_MAX];
        let (len, to) = SERVER.handle(&bytes, &mut answer)?;
        assert_eq!(to, want);
        let packet = DhcpPacket::new_checked(&answer[..len]).unwrap();
        let reply = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(reply.transaction_id, repr.transaction_id);
        assert_eq!(reply.server_identifier, Some(SERVER.address));
        assert_eq!(reply.router, None);
        Some((reply.message_type, reply.your_ip, reply.lease_duration))
    }

    #[test]
    fn discover_is_offered_the_lease() {
        let answer = ask(&request(DhcpMessageType::Discover));
        assert_eq!(
            answer,
            Some((DhcpMessageType::Offer, SERVER.lease, Some(LEASE)))
        );
    }

    #[test]
    fn request_for_the_lease_is_acknowledged() {
        let mut repr = request(DhcpMessageType::Request);
        repr.requested_ip = Some(SERVER.lease);
        repr.server_identifier = Some(SERVER.address);
        assert_eq!(
            ask(&repr),
            Some((DhcpMessageType::Ack, SERVER.lease, Some(LEASE)))
        );
    }

    #[test]
    fn renewal_names_the_address_it_has() {
        let mut repr = request(DhcpMessageType::Request);
        repr.client_ip = SERVER.lease;
        assert_eq!(
            ask_where(&repr, SERVER.lease),
            Some((DhcpMessageType::Ack, SERVER.lease, Some(LEASE)))
        );
        // To an address that it should not have, nothing is sent.
        repr.client_ip = Ipv4Address::new(10, 77, 0, 9);
        let refusal = (DhcpMessageType::Nak, Ipv4Address::UNSPECIFIED, None);
        assert_eq!(ask(&repr), Some(refusal));
    }

    #[test]
    fn request_for_another_address_is_refused() {
        let mut repr = request(DhcpMessageType::Request);
        repr.requested_ip = Some(Ipv4Address::new(192, 168, 1, 5));
        let refusal = (DhcpMessageType::Nak, Ipv4Address::UNSPECIFIED, None);
        assert_eq!(ask(&repr), Some(refusal));
    }

    #[test]
    fn strangers_and_other_servers_clients_get_nothing() {
        let mut repr = request(DhcpMessageType::Discover);
        repr.client_hardware_address = EthernetAddress([2, 0, 0, 0, 0, 9]);
        assert_eq!(ask(&repr), None);
        let mut repr = request(DhcpMessageType::Request);
        repr.server_identifier = Some(Ipv4Address::new(10, 77, 0, 9));
        assert_eq!(ask(&repr), None);
        assert_eq!(ask(&request(DhcpMessageType::Release)), None);
    }

    proptest! {
        #[test]
        fn anything_goes_in(data in prop::collection::vec(any::<u8>(), 0..600)) {
            let mut answer = [0; MESSAGE_MAX];
            let _ = SERVER.handle(&data, &mut answer);
        }
    }
}
