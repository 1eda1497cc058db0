// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A peer's death on purpose.

/// How it dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// A data abort, of which Linux is told.
    Crash,
    /// The core goes off without a word.
    Off,
    /// Nothing is done any more.
    Hang,
    /// It boots again, without a word.
    Restart,
    /// It holds still for so many milliseconds, and lives on: it is Linux that dies meanwhile.
    Hold(u32),
}

/// When, in steps of its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// The first step is 1.
    pub step: u32,
    /// How.
    pub end: End,
}

impl Death {
    /// As on the command line: `17,crash`, or `17,hold500`.
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (step, end) = value.split_once(',')?;
        let end = match end {
            "crash" => End::Crash,
            "off" => End::Off,
            "hang" => End::Hang,
            "restart" => End::Restart,
            _ => End::Hold(end.strip_prefix("hold")?.parse().ok()?),
        };
        let step = step.parse().ok().filter(|step| *step != 0)?;
        Some(Self { step, end })
    }
}
