// SPDX-License-Identifier: GPL-2.0

//! A kernel thread that ends before what it uses does.

use super::bindings as sys;
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::from_err_ptr,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    sync::Arc, //
};

/// What a thread does.
pub(crate) trait Run: Send + Sync + 'static {
    /// The thread's body. It has to return soon after [`Run::stop`] was called.
    fn run(&self);

    /// Asks [`Run::run`] to return. Called from another thread, once.
    fn stop(&self);
}

/// A running thread; dropping it asks the thread to stop and waits until it has.
///
/// # Invariants
///
/// `task` is a kernel thread with a reference of our own, running [`entry`] on `*data`.
pub(crate) struct Thread<T: Run> {
    task: NonNull<bindings::task_struct>,
    data: Arc<T>,
}

// SAFETY: A task may be stopped from any thread, and `Arc<T>` is `Send` for a `T` that is `Run`.
unsafe impl<T: Run> Send for Thread<T> {}

// SAFETY: A shared reference gives access to nothing.
unsafe impl<T: Run> Sync for Thread<T> {}

impl<T: Run> Thread<T> {
    /// Starts a thread called `name`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`, or `EINTR` where the caller was killed meanwhile.
    pub(crate) fn spawn(name: &CStr, data: Arc<T>) -> Result<Self> {
        let arg = Arc::as_ptr(&data).cast_mut().cast::<c_void>();
        // SAFETY: `name` is a C string. `entry::<T>` expects a pointer to a `T`; it stays valid
        // while the thread runs, since `data` is held until the thread has ended.
        let task = from_err_ptr(unsafe {
            sys::hvl_thread_run(Some(entry::<T>), arg, name.as_char_ptr())
        })?;
        // INVARIANT: `hvl_thread_run` took a reference to the task for us.
        Ok(Self {
            task: NonNull::new(task).ok_or(ENOMEM)?,
            data,
        })
    }
}

impl<T: Run> Drop for Thread<T> {
    fn drop(&mut self) {
        self.data.stop();
        // SAFETY: `task` is our kernel thread by the type invariant; this gives our reference
        // back after the thread has ended.
        unsafe { sys::hvl_thread_stop(self.task.as_ptr()) };
    }
}

/// # Safety
///
/// `data` points to a `T` that outlives the thread.
unsafe extern "C" fn entry<T: Run>(data: *mut c_void) -> c_int {
    // SAFETY: By the function's contract.
    let data = unsafe { &*data.cast::<T>() };
    data.run();
    0
}
