// SPDX-License-Identifier: GPL-2.0

//! Direct mode: buffers that the peer reaches where they are, mapped for it by the kernel's DMA API
//! (Documentation/core-api/dma-api.rst). That knows of address translation (`dma-ranges`, an IOMMU), of
//! caches, and of memory that is out of the peer's reach, which it copies itself (swiotlb).

use crate::{
    sys::bindings as sys,
    virtio::{
        CpuBuffer,
        Direction, //
    }, //
};
use kernel::{
    bindings,
    device,
    ffi::c_ulong,
    sync::{
        aref::ARef,
        atomic::{
            Atomic,
            Relaxed, //
        }, //
    }, //
};

/// What the DMA API says of a buffer that it could not map.
const MAPPING_ERROR: u64 = u64::MAX;

/// A buffer that is mapped for the peer: where that sees it.
///
/// # Invariants
///
/// Made by [`Dma::map`], or has all that such a one has.
#[derive(Clone, Copy)]
pub(crate) struct Mapped {
    pub(super) address: u64,
    pub(super) len: u32,
    pub(super) direction: Direction,
}

impl Mapped {
    /// Where the peer sees the first byte.
    pub(crate) fn address(&self) -> u64 {
        self.address
    }
}

/// The platform device of a link, for which buffers are mapped.
///
/// # Invariants
///
/// `dev` is bound to this driver, and its DMA mask set, for as long as virtio devices are registered
/// as its children.
pub(crate) struct Dma {
    dev: ARef<device::Device>,
    bits: u32,
    /// Mappings that there are.
    mapped: Atomic<u64>,
}

impl Dma {
    /// For `dev`, whose DMA mask has `bits` bits.
    ///
    /// # Safety
    ///
    /// `dev` is bound, and the mask set. No virtio device that maps by the result is registered when it is
    /// unbound.
    pub(crate) unsafe fn new(dev: &device::Device, bits: u32) -> Self {
        // INVARIANT: The caller's word.
        Self {
            dev: ARef::from(dev),
            bits,
            mapped: Atomic::new(0),
        }
    }

    fn raw(&self) -> *mut bindings::device {
        core::ptr::from_ref(&*self.dev).cast_mut().cast()
    }

    /// Bits of an address that the peer can use.
    pub(crate) fn bits(&self) -> u32 {
        self.bits
    }

    /// Mappings that there are.
    pub(crate) fn mapped(&self) -> u64 {
        self.mapped.load(Relaxed)
    }

    /// Most bytes that one mapping can have.
    pub(crate) fn mapping_max(&self) -> usize {
        // SAFETY: The device is bound by the type invariant.
        unsafe { bindings::dma_max_mapping_size(self.raw()) }
    }

    /// Maps `buffer`; with `sync`, what is in it now is what the peer sees. `None`: there is no room now.
    /// Any context.
    pub(crate) fn map(
        &self,
        buffer: CpuBuffer,
        direction: Direction,
        sync: bool,
    ) -> Option<Mapped> {
        let (base, len) = buffer.into_parts();
        let len = u32::try_from(len).ok()?;
        // SAFETY: The device is bound by the type invariant; the buffer is memory of the kernel's, with a
        // `struct page`, until the mapping is undone.
        let address = unsafe {
            sys::hvl_dma_map(
                self.raw(),
                base.as_ptr().cast(),
                len as usize,
                direction.as_raw(),
                attrs(sync),
            )
        };
        if address == MAPPING_ERROR {
            return None;
        }
        self.mapped.add(1, Relaxed);
        // INVARIANT: It was just made.
        Some(Mapped {
            address,
            len,
            direction,
        })
    }

    /// Undoes the mapping; with `sync`, the CPU sees what the peer wrote. Any context.
    ///
    /// # Safety
    ///
    /// `mapped` is of [`Dma::map`] of this, and not undone yet.
    pub(crate) unsafe fn unmap(&self, mapped: Mapped, sync: bool) {
        self.mapped.fetch_sub(1, Relaxed);
        // SAFETY: The device is bound by the type invariant, and the mapping is there by the function's
        // contract.
        unsafe {
            bindings::dma_unmap_page_attrs(
                self.raw(),
                mapped.address,
                mapped.len as usize,
                mapped.direction.as_raw(),
                attrs(sync),
            )
        };
    }

    /// Whether [`Dma::sync_for_cpu`] and [`Dma::sync_for_device`] do anything.
    pub(crate) fn needs_sync(&self) -> bool {
        // SAFETY: The device is bound by the type invariant.
        unsafe { sys::hvl_dma_needs_sync(self.raw()) }
    }

    /// The CPU sees what the peer wrote to the `len` bytes at `at`, as far as they are inside.
    ///
    /// # Safety
    ///
    /// As for [`Dma::unmap`].
    pub(crate) unsafe fn sync_for_cpu(&self, mapped: Mapped, at: u32, len: u32) {
        let (address, len) = mapped.part(at, len);
        // SAFETY: As in `unmap`.
        unsafe {
            bindings::__dma_sync_single_for_cpu(self.raw(), address, len, mapped.direction.as_raw())
        };
    }

    /// The peer sees what the CPU wrote there.
    ///
    /// # Safety
    ///
    /// As for [`Dma::unmap`].
    pub(crate) unsafe fn sync_for_device(&self, mapped: Mapped, at: u32, len: u32) {
        let (address, len) = mapped.part(at, len);
        // SAFETY: As in `unmap`.
        unsafe {
            bindings::__dma_sync_single_for_device(
                self.raw(),
                address,
                len,
                mapped.direction.as_raw(),
            )
        };
    }
}

impl Mapped {
    /// Address and length of the `len` bytes at `at`, as far as they are inside.
    fn part(&self, at: u32, len: u32) -> (u64, usize) {
        let at = at.min(self.len);
        let len = len.min(self.len - at);
        (self.address.wrapping_add(at.into()), len as usize)
    }
}

fn attrs(sync: bool) -> c_ulong {
    if sync {
        0
    } else {
        bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong
    }
}
