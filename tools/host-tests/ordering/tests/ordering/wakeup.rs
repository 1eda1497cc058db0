// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Who says "wake me" and then looks, and who writes and then asks "shall I wake?": at least one
//! of them sees the other's write.

use crate::bench::{litmus, spawn, virtqueue, LOST};
use hvl_logic::algo::ring::Features;
use hvl_weak::mem::Fence;

const FLAGS: Features = Features {
    packed: false,
    indirect: false,
    in_order: false,
    event_idx: false,
    notification_data: false,
};
const EVENT: Features = Features {
    event_idx: true,
    ..FLAGS
};
const PACKED_FLAGS: Features = Features {
    packed: true,
    ..FLAGS
};
const PACKED_EVENT: Features = Features {
    event_idx: true,
    ..PACKED_FLAGS
};

/// What one side does before it sleeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// It looks once more after it has said that it wants to be woken.
    Looks,
    /// It sleeps, since there was nothing before.
    Trusts,
}

/// The driver publishes a second chain while the peer, who has handled the first, goes to sleep.
fn peer_sleeps(features: Features, care: Care, without: Option<Fence>) {
    let (mut driver, mut peer) = virtqueue(4, features, 2, without);
    driver.post(true, false);
    driver.publish();
    peer.queue.quieten(&peer.region);
    peer.pop().unwrap();
    let peer = spawn(move || {
        // The event index says what was missed: it is behind what was published.
        let known = care == Care::Trusts && peer.pop().is_some();
        let found = peer.queue.listen(&peer.region, 1).unwrap();
        known || (care == Care::Looks && found)
    });
    driver.post(true, false);
    let rung = driver.publish();
    let awake = peer.join().unwrap();
    assert!(rung || awake, "{LOST}");
}

/// The peer uses a second chain while the driver, who has taken the first, goes to sleep.
fn driver_sleeps(features: Features, care: Care, without: Option<Fence>) {
    let (mut driver, mut peer) = virtqueue(4, features, 2, without);
    driver.post(true, true);
    driver.post(true, true);
    driver.publish();
    driver.ring.quieten(&driver.memory);
    let chains = [peer.pop().unwrap(), peer.pop().unwrap()];
    peer.push(&chains[0], 0);
    peer.publish();
    assert!(driver.take());
    let peer = spawn(move || {
        peer.push(&chains[1], 1);
        peer.publish()
    });
    let known = care == Care::Trusts && driver.take();
    let found = driver.ring.listen(&driver.memory);
    let awake = known || (care == Care::Looks && found);
    let rung = peer.join().unwrap();
    assert!(rung || awake, "{LOST}");
}

/// Sleeping without a last look loses wake-ups, all barriers or not.
macro_rules! careless {
    ($($name:ident: $model:expr;)*) => {
        $(
            #[test]
            #[should_panic(expected = "a wake-up is lost")]
            fn $name() {
                crate::bench::explore(|| $model);
            }
        )*
    };
}

litmus!(peer_flags: |w| peer_sleeps(FLAGS, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(peer_event: |w| peer_sleeps(EVENT, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(peer_packed_flags: |w| peer_sleeps(PACKED_FLAGS, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(peer_packed_event: |w| peer_sleeps(PACKED_EVENT, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(driver_flags: |w| driver_sleeps(FLAGS, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(driver_event: |w| driver_sleeps(EVENT, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(driver_packed_flags: |w| driver_sleeps(PACKED_FLAGS, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);
litmus!(driver_packed_event: |w| driver_sleeps(PACKED_EVENT, Care::Looks, w), "a wake-up is lost",
    [without_driver_full = DriverFull, without_peer_full = PeerFull]);

careless! {
    peer_does_not_look: peer_sleeps(EVENT, Care::Trusts, None);
    packed_peer_does_not_look: peer_sleeps(PACKED_FLAGS, Care::Trusts, None);
    driver_does_not_look: driver_sleeps(FLAGS, Care::Trusts, None);
    packed_driver_does_not_look: driver_sleeps(PACKED_EVENT, Care::Trusts, None);
}
