// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The virtual timer: time since boot, and waking up in time. And the physical one, for the control loop.

#![expect(unsafe_code, reason = "the timer's registers")]

use crate::cpu::{read_register, write_register};
use crate::gic::Ringer;
use core::arch::asm;
use hvl_device::device::Doorbell;
use hvl_services::session;

/// Interrupt of the virtual timer, on every machine that runs Linux.
pub(crate) const INTID: u32 = 27;

const ENABLE: u64 = 1;
/// Microseconds of a second.
const MICROS: u64 = 1_000_000;

/// A clock that began at boot.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
    frequency: u64,
}

/// The clock of what is stamped, of which Linux is told by an interrupt of its own, if there is one.
#[derive(Debug)]
pub(crate) struct Stamper {
    clock: Clock,
    ringer: Option<Ringer>,
}

impl Stamper {
    pub(crate) const fn new(clock: Clock, ringer: Option<Ringer>) -> Self {
        Self { clock, ringer }
    }
}

impl session::Clock for Stamper {
    fn micros(&self) -> u64 {
        self.clock.micros()
    }

    fn counter(&self) -> u64 {
        let now = counter();
        if let Some(mut ringer) = self.ringer {
            ringer.ring();
        }
        now
    }
}

/// The counter, read in order with what comes before.
fn counter() -> u64 {
    // SAFETY: A barrier has no other effect.
    unsafe { asm!("isb", options(nomem, nostack, preserves_flags)) }
    read_register!("cntvct_el0")
}

impl Clock {
    /// A clock that begins now.
    pub(crate) fn new() -> Self {
        Self {
            start: counter(),
            frequency: read_register!("cntfrq_el0").max(1000),
        }
    }

    /// Ticks since the beginning.
    pub(crate) fn ticks(&self) -> u64 {
        counter().wrapping_sub(self.start)
    }

    /// Ticks in a second.
    pub(crate) const fn frequency(&self) -> u64 {
        self.frequency
    }

    /// Nanoseconds of so many ticks, if these are no more than a few hundred years.
    pub(crate) fn nanos(&self, ticks: u64) -> u64 {
        let nanos = u128::from(ticks) * 1_000_000_000 / u128::from(self.frequency);
        nanos.try_into().unwrap_or(u64::MAX)
    }

    /// Milliseconds since the beginning.
    pub(crate) fn millis(&self) -> u64 {
        self.ticks() / (self.frequency / 1000)
    }

    /// Microseconds since the beginning.
    pub(crate) fn micros(&self) -> u64 {
        let ticks = self.ticks();
        let (seconds, rest) = (ticks / self.frequency, ticks % self.frequency);
        // No overflow up to 18 THz, nor for some hundred thousand years.
        seconds * MICROS + rest * MICROS / self.frequency
    }

    /// Has the timer's interrupt pending from `millis` on.
    pub(crate) fn wake_at(&self, millis: u64) {
        self.wake_at_micros(millis.saturating_mul(1000));
    }

    /// Has the timer's interrupt pending from `micros` on.
    pub(crate) fn wake_at_micros(&self, micros: u64) {
        let rest = micros % MICROS * self.frequency / MICROS;
        let ticks = (micros / MICROS).saturating_mul(self.frequency);
        // The timer takes what is further away than half of all numbers for over.
        let ticks = ticks.saturating_add(rest).min(u64::MAX >> 1);
        write_register!("cntv_cval_el0", self.start.wrapping_add(ticks));
        write_register!("cntv_ctl_el0", ENABLE);
    }

    /// Takes the timer's interrupt back.
    pub(crate) fn silence(&self) {
        write_register!("cntv_ctl_el0", 0);
    }
}

/// The timer of the control loop: the physical one, which nobody else uses while the core is ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Alarm;

impl Alarm {
    /// Its interrupt, on every machine that runs Linux.
    pub(crate) const INTID: u32 = 30;

    /// Has its interrupt pending when `clock` has `ticks`; takes it back until then.
    pub(crate) fn set(self, clock: &Clock, ticks: u64) {
        // Of both counters the offset is the same as long as nobody changes it, but it need not be 0.
        let left = ticks.saturating_sub(clock.ticks()).min(u64::MAX >> 1);
        let now = read_register!("cntpct_el0");
        write_register!("cntp_cval_el0", now.wrapping_add(left));
        write_register!("cntp_ctl_el0", ENABLE);
        crate::cpu::isb();
    }
}
