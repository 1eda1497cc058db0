// SPDX-License-Identifier: GPL-2.0

//! A virtio device and its registration.

use super::{
    table::{
        Gate,
        Table, //
    },
    transport::{
        Transport,
        QUEUES_MAX, //
    }, //
};
use crate::sys::{
    bindings as sys,
    series::{
        new_spinlock_irq,
        SpinLockIrq, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    container_of,
    new_mutex,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            AtomicFlag,
            Relaxed, //
        },
        Arc,
        Completion,
        Mutex, //
    },
    types::Opaque, //
};

/// A `struct virtio_device` with its transport.
///
/// # Invariants
///
/// From its registration until it is released, `vdev` is a `struct virtio_device` of the virtio
/// core's, and `self` is inside an `Arc` that [`super::registration::Released`] holds.
#[pin_data]
pub(crate) struct Device<T: Transport> {
    #[pin]
    pub(super) vdev: Opaque<sys::virtio_device>,
    // Set by the one attempt to register the device.
    pub(super) claimed: AtomicFlag,
    // The virtio core has initialized the device, and may call its driver.
    pub(super) registered: AtomicFlag,
    // Nobody uses the device any more.
    #[pin]
    pub(super) released: Completion,
    // Every virtqueue from its creation to its deletion. Nothing is waited for under this lock.
    #[pin]
    existing: SpinLockIrq<Table>,
    // The driver has said that it can use the device, and has not reset it since: callbacks may run.
    live: AtomicFlag,
    // Held while a callback runs that may sleep, see `call_queue`.
    #[pin]
    calls: Mutex<()>,
    // Those of them that are enabled, by index.
    #[pin]
    gates: [SpinLockIrq<Gate>; QUEUES_MAX],
    // The maps whose tokens C code may still have: a queue's, until another one with its index is
    // made, or the device is freed.
    #[pin]
    maps: Mutex<KVec<Option<Arc<T::Map>>>>,
    pub(super) transport: T,
}

// SAFETY: `vdev` is only accessed through the virtio core, which locks it, or as the functions
// below say; all else is `Send`.
unsafe impl<T: Transport> Send for Device<T> {}

// SAFETY: As above.
unsafe impl<T: Transport> Sync for Device<T> {}

/// The device that `vdev` is embedded in.
///
/// # Safety
///
/// `vdev` is the `struct virtio_device` of a [`Device<T>`] that outlives the returned reference.
pub(super) unsafe fn from_virtio<'a, T: Transport>(vdev: *mut sys::virtio_device) -> &'a Device<T> {
    let vdev = vdev.cast::<Opaque<sys::virtio_device>>();
    // SAFETY: By the function's contract; `Opaque` is `repr(transparent)`.
    unsafe { &*container_of!(vdev, Device<T>, vdev) }
}

