// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Entries of the vector table (protocol.rst, "Vectors").

use super::layout::link::VECTOR_ENTRY_WORDS;

/// How the peer rings the driver for a queue or a change of configuration, where that is not the link's
/// doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vector {
    /// By that one of the driver's interrupts which it can ring. Number 0 is the link's doorbell.
    Doorbell(u32),
    /// By a write of a word.
    Msi {
        /// Where to; not 0.
        address: u64,
        /// The word.
        data: u32,
    },
}

impl Vector {
    /// What the words of an entry mean. Whatever they are, they mean something.
    pub const fn parse(words: &[u32; VECTOR_ENTRY_WORDS]) -> Self {
        let [low, high, data, _] = *words;
        match low as u64 | ((high as u64) << 32) {
            0 => Self::Doorbell(data),
            address => Self::Msi { address, data },
        }
    }

    /// The words of the entry.
    pub const fn emit(self) -> [u32; VECTOR_ENTRY_WORDS] {
        match self {
            Self::Doorbell(number) => [0, 0, number, 0],
            Self::Msi { address, data } => [address as u32, (address >> 32) as u32, data, 0],
        }
    }
}
