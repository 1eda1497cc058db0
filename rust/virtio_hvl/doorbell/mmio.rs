// SPDX-License-Identifier: GPL-2.0

//! A doorbell that is rung by writing a value to a device register: the set-pending register of an
//! interrupt controller, an inter-processor interrupt block, the frame of a GICv2m. Other values raise other
//! interrupts of the peer's.

use super::Doorbell;
use crate::series::DevresIoMem;
use kernel::{
    io::{
        mem::IoRequest,
        Io, //
    },
    prelude::*, //
};

/// Bytes of the register.
const SIZE: usize = 4;

/// A register and the values that ring.
pub(crate) struct Mmio {
    register: DevresIoMem<SIZE>,
    values: KVec<u32>,
}

impl Mmio {
    /// Maps the register. It is not claimed: it may belong to a device that Linux drives as well,
    /// such as its interrupt controller.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a register of less than four bytes, `ENOMEM`.
    pub(crate) fn new(request: IoRequest<'_>, values: KVec<u32>) -> Result<Self> {
        Ok(Self {
            register: request.iomap_sized::<SIZE>()?.into_devres()?,
            values,
        })
    }
}

impl Doorbell for Mmio {
    fn ring(&self, number: u32) {
        let Some(value) = self.values.get(number as usize) else {
            return;
        };
        // `write32` orders earlier writes to memory before the write to the register. Once the
        // device is unbound there is nobody left to ring for.
        if let Some(register) = self.register.try_access() {
            register.write32(*value, 0);
        }
    }

    fn count(&self) -> u32 {
        self.values.len() as u32
    }

    fn name(&self) -> &'static str {
        "register write"
    }

    fn is_real(&self) -> bool {
        true
    }
}
