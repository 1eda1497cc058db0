// SPDX-License-Identifier: GPL-2.0

//! Remote processor framework abstractions.
//!
//! A driver implements [`Ops`] for its private data, makes an unregistered [`UnregisteredRproc`]
//! with that, and hands it to [`UnregisteredRproc::register`]. Dropping the [`Registration`] stops the
//! processor, unregisters it, and drops the data.
//!
//! C header: [`include/linux/remoteproc.h`](srctree/include/linux/remoteproc.h).

mod adapter;
pub(crate) mod bindings;
pub mod mem;
mod reboot;

use kernel::{
    bindings as kbindings,
    device::{
        self,
        Bound, //
    },
    error::to_result,
    prelude::*,
    sync::Arc,
    time::Jiffies,
    types::Opaque,
    workqueue::{
        self,
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork,
        WorkItem, //
    },
};

use core::{
    marker::PhantomData,
    mem::ManuallyDrop,
    ops::Deref,
    ptr::NonNull, //
};

use self::{
    adapter::Adapter,
    mem::Memory, //
};
use crate::series::EOPNOTSUPP;

/// What became of a vendor specific resource.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Handled {
    /// The driver knows it and did what it asks for.
    Yes,
    /// The driver does not know it: the framework says so in the log, and goes on.
    No,
}

/// Operations of a remote processor driver, whose private data the type is.
///
/// The framework serialises all that get a [`Locked`] with a lock of its own.
pub trait Ops: Sized + Send + Sync + 'static {
    /// The memory that the firmware is loaded to and that its addresses refer to.
    fn memory(&self) -> &Memory;

    /// Looks at a firmware before anything is done with it.
    fn sanity_check(rproc: &Locked<'_, Self>, firmware: &[u8]) -> Result;

    /// Copies a firmware to where it runs.
    ///
    /// In a recovery the framework loads the firmware afresh without [`Ops::sanity_check`].
    fn load(rproc: &Locked<'_, Self>, firmware: &[u8]) -> Result;

    /// Whether the driver knows vendor resources of this type, of which the firmware has one.
    fn handle_resource(_rproc: &Locked<'_, Self>, _kind: u32) -> Handled {
        Handled::No
    }

    /// Starts the processor.
    fn start(rproc: &Locked<'_, Self>) -> Result;

    /// Where the resource table is of what the processor runs already, and its length. Only called if
    /// somebody else has started it, see [`UnregisteredRproc::found_running`], before [`Ops::attach`].
    fn running_table(_rproc: &Locked<'_, Self>) -> Result<(u64, usize)> {
        Err(EOPNOTSUPP)
    }

    /// Takes what the processor runs already for the firmware from here on.
    fn attach(_rproc: &Locked<'_, Self>) -> Result {
        Err(EOPNOTSUPP)
    }

    /// Lets go of that, which runs on. Also called in place of [`Ops::stop`] when the processor is being
    /// unregistered while it is attached: what Linux has not started it does not end.
    fn detach(_rproc: &Locked<'_, Self>) -> Result {
        Err(EOPNOTSUPP)
    }

    /// Stops the processor. After an error it counts as running, and the user may try again; unless
    /// it is being unregistered: then the private data has to cope when it is dropped.
    ///
    /// A processor that is being unregistered may also be dropped without this: the framework gives
    /// up if it is interrupted while it waits for somebody else who stops it.
    fn stop(rproc: &Locked<'_, Self>) -> Result;

    /// Looks after the processor some time after [`Locked::watch_after`], in process context and not
    /// serialised with the other operations. Returns when to look again.
    fn watch(_rproc: &Rproc<Self>) -> Option<Jiffies> {
        None
    }

    /// Linux restarts, halts, powers off or starts another kernel (kexec), while its devices still
    /// work. Called in process context, not serialised with the other operations.
    fn shutdown(_rproc: &Rproc<Self>) {}
}

/// What belongs to the driver.
///
/// It does not stand behind the `struct rproc`, where the framework has room for it: somebody may
/// have hold of that when this module has gone, through an open character device say, so that nothing
/// of the driver's may be left to be done when the last one lets go.
///
/// # Invariants
///
/// `rproc` points to the `struct rproc` whose private data this is. It is registered whenever `watch`
/// is pending or running, or `reboot` is registered.
#[pin_data]
struct Private<T: Ops> {
    rproc: NonNull<bindings::rproc>,
    #[pin]
    watch: DelayedWork<Self>,
    #[pin]
    reboot: reboot::Block,
    #[pin]
    data: T,
}

// SAFETY: A `struct rproc` may be used from any thread; `T` is `Send`.
unsafe impl<T: Ops> Send for Private<T> {}

// SAFETY: What is done with the `struct rproc` is synchronised by the framework; `T` is `Sync`.
unsafe impl<T: Ops> Sync for Private<T> {}

impl_has_delayed_work! {
    impl{T: Ops} HasDelayedWork<Private<T>> for Private<T> { self.watch }
}

impl<T: Ops> Private<T> {
    fn watch_after(self: Arc<Self>, delay: Jiffies) {
        let _ = workqueue::system_freezable_power_efficient().enqueue_delayed(self, delay);
    }
}

impl<T: Ops> WorkItem for Private<T> {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // SAFETY: By the type invariants, as this is the watch; and `this` is its private data.
        let rproc = unsafe { Rproc::from_raw(this.rproc.as_ptr()) };

        if let Some(delay) = T::watch(rproc) {
            this.watch_after(delay);
        }
    }
}

/// A remote processor: [`struct rproc`](srctree/include/linux/remoteproc.h).
///
/// # Invariants
///
/// The pointer made from a reference to this type points to a valid `struct rproc`, whose `priv`
/// points into the [`Arc`] of a [`Private<T>`], which lives as long as the reference.
#[repr(transparent)]
pub struct Rproc<T: Ops>(Opaque<bindings::rproc>, PhantomData<T>);

impl<T: Ops> Rproc<T> {
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

    fn private(&self) -> *const Private<T> {
        // SAFETY: By the type invariants; `priv` is set once, before there is any such reference.
        unsafe { (*self.as_raw()).priv_.cast() }
    }

    /// The driver's private data.
    pub fn data(&self) -> &T {
        // SAFETY: By the type invariants it lives as long as `self`.
        unsafe { &(*self.private()).data }
    }

    /// The device that the framework made, which names the remote processor in the log.
    pub fn device(&self) -> &device::Device {
        // SAFETY: `dev` is part of the valid `struct rproc`, and lives as long as `self`.
        unsafe { device::Device::from_raw(&raw mut (*self.as_raw()).dev) }
    }

    /// Whether it is being unregistered.
    fn is_being_deleted(&self) -> bool {
        // SAFETY: By the type invariants. The framework sets it once, before it calls `stop` for
        // that reason, and reads it just so.
        unsafe { (&raw const (*self.as_raw()).deleting).read_volatile() }
    }

    /// Whether it runs what somebody else has started, which Linux has taken over. Under the lock.
    fn is_attached(&self) -> bool {
        // SAFETY: By the type invariants; the framework changes it under the lock only.
        unsafe { (*self.as_raw()).state == bindings::rproc_state_RPROC_ATTACHED }
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
}

/// A remote processor whose lock is held, and which is not unregistered before that is released.
///
/// # Invariants
///
/// The framework holds `lock` of the `struct rproc` as long as this exists.
pub struct Locked<'a, T: Ops>(&'a Rproc<T>);

impl<T: Ops> Locked<'_, T> {
    /// The name of the firmware that is, or would be, loaded.
    pub fn firmware(&self) -> &CStr {
        // SAFETY: The framework always has a name there, and changes it under the lock only.
        unsafe { CStr::from_char_ptr((*self.as_raw()).firmware) }
    }

    /// Has [`Ops::watch`] called after `delay`, unless it is due already.
    pub fn watch_after(&self, delay: Jiffies) {
        // SAFETY: By the type invariants of `Rproc<T>` this is the content of an `Arc`, of which
        // `borrowed` is only used for another reference.
        let borrowed = unsafe { ManuallyDrop::new(Arc::from_raw(self.private())) };

        Arc::clone(&borrowed).watch_after(delay);
    }
}

impl<T: Ops> Deref for Locked<'_, T> {
    type Target = Rproc<T>;

    fn deref(&self) -> &Rproc<T> {
        self.0
    }
}

