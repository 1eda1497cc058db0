// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Network device (VIRTIO 5.1): raw Ethernet frames for a network stack on this side.

#![forbid(unsafe_code)]

use crate::checksum;
use crate::device::Device;
use crate::proto::virtio::device;
use crate::queue::{Chain, Places, UNDO_MAX};
use crate::segment::{Cutter, Segment};
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Transport, QUEUES};

/// Linux receives from the first queue and sends by the second.
const RECEIVEQ: usize = 0;
const TRANSMITQ: usize = 1;

/// Feature bits (VIRTIO 5.1.3).
const F_CSUM: u32 = 0;
const F_GUEST_CSUM: u32 = 1;
const F_MTU: u32 = 3;
const F_MAC: u32 = 5;
const F_GUEST_TSO4: u32 = 7;
const F_HOST_TSO4: u32 = 11;
const F_MRG_RXBUF: u32 = 15;
const F_STATUS: u32 = 16;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Header before each frame (VIRTIO 5.1.6).
const HEADER: usize = 12;
const HDR_NEEDS_CSUM: u8 = 1;
const HDR_GSO_TCPV4: u8 = 1;

/// Ethernet frame with the largest IPv4 packet, which segmentation offloading may hand over.
pub const FRAME_MAX: usize = ETHERNET + 65535;
/// Largest IP packet that can be sent to Linux.
pub const MTU_MAX: usize = 16000;
/// Smallest one that can be agreed on.
pub const MTU_MIN: usize = 1280;
/// Least size of the buffers that Linux posts in order to have frames spread over several.
const BUFFER_LEAST: u16 = 1400;
/// Most buffers of Linux's that one frame is spread over.
const MERGE_MAX: usize = UNDO_MAX;
/// Buffers that the largest frame takes where it is large because Linux cuts it.
const LARGEST: u16 = 1 + (FRAME_MAX / BUFFER_LEAST as usize) as u16;
/// Segments that Linux, or we in its place, would cut one frame into at most.
const SEGMENTS_MAX: usize = 46;
/// Most payload of such a frame: there may be 40 bytes of options.
const BURST_MAX: usize = 65535 - 20 - 60;
/// Buffers of Linux's that are filled, or tried, in one pass: enough for a large frame from each
/// of many sockets.
pub const BUFFERS: usize = 4 * BUDGET;
/// Heartbeats after which it is taken for granted that Linux posts no more buffers.
const HOPE: u8 = 10;

/// Bit of the configuration space's status: the link is up.
const LINK_UP: u16 = 1;

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetStats {
    /// Frames that Linux sent.
    pub received: u64,
    /// Frames that Linux was given.
    pub sent: u64,
    /// Frames of Linux that are shorter than their header, or longer than any frame.
    pub length: u64,
    /// Frames of Linux with a wrong TCP or UDP checksum.
    pub checksum: u64,
    /// Frames for which Linux had no room.
    pub dropped: u64,
    /// Frames of Linux that are larger than the link's: it leaves segmentation to us.
    pub large_received: u64,
    /// Frames that were given to Linux like that.
    pub large_sent: u64,
    /// Frames that were cut here, since Linux would not, or had no room for all of it at once.
    pub cut: u64,
}

impl NetStats {
    /// Frames of Linux that were not taken.
    pub const fn bad(&self) -> u64 {
        self.length.wrapping_add(self.checksum)
    }
}

/// Why a frame of Linux's is not taken.
enum Bad {
    Length,
    Checksum,
}

/// The network device.
#[derive(Debug)]
pub struct Net {
    transport: Transport,
    chain: Chain,
    stats: NetStats,
    /// The stack wanted to send and found no buffer.
    starved: bool,
    was_reset: bool,
    /// Largest IP packet.
    mtu: u16,
    /// How many buffers have to do, if Linux posts fewer than the largest frame takes.
    scarce: Option<u16>,
    /// The most that were there of late.
    seen: u16,
    /// Heartbeats in which there was no room for anything.
    stuck: u8,
    /// Something was sent since the last heartbeat.
    moved: bool,
}

impl Net {
    /// A device which tells Linux to use the address `mac`; `offload` offers checksum and
    /// segmentation offloading; `mtu` is the largest IP packet.
    pub fn new(mac: [u8; 6], mtu: u16, offload: bool) -> Self {
        let mut features = (1 << F_MAC) | (1 << F_STATUS) | (1 << F_MTU) | (1 << F_MRG_RXBUF);
        if offload {
            features |= (1 << F_CSUM) | (1 << F_GUEST_CSUM);
            features |= (1 << F_HOST_TSO4) | (1 << F_GUEST_TSO4);
        }
        let [a, b, c, d, e, f] = mac;
        let [status_low, status_high] = LINK_UP.to_le_bytes();
        let [mtu_low, mtu_high] = mtu.to_le_bytes();
        // mac, status, max_virtqueue_pairs, mtu (VIRTIO 5.1.4).
        let config = [
            a,
            b,
            c,
            d,
            e,
            f,
            status_low,
            status_high,
            1,
            0,
            mtu_low,
            mtu_high,
        ];
        let model = Model {
            name: "net",
            id: device::NET,
            features,
            in_order: true,
            queues: &[256, 256],
        };
        Self {
            transport: Transport::new(model, &config),
            chain: Chain::new(),
            stats: NetStats::default(),
            starved: false,
            was_reset: false,
            mtu,
            scarce: None,
            seen: 0,
            stuck: 0,
            moved: false,
        }
    }

