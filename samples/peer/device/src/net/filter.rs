// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which frames Linux wants (VIRTIO 5.1.6.5.1 to 5.1.6.5.3): receive modes, addresses, VLANs.

#![forbid(unsafe_code)]

/// Addresses of either kind that are known one by one; with more of them all of that kind are let
/// through.
const ADDRESSES: usize = 32;
/// VLAN ids (IEEE 802.1Q).
const VLANS: usize = 4096;
const ETHERTYPE_VLAN: [u8; 2] = [0x81, 0x00];

/// An Ethernet address.
pub(super) type Address = [u8; 6];

/// Whether it is one of a group, the broadcast address among them.
pub(super) const fn is_group(address: Address) -> bool {
    let [first, ..] = address;
    first & 1 != 0
}

/// Addresses of one kind.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    list: [Address; ADDRESSES],
    /// How many there should be.
    count: usize,
}

impl List {
    pub(super) const EMPTY: Self = Self {
        list: [[0; 6]; ADDRESSES],
        count: 0,
    };

    pub(super) fn add(&mut self, address: Address) {
        if let Some(slot) = self.list.get_mut(self.count) {
            *slot = address;
        }
        self.count = self.count.saturating_add(1);
    }

    fn has(&self, address: Address) -> bool {
        match self.list.get(..self.count) {
            Some(list) => list.contains(&address),
            // There are more than are known.
            None => true,
        }
    }
}

/// Receive modes, by the numbers of the commands that switch them.
pub(super) mod mode {
    pub(crate) const PROMISC: u8 = 0;
    pub(crate) const ALLMULTI: u8 = 1;
    pub(crate) const ALLUNI: u8 = 2;
    pub(crate) const NOMULTI: u8 = 3;
    pub(crate) const NOUNI: u8 = 4;
    pub(crate) const NOBCAST: u8 = 5;
}

/// What Linux has said of the frames that it wants.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Bit mask of the modes.
    modes: u8,
    pub(super) unicast: List,
    pub(super) multicast: List,
    vlans: [u32; VLANS / 32],
}

impl Filter {
    /// As after a reset: there are no addresses, and everything is let through.
    pub(super) const fn new() -> Self {
        Self {
            modes: 1 << mode::PROMISC,
            unicast: List::EMPTY,
            multicast: List::EMPTY,
            vlans: [0; VLANS / 32],
        }
    }

    fn has(&self, mode: u8) -> bool {
        self.modes & (1 << (mode & 7)) != 0
    }

    /// Switches a mode.
    pub(super) fn switch(&mut self, mode: u8, on: bool) {
        let bit = 1 << (mode & 7);
        self.modes = if on {
            self.modes | bit
        } else {
            self.modes & !bit
        };
    }

    /// Adds or removes a VLAN; `false`: there is none of that number.
    pub(super) fn set_vlan(&mut self, id: u16, on: bool) -> bool {
        let Some(word) = self.vlans.get_mut(usize::from(id / 32)) else {
            return false;
        };
        let bit = 1 << (id % 32);
        *word = if on { *word | bit } else { *word & !bit };
        true
    }

    /// Whether Linux, whose own address is `own`, wants a frame to that address.
    pub(super) fn takes(&self, own: Address, frame: &[u8]) -> bool {
        let Some(Ok(to)) = frame.get(..6).map(Address::try_from) else {
            return true;
        };
        if self.has(mode::PROMISC) {
            return true;
        }
        if to == [0xff; 6] {
            return !self.has(mode::NOBCAST);
        }
        if is_group(to) {
            return !self.has(mode::NOMULTI)
                && (self.has(mode::ALLMULTI) || self.multicast.has(to));
        }
        !self.has(mode::NOUNI) && (to == own || self.has(mode::ALLUNI) || self.unicast.has(to))
    }

    /// Whether it is in a VLAN that Linux takes part in, or in none.
    pub(super) fn takes_vlan(&self, frame: &[u8]) -> bool {
        if frame.get(12..14) != Some(&ETHERTYPE_VLAN) {
            return true;
        }
        let Some(&[high, low]) = frame.get(14..16) else {
            return true;
        };
        let id = u16::from_be_bytes([high & 0x0f, low]);
        let word = self.vlans.get(usize::from(id / 32)).copied().unwrap_or(0);
        word & (1 << (id % 32)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OWN: Address = [2, 0, 0, 0, 0, 2];
    const OTHER: Address = [2, 0, 0, 0, 0, 3];
    const GROUP: Address = [1, 0, 0x5e, 0, 0, 1];
    const ALL: Address = [0xff; 6];

    /// Which of the four addresses gets through.
    fn through(filter: &Filter) -> [bool; 4] {
        [OWN, OTHER, GROUP, ALL].map(|to| filter.takes(OWN, &to))
    }

    #[test]
    fn each_mode_does_what_it_is_for() {
        let mut filter = Filter::new();
        assert_eq!(through(&filter), [true; 4]);
        filter.switch(mode::PROMISC, false);
        assert_eq!(through(&filter), [true, false, false, true]);
        for (mode, want) in [
            (mode::ALLMULTI, [true, false, true, true]),
            (mode::ALLUNI, [true, true, false, true]),
            (mode::NOMULTI, [true, false, false, true]),
            (mode::NOUNI, [false, false, false, true]),
            (mode::NOBCAST, [true, false, false, false]),
        ] {
            filter.switch(mode, true);
            assert_eq!(through(&filter), want, "mode {mode}");
            filter.switch(mode, false);
        }
        filter.unicast.add(OTHER);
        filter.multicast.add(GROUP);
        assert_eq!(through(&filter), [true; 4]);
        filter.switch(mode::NOMULTI, true);
        filter.switch(mode::NOUNI, true);
        assert_eq!(through(&filter), [false, false, false, true]);
    }

    #[test]
    fn more_addresses_than_can_be_known_are_all_let_through() {
        let mut filter = Filter::new();
        filter.switch(mode::PROMISC, false);
        for number in 0..ADDRESSES as u8 {
            filter.unicast.add([2, 1, 1, 1, 1, number]);
        }
        assert!(!filter.takes(OWN, &OTHER) && filter.takes(OWN, &[2, 1, 1, 1, 1, 31]));
        filter.unicast.add(GROUP);
        assert!(filter.takes(OWN, &OTHER) && !filter.takes(OWN, &GROUP));
    }

    #[test]
    fn vlans_are_told_apart() {
        let mut filter = Filter::new();
        let tagged = |id: u16| {
            let mut frame = [0; 60];
            frame[12..14].copy_from_slice(&ETHERTYPE_VLAN);
            frame[14..16].copy_from_slice(&(0xe000 | id).to_be_bytes());
            frame
        };
        assert!(filter.takes_vlan(&[0; 60]) && !filter.takes_vlan(&tagged(7)));
        assert!(filter.set_vlan(7, true) && filter.set_vlan(4095, true));
        assert!(!filter.set_vlan(4096, true));
        assert!(filter.takes_vlan(&tagged(7)) && filter.takes_vlan(&tagged(4095)));
        assert!(!filter.takes_vlan(&tagged(8)));
        assert!(filter.set_vlan(7, false));
        assert!(!filter.takes_vlan(&tagged(7)));
    }

    proptest! {
        #[test]
        fn anything_goes_in(
            frame in prop::collection::vec(any::<u8>(), 0..40),
            modes in any::<u8>(),
        ) {
            let mut filter = Filter::new();
            for mode in 0..6 {
                filter.switch(mode, modes & (1 << mode) != 0);
            }
            let _ = filter.takes(OWN, &frame) && filter.takes_vlan(&frame);
        }
    }
}
