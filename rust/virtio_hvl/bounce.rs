// SPDX-License-Identifier: GPL-2.0

//! Isolated memory: a virtqueue's share of the pool, and the copies to and from it.
//!
//! Everything that the peer is given - rings, indirect tables, buffers - lies in the share. Each
//! buffer is copied there when it is mapped, and what the peer may have written is copied back when
//! it is unmapped. The book-keeping is private memory.

use crate::{
    algo::buddy::{
        self,
        Buddy,
        Node,
        BLOCK, //
    },
    virtio::{
        CpuBuffer,
        Direction,
        Map, //
    },
    virtio_hvl::shmem::Area, //
};
use core::ptr::NonNull;
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    },
};

/// Largest buffer that can be mapped at once.
pub(crate) const MAPPING_MAX: usize = (BLOCK as usize) << (buddy::ORDERS - 1);

/// Blocks that [`Share::reclaim`] looks at with interrupts off.
const RECLAIM_AT_ONCE: usize = 1024;

struct Book {
    blocks: Buddy<KVVec<Node>>,
    /// What is mapped at the block of the same number; `None`: nothing, or a ring.
    buffers: KVVec<Option<CpuBuffer>>,
}

/// Counters of a share.
pub(crate) struct Counters {
    /// Mappings made. What is not in [`Counters::unmaps`] or [`Counters::reclaimed`] is mapped now.
    pub(crate) maps: Atomic<u64>,
    /// Mappings undone by the driver, in most cases since the device has used the buffer.
    pub(crate) unmaps: Atomic<u64>,
    /// Times that no block was free. Some drivers try again, others drop what they wanted to send.
    pub(crate) full: Atomic<u64>,
    /// Addresses that the driver gave back although nothing was mapped there.
    pub(crate) strays: Atomic<u64>,
    /// Mappings that a driver left behind when its queue was deleted.
    pub(crate) reclaimed: Atomic<u64>,
}

/// How much of a share is in use, in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Usage {
    /// Altogether.
    pub(crate) total: u64,
    /// Now.
    pub(crate) used: u64,
    /// At most, ever.
    pub(crate) high_water: u64,
}

/// One virtqueue's share of the pool.
///
/// # Invariants
///
/// `area` has at least as many bytes as the allocator has blocks times [`BLOCK`], and begins at
/// `address` for the peer.
#[pin_data]
pub(crate) struct Share {
    area: Area,
    address: u64,
    #[pin]
    book: SpinLockIrq<Book>,
    pub(crate) counters: Counters,
}

impl Share {
    /// A share of all of `area`, which has `size` bytes and begins at `address` for the peer.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(area: Area, size: u32, address: u64) -> Result<Arc<Self>> {
        let count = buddy::blocks_in(size) as usize;
        let nodes = KVVec::from_elem(Node::NEW, count, GFP_KERNEL)?;
        let book = Book {
            blocks: Buddy::new(nodes),
            buffers: KVVec::from_elem(None, count, GFP_KERNEL)?,
        };
        // INVARIANT: There are `size / BLOCK` blocks.
        Arc::pin_init(
            pin_init!(Self {
                area,
                address,
                book <- new_spinlock_irq!(book),
                counters: Counters {
                    maps: Atomic::new(0),
                    unmaps: Atomic::new(0),
                    full: Atomic::new(0),
                    strays: Atomic::new(0),
                    reclaimed: Atomic::new(0),
                },
            }),
            GFP_KERNEL,
        )
    }

    /// Forgets every mapping. The peer has stopped to use the share, and so has the driver. Process
    /// context.
    pub(crate) fn reclaim(&self) {
        let mut at = 0;
        loop {
            let mut book = self.book.lock();
            let end = book.buffers.len().min(at + RECLAIM_AT_ONCE);
            let mut left = 0;
            for block in at..end {
                if book.buffers.get_mut(block).and_then(Option::take).is_some() {
                    left += 1;
                }
                // Also a ring that was left behind; does nothing where no allocated block begins.
                book.blocks.free(block as u32);
            }
            let all = end == book.buffers.len();
            drop(book);
            self.counters.reclaimed.add(left, Relaxed);
            if all {
                return;
            }
            at = end;
        }
    }

    /// How much is in use.
    pub(crate) fn usage(&self) -> Usage {
        let book = self.book.lock();
        let bytes = |blocks: u32| u64::from(blocks) * u64::from(BLOCK);
        Usage {
            total: bytes(book.blocks.total()),
            used: bytes(book.blocks.taken()),
            high_water: bytes(book.blocks.high_water()),
        }
    }

    /// Reads the 16-bit word at an address of the peer's; `None` where it is not in the share.
    pub(crate) fn read_u16(&self, address: u64) -> Option<u16> {
        self.area.read_u16(self.offset(address)?)
    }

    fn take(&self, size: usize, buffer: Option<CpuBuffer>) -> Option<u32> {
        let order = buddy::order_for(size)?;
        let mut book = self.book.lock();
        let Some(at) = book.blocks.alloc(order) else {
            drop(book);
            self.counters.full.add(1, Relaxed);
            return None;
        };
        if let Some(slot) = book.buffers.get_mut(at as usize) {
            *slot = buffer;
        }
        Some(at)
    }

    fn give(&self, at: u32) {
        let mut book = self.book.lock();
        if let Some(slot) = book.buffers.get_mut(at as usize) {
            *slot = None;
        }
        if !book.blocks.free(at) {
            drop(book);
            self.counters.strays.add(1, Relaxed);
        }
    }

    /// Offset in the share of an address of the peer's.
    fn offset(&self, address: u64) -> Option<usize> {
        usize::try_from(address.checked_sub(self.address)?).ok()
    }

    fn block(&self, address: u64) -> Option<u32> {
        u32::try_from(self.offset(address)? / BLOCK as usize).ok()
    }

    fn address_of(&self, at: u32) -> u64 {
        self.address.wrapping_add(u64::from(at) * u64::from(BLOCK))
    }

    /// The mapping that `address` lies in: its buffer, the offset of `address` in it, and the
    /// offset in the share.
    fn find(&self, address: u64) -> Option<(CpuBuffer, usize, usize)> {
        let offset = self.offset(address)?;
        let block = self.block(address)?;
        let book = self.book.lock();
        let head = book.blocks.head_of(block)?;
        let buffer = book.buffers.get(head as usize).copied().flatten()?;
        let skip = offset.checked_sub(head as usize * BLOCK as usize)?;
        Some((buffer, skip, offset))
    }
}

