// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is said outside of virtqueues: start, attachment, transactions, notifications, rings. The
//! peer's side is its library; the driver's, which is the kernel's, stands in `kernel`.

use crate::bench::{explore, litmus, spawn, EARLY, LOST};
use crate::kernel::{Kernel, Seen};
use hvl_logic::proto::layout::{link, window, PAGE, REGION_MIN};
use hvl_logic::proto::virtio::{feature, reg, status};
use hvl_logic::proto::{Entry, Status, TestCause};
use hvl_weak::device::{Bells, Device, Doorbell};
use hvl_weak::faults::Faults;
use hvl_weak::link::{Link, Params, Wake};
use hvl_weak::mem::{barrier, Fence, Region};
use hvl_weak::queue::Chain;
use hvl_weak::shared::Shared;
use hvl_weak::transport::{Model, Offer, Queue, Transport};
use loom::sync::atomic::{AtomicU32, Ordering};
use std::ops::Range;
use std::sync::Arc;

const BASE: u64 = 0x7a00_0000;
/// The one window, and a place for a queue.
pub(crate) const WINDOW: u32 = PAGE;
const QUEUE: u32 = 2 * PAGE;
const RANG: Wake = Wake {
    doorbell: true,
    queues: false,
    tick: false,
    timer: false,
};

/// Nobody rang, and the time to sleep is over.
const TIME: Wake = Wake {
    doorbell: false,
    queues: false,
    tick: false,
    timer: true,
};

/// A device with one queue that does nothing by itself.
pub(crate) struct Entropy(Transport<[Queue; 1]>);

impl Entropy {
    pub(crate) fn new() -> Self {
        Self(Transport::new(
            Model {
                name: "rng",
                id: 4,
                features: 0,
                in_order: false,
                queues: &[2],
            },
            &[0; 8],
        ))
    }
}

impl Device for Entropy {
    fn transport(&self) -> &Transport {
        &self.0
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.0
    }

    fn reset(&mut self) {}

    fn wanted(&self, least: &mut [u16]) {
        least.fill(1);
    }

    fn tick(&mut self, _: &Shared) {}
}

/// A doorbell that stays rung until somebody looks. That it comes through at all is no matter of
/// the region, and orders nothing there.
#[derive(Clone)]
struct Bell(Arc<AtomicU32>);

impl Doorbell for Bell {
    fn ring(&mut self) {
        self.0.store(1, Ordering::Relaxed);
    }
}

/// The peer with its link.
pub(crate) struct Peer {
    link: Link,
    device: Entropy,
    bell: Bell,
}

pub(crate) fn params() -> Params {
    Params {
        peer_base: BASE,
        heartbeat_ms: 100,
        polled: false,
        offer: Offer::ALL,
        bells: Bells::default(),
        faults: Faults::NONE,
    }
}

impl Peer {
    pub(crate) fn start(region: Region) -> Self {
        let mut device = Entropy::new();
        let link = Link::start(region, &params(), &mut [&mut device]).unwrap();
        Self {
            link,
            device,
            bell: Bell(Arc::new(AtomicU32::new(0))),
        }
    }

    /// One pass, as the machine has it.
    fn pass(&mut self) -> bool {
        let busy = self.link.poll(RANG, &mut [&mut self.device]);
        self.link.finish(&mut [&mut self.device], &mut self.bell);
        busy
    }
}

/// A region in which these words are watched.
pub(crate) fn region(words: &[Range<u32>], without: Option<Fence>) -> Region {
    Region::new(REGION_MIN, &[], words, without)
}

pub(crate) fn word(at: u32) -> Range<u32> {
    at..at + 4
}

pub(crate) fn in_window(words: Range<u32>) -> Range<u32> {
    WINDOW + words.start..WINDOW + words.end
}

