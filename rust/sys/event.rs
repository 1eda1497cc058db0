// SPDX-License-Identifier: GPL-2.0

//! An event that can be waited for with a deadline.
//!
//! `kernel::sync::Completion` can neither time out nor be used twice.

use super::bindings as sys;
use kernel::{
    bindings,
    prelude::*,
    time::{
        msecs_to_jiffies,
        Msecs, //
    },
    types::Opaque, //
};

/// Something that happens again and again, signalled from any context and waited for by one thread
/// at a time.
///
/// However often it was signalled, it is waited for once: what the signals are about is looked at
/// after the wait. A count, as completions have, would let the other side choose how often a thread
/// goes round.
///
/// # Invariants
///
/// `inner` is an initialized `struct completion`.
#[pin_data]
pub(crate) struct Event {
    #[pin]
    inner: Opaque<bindings::completion>,
}

// SAFETY: A completion may be used and freed on any CPU.
unsafe impl Send for Event {}

// SAFETY: All operations on a completion take its own lock; so does `hvl_clear_completion`, which
// `reinit_completion` does not.
unsafe impl Sync for Event {}

impl Event {
    /// An event that has not happened.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: `init_completion` initializes the slot.
        pin_init!(Self {
            inner <- Opaque::ffi_init(|slot: *mut bindings::completion| {
                // SAFETY: `slot` is valid for writing a `struct completion`.
                unsafe { bindings::init_completion(slot) };
            }),
        })
    }

    /// Wakes the waiter, or the next one that comes. Any context.
    pub(crate) fn signal(&self) {
        // SAFETY: `inner` is an initialized completion by the type invariant.
        unsafe { sys::complete(self.inner.get()) };
    }

    /// Forgets signals that nobody waited for.
    pub(crate) fn clear(&self) {
        // SAFETY: `inner` is an initialized completion by the type invariant.
        unsafe { sys::hvl_clear_completion(self.inner.get()) };
    }

    /// Sleeps until the event happens, at most `ms` milliseconds (at least one tick). `false`: it
    /// did not. Process context.
    pub(crate) fn wait(&self, ms: Msecs) -> bool {
        let ticks = msecs_to_jiffies(ms).max(1);
        // SAFETY: `inner` is an initialized completion by the type invariant.
        let happened = unsafe { sys::wait_for_completion_timeout(self.inner.get(), ticks) != 0 };
        if happened {
            self.clear();
        }
        happened
    }

    /// Like [`Event::wait`], for a thread that has nothing else to do: it is not counted as load
    /// and not taken for hung. It may end before either.
    pub(crate) fn wait_idle(&self, ms: Msecs) {
        let ticks = msecs_to_jiffies(ms).max(1);
        // SAFETY: `inner` is an initialized completion by the type invariant.
        unsafe { sys::hvl_wait_completion_idle(self.inner.get(), ticks) };
        self.clear();
    }

    /// Like [`Event::wait_idle`], for `us` microseconds and up to `slack_us` more, so that the timer may
    /// share an interrupt with others.
    pub(crate) fn wait_idle_us(&self, us: u32, slack_us: u32) {
        // SAFETY: `inner` is an initialized completion by the type invariant.
        unsafe { sys::hvl_wait_completion_us(self.inner.get(), us, slack_us) };
        self.clear();
    }
}
