// SPDX-License-Identifier: GPL-2.0

//! The control queues of a console with several ports: what goes through them is looked at, by
//! [`crate::algo::console`].

use super::Queue;
use crate::{
    algo::{
        console::{
            Ports,
            CONTROL_FROM,
            CONTROL_TO,
            MESSAGE,
            NOTHING, //
        },
        shadow::Shadow, //
    },
    virtio_hvl::{
        buffer::Buffer,
        fault::Fault, //
    },
};
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        Arc,
        SpinLockIrq, //
    }, //
};

/// What is known of the ports of one device.
pub(crate) type PortsLock = SpinLockIrq<Ports>;

/// That of a device with so many queues.
///
/// # Errors
///
/// `ENOMEM`.
pub(crate) fn ports(queues: u32) -> Result<Arc<PortsLock>> {
    Arc::pin_init(new_spinlock_irq!(Ports::new(queues)), GFP_KERNEL)
}

impl Queue {
    /// Whether it is one of a console's that are looked at. Most are not, and are to cost no more for that.
    #[inline]
    pub(super) fn controls_ports(&self) -> bool {
        self.ports.is_some()
    }

    /// The driver is going to send what is in `buffer`.
    #[inline(never)]
    pub(super) fn hear(&self, buffer: &Buffer) {
        let Some(ports) = self.ports.as_ref().filter(|_| self.index == CONTROL_FROM) else {
            return;
        };
        if let Some(message) = buffer.read::<MESSAGE>(0) {
            ports.lock().hear(&message);
        }
    }

    /// The buffer at `address` with how many bytes the peer has written to it, if that is to be looked at.
    pub(super) fn told(&self, address: u64) -> Option<(Buffer, u32)> {
        self.ports.as_ref().filter(|_| self.index == CONTROL_TO)?;
        let state = self.state.lock();
        let shadow: &Shadow<_> = state.shadow.as_ref()?;
        let (buffer, _) = shadow.buffer(address)?;
        // What comes back unused, when the driver goes, says nothing.
        let len = shadow.written(address);
        (len != 0).then_some((buffer, len))
    }

    /// The driver gets `len` bytes in `buffer`, which are its own by now: nothing, if they are wrong.
    pub(super) fn judge(&self, buffer: &Buffer, len: u32) {
        let (Some(ports), Some(message)) = (&self.ports, buffer.read::<MESSAGE>(0)) else {
            return;
        };
        let verdict = ports.lock().judge(&message, len, self.wire.now_ms());
        let Err(wrong) = verdict else {
            return;
        };
        buffer.write(0, &NOTHING);
        let mut state = self.state.lock();
        let first = state.fault.is_none();
        state.fault = state.fault.or(Some(Fault::Control(self.index, wrong)));
        drop(state);
        if first {
            // The link's thread says what is wrong.
            self.wire.wake();
        }
    }
}
