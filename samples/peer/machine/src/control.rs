// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control loop beside the link: by an interrupt of its own, which comes in the middle of whatever the main loop
//! does. It is the only one that does: the others wait until the main loop looks for them, so that Linux cannot have
//! any code run here by ringing.
//!
//! And what passes of the main loop cost, measured beside it: from the end of a sleep, or of the pass before, without
//! the runs of the control loop in between.

#![expect(
    unsafe_code,
    reason = "marks for who counts the instructions of an emulator"
)]

use crate::cell::Guarded;
use crate::gic::Gic;
use crate::pmu::{Counts, Pmu};
use crate::time::{Alarm, Clock};
use core::arch::asm;
use hvl_services::servo::{Cost, Figures, Pace, Servo};

/// Heartbeats between two times that the log is told.
const LINES: u32 = 20;

/// What the interrupt works with.
struct State {
    gic: Gic,
    clock: Clock,
    alarm: Alarm,
    pmu: Pmu,
    pace: Pace,
    servo: Servo,
    figures: Figures,
    /// What all runs have taken, to be left out of passes.
    ticks: u64,
    spent: Counts,
    /// The heartbeats at which the log was told last.
    told: u32,
}

static STATE: Guarded<Option<State>> = Guarded::new(None);

fn add(cost: &mut Cost, nanos: u64, counts: Counts, pmu: Pmu) {
    cost.time.add(nanos);
    cost.cycles = cost.cycles.max(counts.cycles);
    if pmu.has_instructions() {
        let most = cost.instructions.unwrap_or(0);
        cost.instructions = Some(most.max(counts.instructions.into()));
    }
}

impl State {
    /// A run, if one is due.
    fn run(&mut self) {
        let (before, counted) = (self.clock.ticks(), self.pmu.read());
        let Some(run) = self.pace.run(before) else {
            return;
        };
        self.alarm.set(&self.clock, self.pace.due());
        // The output would go to a pin here.
        core::hint::black_box(self.servo.step());
        self.figures.is_well = self.servo.is_well();
        self.figures.missed += run.missed;
        self.figures.late.add(self.clock.nanos(run.late));
        let ticks = self.clock.ticks().wrapping_sub(before);
        let counts = self.pmu.read().since(counted);
        add(
            &mut self.figures.run,
            self.clock.nanos(ticks),
            counts,
            self.pmu,
        );
        self.ticks = self.ticks.wrapping_add(ticks);
        self.spent.cycles = self.spent.cycles.wrapping_add(counts.cycles);
        self.spent.instructions = self.spent.instructions.wrapping_add(counts.instructions);
    }
}

/// The interrupt, from start.S.
#[no_mangle]
extern "C" fn control_interrupt() {
    STATE.with(|state| {
        let Some(state) = state else {
            return;
        };
        // What is not the timer's was on its way when the others were held back, and is still pending.
        if state.gic.take() == Some(Alarm::INTID) {
            state.run();
        }
    });
}

/// Its interrupt was taken with the others.
pub(crate) fn run() {
    STATE.with(|state| {
        if let Some(state) = state {
            state.run();
        }
    });
}

/// Starts the loop.
pub(crate) fn start(gic: Gic, clock: Clock, hz: u32) {
    let alarm = Alarm;
    let pace = Pace::new(clock.frequency() / u64::from(hz), clock.ticks());
    alarm.set(&clock, pace.due());
    STATE.with(|state| {
        *state = Some(State {
            gic,
            clock,
            alarm,
            pmu: Pmu::start(),
            pace,
            servo: Servo::default(),
            figures: Figures {
                hz,
                is_well: true,
                ..Figures::default()
            },
            ticks: 0,
            spent: Counts::default(),
            told: 0,
        });
    });
}

/// A copy of its figures, if it runs.
pub(crate) fn figures() -> Option<Figures> {
    STATE.with(|state| state.as_ref().map(|state| state.figures))?
}

/// The beginning of a pass.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begin {
    ticks: u64,
    counts: Counts,
    spent: (u64, Counts),
}

/// A pass begins, of which the emulator's plugin is told by a hint that does nothing. `None`: nobody measures.
pub(crate) fn begin() -> Option<Begin> {
    STATE.with(|state| {
        let state = state.as_ref()?;
        // SAFETY: A hint without a meaning.
        unsafe { asm!("hint #106", options(nomem, nostack, preserves_flags)) }
        Some(Begin {
            ticks: state.clock.ticks(),
            counts: state.pmu.read(),
            spent: (state.ticks, state.spent),
        })
    })?
}

/// It is over.
pub(crate) fn end(begin: Option<Begin>) {
    let Some(begin) = begin else {
        return;
    };
    STATE.with(|state| {
        let Some(state) = state else {
            return;
        };
        // SAFETY: As in `begin`.
        unsafe { asm!("hint #107", options(nomem, nostack, preserves_flags)) }
        let counts = state.pmu.read().since(begin.counts);
        let ticks = state.clock.ticks().wrapping_sub(begin.ticks);
        let others = state.ticks.wrapping_sub(begin.spent.0);
        let counts = counts.since(state.spent.since(begin.spent.1));
        let nanos = state.clock.nanos(ticks.wrapping_sub(others));
        add(&mut state.figures.pass, nanos, counts, state.pmu);
    });
}

/// Every now and then the log is told the figures, by number of heartbeats. (That is part of no pass.)
pub(crate) fn tell(beats: u32) {
    let due = STATE.with(|state| {
        let state = state.as_mut()?;
        let due = beats / LINES != state.told / LINES;
        state.told = beats;
        due.then_some(())
    });
    if due.flatten().is_some() {
        tell_all();
    }
}

// (Figures are large: no pass is to move any.)
#[cold]
#[inline(never)]
fn tell_all() {
    for line in figures().iter().flat_map(Figures::lines) {
        log::info!("{line}");
    }
}
