// SPDX-License-Identifier: GPL-2.0

//! Remote processor framework abstractions.
//!
//! A driver implements [`Ops`] for its private data, makes an unregistered [`Rproc`] with
//! [`Rproc::new`], and hands that to [`UnregisteredRproc::register`]. Dropping the
//! [`Registration`] stops the processor and unregisters it.
//!
//! C header: [`include/linux/remoteproc.h`](srctree/include/linux/remoteproc.h).

mod adapter;
pub(crate) mod bindings;
pub mod mem;

use kernel::{
    bindings as kbindings, container_of,
    device::{
        self,
        Bound, //
    },
    error::to_result,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    time::Jiffies,
    types::Opaque,
    workqueue::{
        self,
        new_delayed_work,
        DelayedWork,
        HasDelayedWork,
        HasWork,
        Work,
        WorkItem, //
    },
};

use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of, //
    },
    ptr::NonNull, //
};

use self::{
    adapter::Adapter,
    mem::Memory, //
};

/// What became of a vendor specific resource.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Handled {
    /// The driver knows it and did what it asks for.
    Yes,
    /// The driver does not know it: the framework says so in the log, and goes on.
    No,
}

/// Operations of a remote processor driver.
///
/// The framework serialises all of them except [`Ops::watch`] with a lock of its own. The type is
/// the driver's private data; it lives as long as there are references to its [`Rproc`].
pub trait Ops: Sized + Send + Sync + 'static {
    /// The memory that the firmware is loaded to and that its addresses refer to.
    fn memory(&self) -> &Memory;

    /// Looks at a firmware before anything is done with it.
    fn sanity_check(rproc: &Rproc<Self>, firmware: &[u8]) -> Result;

    /// Copies a firmware to where it runs.
    ///
    /// In a recovery the framework loads the firmware afresh without [`Ops::sanity_check`].
    fn load(rproc: &Rproc<Self>, firmware: &[u8]) -> Result;

    /// Whether the driver knows vendor resources of this type, of which the firmware has one.
    fn handle_resource(_rproc: &Rproc<Self>, _kind: u32) -> Handled {
        Handled::No
    }

    /// Starts the processor.
    fn start(rproc: &Rproc<Self>) -> Result;

    /// Stops the processor. After an error it counts as running, and the user may try again; unless
    /// it is being unregistered: then the private data has to cope when it is dropped.
    fn stop(rproc: &Rproc<Self>) -> Result;

    /// Looks after the processor some time after [`Rproc::watch_after`], in process context and not
    /// serialised with the other operations. Returns when to look again.
    fn watch(_rproc: &Rproc<Self>) -> Option<Jiffies> {
        None
    }
}

/// What stands behind a `struct rproc` in the same allocation.
#[pin_data]
struct Private<T: Ops> {
    #[pin]
    watch: DelayedWork<Rproc<T>>,
    #[pin]
    data: T,
}

/// A remote processor: [`struct rproc`](srctree/include/linux/remoteproc.h).
///
/// # Invariants
///
/// The pointer made from a reference to this type points to a `struct rproc` that [`Rproc::new`]
/// allocated, and that is followed by an initialized `Private<T>`.
#[repr(transparent)]
pub struct Rproc<T: Ops>(Opaque<bindings::rproc>, PhantomData<T>);

