// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Division of a link's pool into one part per virtqueue, so that queues never contend, and of such
//! a part into the shared ring and the chunks that buffers are copied to.

use super::super::proto::layout::{CHAIN_BYTES_MAX, LINE, PAGE, SHARE_MIN};
use super::super::proto::virtio::device;
use super::ring::{Features, Layout};
use super::setting::{self, Setting};
use super::shadow::Geometry;

/// Bytes of a chunk: a page, which most buffers of drivers fit in.
const CHUNK: u32 = PAGE;
/// The same in a part that has few: at most half as many chunks as a chain may have descriptors
/// hold what a driver sends at once.
const CHUNK_SMALL: u32 = PAGE / 2;
/// From how many chunks on there are enough of the large ones.
const CHUNKS_ENOUGH: u32 = 64;
const _: () = assert!(CHUNK * super::shadow::SEGMENTS_MAX as u32 <= CHAIN_BYTES_MAX);
/// Descriptors of an indirect table: 64 KiB and a header, in pages.
const TABLE: u16 = 18;
/// The same where buffers are posted as the driver has them: as many as a chain may have, and, where
/// there is no room for that, as many as Linux's drivers mostly make of 64 KiB.
const TABLES_DIRECT: [u16; 2] = [super::shadow::SEGMENTS_MAX as u16, 20];
/// Least entries of a private ring. Linux's drivers size their lists by the kernel's limits and not by
/// their ring's: virtio_net stops a queue for good that does not hold a packet with all its fragments
/// (19 entries, 47 at most: `MAX_SKB_FRAGS`), and the core warns of a request with more parts than
/// the ring has entries, of which 9p makes 128. What does not fit on the shared ring waits on this one.
const PRIVATE_MIN: u16 = 128;
/// Most entries of a private ring. Its books are in memory that is allocated in one piece.
pub const PRIVATE_MAX: u16 = 4096;

/// Bytes for a chain of 64 KiB with its header: the largest that vsock sends, or a segmented frame.
pub const BULK: u32 = 20 * PAGE;

/// 64 KiB, which is the most that drivers send at once, and their headers.
pub const LARGE: u32 = 0x1_0000 + 0x80;
/// Bytes of a command to a network device.
const COMMAND: u32 = 64;
/// Most bytes of a chunk.
const CHUNK_MAX: u32 = 0x8000;

/// Bytes for eight small chunks, and a ring.
const EVENTS: u32 = SHARE_MIN + PAGE;

/// What one virtqueue asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    /// Bytes without which it is of no use: nothing that its driver is allowed to send may be too
    /// large for it. A multiple of [`PAGE`].
    pub need: u32,
    /// How much of the rest it gets, in proportion to that of the others.
    pub weight: u32,
}

impl Want {
    /// What queue `index` of `queues` of a device of type `device` asks for.
    pub fn of(device: u32, index: u32, queues: u32) -> Self {
        let want = |need, weight| Self { need, weight };
        match (device, index) {
            // Segmentation is offered where there is room for it, see `features::fit`. The control
            // queue is the last, the only one without a partner.
            (device::NET, _) if queues % 2 == 1 && index + 1 == queues => want(SHARE_MIN, 0),
            (device::NET, _) => want(SHARE_MIN, 4),
            // Nothing can be said to the driver about the size of what it sends.
            (device::VSOCK, 1) => want(BULK, 4),
            // Its driver keeps eight buffers posted.
            (device::VSOCK, 2) => want(EVENTS, 0),
            (device::BLOCK, _) => want(BULK, 4),
            (device::ENTROPY, _) => want(SHARE_MIN, 0),
            (device::CONSOLE | device::RPMSG, _) => want(SHARE_MIN, 1),
            _ => want(SHARE_MIN, 4),
        }
    }

    /// The same, of device number `number`, where it is not set.
    pub fn of_set(settings: &[Setting], number: u32, device: u32, index: u32, queues: u32) -> Self {
        match setting::find(settings, number, index) {
            // So much, and nothing of the rest.
            Some(need) => Self { need, weight: 0 },
            None => Self::of(device, index, queues),
        }
    }
}

/// The readable and the writable bytes of a chain that the driver of queue `index` of `queues` of a
/// device of type `device` sends whatever it is told: a ring that cannot hold it is of no use.
pub fn longest(device: u32, index: u32, queues: u32) -> (u32, u32) {
    match (device, index) {
        (device::NET, _) if queues % 2 == 1 && index + 1 == queues => (COMMAND, 1),
        (device::VSOCK, 1) => (LARGE, 0),
        (device::BLOCK, _) => (LARGE, 1),
        _ => (1, 0),
    }
}

