// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an operator, or a test, asks of the peer's devices.

use hvl_device::net::Net;
use hvl_device::shared::Shared;

/// What is answered to a line that is none of these.
pub(crate) const HELP: &[u8] = b"say: link up, link down, or announce\n";
/// What is answered to one that is.
pub(crate) const DONE: &[u8] = b"ok\n";

/// Something to be done at the end of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The network's link is to be up, or down.
    Link(bool),
    /// Linux is to announce itself on the network.
    Announce,
}

impl Wish {
    /// What a line says.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next(), words.next()) {
            (Some("link"), Some("up"), None) => Some(Self::Link(true)),
            (Some("link"), Some("down"), None) => Some(Self::Link(false)),
            (Some("announce"), None, None) => Some(Self::Announce),
            _ => None,
        }
    }

    /// Has it done.
    pub fn grant(self, net: &mut Net, shared: &Shared) {
        match self {
            Self::Link(up) => net.set_link(shared, up),
            Self::Announce => {
                // One that was asked for before is as good.
                net.announce(shared);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood() {
        assert_eq!(Wish::parse(" link  up\r"), Some(Wish::Link(true)));
        assert_eq!(Wish::parse("link down"), Some(Wish::Link(false)));
        assert_eq!(Wish::parse("announce"), Some(Wish::Announce));
        for line in ["", "link", "link up now", "announce it", "up"] {
            assert_eq!(Wish::parse(line), None);
        }
    }
}
