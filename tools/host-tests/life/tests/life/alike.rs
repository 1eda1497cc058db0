// SPDX-License-Identifier: GPL-2.0 OR MIT

//! States that count as alike behave alike: whatever is made of one, step by step, is alike again.

use crate::{anything, world};
use hvl_model::mem::Grain;
use hvl_model::model::{Start, World};
use hvl_model::state::Bounds;
use stateright::Model;

/// Numbers that look random (xorshift).
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn walk(world: &World, noise: &mut Noise) -> usize {
    let mut settled = world.init_states().remove(0);
    let mut raw = settled.clone();
    for step in 0..400 {
        let mut actions = Vec::new();
        world.actions(&settled, &mut actions);
        let next = |settled| {
            let all = actions.iter().copied();
            all.filter_map(|action| Some((action, world.next_state(settled, action)?)))
                .collect::<Vec<_>>()
        };
        let mut all = next(&settled);
        if all.is_empty() {
            return step;
        }
        let (action, after) = all.swap_remove(noise.below(all.len()));
        assert!(world.step(&mut raw, action), "{action:?} in\n{raw}");
        settled = after;
        let mut alike = raw.clone();
        if alike.settle() {
            assert!(
                alike == settled,
                "{action:?} leads to\n{alike}\nand\n{settled}"
            );
        }
    }
    400
}

#[test]
fn what_counts_as_alike() {
    let mut noise = Noise(0x5eed);
    let mut steps = 0;
    for round in 0..300 {
        let bounds = Bounds {
            ticks: 6,
            ..anything(3, 6)
        };
        let grain = [Grain::Pass, Grain::Word][round % 2];
        let world = World {
            grain,
            ..world(Start::Nothing, bounds)
        };
        steps += walk(&world, &mut noise);
    }
    assert!(steps > 10_000, "{steps}");
}
