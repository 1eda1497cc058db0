// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The frames of one pass, from Linux and to it.

#![forbid(unsafe_code)]

use super::train::Train;
use super::{
    receiveq, transmitq, Net, BUFFER_LEAST, ETHERNET, F_GUEST_CSUM, F_GUEST_ECN, F_GUEST_TSO4,
    F_GUEST_TSO6, F_GUEST_USO4, F_GUEST_USO6, F_HOST_USO, F_MRG_RXBUF, MERGE_MAX, PAIRS,
};
use crate::checksum;
use crate::queue::Places;
use crate::segment::{Cutter, Kind, Segment};
use crate::shared::Shared;

/// Header before each frame (VIRTIO 5.1.6).
pub(super) const HEADER: usize = 12;
const HDR_NEEDS_CSUM: u8 = 1;
const HDR_GSO_TCPV4: u8 = 1;
const HDR_GSO_TCPV6: u8 = 4;
const HDR_GSO_UDP_L4: u8 = 5;
const HDR_GSO_ECN: u8 = 0x80;
/// Segments that Linux, or we in its place, would cut one frame into at most.
const SEGMENTS_MAX: usize = 46;
/// Datagrams that Linux cuts one frame into at most.
const DATAGRAMS_MAX: usize = 128;
/// Most payload of such a frame: there may be 40 bytes of options.
const BURST_MAX: usize = 65535 - 20 - 60;

/// What Linux has sent.
#[expect(
    clippy::large_enum_variant,
    reason = "there is one at a time, on the stack, and nowhere to put it otherwise"
)]
enum Taken {
    /// A frame of so many bytes.
    Frame(usize),
    /// UDP datagrams, one after the other.
    Train(Train),
}

/// Why a frame of Linux's is not taken.
enum Bad {
    Length,
    Checksum,
    Header,
    Down,
}

/// How Linux is to cut a frame.
#[derive(Clone, Copy)]
struct Cut {
    gso: u8,
    /// Bytes of all headers, and of the payload of each part.
    headers: u16,
    size: u16,
}

/// The frames of one pass.
#[derive(Debug)]
pub struct Port<'a> {
    pub(super) net: &'a mut Net,
    pub(super) shared: &'a Shared,
    pub(super) receive_left: usize,
    pub(super) send_left: usize,
    /// Buffers of each pair that may be used up before it has to be looked again whether there are
    /// enough.
    pub(super) spare: [Option<u16>; PAIRS],
}

