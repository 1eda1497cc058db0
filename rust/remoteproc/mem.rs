// SPDX-License-Identifier: GPL-2.0

//! Memory that is set aside for a firmware.

use kernel::{
    bindings as kbindings,
    device,
    error::to_result,
    fmt,
    io::{
        resource::{
            Flags,
            Region, //
        },
        Resource, //
    },
    prelude::*,
    str::CString, //
};

use core::{
    ops::Range,
    ptr::NonNull, //
};

use super::bindings;

/// A memory region that the device tree reserves for a firmware.
///
/// # Invariants
///
/// `start + size` does not overflow.
pub struct Reserved {
    start: u64,
    size: usize,
    no_map: bool,
}

impl Reserved {
    /// Looks up entry `index` of the `memory-region` property of a device.
    ///
    /// # Errors
    ///
    /// - `ENODEV`: there is no such entry, or its node is disabled;
    /// - `EINVAL`: its node is not a reserved memory region;
    /// - `EOVERFLOW`: the region is empty, or its end cannot be addressed.
    pub fn of(dev: &device::Device, index: u32) -> Result<Self> {
        let mut resource = kbindings::resource::default();
        let raw: *mut kbindings::device = core::ptr::from_ref(dev).cast_mut().cast();

        // SAFETY: `dev` is a valid device, and `device::Device` a transparent wrapper of it. Its
        // node may be null, which the function checks.
        to_result(unsafe {
            bindings::of_reserved_mem_region_to_resource((*raw).of_node, index, &mut resource)
        })?;

        let size = resource
            .end
            .checked_sub(resource.start)
            .and_then(|last| last.checked_add(1))
            .ok_or(EOVERFLOW)?;
        // The end has to fit as well.
        resource.start.checked_add(size).ok_or(EOVERFLOW)?;

        // INVARIANT: As just checked.
        Ok(Self {
            start: resource.start,
            size: usize::try_from(size).map_err(|_| EOVERFLOW)?,
            // SAFETY: As above.
            no_map: unsafe { bindings::psci_rproc_no_map((*raw).of_node, index) },
        })
    }

    /// Whether Linux leaves the region unmapped. Only then can it be mapped differently.
    pub fn no_map(&self) -> bool {
        self.no_map
    }

    /// Maps the region without caching, which is how a firmware with its MMU off sees it.
    ///
    /// # Errors
    ///
    /// - `EBUSY`: another device uses the region, or a part of it;
    /// - `ENOMEM`: it cannot be mapped so; memory that Linux has mapped with caching cannot.
    pub fn map(&self, dev: &device::Device) -> Result<Memory> {
        let name = CString::try_from_fmt(fmt!("{}", dev.name()))?;

        // SAFETY: The root of all memory resources always exists, and `Resource` is a transparent
        // wrapper of it; the framework locks what is done with it.
        let root: &Resource = unsafe { &*(&raw mut kbindings::iomem_resource).cast() };
        let region = root
            .request_region(self.start, self.size as u64, name, Flags::IORESOURCE_MEM)
            .ok_or(EBUSY)?;

        // SAFETY: The region is reserved for the device, as `of` found, and for no other.
        let va =
            unsafe { kbindings::memremap(self.start, self.size, kbindings::MEMREMAP_WC as usize) };

        // INVARIANT: `memremap` has mapped `size` bytes, and the sum does not overflow by the
        // invariant of `Self`.
        Ok(Memory {
            va: NonNull::new(va.cast::<u8>()).ok_or(ENOMEM)?,
            start: self.start,
            size: self.size,
            _region: region,
        })
    }
}

impl fmt::Display for Reserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}-{:#x}", self.start, self.start + self.size as u64)
    }
}

