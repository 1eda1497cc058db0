// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What stands between Linux's frames and smoltcp, which takes two things for granted that a
//! hostile sender need not grant: that whoever opens a connection has an address, and that
//! nobody sends more than the window allows. It panics where they do not hold.
//!
//! Frames that no neighbour on this link could have sent are dropped. Each TCP connection is
//! followed from its SYN on, and payload beyond the window that Linux was told of is cut off.
//!
//! smoltcp needs every byte it takes to lie below the edge of the window that it believes to have
//! advertised last. That edge can move back: by as much as a scaled window rounds down, and
//! unseen here where an answer is dropped for want of the neighbour's address. So Linux is told
//! of one unit of the scaled window less than smoltcp says: the highest edge that was ever told
//! then lies below any that smoltcp can believe in later.

use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    EthernetFrame, EthernetProtocol, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet, Ipv4Repr,
    TcpOption, TcpPacket, UdpPacket,
};

/// Connections that are followed. Half as many can be alive, which leaves room for those that a
/// pass opens.
pub(crate) const FOLLOWED: usize = 64;

/// Whom a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// A socket, or somebody that a socket waits for.
    Sockets,
    /// The stack itself, which answers at once.
    Stack,
    /// Nobody here, as a report of multicast groups by a host without an address.
    Nobody,
}

/// The ends of a connection; ours has one address only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) remote: Ipv4Address,
    pub(crate) remote_port: u16,
    pub(crate) port: u16,
}

/// What Linux was told of a connection.
#[derive(Clone, Copy, Debug)]
struct Told {
    /// Bits that windows are shifted by.
    shift: u8,
    /// Sequence number that Linux may send up to.
    edge: u32,
}

/// A connection that Linux has asked for.
#[derive(Clone, Copy, Debug)]
struct Followed {
    key: Key,
    told: Option<Told>,
    /// A SYN came after our last word. Nobody can have an answer to what was not said yet.
    asked: bool,
}

/// The connections, and the addresses of the link.
#[derive(Debug)]
pub(crate) struct Guard {
    own: Ipv4Cidr,
    followed: [Option<Followed>; FOLLOWED],
    /// The connection that the last frame has asked for.
    fresh: Option<Key>,
    /// Frames that were dropped or cut.
    pub(crate) refused: u64,
}

/// How far `to` is ahead of `from` in sequence space.
const fn ahead(to: u32, from: u32) -> i32 {
    to.wrapping_sub(from) as i32
}

impl Guard {
    pub(crate) const fn new(own: Ipv4Cidr) -> Self {
        Self {
            own,
            followed: [None; FOLLOWED],
            fresh: None,
            refused: 0,
        }
    }

    /// Looks at a frame of Linux's and cuts off what is too much; `None` if the stack must not
    /// see it.
    pub(crate) fn admit(&mut self, frame: &mut [u8]) -> Option<For> {
        self.fresh = None;
        let admitted = self.check(frame);
        if admitted.is_none() {
            self.refused = self.refused.wrapping_add(1);
        }
        admitted.filter(|receiver| *receiver != For::Nobody)
    }

    fn check(&mut self, frame: &mut [u8]) -> Option<For> {
        let mut frame = EthernetFrame::new_checked(frame).ok()?;
        match frame.ethertype() {
            // A socket may wait for its neighbour's address.
            EthernetProtocol::Arp => return Some(For::Sockets),
            EthernetProtocol::Ipv4 => {}
            _ => return Some(For::Stack),
        }
        let bytes = frame.payload_mut();
        let packet = Ipv4Packet::new_checked(&*bytes).ok()?;
        let repr = Ipv4Repr::parse(&packet, &ChecksumCapabilities::default()).ok()?;
        // smoltcp believes a header length that is too small.
        let header = usize::from(packet.header_len());
        if header < repr.buffer_len() {
            return None;
        }
        let neighbour = self.is_neighbour(repr.src_addr);
        match repr.next_header {
            IpProtocol::Udp => {
                let udp = UdpPacket::new_checked(packet.payload()).ok()?;
                // Whoever asks for an address has none yet, or one of another link.
                let asks = udp.dst_port() == crate::dhcp::SERVER_PORT;
                (neighbour || asks).then_some(For::Sockets)
            }
            IpProtocol::Tcp | IpProtocol::Icmp if !neighbour => None,
            _ if !neighbour => Some(For::Nobody),
            IpProtocol::Tcp if repr.dst_addr != self.own.address() => None,
            IpProtocol::Tcp => {
                let excess = self.segment(repr.src_addr, packet.payload())?;
                if excess > 0 {
                    self.refused = self.refused.wrapping_add(1);
                    cut(bytes, header, excess);
                }
                Some(For::Sockets)
            }
            _ => Some(For::Stack),
        }
    }

