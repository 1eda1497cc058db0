// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's side of the link life cycle: what to do about what the peer shows.
//!
//! ```text
//!            ready, new epoch               handshake done
//!   Waiting ------------------> Attaching ------------------> Up
//!    ^   ^                          |                          |
//!    |   | change, or time          | refused                  | restarted, stopped,
//!    |   +--------- Refused <-------+                          | failed, hung
//!    +---------------------------------------------------------+
//! ```

use super::super::proto::PeerState;

/// Shortest time after which a silent heartbeat is worth a word, in milliseconds.
pub const HANG_MIN_MS: u64 = 1000;
/// Heartbeat periods after which a silent heartbeat is worth a word.
pub const HANG_PERIODS: u64 = 4;
/// How often a link without a peer, or a peer without a heartbeat, is looked at, in milliseconds.
/// The peer's doorbell makes it sooner.
pub const LOOK_MS: u64 = 1000;

/// What is made of a heartbeat that stands still, in milliseconds since it last moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Patience {
    /// When it is worth a word: nobody should have to guess why his packets wait.
    pub notice_ms: u64,
    /// When the peer counts as hung. Not before [`Patience::notice_ms`].
    pub hang_ms: u64,
}

impl Patience {
    /// The patience with a peer that beats every `period_ms` and that may take `deadline_ms` for
    /// an answer; `None`: it has no heartbeat.
    pub fn with(period_ms: u32, deadline_ms: u32) -> Option<Self> {
        if period_ms == 0 {
            return None;
        }
        let notice_ms = (u64::from(period_ms) * HANG_PERIODS).max(HANG_MIN_MS);
        Some(Self {
            notice_ms,
            hang_ms: notice_ms.max(u64::from(deadline_ms)),
        })
    }
}

/// What the peer's status words say at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// `PeerState`; `None`: a reserved value.
    pub state: Option<PeerState>,
    /// `Epoch`.
    pub epoch: u32,
    /// `Heartbeat`.
    pub heartbeat: u32,
}

/// Why a link went down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The peer booted anew.
    Restarted,
    /// The peer said that it stopped.
    Stopped,
    /// The peer said that it failed, or its state is a reserved value.
    Failed,
    /// The heartbeat stopped.
    Hung,
    /// Somebody wants it to begin afresh.
    Asked,
}

impl Cause {
    /// Text for the log.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Restarted => "the peer restarted",
            Self::Stopped => "the peer stopped",
            Self::Failed => "the peer failed",
            Self::Hung => "the peer's heartbeat stopped",
            Self::Asked => "a new attachment is asked for",
        }
    }
}

/// What to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    None,
    /// Attach to the peer with this epoch, then call [`Link::attached`] or [`Link::refused`].
    Attach(u32),
    /// Remove all devices, then look again.
    Detach(Cause),
    /// Say that the heartbeat has stood still for so many milliseconds.
    Notice(u64),
    /// Say that it has moved again, so many milliseconds after it was said that it stood still.
    Relief(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Waiting,
    Refused { epoch: u32, retry_at: Option<u64> },
    Hung { epoch: u32, heartbeat: u32 },
    Up { epoch: u32 },
}

/// Life cycle of a link as the driver sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    state: State,
    patience: Option<Patience>,
    heartbeat: u32,
    beat_at: u64,
    /// Since when it is known outside that the heartbeat stands still.
    noticed: Option<u64>,
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

impl Link {
    /// A link without a peer.
    pub const fn new() -> Self {
        Self {
            state: State::Waiting,
            patience: None,
            heartbeat: 0,
            beat_at: 0,
            noticed: None,
        }
    }

