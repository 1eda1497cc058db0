// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who gets how many interrupts, and how one is described to the peer.

use hvl_logic::algo::drivers::callbacks;
use hvl_logic::algo::vectors::{doorbell_of, parts, shares, Part, Use};
use hvl_logic::proto::virtio::device;
use hvl_logic::proto::Vector;
use proptest::prelude::*;

fn counts(vectors: usize, wanted: &[usize]) -> Vec<usize> {
    parts(vectors, wanted).map(|part| part.count).collect()
}

fn groups(cpus: usize, groups: usize) -> Vec<Vec<usize>> {
    let group = |group| (0..cpus).filter(move |place| shares(*place, cpus, group, groups));
    (0..groups).map(|number| group(number).collect()).collect()
}

#[test]
fn cpus_share_queues() {
    assert_eq!(groups(3, 3), [[0], [1], [2]]);
    assert_eq!(groups(4, 2), [[0, 1], [2, 3]]);
    assert_eq!(groups(3, 2), [vec![0, 1], vec![2]]);
    assert_eq!(groups(2, 4), [[0], [0], [1], [1]]);
    assert_eq!(groups(1, 3), [[0], [0], [0]]);
    assert!(!shares(0, 0, 0, 1) && !shares(0, 1, 0, 0) && !shares(3, 3, 3, 4));
}

proptest! {
    #[test]
    fn evenly(cpus in 1usize..300, count in 1usize..70) {
        let groups = groups(cpus, count);
        let sizes = groups.iter().map(Vec::len);
        let (least, most) = (sizes.clone().min().unwrap(), sizes.max().unwrap());
        prop_assert!(least >= 1 && most - least <= 1);
        if count <= cpus {
            prop_assert_eq!(groups.concat(), (0..cpus).collect::<Vec<_>>());
        } else {
            // None has more groups than another, but for one.
            let of = |cpu| groups.iter().filter(|group| group[0] == cpu).count();
            prop_assert!((0..cpus).all(|cpu| (count / cpus..=count / cpus + 1).contains(&of(cpu))));
        }
    }
}

#[test]
fn enough_few_one_none() {
    assert_eq!(counts(5, &[2, 3]), [2, 3]);
    assert_eq!(counts(9, &[2, 3]), [2, 3]);
    // All but one would be, and one of them would be of no use to the second.
    assert_eq!(counts(4, &[2, 3]), [2, 1]);
    assert_eq!(counts(3, &[2, 3]), [2, 1]);
    assert_eq!(counts(2, &[2, 3]), [1, 1]);
    assert_eq!(counts(1, &[2, 3]), [1, 0]);
    assert_eq!(counts(0, &[2, 3]), [0, 0]);
    // A large one does not keep a small one behind it from having all.
    assert_eq!(counts(4, &[9, 3]), [1, 3]);
    // One that wants none gets none, and nothing is kept for it.
    assert_eq!(counts(3, &[0, 3, 0]), [0, 3, 0]);
    assert_eq!(counts(64, &[64]), [64]);
}

#[test]
fn the_best_and_what_comes_after_it() {
    for (vectors, callbacks, best) in [
        (0, 3, Use::Link),
        (3, 0, Use::Link),
        (1, 1, Use::Queues),
        (1, 2, Use::Device),
        (3, 3, Use::Queues),
        (4, 3, Use::Queues),
    ] {
        assert_eq!(
            Use::best(vectors, callbacks),
            best,
            "{vectors} for {callbacks}"
        );
    }
    assert_eq!(Use::Queues.next(), Use::Device);
    assert_eq!(Use::Device.next(), Use::Link);
    assert_eq!(Use::Link.next(), Use::Link);
}

#[test]
fn a_control_queue_is_looked_at_by_its_driver() {
    assert_eq!(callbacks(device::NET, 2), 2);
    assert_eq!(callbacks(device::NET, 3), 2);
    assert_eq!(callbacks(device::NET, 9), 8);
    assert_eq!(callbacks(device::ENTROPY, 1), 1);
    assert_eq!(callbacks(device::VSOCK, 3), 3);
}

#[test]
fn doorbells_go_round() {
    let of = |doorbells| {
        (0..6)
            .map(|queue| doorbell_of(queue, doorbells))
            .collect::<Vec<_>>()
    };
    assert_eq!(of(0), [0; 6]);
    assert_eq!(of(1), [0; 6]);
    assert_eq!(of(2), [1; 6]);
    assert_eq!(of(4), [1, 2, 3, 1, 2, 3]);
}

proptest! {
    #[test]
    fn parts_are_fair(vectors in 0usize..80, wanted in prop::collection::vec(0usize..66, 0..33)) {
        let all: Vec<Part> = parts(vectors, &wanted).collect();
        prop_assert_eq!(all.len(), wanted.len());
        let mut next = 0;
        for (at, (part, &want)) in all.iter().zip(&wanted).enumerate() {
            // One after the other, none twice, none that is not there.
            prop_assert_eq!(part.first, next);
            next += part.count;
            prop_assert!(next <= vectors);
            // All, one, or none: more than one but not all is of no use.
            prop_assert!(part.count == want || part.count <= 1);
            let later = wanted[at + 1..].iter().filter(|want| **want != 0).count();
            let left = vectors - part.first;
            if want != 0 && part.count != want {
                // No greed at the cost of those that come later, and none for nothing.
                prop_assert!(want + later > left);
                prop_assert_eq!(part.count, left.min(1));
            }
        }
        let devices = wanted.iter().filter(|want| **want != 0).count();
        if vectors >= devices {
            prop_assert!(all.iter().zip(&wanted).all(|(part, want)| part.count > 0 || *want == 0));
        }
        if vectors >= wanted.iter().sum() {
            prop_assert!(all.iter().zip(&wanted).all(|(part, want)| part.count == *want));
        }
    }

    #[test]
    fn entries_are_what_was_written(low: u32, high: u32, data: u32, more: u32) {
        let vector = Vector::parse(&[low, high, data, more]);
        prop_assert_eq!(matches!(vector, Vector::Msi { .. }), low != 0 || high != 0);
        prop_assert_eq!(vector.emit(), [low, high, data, 0]);
        prop_assert_eq!(Vector::parse(&[0, 0, data, more]), Vector::Doorbell(data));
    }
}
