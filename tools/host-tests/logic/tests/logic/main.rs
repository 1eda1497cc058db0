// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the protocol and the algorithms that the kernel module and the peer share.

mod buddy;
mod document;
mod document_values;
mod elf;
mod entry;
mod header;
mod link;
mod ring;
mod rst;
mod shadow;
mod small;
mod virtio;
