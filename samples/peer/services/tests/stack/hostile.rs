// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A Linux that sends what no Linux would: the stack neither panics nor stops serving.

use crate::world::{with_room, World, LINUX, PEER};
use hvl_services::drops::Cause;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, IpProtocol,
    Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpOption, TcpPacket, TcpRepr, TcpSeqNumber,
    UdpPacket, UdpRepr,
};
use std::collections::BTreeMap;

const OWN: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 2]);
const THEIRS: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

pub(crate) fn ethernet(protocol: EthernetProtocol, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; 14 + payload.len()];
    let mut frame = EthernetFrame::new_unchecked(&mut bytes);
    frame.set_src_addr(OWN);
    frame.set_dst_addr(THEIRS);
    frame.set_ethertype(protocol);
    frame.payload_mut().copy_from_slice(payload);
    bytes
}

pub(crate) fn ipv4(
    source: Ipv4Address,
    to: Ipv4Address,
    next_header: IpProtocol,
    payload: &[u8],
) -> Vec<u8> {
    let repr = Ipv4Repr {
        src_addr: source,
        dst_addr: to,
        next_header,
        payload_len: payload.len(),
        hop_limit: 64,
    };
    let mut bytes = vec![0; 20 + payload.len()];
    repr.emit(
        &mut Ipv4Packet::new_unchecked(&mut bytes),
        &ChecksumCapabilities::default(),
    );
    bytes[20..].copy_from_slice(payload);
    ethernet(EthernetProtocol::Ipv4, &bytes)
}

pub(crate) fn tcp(source: Ipv4Address, repr: &TcpRepr<'_>) -> Vec<u8> {
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(
        &mut TcpPacket::new_unchecked(&mut bytes),
        &source.into(),
        &PEER.into(),
        &ChecksumCapabilities::default(),
    );
    ipv4(source, PEER, IpProtocol::Tcp, &bytes)
}

pub(crate) fn udp(source: Ipv4Address, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let repr = UdpRepr {
        src_port: ports.0,
        dst_port: ports.1,
    };
    let mut bytes = vec![0; repr.header_len() + payload.len()];
    repr.emit(
        &mut UdpPacket::new_unchecked(&mut bytes),
        &source.into(),
        &PEER.into(),
        payload.len(),
        |to| to.copy_from_slice(payload),
        &ChecksumCapabilities::default(),
    );
    ipv4(source, PEER, IpProtocol::Udp, &bytes)
}

pub(crate) fn arp(operation: ArpOperation, source: Ipv4Address) -> Vec<u8> {
    let repr = ArpRepr::EthernetIpv4 {
        operation,
        source_hardware_addr: OWN,
        source_protocol_addr: source,
        target_hardware_addr: THEIRS,
        target_protocol_addr: PEER,
    };
    let mut bytes = vec![0; repr.buffer_len()];
    repr.emit(&mut ArpPacket::new_unchecked(&mut bytes));
    ethernet(EthernetProtocol::Arp, &bytes)
}

/// What is known of a connection: what the peer has said of it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Conn {
    /// The peer's next sequence number.
    pub(crate) next: u32,
    /// What the peer has acknowledged, and up to where it takes bytes.
    pub(crate) acked: u32,
    edge: u32,
    shift: u8,
}

/// A Linux without a stack.
pub(crate) struct Raw {
    pub(crate) world: World,
    /// By Linux's port and the peer's.
    conns: BTreeMap<(u16, u16), Conn>,
    /// Linux's addresses that the peer may know.
    answers_arp: bool,
}

pub(crate) const SEGMENT: TcpRepr<'static> = TcpRepr {
    src_port: 5000,
    dst_port: 7,
    control: TcpControl::None,
    seq_number: TcpSeqNumber(0),
    ack_number: None,
    window_len: 0xffff,
    window_scale: None,
    max_seg_size: None,
    sack_permitted: false,
    sack_ranges: [None, None, None],
    timestamp: None,
    payload: &[],
};

impl Raw {
    pub(crate) fn new() -> Self {
        Self::with_mtu(16_000)
    }

    pub(crate) fn with_mtu(mtu: u16) -> Self {
        let mut raw = Self {
            world: World::with_mtu(mtu),
            conns: BTreeMap::new(),
            answers_arp: true,
        };
        // It listens from its first pass on.
        raw.pass(0);
        raw
    }

