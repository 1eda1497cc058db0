// SPDX-License-Identifier: GPL-2.0

//! C callbacks for the memory of virtqueues, `struct virtio_map_ops`: each a translation of its
//! arguments.

use super::{
    device::from_virtio,
    map::{
        CpuBuffer,
        Direction,
        Map, //
    },
    transport::Transport, //
};
use crate::sys::bindings as sys;
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    },
};
use kernel::{
    bindings,
    ffi::{
        c_int,
        c_ulong,
        c_void, //
    },
    prelude::*, //
};

/// An address that no mapping has: `DMA_MAPPING_ERROR` of `linux/dma-mapping.h`.
const MAPPING_ERROR: u64 = u64::MAX;

/// Bridges [`Map`] to the C `virtio_map_ops`.
///
/// The token that C code hands around is a pointer to the queue's `T::Map`, which
/// [`super::Device`] keeps alive for as long as itself.
pub(super) struct MapAdapter<T: Transport>(PhantomData<T>);

impl<T: Transport> MapAdapter<T> {
    /// The C table.
    pub(super) const VTABLE: sys::virtio_map_ops = {
        let mut ops: sys::virtio_map_ops = pin_init::zeroed();

        ops.map_page = Some(Self::map_page);
        ops.unmap_page = Some(Self::unmap_page);
        ops.sync_single_for_cpu = Some(Self::sync_for_cpu);
        ops.sync_single_for_device = Some(Self::sync_for_device);
        ops.alloc = Some(Self::alloc);
        ops.free = Some(Self::free);
        ops.need_sync = Some(Self::need_sync);
        ops.mapping_error = Some(Self::mapping_error);
        ops.max_mapping_size = Some(Self::max_mapping_size);
        ops
    };

    /// # Safety
    ///
    /// `map` is a token made by [`token`] from a `T::Map` that is still alive.
    unsafe fn target<'a>(map: sys::virtio_map) -> &'a T::Map {
        // SAFETY: By the function's contract; every member of the union is a pointer.
        unsafe { &*map.dma_dev.cast::<T::Map>() }
    }

    fn copies(attrs: c_ulong) -> bool {
        attrs & bindings::DMA_ATTR_SKIP_CPU_SYNC as c_ulong == 0
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours and a buffer of its own.
    unsafe extern "C" fn map_page(
        map: sys::virtio_map,
        page: *mut bindings::page,
        offset: c_ulong,
        size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    ) -> bindings::dma_addr_t {
        // SAFETY: `page` is a page of the kernel's by the function's contract.
        let base = unsafe { sys::hvl_page_address(page) }.cast::<u8>();
        let Some(base) = NonNull::new(base.wrapping_add(offset)) else {
            return MAPPING_ERROR;
        };
        // INVARIANT: The core gives the buffer to the device until it calls `unmap_page`.
        let buffer = CpuBuffer { base, len: size };
        // SAFETY: The token is ours by the function's contract.
        unsafe { Self::target(map) }
            .map(buffer, Direction::from_raw(direction), Self::copies(attrs))
            .unwrap_or(MAPPING_ERROR)
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours.
    unsafe extern "C" fn unmap_page(
        map: sys::virtio_map,
        address: bindings::dma_addr_t,
        _size: usize,
        direction: bindings::dma_data_direction,
        attrs: c_ulong,
    ) {
        // SAFETY: The token is ours by the function's contract.
        let map = unsafe { Self::target(map) };
        map.unmap(address, Direction::from_raw(direction), Self::copies(attrs));
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours.
    unsafe extern "C" fn sync_for_cpu(
        map: sys::virtio_map,
        address: bindings::dma_addr_t,
        size: usize,
        direction: bindings::dma_data_direction,
    ) {
        if Direction::from_raw(direction).device_writes() {
            // SAFETY: The token is ours by the function's contract.
            unsafe { Self::target(map) }.sync_for_cpu(address, size);
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours.
    unsafe extern "C" fn sync_for_device(
        map: sys::virtio_map,
        address: bindings::dma_addr_t,
        size: usize,
        _direction: bindings::dma_data_direction,
    ) {
        // SAFETY: The token is ours by the function's contract.
        unsafe { Self::target(map) }.sync_for_device(address, size);
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours and room for the address.
    unsafe extern "C" fn alloc(
        map: sys::virtio_map,
        size: usize,
        address: *mut bindings::dma_addr_t,
        _gfp: bindings::gfp_t,
    ) -> *mut c_void {
        // SAFETY: The token is ours by the function's contract.
        match unsafe { Self::target(map) }.alloc(size) {
            Some((base, handle)) => {
                // SAFETY: `address` is valid for writes by the function's contract.
                unsafe { address.write(handle) };
                base.as_ptr().cast()
            }
            None => ptr::null_mut(),
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours.
    unsafe extern "C" fn free(
        map: sys::virtio_map,
        _size: usize,
        _base: *mut c_void,
        address: bindings::dma_addr_t,
        _attrs: c_ulong,
    ) {
        // SAFETY: The token is ours by the function's contract.
        unsafe { Self::target(map) }.free(address);
    }

    /// # Safety
    ///
    /// Called by the virtio core with a token of ours.
    unsafe extern "C" fn need_sync(map: sys::virtio_map, _address: bindings::dma_addr_t) -> bool {
        // SAFETY: The token is ours by the function's contract.
        unsafe { Self::target(map) }.needs_sync()
    }

    extern "C" fn mapping_error(_map: sys::virtio_map, address: bindings::dma_addr_t) -> c_int {
        if address == MAPPING_ERROR {
            ENOMEM.to_errno()
        } else {
            0
        }
    }

    /// # Safety
    ///
    /// Called by the virtio core with the `vmap` of one of our devices.
    unsafe extern "C" fn max_mapping_size(map: sys::virtio_map) -> usize {
        // SAFETY: `vmap` points to the device itself, see `Registration::new`.
        unsafe { from_virtio::<T>(map.dma_dev.cast()) }
            .transport()
            .mapping_max()
    }
}
