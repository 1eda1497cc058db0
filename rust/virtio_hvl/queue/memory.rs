// SPDX-License-Identifier: GPL-2.0

//! What the virtio core asks of a queue's memory.

use super::{
    books::{
        Books,
        RINGS, //
    },
    Queue, //
};
use crate::{
    algo::shadow::{
        Fetched,
        Flow,
        Shadow, //
    },
    virtio::{
        CpuBuffer,
        Direction,
        Map, //
    },
    virtio_hvl::private::PrivateRing, //
};
use core::ptr::NonNull;
use kernel::sync::atomic::Relaxed;

/// Address of the first of the virtio core's rings, which the next one follows. No mapping has it.
const RING_ADDRESS: u64 = 1 << 32;

impl Queue {
    /// Does `step` until it is done. What it gives back may be what a chain waits for.
    fn fetch(&self, mut step: impl FnMut(&mut Shadow<Books>) -> Fetched) -> bool {
        loop {
            let mut guard = self.state.lock();
            let Some(shadow) = &mut guard.shadow else {
                return false;
            };
            match step(shadow) {
                Fetched::Again => continue,
                Fetched::Stray => return false,
                Fetched::Done => {
                    let starved = shadow.flow().is_some_and(Flow::is_starved);
                    drop(guard);
                    if starved {
                        self.post();
                    }
                    return true;
                }
            }
        }
    }
}

// SAFETY: What `alloc` returns is the ring's own memory, aligned to a line, which lives until `free`
// or as long as the queue, and which is accessed as `PrivateRing` says. A buffer leaves the book when
// it is unmapped, or when its queue is deleted and its mappings forgotten; until then the core makes
// no two calls about it at once.
unsafe impl Map for Queue {
    fn map(&self, buffer: CpuBuffer) -> Option<u64> {
        let len = u32::try_from(buffer.len()).ok()?;
        let handle = self.state.lock().shadow.as_mut()?.map(buffer, len)?;
        self.counters.maps.add(1, Relaxed);
        Some(handle)
    }

    fn unmap(&self, address: u64, direction: Direction, copy: bool) {
        let data = (copy && direction.device_writes()).then_some(&self.area);
        let counter = if self.fetch(|shadow| shadow.unmap(address, data)) {
            &self.counters.unmaps
        } else {
            &self.counters.strays
        };
        counter.add(1, Relaxed);
    }

    fn sync_for_cpu(&self, address: u64, size: usize) {
        let len = u32::try_from(size).unwrap_or(u32::MAX);
        self.fetch(|shadow| shadow.fetch(address, len, &self.area));
    }

    fn alloc(&self, size: usize) -> Option<(NonNull<u8>, u64)> {
        let ring = PrivateRing::new(size).ok()?;
        let base = ring.base();
        // Whatever is dropped is dropped after the lock, since that frees memory.
        let mut rest = Some(ring);
        let mut state = self.state.lock();
        let slot = state.rings.iter().position(Option::is_none)?;
        *state.rings.get_mut(slot)? = rest.take();
        drop(state);
        Some((base, RING_ADDRESS + slot as u64))
    }

    fn free(&self, address: u64) {
        let mut state = self.state.lock();
        let slot = slot_of(address).and_then(|slot| state.rings.get_mut(slot));
        let ring = slot.and_then(Option::take);
        // Not under the lock, since that frees memory.
        drop(state);
        drop(ring);
    }
}

/// Number of the ring at `address`.
pub(super) fn slot_of(address: u64) -> Option<usize> {
    usize::try_from(address.checked_sub(RING_ADDRESS)?)
        .ok()
        .filter(|slot| *slot < RINGS)
}
