// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A pair of queues, and how much room Linux has given in it.

#![forbid(unsafe_code)]

use super::{receiveq, Net, BUFFER_LEAST, F_MRG_RXBUF, HOPE, LARGEST};
use crate::shared::Shared;

/// What is known of the buffers of one pair.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair {
    /// How many buffers have to do, if Linux posts fewer than the largest frame takes.
    scarce: Option<u16>,
    /// The most that were there of late.
    seen: u16,
    /// Heartbeats in which there was no room for anything.
    stuck: u8,
    /// There were too few when it was looked last.
    dry: bool,
    /// Something was sent since the last heartbeat.
    pub(super) moved: bool,
}

impl Net {
    /// How many buffers Linux has in pair `pair` beyond those for a frame of any size; `None`: not as many.
    pub(super) fn room(&mut self, shared: &Shared, pair: usize) -> Option<u16> {
        let found = self.transport.chains(shared, receiveq(pair));
        let enough = self.enough(pair);
        let least = {
            let state = self.pairs.get_mut(pair)?;
            state.seen = state.seen.max(found);
            if found >= enough {
                state.scarce = None;
            }
            self.least(pair)
        };
        found.checked_sub(least)
    }

    /// The same, to send something: whether there was room is remembered.
    pub(super) fn look(&mut self, shared: &Shared, pair: usize) -> Option<u16> {
        let room = self.room(shared, pair);
        if let Some(state) = self.pairs.get_mut(pair) {
            state.dry = room.is_none();
        }
        room
    }

    /// Buffers of Linux's that are enough for any frame, if Linux posts as many as it should: those for
    /// the link's largest, and where Linux cuts frames, for a [`Port::burst`](super::Port::burst).
    fn enough(&self, pair: usize) -> u16 {
        let size = self.transport.queue_size(receiveq(pair));
        let large = if self.takes_large() {
            LARGEST.min(size / 4)
        } else {
            0
        };
        // Linux posts more only when half of its own ring is used up, which may be smaller.
        let frame = 1 + self.mtu / BUFFER_LEAST;
        frame.max(large).min((size / 2).max(1))
    }

    /// How many buffers there have to be.
    ///
    /// After they ran out it takes more of them to go on: as many as a frame of each socket may
    /// take, as far as Linux posts that many. Otherwise the first sockets would take all, again
    /// and again. They are not waited for longer than a heartbeat.
    pub(super) fn least(&self, pair: usize) -> u16 {
        let half = (self.transport.queue_size(receiveq(pair)) / 2).max(1);
        let state = self.pairs.get(pair).copied().unwrap_or_default();
        let needed = if self.transport.has_feature(F_MRG_RXBUF) {
            state.scarce.unwrap_or_else(|| self.enough(pair))
        } else {
            1
        };
        if state.dry {
            needed.max(half.min(state.seen / 2))
        } else {
            needed
        }
    }

    /// A heartbeat period is over for pair `pair`.
    pub(super) fn tick_pair(&mut self, shared: &Shared, pair: usize) {
        let Some(state) = self.pairs.get_mut(pair) else {
            return;
        };
        let moved = core::mem::take(&mut state.moved);
        if !state.dry || moved {
            state.stuck = 0;
        }
        if !state.dry {
            return;
        }
        // What Linux could post once, it may not be able to now.
        state.seen = 0;
        state.stuck = state.stuck.saturating_add(1);
        let stuck = state.stuck;
        let found = self.transport.chains(shared, receiveq(pair));
        if stuck > HOPE && (1..self.least(pair)).contains(&found) {
            if self.transport.quota.take() {
                log::warn!(
                    "net: Linux posts {found} buffers where the largest frame may take {}: the \
                     region is too small for this mtu, large frames are lost",
                    self.enough(pair)
                );
            }
            if let Some(state) = self.pairs.get_mut(pair) {
                state.scarce = Some(found);
            }
        }
    }
}
