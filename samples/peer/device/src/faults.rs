// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Deliberate faults, by which the tests see that the driver bears a broken peer.

#![forbid(unsafe_code)]

/// A set of deliberate faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults(u32);

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident = $bit:literal, $word:literal;)*) => {
        impl Faults {
            $($(#[$doc])* pub const $name: Self = Self(1 << $bit);)*

            /// The fault that a word of the command line names.
            pub fn from_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

faults! {
    /// Wrong magic in the link header.
    MAGIC = 0, "magic";
    /// Another major version.
    VERSION = 1, "version";
    /// The first device's window lies outside the region.
    TABLE = 2, "table";
    /// The first device's window overlaps the pool.
    OVERLAP = 3, "overlap";
    /// The first device has more queues than are allowed.
    MANYQUEUES = 4, "manyqueues";
    /// Queues may have 3 entries at most, which is not a power of two.
    QSIZE = 5, "qsize";
    /// Queues may have 0 entries at most: there are none.
    QSIZE0 = 6, "qsize0";
    /// Queues may have 65535 entries at most.
    QSIZEMAX = 7, "qsizemax";
    /// A thousand devices.
    COUNT = 8, "count";
    /// Transactions are never answered.
    NOREPLY = 9, "noreply";
    /// Linux's doorbell is never rung.
    NORING = 10, "noring";
    /// The peer's doorbell interrupt stays off, and nothing is polled on its behalf.
    DEAF = 11, "deaf";
    /// The library believes that the pool is an eighth of what is published.
    OUTSIDE = 12, "outside";
    /// The heartbeat stands still.
    NOHB = 13, "nohb";
    /// The pool reaches behind the region.
    POOLSIZE = 14, "poolsize";
    /// The peer's base address is not that of a page.
    BASE = 15, "base";
    /// The machine crashes thirty heartbeats after its boot.
    CRASH = 16, "crash";
    /// The machine turns its core off without a word, at that time.
    VANISH = 17, "vanish";
    /// No buffer is ever taken from any queue.
    UNSERVED = 18, "unserved";
    /// The network device has a control queue, which is not served.
    CONTROL = 19, "control";
    /// The first device says that it is a console.
    CONSOLE = 20, "console";
    /// Another epoch at every heartbeat.
    EPOCHS = 21, "epochs";
    /// The first device says that it is an IOMMU.
    IOMMU = 22, "iommu";
}

impl Faults {
    /// No fault at all.
    pub const NONE: Self = Self(0);

    /// Whether `fault` is in the set.
    pub const fn has(self, fault: Self) -> bool {
        self.0 & fault.0 != 0
    }

    /// This set and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}