impl<T: Transport> Device<T> {
    /// Makes a device that is not registered.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(transport: T) -> Result<Arc<Self>> {
        let maps = KVec::from_elem(None, QUEUES_MAX, GFP_KERNEL)?;
        Arc::pin_init(
            pin_init!(Self {
                vdev <- Opaque::ffi_init(|slot: *mut sys::virtio_device| {
                    // SAFETY: `slot` is valid for writes; all fields may be zero.
                    unsafe { slot.write_bytes(0, 1) };
                }),
                claimed: AtomicFlag::new(false),
                registered: AtomicFlag::new(false),
                released <- Completion::new(),
                existing <- new_spinlock_irq!(Table::new()),
                live: AtomicFlag::new(false),
                calls <- new_mutex!(()),
                gates <- pin_init::pin_init_array_from_fn(|_| new_spinlock_irq!(Gate(None))),
                maps <- new_mutex!(maps),
                transport,
            }),
            GFP_KERNEL,
        )
    }

    /// The transport.
    pub(crate) fn transport(&self) -> &T {
        &self.transport
    }

    pub(super) fn as_raw(&self) -> *mut sys::virtio_device {
        self.vdev.get()
    }

    pub(super) fn existing(&self) -> &SpinLockIrq<Table> {
        &self.existing
    }

    /// Lets the callback of virtqueue `index` run, or no more: then it waits for the one that runs. Process
    /// context.
    pub(super) fn set_gate(&self, index: u32, queue: Option<NonNull<sys::virtqueue>>) {
        if let Some(gate) = self.gates.get(index as usize) {
            gate.lock().0 = queue;
        }
        if queue.is_none() {
            drop(self.calls.lock());
        }
    }

    /// Virtqueue `index`, if its callback may run.
    pub(super) fn gate(&self, index: u32) -> Option<NonNull<sys::virtqueue>> {
        self.gates.get(index as usize)?.lock().0
    }

    /// The core's last reference to the device is gone. `self` may be freed when this returns.
    pub(super) fn set_released(&self) {
        self.released.complete_all();
    }

    pub(super) fn keep_map(&self, index: u32, map: Arc<T::Map>) {
        let mut maps = self.maps.lock();
        if let Some(slot) = maps.get_mut(index as usize) {
            *slot = Some(map);
        }
    }

    /// Features in use, or offered before they are negotiated.
    pub(super) fn features(&self) -> u64 {
        // SAFETY: `vdev` is initialized; the core changes the features only while it probes, in
        // the thread that asks.
        unsafe { *(*self.as_raw()).__bindgen_anon_1.features.as_ref() }
    }

    /// Adds `bits` to the features that are to be used.
    pub(super) fn add_features(&self, bits: u64) {
        // SAFETY: As in `features`.
        unsafe { *(*self.as_raw()).__bindgen_anon_1.features.as_mut() |= bits };
    }

    /// Lets callbacks of queues run, or lets none begin any more and waits for those that run.
    pub(super) fn set_live(&self, live: bool) {
        self.live.store(live, Relaxed);
        if !live {
            self.synchronize();
        }
    }

    /// Calls the callback of virtqueue `index`, if that is enabled and `pending` holds, which shows used
    /// buffers on the queue's ring. Does nothing while the device is not live: then `pending` is not asked,
    /// so that what it knows of is not forgotten. Waits while that callback runs on another CPU. Any
    /// context.
    ///
    /// `pending` runs with interrupts off and under a lock that resetting the device waits for, so it must
    /// not wait, nor use the device.
    pub(crate) fn interrupt_queue(&self, index: usize, pending: impl FnOnce() -> bool) {
        if let Some(gate) = self.gates.get(index) {
            self.pass(&gate.lock(), pending);
        }
    }

    /// As [`Device::interrupt_queue`], but does not wait: `false`, the callback is running.
    pub(crate) fn try_interrupt_queue(&self, index: usize, pending: impl FnOnce() -> bool) -> bool {
        let Some(gate) = self.gates.get(index) else {
            return true;
        };
        let Some(gate) = gate.try_lock() else {
            return false;
        };
        self.pass(&gate, pending);
        true
    }

    /// As [`Device::interrupt_queue`], for a callback that may sleep: neither that nor `pending` runs under a lock that
    /// spins. Resetting the device, and deleting the queue, waits for both. `false`: the device is not live, or has no
    /// such queue. Process context; other callbacks of that queue must come this way, too.
    pub(crate) fn call_queue(&self, index: usize, pending: impl FnOnce() -> bool) -> bool {
        let _calls = self.calls.lock();
        // As in `pass`: whoever changes either waits for the lock afterwards.
        let queue = self.gate(index as u32).filter(|_| self.live.load(Relaxed));
        let Some(queue) = queue else {
            return false;
        };
        if pending() {
            // SAFETY: The queue is alive: who deletes it has first closed its gate, and then waits for the lock.
            unsafe { sys::vring_interrupt(0, queue.as_ptr().cast()) };
        }
        true
    }

    fn pass(&self, gate: &Gate, pending: impl FnOnce() -> bool) {
        // The flag is tested under the lock: once `set_live` has returned, nobody is behind this test.
        if !self.live.load(Relaxed) {
            return;
        }
        if let Some(queue) = gate.0 {
            if pending() {
                // SAFETY: The queue is alive while its gate is locked.
                unsafe { sys::vring_interrupt(0, queue.as_ptr().cast()) };
            }
        }
    }

    /// Waits until no callback of a queue is running. Process context.
    pub(crate) fn synchronize(&self) {
        for gate in &self.gates {
            drop(gate.lock());
        }
        drop(self.calls.lock());
    }

    /// Tells the driver that the configuration changed. `false`: there is nobody to tell, because
    /// the device is not registered (any more, or yet: then what changed has to be told again when
    /// [`super::Registration::new`] has returned). Any context.
    pub(crate) fn config_changed(&self) -> bool {
        // Pairs with `Registration::new`.
        if !self.registered.load(Acquire) {
            return false;
        }
        // SAFETY: The core initialized the device before the flag was set. If it is unregistered
        // meanwhile, it stays valid for as long as `self`, and the core calls no driver any more.
        unsafe { sys::virtio_config_changed(self.as_raw()) };
        true
    }

    /// Marks the virtqueues that are `which` as broken, so that drivers stop waiting for them. Any context, also
    /// while a callback is stuck.
    pub(crate) fn break_queues(&self, which: impl Fn(u32) -> bool) {
        let existing = self.existing.lock();
        for (_, queue) in existing.iter().filter(|(index, _)| which(*index as u32)) {
            // SAFETY: Queues in the table are alive while the table is locked.
            unsafe { sys::__virtqueue_break(queue.as_ptr()) };
        }
    }
}
