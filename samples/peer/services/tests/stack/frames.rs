// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux does to a frame.

use crate::world::{LINUX, PEER};
use smoltcp::wire::TcpPacket;

/// Has a SYN of the peer's say that it takes segments of 40000 bytes.
pub(crate) fn widen(frame: &mut [u8]) {
    if frame.len() < 58 || frame[23] != 6 || frame[47] & 2 == 0 {
        return;
    }
    assert_eq!(frame[54..56], [2, 4]);
    frame[56..58].copy_from_slice(&40_000u16.to_be_bytes());
    let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
    tcp.fill_checksum(&PEER.into(), &LINUX.into());
}

/// The ones' complement of the sum of 16-bit words.
pub(crate) fn folded(bytes: &[u8]) -> u16 {
    let word =
        |pair: &[u8]| u64::from(pair[0]) << 8 | pair.get(1).map_or(0, |byte| u64::from(*byte));
    let mut sum: u64 = bytes.chunks(2).map(word).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The sum of TCP over the whole packet of a frame; 0 if it is right.
pub(crate) fn sum_of(frame: &[u8]) -> u16 {
    let len = frame.len() - 34;
    let mut all = frame[26..34].to_vec();
    all.extend([0, 6]);
    all.extend((len as u16).to_be_bytes());
    all.extend(&frame[34..]);
    folded(&all)
}