/// A reference to a `struct rproc`, counted by that of its embedded device.
///
/// # Invariants
///
/// The pointer is valid, and one reference belongs to this object.
struct Reference(NonNull<bindings::rproc>);

// SAFETY: A reference may be given up from any thread.
unsafe impl Send for Reference {}

// SAFETY: Nothing can be done with a `&Reference` but look where it points to.
unsafe impl Sync for Reference {}

impl Clone for Reference {
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants.
        unsafe { kbindings::get_device(&raw mut (*self.0.as_ptr()).dev) };
        // INVARIANT: The reference just taken.
        Self(self.0)
    }
}

impl Drop for Reference {
    fn drop(&mut self) {
        // SAFETY: By the type invariants.
        unsafe { bindings::rproc_free(self.0.as_ptr()) };
    }
}

/// A remote processor that the framework does not know yet.
///
/// # Invariants
///
/// `private` belongs to the `struct rproc`, which is complete.
pub struct UnregisteredRproc<T: Ops> {
    private: Arc<Private<T>>,
    rproc: Reference,
}

impl<T: Ops> UnregisteredRproc<T> {
    /// Allocates a remote processor below `parent`.
    ///
    /// The framework loads `firmware` unless the user names another, `rproc-<name>-fw` if there is
    /// none.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or what the initializer of `data` returns.
    pub fn new(
        parent: &device::Device<Bound>,
        name: &CStr,
        firmware: Option<&CStr>,
        data: impl PinInit<T, Error>,
    ) -> Result<Self> {
        // SAFETY: `parent` is a valid device, `device::Device` is a transparent wrapper of
        // `struct device`; the framework copies both strings and the table of operations.
        let raw = unsafe {
            bindings::rproc_alloc(
                core::ptr::from_ref(parent).cast_mut().cast(),
                name.as_char_ptr(),
                &Adapter::<T>::OPS,
                firmware.map_or(core::ptr::null(), |name| name.as_char_ptr()),
                0,
            )
        };
        // INVARIANT: The allocation comes with a reference.
        let rproc = Reference(NonNull::new(raw).ok_or(ENOMEM)?);

        let private = Arc::pin_init(
            try_pin_init!(Private {
                // INVARIANT: It is made the private data below; for the rest see `Registration`.
                rproc: rproc.0,
                watch <- new_delayed_work!("Rproc::watch"),
                reboot: reboot::block::<T>(),
                data <- data,
            }? Error),
            GFP_KERNEL,
        )?;

        // SAFETY: `raw` is not registered yet, so that nobody else looks at these fields. `ops` is
        // the framework's copy of our table, in which it has filled in its own ELF operations
        // because we have no `load`: exactly these two of them are replaced.
        unsafe {
            (*(*raw).ops).sanity_check = Some(Adapter::<T>::sanity_check);
            (*(*raw).ops).load = Some(Adapter::<T>::load);
            (*raw).auto_boot = false;
            (*raw).priv_ = Arc::as_ptr(&private).cast_mut().cast();
        }

        // INVARIANT: As just set.
        Ok(Self { private, rproc })
    }

