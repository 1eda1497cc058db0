// SPDX-License-Identifier: GPL-2.0

//! The virtqueues of a device.

use super::{
    adapter::notify,
    map::token,
    Device,
    Transport,
    QUEUES_MAX, //
};
use crate::sys;
use core::{
    ffi::c_char,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Alignment of the used ring: the driver's part and the device's part share no line.
const RING_ALIGN: u32 = 64;

/// Where a virtqueue lies, in addresses of the device, and how large it is (VIRTIO 4.2.3.2).
#[derive(Clone, Copy)]
pub(crate) struct QueueAddresses {
    /// Entries.
    pub(crate) size: u32,
    /// Descriptor area.
    pub(crate) desc: u64,
    /// Driver area.
    pub(crate) driver: u64,
    /// Device area.
    pub(crate) device: u64,
}

/// The virtqueues that exist, by index.
///
/// # Invariants
///
/// Each pointer is a virtqueue of the device that `vring_del_virtqueue` was not called for. What
/// looks at one holds the lock around the table.
pub(super) struct Table {
    slots: [Option<NonNull<sys::virtqueue>>; QUEUES_MAX],
}

// SAFETY: Virtqueues are not bound to a CPU; the lock around the table keeps them alive.
unsafe impl Send for Table {}

impl Table {
    pub(super) const fn new() -> Self {
        Self {
            slots: [None; QUEUES_MAX],
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<NonNull<sys::virtqueue>> {
        self.slots.get(index).copied().flatten()
    }

    fn set(&mut self, index: u32, queue: Option<NonNull<sys::virtqueue>>) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = queue;
        }
    }

    pub(super) fn take_any(&mut self) -> Option<(u32, NonNull<sys::virtqueue>)> {
        let index = self.slots.iter().position(Option::is_some)?;
        Some((index as u32, self.slots.get_mut(index)?.take()?))
    }
}

/// What the driver wants of a virtqueue.
pub(super) struct Request {
    pub(super) name: *const c_char,
    pub(super) callback: sys::vq_callback_t,
    pub(super) ctx: bool,
}

impl<T: Transport> Device<T> {
    /// Makes virtqueue `index`, and shows it to the device.
    ///
    /// # Errors
    ///
    /// Those of [`Transport::queue_setup`] and [`Transport::queue_enable`]; `EINVAL` for an index
    /// over the limit, `ENOMEM` if no virtqueue fits into its memory.
    pub(super) fn create_queue(
        &self,
        index: u32,
        request: &Request,
    ) -> Result<NonNull<sys::virtqueue>> {
        if index as usize >= QUEUES_MAX {
            return Err(EINVAL);
        }
        let setup = self.transport().queue_setup(index)?;
        let map = token(&*setup.map);
        self.keep_map(index, setup.map);
        // SAFETY: The device is one of ours; the map's token was just made and the map is kept. The
        // name and callback are the driver's, which outlives its queues.
        let queue = unsafe {
            sys::vring_create_virtqueue_map(
                index,
                setup.size_max,
                RING_ALIGN,
                self.as_raw(),
                false, // Barriers of device strength: VIRTIO_F_ORDER_PLATFORM.
                true,
                request.ctx,
                Some(notify::<T>),
                request.callback,
                request.name,
                map,
            )
        };
        let queue = NonNull::new(queue).ok_or(ENOMEM)?;
        // SAFETY: Just created, not yet known to anybody else.
        unsafe { (*queue.as_ptr()).num_max = setup.size_max };
        if let Err(error) = self.enable_queue(index, queue) {
            // SAFETY: As above; the device has refused it or is out of reach.
            unsafe { sys::vring_del_virtqueue(queue.as_ptr()) };
            self.transport().queue_deleted(index);
            return Err(error);
        }
        Ok(queue)
    }

    /// Shows `queue` to the device and lets its interrupts through.
    fn enable_queue(&self, index: u32, queue: NonNull<sys::virtqueue>) -> Result {
        let raw = queue.as_ptr();
        // SAFETY: `queue` is a live virtqueue of ours.
        let addresses = unsafe {
            QueueAddresses {
                size: sys::virtqueue_get_vring_size(raw),
                desc: sys::virtqueue_get_desc_addr(raw),
                driver: sys::virtqueue_get_avail_addr(raw),
                device: sys::virtqueue_get_used_addr(raw),
            }
        };
        // INVARIANT: The queue is alive, and `delete_queues` removes it from the table first.
        self.queues().lock().set(index, Some(queue));
        self.transport()
            .queue_enable(index, &addresses)
            .inspect_err(|_| self.queues().lock().set(index, None))
    }

    /// Deletes every virtqueue.
    pub(super) fn delete_queues(&self) {
        loop {
            // The lock is released before the queue is deleted: its memory is freed.
            let Some((index, queue)) = self.queues().lock().take_any() else {
                return;
            };
            // SAFETY: It was in the table, so it is alive; now nobody else finds it there.
            unsafe { sys::vring_del_virtqueue(queue.as_ptr()) };
            self.transport().queue_deleted(index);
        }
    }

    /// Stops one queue and resets it on the device.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a queue that is not enabled; those of [`Transport::queue_reset`].
    pub(super) fn reset_queue(&self, queue: NonNull<sys::virtqueue>) -> Result {
        // SAFETY: The core calls with a live virtqueue of ours.
        let index = unsafe { (*queue.as_ptr()).index };
        if self.queues().lock().get(index as usize) != Some(queue) {
            return Err(ENOENT);
        }
        self.transport().queue_reset(index)?;
        self.queues().lock().set(index, None);
        // SAFETY: As above; the core serializes this against other uses of the queue.
        unsafe {
            sys::__virtqueue_break(queue.as_ptr());
            (*queue.as_ptr()).reset = true;
        }
        Ok(())
    }

    /// Enables a queue again after [`Device::reset_queue`].
    ///
    /// # Errors
    ///
    /// `EBUSY` for one that was not reset; those of [`Transport::queue_enable`].
    pub(super) fn restart_queue(&self, queue: NonNull<sys::virtqueue>) -> Result {
        let raw = queue.as_ptr();
        // SAFETY: The core calls with a live virtqueue of ours.
        let (index, was_reset) = unsafe { ((*raw).index, (*raw).reset) };
        if !was_reset {
            return Err(EBUSY);
        }
        // The callback may run as soon as the device knows the queue.
        // SAFETY: As above.
        unsafe { sys::__virtqueue_unbreak(raw) };
        self.enable_queue(index, queue).inspect_err(|_| {
            // SAFETY: As above.
            unsafe { sys::__virtqueue_break(raw) };
        })?;
        // SAFETY: As above.
        unsafe { (*raw).reset = false };
        Ok(())
    }
}