    /// Decides about `view`, seen at `now_ms`, a clock that does not run backwards.
    pub fn look(&mut self, view: View, now_ms: u64) -> Action {
        let ready = view.state == Some(PeerState::Ready) && view.epoch != 0;
        match self.state {
            State::Waiting if ready => Action::Attach(view.epoch),
            State::Refused { epoch, retry_at }
                if ready && (view.epoch != epoch || retry_at.is_some_and(|at| now_ms >= at)) =>
            {
                Action::Attach(view.epoch)
            }
            // A peer that was only held up attaches like a new one: its rings were given up.
            State::Hung { epoch, heartbeat }
                if ready && (view.epoch != epoch || view.heartbeat != heartbeat) =>
            {
                Action::Attach(view.epoch)
            }
            State::Refused { .. } | State::Hung { .. } if !ready => {
                self.state = State::Waiting;
                Action::None
            }
            State::Up { epoch } => self.look_up(view, epoch, now_ms),
            _ => Action::None,
        }
    }

    fn look_up(&mut self, view: View, epoch: u32, now_ms: u64) -> Action {
        let cause = match view.state {
            _ if view.epoch != epoch => Cause::Restarted,
            Some(PeerState::Ready) => match self.listen(view.heartbeat, now_ms) {
                Action::Detach(cause) => {
                    self.state = State::Hung {
                        epoch,
                        heartbeat: view.heartbeat,
                    };
                    return Action::Detach(cause);
                }
                action => return action,
            },
            Some(PeerState::Stopped) => Cause::Stopped,
            // With the same epoch nothing else is legal, so somebody overwrote it.
            Some(PeerState::Init) => Cause::Restarted,
            Some(PeerState::Absent | PeerState::Failed) | None => Cause::Failed,
        };
        self.state = State::Waiting;
        Action::Detach(cause)
    }

    /// What the heartbeat of a peer that is up says.
    fn listen(&mut self, heartbeat: u32, now_ms: u64) -> Action {
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.beat_at = now_ms;
            return match self.noticed.take() {
                Some(at) => Action::Relief(now_ms.saturating_sub(at)),
                None => Action::None,
            };
        }
        let Some(patience) = self.patience else {
            return Action::None;
        };
        let silent = now_ms.saturating_sub(self.beat_at);
        if silent >= patience.hang_ms {
            Action::Detach(Cause::Hung)
        } else if silent >= patience.notice_ms && self.noticed.is_none() {
            self.noticed = Some(now_ms);
            Action::Notice(silent)
        } else {
            Action::None
        }
    }

    /// Gives a peer up that is attached, whatever it does, so that it is attached to afresh. `false`: none is.
    pub fn give_up(&mut self) -> bool {
        let is_up = matches!(self.state, State::Up { .. });
        if is_up {
            self.state = State::Waiting;
        }
        is_up
    }

    /// The handshake with the peer of `epoch` succeeded, when its counter was at `heartbeat`.
    ///
    /// `patience`: `None` for a peer without heartbeat.
    pub fn attached(
        &mut self,
        epoch: u32,
        heartbeat: u32,
        patience: Option<Patience>,
        now_ms: u64,
    ) {
        self.state = State::Up { epoch };
        self.heartbeat = heartbeat;
        self.beat_at = now_ms;
        self.patience = patience;
        self.noticed = None;
    }

    /// The peer of `epoch` cannot be used: do not try again before something changes, or before
    /// `retry_at`, if what failed may succeed later.
    pub fn refused(&mut self, epoch: u32, retry_at: Option<u64>) {
        self.state = State::Refused { epoch, retry_at };
    }

    /// Milliseconds after which the link is to be looked at again even if no doorbell rings: a second,
    /// so that an idle link costs little, but sooner for a peer whose silence has been noticed.
    pub fn look_again_ms(&self) -> u64 {
        match (self.state, self.noticed, self.patience) {
            (State::Up { .. }, Some(_), Some(patience)) => {
                (patience.notice_ms / 4).clamp(100, LOOK_MS)
            }
            _ => LOOK_MS,
        }
    }

    /// Name of the state for logs and debugfs.
    pub fn name(&self) -> &'static str {
        match self.state {
            State::Waiting => "waiting",
            State::Refused { .. } => "refused",
            State::Hung { .. } => "hung",
            State::Up { .. } => "up",
        }
    }
}
