// SPDX-License-Identifier: GPL-2.0

//! The device-tree node of a link: what it says, and what is wrong with it.
//!
//! Binding: `Documentation/devicetree/bindings/virtio/virtio-hvl,link.yaml`.

mod direct;
mod interrupts;
mod poll;
mod shares;

pub(crate) use self::interrupts::Interrupts;

use crate::{
    algo::{
        poll::Bounds,
        setting::Setting, //
    },
    proto::layout::{
        PAGE,
        QUEUES_MAX,
        REGION_MAX,
        REGION_MIN, //
    },
    sys::bindings as sys,
    virtio_hvl::{
        dma::Dma,
        doorbell::{
            Doorbell,
            Mmio,
            Polled, //
        },
        shmem::Extent,
        wire::WATCHDOG_LIMITS, //
    }, //
};
use kernel::{
    bindings,
    device::{
        self,
        property::FwNode,
        Core, //
    },
    error::to_result,
    platform,
    prelude::*, //
};

/// Shortest deadline for an answer of the peer, in milliseconds.
const TIMEOUT_MIN: u32 = 10;
/// Longest deadline for an answer of the peer, in milliseconds.
const TIMEOUT_MAX: u32 = 60_000;

/// What a node says.
pub(crate) struct Node<'a> {
    /// Where the region is.
    pub(crate) extent: Extent,
    /// The peer's accesses are coherent with Linux's caches.
    pub(crate) coherent: bool,
    /// How the peer is rung.
    pub(crate) doorbell: KBox<dyn Doorbell>,
    /// Deadline of each wait for the peer, in milliseconds.
    pub(crate) timeout_ms: u32,
    /// For how long a peer that lives may give no buffer back; 0: for ever.
    pub(crate) watchdog_ms: u32,
    /// The peer may have devices of any type.
    pub(crate) trusted: bool,
    /// How often the peer is looked at; `None`: it rings.
    pub(crate) poll: Option<Bounds>,
    /// Parts of the pool that are set.
    pub(crate) settings: KVec<Setting>,
    /// How the peer rings.
    pub(crate) interrupts: Interrupts<'a>,
    /// What maps buffers for the peer, where the node asks for direct mode.
    pub(crate) dma: Option<Dma>,
}

impl<'a> Node<'a> {
    /// Reads the node of `pdev`.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a property that is missing or not well-formed, `ERANGE` for a value over a
    /// limit, `ENODEV` for memory that is not reserved, `ENOMEM`. Each is logged in one line.
    pub(crate) fn parse(pdev: &'a platform::Device<Core<'_>>) -> Result<Self> {
        let dev = pdev.as_ref();
        let Some(fwnode) = dev.fwnode() else {
            dev_err!(
                dev,
                "no device-tree node: the link must be described by one\n"
            );
            return Err(EINVAL);
        };
        let extent = extent(dev, fwnode)?;
        let poll = poll::bounds(dev, fwnode)?;
        let coherent = fwnode.property_present(c"dma-coherent");
        Ok(Self {
            settings: shares::shares(dev, fwnode, &extent)?,
            extent,
            coherent,
            dma: direct::direct(pdev, fwnode, coherent)?,
            doorbell: doorbell(pdev, fwnode)?,
            timeout_ms: timeout(dev, fwnode)?,
            watchdog_ms: watchdog(dev, fwnode)?,
            trusted: fwnode.property_present(c"virtio-hvl,trusted-peer"),
            poll,
            // Last, since it takes something.
            interrupts: interrupts::interrupts(pdev, fwnode, poll.is_some())?,
        })
    }
}

/// The node of `dev`, null if it has none.
fn of_node(dev: &device::Device) -> *mut bindings::device_node {
    // SAFETY: `dev` is a `repr(transparent)` `struct device`, whose node does not change while it
    // is probed.
    unsafe { (*core::ptr::from_ref(dev).cast::<bindings::device>()).of_node }
}

fn extent(dev: &device::Device, fwnode: &FwNode) -> Result<Extent> {
    if !fwnode.property_present(c"memory-region") {
        dev_err!(
            dev,
            "memory-region is missing: must be a phandle of the shared reserved memory\n"
        );
        return Err(EINVAL);
    }
    let of_node = of_node(dev);
    if of_node.is_null() {
        dev_err!(
            dev,
            "memory-region is not in a device-tree node: the link must be described by one\n"
        );
        return Err(EINVAL);
    }
    // SAFETY: The node is held by its device.
    let what = unsafe { sys::hvl_memory_region(of_node) };
    if what & sys::HVL_REGION_VALID == 0 {
        dev_err!(dev, "memory-region is no valid phandle\n");
        return Err(EINVAL);
    }
    if what & sys::HVL_REGION_COMPATIBLE == 0 {
        dev_err!(
            dev,
            "memory-region's node is not for virtio-hvl: its compatible must be \
             \"virtio-hvl,region\"\n"
        );
        return Err(EINVAL);
    }
    if what & sys::HVL_REGION_NO_MAP == 0 {
        dev_err!(
            dev,
            "memory-region's node must have no-map: Linux must not map it with other attributes\n"
        );
        return Err(EINVAL);
    }

    let mut resource: bindings::resource = pin_init::zeroed();
    // SAFETY: The node is held by its device; `resource` can be written.
    to_result(unsafe { sys::of_reserved_mem_region_to_resource(of_node, 0, &mut resource) })
        .inspect_err(|_| {
            dev_err!(
            dev,
            "memory-region is not reserved: it must be an enabled node of /reserved-memory that \
             was there at boot\n"
        );
        })
        .map_err(|_| ENODEV)?;

    let start = resource.start;
    let size = resource.end.wrapping_sub(start).wrapping_add(1);
    if start % u64::from(PAGE) != 0 || size % u64::from(PAGE) != 0 {
        dev_err!(
            dev,
            "memory-region at {start:#x}, size {size:#x}, is unaligned: both must be multiples of \
             {PAGE:#x}\n"
        );
        return Err(EINVAL);
    }
    if size < u64::from(REGION_MIN) || size > u64::from(REGION_MAX) {
        dev_err!(
            dev,
            "memory-region has size {size:#x}: must be from {REGION_MIN:#x} to {REGION_MAX:#x}\n"
        );
        return Err(ERANGE);
    }
    Ok(Extent {
        start,
        size: usize::try_from(size).map_err(|_| ERANGE)?,
    })
}

