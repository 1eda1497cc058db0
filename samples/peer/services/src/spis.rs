// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Lists of interrupts that can be set pending: SPIs of an arm64 interrupt controller.

use crate::config::number;

/// Most of them that can be named.
pub const SPIS: usize = 64;
/// Room for some more.
const ROOM: usize = SPIS + 8;

/// A list of interrupt ids (SPI + 32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spis {
    list: [u32; ROOM],
    len: usize,
}

impl Spis {
    /// None.
    pub const NONE: Self = Self {
        list: [0; ROOM],
        len: 0,
    };

    /// Those that are named: numbers and ranges (`140-147`), with commas.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut spis = Self::NONE;
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (spi(first)?, spi(last)?);
            if first > last {
                return None;
            }
            for intid in first..=last {
                spis = spis.with(intid)?;
            }
        }
        (spis.len <= SPIS).then_some(spis)
    }

    /// These and `intid`; `None` if it is one of them already, or there is no room.
    #[must_use]
    pub fn with(mut self, intid: u32) -> Option<Self> {
        if self.iter().any(|other| other == intid) {
            return None;
        }
        *self.list.get_mut(self.len)? = intid;
        self.len = self.len.checked_add(1)?;
        Some(self)
    }

    /// Number `index` of them.
    pub fn get(&self, index: usize) -> Option<u32> {
        self.list.get(..self.len)?.get(index).copied()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.list.iter().take(self.len).copied()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// An interrupt that can be set pending: an SPI.
pub(crate) fn spi(text: &str) -> Option<u32> {
    let intid = u32::try_from(number(text)?).ok()?;
    (32..1020).contains(&intid).then_some(intid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges() {
        let spis = Spis::parse("140,150-152,0xa0").unwrap();
        assert_eq!(spis.iter().collect::<Vec<_>>(), [140, 150, 151, 152, 160]);
        assert_eq!((spis.len(), spis.is_empty()), (5, false));
        assert_eq!(
            (spis.get(0), spis.get(4), spis.get(5)),
            (Some(140), Some(160), None)
        );
        assert_eq!(Spis::parse("100-163").unwrap().len(), SPIS);
    }

    #[test]
    fn what_is_no_list() {
        for text in [
            "",
            "31",
            "1020",
            "140,",
            "140,140",
            "140-150,145",
            "150-140",
            "100-164",
            "140-",
            "a",
        ] {
            assert_eq!(Spis::parse(text), None, "{text}");
        }
    }
}
