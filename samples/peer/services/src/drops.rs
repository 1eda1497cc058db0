// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Why frames of Linux's come to nothing, counted by cause.

/// Why a frame is not shown to the stack, or not all of it, or is not answered as it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// No honest sender makes it: lengths or fields that contradict each other.
    Malformed,
    /// The checksum of the IPv4 header or of an ICMP message is wrong.
    Checksum,
    /// From an address that no neighbour on this link can have.
    Source,
    /// TCP payload beyond the window, which is cut off.
    Window,
    /// TCP, before the peer has said anything on the connection.
    Early,
    /// A TCP connection that is one too many to be followed, open or not.
    Crowd,
    /// Neither ARP nor IP, or a message of ICMPv6 that nothing is done about.
    Protocol,
    /// For another host or a group.
    Destination,
    /// A fragment: they are not put together here.
    Fragment,
    /// An IPv6 packet with an extension header: they are not read here.
    Extension,
    /// A TCP connection to a service that has as many as it can have: it was reset.
    Busy,
    /// A connection or datagram to a port that nobody serves.
    Closed,
    /// An answer of the stack itself, as to a ping, that was not sent: the Ethernet address of
    /// whom it is for is not known yet, or it is larger than the MTU.
    Unanswered,
}

const CAUSES: [(Cause, &str); 13] = [
    (Cause::Malformed, "malformed"),
    (Cause::Checksum, "checksum"),
    (Cause::Source, "source"),
    (Cause::Window, "window"),
    (Cause::Early, "early"),
    (Cause::Crowd, "crowd"),
    (Cause::Protocol, "protocol"),
    (Cause::Destination, "destination"),
    (Cause::Fragment, "fragment"),
    (Cause::Extension, "extension"),
    (Cause::Busy, "busy"),
    (Cause::Closed, "closed"),
    (Cause::Unanswered, "unanswered"),
];

impl Cause {
    /// Whether an honest neighbour can be the reason.
    const fn is_honest(self) -> bool {
        match self {
            Self::Malformed
            | Self::Checksum
            | Self::Source
            | Self::Window
            | Self::Early
            | Self::Crowd => false,
            Self::Protocol
            | Self::Destination
            | Self::Fragment
            | Self::Extension
            | Self::Busy
            | Self::Closed
            | Self::Unanswered => true,
        }
    }
}

/// How often each of the causes was the reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops([u64; CAUSES.len()]);

impl Drops {
    /// None so far.
    pub(crate) const fn new() -> Self {
        Self([0; CAUSES.len()])
    }

    /// Counts one.
    pub(crate) fn add(&mut self, cause: Cause) {
        if let Some(count) = self.0.get_mut(cause as usize) {
            *count = count.wrapping_add(1);
        }
    }

    /// How often this was the cause.
    pub fn of(&self, cause: Cause) -> u64 {
        self.0.get(cause as usize).copied().unwrap_or(0)
    }

    /// How often the cause was one that no honest neighbour gives.
    pub fn refused(&self) -> u64 {
        CAUSES
            .iter()
            .filter(|(cause, _)| !cause.is_honest())
            .fold(0, |sum, (cause, _)| sum.wrapping_add(self.of(*cause)))
    }

    /// Each cause's name and count.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CAUSES.iter().map(|(cause, name)| (*name, self.of(*cause)))
    }
}

#[cfg(test)]
impl Drops {
    /// As many of each as can be counted.
    pub(crate) const MOST: Self = Self([u64::MAX; CAUSES.len()]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_has_a_counter_of_its_own() {
        let mut drops = Drops::default();
        for (index, (cause, _)) in CAUSES.iter().enumerate() {
            assert_eq!(*cause as usize, index);
            drops.add(*cause);
            assert_eq!(
                drops.iter().filter(|(_, count)| *count == 1).count(),
                index + 1
            );
        }
        assert_eq!(drops.refused(), 6);
    }
}
