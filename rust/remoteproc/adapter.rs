// SPDX-License-Identifier: GPL-2.0

//! From the framework's calls of C functions to [`Ops`].

use kernel::{
    bindings as kbindings,
    container_of,
    prelude::*, //
};

use core::marker::PhantomData;

use super::{
    bindings,
    Handled,
    Ops,
    Private,
    Rproc, //
};

/// The framework's callbacks for a driver with operations `T`.
pub(super) struct Adapter<T: Ops>(PhantomData<T>);

#[repr(transparent)]
pub(super) struct OpsVTable(bindings::rproc_ops);

// SAFETY: The table holds function pointers only.
unsafe impl Sync for OpsVTable {}

impl OpsVTable {
    pub(super) const fn as_raw(&self) -> *const bindings::rproc_ops {
        &raw const self.0
    }
}

impl<T: Ops> Adapter<T> {
    pub(super) const VTABLE: &'static OpsVTable = &OpsVTable(bindings::rproc_ops {
        start: Some(Self::start),
        stop: Some(Self::stop),
        da_to_va: Some(Self::da_to_va),
        handle_rsc: Some(Self::handle_rsc),
        ..pin_init::zeroed()
    });

    /// # Safety
    ///
    /// `dev` is the device of a `struct rproc` made by [`Rproc::new`], without references left.
    pub(super) unsafe extern "C" fn release(dev: *mut kbindings::device) {
        // SAFETY: As the caller promises.
        let raw = unsafe { container_of!(dev, bindings::rproc, dev) };

        // SAFETY: By the type invariants of `Rproc<T>`; the last reference is gone.
        unsafe { core::ptr::drop_in_place((*raw).priv_.cast::<Private<T>>()) };

        // SAFETY: The framework's own release function, which ours stands in front of.
        if let Some(release) = unsafe { (*(*dev).type_).release } {
            // SAFETY: It is meant for exactly such devices.
            unsafe { release(dev) };
        }
    }

    /// # Safety
    ///
    /// `firmware` must be valid.
    unsafe fn image<'a>(firmware: *const kbindings::firmware) -> &'a [u8] {
        // SAFETY: As the caller promises; the framework keeps the image unchanged during the call.
        unsafe { core::slice::from_raw_parts((*firmware).data, (*firmware).size) }
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`] and a firmware.
    pub(super) unsafe extern "C" fn sanity_check(
        rproc: *mut bindings::rproc,
        firmware: *const kbindings::firmware,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let (rproc, image) = unsafe { (Rproc::<T>::from_raw(rproc), Self::image(firmware)) };

        errno(T::sanity_check(rproc, image))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`] and a firmware.
    pub(super) unsafe extern "C" fn load(
        rproc: *mut bindings::rproc,
        firmware: *const kbindings::firmware,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let (rproc, image) = unsafe { (Rproc::<T>::from_raw(rproc), Self::image(firmware)) };

        errno(T::load(rproc, image))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`].
    unsafe extern "C" fn start(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        errno(T::start(unsafe { Rproc::from_raw(rproc) }))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`].
    unsafe extern "C" fn stop(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        let rproc = unsafe { Rproc::<T>::from_raw(rproc) };
        let result = T::stop(rproc);

        // A processor that is being deleted cannot keep running for the framework: it deletes what
        // belongs to it in any case, and would use that again in a later stop. The driver is left
        // with the processor, until its data is dropped.
        if rproc.is_being_deleted() {
            return 0;
        }
        errno(result)
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`]. What it does with the
    /// memory that the result points to stays within `len` bytes, and ends before the `struct
    /// rproc` is released.
    unsafe extern "C" fn da_to_va(
        rproc: *mut bindings::rproc,
        da: u64,
        len: usize,
        _is_iomem: *mut bool,
    ) -> *mut c_void {
        // SAFETY: As the caller promises.
        let rproc = unsafe { Rproc::<T>::from_raw(rproc) };

        rproc
            .data()
            .memory()
            .at(da, len)
            .map_or(core::ptr::null_mut(), |va| va.as_ptr().cast())
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` made by [`Rproc::new`].
    unsafe extern "C" fn handle_rsc(
        rproc: *mut bindings::rproc,
        kind: u32,
        _payload: *mut c_void,
        _offset: c_int,
        _avail: c_int,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let handled = T::handle_resource(unsafe { Rproc::from_raw(rproc) }, kind);

        match handled {
            Handled::Yes => bindings::rsc_handling_status_RSC_HANDLED as c_int,
            Handled::No => bindings::rsc_handling_status_RSC_IGNORED as c_int,
        }
    }
}

fn errno(result: Result) -> c_int {
    match result {
        Ok(()) => 0,
        Err(e) => e.to_errno(),
    }
}
