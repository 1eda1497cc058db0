// SPDX-License-Identifier: GPL-2.0

//! What goes through a queue: chains to the peer, and what it has used back.

use super::Queue;
use crate::{
    algo::{
        shadow::{
            Completed,
            Ended,
            Flow,
            Posted, //
        },
        share::PRIVATE_MAX, //
    },
    proto::layout::window,
    virtio_hvl::fault::Fault, //
};
use kernel::sync::atomic::Relaxed;

/// Most chains that are taken back with interrupts off.
const BATCH: u16 = 32;
/// Most calls of [`Queue::end`] that it takes, but for what the driver adds meanwhile.
pub(crate) const END_CALLS: u16 = PRIVATE_MAX / BATCH + 1;

/// That an event was not looked at when the last one that was is number `seen`.
const fn unseen_after(seen: u32) -> u64 {
    (1 << 32) | seen as u64
}

impl Queue {
    /// Brings what the driver has made available to the peer, and rings if that wants it. Any
    /// context. `false`: the queue is at its end.
    pub(crate) fn post(&self) -> bool {
        let mut chains = 0;
        let limit = self.size.load(Relaxed).max(1);
        loop {
            let mut state = self.state.lock();
            if state.fault.is_some() {
                return false;
            }
            let Some((shadow, ring)) = state.parts() else {
                // Of one that is held its turn comes.
                return state.held && !state.over;
            };
            let more = match shadow.post(ring, &self.area, &self.area) {
                Posted::Again => true,
                Posted::Chain => {
                    chains += 1;
                    shadow.flow().is_some_and(|flow| flow.is_waiting(ring))
                }
                Posted::Idle => false,
                Posted::Starved => {
                    self.counters.full.add(1, Relaxed);
                    self.starved.store(true, Relaxed);
                    false
                }
                Posted::Never(bytes) => {
                    state.fault = Some(Fault::Unsendable(self.index, bytes));
                    break;
                }
                Posted::Stray(address) => {
                    self.counters.strays.add(1, Relaxed);
                    state.fault = Some(Fault::Stray(self.index, address));
                    break;
                }
            };
            // Another CPU may add to the ring all the time: the rest is the link's thread's.
            let enough = chains >= limit;
            if more && !enough {
                continue;
            }
            if more {
                self.wire.wake();
            }
            let wish = shadow.publish(&self.area, self.index as u16);
            drop(state);
            self.counters.posted.add(chains.into(), Relaxed);
            if let Some(word) = wish {
                self.kick(word);
            }
            return true;
        }
        // The link's thread says what is wrong.
        self.wire.wake();
        false
    }

    /// Notifies the peer (protocol.rst, "Notifications").
    fn kick(&self, word: u32) {
        let queue = self.index as usize;
        let count = self.notify_count.fetch_add(1, Relaxed).wrapping_add(1);
        self.page.write(window::notify_data(queue), word);
        self.page.publish(window::notify_count(queue), count);
        self.counters.kicks.add(1, Relaxed);
        self.wire.notify(self.device, self.doorbell);
    }

    /// Whether the peer has counted an event that was not looked at. Any context.
    pub(crate) fn has_news(&self) -> bool {
        self.page.read(window::queue_event(self.index as usize)) != self.event_seen()
    }

    /// The event counter as last seen.
    pub(crate) fn event_seen(&self) -> u32 {
        self.event_seen.load(Relaxed)
    }

    /// Whether an event was counted that was not looked at: the ring for it is on its way, or lost, which the
    /// next [`Queue::look`] tells. Process context, one caller.
    pub(crate) fn suspects(&self) -> bool {
        let count = self.page.read(window::queue_event(self.index as usize));
        let seen = self.event_seen.load(Relaxed);
        let suspect = seen != count && !self.is_told();
        self.suspect
            .store(if suspect { unseen_after(seen) } else { 0 }, Relaxed);
        suspect
    }

    /// Looks whether the peer has used buffers: if its event counter says so, or if `force`.
    /// `true`: the driver is to be called. Any context.
    pub(crate) fn look(&self, force: bool) -> bool {
        if let Some(caller) = &self.role.caller {
            self.leave(caller, force);
            return false;
        }
        let differs = self.note_event(force);
        if !differs && !force {
            return false;
        }
        let (call, due) = self.take_back();
        self.note_look(differs, due, force);
        call
    }

    /// Sees the event counter: whether it has changed. `force`: nobody has rung for that.
    pub(super) fn note_event(&self, force: bool) -> bool {
        // Pairs with the peer's increment after it published the used index.
        let count = self.page.observe(window::queue_event(self.index as usize));
        let seen = self.event_seen.xchg(count, Relaxed);
        let differs = seen != count;
        if differs {
            self.counters.interrupts.add(1, Relaxed);
            self.silent_since.store(0, Relaxed);
        }
        if force && differs && self.suspect.xchg(0, Relaxed) == unseen_after(seen) {
            self.wire.counters.lost.add(1, Relaxed);
        }
        differs
    }

    /// What a look tells of the peer's events; `due`: it owed one.
    pub(super) fn note_look(&self, differs: bool, due: bool, force: bool) {
        if due && !differs {
            self.note_silence();
        }
        if force && differs && self.vector.load(Relaxed) {
            self.note_muteness();
        }
    }

    /// It has an interrupt of its own, or its device's, or no longer.
    pub(crate) fn set_vector(&self, is_there: bool) {
        self.vector.store(is_there, Relaxed);
        self.mute_since.store(0, Relaxed);
    }

    /// That interrupt has come.
    pub(crate) fn note_vector(&self) {
        self.vector_count.add(1, Relaxed);
    }

