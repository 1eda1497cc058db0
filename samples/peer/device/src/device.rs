// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the link and the machine know of a device, and the link of the machine.

#![forbid(unsafe_code)]

use crate::proto::Vector;
use crate::shared::Shared;
use crate::transport::{Transport, QUEUES};

/// A device model.
pub trait Device {
    /// The device's transport.
    fn transport(&self) -> &Transport;

    /// The device's transport, to change it.
    fn transport_mut(&mut self) -> &mut Transport;

    /// Forgets everything that came from Linux: the driver has reset the device, or is gone.
    ///
    /// Between two calls a model must not keep a chain that it has popped, so that nothing of the
    /// pool is used after a reset.
    fn reset(&mut self) {}

    /// How many chains each queue has to have for the device to take one; 0 if it would take none.
    fn wanted(&self) -> [u16; QUEUES];

    /// Does what is to be done in each pass and is nobody else's business, as answering commands;
    /// `true` if there was any.
    fn attend(&mut self, _shared: &Shared) -> bool {
        false
    }

    /// A heartbeat period is over.
    fn tick(&mut self, _shared: &Shared) {}
}

/// The way to get the other side's attention.
pub trait Doorbell {
    /// Rings; everything that was written to the region is visible to Linux before.
    fn ring(&mut self);

    /// Rings by `vector` instead, for what concerns one queue or one device; ordered as [`Doorbell::ring`].
    /// It is what Linux wrote, so it has to be one of those that the machine was built with. `false`: it
    /// is not, and nothing was done; then the other one is rung.
    fn ring_vector(&mut self, vector: Vector) -> bool {
        let _ = vector;
        false
    }
}

/// What interrupts a link has beside one doorbell each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bells {
    /// Further interrupts of Linux's that [`Doorbell::ring_vector`] can ring, numbered from 1 on.
    pub more: u32,
    /// Whether it can write MSIs.
    pub msi: bool,
    /// Further interrupts of our own, numbered from 1 on, see [`Wake::queues`](crate::link::Wake::queues).
    pub own: u32,
}
