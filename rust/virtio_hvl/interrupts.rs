// SPDX-License-Identifier: GPL-2.0

//! The interrupts of a link beside its doorbell: the vectors.

use crate::{
    proto::{
        layout::link,
        Identity,
        Vector, //
    },
    sys::bindings as sys, //
};
use kernel::{
    bindings,
    device,
    error::to_result,
    prelude::*,
    sync::aref::ARef, //
};

/// How the peer raises one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is a line; the peer knows it by this number.
    Line(u32),
    /// By a message.
    Message,
}

/// An interrupt of Linux's.
#[derive(Clone, Copy)]
pub(crate) struct Interrupt {
    /// Its number in Linux.
    pub(crate) number: u32,
    /// How the peer raises it.
    pub(crate) kind: Kind,
}

impl Interrupt {
    /// Whether the peer that says this of itself can raise it.
    pub(crate) fn is_usable(&self, peer: &Identity) -> bool {
        match self.kind {
            Kind::Line(number) => number < peer.doorbells,
            Kind::Message => peer.features & link::FEATURE_MSI != 0,
        }
    }

    /// Its entry in the vector table, as long as nothing better is known.
    pub(crate) fn vector(&self) -> Vector {
        Vector::Doorbell(match self.kind {
            Kind::Line(number) => number,
            // The link's doorbell, until it is requested.
            Kind::Message => 0,
        })
    }
}

/// Message-signalled interrupts of a platform device; dropping it gives them back.
///
/// # Invariants
///
/// `count` of them are allocated for `dev`, and nobody else frees them.
pub(crate) struct Messages {
    dev: ARef<device::Device>,
    count: u32,
}

impl Messages {
    /// As many as there are, `most` of them at most. `dev` has a controller for them.
    ///
    /// # Errors
    ///
    /// Why there is not even one, `EINVAL` if the controller is not there.
    pub(crate) fn allocate(dev: &device::Device<device::Bound>, most: u32) -> Result<Self> {
        let raw = raw(dev);
        let mut count = most;
        loop {
            // SAFETY: `dev` is a bound device, whose interrupts of this kind are allocated here only.
            let result = to_result(unsafe { sys::hvl_msi_alloc(raw, count) });
            match result {
                // INVARIANT: They were just allocated.
                Ok(()) => {
                    return Ok(Self {
                        dev: dev.into(),
                        count,
                    })
                }
                Err(error) if count <= 1 => return Err(error),
                Err(_) => count /= 2,
            }
        }
    }

    /// Their numbers in Linux.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        // SAFETY: So many are allocated for the device, by the type invariant.
        (0..self.count).map(|index| unsafe { sys::hvl_msi_irq(raw(&self.dev), index) })
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // SAFETY: By the type invariant; none is requested any more, see `driver::Bound`.
        unsafe { sys::hvl_msi_free(raw(&self.dev)) };
    }
}

fn raw<C: device::DeviceContext>(dev: &device::Device<C>) -> *mut bindings::device {
    // `Device` is `repr(transparent)` over `struct device`.
    core::ptr::from_ref(dev).cast_mut().cast()
}
