// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Exceptions and panics: reported, then the link is failed and the core turned off.

#![expect(unsafe_code, reason = "called by assembly")]

use crate::cell::Shared;
use crate::console;
use crate::cpu::{mask_interrupts, read_register};
use crate::leave;
use crate::probe;
use aarch64_rt::{exception_handlers, ExceptionHandlers, RegisterStateRef};
use core::arch::naked_asm;
use core::fmt::Write;
use core::panic::PanicInfo;

/// What aarch64-rt saves: x0-x18, a gap, x29, x30, ELR, SPSR.
#[repr(C)]
struct Saved {
    x: [u64; 20],
    x29: u64,
    x30: u64,
    elr: u64,
    spsr: u64,
}

const _: () = assert!(core::mem::size_of::<Saved>() == 24 * 8);

const NAMES: [&str; 8] = [
    "synchronous exception",
    "IRQ",
    "FIQ",
    "SError",
    "synchronous exception of a lower level",
    "IRQ of a lower level",
    "FIQ of a lower level",
    "SError of a lower level",
];
const SYNCHRONOUS: usize = 0;
/// Exception class of a data abort in EL1.
const DATA_ABORT: u64 = 0x25;

/// A fault is being reported. A further one goes on with the way out: each use of a device on it
/// is tried once, so that it ends whatever faults.
static REPORTING: Shared<bool> = Shared::new(false);

/// Where aarch64-rt calls for an exception. What it has saved lies at the stack pointer, where
/// start.S wants it, and the other registers are still as they were: so nothing else may be done.
struct Reported;

macro_rules! reported {
    ($($handler:ident => $symbol:literal,)*) => {
        impl ExceptionHandlers for Reported {
            $(
                #[unsafe(naked)]
                extern "C" fn $handler(_saved: RegisterStateRef<'_>) {
                    naked_asm!(concat!("b ", $symbol))
                }
            )*
        }
    };
}

reported! {
    sync_current => "report_sync_current",
    irq_current => "take_control_interrupt",
    fiq_current => "report_fiq_current",
    serror_current => "report_serror_current",
    sync_lower => "report_sync_lower",
    irq_lower => "report_irq_lower",
    fiq_lower => "report_fiq_lower",
    serror_lower => "report_serror_lower",
}
exception_handlers!(Reported);

/// Called by start.S for every exception but an IRQ, which is the control loop's.
#[no_mangle]
extern "C" fn report_exception(kind: usize, saved: &mut Saved, rest: &[u64; 10]) {
    let esr = read_register!("esr_el1");
    if kind == SYNCHRONOUS && probe::is_probing() && esr >> 26 == DATA_ABORT {
        // Behind the load and the branch, where the probe takes note of it.
        saved.elr = saved.elr.wrapping_add(8);
        return;
    }
    if REPORTING.replace(true) {
        leave::off();
    }

    let mut out = console::emergency();
    let far = read_register!("far_el1");
    let name = NAMES.get(kind).unwrap_or(&"exception");
    // The console cannot fail.
    let _ = writeln!(
        out,
        "FATAL: {name}: esr {esr:#x} far {far:#x} elr {:#x} spsr {:#x}",
        saved.elr, saved.spsr
    );
    let low = saved.x.iter().take(19).copied();
    let high = [saved.x29, saved.x30];
    let all = low.chain(rest.iter().copied()).chain(high);
    for (index, value) in all.enumerate() {
        let end = if index % 4 == 3 { '\n' } else { ' ' };
        let _ = write!(out, "x{index:<2} {value:016x}{end}");
    }
    let _ = writeln!(out, "sp  {:016x}", read_register!("sp_el0"));
    leave::failed()
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    mask_interrupts();
    if REPORTING.replace(true) {
        leave::off();
    }
    let mut out = console::emergency();
    let _ = writeln!(out, "FATAL: {info}");
    leave::failed()
}
