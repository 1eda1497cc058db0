// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A peer that attacks: it serves Linux as it should, and between two passes overwrites what it may write to, which is
//! the whole region. What it does comes from a seed; when, from what Linux does.
//!
//! It lives many short lives, each with an epoch of its own, since Linux gives a device up at the first lie that it
//! finds. In each life one way of lying is followed, by a few words now and then or by many all the time.

#![forbid(unsafe_code)]

use crate::device::{Devices, Doorbell};
use crate::faults::Faults;
use crate::link::Link;
use crate::mem::Region;
use crate::proto::layout::{link, window, PAGE, QUEUES_MAX};
use core::fmt;

/// What is attacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// One of the others in each life.
    All,
    /// Any word of the region.
    Anywhere,
    /// The header: epochs, states, counters, the device table.
    Header,
    /// Windows: registers, features, configuration, counters.
    Windows,
    /// What lies in virtqueues: descriptors, indices, used elements, what says when to notify.
    Rings,
    /// Answers to transactions: early, late, twice, of another device, with any outcome.
    Answers,
    /// What devices say in their buffers: some of the deliberate faults at a time.
    Content,
    /// What devices are: each is of another type, and so are its features and configuration; then as windows.
    Types,
    /// The doorbell, without a pause.
    Storm,
}

const STRATEGIES: [(Strategy, &str); 9] = [
    (Strategy::All, "all"),
    (Strategy::Anywhere, "anywhere"),
    (Strategy::Header, "header"),
    (Strategy::Windows, "windows"),
    (Strategy::Rings, "rings"),
    (Strategy::Answers, "answers"),
    (Strategy::Content, "content"),
    (Strategy::Types, "types"),
    (Strategy::Storm, "storm"),
];

impl Strategy {
    /// The one that a word of the command line names.
    pub fn from_word(word: &str) -> Option<Self> {
        let found = STRATEGIES.iter().find(|(_, name)| *name == word);
        found.map(|(strategy, _)| *strategy)
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let found = STRATEGIES.iter().find(|(strategy, _)| strategy == self);
        f.write_str(found.map_or("", |(_, name)| name))
    }
}

/// What it does in this life.
impl fmt::Display for Adversary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            now, often, burst, ..
        } = self;
        write!(f, "{now}, {often} of 256 times, up to {burst}")
    }
}

/// What the command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where the numbers come from.
    pub seed: u32,
    /// What is attacked.
    pub strategy: Strategy,
}

/// Most words that are overwritten after a pass.
const BURST: u32 = 512;
/// Heartbeats of a life: Linux follows no more than three new epochs a second for long.
const BEATS_LEAST: u32 = 4;
const BEATS_MORE: u32 = 9;
/// Of a hundred lives so many let Linux take the devices into use before they begin.
const PATIENT: u32 = 70;

/// The attacker.
#[derive(Debug)]
pub struct Adversary {
    strategy: Strategy,
    noise: u64,
    /// Of this life: what is attacked, in how many of 256 passes, by how many words at most; the heartbeats at which that
    /// begins, and at which it is over.
    now: Strategy,
    often: u32,
    burst: u32,
    begins: u32,
    ends: u32,
    lives: u32,
    made: u64,
}

