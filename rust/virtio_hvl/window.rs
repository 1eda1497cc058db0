// SPDX-License-Identifier: GPL-2.0

//! The register window of one device: transactions (protocol.rst, "Transactions").

use crate::{
    algo::sequence::Sequence,
    proto::{
        layout::window,
        Entry,
        PeerState,
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

struct Transactions {
    sequence: Sequence,
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
    transactions: Mutex<Transactions>,
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
            transactions <- new_mutex!(Transactions { sequence: Sequence::new(seq), last: None }),
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
        let mut transactions = self.transactions.lock();
        if !wire.is_up(self.epoch) {
            return Err(Fault::Down);
        }
        let done = self.page.observe(window::DONE_SEQ);
        let seq = transactions
            .sequence
            .begin(done)
            .ok_or(Fault::NoAnswer(wire.timeout_ms()))?;

        self.done.clear();
        self.post(entries, seq);
        let start = Instant::<Monotonic>::now();
        wire.notify(self.device, 0);
        wire.counters.transactions.add(1, Relaxed);
        self.steps.add(1, Relaxed);
        let answered = self.wait(wire, seq);
        self.steps.add(1, Relaxed);
        transactions.sequence.end(answered.is_ok());
        let answer = answered.and_then(|()| self.answer(wire, read));
        transactions.last = Some(Last {
            seq,
            count: entries.len(),
            first: entries.first().copied().unwrap_or_default(),
            outcome: answer.as_ref().map(|_| ()).map_err(|fault| *fault),
            us: u64::try_from(start.elapsed().as_micros_ceil()).unwrap_or(0),
        });
        answer
    }

    /// How the last transaction went, once one was made.
    pub(crate) fn last(&self) -> Option<Last> {
        self.transactions.lock().last
    }

    /// The answer that is there, and what `read` makes of the view.
    fn answer<R>(&self, wire: &Wire, read: impl FnOnce(&Page) -> R) -> Result<R, Fault> {
        let status = self.page.read(window::DONE_STATUS);
        let index = self.page.read(window::DONE_INDEX);
        let result = read(&self.page);
        // A peer that boots takes TransactionSeq for answered, whatever it was, and shows a view of its own; one that
        // lets the driver go shows that of a device that was reset. Pairs with its barrier between INIT and all
        // else that it writes, and with that after it has observed DriverState.
        self.page.read_barrier();
        let view = wire.view();
        let lives = view.epoch == self.epoch && view.state == Some(PeerState::Ready);
        if !lives || !wire.is_up(self.epoch) {
            return Err(self.wait_down(wire));
        }
        if status == Status::Ok as u32 {
            return Ok(result);
        }
        wire.counters.refusals.add(1, Relaxed);
        Err(Fault::Refused(index, status))
    }

    /// Waits for the link's thread to see that this peer is gone: nobody else is told before that.
    fn wait_down(&self, wire: &Wire) -> Fault {
        let limit = wire.timeout_ms();
        let start = Instant::<Monotonic>::now();
        while wire.is_up(self.epoch) {
            if start.elapsed().as_millis() >= i64::from(limit) {
                return Fault::NoAnswer(limit);
            }
            wire.wake();
            self.done.wait(POLL_MS.min(limit));
        }
        Fault::Down
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
