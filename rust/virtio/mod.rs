// SPDX-License-Identifier: GPL-2.0

//! Abstraction over the virtio core for transports.
//!
//! A transport implements [`Transport`] for what stands for one virtio device, and [`Map`] for the
//! memory that its virtqueues and buffers have to lie in. [`Registration::new`] makes a
//! `struct virtio_device` of it and gives it to the virtio core; dropping the registration takes
//! it away again, and waits for those who use it still. Where one device must not hold up another,
//! [`Registration::unregister`] leaves the waiting to its result.
//!
//! C headers: [`include/linux/virtio.h`](srctree/include/linux/virtio.h),
//! [`include/linux/virtio_config.h`](srctree/include/linux/virtio_config.h),
//! [`include/linux/virtio_ring.h`](srctree/include/linux/virtio_ring.h)

mod adapter;
mod device;
mod map;
mod map_ops;
mod queue;
mod registration;
mod table;
mod transport;

pub(crate) use self::{
    device::Device,
    map::{
        CpuBuffer,
        Direction,
        Map,
        RING_ALIGN, //
    },
    registration::Registration,
    transport::{
        Id,
        QueueSetup,
        ShmRegion,
        Spread,
        Transport,
        Wanted, //
    }, //
};
