// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Looks at addresses where there may be nothing.

#![expect(unsafe_code, reason = "reads what may not be there")]

use crate::cell::Shared;
use core::arch::asm;

/// A probe is under way; a data abort answers it.
static PROBING: Shared<bool> = Shared::new(false);

/// Whether a data abort is the answer to a probe: `report_exception` then has it go on.
pub(crate) fn is_probing() -> bool {
    PROBING.get()
}

/// Reads a register that may not be there; `None` if nothing answers.
pub(crate) fn read32(address: usize) -> Option<u32> {
    let value: u64;
    let answered: u64;
    PROBING.set(true);
    // SAFETY: The page is mapped as device memory. An abort skips one instruction, here that
    // which says that the load was not skipped: see `report_exception`.
    unsafe {
        asm!(
            "mov {answered}, #1",
            "ldr {value:w}, [{address}]",
            "b 2f",
            "mov {answered}, #0",
            "2:",
            "dsb sy",
            address = in(reg) address,
            value = out(reg) value,
            answered = out(reg) answered,
            options(nostack),
        );
    }
    PROBING.set(false);
    (answered == 1).then_some(value as u32)
}
