// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rings against the model of an honest device.

use super::bench::{segments, Bench};
use super::memory::{features, Dice, Shared, BASE};
use hvl_logic::algo::ring::{Features, Layout, Ring, Segment, Slot, SIZE_MAX};
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Post { readable: u8, writable: u8 },
    Publish,
    Pop,
    Give { which: u16, batch: bool, len: u32 },
    Take,
    Listen,
    Quieten,
    Ask,
    DeviceListen { ahead: u8 },
    DeviceQuieten,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0u8..4, 0u8..4).prop_map(|(readable, writable)| Step::Post { readable, writable }),
        1 => (0u8..40, 0u8..40).prop_map(|(readable, writable)| Step::Post { readable, writable }),
        4 => Just(Step::Publish),
        6 => Just(Step::Pop),
        6 => (any::<u16>(), any::<bool>(), 0u32..300_000)
            .prop_map(|(which, batch, len)| Step::Give { which, batch, len }),
        6 => Just(Step::Take),
        2 => Just(Step::Listen),
        1 => Just(Step::Quieten),
        4 => Just(Step::Ask),
        2 => prop_oneof![Just(0u8), any::<u8>()].prop_map(|ahead| Step::DeviceListen { ahead }),
        1 => Just(Step::DeviceQuieten),
    ]
}

fn run(bench: &mut Bench, steps: &[Step], dice: &mut Dice) {
    for step in steps {
        match *step {
            Step::Post { readable, writable } => {
                let readable = segments(dice, readable.into());
                let writable = segments(dice, writable.into());
                bench.post(readable, writable);
            }
            Step::Publish => bench.publish(),
            Step::Pop => {
                bench.pop();
            }
            Step::Give { which, batch, len } => {
                if !bench.held.is_empty() {
                    let index = usize::from(which) % bench.held.len();
                    bench.give(index, batch, len);
                }
            }
            Step::Take => {
                bench.take();
            }
            Step::Listen => bench.listen(),
            Step::Quieten => bench.quieten(),
            Step::Ask => bench.ask(),
            Step::DeviceListen { ahead } => {
                let event = bench.device.taken + u64::from(ahead);
                bench.device.listen_from(&bench.mem, event);
            }
            Step::DeviceQuieten => bench.device.quieten(&bench.mem),
        }
    }
    bench.finish();
}

/// A size that is allowed, small ones more often.
fn size(packed: bool, number: u16) -> u16 {
    if packed {
        1 + number % 40
    } else {
        1 << (number % 7)
    }
}

proptest! {
    /// Whatever happens in whatever order: the device sees what was posted, in the order in which
    /// it was posted, and the driver what was given back, each once.
    #[test]
    fn any_sequence(
        number in 0u8..32,
        entries in any::<u16>(),
        table in 0u16..12,
        before in 0u64..100,
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 0..1000),
    ) {
        let features = features(number);
        let mut bench = Bench::new(size(features.packed, entries), table, number);
        bench.spin(before);
        run(&mut bench, &steps, &mut Dice::new(seed));
    }
}

proptest! {
    // Each takes far longer than those above.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        ..ProptestConfig::default()
    })]

    /// The same where the indices of a split virtqueue wrap.
    #[test]
    fn indices_wrap(
        bits in 0u8..16,
        entries in 3u32..8,
        short in 0u64..60,
        seed in any::<u64>(),
        steps in prop::collection::vec(step(), 100..300),
    ) {
        let mut bench = Bench::new(1 << entries, 4, bits << 1);
        bench.spin((1 << 16) - short);
        run(&mut bench, &steps, &mut Dice::new(seed));
    }
}

/// Every place in the ring is once the one where a chain of each length wraps, at every place where
/// its used descriptor can be.
#[test]
fn packed_wraps_everywhere() {
    for number in (0..32).filter(|number| number & 1 != 0) {
        let mut dice = Dice::new(number.into());
        for size in [1u16, 2, 3, 5, 7, 8, 13] {
            for length in 1..=u64::from(size) {
                let mut bench = Bench::new(size, 0, number);
                // As `length` and `size` may have divisors in common, shift by one now and then.
                for round in 0..2 * u64::from(size) {
                    for _ in 0..2 * u64::from(size) {
                        let readable = segments(&mut dice, round % length);
                        let writable = segments(&mut dice, length - round % length);
                        assert!(bench.post(readable, writable));
                        if !bench.ring.has_room(length as usize) {
                            bench.finish();
                        }
                    }
                    bench.finish();
                    bench.spin(1);
                }
            }
        }
    }
}

/// A chain as long as the ring, of every size of ring; and nothing beside it.
#[test]
fn a_chain_fills_the_ring() {
    for number in 0..32 {
        let packed = features(number).packed;
        let sizes = (1..=70).filter(|size: &u16| packed || size.is_power_of_two());
        for size in sizes {
            let mut bench = Bench::new(size, 0, number);
            let mut dice = Dice::new(size.into());
            for readable in 0..3.min(u64::from(size)) {
                let writable = segments(&mut dice, u64::from(size) - readable);
                assert!(bench.post(segments(&mut dice, readable), writable));
                assert!(!bench.post(vec![], segments(&mut dice, 1)));
                bench.finish();
                bench.spin(1);
            }
            assert!(!bench.post(vec![], segments(&mut dice, u64::from(size) + 1)));
        }
    }
}

