// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Where the parts of a virtqueue lie in its memory.

/// Bytes of a cache line, each of which has one writer but for the ring of a packed virtqueue.
const LINE: u64 = 64;
/// Most entries of a virtqueue, of either kind (VIRTIO 2.7, 2.8).
pub const SIZE_MAX: u16 = 1 << 15;

/// Bytes of a descriptor, in the ring or in an indirect table.
pub(super) const DESC: u32 = 16;
/// Bytes of the flags and the index at the start of a split virtqueue's available and used ring.
pub(super) const HEADER: u32 = 4;
/// Bytes of an element of the available ring.
pub(super) const AVAIL: u32 = 2;
/// Bytes of an element of the used ring.
pub(super) const USED: u32 = 8;
/// Bytes of the event index that ends the available and the used ring.
const EVENT: u32 = 2;
/// Bytes of an event suppression structure (VIRTIO 2.8.14).
const SUPPRESSION: u32 = 4;

/// Where the parts of a virtqueue lie, in bytes from the start of its memory, which has to begin
/// at a multiple of 64.
///
/// ```text
///            split                         written by     packed                    written by
/// descriptors  descriptor table              driver       descriptor ring             both
/// driver       available ring, used_event    driver       driver event suppression    driver
/// device       used ring, avail_event        device       device event suppression    device
/// tables       indirect tables               driver       indirect tables             driver
/// ```
///
/// What the device writes shares no 64-byte line with what the driver writes, but for the packed
/// descriptor ring, where VIRTIO has it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u16,
    packed: bool,
    table: u16,
    driver: u32,
    device: u32,
    tables: u32,
    bytes: u32,
}

const fn line(bytes: u64) -> u64 {
    bytes.div_ceil(LINE) * LINE
}

impl Layout {
    /// The layout of a virtqueue of `size` entries, with room for an indirect table of `table`
    /// descriptors for each entry; with `table` 0 or 1 there are none. A chain is never longer
    /// than the queue (VIRTIO 2.7.5.3.1), so that more than `size` are cut to that.
    ///
    /// `None`: `size` is 0, above [`SIZE_MAX`], no power of two for a split virtqueue, or it all
    /// takes 4 GiB or more.
    pub const fn new(size: u16, packed: bool, table: u16) -> Option<Self> {
        if size == 0 || size > SIZE_MAX || (!packed && !size.is_power_of_two()) {
            return None;
        }
        let table = if table > size { size } else { table };
        let table = if table < 2 { 0 } else { table };
        // Nothing here overflows: the largest is 2^15 tables of 2^15 descriptors.
        let entries = size as u64;
        let descriptors = entries * DESC as u64;
        let (driver_len, device_len) = if packed {
            (SUPPRESSION as u64, SUPPRESSION as u64)
        } else {
            (
                (HEADER + EVENT) as u64 + entries * AVAIL as u64,
                (HEADER + EVENT) as u64 + entries * USED as u64,
            )
        };
        let driver = line(descriptors);
        let device = line(driver + driver_len);
        let tables = line(device + device_len);
        let bytes = line(tables + entries * table as u64 * DESC as u64);
        if bytes > u32::MAX as u64 {
            return None;
        }
        Some(Self {
            size,
            packed,
            table,
            driver: driver as u32,
            device: device as u32,
            tables: tables as u32,
            bytes: bytes as u32,
        })
    }

    /// Entries of the virtqueue.
    pub const fn size(&self) -> u16 {
        self.size
    }

    /// Whether this is a packed virtqueue.
    pub const fn packed(&self) -> bool {
        self.packed
    }

    /// Descriptors of each indirect table; 0: there are none.
    pub const fn table(&self) -> u16 {
        self.table
    }

    /// Bytes altogether, a multiple of 64.
    pub const fn bytes(&self) -> u32 {
        self.bytes
    }

    /// Offset of the descriptor area (VIRTIO 2.6), the start.
    pub const fn descriptors(&self) -> u32 {
        0
    }

    /// Offset of the driver area.
    pub const fn driver(&self) -> u32 {
        self.driver
    }

    /// Offset of the device area.
    pub const fn device(&self) -> u32 {
        self.device
    }

    /// Offset of the indirect tables, which is the length of all that comes before them.
    pub const fn tables(&self) -> u32 {
        self.tables
    }

    // From here on: places inside. They cannot wrap for a number below the size, and do not panic
    // for any.

    /// Offset of the descriptor with this number.
    pub(super) const fn descriptor(&self, number: u16) -> u32 {
        number as u32 * DESC
    }

    /// Offset of the indirect table with this number.
    pub(super) const fn table_at(&self, number: u16) -> u32 {
        let bytes = (number as u32).wrapping_mul(self.table as u32 * DESC);
        self.tables.wrapping_add(bytes)
    }

    /// Offset of the element of the available ring for this index.
    pub(super) const fn avail_at(&self, index: u16) -> u32 {
        let slot = (index & self.size.wrapping_sub(1)) as u32;
        self.driver.wrapping_add(HEADER + slot * AVAIL)
    }

    /// Offset of the element of the used ring for this index.
    pub(super) const fn used_at(&self, index: u16) -> u32 {
        let slot = (index & self.size.wrapping_sub(1)) as u32;
        self.device.wrapping_add(HEADER + slot * USED)
    }

    /// Offset of `used_event`, at the end of the available ring.
    pub(super) const fn used_event(&self) -> u32 {
        let entries = self.size as u32;
        self.driver.wrapping_add(HEADER + entries * AVAIL)
    }

    /// Offset of `avail_event`, at the end of the used ring.
    pub(super) const fn avail_event(&self) -> u32 {
        let entries = self.size as u32;
        self.device.wrapping_add(HEADER + entries * USED)
    }

    /// Ring descriptors that a chain of `segments` takes; fewer than `segments` where it goes into
    /// an indirect table. `None`: it fits in no way.
    pub(super) fn cost(&self, segments: usize, indirect: bool) -> Option<u16> {
        let segments = u16::try_from(segments).ok()?;
        if indirect && segments > 1 && segments <= self.table {
            Some(1)
        } else if (1..=self.size).contains(&segments) {
            Some(segments)
        } else {
            None
        }
    }
}
