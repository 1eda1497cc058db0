// SPDX-License-Identifier: GPL-2.0

//! The generated bindings, and nothing else.
//!
//! They hold what `kernel::bindings` lacks; everything that is there as well is the kernel crate's
//! own type.

#[allow(
    missing_docs,
    dead_code,
    improper_ctypes,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod generated {
    use kernel::{
        bindings::*,
        ffi, //
    };
    use pin_init::MaybeZeroable;

    include!(env!("VIRTIO_HVL_BINDINGS"));
}

pub(crate) use generated::*;
