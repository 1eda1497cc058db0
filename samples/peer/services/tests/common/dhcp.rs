// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a DHCP client says.

use smoltcp::wire::{DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, Ipv4Address};

/// Number of each request.
pub(crate) const TRANSACTION: u32 = 0x1234_5678;
const NONE: Ipv4Address = Ipv4Address::UNSPECIFIED;

/// A message with nothing but its type and the client's Ethernet address.
pub(crate) fn request(kind: DhcpMessageType, mac: EthernetAddress) -> DhcpRepr<'static> {
    DhcpRepr {
        message_type: kind,
        transaction_id: TRANSACTION,
        secs: 0,
        client_hardware_address: mac,
        client_ip: NONE,
        your_ip: NONE,
        server_ip: NONE,
        router: None,
        subnet_mask: None,
        relay_agent_ip: NONE,
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

/// A message as it is sent.
pub(crate) fn bytes(repr: &DhcpRepr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut DhcpPacket::new_unchecked(&mut bytes[..]))
        .unwrap();
    bytes
}
