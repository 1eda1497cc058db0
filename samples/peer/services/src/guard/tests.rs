// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;
use smoltcp::wire::{Ipv4Repr, TcpControl, TcpSeqNumber};

const OWN: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
const LINUX: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);
const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

fn guard() -> Guard {
    Guard::new(MAC, Ipv4Cidr::new(OWN, 24), Six::new(MAC, None), 1500)
}

/// Makes a frame an IPv4 one for us.
fn address(bytes: &mut [u8]) {
    let mut frame = EthernetFrame::new_unchecked(bytes);
    frame.set_dst_addr(MAC);
    frame.set_ethertype(EthernetProtocol::Ipv4);
}

fn frame(from: Ipv4Address, to: Ipv4Address, tcp: &TcpRepr<'_>) -> Vec<u8> {
    let ip = Ipv4Repr {
        src_addr: from,
        dst_addr: to,
        next_header: IpProtocol::Tcp,
        payload_len: tcp.buffer_len(),
        hop_limit: 64,
    };
    let all = ChecksumCapabilities::default();
    let mut bytes = vec![0; 34 + tcp.buffer_len()];
    address(&mut bytes);
    ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &all);
    let mut segment = TcpPacket::new_unchecked(&mut bytes[34..]);
    tcp.emit(&mut segment, &from.into(), &to.into(), &all);
    bytes
}

/// Linux sends `len` bytes from `seq` on; how many of them are shown to the stack.
fn shown(guard: &mut Guard, control: TcpControl, seq: i32, len: usize) -> Option<usize> {
    let data = vec![1; len];
    let tcp = TcpRepr {
        src_port: 5000,
        dst_port: 7,
        control,
        seq_number: TcpSeqNumber(seq),
        ack_number: (control != TcpControl::Syn).then_some(TcpSeqNumber(1)),
        payload: &data,
        ..empty()
    };
    let mut bytes = frame(LINUX, OWN, &tcp);
    guard.admit(&mut bytes)?;
    if let Some(key) = guard.begun {
        guard.ask(key).then_some(())?;
    }
    let packet = Ipv4Packet::new_checked(&bytes[14..]).unwrap();
    assert!(packet.verify_checksum());
    let segment = TcpPacket::new_checked(packet.payload()).unwrap();
    let whole = segment.payload().len() == len;
    assert_eq!(segment.fin(), whole && control == TcpControl::Fin);
    Some(segment.payload().len())
}

/// The peer says something; returns the window that Linux is told.
fn say(guard: &mut Guard, control: TcpControl, ack: i32, window: u16, data: &[u8]) -> u16 {
    let syn = control == TcpControl::Syn;
    let tcp = TcpRepr {
        src_port: 7,
        dst_port: 5000,
        control,
        ack_number: Some(TcpSeqNumber(ack)),
        window_len: window,
        window_scale: syn.then_some(2),
        payload: data,
        ..empty()
    };
    let mut bytes = frame(OWN, LINUX, &tcp);
    guard.note(&mut bytes);
    TcpPacket::new_checked(&bytes[34..]).unwrap().window_len()
}

fn empty() -> TcpRepr<'static> {
    TcpRepr {
        src_port: 0,
        dst_port: 0,
        control: TcpControl::None,
        seq_number: TcpSeqNumber(0),
        ack_number: None,
        window_len: 0,
        window_scale: None,
        max_seg_size: None,
        sack_permitted: false,
        sack_ranges: [None, None, None],
        timestamp: None,
        payload: &[],
    }
}

/// A connection whose bytes begin at -999, of which 1000 may come at once.
fn connected() -> Guard {
    let mut guard = guard();
    assert_eq!(shown(&mut guard, TcpControl::Syn, -1000, 0), Some(0));
    assert_eq!(say(&mut guard, TcpControl::Syn, -999, 1000, &[]), 1000);
    guard
}

#[test]
fn payload_ends_where_the_window_ends() {
    let mut guard = connected();
    for (seq, len, want) in [
        (-999, 1000, 1000),
        (-999, 1001, 1000),
        (0, 5, 1),
        (1, 5, 0),
        (5000, 5, 0),
        (-2000, 500, 500),
    ] {
        for control in [TcpControl::None, TcpControl::Fin] {
            assert_eq!(shown(&mut guard, control, seq, len), Some(want), "{seq}");
        }
    }
}

