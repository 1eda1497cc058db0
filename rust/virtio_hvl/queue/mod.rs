// SPDX-License-Identifier: GPL-2.0

//! One virtqueue: the virtio core's own ring and buffers on one side, the peer's ring and chunks on
//! the other, and [`crate::algo::shadow`] between them.

mod books;
mod later;
mod memory;
mod role;
mod traffic;

pub(crate) use self::role::{
    Role,
    Watch, //
};
pub(crate) use self::traffic::END_CALLS;
use self::{
    books::{
        Counters,
        State,
        Usage, //
    },
    later::Later,
    memory::slot_of, //
};
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
            Flow,
            Geometry,
            Lists,
            Mapping,
            Post,
            Record,
            Shadow,
            SEGMENTS_MAX, //
        },
        share::Plan,
        stall::Stall, //
    },
    proto::layout::{
        window,
        PAGE, //
    },
    sys::series::{
        new_spinlock_irq,
        SpinLockIrq, //
    },
    virtio_hvl::{
        fault::Fault,
        shmem::{
            Area,
            Page, //
        },
        wire::Wire, //
    },
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// Most bytes that are copied with interrupts off.
const STEP: u32 = PAGE;
/// The same where the region is not cached, and reading it is slow.
const STEP_UNCACHED: u32 = PAGE / 4;

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
    /// The device's window, and its number in the device table.
    page: Page,
    device: usize,
    index: u32,
    /// Which of the peer's doorbells is rung for it.
    doorbell: u32,
    /// Its part of the pool, and where that begins for the peer.
    area: Area,
    base: u64,
    step: u32,
    #[pin]
    state: SpinLockIrq<State>,
    /// What its driver needs that most do not.
    role: Role,
    later: Later,
    notify_count: Atomic<u32>,
    event_seen: Atomic<u32>,
    /// Most entries that the peer said the shared ring can have; 0: it was not asked yet.
    pub(crate) size_max: Atomic<u32>,
    /// Entries of the shared ring, 0 while it is not in use.
    pub(crate) size: Atomic<u32>,
    /// Bytes of a chunk.
    chunk: Atomic<u32>,
    /// The last event that was seen when one was there that was not, and bit 32; 0: there was none.
    suspect: Atomic<u64>,
    /// Bytes of Linux's own memory for the books: of what is mapped, and of what of it the peer has.
    mapped: Atomic<u64>,
    posted: Atomic<u64>,
    /// A chain found no room when the queue was looked at last.
    starved: AtomicFlag,
    /// Since when buffers come back without an event, in ms; 0: they do not.
    silent_since: Atomic<u64>,
    /// That this is so for longer than the deadline, and that it was said.
    silent: AtomicFlag,
    said: AtomicFlag,
    /// Whether it has an interrupt of its own or its device's, and how often that came.
    vector: AtomicFlag,
    vector_count: Atomic<u64>,
    /// The same when events were found last without it, and since when it has been that.
    mute_at: Atomic<u64>,
    mute_since: Atomic<u64>,
    /// That this is so for longer than the deadline, and that it was said.
    mute: AtomicFlag,
    mute_said: AtomicFlag,
    /// Whether its buffers come back; of the link's thread.
    #[pin]
    pub(crate) stall: Mutex<Stall>,
    pub(crate) counters: Counters,
}

