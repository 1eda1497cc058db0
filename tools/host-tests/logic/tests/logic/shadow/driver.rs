// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver's end of a private ring, as Linux's `virtio_ring` has it: split, direct, without event
//! index.

use hvl_logic::algo::ring::Memory;
use hvl_logic::algo::shadow::{Geometry, PRIVATE_ALIGN};
use std::cell::RefCell;

/// Memory that only the driver and the shadow know.
pub(crate) struct Private(RefCell<Vec<u8>>);

impl Private {
    pub(crate) fn new(size: u16) -> Self {
        Self(RefCell::new(vec![
            0;
            Geometry::private_bytes(size) as usize
        ]))
    }

    fn get<const N: usize>(&self, at: u32) -> [u8; N] {
        let at = at as usize;
        self.0.borrow()[at..at + N].try_into().unwrap()
    }

    fn put(&self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

// Out of bounds is a fault of the shadow's here, and panics.
impl Memory for Private {
    fn read16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.get(at))
    }
    fn read32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.get(at))
    }
    fn write16(&self, at: u32, value: u16) {
        self.put(at, &value.to_le_bytes());
    }
    fn write32(&self, at: u32, value: u32) {
        self.put(at, &value.to_le_bytes());
    }
    fn write_barrier(&self) {}
    fn read_barrier(&self) {}
    fn full_barrier(&self) {}
}

/// A part of a chain: a handle, bytes, and whether the device writes it.
pub(crate) type Part = (u64, u32, bool);

/// The driver.
pub(crate) struct Driver {
    size: u16,
    free: Vec<u16>,
    /// Descriptors of each outstanding chain, by its head.
    chains: Vec<Option<Vec<u16>>>,
    made: u16,
    seen: u16,
}

impl Driver {
    pub(crate) fn new(size: u16) -> Self {
        Self {
            size,
            free: (0..size).rev().collect(),
            chains: vec![None; size.into()],
            made: 0,
            seen: 0,
        }
    }

    fn avail(&self) -> u32 {
        u32::from(self.size) * 16
    }

    fn used(&self) -> u32 {
        (self.avail() + 6 + 2 * u32::from(self.size)).next_multiple_of(PRIVATE_ALIGN)
    }

    pub(crate) fn room(&self) -> usize {
        self.free.len()
    }

    /// Makes a chain available; its head.
    pub(crate) fn add(&mut self, memory: &Private, parts: &[Part]) -> u16 {
        assert!(!parts.is_empty() && parts.len() <= self.room());
        let numbers: Vec<_> = parts.iter().map(|_| self.free.pop().unwrap()).collect();
        for (at, (&number, &(handle, len, writable))) in numbers.iter().zip(parts).enumerate() {
            let mut flags = u16::from(writable) * 2;
            // The last one's link is whatever was there.
            let next = numbers.get(at + 1).copied().unwrap_or(0xbeef);
            if at + 1 < numbers.len() {
                flags |= 1;
            }
            let desc = u32::from(number) * 16;
            memory.put(desc, &handle.to_le_bytes());
            memory.put(desc + 8, &len.to_le_bytes());
            memory.put(desc + 12, &flags.to_le_bytes());
            memory.put(desc + 14, &next.to_le_bytes());
        }
        let head = numbers[0];
        let slot = u32::from(self.made % self.size);
        memory.put(self.avail() + 4 + 2 * slot, &head.to_le_bytes());
        self.made = self.made.wrapping_add(1);
        memory.put(self.avail() + 2, &self.made.to_le_bytes());
        assert!(self.chains[usize::from(head)].replace(numbers).is_none());
        head
    }

    /// The next used chain: its head and length.
    pub(crate) fn take(&mut self, memory: &Private) -> Option<(u16, u32)> {
        let index = u16::from_le_bytes(memory.get(self.used() + 2));
        if index == self.seen {
            return None;
        }
        let slot = u32::from(self.seen % self.size);
        let at = self.used() + 4 + 8 * slot;
        let id = u32::from_le_bytes(memory.get(at));
        let len = u32::from_le_bytes(memory.get(at + 4));
        self.seen = self.seen.wrapping_add(1);
        // Linux would say "id is not a head!", or read behind the end.
        let chain = self.chains[id as usize].take();
        self.free
            .extend(chain.expect("used without being available"));
        Some((id as u16, len))
    }

    /// Whether it wants to be called.
    pub(crate) fn set_wish(&self, memory: &Private, wanted: bool) {
        memory.put(self.avail(), &u16::from(!wanted).to_le_bytes());
    }
}
