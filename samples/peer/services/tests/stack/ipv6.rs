// SPDX-License-Identifier: GPL-2.0 OR MIT

//! IPv6: the services over the link-local address and another one, neighbour discovery, and what no
//! neighbour would send.

use crate::drops::counts;
use crate::hostile::{ethernet, Raw, SEGMENT};
use crate::world::{with_room, World};
use hvl_services::drops::Cause;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv6Packet, Icmpv6Repr, IpEndpoint,
    IpProtocol, Ipv6Address, Ipv6Packet, Ipv6Repr, NdiscNeighborFlags, NdiscRepr,
    RawHardwareAddress, TcpControl, TcpPacket, TcpRepr, UdpPacket, UdpRepr,
};

/// The link-local address that the peer's Ethernet address makes, the one it is given, and Linux's.
pub(crate) const PEER6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1);
pub(crate) const OWN6: Ipv6Address = Ipv6Address::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
pub(crate) const LINUX6: Ipv6Address = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);
pub(crate) const NEAR6: Ipv6Address = Ipv6Address::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);

const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
const ALL_NODES: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const SOLICITED: Ipv6Address = Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1);

fn packet(
    from: Ipv6Address,
    to: Ipv6Address,
    next_header: IpProtocol,
    hop_limit: u8,
    payload: &[u8],
) -> Vec<u8> {
    let repr = Ipv6Repr {
        src_addr: from,
        dst_addr: to,
        next_header,
        payload_len: payload.len(),
        hop_limit,
    };
    let mut bytes = vec![0; 40 + payload.len()];
    repr.emit(&mut Ipv6Packet::new_unchecked(&mut bytes));
    bytes[40..].copy_from_slice(payload);
    let mut frame = ethernet(EthernetProtocol::Ipv6, &bytes);
    if to.is_multicast() {
        let [.., a, b, c, d] = to.octets();
        let group = EthernetAddress([0x33, 0x33, a, b, c, d]);
        EthernetFrame::new_unchecked(&mut frame).set_dst_addr(group);
    }
    frame
}

fn icmp(from: Ipv6Address, to: Ipv6Address, hop_limit: u8, repr: &Icmpv6Repr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &from,
        &to,
        &mut Icmpv6Packet::new_unchecked(&mut bytes),
        &ChecksumCapabilities::default(),
    );
    packet(from, to, IpProtocol::Icmpv6, hop_limit, &bytes)
}

fn ping(from: Ipv6Address, to: Ipv6Address, data: &[u8]) -> Vec<u8> {
    let repr = Icmpv6Repr::EchoRequest {
        ident: 7,
        seq_no: 1,
        data,
    };
    icmp(from, to, 64, &repr)
}

fn solicit(from: Ipv6Address, to: Ipv6Address, target: Ipv6Address) -> Vec<u8> {
    let address = (!from.is_unspecified()).then_some(RawHardwareAddress::from(MAC));
    let repr = NdiscRepr::NeighborSolicit {
        target_addr: target,
        lladdr: address,
    };
    icmp(from, to, 255, &Icmpv6Repr::Ndisc(repr))
}

fn advertise(from: Ipv6Address) -> Vec<u8> {
    let repr = NdiscRepr::NeighborAdvert {
        flags: NdiscNeighborFlags::SOLICITED | NdiscNeighborFlags::OVERRIDE,
        target_addr: from,
        lladdr: Some(MAC.into()),
    };
    icmp(from, PEER6, 255, &Icmpv6Repr::Ndisc(repr))
}

fn datagram(from: Ipv6Address, to: Ipv6Address, port: u16, payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr {
        src_port: 5000,
        dst_port: port,
    };
    let mut bytes = vec![0; repr.header_len() + payload.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &from.into(),
        &to.into(),
        payload.len(),
        |to| to.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    packet(from, to, IpProtocol::Udp, 64, &bytes)
}

fn segment(from: Ipv6Address, to: Ipv6Address, repr: &TcpRepr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut bytes),
        &from.into(),
        &to.into(),
        &ChecksumCapabilities::default(),
    );
    packet(from, to, IpProtocol::Tcp, 64, &bytes)
}

