// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The stack's own answers.

use crate::hostile::{arp, ipv4, Raw};
use crate::world::{with_room, LINUX, PEER};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, EthernetFrame, EthernetProtocol, Icmpv4Packet, Icmpv4Repr, IpProtocol, Ipv4Packet,
};

#[test]
fn a_ping_is_answered() {
    with_room(|| {
        let all = ChecksumCapabilities::default();
        let request = Icmpv4Repr::EchoRequest {
            ident: 7,
            seq_no: 9,
            data: b"are you there",
        };
        let mut bytes = vec![0; request.buffer_len()];
        request.emit(&mut Icmpv4Packet::new_unchecked(&mut bytes), &all);
        let mut world = Raw::with_mtu(1500).world;
        world.driver.send_frame(&arp(ArpOperation::Request, LINUX));
        world
            .driver
            .send_frame(&ipv4(LINUX, PEER, IpProtocol::Icmp, &bytes));
        world.peer.pass(world.now);
        let mut answered = false;
        while let Some(frame) = world.driver.receive_frame() {
            let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
            if frame.ethertype() != EthernetProtocol::Ipv4 {
                continue;
            }
            let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
            let icmp = Icmpv4Packet::new_checked(packet.payload()).unwrap();
            let Icmpv4Repr::EchoReply {
                ident,
                seq_no,
                data,
            } = Icmpv4Repr::parse(&icmp, &all).unwrap()
            else {
                panic!("not an answer");
            };
            assert_eq!((ident, seq_no, data), (7, 9, &b"are you there"[..]));
            answered = true;
        }
        assert!(answered);
    });
}
