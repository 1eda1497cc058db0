// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The frames of one pass, from Linux and to it.

#![forbid(unsafe_code)]

use super::{
    Net, BUFFER_LEAST, ETHERNET, F_GUEST_CSUM, F_MRG_RXBUF, MERGE_MAX, RECEIVEQ, TRANSMITQ,
};
use crate::checksum;
use crate::queue::Places;
use crate::segment::{Cutter, Segment};
use crate::shared::Shared;

/// Header before each frame (VIRTIO 5.1.6).
const HEADER: usize = 12;
const HDR_NEEDS_CSUM: u8 = 1;
const HDR_GSO_TCPV4: u8 = 1;
/// Segments that Linux, or we in its place, would cut one frame into at most.
const SEGMENTS_MAX: usize = 46;
/// Most payload of such a frame: there may be 40 bytes of options.
const BURST_MAX: usize = 65535 - 20 - 60;

/// Why a frame of Linux's is not taken.
enum Bad {
    Length,
    Checksum,
}

/// The frames of one pass.
#[derive(Debug)]
pub struct Port<'a> {
    pub(super) net: &'a mut Net,
    pub(super) shared: &'a Shared,
    pub(super) receive_left: usize,
    pub(super) send_left: usize,
    /// Buffers that may be used up before it has to be looked again whether there are enough.
    pub(super) spare: Option<u16>,
}