/// What some virtqueues ask for together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    need: u64,
    weight: u64,
}

impl Sum {
    /// What all queues of a device ask for.
    pub fn of_device(device: u32, queues: u32) -> Self {
        Self::of_set_device(&[], 0, device, queues)
    }

    /// The same, of device number `number`, where it is not set.
    pub fn of_set_device(settings: &[Setting], number: u32, device: u32, queues: u32) -> Self {
        (0..queues).fold(Self::default(), |sum, index| {
            sum.with(Want::of_set(settings, number, device, index, queues))
        })
    }

    /// With one more queue.
    #[must_use]
    pub fn with(self, want: Want) -> Self {
        Self {
            need: self.need.saturating_add(want.need.into()),
            weight: self.weight.saturating_add(want.weight.into()),
        }
    }

    /// With those of another device.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            need: self.need.saturating_add(other.need),
            weight: self.weight.saturating_add(other.weight),
        }
    }

    /// Bytes that are needed.
    pub fn need(&self) -> u64 {
        self.need
    }

    /// Bytes with which no queue has to be smaller, or to wait for room, more than its driver would
    /// have it: for each that gets of the rest, a ring of 256 entries filled with pages.
    pub fn plenty(&self) -> u64 {
        let each = 256 * u64::from(CHUNK) + u64::from(BULK);
        self.need
            .saturating_add(self.weight.saturating_mul(each) / 4)
    }
}

/// A pool that is divided among virtqueues, each a whole number of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    offset: u32,
    size: u32,
    all: Sum,
}

impl Shares {
    /// Divides the `size` bytes at `offset` among queues that ask for `all`.
    ///
    /// `None`: they need more.
    pub fn new(offset: u32, size: u32, all: Sum) -> Option<Self> {
        (all.need <= u64::from(size) && offset.checked_add(size).is_some()).then_some(Self {
            offset,
            size,
            all,
        })
    }

    /// Offset and size of the part of a queue that asks for `want`, and before which come queues
    /// that ask for `before`; `None` if these are not among the queues of the pool.
    pub fn part(&self, before: Sum, want: Want) -> Option<(u32, u32)> {
        let start = self.end(before)?;
        let end = self.end(before.with(want))?;
        Some((start, end.checked_sub(start)?))
    }

    /// Where the parts of queues that ask for `sum` end.
    fn end(&self, sum: Sum) -> Option<u32> {
        if sum.need > self.all.need || sum.weight > self.all.weight {
            return None;
        }
        let spare = u64::from(self.size).checked_sub(self.all.need)?;
        // At most 2^32 times 2^12: the pool, and all queues of a link with a small weight each.
        let extra = spare
            .checked_mul(sum.weight)?
            .checked_div(self.all.weight)
            .unwrap_or(0);
        let bytes = sum.need + extra - extra % u64::from(PAGE);
        self.offset.checked_add(u32::try_from(bytes).ok()?)
    }
}

/// What becomes of one part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The shared ring, at the start.
    pub layout: Layout,
    /// Entries of the private ring.
    pub private: u16,
    /// Offset of the chunks.
    pub first: u32,
    /// Bytes of a chunk.
    pub chunk: u32,
    /// Number of chunks: at least one, but none where the device reaches the driver's buffers itself.
    pub chunks: u16,
    /// Whether it does.
    pub direct: bool,
}

impl Plan {
    /// Plans a part of `bytes` for a virtqueue that may have `size_max` entries: as many as leave
    /// seven eighths of the part to the chunks.
    ///
    /// `None`: `size_max` is no size for such a queue, or the part is too small for any.
    pub fn new(bytes: u32, size_max: u32, features: Features) -> Option<Self> {
        let mut size = u16::try_from(size_max).ok()?;
        Layout::new(size, features.packed, 0)?;
        let table = if features.indirect { TABLE } else { 0 };
        let layout = loop {
            // Tables are a luxury: a chain that has none takes more entries.
            let rich = Layout::new(size, features.packed, table);
            let poor = Layout::new(size, features.packed, 0);
            let rich = rich.filter(|layout| layout.bytes() <= bytes / 16);
            match rich.or(poor.filter(|layout| layout.bytes() <= bytes / 8)) {
                Some(layout) => break layout,
                None if size > 1 => size /= 2,
                None => return None,
            }
        };
        let usual = if bytes / CHUNK >= CHUNKS_ENOUGH {
            CHUNK
        } else {
            CHUNK_SMALL
        };
        let first = layout.bytes().next_multiple_of(usual);
        let room = bytes.checked_sub(first)?;
        // Few entries hold a large chain only if each of them holds a large part of it, but for one
        // that is left for what goes the other way.
        let entries = u32::from(size);
        let share = (room / entries).min(CHUNK_MAX) / LINE * LINE;
        let chunk = LARGE
            .div_ceil((entries - 1).max(1))
            .next_multiple_of(LINE)
            .min(share)
            .max(usual);
        let chunks = room / chunk;
        if chunks == 0 {
            return None;
        }
        Some(Self {
            layout,
            private: (1 << size.ilog2()).clamp(PRIVATE_MIN, PRIVATE_MAX),
            first,
            chunk,
            // The largest 16-bit number stands for no chunk.
            chunks: u16::try_from(chunks).unwrap_or(u16::MAX).min(u16::MAX - 1),
            direct: false,
        })
    }

