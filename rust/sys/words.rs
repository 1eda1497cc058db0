// SPDX-License-Identifier: GPL-2.0

//! Memory that somebody else writes at the same time: words of it are accessed one by one, by volatile
//! accesses, and there is never a reference to it.

use core::ptr::NonNull;

/// A piece of such memory. Words are little-endian there.
///
/// # Invariants
///
/// `base` is aligned for every word and valid for volatile reads and writes of `size` bytes for as long as
/// this exists.
pub(crate) struct Words {
    base: NonNull<u8>,
    size: usize,
}

// SAFETY: By the invariant it is memory, which is valid on each CPU, and each access is a single one.
unsafe impl Send for Words {}

// SAFETY: As above.
unsafe impl Sync for Words {}

impl Words {
    /// The `size` bytes at `base`.
    ///
    /// # Safety
    ///
    /// They must be as the type's invariant says.
    pub(crate) unsafe fn new(base: NonNull<u8>, size: usize) -> Self {
        // INVARIANT: The caller's word.
        Self { base, size }
    }

    /// Its first byte.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// Pointer to the `len` bytes at `at`; `None` where they are not all inside.
    pub(crate) fn at(&self, at: usize, len: usize) -> Option<NonNull<u8>> {
        match at.checked_add(len) {
            // SAFETY: Inside by the check and the type invariant.
            Some(end) if end <= self.size => Some(unsafe { self.base.add(at) }),
            _ => None,
        }
    }

    /// Pointer to the word of type `T` at `at`; `None` where it is not inside or not aligned.
    fn word<T>(&self, at: u32) -> Option<*mut T> {
        let (at, len) = (at as usize, size_of::<T>());
        if at % len != 0 {
            return None;
        }
        Some(self.at(at, len)?.cast::<T>().as_ptr())
    }

    /// The half word at `at`; 0 where there is none.
    pub(crate) fn read16(&self, at: u32) -> u16 {
        // SAFETY: `word` checked that it is inside and aligned.
        self.word::<u16>(at)
            .map_or(0, |word| u16::from_le(unsafe { word.read_volatile() }))
    }

    /// The word at `at`; 0 where there is none.
    pub(crate) fn read32(&self, at: u32) -> u32 {
        // SAFETY: As above.
        self.word::<u32>(at)
            .map_or(0, |word| u32::from_le(unsafe { word.read_volatile() }))
    }

    /// Writes the half word at `at`, if there is one.
    pub(crate) fn write16(&self, at: u32, value: u16) {
        if let Some(word) = self.word::<u16>(at) {
            // SAFETY: As above.
            unsafe { word.write_volatile(value.to_le()) };
        }
    }

    /// Writes the word at `at`, if there is one.
    pub(crate) fn write32(&self, at: u32, value: u32) {
        if let Some(word) = self.word::<u32>(at) {
            // SAFETY: As above.
            unsafe { word.write_volatile(value.to_le()) };
        }
    }
}
