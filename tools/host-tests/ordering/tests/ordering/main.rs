// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Every pair of a side that publishes and one that consumes, in all orders in which they can see
//! what the other writes; and without each barrier, which has to show.
//!
//! Documentation/virtio-hvl/ordering.rst tells which of these is about which barriers of the code.

#![allow(
    clippy::single_range_in_vec_init,
    reason = "a list of ranges of words may have one"
)]

mod bench;
mod document;
mod kernel;
mod link;
mod restart;
mod rings;
#[path = "../../../logic/tests/logic/rst.rs"]
#[allow(dead_code, reason = "the tests of other documents use more of it")]
mod rst;
mod wakeup;
