// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The shared region, and Linux's memory where this program reaches it: the only file of this library
//! that touches either.
//!
//! Linux writes to this memory at the same time, so no reference to it is ever made. Words are
//! read and written by volatile accesses of their own size, bytes in bulk by copies that the
//! compiler can neither repeat nor elide.

#![allow(unsafe_code)]

mod pool;
mod window;

#[cfg(not(target_arch = "aarch64"))]
use core::ptr;
use core::ptr::NonNull;

pub use self::pool::Pool;
pub use self::window::Window;

/// The shared region of one link.
///
/// Offsets are in bytes from its start. An offset that is misaligned or outside reads as 0 and is
/// not written: callers check what Linux says before they get here, so this is a second net, not
/// the check.
///
/// # Invariants
///
/// `base` is aligned to a page and valid for volatile reads and writes of `len` bytes for as long
/// as the value or a copy of it exists.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Region {
    base: NonNull<u8>,
    len: u32,
    /// What of Linux's memory is reached beside the region.
    windows: &'static [Window],
}

impl Region {
    /// The region of `len` bytes at `base`; `None` if `base` is null or not aligned to a page.
    ///
    /// # Safety
    ///
    /// `base..base + len` must be mapped readable and writable, must not be memory that Rust
    /// owns in any other way, and must stay so for as long as the value or a copy of it exists.
    pub unsafe fn new(base: *mut u8, len: u32) -> Option<Self> {
        let base = NonNull::new(base)?;
        if base.as_ptr().addr() % (crate::proto::layout::PAGE as usize) != 0 {
            return None;
        }
        // INVARIANT: Alignment was checked, the rest is what the caller promises.
        Some(Self {
            base,
            len,
            windows: &[],
        })
    }

    /// The same region, and beside it what `windows` show of Linux's memory.
    #[must_use]
    pub const fn with_windows(self, windows: &'static [Window]) -> Self {
        Self { windows, ..self }
    }