    pub(crate) fn send(&mut self, frame: &[u8]) {
        if !self.world.driver.can_send() {
            self.pass(0);
        }
        if self.world.driver.can_send() {
            self.world.driver.send_frame(frame);
        }
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.world.now += millis;
        self.world.peer.pass(self.world.now);
    }

    /// Takes what the peer has sent and learns from it; returns the TCP segments' flags.
    pub(crate) fn listen(&mut self) -> Vec<(u16, bool, usize)> {
        let mut seen = Vec::new();
        while let Some(frame) = self.world.driver.receive_frame() {
            let frame = EthernetFrame::new_checked(&frame[..]).unwrap();
            if frame.ethertype() == EthernetProtocol::Arp {
                let packet = ArpPacket::new_checked(frame.payload()).unwrap();
                let ArpRepr::EthernetIpv4 {
                    operation,
                    target_protocol_addr,
                    ..
                } = ArpRepr::parse(&packet).unwrap()
                else {
                    continue;
                };
                if operation == ArpOperation::Request && self.answers_arp {
                    self.send(&arp(ArpOperation::Reply, target_protocol_addr));
                }
                continue;
            }
            if frame.ethertype() == EthernetProtocol::Ipv6 {
                continue;
            }
            let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
            if packet.next_header() != IpProtocol::Tcp {
                continue;
            }
            let tcp = TcpPacket::new_checked(packet.payload()).unwrap();
            seen.push((tcp.dst_port(), tcp.rst(), tcp.payload().len()));
            let key = (tcp.dst_port(), tcp.src_port());
            let mut conn = self.conns.get(&key).copied().unwrap_or_default();
            if tcp.syn() {
                conn.shift = 0;
                let mut options = tcp.options();
                while let Ok((rest, option)) = TcpOption::parse(options) {
                    if let TcpOption::WindowScale(shift) = option {
                        conn.shift = shift;
                    }
                    options = rest;
                }
            }
            let shift = if tcp.syn() { 0 } else { conn.shift };
            conn.next = (tcp.seq_number().0 as u32).wrapping_add(tcp.segment_len() as u32);
            conn.acked = tcp.ack_number().0 as u32;
            conn.edge = conn
                .acked
                .wrapping_add(u32::from(tcp.window_len()) << shift);
            self.conns.insert(key, conn);
        }
        seen
    }

    /// Opens a connection whose bytes begin after `seq`.
    pub(crate) fn open(&mut self, ports: (u16, u16), seq: u32) -> Conn {
        self.open_to(ports, seq, 0xffff)
    }

    /// As `open`, with a window of `window` in units of 128 bytes.
    pub(crate) fn open_to(&mut self, ports: (u16, u16), seq: u32, window: u16) -> Conn {
        self.send(&arp(ArpOperation::Request, LINUX));
        self.send(&tcp(
            LINUX,
            &TcpRepr {
                src_port: ports.0,
                dst_port: ports.1,
                control: TcpControl::Syn,
                seq_number: TcpSeqNumber(seq as i32),
                window_len: window,
                window_scale: Some(7),
                max_seg_size: Some(15_960),
                ..SEGMENT
            },
        ));
        self.pass(1);
        self.listen();
        let conn = *self.conns.get(&ports).expect("an answer to the SYN");
        assert_eq!(conn.acked, seq.wrapping_add(1));
        self.say(ports, conn.acked, conn.next, window, &[]);
        conn
    }

    /// Sends a segment of a connection, and lets the peer work.
    pub(crate) fn say(
        &mut self,
        ports: (u16, u16),
        seq: u32,
        ack: u32,
        window: u16,
        payload: &[u8],
    ) {
        self.send(&tcp(
            LINUX,
            &TcpRepr {
                src_port: ports.0,
                dst_port: ports.1,
                control: TcpControl::None,
                seq_number: TcpSeqNumber(seq as i32),
                ack_number: Some(TcpSeqNumber(ack as i32)),
                window_len: window,
                payload,
                ..SEGMENT
            },
        ));
        self.pass(1);
    }

    /// The peer still serves.
    fn check(&mut self) {
        self.answers_arp = true;
        self.world.renew();
        // A socket that has lost its neighbour keeps silent for a second.
        for _ in 0..20 {
            self.pass(60);
            self.listen();
        }
        let port = 60_000 + (self.world.now % 5000) as u16;
        self.open((port, 7), 12_345);
    }
}

