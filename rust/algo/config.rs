// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Fields of a device's configuration space that decide how much a driver sends at once: they are
//! made to fit what a queue can hold.

use super::super::proto::virtio::device;
use super::shadow::SEGMENTS_MAX;
use super::share::BULK;

/// Largest segment that a driver may map, where a queue has [`BULK`] bytes, in bytes.
pub const MAPPING_MAX: u32 = 0x1_0000;

/// Words of the block device's configuration space (VIRTIO 5.2.4): the largest segment, and how many
/// a request may have.
const BLOCK_SIZE_MAX: usize = 2;
const BLOCK_SEG_MAX: usize = 3;
/// Bytes of a chain that are not data: the header and the status of a block request, rounded up.
const HEAD: u32 = 4096;

/// Makes `words`, a copy of the configuration space of a device of type `device`, fit.
///
/// A queue holds a chain of [`BULK`] bytes at least, with a header of its own, so the largest block
/// request is one of [`MAPPING_MAX`].
pub fn fit(device: u32, words: &mut [u32]) {
    if device != device::BLOCK {
        return;
    }
    let data = BULK - HEAD;
    // What counts if the device has no limits is the largest mapping.
    let size_max = words
        .get_mut(BLOCK_SIZE_MAX)
        .map_or(MAPPING_MAX, |size_max| {
            *size_max = (*size_max).clamp(512, MAPPING_MAX);
            *size_max
        });
    if let Some(seg_max) = words.get_mut(BLOCK_SEG_MAX) {
        // Linux takes no fewer than one.
        let most = (data / size_max).min(SEGMENTS_MAX as u32 - 2).max(1);
        *seg_max = (*seg_max).min(most);
    }
}
