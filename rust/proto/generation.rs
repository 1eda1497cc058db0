// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The number under which a configuration space changes ("Configuration").

/// Whether no change is under way at `generation`.
pub const fn is_settled(generation: u32) -> bool {
    generation % 2 == 0
}

/// The number while a change is under way that begins at `generation`.
pub const fn begun(generation: u32) -> u32 {
    // Odd, whatever was there.
    generation.wrapping_add(1) | 1
}

/// The number after the change that is under way at `generation`.
pub const fn ended(generation: u32) -> u32 {
    // Even, whatever was there.
    generation.wrapping_add(1) & !1
}
