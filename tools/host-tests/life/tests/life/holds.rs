// SPDX-License-Identifier: GPL-2.0 OR MIT

//! All properties hold. Those that are ignored take long: `tools/host-tests/run --test life -- --ignored --nocapture`.

use crate::{anything, holds, world, NOTHING};
use hvl_model::mem::Grain;
use hvl_model::model::{Start, World};
use hvl_model::state::Bounds;

/// Either side may have three incarnations, from when there was none of either.
#[test]
fn crashes_from_nothing() {
    let bounds = Bounds {
        peer_crashes: 2,
        driver_crashes: 2,
        faults: 2,
        ..NOTHING
    };
    holds("two crashes", world(Start::Nothing, bounds), false);
}

/// Whatever can happen, twice, to a link that is up.
#[test]
fn anything_twice() {
    holds("anything twice", world(Start::Up, anything(2, 2)), false);
}

/// The same once, and everything may be late by half a second.
#[test]
fn anything_late() {
    let bounds = Bounds {
        ticks: 1,
        ..anything(1, 1)
    };
    holds("anything, late", world(Start::Up, bounds), false);
}

/// So late that deadlines pass and the peer counts as hung.
#[test]
fn too_late() {
    let bounds = Bounds {
        ticks: 2,
        ..NOTHING
    };
    holds("too late", world(Start::Nothing, bounds), false);
}

/// The same of a peer without a heartbeat.
#[test]
fn too_late_without_heartbeat() {
    let world = World {
        period_ms: 0,
        ..world(
            Start::Nothing,
            Bounds {
                ticks: 2,
                ..NOTHING
            },
        )
    };
    holds("too late, no heartbeat", world, false);
}

/// All rings of a link test may be lost.
#[test]
fn deaf() {
    let bounds = Bounds {
        lost: 4,
        ticks: 4,
        faults: 4,
        ..NOTHING
    };
    holds("lost rings", world(Start::Test, bounds), false);
}

/// In the middle of what the peer does.
#[test]
fn anything_between_two_words() {
    holds("between two words", words(Start::Up, anything(1, 1)), false);
}

/// A new attachment to the same peer, wherever that is in a pass.
#[test]
fn begun_afresh_between_two_words() {
    holds("begun afresh", words(Start::Up, afresh(1)), false);
}

const fn afresh(recoveries: u8) -> Bounds {
    Bounds {
        recoveries,
        faults: recoveries,
        ..NOTHING
    }
}

fn words(start: Start, bounds: Bounds) -> World {
    World {
        grain: Grain::Word,
        ..world(start, bounds)
    }
}

/// Both sides may have three incarnations.
#[test]
#[ignore = "minutes"]
fn long_three_incarnations_of_both() {
    let bounds = Bounds {
        peer_crashes: 2,
        driver_crashes: 2,
        faults: 4,
        ..NOTHING
    };
    holds("four crashes", world(Start::Up, bounds), true);
}

#[test]
#[ignore = "minutes"]
fn long_anything_three_times() {
    holds(
        "anything three times",
        world(Start::Up, anything(2, 3)),
        true,
    );
}

#[test]
#[ignore = "minutes"]
fn long_late() {
    let bounds = Bounds {
        ticks: 3,
        ..anything(1, 1)
    };
    holds("anything, too late", world(Start::Up, bounds), true);
}

#[test]
#[ignore = "minutes"]
fn long_crashes_between_two_words() {
    let bounds = Bounds {
        peer_crashes: 2,
        driver_crashes: 2,
        twice: 1,
        faults: 2,
        ..NOTHING
    };
    holds("crashes between two words", words(Start::Up, bounds), true);
}

#[test]
#[ignore = "half a minute"]
fn long_begun_afresh_twice() {
    holds("begun afresh twice", words(Start::Up, afresh(2)), false);
}