/// What ICMPv6 the peer has to say next.
fn heard(raw: &mut Raw) -> Option<(Ipv6Address, Ipv6Address, Vec<u8>)> {
    let frame = raw.world.driver.receive_frame()?;
    let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
    assert_eq!(frame.ethertype(), EthernetProtocol::Ipv6);
    let packet = Ipv6Packet::new_checked(frame.payload()).unwrap();
    assert_eq!(packet.next_header(), IpProtocol::Icmpv6);
    let (from, to) = (packet.src_addr(), packet.dst_addr());
    let icmp = Icmpv6Packet::new_checked(packet.payload()).unwrap();
    assert!(icmp.verify_checksum(&from, &to));
    Some((from, to, packet.payload().to_vec()))
}

#[test]
fn tcp_and_http_over_each_address() {
    with_room(|| {
        for mtu in [1500, 16_000] {
            let mut world = World::with_mtu(mtu);
            let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 253) as u8).collect();
            for (local, to) in [(40_000, PEER6), (40_100, OWN6)] {
                let handle = world.connect_to(to.into(), 7, local);
                assert!(world.converse(handle, &data) == data);
                let handle = world.connect_to(to.into(), 80, local + 1);
                let page = world.converse(handle, b"GET / HTTP/1.1\r\n\r\n");
                assert!(page.starts_with(b"HTTP/1.1 200 OK\r\n"));
            }
            assert_eq!(world.peer.stack.drops().refused(), 0);
        }
    });
}

#[test]
fn each_address_has_connections_of_its_own() {
    with_room(|| {
        let mut world = World::new();
        // From the same port of the same address of Linux's, to which the peer's are near alike.
        let handles = [PEER6, OWN6].map(|to| world.connect_to(to.into(), 7, 41_000));
        for (handle, text) in handles.into_iter().zip(["one", "other"]) {
            assert_eq!(world.converse(handle, text.as_bytes()), text.as_bytes());
        }
    });
}

#[test]
fn udp_is_answered_from_where_it_was_sent_to() {
    with_room(|| {
        let mut world = World::with_mtu(16_000);
        let handle = world.udp(5000);
        for (to, len) in [(PEER6, 5), (OWN6, 1000), (PEER6, 15_952)] {
            let data = vec![7; len];
            let endpoint = IpEndpoint::new(to.into(), 7);
            let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(&data, endpoint).unwrap();
            let (got, from) = world.until(|sockets| {
                let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
                socket
                    .recv()
                    .ok()
                    .map(|(data, meta)| (data.to_vec(), meta.endpoint))
            });
            assert_eq!((got, from), (data, endpoint));
        }
    });
}

#[test]
fn pings_and_questions_are_answered() {
    with_room(|| {
        let mut raw = Raw::new();
        for (from, to, target) in [
            (LINUX6, SOLICITED, PEER6),
            (NEAR6, SOLICITED, OWN6),
            // As Linux looks whether a neighbour is still there.
            (LINUX6, PEER6, PEER6),
        ] {
            raw.send(&solicit(from, to, target));
            raw.pass(1);
            let (by, asked, said) = heard(&mut raw).expect("an advertisement");
            assert_eq!((by, asked, said[0]), (target, from, 136));
            assert_eq!(said[8..24], target.octets());
            assert_eq!(said[24..32], [2, 1, 2, 0, 0, 0, 0, 1]);
        }
        for (from, to, by) in [
            (LINUX6, PEER6, PEER6),
            (NEAR6, OWN6, OWN6),
            (LINUX6, ALL_NODES, PEER6),
        ] {
            raw.send(&ping(from, to, b"hello"));
            raw.pass(1);
            let (answer, asked, said) = heard(&mut raw).expect("an answer");
            assert_eq!((answer, asked, said[0]), (by, from, 129));
            assert_eq!(said[8..], *b"hello");
        }
        assert_eq!(
            raw.world
                .peer
                .stack
                .drops()
                .iter()
                .map(|(_, n)| n)
                .sum::<u64>(),
            0
        );
    });
}

