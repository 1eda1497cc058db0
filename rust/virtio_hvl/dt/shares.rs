// SPDX-License-Identifier: GPL-2.0

//! The nodes of a link's devices: how many bytes of the pool their queues have.

use crate::{
    algo::setting::{
        self,
        Setting, //
    },
    proto::layout::{
        DEVICES_MAX,
        PAGE,
        QUEUES_MAX,
        SHARE_MIN, //
    },
    virtio_hvl::shmem::Extent, //
};
use kernel::{
    device::{
        self,
        property::FwNode, //
    },
    prelude::*, //
};

const SHARES: &CStr = c"virtio-hvl,queue-share-bytes";

/// What the children of the link's node say about the queues of its devices.
///
/// # Errors
///
/// `EINVAL` for what is missing or not well-formed, `ERANGE` for a number that cannot be, or more
/// bytes than the region has, `ENOMEM`. Each but the last is logged in one line.
pub(super) fn shares(
    dev: &device::Device,
    fwnode: &FwNode,
    extent: &Extent,
) -> Result<KVec<Setting>> {
    let mut settings = KVec::new();
    let mut seen = 0u64;
    for child in fwnode.children() {
        let device = number(dev, &child)?;
        if seen & (1 << device) != 0 {
            dev_err!(
                dev,
                "{}: reg is {device}, as that of another node: must be the number of one device\n",
                child.display_name()
            );
            return Err(EINVAL);
        }
        seen |= 1 << device;
        for (queue, bytes) in bytes_of(dev, &child)?.into_iter().enumerate() {
            // Not set.
            if bytes == 0 {
                continue;
            }
            if let Err(next) = setting::check(bytes) {
                dev_err!(
                    dev,
                    "{}: {} of queue {queue} is {bytes:#x}: must be 0 or a multiple of {PAGE:#x} and at \
                     least {SHARE_MIN:#x}, such as {:#x}\n",
                    child.display_name(),
                    SHARES.to_str()?,
                    next.unwrap_or(SHARE_MIN)
                );
                return Err(ERANGE);
            }
            let queue = queue as u32;
            settings.push(
                Setting {
                    device,
                    queue,
                    bytes,
                },
                GFP_KERNEL,
            )?;
        }
    }
    // The header, and a window for each.
    let least = setting::sum(&settings) + u64::from(PAGE) * (1 + u64::from(seen.count_ones()));
    if !settings.is_empty() && least > extent.size as u64 {
        dev_err!(
            dev,
            "{} of all nodes make {:#x} bytes: memory-region has size {:#x}, must be at least \
             {least:#x}\n",
            SHARES.to_str()?,
            setting::sum(&settings),
            extent.size
        );
        return Err(ERANGE);
    }
    Ok(settings)
}

/// The number of the device that `child` is about.
fn number(dev: &device::Device, child: &FwNode) -> Result<u32> {
    let Some(device) = super::cell(dev, child, c"reg")? else {
        dev_err!(
            dev,
            "{}: reg is missing: must be the number of a device in the peer's table\n",
            child.display_name()
        );
        return Err(EINVAL);
    };
    if device as usize >= DEVICES_MAX {
        dev_err!(
            dev,
            "{}: reg is {device}: must be at most {}\n",
            child.display_name(),
            DEVICES_MAX - 1
        );
        return Err(ERANGE);
    }
    Ok(device)
}

/// The bytes that `child` sets for each queue.
fn bytes_of(dev: &device::Device, child: &FwNode) -> Result<KVec<u32>> {
    if !child.property_present(SHARES) {
        return Ok(KVec::new());
    }
    let count = child.property_count_elem::<u32>(SHARES).unwrap_or(0);
    if !(1..=QUEUES_MAX).contains(&count) {
        dev_err!(
            dev,
            "{}: {} is not well-formed: must be 1 to {QUEUES_MAX} 32-bit cells\n",
            child.display_name(),
            SHARES.to_str()?
        );
        return Err(EINVAL);
    }
    child
        .property_read_array_vec::<u32>(SHARES, count)?
        .optional()
        .ok_or(EINVAL)
}
