// SPDX-License-Identifier: GPL-2.0

//! The link test: do both doorbells work, and how long is a round trip (protocol.rst, "Link test").

use crate::{
    algo::handshake::{
        test_request,
        Tally,
        Verdict,
        TRIES, //
    },
    proto::{
        layout::link,
        TestCause, //
    },
    sys::event::Event,
    virtio_hvl::wire::Wire, //
};
use kernel::{
    fmt,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        Mutex, //
    }, //
};

/// How often an answer without an interrupt is looked for, in ms.
const POLL_MS: u32 = 20;

/// The state of the link test.
#[pin_data]
pub(crate) struct SelfTest {
    /// Whoever tests holds the lock.
    #[pin]
    turn: Mutex<()>,
    #[pin]
    answered: Event,
    ack_seen: Atomic<u32>,
    answered_ns: Atomic<u64>,
    /// Round trip of the test at attachment, in ns.
    pub(crate) first_ns: Atomic<u64>,
}

/// What is wrong with the doorbells.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dead {
    /// The peer did not see the test at all.
    Peer,
    /// The peer sees tests only by looking.
    ToPeer,
    /// The peer answers, but no interrupt comes.
    ToDriver,
    /// None of it: the link is to end, and nobody waits for the result.
    Stopping,
}

struct Answer {
    cause: Option<TestCause>,
    /// Time from ringing to the interrupt, or the look in its place; `None`: there was none.
    ns: Option<u64>,
}

impl SelfTest {
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            turn <- new_mutex!(()),
            answered <- Event::new(),
            ack_seen: Atomic::new(0),
            answered_ns: Atomic::new(0),
            first_ns: Atomic::new(0),
        })
    }

    /// Takes the time of an answer. Hard interrupt context.
    /// `false`: there was none.
    pub(super) fn interrupt(&self, wire: &Wire) -> bool {
        let ack = wire.header().observe(link::TEST_ACK);
        if ack == self.ack_seen.load(Relaxed) {
            return false;
        }
        self.answered_ns.store(wire.now_ns(), Relaxed);
        self.ack_seen.store(ack, Release);
        self.answered.signal();
        true
    }

    /// One test. `None`: no answer within the deadline.
    fn once(&self, wire: &Wire) -> Option<Answer> {
        let _turn = self.turn.lock();
        let ack = wire.header().read(link::TEST_ACK);
        let seen = self.ack_seen.load(Relaxed);
        // The numbers go on from those of an earlier driver, whose last request the peer may still answer.
        let request = test_request(wire.header().read(link::TEST_REQUEST), ack, seen);

        self.answered.clear();
        let start = wire.now_ns();
        wire.header().publish(link::TEST_REQUEST, request);
        wire.ring();
        let limit = u64::from(wire.timeout_ms()) * 1_000_000;
        let mut end = start.saturating_add(limit);
        loop {
            self.answered.wait(POLL_MS.min(wire.timeout_ms()));
            let interrupted = self.ack_seen.load(Acquire) == request;
            let now = wire.now_ns();
            if wire.header().observe(link::TEST_ACK) == request {
                // All tries together wait no longer for an interrupt than one does for the answer.
                end = end.min(now.saturating_add(limit / u64::from(TRIES)));
            }
            let late = now >= end || wire.is_stopping();
            if !interrupted && !late {
                continue;
            }
            if wire.header().observe(link::TEST_ACK) != request {
                return None;
            }
            let at = if interrupted {
                Some(self.answered_ns.load(Relaxed))
            } else {
                // Whoever polls may look too late.
                wire.poll().map(|_| wire.now_ns())
            };
            return Some(Answer {
                cause: TestCause::from_word(wire.header().read(link::TEST_CAUSE)),
                ns: at.map(|at| at.saturating_sub(start)),
            });
        }
    }

    /// Tests both doorbells; the round trip in ns.
    ///
    /// # Errors
    ///
    /// What is dead.
    pub(super) fn run(&self, wire: &Wire) -> Result<u64, Dead> {
        let mut tally = Tally::new();
        loop {
            let answer = self.once(wire);
            if wire.is_stopping() {
                return Err(Dead::Stopping);
            }
            let answer = answer.ok_or(Dead::Peer)?;
            let rung = answer.ns.is_some();
            match tally.note(answer.cause, rung, wire.doorbell().is_real()) {
                None => {}
                Some(Verdict::Works) => return Ok(answer.ns.unwrap_or(0)),
                Some(Verdict::ToPeer) => return Err(Dead::ToPeer),
                Some(Verdict::ToDriver) => return Err(Dead::ToDriver),
            }
        }
    }

    /// Measures up to `count` round trips in ns. Stops early when one gets no answer, and when the
    /// link's deadline has passed twice: a peer that answers each test at the last moment does not
    /// keep the reader, or who waits for him to remove the file.
    ///
    /// # Errors
    ///
    /// `ENODEV` while no peer is attached, `ENOMEM`.
    pub(crate) fn measure(&self, wire: &Wire, count: usize) -> Result<KVVec<u64>> {
        if wire.epoch() == 0 {
            return Err(ENODEV);
        }
        let mut samples = KVVec::with_capacity(count, GFP_KERNEL)?;
        let end = wire.now_ms() + 2 * u64::from(wire.timeout_ms());
        while samples.len() < count && wire.now_ms() < end {
            match self.once(wire).and_then(|answer| answer.ns) {
                Some(ns) => samples.push(ns, GFP_KERNEL)?,
                None => break,
            }
        }
        Ok(samples)
    }
}

impl Dead {
    /// The error number that stands for it.
    pub(super) fn error(self) -> Error {
        match self {
            Self::Peer => ETIMEDOUT,
            Self::ToPeer | Self::ToDriver => EIO,
            Self::Stopping => EINTR,
        }
    }
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Peer => {
                "the peer says that it is ready but does not answer: it is dead, or it neither \
                 hears its doorbell nor looks by itself; check that it runs, and the node's \
                 doorbell register and value"
            }
            Self::ToPeer => {
                "the doorbell from Linux to the peer is dead: the peer saw the test only by \
                 looking; check the node's reg and virtio-hvl,doorbell-value, and that the peer \
                 has enabled this interrupt"
            }
            Self::ToDriver => {
                "the doorbell from the peer to Linux is dead: the peer answered but no interrupt \
                 came; check the node's interrupts, and which interrupt the peer rings"
            }
            Self::Stopping => "the driver is being removed",
        })
    }
}