/// The mapped memory of a firmware, which sees it at its physical addresses.
///
/// The firmware may change all of it at any time, hence there are no references to it.
///
/// # Invariants
///
/// `va` is the beginning of a mapping of `size` bytes of memory that belongs to this object, and
/// `start + size` does not overflow.
pub struct Memory {
    va: NonNull<u8>,
    start: u64,
    size: usize,
    /// Keeps others out. Dropped last, after the mapping has gone.
    _region: Region,
}

impl Memory {
    /// The addresses of the memory.
    pub fn range(&self) -> Range<u64> {
        self.start..self.start + self.size as u64
    }

    /// Where `len` bytes at address `da` are mapped, if they lie in this memory.
    pub(super) fn at(&self, da: u64, len: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(da.checked_sub(self.start)?).ok()?;

        if offset.checked_add(len)? > self.size {
            return None;
        }
        // SAFETY: `offset` is within the mapping, or right at its end if `len` is zero.
        Some(unsafe { self.va.add(offset) })
    }

    /// Copies what is at address `da` to `to`.
    ///
    /// # Errors
    ///
    /// `EFAULT`: so much is not there.
    pub fn read(&self, da: u64, to: &mut [u8]) -> Result {
        let from = self.at(da, to.len()).ok_or(EFAULT)?;

        // SAFETY: `from` is valid for that many bytes, and `to` cannot be part of the mapping. What the firmware
        // changes meanwhile is read as one or the other.
        unsafe { core::ptr::copy_nonoverlapping(from.as_ptr(), to.as_mut_ptr(), to.len()) };
        Ok(())
    }

    /// Copies `data` to address `da`.
    ///
    /// # Errors
    ///
    /// `EFAULT`: it does not fit there.
    pub fn write(&self, da: u64, data: &[u8]) -> Result {
        let to = self.at(da, data.len()).ok_or(EFAULT)?;

        // SAFETY: `to` is valid for that many bytes, and `data` cannot be part of the mapping.
        unsafe { core::ptr::copy_nonoverlapping(data.as_ptr(), to.as_ptr(), data.len()) };
        Ok(())
    }

    /// Clears `len` bytes at address `da`.
    ///
    /// # Errors
    ///
    /// `EFAULT`: they are not in this memory.
    pub fn zero(&self, da: u64, len: usize) -> Result {
        let to = self.at(da, len).ok_or(EFAULT)?;

        // SAFETY: `to` is valid for that many bytes.
        unsafe { core::ptr::write_bytes(to.as_ptr(), 0, len) };
        Ok(())
    }

    /// Writes a 32-bit little-endian word to address `da`, at once.
    ///
    /// # Errors
    ///
    /// `EFAULT`: it is not in this memory, or not aligned.
    pub fn write32(&self, da: u64, value: u32) -> Result {
        let to = self.at(da, 4).ok_or(EFAULT)?.cast::<u32>();

        if !to.is_aligned() {
            return Err(EFAULT);
        }
        // SAFETY: `to` is valid for four bytes, and aligned.
        unsafe { to.write_volatile(value.to_le()) };
        Ok(())
    }

    /// Forgets what caches that outlive a core still hold of the memory, which would be written over
    /// what is loaded next. There must be no firmware that runs.
    pub fn discard_caches(&self) {
        // SAFETY: By the type invariants. What is lost belonged to the firmware.
        unsafe { bindings::psci_rproc_discard_caches(self.va.as_ptr().cast(), self.size) };
    }

    /// Makes sure that the firmware sees what was written before whatever is done next.
    pub fn flush(&self) {
        // SAFETY: A barrier has no requirements.
        unsafe { bindings::psci_rproc_wmb() };
    }
}

// SAFETY: The mapping belongs to the object and is valid in every context.
unsafe impl Send for Memory {}

// SAFETY: All accesses are plain copies or volatile; who else writes, the firmware included, can only
// change what is read.
unsafe impl Sync for Memory {}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, and nobody can have a pointer into it anymore.
        unsafe { kbindings::memunmap(self.va.as_ptr().cast()) };
    }
}
