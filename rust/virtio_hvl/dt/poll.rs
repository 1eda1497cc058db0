// SPDX-License-Identifier: GPL-2.0

//! How often the peer is looked at, where the node has no interrupt that it rings.

use crate::algo::poll::Bounds;
use kernel::{
    device::{
        self,
        property::FwNode, //
    },
    prelude::*, //
};

const INTERVAL: &CStr = c"virtio-hvl,poll-interval-us";

/// The bounds of the interval; `None` for a peer that rings.
///
/// # Errors
///
/// `EINVAL` for a property that is not well-formed, or there beside an interrupt; `ERANGE` for numbers that
/// cannot be. Each is logged in one line.
pub(super) fn bounds(dev: &device::Device, fwnode: &FwNode) -> Result<Option<Bounds>> {
    let is_set = fwnode.property_present(INTERVAL);
    let rings = [c"interrupts", c"interrupts-extended"]
        .iter()
        .any(|name| fwnode.property_present(name));
    match (rings, is_set) {
        (true, false) => Ok(None),
        (true, true) => {
            dev_err!(
                dev,
                "{} is there, and interrupts as well: must be for a peer that cannot ring\n",
                INTERVAL.to_str()?
            );
            Err(EINVAL)
        }
        (false, false) => Ok(Some(Bounds::DEFAULT)),
        (false, true) => read(dev, fwnode).map(Some),
    }
}

fn read(dev: &device::Device, fwnode: &FwNode) -> Result<Bounds> {
    let name = INTERVAL.to_str()?;
    let cells = fwnode.property_count_elem::<u32>(INTERVAL);
    let Some([min, max]) = (cells == Ok(2))
        .then(|| fwnode.property_read::<[u32; 2]>(INTERVAL).optional())
        .flatten()
    else {
        dev_err!(
            dev,
            "{name} is not well-formed: must be two 32-bit cells, the shortest and the longest\n"
        );
        return Err(EINVAL);
    };
    Bounds::new(min, max).ok_or_else(|| {
        dev_err!(
            dev,
            "{name} is {min} {max}: must be from {} to {}, the shorter first\n",
            Bounds::LEAST_US,
            Bounds::MOST_US
        );
        ERANGE
    })
}
