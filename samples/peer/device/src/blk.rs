// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A block device (VIRTIO 5.2) whose sectors are bytes of memory.
//!
//! Requests of a queue are served in order, each at once: what one may ask for is bounded, and so is
//! what a pass does.

#![forbid(unsafe_code)]

mod request;

use self::request::{discard, Header, Kind, Range};
use crate::device::Device;
use crate::faults::Faults;
use crate::proto::layout::{CHAIN_BYTES_MAX, CHAIN_DESCRIPTORS_MAX};
use crate::proto::virtio::device;
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport, CONFIG_SIZE};

/// Bytes of a sector, the unit of capacities and places whatever the size of blocks is.
pub const SECTOR: usize = 512;
/// Most queues.
pub const BLK_QUEUES: usize = 9;
/// Most characters of a serial number.
pub const SERIAL: usize = 20;

/// Feature bits (VIRTIO 5.2.3).
mod bit {
    pub(super) const SIZE_MAX: u32 = 1;
    pub(super) const SEG_MAX: u32 = 2;
    pub(super) const RO: u32 = 5;
    pub(super) const BLK_SIZE: u32 = 6;
    pub(super) const FLUSH: u32 = 9;
    pub(super) const TOPOLOGY: u32 = 10;
    pub(super) const MQ: u32 = 12;
    pub(super) const DISCARD: u32 = 13;
    pub(super) const WRITE_ZEROES: u32 = 14;
}

/// Places in the configuration space (VIRTIO 5.2.4).
mod field {
    pub(super) const CAPACITY: usize = 0;
    pub(super) const SIZE_MAX: usize = 8;
    pub(super) const SEG_MAX: usize = 12;
    pub(super) const BLK_SIZE: usize = 20;
    pub(super) const PHYSICAL_EXP: usize = 24;
    pub(super) const MIN_IO_SIZE: usize = 26;
    pub(super) const OPT_IO_SIZE: usize = 28;
    pub(super) const NUM_QUEUES: usize = 34;
    pub(super) const DISCARD_SECTORS: usize = 36;
    pub(super) const DISCARD_SEG: usize = 40;
    pub(super) const DISCARD_ALIGN: usize = 44;
    pub(super) const ZEROES_SECTORS: usize = 48;
    pub(super) const ZEROES_SEG: usize = 52;
    pub(super) const ZEROES_UNMAP: usize = 56;
    pub(super) const END: usize = 60;
}
const _: () = assert!(field::END <= CONFIG_SIZE);

/// Bytes of a segment that a disk without other wishes tells of.
pub const SIZE_MAX: u32 = 0x1_0000;
/// Segments of a request at most, beside header and status.
pub const SEG_MAX: u32 = CHAIN_DESCRIPTORS_MAX as u32 - 2;
/// Most bytes of data of one request.
const REQUEST_MAX: usize = CHAIN_BYTES_MAX as usize;
/// Most ranges of one discard, and sectors of one of them.
const RANGES: usize = 4;
const RANGE_SECTORS: u32 = 2048;
/// Heartbeats for which a wrong capacity stays.
const CAPACITY_BEATS: u32 = 4;
/// Bytes that are moved in a pass, beside the last request.
const PASS_BYTES: usize = 2 * REQUEST_MAX;

const SIZES: [u16; BLK_QUEUES] = [128; BLK_QUEUES];

/// How a request ends (VIRTIO 5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Ok = 0,
    IoErr = 1,
    Unsupp = 2,
}

/// What a disk is like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of a block, 512 or 4096.
    pub block: u32,
    /// Queues, one at least.
    pub queues: usize,
    /// It cannot be written to.
    pub read_only: bool,
    /// The logarithm of how many blocks a physical one has.
    pub physical_exp: u8,
    /// Most bytes of a segment. It is told, not enforced, as the next one.
    pub size_max: u32,
    /// Most segments of a request, beside header and status.
    pub seg_max: u32,
    /// The serial number.
    pub serial: [u8; SERIAL],
}

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlkStats {
    /// Requests, those that failed included.
    pub requests: u64,
    /// Those that asked for what cannot be: outside the disk, or against its being read-only.
    pub failed: u64,
    /// Those of a kind that was not offered.
    pub unsupported: u64,
    /// Chains that are no requests.
    pub bad: u64,
}

/// The device.
#[derive(Debug)]
pub struct Blk<'a> {
    transport: Transport<[Queue; BLK_QUEUES]>,
    chain: Chain,
    disk: &'a mut [u8],
    serial: [u8; SERIAL],
    read_only: bool,
    /// Which queue comes first in the next pass.
    turn: usize,
    stats: BlkStats,
    /// Heartbeats since a deliberate fault has begun.
    beats: u32,
}

fn put<const N: usize>(config: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(part) = config.get_mut(at..at + N) {
        part.copy_from_slice(&bytes);
    }
}

