// SPDX-License-Identifier: GPL-2.0

//! The shared region as Linux sees it. All pointers into it are made here.
//!
//! The peer may write any byte of it at any time. There is therefore never a reference to this
//! memory: words are read and written one by one with volatile accesses, buffers are copied. C code
//! does that: in Rust, a copy of bytes that somebody else may be writing is a data race whatever
//! they are used for, and so undefined behaviour; the kernel's C has copied to and from memory that
//! devices write all along.

use crate::{
    algo::{
        ring::Memory,
        shadow::Data, //
    },
    proto::layout::PAGE,
    sys::{
        bindings as sys,
        series::{
            dma_mb,
            mb,
            Full,
            Read,
            Write, //
        },
        words::Words, //
    },
    virtio_hvl::buffer::Buffer, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};

/// Physical extent of a region.
#[derive(Clone, Copy)]
pub(crate) struct Extent {
    /// Address of the first byte, a multiple of the page size.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) size: usize,
}

/// An extent that is ours in the tree of memory resources.
///
/// # Invariants
///
/// `__request_region` succeeded for the extent, which was not released since.
struct Claim(Extent);

impl Claim {
    /// # Errors
    ///
    /// `EBUSY` if somebody else has claimed a part of it.
    fn new(extent: Extent) -> Result<Self> {
        // SAFETY: The resource tree is always there, the name is static.
        let resource = unsafe {
            bindings::__request_region(
                &raw mut bindings::iomem_resource,
                extent.start,
                extent.size as u64,
                c"virtio-hvl".as_char_ptr(),
                bindings::IORESOURCE_MEM as i32,
            )
        };
        if resource.is_null() {
            return Err(EBUSY);
        }
        // INVARIANT: It succeeded.
        Ok(Self(extent))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // SAFETY: The extent is ours by the type invariant.
        unsafe {
            bindings::__release_region(
                &raw mut bindings::iomem_resource,
                self.0.start,
                self.0.size as u64,
            )
        };
    }
}

/// A claimed and mapped region.
///
/// # Invariants
///
/// `base` maps the claimed extent, a whole number of pages of normal memory, until `self` is
/// dropped.
pub(crate) struct Region {
    base: NonNull<u8>,
    order: Order,
    claim: Claim,
}

/// How accesses to the region are ordered for the peer.
///
/// Linux and a peer whose accesses are coherent with its caches are in one shareability domain, the
/// outer shareable one at most (VIRTIO_F_ORDER_PLATFORM). A peer that is not may be anywhere in the
/// system.
#[derive(Clone, Copy)]
enum Order {
    Domain,
    System,
}

impl Order {
    fn write(self) {
        match self {
            Self::Domain => dma_mb(Write),
            Self::System => mb(Write),
        }
    }

    fn read(self) {
        match self {
            Self::Domain => dma_mb(Read),
            Self::System => mb(Read),
        }
    }

    fn full(self) {
        match self {
            Self::Domain => dma_mb(Full),
            Self::System => mb(Full),
        }
    }
}

// SAFETY: A mapping is valid on every CPU, and releasing it is not bound to a context.
unsafe impl Send for Region {}

// SAFETY: Shared references allow volatile accesses and copies by C code only, which may race with
// those of other CPUs and of the peer without breaking an invariant of this side.
unsafe impl Sync for Region {}

impl Region {
    /// Claims and maps `extent`: cached if the peer's accesses are coherent, else write-combining.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody has claimed a part of it, `ENOMEM` if it cannot be mapped, `EINVAL` if
    /// it is not a whole number of pages.
    pub(crate) fn map(extent: Extent, coherent: bool) -> Result<Arc<Self>> {
        if extent.size == 0 || extent.size % PAGE as usize != 0 {
            return Err(EINVAL);
        }
        let claim = Claim::new(extent)?;
        let (flags, order) = if coherent {
            (sys::MEMREMAP_WB, Order::Domain)
        } else {
            (sys::MEMREMAP_WC, Order::System)
        };
        // SAFETY: The extent is ours by the claim.
        let base = unsafe { sys::memremap(extent.start, extent.size, flags as usize) };
        let base = NonNull::new(base.cast()).ok_or(ENOMEM)?;
        // INVARIANT: Just mapped and claimed; the size was checked above.
        Ok(Arc::new(Self { base, order, claim }, GFP_KERNEL)?)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.claim.0.size
    }