    /// Plans a part of `bytes` for a virtqueue that may have `size_max` entries, where the device
    /// reaches the driver's buffers itself: the ring has all of the part.
    ///
    /// `None`: `size_max` is no size for such a queue, or the part is too small for any.
    pub fn direct(bytes: u32, size_max: u32, features: Features) -> Option<Self> {
        let mut size = u16::try_from(size_max).ok()?;
        Layout::new(size, features.packed, 0)?;
        let tables = if features.indirect {
            TABLES_DIRECT.as_slice()
        } else {
            &[]
        };
        let layout = loop {
            let mut rich = tables.iter().map(|table| Some(*table)).chain([None]);
            let layout = rich.find_map(|table| {
                Layout::new(size, features.packed, table.unwrap_or(0))
                    .filter(|layout| layout.bytes() <= bytes)
            });
            match layout {
                Some(layout) => break layout,
                None if size > 1 => size /= 2,
                None => return None,
            }
        };
        Some(Self {
            layout,
            private: (1 << size.ilog2()).clamp(PRIVATE_MIN, PRIVATE_MAX),
            first: layout.bytes(),
            chunk: CHUNK,
            chunks: 0,
            direct: true,
        })
    }

    /// Whether a chain of so many readable and writable bytes can be posted.
    pub fn holds(&self, (readable, writable): (u32, u32)) -> bool {
        let most = u32::from(self.layout.size()).min(super::shadow::SEGMENTS_MAX as u32);
        if self.direct {
            // A header of its own, and pages that the data neither begins nor ends with.
            let parts = |bytes: u32| match bytes {
                0 | 1 => bytes,
                _ => bytes.div_ceil(CHUNK) + 2,
            };
            return parts(readable) + parts(writable) <= most;
        }
        let parts = readable.div_ceil(self.chunk) + writable.div_ceil(self.chunk);
        parts <= most.min(self.chunks.into())
    }

    /// The fewest entries with which a part of `bytes` holds a chain of so many readable and writable
    /// bytes; `None`: it never does.
    pub fn least_size(bytes: u32, features: Features, chain: (u32, u32)) -> Option<u32> {
        Self::least(features, |size| Self::new(bytes, size, features), chain)
    }

    /// The same for a plan as of [`Plan::direct`].
    pub fn least_direct(bytes: u32, features: Features, chain: (u32, u32)) -> Option<u32> {
        Self::least(features, |size| Self::direct(bytes, size, features), chain)
    }

    fn least(
        features: Features,
        plan: impl Fn(u32) -> Option<Self>,
        chain: (u32, u32),
    ) -> Option<u32> {
        let sizes = 1..=super::shadow::SEGMENTS_MAX as u32;
        let mut sizes = sizes.filter(|size| features.packed || size.is_power_of_two());
        sizes.find(|size| plan(*size).is_some_and(|plan| plan.holds(chain)))
    }

    /// Most bytes that one chain can have.
    pub fn chain_max(&self) -> u32 {
        let segments = u32::from(self.layout.size()).min(super::shadow::SEGMENTS_MAX as u32);
        u32::from(self.chunks).min(segments) * self.chunk
    }

    /// The geometry of a queue with a private ring of `private` entries, whose part the device sees
    /// at `base`, and that copies `step` bytes at a time.
    pub fn geometry(&self, private: u16, base: u64, step: u32) -> Geometry {
        Geometry {
            size: private,
            chunk: self.chunk,
            chunks: self.chunks,
            first: self.first,
            base,
            step,
            direct: self.direct,
        }
    }
}
