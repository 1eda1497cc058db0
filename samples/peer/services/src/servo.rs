// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A control loop as a real-time island has one beside its link to Linux, and figures of how well it keeps its time.
//!
//! The loop is the sample's stand-in for a user's: it is called by a timer, looks at the clock, computes, and sets an output. A
//! user puts something else in the place of [`Servo`].

use core::fmt;

/// Runs in a second that can be asked for.
pub const HZ_MOST: u32 = 10_000;

/// Steps of the loop between two changes of what it is to reach, bits behind the point, and how far off it may be at the
/// end of those steps.
const TURN: u32 = 250;
const POINT: u32 = 16;
const NEAR: i64 = 1 << (POINT - 6);

/// A proportional-integral controller of a simulated motor, in fixed-point numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Servo {
    position: i64,
    sum: i64,
    steps: u32,
    /// How far off it was at the end of a turn, at most.
    off: i64,
    output: bool,
}

impl Servo {
    /// One step; the output.
    pub fn step(&mut self) -> bool {
        let up = (self.steps / TURN).is_multiple_of(2);
        let aim = if up { 1 << POINT } else { 0 };
        let error = aim - self.position;
        self.sum = self
            .sum
            .saturating_add(error / 16)
            .clamp(-(4 << POINT), 4 << POINT);
        let drive = error / 2 + self.sum;
        self.position += (drive - self.position) / 8;
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(TURN) {
            self.off = self.off.max(error.abs());
        }
        self.output = !self.output;
        self.output
    }

    /// Whether it was where it was to be at the end of each turn: nothing has disturbed what it computes.
    pub const fn is_well(&self) -> bool {
        self.off < NEAR
    }
}

/// When the loop is due.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    period: u64,
    due: u64,
}

/// A run of the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// How late it was.
    pub late: u64,
    /// Runs that were left out before it.
    pub missed: u64,
}

impl Pace {
    /// A run each `period` from `now` on, in the same unit.
    pub fn new(period: u64, now: u64) -> Self {
        let period = period.max(1);
        Self {
            period,
            due: now.saturating_add(period),
        }
    }

    /// When the next run is due.
    pub const fn due(&self) -> u64 {
        self.due
    }

    /// It is `now`: the run that is due, if one is.
    pub fn run(&mut self, now: u64) -> Option<Run> {
        let late = now.checked_sub(self.due)?;
        let missed = late / self.period;
        self.due += (missed + 1) * self.period;
        Some(Run { late, missed })
    }
}

/// How often each size of something was there, to a quarter, and the largest.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    buckets: [u32; BUCKETS],
    most: u64,
}

/// Four for each bit.
const BUCKETS: usize = 4 * u64::BITS as usize;

impl Default for Spread {
    fn default() -> Self {
        Self::new()
    }
}

impl Spread {
    /// Nothing.
    pub const fn new() -> Self {
        Self {
            buckets: [0; BUCKETS],
            most: 0,
        }
    }

    /// The bits behind the first say which quarter.
    fn bucket(value: u64) -> usize {
        let log = value.max(4).ilog2();
        4 * log as usize + ((value >> (log - 2)) & 3) as usize
    }

    /// One more.
    pub fn add(&mut self, value: u64) {
        if let Some(count) = self.buckets.get_mut(Self::bucket(value)) {
            *count = count.saturating_add(1);
        }
        self.most = self.most.max(value);
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|count| u64::from(*count)).sum()
    }

    /// Of a thousand so many are at most this, to a quarter.
    fn quantile(&self, permille: u64) -> u64 {
        let wanted = (self.count() * permille).div_ceil(1000);
        let mut seen = 0;
        for (bucket, count) in (0..).zip(&self.buckets) {
            seen += u64::from(*count);
            if seen >= wanted {
                let (log, quarter) = (bucket / 4, bucket % 4);
                // One more than the last that the bucket is for.
                let end = (1_u64.checked_shl(log).unwrap_or(0) / 4)
                    .saturating_mul(u64::from(5 + quarter));
                return self.most.min(end.saturating_sub(1));
            }
        }
        self.most
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [half, most, nearly] = [500, 990, 999].map(|permille| self.quantile(permille));
        write!(f, "p50 {half} p99 {most} p999 {nearly} max {}", self.most)
    }
}

