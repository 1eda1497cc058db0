// SPDX-License-Identifier: GPL-2.0 OR MIT

//! With a device that keeps the rules: everything arrives, once, unchanged, and all room comes back.

use super::world::World;
use hvl_logic::algo::shadow::{Fetched, Posted};
use proptest::prelude::*;

/// Sizes of parts, `most` of them and at least `least`, with `bytes` in all at most.
fn parts(world: &mut World, least: u64, most: u64, bytes: u64) -> Vec<u32> {
    let count = least + world.dice.below(most - least + 1);
    (0..count)
        .map(|_| {
            let most = bytes / count;
            let most = if world.dice.one_in(3) {
                most.min(70)
            } else {
                most
            };
            world.dice.below(most + 1) as u32
        })
        .collect()
}

fn add(world: &mut World, bytes: u64, most: u64) -> bool {
    let readable = parts(world, 0, most, bytes / 2);
    let least = u64::from(readable.is_empty());
    let writable = parts(world, least, 3.min(most), bytes / 2);
    // A chain of nothing at all takes no chunk and has no descriptor.
    if readable.iter().chain(&writable).all(|&len| len == 0) {
        return world.add(&[1], &[]);
    }
    world.add(&readable, &writable)
}

/// Everything that is under way comes back.
fn finish(world: &mut World) {
    for _ in 0..100_000 {
        world.notify();
        while world.pop() {}
        while !world.held.is_empty() {
            let len = world.dice.below(9000) as u32;
            world.give(0, len);
        }
        world.complete(u16::MAX).unwrap();
        while world.take() {}
        if world.made.is_empty() {
            break;
        }
    }
    assert!(
        world.made.is_empty() && world.given.is_empty(),
        "it stands still"
    );
    assert_eq!(world.shadow.mapped(), 0);
    let flow = world.shadow.flow().unwrap();
    let (total, left, least) = flow.chunks();
    assert_eq!(total, left, "chunks were lost");
    assert!(least <= left);
    assert!(flow.is_settled(&world.private) && !flow.is_starved());
}

fn run(seed: u64, size: u16, chunk: u32, chunks: u16, number: u8, steps: u32) {
    let world = World::new(seed, size, chunk, chunks, number);
    // What every chain finds room for: its two halves may each begin a chunk.
    let chain = u64::from(chunks.min(size).min(60).saturating_sub(2)) * u64::from(chunk);
    walk(world, steps, chain, 4);
}

/// So many random steps, with chains of `chain` bytes at most in `readable` and three writable parts.
fn walk(mut world: World, steps: u32, chain: u64, readable: u64) {
    for _ in 0..steps {
        match world.dice.below(8) {
            0 | 1 => {
                add(&mut world, chain, readable);
            }
            2 => {
                let posted = world.notify();
                assert!(
                    matches!(posted, Posted::Idle | Posted::Starved),
                    "{posted:?}"
                );
            }
            3 | 4 => {
                world.pop();
            }
            5 if !world.held.is_empty() => {
                let index = world.dice.below(world.held.len() as u64) as usize;
                let len = world.dice.below(2 * chain) as u32;
                world.give(index, len);
            }
            6 => {
                let most = world.dice.below(5) as u16;
                let wanted = !world.dice.one_in(4);
                world.driver.set_wish(&world.private, wanted);
                let completed = world.complete(most).unwrap();
                assert!(completed.chains <= most);
                assert!(!completed.call || (wanted && completed.chains != 0));
                if completed.chains != 0 && wanted {
                    assert!(completed.call, "the driver was not called");
                }
            }
            _ => {
                world.take();
            }
        }
    }
    finish(&mut world);
}

proptest! {
    #[test]
    fn all_arrives(
        seed in any::<u64>(),
        order in 2u32..7,
        chunk in prop_oneof![Just(64u32), Just(256), Just(4096)],
        chunks in 4u16..100,
        number in 0u8..32,
    ) {
        run(seed, 1 << order, chunk, chunks, number, 300);
    }
}

