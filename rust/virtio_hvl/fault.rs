// SPDX-License-Identifier: GPL-2.0

//! What can go wrong between the two sides, and who is at fault.

use crate::proto::{
    layout::SHARE_MIN,
    FieldError,
    Kind,
    Status, //
};
use kernel::{
    fmt,
    prelude::*, //
};

/// A reason for which the peer cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The link is down: no peer, or another one than the device belongs to.
    Down,
    /// The peer did not answer a transaction within this many milliseconds.
    NoAnswer(u32),
    /// The peer refused the entry of this number, with this `DoneStatus`.
    Refused(u32, u32),
    /// The peer wrote an illegal value.
    Field(FieldError),
    /// The peer did not keep a register as it acknowledged it: its name.
    Ignored(&'static str),
    /// The driver did not accept these mandatory features.
    Features(u64),
    /// Configuration space changed more often than anybody can read it.
    Storm,
    /// A pool of this many bytes leaves too little for each virtqueue.
    Pool(u32),
    /// The peer did not use a buffer of this queue in time, and the driver would wait without end.
    Unserved(u32),
    /// A driver has waited for the device for this many seconds, in which nothing happened.
    Idle(u64),
}

impl Fault {
    /// The error number that callers get.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Down => ENODEV,
            Self::NoAnswer(_) | Self::Unserved(_) | Self::Idle(_) => ETIMEDOUT,
            Self::Pool(_) => ENOSPC,
            Self::Refused(..) | Self::Ignored(_) | Self::Storm => EIO,
            Self::Features(_) => EINVAL,
            Self::Field(error) => match error.kind {
                Kind::NotHvl => ENODEV,
                Kind::Version => EPROTONOSUPPORT,
                Kind::Range => ERANGE,
                Kind::Malformed => EINVAL,
            },
        }
    }
}

impl From<FieldError> for Fault {
    fn from(error: FieldError) -> Self {
        Self::Field(error)
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        fault.error()
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Down => f.write_str("the link is down"),
            Self::NoAnswer(ms) => write!(f, "the peer did not answer a transaction in {ms} ms"),
            Self::Refused(index, status) => write!(
                f,
                "the peer refused entry {index} of a transaction: status {status} ({})",
                Status::from_word(*status).map_or("reserved", Status::name)
            ),
            Self::Field(error) => write!(f, "the peer's {error}"),
            Self::Ignored(register) => write!(
                f,
                "the peer acknowledged a write of {register}, but does not show it"
            ),
            Self::Features(missing) => write!(
                f,
                "mandatory features {missing:#x} are missing, the device must offer VERSION_1, \
                 ACCESS_PLATFORM and ORDER_PLATFORM"
            ),
            Self::Storm => f.write_str("the peer changes the configuration all the time"),
            Self::Pool(size) => write!(
                f,
                "the pool of {size:#x} bytes is too small: it must have {SHARE_MIN:#x} bytes for \
                 each virtqueue"
            ),
            Self::Unserved(queue) => {
                write!(
                    f,
                    "the peer does not serve queue {queue}, which its driver waits for"
                )
            }
            Self::Idle(seconds) => write!(
                f,
                "its driver has waited for it for {seconds} s, and nothing happened"
            ),
        }
    }
}
