// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Whatever comes to nothing is counted by its cause.

use crate::hostile::{arp, ethernet, ipv4, tcp, udp, Raw, SEGMENT};
use crate::world::{with_room, World, LINUX, PEER};
use hvl_device::checksum;
use hvl_services::drops::Cause;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, EthernetAddress, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr,
    IpProtocol, Ipv4Address, Ipv4Packet, TcpControl, TcpRepr, TcpSeqNumber,
};

fn ping(from: Ipv4Address, to: Ipv4Address, len: usize) -> Vec<u8> {
    let repr = Icmpv4Repr::EchoRequest {
        ident: 1,
        seq_no: 2,
        data: &vec![3; len],
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut Icmpv4Packet::new_unchecked(&mut bytes),
        &ChecksumCapabilities::default(),
    );
    ipv4(from, to, IpProtocol::Icmp, &bytes)
}

/// Changes the IPv4 header of a frame.
fn ip(mut frame: Vec<u8>, change: impl Fn(&mut Ipv4Packet<&mut [u8]>)) -> Vec<u8> {
    let mut packet = Ipv4Packet::new_unchecked(&mut frame[14..]);
    change(&mut packet);
    packet.fill_checksum();
    frame
}

/// Changes a byte of a frame.
fn byte(mut frame: Vec<u8>, at: usize, change: u8) -> Vec<u8> {
    frame[at] ^= change;
    // The device looks at this one, and not the stack.
    if let Some(place) = checksum::find(&frame) {
        checksum::complete(&mut frame, &place);
    }
    frame
}

fn to(mut frame: Vec<u8>, mac: EthernetAddress) -> Vec<u8> {
    EthernetFrame::new_unchecked(&mut frame).set_dst_addr(mac);
    frame
}

fn segment(control: TcpControl, port: u16) -> Vec<u8> {
    tcp(
        LINUX,
        &TcpRepr {
            control,
            dst_port: port,
            ..SEGMENT
        },
    )
}

/// Sends `frame` and checks that the counter of `cause`, and no other, goes up by one.
pub(crate) fn counts(raw: &mut Raw, frame: &[u8], cause: Option<Cause>, what: &str) {
    let before = *raw.world.peer.stack.drops();
    raw.send(frame);
    raw.pass(1);
    raw.pass(1);
    let after = *raw.world.peer.stack.drops();
    for ((name, then), (_, now)) in before.iter().zip(after.iter()) {
        let index = before.iter().position(|(other, _)| other == name).unwrap();
        let want = cause.is_some_and(|cause| cause as usize == index);
        assert_eq!(now - then, u64::from(want), "{what}: {name}");
    }
    raw.listen();
}

#[test]
fn each_cause_moves_its_counter_and_no_other() {
    with_room(|| {
        let mut raw = Raw::new();
        counts(
            &mut raw,
            &ping(LINUX, PEER, 10),
            Some(Cause::Unanswered),
            "a ping of a stranger's",
        );
        counts(&mut raw, &arp(ArpOperation::Request, LINUX), None, "arp");
        let ping = |len| ping(LINUX, PEER, len);
        let datagram = |port| udp(LINUX, (5000, port), b"hello");
        let far = Ipv4Address::new(192, 168, 0, 1);
        let stranger = EthernetAddress([2, 0, 0, 0, 0, 77]);
        let group = Ipv4Address::new(224, 0, 0, 251);
        let cases = [
            ("ping", ping(10), None),
            ("datagram", datagram(7), None),
            ("too short", vec![0; 13], Some(Cause::Malformed)),
            (
                "a short header",
                ip(datagram(7), |packet| packet.set_header_len(16)),
                Some(Cause::Malformed),
            ),
            (
                "longer than the frame",
                ip(datagram(7), |packet| packet.set_total_len(2000)),
                Some(Cause::Malformed),
            ),
            (
                "another version",
                ip(datagram(7), |packet| packet.set_version(6)),
                Some(Cause::Malformed),
            ),
            (
                "a datagram longer than its packet",
                byte(datagram(7), 38, 1),
                Some(Cause::Malformed),
            ),
            ("no port", datagram(0), Some(Cause::Malformed)),
            (
                "options beyond the segment",
                byte(segment(TcpControl::Syn, 7), 46, 0x50 ^ 0xf0),
                Some(Cause::Malformed),
            ),
            (
                "SYN and FIN",
                byte(segment(TcpControl::Syn, 7), 47, 1),
                Some(Cause::Malformed),
            ),
            (
                "a cut ARP",
                arp(ArpOperation::Request, LINUX)[..30].to_vec(),
                Some(Cause::Malformed),
            ),
            (
                "an ARP of another kind",
                byte(arp(ArpOperation::Request, LINUX), 21, 8),
                Some(Cause::Malformed),
            ),
            (
                "IPv4 checksum",
                byte(datagram(7), 24, 1),
                Some(Cause::Checksum),
            ),
            (
                "ICMP checksum",
                byte(ping(10), 45, 1),
                Some(Cause::Checksum),
            ),
            ("from far", udp(far, (1, 7), b""), Some(Cause::Source)),
            (
                "ARP from far",
                arp(ArpOperation::Request, far),
                Some(Cause::Source),
            ),
            (
                "ARP from our address",
                arp(ArpOperation::Reply, PEER),
                Some(Cause::Source),
            ),
            (
                "no protocol of ours",
                ethernet(EthernetProtocol::Unknown(0x88cc), &[0; 40]),
                Some(Cause::Protocol),
            ),
            (
                "another one's frame",
                to(datagram(7), stranger),
                Some(Cause::Destination),
            ),
            (
                "another one's packet",
                ipv4(LINUX, Ipv4Address::new(10, 77, 0, 9), IpProtocol::Udp, &[]),
                Some(Cause::Destination),
            ),
            (
                "a group's packet",
                to(
                    ipv4(LINUX, group, IpProtocol::Udp, &[]),
                    EthernetAddress([1, 0, 0x5e, 0, 0, 251]),
                ),
                Some(Cause::Destination),
            ),
            (
                "a question for another one",
                byte(arp(ArpOperation::Request, LINUX), 41, 8),
                Some(Cause::Destination),
            ),
            (
                "first fragment",
                ip(ping(10), |packet| packet.set_more_frags(true)),
                Some(Cause::Fragment),
            ),
            (
                "last fragment",
                ip(ping(10), |packet| packet.set_frag_offset(1480)),
                Some(Cause::Fragment),
            ),
            ("closed UDP", datagram(1234), Some(Cause::Closed)),
            (
                "closed TCP",
                segment(TcpControl::Syn, 1234),
                Some(Cause::Closed),
            ),
            (
                "a segment of nobody's connection",
                tcp(
                    LINUX,
                    &TcpRepr {
                        ack_number: Some(TcpSeqNumber(1)),
                        ..SEGMENT
                    },
                ),
                None,
            ),
            (
                "a segment that says nothing",
                segment(TcpControl::Fin, 7),
                Some(Cause::Malformed),
            ),
            (
                "an answer nobody asked for",
                segment(TcpControl::Rst, 7),
                None,
            ),
            ("too large to answer", ping(40_000), Some(Cause::Unanswered)),
            (
                "another protocol",
                ipv4(LINUX, PEER, IpProtocol::Unknown(132), &[0; 8]),
                None,
            ),
        ];
        for (what, frame, cause) in cases {
            counts(&mut raw, &frame, cause, what);
        }
        assert_eq!(raw.world.peer.stack.drops().refused(), 16);

        let conn = raw.open((5000, 7), 1000);
        let early = TcpRepr {
            ack_number: Some(TcpSeqNumber(conn.next as i32)),
            seq_number: TcpSeqNumber(conn.acked as i32 + 0x10_0000),
            payload: b"beyond",
            ..SEGMENT
        };
        counts(&mut raw, &tcp(LINUX, &early), Some(Cause::Window), "window");
    });
}