proptest! {
    #[test]
    fn all_arrives_where_it_was_meant_to(
        seed in any::<u64>(),
        order in 2u32..7,
        chain in 2u64..20_000,
        number in 0u8..32,
    ) {
        let size = 1 << order;
        // No chain has more parts than the ring has entries.
        walk(World::direct(seed, size, number), 300, chain, u64::from(size / 2).min(4));
    }
}

#[test]
fn indices_wrap() {
    // 70,000 chains and more, in each kind of ring.
    for number in [0, 1, 8, 9] {
        let mut world = World::new(7, 8, 64, 40, number);
        for _ in 0..10_000 {
            while add(&mut world, 300, 4) {}
            finish(&mut world);
        }
    }
}

#[test]
fn a_full_pool_is_waited_for() {
    // Room for three buffers, and a ring that holds sixteen.
    let mut world = World::new(1, 16, 256, 3, 0);
    for _ in 0..16 {
        assert!(world.add(&[], &[256]));
    }
    assert_eq!(world.notify(), Posted::Starved);
    let mut came = 0;
    while came < 16 {
        while world.pop() {}
        let here = world.held.len();
        assert!((1..=3).contains(&here), "{here} buffers at the device");
        world.give(0, 200);
        world.complete(9).unwrap();
        // Nothing is free before the driver has its data.
        assert!(!world.shadow.flow().unwrap().is_starved());
        assert!(world.take());
        let left = 15 - came;
        assert_eq!(world.shadow.flow().unwrap().is_starved(), left >= 3);
        came += 1;
        let end = if left > 3 {
            Posted::Starved
        } else {
            Posted::Idle
        };
        assert_eq!(world.notify(), end, "with {left} to come");
    }
    finish(&mut world);
}

#[test]
fn what_never_fits_is_said() {
    let mut world = World::new(1, 16, 256, 3, 0);
    assert!(world.add(&[700], &[100]));
    assert_eq!(world.notify(), Posted::Never(800));
    let mut world = World::new(1, 16, 256, 4, 0);
    assert!(world.add(&[700], &[100]));
    assert_eq!(world.notify(), Posted::Idle);
    // More descriptors than the ring has, were they not put together.
    let mut world = World::new(1, 4, 64, 100, 0);
    assert!(world.add(&[64, 64, 64, 65], &[]));
    assert_eq!(world.notify(), Posted::Never(257));
}

#[test]
fn what_is_not_mapped_is_not_passed_on() {
    for (handle, len) in [(0, 1), (0xdead_beef, 1), (u64::MAX, 0)] {
        let mut world = World::new(3, 16, 256, 3, 0);
        world.driver.add(&world.private, &[(handle, len, false)]);
        assert_eq!(world.notify(), Posted::Stray(handle));
        assert!(!world.pop());
    }
    // Behind the end of a mapping, and in one that is gone.
    let mut world = World::new(3, 16, 256, 3, 0);
    let (handle, _) = world.map(100, false).unwrap();
    world
        .driver
        .add(&world.private, &[(handle + 50, 51, false)]);
    assert_eq!(world.notify(), Posted::Stray(handle + 50));
    let mut world = World::new(3, 16, 256, 3, 0);
    let (handle, _) = world.map(100, false).unwrap();
    world.unmap(handle, false);
    let (other, _) = world.map(100, false).unwrap();
    assert_ne!(handle, other, "the slot is the same, the handle is not");
    world.driver.add(&world.private, &[(handle, 1, false)]);
    assert_eq!(world.notify(), Posted::Stray(handle));
}

#[test]
fn a_buffer_that_is_taken_back_early() {
    // Its mapping is undone while the device has it: what the device writes goes nowhere.
    let mut world = World::new(3, 16, 256, 3, 0);
    assert!(world.add(&[], &[256]));
    world.notify();
    assert!(world.pop());
    let handle = world.held[0].1.handles[0];
    world.unmap(handle, true);
    world.give(0, 256);
    assert_eq!(world.complete(9).unwrap().chains, 1);
    let (total, left, _) = world.shadow.flow().unwrap().chunks();
    assert_eq!(total, left);
    assert!(world.bytes.buffers.borrow()[0]
        .iter()
        .all(|&byte| byte == super::world::BLANK));
}

