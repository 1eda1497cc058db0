// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device to test rings with, as plain as can be: it counts everything from the start in numbers
//! that never wrap, and checks what VIRTIO asks of drivers.

use super::memory::{Shared, BASE};
use hvl_logic::algo::ring::{Features, Layout, Segment};

const NEXT: u16 = 1;
const WRITE: u16 = 2;
const INDIRECT: u16 = 4;
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

/// A chain as the device sees it.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) id: u16,
    /// Descriptors of the ring.
    pub(crate) descriptors: u16,
    pub(crate) readable: Vec<Segment>,
    pub(crate) writable: Vec<Segment>,
}

impl Chain {
    pub(crate) fn room(&self) -> u32 {
        self.writable.iter().map(|segment| segment.len).sum()
    }

    fn add(&mut self, segment: Segment, flags: u16) {
        if flags & WRITE != 0 {
            self.writable.push(segment);
        } else {
            assert!(self.writable.is_empty(), "readable after writable");
            self.readable.push(segment);
        }
    }
}

/// The device. All counts are of chains in a split virtqueue, of descriptors in a packed one.
#[derive(Clone, Debug)]
pub(crate) struct Device {
    layout: Layout,
    features: Features,
    size: u64,
    /// Taken from what is available.
    pub(crate) taken: u64,
    /// Given back.
    pub(crate) used: u64,
    /// `used` when it was last decided whether to notify.
    pub(crate) decided: u64,
    /// From which one on a notification is wanted, where it is one alone.
    event: Option<u64>,
    quiet: bool,
}

impl Device {
    pub(crate) fn new(layout: Layout, features: Features) -> Self {
        Self {
            layout,
            features,
            size: layout.size().into(),
            taken: 0,
            used: 0,
            decided: 0,
            // What a zeroed split ring says with event index.
            event: (features.event_idx && !features.packed).then_some(0),
            quiet: false,
        }
    }

    /// Place of a packed ring, and its wrap counter.
    fn place(&self, count: u64) -> (u32, bool) {
        ((count % self.size) as u32, count / self.size % 2 == 0)
    }

    /// As event suppression structures and notifications have it.
    pub(crate) fn word(&self, count: u64) -> u16 {
        let (at, wrap) = self.place(count);
        at as u16 | (u16::from(wrap) << 15)
    }

    fn segment(&self, mem: &Shared, at: u32) -> Segment {
        Segment {
            address: mem.get64(at),
            len: mem.get32(at + 8),
        }
    }

    /// Whether there is another chain.
    pub(crate) fn available(&self, mem: &Shared) -> bool {
        if self.features.packed {
            let (at, wrap) = self.place(self.taken);
            let flags = mem.get16(at * 16 + 14);
            return (flags & AVAIL != 0) == wrap && (flags & USED != 0) != wrap;
        }
        let index = mem.get16(self.layout.driver() + 2);
        let ahead = index.wrapping_sub(self.taken as u16);
        assert!(u64::from(ahead) <= self.size, "available index {index}");
        ahead != 0
    }

    /// Takes the next chain.
    pub(crate) fn pop(&mut self, mem: &Shared) -> Option<Chain> {
        if !self.available(mem) {
            return None;
        }
        let chain = if self.features.packed {
            self.pop_packed(mem)
        } else {
            self.pop_split(mem)
        };
        assert!(chain.readable.len() + chain.writable.len() <= self.size as usize);
        self.taken += if self.features.packed {
            u64::from(chain.descriptors)
        } else {
            1
        };
        Some(chain)
    }

