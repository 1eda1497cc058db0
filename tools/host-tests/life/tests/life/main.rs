// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The checks of the model: that the properties hold within some bounds, and that each of them would not if a rule
//! were not kept.

mod alike;
mod holds;
mod mutations;

use hvl_model::mem::Grain;
use hvl_model::model::{Action, Start, World};
use hvl_model::mutation::Mutation;
use hvl_model::state::Bounds;
use stateright::{Checker, Model};
use std::time::Instant;

/// Nothing happens but what should, and time stands still.
const NOTHING: Bounds = Bounds {
    peer_crashes: 0,
    driver_crashes: 0,
    lost: 0,
    twice: 0,
    stops: 0,
    unloads: 0,
    rebinds: 0,
    resizes: 0,
    recoveries: 0,
    ticks: 0,
    faults: 0,
};

/// Each kind of thing may happen so often, and so many in all.
const fn anything(each: u8, faults: u8) -> Bounds {
    Bounds {
        peer_crashes: each,
        driver_crashes: each,
        lost: each,
        twice: each,
        stops: each,
        unloads: each,
        rebinds: each,
        resizes: each,
        recoveries: each,
        ticks: 0,
        faults,
    }
}

/// A world in which all rules are kept, and a pass of the peer's is one step.
fn world(start: Start, bounds: Bounds) -> World {
    World {
        bounds,
        grain: Grain::Pass,
        mutation: Mutation::None,
        start,
        period_ms: hvl_model::PERIOD_MS,
        known: hvl_model::fair::Known::default(),
    }
}

/// What was found: the properties that do not hold, each with the steps that lead there.
type Found = Vec<(&'static str, Vec<Action>)>;

/// Visits all states, and says how many these are. `deep`: in an order that needs less memory, and finds longer ways.
fn check(name: &str, world: World, deep: bool) -> Found {
    fn found(name: &str, checker: &impl Checker<World>, begin: Instant) -> Found {
        println!(
            "{name}: {} states, {} steps, depth {}, {:.1} s",
            checker.unique_state_count(),
            checker.state_count(),
            checker.max_depth(),
            begin.elapsed().as_secs_f64()
        );
        let found = checker.discoveries().into_iter();
        found
            .map(|(property, path)| (property, path.into_actions()))
            .collect()
    }
    let begin = Instant::now();
    let builder = world.checker();
    if deep {
        found(name, &builder.spawn_dfs().join(), begin)
    } else {
        found(name, &builder.spawn_bfs().join(), begin)
    }
}

/// The same where all properties hold.
fn holds(name: &str, world: World, deep: bool) {
    let found = check(name, world, deep);
    assert!(found.is_empty(), "{name}: {found:#?}");
}