#[test]
fn each_cause_moves_its_counter_and_no_other() {
    with_room(|| {
        let mut raw = Raw::new();
        let stranger = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
        counts(
            &mut raw,
            &ping(stranger, PEER6, b""),
            Some(Cause::Unanswered),
            "a stranger's ping",
        );
        counts(
            &mut raw,
            &solicit(LINUX6, SOLICITED, PEER6),
            None,
            "a question",
        );
        let far = Ipv6Address::new(0xfd00, 0x78, 0, 0, 0, 0, 0, 2);
        let other = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0, 0, 2);
        let byte = |mut frame: Vec<u8>, at: usize, value: u8| {
            frame[at] = value;
            frame
        };
        // Changes the message, and makes its checksum right.
        let twist = |frame: Vec<u8>, at: usize, value: u8| {
            let mut frame = byte(frame, 54 + at, value);
            let ip = Ipv6Packet::new_unchecked(&frame[14..]);
            let (from, to) = (ip.src_addr(), ip.dst_addr());
            Icmpv6Packet::new_unchecked(&mut frame[54..]).fill_checksum(&from, &to);
            frame
        };
        let question = || solicit(LINUX6, SOLICITED, PEER6);
        let syn = |to, port| {
            let repr = TcpRepr {
                control: TcpControl::Syn,
                dst_port: port,
                ..SEGMENT
            };
            segment(LINUX6, to, &repr)
        };
        let upper = |protocol: IpProtocol| packet(LINUX6, PEER6, protocol, 64, &[0; 16]);
        let large = ping(LINUX6, PEER6, &[3; 40_000]);
        for (what, frame, cause) in [
            (
                "another version",
                byte(question(), 14, 0x40),
                Some(Cause::Malformed),
            ),
            ("too long", byte(question(), 18, 1), Some(Cause::Malformed)),
            (
                "from a router",
                byte(question(), 21, 254),
                Some(Cause::Malformed),
            ),
            ("a code", twist(question(), 1, 1), Some(Cause::Malformed)),
            (
                "an option of no length",
                twist(question(), 25, 0),
                Some(Cause::Malformed),
            ),
            (
                "a long address",
                twist(question(), 25, 2),
                Some(Cause::Malformed),
            ),
            (
                "about a group",
                twist(question(), 8, 0xff),
                Some(Cause::Malformed),
            ),
            (
                "no port",
                datagram(LINUX6, PEER6, 0, b""),
                Some(Cause::Malformed),
            ),
            (
                "a wrong checksum",
                byte(question(), 57, 1),
                Some(Cause::Checksum),
            ),
            ("from far", ping(far, PEER6, b""), Some(Cause::Source)),
            (
                "from nowhere",
                ping(Ipv6Address::UNSPECIFIED, PEER6, b""),
                Some(Cause::Source),
            ),
            (
                "from us",
                datagram(PEER6, PEER6, 7, b""),
                Some(Cause::Source),
            ),
            (
                "from a group",
                datagram(ALL_NODES, PEER6, 7, b""),
                Some(Cause::Source),
            ),
            (
                "to another one",
                ping(LINUX6, other, b""),
                Some(Cause::Destination),
            ),
            (
                "to routers",
                ping(LINUX6, Ipv6Address::new(0xff02, 0, 0, 0, 0, 0, 0, 2), b""),
                Some(Cause::Destination),
            ),
            (
                "about another one",
                twist(question(), 23, 9),
                Some(Cause::Destination),
            ),
            ("TCP to all", syn(ALL_NODES, 7), Some(Cause::Destination)),
            (
                "our address, taken",
                solicit(Ipv6Address::UNSPECIFIED, SOLICITED, PEER6),
                Some(Cause::Unanswered),
            ),
            ("too large to answer", large, Some(Cause::Unanswered)),
            (
                "a fragment",
                upper(IpProtocol::Ipv6Frag),
                Some(Cause::Fragment),
            ),
            (
                "hop by hop",
                upper(IpProtocol::HopByHop),
                Some(Cause::Extension),
            ),
            (
                "a route",
                upper(IpProtocol::Ipv6Route),
                Some(Cause::Extension),
            ),
            (
                "options",
                upper(IpProtocol::Ipv6Opts),
                Some(Cause::Extension),
            ),
            ("another protocol", upper(IpProtocol::Unknown(132)), None),
            (
                "an answer",
                twist(ping(LINUX6, PEER6, b""), 0, 129),
                Some(Cause::Protocol),
            ),
            ("a router", twist(question(), 0, 134), Some(Cause::Protocol)),
            (
                "closed UDP",
                datagram(LINUX6, PEER6, 1234, b""),
                Some(Cause::Closed),
            ),
            (
                "closed UDP of all",
                datagram(LINUX6, ALL_NODES, 1234, b""),
                Some(Cause::Closed),
            ),
            ("closed TCP", syn(PEER6, 1234), Some(Cause::Closed)),
            ("an advertisement", advertise(LINUX6), None),
            ("a datagram", datagram(LINUX6, PEER6, 7, b"x"), None),
        ] {
            counts(&mut raw, &frame, cause, what);
        }
    });
}

