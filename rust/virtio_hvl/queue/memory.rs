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
    virtio_hvl::{
        buffer::Buffer,
        dma::{
            Dma,
            Mapped, //
        },
        private::PrivateRing,
        shmem::Area, //
    }, //
};
use core::ptr::NonNull;
use kernel::sync::atomic::Relaxed;

/// Address of the first of the virtio core's rings, which the next one follows. No mapping has it.
const RING_ADDRESS: u64 = 1 << 32;

/// Direct mode.
impl Queue {
    #[inline(never)]
    fn map_direct(
        &self,
        dma: &Dma,
        buffer: CpuBuffer,
        direction: Direction,
        sync: bool,
    ) -> Option<u64> {
        let (_, len) = buffer.into_parts();
        let len = u32::try_from(len).ok()?;
        let mapped = dma.map(buffer, direction, sync)?;
        let handle = match &mut self.state.lock().shadow {
            Some(shadow) => shadow.map(Buffer::direct(mapped), len),
            None => None,
        };
        if handle.is_none() {
            // SAFETY: It was just made, and nobody else knows of it.
            unsafe { dma.unmap(mapped, false) };
        }
        handle
    }

    /// Takes the mapping at `address` out of the book.
    #[inline(never)]
    fn take_mapped(&self, address: u64) -> Option<Mapped> {
        let mut state = self.state.lock();
        let shadow = state.shadow.as_mut()?;
        let (buffer, 0) = shadow.buffer(address)? else {
            return None;
        };
        while shadow.unmap(address, None::<&Area>) == Fetched::Again {}
        buffer.mapped()
    }

    /// How the buffer at `address` is mapped, and the byte in it.
    #[inline(never)]
    fn mapped_at(&self, address: u64) -> Option<(Mapped, u32)> {
        let state = self.state.lock();
        let (buffer, at) = state.shadow.as_ref()?.buffer(address)?;
        Some((buffer.mapped()?, at))
    }

    /// Forgets every mapping, and undoes it: the driver has deleted the queue.
    pub(super) fn forget_direct(&self, dma: &Dma) -> u64 {
        // Not under the lock: there may be many.
        let shadow = self.state.lock().shadow.take();
        let buffers = shadow.iter().flat_map(Shadow::buffers);
        buffers
            .filter_map(|buffer| buffer.mapped())
            .fold(0, |count, mapped| {
                // SAFETY: It was in the book, which nobody else has any more.
                unsafe { dma.unmap(mapped, false) };
                count + 1
            })
    }
}

impl Queue {
    /// Takes the mapping at `address` of a queue that is watched back, with what the peer has written, if that is wanted,
    /// as the driver may see it.
    #[inline(never)]
    fn unmap_watched(&self, address: u64, data: Option<&Area>) -> bool {
        let told = data.and_then(|_| self.told(address));
        let found = self.fetch(|shadow| shadow.unmap(address, data));
        if let Some((buffer, len)) = told {
            self.judge(&buffer, len);
        }
        found
    }

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
    fn map(&self, buffer: CpuBuffer, direction: Direction, sync: bool) -> Option<u64> {
        let handle = match self.wire.dma() {
            None => {
                let (buffer, len) = Buffer::copied(buffer)?;
                if self.is_watched() {
                    self.hear(&buffer);
                }
                self.state.lock().shadow.as_mut()?.map(buffer, len)?
            }
            Some(dma) => self.map_direct(dma, buffer, direction, sync)?,
        };
        self.counters.maps.add(1, Relaxed);
        Some(handle)
    }

    fn unmap(&self, address: u64, direction: Direction, copy: bool) {
        let found = match self.wire.dma() {
            None => {
                let data = (copy && direction.device_writes()).then_some(&self.area);
                if self.is_watched() {
                    self.unmap_watched(address, data)
                } else {
                    self.fetch(|shadow| shadow.unmap(address, data))
                }
            }
            Some(dma) => self.take_mapped(address).is_some_and(|mapped| {
                // SAFETY: It was in the book, and is not any more.
                unsafe { dma.unmap(mapped, copy) };
                true
            }),
        };
        let counter = if found {
            &self.counters.unmaps
        } else {
            &self.counters.strays
        };
        counter.add(1, Relaxed);
    }

    fn sync_for_cpu(&self, address: u64, size: usize) {
        let len = u32::try_from(size).unwrap_or(u32::MAX);
        match self.wire.dma() {
            None => {
                self.fetch(|shadow| shadow.fetch(address, len, &self.area));
            }
            Some(dma) if dma.needs_sync() => {
                if let Some((mapped, at)) = self.mapped_at(address) {
                    // SAFETY: It is in the book; the core does not unmap what it is syncing.
                    unsafe { dma.sync_for_cpu(mapped, at, len) };
                }
            }
            Some(_) => {}
        }
    }

    fn sync_for_device(&self, address: u64, size: usize) {
        // What is copied is copied when the driver notifies the device, which comes after.
        let Some(dma) = self.wire.dma().filter(|dma| dma.needs_sync()) else {
            return;
        };
        let len = u32::try_from(size).unwrap_or(u32::MAX);
        if let Some((mapped, at)) = self.mapped_at(address) {
            // SAFETY: As in `sync_for_cpu`.
            unsafe { dma.sync_for_device(mapped, at, len) };
        }
    }

    fn needs_sync(&self) -> bool {
        self.wire.dma().is_none_or(Dma::needs_sync)
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