impl<T: Ops> Rproc<T> {
    /// Allocates a remote processor below `parent`.
    ///
    /// The framework loads `firmware` unless the user names another, `rproc-<name>-fw` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the initializer of `data` returns.
    #[expect(clippy::new_ret_no_self)]
    pub fn new(
        parent: &device::Device<Bound>,
        name: &CStr,
        firmware: Option<&CStr>,
        data: impl PinInit<T, Error>,
    ) -> Result<UnregisteredRproc<T>> {
        const {
            assert!(align_of::<Private<T>>() <= align_of::<bindings::rproc>());
            assert!(size_of::<Private<T>>() <= i32::MAX as usize);
        }

        // SAFETY: `parent` is a valid device, `device::Device` is a transparent wrapper of
        // `struct device`; the framework copies both strings and the table of operations.
        let raw = unsafe {
            bindings::rproc_alloc(
                core::ptr::from_ref(parent).cast_mut().cast(),
                name.as_char_ptr(),
                Adapter::<T>::VTABLE.as_raw(),
                firmware.map_or(core::ptr::null(), |name| name.as_char_ptr()),
                size_of::<Private<T>>() as i32,
            )
        };
        if raw.is_null() {
            return Err(ENOMEM);
        }

        let private = try_pin_init!(Private {
            watch <- new_delayed_work!("Rproc::watch"),
            data <- data,
        }? Error);

        // SAFETY: `priv` points to as much memory as was asked for, aligned for `Private<T>` as
        // asserted above, and the memory does not move until it is freed with the `struct rproc`.
        let result = unsafe { pin_init::raw_try_init((*raw).priv_.cast::<Private<T>>(), private) };
        if let Err(e) = result {
            // SAFETY: `raw` is ours, and nothing has been put behind it that had to be dropped.
            unsafe { bindings::rproc_free(raw) };
            return Err(e);
        }

        // SAFETY: `raw` is not registered yet, so that nobody else looks at these fields. `ops` is
        // the framework's copy of our table, in which it has filled in its own ELF operations
        // because we have no `load`: exactly these two of them are replaced.
        unsafe {
            (*(*raw).ops).sanity_check = Some(Adapter::<T>::sanity_check);
            (*(*raw).ops).load = Some(Adapter::<T>::load);
            (*raw).auto_boot = false;
            (*raw).dev.release = Some(Adapter::<T>::release);
        }

        // INVARIANT: `raw` was allocated above and is followed by the initialized `Private<T>`.
        // SAFETY: `raw` is not null, and the reference that the allocation came with is handed on.
        let rproc = unsafe { ARef::from_raw(NonNull::new_unchecked(raw.cast::<Self>())) };

        Ok(UnregisteredRproc { rproc })
    }

    /// # Safety
    ///
    /// `raw` must fulfil the invariants of this type for as long as the reference is used.
    unsafe fn from_raw<'a>(raw: *mut bindings::rproc) -> &'a Self {
        // SAFETY: As the caller promises; the type is a transparent wrapper.
        unsafe { &*raw.cast::<Self>() }
    }

    fn as_raw(&self) -> *mut bindings::rproc {
        self.0.get()
    }

    fn private(&self) -> *mut Private<T> {
        // SAFETY: By the type invariants; the framework sets `priv` once, when it allocates.
        unsafe { (*self.as_raw()).priv_.cast() }
    }

    /// The driver's private data.
    pub fn data(&self) -> &T {
        // SAFETY: By the type invariants `private()` is initialized, and it lives as long as `self`.
        unsafe { &(*self.private()).data }
    }

