// SPDX-License-Identifier: GPL-2.0

//! One virtqueue: the virtio core's own ring and buffers on one side, the peer's ring and chunks on
//! the other, and [`crate::algo::shadow`] between them.

use crate::{
    algo::{
        ring::{
            Features,
            Layout,
            Ring,
            Segment,
            Slot, //
        },
        shadow::{
            Chunk,
            Fetched,
            Flow,
            Geometry,
            Lists,
            Mapping,
            Post,
            Posted,
            Record,
            Shadow,
            Store,
            SEGMENTS_MAX, //
        },
        share::Plan, //
    },
    proto::layout::{
        window,
        PAGE, //
    },
    virtio::{
        CpuBuffer,
        Direction,
        Map, //
    },
    virtio_hvl::{
        fault::Fault,
        private::PrivateRing,
        shmem::{
            Area,
            Page, //
        },
        wire::Wire, //
    },
};
use core::ptr::NonNull;
use kernel::{
    new_spinlock_irq,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        SpinLockIrq, //
    }, //
};

/// Most chains that are taken back with interrupts off.
const BATCH: u16 = 32;
/// Most bytes that are copied with interrupts off.
const STEP: u32 = PAGE;
/// The same where the region is not cached, and reading it is slow.
const STEP_UNCACHED: u32 = PAGE / 4;
/// Rings of the virtio core's that a queue may have at once: when it is resized, the new one is
/// made before the old one is freed.
const RINGS: usize = 2;
/// Address of the first of them, which the next one follows. No mapping has it.
const RING_ADDRESS: u64 = 1 << 32;

/// Where the books of a queue are kept.
struct Books;

impl Store for Books {
    type Buffer = CpuBuffer;
    type Slots = KVVec<Slot>;
    type Chunks = KVVec<Chunk>;
    type Maps = KVVec<Mapping<CpuBuffer>>;
    type Posts = KVVec<Post>;
    type Records = KVVec<Record>;
    type Segments = KVVec<Segment>;
}

/// What is done under the queue's lock.
struct State {
    shadow: Option<Shadow<Books>>,
    /// The virtio core's rings, and the one that the flow works on.
    rings: [Option<PrivateRing>; RINGS],
    used: usize,
    /// What the peer, or a driver, was caught at. Nothing is done for the queue any more.
    fault: Option<Fault>,
}

impl State {
    /// The flow's part, and the ring that it works on.
    fn parts(&mut self) -> Option<(&mut Shadow<Books>, &PrivateRing)> {
        let ring = self.rings.get(self.used)?.as_ref()?;
        Some((self.shadow.as_mut()?, ring))
    }
}

/// Counters of a queue.
pub(crate) struct Counters {
    /// Notifications sent.
    pub(crate) kicks: Atomic<u64>,
    /// Used buffer notifications seen.
    pub(crate) interrupts: Atomic<u64>,
    /// Chains shown to the peer.
    pub(crate) posted: Atomic<u64>,
    /// Chains that came back.
    pub(crate) used: Atomic<u64>,
    /// Mappings made. What is not in [`Counters::unmaps`] or [`Counters::reclaimed`] is mapped now.
    pub(crate) maps: Atomic<u64>,
    /// Mappings undone by the driver.
    pub(crate) unmaps: Atomic<u64>,
    /// Times that a chain had to wait for room.
    pub(crate) full: Atomic<u64>,
    /// Addresses that the driver gave back although nothing was mapped there.
    pub(crate) strays: Atomic<u64>,
    /// Mappings that a driver left behind when its queue was deleted.
    pub(crate) reclaimed: Atomic<u64>,
}

/// How much of a queue's part of the pool is in use, in bytes of its chunks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Altogether.
    pub(crate) total: u64,
    /// Now.
    pub(crate) used: u64,
    /// At most, ever.
    pub(crate) high_water: u64,
}