impl<'a> Blk<'a> {
    /// A disk of the whole blocks of `disk`.
    pub fn new(disk: &'a mut [u8], shape: &Shape) -> Self {
        let block = if shape.block == 4096 {
            4096
        } else {
            SECTOR as u32
        };
        let whole = disk.len() - disk.len() % block as usize;
        let disk = disk.get_mut(..whole).unwrap_or(&mut []);
        let queues = shape.queues.clamp(1, BLK_QUEUES);

        let mut features = 1 << bit::SIZE_MAX
            | 1 << bit::SEG_MAX
            | 1 << bit::BLK_SIZE
            | 1 << bit::FLUSH
            | 1 << bit::TOPOLOGY
            | 1 << bit::MQ;
        features |= if shape.read_only {
            1 << bit::RO
        } else {
            1 << bit::DISCARD | 1 << bit::WRITE_ZEROES
        };
        let mut config = [0; field::END];
        let sectors = (disk.len() / SECTOR) as u64;
        put(&mut config, field::CAPACITY, sectors.to_le_bytes());
        put(&mut config, field::SIZE_MAX, shape.size_max.to_le_bytes());
        put(&mut config, field::SEG_MAX, shape.seg_max.to_le_bytes());
        put(&mut config, field::BLK_SIZE, block.to_le_bytes());
        put(&mut config, field::PHYSICAL_EXP, [shape.physical_exp]);
        put(&mut config, field::MIN_IO_SIZE, 1u16.to_le_bytes());
        let best = REQUEST_MAX as u32 / 2 / block;
        put(&mut config, field::OPT_IO_SIZE, best.to_le_bytes());
        put(
            &mut config,
            field::NUM_QUEUES,
            (queues as u16).to_le_bytes(),
        );
        let align = block / SECTOR as u32;
        let seg = RANGES as u32;
        put(
            &mut config,
            field::DISCARD_SECTORS,
            RANGE_SECTORS.to_le_bytes(),
        );
        put(&mut config, field::DISCARD_SEG, seg.to_le_bytes());
        put(&mut config, field::DISCARD_ALIGN, align.to_le_bytes());
        put(
            &mut config,
            field::ZEROES_SECTORS,
            RANGE_SECTORS.to_le_bytes(),
        );
        put(&mut config, field::ZEROES_SEG, seg.to_le_bytes());
        put(&mut config, field::ZEROES_UNMAP, [1]);

        let model = Model {
            name: "blk",
            id: device::BLOCK,
            features,
            in_order: true,
            queues: SIZES.get(..queues).unwrap_or(&SIZES),
        };
        Self {
            transport: Transport::new(model, &config),
            chain: Chain::new(),
            disk,
            serial: shape.serial,
            read_only: shape.read_only,
            turn: 0,
            stats: BlkStats::default(),
            beats: 0,
        }
    }

    /// What it has done.
    pub const fn stats(&self) -> &BlkStats {
        &self.stats
    }

    /// Bytes of the disk.
    pub const fn size(&self) -> usize {
        self.disk.len()
    }

    /// Serves what the queues have, as far as a pass goes; how many chains that were.
    pub fn pass(&mut self, shared: &Shared) -> u64 {
        let queues = self.transport.model.queues.len();
        let mut served = 0;
        let mut left = PASS_BYTES;
        for at in 0..queues {
            let queue = (self.turn + at) % queues;
            for _ in 0..BUDGET {
                if left == 0 || !self.transport.pop(shared, queue, &mut self.chain) {
                    break;
                }
                let (len, moved) = self.serve(shared);
                self.transport.push(shared, queue, &self.chain, len);
                left = left.saturating_sub(moved);
                served += 1;
            }
        }
        self.turn = (self.turn + 1) % queues.max(1);
        served
    }

    /// Serves the chain; how many bytes were written to it, and how many were moved in all.
    fn serve(&mut self, shared: &Shared) -> (u32, usize) {
        self.stats.requests = self.stats.requests.wrapping_add(1);
        let mut header = [0; Header::SIZE];
        let whole = self.chain.read(&shared.mem, 0, &mut header) == header.len();
        // The status is the last byte that can be written.
        let Some(room) = self.chain.writable_len().checked_sub(1).filter(|_| whole) else {
            self.stats.bad = self.stats.bad.wrapping_add(1);
            return (0, 0);
        };
        let header = Header::parse(&header);
        let (outcome, mut moved) = self.execute(shared, &header, room as usize);
        match outcome {
            Outcome::Ok => {}
            Outcome::IoErr => self.stats.failed = self.stats.failed.wrapping_add(1),
            Outcome::Unsupp => self.stats.unsupported = self.stats.unsupported.wrapping_add(1),
        }
        let reads = matches!(header.kind, Kind::In | Kind::GetId);
        if reads && outcome == Outcome::Ok && self.transport.has_fault(Faults::BLK_EMPTY) {
            return (0, moved);
        }
        if outcome != Outcome::Ok || !reads {
            // A length is that of bytes which were written, and the status comes last of them.
            moved += self.clear(shared, room);
        }
        let mut status = outcome as u8;
        if self.transport.has_fault(Faults::BLK_STATUS) {
            status = 0x80 | self.stats.requests as u8;
        }
        self.chain.write(&shared.mem, room, &[status]);
        (room.saturating_add(1), moved)
    }