fn doorbell(pdev: &platform::Device<Core<'_>>, fwnode: &FwNode) -> Result<KBox<dyn Doorbell>> {
    let dev = pdev.as_ref();
    let Some(resource) = pdev.resource_by_name(c"doorbell") else {
        if fwnode.property_present(c"reg") {
            dev_err!(dev, "reg has no entry that reg-names calls \"doorbell\"\n");
            return Err(EINVAL);
        }
        if fwnode.property_present(c"virtio-hvl,doorbell-value") {
            dev_err!(
                dev,
                "virtio-hvl,doorbell-value is there but reg is missing: must be the register that \
                 the value is written to\n"
            );
            return Err(EINVAL);
        }
        return Ok(KBox::new(Polled, GFP_KERNEL)?);
    };
    let (start, size) = (resource.start(), resource.size());
    if start % 4 != 0 || size < 4 {
        dev_err!(
            dev,
            "doorbell register at {start:#x}, size {size:#x}: must be 4 aligned bytes\n"
        );
        return Err(EINVAL);
    }
    let values = values(dev, fwnode, start)?;
    let request = pdev.io_request_by_name(c"doorbell").ok_or(EINVAL)?;
    let doorbell = Mmio::new(request, values).inspect_err(|error| {
        dev_err!(
            dev,
            "doorbell register at {start:#x} cannot be mapped: {error:?}\n"
        );
    })?;
    Ok(KBox::new(doorbell, GFP_KERNEL)?)
}

/// What is written to the register at `start`: the first rings for the link, others for queues.
fn values(dev: &device::Device, fwnode: &FwNode, start: u64) -> Result<KVec<u32>> {
    let name = c"virtio-hvl,doorbell-value";
    if !fwnode.property_present(name) {
        dev_err!(
            dev,
            "virtio-hvl,doorbell-value is missing: must be the value to write to the doorbell \
             register at {start:#x}\n"
        );
        return Err(EINVAL);
    }
    let count = fwnode.property_count_elem::<u32>(name).unwrap_or(0);
    if !(1..=QUEUES_MAX + 1).contains(&count) {
        dev_err!(
            dev,
            "virtio-hvl,doorbell-value is not well-formed: must be 1 to {} 32-bit cells\n",
            QUEUES_MAX + 1
        );
        return Err(EINVAL);
    }
    fwnode
        .property_read_array_vec::<u32>(name, count)?
        .optional()
        .ok_or(EINVAL)
}

fn timeout(dev: &device::Device, fwnode: &FwNode) -> Result<u32> {
    let (name, value) = match cell(dev, fwnode, c"virtio-hvl,timeout-ms")? {
        Some(value) => ("virtio-hvl,timeout-ms", value),
        // SAFETY: May be called anywhere.
        None => ("module parameter timeout_ms", unsafe {
            sys::hvl_timeout_ms()
        }),
    };
    if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&value) {
        dev_err!(
            dev,
            "{name} is {value}: must be from {TIMEOUT_MIN} to {TIMEOUT_MAX} ms\n"
        );
        return Err(ERANGE);
    }
    Ok(value)
}

/// The watchdog's limit; 0: there is none.
fn watchdog(dev: &device::Device, fwnode: &FwNode) -> Result<u32> {
    let Some(value) = cell(dev, fwnode, c"virtio-hvl,watchdog-ms")? else {
        return Ok(0);
    };
    if !WATCHDOG_LIMITS.contains(&value) {
        dev_err!(
            dev,
            "virtio-hvl,watchdog-ms is {value}: must be from {} to {} ms\n",
            WATCHDOG_LIMITS.start(),
            WATCHDOG_LIMITS.end()
        );
        return Err(ERANGE);
    }
    Ok(value)
}

/// A property of one cell, if it is there.
fn cell(dev: &device::Device, fwnode: &FwNode, name: &CStr) -> Result<Option<u32>> {
    if !fwnode.property_present(name) {
        return Ok(None);
    }
    let count = fwnode.property_count_elem::<u32>(name);
    if count != Ok(1) {
        dev_err!(
            dev,
            "{} is not well-formed: must be one 32-bit cell\n",
            name.to_str()?
        );
        return Err(EINVAL);
    }
    Ok(fwnode.property_read::<u32>(name).optional())
}