/// Linux looks at a peer that has just begun to boot.
fn start(without: Option<Fence>) {
    let region = region(
        &[
            link::IDENTITY..link::HEARTBEAT,
            word(link::device_entry(0)),
            in_window(word(reg::MAGIC)),
        ],
        without,
    );
    // An earlier boot.
    region.write32(link::EPOCH, 6);
    let peer = spawn(move || {
        Peer::start(region);
    });
    let kernel = Kernel { region };
    if let Some(identity) = kernel.identity() {
        assert_eq!((identity.epoch, identity.device_count), (7, 1), "{EARLY}");
        let entry = region.read32(link::device_entry(0));
        let magic = region.read32(WINDOW + reg::MAGIC);
        assert_eq!((entry, magic), (WINDOW, 0x7472_6976), "{EARLY}");
    }
    peer.join().unwrap();
}

/// The peer looks for a driver that is about to attach.
fn attach(without: Option<Fence>) {
    let region = region(
        &[
            link::DRIVER_VERSION..link::VECTOR_COUNT,
            word(link::DRIVER_EPOCH_SEEN),
            in_window(word(window::DONE_SEQ)),
            in_window(word(window::DONE_STATUS)),
        ],
        without,
    );
    let mut peer = Peer::start(region);
    // What an earlier driver has left.
    region.write32(link::EPOCH_ACK, peer.link.epoch());
    region.write32(link::DRIVER_VERSION, 0x0001_0000);
    region.write32(WINDOW + window::DONE_STATUS, u32::MAX);
    let kernel = Kernel { region };
    let epoch = peer.link.epoch();
    let peer = spawn(move || {
        for _ in 0..2 {
            peer.pass();
        }
        peer.link.attached()
    });
    kernel.attach(epoch, 0x5eed);
    if kernel.observe(link::DRIVER_EPOCH_SEEN) == 0x5eed {
        let done = region.read32(WINDOW + window::DONE_STATUS);
        assert_eq!(done, Status::Stale as u32, "{EARLY}");
    }
    peer.join().unwrap();
}

/// A peer with a driver, whose words are not watched before.
fn attached(words: &[Range<u32>], without: Option<Fence>) -> (Peer, Kernel) {
    attached_in(region(words, without))
}

fn attached_in(region: Region) -> (Peer, Kernel) {
    let mut peer = Peer::start(region);
    let kernel = Kernel { region };
    kernel.attach(peer.link.epoch(), 1);
    peer.pass();
    assert!(peer.link.attached());
    peer.bell.0.store(0, Ordering::Relaxed);
    (peer, kernel)
}

/// A transaction of two entries while the peer looks for it.
fn transaction(without: Option<Fence>) {
    let (mut peer, kernel) = attached(
        &[
            in_window(window::TXN_SEQ..window::CONFIG_VECTOR),
            in_window(window::txn_entry(0)..window::txn_entry(2)),
            in_window(window::DONE_SEQ..window::DONE_INDEX + 4),
            in_window(word(reg::STATUS)),
        ],
        without,
    );
    let epoch = peer.link.epoch();
    let peer = spawn(move || {
        for _ in 0..2 {
            peer.pass();
        }
        peer
    });
    let entries = [
        Entry::register(reg::STATUS, status::ACKNOWLEDGE),
        Entry::register(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER),
    ];
    let seq = kernel.post(WINDOW, epoch, &entries);
    let answer = kernel.answer(epoch, WINDOW, seq, reg::STATUS);
    let mut peer = peer.join().unwrap();
    peer.pass();
    let answer = answer.or_else(|| kernel.answer(epoch, WINDOW, seq, reg::STATUS));
    let right = (Status::Ok as u32, 2, status::ACKNOWLEDGE | status::DRIVER);
    assert_eq!(answer.unwrap(), right, "{EARLY}");
}

/// Linux notifies twice, of chains that carry other words, while the peer looks.
fn notification(without: Option<Fence>) {
    let (mut peer, kernel) = attached(
        &[
            in_window(word(window::notify_count(0))),
            in_window(word(window::notify_data(0))),
        ],
        without,
    );
    bring_up(&mut peer, &kernel);
    let peer = spawn(move || {
        for _ in 0..2 {
            let before = kicks(&peer).0;
            peer.link.count(&mut [&mut peer.device]);
            let (now, data) = kicks(&peer);
            // The word of the last one counted, or of one that came after it.
            assert!(now == before || data >= now as u32, "{EARLY}");
        }
    });
    for word in 1..3 {
        kernel.kick(WINDOW, word, word);
    }
    peer.join().unwrap();
}

