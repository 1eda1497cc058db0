// SPDX-License-Identifier: GPL-2.0

//! From the registration of a device to the end of its last user.

use super::{
    adapter::Adapter,
    device::Device,
    map_ops::MapAdapter,
    transport::Transport, //
};
use crate::sys::bindings as sys;
use kernel::{
    bindings,
    device,
    error::to_result,
    prelude::*,
    sync::{
        atomic::{
            Relaxed,
            Release, //
        },
        Arc, //
    }, //
};

/// A registered device. Dropping it unregisters the device, and waits until the last user has let
/// go of it; [`Registration::unregister`] separates the two.
pub(crate) struct Registration<T: Transport> {
    // Field order is drop order.
    registered: Registered<T>,
    released: Released<T>,
}

impl<T: Transport> Registration<T> {
    /// Registers `device` as a child of `parent`. A device can be registered once.
    ///
    /// The driver's probe function has usually run when this returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` for a device that is or was registered, or failed to be. Those of
    /// `register_virtio_device`, such as `ENOMEM`.
    pub(crate) fn new(
        device: Arc<Device<T>>,
        parent: &device::Device<device::Bound>,
    ) -> Result<Self> {
        if device.claimed.xchg(true, Relaxed) {
            return Err(EBUSY);
        }
        let id = device.transport.id();
        let raw = device.as_raw();
        // SAFETY: The device is not registered and only we claimed it, so nobody else looks at its
        // fields and they can be set. `parent` is `repr(transparent)` over `struct device`. The
        // tables are constants. `vmap` is looked at by `max_mapping_size` only.
        unsafe {
            (*raw).dev.parent = core::ptr::from_ref(parent).cast_mut().cast();
            (*raw).dev.release = Some(Adapter::<T>::release);
            (*raw).id.device = id.device;
            (*raw).id.vendor = id.vendor;
            (*raw).config = &Adapter::<T>::VTABLE;
            (*raw).map = &MapAdapter::<T>::VTABLE;
            (*raw).vmap.dma_dev = raw.cast();
        }
        // SAFETY: The parent is a device of its own for this one, whose driver is not there yet.
        unsafe { sys::hvl_private_dma((*raw).dev.parent) };
        // SAFETY: All that the core looks at was set above.
        let result = to_result(unsafe { sys::register_virtio_device(raw) });
        // INVARIANT: In both cases the core has initialized the device's reference count.
        let released = Released {
            device: device.clone(),
        };
        if let Err(error) = result {
            // SAFETY: After a failure the reference of `device_initialize` is ours to give back.
            unsafe { bindings::put_device(&raw mut (*raw).dev) };
            return Err(error);
        }
        device.registered.store(true, Release);
        // INVARIANT: The registration succeeded.
        Ok(Self {
            registered: Registered { device },
            released,
        })
    }

    /// Unregisters the device: its driver is gone when this returns. Who holds on to it still, such
    /// as user space that has a file of the driver's open, is waited for by the result.
    pub(crate) fn unregister(self) -> Released<T> {
        let Self {
            registered,
            released,
        } = self;
        drop(registered);
        released
    }
}

/// The registered state; ends when dropped.
///
/// # Invariants
///
/// `device` is registered with the virtio core.
struct Registered<T: Transport> {
    device: Arc<Device<T>>,
}

impl<T: Transport> Drop for Registered<T> {
    fn drop(&mut self) {
        self.device.registered.store(false, Relaxed);
        // SAFETY: Registered by the type invariant, which ends here.
        unsafe { sys::unregister_virtio_device(self.device.as_raw()) };
        // A driver that leaves its queues behind: their handlers hold the device, too.
        self.device.transport.release_interrupts();
    }
}

/// A device that is registered no more, and that may still have users inside the kernel. Dropping
/// it waits until they have let go of it: for as long as user space likes, but never on the device.
///
/// # Invariants
///
/// The reference count of `device` was initialized, and what `Registration::new` held of it is
/// given back before `self` is dropped.
pub(crate) struct Released<T: Transport> {
    device: Arc<Device<T>>,
}

impl<T: Transport> Drop for Released<T> {
    fn drop(&mut self) {
        // The release function is code of this module and uses the device, so both stay until it
        // ran.
        self.device.released.wait_for_completion();
    }
}
