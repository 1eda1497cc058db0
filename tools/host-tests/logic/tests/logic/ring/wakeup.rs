// SPDX-License-Identifier: GPL-2.0 OR MIT

//! No notification is lost, and nothing is seen before it is there: two sides that sleep until they
//! are notified always get on, although the device runs between any two accesses of the driver, whose
//! writes arrive late.

use super::bench::segments;
use super::device::{Chain, Device};
use super::memory::{features, Dice, Shared, BASE};
use hvl_logic::algo::ring::{Layout, Ring, Segment, Slot};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// The device, and how it is woken.
struct Sleeper {
    device: Device,
    /// What was posted and not popped yet: readable and writable segments, token.
    posted: VecDeque<(Vec<Segment>, Vec<Segment>, u16)>,
    held: Vec<(Chain, u16)>,
    /// What was given back and not taken yet.
    given: VecDeque<u16>,
    /// Each doorbell is latched: it wakes who is asleep, and keeps awake who falls asleep.
    device_bell: bool,
    driver_bell: bool,
    asleep: bool,
    in_order: bool,
    dice: Dice,
}

impl Sleeper {
    /// A moment of the device's life.
    fn step(&mut self, mem: &Shared) {
        if self.asleep {
            self.asleep = !std::mem::take(&mut self.device_bell);
            return;
        }
        match self.dice.below(6) {
            0 | 1 => self.pop(mem),
            2 => self.device.quieten(mem),
            _ if !self.held.is_empty() => self.give(mem),
            _ => {
                // Looks before it says "wake me" as well, as devices do.
                if self.device.available(mem) {
                    self.pop(mem);
                } else if !self.device.listen(mem) {
                    self.asleep = true;
                }
            }
        }
    }

    fn pop(&mut self, mem: &Shared) {
        if let Some(chain) = self.device.pop(mem) {
            let (readable, writable, token) = self.posted.pop_front().unwrap();
            assert_eq!((&chain.readable, &chain.writable), (&readable, &writable));
            self.held.push((chain, token));
        }
    }

    fn give(&mut self, mem: &Shared) {
        let any = self.dice.below(self.held.len() as u64) as usize;
        let first = if self.in_order { 0 } else { any };
        let (chains, tokens): (Vec<_>, Vec<_>) = self.held.drain(first..=any).unzip();
        self.device.give(mem, &chains, 0);
        self.given.extend(tokens);
        // Now and then more before it asks.
        if self.held.is_empty() || self.dice.one_in(2) {
            self.driver_bell |= self.device.driver_wants(mem);
        }
    }
}

/// How often something must happen to one of the two before it counts as stuck.
const PATIENCE: u32 = 10_000;

fn converse(number: u8, size: u16, chains: u32, seed: u64) {
    let features = features(number);
    let layout = Layout::new(size, features.packed, 4).unwrap();
    let mem = Shared::new(layout);
    let book = vec![Slot::NEW; size.into()];
    let mut ring = Ring::new(&mem, layout, BASE, features, book).unwrap();
    mem.weaken(seed);
    let sleeper = Rc::new(RefCell::new(Sleeper {
        device: Device::new(layout, features),
        posted: VecDeque::new(),
        held: Vec::new(),
        given: VecDeque::new(),
        device_bell: false,
        driver_bell: false,
        asleep: false,
        in_order: features.in_order,
        dice: Dice::new(seed ^ 0xabcd),
    }));
    let inside = Rc::clone(&sleeper);
    mem.set_hook(move |mem| {
        let mut sleeper = inside.borrow_mut();
        while sleeper.dice.one_in(3) {
            sleeper.step(mem);
        }
    });

    let mut dice = Dice::new(seed ^ 0x1234);
    let (mut posted, mut taken, mut idle) = (0u32, 0u32, 0);
    let mut asleep = false;
    while taken < chains {
        idle += 1;
        assert!(idle < PATIENCE, "both sleep, {taken} of {posted} are back");
        // What was written arrives in the end, without any help.
        if dice.one_in(20) {
            mem.settle();
        }
        if dice.one_in(2) {
            sleeper.borrow_mut().step(&mem);
            continue;
        }
        if asleep {
            asleep = !std::mem::take(&mut sleeper.borrow_mut().driver_bell);
            continue;
        }
        match dice.below(4) {
            0 if posted < chains => {
                for _ in 0..=dice.below(3) {
                    let (readable, writable) = (dice.below(3), dice.below(3));
                    if posted < chains && ring.has_room((readable + writable) as usize) {
                        let readable = segments(&mut dice, readable);
                        let writable = segments(&mut dice, writable);
                        let token = posted as u16;
                        let entry = (readable.clone(), writable.clone(), token);
                        sleeper.borrow_mut().posted.push_back(entry);
                        ring.post(&mem, &readable, &writable, token).unwrap();
                        posted += 1;
                    }
                }
                // Now and then the interrupt comes in between.
                if !dice.one_in(3) && ring.publish(&mem, 0).is_some() {
                    sleeper.borrow_mut().device_bell = true;
                }
            }
            1 => ring.quieten(&mem),
            _ => {
                while let Some(used) = ring.take(&mem).unwrap() {
                    let given = sleeper.borrow_mut().given.pop_front();
                    assert_eq!(Some(used.token), given);
                    taken += 1;
                    idle = 0;
                }
                // Asleep with something to post only where nothing fits.
                let after = dice.below(8) as u16;
                if (posted == chains || !ring.has_room(1)) && !ring.listen_after(&mem, after) {
                    if ring.publish(&mem, 0).is_some() {
                        sleeper.borrow_mut().device_bell = true;
                    }
                    asleep = true;
                }
            }
        }
    }
}

proptest! {
    #[test]
    fn no_notification_is_lost(
        number in 0u8..32,
        entries in 0u16..5,
        chains in 1u32..1000,
        seed in any::<u64>(),
    ) {
        // Not a power of two where that is allowed.
        let size = if number & 1 != 0 { 1 + entries * 2 } else { 1 << entries };
        converse(number, size, chains, seed);
    }
}