/// The same, by the counter of the device: whoever goes by that finds what was counted before.
fn device_notification(without: Option<Fence>) {
    let words = [
        word(link::device_notify(0)),
        in_window(word(window::notify_count(0))),
    ];
    let region = region(&words, without);
    region.write32(link::DRIVER_FEATURES, link::FEATURE_NOTIFY);
    let (mut peer, kernel) = attached_in(region);
    bring_up(&mut peer, &kernel);
    let peer = spawn(move || {
        let mut told = 0;
        for _ in 0..2 {
            peer.link.poll(TIME, &mut [&mut peer.device]);
            told += u64::from(peer.link.has_missed());
            peer.link.count(&mut [&mut peer.device]);
            assert!(kicks(&peer).0 >= told, "{EARLY}");
        }
    });
    for count in 1..3 {
        kernel.kick(WINDOW, count, 0);
        kernel.notify(count);
    }
    peer.join().unwrap();
}

fn kicks(peer: &Peer) -> (u64, u32) {
    let stats = peer.device.0.stats().next().unwrap();
    (stats.kicks, stats.notify_data)
}

/// Has the queue be ready.
fn bring_up(peer: &mut Peer, kernel: &Kernel) {
    let features = feature::MANDATORY;
    let ok = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
    let at = BASE as u32 + QUEUE;
    let registers = [
        (reg::STATUS, status::ACKNOWLEDGE | status::DRIVER),
        (reg::DRIVER_FEATURES_SEL, 0),
        (reg::DRIVER_FEATURES, features as u32),
        (reg::DRIVER_FEATURES_SEL, 1),
        (reg::DRIVER_FEATURES, (features >> 32) as u32),
        (reg::STATUS, ok),
        (reg::QUEUE_SIZE, 2),
        (reg::QUEUE_DESC_LOW, at),
        (reg::QUEUE_DRIVER_LOW, at + 64),
        (reg::QUEUE_DEVICE_LOW, at + 128),
        (reg::QUEUE_READY, 1),
        (reg::STATUS, ok | status::DRIVER_OK),
    ];
    for (register, value) in registers {
        let seq = kernel.post(
            WINDOW,
            peer.link.epoch(),
            &[Entry::register(register, value)],
        );
        peer.pass();
        let (outcome, ..) = kernel
            .answer(peer.link.epoch(), WINDOW, seq, register)
            .unwrap();
        assert_eq!(outcome, Status::Ok as u32);
    }
}

/// The peer uses a chain while Linux looks at its counters, from the outermost on.
fn event(without: Option<Fence>) {
    let used = QUEUE + 128 + 2;
    let words = [
        word(link::device_event(0)),
        in_window(word(window::queue_event(0))),
    ];
    let region = Region::new(REGION_MIN, &[used..used + 2], &words, without);
    let (mut peer, kernel) = attached_in(region);
    bring_up(&mut peer, &kernel);
    // A chain of one byte.
    region.write32(QUEUE, BASE as u32 + QUEUE);
    region.write32(QUEUE + 8, 1);
    region.write16(QUEUE + 64 + 2, 1);
    let before = region.read32(link::device_event(0));
    let peer = spawn(move || {
        let shared = *peer.link.shared();
        let mut chain = Chain::new();
        assert!(peer.device.0.pop(&shared, 0, &mut chain));
        peer.device.0.push(&shared, 0, &chain, 0);
        peer.pass();
    });
    if kernel.observe(link::device_event(0)) != before {
        let counted = kernel.observe(WINDOW + window::queue_event(0));
        assert_eq!((counted, region.read16(used)), (1, 1), "{EARLY}");
    }
    peer.join().unwrap();
}