// SAFETY: What `alloc` returns is inside the region as `Area` has checked, which keeps the region
// mapped; there are no references to it. Blocks begin at multiples of `BLOCK` in an area that
// begins with a page. A buffer leaves the book when it is unmapped, or when its queue is deleted and
// the share reclaimed; until then the core makes no two calls about it at once.
unsafe impl Map for Share {
    fn map(&self, buffer: CpuBuffer, direction: Direction, copy: bool) -> Option<u64> {
        let at = self.take(buffer.len(), Some(buffer))?;
        if copy {
            let offset = at as usize * BLOCK as usize;
            if direction.device_reads() {
                self.area.copy_in(offset, &buffer, 0, buffer.len());
            } else {
                // The device may write less than there is room for, and `unmap` is not told how
                // much: it copies everything back. The rest is then zero, and neither what earlier
                // mappings have left in this block, which is other people's data, nor has the
                // device seen what was in the buffer before.
                self.area.clear(offset, buffer.len());
            }
        }
        self.counters.maps.add(1, Relaxed);
        Some(self.address_of(at))
    }

    fn unmap(&self, address: u64, size: usize, direction: Direction, copy: bool) {
        // The copy is made without the lock: nobody else has a claim on this mapping.
        match self.find(address) {
            Some((buffer, 0, offset)) => {
                if copy && direction.device_writes() {
                    let len = size.min(buffer.len());
                    self.area.copy_out(offset, &buffer, 0, len);
                }
                if let Some(at) = self.block(address) {
                    self.give(at);
                }
                self.counters.unmaps.add(1, Relaxed);
            }
            _ => self.counters.strays.add(1, Relaxed),
        }
    }

    fn sync_for_cpu(&self, address: u64, size: usize) {
        if let Some((buffer, skip, offset)) = self.find(address) {
            let len = size.min(buffer.len().saturating_sub(skip));
            self.area.copy_out(offset, &buffer, skip, len);
        }
    }

    fn sync_for_device(&self, address: u64, size: usize) {
        if let Some((buffer, skip, offset)) = self.find(address) {
            let len = size.min(buffer.len().saturating_sub(skip));
            self.area.copy_in(offset, &buffer, skip, len);
        }
    }

    fn alloc(&self, size: usize) -> Option<(NonNull<u8>, u64)> {
        let at = self.take(size, None)?;
        match self.area.lend_zeroed(at as usize * BLOCK as usize, size) {
            Some(base) => Some((base, self.address_of(at))),
            None => {
                self.give(at);
                None
            }
        }
    }

    fn free(&self, address: u64) {
        if let Some(at) = self.block(address) {
            self.give(at);
        }
    }
}