    /// Events were counted for which its interrupt has not come. That may only be late, but not for long.
    fn note_muteness(&self) {
        let (now, count) = (self.wire.now_ms().max(1), self.vector_count.load(Relaxed));
        let since = self.mute_since.load(Relaxed);
        if since == 0 || self.mute_at.load(Relaxed) != count {
            self.mute_at.store(count, Relaxed);
            self.mute_since.store(now, Relaxed);
        } else if now.saturating_sub(since) >= u64::from(self.wire.timeout_ms()) {
            self.mute.store(true, Relaxed);
        }
    }

    /// Whether its interrupt never comes; asked once.
    pub(crate) fn take_mute(&self) -> bool {
        !self.mute_said.load(Relaxed)
            && self.mute.load(Relaxed)
            && !self.mute_said.xchg(true, Relaxed)
    }

    /// Buffers came back for which no event was counted. That may only be late, but not for long.
    fn note_silence(&self) {
        let now = self.wire.now_ms().max(1);
        let since = self.silent_since.load(Relaxed);
        if since == 0 {
            self.silent_since.store(now, Relaxed);
        } else if now.saturating_sub(since) >= u64::from(self.wire.timeout_ms()) {
            self.silent.store(true, Relaxed);
        }
    }

    /// Whether buffers come back without an event; asked once.
    pub(crate) fn take_silence(&self) -> bool {
        !self.said.load(Relaxed) && self.silent.load(Relaxed) && !self.said.xchg(true, Relaxed)
    }

    /// Takes back what the peer has used, for a driver that looks by itself.
    pub(crate) fn complete(&self) {
        self.take_back();
    }

    /// Takes back what the peer has used: whether the driver is to be called, and whether the peer
    /// owes an event.
    fn take_back(&self) -> (bool, bool) {
        let (mut call, mut due) = (false, false);
        // The peer may use buffers as fast as they are posted: a ring full, and no more.
        for _ in 0..=self.size.load(Relaxed) / u32::from(BATCH) {
            let Some(completed) = self.take_some(BATCH) else {
                return (call, due);
            };
            call |= completed.call;
            due |= completed.due;
            if !completed.more {
                return (call, due);
            }
        }
        // And whoever looks next does not wait for another event.
        self.wire.want_look(self.device);
        (call, due)
    }

    /// Takes back `most` of the chains that the peer has used, at most; `None`: there are none, or it lies.
    ///
    /// (Two callers, and all below is to be inlined, which is so in one place only.)
    #[inline(never)]
    pub(super) fn take_some(&self, most: u16) -> Option<Completed> {
        let mut state = self.state.lock();
        let (shadow, ring) = state.parts()?;
        match shadow.complete(ring, &self.area, most) {
            Ok(completed) => {
                self.counters.used.add(completed.chains.into(), Relaxed);
                let starved = shadow.flow().is_some_and(Flow::is_starved);
                self.starved.store(starved, Relaxed);
                Some(completed)
            }
            Err(lie) => {
                let first = state.fault.is_none();
                state.fault = state.fault.or(Some(Fault::Ring(self.index, lie)));
                drop(state);
                if first {
                    self.wire.wake();
                }
                None
            }
        }
    }

    /// Gives the driver back what the peer, which is gone, has of it, each chain with `word` as the last byte
    /// that the peer may write. From here on the peer is given nothing. Any context.
    pub(crate) fn end(&self, word: u8) -> Ended {
        let mut state = self.state.lock();
        state.over = true;
        match state.last_parts().filter(|_| self.is_open()) {
            Some((shadow, ring)) => shadow.end(ring, &self.area, word, BATCH),
            None => Ended {
                chains: 0,
                more: false,
            },
        }
    }

    /// Tells the driver something that the peer has not said. Any context. `false`: the driver has no buffer there for
    /// it.
    pub(crate) fn tell(&self, bytes: &[u8]) -> bool {
        let mut state = self.state.lock();
        let over = state.over;
        match state.last_parts().filter(|_| self.is_open()) {
            Some((shadow, ring)) => shadow.tell(ring, &self.area, bytes, over),
            None => false,
        }
    }

    /// Gives the peer nothing more, and the driver nothing back, or does again. Process context.
    pub(crate) fn hold(&self, held: bool) {
        self.state.lock().held = held;
        if !held {
            self.post();
            self.wire.want_look(self.device);
        }
    }

    /// Whether the driver has put all buffers back that it was given, or the queue is not in use.
    pub(crate) fn is_home(&self) -> bool {
        let mut state = self.state.lock();
        match state.last_parts().filter(|_| self.is_open()) {
            Some((shadow, ring)) => shadow.is_home(ring),
            None => true,
        }
    }

    /// Gives the peer nothing more from here on, and the driver nothing back. Any context.
    // (It happens once, if at all: no part of a notification.)
    #[cold]
    #[inline(never)]
    pub(crate) fn give_up(&self) {
        self.state.lock().over = true;
    }

    /// Whether a chain waits for room, which may have come back by now.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved.load(Relaxed)
    }

    /// Whether the driver has made something available that was not brought to the peer.
    pub(crate) fn is_waiting(&self) -> bool {
        let mut state = self.state.lock();
        let Some((shadow, ring)) = state.parts() else {
            return false;
        };
        shadow.flow().is_some_and(|flow| flow.is_waiting(ring))
    }

    /// Whether the peer has used all that the driver has made available; `None`: it never will.
    pub(crate) fn is_settled(&self) -> Option<bool> {
        let state = self.state.lock();
        if state.fault.is_some() || state.over {
            return None;
        }
        let flow = state.shadow.as_ref()?.flow()?;
        Some(flow.is_settled(state.rings.get(state.used)?.as_ref()?))
    }
}
