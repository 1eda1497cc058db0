// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a peer writes to a virtqueue: used elements, and its wish for notifications.

use crate::input::Input;
use hvl_logic::algo::ring::{Features, Layout, Memory, Ring, Segment, Slot};
use std::cell::RefCell;
use std::collections::BTreeMap;

const BASE: u64 = 0x4000_0000;

/// The virtqueue's memory. Out of bounds panics: the ring has to keep to its layout.
struct Shared(RefCell<Vec<u8>>);

impl Shared {
    fn get<const N: usize>(&self, at: u32) -> [u8; N] {
        let at = at as usize;
        self.0.borrow()[at..at + N].try_into().unwrap()
    }

    fn put(&self, at: u32, bytes: &[u8]) {
        let at = at as usize;
        self.0.borrow_mut()[at..at + bytes.len()].copy_from_slice(bytes);
    }
}

impl Memory for Shared {
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

pub(crate) fn split(data: &[u8]) {
    ring(data, false);
}

pub(crate) fn packed(data: &[u8]) {
    ring(data, true);
}

fn ring(data: &[u8], packed: bool) {
    let mut input = Input::new(data);
    let kind = input.byte();
    let features = Features {
        packed,
        indirect: kind & 1 != 0,
        in_order: kind & 2 != 0,
        event_idx: kind & 4 != 0,
        notification_data: kind & 8 != 0,
    };
    let size = if packed {
        1 + u16::from(kind >> 4)
    } else {
        1 << (kind >> 5)
    };
    let layout = Layout::new(size, packed, 4).unwrap();
    let shared = Shared(RefCell::new(vec![0; layout.bytes() as usize]));
    let book = vec![Slot::NEW; size.into()];
    let mut ring = Ring::new(&shared, layout, BASE, features, book).unwrap();
    // Writable bytes of what the peer has, by token, and of what was not shown.
    let mut out = BTreeMap::new();
    let mut hidden = BTreeMap::new();
    let mut token = 0u16;
    while !input.is_empty() {
        match input.byte() % 12 {
            0..=2 => {
                let (readable, writable) = (input.below(4), input.below(4));
                let some =
                    |count: u32, len: u32| vec![Segment { address: BASE, len }; count as usize];
                let len = input.half().into();
                let result = ring.post(&shared, &some(readable, 7), &some(writable, len), token);
                if result.is_ok() {
                    hidden.insert(token, writable * len);
                    token = token.wrapping_add(1);
                }
            }
            3 | 4 => {
                ring.publish(&shared, input.half());
                out.append(&mut hidden);
            }
            5 | 6 => {
                let before = ring.lie();
                match ring.take(&shared) {
                    Ok(Some(used)) => {
                        let room = out.remove(&used.token).expect("a chain that is the peer's");
                        assert!(before.is_none() && used.len <= room);
                    }
                    Ok(None) => assert!(before.is_none()),
                    Err(lie) => assert!(before.is_none_or(|before| before == lie)),
                }
            }
            7 => drop(ring.listen_after(&shared, input.half())),
            8 => ring.quieten(&shared),
            // Anything anywhere, or a word where it matters.
            9 => {
                let at = u32::from(input.half()) % layout.bytes();
                shared.put(at, &[input.byte()]);
            }
            10 => {
                let at =
                    layout.device() + input.byte() as u32 % (layout.tables() - layout.device());
                shared.write16(at & !1, input.half());
            }
            _ => {
                let slot = u32::from(input.byte()) % u32::from(size);
                let (id, len) = (input.byte().into(), input.half().into());
                let at = if packed {
                    16 * slot + 8
                } else {
                    layout.device() + 4 + 8 * slot
                };
                let (first, second) = if packed {
                    let flags = [0x8080u32, 0x8082, 0, 2][usize::from(kind & 3)];
                    (len, id | (flags << 16))
                } else {
                    (id, len)
                };
                shared.write32(at, first);
                shared.write32(at + 4, second);
            }
        }
        assert_eq!(usize::from(ring.outstanding()), out.len() + hidden.len());
        assert!(ring.room() <= size);
    }
}