impl Port<'_> {
    /// Whether one of the budgets of this pass is used up.
    pub const fn exhausted(&self) -> bool {
        self.receive_left == 0 || self.send_left < MERGE_MAX
    }

    /// Copies the next frame of Linux's to `to`, which has [`FRAME_MAX`](super::FRAME_MAX) bytes; returns its
    /// length.
    ///
    /// Its TCP or UDP checksum needs no look any more.
    pub fn receive(&mut self, to: &mut [u8]) -> Option<usize> {
        while self.receive_left > 0 {
            if self.net.train.is_some() {
                self.receive_left -= 1;
                if let Some(len) = self.next_of_train(to) {
                    return Some(len);
                }
                continue;
            }
            let pair = self.pop()?;
            self.receive_left -= 1;
            let net = &mut *self.net;
            let taken = Self::take(net, self.shared, transmitq(pair), to);
            if let Ok(Taken::Train(train)) = taken {
                net.train = Some(train);
                core::mem::swap(&mut net.chain, &mut net.train_chain);
                net.stats.trains = net.stats.trains.wrapping_add(1);
                continue;
            }
            let len = net.chain.readable_len();
            net.transport
                .push(self.shared, transmitq(pair), &net.chain, len);
            let stats = &mut net.stats;
            let bad = match taken {
                Ok(Taken::Frame(len)) => {
                    let large = u64::from(len > ETHERNET + usize::from(net.mtu));
                    stats.received = stats.received.wrapping_add(1);
                    stats.large_received = stats.large_received.wrapping_add(large);
                    if net.enabled > 1 && pair < net.enabled {
                        net.steer.set(to, pair);
                    }
                    return Some(len);
                }
                Ok(Taken::Train(_)) => continue,
                Err(Bad::Length) => &mut stats.length,
                Err(Bad::Checksum) => &mut stats.checksum,
                Err(Bad::Header) => &mut stats.header,
                Err(Bad::Down) => &mut stats.down,
            };
            *bad = bad.wrapping_add(1);
        }
        None
    }

    /// Takes the next chain of Linux's, from each pair in its turn; the pair.
    fn pop(&mut self) -> Option<usize> {
        let net = &mut *self.net;
        for _ in 0..net.served {
            let pair = net.next;
            net.next = if pair + 1 < net.served { pair + 1 } else { 0 };
            if net
                .transport
                .pop(self.shared, transmitq(pair), &mut net.chain)
            {
                return Some(pair);
            }
        }
        None
    }

    /// Copies the next of several datagrams that have come as one; `None` if that cannot be done.
    fn next_of_train(&mut self, to: &mut [u8]) -> Option<usize> {
        let net = &mut *self.net;
        let train = net.train.as_mut()?;
        let queue = train.queue;
        if net.transport.life(queue) != train.life {
            // Linux has taken the chain back with its queue.
            net.train = None;
            return None;
        }
        let len = train.next(&self.shared.mem, &net.train_chain, to);
        if len.is_none() || train.is_over() {
            net.train = None;
            let bytes = net.train_chain.readable_len();
            net.transport
                .push(self.shared, queue, &net.train_chain, bytes);
        }
        let stats = &mut net.stats;
        match len {
            Some(_) => stats.received = stats.received.wrapping_add(1),
            None => stats.length = stats.length.wrapping_add(1),
        }
        if net.enabled > 1 && queue < transmitq(net.enabled) {
            net.steer.set(to, queue / 2);
        }
        len
    }

    /// Copies the frame out of the chain and checks it.
    fn take(net: &Net, shared: &Shared, queue: usize, to: &mut [u8]) -> Result<Taken, Bad> {
        let mut header = [0; HEADER];
        if net.chain.read(&shared.mem, 0, &mut header) != HEADER {
            return Err(Bad::Length);
        }
        if !net.link_is_up() {
            return Err(Bad::Down);
        }
        let len = net.chain.readable_len() as usize - HEADER;
        let frame = to.get_mut(..len).ok_or(Bad::Length)?;
        let [flags, gso, _, _, size_low, size_high, ..] = header;
        if gso == HDR_GSO_UDP_L4 && net.transport.has_feature(F_HOST_USO) {
            let size = u16::from_le_bytes([size_low, size_high]);
            let life = net.transport.life(queue);
            let train = Train::find(&shared.mem, &net.chain, size, (queue, life));
            let train = train.filter(|_| flags & HDR_NEEDS_CSUM != 0);
            return train.map(Taken::Train).ok_or(Bad::Header);
        }
        if net.chain.read(&shared.mem, HEADER as u32, frame) != len {
            return Err(Bad::Length);
        }
        // What was not to be completed by us was not on a wire either, but may have been
        // forwarded.
        if flags & HDR_NEEDS_CSUM == 0 {
            if let Some(place) = checksum::find(frame) {
                if !checksum::verify(frame, &place) {
                    return Err(Bad::Checksum);
                }
            }
        }
        Ok(Taken::Frame(len))
    }

    /// Whether [`Port::send`] would find a buffer.
    pub fn can_send(&mut self) -> bool {
        if self.send_left < MERGE_MAX {
            return false;
        }
        let enabled = self.net.enabled;
        let found = self.spare.iter().take(enabled).any(Option::is_some)
            || (0..enabled).any(|pair| self.has_room(pair));
        self.net.starved = !found;
        found
    }

    /// Whether there is room for a frame of any size in pair `pair`.
    fn has_room(&mut self, pair: usize) -> bool {
        let Some(spare) = self.spare.get_mut(pair) else {
            return false;
        };
        if spare.is_none() {
            *spare = self.net.look(self.shared, pair);
        }
        spare.is_some()
    }

    /// The pair on which a frame goes to Linux: that of its flow, or while that has no room another,
    /// to which the flow then moves, so that its frames stay in order.
    fn choose(&mut self, frame: &[u8]) -> usize {
        let enabled = self.net.enabled;
        if enabled == 1 {
            return 0;
        }
        let pair = self.net.steer.pair(frame, enabled);
        if self.has_room(pair) {
            return pair;
        }
        match (0..enabled).find(|other| self.has_room(*other)) {
            Some(other) => {
                self.net.steer.set(frame, other);
                other
            }
            None => pair,
        }
    }

    /// Most payload of a TCP segment to whoever takes at most `mss` bytes at once: more than that
    /// where [`Port::send_segment`] has it cut.
    pub fn burst(&self, mss: u16) -> u16 {
        let mss = usize::from(mss.min(self.mss()));
        if !self.net.takes_large() {
            return mss as u16;
        }
        // What a quarter of the ring holds: `Net::enough` buffers are waited for.
        let quarter = usize::from(self.net.transport.queue_size(receiveq(0)) / 4);
        let room = (quarter * usize::from(BUFFER_LEAST)).min(BURST_MAX);
        (mss * SEGMENTS_MAX).min(room).max(mss) as u16
    }

    /// Most payload of a TCP segment that is not larger than the link's, if it has no options.
    pub fn mss(&self) -> u16 {
        self.net.mtu.saturating_sub(40)
    }

    /// Gives a frame to Linux. The TCP or UDP checksum is filled in here, or left to Linux.
    pub fn send(&mut self, frame: &mut [u8]) {
        if self.net.wants(frame) {
            let sent = self.put(frame, None);
            self.count(sent);
        }
    }

    /// As [`Port::send`], for a frame that may be larger than the link's, if it is one of TCP whose
    /// receiver takes at most `mss` bytes of payload at once: it is cut, by Linux if it can.
    pub fn send_segment(&mut self, frame: &mut [u8], mss: u16) {
        match Segment::find(frame).filter(|segment| segment.kind.is_tcp()) {
            Some(segment) => self.send_parts(frame, segment, mss),
            None => self.send(frame),
        }
    }

    /// As [`Port::send`], for a frame whose UDP datagram is made of several of `size` bytes, of
    /// which the last one may be shorter: it is cut, by Linux if it can.
    pub fn send_datagrams(&mut self, frame: &mut [u8], size: u16) {
        match Segment::find(frame).filter(|segment| !segment.kind.is_tcp()) {
            Some(segment) => self.send_parts(frame, segment, size),
            None => self.send(frame),
        }
    }

    fn send_parts(&mut self, frame: &mut [u8], segment: Segment, size: u16) {
        let most = (ETHERNET + usize::from(self.net.mtu)).saturating_sub(segment.headers);
        let size = usize::from(size).min(most).max(1);
        if segment.payload <= size {
            return self.send(frame);
        }
        if !self.net.wants(frame) {
            return;
        }
        if let Some(gso) = self.gso(frame, &segment, size) {
            // Neither is above 65535.
            let (headers, size) = (segment.headers as u16, size as u16);
            if self.put(frame, Some(Cut { gso, headers, size })) {
                self.net.stats.large_sent = self.net.stats.large_sent.wrapping_add(1);
                return self.count(true);
            }
        }
        self.net.stats.cut = self.net.stats.cut.wrapping_add(1);
        let cutter = Cutter::new(frame, segment);
        for from in (0..segment.payload).step_by(size) {
            let part = cutter.part(frame, from, size);
            let sent = part.is_some_and(|part| self.put(part, None));
            self.count(sent);
            if !sent {
                // Those behind a gap are of little use, and it is sent again from there on.
                break;
            }
        }
    }

    /// How the header calls what Linux is to cut; `None` if it does not do that.
    fn gso(&self, frame: &[u8], segment: &Segment, size: usize) -> Option<u8> {
        let (bit, gso) = match segment.kind {
            Kind::Tcp4 => (F_GUEST_TSO4, HDR_GSO_TCPV4),
            Kind::Tcp6 => (F_GUEST_TSO6, HDR_GSO_TCPV6),
            Kind::Udp4 => (F_GUEST_USO4, HDR_GSO_UDP_L4),
            Kind::Udp6 => (F_GUEST_USO6, HDR_GSO_UDP_L4),
        };
        if !self.net.guest(bit) || !self.net.guest(F_GUEST_CSUM) {
            return None;
        }
        if !segment.kind.is_tcp() {
            return (segment.payload <= size * DATAGRAMS_MAX).then_some(gso);
        }
        if !segment.has_reacted(frame) {
            return Some(gso);
        }
        self.net.guest(F_GUEST_ECN).then_some(gso | HDR_GSO_ECN)
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
    /// are too few. `cut`: Linux has to cut it like that.
    fn put(&mut self, frame: &mut [u8], cut: Option<Cut>) -> bool {
        let pair = self.choose(frame);
        let queue = receiveq(pair);
        let net = &mut *self.net;
        let shared = self.shared;
        let mut header = Self::header(net, frame);
        if let Some(Cut { gso, headers, size }) = cut {
            // VIRTIO 5.1.6.4.1.
            let [len_low, len_high] = headers.to_le_bytes();
            let [size_low, size_high] = size.to_le_bytes();
            header[1] = gso;
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
            if !net.transport.pop(shared, queue, &mut net.chain) {
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
            let mut len = skip.wrapping_add(count as u32);
            if taken == 1 {
                len = net.lies.used(len);
            }
            bytes += u64::from(len);
            net.transport.push(shared, queue, &net.chain, len);
        }
        self.send_left = self.send_left.saturating_sub(taken);
        if let Some(spare) = self.spare.get_mut(pair) {
            *spare = spare.and_then(|spare| spare.checked_sub(taken as u16));
        }
        let Some(first) = first.filter(|_| done == frame.len()) else {
            // Nothing of it was shown to Linux.
            net.transport.undo(shared, queue, taken, bytes);
            return false;
        };
        let [count_low, count_high] = (taken as u16).to_le_bytes();
        header[10] = count_low;
        header[11] = count_high;
        net.lies.header(&mut header, frame.len());
        first.write(&shared.mem, &header);
        if let Some(state) = net.pairs.get_mut(pair) {
            state.moved = true;
        }
        true
    }

    /// The header of a frame to Linux, after the checksum was begun or completed.
    fn header(net: &Net, frame: &mut [u8]) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        if let Some(place) = checksum::find(frame) {
            if net.guest(F_GUEST_CSUM) {
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