    /// Whether it is mapped cached, as the peer's accesses are coherent.
    pub(crate) fn is_coherent(&self) -> bool {
        matches!(self.order, Order::Domain)
    }

    /// Physical address of the first byte.
    pub(crate) fn start(&self) -> u64 {
        self.claim.0.start
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `base` came from `memremap` by the type invariant, and nobody else holds `self`.
        // The claim is given up after this.
        unsafe { sys::memunmap(self.base.as_ptr().cast()) };
    }
}

/// One page of the region: the link header or a device window.
///
/// # Invariants
///
/// `base` points to a whole page inside `region`.
pub(crate) struct Page {
    base: NonNull<u32>,
    region: Arc<Region>,
}

// SAFETY: As for `Region`, of which this is a part.
unsafe impl Send for Page {}

// SAFETY: As for `Region`, of which this is a part.
unsafe impl Sync for Page {}

impl Page {
    /// The page at `offset`, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not, `ERANGE` if the page is not inside the region.
    pub(crate) fn new(region: &Arc<Region>, offset: u32) -> Result<Self> {
        if offset % PAGE != 0 {
            return Err(EINVAL);
        }
        let end = (offset as usize).checked_add(PAGE as usize);
        if end.is_none_or(|end| end > region.size()) {
            return Err(ERANGE);
        }
        // SAFETY: The page lies inside of the mapping, as just checked.
        let base = unsafe { region.base.add(offset as usize) };
        // INVARIANT: As just checked.
        Ok(Self {
            base: base.cast(),
            region: region.clone(),
        })
    }

    fn word(&self, offset: u32) -> *mut u32 {
        // An offset of `proto` is inside the page anyway; the mask makes that hold for any other.
        let index = (offset % PAGE / 4) as usize;
        // SAFETY: `index` words behind the page's start is inside the page by the type invariant.
        unsafe { self.base.as_ptr().add(index) }
    }

    /// Reads the word at `offset`.
    pub(crate) fn read(&self, offset: u32) -> u32 {
        // SAFETY: `word` is aligned and inside the mapping.
        u32::from_le(unsafe { self.word(offset).read_volatile() })
    }

    /// Which of the words from `offset` on are not those of `seen`, a bit each; of 64 at most, and of those that
    /// lie inside. What is read later may be older, see [`Page::observe`].
    pub(crate) fn changed(&self, offset: u32, seen: &[Atomic<u32>]) -> u64 {
        let offset = offset % PAGE;
        let count = seen.len().min(((PAGE - offset) / 4) as usize);
        let seen = &seen[..count.min(u64::BITS as usize)];
        let first = self.word(offset);
        let differs = |index: usize, seen: &Atomic<u32>| {
            // SAFETY: `count` words from `first` on are inside the page, and `word` is aligned.
            u32::from_le(unsafe { first.add(index).read_volatile() }) ^ seen.load(Relaxed)
        };
        let pairs = || seen.iter().enumerate();
        // In one go: most have not changed.
        if pairs().fold(0, |any, (index, seen)| any | differs(index, seen)) == 0 {
            return 0;
        }
        pairs().fold(0, |bits, (index, seen)| {
            bits | u64::from(differs(index, seen) != 0) << index
        })
    }

    /// Reads the word at `offset`; no later read is satisfied before it. Pairs with the peer's
    /// publishing.
    pub(crate) fn observe(&self, offset: u32) -> u32 {
        let value = self.read(offset);
        self.region.order.read();
        value
    }

    /// Reads `N` words from `offset` on into private memory.
    pub(crate) fn copy_words<const N: usize>(&self, offset: u32) -> [u32; N] {
        core::array::from_fn(|index| self.read(offset.wrapping_add(4 * index as u32)))
    }

