// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fields of a device's configuration space that decide how much a driver sends at once: they are
//! made to fit what a queue can hold; and those by which a driver could be brought down.

use super::super::proto::layout::PAGE;
use super::super::proto::virtio::device;

/// Largest segment that a driver may map, where a queue has [`BULK`](super::share::BULK) bytes, in
/// bytes; and most bytes of data of a block request.
pub const MAPPING_MAX: u32 = 0x1_0000;

/// Words of the block device's configuration space (VIRTIO 5.2.4): the largest segment, and how many
/// a request may have.
const BLOCK_SIZE_MAX: usize = 2;
const BLOCK_SEG_MAX: usize = 3;
/// The word whose first byte is the logarithm of how many blocks a physical one has, and the most that it may
/// be: Linux shifts by it without a look, and a block has 64 KiB at most.
const BLOCK_TOPOLOGY: usize = 6;
const PHYSICAL_EXP_MAX: u32 = 15;
/// The feature bit by which the first is there (VIRTIO 5.2.3).
pub const SIZE_MAX: u64 = 1 << 1;
/// The feature bit by which the second is.
pub const SEG_MAX: u64 = 1 << 2;
/// Bytes of a segment of a block request: the least that Linux's block layer takes for a limit
/// (`BLK_MIN_SEGMENT_SIZE`; of less than that it warns).
pub const SEGMENT: u32 = PAGE;
/// Words of the network device's configuration space (VIRTIO 5.1.4): two bytes of the address and the status;
/// the pairs of queues and the largest packet.
const NET_STATUS: usize = 1;
const NET_PAIRS: usize = 2;
/// Bits of the status: the link is up, Linux is to announce itself.
const NET_LINK_UP: u32 = 1;
const NET_ANNOUNCE: u32 = 2;
/// The word of a console's that is the number of its ports.
const CONSOLE_PORTS: usize = 1;
/// Bytes of the header of a block request, which share a chunk with what is written.
const HEAD: u32 = 16;

/// What a device may say in its configuration space.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Pairs of queues that a network device has; `None`: what it says is not read.
    pub pairs: Option<u16>,
    /// The largest packet that it can have; `None`: any.
    pub mtu: Option<u16>,
    /// Whether it may ask for an announcement.
    pub announce: bool,
    /// Ports that a console has; `None`: what it says is not read.
    pub ports: Option<u32>,
    /// Bytes of the segments that a block device is sent; `None`: its driver is told of one only.
    pub segment: Option<u32>,
}

/// Whether `words` ask for an announcement, if they are those of a network device.
pub fn announces(device: u32, words: &[u32]) -> bool {
    let status = words.get(NET_STATUS).map_or(0, |word| word >> 16);
    device == device::NET && status & NET_ANNOUNCE != 0
}

/// The pairs of queues and the largest packet that a network device says it has.
pub fn pairs_and_mtu(word: u32) -> (u16, u16) {
    (word as u16, (word >> 16) as u16)
}

/// Where in the configuration space [`pairs_and_mtu`] are, in bytes.
pub const PAIRS_AND_MTU: u32 = 4 * NET_PAIRS as u32;

/// Where in the configuration space of a console the number of its ports is (VIRTIO 5.3.4), in bytes.
pub const PORTS: u32 = 4 * CONSOLE_PORTS as u32;

/// Where in the configuration space of a block device the size of its segments is, in bytes.
pub const BLOCK_SEGMENT: u32 = 4 * BLOCK_SIZE_MAX as u32;

/// Makes `words`, a copy of the configuration space of a device of type `device`, fit.
pub fn fit(device: u32, limits: &Limits, words: &mut [u32]) {
    match device {
        device::BLOCK => fit_block(limits, words),
        device::NET => fit_net(limits, words),
        device::CONSOLE => {
            if let (Some(word), Some(ports)) = (words.get_mut(CONSOLE_PORTS), limits.ports) {
                *word = ports;
            }
        }
        _ => {}
    }
}

/// The driver's view of the queues is that of the transport, whatever the device says later, and no
/// bit of the status is shown of which the driver takes for granted that the device has what it needs.
fn fit_net(limits: &Limits, words: &mut [u32]) {
    if let Some(word) = words.get_mut(NET_STATUS) {
        let known = if limits.announce {
            NET_LINK_UP | NET_ANNOUNCE
        } else {
            NET_LINK_UP
        };
        *word &= (known << 16) | 0xffff;
    }
    if let Some(word) = words.get_mut(NET_PAIRS) {
        let (pairs, mtu) = pairs_and_mtu(*word);
        let pairs = limits.pairs.unwrap_or(pairs);
        let mtu = mtu.min(limits.mtu.unwrap_or(mtu));
        *word = u32::from(pairs) | (u32::from(mtu) << 16);
    }
}

/// A queue holds a request of [`MAPPING_MAX`] bytes of data. Its segments are pages, since a request is
/// mostly of pages that do not lie together; and no more than the device takes when they are of the
/// size in which they are sent.
fn fit_block(limits: &Limits, words: &mut [u32]) {
    if let Some(size_max) = words.get_mut(BLOCK_SIZE_MAX) {
        *size_max = match limits.segment {
            Some(_) => SEGMENT,
            None => (*size_max).clamp(SEGMENT, MAPPING_MAX),
        };
    }
    if let Some(topology) = words.get_mut(BLOCK_TOPOLOGY) {
        let exp = (*topology & 0xff).min(PHYSICAL_EXP_MAX);
        *topology = *topology & !0xff | exp;
    }
    let (Some(sent), Some(seg_max)) = (limits.segment, words.get_mut(BLOCK_SEG_MAX)) else {
        return;
    };
    // One more than there are of data: that of the header or, with what is read, of the status.
    let bytes = sent
        .saturating_mul(seg_max.saturating_add(1))
        .saturating_sub(HEAD);
    // Linux takes no fewer than one.
    *seg_max = (bytes.min(MAPPING_MAX) / SEGMENT).max(1);
}
