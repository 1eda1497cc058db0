// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A shadow virtqueue between a driver that believes everything and a peer that writes anything.

use crate::input::Input;
use crate::logic::shadow::world::World;
use hvl_logic::algo::shadow::{Fetched, Posted};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (order, chunks, number) = (2 + input.below(4), 4 + input.byte() % 36, input.byte());
    let direct = number & 32 != 0;
    let mut world = World::with(
        input.half().into(),
        1 << order,
        64,
        if direct { 0 } else { chunks.into() },
        number & 31,
        direct,
    );
    let ring = world.geometry.first;
    // What the driver has made available, by head: handles, writable bytes.
    let mut out: Vec<Option<(Vec<u64>, u32)>> = vec![None; world.geometry.size.into()];
    let mut lie = None;
    let mut steps = 0;
    while !input.is_empty() && steps < 2000 {
        steps += 1;
        match input.byte() % 9 {
            0 | 1 => {
                let (readable, writable) = (1 + input.below(120), input.below(200));
                if world.add(&[readable], &[writable]) {
                    let made = world.made.pop_back().unwrap();
                    let slot = &mut out[usize::from(made.head)];
                    assert!(slot.is_none());
                    *slot = Some((made.handles.clone(), made.room()));
                }
            }
            2 => match world.notify() {
                Posted::Idle | Posted::Starved => {}
                // It has more pieces than the ring has entries.
                Posted::Never(_) => return,
                other => panic!("{other:?}"),
            },
            3 | 4 => match world.complete(1 + u16::from(input.byte())) {
                Ok(_) => assert!(lie.is_none()),
                Err(now) => assert_eq!(*lie.get_or_insert(now), now),
            },
            5 | 6 => {
                // The model of Linux's driver panics where that would.
                if let Some((head, len)) = world.driver.take(&world.private) {
                    let (handles, room) = out[usize::from(head)].take().unwrap();
                    assert!(len <= room);
                    for handle in handles {
                        while world.shadow.unmap(handle, Some(&world.bytes)) == Fetched::Again {}
                    }
                }
            }
            _ => {
                let at = u32::from(input.half()) % ring.min(2000);
                world.shared.put16(at & !1, input.half());
            }
        }
    }
    for handle in out.into_iter().flatten().flat_map(|(handles, _)| handles) {
        assert_ne!(
            world.shadow.unmap(handle, Some(&world.bytes)),
            Fetched::Stray
        );
    }
}
