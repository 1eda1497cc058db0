// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A virtqueue with both of its sides, and how a model is run.

use hvl_logic::algo::ring::{Features, Layout, Memory, Ring, Segment, Slot};
use hvl_weak::mem::{Driver, Fence, Pool, Region};
use hvl_weak::queue::{self, Chain, Virtqueue};
use loom::model::Builder;
use loom::thread::{self, JoinHandle};
use std::sync::Arc;

/// Address of the region for the peer.
const BASE: u64 = 0x7a00_0000;
/// Where the virtqueue begins, the buffers, and the region ends.
const QUEUE: u32 = 0x1000;
const BUFFERS: u32 = 0x2000;
const SIZE: u32 = 0x3000;

/// Words of a thread's stack.
const STACK: usize = 0x8000;

/// What a model says that sees something which is not there yet.
pub(crate) const EARLY: &str = "seen too early";
/// What a model says where both sides sleep.
pub(crate) const LOST: &str = "a wake-up is lost";

/// How often a thread is stopped where it need not be.
const PREEMPTIONS: usize = 3;

/// Tries all orders in which the threads of `model` can run, and all values that they can see.
pub(crate) fn explore(model: impl Fn() + Sync + Send + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(PREEMPTIONS);
    builder.max_branches = 10_000;
    let model = Arc::new(model);
    // The thread that loom begins with has a small stack.
    builder.check(move || {
        let model = Arc::clone(&model);
        spawn(move || model()).join().unwrap();
    });
}

/// Begins a thread of a model.
pub(crate) fn spawn<T: Send + 'static>(side: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let builder = thread::Builder::new().stack_size(STACK);
    builder.spawn(side).unwrap()
}

/// A model that holds, and that fails without each of the barriers: with the words `$expected`.
macro_rules! litmus {
    ($name:ident: $model:expr, $expected:literal, [$($test:ident = $fence:ident),* $(,)?]) => {
        mod $name {
            #[allow(unused_imports, reason = "not every model needs all of it")]
            use super::*;

            #[test]
            fn holds() {
                $crate::bench::explore(|| $model(None));
            }

            $(
                #[test]
                #[should_panic(expected = $expected)]
                fn $test() {
                    $crate::bench::explore(|| $model(Some(hvl_weak::mem::Fence::$fence)));
                }
            )*
        }
    };
}
pub(crate) use litmus;

/// The driver's side of a virtqueue.
pub(crate) struct DriverSide {
    pub(crate) memory: Driver,
    pub(crate) ring: Ring<Vec<Slot>>,
    /// Chains posted, and taken back.
    posted: u16,
    taken: u16,
}

/// The peer's side.
pub(crate) struct PeerSide {
    pub(crate) region: Region,
    pub(crate) queue: Virtqueue,
    pool: Pool,
    popped: u16,
}

/// A place for a word that chain `token` carries there, or back.
fn word(token: u16, back: bool) -> u32 {
    BUFFERS + 8 * u32::from(token) + if back { 4 } else { 0 }
}

/// What is in it.
fn content(token: u16, back: bool) -> u32 {
    0x100 * (1 + u32::from(token)) + u32::from(back)
}