#[test]
fn bytes_beyond_the_window_are_cut_off() {
    with_room(|| {
        let mut raw = Raw::new();
        raw.send(&solicit(LINUX6, SOLICITED, PEER6));
        let syn = TcpRepr {
            control: TcpControl::Syn,
            max_seg_size: Some(1000),
            ..SEGMENT
        };
        raw.send(&segment(LINUX6, PEER6, &syn));
        raw.pass(1);
        let mut told = None;
        while let Some(frame) = raw.world.driver.receive_frame() {
            if frame[20] == 6 {
                let tcp = TcpPacket::new_checked(&frame[54..]).unwrap();
                told = Some((tcp.seq_number() + 1, tcp.ack_number(), tcp.window_len()));
            }
        }
        let (theirs, ours, window) = told.expect("an answer to the SYN");
        let beyond = TcpRepr {
            seq_number: ours + usize::from(window) - 10,
            ack_number: Some(theirs),
            payload: &[1; 50],
            ..SEGMENT
        };
        counts(
            &mut raw,
            &segment(LINUX6, PEER6, &beyond),
            Some(Cause::Window),
            "beyond",
        );
    });
}

#[test]
fn whatever_comes_as_ipv6_the_stack_survives() {
    with_room(|| {
        let config = ProptestConfig {
            cases: ProptestConfig::default().cases.min(1 << 20),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let address = || {
            prop_oneof![
                6 => prop::sample::select(vec![LINUX6, NEAR6, PEER6, OWN6]),
                2 => prop::sample::select(vec![ALL_NODES, SOLICITED, Ipv6Address::UNSPECIFIED]),
                1 => any::<[u8; 16]>().prop_map(Ipv6Address::from_octets),
            ]
        };
        let protocol = prop_oneof![
            4 => prop::sample::select(vec![6u8, 17, 58, 58, 0, 43, 44, 59, 60]),
            1 => any::<u8>(),
        ];
        let hops = prop_oneof![Just(255u8), any::<u8>()];
        let kind = prop_oneof![128u8..138, any::<u8>()];
        let payload = prop::collection::vec(any::<u8>(), 0..200);
        let frame = (address(), address(), protocol, hops, kind, payload);
        let raw = std::cell::RefCell::new(Raw::new());
        TestRunner::new(config)
            .run(&prop::collection::vec(frame, 1..20), |frames| {
                let mut raw = raw.borrow_mut();
                for (from, to, protocol, hops, kind, mut payload) in frames {
                    if protocol == 58 && payload.len() >= 8 {
                        payload[0] = kind;
                        let mut icmp = Icmpv6Packet::new_unchecked(&mut payload[..]);
                        icmp.fill_checksum(&from, &to);
                    }
                    raw.send(&packet(from, to, protocol.into(), hops, &payload));
                    raw.pass(1);
                    while raw.world.driver.receive_frame().is_some() {}
                }
                Ok(())
            })
            .unwrap();
        let mut raw = raw.borrow_mut();
        raw.send(&solicit(LINUX6, SOLICITED, PEER6));
        raw.send(&ping(LINUX6, PEER6, b"still there"));
        raw.pass(1);
        let mut answers = 0;
        while let Some((_, _, said)) = heard(&mut raw) {
            answers += usize::from(said[0] == 129);
        }
        assert_eq!(answers, 1);
    });
}

/// Linux's end of a connection that has been refused.
#[test]
fn the_limit_holds_over_all_addresses() {
    with_room(|| {
        let mut world = World::new();
        let mut handles = Vec::new();
        for number in 0..9 {
            let to = if number % 2 == 0 { PEER6 } else { OWN6 };
            handles.push(world.connect_to(to.into(), 9, 42_000 + number));
            let handle = handles[usize::from(number)];
            world.until(|sockets| {
                let state = sockets.get_mut::<tcp::Socket<'_>>(handle).state();
                (state != tcp::State::SynSent).then_some(())
            });
        }
        let states: Vec<_> = handles
            .iter()
            .map(|handle| world.sockets.get_mut::<tcp::Socket<'_>>(*handle).state())
            .collect();
        assert_eq!(states[..8], [tcp::State::Established; 8]);
        assert_eq!(states[8], tcp::State::Closed);
        assert_eq!(world.peer.stack.drops().of(Cause::Busy), 1);
    });
}