/// What a queue that is to be used looks like to the peer, in its addresses.
#[derive(Clone, Copy)]
pub(crate) struct Shown {
    /// Entries.
    pub(crate) size: u32,
    /// Descriptor area.
    pub(crate) desc: u64,
    /// Driver area.
    pub(crate) driver: u64,
    /// Device area.
    pub(crate) device: u64,
}

/// One virtqueue.
#[pin_data]
pub(crate) struct Queue {
    wire: Arc<Wire>,
    /// The device's window.
    page: Page,
    index: u32,
    /// Its part of the pool, and where that begins for the peer.
    area: Area,
    base: u64,
    step: u32,
    #[pin]
    state: SpinLockIrq<State>,
    notify_count: Atomic<u32>,
    event_seen: Atomic<u32>,
    /// Entries of the shared ring, 0 while it is not in use.
    pub(crate) size: Atomic<u32>,
    /// Bytes of a chunk.
    chunk: Atomic<u32>,
    /// Since when buffers come back without an event, in ms; 0: they do not.
    silent_since: Atomic<u64>,
    /// That this is so for longer than the deadline, and that it was said.
    silent: AtomicFlag,
    said: AtomicFlag,
    pub(crate) counters: Counters,
}

impl Queue {
    /// Virtqueue `index` of the device whose window `page` is, with all of `area`, which begins at
    /// `base` for the peer.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        wire: &Arc<Wire>,
        page: Page,
        index: u32,
        area: Area,
        base: u64,
    ) -> Result<Arc<Self>> {
        let cached = wire.region().is_coherent();
        Arc::pin_init(
            pin_init!(Self {
                wire: wire.clone(),
                notify_count: Atomic::new(page.read(window::notify_count(index as usize))),
                event_seen: Atomic::new(page.read(window::queue_event(index as usize))),
                page,
                index,
                area,
                base,
                step: if cached { STEP } else { STEP_UNCACHED },
                state <- new_spinlock_irq!(State {
                    shadow: None,
                    rings: [None, None],
                    used: 0,
                    fault: None,
                }),
                size: Atomic::new(0),
                chunk: Atomic::new(0),
                silent_since: Atomic::new(0),
                silent: AtomicFlag::new(false),
                said: AtomicFlag::new(false),
                counters: Counters {
                    kicks: Atomic::new(0),
                    interrupts: Atomic::new(0),
                    posted: Atomic::new(0),
                    used: Atomic::new(0),
                    maps: Atomic::new(0),
                    unmaps: Atomic::new(0),
                    full: Atomic::new(0),
                    strays: Atomic::new(0),
                    reclaimed: Atomic::new(0),
                },
            }),
            GFP_KERNEL,
        )
    }

    /// Number that changes whenever the driver and the device have to do with the queue.
    pub(crate) fn steps(&self) -> u64 {
        let counters = &self.counters;
        [
            &counters.maps,
            &counters.unmaps,
            &counters.kicks,
            &counters.interrupts,
            &counters.used,
        ]
        .iter()
        .fold(0, |sum: u64, counter| sum.wrapping_add(counter.load(Relaxed)))
    }

    /// Its number.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Bytes of its part of the pool.
    pub(crate) fn bytes(&self) -> u32 {
        self.area.size()
    }

    /// How much is in use.
    pub(crate) fn usage(&self) -> Usage {
        let state = self.state.lock();
        let flow = state.shadow.as_ref().and_then(Shadow::flow);
        let (total, left, least) = flow.map_or((0, 0, 0), Flow::chunks);
        let bytes = |chunks: u16| u64::from(chunks) * u64::from(self.chunk.load(Relaxed));
        Usage {
            total: bytes(total),
            used: bytes(total.saturating_sub(left)),
            high_water: bytes(total.saturating_sub(least)),
        }
    }

    /// What went wrong.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.state.lock().fault
    }

    // --- life

    /// Makes room for the driver's mappings, for a private ring of up to `size` entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn prepare(&self, size: u16) -> Result {
        // Drivers keep some mapped that are not on the ring.
        let count = 2 * usize::from(size) + 64;
        let maps = KVVec::from_elem(Mapping::NEW, count, GFP_KERNEL)?;
        let shadow = Shadow::new(maps);
        let old = self.state.lock().shadow.replace(shadow);
        // Not under the lock, since that frees memory.
        drop(old);
        Ok(())
    }

    /// Lays out an empty ring for the peer, for the virtio core's at `address`, which has `private`
    /// entries. From here on it may be used, and [`Queue::close`] has to be called.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EINVAL` for a plan that is not for this queue's memory, or a queue that was not
    /// prepared.
    pub(crate) fn open(
        &self,
        plan: &Plan,
        address: u64,
        private: u16,
        features: Features,
    ) -> Result<Shown> {
        let layout: Layout = plan.layout;
        let geometry: Geometry = plan.geometry(private, self.base, self.step);
        let slots = KVVec::from_elem(Slot::NEW, layout.size().into(), GFP_KERNEL)?;
        let lists = Lists {
            chunks: KVVec::from_elem(Chunk::NEW, plan.chunks.into(), GFP_KERNEL)?,
            posts: KVVec::from_elem(Post::NEW, private.into(), GFP_KERNEL)?,
            records: KVVec::from_elem(Record::NEW, private.into(), GFP_KERNEL)?,
            segments: KVVec::from_elem(Segment::default(), SEGMENTS_MAX, GFP_KERNEL)?,
        };
        let ring = Ring::new(&self.area, layout, self.base, features, slots).ok_or(EINVAL)?;
        let mut state = self.state.lock();
        let shadow = state.shadow.as_mut().ok_or(EINVAL)?;
        let number = shadow.next_flow();
        let flow = Flow::new(geometry, number, ring, features.event_idx, lists).ok_or(EINVAL)?;
        let old = shadow.install(Some(flow));
        state.used = slot_of(address).ok_or(EINVAL)?;
        drop(state);
        drop(old);
        self.chunk.store(plan.chunk, Relaxed);
        self.size.store(layout.size().into(), Relaxed);
        let at = |offset: u32| self.base.wrapping_add(offset.into());
        Ok(Shown {
            size: layout.size().into(),
            desc: at(layout.descriptors()),
            driver: at(layout.driver()),
            device: at(layout.device()),
        })
    }

    /// Ends the use of the ring. The peer must have been told, or be given up. `true`: it was in
    /// use.
    pub(crate) fn close(&self) -> bool {
        self.size.store(0, Relaxed);
        let mut state = self.state.lock();
        let flow = state
            .shadow
            .as_mut()
            .and_then(|shadow| shadow.install(None));
        drop(state);
        flow.is_some()
    }

    /// Forgets every mapping: the driver has deleted the queue.
    pub(crate) fn forget(&self) {
        let left = match &mut self.state.lock().shadow {
            Some(shadow) => shadow.forget(),
            None => 0,
        };
        self.counters.reclaimed.add(left.into(), Relaxed);
    }

    // --- to the peer

    /// Brings what the driver has made available to the peer, and rings if that wants it. Any
    /// context. `false`: the queue is at its end.
    pub(crate) fn post(&self) -> bool {
        let mut chains = 0;
        let limit = self.size.load(Relaxed).max(1);
        loop {
            let mut state = self.state.lock();
            if state.fault.is_some() {
                return false;
            }
            let Some((shadow, ring)) = state.parts() else {
                return false;
            };
            let more = match shadow.post(ring, &self.area, &self.area) {
                Posted::Again => true,
                Posted::Chain => {
                    chains += 1;
                    true
                }
                Posted::Idle => false,
                Posted::Starved => {
                    self.counters.full.add(1, Relaxed);
                    false
                }
                Posted::Never(bytes) => {
                    state.fault = Some(Fault::Unsendable(self.index, bytes));
                    break;
                }
                Posted::Stray(address) => {
                    self.counters.strays.add(1, Relaxed);
                    state.fault = Some(Fault::Stray(self.index, address));
                    break;
                }
            };
            // Another CPU may add to the ring all the time: the rest is the link's thread's.
            let enough = chains >= limit;
            if more && !enough {
                continue;
            }
            let wish = shadow.publish(&self.area, self.index as u16);
            drop(state);
            self.counters.posted.add(chains.into(), Relaxed);
            if let Some(word) = wish {
                self.kick(word);
            }
            return true;
        }
        // The link's thread says what is wrong.
        self.wire.wake();
        false
    }

    /// Notifies the peer (protocol.rst, "Notifications").
    fn kick(&self, word: u32) {
        let queue = self.index as usize;
        let count = self.notify_count.fetch_add(1, Relaxed).wrapping_add(1);
        self.page.write(window::notify_data(queue), word);
        self.page.publish(window::notify_count(queue), count);
        self.counters.kicks.add(1, Relaxed);
        self.wire.ring();
    }

    // --- from the peer

    /// Looks whether the peer has used buffers: if its event counter says so, or if `force`.
    /// `true`: the driver is to be called. Any context.
    pub(crate) fn look(&self, force: bool) -> bool {
        // Pairs with the peer's increment after it published the used index.
        let count = self.page.observe(window::queue_event(self.index as usize));
        let differs = self.event_seen.xchg(count, Relaxed) != count;
        if differs {
            self.counters.interrupts.add(1, Relaxed);
            self.silent_since.store(0, Relaxed);
        }
        if !differs && !force {
            return false;
        }
        let before = self.counters.used.load(Relaxed);
        let call = self.complete();
        if !differs && self.counters.used.load(Relaxed) != before {
            self.note_silence();
        }
        call
    }

    /// Buffers came back for which no event was counted. That may only be late, but not for long.
    fn note_silence(&self) {
        let now = self.wire.now_ms().max(1);
        let since = self.silent_since.load(Relaxed);
        if since == 0 {
            self.silent_since.store(now, Relaxed);
        } else if now.saturating_sub(since) >= u64::from(self.wire.timeout_ms()) {
            self.silent.store(true, Relaxed);
        }
    }

    /// Whether buffers come back without an event; asked once.
    pub(crate) fn take_silence(&self) -> bool {
        !self.said.load(Relaxed) && self.silent.load(Relaxed) && !self.said.xchg(true, Relaxed)
    }

    /// Takes back what the peer has used. `true`: the driver is to be called.
    pub(crate) fn complete(&self) -> bool {
        let mut call = false;
        // The peer may use buffers as fast as they are posted: a ring full, and no more.
        for _ in 0..=self.size.load(Relaxed) / u32::from(BATCH) {
            let mut state = self.state.lock();
            let Some((shadow, ring)) = state.parts() else {
                return false;
            };
            match shadow.complete(ring, &self.area, BATCH) {
                Ok(completed) => {
                    self.counters.used.add(completed.chains.into(), Relaxed);
                    call |= completed.call;
                    if completed.more {
                        continue;
                    }
                }
                Err(lie) => {
                    let first = state.fault.is_none();
                    state.fault = state.fault.or(Some(Fault::Ring(self.index, lie)));
                    drop(state);
                    if first {
                        self.wire.wake();
                    }
                }
            }
            break;
        }
        call
    }

    /// Whether a chain waits for room.
    pub(crate) fn is_starved(&self) -> bool {
        let state = self.state.lock();
        let flow = state.shadow.as_ref().and_then(Shadow::flow);
        flow.is_some_and(Flow::is_starved)
    }

    /// Whether the peer has used all that the driver has made available; `None`: it never will.
    pub(crate) fn is_settled(&self) -> Option<bool> {
        let state = self.state.lock();
        if state.fault.is_some() {
            return None;
        }
        let flow = state.shadow.as_ref()?.flow()?;
        Some(flow.is_settled(state.rings.get(state.used)?.as_ref()?))
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
fn slot_of(address: u64) -> Option<usize> {
    usize::try_from(address.checked_sub(RING_ADDRESS)?)
        .ok()
        .filter(|slot| *slot < RINGS)
}
