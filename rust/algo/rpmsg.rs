// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between processors (rpmsg, virtio type 7), on their way to a driver that believes them.
//!
//! VIRTIO gives this type a number and no more; what is here is what Linux's virtio_rpmsg_bus reads. It takes no more
//! messages after one with a length beyond its buffer. It makes a device, and lines in the log, of each name that is
//! announced to it, whatever the name is, without an end; it looks for a name without an address at any.

use super::storm::Storm;
use core::fmt;
use core::ops::DerefMut;

/// Bytes of a message's header: source, destination, a reserved word, length and flags.
pub const HEADER: usize = 16;
/// Bytes of an announcement behind that: a name, an address, flags.
const ANNOUNCEMENT: usize = NAME + 8;
/// What is read of a message.
pub const MESSAGE_MAX: usize = HEADER + ANNOUNCEMENT;
/// A message that says nothing, for an address that nobody has.
pub const NOTHING: [u8; HEADER] = [
    0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, //
];
/// The queue from which the driver receives.
pub const RECEIVE: u32 = 0;
/// Entries of each ring of the driver's, which warns if they have not as many as each other: so many buffers it has
/// for each.
pub const ENTRIES: u16 = 256;

/// Bytes of a name, with the 0 at its end.
const NAME: usize = 32;
/// Where names are announced to.
const NAMES: u32 = 53;
/// That stands for any address.
const ANY: u32 = u32::MAX;
/// In the flags of an announcement: the name is gone.
const GONE: u32 = 1;

/// How many channels there may be at a time.
pub const CHANNELS: usize = 64;
/// How many announcements a device may send in this many seconds: each makes up to three lines of the log. As many
/// as for all channels that there can be, to come and to go.
const CHANGES: u32 = 128;
const SECONDS: u64 = 60;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Its header says so many bytes, and so many are behind that.
    Length(u32, u32),
    /// An announcement has so many bytes.
    Size(u32),
    /// A name has no 0 at its end.
    Endless,
    /// A name has this byte.
    Byte(u8),
    /// A name is empty.
    Empty,
    /// It is a name for any address.
    Address,
    /// There are more channels than there may be.
    Channels,
    /// There are more announcements than there may be.
    Often,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Length(len, most) => write!(
                f,
                "a message has {len} bytes by its header: must have {most} at most, by its used length"
            ),
            Self::Size(len) => write!(
                f,
                "an announcement of a name has {len} bytes: must have {ANNOUNCEMENT}"
            ),
            Self::Endless => write!(
                f,
                "the name of a channel does not end: must have {} bytes at most, and a 0",
                NAME - 1
            ),
            Self::Byte(byte) => write!(
                f,
                "the name of a channel has the byte {byte:#x}: must have printable ones of ASCII, and no slash"
            ),
            Self::Empty => f.write_str("the name of a channel is empty: must have a byte"),
            Self::Address => write!(
                f,
                "the address of a channel is {ANY:#x}, which means any: must be the one that it has"
            ),
            Self::Channels => write!(f, "more than {CHANNELS} channels are announced at a time"),
            Self::Often => write!(
                f,
                "more than {CHANGES} names of channels are announced in {SECONDS} s"
            ),
        }
    }
}

/// A channel of the device's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Zeros follow the name.
    name: [u8; NAME],
    address: u32,
}

impl Channel {
    /// None: a name is not empty.
    pub const NONE: Self = Self {
        name: [0; NAME],
        address: 0,
    };

    /// The one that is announced.
    fn parse(name: &[u8; NAME], address: u32) -> Result<Self, Wrong> {
        let mut channel = Self {
            address,
            ..Self::NONE
        };
        let mut ends = false;
        for (to, from) in channel.name.iter_mut().zip(name) {
            match *from {
                0 => {
                    ends = true;
                    break;
                }
                b'/' => return Err(Wrong::Byte(b'/')),
                byte @ b' '..=b'~' => *to = byte,
                byte => return Err(Wrong::Byte(byte)),
            }
        }
        if !ends {
            return Err(Wrong::Endless);
        }
        if channel.name == Self::NONE.name {
            return Err(Wrong::Empty);
        }
        if address == ANY {
            return Err(Wrong::Address);
        }
        Ok(channel)
    }
}

/// What the driver has been told.
#[derive(Clone, Debug)]
pub struct Channels<L> {
    /// [`Channel::NONE`] where there is none.
    list: L,
    changes: Storm,
}

/// The word at `at`; 0 where there is none.
fn word(bytes: &[u8; MESSAGE_MAX], at: usize) -> u32 {
    let four = bytes.get(at..).and_then(|rest| rest.first_chunk());
    four.map_or(0, |four| u32::from_le_bytes(*four))
}

impl<L: DerefMut<Target = [Channel]>> Channels<L> {
    /// None so far, and as many as `list` has elements at most.
    pub fn new(mut list: L) -> Self {
        list.fill(Channel::NONE);
        Self {
            list,
            changes: Storm::new(CHANGES, SECONDS * 1000),
        }
    }

    /// The driver has reset the device, and with it all channels are gone.
    pub fn reset(&mut self) {
        self.list.fill(Channel::NONE);
    }

    /// Channels that there are.
    pub fn count(&self) -> usize {
        let living = |channel: &&Channel| **channel != Channel::NONE;
        self.list.iter().filter(living).count()
    }

    /// The device has sent a message of `len` bytes, of which these are the first, at `now_ms`; what lies behind them
    /// has no meaning.
    ///
    /// # Errors
    ///
    /// It is [`Wrong`], and not for the driver.
    pub fn judge(
        &mut self,
        message: &[u8; MESSAGE_MAX],
        len: u32,
        now_ms: u64,
    ) -> Result<(), Wrong> {
        let (to, said) = (word(message, 4), word(message, 12) & 0xffff);
        let most = len.saturating_sub(HEADER as u32);
        if said > most {
            return Err(Wrong::Length(said, most));
        }
        if to != NAMES {
            return Ok(());
        }
        if said != ANNOUNCEMENT as u32 {
            return Err(Wrong::Size(said));
        }
        let name = message.get(HEADER..).and_then(|rest| rest.first_chunk());
        let (address, flags) = (
            word(message, HEADER + NAME),
            word(message, HEADER + NAME + 4),
        );
        let channel = Channel::parse(name.unwrap_or(&[0; NAME]), address)?;
        if !self.changes.allow(now_ms) {
            return Err(Wrong::Often);
        }
        // That there is none, or that there is one already, is said by the driver, as often as is allowed here.
        let known = self.list.iter_mut().find(|other| **other == channel);
        if flags & GONE != 0 {
            if let Some(known) = known {
                *known = Channel::NONE;
            }
        } else if known.is_none() {
            let mut places = self.list.iter_mut();
            let place = places.find(|other| **other == Channel::NONE);
            *place.ok_or(Wrong::Channels)? = channel;
        }
        Ok(())
    }
}
