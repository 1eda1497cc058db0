// SPDX-License-Identifier: GPL-2.0

//! C callbacks of the virtio core, each a translation of its arguments.

use super::{
    device::{
        from_virtio,
        Device, //
    },
    queue::Request,
    transport::{
        Spread,
        Transport,
        Wanted, //
    }, //
};
use crate::sys::bindings as sys;
use core::{
    marker::PhantomData,
    ptr::NonNull,
    slice, //
};
use kernel::{
    bindings,
    container_of,
    cpumask::Cpumask,
    device,
    error::from_result,
    ffi::{
        c_char,
        c_int,
        c_uint,
        c_void, //
    },
    prelude::*,
    sync::ArcBorrow, //
};

/// Bridges [`Transport`] to the C `virtio_config_ops`.
pub(super) struct Adapter<T: Transport>(PhantomData<T>);

impl<T: Transport> Adapter<T> {
    /// The C table.
    pub(super) const VTABLE: sys::virtio_config_ops = {
        let mut ops: sys::virtio_config_ops = pin_init::zeroed();

        ops.get = Some(Self::get);
        ops.set = Some(Self::set);
        ops.generation = Some(Self::generation);
        ops.get_status = Some(Self::get_status);
        ops.set_status = Some(Self::set_status);
        ops.reset = Some(Self::reset);
        ops.find_vqs = Some(Self::find_vqs);
        ops.del_vqs = Some(Self::del_vqs);
        ops.synchronize_cbs = Some(Self::synchronize_cbs);
        ops.set_vq_affinity = Some(Self::set_vq_affinity);
        ops.get_vq_affinity = Some(Self::get_vq_affinity);
        ops.get_features = Some(Self::get_features);
        ops.finalize_features = Some(Self::finalize_features);
        ops.bus_name = Some(Self::bus_name);
        ops.get_shm_region = Some(Self::get_shm_region);
        ops.disable_vq_and_reset = Some(Self::disable_vq_and_reset);
        ops.enable_vq_after_reset = Some(Self::enable_vq_after_reset);
        ops
    };

    /// # Safety
    ///
    /// Called by the driver core with the `dev` of a [`Device<T>`] when its last user is gone.
    pub(super) unsafe extern "C" fn release(dev: *mut bindings::device) {
        // SAFETY: `dev` is embedded in a `struct virtio_device` by the function's contract.
        let vdev = unsafe { container_of!(dev, sys::virtio_device, dev) };
        // SAFETY: `Released` holds the device until it sees the event.
        unsafe { from_virtio::<T>(vdev) }.set_released();
    }

    /// # Safety
    ///
    /// Called by the virtio core with a registered device and `len` bytes of room.
    unsafe extern "C" fn get(
        vdev: *mut sys::virtio_device,
        offset: c_uint,
        data: *mut c_void,
        len: c_uint,
    ) {
        let data = data.cast::<u8>();
        // The core passes a variable that was never written, and there may be no slice of bytes
        // that are not initialized. A field is a few bytes, so this costs nothing.
        // SAFETY: There is room for `len` bytes by the function's contract.
        unsafe { data.write_bytes(0, len as usize) };
        // SAFETY: By the function's contract; initialized above.
        let (device, data) = unsafe {
            (
                from_virtio::<T>(vdev),
                slice::from_raw_parts_mut(data, len as usize),
            )
        };
        device.transport().config_read(offset, data);
    }

    /// # Safety
    ///
    /// Called by the virtio core with a registered device and `len` bytes of data.
    unsafe extern "C" fn set(
        vdev: *mut sys::virtio_device,
        offset: c_uint,
        data: *const c_void,
        len: c_uint,
    ) {
        // SAFETY: By the function's contract.
        let (device, data) = unsafe {
            (
                from_virtio::<T>(vdev),
                slice::from_raw_parts(data.cast::<u8>(), len as usize),
            )
        };
        device.transport().config_write(offset, data);
    }