/// What something has cost: nanoseconds, and what the core has counted of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Nanoseconds.
    pub time: Spread,
    /// Cycles at most.
    pub cycles: u64,
    /// Instructions at most, where the core counts them.
    pub instructions: Option<u64>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns {} cycles {}", self.time, self.cycles)?;
        match self.instructions {
            Some(count) => write!(f, " instructions {count}"),
            None => f.write_str(" instructions not counted"),
        }
    }
}

/// The figures of the loop, and of the passes of the main loop beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Runs in a second that there are to be.
    pub hz: u32,
    /// Runs that were left out.
    pub missed: u64,
    /// Nanoseconds by which each run was late.
    pub late: Spread,
    /// What a run has cost.
    pub run: Cost,
    /// Whether the loop has computed what it should.
    pub is_well: bool,
    /// What a pass has cost, but for the runs in it.
    pub pass: Cost,
}

impl Figures {
    /// The lines of the status page and of the log.
    pub fn lines(&self) -> [Line<'_>; 3] {
        [Line::Late(self), Line::Run(self), Line::Pass(self)]
    }
}

/// A line of the figures.
#[derive(Clone, Copy, Debug)]
pub enum Line<'a> {
    /// The time that the loop keeps.
    Late(&'a Figures),
    /// What it costs.
    Run(&'a Figures),
    /// What passes cost.
    Pass(&'a Figures),
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(it) => {
                let (hz, runs, missed) = (it.hz, it.late.count(), it.missed);
                let well = if it.is_well { "well" } else { "off" };
                write!(
                    f,
                    "control: {hz} Hz runs {runs} missed {missed} {well} late ns {}",
                    it.late
                )
            }
            Self::Run(it) => write!(f, "control run: {}", it.run),
            Self::Pass(it) => write!(f, "pass: count {} {}", it.pass.time.count(), it.pass),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_servo_reaches_what_it_is_to_reach_and_tells_when_it_was_disturbed() {
        let mut servo = Servo::default();
        let outputs = (0..20 * TURN).filter(|_| servo.step()).count();
        assert_eq!(outputs, 10 * TURN as usize);
        assert!(servo.is_well(), "{servo:?}");
        // As when a run was left out half the way, or a register came back as another one.
        for _ in 0..TURN - 2 {
            servo.step();
        }
        servo.position += 1 << POINT;
        servo.step();
        servo.step();
        assert!(!servo.is_well(), "{servo:?}");
    }

    #[test]
    fn a_run_that_is_late_is_followed_by_the_next_that_is_due() {
        let mut pace = Pace::new(1000, 500);
        assert_eq!(pace.due(), 1500);
        assert_eq!(pace.run(1499), None);
        assert_eq!(pace.run(1500), Some(Run { late: 0, missed: 0 }));
        assert_eq!(pace.run(1500), None);
        assert_eq!(
            pace.run(3499),
            Some(Run {
                late: 999,
                missed: 0
            })
        );
        let run = Run {
            late: 2100,
            missed: 2,
        };
        assert_eq!(pace.run(5600), Some(run));
        assert_eq!(pace.due(), 6500);
    }

    #[test]
    fn spreads_know_their_quantiles_to_a_quarter() {
        let mut spread = Spread::new();
        assert_eq!(spread.to_string(), "p50 0 p99 0 p999 0 max 0");
        for value in 1..=1000 {
            spread.add(value);
        }
        for permille in [100, 500, 990, 1000] {
            let found = spread.quantile(permille);
            assert!(
                (permille..=permille * 5 / 4).contains(&found),
                "{permille}: {found}"
            );
        }
        spread.add(u64::MAX);
        spread.add(0);
        assert_eq!((spread.most, spread.count()), (u64::MAX, 1002));
        assert!(spread.quantile(1000) >= u64::MAX - 1);
    }
}
