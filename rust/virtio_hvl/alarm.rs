// SPDX-License-Identifier: GPL-2.0

//! What ends the sleep of the thread that polls, where there is one, before its time.

use crate::sys::event::Event;
use kernel::{
    prelude::*,
    sync::atomic::{
        Acquire,
        AtomicFlag,
        Relaxed,
        Release, //
    }, //
};

/// How much longer than it was asked to the thread may sleep, as a part of that.
const SLACK: u32 = 4;
/// How long it sleeps while there is nobody to look at, in ms: it is woken.
const SLEEP_MS: u32 = 60_000;

/// An alarm for one sleeper.
#[pin_data]
pub(crate) struct Alarm {
    #[pin]
    event: Event,
    /// There is a peer to look at.
    armed: AtomicFlag,
    /// The sleeper wants to know of a ring.
    dozing: AtomicFlag,
}

impl Alarm {
    /// An alarm that is not armed.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            event <- Event::new(),
            armed: AtomicFlag::new(false),
            dozing: AtomicFlag::new(false),
        })
    }

    /// There is a peer to look at now, or none any more.
    pub(crate) fn arm(&self, armed: bool) {
        self.armed.store(armed, Release);
        self.wake();
    }

    /// Whether there is.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Acquire)
    }

    /// The peer was told something, and may answer soon. Any context. Without a sleeper this is one load.
    pub(crate) fn ring(&self) {
        if self.dozing.load(Relaxed) && self.dozing.xchg(false, Relaxed) {
            self.event.signal();
        }
    }

    /// Ends the sleep. Any context.
    pub(crate) fn wake(&self) {
        self.event.signal();
    }

    /// Sleeps until something happens, with nobody to look at. Process context.
    pub(crate) fn sleep(&self) {
        self.event.wait_idle(SLEEP_MS);
    }

    /// Wants to know of rings from now on: a look that begins now may be too early for the answer.
    pub(crate) fn listen(&self) {
        self.dozing.store(true, Relaxed);
    }

    /// Sleeps for `us` microseconds, or if it is `deep` until a ring since [`Alarm::listen`]; `true`: there
    /// was one. Process context.
    pub(crate) fn doze(&self, us: u32, deep: bool) -> bool {
        if !deep && !self.dozing.xchg(false, Relaxed) {
            // It goes on soon anyhow, also if this was to end it all.
            self.event.clear();
        }
        self.event.wait_idle_us(us, us / SLACK);
        deep && !self.dozing.xchg(false, Relaxed)
    }
}