#[test]
fn nobody_connects_from_no_address() {
    with_room(|| {
        for source in [
            Ipv4Address::UNSPECIFIED,
            Ipv4Address::BROADCAST,
            Ipv4Address::new(10, 77, 0, 0),
            Ipv4Address::new(10, 77, 0, 255),
            Ipv4Address::new(10, 78, 0, 2),
            Ipv4Address::new(224, 0, 0, 1),
            PEER,
        ] {
            let mut raw = Raw::new();
            let syn = TcpRepr {
                control: TcpControl::Syn,
                ..SEGMENT
            };
            raw.send(&tcp(source, &syn));
            raw.pass(1);
            raw.pass(1);
            assert_eq!(raw.listen(), []);
            assert_eq!(raw.world.peer.stack.drops().of(Cause::Source), 1);
            raw.check();
        }
    });
}

#[test]
fn bytes_beyond_the_window_are_not_taken() {
    with_room(|| {
        let ports = (5000, 7);
        let mut raw = Raw::new();
        let conn = raw.open(ports, 0x7fff_0000);
        let mut seq = conn.acked;
        // 64 KiB come back and stay in the send buffer, since Linux closes its window at once;
        // then some more stays in the receive buffer.
        while seq.wrapping_sub(conn.acked) < 0x1_0000 + 40_000 {
            raw.say(ports, seq, conn.next, 0, &[0x55; 10_000]);
            seq = seq.wrapping_add(10_000);
            raw.pass(20);
            raw.listen();
        }
        // Linux takes 20000 of the echoed bytes: the receive buffer has room that Linux was not
        // told of, since the window has not doubled.
        let before = raw.conns[&ports];
        raw.say(ports, seq, conn.next.wrapping_add(20_000), 0, &[]);
        raw.pass(1);
        let seen = raw.listen();
        assert!(seen.iter().all(|(_, _, len)| *len <= 1), "{seen:?}");
        // More than the window, less than the buffer.
        let next = conn.next.wrapping_add(20_000);
        raw.say(ports, seq, next, 0, &[0x66; 40_000]);
        raw.pass(1);
        raw.pass(20);
        raw.listen();
        let after = raw.conns[&ports];
        assert_eq!(after.acked, before.edge);
        assert_eq!(raw.world.peer.stack.drops().of(Cause::Window), 1);
        raw.check();
    });
}

