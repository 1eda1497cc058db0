// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Chains, on their way to the peer and back: who sees one sees all of it, and its data.

use crate::bench::{litmus, spawn, virtqueue, EARLY};
use hvl_logic::algo::ring::Features;
use hvl_weak::mem::Fence;

const PLAIN: Features = Features {
    packed: false,
    indirect: false,
    in_order: false,
    event_idx: false,
    notification_data: false,
};
const PACKED: Features = Features {
    packed: true,
    ..PLAIN
};
const INDIRECT: Features = Features {
    indirect: true,
    ..PLAIN
};
const PACKED_INDIRECT: Features = Features {
    indirect: true,
    ..PACKED
};
const IN_ORDER: Features = Features {
    in_order: true,
    ..PLAIN
};
const PACKED_IN_ORDER: Features = Features {
    in_order: true,
    ..PACKED
};

/// The driver publishes two chains while the peer looks for them.
fn available(features: Features, without: Option<Fence>) {
    let (mut driver, mut peer) = virtqueue(4, features, 2, without);
    let peer = spawn(move || {
        for _ in 0..2 {
            peer.pop();
        }
        peer
    });
    for _ in 0..2 {
        driver.post(true, features.indirect);
        driver.publish();
    }
    let mut peer = peer.join().unwrap();
    while peer.pop().is_some() {}
    assert_eq!(peer.popped(), 2);
}

/// The peer publishes that it has used two chains while the driver looks for them.
fn used(features: Features, writable: bool, without: Option<Fence>) {
    let (mut driver, mut peer) = virtqueue(2, features, 2, without);
    for _ in 0..2 {
        driver.post(!writable, writable);
    }
    driver.publish();
    let chains = [peer.pop().unwrap(), peer.pop().unwrap()];
    let peer = spawn(move || {
        for (chain, token) in chains.iter().zip(0..) {
            peer.push(chain, token);
            // What nobody has written to goes out as one element (VIRTIO 2.7.9).
            if writable || token == 1 {
                peer.publish();
            }
        }
    });
    for _ in 0..2 {
        driver.take();
    }
    peer.join().unwrap();
    while driver.take() {}
    assert_eq!(driver.taken(), 2, "{EARLY}");
}

/// A ring of one entry goes round: each side waits for the other to be done with it.
fn reuse(features: Features, without: Option<Fence>) {
    let (mut driver, mut peer) = virtqueue(1, features, 2, without);
    driver.post(false, true);
    driver.publish();
    let chain = peer.pop().unwrap();
    let peer = spawn(move || {
        peer.push(&chain, 0);
        peer.publish();
        peer.pop();
        peer
    });
    if driver.take() {
        driver.post(true, false);
        driver.publish();
    }
    let mut peer = peer.join().unwrap();
    while driver.take() {}
    while peer.pop().is_some() {}
    assert_eq!(driver.taken(), 1);
}

litmus!(split_available: |w| available(PLAIN, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(packed_available: |w| available(PACKED, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(split_indirect: |w| available(INDIRECT, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(packed_indirect: |w| available(PACKED_INDIRECT, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_read = PeerRead]);
litmus!(split_used: |w| used(PLAIN, true, w), "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(packed_used: |w| used(PACKED, true, w), "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(split_batch: |w| used(IN_ORDER, false, w), "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(packed_batch: |w| used(PACKED_IN_ORDER, false, w), "seen too early",
    [without_peer_write = PeerWrite, without_driver_read = DriverRead]);
litmus!(split_reuse: |w| reuse(PLAIN, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_write = PeerWrite]);
litmus!(packed_reuse: |w| reuse(PACKED, w), "seen too early",
    [without_driver_write = DriverWrite, without_peer_write = PeerWrite]);
