// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The window of one device: transactions, queues, events (protocol.rst, "Device window").

#![forbid(unsafe_code)]

mod boot;
mod config;
mod lies;
mod model;
mod notifications;
mod transaction;
mod vectors;

pub use self::model::{Model, Offer, QueueStats, RINGS};
use crate::faults::{Faults, Patience};
use crate::mask::{bit, each};
use crate::proto::layout::{link, window, QUEUES_MAX};
use crate::proto::virtio::{feature, reg, status};
use crate::proto::{Status, Vector};
use crate::queue::{Chain, Fault, Features, Layout, Virtqueue};
use crate::shared::{Quota, Shared, BUDGET};
use core::ops::{Deref, DerefMut};

/// Most queues of a device.
pub const QUEUES: usize = QUEUES_MAX;
/// Most bytes of configuration space in this library.
pub const CONFIG_SIZE: usize = 64;

/// A queue of the window. A model has no business with it: it says how many there are.
#[derive(Clone, Debug, Default, Hash)]
pub struct Queue {
    pub(crate) size_max: u32,
    pub(crate) layout: Layout,
    pub(crate) ring: Option<Virtqueue>,
    pub(crate) event: u32,
    /// What is rung for its events in place of the doorbell.
    vector: Option<Vector>,
    /// How often it was made ready.
    pub(crate) life: u32,
    pub(crate) stats: QueueStats,
}

/// One device's side of its window. A model has one with as many queues as it may have at most,
/// `Transport<[Queue; 3]>`; everybody else sees that as a `Transport`.
#[derive(Clone, Debug, Hash)]
pub struct Transport<Q: ?Sized = [Queue]> {
    pub(crate) model: Model,
    /// Place in the device table.
    index: usize,
    /// The window, from the start of the region.
    base: u32,
    faults: Faults,
    offer: Offer,
    /// What it says that it is.
    pub(crate) claimed: u32,
    /// Features and configuration, where others were invented.
    truth: Option<(u64, [u8; CONFIG_SIZE], usize)>,
    config: [u8; CONFIG_SIZE],
    config_len: usize,
    pub(crate) status: u32,
    pub(crate) accepted: u64,
    pub(crate) device_features_sel: u32,
    pub(crate) driver_features_sel: u32,
    pub(crate) queue_sel: u32,
    /// Set by a reset, for the model to see.
    pub(crate) was_reset: bool,

    pub(crate) done_seq: u32,
    /// Odd while a change of the configuration space is under way.
    pub(crate) config_generation: u32,
    /// Of the faults of the configuration.
    pub(crate) patience: Patience,
    pub(crate) config_event: u32,
    pub(crate) device_event: u32,
    event_pending: bool,
    /// The same as `Queue::vector` for changes of the configuration.
    config_vector: Option<Vector>,
    /// Vectors that have something to say: of queues, a bit each, and that of the configuration.
    vectors_due: u64,
    config_due: bool,
    /// Bit mask of the queues of which chains were given back that Linux was not shown yet.
    given: u64,
    /// The same of those for which Linux may notify.
    loud: u64,
    /// How often Linux has notified of each queue, as far as it was counted.
    pub(crate) notified: [u32; QUEUES],
    /// Of how many chains of each queue Linux was asked to notify.
    asked: [u16; QUEUES],
    /// Bit mask of the queues for which it has to be asked again, whatever it was asked before.
    due: u64,
    /// Linux was asked for all of them, and nothing was taken since: it still will.
    armed: bool,
    pub(crate) transactions: u64,
    pub(crate) quota: Quota,
    /// Those of `model`, and maybe others behind them.
    pub(crate) queues: Q,
}

impl<const N: usize> Deref for Transport<[Queue; N]> {
    type Target = Transport;

    fn deref(&self) -> &Transport {
        self
    }
}

impl<const N: usize> DerefMut for Transport<[Queue; N]> {
    fn deref_mut(&mut self) -> &mut Transport {
        self
    }
}