impl Port<'_> {
    /// Whether one of the budgets of this pass is used up.
    pub const fn exhausted(&self) -> bool {
        self.receive_left == 0 || self.send_left < MERGE_MAX
    }

    /// Copies the next frame of Linux's to `to`, which has [`FRAME_MAX`] bytes; returns its length.
    ///
    /// Its TCP or UDP checksum needs no look any more.
    pub fn receive(&mut self, to: &mut [u8]) -> Option<usize> {
        while self.receive_left > 0 {
            let net = &mut *self.net;
            if !net.transport.pop(self.shared, TRANSMITQ, &mut net.chain) {
                return None;
            }
            self.receive_left -= 1;
            let frame = Self::take(net, self.shared, to);
            let len = net.chain.readable_len();
            net.transport.push(self.shared, TRANSMITQ, &net.chain, len);
            match frame {
                Ok(len) => {
                    let large = u64::from(len > ETHERNET + usize::from(net.mtu));
                    net.stats.received = net.stats.received.wrapping_add(1);
                    net.stats.large_received = net.stats.large_received.wrapping_add(large);
                    return Some(len);
                }
                Err(Bad::Length) => net.stats.length = net.stats.length.wrapping_add(1),
                Err(Bad::Checksum) => net.stats.checksum = net.stats.checksum.wrapping_add(1),
            }
        }
        None
    }

    /// Copies the frame out of the chain and checks it.
    fn take(net: &Net, shared: &Shared, to: &mut [u8]) -> Result<usize, Bad> {
        let mut header = [0; HEADER];
        if net.chain.read(&shared.mem, 0, &mut header) != HEADER {
            return Err(Bad::Length);
        }
        let len = net.chain.readable_len() as usize - HEADER;
        let frame = to.get_mut(..len).ok_or(Bad::Length)?;
        if net.chain.read(&shared.mem, HEADER as u32, frame) != len {
            return Err(Bad::Length);
        }
        // What was not to be completed by us was not on a wire either, but may have been
        // forwarded.
        let [flags, ..] = header;
        if flags & HDR_NEEDS_CSUM == 0 {
            if let Some(place) = checksum::find(frame) {
                if !checksum::verify(frame, &place) {
                    return Err(Bad::Checksum);
                }
            }
        }
        Ok(len)
    }

    /// Whether [`Port::send`] would find a buffer.
    pub fn can_send(&mut self) -> bool {
        if self.send_left < MERGE_MAX {
            return false;
        }
        if self.spare.is_none() {
            self.spare = self.net.room(self.shared);
            self.net.starved = self.spare.is_none();
        }
        self.spare.is_some()
    }

    /// Most payload of a TCP segment to whoever takes at most `mss` bytes at once: more than that
    /// where [`Port::send_segment`] has it cut.
    pub fn burst(&self, mss: u16) -> u16 {
        let mss = usize::from(mss.min(self.mss()));
        if !self.net.takes_large() {
            return mss as u16;
        }
        // What a quarter of the ring holds: `Net::enough` buffers are waited for.
        let quarter = usize::from(self.net.transport.queue_size(RECEIVEQ) / 4);
        let room = (quarter * usize::from(BUFFER_LEAST)).min(BURST_MAX);
        (mss * SEGMENTS_MAX).min(room).max(mss) as u16
    }

    /// Most payload of a TCP segment that is not larger than the link's, if it has no options.
    pub fn mss(&self) -> u16 {
        self.net.mtu.saturating_sub(40)
    }

    /// Gives a frame to Linux. The TCP or UDP checksum is filled in here, or left to Linux.
    pub fn send(&mut self, frame: &mut [u8]) {
        let sent = self.put(frame, None);
        self.count(sent);
    }

    /// As [`Port::send`], for a frame that may be larger than the link's, if it is one of TCP whose
    /// receiver takes at most `mss` bytes of payload at once: it is cut, by Linux if it can.
    pub fn send_segment(&mut self, frame: &mut [u8], mss: u16) {
        let Some(segment) = Segment::find(frame) else {
            return self.send(frame);
        };
        let most = (ETHERNET + usize::from(self.net.mtu)).saturating_sub(segment.headers);
        let mss = usize::from(mss).min(most).max(1);
        if segment.payload <= mss {
            return self.send(frame);
        }
        if self.net.takes_large() {
            // Neither is above 65535.
            let (headers, mss) = (segment.headers as u16, mss as u16);
            if self.put(frame, Some((headers, mss))) {
                self.net.stats.large_sent = self.net.stats.large_sent.wrapping_add(1);
                return self.count(true);
            }
        }
        self.net.stats.cut = self.net.stats.cut.wrapping_add(1);
        let cutter = Cutter::new(frame, segment);
        for from in (0..segment.payload).step_by(mss) {
            let part = cutter.part(frame, from, mss);
            let sent = part.is_some_and(|part| self.put(part, None));
            self.count(sent);
            if !sent {
                // Those behind a gap are of little use, and it is sent again from there on.
                break;
            }
        }
    }

    fn count(&mut self, sent: bool) {
        let stats = &mut self.net.stats;
        if sent {
            stats.sent = stats.sent.wrapping_add(1);
        } else {
            stats.dropped = stats.dropped.wrapping_add(1);
        }
    }

    /// Writes the frame to as many buffers of Linux's as it takes and may take; `false` if there
    /// are too few. `large`: Linux has to cut it, its headers have so many bytes, and each segment at
    /// most so much payload.
    fn put(&mut self, frame: &mut [u8], large: Option<(u16, u16)>) -> bool {
        let net = &mut *self.net;
        let shared = self.shared;
        let mut header = Self::header(net, frame);
        if let Some((headers, mss)) = large {
            // VIRTIO 5.1.6.4.1.
            let [len_low, len_high] = headers.to_le_bytes();
            let [size_low, size_high] = mss.to_le_bytes();
            header[1] = HDR_GSO_TCPV4;
            header[2] = len_low;
            header[3] = len_high;
            header[4] = size_low;
            header[5] = size_high;
        }
        let merge = net.transport.has_feature(F_MRG_RXBUF);
        let most = if merge { MERGE_MAX } else { 1 }.min(self.send_left);

        // The header goes first, but says how many buffers there are: so it is written last.
        let mut first: Option<Places<HEADER>> = None;
        let mut done = 0;
        let mut taken = 0;
        let mut bytes = 0;
        while done < frame.len() && taken < most {
            if !net.transport.pop(shared, RECEIVEQ, &mut net.chain) {
                break;
            }
            taken += 1;
            let skip = if taken == 1 { HEADER as u32 } else { 0 };
            let rest = frame.get(done..).unwrap_or(&[]);
            let count = net.chain.write(&shared.mem, skip, rest);
            done += count;
            if taken == 1 {
                first = net.chain.places(0);
            }
            let len = skip.wrapping_add(count as u32);
            bytes += u64::from(len);
            net.transport.push(shared, RECEIVEQ, &net.chain, len);
        }
        self.send_left = self.send_left.saturating_sub(taken);
        self.spare = self.spare.and_then(|spare| spare.checked_sub(taken as u16));
        let Some(first) = first.filter(|_| done == frame.len()) else {
            // Nothing of it was shown to Linux.
            net.transport.undo(shared, RECEIVEQ, taken, bytes);
            return false;
        };
        let [count_low, count_high] = (taken as u16).to_le_bytes();
        header[10] = count_low;
        header[11] = count_high;
        first.write(&shared.mem, &header);
        net.moved = true;
        true
    }

    /// The header of a frame to Linux, after the checksum was begun or completed.
    fn header(net: &Net, frame: &mut [u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        if let Some(place) = checksum::find(frame) {
            if net.transport.has_feature(F_GUEST_CSUM) {
                checksum::begin(frame, &place);
                header[0] = HDR_NEEDS_CSUM;
                let [start_low, start_high] = (place.start as u16).to_le_bytes();
                let [offset_low, offset_high] = (place.offset as u16).to_le_bytes();
                header[6] = start_low;
                header[7] = start_high;
                header[8] = offset_low;
                header[9] = offset_high;
            } else {
                checksum::complete(frame, &place);
            }
        }
        header
    }
}