    /// What of Linux's memory is reached beside the region.
    pub const fn windows(&self) -> &'static [Window] {
        self.windows
    }

    /// Bytes of the region.
    pub const fn len(&self) -> u32 {
        self.len
    }

    /// Whether the region has no byte at all.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Pointer to `size` bytes at `offset`, if they lie inside and are aligned to `size`.
    fn at(&self, offset: u32, size: u32) -> Option<*mut u8> {
        let end = offset.checked_add(size)?;
        if end > self.len || offset % size != 0 {
            return None;
        }
        // SAFETY: By the type's invariant `base` is valid for `len` bytes, and `offset` is below.
        Some(unsafe { self.base.as_ptr().add(offset as usize) })
    }

    /// Reads a little-endian word.
    pub fn read32(&self, offset: u32) -> u32 {
        match self.at(offset, 4) {
            // SAFETY: `at` returned a valid pointer, aligned since the base is.
            Some(p) => u32::from_le(unsafe { p.cast::<u32>().read_volatile() }),
            None => 0,
        }
    }

    /// Which of some words are not those of `seen`, a bit each: the first is at `offset`, a multiple of 4, the others
    /// follow `N` words apart; of 64 at most. None if they do not lie inside. What is read later may be older: see
    /// [`Region::observe32`].
    pub fn changed<const N: usize>(&self, offset: u32, seen: &[u32]) -> u64 {
        let seen = seen.get(..u64::BITS as usize).unwrap_or(seen);
        let inside = self.span(offset, seen.len() * N * 4);
        let Some(first) = inside.filter(|_| offset % 4 == 0) else {
            return 0;
        };
        let word = |index: usize| {
            // SAFETY: `span` has found `seen.len() * N` words at `first`, which is aligned since base and offset are.
            u32::from_le(unsafe { first.cast::<u32>().add(index * N).read_volatile() })
        };
        let differ = |any, (index, seen): (usize, &u32)| any | (word(index) ^ seen);
        if seen.iter().enumerate().fold(0, differ) == 0 {
            return 0;
        }
        let changed = |(index, seen): (usize, &u32)| u64::from(word(index) != *seen) << index;
        seen.iter().enumerate().map(changed).sum()
    }

    /// Writes a little-endian word.
    pub fn write32(&self, offset: u32, value: u32) {
        if let Some(p) = self.at(offset, 4) {
            // SAFETY: `at` returned a valid pointer, aligned since the base is.
            unsafe { p.cast::<u32>().write_volatile(value.to_le()) }
        }
    }

    /// Reads a little-endian half word.
    pub fn read16(&self, offset: u32) -> u16 {
        match self.at(offset, 2) {
            // SAFETY: `at` returned a valid pointer, aligned since the base is.
            Some(p) => u16::from_le(unsafe { p.cast::<u16>().read_volatile() }),
            None => 0,
        }
    }

    /// Writes a little-endian half word.
    pub fn write16(&self, offset: u32, value: u16) {
        if let Some(p) = self.at(offset, 2) {
            // SAFETY: `at` returned a valid pointer, aligned since the base is.
            unsafe { p.cast::<u16>().write_volatile(value.to_le()) }
        }
    }

    /// Writes one byte.
    pub fn write8(&self, offset: u32, value: u8) {
        if let Some(p) = self.at(offset, 1) {
            // SAFETY: `at` returned a valid pointer.
            unsafe { p.write_volatile(value) }
        }
    }

    /// Copies bytes out of the region; `false`, and nothing copied, if they do not lie inside.
    pub fn read_bytes(&self, offset: u32, to: &mut [u8]) -> bool {
        match self.span(offset, to.len()) {
            Some(from) => {
                // SAFETY: `span` vouches for the source, the slice for the target; shared memory
                // is never memory that Rust owns, so they do not overlap.
                unsafe { copy(from, to.as_mut_ptr(), to.len()) };
                true
            }
            None => false,
        }
    }

    /// Copies bytes into the region; `false`, and nothing copied, if they do not lie inside.
    pub fn write_bytes(&self, offset: u32, from: &[u8]) -> bool {
        match self.span(offset, from.len()) {
            Some(to) => {
                // SAFETY: `span` vouches for the target, the slice for the source; shared memory
                // is never memory that Rust owns, so they do not overlap.
                unsafe { copy(from.as_ptr(), to, from.len()) };
                true
            }
            None => false,
        }
    }

    /// Copies bytes out of the place that [`Pool::reach`] has found; `false`, and nothing copied, if it is
    /// none.
    pub fn read_at(&self, place: u64, to: &mut [u8]) -> bool {
        match self.place(place, to.len()) {
            Some(from) => {
                // SAFETY: As in `read_bytes`; windows show no memory that Rust owns.
                unsafe { copy(from, to.as_mut_ptr(), to.len()) };
                true
            }
            None => false,
        }
    }

    /// Copies bytes to such a place; `false`, and nothing copied, if it is none.
    pub fn write_at(&self, place: u64, from: &[u8]) -> bool {
        match self.place(place, from.len()) {
            Some(to) => {
                // SAFETY: As in `write_bytes`; windows show no memory that Rust owns.
                unsafe { copy(from.as_ptr(), to, from.len()) };
                true
            }
            None => false,
        }
    }

    fn place(&self, place: u64, len: usize) -> Option<*mut u8> {
        match u32::try_from(place) {
            Ok(offset) => self.span(offset, len),
            Err(_) => {
                let address = place.checked_sub(Pool::BEYOND)?;
                let mut windows = self.windows.iter();
                windows.find_map(|window| window.at(address, len as u64))
            }
        }
    }

    /// Pointer to `len` bytes at `offset`, if they lie inside.
    fn span(&self, offset: u32, len: usize) -> Option<*mut u8> {
        let end = u32::try_from(len).ok()?.checked_add(offset)?;
        if end > self.len {
            return None;
        }
        // SAFETY: By the type's invariant `base` is valid for `len` bytes; `offset` is inside or
        // one past the end.
        Some(unsafe { self.base.as_ptr().add(offset as usize) })
    }

    /// Publishes a word: all earlier accesses to the region come before it for the other side.
    ///
    /// Pairs with the driver's barrier after it has observed the word.
    pub fn publish32(&self, offset: u32, value: u32) {
        barrier();
        self.write32(offset, value);
    }

    /// As [`Region::publish32`], for the half words of virtqueues.
    pub fn publish16(&self, offset: u32, value: u16) {
        barrier();
        self.write16(offset, value);
    }

    /// Observes a word: no later read of the region is satisfied before this one.
    ///
    /// Pairs with the driver's barrier before it has published the word.
    pub fn observe32(&self, offset: u32) -> u32 {
        let value = self.read32(offset);
        read_barrier();
        value
    }

    /// As [`Region::observe32`], for the half words of virtqueues.
    pub fn observe16(&self, offset: u32) -> u16 {
        let value = self.read16(offset);
        read_barrier();
        value
    }
}

