// SPDX-License-Identifier: GPL-2.0 OR MIT

//! State that only one core ever sees.

#![expect(unsafe_code, reason = "interior mutability without a lock")]

use crate::cpu;
use core::cell::UnsafeCell;

/// A value that is taken once and then belongs to whoever took it.
///
/// This program runs on one core, and the only interrupt that there is while it does something is that of the control
/// loop, which touches nothing but what is [`Guarded`]; so nothing runs at the same time.
pub(crate) struct Once<T> {
    value: UnsafeCell<T>,
    taken: UnsafeCell<bool>,
}

// SAFETY: There is one core, and the one interrupt handler leaves it alone, so no two accesses are concurrent.
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

// SAFETY: There is one core, and the one interrupt handler leaves it alone, so no two accesses are concurrent.
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

/// A value that the control loop's interrupt uses as well.
pub(crate) struct Guarded<T> {
    value: UnsafeCell<T>,
    held: UnsafeCell<bool>,
}

// SAFETY: There is one core, and interrupts are masked while the value is in use.
unsafe impl<T> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    /// Holds `value`.
    pub(crate) const fn new(value: T) -> Self {
        Self {
            value: UnsafeCell::new(value),
            held: UnsafeCell::new(false),
        }
    }

    /// Has `f` use it, with interrupts masked; `None` if somebody does already, further up.
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        let masked = cpu::mask_interrupts();
        // SAFETY: Nothing comes in between while interrupts are masked, and no reference to the flag is kept.
        let held = unsafe { self.held.get().replace(true) };
        // SAFETY: The flag was not set, so that nobody else has a reference.
        let result = (!held).then(|| f(unsafe { &mut *self.value.get() }));
        // SAFETY: As for the flag above.
        unsafe { self.held.get().write(held) };
        cpu::restore_interrupts(masked);
        result
    }
}
