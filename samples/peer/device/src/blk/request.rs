// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux writes into a block request (VIRTIO 5.2.6).

#![forbid(unsafe_code)]

use super::SECTOR;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// To read.
    In,
    /// To write.
    Out,
    /// That everything written is there for good.
    Flush,
    /// The serial number.
    GetId,
    /// That sectors are not in use.
    Discard,
    /// That sectors are zero.
    WriteZeroes,
    /// Anything else.
    Unknown,
}

/// The beginning of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) sector: u64,
}

impl Header {
    pub(super) const SIZE: usize = 16;

    pub(super) fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        let [k0, k1, k2, k3, _, _, _, _, sector @ ..] = *bytes;
        let kind = match u32::from_le_bytes([k0, k1, k2, k3]) {
            0 => Kind::In,
            1 => Kind::Out,
            4 => Kind::Flush,
            8 => Kind::GetId,
            11 => Kind::Discard,
            13 => Kind::WriteZeroes,
            _ => Kind::Unknown,
        };
        Self {
            kind,
            sector: u64::from_le_bytes(sector),
        }
    }
}

/// A range of sectors to be discarded or zeroed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Range {
    sector: u64,
    sectors: u32,
    flags: u32,
}

/// In [`Range::flags`]: the sectors need not stay allocated.
const UNMAP: u32 = 1;

impl Range {
    pub(super) const SIZE: usize = 16;

    pub(super) fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        let [s0, s1, s2, s3, s4, s5, s6, s7, n0, n1, n2, n3, flags @ ..] = *bytes;
        Self {
            sector: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            sectors: u32::from_le_bytes([n0, n1, n2, n3]),
            flags: u32::from_le_bytes(flags),
        }
    }

    /// Whether no flag is set that the request cannot have.
    pub(super) const fn flags_are_right(&self, may_unmap: bool) -> bool {
        let known = if may_unmap { UNMAP } else { 0 };
        self.flags & !known == 0
    }
}

/// The bytes of a disk of `size` that a range is, if it is inside and has `most` sectors at most.
pub(super) fn discard(range: &Range, most: u32, size: usize) -> Option<(usize, usize)> {
    if range.sectors > most {
        return None;
    }
    bytes(range.sector, range.sectors as usize * SECTOR, size)
}

/// The bytes of a disk of `size` that `len` bytes from `sector` on are, if it has them.
pub(super) fn bytes(sector: u64, len: usize, size: usize) -> Option<(usize, usize)> {
    let from = usize::try_from(sector).ok()?.checked_mul(SECTOR)?;
    let to = from.checked_add(len)?;
    (to <= size).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_beyond_the_end() {
        assert_eq!(bytes(0, 1024, 1024), Some((0, 1024)));
        assert_eq!(bytes(1, 512, 1024), Some((512, 1024)));
        for (sector, len) in [(1, 1024), (3, 0), (u64::MAX, 512), (u64::MAX / 512, 512)] {
            assert_eq!(bytes(sector, len, 1024), None);
        }
        let range = |sector, sectors| Range {
            sector,
            sectors,
            flags: 0,
        };
        assert_eq!(discard(&range(1, 1), 8, 1024), Some((512, 1024)));
        assert_eq!(discard(&range(0, 9), 8, 1 << 20), None);
        assert_eq!(discard(&range(0, u32::MAX), u32::MAX, 1024), None);
    }

    proptest! {
        #[test]
        fn what_is_found_is_inside(sector: u64, len in 0usize..1 << 20, size in 0usize..1 << 20) {
            if let Some((from, to)) = bytes(sector, len, size) {
                prop_assert!(from <= to && to <= size && to - from == len);
                prop_assert_eq!(from as u64, sector * 512);
            }
        }
    }
}
