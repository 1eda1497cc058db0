// SPDX-License-Identifier: GPL-2.0

//! The thread of a link: it follows the peer's life cycle, [`crate::algo::link`], and is the only
//! one that attaches, registers and removes.

use super::{
    attach::Attached,
    Link, //
};
use crate::{
    algo::link::{
        hang_ms,
        Action,
        Cause,
        Link as LifeCycle, //
    },
    thread::Run,
    transport::HvlDevice,
    virtio::Released, //
};
use kernel::{
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Release, //
        },
        Arc, //
    }, //
};

/// After how long a peer is tried again that did not answer when the driver attached, in ms.
const RETRY_MS: u64 = 10_000;

/// Runs the life cycle of a link.
pub(crate) struct Life(pub(crate) Arc<Link>);

impl Run for Life {
    fn run(&self) {
        let link = &self.0;
        let mut cycle = LifeCycle::new();
        let mut devices = KVec::new();
        // What user space still has open of earlier devices must not hold up the next peer's.
        let mut leaving = KVec::new();
        if link.view().state != Some(crate::proto::PeerState::Ready) {
            dev_info!(link.dev(), "waiting for a peer\n");
        }
        while !link.stopping.load(Acquire) {
            match cycle.look(link.view(), link.now_ms()) {
                Action::Attach(epoch) => devices = self.attach(&mut cycle, epoch),
                Action::Detach(cause) => {
                    self.detach(core::mem::take(&mut devices), cause, &mut leaving)
                }
                Action::None => {
                    *link.state.lock() = cycle.name();
                    link.wake.wait_idle(cycle.look_again_ms() as u32);
                    // Whatever doorbell got lost is made up for here.
                    link.look(|_| true);
                    continue;
                }
            }
            *link.state.lock() = cycle.name();
        }
        let attached = link.epoch() != 0;
        link.release(devices, &mut leaving);
        if attached {
            link.depart();
        }
        // The module and the region stay until nobody uses a device any more.
        drop(leaving);
    }

    fn stop(&self) {
        self.0.stopping.store(true, Release);
        self.0.wake.signal();
    }
}

impl Life {
    fn attach(&self, cycle: &mut LifeCycle, epoch: u32) -> KVec<Attached> {
        let link = &self.0;
        match link.attach(epoch) {
            Ok(devices) => {
                let period = link.peer().map_or(0, |peer| peer.identity.heartbeat_ms);
                let silence = hang_ms(period, link.timeout_ms());
                cycle.attached(epoch, link.view().heartbeat, silence, link.now_ms());
                devices
            }
            Err(error) => {
                link.depart();
                // A peer that was held up may answer later; what it wrote will not change.
                let slow = error == ETIMEDOUT || error == ENOMEM;
                cycle.refused(epoch, slow.then(|| link.now_ms() + RETRY_MS));
                KVec::new()
            }
        }
    }

    fn detach(
        &self,
        devices: KVec<Attached>,
        cause: Cause,
        leaving: &mut KVec<Released<HvlDevice>>,
    ) {
        let link = &self.0;
        // From here on every operation on these devices fails at once, and what boots next does not
        // take us for attached.
        link.depart();
        dev_warn!(
            link.dev(),
            "{}, removing its {} devices\n",
            cause.text(),
            devices.len()
        );
        link.release(devices, leaving);
    }
}
