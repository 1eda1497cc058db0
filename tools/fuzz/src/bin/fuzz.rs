// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The program that libFuzzer drives; HVL_FUZZ_TARGET names the target.

#![no_main]

use hvl_fuzz::Target;
use std::sync::LazyLock;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("HVL_FUZZ_TARGET").unwrap_or_default();
    hvl_fuzz::find(&name).unwrap_or_else(|| panic!("HVL_FUZZ_TARGET: no target {name:?}"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| (TARGET.run)(data));
