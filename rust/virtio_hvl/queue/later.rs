// SPDX-License-Identifier: GPL-2.0

//! A queue whose callback sleeps, so that it is left to a thread: who has an interrupt, or looks, tells that, and
//! the thread looks, and calls. It gets one chain at a time, so that whoever resets the device waits for one.

use super::Queue;
use crate::sys::event::Event;
use kernel::sync::atomic::{
    AtomicFlag,
    Relaxed, //
};

/// What the thread was told.
pub(super) struct Later {
    /// The peer has rung.
    rung: AtomicFlag,
    /// It is to look whether it has or not.
    forced: AtomicFlag,
}

impl Later {
    pub(super) fn new() -> Self {
        Self {
            rung: AtomicFlag::new(false),
            forced: AtomicFlag::new(false),
        }
    }
}

/// What a thread has found.
pub(crate) struct Turn {
    /// The driver is to be called.
    pub(crate) call: bool,
    /// There is more, or may be.
    pub(crate) more: bool,
}

impl Queue {
    /// Whether its callback is left to a thread.
    pub(crate) fn is_left(&self) -> bool {
        self.role.caller.is_some()
    }

    /// Has the thread look that `caller` wakes. Any context.
    #[inline(never)]
    pub(super) fn leave(&self, caller: &Event, force: bool) {
        let flag = if force {
            &self.later.forced
        } else {
            &self.later.rung
        };
        flag.store(true, Relaxed);
        caller.signal();
    }

    /// Whether the thread was told and has not looked yet: then an event that was not looked at has not got lost.
    pub(super) fn is_told(&self) -> bool {
        self.later.rung.load(Relaxed)
    }

    /// Takes the next chain back, for the thread that it is left to; `first`: there was none at the last turn.
    /// Process context.
    pub(crate) fn take_turn(&self, first: bool) -> Turn {
        let rung = self.later.rung.xchg(false, Relaxed);
        let force = self.later.forced.xchg(false, Relaxed) && !rung;
        let differs = self.note_event(force);
        let Some(completed) = self.take_some(1) else {
            return Turn {
                call: false,
                more: false,
            };
        };
        // With the others the peer owes nothing: it is not asked for an event before all have come.
        self.note_look(differs, completed.due && first, force);
        Turn {
            call: completed.call,
            more: completed.more,
        }
    }
}
