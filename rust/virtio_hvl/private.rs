// SPDX-License-Identifier: GPL-2.0

//! Memory of the kernel's for the ring that the virtio core works on.

use crate::{
    algo::{
        ring::Memory,
        shadow::PRIVATE_ALIGN, //
    },
    sys::{
        series::{
            smp_mb,
            Full,
            Read,
            Write, //
        },
        words::Words, //
    },
    virtio::RING_ALIGN, //
};
use core::{
    cell::UnsafeCell,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Bytes of a ring, aligned as it has to be.
#[repr(C, align(64))]
struct Line(UnsafeCell<[u8; 64]>);

const _: () = assert!(RING_ALIGN == PRIVATE_ALIGN);
const _: () = assert!(size_of::<Line>() == RING_ALIGN as usize);

/// A ring that the virtio core writes at the same time.
///
/// # Invariants
///
/// `words` are the lines.
pub(crate) struct PrivateRing {
    words: Words,
    _lines: KVVec<Line>,
}

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
        // SAFETY: The lines are there for as long as the ring, are not moved, and lie in an `UnsafeCell`,
        // aligned for every word.
        let words = unsafe { Words::new(base, size_of_val(lines.as_slice())) };
        // INVARIANT: As just made.
        Ok(Self {
            words,
            _lines: lines,
        })
    }

    /// Its first byte, a multiple of [`RING_ALIGN`], for the virtio core.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.words.base()
    }
}

impl Memory for PrivateRing {
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
        smp_mb(Write);
    }

    fn read_barrier(&self) {
        smp_mb(Read);
    }

    fn full_barrier(&self) {
        smp_mb(Full);
    }
}
