// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux writes to a virtqueue: available chains, indirect tables, its wish for notifications.

use crate::input::Input;
use crate::rig::{Memory, BASE};
use hvl_device::mem::Pool;
use hvl_device::queue::{Chain, Features, Layout, Virtqueue};

/// The region, and where the pool is in it.
const SIZE: u32 = 0x4000;
const POOL: u32 = 0x1000;
const END: u32 = 0x3000;
/// Parts of the virtqueue, and where indirect tables are.
const DESC: u32 = 0x1000;
const DRIVER: u32 = 0x1200;
const DEVICE: u32 = 0x1300;
const TABLE: u32 = 0x1400;
const BUFFER: u32 = 0x2000;

pub(crate) fn split(data: &[u8]) {
    queue(data, false);
}

pub(crate) fn packed(data: &[u8]) {
    queue(data, true);
}

/// An address: mostly of a buffer or a table, else anything.
fn address(input: &mut Input<'_>) -> u64 {
    let offset = u64::from(input.half());
    match input.below(8) {
        0 => input.wide(),
        1 => BASE + offset,
        2 | 3 => BASE + u64::from(TABLE) + offset % 0x100,
        _ => BASE + u64::from(BUFFER) + offset % 0x800,
    }
}

fn queue(data: &[u8], packed: bool) {
    let mut input = Input::new(data);
    let memory = Memory::new(SIZE);
    let mem = &memory.region;
    let pool = Pool::new(BASE, POOL, END - POOL);
    let kind = input.byte();
    let features = Features {
        packed,
        indirect: kind & 1 != 0,
        in_order: kind & 2 != 0,
        event_idx: kind & 4 != 0,
    };
    let size = if packed {
        1 + u32::from(kind >> 4)
    } else {
        1 << (kind >> 5).min(4)
    };
    let at = |offset: u32| BASE + u64::from(offset);
    let mut layout = Layout {
        size,
        desc: at(DESC),
        driver: at(DRIVER),
        device: at(DEVICE),
    };
    if kind & 8 != 0 {
        // Places that Linux makes up.
        let place = input.below(4);
        let value = address(&mut input);
        match place {
            0 => layout.desc = value,
            1 => layout.driver = value,
            2 => layout.device = value,
            _ => layout.size = value as u32,
        }
    }
    let Ok(mut queue) = Virtqueue::new(&layout, &pool, features) else {
        return;
    };
    let mut chains: Vec<Chain> = Vec::new();
    let mut next = 0u16;
    while !input.is_empty() {
        match input.byte() % 12 {
            // A descriptor, in the ring or in a table.
            0..=2 => {
                let (step, slot) = (input.byte(), u32::from(input.byte()));
                let table = step & 1 != 0;
                let at = if table {
                    TABLE + slot % 32 * 16
                } else {
                    DESC + slot % size.min(32) * 16
                };
                let address = address(&mut input);
                mem.write32(at, address as u32);
                mem.write32(at + 4, (address >> 32) as u32);
                mem.write32(
                    at + 8,
                    u32::from(input.half()) & if step & 2 != 0 { 0xffff } else { 0xf0 },
                );
                mem.write16(at + 12, input.half());
                mem.write16(at + 14, input.half());
            }
            // A chain is made available, split.
            3 | 4 if !packed => {
                let slot = u32::from(next) % size.min(64);
                mem.write16(DRIVER + 4 + 2 * slot, input.byte().into());
                next = next.wrapping_add(1);
                mem.write16(DRIVER + 2, next);
            }
            // Its flags are set, packed: of this lap or the other.
            3 | 4 => {
                let slot = u32::from(next) % size.min(32);
                let lap = u32::from(next) / size % 2 != 0;
                let flags = u16::from(input.byte() & 7) | if lap { 1 << 15 } else { 1 << 7 };
                mem.write16(DESC + 16 * slot + 14, flags);
                next = next.wrapping_add(1);
            }
            5 | 6 => {
                let mut chain = Chain::new();
                match queue.pop(mem, &pool, &mut chain) {
                    Ok(true) => {
                        let mut bytes = [0; 300];
                        let read = chain.read(mem, 0, &mut bytes);
                        assert_eq!(read, bytes.len().min(chain.readable_len() as usize));
                        // As much as there is room for, so that a room behind the pool shows.
                        let written = chain.write(mem, 0, &[0xd5; 0x2000]);
                        assert_eq!(written, 0x2000.min(chain.writable_len() as usize));
                        chains.push(chain);
                    }
                    Ok(false) => {}
                    // The queue cannot go on.
                    Err(fault) => {
                        assert_ne!(fault, hvl_device::queue::Fault::Order);
                        return drop(fault.to_string());
                    }
                }
            }
            7 if !chains.is_empty() => {
                let any = input.byte() as usize % chains.len();
                let chain = chains.remove(if features.in_order { 0 } else { any });
                queue.push(mem, &chain, chain.writable_len()).unwrap();
            }
            8 => {
                queue.publish(mem);
                queue.wants_notification(mem);
            }
            9 => queue.quieten(mem),
            10 => {
                if queue.listen(mem, input.half()).is_err() || queue.available(mem).is_err() {
                    return;
                }
            }
            _ => {
                // Anything anywhere.
                let at = POOL + u32::from(input.half()) % (TABLE + 0x100 - POOL);
                mem.write8(at, input.byte());
            }
        }
        // Nothing was written outside of the pool.
        assert_eq!((mem.read32(POOL - 4), mem.read32(END)), (0, 0));
    }
}
