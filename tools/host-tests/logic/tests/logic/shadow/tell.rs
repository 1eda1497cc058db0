// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the driver is told that the device has not said.

use super::world::{Made, World, BLANK};
use proptest::prelude::*;

const WORDS: &[u8] = b"a message";
const LEN: u32 = 64;

/// A queue of `size` entries that keeps one chain from the device, full of buffers to be written.
fn world(seed: u64, size: u16, number: u8) -> World {
    let mut world = World::new(seed, size, 64, 2 * size, number);
    let mut flow = world.shadow.install(None).unwrap();
    flow.keep_one();
    assert!(world.shadow.install(Some(flow)).is_none());
    while world.add(&[], &[LEN]) {}
    world
}

/// The driver takes one chain, which begins with `bytes` and has nothing else in it, and makes another one available.
fn take_told(world: &mut World, made: Made, bytes: &[u8]) {
    assert_eq!(
        world.driver.take(&world.private),
        Some((made.head, bytes.len() as u32))
    );
    let (handle, buffer, skip, _) = made.writable[0];
    world.unmap(handle, true);
    let buffers = world.bytes.buffers.borrow();
    let (told, rest) = buffers[buffer][skip..].split_at(bytes.len());
    assert_eq!(told, bytes);
    assert!(rest.iter().all(|byte| *byte == BLANK));
}

fn tell(world: &mut World, last: bool) -> bool {
    world.shadow.tell(&world.private, &world.bytes, WORDS, last)
}

fn is_home(world: &World) -> bool {
    world.shadow.is_home(&world.private)
}

proptest! {
    /// One chain is kept, and comes back with what is to be told; the others are the device's as ever.
    #[test]
    fn one_is_kept(seed in any::<u64>(), order in 2u32..7, number in 0u8..32, rounds in 1usize..20) {
        let mut world = world(seed, 1 << order, number);
        prop_assert!(!tell(&mut world, false));
        for _ in 0..rounds {
            world.notify();
            prop_assert!(is_home(&world));
            let kept = world.made.pop_front().unwrap();
            while world.pop() {}
            prop_assert!(world.made.is_empty());
            prop_assert!(tell(&mut world, false));
            prop_assert!(!tell(&mut world, false));
            prop_assert!(!is_home(&world));
            take_told(&mut world, kept, WORDS);
            prop_assert!(!is_home(&world));
            // The others, of which it has to be told nothing.
            while !world.held.is_empty() {
                world.give(0, 7);
            }
            while world.complete(4).unwrap().more {}
            while world.take() {}
            while world.add(&[], &[LEN]) {}
        }
    }

    /// In the end it is told as much as it has buffers for, whoever has them.
    #[test]
    fn the_last_words(seed in any::<u64>(), order in 2u32..7, number in 0u8..32, posted in any::<bool>()) {
        let mut world = world(seed, 1 << order, number);
        if posted {
            world.notify();
            world.pop();
        }
        let mut left = 1 << order;
        while tell(&mut world, true) {
            left -= 1;
        }
        prop_assert_eq!(left, 0);
        let mut heads = Vec::new();
        while let Some((head, len)) = world.driver.take(&world.private) {
            prop_assert_eq!(len as usize, WORDS.len());
            heads.push(head);
        }
        heads.sort_unstable();
        heads.dedup();
        prop_assert_eq!(heads.len(), 1 << order);
    }
}

#[test]
fn there_has_to_be_room_for_it() {
    let mut world = World::new(1, 8, 64, 16, 0);
    assert!(is_home(&world));
    assert!(world.add(&[LEN], &[]) && world.add(&[], &[WORDS.len() as u32 - 1]));
    assert!(!is_home(&world));
    assert!(!tell(&mut world, true) && !tell(&mut world, true) && !tell(&mut world, true));
    let lens: Vec<u32> = std::iter::from_fn(|| world.driver.take(&world.private))
        .map(|used| used.1)
        .collect();
    assert_eq!(lens, [0, 0]);
}
