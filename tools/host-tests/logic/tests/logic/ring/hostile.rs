// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device that writes whatever it likes wherever it likes whenever it likes.
//!
//! Beside the ring that it plays with, a twin does the same for an honest device, and gets back
//! what the ring gave: what the two write has to be the same to the byte.

use super::bench::segments;
use super::device::{Chain, Device};
use super::memory::{features, Dice, Shared, BASE};
use hvl_logic::algo::ring::{Features, Layout, Lie, Ring, Slot, Used};
use proptest::prelude::*;
use std::collections::BTreeMap;

struct Pair {
    layout: Layout,
    features: Features,
    mem: Shared,
    ring: Ring<Vec<Slot>>,
    twin_mem: Shared,
    twin: Ring<Vec<Slot>>,
    /// The twin's device, and the chains that it has: token, chain.
    device: Device,
    held: Vec<(u16, Chain)>,
    /// The hostile device while it is honest, and the chains that it has.
    other: Device,
    kept: Vec<Chain>,
    mercy: u64,
    /// Tokens of what was posted and not shown.
    posted: Vec<u16>,
    /// Writable bytes of what is outstanding, by token.
    writable: BTreeMap<u16, u32>,
    token: u16,
    lie: Option<Lie>,
    dice: Dice,
}

/// Writes something wrong, once in `mercy` where it could matter, else where only the driver writes.
fn corrupt(mem: &Shared, layout: Layout, mercy: u64, dice: &mut Dice) {
    if dice.one_in(mercy) {
        deceive(mem, layout, dice);
        return;
    }
    let noise = [dice.roll() as u8];
    let at = dice.below(layout.bytes().into()) as u32;
    let device = layout.device()..layout.tables();
    let ring = layout.packed() && at < layout.driver() && at % 16 >= 8;
    if !ring && !device.contains(&at) {
        mem.put(at, &noise);
    }
}

/// Writes noise anywhere, or what nearly makes sense where the driver looks.
fn deceive(mem: &Shared, layout: Layout, dice: &mut Dice) {
    let entries = u64::from(layout.size());
    let noise = dice.roll();
    let small = dice.below(entries + 1) as u32;
    let len = dice.below(200_000) as u32;
    let slot = dice.below(entries) as u32;
    match dice.below(8) {
        0 => mem.put(dice.below(layout.bytes().into()) as u32, &[noise as u8]),
        1 => {
            let at = dice.below(u64::from(layout.bytes()) / 4) as u32 * 4;
            mem.put32(at, noise as u32);
        }
        // Its wish, noise or near what is right.
        2 if layout.packed() => mem.put32(layout.device(), noise as u32 & 0x3_803f),
        2 => mem.put16(layout.device(), noise as u16),
        3 if !layout.packed() => {
            let at = layout.device() + 4 + 8 * entries as u32;
            mem.put16(at, noise as u16);
        }
        // A used element, sometimes a good one.
        4 | 5 if layout.packed() => {
            mem.put32(slot * 16 + 8, len);
            mem.put16(slot * 16 + 12, small as u16);
            mem.put16(
                slot * 16 + 14,
                [0x8080, 0x8082, 2, 0, 0x80, 0x8000][noise as usize % 6],
            );
        }
        4 | 5 => {
            let at = layout.device() + 4 + 8 * slot;
            mem.put32(at, small);
            mem.put32(at + 4, len);
        }
        // The used index, as if something had been used.
        6 if !layout.packed() => {
            let at = layout.device() + 2;
            let index = mem.get16(at).wrapping_add(noise as u16 % 3);
            mem.put16(at, index);
        }
        _ => {}
    }
}

impl Pair {
    fn new(size: u16, table: u16, number: u8, mercy: u64, seed: u64) -> Self {
        let features = features(number);
        let layout = Layout::new(size, features.packed, table).unwrap();
        let (mem, twin_mem) = (Shared::new(layout), Shared::new(layout));
        let new = |mem: &Shared| {
            mem.keep_log();
            let book = vec![Slot::NEW; size.into()];
            Ring::new(mem, layout, BASE, features, book).unwrap()
        };
        let (ring, twin) = (new(&mem), new(&twin_mem));
        let mut inside = Dice::new(seed ^ 0x77);
        mem.set_hook(move |mem| {
            while inside.one_in(6) {
                corrupt(mem, layout, mercy, &mut inside);
            }
        });
        Self {
            layout,
            features,
            mem,
            ring,
            twin_mem,
            twin,
            device: Device::new(layout, features),
            held: Vec::new(),
            other: Device::new(layout, features),
            kept: Vec::new(),
            mercy,
            posted: Vec::new(),
            writable: BTreeMap::new(),
            token: 0,
            lie: None,
            dice: Dice::new(seed),
        }
    }

    fn post(&mut self) {
        let (readable, writable) = (self.dice.below(4), self.dice.below(4));
        let readable = segments(&mut self.dice, readable);
        let writable = segments(&mut self.dice, writable);
        let token = self.token;
        let result = self.ring.post(&self.mem, &readable, &writable, token);
        let twin = self.twin.post(&self.twin_mem, &readable, &writable, token);
        assert_eq!(result, twin);
        if result.is_ok() {
            let room = writable.iter().map(|segment| segment.len).sum();
            assert!(self.writable.insert(token, room).is_none());
            self.posted.push(token);
            self.token = token.wrapping_add(1);
        }
    }

