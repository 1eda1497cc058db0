// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device that is gone: the driver gets all back that it waits for, once, whoever has it.

use super::world::{Made, World, BLANK};
use proptest::prelude::*;

const WORD: u8 = 0xee;

fn add(world: &mut World) -> bool {
    let len = |world: &mut World| world.dice.below(300) as u32;
    let readable = [len(world), len(world)];
    let writable = [1 + len(world), len(world)];
    match world.dice.below(3) {
        0 => world.add(&readable, &[]) || world.add(&[1], &[]),
        1 => world.add(&[], &writable),
        _ => world.add(&readable, &writable),
    }
}

/// The driver takes back what it is given, all of which has to be in `left`.
fn take(world: &mut World, left: &mut Vec<Made>) {
    while let Some((head, len)) = world.driver.take(&world.private) {
        assert_eq!(len, 0);
        let at = left.iter().position(|made| made.head == head);
        let made = left.remove(at.expect("it was given back before"));
        let last = made.writable.iter().rposition(|part| part.3 != 0);
        for (place, &(handle, number, skip, len)) in made.writable.iter().enumerate() {
            world.unmap(handle, true);
            let mut want = vec![BLANK; skip + len as usize];
            if last == Some(place) {
                *want.last_mut().unwrap() = WORD;
            }
            assert!(world.bytes.buffers.borrow()[number] == want);
        }
        let read_only = made.handles.len() - made.writable.len();
        for handle in &made.handles[..read_only] {
            world.unmap(*handle, false);
        }
    }
}

fn run(seed: u64, size: u16, chunks: u16, number: u8, steps: u32) {
    let mut world = World::new(seed, size, 256, chunks, number);
    for _ in 0..steps {
        match world.dice.below(6) {
            0 | 1 => {
                add(&mut world);
            }
            2 => {
                world.notify();
            }
            // A part of a chain, which may be the last that is done.
            3 => {
                let _ = world
                    .shadow
                    .post(&world.private, &world.shared, &world.bytes);
            }
            4 => {
                world.pop();
            }
            _ if !world.held.is_empty() => {
                let len = world.dice.below(400) as u32;
                world.give(0, len);
                if world.dice.one_in(2) {
                    let most = world.dice.below(4) as u16;
                    world.complete(most).unwrap();
                }
            }
            _ => {}
        }
    }
    // What was shown by then.
    while world.take() {}
    let mut left: Vec<Made> = world.made.drain(..).collect();
    left.extend(world.held.drain(..).map(|(_, made)| made));
    left.extend(world.given.drain(..));
    for _ in 0..40 {
        let most = 1 + world.dice.below(5) as u16;
        let before = left.len();
        let ended = world.shadow.end(&world.private, &world.bytes, WORD, most);
        assert!(ended.chains <= most && ended.more == (ended.chains == most));
        take(&mut world, &mut left);
        assert_eq!(before - left.len(), usize::from(ended.chains));
        // The driver does not know yet.
        if world.dice.one_in(3) && add(&mut world) {
            left.extend(world.made.pop_back());
        }
    }
    while world.shadow.end(&world.private, &world.bytes, WORD, 7).more {}
    take(&mut world, &mut left);
    assert!(left.is_empty(), "{} are left", left.len());
    assert_eq!(world.shadow.mapped(), 0);
}

proptest! {
    #[test]
    fn all_comes_to_an_end(
        seed in any::<u64>(),
        order in 2u32..7,
        chunks in 8u16..60,
        number in 0u8..32,
        steps in 0u32..300,
    ) {
        run(seed, 1 << order, chunks, number, steps);
    }
}
