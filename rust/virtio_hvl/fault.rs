// SPDX-License-Identifier: GPL-2.0

//! What can go wrong between the two sides, and who is at fault.

use crate::{
    algo::{
        console,
        ring::Lie,
        rpmsg, //
    },
    proto::{
        layout::SHARE_MIN,
        FieldError,
        Kind,
        Status, //
    },
    sys::series::EPROTONOSUPPORT, //
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
    /// A change of the configuration space did not end within this many milliseconds.
    Unsettled(u32),
    /// A part of this many bytes is too small for a virtqueue.
    Pool(u32),
    /// This queue may have so many entries, and what its driver sends needs so many.
    Small(u32, u32, u32),
    /// The peer did not use a buffer of this queue in time, and the driver would wait without end.
    Unserved(u32),
    /// The peer wrote to the ring of this queue what cannot be.
    Ring(u32, Lie),
    /// The peer has sent a control message in this queue of a console's that cannot be.
    Control(u32, console::Wrong),
    /// The peer has sent a message in this queue of a device for messages between processors that cannot be.
    Message(u32, rpmsg::Wrong),
    /// The driver offers a chain of so many bytes in this queue, which its part of the pool cannot
    /// hold.
    Unsendable(u32, u64),
    /// The driver offers an address in this queue that it has not mapped.
    Stray(u32, u64),
    /// A driver has waited for the device for this many seconds, in which nothing happened.
    Idle(u64),
    /// The peer asks for a reset of the device.
    NeedsReset,
    /// The peer shows this status, where this one was written.
    Lost(u32, u32),
}

impl Fault {
    /// The error number that callers get.
    pub(crate) fn error(self) -> Error {
        match self {
            Self::Down => ENODEV,
            Self::NoAnswer(_) | Self::Unserved(_) | Self::Idle(_) | Self::Unsettled(_) => ETIMEDOUT,
            Self::Pool(_) | Self::Small(..) | Self::Unsendable(..) => ENOSPC,
            Self::Refused(..)
            | Self::Ignored(_)
            | Self::Storm
            | Self::Ring(..)
            | Self::Control(..)
            | Self::Message(..)
            | Self::NeedsReset
            | Self::Lost(..) => EIO,
            Self::Features(_) | Self::Stray(..) => EINVAL,
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
            Self::Unsettled(ms) => write!(
                f,
                "the peer's ConfigGeneration is odd for {ms} ms: it must be even when a change is over"
            ),
            Self::Pool(size) => write!(
                f,
                "a queue's part of the pool has {size:#x} bytes: it must have {SHARE_MIN:#x} at least"
            ),
            Self::Small(queue, size, least) => write!(
                f,
                "queue {queue}: the peer's QueueSizeMax is {size}: it must be at least {least} for what \
                 the driver sends at once"
            ),
            Self::Unserved(queue) => {
                write!(
                    f,
                    "the peer does not serve queue {queue}, which its driver waits for"
                )
            }
            Self::Ring(queue, lie) => {
                // The kernel's `fmt!` formats by traits of its own.
                write!(f, "queue {queue}: ")?;
                core::fmt::Display::fmt(lie, f)
            }
            Self::Control(queue, wrong) => {
                // As above.
                write!(f, "queue {queue}: ")?;
                core::fmt::Display::fmt(wrong, f)
            }
            Self::Message(queue, wrong) => {
                write!(f, "queue {queue}: ")?;
                core::fmt::Display::fmt(wrong, f)
            }
            Self::Unsendable(queue, bytes) => write!(
                f,
                "queue {queue}: a chain of {bytes} bytes never fits into its part of the pool, or its ring: \
                 the region, or the peer's QueueSizeMax, is too small for this device"
            ),
            Self::Stray(queue, address) => write!(
                f,
                "queue {queue}: the driver offers address {address:#x}, which it has not mapped: \
                 it is not passed on"
            ),
            Self::Idle(seconds) => write!(
                f,
                "its driver has waited for it for {seconds} s, and nothing happened"
            ),
            Self::Lost(shown, written) => write!(
                f,
                "the peer's Status is {shown:#x}, must be {written:#x}: what is written goes away by a \
                 reset only"
            ),
            Self::NeedsReset => f.write_str(
                "the peer has set DEVICE_NEEDS_RESET, its own log says why: restart the peer, or \
                 unload and load virtio_hvl",
            ),
        }
    }
}