/// What is sent next.
#[derive(Clone, Debug)]
enum Step {
    Arp(bool, u8),
    /// Source, ports, flags, where it begins and how long it is, what it acknowledges, window,
    /// options.
    Segment(u8, u8, u8, (u8, i16), usize, (u8, i16), u16, u8),
    Udp(u8, u8, usize),
    Other(u8, u8, usize),
    Bytes(Vec<u8>),
    /// Bytes of the last frame are changed and it is sent again.
    Twist(usize, u8),
    /// Time passes; Linux takes what is there, or leaves its buffers used.
    Pass(u16, bool),
    Deaf(bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let len = || prop_oneof![0usize..3, 0usize..2000, 0usize..65_000];
    let place = || (0u8..6, prop_oneof![-3i16..4, any::<i16>()]);
    let step = prop_oneof![
        1 => (any::<bool>(), 0u8..8).prop_map(|(a, b)| Step::Arp(a, b)),
        12 => (0u8..40, 0u8..40, 0u8..16, place(), len(), place(),
               prop_oneof![Just(0u16), 0u16..20, any::<u16>()], 0u8..8)
            .prop_map(|(a, b, c, d, e, f, g, h)| Step::Segment(a, b, c, d, e, f, g, h)),
        1 => (0u8..8, 0u8..8, len()).prop_map(|(a, b, c)| Step::Udp(a, b, c)),
        1 => (0u8..8, any::<u8>(), len()).prop_map(|(a, b, c)| Step::Other(a, b, c)),
        1 => prop::collection::vec(any::<u8>(), 0..200).prop_map(Step::Bytes),
        2 => (0usize..80, any::<u8>()).prop_map(|(a, b)| Step::Twist(a, b)),
        4 => (prop_oneof![0u16..30, any::<u16>()], any::<bool>())
            .prop_map(|(a, b)| Step::Pass(a, b)),
        1 => any::<bool>().prop_map(Step::Deaf),
    ];
    prop::collection::vec(step, 1..100)
}

fn source(choice: u8) -> Ipv4Address {
    match choice {
        0 => Ipv4Address::UNSPECIFIED,
        1 => Ipv4Address::BROADCAST,
        2 => PEER,
        3 => Ipv4Address::new(10, 77, 0, 255),
        4 => Ipv4Address::new(192, 168, 1, 1),
        5 => Ipv4Address::new(10, 77, 0, 9),
        _ => LINUX,
    }
}

/// A few connections of each service, so that most segments belong to one.
fn ports(choice: u8) -> (u16, u16) {
    let service = [7, 9, 19, 80, 7, 9, 19, 81][usize::from(choice % 8)];
    (5000 + u16::from(choice / 16), service)
}

impl Raw {
    fn step(&mut self, step: Step, last: &mut Vec<u8>) {
        let frame = match step {
            Step::Arp(request, from) => arp(
                if request {
                    ArpOperation::Request
                } else {
                    ArpOperation::Reply
                },
                source(from),
            ),
            Step::Segment(from, which, flags, begin, len, ack, window, options) => {
                let ports = ports(which);
                let conn = self.conns.get(&ports).copied().unwrap_or_default();
                let place = |(base, offset): (u8, i16)| {
                    let base = match base {
                        0 | 1 => conn.acked,
                        2 => conn.edge,
                        3 => conn.edge.wrapping_sub(len as u32),
                        4 => conn.next,
                        _ => 0x7fff_ff00,
                    };
                    TcpSeqNumber(base.wrapping_add(i32::from(offset) as u32) as i32)
                };
                let exact = |(base, offset): (u8, i16)| {
                    // Most segments say what is right, or a connection goes nowhere.
                    (
                        base,
                        if offset.unsigned_abs() < 1000 {
                            0
                        } else {
                            offset
                        },
                    )
                };
                let known = self.conns.contains_key(&ports);
                let control = match flags {
                    0 => TcpControl::Syn,
                    1 => TcpControl::Fin,
                    2 => TcpControl::Rst,
                    3 => TcpControl::Psh,
                    _ if !known => TcpControl::Syn,
                    _ => TcpControl::None,
                };
                let syn = control == TcpControl::Syn;
                let ack = if ack.0 > 1 && flags > 3 { (4, 0) } else { ack };
                let data = vec![0; len];
                tcp(
                    source(from),
                    &TcpRepr {
                        src_port: ports.0,
                        dst_port: ports.1,
                        control,
                        seq_number: place(if flags > 7 { exact(begin) } else { begin }),
                        ack_number: (!syn || flags > 12).then(|| place(ack)),
                        window_len: window,
                        window_scale: (syn && options & 1 != 0).then_some(window as u8),
                        max_seg_size: (syn && options & 2 != 0).then_some(window),
                        sack_permitted: syn && options & 4 != 0,
                        payload: if syn { &data[..len.min(1400)] } else { &data },
                        ..SEGMENT
                    },
                )
            }
            Step::Udp(from, which, len) => {
                let port = [7, 9, 19, 67, 68, 80, 0, 7][usize::from(which)];
                udp(source(from), (5000, port), &vec![1; len])
            }
            Step::Other(from, protocol, len) => ipv4(
                source(from),
                PEER,
                if protocol < 128 {
                    IpProtocol::Icmp
                } else {
                    protocol.into()
                },
                &vec![8; len],
            ),
            Step::Bytes(bytes) => bytes,
            Step::Twist(at, byte) => {
                let mut frame = last.clone();
                if let Some(old) = frame.get_mut(at) {
                    *old = byte;
                }
                frame
            }
            Step::Pass(millis, listen) => {
                self.pass(u64::from(millis));
                if listen {
                    self.listen();
                }
                return;
            }
            Step::Deaf(deaf) => {
                self.answers_arp = !deaf;
                return;
            }
        };
        self.send(&frame);
        *last = frame;
    }
}

#[test]
fn whatever_linux_sends_the_stack_survives() {
    with_room(|| {
        let config = ProptestConfig {
            cases: ProptestConfig::default().cases.min(1 << 20),
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        // A stack keeps its memory for good; so the cases share one, and each has a new driver.
        let raw = std::cell::RefCell::new(Raw::new());
        TestRunner::new(config)
            .run(&steps(), |steps| {
                let mut raw = raw.borrow_mut();
                raw.conns.clear();
                let mut last = Vec::new();
                for step in steps {
                    raw.step(step, &mut last);
                }
                raw.check();
                Ok(())
            })
            .unwrap();
    });
}
