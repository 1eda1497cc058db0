// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Segmentation of TCP and UDP: frames that are larger than the link's, and how they are cut where
//! nobody else does it.

#![forbid(unsafe_code)]

use crate::checksum;

const ETHERNET: usize = 14;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;
/// Bytes of an IPv4 header, and of a TCP header, without options.
const HEADER_LEAST: usize = 20;
/// Bytes of an IPv6 header without extension headers, of which no packet here has any.
const IPV6: usize = 40;
/// Bytes of a UDP header.
const UDP: usize = 8;
/// Bytes of all headers, with all options.
pub const HEADERS_MAX: usize = ETHERNET + 60 + 60;
/// Flags of the last segment only: FIN, PSH.
const LAST: u8 = 0x09;
/// Flag of the first segment only: CWR (RFC 3168 6.1.2).
const CWR: u8 = 0x80;
/// Flags that ask for a segment of its own, whatever it carries: SYN, RST, URG.
const ALONE: u8 = 0x26;

/// What is cut into what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment over IPv4.
    Tcp4,
    /// A TCP segment over IPv6.
    Tcp6,
    /// A UDP datagram over IPv4 that is made of several.
    Udp4,
    /// One over IPv6.
    Udp6,
}

impl Kind {
    /// Whether it is TCP.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Tcp6)
    }

    /// Whether it is over IPv4.
    const fn is_ipv4(self) -> bool {
        matches!(self, Self::Tcp4 | Self::Udp4)
    }
}

/// A TCP segment, or a UDP datagram, in a frame, that can be cut into smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What it is.
    pub kind: Kind,
    /// Bytes of all headers.
    pub headers: usize,
    /// Bytes behind them.
    pub payload: usize,
    /// Where the header of TCP or UDP begins.
    inner: usize,
}

fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

/// Puts `bytes` at `at`, if they fit.
fn put(frame: &mut [u8], at: usize, bytes: &[u8]) -> Option<()> {
    frame.get_mut(at..at + bytes.len())?.copy_from_slice(bytes);
    Some(())
}

impl Segment {
    /// Finds it; `None` for everything that is neither TCP nor UDP, whole, and with payload alone.
    pub fn find(frame: &[u8]) -> Option<Self> {
        Self::behind(frame, frame.len())
    }

    /// The same, where no more than the beginning of a frame of `len` bytes is at hand, with the
    /// headers in it.
    pub fn behind(frame: &[u8], len: usize) -> Option<Self> {
        let first = *frame.get(ETHERNET)?;
        let (inner, protocol, end) = match (word(frame, 12)?, first >> 4) {
            (0x0800, 4) => {
                let header = usize::from(first & 0xf) * 4;
                let end = ETHERNET + usize::from(word(frame, ETHERNET + 2)?);
                let fragment = word(frame, ETHERNET + 6)? & 0x3fff;
                if header < HEADER_LEAST || fragment != 0 {
                    return None;
                }
                (ETHERNET + header, *frame.get(ETHERNET + 9)?, end)
            }
            (0x86dd, 6) => {
                let end = ETHERNET + IPV6 + usize::from(word(frame, ETHERNET + 4)?);
                (ETHERNET + IPV6, *frame.get(ETHERNET + 6)?, end)
            }
            _ => return None,
        };
        let ipv4 = first >> 4 == 4;
        let (kind, header) = match protocol {
            PROTOCOL_TCP => {
                let header = usize::from(*frame.get(inner + 12)? >> 4) * 4;
                let flags = *frame.get(inner + 13)?;
                if header < HEADER_LEAST || flags & ALONE != 0 {
                    return None;
                }
                (if ipv4 { Kind::Tcp4 } else { Kind::Tcp6 }, header)
            }
            PROTOCOL_UDP => {
                if inner + usize::from(word(frame, inner + 4)?) != end {
                    return None;
                }
                (if ipv4 { Kind::Udp4 } else { Kind::Udp6 }, UDP)
            }
            _ => return None,
        };
        let headers = inner + header;
        if end != len {
            return None;
        }
        Some(Self {
            kind,
            headers,
            payload: end.checked_sub(headers)?,
            inner,
        })
    }

    /// Whether the sender says with it that it has reacted to congestion (RFC 3168).
    pub fn has_reacted(&self, frame: &[u8]) -> bool {
        let flags = frame.get(self.inner + 13).copied().unwrap_or(0);
        self.kind.is_tcp() && flags & CWR != 0
    }
}

/// A frame that is being cut.
#[derive(Clone, Copy, Debug)]
pub struct Cutter {
    segment: Segment,
    headers: [u8; HEADERS_MAX],
}