impl<const N: usize> Transport<[Queue; N]> {
    /// A device with the configuration space `config`; `model` has at most `N` queues.
    pub fn new(model: Model, config: &[u8]) -> Self {
        let mut space = [0; CONFIG_SIZE];
        for (to, from) in space.iter_mut().zip(config) {
            *to = *from;
        }
        let mut queues: [Queue; N] = core::array::from_fn(|_| Queue::default());
        for (queue, size) in queues.iter_mut().zip(model.queues) {
            queue.size_max = u32::from(*size);
        }
        Self {
            model,
            index: 0,
            base: 0,
            faults: Faults::NONE,
            offer: Offer::ALL,
            claimed: 0,
            truth: None,
            config: space,
            config_len: config.len().min(CONFIG_SIZE),
            status: 0,
            accepted: 0,
            device_features_sel: 0,
            driver_features_sel: 0,
            queue_sel: 0,
            was_reset: false,
            done_seq: 0,
            config_generation: 0,
            patience: Patience::default(),
            config_event: 0,
            device_event: 0,
            event_pending: false,
            config_vector: None,
            vectors_due: 0,
            config_due: false,
            given: 0,
            loud: 0,
            notified: [0; QUEUES],
            asked: [0; QUEUES],
            due: 0,
            armed: false,
            transactions: 0,
            quota: Quota::new(),
            queues,
        }
    }
}

/// Buffers that are given back before [`Faults::KEEP`].
const KEPT_FROM: u64 = 20;