    /// # Safety
    ///
    /// Called by the virtio core with a registered device; so are those that follow.
    unsafe extern "C" fn generation(vdev: *mut sys::virtio_device) -> u32 {
        // SAFETY: By the function's contract.
        unsafe { from_virtio::<T>(vdev) }
            .transport()
            .config_generation()
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn get_status(vdev: *mut sys::virtio_device) -> u8 {
        // SAFETY: By the function's contract.
        unsafe { from_virtio::<T>(vdev) }.transport().status()
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn set_status(vdev: *mut sys::virtio_device, status: u8) {
        // SAFETY: By the function's contract.
        let device = unsafe { from_virtio::<T>(vdev) };
        if u32::from(status) & sys::VIRTIO_CONFIG_S_DRIVER_OK != 0 {
            // Buffers may be used as soon as the device sees this.
            device.set_live(true);
        }
        device.transport().set_status(status);
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn reset(vdev: *mut sys::virtio_device) {
        // SAFETY: By the function's contract.
        let device = unsafe { from_virtio::<T>(vdev) };
        // First: what a callback may still look at is given up when this function returns.
        device.set_live(false);
        device.transport().reset();
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`]; `vqs` and `infos` have `count` elements.
    unsafe extern "C" fn find_vqs(
        vdev: *mut sys::virtio_device,
        count: c_uint,
        vqs: *mut *mut sys::virtqueue,
        infos: *mut sys::virtqueue_info,
        affinity: *mut sys::irq_affinity,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let device = unsafe { from_virtio::<T>(vdev) };
        let mut index = 0;
        from_result(|| {
            // SAFETY: By the function's contract.
            unsafe { Self::request_interrupts(device, count, infos, affinity) }
                .inspect_err(|_| device.transport().release_interrupts())?;
            for i in 0..count as usize {
                // SAFETY: `i` is an element of both by the function's contract.
                let (slot, info) = unsafe { (vqs.add(i), &*infos.add(i)) };
                let queue = if info.name.is_null() {
                    core::ptr::null_mut()
                } else {
                    let request = Request {
                        name: info.name.cast(),
                        callback: info.callback,
                        ctx: info.ctx,
                    };
                    let queue = device.create_queue(index, &request).inspect_err(|_| {
                        device.delete_queues();
                        device.transport().release_interrupts();
                    })?;
                    index += 1;
                    queue.as_ptr()
                };
                // SAFETY: As above.
                unsafe { slot.write(queue) };
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn del_vqs(vdev: *mut sys::virtio_device) {
        // SAFETY: By the function's contract.
        let device = unsafe { from_virtio::<T>(vdev) };
        device.delete_queues();
        device.transport().release_interrupts();
    }

    /// # Safety
    ///
    /// `infos` has `count` elements that are as the virtio core hands them over, and lives through the call;
    /// `affinity` is null or what a driver hands over.
    unsafe fn request_interrupts(
        device: &Device<T>,
        count: c_uint,
        infos: *const sys::virtqueue_info,
        affinity: *const sys::irq_affinity,
    ) -> Result {
        let mut wanted = KVec::with_capacity(count as usize, GFP_KERNEL)?;
        for i in 0..count as usize {
            // SAFETY: `i` is an element by the function's contract.
            let info = unsafe { &*infos.add(i) };
            if !info.name.is_null() {
                let queue = Wanted {
                    // SAFETY: The name is a C string of the driver's, which outlives its queues.
                    name: unsafe { CStr::from_char_ptr(info.name.cast()) },
                    callback: info.callback.is_some(),
                };
                wanted.push(queue, GFP_KERNEL)?;
            }
        }
        // SAFETY: By the function's contract.
        let spread = unsafe { affinity.as_ref() }.map(|affinity| Spread {
            before: affinity.pre_vectors as usize,
            after: affinity.post_vectors as usize,
        });
        // SAFETY: The device is registered, so by its invariants it is inside an `Arc` that outlives this.
        let shared = unsafe { ArcBorrow::from_raw(core::ptr::from_ref(device)) };
        // SAFETY: `dev` is the device of a registered virtio device.
        let dev = unsafe { <device::Device>::from_raw(&raw mut (*device.as_raw()).dev) };
        device
            .transport()
            .request_interrupts(&shared.into(), dev.name(), &wanted, spread)
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live virtqueue of a [`Device<T>`]; `cpus` is null or valid.
    unsafe extern "C" fn set_vq_affinity(
        queue: *mut sys::virtqueue,
        cpus: *const bindings::cpumask,
    ) -> c_int {
        // SAFETY: By the function's contract.
        let (device, index, callback) = unsafe {
            let queue = &*queue;
            (from_virtio::<T>(queue.vdev), queue.index, queue.callback)
        };
        from_result(|| {
            if callback.is_none() {
                return Err(EINVAL);
            }
            // SAFETY: By the function's contract.
            let cpus = (!cpus.is_null()).then(|| unsafe { Cpumask::from_raw(cpus) });
            device.transport().set_queue_affinity(index, cpus)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn get_vq_affinity(
        vdev: *mut sys::virtio_device,
        index: c_int,
    ) -> *const bindings::cpumask {
        // SAFETY: By the function's contract.
        let transport = unsafe { from_virtio::<T>(vdev) }.transport();
        let index = u32::try_from(index).ok();
        let mask = index.and_then(|index| transport.queue_affinity(index));
        mask.unwrap_or(core::ptr::null())
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn synchronize_cbs(vdev: *mut sys::virtio_device) {
        // SAFETY: By the function's contract.
        unsafe { from_virtio::<T>(vdev) }.synchronize();
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn get_features(vdev: *mut sys::virtio_device) -> u64 {
        // SAFETY: By the function's contract.
        unsafe { from_virtio::<T>(vdev) }.transport().features()
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn finalize_features(vdev: *mut sys::virtio_device) -> c_int {
        // The ring code drops what it does not implement itself, queue reset among it, which is
        // the transport's.
        const OWN: u64 = 1 << sys::VIRTIO_F_RING_RESET;

        // SAFETY: By the function's contract.
        let device = unsafe { from_virtio::<T>(vdev) };
        let own = device.features() & OWN;
        // SAFETY: By the function's contract.
        unsafe { sys::vring_transport_features(vdev) };
        device.add_features(own);
        from_result(|| {
            device.transport().finalize_features(device.features())?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`].
    unsafe extern "C" fn bus_name(vdev: *mut sys::virtio_device) -> *const c_char {
        // SAFETY: By the function's contract.
        unsafe { from_virtio::<T>(vdev) }
            .transport()
            .bus_name()
            .as_char_ptr()
    }

    /// # Safety
    ///
    /// See [`Adapter::generation`]; there is room for the region.
    unsafe extern "C" fn get_shm_region(
        vdev: *mut sys::virtio_device,
        region: *mut sys::virtio_shm_region,
        id: u8,
    ) -> bool {
        // SAFETY: By the function's contract.
        match unsafe { from_virtio::<T>(vdev) }.transport().shm_region(id) {
            Some(found) => {
                // SAFETY: By the function's contract.
                unsafe {
                    (*region).addr = found.start;
                    (*region).len = found.len;
                }
                true
            }
            None => false,
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core with a live virtqueue of a [`Device<T>`].
    unsafe extern "C" fn disable_vq_and_reset(queue: *mut sys::virtqueue) -> c_int {
        from_result(|| {
            let queue = NonNull::new(queue).ok_or(EINVAL)?;
            // SAFETY: By the function's contract.
            unsafe { from_virtio::<T>((*queue.as_ptr()).vdev) }.reset_queue(queue)?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// See [`Adapter::disable_vq_and_reset`].
    unsafe extern "C" fn enable_vq_after_reset(queue: *mut sys::virtqueue) -> c_int {
        from_result(|| {
            let queue = NonNull::new(queue).ok_or(EINVAL)?;
            // SAFETY: By the function's contract.
            unsafe { from_virtio::<T>((*queue.as_ptr()).vdev) }.restart_queue(queue)?;
            Ok(0)
        })
    }
}
