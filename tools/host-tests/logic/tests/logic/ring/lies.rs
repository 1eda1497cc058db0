// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Each lie of a device: found, told, and final.

use super::bench::Bench;
use super::memory::BASE;
use hvl_logic::algo::ring::{Lie, Segment};

const SPLIT: u8 = 0;
const PACKED: u8 = 1;
const IN_ORDER: u8 = 4;
const ALL: [u8; 4] = [SPLIT, PACKED, SPLIT | IN_ORDER, PACKED | IN_ORDER];

/// Entries of the virtqueues here.
const SIZE: u16 = 8;
/// Writable bytes of the chains here.
const LEN: u32 = 4096;

/// A virtqueue whose device has three chains of one descriptor, with ids 0 to 2.
fn bench(number: u8) -> Bench {
    let mut bench = Bench::new(SIZE, 0, number);
    for _ in 0..3 {
        bench.post_one(LEN);
    }
    bench.publish();
    bench
}

/// Sets the used index.
fn index(bench: &Bench, index: u16) {
    bench.mem.put16(bench.layout.device() + 2, index);
}

/// Writes the used element, or descriptor, at a position, and marks it in the first lap if packed.
fn element(bench: &Bench, position: u32, id: u32, len: u32) {
    if bench.features.packed {
        bench.mem.put32(16 * position + 8, len);
        bench.mem.put32(16 * position + 12, id | (0x8082 << 16));
    } else {
        let at = bench.layout.device() + 4 + 8 * position;
        bench.mem.put32(at, id);
        bench.mem.put32(at + 4, len);
    }
}

/// One used element that stands for itself.
fn one(bench: &Bench, id: u32, len: u32) {
    element(bench, 0, id, len);
    if !bench.features.packed {
        index(bench, 1);
    }
}

struct Case {
    name: &'static str,
    /// Features of [`super::memory::features`] for which it holds.
    numbers: &'static [u8],
    tell: fn(&mut Bench),
    /// Chains that can be taken before.
    good: usize,
    lie: Lie,
    text: &'static str,
}

