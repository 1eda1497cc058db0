// SPDX-License-Identifier: GPL-2.0

//! From the framework's calls of C functions to [`Ops`].

use kernel::{
    bindings as kbindings,
    prelude::*, //
};

use core::marker::PhantomData;

use super::{
    bindings,
    Handled,
    Locked,
    Ops,
    Rproc, //
};

/// The framework's callbacks for a driver with operations `T`.
pub(super) struct Adapter<T: Ops>(PhantomData<T>);

// "Ours" is a `struct rproc` that `UnregisteredRproc::new` has made, and whose private data is still
// there: that is so until the end of `Registration::drop`.
impl<T: Ops> Adapter<T> {
    pub(super) const OPS: bindings::rproc_ops = bindings::rproc_ops {
        start: Some(Self::start),
        stop: Some(Self::stop),
        attach: Some(Self::attach),
        detach: Some(Self::detach),
        get_loaded_rsc_table: Some(Self::get_loaded_rsc_table),
        da_to_va: Some(Self::da_to_va),
        handle_rsc: Some(Self::handle_rsc),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// `raw` must be ours, and its lock be held while the result is used.
    unsafe fn locked<'a>(raw: *mut bindings::rproc) -> Locked<'a, T> {
        // INVARIANT: As the caller promises.
        // SAFETY: As the caller promises.
        Locked(unsafe { Rproc::from_raw(raw) })
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
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds, and a firmware.
    pub(super) unsafe extern "C" fn sanity_check(
        rproc: *mut bindings::rproc,
        firmware: *const kbindings::firmware,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let (rproc, image) = unsafe { (Self::locked(rproc), Self::image(firmware)) };

        errno(T::sanity_check(&rproc, image))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds, and a firmware.
    pub(super) unsafe extern "C" fn load(
        rproc: *mut bindings::rproc,
        firmware: *const kbindings::firmware,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let (rproc, image) = unsafe { (Self::locked(rproc), Self::image(firmware)) };

        errno(T::load(&rproc, image))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds.
    unsafe extern "C" fn start(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        errno(T::start(&unsafe { Self::locked(rproc) }))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds.
    unsafe extern "C" fn stop(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        let rproc = unsafe { Self::locked(rproc) };
        let result = if rproc.is_being_deleted() && rproc.is_attached() {
            T::detach(&rproc)
        } else {
            T::stop(&rproc)
        };

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
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds.
    unsafe extern "C" fn attach(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        errno(T::attach(&unsafe { Self::locked(rproc) }))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds.
    unsafe extern "C" fn detach(rproc: *mut bindings::rproc) -> c_int {
        // SAFETY: As the caller promises.
        errno(T::detach(&unsafe { Self::locked(rproc) }))
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds, and where to write the
    /// length. It uses the table until the processor is stopped or detached, within that length.
    unsafe extern "C" fn get_loaded_rsc_table(
        rproc: *mut bindings::rproc,
        size: *mut usize,
    ) -> *mut bindings::resource_table {
        // SAFETY: As the caller promises.
        let rproc = unsafe { Self::locked(rproc) };
        let table = T::running_table(&rproc).and_then(|(address, length)| {
            let va = rproc.data().memory().at(address, length).ok_or(EFAULT)?;

            // SAFETY: As the caller promises.
            unsafe { *size = length };
            Ok(va.as_ptr().cast())
        });

        table.unwrap_or_else(|e| e.to_ptr())
    }

    /// # Safety
    ///
    /// Called by the framework with a `struct rproc` of ours. What it does with the memory that the
    /// result points to stays within `len` bytes, and ends before the `struct rproc` is unregistered:
    /// it is a part of an operation, or of reading a file in debugfs.
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
    /// Called by the framework with a `struct rproc` of ours, whose lock it holds.
    unsafe extern "C" fn handle_rsc(
        rproc: *mut bindings::rproc,
        kind: u32,
        _payload: *mut c_void,
        _offset: c_int,
        _avail: c_int,
    ) -> c_int {
        // SAFETY: As the caller promises.
        let handled = T::handle_resource(&unsafe { Self::locked(rproc) }, kind);

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