    /// Whether the device was reset since the last call: the stack's connections are void.
    pub fn take_reset(&mut self) -> bool {
        core::mem::take(&mut self.was_reset)
    }

    /// Whether the stack wanted to send and found no room.
    pub const fn starved(&self) -> bool {
        self.starved
    }

    /// Whether Linux has sent something, or given room that was missing.
    pub fn pending(&mut self, shared: &Shared) -> bool {
        if self.starved {
            self.room(shared).is_some()
        } else {
            self.transport.chains(shared, TRANSMITQ) != 0
        }
    }

    /// How many buffers Linux has beyond those for a frame of any size; `None`: not as many.
    fn room(&mut self, shared: &Shared) -> Option<u16> {
        let found = self.transport.chains(shared, RECEIVEQ);
        self.seen = self.seen.max(found);
        if found >= self.enough() {
            self.scarce = None;
        }
        found.checked_sub(self.least())
    }

    /// Whether Linux takes frames that it has to cut itself.
    fn takes_large(&self) -> bool {
        self.transport.has_feature(F_GUEST_TSO4) && self.transport.has_feature(F_GUEST_CSUM)
    }

    /// Buffers of Linux's that are enough for any frame, if Linux posts as many as it should: those for
    /// the link's largest, and where Linux cuts frames, for a [`Port::burst`].
    fn enough(&self) -> u16 {
        let size = self.transport.queue_size(RECEIVEQ);
        let large = if self.takes_large() {
            LARGEST.min(size / 4)
        } else {
            0
        };
        // Linux posts more only when half of its own ring is used up, which may be smaller.
        let frame = 1 + self.mtu / BUFFER_LEAST;
        frame.max(large).min((size / 2).max(1))
    }

    /// How many buffers there have to be.
    ///
    /// After they ran out it takes more of them to go on: as many as a frame of each socket may
    /// take, as far as Linux posts that many. Otherwise the first sockets would take all, again
    /// and again. They are not waited for longer than a heartbeat.
    fn least(&self) -> u16 {
        let half = (self.transport.queue_size(RECEIVEQ) / 2).max(1);
        let needed = if self.transport.has_feature(F_MRG_RXBUF) {
            self.scarce.unwrap_or_else(|| self.enough())
        } else {
            1
        };
        if self.starved {
            needed.max(half.min(self.seen / 2))
        } else {
            needed
        }
    }

    /// Counters.
    pub const fn stats(&self) -> &NetStats {
        &self.stats
    }

    /// Access to the frames for one pass, in which at most [`BUDGET`] frames come from Linux, and
    /// those that go there take at most [`BUFFERS`] buffers.
    pub fn port<'a>(&'a mut self, shared: &'a Shared) -> Port<'a> {
        Port {
            net: self,
            shared,
            receive_left: BUDGET,
            send_left: BUFFERS,
            spare: None,
        }
    }
}

impl Device for Net {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {
        self.starved = false;
        self.was_reset = true;
        self.scarce = None;
        self.seen = 0;
        self.stuck = 0;
    }

    fn wanted(&self) -> [u16; QUEUES] {
        let mut wanted = [0; QUEUES];
        // Without room for an answer nothing is taken: see `Port::can_send`.
        if self.starved {
            wanted[RECEIVEQ] = self.least();
        } else {
            wanted[TRANSMITQ] = 1;
        }
        wanted
    }

    fn tick(&mut self, shared: &Shared) {
        let moved = core::mem::take(&mut self.moved);
        if !self.starved || moved {
            self.stuck = 0;
        }
        if !self.starved {
            return;
        }
        // What Linux could post once, it may not be able to now.
        self.seen = 0;
        self.stuck = self.stuck.saturating_add(1);
        let found = self.transport.chains(shared, RECEIVEQ);
        if self.stuck > HOPE && (1..self.least()).contains(&found) {
            if self.transport.quota.take() {
                log::warn!(
                    "net: Linux posts {found} buffers where the largest frame may take {}: the \
                     region is too small for this mtu, large frames are lost",
                    self.enough()
                );
            }
            self.scarce = Some(found);
        }
    }
}

/// The frames of one pass.
#[derive(Debug)]
pub struct Port<'a> {
    net: &'a mut Net,
    shared: &'a Shared,
    receive_left: usize,
    send_left: usize,
    /// Buffers that may be used up before it has to be looked again whether there are enough.
    spare: Option<u16>,
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
