// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Sets of devices or of queues, a bit each.

#![forbid(unsafe_code)]

/// The bit of `index`, which is below 64.
pub(crate) const fn bit(index: usize) -> u64 {
    1 << (index as u32 % u64::BITS)
}

/// What is in `mask`, the lowest first.
pub(crate) fn each(mut mask: u64) -> impl Iterator<Item = usize> {
    core::iter::from_fn(move || {
        let index = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (index < u64::BITS).then_some(index as usize)
    })
}
