// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The Internet checksum of TCP and UDP over IPv4 and IPv6, as far as checksum offloading needs it.

#![forbid(unsafe_code)]

const ETHERNET: usize = 14;
const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
/// Bytes of an IPv6 header.
const IPV6: usize = 40;
/// Where the two addresses of an IP packet are in the frame, and what they end at.
const ADDRESSES_IPV4: (usize, usize) = (ETHERNET + 12, ETHERNET + 20);
const ADDRESSES_IPV6: (usize, usize) = (ETHERNET + 8, ETHERNET + IPV6);
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Where the checksum of a frame is, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// First byte of the TCP or UDP header, from the start of the frame.
    pub start: usize,
    /// Behind the last byte of the segment.
    end: usize,
    /// The checksum, from the start of the TCP or UDP header.
    pub offset: usize,
    protocol: u8,
    /// Where the addresses are that it covers as well.
    addresses: (usize, usize),
}

impl Place {
    /// Whether a checksum of 0 says that there is none: that of UDP over IPv4 (RFC 768, RFC 8200 8.1).
    fn may_be_missing(&self) -> bool {
        self.protocol == PROTOCOL_UDP && self.addresses == ADDRESSES_IPV4
    }
}

/// Adds `bytes` to a sum of 16-bit words in the machine's byte order.
fn add(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    for word in words.by_ref() {
        let mut eight = [0; 8];
        eight.copy_from_slice(word);
        let word = u64::from_ne_bytes(eight);
        // Two additions of 32 bits: a carry would need 2^32 turns.
        sum = sum
            .wrapping_add(word & 0xffff_ffff)
            .wrapping_add(word >> 32);
    }
    for pair in words.remainder().chunks(2) {
        let mut two = [0; 2];
        for (to, from) in two.iter_mut().zip(pair) {
            *to = *from;
        }
        sum = sum.wrapping_add(u64::from(u16::from_ne_bytes(two)));
    }
    sum
}

/// A sum folded to 16 bits.
const fn fold(mut sum: u64) -> u16 {
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff_ffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum as u16
}

/// Finds the TCP or UDP checksum of an Ethernet frame; `None` for everything else, fragments
/// and IPv6 packets with extension headers included.
pub fn find(frame: &[u8]) -> Option<Place> {
    let ethertype = frame.get(12..14)?;
    let ip = frame.get(ETHERNET..)?;
    let version = *ip.first()? >> 4;
    if ethertype == ETHERTYPE_IPV4 && version == 4 {
        let header = usize::from(*ip.first()? & 0xf) * 4;
        let total = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
        let fragment = u16::from_be_bytes([*ip.get(6)?, *ip.get(7)?]) & 0x3fff;
        if header < 20 || fragment != 0 {
            return None;
        }
        place(ip, header, total, *ip.get(9)?, ADDRESSES_IPV4)
    } else if ethertype == ETHERTYPE_IPV6 && version == 6 {
        let payload = usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
        place(ip, IPV6, IPV6 + payload, *ip.get(6)?, ADDRESSES_IPV6)
    } else {
        None
    }
}

/// The checksum in a packet of `total` bytes with a header of `header`.
fn place(
    ip: &[u8],
    header: usize,
    total: usize,
    protocol: u8,
    addresses: (usize, usize),
) -> Option<Place> {
    let (offset, least) = match protocol {
        PROTOCOL_TCP => (16, 20),
        PROTOCOL_UDP => (6, 8),
        _ => return None,
    };
    if total > ip.len() || total < header + least {
        return None;
    }
    Some(Place {
        start: ETHERNET + header,
        end: ETHERNET + total,
        offset,
        protocol,
        addresses,
    })
}

/// Sum of the pseudo header, in the machine's byte order.
fn pseudo(frame: &[u8], place: &Place) -> u64 {
    let len = (place.end - place.start) as u16;
    let (from, to) = place.addresses;
    let sum = add(0, frame.get(from..to).unwrap_or(&[]));
    add(add(sum, &[0, place.protocol]), &len.to_be_bytes())
}

fn store(frame: &mut [u8], place: &Place, value: u16) {
    let at = place.start + place.offset;
    for (to, from) in frame.iter_mut().skip(at).zip(value.to_ne_bytes()) {
        *to = from;
    }
}

/// Puts the sum of the pseudo header where the checksum belongs: the rest is the receiver's part
/// (VIRTIO 5.1.6.4.1, `VIRTIO_NET_HDR_F_NEEDS_CSUM`).
pub fn begin(frame: &mut [u8], place: &Place) {
    let sum = fold(pseudo(frame, place));
    store(frame, place, sum);
}

/// Puts the whole checksum in place.
pub fn complete(frame: &mut [u8], place: &Place) {
    store(frame, place, 0);
    let body = frame.get(place.start..place.end).unwrap_or(&[]);
    let sum = !fold(add(pseudo(frame, place), body));
    // A UDP checksum of 0 would mean that there is none (RFC 768).
    let sum = if sum == 0 && place.protocol == PROTOCOL_UDP {
        u16::MAX
    } else {
        sum
    };
    store(frame, place, sum);
}