#[test]
fn linux_is_told_of_one_unit_less() {
    let mut guard = connected();
    assert_eq!(say(&mut guard, TcpControl::None, -999, 500, &[]), 499);
    let edge = -999 + 4 * 499;
    assert_eq!(shown(&mut guard, TcpControl::None, edge - 1, 3), Some(1));
    // What was told once holds.
    say(&mut guard, TcpControl::None, -999, 400, &[]);
    assert_eq!(shown(&mut guard, TcpControl::None, edge - 1, 3), Some(1));
    assert_eq!(say(&mut guard, TcpControl::None, edge, 0, &[]), 0);
    assert_eq!(say(&mut guard, TcpControl::None, edge, 1, &[]), 0);
    assert_eq!(say(&mut guard, TcpControl::None, edge, 2, &[]), 1);
}

#[test]
fn a_keep_alive_tells_of_no_new_window() {
    let mut guard = connected();
    assert_eq!(say(&mut guard, TcpControl::None, -999, 500, &[0]), 250);
    assert_eq!(shown(&mut guard, TcpControl::None, 0, 5), Some(1));
    // A byte that is meant does.
    assert_eq!(say(&mut guard, TcpControl::Psh, -999, 500, &[0]), 499);
}

#[test]
fn nobody_answers_what_was_not_said() {
    let mut guard = guard();
    shown(&mut guard, TcpControl::Syn, -1000, 0);
    assert_eq!(shown(&mut guard, TcpControl::None, -999, 10), None);
    say(&mut guard, TcpControl::Syn, -999, 1000, &[]);
    assert_eq!(shown(&mut guard, TcpControl::None, -999, 10), Some(10));
    // The ports are used again.
    shown(&mut guard, TcpControl::Syn, 7000, 0);
    assert_eq!(shown(&mut guard, TcpControl::None, 7001, 10), None);
    assert_eq!(shown(&mut guard, TcpControl::Rst, 7001, 0), Some(0));
}

#[test]
fn who_has_no_address_may_ask_for_one_and_no_more() {
    let mut guard = guard();
    let stranger = Ipv4Address::new(192, 168, 1, 1);
    let group = Ipv4Address::new(224, 0, 0, 22);
    for from in [Ipv4Address::UNSPECIFIED, stranger] {
        for (protocol, port, to, want) in [
            (IpProtocol::Udp, 67, OWN, Ok(For::Dhcp)),
            (IpProtocol::Udp, 67, Ipv4Address::BROADCAST, Ok(For::Dhcp)),
            (IpProtocol::Udp, 7, OWN, Err(Cause::Source)),
            (IpProtocol::Tcp, 7, OWN, Err(Cause::Source)),
            (IpProtocol::Icmp, 0, OWN, Err(Cause::Source)),
            (IpProtocol::Igmp, 0, OWN, Err(Cause::Source)),
            (IpProtocol::Igmp, 0, group, Err(Cause::Destination)),
        ] {
            let ip = Ipv4Repr {
                src_addr: from,
                dst_addr: to,
                next_header: protocol,
                payload_len: 20,
                hop_limit: 1,
            };
            let mut bytes = vec![0; 54];
            address(&mut bytes);
            let all = ChecksumCapabilities::default();
            ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &all);
            // The ports, the length of a datagram, and that of a TCP header.
            bytes[37] = port;
            bytes[39] = 20;
            bytes[46] = 0x50;
            let before = guard.drops;
            assert_eq!(guard.check(&mut bytes), want);
            assert_eq!(guard.drops, before);
            assert_eq!(guard.admit(&mut bytes), want.ok());
            for (cause, now, then) in [Cause::Source, Cause::Destination]
                .map(|cause| (cause, guard.drops.of(cause), before.of(cause)))
            {
                assert_eq!(now - then, u64::from(want == Err(cause)));
            }
        }
    }
}

#[test]
fn not_more_are_followed_than_there_is_room_for() {
    let mut guard = guard();
    for number in 0..FOLLOWED as u16 + 1 {
        let tcp = TcpRepr {
            src_port: 5000 + number,
            dst_port: 7,
            control: TcpControl::Syn,
            ..empty()
        };
        assert!(guard.admit(&mut frame(LINUX, OWN, &tcp)).is_some());
        let asked = guard.ask(guard.begun.unwrap());
        assert_eq!(asked, usize::from(number) < FOLLOWED);
    }
    assert_eq!(guard.drops.of(Cause::Crowd), 1);
    assert_eq!(guard.drops.refused(), 1);
}

#[test]
fn what_is_refused_is_not_followed() {
    let mut guard = guard();
    shown(&mut guard, TcpControl::Syn, -1000, 0);
    assert_eq!(guard.used(), 1);
    say(&mut guard, TcpControl::Rst, -999, 0, &[]);
    assert_eq!(guard.used(), 0);
}