/// The configuration changes while Linux copies it.
fn configuration(without: Option<Fence>) {
    let words = [
        in_window(window::CONFIG..window::CONFIG + 8),
        in_window(word(reg::CONFIG_GENERATION)),
    ];
    let (mut peer, kernel) = attached(&words, without);
    let peer = spawn(move || {
        let shared = *peer.link.shared();
        peer.device.0.change_config(&shared, |bytes| bytes.fill(5));
    });
    if let Some((_, [first, second])) = kernel.configuration(WINDOW) {
        assert_eq!(first, second, "{EARLY}");
    }
    peer.join().unwrap();
    let all = Some((2, [0x0505_0505; 2]));
    assert_eq!(kernel.configuration(WINDOW), all, "{EARLY}");
}

/// The peer answers a link test while Linux looks for the answer.
fn link_test(without: Option<Fence>) {
    let words = [word(link::TEST_ACK), word(link::TEST_CAUSE)];
    let (mut peer, kernel) = attached(&words, without);
    let region = kernel.region;
    region.write32(link::TEST_REQUEST, 1);
    let peer = spawn(move || {
        peer.pass();
    });
    if kernel.observe(link::TEST_ACK) == 1 {
        let cause = region.read32(link::TEST_CAUSE);
        assert_eq!(cause, TestCause::Doorbell as u32, "{EARLY}");
    }
    peer.join().unwrap();
}

/// The peer has something to tell while Linux looks because of the ring before.
fn rings(without: Option<Fence>) {
    let (mut peer, kernel) = attached(
        &[
            word(link::RINGS),
            word(link::RINGS_SEEN),
            word(link::device_event(0)),
        ],
        without,
    );
    let epoch = peer.link.epoch();
    let entry = [Entry::register(reg::QUEUE_SEL, 0)];
    kernel.post(WINDOW, epoch, &entry);
    peer.pass();
    let bell = peer.bell.clone();
    assert_eq!(bell.0.load(Ordering::Relaxed), 1);
    bell.0.store(0, Ordering::Relaxed);
    // Linux has been rung, and the next event is about to come.
    kernel.post(WINDOW, epoch, &entry);
    let peer = spawn(move || {
        peer.pass();
    });
    let seen = kernel.look(&Seen::new(0), 0);
    peer.join().unwrap();
    let rung = bell.0.load(Ordering::Relaxed) == 1;
    assert!(rung || seen == 2, "{LOST}");
}

/// Two CPUs look at the same time, while the peer rings. Later one of them looks once more.
fn two_cpus<S: Send + Sync + 'static>(seen: S, acknowledge: fn(&Kernel, &S)) {
    let region = region(&[word(link::RINGS), word(link::RINGS_SEEN)], None);
    region.write32(link::RINGS, 1);
    let kernel = Kernel { region };
    let seen = Arc::new(seen);
    let peer = spawn(move || {
        let mut numbered = 1;
        for _ in 0..2 {
            barrier();
            if region.read32(link::RINGS_SEEN) == numbered {
                numbered += 1;
                region.publish32(link::RINGS, numbered);
            }
        }
    });
    let other = {
        let seen = Arc::clone(&seen);
        spawn(move || {
            for _ in 0..2 {
                acknowledge(&kernel, &seen);
            }
        })
    };
    for _ in 0..2 {
        acknowledge(&kernel, &seen);
    }
    other.join().unwrap();
    peer.join().unwrap();
    acknowledge(&kernel, &seen);
    let at = |word| region.read32(word);
    assert_eq!(at(link::RINGS_SEEN), at(link::RINGS), "{LOST}");
}

#[test]
fn rings_of_two_cpus() {
    explore(|| two_cpus(Seen::new(0), Kernel::acknowledge));
}

#[test]
#[should_panic(expected = "a wake-up is lost")]
fn rings_of_two_cpus_unlocked() {
    explore(|| two_cpus(AtomicU32::new(0), Kernel::acknowledge_unlocked));
}

litmus!(peer_start: start, "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(attachment: attach, "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(transactions: transaction, "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead,
     without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(notifications: notification, "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(device_notifications: device_notification, "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(events: event, "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(configurations: configuration, "seen too early",
    [without_peer_full = PeerFull, without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(link_tests: link_test, "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(merged_rings: rings, "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