/// Orders all earlier accesses to the region before all later ones, for the other side as well.
pub fn barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: A barrier has no other effect.
    unsafe {
        core::arch::asm!("dmb osh", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
}

/// Orders all earlier reads of the region before all later accesses.
fn read_barrier() {
    #[cfg(target_arch = "aarch64")]
    // SAFETY: A barrier has no other effect.
    unsafe {
        core::arch::asm!("dmb oshld", options(nostack, preserves_flags));
    }
    #[cfg(not(target_arch = "aarch64"))]
    core::sync::atomic::fence(core::sync::atomic::Ordering::Acquire);
}

/// Copies `len` bytes, each read and written once.
///
/// # Safety
///
/// `from` must be valid for reads, `to` for writes of `len` bytes, and they must not overlap.
unsafe fn copy(from: *const u8, to: *mut u8, len: usize) {
    let mut done = 0;

    // 64 bytes a turn, by two pairs of vector registers. Assembly, since what the compiler makes
    // of a volatile loop is eight times slower and of a plain one may read twice.
    #[cfg(target_arch = "aarch64")]
    while len - done >= 64 {
        // SAFETY: 64 bytes are left on both sides; normal memory allows unaligned accesses.
        unsafe {
            core::arch::asm!(
                "ldp {a:q}, {b:q}, [{from}]",
                "ldp {c:q}, {d:q}, [{from}, #32]",
                "stp {a:q}, {b:q}, [{to}]",
                "stp {c:q}, {d:q}, [{to}, #32]",
                a = out(vreg) _, b = out(vreg) _, c = out(vreg) _, d = out(vreg) _,
                from = in(reg) from.add(done), to = in(reg) to.add(done),
                options(nostack, preserves_flags),
            );
        }
        done += 64;
    }

    // What is left, in pieces of half the size each, where the compiler would take single bytes.
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! piece {
            ($size:literal, $load:literal, $store:literal) => {
                // SAFETY: That many bytes are left on both sides; as above.
                unsafe {
                    core::arch::asm!(
                        $load,
                        $store,
                        a = out(vreg) _,
                        from = in(reg) from.add(done), to = in(reg) to.add(done),
                        options(nostack, preserves_flags),
                    );
                }
                done += $size;
            };
        }
        if done == len {
            return;
        }
        while len - done >= 16 {
            piece!(16, "ldr {a:q}, [{from}]", "str {a:q}, [{to}]");
        }
        if len - done >= 8 {
            piece!(8, "ldr {a:d}, [{from}]", "str {a:d}, [{to}]");
        }
        if len - done >= 4 {
            piece!(4, "ldr {a:s}, [{from}]", "str {a:s}, [{to}]");
        }
        if len - done >= 2 {
            piece!(2, "ldr {a:h}, [{from}]", "str {a:h}, [{to}]");
        }
        if len - done >= 1 {
            piece!(1, "ldr {a:b}, [{from}]", "str {a:b}, [{to}]");
        }
        debug_assert!(done == len);
    }
    #[cfg(not(target_arch = "aarch64"))]
    while done < len {
        let word = len - done >= 8;
        // SAFETY: A byte is left on both sides, or eight.
        unsafe {
            if word {
                let word = ptr::read_volatile(from.add(done).cast::<Unaligned64>());
                ptr::write_volatile(to.add(done).cast::<Unaligned64>(), word);
            } else {
                let byte = ptr::read_volatile(from.add(done));
                ptr::write_volatile(to.add(done), byte);
            }
        }
        done += if word { 8 } else { 1 };
    }
}

/// Eight bytes at any address.
#[cfg(not(target_arch = "aarch64"))]
#[derive(Clone, Copy)]
#[repr(C, packed)]
struct Unaligned64(#[allow(dead_code, reason = "only carried from one place to another")] u64);
