// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Each rule is needed: without it a property does not hold, and it is this one.

use crate::{check, world, NOTHING};
use hvl_model::mem::Grain;
use hvl_model::model::property::{ENDS, FINAL, OWN, RECOVERS};
use hvl_model::model::{Start, World};
use hvl_model::mutation::Mutation;
use hvl_model::state::Bounds;

const DRIVER_CRASH: Bounds = Bounds {
    driver_crashes: 1,
    faults: 1,
    ..NOTHING
};
const PEER_CRASH: Bounds = Bounds {
    peer_crashes: 1,
    faults: 1,
    ..NOTHING
};

/// In a `world` without the rule, `broken` does not hold, and no other property. With it, all do: see `holds`.
fn finds(mutation: Mutation, world: World, broken: &[&str]) {
    let name = format!("{mutation:?}");
    let found = check(&name, World { mutation, ..world }, false);
    let mut properties: Vec<_> = found.iter().map(|(property, _)| *property).collect();
    properties.sort_unstable();
    assert_eq!(properties, broken, "{name}: {found:?}");
}

fn words(bounds: Bounds) -> World {
    World {
        grain: Grain::Word,
        ..world(Start::Up, bounds)
    }
}

const RECOVERY: Bounds = Bounds {
    recoveries: 1,
    faults: 1,
    ..NOTHING
};

const fn ticks(ticks: u8) -> Bounds {
    Bounds { ticks, ..NOTHING }
}

macro_rules! mutations {
    ($($test:ident: $mutation:ident, $world:expr, [$($property:expr),*];)*) => {
        $(
            #[test]
            fn $test() {
                finds(Mutation::$mutation, $world, &[$($property),*]);
            }
        )*

        #[test]
        fn each_is_tried() {
            let tried = [Mutation::None, $(Mutation::$mutation),*];
            assert_eq!(tried, Mutation::ALL);
        }
    };
}

mutations! {
    seen_before_drop: SeenBeforeDrop, words(Bounds { twice: 1, faults: 2, ..RECOVERY }), [OWN];
    reset_acknowledged_early: ResetAcknowledgedEarly, words(Bounds { rebinds: 1, faults: 1, ..NOTHING }), [FINAL];
    done_before_answer: DoneBeforeAnswer, words(Bounds { rebinds: 1, faults: 1, ..NOTHING }), [OWN];
    epoch_not_compared: EpochNotCompared, world(Start::Nothing, PEER_CRASH), [OWN];
    stale_kept: StaleKept, world(Start::Nothing, DRIVER_CRASH), [RECOVERS];
    boot_forgotten: BootForgotten, world(Start::Up, Bounds { peer_crashes: 2, faults: 2, ..NOTHING }), [RECOVERS];
    driver_not_watched: DriverNotWatched, world(Start::Nothing, DRIVER_CRASH), [RECOVERS];
    any_answer: AnyAnswer, world(Start::Nothing, DRIVER_CRASH), [OWN];
    answer_of_any_epoch: AnswerOfAnyEpoch, world(Start::Nothing, PEER_CRASH), [OWN];
    answer_while_down: AnswerWhileDown, world(Start::Nothing, ticks(2)), [OWN];
    tests_from_one: TestsFromOne, world(Start::Nothing, DRIVER_CRASH), [OWN];
    any_test_ack: AnyTestAck, world(Start::Nothing, DRIVER_CRASH), [OWN, RECOVERS];
    epoch_twice: EpochTwice, world(Start::Nothing, Bounds { peer_crashes: 1, driver_crashes: 1, faults: 2, ..NOTHING }), [OWN];
    not_adopted: NotAdopted, world(Start::Nothing, PEER_CRASH), [OWN];
    reset_unanswered: ResetUnanswered, world(Start::Nothing, ticks(2)), [FINAL];
    test_without_end: TestWithoutEnd, world(Start::Nothing, NOTHING), [ENDS];
    adoption_without_end: AdoptionWithoutEnd, words(Bounds { twice: 1, faults: 2, ..DRIVER_CRASH }), [ENDS];
    answer_without_end: AnswerWithoutEnd, World { period_ms: 0, ..world(Start::Nothing, NOTHING) }, [ENDS];
    not_tried_again: NotTriedAgain, world(Start::Nothing, ticks(2)), [RECOVERS];
    doorbell_given_up: DoorbellGivenUp, world(Start::Test, Bounds { lost: 4, ticks: 4, faults: 4, ..NOTHING }), [RECOVERS];
    peer_not_watched: PeerNotWatched, world(Start::Nothing, PEER_CRASH), [RECOVERS];
}
