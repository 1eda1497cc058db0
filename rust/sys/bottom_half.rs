// SPDX-License-Identifier: GPL-2.0

//! Softirqs kept off this CPU for a while.

use super::bindings as sys;
use kernel::types::NotThreadSafe;

/// While it lives, no softirq runs on this CPU; what was raised meanwhile runs when it is dropped.
pub(crate) struct BottomHalves(NotThreadSafe);

impl BottomHalves {
    /// Disables them. Process context; nests.
    pub(crate) fn disable() -> Self {
        // SAFETY: Undone by `drop` on the same CPU, since the type is bound to its thread.
        unsafe { sys::hvl_bh_disable() };
        Self(NotThreadSafe)
    }
}

impl Drop for BottomHalves {
    fn drop(&mut self) {
        let _ = self.0;
        // SAFETY: Disabled by `disable`.
        unsafe { sys::hvl_bh_enable() };
    }
}
