// SPDX-License-Identifier: GPL-2.0 OR MIT

//! CRC-32 as in gzip, zlib and `cksum -a crc32b` (polynomial 0xedb88320, reflected).

#[cfg(target_arch = "aarch64")]
#[path = "crc_arm64.rs"]
mod hardware;

#[cfg(not(target_arch = "aarch64"))]
mod hardware {
    /// There are no instructions for it.
    pub(super) const fn update(_crc: u32, _bytes: &[u8]) -> Option<u32> {
        None
    }
}

/// Eight tables, for eight bytes at a time.
static TABLES: [[u32; 256]; 8] = tables();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0u32; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

/// A running checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32 {
    /// The checksum of nothing.
    pub const fn new() -> Self {
        Self(!0)
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match hardware::update(self.0, bytes) {
            Some(crc) => self.0 = crc,
            None => self.update_by_tables(bytes),
        }
    }

    #[expect(clippy::indexing_slicing, reason = "a byte is always below 256")]
    fn update_by_tables(&mut self, bytes: &[u8]) {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        let mut crc = self.0;
        let mut words = bytes.chunks_exact(8);
        for word in words.by_ref() {
            let mut eight = [0; 8];
            eight.copy_from_slice(word);
            let [a, b, c, d, e, f, g, h] =
                (u64::from_le_bytes(eight) ^ u64::from(crc)).to_le_bytes();
            crc = t7[usize::from(a)]
                ^ t6[usize::from(b)]
                ^ t5[usize::from(c)]
                ^ t4[usize::from(d)]
                ^ t3[usize::from(e)]
                ^ t2[usize::from(f)]
                ^ t1[usize::from(g)]
                ^ t0[usize::from(h)];
        }
        for byte in words.remainder() {
            crc = (crc >> 8) ^ t0[usize::from(crc.to_le_bytes()[0] ^ byte)];
        }
        self.0 = crc;
    }

    /// The checksum of all bytes so far.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn check_value() {
        let mut crc = Crc32::new();
        crc.update(b"123456789");
        assert_eq!(crc.value(), 0xcbf4_3926);
        assert_eq!(Crc32::new().value(), 0);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(data in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let (a, b) = data.split_at(at.min(data.len()));
            let mut whole = Crc32::new();
            whole.update_by_tables(&data);
            let mut parts = Crc32::new();
            parts.update(a);
            parts.update(b);
            prop_assert_eq!(whole, parts);
        }
    }
}
