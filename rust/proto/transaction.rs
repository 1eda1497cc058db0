// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Transactions: batches of register writes (protocol.rst, "Transactions").

use super::layout::window;

/// One register write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Offset in the window: a register of the view, or a byte of the configuration space.
    pub offset: u32,
    /// Bytes written: 4 for a register; 1, 2 or 4 for configuration space.
    pub length: u32,
    /// The value, in the low bytes.
    pub value: u32,
}

impl Entry {
    /// Words of an entry in the region.
    pub const WORDS: usize = window::TXN_ENTRY as usize / 4;

    /// A write of the 32-bit register at `offset`.
    pub const fn register(offset: u32, value: u32) -> Self {
        Self {
            offset,
            length: 4,
            value,
        }
    }

    /// The words to publish.
    pub const fn emit(&self) -> [u32; Self::WORDS] {
        [self.offset, self.length, self.value, 0]
    }

    /// An entry from a private copy of its words.
    ///
    /// # Errors
    ///
    /// [`Status::BadOffset`] outside view and configuration space or misaligned,
    /// [`Status::BadLength`] for another length than the place allows. Whether a register can be
    /// written is for the device to say.
    pub const fn parse(words: &[u32; Self::WORDS]) -> Result<Self, Status> {
        let [offset, length, value, _] = *words;
        if offset >= window::CONFIG + window::CONFIG_MAX {
            return Err(Status::BadOffset);
        }
        if offset < window::CONFIG {
            if offset % 4 != 0 {
                return Err(Status::BadOffset);
            }
            if length != 4 {
                return Err(Status::BadLength);
            }
        } else {
            if !matches!(length, 1 | 2 | 4) {
                return Err(Status::BadLength);
            }
            if offset % length != 0 {
                return Err(Status::BadOffset);
            }
        }
        Ok(Self {
            offset,
            length,
            value,
        })
    }
}

/// Outcome of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Status {
    /// Every entry was applied and the view is up to date.
    Ok = 0,
    /// An entry named a place that is not there or cannot be written.
    BadOffset = 1,
    /// An entry had a length that its place does not allow.
    BadLength = 2,
    /// A value that the device does not accept there.
    BadValue = 3,
    /// The transaction was meant for another epoch; nothing was applied.
    Stale = 4,
    /// More entries than a transaction holds; nothing was applied.
    BadCount = 5,
    /// The device failed while applying it.
    Failed = 6,
}

impl Status {
    /// The outcome that a word stands for; `None` for a reserved value.
    pub const fn from_word(word: u32) -> Option<Self> {
        match word {
            0 => Some(Self::Ok),
            1 => Some(Self::BadOffset),
            2 => Some(Self::BadLength),
            3 => Some(Self::BadValue),
            4 => Some(Self::Stale),
            5 => Some(Self::BadCount),
            6 => Some(Self::Failed),
            _ => None,
        }
    }

    /// Name for logs and debugfs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::BadOffset => "bad offset",
            Self::BadLength => "bad length",
            Self::BadValue => "bad value",
            Self::Stale => "stale epoch",
            Self::BadCount => "bad count",
            Self::Failed => "device failed",
        }
    }
}
