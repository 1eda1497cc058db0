// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Segmentation of TCP over IPv4: frames that are larger than the link's, and how they are cut where
//! nobody else does it.

#![forbid(unsafe_code)]

use crate::checksum;

const ETHERNET: usize = 14;
const PROTOCOL_TCP: u8 = 6;
/// Bytes of an IPv4 header, and of a TCP header, without options.
const HEADER_LEAST: usize = 20;
/// Bytes of all headers, with all options.
const HEADERS_MAX: usize = ETHERNET + 60 + 60;
/// Flags of the last segment only: FIN, PSH.
const LAST: u8 = 0x09;
/// Flags that ask for a segment of its own, whatever it carries: SYN, RST, URG.
const ALONE: u8 = 0x26;

/// A TCP segment in a frame, that can be cut into smaller ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Bytes of all headers.
    pub headers: usize,
    /// Bytes behind them.
    pub payload: usize,
    /// Where the TCP header begins.
    tcp: usize,
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
    /// Finds it; `None` for everything that is not TCP over IPv4, whole, and with payload alone.
    pub fn find(frame: &[u8]) -> Option<Self> {
        let first = *frame.get(ETHERNET)?;
        if word(frame, 12)? != 0x0800 || first >> 4 != 4 {
            return None;
        }
        let header = usize::from(first & 0xf) * 4;
        let end = ETHERNET + usize::from(word(frame, ETHERNET + 2)?);
        let fragment = word(frame, ETHERNET + 6)? & 0x3fff;
        let protocol = *frame.get(ETHERNET + 9)?;
        if header < HEADER_LEAST || fragment != 0 || protocol != PROTOCOL_TCP {
            return None;
        }
        let tcp = ETHERNET + header;
        let len = usize::from(*frame.get(tcp + 12)? >> 4) * 4;
        let flags = *frame.get(tcp + 13)?;
        let headers = tcp + len;
        if len < HEADER_LEAST || flags & ALONE != 0 || end != frame.len() {
            return None;
        }
        Some(Self {
            headers,
            payload: end.checked_sub(headers)?,
            tcp,
        })
    }
}

/// A frame that is being cut.
#[derive(Debug)]
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
    /// at most `mss` bytes of it. The checksum of TCP is still to be made.
    ///
    /// Its headers lie over what comes before that part.
    pub fn part<'a>(&self, frame: &'a mut [u8], from: usize, mss: usize) -> Option<&'a mut [u8]> {
        let Segment {
            headers,
            payload,
            tcp,
        } = self.segment;
        let rest = payload.checked_sub(from)?;
        let len = rest.min(mss);
        let part = frame.get_mut(from..from.checked_add(headers + len)?)?;
        put(part, 0, self.headers.get(..headers)?)?;

        // At most the whole packet's.
        let total = (headers - ETHERNET + len) as u16;
        put(part, ETHERNET + 2, &total.to_be_bytes())?;
        put(part, ETHERNET + 10, &[0, 0])?;
        let sum = checksum::of(part.get(ETHERNET..tcp)?);
        put(part, ETHERNET + 10, &sum.to_ne_bytes())?;

        let seq: [u8; 4] = part.get(tcp + 4..tcp + 8)?.try_into().ok()?;
        let seq = u32::from_be_bytes(seq).wrapping_add(from as u32);
        put(part, tcp + 4, &seq.to_be_bytes())?;
        if len < rest {
            *part.get_mut(tcp + 13)? &= !LAST;
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
            (23, 17),
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
                let tcp = found.tcp;
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
