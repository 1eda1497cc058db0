// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Rings against device sides that were not written for them: bytes go both ways, and each side
//! sleeps until it is notified.

use super::memory::{features, Dice};
use hvl_logic::algo::ring::{Layout, Memory, Ring, Segment, Slot, Used};
use std::collections::VecDeque;

/// Bytes for the segments of one chain.
const CHAIN: u32 = 512;
/// Most segments of a chain, and most bytes of one.
const SEGMENTS: u64 = 8;
const SEGMENT: u64 = 64;

/// A virtqueue's memory, and the buffers' behind it.
pub(crate) trait World: Memory {
    /// The driver's reading of buffers.
    fn load(&self, at: u32, to: &mut [u8]);
    /// The driver's writing of buffers.
    fn store(&self, at: u32, from: &[u8]);
}

/// A device side.
pub(crate) trait Other<W> {
    /// Takes the next chain: its id, what the driver wrote, room for an answer.
    fn pop(&mut self, world: &W) -> Option<(u16, Vec<u8>, u32)>;
    /// Gives back a chain with an answer. Chains come back as they were taken, or in any order.
    fn give(&mut self, world: &W, id: u16, bytes: &[u8]);
    /// Whether to notify the driver of what was given back since the last call.
    fn wants(&mut self, world: &W) -> bool;
    /// Asks to be notified; `true`: there is a chain already.
    fn listen(&mut self, world: &W) -> bool;
    /// Does without notifications.
    fn quieten(&mut self, world: &W);
}

/// Bytes that a queue of this layout and its buffers need.
pub(crate) fn bytes(layout: &Layout) -> u32 {
    layout.bytes() + u32::from(layout.size()) * CHAIN
}

/// A chain that is under way.
#[derive(Clone, Debug, Default)]
struct Entry {
    /// What the driver wrote, and the bytes that the device answered.
    question: Vec<u8>,
    answer: Vec<u8>,
    /// Where the answer goes: offset and bytes.
    places: Vec<(u32, u32)>,
}

/// The two sides.
pub(crate) struct Talk<W, D> {
    layout: Layout,
    base: u64,
    in_order: bool,
    world: W,
    device: D,
    ring: Ring<Vec<Slot>>,
    entries: Vec<Entry>,
    free: Vec<u16>,
    /// Tokens of what was posted, and with ids and room of what the device has.
    posted: VecDeque<u16>,
    held: Vec<(u16, u16, u32)>,
    dice: Dice,
    asleep: bool,
    device_asleep: bool,
    count: u64,
}

impl<W: World, D: Other<W>> Talk<W, D> {
    /// A talk in `world`, whose first byte the device sees at `base`. `new` makes the device.
    pub(crate) fn new(
        layout: Layout,
        number: u8,
        base: u64,
        world: W,
        seed: u64,
        new: impl FnOnce(&W) -> D,
    ) -> Self {
        let features = features(number);
        let book = vec![Slot::NEW; layout.size().into()];
        let ring = Ring::new(&world, layout, base, features, book).unwrap();
        Self {
            layout,
            base,
            in_order: features.in_order,
            device: new(&world),
            world,
            ring,
            entries: vec![Entry::default(); layout.size().into()],
            free: (0..layout.size()).collect(),
            posted: VecDeque::new(),
            held: Vec::new(),
            dice: Dice::new(seed),
            asleep: false,
            device_asleep: false,
            count: 0,
        }
    }

    /// Sends `chains` through, and waits until all are back.
    pub(crate) fn run(&mut self, chains: u64) {
        let mut back = 0;
        while back < chains {
            assert!(!self.asleep || !self.device_asleep, "both sleep");
            if !self.asleep && self.dice.one_in(2) {
                back += self.driver(chains);
            }
            if !self.device_asleep && self.dice.one_in(2) {
                self.device();
            }
        }
        assert_eq!(self.ring.room(), self.layout.size());
    }

