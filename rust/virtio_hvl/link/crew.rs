// SPDX-License-Identifier: GPL-2.0

//! The keepers of a peer's devices, and what is done when one of them waits in vain.

use super::{
    keeper::{
        Keeper,
        Stage, //
    },
    state::{
        HvlVirtio,
        Link, //
    }, //
};
use crate::{
    sys::thread::Thread,
    virtio_hvl::fault::Fault, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// How long a driver's probe or remove may go on with nothing happening between it and its device,
/// before the device is given up, in ms. Each single transaction has the link's deadline; this is
/// for buffers that the peer does not return.
const PATIENCE_MS: u64 = 30_000;

/// A keeper at work.
struct Kept {
    keeper: Arc<Keeper>,
    // Dropped when the keeper is at its end: waits until its last instruction has run.
    _thread: Thread<Keeper>,
    stage: Stage,
    /// What [`crate::virtio_hvl::device::HvlDevice::steps`] was at `moved`.
    steps: u64,
    /// When something last happened, in ms.
    moved: u64,
    /// Nobody is to wait for it any more.
    broken: bool,
    /// The log says that it is stuck.
    reported: bool,
}

/// The devices of a link, from the first that is to be registered to the last that is not gone.
///
/// They are registered one after the other, so that names follow the order of the device table, as
/// long as none of them keeps the others waiting.
pub(super) struct Crew {
    link: Arc<Link>,
    kept: KVec<Kept>,
    /// Devices whose turn has not come, the first one last.
    queued: KVec<Arc<HvlVirtio>>,
}

impl Crew {
    /// A link without devices.
    pub(super) fn new(link: &Arc<Link>) -> Self {
        Self {
            link: link.clone(),
            kept: KVec::new(),
            queued: KVec::new(),
        }
    }

    /// Takes `devices` to be registered. Only when [`Crew::is_free`].
    pub(super) fn take(&mut self, mut devices: KVec<Arc<HvlVirtio>>) {
        devices.reverse();
        self.queued = devices;
    }

    /// Devices that are there, or are going to be.
    pub(super) fn len(&self) -> usize {
        let there = |kept: &&Kept| kept.keeper.stage() < Stage::Released;
        self.queued.len() + self.kept.iter().filter(there).count()
    }

    /// Whether no driver uses the region any more, so that another peer's devices may.
    pub(super) fn is_free(&self) -> bool {
        let free = |kept: &Kept| kept.keeper.stage() >= Stage::Released;
        self.queued.is_empty() && self.kept.iter().all(free)
    }

    /// Whether all keepers are at their end, so that nothing of the module is in use by them.
    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.kept.is_empty()
    }

    /// Has all devices removed.
    pub(super) fn dismiss(&mut self) {
        self.queued.clear();
        for kept in &self.kept {
            kept.keeper.dismiss();
        }
    }

    /// Lets go of everything that waits for the peer, which will not answer.
    pub(super) fn break_all(&mut self) {
        for kept in &mut self.kept {
            kept.let_go(false);
        }
    }

    /// Does what is due: starts the next device, helps those that are stuck, forgets those that
    /// are gone.
    pub(super) fn tend(&mut self) {
        let now = self.link.wire().now_ms();
        for kept in &mut self.kept {
            kept.tend(now);
        }
        let limit = self.link.wire().watchdog_ms();
        if limit != 0 && self.link.wire().epoch() != 0 {
            for kept in &self.kept {
                kept.watch(&self.link, limit, now);
            }
        }
        // Its thread has nothing left to do but to return, which is waited for.
        self.kept.retain(|kept| kept.stage != Stage::Done);

        let slow = u64::from(self.link.wire().timeout_ms());
        let busy =
            |kept: &Kept| kept.stage == Stage::Starting && now.saturating_sub(kept.moved) < slow;
        while !self.kept.iter().any(busy) {
            let Some(device) = self.queued.pop() else {
                return;
            };
            let index = device.transport().index();
            if let Err(error) = self.start(device, now) {
                dev_err!(
                    self.link.wire().dev(),
                    "device {index} is not registered: no thread for it ({error:?})\n"
                );
            }
        }
    }

    fn start(&mut self, device: Arc<HvlVirtio>, now: u64) -> Result {
        self.kept.reserve(1, GFP_KERNEL)?;
        let keeper = Keeper::new(&self.link, device)?;
        let kept = Kept {
            _thread: Thread::spawn(c"virtio-hvl-dev", keeper.clone())?,
            keeper,
            stage: Stage::Starting,
            steps: 0,
            moved: now,
            broken: false,
            reported: false,
        };
        Ok(self.kept.push(kept, GFP_KERNEL)?)
    }
}

impl Kept {
    fn let_go(&mut self, in_vain: bool) {
        self.broken = true;
        let device = self.keeper.device();
        device.transport().let_go(device, in_vain);
    }

    /// Whether the peer gives back what it has, for which it may take `limit` ms.
    fn watch(&self, link: &Link, limit: u32, now: u64) {
        let transport = self.keeper.device().transport();
        if self.broken || self.stage != Stage::Held || !transport.is_stalled(limit, now) {
            return;
        }
        // What it has used without a word, as it may where the driver did not ask for one, is not with it any more.
        link.look_at(transport.index());
        transport.report_stalls(limit, now);
    }

    fn tend(&mut self, now: u64) {
        let device = self.keeper.device().clone();
        let transport = device.transport();
        let (stage, steps) = (self.keeper.stage(), transport.steps());
        if (stage, steps) != (self.stage, self.steps) {
            (self.stage, self.steps, self.moved) = (stage, steps, now);
        }
        let idle = now.saturating_sub(self.moved);
        let in_vain = stage != Stage::Held && idle >= PATIENCE_MS;

        // Here, and before anything is logged: a driver that waits may keep the log from being
        // written, and a fault may have been noticed in the middle of an operation of the queue.
        if !self.broken && (in_vain || transport.has_failed()) {
            self.let_go(in_vain);
            // What waited gets as long again before the log says that this did not help.
            self.moved = now;
            if in_vain {
                transport.fail(Fault::Idle(idle / 1000));
            }
        } else if in_vain && !self.reported {
            self.reported = true;
            transport.report_stuck(stage == Stage::Released);
        }
        if self.broken {
            // What its driver has asked for since.
            self.let_go(in_vain);
        }
        if transport.is_leaving() {
            self.keeper.nudge();
        }
        transport.catch_up();
    }
}
