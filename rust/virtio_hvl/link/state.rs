// SPDX-License-Identifier: GPL-2.0

//! One link: what is known of its peer, and the devices that interrupts go to.

use crate::{
    proto::layout::{
        link,
        DEVICES_MAX, //
    },
    sys::{
        bottom_half::BottomHalves,
        series::{
            new_spinlock_irq,
            SpinLockIrq,
            SpinLockIrqBackend, //
        }, //
    },
    virtio::Device,
    virtio_hvl::{
        device::HvlDevice,
        link::selftest::SelfTest,
        wire::{
            Parts,
            Peer,
            Wire, //
        }, //
    },
};
use core::cell::Cell;
use kernel::{
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        lock::Guard,
        Arc,
        Mutex, //
    }, //
};

/// A device of the attached peer.
pub(crate) type HvlVirtio = Device<HvlDevice>;

/// Where interrupts for one device go.
type Slot = SpinLockIrq<Option<Arc<HvlVirtio>>>;

/// A slot that is locked.
type SlotGuard<'a> = Guard<'a, Option<Arc<HvlVirtio>>, SpinLockIrqBackend>;

/// One link.
#[pin_data]
pub(crate) struct Link {
    wire: Arc<Wire>,
    /// Number of this attachment of ours.
    pub(super) driver_epoch: Atomic<u32>,
    #[pin]
    pub(super) peer: Mutex<Option<Peer>>,
    /// The devices that interrupts go to. A lock of its own for each, since a driver's callback
    /// runs under it: what is stuck in one keeps nobody from the others.
    #[pin]
    slots: [Slot; DEVICES_MAX],
    /// Entries of the device table.
    pub(super) device_count: Atomic<u32>,
    events_seen: [Atomic<u32>; DEVICES_MAX],
    /// `PeerState` and `Epoch` as last seen by the interrupt handler.
    peer_seen: Atomic<u64>,
    #[pin]
    pub(crate) selftest: SelfTest,
    /// Epoch of the peer whose refusal was logged: it is tried again, but not complained of again.
    pub(super) complained: Atomic<u32>,
    /// Name of the life cycle's state.
    #[pin]
    pub(super) state: Mutex<&'static str>,
}

impl Link {
    /// A link that looks for no peer yet; the thread does, see [`super::Life`].
    ///
    /// # Errors
    ///
    /// `ENOMEM`, `ERANGE` for a region of less than a page.
    pub(crate) fn new(parts: Parts) -> Result<Arc<Self>> {
        let wire = Wire::new(parts)?;
        Arc::pin_init(
            pin_init!(Self {
                wire,
                driver_epoch: Atomic::new(0),
                peer <- new_mutex!(None),
                slots <- pin_init::pin_init_array_from_fn(|_| new_spinlock_irq!(None)),
                device_count: Atomic::new(0),
                events_seen: [const { Atomic::new(0) }; DEVICES_MAX],
                peer_seen: Atomic::new(0),
                selftest <- SelfTest::new(),
                complained: Atomic::new(0),
                state <- new_mutex!("waiting"),
            }),
            GFP_KERNEL,
        )
    }

