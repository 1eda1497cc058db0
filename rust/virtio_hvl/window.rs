// SPDX-License-Identifier: GPL-2.0

//! The register window of one device: transactions (protocol.rst, "Transactions").

use crate::{
    proto::{
        layout::window,
        Entry,
        Status, //
    },
    sys::event::Event,
    virtio_hvl::{
        fault::Fault,
        shmem::Page,
        wire::Wire, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Mutex, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// How often an answer is looked for although no interrupt came, in ms. A lost interrupt costs
/// this much and not the whole deadline.
const POLL_MS: u32 = 20;

/// How a transaction went.
#[derive(Clone, Copy)]
pub(crate) struct Last {
    /// Its sequence number.
    pub(crate) seq: u32,
    /// Number of its entries.
    pub(crate) count: usize,
    /// The first of them.
    pub(crate) first: Entry,
    /// What came of it.
    pub(crate) outcome: Result<(), Fault>,
    /// Microseconds from the doorbell to the answer, or to giving up.
    pub(crate) us: u64,
}

struct Sequence {
    /// The last number used.
    seq: u32,
    /// The peer has not answered it in time.
    late: bool,
    last: Option<Last>,
}

/// A window, and the driver's side of its transactions.
#[pin_data]
pub(crate) struct Window {
    page: Page,
    /// Number of the device.
    device: usize,
    epoch: u32,
    #[pin]
    sequence: Mutex<Sequence>,
    #[pin]
    done: Event,
    done_seen: Atomic<u32>,
    /// Transactions begun and ended.
    steps: Atomic<u64>,
}

impl Window {
    /// The window of device number `device` on `page`, of the peer of `epoch`.
    pub(crate) fn new(page: Page, device: usize, epoch: u32) -> impl PinInit<Self> {
        let seq = page.read(window::DONE_SEQ);
        pin_init!(Self {
            page,
            device,
            epoch,
            sequence <- new_mutex!(Sequence { seq, late: false, last: None }),
            done <- Event::new(),
            done_seen: Atomic::new(seq),
            steps: Atomic::new(0),
        })
    }

    /// Epoch of the peer that the window belongs to.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// The page itself.
    pub(crate) fn page(&self) -> &Page {
        &self.page
    }

    /// Number that changes whenever a transaction begins or ends.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Relaxed)
    }

    /// Looks whether the peer has answered. Any context.
    pub(crate) fn interrupt(&self) {
        let seq = self.page.observe(window::DONE_SEQ);
        if self.done_seen.xchg(seq, Relaxed) != seq {
            self.done.signal();
        }
    }

    /// Has the peer apply `entries`, at most [`window::TXN_MAX`], and calls `read` on the view
    /// that results, before anybody else can change a selector. Sleeps until the peer answers.
    ///
    /// # Errors
    ///
    /// [`Fault::Down`], [`Fault::NoAnswer`], [`Fault::Refused`].
    pub(crate) fn transact<R>(
        &self,
        wire: &Wire,
        entries: &[Entry],
        read: impl FnOnce(&Page) -> R,
    ) -> Result<R, Fault> {
        let mut sequence = self.sequence.lock();
        if !wire.is_up(self.epoch) {
            return Err(Fault::Down);
        }
        if sequence.late && self.page.observe(window::DONE_SEQ) != sequence.seq {
            // The entries of the last one may still be read: they must not change.
            return Err(Fault::NoAnswer(wire.timeout_ms()));
        }
        sequence.late = false;
        sequence.seq = sequence.seq.wrapping_add(1);

        self.done.clear();
        self.post(entries, sequence.seq);
        let start = Instant::<Monotonic>::now();
        wire.notify(self.device, 0);
        wire.counters.transactions.add(1, Relaxed);
        self.steps.add(1, Relaxed);
        let answered = self.wait(wire, sequence.seq);
        self.steps.add(1, Relaxed);
        sequence.late = answered.is_err();
        let outcome = answered.and_then(|()| self.outcome(wire));
        sequence.last = Some(Last {
            seq: sequence.seq,
            count: entries.len(),
            first: entries.first().copied().unwrap_or_default(),
            outcome,
            us: u64::try_from(start.elapsed().as_micros_ceil()).unwrap_or(0),
        });
        outcome.map(|()| read(&self.page))
    }

    /// How the last transaction went, once one was made.
    pub(crate) fn last(&self) -> Option<Last> {
        self.sequence.lock().last
    }

    fn outcome(&self, wire: &Wire) -> Result<(), Fault> {
        let status = self.page.read(window::DONE_STATUS);
        if status == Status::Ok as u32 {
            return Ok(());
        }
        wire.counters.refusals.add(1, Relaxed);
        Err(Fault::Refused(self.page.read(window::DONE_INDEX), status))
    }

    fn post(&self, entries: &[Entry], seq: u32) {
        let mut count = 0;
        for (index, entry) in entries.iter().take(window::TXN_MAX).enumerate() {
            let base = window::txn_entry(index);
            for (word, value) in entry.emit().into_iter().enumerate() {
                self.page.write(base + 4 * word as u32, value);
            }
            count += 1;
        }
        self.page.write(window::TXN_COUNT, count);
        self.page.write(window::TXN_EPOCH, self.epoch);
        self.page.publish(window::TXN_SEQ, seq);
    }

    fn wait(&self, wire: &Wire, seq: u32) -> Result<(), Fault> {
        let limit = wire.timeout_ms();
        let start = Instant::<Monotonic>::now();
        loop {
            let woken = self.done.wait(POLL_MS.min(limit));
            if self.page.observe(window::DONE_SEQ) == seq {
                if !woken && wire.poll().is_none() {
                    wire.counters.missed.add(1, Relaxed);
                }
                return Ok(());
            }
            if !wire.is_up(self.epoch) {
                return Err(Fault::Down);
            }
            if start.elapsed().as_millis() >= i64::from(limit) {
                wire.counters.timeouts.add(1, Relaxed);
                return Err(Fault::NoAnswer(limit));
            }
        }
    }
}
