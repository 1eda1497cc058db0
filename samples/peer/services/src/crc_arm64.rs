// SPDX-License-Identifier: GPL-2.0 OR MIT

//! CRC-32 by the instructions that all but the first arm64 cores have.

#![expect(unsafe_code, reason = "instructions without a safe form")]

use core::arch::asm;

/// Whether this core has the instructions. In user space Linux answers for the register.
fn present() -> bool {
    let isar0: u64;
    // SAFETY: Reading it has no other effect.
    unsafe {
        asm!("mrs {}, id_aa64isar0_el1", out(reg) isar0, options(nomem, nostack, preserves_flags));
    }
    (isar0 >> 16) & 0xf != 0
}

/// `crc`, without the final complement, after `bytes`; `None` without the instructions.
pub(super) fn update(crc: u32, bytes: &[u8]) -> Option<u32> {
    if !present() {
        return None;
    }
    let mut crc = crc;
    let mut words = bytes.chunks_exact(32);
    for word in words.by_ref() {
        // SAFETY: The core has the instructions, and the chunk 32 bytes to read.
        unsafe {
            asm!(
                ".arch_extension crc",
                "ldp {a}, {b}, [{from}]",
                "ldp {c}, {d}, [{from}, #16]",
                "crc32x {crc:w}, {crc:w}, {a}",
                "crc32x {crc:w}, {crc:w}, {b}",
                "crc32x {crc:w}, {crc:w}, {c}",
                "crc32x {crc:w}, {crc:w}, {d}",
                a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
                crc = inout(reg) crc,
                from = in(reg) word.as_ptr(),
                options(nostack, readonly, preserves_flags),
            );
        }
    }
    for byte in words.remainder() {
        // SAFETY: The core has the instruction.
        unsafe {
            asm!(
                ".arch_extension crc",
                "crc32b {crc:w}, {crc:w}, {byte:w}",
                crc = inout(reg) crc,
                byte = in(reg) u32::from(*byte),
                options(nomem, nostack, preserves_flags),
            );
        }
    }
    Some(crc)
}