    fn publish(&mut self) {
        let word = self.ring.publish(&self.mem, 3);
        // Whether it is wanted is the device's say, but not what it says.
        self.device.listen(&self.twin_mem);
        let twin = self.twin.publish(&self.twin_mem, 3);
        if let (Some(word), Some(twin)) = (word, twin) {
            assert_eq!(word, twin);
        }
        for token in self.posted.drain(..) {
            let chain = self.device.pop(&self.twin_mem).unwrap();
            self.kept.push(chain.clone());
            self.held.push((token, chain));
        }
        assert!(self.device.pop(&self.twin_mem).is_none());
    }

    fn take(&mut self) {
        let result = self.ring.take(&self.mem);
        match (self.lie, result) {
            (Some(lie), _) => assert_eq!(result, Err(lie)),
            (None, Ok(None)) => {}
            (None, Err(lie)) => {
                assert!(lie.to_string().len() < 100);
                self.lie = Some(lie);
            }
            (None, Ok(Some(Used { token, len }))) => {
                let room = self.writable.remove(&token).expect("outstanding, and once");
                assert!(len <= room);
                let index = self.held.iter().position(|held| held.0 == token);
                let (_, chain) = self.held.remove(index.expect("with the device"));
                assert!(index == Some(0) || !self.features.in_order);
                self.device.give(&self.twin_mem, &[chain], len);
                let used = Some(Used { token, len });
                assert_eq!(self.twin.take(&self.twin_mem), Ok(used));
            }
        }
        assert_eq!(self.ring.lie(), self.lie);
    }

    /// The device gives chains back as it should.
    fn give(&mut self) {
        if self.kept.is_empty() {
            return;
        }
        let any = self.dice.below(self.kept.len() as u64) as usize;
        let first = if self.features.in_order { 0 } else { any };
        let chains: Vec<Chain> = self.kept.drain(first..=any).collect();
        let room = u64::from(chains.last().unwrap().room());
        let len = self.dice.below(room + 1) as u32;
        self.other.give(&self.mem, &chains, len);
    }

    fn listen(&mut self) {
        if self.ring.listen(&self.mem) {
            // Caught while listening, or there is something to take.
            self.lie = self.lie.or(self.ring.lie());
        }
    }

    /// What the two wrote of chains and of how far they can be seen; not their wishes.
    fn compare_logs(&self) {
        let ours = |mem: &Shared| {
            let mut log = mem.take_log();
            let driver = self.layout.driver();
            let event = driver + 4 + 2 * u32::from(self.layout.size());
            log.retain(|(at, _)| *at != driver && (self.features.packed || *at != event));
            log
        };
        assert_eq!(ours(&self.mem), ours(&self.twin_mem));
    }

    fn step(&mut self) {
        match self.dice.below(12) {
            0..=2 => self.post(),
            3 | 4 => self.publish(),
            5..=7 => self.take(),
            8 => self.listen(),
            9 | 10 => self.give(),
            _ => self.ring.quieten(&self.mem),
        }
        corrupt(&self.mem, self.layout, self.mercy, &mut self.dice);
        assert_eq!(self.ring.outstanding(), self.twin.outstanding());
        assert_eq!(self.ring.room(), self.twin.room());
        assert_eq!(usize::from(self.ring.outstanding()), self.writable.len());
        self.compare_logs();
    }
}

proptest! {
    #[test]
    fn anything_goes(
        number in 0u8..32,
        entries in 0u16..5,
        table in 0u16..6,
        mercy in prop_oneof![1u64..50, Just(1_000_000)],
        steps in 1u32..3000,
        seed in any::<u64>(),
    ) {
        let size = if number & 1 != 0 { 1 + 3 * entries } else { 1 << entries };
        let mut pair = Pair::new(size, table, number, mercy, seed);
        for _ in 0..steps {
            pair.step();
        }
    }
}

/// The test above gets somewhere: chains come back, lies of every kind are told, and none by a device
/// that writes only what does not concern the driver.
#[test]
fn what_hostile_runs_see() {
    let mut kinds = BTreeMap::new();
    for seed in 0..2000u64 {
        let number = seed as u8 % 32;
        let mercy = if seed % 64 < 32 { 20 } else { u64::MAX };
        let mut pair = Pair::new(
            4,
            3,
            number,
            mercy,
            seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        );
        for _ in 0..200 {
            pair.step();
        }
        let taken = usize::from(pair.token) - pair.writable.len();
        match pair.lie {
            Some(lie) => {
                assert_eq!(mercy, 20, "{lie}");
                let kind = format!("{lie:?}").split(' ').next().map(String::from);
                *kinds.entry(kind).or_insert(0) += 1;
            }
            None => assert!(taken > 5 || mercy == 20, "{taken} chains came back"),
        }
    }
    assert_eq!(kinds.len(), 7, "{kinds:?}");
}