    /// Whether an address is one that another host of this link can have.
    fn is_neighbour(&self, address: Ipv4Address) -> bool {
        let hosts = !self.own.netmask().to_bits();
        let host = address.to_bits() & hosts;
        self.own.contains_addr(&address)
            && address != self.own.address()
            && host != 0
            && host != hosts
    }

    /// Looks at a TCP segment; returns how many of its bytes are too many.
    fn segment(&mut self, remote: Ipv4Address, bytes: &[u8]) -> Option<usize> {
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        let key = Key {
            remote,
            remote_port: tcp.src_port(),
            port: tcp.dst_port(),
        };
        if tcp.syn() && !tcp.ack() {
            return self.ask(key).then_some(0);
        }
        let Some(followed) = self.find(key) else {
            // No socket has it: it is answered by a reset.
            return Some(0);
        };
        if tcp.rst() {
            return Some(0);
        }
        let told = followed.told.filter(|_| !followed.asked)?;
        let room = ahead(told.edge, tcp.seq_number().0 as u32);
        let room = usize::try_from(room).unwrap_or(0);
        Some(tcp.payload().len().saturating_sub(room))
    }

    /// Linux asks for a connection; `false` if there are too many to follow.
    fn ask(&mut self, key: Key) -> bool {
        if let Some(followed) = self.find(key) {
            followed.asked = true;
            return true;
        }
        let Some(slot) = self.followed.iter_mut().find(|slot| slot.is_none()) else {
            return false;
        };
        *slot = Some(Followed {
            key,
            told: None,
            asked: true,
        });
        self.fresh = Some(key);
        true
    }

    fn find(&mut self, key: Key) -> Option<&mut Followed> {
        let mut all = self.followed.iter_mut().flatten();
        all.find(|followed| followed.key == key)
    }

    /// Takes note of a frame of the stack's before it goes out, and makes the window that it
    /// tells of the one that will be kept to.
    pub(crate) fn note(&mut self, frame: &mut [u8]) {
        // The stack's frames are well-formed.
        let _ = self.told(frame);
    }

    fn told(&mut self, frame: &mut [u8]) -> Option<()> {
        let mut frame = EthernetFrame::new_checked(frame).ok()?;
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return None;
        }
        let mut packet = Ipv4Packet::new_checked(frame.payload_mut()).ok()?;
        if packet.next_header() != IpProtocol::Tcp {
            return None;
        }
        let remote = packet.dst_addr();
        let bytes = packet.payload_mut();
        let tcp = TcpPacket::new_checked(&*bytes).ok()?;
        let key = Key {
            remote,
            remote_port: tcp.dst_port(),
            port: tcp.src_port(),
        };
        let fresh = self.fresh.take();
        if tcp.rst() {
            // What was just asked for is refused: there is nothing to follow.
            if fresh == Some(key) {
                self.retain(|other| *other != key);
            }
            return None;
        }

