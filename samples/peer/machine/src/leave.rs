// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The ways out: after a request to stop, and after a fault of our own.

use crate::cell::Shared;
use crate::cpu;
use crate::gic::{Quiet, Ringer};
use hvl_device::device::Doorbell;
use hvl_device::mem::Region;
use hvl_device::proto::layout::link;
use hvl_device::proto::PeerState;

/// What the way out needs, known as soon as it exists.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    /// Firmware is called by HVC.
    pub(crate) hvc: bool,
    pub(crate) region: Option<Region>,
    pub(crate) ringer: Option<Ringer>,
    pub(crate) quiet: Option<Quiet>,
}

static WAY: Shared<Way> = Shared::new(Way {
    hvc: true,
    region: None,
    ringer: None,
    quiet: None,
});

/// Sets what the way out needs.
pub(crate) fn prepare(way: Way) {
    WAY.set(way);
}

/// Takes a part of the way for its one use: if that faults, the way out begins anew, and goes on
/// with what is left of it.
fn once<T>(part: fn(&mut Way) -> &mut Option<T>) -> Option<T> {
    let mut way = WAY.get();
    let taken = part(&mut way).take();
    WAY.set(way);
    taken
}

/// Turns the core off, with nothing left that could interrupt it under its next owner.
pub(crate) fn off() -> ! {
    cpu::mask_interrupts();
    if let Some(quiet) = once(|way| &mut way.quiet) {
        quiet.silence();
    }
    cpu::turn_off(WAY.get().hvc)
}

/// Fails the link and turns the core off.
pub(crate) fn failed() -> ! {
    if let Some(region) = once(|way| &mut way.region) {
        region.publish32(link::PEER_STATE, PeerState::Failed as u32);
        if let Some(mut ringer) = once(|way| &mut way.ringer) {
            ringer.ring();
        }
    }
    off()
}