impl Queue {
    /// Virtqueue `index` of device number `device`, whose window `page` is, with all of `area`, which begins at
    /// `base` for the peer, and which is rung by `doorbell`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        wire: &Arc<Wire>,
        page: Page,
        device: usize,
        index: u32,
        area: Area,
        base: u64,
        doorbell: u32,
        role: Role,
    ) -> Result<Arc<Self>> {
        let cached = wire.region().is_coherent();
        Arc::pin_init(
            pin_init!(Self {
                wire: wire.clone(),
                role,
                later: Later::new(),
                notify_count: Atomic::new(page.read(window::notify_count(index as usize))),
                event_seen: Atomic::new(page.read(window::queue_event(index as usize))),
                page,
                device,
                index,
                doorbell,
                area,
                base,
                step: if cached { STEP } else { STEP_UNCACHED },
                state <- new_spinlock_irq!(State {
                    shadow: None,
                    rings: [None, None],
                    used: 0,
                    fault: None,
                    over: false,
                    held: false,
                }),
                size_max: Atomic::new(0),
                size: Atomic::new(0),
                chunk: Atomic::new(0),
                suspect: Atomic::new(0),
                mapped: Atomic::new(0),
                posted: Atomic::new(0),
                starved: AtomicFlag::new(false),
                silent_since: Atomic::new(0),
                silent: AtomicFlag::new(false),
                said: AtomicFlag::new(false),
                vector: AtomicFlag::new(false),
                vector_count: Atomic::new(0),
                mute_at: Atomic::new(0),
                mute_since: Atomic::new(0),
                mute: AtomicFlag::new(false),
                mute_said: AtomicFlag::new(false),
                stall <- new_mutex!(Stall::new()),
                counters: Counters::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Number that changes whenever the driver and the device have to do with the queue.
    pub(crate) fn steps(&self) -> u64 {
        self.counters.steps()
    }

    /// Its number.
    pub(crate) fn index(&self) -> u32 {
        self.index
    }

    /// Which of the peer's doorbells is rung for it.
    pub(crate) fn doorbell(&self) -> u32 {
        self.doorbell
    }

    /// Bytes of its part of the pool.
    pub(crate) fn bytes(&self) -> u32 {
        self.area.size()
    }

    /// Bytes of Linux's own memory for its books.
    pub(crate) fn books(&self) -> u64 {
        self.mapped
            .load(Relaxed)
            .wrapping_add(self.posted.load(Relaxed))
    }

    /// Whether the ring is in use.
    pub(super) fn is_open(&self) -> bool {
        self.size.load(Relaxed) != 0
    }

    /// How much is in use.
    pub(crate) fn usage(&self) -> Usage {
        let state = self.state.lock();
        let shadow = state.shadow.as_ref().filter(|_| self.is_open());
        let flow = shadow.and_then(Shadow::flow);
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

    /// Makes room for the driver's mappings, for a private ring of up to `size` entries.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn prepare(&self, size: u16) -> Result {
        // Drivers keep some mapped that are not on the ring.
        let count = 2 * usize::from(size) + 64;
        let maps = KVVec::from_elem(Mapping::NEW, count, GFP_KERNEL)?;
        self.mapped.store(size_of_val(&maps[..]) as u64, Relaxed);
        let shadow = Shadow::new(maps);
        let old = self.state.lock().shadow.replace(shadow);
        // Not under the lock, since that frees memory.
        drop(old);
        Ok(())
    }

    /// Lays out an empty ring for the peer, for the virtio core's at `address`, which has `private`
    /// entries. The driver takes `least` bytes of each chain to be written. From here on it may be
    /// used, and [`Queue::close`] has to be called.
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
        least: u32,
    ) -> Result<Shown> {
        let layout: Layout = plan.layout;
        let geometry: Geometry = plan.geometry(private, self.base, self.step);
        let slots = KVVec::from_elem(Slot::NEW, layout.size().into(), GFP_KERNEL)?;
        let chunks = KVVec::from_elem(Chunk::NEW, plan.chunks.into(), GFP_KERNEL)?;
        let posts = KVVec::from_elem(Post::NEW, private.into(), GFP_KERNEL)?;
        let records = KVVec::from_elem(Record::NEW, private.into(), GFP_KERNEL)?;
        let segments = KVVec::from_elem(Segment::default(), SEGMENTS_MAX, GFP_KERNEL)?;
        let bytes = size_of_val(&slots[..])
            + size_of_val(&chunks[..])
            + size_of_val(&posts[..])
            + size_of_val(&records[..])
            + size_of_val(&segments[..]);
        let lists = Lists {
            chunks,
            posts,
            records,
            segments,
        };
        let mut ring = Ring::new(&self.area, layout, self.base, features, slots).ok_or(EINVAL)?;
        ring.require(least);
        // What is long is done without the lock, which keeps interrupts off: queues are opened one after the other.
        let number = self.state.lock().shadow.as_mut().ok_or(EINVAL)?.next_flow();
        let mut flow =
            Flow::new(geometry, number, ring, features.event_idx, lists).ok_or(EINVAL)?;
        if self.keeps_one() {
            flow.keep_one();
        }
        let mut state = self.state.lock();
        let shadow = state.shadow.as_mut().ok_or(EINVAL)?;
        let old = shadow.install(Some(flow));
        state.used = slot_of(address).ok_or(EINVAL)?;
        (state.over, state.held) = (false, false);
        drop(state);
        drop(old);
        self.chunk.store(plan.chunk, Relaxed);
        self.size.store(layout.size().into(), Relaxed);
        self.posted.store(bytes as u64, Relaxed);
        let at = |offset: u32| self.base.wrapping_add(offset.into());
        Ok(Shown {
            size: layout.size().into(),
            desc: at(layout.descriptors()),
            driver: at(layout.driver()),
            device: at(layout.device()),
        })
    }

    /// Ends the use of the ring. The peer must have been told, or be given up. What the driver has been shown is kept for
    /// it, until it has deleted the queue or uses it anew: virtio_console may be about to take a buffer, and would get what
    /// was in it before.
    pub(crate) fn close(&self) {
        self.size.store(0, Relaxed);
        self.state.lock().over = true;
    }

    /// Forgets every mapping, and the ring: the driver has deleted the queue.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        let flow = state
            .shadow
            .as_mut()
            .and_then(|shadow| shadow.install(None));
        // Not under the lock, since that frees memory.
        drop(state);
        drop(flow);
        let left = match self.wire.dma() {
            Some(dma) => self.forget_direct(dma),
            None => match &mut self.state.lock().shadow {
                Some(shadow) => shadow.forget().into(),
                None => 0,
            },
        };
        self.counters.reclaimed.add(left, Relaxed);
    }
}
