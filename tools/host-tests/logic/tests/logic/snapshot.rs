// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Copies of a configuration space that changes meanwhile: every order in which the accesses of a
//! writer and of a reader can come, between the barriers that each side has.

use crate::rig::{Rig, LOOKED};
use hvl_device::device::Device;
use hvl_device::net::Net;
use hvl_device::proto::virtio::reg;
use hvl_logic::algo::snapshot::{attempt, take, Space, Torn, AT_ONCE};
use hvl_logic::proto::generation::{begun, ended, is_settled};
use hvl_logic::proto::layout::window;
use proptest::prelude::*;
use std::cell::{Cell, RefCell};

/// Words of the configuration space, each of which is the number of the last whole change.
const WORDS: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Write {
    Generation(u32),
    Word(usize, u32),
}

/// What the writer does, from generation `first` on, in so many changes. Words may be written in any
/// order: nothing but the generations has a barrier.
fn writer(first: u32, changes: u32, backwards: bool) -> Vec<Write> {
    let mut steps = Vec::new();
    let mut generation = first;
    for change in 1..=changes {
        generation = begun(generation);
        steps.push(Write::Generation(generation));
        for word in 0..WORDS {
            let word = if backwards { WORDS - 1 - word } else { word };
            steps.push(Write::Word(word, change));
        }
        generation = ended(generation);
        steps.push(Write::Generation(generation));
    }
    steps
}

/// Memory with a writer that goes on while it is read: so many of its steps come before each read.
struct Raced<'a> {
    generation: Cell<u32>,
    words: Cell<[u32; WORDS]>,
    steps: &'a [Write],
    done: Cell<usize>,
    before: &'a [usize],
    reads: Cell<usize>,
    /// The same before each read that is not foreseen.
    after: usize,
    backwards: bool,
}

impl<'a> Raced<'a> {
    fn new(first: u32, steps: &'a [Write], before: &'a [usize], backwards: bool) -> Self {
        Self {
            generation: Cell::new(first),
            words: Cell::new([0; WORDS]),
            steps,
            done: Cell::new(0),
            before,
            reads: Cell::new(0),
            after: 0,
            backwards,
        }
    }

    fn race(&self) {
        let count = self.before.get(self.reads.replace(self.reads.get() + 1));
        for _ in 0..count.copied().unwrap_or(self.after) {
            match self.steps.get(self.done.replace(self.done.get() + 1)) {
                Some(&Write::Generation(generation)) => self.generation.set(generation),
                Some(&Write::Word(at, value)) => {
                    let mut words = self.words.get();
                    words[at] = value;
                    self.words.set(words);
                }
                None => {}
            }
        }
    }
}

impl Space for Raced<'_> {
    fn generation(&self) -> u32 {
        self.race();
        self.generation.get()
    }

    fn word(&self, index: usize) -> u32 {
        self.race();
        // Which word is read first makes no difference to the writer: the names are turned round.
        self.words.get()[if self.backwards {
            WORDS - 1 - index
        } else {
            index
        }]
    }

    fn read_barrier(&self) {}
}

/// Calls `see` with every way to spread `steps` over `reads` reads; what is left comes after the last.
fn every_order(steps: usize, reads: usize, see: &mut impl FnMut(&[usize])) {
    fn deeper(left: usize, so_far: &mut Vec<usize>, reads: usize, see: &mut impl FnMut(&[usize])) {
        if so_far.len() == reads {
            see(so_far);
            return;
        }
        for count in 0..=left {
            so_far.push(count);
            deeper(left - count, so_far, reads, see);
            so_far.pop();
        }
    }
    deeper(steps, &mut Vec::new(), reads, see);
}

fn is_whole(words: &[u32]) -> bool {
    words.iter().all(|word| *word == words[0])
}

/// The rule before: the generation is another one before and after a change, and a copy is taken if it
/// is the same before and after.
fn old_rule<S: Space>(space: &S, words: &mut [u32]) -> bool {
    let before = space.generation();
    for (index, word) in words.iter_mut().enumerate() {
        *word = space.word(index);
    }
    space.generation() == before
}

