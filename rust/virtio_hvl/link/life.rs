// SPDX-License-Identifier: GPL-2.0

//! The thread of a link: it follows the peer's life cycle, [`crate::algo::link`]. It never waits for
//! the peer but for the answers of an attachment, each with a deadline, and never for a driver.

use super::{
    crew::Crew,
    state::Link, //
};
use crate::{
    algo::{
        link::{
            Action,
            Cause,
            Link as LifeCycle,
            Patience,
            LOOK_MS, //
        },
        poll::{
            Bounds,
            Interval, //
        },
        storm::Storm, //
    },
    proto::PeerState,
    sys::thread::Run,
    virtio_hvl::wire::Wire, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::Relaxed,
        Arc, //
    }, //
};

/// After how long a peer is tried again that did not answer when the driver attached, or was not heard, in ms.
const RETRY_MS: u64 = 10_000;
/// Attachments in a period. A peer that boots again and again is not followed faster.
const ATTACHMENTS: u32 = 32;
/// That period, in ms.
const ATTACHMENTS_MS: u64 = 10_000;
/// After how long a device is looked at whose callback was running, in ms.
const RETRY_LOOK_MS: u32 = 20;
/// After how long all devices are looked at without a ring, in us: soon when one was lost before, since more
/// may be, and seldom when none is.
const LOOKS: Bounds = match Bounds::new(2000, LOOK_MS as u32 * 1000) {
    Some(bounds) => bounds,
    None => Bounds::DEFAULT,
};
/// How long a ring may be on its way, in us. After that it is taken for lost.
const ON_ITS_WAY_US: u32 = 2000;
/// How often a removal is looked at, in ms.
const LEAVING_MS: u32 = 100;

/// Runs the life cycle of a link.
pub(crate) struct Life(pub(crate) Arc<Link>);

impl Run for Life {
    fn run(&self) {
        let (link, wire) = (&self.0, self.0.wire());
        let mut cycle = LifeCycle::new();
        let mut crew = Crew::new(link);
        let mut attachments = Storm::new(ATTACHMENTS, ATTACHMENTS_MS);
        let mut looks = Interval::rested(LOOKS);
        let mut pause_ms = LOOK_MS;
        let mut looked = wire.now_ms();
        let mut retry = false;
        if wire.view().state != Some(PeerState::Ready) {
            dev_info!(wire.dev(), "waiting for a peer\n");
        }
        while !wire.is_stopping() {
            // What is signalled from here on is seen below, or wakes.
            wire.wakeups().clear();
            crew.tend();
            if wire.take_recover() && cycle.give_up() {
                wire.counters.recoveries.add(1, Relaxed);
                self.detach(&mut crew, Cause::Asked);
            }
            match cycle.look(wire.view(), wire.now_ms()) {
                // What an attachment needs is there, or will be: the action comes again.
                Action::Attach(epoch) if crew.is_free() && attachments.allow(wire.now_ms()) => {
                    self.attach(&mut cycle, &mut crew, epoch);
                }
                Action::Detach(cause) => self.detach(&mut crew, cause),
                Action::Notice(ms) => self.notice(ms),
                Action::Relief(ms) => self.relief(ms),
                Action::Attach(_) | Action::None => {
                    let free = crew.is_free() || wire.epoch() != 0;
                    *link.state.lock() = if free { cycle.name() } else { "removing" };
                    let pause = if retry {
                        RETRY_LOOK_MS
                    } else {
                        cycle.look_again_ms().min(pause_ms).min(watch_ms(wire)) as u32
                    };
                    wire.wakeups().wait_idle(pause);
                    let all = wire.now_ms().saturating_sub(looked) >= pause_ms / 2;
                    let lost = wire.counters.lost.load(Relaxed);
                    if all && link.suspects() {
                        // What ends this sleep sooner is looked at below, as are the rings.
                        wire.wakeups().wait_idle_us(ON_ITS_WAY_US, 0);
                    }
                    // Whatever doorbell got lost is made up for here.
                    retry = link.look(all);
                    if all {
                        looked = wire.now_ms();
                        let again = wire.counters.lost.load(Relaxed) != lost;
                        pause_ms = u64::from(looks.next(again)) / 1000;
                    }
                    continue;
                }
            }
            *link.state.lock() = cycle.name();
        }
        self.leave(&mut cycle, &mut crew);
    }

    fn stop(&self) {
        self.0.wire().stop();
    }
}

/// How often the link's queues are looked at for its watchdog, in ms: so it notices within once and a half of its limit.
fn watch_ms(wire: &Wire) -> u64 {
    match wire.watchdog_ms() {
        0 => LOOK_MS,
        limit => u64::from(limit / 4),
    }
}

impl Life {
    fn attach(&self, cycle: &mut LifeCycle, crew: &mut Crew, epoch: u32) {
        let (link, wire) = (&self.0, self.0.wire());
        match link.attach(epoch) {
            Ok(devices) => {
                let period = link.peer().map_or(0, |peer| peer.identity.heartbeat_ms);
                let patience = Patience::with(period, wire.timeout_ms());
                cycle.attached(epoch, wire.view().heartbeat, patience, wire.now_ms());
                crew.take(devices);
            }
            Err(error) => {
                // A peer that was held up may answer later, and so may a doorbell that was not heard; what the peer
                // wrote will not change.
                let passes = error == ETIMEDOUT || error == EIO || error == ENOMEM;
                cycle.refused(epoch, passes.then(|| wire.now_ms() + RETRY_MS));
            }
        }
    }

    /// The peer may be dead, and whoever waits for it should not be the first to say so.
    fn notice(&self, ms: u64) {
        let wire = self.0.wire();
        if wire.may_say() {
            dev_warn!(
                wire.dev(),
                "the peer's heartbeat has stood still for {ms} ms, {} ms in all count as death\n",
                wire.timeout_ms()
            );
        }
    }

    fn relief(&self, ms: u64) {
        let wire = self.0.wire();
        if wire.may_say() {
            dev_info!(
                wire.dev(),
                "the peer's heartbeat goes on after {ms} ms more\n"
            );
        }
    }

    fn detach(&self, crew: &mut Crew, cause: Cause) {
        let (link, wire) = (&self.0, self.0.wire());
        // From here on every operation on these devices fails at once, and what boots next does not
        // take us for attached.
        link.depart();
        // Before anything is logged: a driver that waits may keep the log from being written.
        crew.break_all();
        if wire.may_say() {
            dev_warn!(
                wire.dev(),
                "{}, removing its {} devices\n",
                cause.text(),
                crew.len()
            );
        }
        crew.dismiss();
    }

    /// Removes all devices while the peer, if there is one, is still watched: it is told to reset
    /// them, and may cease to answer in the middle of that.
    fn leave(&self, cycle: &mut LifeCycle, crew: &mut Crew) {
        let (link, wire) = (&self.0, self.0.wire());
        crew.dismiss();
        loop {
            wire.wakeups().clear();
            crew.tend();
            if crew.is_empty() {
                break;
            }
            if wire.epoch() != 0 {
                if let Action::Detach(cause) = cycle.look(wire.view(), wire.now_ms()) {
                    self.detach(crew, cause);
                }
            }
            wire.wakeups().wait_idle(LEAVING_MS);
        }
        if wire.epoch() != 0 {
            link.depart();
        }
    }
}