const CASES: &[Case] = &[
    Case {
        name: "one more than outstanding",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| index(bench, 4),
        good: 0,
        lie: Lie::IndexJump {
            by: 4,
            outstanding: 3,
        },
        text: "used index jumped by 4, 3 chains are outstanding",
    },
    Case {
        name: "a chain that is posted but not shown does not count",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| {
            bench.post_one(LEN);
            index(bench, 4);
        },
        good: 0,
        lie: Lie::IndexJump {
            by: 4,
            outstanding: 3,
        },
        text: "used index jumped by 4, 3 chains are outstanding",
    },
    Case {
        name: "as far ahead as can be",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| index(bench, 32768),
        good: 0,
        lie: Lie::IndexJump {
            by: 32768,
            outstanding: 3,
        },
        text: "used index jumped by 32768, 3 chains are outstanding",
    },
    Case {
        name: "back",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| {
            bench.finish();
            bench.post_one(LEN);
            bench.publish();
            index(bench, 2);
        },
        good: 0,
        lie: Lie::IndexBack { from: 3, to: 2 },
        text: "used index went back from 3 to 2",
    },
    Case {
        name: "back beyond the start",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| index(bench, 65535),
        good: 0,
        lie: Lie::IndexBack { from: 0, to: 65535 },
        text: "used index went back from 0 to 65535",
    },
    Case {
        name: "marked with nothing outstanding",
        numbers: &[PACKED, PACKED | IN_ORDER],
        tell: |bench| {
            bench.finish();
            element(bench, 3, 0, 0);
        },
        good: 0,
        lie: Lie::Idle { position: 3 },
        text: "descriptor 3 is marked used, no chain is outstanding",
    },
    Case {
        name: "marked with nothing shown",
        numbers: &[PACKED, PACKED | IN_ORDER],
        tell: |bench| {
            bench.finish();
            bench.post_one(LEN);
            element(bench, 3, 0, 0);
        },
        good: 0,
        lie: Lie::Idle { position: 3 },
        text: "descriptor 3 is marked used, no chain is outstanding",
    },
    Case {
        name: "an id far out of range",
        numbers: &ALL,
        tell: |bench| one(bench, 300, 0),
        good: 0,
        lie: Lie::IdRange { id: 300, size: 8 },
        text: "used id 300 is out of range: the queue has 8 entries",
    },
    Case {
        name: "the first id out of range",
        numbers: &ALL,
        tell: |bench| one(bench, 8, 0),
        good: 0,
        lie: Lie::IdRange { id: 8, size: 8 },
        text: "used id 8 is out of range: the queue has 8 entries",
    },
    Case {
        name: "an id that is right in its low half",
        numbers: &[SPLIT, SPLIT | IN_ORDER],
        tell: |bench| one(bench, 0x1_0001, 0),
        good: 0,
        lie: Lie::IdRange { id: 65537, size: 8 },
        text: "used id 65537 is out of range: the queue has 8 entries",
    },
    Case {
        name: "an id that was never posted",
        numbers: &ALL,
        tell: |bench| one(bench, 3, 0),
        good: 0,
        lie: Lie::NotOutstanding { id: 3 },
        text: "used id 3 is not the id of an outstanding chain",
    },
    Case {
        name: "an id that is posted and not shown",
        numbers: &ALL,
        tell: |bench| {
            bench.post_one(LEN);
            one(bench, 3, 0);
        },
        good: 0,
        lie: Lie::NotOutstanding { id: 3 },
        text: "used id 3 is not the id of an outstanding chain",
    },
    Case {
        name: "the second descriptor of a chain",
        numbers: &ALL,
        tell: |bench| {
            let segment = Segment {
                address: BASE,
                len: LEN,
            };
            bench.post(vec![segment], vec![segment]);
            bench.publish();
            one(bench, 4, 0);
        },
        good: 0,
        lie: Lie::NotOutstanding { id: 4 },
        text: "used id 4 is not the id of an outstanding chain",
    },
    Case {
        name: "an id twice",
        numbers: &ALL,
        tell: |bench| {
            element(bench, 0, 0, LEN);
            element(bench, 1, 0, 0);
            index_if_split(bench, 2);
        },
        good: 1,
        lie: Lie::NotOutstanding { id: 0 },
        text: "used id 0 is not the id of an outstanding chain",
    },
    Case {
        name: "one byte too many",
        numbers: &ALL,
        tell: |bench| one(bench, 0, LEN + 1),
        good: 0,
        lie: Lie::Length {
            id: 0,
            len: 4097,
            writable: 4096,
        },
        text: "used length 4097 of id 0 exceeds its 4096 writable bytes",
    },
    Case {
        name: "bytes into what is only readable",
        numbers: &ALL,
        tell: |bench| {
            let segment = Segment {
                address: BASE,
                len: LEN,
            };
            bench.post(vec![segment], vec![]);
            bench.publish();
            for position in 0..3 {
                element(bench, position, position, LEN);
            }
            element(bench, 3, 3, 1);
            index_if_split(bench, 4);
        },
        good: 3,
        lie: Lie::Length {
            id: 3,
            len: 1,
            writable: 0,
        },
        text: "used length 1 of id 3 exceeds its 0 writable bytes",
    },
    Case {
        name: "too few bytes",
        numbers: &ALL,
        tell: |bench| {
            bench.ring.require(LEN);
            one(bench, 0, LEN - 1);
        },
        good: 0,
        lie: Lie::Short {
            id: 0,
            len: 4095,
            least: 4096,
        },
        text: "used length 4095 of id 0 is below the 4096 bytes that Linux's driver reads",
    },
    Case {
        name: "a batch of more than the index shows",
        numbers: &[SPLIT | IN_ORDER],
        tell: |bench| {
            element(bench, 0, 2, 0);
            index(bench, 2);
        },
        good: 0,
        lie: Lie::Batch {
            id: 2,
            chains: 3,
            shown: 2,
        },
        text: "used id 2 ends a batch of 3 chains, the used index shows 2",
    },
    Case {
        name: "after a batch, one of its chains",
        numbers: &[SPLIT | IN_ORDER, PACKED | IN_ORDER],
        tell: |bench| {
            element(bench, 0, 1, 0);
            element(bench, 2, 0, 0);
            index_if_split(bench, 3);
        },
        good: 2,
        lie: Lie::NotOutstanding { id: 0 },
        text: "used id 0 is not the id of an outstanding chain",
    },
];

fn index_if_split(bench: &Bench, to: u16) {
    if !bench.features.packed {
        index(bench, to);
    }
}