/// The checksum of `bytes`, in the machine's byte order; 0 if they hold their own.
pub fn of(bytes: &[u8]) -> u16 {
    !fold(add(0, bytes))
}

/// Whether the checksum at `place` is right, or is a UDP one that was left out.
pub fn verify(frame: &[u8], place: &Place) -> bool {
    let at = place.start + place.offset;
    if place.may_be_missing() && frame.get(at..at + 2) == Some(&[0, 0]) {
        return true;
    }
    let body = frame.get(place.start..place.end).unwrap_or(&[]);
    fold(add(pseudo(frame, place), body)) == u16::MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A frame with an IPv4 packet of `protocol` around `body`, which holds the L4 header too.
    fn frame(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV4);
        let total = (20 + body.len()) as u16;
        frame.extend_from_slice(&[0x45, 0]);
        frame.extend_from_slice(&total.to_be_bytes());
        frame.extend_from_slice(&[
            0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 77, 0, 1, 10, 77, 0, 2,
        ]);
        frame.extend_from_slice(body);
        frame
    }

    /// The same with an IPv6 packet.
    fn frame6(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET];
        frame[12..14].copy_from_slice(&ETHERTYPE_IPV6);
        frame.extend_from_slice(&[0x60, 0, 0, 0]);
        frame.extend_from_slice(&(body.len() as u16).to_be_bytes());
        frame.extend_from_slice(&[protocol, 64]);
        frame.extend((0..32).map(|byte| 0xf0 ^ byte));
        frame.extend_from_slice(body);
        frame
    }

    /// The checksum as RFC 1071 writes it down, one big-endian word after the other.
    fn slow(frame: &[u8]) -> u16 {
        let (addresses, protocol, start) = if frame[12] == 8 {
            (26..34, frame[23], 34)
        } else {
            (22..54, frame[20], 54)
        };
        let body = &frame[start..];
        let mut bytes = frame[addresses].to_vec();
        bytes.extend_from_slice(&[0, protocol]);
        bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend_from_slice(body);
        if bytes.len() % 2 == 1 {
            bytes.push(0);
        }
        let mut sum: u32 = bytes
            .chunks(2)
            .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
            .sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn complete_is_what_rfc_1071_says(body in prop::collection::vec(any::<u8>(), 20..2000)) {
            for mut data in [frame(PROTOCOL_TCP, &body), frame6(PROTOCOL_TCP, &body)] {
                let place = find(&data).unwrap();
                complete(&mut data, &place);
                prop_assert_eq!(slow(&data), 0xffff);
                prop_assert!(verify(&data, &place));
                data[place.start] ^= 1;
                prop_assert!(!verify(&data, &place));
            }
        }

        #[test]
        fn begin_and_the_receivers_part_make_it_whole(
            body in prop::collection::vec(any::<u8>(), 20..200)
        ) {
            for mut data in [frame(PROTOCOL_TCP, &body), frame6(PROTOCOL_TCP, &body)] {
                let place = find(&data).unwrap();
                begin(&mut data, &place);
                // What the receiver does: the complement of the sum from the start on.
                let sum = !fold(add(0, &data[place.start..place.end]));
                store(&mut data, &place, sum);
                prop_assert!(verify(&data, &place));
            }
        }

        #[test]
        fn anything_goes_in(data in prop::collection::vec(any::<u8>(), 0..100)) {
            if let Some(place) = find(&data) {
                let _ = verify(&data, &place);
            }
        }
    }

    #[test]
    fn udp_may_leave_it_out_over_ipv4() {
        let body = [0, 7, 0, 7, 0, 12, 0, 0, 1, 2, 3, 4];
        let data = frame(PROTOCOL_UDP, &body);
        assert!(verify(&data, &find(&data).unwrap()));
        let mut data = frame6(PROTOCOL_UDP, &body);
        let place = find(&data).unwrap();
        assert!(!verify(&data, &place));
        complete(&mut data, &place);
        assert!(verify(&data, &place));
    }

    #[test]
    fn fragments_and_other_protocols_have_none() {
        let mut data = frame(1, &[0; 40]);
        assert_eq!(find(&data), None);
        data = frame(PROTOCOL_TCP, &[0; 40]);
        data[ETHERNET + 6] = 0x20;
        assert_eq!(find(&data), None);
        // An extension header, and a packet that is longer than the frame.
        data = frame6(0, &[PROTOCOL_TCP; 40]);
        assert_eq!(find(&data), None);
        data = frame6(PROTOCOL_TCP, &[0; 40]);
        data[ETHERNET + 5] += 1;
        assert_eq!(find(&data), None);
        assert_eq!(find(&[]), None);
    }
}
