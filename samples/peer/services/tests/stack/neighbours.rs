// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Others than Linux's interface itself, behind a bridge of Linux's: each gets an address and is
//! served, all at the same time.

use crate::dhcp;
use crate::hostile::{arp, Raw};
use crate::world::{with_room, LINUX, PEER};
use hvl_services::dhcp::LEASES;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress,
    EthernetFrame, EthernetProtocol, EthernetRepr, IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr,
    UdpPacket, UdpRepr,
};

const PEER_MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

fn mac(number: u8) -> EthernetAddress {
    EthernetAddress([6, 0, 0, 0, 0, number])
}

fn frame(
    from: EthernetAddress,
    to: EthernetAddress,
    protocol: EthernetProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    EthernetRepr {
        src_addr: from,
        dst_addr: to,
        ethertype: protocol,
    }
    .emit(&mut frame);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

fn datagram(
    mac: (EthernetAddress, EthernetAddress),
    ip: (Ipv4Address, Ipv4Address),
    ports: (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let all = ChecksumCapabilities::default();
    let repr = Ipv4Repr {
        src_addr: ip.0,
        dst_addr: ip.1,
        next_header: IpProtocol::Udp,
        payload_len: 8 + payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 28 + payload.len()];
    repr.emit(&mut Ipv4Packet::new_unchecked(&mut bytes), &all);
    UdpRepr {
        src_port: ports.0,
        dst_port: ports.1,
    }
    .emit(
        &mut UdpPacket::new_unchecked(&mut bytes[20..]),
        &ip.0.into(),
        &ip.1.into(),
        payload.len(),
        |to| to.copy_from_slice(payload),
        &all,
    );
    frame(mac.0, mac.1, EthernetProtocol::Ipv4, &bytes)
}

/// What a frame of the peer's is: to whom, and the datagram in it, checked as Linux would.
fn opened(frame: &[u8]) -> (EthernetAddress, Ipv4Address, u16, Vec<u8>) {
    let ethernet = EthernetFrame::new_checked(frame).unwrap();
    assert_eq!(ethernet.src_addr(), PEER_MAC);
    assert_eq!(ethernet.ethertype(), EthernetProtocol::Ipv4);
    let packet = Ipv4Packet::new_checked(ethernet.payload()).unwrap();
    assert!(packet.verify_checksum());
    assert_eq!(packet.src_addr(), PEER);
    let udp = UdpPacket::new_checked(packet.payload()).unwrap();
    assert!(udp.verify_checksum(&PEER.into(), &packet.dst_addr().into()));
    (
        ethernet.dst_addr(),
        packet.dst_addr(),
        udp.src_port(),
        udp.payload().to_vec(),
    )
}

fn message(kind: DhcpMessageType, mac: EthernetAddress, broadcast: bool) -> DhcpRepr<'static> {
    DhcpRepr {
        broadcast,
        ..dhcp::request(kind, mac)
    }
}

/// Sends a message as a client without an address does; returns where the answer went, and it.
fn asked(raw: &mut Raw, repr: &DhcpRepr<'_>) -> (EthernetAddress, Ipv4Address, Ipv4Address) {
    let bytes = dhcp::bytes(repr);
    raw.send(&datagram(
        (repr.client_hardware_address, EthernetAddress::BROADCAST),
        (Ipv4Address::UNSPECIFIED, Ipv4Address::BROADCAST),
        (68, 67),
        &bytes,
    ));
    raw.pass(1);
    let frame = raw.world.driver.receive_frame().expect("an answer");
    let (mac, to, port, answer) = opened(&frame);
    assert_eq!(port, 67);
    (
        mac,
        to,
        DhcpPacket::new_checked(&answer[..]).unwrap().your_ip(),
    )
}

#[test]
fn each_gets_an_address_and_is_served() {
    with_room(|| {
        let mut raw = Raw::new();
        raw.send(&arp(ArpOperation::Request, LINUX));
        raw.pass(1);
        raw.listen();
        let mut all = vec![(EthernetAddress([2, 0, 0, 0, 0, 2]), LINUX)];
        for number in 1..LEASES as u8 {
            let mac = mac(number);
            let broadcast = number % 2 == 0;
            let discover = message(DhcpMessageType::Discover, mac, broadcast);
            let (dst, to, address) = asked(&mut raw, &discover);
            let request = DhcpRepr {
                requested_ip: Some(address),
                ..message(DhcpMessageType::Request, mac, broadcast)
            };
            assert_eq!(asked(&mut raw, &request), (dst, to, address));
            if broadcast {
                assert_eq!(dst, EthernetAddress::BROADCAST);
                assert_eq!(to, Ipv4Address::BROADCAST);
            } else {
                assert_eq!((dst, to), (mac, address));
            }
            all.push((mac, address));

            let ask = ArpRepr::EthernetIpv4 {
                operation: ArpOperation::Request,
                source_hardware_addr: mac,
                source_protocol_addr: address,
                target_hardware_addr: EthernetAddress([0; 6]),
                target_protocol_addr: PEER,
            };
            let mut bytes = vec![0; ask.buffer_len()];
            ask.emit(&mut ArpPacket::new_unchecked(&mut bytes));
            raw.send(&frame(
                mac,
                EthernetAddress::BROADCAST,
                EthernetProtocol::Arp,
                &bytes,
            ));
            raw.pass(1);
            let answer = raw.world.driver.receive_frame().unwrap();
            assert_eq!(answer[..6], mac.0);
        }
        assert_eq!(
            raw.world.peer.stack.dhcp_stats(raw.world.now).used,
            LEASES - 1
        );
        // Nobody has to be asked for its Ethernet address again.
        for (mac, address) in &all {
            let frame = datagram((*mac, PEER_MAC), (*address, PEER), (5000, 7), &mac.0);
            raw.send(&frame);
            raw.pass(1);
            let answer = raw.world.driver.receive_frame().expect("an answer");
            assert_eq!(opened(&answer), (*mac, *address, 7, mac.0.to_vec()));
        }
        assert_eq!(raw.world.peer.stack.drops().refused(), 0);
    });
}

#[test]
fn a_renewal_that_nobody_waits_for_keeps_nobody_waiting() {
    with_room(|| {
        let mut raw = Raw::new();
        // It has an address, but does not answer when it is asked for its Ethernet address.
        let gone = Ipv4Address::new(10, 77, 0, 131);
        let renew = DhcpRepr {
            client_ip: gone,
            ..message(DhcpMessageType::Request, mac(9), false)
        };
        assert_eq!(asked(&mut raw, &renew), (mac(9), gone, gone));
        let discover = message(DhcpMessageType::Discover, mac(10), false);
        let (dst, to, address) = asked(&mut raw, &discover);
        assert_eq!((dst, to), (mac(10), address));
    });
}

#[test]
fn linux_with_another_ethernet_address_is_answered_there() {
    with_room(|| {
        let mut raw = Raw::new();
        raw.send(&arp(ArpOperation::Request, LINUX));
        raw.pass(1);
        raw.listen();
        let ask = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Request,
            source_hardware_addr: mac(7),
            source_protocol_addr: LINUX,
            target_hardware_addr: EthernetAddress([0; 6]),
            target_protocol_addr: PEER,
        };
        let mut bytes = vec![0; ask.buffer_len()];
        ask.emit(&mut ArpPacket::new_unchecked(&mut bytes));
        let everybody = EthernetAddress::BROADCAST;
        raw.send(&frame(mac(7), everybody, EthernetProtocol::Arp, &bytes));
        raw.pass(1);
        assert_eq!(raw.world.driver.receive_frame().unwrap()[..6], mac(7).0);
        raw.send(&datagram(
            (mac(7), PEER_MAC),
            (LINUX, PEER),
            (5000, 7),
            b"x",
        ));
        raw.pass(1);
        let answer = raw.world.driver.receive_frame().unwrap();
        assert_eq!(opened(&answer), (mac(7), LINUX, 7, b"x".to_vec()));
    });
}