#[test]
fn each_lie() {
    for case in CASES {
        for number in case.numbers {
            // The other features make no difference.
            for more in [0, 2, 8, 16, 26] {
                let name = format!("{}, features {}", case.name, number | more);
                let mut bench = bench(number | more);
                (case.tell)(&mut bench);
                for _ in 0..case.good {
                    assert!(bench.ring.take(&bench.mem).unwrap().is_some(), "{name}");
                }
                assert_eq!(bench.ring.lie(), None, "{name}");
                let outstanding = bench.ring.outstanding();
                assert_eq!(bench.ring.take(&bench.mem), Err(case.lie), "{name}");
                assert_eq!(bench.ring.outstanding(), outstanding, "{name}");
                assert_eq!(case.lie.to_string(), case.text, "{name}");
                check_dead(&mut bench, case.lie);
            }
        }
    }
}

/// Nothing that the device writes after a lie matters, and the memory is not even read.
fn check_dead(bench: &mut Bench, lie: Lie) {
    bench
        .mem
        .set_hook(|_| panic!("a dead ring looks at the memory"));
    for value in [0, 1, 3] {
        if !bench.features.packed {
            index(bench, value);
        }
        assert_eq!(bench.ring.take(&bench.mem), Err(lie));
        assert_eq!(bench.ring.lie(), Some(lie));
        assert!(bench.ring.listen(&bench.mem));
    }
}

/// [`Ring::listen`](hvl_logic::algo::ring::Ring::listen) finds a wrong index as well.
#[test]
fn listening_to_a_lie() {
    for number in [SPLIT, SPLIT | IN_ORDER] {
        let mut bench = bench(number);
        index(&bench, 9);
        assert!(bench.ring.listen(&bench.mem));
        let lie = Lie::IndexJump {
            by: 9,
            outstanding: 3,
        };
        check_dead(&mut bench, lie);
    }
}

/// What looks like a mark and is none: only both flags as the lap's wrap counter has them count.
#[test]
fn marks_that_are_none() {
    for number in [PACKED, PACKED | IN_ORDER] {
        let mut bench = bench(number);
        for flags in [0u16, 0x80, 0x8000, 0x7f7f, 0xff7f, 0x7fff] {
            bench.mem.put16(14, flags);
            assert_eq!(bench.ring.take(&bench.mem), Ok(None), "{flags:#x}");
            assert!(!bench.ring.listen(&bench.mem), "{flags:#x}");
        }
        bench.mem.put16(14, 0xffff);
        assert!(bench.ring.listen(&bench.mem));
        assert!(bench.ring.take(&bench.mem).unwrap().is_some());
    }
}

/// Without the WRITE flag the length of a used descriptor is reserved, so it cannot be a lie. Devices
/// that leave the flag away and tell the length are believed.
#[test]
fn lengths_that_are_reserved() {
    for number in [PACKED, PACKED | IN_ORDER] {
        for (len, taken) in [(0, 0), (1, 1), (LEN, LEN), (LEN + 1, 0), (u32::MAX, 0)] {
            let mut bench = bench(number);
            element(&bench, 0, 0, len);
            bench.mem.put16(14, 0x8080);
            let used = bench.ring.take(&bench.mem).unwrap().unwrap();
            assert_eq!((used.token, used.len), (0, taken));
        }
    }
}

/// Wishes of the device that mean nothing end in a notification.
#[test]
fn wishes_that_mean_nothing() {
    for (number, wish, wanted) in [
        (PACKED, 0x0001_0000u32, false),
        (PACKED, 0xfffd_0000, false),
        (PACKED, 0x0002_0000, true),
        (PACKED, 0x0003_0000, true),
        (PACKED | 8, 0x0003_0000, true),
        (PACKED | 8, 0x0002_8008, true),
        (PACKED | 8, 0x0002_ffff, true),
        (PACKED | 8, 0x0002_0000, false),
        (PACKED | 8, 0x0002_8007, false),
        (PACKED | 8, 0x0002_8000, true),
        (SPLIT, 0xfffe, true),
        (SPLIT, 0xffff, false),
    ] {
        let mut bench = Bench::new(SIZE, 0, number);
        bench.post_one(LEN);
        bench.mem.put32(bench.layout.device(), wish);
        let word = bench.ring.publish(&bench.mem, 5);
        assert_eq!(word.is_some(), wanted, "{number}: {wish:#x}");
    }
}
