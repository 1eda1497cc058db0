// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the link and the machine know of a device, and the link of the machine.

#![forbid(unsafe_code)]

use crate::proto::Vector;
use crate::shared::Shared;
use crate::transport::Transport;

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

    /// How many chains each queue has to have for the device to take one; 0, which stands there, if it would
    /// take none. `least` has a place for each of the model's queues.
    fn wanted(&self, least: &mut [u16]);

    /// Whether it may have something to do in a pass although Linux has not notified: something comes from
    /// elsewhere, or is due by time. It is asked once, when the link starts. One that says `false` is left out of
    /// passes in which there is nothing for it, see [`Link::live`](crate::link::Link::live).
    fn is_active(&self) -> bool {
        true
    }

    /// Does what is to be done in each pass and is nobody else's business, as answering commands;
    /// `true` if there was any.
    fn attend(&mut self, _shared: &Shared) -> bool {
        false
    }

    /// A heartbeat period is over.
    fn tick(&mut self, _shared: &Shared) {}
}

/// The devices of a link, in the order of the table. References to a few in an array will do, or in a slice;
/// for many, something that finds one without going through all.
pub trait Devices {
    /// How many there are.
    fn count(&self) -> usize;

    /// Device `index`; `None` from [`Devices::count`] on.
    fn device(&mut self, index: usize) -> Option<&mut dyn Device>;
}

impl Devices for [&mut dyn Device] {
    fn count(&self) -> usize {
        self.len()
    }

    fn device(&mut self, index: usize) -> Option<&mut dyn Device> {
        match self.get_mut(index) {
            Some(device) => Some(&mut **device),
            None => None,
        }
    }
}

impl<const N: usize> Devices for [&mut dyn Device; N] {
    fn count(&self) -> usize {
        N
    }

    fn device(&mut self, index: usize) -> Option<&mut dyn Device> {
        match self.get_mut(index) {
            Some(device) => Some(&mut **device),
            None => None,
        }
    }
}

impl<T: Device, const N: usize> Devices for [&mut T; N] {
    fn count(&self) -> usize {
        N
    }

    fn device(&mut self, index: usize) -> Option<&mut dyn Device> {
        match self.get_mut(index) {
            Some(device) => Some(&mut **device),
            None => None,
        }
    }
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