#[test]
fn a_mapping_for_many_buffers() {
    // As virtio_net maps a page and posts parts of it; fetched one by one, in any order.
    let mut world = World::new(9, 16, 128, 16, 0);
    let (handle, number) = world.map(1000, true).unwrap();
    for at in 0..10u64 {
        world
            .driver
            .add(&world.private, &[(handle + 100 * at, 100, true)]);
    }
    assert_eq!(world.notify(), Posted::Idle);
    let mut chains = Vec::new();
    while let Some(chain) = world.device.pop(&world.shared) {
        chains.push(chain);
    }
    assert_eq!(chains.len(), 10);
    for (at, chain) in chains.iter().enumerate() {
        let offset = (chain.writable[0].address - crate::ring::memory::BASE) as usize;
        world.bytes.pool.borrow_mut()[offset..offset + 60].fill(at as u8);
    }
    for chain in chains {
        world.device.give(&world.shared, &[chain], 60);
    }
    assert_eq!(world.complete(99).unwrap().chains, 10);
    for at in [3, 0, 9, 5, 4, 1, 2, 8, 7, 6u64] {
        let part = handle + 100 * at;
        while world.shadow.fetch(part, 100, &world.bytes) == Fetched::Again {}
        let buffers = world.bytes.buffers.borrow();
        let data = &buffers[number][100 * at as usize..][..100];
        assert!(data[..60].iter().all(|&byte| byte == at as u8));
        assert!(data[60..].iter().all(|&byte| byte == super::world::BLANK));
    }
    let (total, left, _) = world.shadow.flow().unwrap().chunks();
    assert_eq!(
        total, left,
        "all room is back though the mapping is not undone"
    );
    world.unmap(handle, true);
}

#[test]
fn mappings_outlive_a_flow() {
    let mut world = World::new(4, 16, 256, 8, 0);
    assert!(world.add(&[], &[200]));
    assert!(world.add(&[], &[200]));
    world.notify();
    assert!(world.pop() && world.pop());
    world.give(0, 200);
    world.complete(9).unwrap();
    let handles = [world.given[0].handles[0], world.held[0].1.handles[0]];
    assert!(world.shadow.install(None).is_some());
    assert_eq!(world.notify(), Posted::Idle);
    // Neither what was not fetched nor what the device had is touched any more.
    for handle in handles {
        world.unmap(handle, true);
    }
    for buffer in &*world.bytes.buffers.borrow() {
        assert!(buffer.iter().all(|&byte| byte == super::world::BLANK));
    }
    assert_eq!(world.shadow.mapped(), 0);
}

#[test]
fn forgotten_mappings_are_counted() {
    let mut world = World::new(4, 16, 256, 8, 0);
    assert!(world.add(&[1, 2], &[200]));
    let handle = world.made[0].handles[1];
    assert_eq!(world.shadow.forget(), 3);
    assert_eq!(world.shadow.forget(), 0);
    assert_eq!(
        world.shadow.unmap(handle, Some(&world.bytes)),
        Fetched::Stray
    );
    // As many as before fit again.
    for _ in 0..36 {
        world.map(1, true).unwrap();
    }
    assert!(world.shadow.map(0, 1).is_none());
}