impl Cutter {
    /// Remembers the headers of `frame`, in which `segment` was found.
    pub fn new(frame: &[u8], segment: Segment) -> Self {
        let mut headers = [0; HEADERS_MAX];
        for (to, from) in headers.iter_mut().zip(frame.iter().take(segment.headers)) {
            *to = *from;
        }
        Self { segment, headers }
    }

    /// Makes the part of the frame that begins `from` bytes into the payload a frame of its own, with
    /// at most `mss` bytes of it. The checksum of TCP or UDP is still to be made.
    ///
    /// Its headers lie over what comes before that part.
    pub fn part<'a>(&self, frame: &'a mut [u8], from: usize, mss: usize) -> Option<&'a mut [u8]> {
        let Segment {
            headers, payload, ..
        } = self.segment;
        let len = payload.checked_sub(from)?.min(mss);
        let part = frame.get_mut(from..from.checked_add(headers + len)?)?;
        self.head(part, from)?;
        Some(part)
    }

    /// Writes the headers of a part whose payload, from byte `from` on, is in place behind them.
    pub fn head(&self, part: &mut [u8], from: usize) -> Option<()> {
        let Segment {
            kind,
            headers,
            payload,
            inner,
        } = self.segment;
        put(part, 0, self.headers.get(..headers)?)?;

        // Each is at most the whole packet's.
        if kind.is_ipv4() {
            let total = (part.len().checked_sub(ETHERNET)?) as u16;
            put(part, ETHERNET + 2, &total.to_be_bytes())?;
            put(part, ETHERNET + 10, &[0, 0])?;
            let sum = checksum::of(part.get(ETHERNET..inner)?);
            put(part, ETHERNET + 10, &sum.to_ne_bytes())?;
        } else {
            let rest = (part.len().checked_sub(ETHERNET + IPV6)?) as u16;
            put(part, ETHERNET + 4, &rest.to_be_bytes())?;
        }
        if !kind.is_tcp() {
            let len = (part.len().checked_sub(inner)?) as u16;
            return put(part, inner + 4, &len.to_be_bytes());
        }

        let seq: [u8; 4] = part.get(inner + 4..inner + 8)?.try_into().ok()?;
        let seq = u32::from_be_bytes(seq).wrapping_add(from as u32);
        put(part, inner + 4, &seq.to_be_bytes())?;
        let last = from.checked_add(part.len().checked_sub(headers)?)? >= payload;
        let flags = part.get_mut(inner + 13)?;
        if !last {
            *flags &= !LAST;
        }
        if from != 0 {
            *flags &= !CWR;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame of UDP over IPv6, and one over IPv4.
    fn datagrams(payload: usize) -> [Vec<u8>; 2] {
        let total = (8 + payload) as u16;
        let mut inner = vec![0, 7, 0, 9];
        inner.extend(total.to_be_bytes());
        inner.extend([0, 0]);
        inner.extend((0..payload).map(|byte| (byte % 251) as u8));
        let mut six = vec![0; ETHERNET + IPV6];
        six[12..15].copy_from_slice(&[0x86, 0xdd, 0x60]);
        six[18..20].copy_from_slice(&total.to_be_bytes());
        six[20..22].copy_from_slice(&[PROTOCOL_UDP, 64]);
        let mut four = frame(20, 20, 0, 0);
        four.truncate(ETHERNET + 20);
        four[16..18].copy_from_slice(&(20 + total).to_be_bytes());
        four[23] = PROTOCOL_UDP;
        [six, four].map(|mut frame| {
            frame.extend_from_slice(&inner);
            frame
        })
    }

    /// A frame with headers of these lengths.
    fn frame(ip: usize, tcp: usize, payload: usize, flags: u8) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + ip + tcp];
        frame[12] = 8;
        frame[14] = 0x40 | (ip / 4) as u8;
        let total = (ip + tcp + payload) as u16;
        frame[16..18].copy_from_slice(&total.to_be_bytes());
        frame[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
        frame[ETHERNET + ip + 4..ETHERNET + ip + 8].copy_from_slice(&[0xff, 0xff, 0xff, 0xf0]);
        frame[ETHERNET + ip + 12] = (tcp as u8 / 4) << 4;
        frame[ETHERNET + ip + 13] = flags;
        frame.extend((0..payload).map(|byte| (byte % 251) as u8));
        let sum = checksum::of(&frame[ETHERNET..ETHERNET + ip]);
        put(&mut frame, ETHERNET + 10, &sum.to_ne_bytes()).unwrap();
        frame
    }

    #[test]
    fn only_whole_tcp_segments_are_found() {
        let good = frame(24, 32, 100, 0x18);
        let found = Segment::find(&good).unwrap();
        assert_eq!((found.headers, found.payload), (14 + 24 + 32, 100));
        for (at, value) in [
            (12, 9),
            (14, 0x66),
            (14, 0x44),
            (17, 1),
            (20, 0x20),
            (21, 1),
            (23, 1),
            (50, 0x40),
            (51, 0x12),
        ] {
            let mut bad = good.clone();
            bad[at] = value;
            assert_eq!(Segment::find(&bad), None, "byte {at}");
        }
        for len in 0..good.len() {
            assert_eq!(Segment::find(&good[..len]), None);
        }
        for (good, kind) in datagrams(100).into_iter().zip([Kind::Udp6, Kind::Udp4]) {
            let found = Segment::find(&good).unwrap();
            assert_eq!((found.kind, found.payload), (kind, 100));
            assert_eq!(
                Segment::behind(&good[..found.headers], good.len()),
                Some(found)
            );
            for len in 0..good.len() {
                assert_eq!(Segment::find(&good[..len]), None);
            }
            // UDP says another length than IP.
            let mut bad = good;
            bad[found.inner + 5] ^= 1;
            assert_eq!(Segment::find(&bad), None);
        }
    }

    #[test]
    fn congestion_is_reacted_to_once() {
        let whole = frame(20, 20, 3000, 0x98);
        let segment = Segment::find(&whole).unwrap();
        assert!(segment.has_reacted(&whole));
        let mut bytes = whole.clone();
        let cutter = Cutter::new(&bytes, segment);
        let flags = [0, 1000, 2000].map(|from| {
            let part = cutter.part(&mut bytes, from, 1000).unwrap();
            part[segment.inner + 13]
        });
        assert_eq!(flags, [0x90, 0x10, 0x18]);
    }

    #[test]
    fn datagrams_are_cut_into_datagrams() {
        for whole in datagrams(2500) {
            let segment = Segment::find(&whole).unwrap();
            let mut bytes = whole.clone();
            let cutter = Cutter::new(&bytes, segment);
            for from in [0, 1000, 2000] {
                let part = cutter.part(&mut bytes, from, 1000).unwrap();
                let found = Segment::find(part).unwrap();
                assert_eq!(found.payload, 1000.min(2500 - from));
                let at = segment.headers + from;
                assert_eq!(part[found.headers..], whole[at..at + found.payload]);
                if found.kind == Kind::Udp4 {
                    assert_eq!(checksum::of(&part[ETHERNET..ETHERNET + 20]), 0);
                }
            }
        }
    }

    proptest! {
        /// The parts are frames of the same connection that carry the same bytes.
        #[test]
        fn parts_make_the_whole(
            ip in 5usize..16,
            tcp in 5usize..16,
            payload in 1usize..5000,
            mss in 1usize..2000,
        ) {
            let whole = frame(4 * ip, 4 * tcp, payload, 0x19);
            let segment = Segment::find(&whole).unwrap();
            let mut bytes = whole.clone();
            let cutter = Cutter::new(&bytes, segment);
            let mut from = 0;
            while from < payload {
                let part = cutter.part(&mut bytes, from, mss).unwrap();
                let found = Segment::find(part).unwrap();
                prop_assert_eq!(found.headers, segment.headers);
                prop_assert_eq!(found.payload, mss.min(payload - from));
                prop_assert_eq!(checksum::of(&part[ETHERNET..ETHERNET + 4 * ip]), 0);
                let tcp = found.inner;
                let seq = u32::from_be_bytes(part[tcp + 4..tcp + 8].try_into().unwrap());
                prop_assert_eq!(seq, 0xffff_fff0_u32.wrapping_add(from as u32));
                let last = from + found.payload == payload;
                prop_assert_eq!(part[tcp + 13], if last { 0x19 } else { 0x10 });
                let at = segment.headers + from;
                prop_assert_eq!(&part[found.headers..], &whole[at..at + found.payload]);
                from += found.payload;
            }
            prop_assert!(cutter.part(&mut bytes, payload + 1, mss).is_none());
        }

        #[test]
        fn anything_goes_in(bytes in prop::collection::vec(any::<u8>(), 0..200), from in 0usize..300) {
            let mut bytes = bytes;
            if let Some(segment) = Segment::find(&bytes) {
                let cutter = Cutter::new(&bytes, segment);
                cutter.part(&mut bytes, from, 7);
            }
        }
    }
}
