// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Tests of the protocol and the algorithms that the kernel module and the peer share.

mod c_header;
mod console;
mod document;
mod document_driver;
mod document_peer;
mod document_trace;
mod document_values;
mod elf;
mod entry;
mod features;
mod handshake;
mod header;
mod link;
#[path = "../../../../../samples/peer/device/tests/common/mod.rs"]
mod rig;
mod ring;
mod rpmsg;
mod rst;
mod shadow;
mod share;
mod small;
mod snapshot;
mod vectors;
mod virtio;