    /// The driver's private data.
    pub fn data(&self) -> &T {
        &self.private.data
    }

    /// The processor runs something already: it is attached to when it is registered.
    #[must_use]
    pub fn found_running(self) -> Self {
        // SAFETY: Not registered yet, so that nobody else looks at the field.
        unsafe { (*self.rproc.0.as_ptr()).state = bindings::rproc_state_RPROC_DETACHED as c_uint };
        self
    }

    /// Makes the remote processor known to the framework and to the user.
    ///
    /// One that runs already but cannot be attached to is there all the same: the log says why, and a start by the
    /// user tries again.
    ///
    /// # Errors
    ///
    /// What `rproc_add` or `register_reboot_notifier` return: mostly `ENOMEM`.
    pub fn register(self) -> Result<Registration<T>> {
        // If device_add() fails in it, rproc_add() gives up a reference that is not its own: it gets
        // this one. If something else fails, for want of memory, this one is lost: that cannot
        // be told from here, and is better than giving up one twice.
        let to_give = ManuallyDrop::new(self.rproc.clone());
        // SAFETY: It is not registered yet, so that nobody else looks at the field.
        let state = unsafe { (*self.rproc.0.as_ptr()).state };
        let found = state == bindings::rproc_state_RPROC_DETACHED;

        // SAFETY: The `struct rproc` is complete, and not registered since `self` is consumed here.
        to_result(unsafe { bindings::rproc_add(self.rproc.0.as_ptr()) })?;
        drop(ManuallyDrop::into_inner(to_give));

        // INVARIANT: As just done.
        let registration = Registration(self);

        // SAFETY: The notifier is part of the private data, which is pinned, and is unregistered
        // when `registration` is dropped.
        to_result(unsafe {
            bindings::register_reboot_notifier(registration.0.private.reboot.get())
        })?;
        if found {
            // SAFETY: It is registered. The framework says in the log what becomes of it.
            let _ = unsafe { bindings::rproc_boot(registration.0.rproc.0.as_ptr()) };
        }
        Ok(registration)
    }
}

/// A registered remote processor; dropped, it is stopped and unregistered, and its data is dropped.
///
/// # Invariants
///
/// It is registered with the framework.
pub struct Registration<T: Ops>(UnregisteredRproc<T>);

impl<T: Ops> Drop for Registration<T> {
    fn drop(&mut self) {
        let UnregisteredRproc { private, rproc } = &self.0;

        // SAFETY: It is registered, or has never been, which the function notices.
        unsafe { bindings::unregister_reboot_notifier(private.reboot.get()) };

        // SAFETY: By the type invariants. Operations that run are waited for, and the last
        // that could still be called is taken away, see there.
        unsafe { bindings::psci_rproc_del(rproc.0.as_ptr()) };

        // Nobody arms the watch anymore but itself, which cancelling it takes care of.
        //
        // SAFETY: `watch` is an initialized delayed work.
        let pending = unsafe {
            let watch = &raw const private.watch;

            kbindings::cancel_delayed_work_sync(watch.cast_mut().cast())
        };
        if pending {
            // SAFETY: A pending watch owns a reference, see `watch_after`; it will not run anymore.
            drop(unsafe { Arc::from_raw(Arc::as_ptr(private)) });
        }
        // The reference in `self` is the last one: the data is dropped with it, right here.
    }
}