        let ack = tcp.ack_number().0 as u32;
        let window = tcp.window_len();
        let syn = tcp.syn();
        // The stack forgets at once what it says in these (one zero byte, not pushed), so they
        // must say nothing new.
        let keep_alive = tcp.payload() == [0] && !tcp.psh() && !tcp.fin();
        let scale = shift(tcp.options());
        let followed = self.find(key)?;
        followed.asked = false;
        let told = if syn {
            // The window of a SYN is not scaled, and was not rounded.
            Told {
                shift: scale,
                edge: ack.wrapping_add(u32::from(window)),
            }
        } else {
            let Told { shift, edge: old } = followed.told?;
            let unit = u16::from(shift > 0);
            let new = ack.wrapping_add(u32::from(window.saturating_sub(unit)) << shift);
            let edge = if keep_alive || ahead(new, old) < 0 {
                old
            } else {
                new
            };
            let room = u32::try_from(ahead(edge, ack)).unwrap_or(0) >> shift;
            let room = window.min(u16::try_from(room).unwrap_or(u16::MAX));
            TcpPacket::new_unchecked(bytes).set_window_len(room);
            Told { shift, edge }
        };
        followed.told = Some(told);
        Some(())
    }

    /// How many connections are followed.
    pub(crate) fn used(&self) -> usize {
        self.followed.iter().flatten().count()
    }

    /// Forgets the connections that are not `alive` any more.
    pub(crate) fn retain(&mut self, mut alive: impl FnMut(&Key) -> bool) {
        for slot in &mut self.followed {
            if slot.as_ref().is_some_and(|followed| !alive(&followed.key)) {
                *slot = None;
            }
        }
    }
}

/// The shift that a SYN of ours names; without the option windows are not scaled.
fn shift(options: &[u8]) -> u8 {
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

/// Cuts the last `excess` bytes off the TCP segment in an IP packet, and a FIN that follows them.
fn cut(packet: &mut [u8], header: usize, excess: usize) {
    let mut packet = Ipv4Packet::new_unchecked(packet);
    TcpPacket::new_unchecked(packet.payload_mut()).set_fin(false);
    let len = usize::from(packet.total_len()).saturating_sub(excess);
    packet.set_total_len(u16::try_from(len.max(header)).unwrap_or(u16::MAX));
    packet.fill_checksum();
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{TcpControl, TcpRepr, TcpSeqNumber};

    const OWN: Ipv4Address = Ipv4Address::new(10, 77, 0, 1);
    const LINUX: Ipv4Address = Ipv4Address::new(10, 77, 0, 2);

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
        EthernetFrame::new_unchecked(&mut bytes).set_ethertype(EthernetProtocol::Ipv4);
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
        let mut guard = Guard::new(Ipv4Cidr::new(OWN, 24));
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
        let mut guard = Guard::new(Ipv4Cidr::new(OWN, 24));
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
        let mut guard = Guard::new(Ipv4Cidr::new(OWN, 24));
        let stranger = Ipv4Address::new(192, 168, 1, 1);
        for from in [Ipv4Address::UNSPECIFIED, stranger] {
            for (protocol, port, want, refused) in [
                (IpProtocol::Udp, 67, Some(For::Sockets), 0),
                (IpProtocol::Udp, 7, None, 1),
                (IpProtocol::Tcp, 7, None, 1),
                (IpProtocol::Icmp, 0, None, 1),
                (IpProtocol::Igmp, 0, None, 0),
            ] {
                let ip = Ipv4Repr {
                    src_addr: from,
                    dst_addr: OWN,
                    next_header: protocol,
                    payload_len: 20,
                    hop_limit: 1,
                };
                let mut bytes = vec![0; 54];
                EthernetFrame::new_unchecked(&mut bytes).set_ethertype(EthernetProtocol::Ipv4);
                let all = ChecksumCapabilities::default();
                ip.emit(&mut Ipv4Packet::new_unchecked(&mut bytes[14..]), &all);
                // The ports, the length of a datagram, and that of a TCP header.
                bytes[37] = port;
                bytes[39] = 20;
                bytes[46] = 0x50;
                let before = guard.refused;
                assert_eq!(guard.admit(&mut bytes), want);
                assert_eq!(guard.refused - before, refused);
            }
        }
    }

    #[test]
    fn what_is_refused_is_not_followed() {
        let mut guard = Guard::new(Ipv4Cidr::new(OWN, 24));
        shown(&mut guard, TcpControl::Syn, -1000, 0);
        assert_eq!(guard.used(), 1);
        say(&mut guard, TcpControl::Rst, -999, 0, &[]);
        assert_eq!(guard.used(), 0);
    }
}
