// SPDX-License-Identifier: GPL-2.0

//! What a transport is.

use super::{
    map::Map,
    Device, //
};
use kernel::{
    bindings,
    cpumask::Cpumask,
    prelude::*,
    sync::Arc, //
};

/// Most virtqueues of a device.
pub(crate) const QUEUES_MAX: usize = 64;

/// What a device is (VIRTIO 4.2.2: DeviceID, VendorID).
#[derive(Clone, Copy)]
pub(crate) struct Id {
    /// Device type.
    pub(crate) device: u32,
    /// Vendor.
    pub(crate) vendor: u32,
}

/// A shared-memory region of a device (VIRTIO 2.10), in physical addresses.
#[derive(Clone, Copy)]
pub(crate) struct ShmRegion {
    /// Address of its first byte.
    pub(crate) start: u64,
    /// Bytes.
    pub(crate) len: u64,
}

/// What a transport says of a virtqueue before it is made.
pub(crate) struct QueueSetup<M> {
    /// Most entries; a power of two.
    pub(crate) size_max: u32,
    /// Where the virtqueue and its buffers lie.
    pub(crate) map: Arc<M>,
}

/// A virtqueue that is about to be made.
pub(crate) struct Wanted<'a> {
    /// What the driver calls it.
    pub(crate) name: &'a CStr,
    /// Whether the driver is to be called when the device has used buffers of it.
    pub(crate) callback: bool,
}

/// The driver wants the CPUs divided among the interrupts of its queues, but for some.
#[derive(Clone, Copy)]
pub(crate) struct Spread {
    /// So many of the first queues are left out.
    pub(crate) before: usize,
    /// So many of the last.
    pub(crate) after: usize,
}

/// What a virtio transport does for one device.
///
/// All functions run in process context and may sleep, except for [`Transport::notify`], which
/// runs in any context, and the functions of [`Map`].
///
/// The core gives the operations without a result no way to fail. An implementation remembers
/// their failure and returns it from [`Transport::finalize_features`] and
/// [`Transport::queue_setup`].
pub(crate) trait Transport: Sized + Send + Sync + 'static {
    /// Memory of the virtqueues.
    type Map: Map;

    /// Type of the device.
    fn id(&self) -> Id;

    /// Name that drivers show as the device's place, e.g. `ethtool -i`.
    fn bus_name(&self) -> &CStr;

    /// Features that the device offers (VIRTIO 2.2).
    fn features(&self) -> u64;

    /// Tells the device which features are used.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a set that this transport cannot work with; an earlier failure.
    fn finalize_features(&self, features: u64) -> Result;

    /// Device status (VIRTIO 2.1). Never has a bit that was not written, but for
    /// DEVICE_NEEDS_RESET, and is 0 after a reset even if that failed.
    fn status(&self) -> u8;

    /// Writes the device status, which is not 0. Callbacks of queues run from the first DRIVER_OK
    /// on; what the device used before that is not passed on until the implementation calls
    /// [`Device::interrupt_queue`](super::Device::interrupt_queue) again.
    fn set_status(&self, status: u8);

    /// Resets the device. Afterwards no virtqueue is used by it any more. No callback of a queue is
    /// running, or begins to run before the next DRIVER_OK.
    fn reset(&self);

    /// Reads configuration space. `data` is zeroed, and stays so where there is nothing to read.
    fn config_read(&self, offset: u32, data: &mut [u8]);

    /// Writes configuration space.
    fn config_write(&self, offset: u32, data: &[u8]);

    /// Number of the configuration's current state. The core reads until two calls agree, so an
    /// implementation has to see to it that they do after a bounded number of calls.
    fn config_generation(&self) -> u32;

    /// Shared-memory region `id`, if there is one.
    fn shm_region(&self, id: u8) -> Option<ShmRegion>;

    /// The driver is about to have its virtqueues made, those of `wanted` by index: requests what
    /// interrupts they need. `name`: that of the device.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; then [`Transport::release_interrupts`] is called.
    fn request_interrupts(
        &self,
        device: &Arc<Device<Self>>,
        name: &CStr,
        wanted: &[Wanted<'_>],
        spread: Option<Spread>,
    ) -> Result;

    /// All virtqueues are gone: gives back what [`Transport::request_interrupts`] has requested, if it was
    /// called. No handler runs any more when this returns.
    fn release_interrupts(&self);

    /// Has the interrupt of virtqueue `index` go to one of `cpus`; `None`: to any.
    ///
    /// # Errors
    ///
    /// `EINVAL` if that cannot be, `ENOMEM`.
    fn set_queue_affinity(&self, index: u32, cpus: Option<&Cpumask>) -> Result;

    /// The CPUs that the interrupt of virtqueue `index` was given where they were divided; valid until
    /// [`Transport::release_interrupts`].
    fn queue_affinity(&self, index: u32) -> Option<*const bindings::cpumask>;

    /// What virtqueue `index` can be.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the device has no such queue, `ERANGE` for a size that cannot be; an earlier
    /// failure.
    fn queue_setup(&self, index: u32) -> Result<QueueSetup<Self::Map>>;

    /// Tells the device that virtqueue `index`, whose ring is the one at `address` of its map and has
    /// `size` entries, can be used.
    ///
    /// # Errors
    ///
    /// `EIO` if the device refuses it; `ENOMEM`; an earlier failure.
    fn queue_enable(&self, index: u32, address: u64, size: u32) -> Result;

    /// Resets virtqueue `index` alone (VIRTIO 2.6.1).
    ///
    /// # Errors
    ///
    /// `EIO` if the device refuses; an earlier failure.
    fn queue_reset(&self, index: u32) -> Result;

    /// Stops the device's use of virtqueue `index`, whose ring is freed next, unless the device was
    /// reset since the queue was enabled.
    fn queue_disable(&self, index: u32);

    /// Virtqueue `index` is gone, and with it all that was mapped for it.
    fn queue_deleted(&self, index: u32);

    /// The driver has made buffers available in virtqueue `index`. `false`: the device cannot be
    /// reached, ever again.
    fn notify(&self, index: u32) -> bool;

    /// Largest buffer that can be mapped, in bytes, whatever the queue.
    fn mapping_max(&self) -> usize;
}
