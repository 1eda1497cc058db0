// SPDX-License-Identifier: GPL-2.0

//! Tables of a device's virtqueues.

use super::transport::QUEUES_MAX;
use crate::sys::bindings as sys;
use core::ptr::NonNull;

/// Virtqueues by index.
///
/// # Invariants
///
/// Each pointer is a virtqueue of the device that is taken out of the table, under the lock around
/// it, before it is deleted. So whoever finds a queue may use it until the lock is released.
pub(super) struct Table {
    slots: [Option<NonNull<sys::virtqueue>>; QUEUES_MAX],
    /// There was never one from here on: an interrupt looks at no more places than there are queues.
    end: usize,
}

// SAFETY: Virtqueues are not bound to a CPU; the lock around the table keeps them alive.
unsafe impl Send for Table {}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            slots: [None; QUEUES_MAX],
            end: 0,
        }
    }

    pub(super) fn get(&self, index: u32) -> Option<NonNull<sys::virtqueue>> {
        self.slots.get(index as usize).copied().flatten()
    }

    pub(super) fn set(&mut self, index: u32, queue: Option<NonNull<sys::virtqueue>>) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = queue;
            if queue.is_some() {
                self.end = self.end.max(index as usize + 1);
            }
        }
    }

    /// The queues and their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, NonNull<sys::virtqueue>)> + '_ {
        let queues = self.slots.iter().take(self.end).enumerate();
        queues.filter_map(|(index, slot)| Some((index, (*slot)?)))
    }
}

/// A virtqueue that the device uses, on its way to the driver.
///
/// The lock around it is held while the queue's callback runs, and each queue has its own: callbacks of
/// different queues run at the same time. A callback may wait for as long as a driver on another CPU does:
/// virtio_console's waits for a lock that others hold until the device has taken their buffer, or the
/// queue is broken. So what breaks queues must not need this lock, and the table of all queues that exist
/// has one of its own. Nobody holds two of them.
///
/// # Invariants
///
/// The pointer is a virtqueue that is taken out, under the lock, before it is deleted.
pub(super) struct Gate(pub(super) Option<NonNull<sys::virtqueue>>);

// SAFETY: As for `Table`.
unsafe impl Send for Gate {}
