// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The short form: the kept corpus again, and some new input that comes of it, the same each time.

use hvl_fuzz::{Target, TARGETS};
use std::collections::BTreeSet;
use std::fs;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Most bytes of new input.
const LONGEST: usize = 4096;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// What is kept of a target, by name.
fn kept(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder:?} is empty");
    let read = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

/// Has each target be done by one of as many threads as there are cores.
fn for_each(f: impl Fn(&Target) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(target) = TARGETS.get(next.fetch_add(1, Ordering::Relaxed)) {
            f(target);
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(TARGETS.len()) {
            scope.spawn(work);
        }
    });
}

/// Numbers that look random (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    fn byte(&mut self) -> u8 {
        const SPECIAL: [u8; 8] = [0, 1, 2, 4, 0x7f, 0x80, 0xfe, 0xff];
        match self.below(3) {
            0 => SPECIAL[self.below(SPECIAL.len())],
            _ => self.below(256) as u8,
        }
    }

    /// Changes an input in one of the ways of fuzzers.
    fn change(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(input.len() + 1);
        let len = 1 + self.below(8);
        let end = (at + len).min(input.len());
        match self.below(7) {
            0 => drop(input.drain(at..end)),
            1 => drop(input.splice(at..at, (0..len).map(|_| self.byte()))),
            2 if at < end => input[at] ^= 1 << self.below(8),
            3 if at < end => input[at] = input[at].wrapping_add(self.byte()),
            4 => drop(input.splice(at..end, (at..end).map(|_| self.byte()))),
            5 => {
                let part = input[at..].to_vec();
                let to = self.below(at + 1);
                input.splice(to..to, part);
            }
            _ => {
                let from = self.below(other.len() + 1);
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
        }
        input.truncate(LONGEST);
    }
}

#[test]
fn kept_inputs_do_no_harm() {
    for_each(|target| {
        for (path, input) in kept(target) {
            let result = catch_unwind(AssertUnwindSafe(|| (target.run)(&input)));
            assert!(result.is_ok(), "{}: {path:?}", target.name);
        }
    });
}

#[test]
fn new_inputs_do_no_harm() {
    for_each(|target| {
        let kept = kept(target);
        let mut dice = Dice(0x5eed);
        for number in 0..target.short {
            let any = dice.below(kept.len());
            let mut input = kept[any].1.clone();
            for _ in 0..=dice.below(6) {
                let other = dice.below(kept.len());
                dice.change(&mut input, &kept[other].1);
            }
            if catch_unwind(AssertUnwindSafe(|| (target.run)(&input))).is_err() {
                let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(target.name);
                fs::write(&path, &input).unwrap();
                panic!("{}: input {number}, which is in {path:?}", target.name);
            }
        }
    });
}

/// A corpus that no target has would never be tried.
#[test]
fn each_corpus_has_a_target() {
    let folders: BTreeSet<_> = fs::read_dir(corpus())
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    let names: BTreeSet<_> = TARGETS
        .iter()
        .map(|target| target.name.to_owned())
        .collect();
    assert_eq!(folders, names);
}
