// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What an operator, or a test, asks of the peer's devices.

use hvl_device::console::Console;
use hvl_device::net::Net;
use hvl_device::shared::Shared;

/// What is answered to a line that is none of these.
pub(crate) const HELP: &[u8] =
    b"say: link up, link down, announce, plug <port>, unplug <port>, resize <columns> <rows>, or reset-counters\n";
/// What is answered to one that is.
pub(crate) const DONE: &[u8] = b"ok\n";

/// Something to be done at the end of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// The network's link is to be up, or down.
    Link(bool),
    /// Linux is to announce itself on the network.
    Announce,
    /// A port of the console's is to be there, or not.
    Port(usize, bool),
    /// Its terminals are to have so many columns and rows.
    Size(u16, u16),
    /// The counters of all queues are to begin at 0.
    ResetCounters,
}

impl Wish {
    /// What a line says.
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let line = (words.next()?, words.next(), words.next());
        if words.next().is_some() {
            return None;
        }
        match line {
            ("link", Some("up"), None) => Some(Self::Link(true)),
            ("link", Some("down"), None) => Some(Self::Link(false)),
            ("announce", None, None) => Some(Self::Announce),
            ("plug", Some(port), None) => Some(Self::Port(port.parse().ok()?, true)),
            ("unplug", Some(port), None) => Some(Self::Port(port.parse().ok()?, false)),
            ("resize", Some(columns), Some(rows)) => {
                Some(Self::Size(columns.parse().ok()?, rows.parse().ok()?))
            }
            ("reset-counters", None, None) => Some(Self::ResetCounters),
            _ => None,
        }
    }

    /// Has it done, if it is about the network.
    pub fn grant(self, net: &mut Net, shared: &Shared) {
        match self {
            Self::Link(up) => net.set_link(shared, up),
            Self::Announce => {
                // One that was asked for before is as good.
                net.announce(shared);
            }
            Self::Port(..) | Self::Size(..) | Self::ResetCounters => {}
        }
    }

    /// Has it done, if it is about a console.
    pub fn grant_console(self, console: &mut Console<'_>, shared: &Shared) {
        match self {
            Self::Port(port, there) => {
                // Nobody asks for one that there cannot be but by mistake.
                console.plug(port, there);
            }
            Self::Size(columns, rows) => console.resize(shared, (columns, rows)),
            Self::Link(_) | Self::Announce | Self::ResetCounters => {}
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
        assert_eq!(Wish::parse("plug 1"), Some(Wish::Port(1, true)));
        assert_eq!(Wish::parse("unplug 7"), Some(Wish::Port(7, false)));
        assert_eq!(Wish::parse("resize 80 25"), Some(Wish::Size(80, 25)));
        assert_eq!(Wish::parse("reset-counters"), Some(Wish::ResetCounters));
        for line in [
            "",
            "link",
            "link up now",
            "announce it",
            "up",
            "plug",
            "plug -1",
            "resize 80",
            "resize 80 65536",
            "resize 80 25 1",
        ] {
            assert_eq!(Wish::parse(line), None);
        }
    }
}
