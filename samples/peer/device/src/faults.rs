// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Deliberate faults, by which the tests see that the driver bears a broken peer.

#![forbid(unsafe_code)]

/// A set of deliberate faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Faults(u128);

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
    /// The machine crashes when its devices have been in use for thirty heartbeats.
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
    /// The first device says that it is a memory balloon.
    BALLOON = 23, "balloon";
    /// The network device offers what needs a control queue, and has none.
    NOCONTROL = 24, "nocontrol";
    /// The first device asks for a reset, once, when it is in use.
    NEEDS_RESET = 25, "needs-reset";
    /// ConfigGeneration of the first device is odd from the boot on.
    CONFIG_ODD = 26, "config-odd";
    /// It becomes odd when the device is in use, and stays so.
    CONFIG_STUCK = 27, "config-stuck";
    /// The address of the network device, which has to be the first, changes all the time: a part of
    /// it at one heartbeat, the rest at the next.
    CONFIG_SLOW = 28, "config-slow";
    /// The configuration of the first device changes with each pass while it is in use.
    CONFIG_STORM = 29, "config-storm";
    /// The first device shows status bits that nobody has written, when it is in use.
    STATUS_NOISE = 30, "status-noise";
    /// It shows none at all then.
    STATUS_LOST = 31, "status-lost";
    /// One NEXT flag is flipped in the descriptors of each queue of the first device.
    LIE_FLAG = 32, "lie-flag";
    /// NEXT is set in all its descriptors, again and again.
    LIE_FLAGS = 33, "lie-flags";
    /// All that lies in its queues is overwritten, again and again, but for the used rings.
    LIE_REWRITE = 34, "lie-rewrite";
    /// The words that say when to notify are overwritten, again and again.
    LIE_EVENTS = 35, "lie-events";
    /// A used id that is no number of a descriptor.
    LIE_RANGE = 36, "lie-range";
    /// A used id that is given back twice.
    LIE_TWICE = 37, "lie-twice";
    /// A used id that was never made available.
    LIE_NEVER = 38, "lie-never";
    /// A used length that is more than there is room for.
    LIE_LENGTH = 39, "lie-length";
    /// A used index that is far ahead.
    LIE_JUMP = 40, "lie-jump";
    /// A used index that goes back.
    LIE_BACK = 41, "lie-back";
    /// Anything anywhere in its queues, used rings included, again and again.
    LIE_NOISE = 42, "lie-noise";
    /// Used buffers are shown, and no event is ever counted for them.
    NOEVENT = 43, "noevent";
    /// Entropy devices say that they have filled buffers that they have not touched.
    RNG_EMPTY = 44, "rng-empty";
    /// Block devices end requests with a status that there is not.
    BLK_STATUS = 45, "blk-status";
    /// Block devices say of what is read that nothing was written for it.
    BLK_EMPTY = 46, "blk-empty";
    /// The capacity of block devices changes all the time: half, twice, nothing, everything.
    BLK_CAPACITY = 47, "blk-capacity";
    /// Socket device, to whoever is connected to port 7: credit that cannot be.
    VSOCK_CREDIT = 64, "vsock-credit";
    /// Less was taken than was said before.
    VSOCK_BACK = 65, "vsock-back";
    /// Context ids that are nobody's.
    VSOCK_CID = 66, "vsock-cid";
    /// Ports that are nobody's.
    VSOCK_PORT = 67, "vsock-port";
    /// Another type of socket, or none.
    VSOCK_TYPE = 68, "vsock-type";
    /// Any operation.
    VSOCK_OP = 69, "vsock-op";
    /// A length beyond the used bytes, or the buffer.
    VSOCK_LENGTH = 70, "vsock-length";
    /// Ends of messages that are none, packets without bytes.
    VSOCK_ENDS = 71, "vsock-ends";
    /// Resets, all the time, of connections that there are and of others.
    VSOCK_RESETS = 72, "vsock-resets";
    /// Requests for connections, all the time.
    VSOCK_REQUESTS = 73, "vsock-requests";
    /// Events that say that all connections are gone, all the time.
    VSOCK_EVENTS = 74, "vsock-events";
    /// Any of the fields is anything.
    VSOCK_NOISE = 75, "vsock-noise";
    /// A console tells of a port beyond those that there can be.
    CONSOLE_RANGE = 112, "console-range";
    /// It tells twice that there is a port.
    CONSOLE_TWICE = 113, "console-twice";
    /// It sends a control message of a kind that there is not.
    CONSOLE_EVENT = 114, "console-event";
    /// It sends one that is shorter than any.
    CONSOLE_SHORT = 115, "console-short";
    /// It sends one about the size of a terminal, without the size.
    CONSOLE_RESIZE = 116, "console-resize";
    /// It sends one that is longer than there is room for, once somebody has opened its last port.
    CONSOLE_LENGTH = 117, "console-length";
    /// It makes its last port a terminal then.
    CONSOLE_LATE = 118, "console-late";
    /// It takes its last port away and plugs it in all the time.
    CONSOLE_CHURN = 119, "console-churn";
    /// It has 65535 ports by its configuration.
    CONSOLE_PORTS = 120, "console-ports";
    /// Vectors are never rung, nor the doorbell in their place.
    NOVECTOR = 60, "novector";
    /// A frame to Linux says that it is spread over no buffer.
    NET_NUM_NONE = 96, "net-num-none";
    /// Over one more than it is.
    NET_NUM_MORE = 97, "net-num-more";
    /// Over 65535.
    NET_NUM_MOST = 98, "net-num-most";
    /// Its used length is less than that of its header.
    NET_SHORT = 99, "net-short";
    /// Its header says nonsense of how it is to be cut.
    NET_GSO = 100, "net-gso";
    /// Its header says nonsense of where the checksum is.
    NET_CSUM = 101, "net-csum";
    /// The answer to a command is none.
    NET_ANSWER = 102, "net-answer";
    /// The configuration says that there are no pairs of queues.
    NET_PAIRS_NONE = 103, "net-pairs-none";
    /// One more than there are.
    NET_PAIRS_MORE = 104, "net-pairs-more";
    /// 65535.
    NET_PAIRS_MOST = 105, "net-pairs-most";
    /// It says that no packet may have more than 60 bytes.
    NET_MTU = 106, "net-mtu";
    /// The link goes down and up, thirty times a second.
    NET_FLAP = 107, "net-flap";
    /// An announcement is asked for, ten times a second, whatever was agreed on.
    NET_ANNOUNCE = 108, "net-announce";
    /// A ring of Linux's doorbell now and then does not happen.
    BELL_LOST = 76, "bell-lost";
    /// It happens later, or with the next.
    BELL_LATE = 77, "bell-late";
    /// It happens twice.
    BELL_DOUBLE = 78, "bell-double";
    /// Linux's doorbell rings for nothing now and then.
    BELL_SPURIOUS = 79, "bell-spurious";
    /// The peer does not hear its own doorbell now and then.
    EAR_LOST = 80, "ear-lost";
    /// It hears it later, or with the next.
    EAR_LATE = 81, "ear-late";
    /// It hears it twice.
    EAR_DOUBLE = 82, "ear-double";
    /// It hears it although nobody rang.
    EAR_SPURIOUS = 83, "ear-spurious";
    /// Messages between processors, after some that are right: a length beyond the buffer.
    RPMSG_LENGTH = 84, "rpmsg-length";
    /// Less than a header is written, with a length in it that is beyond the buffer.
    RPMSG_SHORT = 85, "rpmsg-short";
    /// Messages from nobody to nobody.
    RPMSG_NOBODY = 86, "rpmsg-nobody";
    /// Names that do not end.
    RPMSG_NAME = 87, "rpmsg-name";
    /// Another name is announced all the time.
    RPMSG_FLOOD = 88, "rpmsg-flood";
    /// A name comes and goes all the time.
    RPMSG_CHURN = 89, "rpmsg-churn";
    /// Nothing is taken any more, and the last message comes again and again.
    RPMSG_STORM = 90, "rpmsg-storm";
    /// What Linux sends to the first device is not given back from the 20th buffer on, until it is set up again.
    KEEP = 91, "keep";
}