    /// Writes the word at `offset`, which has to be one of the driver's.
    pub(crate) fn write(&self, offset: u32, value: u32) {
        // SAFETY: `word` is aligned and inside the mapping.
        unsafe { self.word(offset).write_volatile(value.to_le()) };
    }

    /// Writes the word at `offset` after all earlier writes. Pairs with the peer's observing.
    pub(crate) fn publish(&self, offset: u32, value: u32) {
        self.region.order.write();
        self.write(offset, value);
    }

    /// Orders everything before, also reads, against everything after. For reading again what tells
    /// whether the words read before belong together.
    pub(crate) fn full_barrier(&self) {
        self.region.order.full();
    }

    /// Has everything that was written to the region be there before a doorbell is rung.
    pub(crate) fn ring_barrier(&self) {
        match self.region.order {
            // The write to the doorbell's register brings a barrier of this strength.
            Order::Domain => {}
            Order::System => self.region.order.write(),
        }
    }

    /// Orders earlier reads against later ones.
    pub(crate) fn read_barrier(&self) {
        self.region.order.read();
    }
}

/// A part of the pool, which begins with a page.
///
/// # Invariants
///
/// `words` lie inside `region`.
pub(crate) struct Area {
    words: Words,
    region: Arc<Region>,
}

impl Area {
    /// The `size` bytes at `offset`, a multiple of the page size.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is not, `ERANGE` if the bytes are not all inside the region.
    pub(crate) fn new(region: &Arc<Region>, offset: u32, size: u32) -> Result<Self> {
        if offset % PAGE != 0 {
            return Err(EINVAL);
        }
        let end = (offset as usize).checked_add(size as usize);
        if end.is_none_or(|end| end > region.size()) {
            return Err(ERANGE);
        }
        // SAFETY: The start lies inside of the mapping, as just checked.
        let base = unsafe { region.base.add(offset as usize) };
        // SAFETY: As do all the bytes, and the region is kept. Pages are aligned for every word.
        let words = unsafe { Words::new(base, size as usize) };
        // INVARIANT: As just checked.
        Ok(Self {
            words,
            region: region.clone(),
        })
    }

    /// Bytes.
    pub(crate) fn size(&self) -> u32 {
        self.words.size() as u32
    }

    fn at(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        self.words.at(at, len)
    }
}

impl Memory for Area {
    fn read16(&self, at: u32) -> u16 {
        self.words.read16(at)
    }

    fn read32(&self, at: u32) -> u32 {
        self.words.read32(at)
    }

    fn write16(&self, at: u32, value: u16) {
        self.words.write16(at, value);
    }

    fn write32(&self, at: u32, value: u32) {
        self.words.write32(at, value);
    }

    fn write_barrier(&self) {
        self.region.order.write();
    }

    fn read_barrier(&self) {
        self.region.order.read();
    }

    fn full_barrier(&self) {
        self.region.order.full();
    }
}

impl Data<Buffer> for Area {
    fn copy_in(&self, at: u32, from: &Buffer, skip: u32, len: u32) {
        let len = len as usize;
        let (Some(to), Some(from)) = (self.at(at as usize, len), from.part(skip as usize, len))
        else {
            return;
        };
        // SAFETY: Both sides are valid for `len` bytes. They do not overlap: one is in the region,
        // which is reserved memory, the other is a page of the kernel's.
        unsafe { sys::hvl_copy(to.as_ptr().cast(), from.as_ptr().cast(), len) };
    }

    /// The peer may be writing at the same time; then it is the bytes that are undefined, and they
    /// are the peer's to define in any case.
    fn copy_out(&self, at: u32, to: &Buffer, skip: u32, len: u32) {
        let len = len as usize;
        let (Some(from), Some(to)) = (self.at(at as usize, len), to.part(skip as usize, len))
        else {
            return;
        };
        // SAFETY: As in `copy_in`.
        unsafe { sys::hvl_copy(to.as_ptr().cast(), from.as_ptr().cast(), len) };
    }

    fn put(&self, to: &Buffer, at: u32, byte: u8) {
        to.write(at as usize, &[byte]);
    }

    fn address(&self, buffer: &Buffer) -> Option<u64> {
        buffer.mapped().map(|mapped| mapped.address())
    }
}
