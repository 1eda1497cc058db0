// SPDX-License-Identifier: GPL-2.0

//! Ways to tell the peer that there is something to look at.

mod mmio;

pub(crate) use self::mmio::Mmio;

/// A way to ring the peer.
pub(crate) trait Doorbell: Send + Sync {
    /// Rings number `number`, which is below [`Doorbell::count`]; 0 is the link's. Everything written to
    /// the region before is visible to the peer when it looks. Any context.
    fn ring(&self, number: u32);

    /// How many interrupts of the peer's it can raise.
    fn count(&self) -> u32 {
        1
    }

    /// What it is, for messages.
    fn name(&self) -> &'static str;

    /// Whether ringing has an effect: without one the peer looks by itself.
    fn is_real(&self) -> bool;
}

/// No doorbell: the peer polls.
pub(crate) struct Polled;

impl Doorbell for Polled {
    fn ring(&self, _number: u32) {}

    fn name(&self) -> &'static str {
        "none (the peer polls)"
    }

    fn is_real(&self) -> bool {
        false
    }
}
