// SPDX-License-Identifier: GPL-2.0

//! Memory of the kernel's for the ring that the virtio core works on.

use crate::{
    algo::{
        ring::Memory,
        shadow::PRIVATE_ALIGN, //
    },
    virtio::RING_ALIGN, //
};
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::{
    prelude::*,
    sync::barrier::{
        smp_mb,
        Full,
        Read,
        Write, //
    }, //
};

/// Bytes of a ring, aligned as it has to be.
#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; 64]>);

const _: () = assert!(RING_ALIGN == PRIVATE_ALIGN);
const _: () = assert!(size_of::<Line>() == RING_ALIGN as usize);

/// A ring that the virtio core writes at the same time: words of it are accessed one by one, by
/// volatile accesses, and there is never a reference to one.
pub(crate) struct PrivateRing {
    lines: KVVec<Line>,
    base: NonNull<u8>,
}

// SAFETY: It is memory, valid on each CPU.
unsafe impl Send for PrivateRing {}

impl PrivateRing {
    /// A zeroed ring of `size` bytes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(size: usize) -> Result<Self> {
        let count = size.div_ceil(size_of::<Line>());
        let mut lines = KVVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            lines.push(Line(UnsafeCell::new([0; 64])), GFP_KERNEL)?;
        }
        let base = NonNull::from(lines.as_slice()).cast();
        Ok(Self { lines, base })
    }

    /// Its first byte, a multiple of [`RING_ALIGN`], for the virtio core.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Pointer to the word of type `T` at `at`; `None` where it is not inside or not aligned.
    fn word<T>(&self, at: u32) -> Option<*mut T> {
        let (at, len) = (at as usize, size_of::<T>());
        let end = at.checked_add(len)?;
        if at % len != 0 || end > size_of_val(self.lines.as_slice()) {
            return None;
        }
        // SAFETY: Inside of the lines, as just checked.
        Some(unsafe { self.base.add(at) }.cast::<T>().as_ptr())
    }
}

impl Memory for PrivateRing {
    fn read16(&self, at: u32) -> u16 {
        // SAFETY: `word` checked that it is inside and aligned. The lines are in an `UnsafeCell`.
        self.word::<u16>(at)
            .map_or(0, |word| u16::from_le(unsafe { word.read_volatile() }))
    }

    fn read32(&self, at: u32) -> u32 {
        // SAFETY: As above.
        self.word::<u32>(at)
            .map_or(0, |word| u32::from_le(unsafe { word.read_volatile() }))
    }

    fn write16(&self, at: u32, value: u16) {
        if let Some(word) = self.word::<u16>(at) {
            // SAFETY: As above.
            unsafe { word.write_volatile(value.to_le()) };
        }
    }

    fn write32(&self, at: u32, value: u32) {
        if let Some(word) = self.word::<u32>(at) {
            // SAFETY: As above.
            unsafe { word.write_volatile(value.to_le()) };
        }
    }

    fn write_barrier(&self) {
        smp_mb(Write);
    }

    fn read_barrier(&self) {
        smp_mb(Read);
    }

    fn full_barrier(&self) {
        smp_mb(Full);
    }
}