impl Faults {
    /// No fault at all.
    pub const NONE: Self = Self(0);

    /// Whether one of the faults of [`crate::liar`] is in the set.
    pub const fn lies(self) -> bool {
        self.0 >> 32 & 0x7ff != 0
    }

    /// Whether one of those of a network device is in the set.
    pub const fn is_net(self) -> bool {
        self.0 >> 96 & 0x1fff != 0
    }

    /// Whether there are none but of [`crate::mishaps`]: all that is said is true, and maybe not heard.
    pub const fn are_of_bells(self) -> bool {
        self.0 & !(0xff << 76) == 0
    }

    /// One of those of what devices say when they are in use, by `number`, which may be any.
    pub(crate) const fn of_content(number: u32) -> Self {
        // What is in the configuration, or on the command line, from the boot on is none of them.
        const BITS: u128 = (0x7f << 25)
            | (0xf << 44)
            | (0xfff << 64)
            | (0x7f << 84)
            | (0x187f << 96)
            | (0xff << 112);
        let mut left = number % BITS.count_ones();
        let mut bits = BITS;
        while left != 0 {
            bits &= bits - 1;
            left -= 1;
        }
        Self(1 << bits.trailing_zeros())
    }

    /// Devices say that they are of another type: the first that it is of `number`, for 1 to 63; for 64 to 127 each of
    /// them, one that depends on the two numbers, with configuration and features that mean nothing.
    pub const fn claiming(number: u32) -> Self {
        Self(((number & 0x7f) as u128) << Self::CLAIM)
    }

    /// What device `index` says that it is, if not the truth.
    pub const fn claimed(self, index: usize) -> Option<u32> {
        let number = (self.0 >> Self::CLAIM) as u32 & 0x7f;
        match index {
            0 if number != 0 && number < 64 => Some(number),
            _ if number < 64 => None,
            _ => Some(1 + number.wrapping_add(11 * index as u32) % Self::TYPES),
        }
    }

    /// Whether more than a type is invented.
    pub const fn invents(self) -> bool {
        self.0 >> Self::CLAIM & 0x7f >= 64
    }

    /// Where the number of that is, in seven bits.
    const CLAIM: u32 = 121;
    /// Types of devices that there are (VIRTIO 5), or are to be.
    const TYPES: u32 = 48;

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

/// How long a fault waits that is for a device in use: some heartbeats from when it may use its queues.
#[derive(Clone, Copy, Debug, Default, Hash)]
pub(crate) struct Patience {
    since: Option<u32>,
}

impl Patience {
    /// Half a second of the sample peer's. Linux has filled its receive queue by then.
    const BEATS: u32 = 5;

    /// Whether the device has been `usable` for so long at heartbeat `beat`.
    pub(crate) fn is_over(&mut self, usable: bool, beat: u32) -> bool {
        if !usable {
            self.since = None;
            return false;
        }
        beat.wrapping_sub(*self.since.get_or_insert(beat)) >= Self::BEATS
    }
}