/// A driver that counts on a device that reaches its memory: parts of one mapping, and its own bytes.
#[test]
fn parts_of_a_mapping_are_reached_where_they_are() {
    let mut world = World::direct(9, 16, 0);
    let (handle, number) = world.map(1000, true).unwrap();
    let parts: Vec<_> = (0..3u64).map(|at| (handle + 300 * at, 100, true)).collect();
    let head = world.driver.add(&world.private, &parts);
    assert_eq!(world.notify(), Posted::Idle);
    let chain = world.device.pop(&world.shared).unwrap();
    let (buffer, _) = world.shadow.buffer(handle).unwrap();
    assert_eq!(buffer, number);
    let start = hvl_logic::algo::shadow::Data::address(&world.bytes, &buffer).unwrap();
    let places: Vec<_> = chain
        .writable
        .iter()
        .map(|part| part.address - start)
        .collect();
    assert_eq!(places, [0, 300, 600]);
    world.device.give(&world.shared, &[chain], 250);
    assert_eq!(world.complete(9).unwrap().chains, 1);
    assert_eq!(world.driver.take(&world.private), Some((head, 250)));
    assert_eq!(world.bytes.copied.get(), 0, "something was copied");
    world.unmap(handle, true);
    assert_eq!(world.bytes.copied.get(), 0, "something was copied");
    assert!(world.shadow.buffer(handle).is_none());
}

#[test]
fn what_is_not_mapped_is_not_reached() {
    for (skip, len) in [(50, 51), (100, 1)] {
        let mut world = World::direct(3, 16, 0);
        let (handle, _) = world.map(100, false).unwrap();
        world
            .driver
            .add(&world.private, &[(handle + skip, len, false)]);
        assert_eq!(world.notify(), Posted::Stray(handle + skip));
        assert!(!world.pop());
    }
    let mut world = World::direct(3, 16, 0);
    let (handle, _) = world.map(100, false).unwrap();
    world.unmap(handle, false);
    world.driver.add(&world.private, &[(handle, 1, false)]);
    assert_eq!(world.notify(), Posted::Stray(handle));
}

#[test]
fn what_never_fits_is_said_as_well_where_nothing_is_copied() {
    // One part more than a chain may have, in a ring that holds it.
    let mut world = World::direct(1, 128, 0);
    assert!(world.add(&[10; 64], &[]));
    assert_eq!(world.notify(), Posted::Idle);
    assert!(world.add(&[10; 65], &[]));
    assert_eq!(world.notify(), Posted::Never(650));
    // One byte more.
    let mut world = World::direct(1, 128, 0);
    assert!(world.add(&[0x20000, 0x10000], &[0xffff, 1]));
    assert_eq!(world.notify(), Posted::Idle);
    assert!(world.add(&[0x20000, 0x10000], &[0x10000, 1]));
    assert_eq!(world.notify(), Posted::Never(0x4_0001));
    // What is to be written comes last.
    let mut world = World::direct(1, 128, 0);
    let parts = [true, false].map(|blank| (world.map(10, blank).unwrap().0, 10, blank));
    world.driver.add(&world.private, &parts);
    assert_eq!(world.notify(), Posted::Never(20));
}

#[test]
fn a_full_ring_is_waited_for() {
    // A table of its own for each entry, or two entries each.
    for (number, at_once) in [(0, 4), (8, 4)] {
        let mut world = World::direct(1, 8, number);
        let at_once = if world.features.indirect { 8 } else { at_once };
        for _ in 0..8 {
            assert!(world.add(&[1], &[1]));
        }
        let end = if at_once == 8 {
            Posted::Idle
        } else {
            Posted::Starved
        };
        assert_eq!(world.notify(), end);
        while world.pop() {}
        assert_eq!(world.held.len(), at_once);
        assert!(!world.shadow.flow().unwrap().is_waiting(&world.private));
        world.give(0, 1);
        world.complete(9).unwrap();
        assert!(world.take());
        assert_eq!(
            world.shadow.flow().unwrap().is_waiting(&world.private),
            at_once == 4
        );
        finish(&mut world);
    }
}

#[test]
fn all_that_is_mapped_is_listed() {
    let mut world = World::direct(4, 16, 8);
    assert!(world.add(&[1, 2], &[200]));
    let handle = world.made[0].handles[1];
    assert_eq!(world.shadow.buffers().collect::<Vec<_>>(), [0, 1, 2]);
    world.unmap(handle, false);
    assert_eq!(world.shadow.buffers().collect::<Vec<_>>(), [0, 2]);
    assert_eq!(world.shadow.forget(), 2);
    assert_eq!(world.shadow.buffers().count(), 0);
}
