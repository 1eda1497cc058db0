// SPDX-License-Identifier: GPL-2.0

//! Direct mode: whether the node asks for it, and whether the machine is as it has to be.

use super::cell;
use crate::{
    sys::bindings as sys,
    virtio_hvl::dma::Dma, //
};
use kernel::{
    device::{
        property::FwNode,
        Core, //
    },
    dma::{
        Device,
        DmaMask, //
    },
    platform,
    prelude::*, //
};

const DIRECT: &CStr = c"virtio-hvl,direct";
const BITS: &CStr = c"virtio-hvl,address-bits";
/// Bits of an address that a peer can use at least, and at most.
const BITS_MIN: u32 = 32;
const BITS_MAX: u32 = 64;

/// What maps buffers for the peer, if the node asks for direct mode. `coherent`: the node has
/// `dma-coherent`.
///
/// # Errors
///
/// `EINVAL` for properties that contradict each other, or are not well-formed; `ERANGE` for a number of
/// bits that cannot be; those of `dma_set_mask_and_coherent`. Each is logged in one line.
pub(super) fn direct(
    pdev: &platform::Device<Core<'_>>,
    fwnode: &FwNode,
    coherent: bool,
) -> Result<Option<Dma>> {
    let dev = pdev.as_ref();
    let bits = cell(dev, fwnode, BITS)?;
    if !fwnode.property_present(DIRECT) {
        if bits.is_some() {
            dev_err!(
                dev,
                "virtio-hvl,address-bits is there but virtio-hvl,direct is missing: no address of \
                 Linux's memory is given to the peer\n"
            );
            return Err(EINVAL);
        }
        return Ok(None);
    }
    let bits = bits.unwrap_or(BITS_MAX);
    if !(BITS_MIN..=BITS_MAX).contains(&bits) {
        dev_err!(
            dev,
            "virtio-hvl,address-bits is {bits}: must be from {BITS_MIN} to {BITS_MAX}\n"
        );
        return Err(ERANGE);
    }
    // SAFETY: `dev` is `repr(transparent)` over a `struct device`.
    let snooped = unsafe { sys::hvl_dma_is_coherent(core::ptr::from_ref(dev).cast_mut().cast()) };
    if snooped != coherent {
        let (here, what) = if coherent {
            ("has dma-coherent", "for not coherent")
        } else {
            ("lacks dma-coherent", "for coherent, as of a node above")
        };
        dev_err!(
            dev,
            "virtio-hvl,direct: the node {here}, and Linux takes its memory accesses {what}: must be \
             the same, by dma-coherent or dma-noncoherent in this node\n"
        );
        return Err(EINVAL);
    }
    // SAFETY: Nothing is mapped for the device yet.
    unsafe { pdev.dma_set_mask_and_coherent(DmaMask::try_new(bits)?) }.inspect_err(|error| {
        dev_err!(
            dev,
            "virtio-hvl,direct: a peer with addresses of {bits} bits cannot be used ({error:?})\n"
        );
    })?;
    // SAFETY: It is being bound, and the mask was just set. The thread of a link, which ends before the
    // device is unbound, removes all virtio devices.
    Ok(Some(unsafe { Dma::new(dev, bits) }))
}
