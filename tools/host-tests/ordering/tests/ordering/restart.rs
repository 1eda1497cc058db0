// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What Linux sees of a peer that boots once more, of which it knows the boot before.

use crate::bench::{litmus, spawn, EARLY};
use crate::kernel::Kernel;
use crate::link::{in_window, params, region, word, Entropy, Peer, WINDOW};
use hvl_logic::proto::layout::{link, window};
use hvl_logic::proto::virtio::reg;
use hvl_weak::link::Link;
use hvl_weak::mem::Fence;

/// A peer boots that was there before, with another heartbeat period, and a device at work. Has answered: the
/// transaction that stands in the window.
fn boot_again(answered: bool, without: Option<Fence>) -> Kernel {
    let region = region(
        &[
            word(link::EPOCH),
            word(HEARTBEAT_PERIOD),
            word(link::PEER_STATE),
            in_window(word(window::DONE_SEQ)),
            in_window(word(reg::STATUS)),
        ],
        without,
    );
    let mut old = params();
    old.heartbeat_ms = OLD_MS;
    Link::start(region, &old, &mut [&mut Entropy::new()]).unwrap();
    assert_eq!(region.read32(link::EPOCH), 1);
    region.write32(WINDOW + window::TXN_SEQ, 5);
    region.write32(WINDOW + window::DONE_SEQ, if answered { 5 } else { 4 });
    region.write32(WINDOW + reg::STATUS, 0xf);
    Kernel { region }
}

/// What both boots do not have in common, and what it was before.
const HEARTBEAT_PERIOD: u32 = link::IDENTITY + 36;
const OLD_MS: u32 = 77;

/// Linux looks at a peer that boots once more: it sees one boot or the other.
fn restart(without: Option<Fence>) {
    let kernel = boot_again(true, without);
    let peer = spawn(move || {
        Peer::start(kernel.region);
    });
    if let Some(identity) = kernel.identity() {
        let period = if identity.epoch == 1 { OLD_MS } else { 100 };
        assert_eq!(identity.heartbeat_ms, period, "{EARLY}");
    }
    peer.join().unwrap();
}

/// Linux looks for an answer of a peer that boots once more. What this one takes for answered is not.
fn restart_answer(answered: bool, without: Option<Fence>) {
    let kernel = boot_again(answered, without);
    let peer = spawn(move || {
        Peer::start(kernel.region);
    });
    if let Some((_, _, status)) = kernel.answer(1, WINDOW, 5, reg::STATUS) {
        assert_eq!((answered, status), (true, 0xf), "{EARLY}");
    }
    peer.join().unwrap();
}

litmus!(restarts: restart, "seen too early",
    [without_peer_full = PeerFull, without_driver_read = DriverRead]);
litmus!(answers: |without| restart_answer(true, without), "seen too early",
    [without_peer_full = PeerFull, without_driver_read = DriverRead]);
litmus!(no_answers: |without| restart_answer(false, without), "seen too early",
    [without_driver_read = DriverRead]);