    /// Writes zeroes into the first `room` bytes, as many as a chain may have; how many that were. They count for what a
    /// pass moves, or requests that fail would cost more than those that do not.
    fn clear(&self, shared: &Shared, room: u32) -> usize {
        const ZEROES: [u8; 4096] = [0; 4096];
        let len = room.min(CHAIN_BYTES_MAX);
        for at in (0..len).step_by(ZEROES.len()) {
            let part = ZEROES.get(..(len - at) as usize).unwrap_or(&ZEROES);
            self.chain.write(&shared.mem, at, part);
        }
        len as usize
    }

    /// Does what the request says, with `room` bytes for data; how many bytes were moved.
    fn execute(&mut self, shared: &Shared, header: &Header, room: usize) -> (Outcome, usize) {
        let sent = (self.chain.readable_len() as usize).saturating_sub(Header::SIZE);
        match header.kind {
            Kind::In => match self.range(header.sector, room) {
                Some((from, to)) => {
                    let data = self.disk.get(from..to).unwrap_or(&[]);
                    self.chain.write(&shared.mem, 0, data);
                    (Outcome::Ok, data.len())
                }
                None => (Outcome::IoErr, 0),
            },
            Kind::Out if !self.read_only => match self.range(header.sector, sent) {
                Some((from, to)) => {
                    let data = self.disk.get_mut(from..to).unwrap_or(&mut []);
                    self.chain.read(&shared.mem, Header::SIZE as u32, data);
                    (Outcome::Ok, sent)
                }
                None => (Outcome::IoErr, 0),
            },
            Kind::Out => (Outcome::IoErr, 0),
            Kind::Flush if self.transport.has_feature(bit::FLUSH) => (Outcome::Ok, 0),
            Kind::GetId => {
                let len = room.min(SERIAL);
                let cleared = self.clear(shared, room as u32);
                self.chain
                    .write(&shared.mem, 0, self.serial.get(..len).unwrap_or(&[]));
                (Outcome::Ok, cleared)
            }
            Kind::Discard if self.transport.has_feature(bit::DISCARD) => {
                self.zero(shared, sent, false)
            }
            Kind::WriteZeroes if self.transport.has_feature(bit::WRITE_ZEROES) => {
                self.zero(shared, sent, true)
            }
            Kind::Flush | Kind::Discard | Kind::WriteZeroes | Kind::Unknown => (Outcome::Unsupp, 0),
        }
    }

    /// The bytes of the disk that `len` bytes from `sector` on are, if these are whole sectors of it
    /// and no more than a request may have.
    fn range(&self, sector: u64, len: usize) -> Option<(usize, usize)> {
        if len > REQUEST_MAX || len % SECTOR != 0 {
            return None;
        }
        request::bytes(sector, len, self.disk.len())
    }

    /// A request whose data are `sent` bytes of ranges, which read as zeroes from here on.
    fn zero(&mut self, shared: &Shared, sent: usize, may_unmap: bool) -> (Outcome, usize) {
        let count = sent / Range::SIZE;
        if count == 0 || count > RANGES || sent % Range::SIZE != 0 {
            return (Outcome::IoErr, 0);
        }
        let mut ranges = [Range::default(); RANGES];
        for (range, number) in ranges.iter_mut().zip(0..count as u32) {
            let mut bytes = [0; Range::SIZE];
            let skip = Header::SIZE as u32 + number * Range::SIZE as u32;
            self.chain.read(&shared.mem, skip, &mut bytes);
            *range = Range::parse(&bytes);
        }
        let ranges = ranges.get(..count).unwrap_or(&[]);
        if ranges.iter().any(|range| !range.flags_are_right(may_unmap)) {
            return (Outcome::Unsupp, 0);
        }
        // All of them or none.
        let size = self.disk.len();
        if !ranges
            .iter()
            .all(|range| discard(range, RANGE_SECTORS, size).is_some())
        {
            return (Outcome::IoErr, 0);
        }
        let mut moved = 0;
        for range in ranges {
            let bytes = discard(range, RANGE_SECTORS, size).unwrap_or((0, 0));
            if let Some(part) = self.disk.get_mut(bytes.0..bytes.1) {
                part.fill(0);
                moved += part.len();
            }
        }
        (Outcome::Ok, moved)
    }
}

impl Device for Blk<'_> {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn is_active(&self) -> bool {
        false
    }

    fn wanted(&self, least: &mut [u16]) {
        least.fill(1);
    }

    fn tick(&mut self, shared: &Shared) {
        if !self.transport.has_fault(Faults::BLK_CAPACITY) || !self.transport.may_use_queues() {
            return;
        }
        // Half, twice as much, nothing, absurdly much, and what is right.
        self.beats = self.beats.wrapping_add(1);
        if self.beats % CAPACITY_BEATS != 0 {
            return;
        }
        let sectors = (self.disk.len() / SECTOR) as u64;
        let told = match self.beats / CAPACITY_BEATS % 5 {
            0 => sectors,
            1 => sectors / 2,
            2 => sectors * 2,
            3 => 0,
            _ => u64::MAX,
        };
        self.transport.change_config(shared, |config| {
            put(config, field::CAPACITY, told.to_le_bytes());
        });
    }
}