    /// A moment of the driver's life; returns how many chains came back.
    fn driver(&mut self, chains: u64) -> u64 {
        match self.dice.below(4) {
            0 => self.ring.quieten(&self.world),
            1 | 2 => {
                for _ in 0..=self.dice.below(4) {
                    if self.count < chains {
                        self.post();
                    }
                }
                if self.ring.publish(&self.world, 0).is_some() {
                    self.device_asleep = false;
                }
            }
            _ => {}
        }
        let mut back = 0;
        if self.dice.one_in(2) {
            while let Some(used) = self.ring.take(&self.world).unwrap() {
                self.check(used);
                back += 1;
            }
            // Not with something to post and room for it.
            let more = self.count < chains && self.ring.has_room(1);
            self.asleep = !more && !self.ring.listen(&self.world);
        }
        back
    }

    fn post(&mut self) {
        let readable = self.dice.below(SEGMENTS / 2 + 1);
        let writable = self.dice.below(SEGMENTS / 2 + 1);
        if !self.ring.has_room((readable + writable) as usize) {
            return;
        }
        let token = self.free.pop().unwrap();
        let mut at = self.layout.bytes() + u32::from(token) * CHAIN;
        let mut places = |dice: &mut Dice, count: u64| -> Vec<(u32, u32)> {
            (0..count)
                .map(|_| {
                    let len = 1 + dice.below(SEGMENT) as u32;
                    at += len;
                    (at - len, len)
                })
                .collect()
        };
        let mut entry = Entry::default();
        let from = places(&mut self.dice, readable);
        entry.places = places(&mut self.dice, writable);
        for (at, len) in &from {
            let part: Vec<u8> = (0..*len).map(|_| self.dice.roll() as u8).collect();
            self.world.store(*at, &part);
            entry.question.extend(part);
        }
        let segments = |places: &[(u32, u32)]| -> Vec<Segment> {
            let segment = |&(at, len): &(u32, u32)| Segment {
                address: self.base + u64::from(at),
                len,
            };
            places.iter().map(segment).collect()
        };
        let (readable, writable) = (segments(&from), segments(&entry.places));
        let result = self.ring.post(&self.world, &readable, &writable, token);
        assert_eq!(result, Ok(()));
        self.entries[usize::from(token)] = entry;
        self.posted.push_back(token);
        self.count += 1;
    }

    /// A chain is back: what the device answered is in its buffers.
    fn check(&mut self, used: Used) {
        let entry = &self.entries[usize::from(used.token)];
        assert_eq!(used.len as usize, entry.answer.len());
        let mut found = Vec::new();
        for (at, len) in &entry.places {
            let mut part = vec![0; *len as usize];
            self.world.load(*at, &mut part);
            found.extend(part);
        }
        assert_eq!(found[..entry.answer.len()], entry.answer);
        self.free.push(used.token);
    }

    /// A moment of the device's life.
    fn device(&mut self) {
        match self.dice.below(4) {
            0 => self.device.quieten(&self.world),
            1 => {
                for _ in 0..=self.dice.below(4) {
                    if !self.held.is_empty() {
                        self.give();
                    }
                }
                if self.device.wants(&self.world) {
                    self.asleep = false;
                }
            }
            _ => match self.device.pop(&self.world) {
                Some((id, question, room)) => {
                    let token = self.posted.pop_front().unwrap();
                    let entry = &self.entries[usize::from(token)];
                    assert_eq!(question, entry.question);
                    let sum: u32 = entry.places.iter().map(|place| place.1).sum();
                    assert_eq!(room, sum);
                    self.held.push((id, token, room));
                }
                None if self.held.is_empty() => {
                    self.device_asleep = !self.device.listen(&self.world);
                }
                None => {}
            },
        }
    }

    fn give(&mut self) {
        let any = if self.in_order {
            0
        } else {
            self.dice.below(self.held.len() as u64) as usize
        };
        let (id, token, room) = self.held.remove(any);
        let len = self.dice.below(u64::from(room) + 1);
        let answer: Vec<u8> = (0..len).map(|_| self.dice.roll() as u8).collect();
        self.device.give(&self.world, id, &answer);
        self.entries[usize::from(token)].answer = answer;
    }
}