/// A virtqueue of `size` entries, all words of which are watched, for `chains` chains.
pub(crate) fn virtqueue(
    size: u16,
    features: Features,
    chains: u16,
    without: Option<Fence>,
) -> (DriverSide, PeerSide) {
    let table = if features.indirect { 2 } else { 0 };
    let layout = Layout::new(size, features.packed, table).unwrap();
    let at = |offset: u32| QUEUE + offset;
    let (driver, device) = (at(layout.driver()), at(layout.device()));
    let entries = u32::from(size);
    let mut halves = Vec::new();
    let mut words = vec![BUFFERS..word(chains, false)];
    if features.packed {
        for number in 0..entries {
            let descriptor = at(16 * number);
            words.push(descriptor..descriptor + 12);
            halves.push(descriptor + 12..descriptor + 16);
        }
        words.push(driver..driver + 4);
        words.push(device..device + 4);
    } else {
        words.push(at(0)..at(16 * entries));
        halves.push(driver..driver + 6 + 2 * entries);
        halves.push(device..device + 4);
        words.push(device + 4..device + 4 + 8 * entries);
        halves.push(device + 4 + 8 * entries..device + 6 + 8 * entries);
    }
    words.push(at(layout.tables())..at(layout.bytes()));
    let region = Region::new(SIZE, &halves, &words, without);
    let memory = Driver {
        region,
        base: QUEUE,
    };
    let base = BASE + u64::from(QUEUE);
    let ring = Ring::new(
        &memory,
        layout,
        base,
        features,
        vec![Slot::NEW; size.into()],
    )
    .unwrap();
    let pool = Pool::new(BASE, QUEUE, SIZE - QUEUE);
    let address = |offset: u32| base + u64::from(offset);
    let place = queue::Layout {
        size: entries,
        desc: address(layout.descriptors()),
        driver: address(layout.driver()),
        device: address(layout.device()),
    };
    let features = queue::Features {
        packed: features.packed,
        indirect: features.indirect,
        in_order: features.in_order,
        event_idx: features.event_idx,
    };
    let queue = Virtqueue::new(&place, &pool, features).unwrap();
    let driver = DriverSide {
        memory,
        ring,
        posted: 0,
        taken: 0,
    };
    let peer = PeerSide {
        region,
        queue,
        pool,
        popped: 0,
    };
    (driver, peer)
}

impl DriverSide {
    /// Posts the next chain: a word for the peer, and room for one back.
    pub(crate) fn post(&mut self, readable: bool, writable: bool) {
        let token = self.posted;
        self.posted += 1;
        let segment = |back| Segment {
            address: BASE + u64::from(word(token, back)),
            len: 4,
        };
        let region = self.memory.region;
        region.write32(word(token, false), content(token, false));
        let (to, back) = ([segment(false)], [segment(true)]);
        let to = if readable { &to[..] } else { &[] };
        let back = if writable { &back[..] } else { &[] };
        self.ring.post(&self.memory, to, back, token).unwrap();
    }

    /// Shows what was posted; whether the peer wants to be notified.
    pub(crate) fn publish(&mut self) -> bool {
        self.ring.publish(&self.memory, 0).is_some()
    }

    /// Takes the next used chain, the peer's word in it; `false`: there is none.
    pub(crate) fn take(&mut self) -> bool {
        let Some(used) = self.ring.take(&self.memory).expect(EARLY) else {
            return false;
        };
        assert_eq!(used.token, self.taken, "{EARLY}");
        self.taken += 1;
        if used.len != 0 {
            let got = self.memory.read32(word(used.token, true) - QUEUE);
            assert_eq!((used.len, got), (4, content(used.token, true)), "{EARLY}");
        }
        true
    }

    pub(crate) fn taken(&self) -> u16 {
        self.taken
    }
}

impl PeerSide {
    /// Takes the next chain and looks at the driver's word in it.
    pub(crate) fn pop(&mut self) -> Option<Chain> {
        let mut chain = Chain::new();
        let found = self.queue.pop(&self.region, &self.pool, &mut chain);
        if !found.expect(EARLY) {
            return None;
        }
        let token = self.popped;
        self.popped += 1;
        if chain.readable_len() != 0 {
            let mut bytes = [0; 4];
            assert_eq!(chain.read(&self.region, 0, &mut bytes), 4, "{EARLY}");
            let got = u32::from_le_bytes(bytes);
            assert_eq!(got, content(token, false), "{EARLY}");
        } else {
            assert_eq!(chain.writable_len(), 4, "{EARLY}");
        }
        Some(chain)
    }

    /// Gives the chain that was popped as number `token` back, with a word if there is room.
    pub(crate) fn push(&mut self, chain: &Chain, token: u16) {
        let answer = content(token, true).to_le_bytes();
        let written = chain.write(&self.region, 0, &answer);
        self.queue
            .push(&self.region, chain, written as u32)
            .unwrap();
    }

    /// Shows what was given back; whether the driver wants to be notified.
    pub(crate) fn publish(&mut self) -> bool {
        self.queue.publish(&self.region) && self.queue.wants_notification(&self.region)
    }

    pub(crate) fn popped(&self) -> u16 {
        self.popped
    }
}
