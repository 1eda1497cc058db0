// SPDX-License-Identifier: GPL-2.0 OR MIT

//! How large TCP segments are (RFC 9293 3.7.1): the stack is told that Linux takes as much at once as
//! the device can have cut, and Linux that we take what the link does.

use super::{Guard, Key, Packet};
use smoltcp::wire::IpAddress;

/// What whoever does not say takes.
pub(super) const DEFAULT: u16 = 536;
/// A TCP header without options.
const TCP_HEADER: usize = 20;

/// What fits in a packet of `mtu` bytes with an IP header of `header`.
pub(super) const fn of(mtu: u16, header: usize) -> u16 {
    // Both headers are far below 65535.
    mtu.saturating_sub((header + TCP_HEADER) as u16)
}

/// Where in a TCP segment the value of the option is.
fn place(segment: &[u8]) -> Option<usize> {
    let end = usize::from(*segment.get(12)? >> 4) * 4;
    let mut at = TCP_HEADER;
    // Each turn goes on by a byte at least.
    while at < end {
        match *segment.get(at)? {
            0 => return None,
            1 => at += 1,
            kind => {
                let len = usize::from(*segment.get(at + 1)?);
                if kind == 2 && len == 4 && at + 4 <= end {
                    return Some(at + 2);
                }
                at += len.max(2);
            }
        }
    }
    None
}

/// Replaces the size that a SYN tells by what `f` makes of it; returns what it was. Checksums are not
/// looked at behind the device.
pub(super) fn set(segment: &mut [u8], f: impl FnOnce(u16) -> u16) -> Option<u16> {
    let at = place(segment)?;
    let bytes = segment.get_mut(at..at + 2)?;
    let said = u16::from_be_bytes((&*bytes).try_into().ok()?);
    bytes.copy_from_slice(&f(said).to_be_bytes());
    Some(said)
}

impl Guard {
    /// If the frame that was admitted last asks for a connection: remembers how large segments may be,
    /// and has the stack make them as large as `burst` says of that.
    pub(crate) fn grow(&mut self, frame: &mut [u8], burst: impl FnOnce(u16) -> u16) {
        if let Some(key) = self.begun.take() {
            let said = said(frame, burst).filter(|mss| *mss != 0);
            self.remember(key, said.unwrap_or(DEFAULT));
        }
    }

    fn remember(&mut self, key: Key, mss: u16) {
        if let Some(followed) = self.find(key) {
            followed.mss = mss;
        }
    }
}

fn said(frame: &mut [u8], burst: impl FnOnce(u16) -> u16) -> Option<u16> {
    let packet = Packet::of(frame)?;
    let ipv4 = matches!(packet.from, IpAddress::Ipv4(_));
    set(packet.payload, |mss| match mss {
        // The stack takes no notice of one that says 0.
        0 => 0,
        // Nobody cuts segments over IPv6.
        mss if ipv4 => burst(mss),
        mss => mss,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_option_is_found_behind_others() {
        let mut segment = vec![0; 20];
        segment[12] = 9 << 4;
        segment.extend([1, 3, 3, 7, 1, 4, 2, 2, 4, 0x12, 0x34, 8, 10, 0, 0, 0]);
        assert_eq!(place(&segment), Some(29));
        assert_eq!(set(&mut segment, |said| said + 1), Some(0x1234));
        assert_eq!(segment[29..31], [0x12, 0x35]);
        // Behind the end of the header or of the list there is none.
        segment[12] = 7 << 4;
        assert_eq!(place(&segment), None);
        segment[12] = 9 << 4;
        segment[20] = 0;
        assert_eq!(place(&segment), None);
    }

    proptest! {
        #[test]
        fn any_options(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut bytes = bytes;
            let end = bytes.get(12).map_or(0, |word| usize::from(word >> 4) * 4);
            if let Some(at) = place(&bytes) {
                prop_assert!(at + 2 <= end);
            }
            set(&mut bytes, |_| 7);
        }
    }
}
