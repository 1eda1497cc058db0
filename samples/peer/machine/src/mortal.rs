// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A death on purpose, at the n-th step of this peer's life: what Linux must recover from, wherever it happens.

use crate::{cpu, leave};
use hvl_services::config::{Death, End};

/// What there is after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Life, if maybe another one.
    Life,
    /// Nothing is done any more, until Linux asks to stop.
    Nothing,
    /// Nothing for so many milliseconds.
    Pause(u32),
}

/// Counts the steps.
#[derive(Debug)]
pub(crate) struct Mortal {
    death: Option<Death>,
    steps: u32,
    anew: bool,
}

impl Mortal {
    /// One that dies as `death` says, if at all.
    pub(crate) const fn new(death: Option<Death>) -> Self {
        Self {
            death,
            steps: 0,
            anew: false,
        }
    }

    /// It is to begin anew.
    pub(crate) fn revive(&mut self) {
        self.anew = true;
    }

    /// Whether it begins anew, now.
    pub(crate) fn is_anew(&mut self) -> bool {
        core::mem::take(&mut self.anew)
    }

    /// A step.
    pub(crate) fn step(&mut self) -> After {
        self.steps = self.steps.wrapping_add(1);
        let Some(death) = self.death.filter(|death| death.step == self.steps) else {
            return After::Life;
        };
        log::warn!("the last step: {}, {:?}", death.step, death.end);
        match death.end {
            End::Crash => cpu::crash(),
            End::Off => leave::off(),
            End::Hang => return After::Nothing,
            End::Restart => self.revive(),
            End::Hold(ms) => return After::Pause(ms),
        }
        After::Life
    }
}