#[test]
fn connections_that_are_too_many_are_counted() {
    with_room(|| {
        let mut raw = Raw::new();
        for port in 0..8 {
            raw.open((5000 + port, 7), 1000);
        }
        let syn = |from| {
            tcp(
                LINUX,
                &TcpRepr {
                    src_port: from,
                    control: TcpControl::Syn,
                    ..SEGMENT
                },
            )
        };
        // It waits a moment for room. As many can wait, no more.
        for port in 6000..6016 {
            counts(&mut raw, &syn(port), None, "one too many");
        }
        counts(
            &mut raw,
            &syn(6016),
            Some(Cause::Busy),
            "one too many to wait",
        );
        raw.pass(100);
        assert_eq!(raw.world.peer.stack.drops().of(Cause::Busy), 17);
        raw.listen();
        // Another service has room.
        raw.open((6000, 9), 1000);

        // A segment that is there before the SYN of its connection is answered.
        raw.send(&segment(TcpControl::Syn, 80));
        counts(
            &mut raw,
            &tcp(
                LINUX,
                &TcpRepr {
                    dst_port: 80,
                    ack_number: Some(TcpSeqNumber(1)),
                    ..SEGMENT
                },
            ),
            Some(Cause::Early),
            "early",
        );
    });
}

#[test]
fn datagrams_that_find_no_room_are_lost() {
    with_room(|| {
        let mut raw = Raw::new();
        raw.send(&arp(ArpOperation::Request, LINUX));
        raw.pass(1);
        raw.listen();
        // More than its buffer holds.
        raw.send(&udp(LINUX, (5000, 9), &[0; 40_000]));
        raw.send(&udp(LINUX, (5000, 9), b"small"));
        raw.pass(1);
        let [_, discard, _] = raw.world.peer.stack.udp_stats();
        assert_eq!((discard.received, discard.lost), (1, 1));
    });
}

#[test]
fn nobody_keeps_others_waiting_for_an_answer() {
    with_room(|| {
        let mut world = World::new();
        let pass = |world: &mut World, millis| {
            let mut frames = 0;
            for _ in 0..millis {
                world.peer.run(world.now, world.driver.rings());
                world.now += 1;
                while let Some(frame) = world.driver.receive_frame() {
                    frames += usize::from(frame[12..14] == [8, 0]);
                }
            }
            frames
        };
        pass(&mut world, 10);
        world.driver.send_frame(&arp(ArpOperation::Request, LINUX));
        pass(&mut world, 10);
        // From somebody who does not answer questions for its Ethernet address.
        let gone = Ipv4Address::new(10, 77, 0, 99);
        for len in [0, 5] {
            let frame = udp(gone, (5000, 7), &vec![1; len]);
            world.driver.send_frame(&frame);
            world.driver.send_frame(&udp(LINUX, (5000, 7), b"me too"));
            pass(&mut world, 6000);
            world.driver.send_frame(&udp(LINUX, (5000, 7), b"and me"));
            assert_eq!(pass(&mut world, 100), 1);
        }
        let [echo, ..] = world.peer.stack.udp_stats();
        assert_eq!((echo.received, echo.sent, echo.dropped), (6, 2, 4));
    });
}
