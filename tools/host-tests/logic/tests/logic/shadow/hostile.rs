// SPDX-License-Identifier: GPL-2.0 OR MIT

//! With a device that writes anything anywhere at any time: the driver sees a ring that keeps every
//! rule, and nothing panics.

use super::world::World;
use hvl_logic::algo::shadow::{Fetched, Posted};
use proptest::prelude::*;

/// The device writes somewhere: mostly where it matters.
fn scribble(world: &mut World, bytes: u32) {
    let at = world.dice.below(u64::from(bytes / 2)) as u32 * 2;
    let value = match world.dice.below(4) {
        0 => world.dice.below(20) as u16,
        1 => world.dice.roll() as u16,
        2 => 1 << world.dice.below(16),
        _ => 0,
    };
    world.shared.put16(at, value);
}

proptest! {
    #[test]
    fn nothing_breaks(
        seed in any::<u64>(),
        order in 2u32..6,
        chunks in 4u16..40,
        number in 0u8..32,
        direct in any::<bool>(),
    ) {
        let chunks = if direct { 0 } else { chunks };
        let mut world = World::with(seed, 1 << order, 64, chunks, number, direct);
        let ring = world.geometry.first.min(2000);
        // What the driver has made available, by head: handles, writable bytes.
        let mut out: Vec<Option<(Vec<u64>, u32)>> = vec![None; world.geometry.size.into()];
        let mut lie = None;
        for _ in 0..400 {
            match world.dice.below(8) {
                0 | 1 => {
                    let readable = [world.dice.below(60) as u32 + 1];
                    let writable = [world.dice.below(120) as u32];
                    if world.add(&readable, &writable) {
                        let made = world.made.pop_back().unwrap();
                        let slot = &mut out[usize::from(made.head)];
                        prop_assert!(slot.is_none());
                        *slot = Some((made.handles.clone(), made.room()));
                    }
                }
                2 => {
                    let posted = world.notify();
                    prop_assert!(matches!(posted, Posted::Idle | Posted::Starved));
                }
                3 => {
                    // An honest step in between gets it further than noise alone would.
                    let next = (world.dice.below(4)) as u16;
                    let at = world.dice.below(u64::from(ring / 4)) as u32 * 4;
                    world.shared.put16(at, next);
                }
                4 | 5 => scribble(&mut world, ring),
                6 => match world.complete(5) {
                    Ok(_) => prop_assert!(lie.is_none()),
                    Err(now) => {
                        prop_assert_eq!(*lie.get_or_insert(now), now);
                    }
                },
                _ => {
                    // The model of Linux's driver panics where that would.
                    if let Some((head, len)) = world.driver.take(&world.private) {
                        let (handles, room) = out[usize::from(head)].take().unwrap();
                        prop_assert!(len <= room, "{} of {}", len, room);
                        for handle in handles {
                            while world.shadow.unmap(handle, Some(&world.bytes)) == Fetched::Again {}
                        }
                    }
                }
            }
        }
        // Whatever is still out, the driver gets its mappings back.
        for handle in out.into_iter().flatten().flat_map(|(handles, _)| handles) {
            prop_assert_ne!(world.shadow.unmap(handle, Some(&world.bytes)), Fetched::Stray);
        }
    }
}
