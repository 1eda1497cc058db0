// SPDX-License-Identifier: GPL-2.0

//! The virtqueues of a device.

use super::{
    device::{
        from_virtio,
        Device, //
    },
    map::{
        token,
        RING_ALIGN, //
    },
    transport::{
        Transport,
        QUEUES_MAX, //
    }, //
};
use crate::sys::bindings as sys;
use core::{
    ffi::c_char,
    ptr::NonNull, //
};
use kernel::prelude::*;

/// Notification function of every virtqueue.
///
/// # Safety
///
/// Called by the virtio core with a live virtqueue of a [`Device<T>`].
unsafe extern "C" fn notify<T: Transport>(queue: *mut sys::virtqueue) -> bool {
    // SAFETY: By the function's contract.
    let (device, index) = unsafe { (from_virtio::<T>((*queue).vdev), (*queue).index) };
    device.transport().notify(index)
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
    /// over the limit, `EEXIST` for a queue that was made before and not deleted, `ENOMEM` if no
    /// virtqueue fits into its memory.
    pub(super) fn create_queue(
        &self,
        index: u32,
        request: &Request,
    ) -> Result<NonNull<sys::virtqueue>> {
        if index as usize >= QUEUES_MAX {
            return Err(EINVAL);
        }
        if self.existing().lock().get(index).is_some() {
            return Err(EEXIST);
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
                true, // Barriers between CPUs: the ring is between the core and us.
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
        // INVARIANT: The queue is alive, and only `delete_queue` deletes it.
        self.existing().lock().set(index, Some(queue));
        self.enable_queue(index, queue)
            .inspect_err(|_| self.delete_queue(index, queue))?;
        Ok(queue)
    }

    /// Shows `queue`, which exists, to the device and lets its interrupts through.
    fn enable_queue(&self, index: u32, queue: NonNull<sys::virtqueue>) -> Result {
        // SAFETY: `queue` is a live virtqueue of ours.
        let (address, size) = unsafe {
            let raw = queue.as_ptr();
            (
                sys::virtqueue_get_desc_addr(raw),
                sys::virtqueue_get_vring_size(raw),
            )
        };
        // The device may use buffers as soon as it knows the queue.
        // INVARIANT: The queue is alive, and only `delete_queue` deletes it.
        self.set_gate(index, Some(queue));
        self.transport()
            .queue_enable(index, address, size)
            .inspect_err(|_| self.set_gate(index, None))
    }

    /// Deletes `queue`, which exists.
    fn delete_queue(&self, index: u32, queue: NonNull<sys::virtqueue>) {
        self.set_gate(index, None);
        // Not after a reset only: a driver that did not get all its queues deletes those it got.
        self.transport().queue_disable(index);
        self.existing().lock().set(index, None);
        // SAFETY: It existed, so it is alive; now nobody finds it in a table any more, and whoever
        // did before has released the lock.
        unsafe { sys::vring_del_virtqueue(queue.as_ptr()) };
        self.transport().queue_deleted(index);
    }

    /// Deletes every virtqueue, also those that are not enabled.
    pub(super) fn delete_queues(&self) {
        for index in 0..QUEUES_MAX as u32 {
            // The lock is released before the queue is deleted, which frees memory.
            let queue = self.existing().lock().get(index);
            if let Some(queue) = queue {
                self.delete_queue(index, queue);
            }
        }
    }

    /// Stops one queue and resets it on the device. It exists on, so that it is deleted with the
    /// others even if it is never enabled again.
    ///
    /// # Errors
    ///
    /// `ENOENT` for a queue that is not enabled; those of [`Transport::queue_reset`], after which
    /// the queue is what it was.
    pub(super) fn reset_queue(&self, queue: NonNull<sys::virtqueue>) -> Result {
        // SAFETY: The core calls with a live virtqueue of ours.
        let index = unsafe { (*queue.as_ptr()).index };
        if self.gate(index) != Some(queue) {
            return Err(ENOENT);
        }
        self.transport().queue_reset(index)?;
        self.set_gate(index, None);
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
    /// `EBUSY` for one that was not reset; those of [`Transport::queue_enable`], after which the
    /// queue is broken: drivers get an error for each buffer that they offer.
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
