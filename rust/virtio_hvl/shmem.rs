// SPDX-License-Identifier: GPL-2.0

//! The shared region as Linux sees it. All pointers into it are made here.
//!
//! The peer may write any byte of it at any time. There is therefore never a reference to this
//! memory: words are read and written one by one with volatile accesses, buffers are copied. C code
//! does that: in Rust, a copy of bytes that somebody else may be writing is a data race whatever
//! they are used for, and so undefined behaviour; the kernel's C has copied to and from memory that
//! devices write all along.

use crate::{
    proto::layout::PAGE,
    sys::bindings as sys,
    virtio::CpuBuffer, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    prelude::*,
    sync::{
        barrier::{
            self,
            Full,
            Read,
            Write, //
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
    claim: Claim,
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
        let flags = if coherent {
            sys::MEMREMAP_WB
        } else {
            sys::MEMREMAP_WC
        };
        // SAFETY: The extent is ours by the claim.
        let base = unsafe { sys::memremap(extent.start, extent.size, flags as usize) };
        let base = NonNull::new(base.cast()).ok_or(ENOMEM)?;
        // INVARIANT: Just mapped and claimed; the size was checked above.
        Ok(Arc::new(Self { base, claim }, GFP_KERNEL)?)
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.claim.0.size
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
    _region: Arc<Region>,
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
            _region: region.clone(),
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

    /// Reads the word at `offset`; no later read is satisfied before it. Pairs with the peer's
    /// publishing.
    pub(crate) fn observe(&self, offset: u32) -> u32 {
        let value = self.read(offset);
        barrier::mb(Read);
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
        barrier::mb(Write);
        self.write(offset, value);
    }
}

/// Orders everything before, also reads, against everything after. For reading again what tells
/// whether the words read before belong together.
pub(crate) fn full_barrier() {
    barrier::mb(Full);
}

/// Orders earlier reads against later ones.
pub(crate) fn read_barrier() {
    barrier::mb(Read);
}

/// A part of the pool.
///
/// # Invariants
///
/// `base` points to `size` bytes inside `region`, the first of which is the first of a page.
pub(crate) struct Area {
    base: NonNull<u8>,
    size: usize,
    _region: Arc<Region>,
}

// SAFETY: As for `Region`, of which this is a part.
unsafe impl Send for Area {}

// SAFETY: As for `Region`, of which this is a part.
unsafe impl Sync for Area {}

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
        // INVARIANT: As just checked.
        Ok(Self {
            base,
            size: size as usize,
            _region: region.clone(),
        })
    }

    /// Pointer to the `len` bytes at `at`; `None` where they are not all inside.
    fn at(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        match at.checked_add(len) {
            // SAFETY: Inside of the area by the check and the type invariant.
            Some(end) if end <= self.size => Some(unsafe { self.base.add(at) }),
            _ => None,
        }
    }

    /// Reads the 16-bit word at `at`, which is even; `None` where it is not inside.
    pub(crate) fn read_u16(&self, at: usize) -> Option<u16> {
        if at % 2 != 0 {
            return None;
        }
        let word = self.at(at, 2)?.cast::<u16>();
        // SAFETY: `at` checked that the word is inside; the area begins with a page.
        Some(u16::from_le(unsafe { word.as_ptr().read_volatile() }))
    }

    /// Pointer for C code to the `len` bytes at `at`, cleared; `None` where they are not all
    /// inside.
    pub(crate) fn lend_zeroed(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        let base = self.at(at, len)?;
        // SAFETY: `at` checked that the bytes are inside.
        unsafe { sys::hvl_clear(base.as_ptr().cast(), len) };
        Some(base)
    }

    /// Clears the `len` bytes at `at`. `false`: out of bounds.
    pub(crate) fn clear(&self, at: usize, len: usize) -> bool {
        self.lend_zeroed(at, len).is_some()
    }

    /// Copies the first `len` bytes of `from`, from `skip` on, to `at`. `false`: out of bounds.
    pub(crate) fn copy_in(&self, at: usize, from: &CpuBuffer, skip: usize, len: usize) -> bool {
        let (Some(to), Some(from)) = (self.at(at, len), from.part(skip, len)) else {
            return false;
        };
        // SAFETY: Both sides are valid for `len` bytes. They do not overlap: one is in the region,
        // which is reserved memory, the other is a page of the kernel's.
        unsafe { sys::hvl_copy(to.as_ptr().cast(), from.as_ptr().cast(), len) };
        true
    }

    /// Copies `len` bytes at `at` into `to` from `skip` on. `false`: out of bounds.
    ///
    /// The peer may be writing at the same time; then it is the bytes that are undefined, and they
    /// are the peer's to define in any case.
    pub(crate) fn copy_out(&self, at: usize, to: &CpuBuffer, skip: usize, len: usize) -> bool {
        let (Some(from), Some(to)) = (self.at(at, len), to.part(skip, len)) else {
            return false;
        };
        // SAFETY: As in `copy_in`.
        unsafe { sys::hvl_copy(to.as_ptr().cast(), from.as_ptr().cast(), len) };
        true
    }
}
