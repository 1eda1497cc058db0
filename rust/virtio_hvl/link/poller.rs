// SPDX-License-Identifier: GPL-2.0

//! The thread that takes the place of the interrupt where the peer cannot ring: it looks as the handler
//! does, again and again. It has nothing else to do, and waits for nothing but the time.

use super::state::Link;
use crate::{
    algo::poll::{
        Bounds,
        Interval, //
    },
    sys::thread::Run, //
};
use kernel::{
    sync::{
        atomic::{
            Acquire,
            AtomicFlag,
            Release, //
        },
        Arc, //
    }, //
};

/// Looks at what the peer of a link has counted up.
pub(crate) struct Poller {
    link: Arc<Link>,
    bounds: Bounds,
    stopping: AtomicFlag,
}

impl Poller {
    /// What looks at `link`, at intervals within `bounds`.
    pub(crate) fn new(link: Arc<Link>, bounds: Bounds) -> Self {
        Self {
            link,
            bounds,
            stopping: AtomicFlag::new(false),
        }
    }
}

impl Run for Poller {
    fn run(&self) {
        let alarm = &self.link.wire().alarm;
        let mut interval = Interval::new(self.bounds);
        while !self.stopping.load(Acquire) {
            if !alarm.is_armed() {
                // The link's thread finds a peer that comes.
                alarm.sleep();
                interval = Interval::new(self.bounds);
                continue;
            }
            alarm.listen();
            let us = interval.next(self.link.poll());
            if alarm.doze(us, us > self.bounds.min_us()) {
                // Linux has said something: the answer is on its way.
                interval = Interval::new(self.bounds);
            }
        }
    }

    fn stop(&self) {
        self.stopping.store(true, Release);
        self.link.wire().alarm.wake();
    }
}
