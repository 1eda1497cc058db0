// SPDX-License-Identifier: GPL-2.0

//! The interrupts of a link's node: the link's doorbell, and what the peer can ring for single queues.

use crate::{
    proto::layout::link::VECTORS_MAX,
    sys::bindings as sys,
    virtio_hvl::interrupts::{
        Interrupt,
        Kind,
        Messages, //
    }, //
};
use kernel::{
    device::{
        self,
        property::FwNode,
        Core, //
    },
    irq::IrqRequest,
    platform,
    prelude::*, //
};

const NAMES: &CStr = c"interrupt-names";
const COUNT: &CStr = c"virtio-hvl,msi-count";
/// Message-signalled interrupts where the node does not say how many.
const MESSAGES: u32 = 16;

/// What a node has.
pub(crate) struct Interrupts<'a> {
    /// The link's doorbell; `None`: the peer has none, and is looked at.
    pub(crate) doorbell: Option<IrqRequest<'a>>,
    /// The others, in the order of the vector table.
    pub(crate) others: KVec<Interrupt>,
    /// What keeps those that are messages.
    pub(crate) messages: Option<Messages>,
}

/// The interrupts of the node of `pdev`; if it is `polled`, it has none that is the link's, nor any other
/// line.
///
/// # Errors
///
/// `ENXIO` for interrupts that are not there or cannot be mapped, `EINVAL` for what is not well-formed,
/// `ERANGE` for too many, `EPROBE_DEFER`, `ENOMEM`. Each but the last two is logged in one line.
pub(crate) fn interrupts<'a>(
    pdev: &'a platform::Device<Core<'_>>,
    fwnode: &FwNode,
    polled: bool,
) -> Result<Interrupts<'a>> {
    let dev = pdev.as_ref();
    if polled {
        return with_messages(dev, fwnode, None, KVec::new());
    }
    // SAFETY: The node is held by its device, and does not change while that is probed.
    let count = unsafe { sys::hvl_interrupts(super::of_node(dev)) };
    let at = doorbell_index(dev, fwnode, count)?;
    let doorbell = pdev.irq_by_index(at).inspect_err(|&error| {
        if error != EPROBE_DEFER {
            dev_err!(
                dev,
                "interrupts cannot be mapped ({error:?}): must be the interrupt that the peer rings\n"
            );
        }
    })?;
    let Ok(count) = u32::try_from(count) else {
        dev_err!(
            dev,
            "interrupts is not well-formed: must be a list of whole interrupts, that of the link first\n"
        );
        return Err(EINVAL);
    };
    if count as usize > VECTORS_MAX + 1 {
        dev_err!(
            dev,
            "interrupts has {count} entries: must be at most {}\n",
            VECTORS_MAX + 1
        );
        return Err(ERANGE);
    }
    let mut others = KVec::new();
    for index in (0..count).filter(|index| *index != at) {
        let request = pdev.optional_irq_by_index(index).inspect_err(|&error| {
            if error != EPROBE_DEFER {
                dev_err!(
                    dev,
                    "interrupts: entry {index} cannot be mapped ({error:?})\n"
                );
            }
        })?;
        let interrupt = Interrupt {
            number: request.irq(),
            kind: Kind::Line(others.len() as u32 + 1),
        };
        others.push(interrupt, GFP_KERNEL)?;
    }
    with_messages(dev, fwnode, Some(doorbell), others)
}

/// These interrupts, and those that are messages.
fn with_messages<'a>(
    dev: &device::Device<Core<'_>>,
    fwnode: &FwNode,
    doorbell: Option<IrqRequest<'a>>,
    mut others: KVec<Interrupt>,
) -> Result<Interrupts<'a>> {
    let messages = messages(dev, fwnode, VECTORS_MAX - others.len())?;
    if let Some(messages) = &messages {
        for number in messages.numbers() {
            let interrupt = Interrupt {
                number,
                kind: Kind::Message,
            };
            others.push(interrupt, GFP_KERNEL)?;
        }
    }
    Ok(Interrupts {
        doorbell,
        others,
        messages,
    })
}

/// Which of the node's `count` interrupts is the link's.
fn doorbell_index(dev: &device::Device, fwnode: &FwNode, count: i32) -> Result<u32> {
    if !fwnode.property_present(NAMES) {
        return Ok(0);
    }
    // SAFETY: The node is held by its device.
    let names = unsafe { sys::hvl_interrupt_names(super::of_node(dev)) };
    if count >= 0 && names != count {
        dev_err!(
            dev,
            "interrupt-names has {} entries: must be as many as interrupts has, {count}\n",
            names.max(0)
        );
        return Err(EINVAL);
    }
    let index = fwnode.property_match_string(NAMES, c"link").unwrap_or(0);
    u32::try_from(index).map_err(|_| EINVAL)
}

/// The interrupts that are messages, `room` of them at most.
fn messages(
    dev: &device::Device<Core<'_>>,
    fwnode: &FwNode,
    room: usize,
) -> Result<Option<Messages>> {
    let is_there = fwnode.property_present(c"msi-parent");
    let count = super::cell(dev, fwnode, COUNT)?;
    if let Some(count) = count {
        if !is_there {
            dev_err!(
                dev,
                "{} is there but msi-parent is missing: must be the controller that gives them\n",
                COUNT.to_str()?
            );
            return Err(EINVAL);
        }
        if !(1..=VECTORS_MAX as u32).contains(&count) {
            dev_err!(
                dev,
                "{} is {count}: must be from 1 to {VECTORS_MAX}\n",
                COUNT.to_str()?
            );
            return Err(ERANGE);
        }
    }
    let most = count.unwrap_or(MESSAGES).min(room as u32);
    if !is_there || most == 0 {
        return Ok(None);
    }
    match Messages::allocate(dev, most) {
        Ok(messages) => Ok(Some(messages)),
        Err(error) => {
            // The link works without.
            dev_warn!(
                dev,
                "msi-parent gives no interrupts ({error:?}): queues use others; it must be a controller that \
                 is there, and has some left\n"
            );
            Ok(None)
        }
    }
}
