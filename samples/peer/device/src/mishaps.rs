// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Doorbells that go wrong now and then, deliberately: lost, late (and so merged with the next), rung twice,
//! or for nothing. Neither side may lose anything by that but time.

#![forbid(unsafe_code)]

use crate::faults::Faults;
use core::fmt;

/// So many of a thousand rings: what costs nothing, and what somebody has to wait for.
const OFTEN: u32 = 300;
const SELDOM: u32 = 100;

/// What becomes of one ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// What should.
    Good,
    /// Nothing.
    Lost,
    /// It comes later, or with the next.
    Late,
    /// It comes twice.
    Double,
}

/// How many of each kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counts {
    /// Lost.
    pub lost: u32,
    /// Late.
    pub late: u32,
    /// Twice.
    pub double: u32,
    /// For nothing.
    pub spurious: u32,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} lost, {} late, {} twice, {} for nothing",
            self.lost, self.late, self.double, self.spurious
        )
    }
}

/// The faults of one direction, by numbers that look random and are the same at each boot.
#[derive(Clone, Copy, Debug, Hash)]
pub struct Mishaps {
    lost: bool,
    late: bool,
    double: bool,
    spurious: bool,
    noise: u32,
    counts: Counts,
}

impl Mishaps {
    /// The doorbell to Linux.
    pub const fn to_linux(faults: Faults) -> Self {
        Self {
            lost: faults.has(Faults::BELL_LOST),
            late: faults.has(Faults::BELL_LATE),
            double: faults.has(Faults::BELL_DOUBLE),
            spurious: faults.has(Faults::BELL_SPURIOUS),
            noise: 1,
            counts: Counts::NONE,
        }
    }

    /// The doorbell from Linux.
    pub const fn from_linux(faults: Faults) -> Self {
        Self {
            lost: faults.has(Faults::EAR_LOST),
            late: faults.has(Faults::EAR_LATE),
            double: faults.has(Faults::EAR_DOUBLE),
            spurious: faults.has(Faults::EAR_SPURIOUS),
            noise: 2,
            counts: Counts::NONE,
        }
    }

    /// What went wrong so far.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What becomes of a ring.
    pub fn fate(&mut self) -> Fate {
        let (fate, count) = if self.lost && self.chance(SELDOM) {
            (Fate::Lost, &mut self.counts.lost)
        } else if self.late && self.chance(SELDOM) {
            (Fate::Late, &mut self.counts.late)
        } else if self.double && self.chance(OFTEN) {
            (Fate::Double, &mut self.counts.double)
        } else {
            return Fate::Good;
        };
        *count = count.wrapping_add(1);
        fate
    }

    /// Whether there is to be a ring for nothing.
    pub fn for_nothing(&mut self) -> bool {
        let wrong = self.spurious && self.chance(OFTEN);
        if wrong {
            self.counts.spurious = self.counts.spurious.wrapping_add(1);
        }
        wrong
    }

    /// So many of a thousand times (a linear congruential generator's upper bits).
    fn chance(&mut self, of_thousand: u32) -> bool {
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.noise >> 8) % 1000 < of_thousand
    }
}

impl Counts {
    const NONE: Self = Self {
        lost: 0,
        late: 0,
        double: 0,
        spurious: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(mut mishaps: Mishaps) -> Counts {
        let mut seen = Counts::default();
        for _ in 0..10_000 {
            match mishaps.fate() {
                Fate::Good => {}
                Fate::Lost => seen.lost += 1,
                Fate::Late => seen.late += 1,
                Fate::Double => seen.double += 1,
            }
            seen.spurious += u32::from(mishaps.for_nothing());
        }
        assert_eq!(seen, mishaps.counts());
        seen
    }

    #[test]
    fn each_fault_comes_as_often_as_it_should_and_alone() {
        let (seldom, often) = (900..1100, 2800..3200);
        let (to, from) = (Mishaps::to_linux, Mishaps::from_linux);
        for lost in [to(Faults::BELL_LOST), from(Faults::EAR_LOST)] {
            let seen = fates(lost);
            assert!(seldom.contains(&seen.lost));
            assert_eq!((seen.late, seen.double, seen.spurious), (0, 0, 0));
        }
        for late in [to(Faults::BELL_LATE), from(Faults::EAR_LATE)] {
            let seen = fates(late);
            assert!(seldom.contains(&seen.late));
            assert_eq!((seen.lost, seen.double, seen.spurious), (0, 0, 0));
        }
        for double in [to(Faults::BELL_DOUBLE), from(Faults::EAR_DOUBLE)] {
            let seen = fates(double);
            assert!(often.contains(&seen.double));
            assert_eq!((seen.lost, seen.late, seen.spurious), (0, 0, 0));
        }
        for spurious in [to(Faults::BELL_SPURIOUS), from(Faults::EAR_SPURIOUS)] {
            let seen = fates(spurious);
            assert!(often.contains(&seen.spurious));
            assert_eq!((seen.lost, seen.late, seen.double), (0, 0, 0));
        }
    }

    #[test]
    fn good_doorbells_stay_good() {
        let all_bells = Faults::BELL_LOST
            .with(Faults::BELL_LATE)
            .with(Faults::BELL_DOUBLE)
            .with(Faults::BELL_SPURIOUS);
        assert_eq!(fates(Mishaps::to_linux(Faults::NONE)), Counts::NONE);
        // Those of one direction are none of the other's.
        assert_eq!(fates(Mishaps::from_linux(all_bells)), Counts::NONE);
    }

    #[test]
    fn what_went_wrong_is_told() {
        let counts = Counts {
            lost: 1,
            late: 2,
            double: 3,
            spurious: 4,
        };
        let text = "1 lost, 2 late, 3 twice, 4 for nothing";
        assert_eq!(counts.to_string(), text);
    }
}