impl Transport {
    /// Name for log and status page.
    pub const fn name(&self) -> &'static str {
        self.model.name
    }

    /// Device status (VIRTIO 2.1).
    pub const fn status(&self) -> u32 {
        self.status
    }

    /// Features that both sides have agreed on, 0 before they have.
    pub const fn features(&self) -> u64 {
        if self.status & status::FEATURES_OK != 0 {
            self.accepted
        } else {
            0
        }
    }

    /// Whether feature bit `bit` was agreed on.
    pub const fn has_feature(&self, bit: u32) -> bool {
        self.features() & (1 << bit) != 0
    }

    /// Whether the models are to do something wrong.
    pub(crate) const fn has_fault(&self, fault: Faults) -> bool {
        self.faults.has(fault)
    }

    /// Number of transactions answered.
    pub const fn transactions(&self) -> u64 {
        self.transactions
    }

    /// How many queues there are.
    pub const fn queue_count(&self) -> usize {
        self.model.queues.len()
    }

    /// Counters of each queue.
    pub fn stats(&self) -> impl Iterator<Item = &QueueStats> {
        let count = self.model.queues.len();
        self.queues.iter().take(count).map(|queue| &queue.stats)
    }

    /// Has the counters of all queues begin at 0.
    pub fn reset_stats(&mut self) {
        for queue in &mut self.queues {
            queue.stats = QueueStats::NONE;
        }
    }

    /// Everything that this device offers.
    pub(crate) const fn offered(&self) -> u64 {
        let mut rings = self.offer.rings & RINGS;
        if !self.model.in_order {
            rings &= !(1 << feature::IN_ORDER);
        }
        self.model.features | feature::MANDATORY | rings
    }

    /// Takes whatever transaction stands in the window for answered.
    pub(crate) fn drop_pending(&mut self, shared: &Shared) {
        self.done_seq = self.read(shared, window::TXN_SEQ);
        self.write(shared, window::DONE_STATUS, Status::Stale as u32);
        self.write(shared, window::DONE_INDEX, 0);
        shared
            .mem
            .publish32(self.base.wrapping_add(window::DONE_SEQ), self.done_seq);
    }

    /// Resets the device, as a write of 0 to Status does.
    pub(crate) fn reset(&mut self) {
        self.status = 0;
        self.accepted = 0;
        self.device_features_sel = 0;
        self.driver_features_sel = 0;
        self.queue_sel = 0;
        self.armed = false;
        self.loud = 0;
        self.due = 0;
        self.config_vector = None;
        for queue in &mut self.queues {
            queue.ring = None;
            queue.vector = None;
            queue.layout = Layout::default();
        }
        self.was_reset = true;
    }

    /// Brings the published view up to date.
    pub(crate) fn show_view(&self, shared: &Shared) {
        for offset in (0..window::VIEW_SIZE).step_by(4) {
            self.write(shared, offset, self.register(offset));
        }
    }

    /// Makes queue `index` usable; called by a write of 1 to QueueReady.
    pub(crate) fn start_queue(&mut self, shared: &Shared, index: usize) -> Result<(), Fault> {
        let features = Features::from_bits(self.features());
        let notify = self
            .base
            .wrapping_add(window::notify_count(index.min(QUEUES - 1)));
        let vector = self.vector(shared, window::queue_vector(index.min(QUEUES - 1)));
        let Some(queue) = self.queues.get_mut(index) else {
            return Err(Fault::Layout);
        };
        match Virtqueue::new(&queue.layout, &shared.pool, features) {
            Ok(ring) => {
                if let Some(notified) = self.notified.get_mut(index) {
                    *notified = shared.mem.read32(notify);
                }
                queue.vector = vector;
                queue.ring = Some(ring);
                queue.life = queue.life.wrapping_add(1);
                self.armed = false;
                self.loud |= bit(index);
                self.due |= bit(index);
                Ok(())
            }
            Err(fault) => {
                self.report(index, fault);
                Err(fault)
            }
        }
    }

    /// Counts and logs a fault of Linux's.
    fn report(&mut self, index: usize, fault: Fault) {
        if let Some(queue) = self.queues.get_mut(index) {
            queue.stats.faults = queue.stats.faults.wrapping_add(1);
            if matches!(fault, Fault::Outside { .. }) {
                queue.stats.outside = queue.stats.outside.wrapping_add(1);
            }
        }
        if self.quota.take() {
            log::error!("{}: queue {index}: {fault}", self.model.name);
        }
    }

    /// Stops queue `index` after a fault of Linux's; the device needs a reset.
    fn fail(&mut self, shared: &Shared, index: usize, fault: Fault) {
        self.report(index, fault);
        if let Some(queue) = self.queues.get_mut(index) {
            queue.ring = None;
        }
        self.demand_reset(shared);
    }

    /// Asks Linux for a reset of the device, whose queues are not used before that.
    pub(crate) fn demand_reset(&mut self, shared: &Shared) {
        self.status |= status::NEEDS_RESET;
        self.show_status(shared, self.status);
    }

    /// Shows `status`, whatever it is, and tells Linux of it.
    pub(crate) fn show_status(&mut self, shared: &Shared, status: u32) {
        shared
            .mem
            .publish32(self.base.wrapping_add(reg::STATUS), status);
        self.announce_config(shared);
    }

    /// Whether Linux's driver is ready, and has not made a fault since.
    pub(crate) const fn may_use_queues(&self) -> bool {
        self.status & status::DRIVER_OK != 0 && self.status & status::NEEDS_RESET == 0
    }

    /// Runs `f` on a queue that Linux has made ready, once the driver is.
    fn with_ring<R>(
        &mut self,
        shared: &Shared,
        index: usize,
        f: impl FnOnce(&mut Virtqueue, &mut QueueStats) -> Result<R, Fault>,
    ) -> Option<R> {
        if !self.may_use_queues() {
            return None;
        }
        let queue = self.queues.get_mut(index)?;
        match f(queue.ring.as_mut()?, &mut queue.stats) {
            Ok(result) => Some(result),
            Err(fault) => {
                self.fail(shared, index, fault);
                None
            }
        }
    }

    /// Takes the next chain of queue `index`; `false` if there is none.
    pub fn pop(&mut self, shared: &Shared, index: usize, chain: &mut Chain) -> bool {
        // What is lied about here has to stay with us.
        let kept = self.faults.has(Faults::LIE_NEVER) && (self.index, index) == (0, 1);
        if self.faults.has(Faults::UNSERVED) || kept {
            return false;
        }
        let popped = self.with_ring(shared, index, |ring, _| {
            ring.pop(&shared.mem, &shared.pool, chain)
        });
        let taken = popped.unwrap_or(false);
        if taken {
            self.armed = false;
            self.due |= bit(index);
        }
        taken
    }

    /// Takes back the last `chains` of queue `index` that were given back, with `bytes` in all,
    /// and leaves them to be taken again. Only before the end of the pass, in which Linux sees it,
    /// and at most [`UNDO_MAX`](crate::queue::UNDO_MAX) of them.
    pub fn undo(&mut self, shared: &Shared, index: usize, chains: usize, bytes: u64) {
        self.with_ring(shared, index, |ring, stats| {
            for _ in 0..chains {
                ring.undo();
            }
            stats.chains = stats.chains.wrapping_sub(chains as u64);
            stats.bytes = stats.bytes.wrapping_sub(bytes);
            Ok(())
        });
    }

    /// How many chains queue `index` has to take.
    pub fn chains(&mut self, shared: &Shared, index: usize) -> u16 {
        self.with_ring(shared, index, |ring, _| ring.available(&shared.mem))
            .unwrap_or(0)
    }

    /// Entries of queue `index`; 0 if it is not in use.
    pub fn queue_size(&self, index: usize) -> u16 {
        let ring = self.queues.get(index).and_then(|q| q.ring.as_ref());
        ring.map_or(0, Virtqueue::size)
    }

    /// How often queue `index` was made ready: with each time the chains that were taken from it before
    /// are Linux's again.
    pub fn life(&self, index: usize) -> u32 {
        self.queues.get(index).map_or(0, |queue| queue.life)
    }

    /// Whether what it has taken from queue `index` stays with it, see [`Faults::KEEP`].
    #[cold]
    #[inline(never)]
    fn keeps(&self, index: usize) -> bool {
        let sends = index == 1 || self.queue_count() == 1;
        let queue = self.queues.get(index).filter(|_| self.index == 0 && sends);
        queue.is_some_and(|queue| queue.life == 1 && queue.stats.chains >= KEPT_FROM)
    }

    /// Gives a chain back that `len` bytes were read from or, where it was writable, written to.
    pub fn push(&mut self, shared: &Shared, index: usize, chain: &Chain, len: u32) {
        if self.faults.has(Faults::KEEP) && self.keeps(index) {
            return;
        }
        let written = if chain.writable_len() == 0 { 0 } else { len };
        self.given |= bit(index);
        self.with_ring(shared, index, |ring, stats| {
            ring.push(&shared.mem, chain, written)?;
            stats.chains = stats.chains.wrapping_add(1);
            stats.bytes = stats.bytes.wrapping_add(u64::from(len));
            Ok(())
        });
    }

    /// Shows Linux the used chains and says which event it is owed; `true` if the doorbell has to
    /// ring. [`Transport::ring_vectors`] is for what the doorbell does not ring for.
    pub(crate) fn flush(&mut self, shared: &Shared) -> bool {
        let given = core::mem::take(&mut self.given);
        let given = if self.may_use_queues() { given } else { 0 };
        for index in each(given) {
            let Some(queue) = self.queues.get_mut(index) else {
                continue;
            };
            let Some(ring) = queue.ring.as_mut() else {
                continue;
            };
            if ring.publish(&shared.mem)
                && ring.wants_notification(&shared.mem)
                && !self.faults.has(Faults::NOEVENT)
            {
                queue.event = queue.event.wrapping_add(1);
                let at = self.base.wrapping_add(window::queue_event(index));
                shared.mem.publish32(at, queue.event);
                queue.stats.events = queue.stats.events.wrapping_add(1);
                if queue.vector.is_some() {
                    self.vectors_due |= bit(index);
                } else {
                    self.event_pending = true;
                }
            }
        }
        let rings = core::mem::take(&mut self.event_pending);
        if !rings && !self.has_vectors_due() {
            return false;
        }
        self.device_event = self.device_event.wrapping_add(1);
        shared
            .mem
            .publish32(link::device_event(self.index), self.device_event);
        rings
    }

    fn read(&self, shared: &Shared, offset: u32) -> u32 {
        shared.mem.read32(self.base.wrapping_add(offset))
    }

    fn write(&self, shared: &Shared, offset: u32, value: u32) {
        shared.mem.write32(self.base.wrapping_add(offset), value);
    }
}

const _: () = assert!(BUDGET > 0 && QUEUES <= u64::BITS as usize);
