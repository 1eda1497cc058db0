// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A ring, the model of a device, and what must be true of the two.

use super::device::{Chain, Device};
use super::memory::{features, Dice, Shared, BASE};
use hvl_logic::algo::ring::{Features, Full, Layout, Ring, Segment, Slot, Used};
use std::collections::VecDeque;

/// What was posted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Posted {
    pub(crate) readable: Vec<Segment>,
    pub(crate) writable: Vec<Segment>,
    pub(crate) token: u16,
    descriptors: u16,
}

/// What the driver has asked for.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// A notification when the device has given back more than this.
    Listening(u64),
    Quiet,
    /// It was told not to wait.
    Open,
}

/// A virtqueue and its ends.
pub(crate) struct Bench {
    pub(crate) layout: Layout,
    pub(crate) features: Features,
    pub(crate) mem: Shared,
    pub(crate) ring: Ring<Vec<Slot>>,
    pub(crate) device: Device,
    /// Not popped by the device yet; those from `shown` on it cannot see.
    pub(crate) posted: VecDeque<Posted>,
    shown: usize,
    /// With the device.
    pub(crate) held: Vec<(Chain, Posted)>,
    /// Given back, not taken yet.
    given: VecDeque<(Used, u16)>,
    /// Descriptors of all of these.
    in_use: u16,
    tokens: u16,
    wish: Wish,
    /// Chains, or descriptors if packed, that were posted, and were so at the last publishing.
    total: u64,
    published: u64,
}

/// Random segments, `count` of them.
pub(crate) fn segments(dice: &mut Dice, count: u64) -> Vec<Segment> {
    let one = |dice: &mut Dice| Segment {
        address: dice.roll() << 9,
        len: dice.below(100_000) as u32,
    };
    (0..count).map(|_| one(dice)).collect()
}

impl Bench {
    pub(crate) fn new(size: u16, table: u16, number: u8) -> Self {
        let features = features(number);
        let layout = Layout::new(size, features.packed, table).unwrap();
        let mem = Shared::new(layout);
        let book = vec![Slot::NEW; size.into()];
        let ring = Ring::new(&mem, layout, BASE, features, book).unwrap();
        mem.settle();
        Self {
            layout,
            features,
            mem,
            ring,
            device: Device::new(layout, features),
            posted: VecDeque::new(),
            shown: 0,
            held: Vec::new(),
            given: VecDeque::new(),
            in_use: 0,
            tokens: 0,
            wish: Wish::Listening(0),
            total: 0,
            published: 0,
        }
    }

    fn check_counts(&self) {
        let outstanding = self.posted.len() + self.held.len() + self.given.len();
        assert_eq!(usize::from(self.ring.outstanding()), outstanding);
        assert_eq!(self.ring.room(), self.layout.size() - self.in_use);
        assert_eq!(self.ring.lie(), None);
    }

    /// Posts, and checks that it works exactly where there is room.
    pub(crate) fn post(&mut self, readable: Vec<Segment>, writable: Vec<Segment>) -> bool {
        let count = readable.len() + writable.len();
        let table = usize::from(self.layout.table());
        let indirect = self.features.indirect && count > 1 && count <= table;
        let descriptors = if indirect { 1 } else { count };
        let size = usize::from(self.layout.size());
        assert_eq!(self.ring.fits(count), count > 0 && descriptors <= size);
        let room = count > 0 && descriptors + usize::from(self.in_use) <= size;
        assert_eq!(self.ring.has_room(count), room);
        let token = self.tokens;
        let result = self.ring.post(&self.mem, &readable, &writable, token);
        assert_eq!(result, if room { Ok(()) } else { Err(Full) });
        if room {
            let descriptors = descriptors as u16;
            self.in_use += descriptors;
            self.tokens = token.wrapping_add(1);
            self.total += if self.features.packed {
                u64::from(descriptors)
            } else {
                1
            };
            self.posted.push_back(Posted {
                readable,
                writable,
                token,
                descriptors,
            });
        }
        self.check_counts();
        room
    }

    /// Posts a chain of one segment that the device may write.
    pub(crate) fn post_one(&mut self, len: u32) {
        let address = 0x1000;
        assert!(self.post(vec![], vec![Segment { address, len }]));
    }

