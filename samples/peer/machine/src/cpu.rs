// SPDX-License-Identifier: GPL-2.0 OR MIT

//! System registers, memory-mapped registers, symbols of the linker, leaving the core.

#![expect(unsafe_code, reason = "registers and symbols have no safe form")]

use core::arch::{asm, global_asm};
use core::ops::Range;

global_asm!(include_str!("start.S"));
global_asm!(include_str!("memcpy.S"));

/// Reads a system register.
macro_rules! read_register {
    ($name:literal) => {{
        let value: u64;
        // SAFETY: Reading it has no effect on memory.
        unsafe {
            core::arch::asm!(concat!("mrs {}, ", $name), out(reg) value, options(nomem, nostack, preserves_flags));
        }
        value
    }};
}

/// Writes a system register.
macro_rules! write_register {
    ($name:literal, $value:expr) => {{
        let value: u64 = $value;
        // SAFETY: The registers written here change timers and masks, not memory.
        unsafe {
            core::arch::asm!(concat!("msr ", $name, ", {}"), in(reg) value, options(nostack, preserves_flags));
        }
    }};
}

pub(crate) use {read_register, write_register};

/// A number that hardly repeats from boot to boot.
pub(crate) fn entropy() -> u64 {
    read_register!("cntpct_el0")
}

/// Whether the core makes random numbers (FEAT_RNG).
pub(crate) fn has_random() -> bool {
    read_register!("id_aa64isar0_el1") >> 60 != 0
}

/// A random number of the core's, if it has one just now; only where [`has_random`] says so.
pub(crate) fn random() -> Option<u64> {
    let (value, failed): (u64, u64);
    // SAFETY: Reading RNDR, which exists, changes only the flags.
    unsafe {
        asm!(
            "mrs {value}, s3_3_c2_c4_0",
            "cset {failed}, eq",
            value = out(reg) value,
            failed = out(reg) failed,
            options(nomem, nostack),
        );
    }
    (failed == 0).then_some(value)
}

/// Own affinity: Aff3 in bits 39:32, Aff2..Aff0 in 23:0.
pub(crate) fn affinity() -> u64 {
    read_register!("mpidr_el1") & 0xff_00ff_ffff
}

/// Whether the core reaches its interrupt controller by system registers, so has a GICv3.
pub(crate) fn has_gic_registers() -> bool {
    (read_register!("id_aa64pfr0_el1") >> 24) & 0xf != 0
}

/// Whether the core has an EL3, where firmware answers SMC.
pub(crate) fn has_el3() -> bool {
    (read_register!("id_aa64pfr0_el1") >> 12) & 0xf != 0
}

/// Whether the core has an EL2.
pub(crate) fn has_el2() -> bool {
    (read_register!("id_aa64pfr0_el1") >> 8) & 0xf != 0
}

/// Sleeps until an interrupt is pending, masked or not. All earlier writes are done before.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: Sleeping has no effect on memory.
    unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) }
}

/// A word of a device's register block.
///
/// # Safety
///
/// `address` must be that of a 32-bit register, mapped as device memory, whose write does nothing
/// to memory that Rust knows of.
pub(crate) unsafe fn write32(address: usize, value: u32) {
    // SAFETY: The caller's promise.
    unsafe { core::ptr::with_exposed_provenance_mut::<u32>(address).write_volatile(value) }
}

/// As [`write32`], for a register that can be written by bytes.
///
/// # Safety
///
/// As for [`write32`].
pub(crate) unsafe fn write8(address: usize, value: u8) {
    // SAFETY: The caller's promise.
    unsafe { core::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(value) }
}

/// Reads a word of a device's register block.
///
/// # Safety
///
/// `address` must be that of a 32-bit register, mapped as device memory.
pub(crate) unsafe fn read32(address: usize) -> u32 {
    // SAFETY: The caller's promise.
    unsafe { core::ptr::with_exposed_provenance::<u32>(address).read_volatile() }
}

/// Has writes to system registers take effect before what follows.
pub(crate) fn isb() {
    // SAFETY: A barrier has no other effect.
    unsafe { asm!("isb", options(nostack, preserves_flags)) }
}

/// Has all earlier accesses done before what follows.
pub(crate) fn barrier() {
    // SAFETY: A barrier has no other effect.
    unsafe { asm!("dsb sy", options(nostack, preserves_flags)) }
}

/// The bit of DAIF that masks interrupts.
const MASKED: u64 = 1 << 7;

/// Masks interrupts; what the mask was.
pub(crate) fn mask_interrupts() -> u64 {
    let before = read_register!("daif");
    // SAFETY: The compiler moves no access to memory over it.
    unsafe { asm!("msr daifset, #2", options(nostack, preserves_flags)) }
    before
}

/// Takes back what [`mask_interrupts`] has changed.
pub(crate) fn restore_interrupts(before: u64) {
    if before & MASKED == 0 {
        unmask_interrupts();
    }
}

/// Lets interrupts come.
pub(crate) fn unmask_interrupts() {
    // SAFETY: The handler touches nothing but what is made for it; the compiler moves no access to memory over this.
    unsafe { asm!("msr daifclr, #2", options(nostack, preserves_flags)) }
}

/// Makes all earlier writes visible to everybody before a device is told.
pub(crate) fn write_barrier() {
    // SAFETY: A barrier has no other effect.
    unsafe { asm!("dsb st", options(nostack, preserves_flags)) }
}

macro_rules! symbols {
    ($($name:ident)*) => {
        extern "C" {
            $(static $name: u8;)*
        }
        /// Addresses from the linker script.
        pub(crate) mod symbol {
            $(pub(crate) fn $name() -> usize {
                (&raw const super::$name).expose_provenance()
            })*
        }
    };
}

symbols! {
    text_begin text_end rodata_begin rodata_end data_begin uncached_begin uncached_end
    boot_stack_guard boot_stack_begin boot_stack_end exception_stack_begin exception_stack_end
    image_end image_size stop_request trace_buffer
}

/// The pages of the image from one symbol to another.
pub(crate) type Span = Range<usize>;

extern "C" {
    fn leave(line: usize, begin: usize, end: usize, hvc: u64) -> !;
}

/// Turns this core off by PSCI.
pub(crate) fn turn_off(hvc: bool) -> ! {
    let line = 4usize << ((read_register!("ctr_el0") >> 16) & 0xf);
    write_register!("cntv_ctl_el0", 0);
    write_register!("cntp_ctl_el0", 0);
    // SAFETY: Nothing of this program runs afterwards; the range is that of the image.
    unsafe {
        leave(
            line,
            symbol::text_begin(),
            symbol::image_end(),
            u64::from(hvc),
        )
    }
}

/// Reads where nothing is mapped: for a test of what happens then.
pub(crate) fn crash() {
    // SAFETY: It is not, which is the point; the exception does not return.
    unsafe { asm!("ldr xzr, [{}]", in(reg) 0x1000_u64, options(nostack)) }
}

/// Whether Linux has asked us to stop, in the resource table.
pub(crate) fn stop_requested() -> bool {
    let word = core::ptr::with_exposed_provenance::<u32>(symbol::stop_request());
    // SAFETY: A word of the image's own, aligned, that Linux writes as a whole.
    u32::from_le(unsafe { word.read_volatile() }) != 0
}

/// One byte of the image that may have been patched in the file.
///
/// # Safety
///
/// `byte` must point into the image.
pub(crate) unsafe fn patched(byte: *const u8) -> u8 {
    // SAFETY: The caller's promise.
    unsafe { byte.read_volatile() }
}
