// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Memory of Linux's that this program reaches.

use core::ptr::NonNull;

/// A piece of Linux's memory.
///
/// # Invariants
///
/// `base` is valid for reads and writes of `len` bytes for as long as the value exists, and none of them
/// is memory that Rust owns. `address + len` does not overflow.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Window {
    /// What Linux calls the first byte in its rings.
    address: u64,
    base: NonNull<u8>,
    len: u64,
}

// SAFETY: It is memory, whoever looks at it, and it is only copied from and to.
unsafe impl Send for Window {}

// SAFETY: As above.
unsafe impl Sync for Window {}

impl Window {
    /// The `len` bytes that Linux calls `address` and that lie at `base` here; `None` for nothing, or where
    /// addresses overflow.
    ///
    /// # Safety
    ///
    /// They must be as the type's invariant says: memory that Linux may do with what it likes, without this
    /// program's own, and without the region.
    pub unsafe fn new(address: u64, base: *mut u8, len: u64) -> Option<Self> {
        address.checked_add(len)?;
        base.addr().checked_add(usize::try_from(len).ok()?)?;
        // INVARIANT: Checked, or what the caller promises.
        NonNull::new(base)
            .filter(|_| len != 0)
            .map(|base| Self { address, base, len })
    }

    /// Whether `len` bytes at `address` all lie inside.
    pub fn holds(&self, address: u64, len: u64) -> bool {
        address
            .checked_sub(self.address)
            .is_some_and(|offset| offset.checked_add(len).is_some_and(|end| end <= self.len))
    }

    /// Where they are here, if they do.
    pub(super) fn at(&self, address: u64, len: u64) -> Option<*mut u8> {
        if !self.holds(address, len) {
            return None;
        }
        let offset = usize::try_from(address.checked_sub(self.address)?).ok()?;
        // SAFETY: Inside, as just checked, or one past the end where there are no bytes.
        Some(unsafe { self.base.as_ptr().add(offset) })
    }
}