/// How many orders there are, how many copies were accepted, and how many of those are torn.
fn orders(first: u32, mut rule: impl FnMut(&Raced<'_>, &mut [u32]) -> bool) -> [u32; 3] {
    let mut found = [0; 3];
    for turn in 0..4 {
        let steps = writer(first, 2, turn & 1 != 0);
        every_order(steps.len(), WORDS + 2, &mut |before| {
            let space = Raced::new(first, &steps, before, turn & 2 != 0);
            let mut words = [0; WORDS];
            found[0] += 1;
            if rule(&space, &mut words) {
                found[1] += 1;
                found[2] += u32::from(!is_whole(&words));
            }
        });
    }
    found
}

#[test]
fn no_torn_copy_is_accepted() {
    // At the end the generation wraps.
    for first in [0, 2, u32::MAX - 3, u32::MAX - 1] {
        let [all, accepted, torn] = orders(first, |space, words| attempt(space, words).is_ok());
        assert_eq!(torn, 0, "of {accepted} in {all} orders, from {first:#x}");
        // Those that fall between two changes, or before or behind both, whoever goes which way.
        assert_eq!(accepted, 3 * 4, "of {all}");
    }
}

#[test]
fn the_old_rule_is_caught() {
    let [_, accepted, torn] = orders(0, |space, words| old_rule(space, words));
    assert!(torn > 100, "{torn} torn ones of {accepted}");
    // And so is a writer that numbers a change only when it is over.
    let mut torn = 0;
    let late: Vec<Write> = writer(0, 2, false)
        .into_iter()
        .filter_map(|step| match step {
            Write::Generation(generation) if !is_settled(generation) => None,
            other => Some(other),
        })
        .collect();
    every_order(late.len(), WORDS + 2, &mut |before| {
        let mut words = [0; WORDS];
        let space = Raced::new(0, &late, before, false);
        torn += u32::from(attempt(&space, &mut words).is_ok() && !is_whole(&words));
    });
    assert!(torn > 0);
}

#[test]
fn generations() {
    assert!(is_settled(0));
    for generation in [0, 2, u32::MAX - 1] {
        assert!(!is_settled(begun(generation)));
        assert!(is_settled(ended(begun(generation))));
        assert_eq!(ended(begun(generation)), generation.wrapping_add(2));
    }
    // Whoever has lost count gets it right with the next change.
    assert!(!is_settled(begun(7)) && is_settled(ended(8)));
}

/// One that is odd for good, or another one at each look.
struct Bad {
    generation: Cell<u32>,
    by: u32,
}

impl Space for Bad {
    fn generation(&self) -> u32 {
        let generation = self.generation.get();
        self.generation.set(generation.wrapping_add(self.by));
        generation
    }

    fn word(&self, _: usize) -> u32 {
        7
    }

    fn read_barrier(&self) {}
}

#[test]
fn nobody_waits_for_longer_than_he_chose() {
    for (first, by, torn) in [(1, 0, Torn::UnderWay), (0, 2, Torn::Changed)] {
        for patience in [0, 1, 50] {
            let space = Bad {
                generation: Cell::new(first),
                by,
            };
            let mut left = patience;
            let pauses = RefCell::new(0);
            let result = take(&space, &mut [0; WORDS], || {
                *pauses.borrow_mut() += 1;
                left -= i32::from(left > 0);
                left > 0
            });
            assert_eq!(result, Err(torn));
            assert_eq!(*pauses.borrow(), patience.max(1));
            // And no more looks than that, and those that are made at once.
            let looks = space.generation.get().wrapping_sub(first);
            assert!(looks <= 2 * 2 * (patience as u32 + 1 + AT_ONCE));
        }
    }
}

proptest! {
    // Reader and writer take turns at random until there is a copy: it is whole, and of a change that
    // was there.
    #[test]
    fn a_reader_gets_there(
        before in prop::collection::vec(0usize..4, 0..200),
        changes in 0u32..20,
        pairs in any::<u32>(),
    ) {
        let first = pairs & !1;
        let steps = writer(first, changes, false);
        let space = Raced {
            after: 1,
            ..Raced::new(first, &steps, &before, false)
        };
        let mut words = [u32::MAX; WORDS];
        let generation = take(&space, &mut words, || true);
        let number = generation.unwrap().wrapping_sub(first) / 2;
        prop_assert_eq!(words, [number; WORDS]);
    }
}

/// The sample peer's own changes.
struct Window<'a>(&'a Rig<Net>);

impl Space for Window<'_> {
    fn generation(&self) -> u32 {
        self.0.view(reg::CONFIG_GENERATION)
    }

    fn word(&self, index: usize) -> u32 {
        self.0.view(window::CONFIG + 4 * index as u32)
    }

    fn read_barrier(&self) {}
}

#[test]
fn the_library_changes_its_configuration() {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    let mut words = [0; WORDS];
    assert_eq!(attempt(&Window(&rig), &mut words), Ok(0));
    assert_eq!(words, [0x0000_0002, 0x0001_0200, 0x05dc_0001]);
    let events = rig.view(window::CONFIG_EVENT);
    for change in 1..5u8 {
        let shared = *rig.link.shared();
        rig.device
            .transport_mut()
            .change_config(&shared, |config| config[..6].fill(change));
        rig.pass(LOOKED);
        assert_eq!(
            attempt(&Window(&rig), &mut words),
            Ok(2 * u32::from(change))
        );
        let byte = u32::from(change);
        assert_eq!(words[0], byte * 0x0101_0101);
        assert_eq!(words[1], 0x0001_0000 | (byte * 0x0101));
        assert_eq!(words[2], 0x05dc_0001);
        let seen = rig.view(window::CONFIG_EVENT).wrapping_sub(events);
        assert_eq!(seen, byte);
    }
}