    /// The way to the peer.
    pub(crate) fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }

    /// Name of the life cycle's state.
    pub(crate) fn state(&self) -> &'static str {
        *self.state.lock()
    }

    /// What is known of the attached peer.
    pub(crate) fn peer(&self) -> Option<Peer> {
        *self.peer.lock()
    }

    /// The peer rang. Hard interrupt context; the work is bounded by the limits of the protocol.
    /// `false`: there was nothing new to see.
    pub(crate) fn interrupt(&self) -> bool {
        self.wire.counters.interrupts.add(1, Relaxed);
        self.take()
    }

    /// The same without a ring: it is time to look. Process context.
    pub(super) fn poll(&self) -> bool {
        self.wire.counters.polls.add(1, Relaxed);
        // Callbacks raise softirqs, as they do from the interrupt; those run when this ends.
        let _bottom_halves = BottomHalves::disable();
        self.take()
    }

    fn take(&self) -> bool {
        self.wire.acknowledge_rings();
        let answered = self.selftest.interrupt(&self.wire);

        let state = u64::from(self.wire.header().observe(link::PEER_STATE));
        let seen = (state << 32) | u64::from(self.wire.header().observe(link::EPOCH));
        let changed = self.peer_seen.xchg(seen, Relaxed) != seen;
        if changed {
            self.wire.wake();
        }
        let news = self.scan(
            |_, slot| Some(slot.lock()),
            |_, device| device.transport().interrupt(device, false),
            false,
        );
        news || changed || answered
    }

    /// Passes on to the devices what the peer has counted up. Any context.
    ///
    /// `enter` takes a device's lock, or leaves that device out; `pass` has the device look. `force`: also
    /// those whose event counter is unchanged. `true`: at least one was changed.
    fn scan<'a>(
        &'a self,
        enter: impl Fn(usize, &'a Slot) -> Option<SlotGuard<'a>>,
        pass: impl Fn(usize, &HvlVirtio),
        force: bool,
    ) -> bool {
        if self.wire.epoch() == 0 {
            return false;
        }
        let count = self.device_count.load(Relaxed) as usize;
        let mut changed = false;
        for (index, (slot, seen)) in self.slots.iter().zip(&self.events_seen).enumerate() {
            if index >= count {
                break;
            }
            // Pairs with the peer's increment after those in the device's window.
            let count = self.wire.header().observe(link::device_event(index));
            let differs = seen.load(Relaxed) != count;
            if !differs && !force {
                continue;
            }
            let Some(slot) = enter(index, slot) else {
                continue;
            };
            let Some(device) = &*slot else {
                continue;
            };
            // What is counted after this is for the next interrupt.
            seen.store(count, Relaxed);
            pass(index, device);
            changed |= differs;
        }
        changed
    }

    /// Whether the peer has counted events that nobody has looked at: it did not ring, or the ring is on its
    /// way, or lost. [`Link::look`] counts those of which the latter is true by then. Process context.
    pub(super) fn suspects(&self) -> bool {
        // Who polls does not wait for a ring.
        if self.wire.epoch() == 0 || self.wire.poll().is_some() {
            return false;
        }
        let count = self.device_count.load(Relaxed) as usize;
        self.slots.iter().take(count).fold(false, |any, slot| {
            let slot = slot.try_lock();
            let device = slot.as_ref().and_then(|slot| slot.as_ref());
            device.is_some_and(|device| device.transport().suspects()) | any
        })
    }

    /// Has each device look at its counters now that is to, or all of them; but for those whose
    /// callback is running. `true`: one that was to was left out,
    /// and still is to. Process context.
    pub(super) fn look(&self, all: bool) -> bool {
        if all {
            self.wire.acknowledge_rings();
        }
        let (left_out, is_wanted) = (Cell::new(false), Cell::new(false));
        // Callbacks raise softirqs, as they do from the interrupt; those run when this ends.
        let _bottom_halves = BottomHalves::disable();
        let leave_out = |index| {
            if is_wanted.get() {
                self.wire.mark_look(index);
                left_out.set(true);
            }
        };
        self.scan(
            |index, slot| {
                is_wanted.set(self.wire.take_look(index));
                if !all && !is_wanted.get() {
                    return None;
                }
                let entered = slot.try_lock();
                if entered.is_none() {
                    leave_out(index);
                }
                entered
            },
            |index, device| {
                // A callback that another interrupt has begun.
                if !device.transport().look(device, false) {
                    leave_out(index);
                }
            },
            true,
        );
        left_out.get()
    }

    /// Has device `index` look at its counters now. Process context.
    pub(super) fn look_at(&self, index: usize) {
        let _bottom_halves = BottomHalves::disable();
        self.scan(
            |other, slot| (other == index).then(|| slot.lock()),
            |_, device| {
                device.transport().look(device, true);
            },
            true,
        );
    }

    /// Device `index`, if it is registered.
    pub(crate) fn device(&self, index: usize) -> Option<Arc<HvlVirtio>> {
        self.slots.get(index)?.lock().clone()
    }

    /// Passes interrupts of device `index` on to `device`.
    pub(super) fn fill_slot(&self, index: usize, device: &Arc<HvlVirtio>) {
        if let Some(slot) = self.slots.get(index) {
            // What was there is dropped after the lock, since that frees memory.
            let old = slot.lock().replace(device.clone());
            drop(old);
        }
    }

    /// Passes no more interrupts on to `device`, if they went there.
    pub(super) fn clear_slot(&self, index: usize, device: &Arc<HvlVirtio>) {
        if let Some(slot) = self.slots.get(index) {
            let mut slot = slot.lock();
            let ours = slot
                .as_ref()
                .is_some_and(|other| Arc::ptr_eq(other, device));
            let old = if ours { slot.take() } else { None };
            drop(slot);
            drop(old);
        }
    }
}
