// SPDX-License-Identifier: GPL-2.0 OR MIT

//! State that only one core ever sees.

#![expect(unsafe_code, reason = "interior mutability without a lock")]

use core::cell::UnsafeCell;

/// A value that is taken once and then belongs to whoever took it.
///
/// This program runs on one core with interrupts masked for good, so nothing runs at the same
/// time; an exception handler only touches what is made for it.
pub(crate) struct Once<T> {
    value: UnsafeCell<T>,
    taken: UnsafeCell<bool>,
}

// SAFETY: There is one core and no interrupt handler, so no two accesses are concurrent.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    /// Holds `value` until it is taken.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            taken: UnsafeCell::new(false),
        }
    }

    /// The value, the first time; afterwards `None`.
    #[allow(clippy::mut_from_ref, reason = "given out once only")]
    pub(crate) fn take(&'static self) -> Option<&'static mut T> {
        // SAFETY: No access is concurrent, see above, and no reference to the flag outlives this.
        let taken = unsafe { core::ptr::replace(self.taken.get(), true) };
        // SAFETY: This reference is the only one: the flag was not set before.
        (!taken).then(|| unsafe { &mut *self.value.get() })
    }
}

/// A value that is copied in and out.
pub(crate) struct Shared<T: Copy>(UnsafeCell<T>);

// SAFETY: There is one core and no interrupt handler, so no two accesses are concurrent.
unsafe impl<T: Copy> Sync for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// Holds `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// A copy of the value.
    pub(crate) fn get(&self) -> T {
        // SAFETY: No access is concurrent, and no reference to the inside is ever made.
        unsafe { self.0.get().read() }
    }

    /// Replaces the value and returns the one before.
    pub(crate) fn replace(&self, value: T) -> T {
        let before = self.get();
        self.set(value);
        before
    }

    /// Replaces the value.
    pub(crate) fn set(&self, value: T) {
        // SAFETY: As in `get`.
        unsafe { self.0.get().write(value) }
    }
}
