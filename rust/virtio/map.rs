// SPDX-License-Identifier: GPL-2.0

//! Where virtqueues and buffers lie.

use crate::sys::{
    bindings as sys,
    series::dma_data_direction, //
};
use core::ptr::{
    self,
    NonNull, //
};
use kernel::bindings;

/// Alignment of a ring, and of its used ring, in bytes.
pub(crate) const RING_ALIGN: u32 = 64;

/// Memory of the kernel's that is mapped for a device.
///
/// # Invariants
///
/// Until the mapping is undone, `base` is valid for reads of `len` bytes, and for writes if the
/// direction of the mapping says that the device writes. User space or the device's driver may
/// access the same bytes at any time.
#[derive(Clone, Copy)]
pub(crate) struct CpuBuffer {
    pub(super) base: NonNull<u8>,
    pub(super) len: usize,
}

// SAFETY: It is the kernel's memory, valid on each CPU.
unsafe impl Send for CpuBuffer {}

impl CpuBuffer {
    /// Its first byte, and how many there are.
    pub(crate) fn into_parts(self) -> (NonNull<u8>, usize) {
        (self.base, self.len)
    }
}

/// Who writes a mapped buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// The driver writes, the device reads.
    ToDevice,
    /// The device writes, the driver reads.
    FromDevice,
    /// Both do both.
    Both,
}

impl Direction {
    pub(super) fn from_raw(raw: bindings::dma_data_direction) -> Self {
        match raw {
            dma_data_direction::DMA_TO_DEVICE => Self::ToDevice,
            dma_data_direction::DMA_FROM_DEVICE => Self::FromDevice,
            _ => Self::Both,
        }
    }

    /// As C has it.
    pub(crate) fn as_raw(self) -> bindings::dma_data_direction {
        match self {
            Self::ToDevice => dma_data_direction::DMA_TO_DEVICE,
            Self::FromDevice => dma_data_direction::DMA_FROM_DEVICE,
            Self::Both => dma_data_direction::DMA_BIDIRECTIONAL,
        }
    }

    /// Whether the device's data comes to the driver.
    pub(crate) fn device_writes(self) -> bool {
        self != Self::ToDevice
    }
}

/// The memory of one virtqueue. Every function runs in any context, hard interrupt included, but
/// for [`Map::alloc`] and [`Map::free`], which may sleep.
///
/// Addresses are whatever the implementation makes of them: they stand on the virtio core's ring,
/// and an offset may be added to one inside of its mapping.
///
/// # Safety
///
/// C code uses what [`Map::alloc`] returns as a ring. It must begin at a multiple of [`RING_ALIGN`], be
/// zeroed and valid for reads and writes of `size` bytes, and have nothing in it that Rust has a
/// reference to, until it is given to [`Map::free`] or the map is dropped. The virtio core believes
/// what it finds there: nobody else may write it but as a device that keeps every rule.
///
/// A [`CpuBuffer`] must not be used after its mapping was undone, or the queue was deleted.
pub(crate) unsafe trait Map: Send + Sync + 'static {
    /// Maps `buffer`. What is in it is looked at when the driver has notified the device of it; without
    /// `sync`, the driver calls [`Map::sync_for_device`] before. `None`: there is no room now.
    fn map(&self, buffer: CpuBuffer, direction: Direction, sync: bool) -> Option<u64>;

    /// Undoes the mapping at `address`. With `copy`, what the device wrote is in the buffer then,
    /// and what it did not write is as it was.
    fn unmap(&self, address: u64, direction: Direction, copy: bool);

    /// Makes what the device wrote at `address`, inside a mapping, visible to the CPU.
    fn sync_for_cpu(&self, address: u64, size: usize);

    /// Makes what the CPU wrote at `address`, inside a mapping, visible to the device.
    fn sync_for_device(&self, address: u64, size: usize);

    /// Whether these two do anything.
    fn needs_sync(&self) -> bool;

    /// Allocates `size` bytes for a ring: where the CPU sees them, and their address. `None`: there
    /// is no memory, or the queue has a ring.
    fn alloc(&self, size: usize) -> Option<(NonNull<u8>, u64)>;

    /// Gives back what `alloc` returned.
    fn free(&self, address: u64);
}

/// Makes the token for `map`, which C code hands around: a pointer to it.
pub(super) fn token<M: Map>(map: &M) -> sys::virtio_map {
    sys::virtio_map {
        dma_dev: ptr::from_ref(map).cast_mut().cast(),
    }
}
