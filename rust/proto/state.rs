// SPDX-License-Identifier: GPL-2.0 OR MIT

//! States of the two sides and their legal transitions (protocol.rst, "States").

/// What the peer says of itself in `PeerState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum PeerState {
    /// No peer has written here, or the memory was cleared.
    Absent = 0,
    /// A peer is filling the header; nothing else is valid.
    Init = 1,
    /// Header, table and windows are valid; transactions are answered.
    Ready = 2,
    /// The peer has stopped in order; it touches the region no more.
    Stopped = 3,
    /// The peer has given up after a fault of its own; it touches the region no more.
    Failed = 4,
}

impl PeerState {
    /// The state that a word stands for; `None` for a reserved value.
    pub const fn from_word(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Absent),
            1 => Some(Self::Init),
            2 => Some(Self::Ready),
            3 => Some(Self::Stopped),
            4 => Some(Self::Failed),
            _ => None,
        }
    }

    /// Whether a peer may go from this state to `next` without a boot in between.
    ///
    /// Every boot starts with [`PeerState::Init`], so that one is legal from anywhere.
    pub const fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (_, Self::Init)
                | (Self::Init, Self::Ready | Self::Failed)
                | (Self::Ready, Self::Stopped | Self::Failed)
        )
    }

    /// Name for logs and debugfs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Init => "init",
            Self::Ready => "ready",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
        }
    }
}

/// What the driver says of itself in `DriverState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DriverState {
    /// No driver: the peer uses no queue and rings no doorbell.
    Absent = 0,
    /// A driver has published its epoch and expects answers.
    Attached = 1,
}

impl DriverState {
    /// The state that a word stands for; `None` for a reserved value.
    pub const fn from_word(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Absent),
            1 => Some(Self::Attached),
            _ => None,
        }
    }
}

/// How the peer came to see a link test, in `TestCause`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TestCause {
    /// Its doorbell interrupt fired.
    Doorbell = 1,
    /// It looked by itself: it polls, or its timer woke it.
    Poll = 2,
}

impl TestCause {
    /// The cause that a word stands for; `None` for a reserved value.
    pub const fn from_word(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Doorbell),
            2 => Some(Self::Poll),
            _ => None,
        }
    }
}

/// The epoch of a boot of the peer that finds `epoch` in `Epoch` and `begun` in `BootEpoch`: none that an earlier
/// boot has had, be it that it came to its end or not.
pub const fn boot_epoch(epoch: u32, begun: u32) -> u32 {
    // A boot that ends early leaves 0 as its epoch.
    next_epoch(if epoch == 0 { begun } else { epoch })
}

/// The epoch that follows `previous`: never 0, never the same.
pub const fn next_epoch(previous: u32) -> u32 {
    match previous.wrapping_add(1) {
        0 => 1,
        next => next,
    }
}
