// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver decides while it attaches: the numbers by which it tells answers that are meant for it
//! from those to an earlier driver, and what it makes of the answers to its link tests.

use super::super::proto::TestCause;

/// A peer may see a test by chance just before the doorbell reaches it, and a ring may get lost. Only when
/// that happens this often is the doorbell taken for dead.
pub const TRIES: u32 = 4;

/// The first number from `first` on that is none of `others`.
const fn distinct<const N: usize>(first: u32, others: [u32; N]) -> u32 {
    let mut number = first;
    let mut tried = 0;
    // One of N + 1 numbers is none of N.
    while tried < N {
        let mut index = 0;
        while index < N {
            if number == others[index] {
                break;
            }
            index += 1;
        }
        if index == N {
            break;
        }
        number = number.wrapping_add(1);
        tried += 1;
    }
    number
}

/// `DriverEpoch` of a new attachment: `wish`, a random number say, or one behind it.
///
/// It is not `seen`, what `DriverEpochSeen` shows, or the peer would not notice a new driver. And not `shown`, what
/// stands in `DriverEpoch` itself: an earlier driver may have left it there beside DriverState = ATTACHED, so that
/// the peer would adopt this one as soon as EpochAck is written, and before anything else is.
pub const fn driver_epoch(wish: u32, seen: u32, shown: u32) -> u32 {
    distinct(wish, [0, seen, shown])
}

/// `TestRequest` of a new link test.
///
/// It is not `shown`, what stands there, nor what comes before that for some time: the peer may still answer what an
/// earlier driver has asked. Neither is it `ack`, what the peer shows, nor `taken`, what an interrupt has found.
pub const fn test_request(shown: u32, ack: u32, taken: u32) -> u32 {
    distinct(shown.wrapping_add(1), [ack, taken])
}

/// What the tests of an attachment say of the doorbells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They work, as far as there are any.
    Works,
    /// The peer sees tests only by looking.
    ToPeer,
    /// The peer answers, but no interrupt comes.
    ToDriver,
}

/// The answers to the tests of an attachment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tally {
    by_chance: u32,
    silent: u32,
}

impl Tally {
    /// No answer so far.
    pub const fn new() -> Self {
        Self {
            by_chance: 0,
            silent: 0,
        }
    }

    /// Takes an answer with `cause`. `rung`: an interrupt has come with it, or none has to; `has_doorbell`: the
    /// peer has one that it can hear. `None`: another test has to tell.
    ///
    /// An answer without a cause is none: it stands there since the peer has booted.
    pub fn note(
        &mut self,
        cause: Option<TestCause>,
        rung: bool,
        has_doorbell: bool,
    ) -> Option<Verdict> {
        if !rung {
            self.silent = self.silent.saturating_add(1);
            return (self.silent >= TRIES).then_some(Verdict::ToDriver);
        }
        match cause {
            Some(TestCause::Doorbell) => return Some(Verdict::Works),
            Some(TestCause::Poll) if !has_doorbell => return Some(Verdict::Works),
            Some(TestCause::Poll) | None => {}
        }
        self.by_chance = self.by_chance.saturating_add(1);
        (self.by_chance >= TRIES).then_some(Verdict::ToPeer)
    }
}