impl Adversary {
    /// One that follows `plan`.
    pub const fn new(plan: Plan) -> Self {
        Self {
            strategy: plan.strategy,
            // Not 0, of which xorshift makes nothing; seeds next to each other are to have little in common.
            noise: (plan.seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            now: plan.strategy,
            often: 0,
            burst: 1,
            begins: 0,
            ends: 0,
            lives: 0,
            made: 0,
        }
    }

    /// Another life begins: which faults the devices are to have in it.
    pub fn begin(&mut self) -> Faults {
        self.lives = self.lives.wrapping_add(1);
        self.now = match self.strategy {
            Strategy::All => {
                let index = 1 + self.below(STRATEGIES.len() as u32 - 1);
                STRATEGIES
                    .get(index as usize)
                    .map_or(Strategy::Anywhere, |(strategy, _)| *strategy)
            }
            one => one,
        };
        // From a word in a hundred passes to many in each.
        self.often = 1 << self.below(9);
        self.burst = 1 << self.below(BURST.ilog2() + 1);
        self.begins = if self.below(100) < PATIENT { 2 } else { 0 };
        self.ends = self.begins + BEATS_LEAST + self.below(BEATS_MORE);
        if self.now == Strategy::Types {
            return Faults::claiming(64 + self.below(64));
        }
        if self.now != Strategy::Content {
            return Faults::NONE;
        }
        (0..=self.below(3)).fold(Faults::NONE, |faults, _| {
            faults.with(Faults::of_content(self.random()))
        })
    }

    /// The next life, of which a line of the log tells; the same.
    pub fn live_on(&mut self) -> Faults {
        let faults = self.begin();
        let (lives, words) = self.counts();
        log::info!("adversary: {words} words in {lives} lives, next: {self}");
        faults
    }

    /// Whether this life is over, at that many heartbeats.
    pub const fn is_over(&self, beats: u32) -> bool {
        beats >= self.ends
    }

    /// Whether it never sleeps.
    pub fn is_awake(&self) -> bool {
        self.now == Strategy::Storm
    }

    /// Lives so far, and words overwritten.
    pub const fn counts(&self) -> (u32, u64) {
        (self.lives, self.made)
    }

    /// After a pass, when everything true has been said.
    pub fn pass<D: Devices + ?Sized>(
        &mut self,
        link: &Link,
        devices: &mut D,
        doorbell: &mut dyn Doorbell,
    ) {
        if link.heartbeats() < self.begins || self.below(256) >= self.often {
            return;
        }
        let mem = link.shared().mem;
        for _ in 0..=self.below(self.burst) {
            match self.now {
                Strategy::All | Strategy::Anywhere => self.anywhere(&mem, link.devices()),
                Strategy::Header => self.header(&mem, link.devices()),
                Strategy::Windows | Strategy::Types => self.window(&mem, link.devices()),
                Strategy::Rings => self.ring(&mem, link.devices(), devices),
                Strategy::Answers => self.answer(&mem, link.devices()),
                Strategy::Content | Strategy::Storm => {}
            }
        }
        // Linux looks by itself once a second; mostly it is to see this at once.
        if link.attached() && (self.now == Strategy::Storm || self.below(4) != 0) {
            self.count_event(&mem, link.devices());
            doorbell.ring();
        }
    }

    /// Any word; the half of them not in the pool, which is large.
    fn anywhere(&mut self, mem: &Region, devices: usize) {
        let rings = (devices as u32 + 1) * PAGE;
        let most = if self.below(2) == 0 { rings } else { mem.len() };
        let at = self.below(most / 4) * 4;
        self.overwrite(mem, at);
    }

    fn header(&mut self, mem: &Region, devices: usize) {
        let at = match self.below(8) {
            0 | 1 => link::IDENTITY + 4 * self.below(link::IDENTITY_WORDS as u32),
            2..=4 => link::PEER_STATE + 4 * self.below(16),
            5 => {
                let entry = link::device_entry(self.below(devices as u32 + 1) as usize);
                entry + 4 * self.below(link::DEVICE_ENTRY_WORDS as u32)
            }
            6 => link::device_event(self.below(devices as u32 + 1) as usize),
            // The driver's own.
            _ => link::DRIVER_VERSION + 4 * self.below(8),
        };
        self.overwrite(mem, at);
    }

    fn window(&mut self, mem: &Region, devices: usize) {
        let base = self.base(devices);
        let at = match self.below(8) {
            0..=2 => 4 * self.below(window::VIEW_SIZE / 4),
            3 | 4 => window::CONFIG + 4 * self.below(24),
            5 => window::queue_event(self.below(QUEUES_MAX as u32) as usize),
            6 => window::CONFIG_EVENT,
            _ => window::TXN_SEQ + 4 * self.below((PAGE - window::TXN_SEQ) / 4),
        };
        self.overwrite(mem, base + at);
    }

    fn ring<D: Devices + ?Sized>(&mut self, mem: &Region, count: usize, devices: &mut D) {
        let index = self.below(count as u32) as usize;
        let Some(device) = devices.device(index) else {
            return;
        };
        let transport = device.transport();
        let queue = self.below(transport.queue_count().max(1) as u32) as usize;
        let Some((start, end)) = transport.span(queue) else {
            return;
        };
        let Some(parts) = transport.parts(queue).filter(|_| self.below(4) != 0) else {
            // Packed, or not looked at what it is.
            let at = start + self.below((end.saturating_sub(start) / 4).max(1)) * 4;
            return self.overwrite(mem, at);
        };
        let slot = self.below(parts.size.into());
        let (of_four, of_two) = (4 * self.below(4), 4 * self.below(2));
        match self.below(8) {
            0 | 1 => self.overwrite(mem, parts.desc + slot * 16 + of_four),
            2 => self.overwrite(mem, parts.avail + slot * 2 / 4 * 4),
            3 | 4 => self.overwrite(mem, parts.used + 4 + slot * 8 + of_two),
            5 => self.overwrite(mem, parts.used),
            6 => self.overwrite(mem, (parts.used + 4 + u32::from(parts.size) * 8) / 4 * 4),
            _ => {
                // A used element that could be one, and an index that shows it.
                self.made = self.made.wrapping_add(1);
                let next = mem.read16(parts.used + 2);
                let at = parts.used + 4 + u32::from(next % parts.size) * 8;
                mem.write32(at, self.below(u32::from(parts.size) + 2));
                let len = mem.read32(at + 4);
                mem.write32(at + 4, self.lie(len));
                mem.publish16(parts.used + 2, next.wrapping_add(1));
            }
        }
    }

    fn answer(&mut self, mem: &Region, devices: usize) {
        let base = self.base(devices);
        let asked = mem.read32(base + window::TXN_SEQ);
        let seq = match self.below(4) {
            0 => asked,
            1 => asked.wrapping_add(1),
            2 => asked.wrapping_sub(1),
            _ => self.random(),
        };
        let (status, index) = (self.below(8), self.below(18));
        self.made = self.made.wrapping_add(1);
        mem.write32(base + window::DONE_STATUS, status);
        mem.write32(base + window::DONE_INDEX, index);
        mem.publish32(base + window::DONE_SEQ, seq);
    }

    /// Has Linux look at a device, and at one of its queues.
    fn count_event(&mut self, mem: &Region, devices: usize) {
        let index = self.below(devices.max(1) as u32);
        let base = (index + 1) * PAGE;
        let queue = base + window::queue_event(self.below(4) as usize);
        mem.write32(queue, mem.read32(queue).wrapping_add(1));
        let event = link::device_event(index as usize);
        mem.publish32(event, mem.read32(event).wrapping_add(1));
    }

    /// The window of one of so many devices.
    fn base(&mut self, devices: usize) -> u32 {
        (self.below(devices.max(1) as u32) + 1) * PAGE
    }

    fn overwrite(&mut self, mem: &Region, at: u32) {
        self.made = self.made.wrapping_add(1);
        let old = mem.read32(at);
        let new = self.lie(old);
        mem.write32(at, new);
    }

    /// What stands where `old` should.
    fn lie(&mut self, old: u32) -> u32 {
        match self.below(8) {
            0 | 1 => old ^ (1 << self.below(32)),
            2 => old.wrapping_add(1),
            3 => old.wrapping_sub(1),
            4 => 0,
            5 => u32::MAX,
            6 => self.below(0x120),
            _ => self.random(),
        }
    }

    /// A number below `end`; 0 if that is 0.
    fn below(&mut self, end: u32) -> u32 {
        self.random().checked_rem(end).unwrap_or(0)
    }

    /// Numbers that look random (xorshift64*).
    fn random(&mut self) -> u32 {
        self.noise ^= self.noise >> 12;
        self.noise ^= self.noise << 25;
        self.noise ^= self.noise >> 27;
        (self.noise.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as u32
    }
}
