// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The kinds of devices that the peer can be, and lists of them.

use hvl_device::proto::layout::DEVICES_MAX;

/// Most devices that can be named: as many as a link can have.
pub const DEVICES: usize = DEVICES_MAX;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $most:expr;)*) => {
        /// A device that the peer can be.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum DeviceKind {
            $($(#[$doc])* $name,)*
        }

        impl DeviceKind {
            /// The kind that a word of the command line names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// How many of them a peer can be at once.
            pub const fn most(self) -> usize {
                match self {
                    $(Self::$name => $most,)*
                }
            }
        }
    };
}

kinds! {
    /// Network device.
    Net = "net", 1;
    /// Socket device.
    Vsock = "vsock", 1;
    /// Entropy device.
    Rng = "rng", DEVICES;
    /// Block device.
    Blk = "blk", DEVICES;
    /// Console with a shell and an echo.
    Console = "console", 1;
    /// Messages between processors.
    Rpmsg = "rpmsg", DEVICES;
    /// Device for measurements.
    Bench = "bench", DEVICES;
}

/// Devices in the order of the table; those that there are come first.
pub type List = [Option<DeviceKind>; DEVICES];

/// What there is unless the command line says otherwise.
pub const DEFAULT: List = {
    let mut list = [None; DEVICES];
    let [first, second, ..] = &mut list;
    *first = Some(DeviceKind::Net);
    *second = Some(DeviceKind::Vsock);
    list
};

/// How many of `kind` are in `list`.
pub fn count(list: &List, kind: DeviceKind) -> usize {
    list.iter().filter(|slot| **slot == Some(kind)).count()
}

/// Kinds separated by commas, in any order; `None` if one is not known, or there are too many.
pub fn parse(text: &str) -> Option<List> {
    let mut list = [None; DEVICES];
    let mut slots = list.iter_mut();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        *slots.next()? = Some(DeviceKind::from_word(word)?);
    }
    let fits = |kind: &DeviceKind| count(&list, *kind) <= kind.most();
    list.iter().flatten().all(fits).then_some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Option<Vec<DeviceKind>> {
        parse(text).map(|list| list.iter().flatten().copied().collect())
    }

    #[test]
    fn the_order_is_that_of_the_table() {
        use DeviceKind::{Bench, Net, Vsock};
        assert_eq!(kinds("vsock,net"), Some(vec![Vsock, Net]));
        let mixed = vec![Bench, Vsock, Bench, Net, Bench];
        assert_eq!(kinds("bench,vsock,bench,net,bench"), Some(mixed));
        assert_eq!(kinds(""), Some(vec![]));
        assert_eq!(DEFAULT, parse("net,vsock").unwrap());
    }

    #[test]
    fn there_are_as_many_as_a_link_can_have() {
        let many = ["bench"; DEVICES].join(",");
        assert_eq!(kinds(&many), Some(vec![DeviceKind::Bench; DEVICES]));
        for text in [
            &format!("{many},bench"),
            "net,bench,net",
            "vsock,vsock",
            "what",
        ] {
            assert_eq!(kinds(text), None);
        }
    }
}