    /// Publishes, and checks the notification.
    pub(crate) fn publish(&mut self) {
        let queue = 0x8123;
        let word = self.ring.publish(&self.mem, queue);
        let next = if self.features.packed {
            self.device.word(self.total)
        } else {
            self.total as u16
        };
        let data = if self.features.notification_data {
            u32::from(next) << 16
        } else {
            0
        };
        let wanted = self.device.wants(self.published, self.total);
        assert_eq!(word, wanted.then_some(u32::from(queue) | data));
        self.published = self.total;
        self.shown = self.posted.len();
    }

    /// The device takes the next chain, which is the one that was posted next.
    pub(crate) fn pop(&mut self) -> bool {
        assert_eq!(self.device.available(&self.mem), self.shown > 0);
        let Some(chain) = self.device.pop(&self.mem) else {
            return false;
        };
        let posted = self.posted.pop_front().unwrap();
        assert_eq!(
            (&chain.readable, &chain.writable),
            (&posted.readable, &posted.writable)
        );
        assert_eq!(chain.descriptors, posted.descriptors);
        assert!(
            self.held.iter().all(|(other, _)| other.id != chain.id),
            "id {} is there twice",
            chain.id
        );
        self.shown -= 1;
        self.held.push((chain, posted));
        true
    }

    /// The device gives back the chain at `index` of those that it holds, or with all before it
    /// in one element where it uses in order, or the first.
    pub(crate) fn give(&mut self, index: usize, batch: bool, len: u32) {
        let range = match (self.features.in_order, batch) {
            (false, _) => index..index + 1,
            (true, false) => 0..1,
            (true, true) => 0..index + 1,
        };
        let (chains, posted): (Vec<_>, Vec<_>) = self.held.drain(range).unzip();
        let len = len.min(chains.last().unwrap().room());
        self.device.give(&self.mem, &chains, len);
        for (index, posted) in posted.iter().enumerate() {
            let last = index + 1 == chains.len();
            let used = Used {
                token: posted.token,
                len: if last { len } else { chains[index].room() },
            };
            self.given.push_back((used, posted.descriptors));
        }
    }

    /// The driver takes one chain back, the next that was given.
    pub(crate) fn take(&mut self) -> bool {
        let given = self.given.pop_front().map(|(used, descriptors)| {
            self.in_use -= descriptors;
            used
        });
        assert_eq!(self.ring.take(&self.mem), Ok(given));
        self.check_counts();
        given.is_some()
    }

    /// The driver asks to be notified.
    pub(crate) fn listen(&mut self) {
        let there = self.ring.listen(&self.mem);
        assert_eq!(there, !self.given.is_empty());
        self.wish = if there {
            Wish::Open
        } else {
            Wish::Listening(self.device.used)
        };
    }

    /// The driver asks not to be notified.
    pub(crate) fn quieten(&mut self) {
        self.ring.quieten(&self.mem);
        self.wish = Wish::Quiet;
    }

    /// The device looks whether to notify.
    pub(crate) fn ask(&mut self) {
        let new = self.device.decided..self.device.used;
        let wanted = self.device.driver_wants(&self.mem);
        let event_idx = self.features.event_idx;
        match self.wish {
            Wish::Listening(event) if event_idx => assert!(wanted || !new.contains(&event)),
            Wish::Listening(_) => assert_eq!(wanted, !new.is_empty()),
            Wish::Quiet if self.features.packed || !event_idx => assert!(!wanted),
            Wish::Quiet | Wish::Open => {}
        }
    }

    /// Everything that is under way comes back.
    pub(crate) fn finish(&mut self) {
        self.publish();
        while self.pop() {}
        while !self.held.is_empty() {
            self.give(0, false, u32::MAX);
        }
        while self.take() {}
        assert_eq!(self.ring.outstanding(), 0);
        assert_eq!(self.ring.room(), self.layout.size());
    }

    /// Sends `count` chains of one segment through, one by one and without looking closely, while
    /// nothing else is under way.
    pub(crate) fn spin(&mut self, count: u64) {
        let segment = [Segment::default()];
        for _ in 0..count {
            self.ring.post(&self.mem, &[], &segment, 0).unwrap();
            self.ring.publish(&self.mem, 0);
            let chain = self.device.pop(&self.mem).unwrap();
            self.device.give(&self.mem, &[chain], 0);
            assert!(self.ring.take(&self.mem).unwrap().is_some());
        }
        // One descriptor each.
        self.total += count;
        self.published = self.total;
    }
}
