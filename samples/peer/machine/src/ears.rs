// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What becomes of the rings of our own doorbell, where they go wrong on purpose.

use hvl_device::faults::Faults;
use hvl_device::link::{Link, Wake};
use hvl_device::mishaps::{Counts, Fate, Mishaps};

/// Heartbeats between two lines of the log about that.
const LINE: u32 = 10;

/// How the doorbell is heard.
pub(crate) struct Ears {
    mishaps: Mishaps,
    /// One is heard later, or once more.
    late: bool,
    again: bool,
    /// What was told of all that, of both directions.
    told: (Counts, Counts),
}

impl Ears {
    /// As it should be, but for these faults.
    pub(crate) fn new(faults: Faults) -> Self {
        Self {
            mishaps: Mishaps::from_linux(faults),
            late: false,
            again: false,
            told: Default::default(),
        }
    }

    /// Whether a ring is to be heard later.
    pub(crate) const fn is_late(&self) -> bool {
        self.late
    }

    /// What becomes of the doorbell's ring that `wake` may be: it goes wrong now and then, if it is to. `false`:
    /// it is not heard, or not yet. `slept`: the pass would begin with the end of a sleep.
    pub(crate) fn hears(&mut self, wake: &mut Wake, slept: bool, link: &Link) -> bool {
        if wake.tick && link.heartbeats().is_multiple_of(LINE) {
            self.tell(link);
        }
        if core::mem::take(&mut self.late) || core::mem::take(&mut self.again) {
            wake.doorbell = true;
            return true;
        }
        if slept && self.mishaps.for_nothing() {
            wake.doorbell = true;
            return true;
        }
        if !(wake.doorbell || wake.queues) {
            return true;
        }
        match self.mishaps.fate() {
            Fate::Good => return true,
            Fate::Double => {
                self.again = true;
                return true;
            }
            Fate::Lost => {}
            Fate::Late => self.late = true,
        }
        (wake.doorbell, wake.queues) = (false, false);
        // Whoever is awake looks around, whether he is rung or not.
        !slept || wake.tick || wake.timer
    }

    /// Says how many doorbells went wrong on purpose, if there are more.
    fn tell(&mut self, link: &Link) {
        let now = (link.mishaps(), self.mishaps.counts());
        if now != self.told {
            log::info!("mishaps: to Linux {}; from Linux {}", now.0, now.1);
            self.told = now;
        }
    }
}