/// The largest rings there are, full of chains of one descriptor, and with one chain.
#[test]
fn the_largest_rings() {
    for number in 0..16 {
        let size = SIZE_MAX;
        let features = features(number);
        let layout = Layout::new(size, features.packed, 2).unwrap();
        let mem = Shared::new(layout);
        let book = vec![Slot::NEW; size.into()];
        let mut ring = Ring::new(&mem, layout, BASE, features, book).unwrap();
        let mut device = super::device::Device::new(layout, features);
        let mut dice = Dice::new(1);
        for lap in 0..3u16 {
            // All at once: the decision to notify is about as many as there can be.
            let one = segments(&mut dice, 1);
            for token in 0..size {
                assert_eq!(ring.post(&mem, &one, &[], token), Ok(()));
            }
            assert!(!ring.has_room(1));
            let old = u64::from(lap) * u64::from(size);
            let event = old + dice.below(size.into());
            device.listen_from(&mem, event);
            assert!(ring.publish(&mem, 0).is_some());
            let mut chains = Vec::new();
            while let Some(chain) = device.pop(&mem) {
                chains.push(chain);
            }
            assert_eq!(chains.len(), usize::from(size));
            assert!(!ring.listen(&mem));
            if features.in_order && lap % 2 == 0 {
                device.give(&mem, &chains, 0);
            } else {
                for chain in &chains {
                    device.give(&mem, std::slice::from_ref(chain), 0);
                }
            }
            assert!(device.driver_wants(&mem));
            for token in 0..size {
                assert_eq!(ring.take(&mem).unwrap().unwrap().token, token);
            }
            assert_eq!(ring.take(&mem), Ok(None));
        }
        let all = segments(&mut dice, size.into());
        assert_eq!(ring.post(&mem, &all, &[], 7), Ok(()));
        assert_eq!(ring.room(), 0);
        ring.publish(&mem, 0);
        let chain = device.pop(&mem).unwrap();
        assert_eq!(chain.readable, all);
        device.give(&mem, &[chain], 0);
        assert_eq!(ring.take(&mem).unwrap().unwrap().token, 7);
        assert_eq!(ring.room(), size);
    }
}

/// Writable bytes are added up without wrapping: a chain of more than there can be written may come
/// back with any length.
#[test]
fn more_than_can_be_counted() {
    for number in 0..32 {
        let mut bench = Bench::new(4, 0, number);
        let segment = Segment {
            address: BASE,
            len: u32::MAX,
        };
        let result = bench.ring.post(&bench.mem, &[], &[segment; 3], 0);
        assert_eq!(result, Ok(()));
        bench.ring.publish(&bench.mem, 0);
        let chain = bench.device.pop(&bench.mem).unwrap();
        bench.device.give(&bench.mem, &[chain], u32::MAX);
        let used = bench.ring.take(&bench.mem).unwrap().unwrap();
        assert_eq!(used.len, u32::MAX);
    }
}

#[test]
fn layouts() {
    for size in 0..=u16::MAX {
        for packed in [false, true] {
            let allowed = (1..=32768).contains(&size) && (packed || size.is_power_of_two());
            let layout = Layout::new(size, packed, 8);
            assert_eq!(layout.is_some(), allowed, "{size}");
            let Some(layout) = layout else { continue };
            let entries = u32::from(size);
            let (driver, device) = if packed {
                (4, 4)
            } else {
                (6 + 2 * entries, 6 + 8 * entries)
            };
            assert_eq!(layout.descriptors(), 0);
            assert!(layout.driver() >= 16 * entries);
            assert!(layout.device() >= layout.driver() + driver);
            assert!(layout.tables() >= layout.device() + device);
            let table = if size == 1 { 0 } else { size.min(8) };
            assert_eq!(layout.table(), table);
            let tables = 16 * u32::from(table) * entries;
            assert!(layout.bytes() >= layout.tables() + tables);
            // Parts begin on lines of their own, and nothing is wasted but the rest of one.
            for (from, end) in [
                (16 * entries, layout.driver()),
                (layout.driver() + driver, layout.device()),
                (layout.device() + device, layout.tables()),
                (layout.tables() + tables, layout.bytes()),
            ] {
                assert!(end % 64 == 0 && end - from < 64);
            }
        }
    }
    assert_eq!(Layout::new(256, false, 1).unwrap().table(), 0);
    assert_eq!(Layout::new(32768, true, 8191).map(|_| ()), None);
    assert!(Layout::new(32768, true, 8189).is_some());
}

#[test]
fn what_does_not_belong_together() {
    let layout = Layout::new(8, false, 0).unwrap();
    let mem = Shared::new(layout);
    let new = |base, features, slots| {
        Ring::new(&mem, layout, base, features, vec![Slot::NEW; slots]).is_some()
    };
    let split = Features::default();
    let packed = Features {
        packed: true,
        ..split
    };
    assert!(new(BASE, split, 8) && new(BASE, split, 9));
    assert!(!new(BASE, split, 7), "book too small");
    assert!(!new(BASE, packed, 8), "not the layout's kind");
    let end = u64::MAX - u64::from(layout.bytes());
    assert!(new(end, split, 8) && !new(end + 1, split, 8), "address");
}