    fn pop_split(&self, mem: &Shared) -> Chain {
        let slot = (self.taken % self.size) as u32;
        let head = mem.get16(self.layout.driver() + 4 + slot * 2);
        let mut chain = Chain {
            id: head,
            descriptors: 0,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        let mut next = head;
        loop {
            assert!(u64::from(next) < self.size, "descriptor {next}");
            let at = u32::from(next) * 16;
            let segment = self.segment(mem, at);
            let flags = mem.get16(at + 12);
            let link = mem.get16(at + 14);
            chain.descriptors += 1;
            assert!(u64::from(chain.descriptors) <= self.size, "a loop");
            if flags & INDIRECT != 0 {
                assert_eq!(flags, INDIRECT);
                self.pop_table(mem, segment, &mut chain);
                return chain;
            }
            chain.add(segment, flags);
            if flags & NEXT == 0 {
                return chain;
            }
            if self.features.in_order {
                assert_eq!(u64::from(link), (u64::from(next) + 1) % self.size);
            }
            next = link;
        }
    }

    fn pop_packed(&self, mem: &Shared) -> Chain {
        let mut chain = Chain {
            id: 0,
            descriptors: 0,
            readable: Vec::new(),
            writable: Vec::new(),
        };
        loop {
            let (at, wrap) = self.place(self.taken + u64::from(chain.descriptors));
            let segment = self.segment(mem, at * 16);
            let flags = mem.get16(at * 16 + 14);
            chain.id = mem.get16(at * 16 + 12);
            chain.descriptors += 1;
            assert!(u64::from(chain.descriptors) <= self.size, "a loop");
            assert_eq!((flags & AVAIL != 0, flags & USED != 0), (wrap, !wrap));
            if flags & INDIRECT != 0 {
                assert_eq!(flags & !(AVAIL | USED), INDIRECT);
                self.pop_table(mem, segment, &mut chain);
                return chain;
            }
            chain.add(segment, flags);
            if flags & NEXT == 0 {
                return chain;
            }
        }
    }

    fn pop_table(&self, mem: &Shared, table: Segment, chain: &mut Chain) {
        assert!(self.features.indirect);
        assert!(chain.readable.is_empty() && chain.writable.is_empty());
        assert_eq!(table.len % 16, 0);
        let count = table.len / 16;
        assert!(count <= self.layout.table().into());
        let start = (table.address - BASE) as u32;
        assert!(start >= self.layout.tables() && start + table.len <= self.layout.bytes());
        for index in 0..count {
            let at = start + index * 16;
            let segment = self.segment(mem, at);
            if self.features.packed {
                let flags = mem.get16(at + 14);
                assert_eq!(flags & !WRITE, 0);
                chain.add(segment, flags);
            } else {
                let flags = mem.get16(at + 12);
                assert_eq!(flags & NEXT != 0, index + 1 < count);
                let next = if flags & NEXT != 0 { index + 1 } else { 0 };
                assert_eq!(u32::from(mem.get16(at + 14)), next);
                chain.add(segment, flags);
            }
        }
    }

    /// Gives back `chains` with one used element; more than one is for devices that use in order.
    /// `len` is that of the last one.
    pub(crate) fn give(&mut self, mem: &Shared, chains: &[Chain], len: u32) {
        let id = chains.last().unwrap().id;
        if self.features.packed {
            let (at, wrap) = self.place(self.used);
            // Reserved where nothing was written (VIRTIO 2.8.4).
            let told = if len > 0 { len } else { u32::MAX };
            mem.put32(at * 16 + 8, told);
            mem.put16(at * 16 + 12, id);
            let flags = if wrap { AVAIL | USED } else { 0 };
            mem.put16(at * 16 + 14, flags | if len > 0 { WRITE } else { 0 });
            let skip: u64 = chains
                .iter()
                .map(|chain| u64::from(chain.descriptors))
                .sum();
            self.used += skip;
        } else {
            let element = self.layout.device() + 4 + (self.used % self.size) as u32 * 8;
            mem.put32(element, id.into());
            mem.put32(element + 4, len);
            self.used += chains.len() as u64;
            mem.put16(self.layout.device() + 2, self.used as u16);
        }
    }

    /// Whether the driver wants to be notified of what was given back since the last call.
    pub(crate) fn driver_wants(&mut self, mem: &Shared) -> bool {
        let mut new = self.decided..self.used;
        self.decided = self.used;
        if new.is_empty() {
            return false;
        }
        let driver = self.layout.driver();
        if self.features.packed {
            let event = mem.get16(driver);
            match mem.get16(driver + 2) {
                0 => true,
                1 => false,
                2 if self.features.event_idx => new.any(|count| self.word(count) == event),
                flags => panic!("driver event flags {flags}"),
            }
        } else if self.features.event_idx {
            assert_eq!(mem.get16(driver), 0, "flags with event index");
            let event = mem.get16(driver + 4 + 2 * self.size as u32);
            new.any(|count| count as u16 == event)
        } else {
            mem.get16(driver) & 1 == 0
        }
    }

    /// Asks to be notified of the next chain; `true`: there is one.
    pub(crate) fn listen(&mut self, mem: &Shared) -> bool {
        self.listen_from(mem, self.taken)
    }

    /// Asks to be notified of the chain, or descriptor, of that number, if it can be.
    pub(crate) fn listen_from(&mut self, mem: &Shared, event: u64) -> bool {
        let device = self.layout.device();
        self.quiet = false;
        self.event = self.features.event_idx.then_some(event);
        if self.features.packed {
            let flags = if self.features.event_idx { 2 } else { 0 };
            mem.put32(device, u32::from(self.word(event)) | (flags << 16));
        } else if self.features.event_idx {
            mem.put16(device + 4 + 8 * self.size as u32, event as u16);
        } else {
            mem.put16(device, 0);
        }
        self.available(mem)
    }

    /// Does without notifications, where that can be said.
    pub(crate) fn quieten(&mut self, mem: &Shared) {
        if self.features.packed {
            mem.put32(self.layout.device(), 1 << 16);
            self.quiet = true;
        } else if !self.features.event_idx {
            mem.put16(self.layout.device(), 1);
            self.quiet = true;
        }
    }

    /// Whether a notification is due when the driver goes from `old` to `new`. In a ring that knows
    /// positions only, an event is one in every round of them.
    pub(crate) fn wants(&self, old: u64, new: u64) -> bool {
        let round = if self.features.packed {
            2 * self.size
        } else {
            1 << 16
        };
        old < new
            && !self.quiet
            && self
                .event
                .is_none_or(|event| (old..new).any(|count| count % round == event % round))
    }
}
