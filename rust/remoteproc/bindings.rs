// SPDX-License-Identifier: GPL-2.0

//! What bindgen makes of `rust/bindings/psci_rproc.h`, behind one name.

#[allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    reason = "what of this there is depends on the kernel's headers, so `expect` could fail"
)]
mod generated {
    use kernel::{
        bindings::*,
        ffi, //
    };
    use pin_init::MaybeZeroable;

    include!(env!("PSCI_RPROC_BINDINGS"));
}

pub(crate) use generated::*;