    /// The device that the framework made, which names the remote processor in the log.
    pub fn device(&self) -> &device::Device {
        // SAFETY: `dev` is part of the valid `struct rproc`, and lives as long as `self`.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }

    /// The name of the firmware that is, or would be, loaded.
    ///
    /// The user can change it while nothing is loaded, under the lock that the framework holds when
    /// it calls the operations.
    pub fn firmware(&self) -> &CStr {
        // SAFETY: By the type invariants; the framework always has a name there.
        unsafe { CStr::from_char_ptr((*self.as_raw()).firmware) }
    }

    /// Whether it is being unregistered.
    fn is_being_deleted(&self) -> bool {
        // SAFETY: By the type invariants. The framework sets it once, before it calls `stop` for
        // that reason, and reads it just so.
        unsafe { (&raw const (*self.as_raw()).deleting).read_volatile() }
    }

    /// Tells the framework that the processor has crashed, which restarts it if the user wants that.
    pub fn report_crash(&self) {
        // SAFETY: `self` is a valid `struct rproc`; the framework itself sorts out one that is
        // being deleted.
        unsafe {
            bindings::rproc_report_crash(
                self.as_raw(),
                bindings::rproc_crash_type_RPROC_FATAL_ERROR,
            )
        };
    }

    /// Has [`Ops::watch`] called after `delay`, unless it is due already.
    pub fn watch_after(&self, delay: Jiffies) {
        let _ =
            workqueue::system_freezable_power_efficient().enqueue_delayed(ARef::from(self), delay);
    }
}

// SAFETY: A `struct rproc` may be used from any thread; `T` is `Send`.
unsafe impl<T: Ops> Send for Rproc<T> {}

// SAFETY: What can be done with a `&Rproc<T>` is synchronised by the framework, or `T` is `Sync`.
unsafe impl<T: Ops> Sync for Rproc<T> {}

// SAFETY: A `struct rproc` is counted by the references of its embedded device.
unsafe impl<T: Ops> AlwaysRefCounted for Rproc<T> {
    fn inc_ref(&self) {
        // SAFETY: `self` is a valid `struct rproc` with an initialized device.
        unsafe { kbindings::get_device(&raw mut (*self.as_raw()).dev) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller owns a reference, which it gives up.
        unsafe { kbindings::put_device(&raw mut (*obj.cast::<bindings::rproc>().as_ptr()).dev) };
    }
}

// SAFETY: The two functions are the inverse of each other: `Private<T>` stands right behind the
// `struct rproc`, which is where the framework puts it.
unsafe impl<T: Ops> HasWork<Rproc<T>> for Rproc<T> {
    unsafe fn raw_get_work(ptr: *mut Self) -> *mut Work<Self> {
        // SAFETY: The caller promises that `ptr` is a valid `Rproc<T>`, so that a `Private<T>` is
        // right behind it.
        unsafe {
            let private = ptr.cast::<bindings::rproc>().add(1).cast::<Private<T>>();

            DelayedWork::raw_as_work(&raw const (*private).watch)
        }
    }

    unsafe fn work_container_of(ptr: *mut Work<Self>) -> *mut Self {
        // SAFETY: The caller promises that `ptr` is what `raw_get_work` returned.
        unsafe {
            let work = Work::raw_get(ptr);
            let delayed = container_of!(work, kbindings::delayed_work, work);
            let private = container_of!(delayed.cast::<DelayedWork<Self>>(), Private<T>, watch);

            private.cast::<bindings::rproc>().sub(1).cast()
        }
    }
}

// SAFETY: The work returned above is the `work` of a `struct delayed_work`.
unsafe impl<T: Ops> HasDelayedWork<Rproc<T>> for Rproc<T> {}

impl<T: Ops> WorkItem for Rproc<T> {
    type Pointer = ARef<Self>;

    fn run(this: ARef<Self>) {
        if let Some(delay) = T::watch(&this) {
            this.watch_after(delay);
        }
    }
}

/// A remote processor that the framework does not know yet.
pub struct UnregisteredRproc<T: Ops> {
    rproc: ARef<Rproc<T>>,
}

impl<T: Ops> UnregisteredRproc<T> {
    /// Makes the remote processor known to the framework and to the user.
    ///
    /// # Errors
    ///
    /// What `rproc_add` returns: mostly `ENOMEM`.
    pub fn register(self) -> Result<Registration<T>> {
        // SAFETY: The `struct rproc` is complete, and not registered since `self` is consumed here.
        to_result(unsafe { bindings::rproc_add(self.rproc.as_raw()) })?;

        Ok(Registration { rproc: self.rproc })
    }
}

/// A registered remote processor; dropped, it is stopped and unregistered.
///
/// # Invariants
///
/// `rproc` is registered with the framework.
pub struct Registration<T: Ops> {
    rproc: ARef<Rproc<T>>,
}

impl<T: Ops> Registration<T> {
    /// The registered remote processor.
    pub fn rproc(&self) -> &Rproc<T> {
        &self.rproc
    }
}

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants. No operation is running or will be called afterwards.
        unsafe { bindings::rproc_del(self.rproc.as_raw()) };

        // Nobody arms the watch anymore but itself, which cancelling it takes care of.
        //
        // SAFETY: `watch` is an initialized delayed work.
        let pending = unsafe {
            let watch = &raw mut (*self.rproc.private()).watch;

            kbindings::cancel_delayed_work_sync(watch.cast())
        };
        if pending {
            // SAFETY: A pending watch owns a reference, see `watch_after`; it will not run anymore.
            drop(unsafe { ARef::from_raw(NonNull::from(&*self.rproc)) });
        }
    }
}
