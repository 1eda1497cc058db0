// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What there is to say of a connection in few words.

use core::fmt;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Sends back what comes (RFC 862).
    Echo,
    /// Takes what comes (RFC 863).
    Discard,
    /// Sends a pattern until the other side has enough (RFC 864).
    Chargen,
    /// Answers one HTTP request.
    Http,
    /// Sends the status page as plain text.
    Status,
    /// Reads `connect <port>` and has a connection made to there.
    Callback,
    /// Measures (see [`crate::stack`]).
    Iperf,
    /// Reads what is to be done to a device.
    Control,
    /// Answers with the time (see [`crate::stamp`]).
    Stamp,
}

impl Kind {
    /// Name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Discard => "discard",
            Self::Chargen => "chargen",
            Self::Http => "http",
            Self::Status => "status",
            Self::Callback => "callback",
            Self::Iperf => "iperf",
            Self::Control => "control",
            Self::Stamp => "stamp",
        }
    }
}

/// What carries a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// TCP.
    Tcp,
    /// vsock, opened by Linux.
    Vsock,
    /// vsock, opened by us.
    VsockOut,
    /// vsock with messages, opened by Linux.
    Seqpacket,
    /// vsock with messages, opened by us.
    SeqpacketOut,
}

impl fmt::Display for Carrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Vsock => "vsock",
            Self::VsockOut => "vsock-out",
            Self::Seqpacket => "seqpacket",
            Self::SeqpacketOut => "seqpacket-out",
        })
    }
}
