// SPDX-License-Identifier: GPL-2.0

//! Files in debugfs that can be read, some of which take a number, and that keep the module while somebody has them open.
//!
//! Those of `kernel::debugfs` have no owner: the kernel calls the release function of a file that
//! was open when its module went, and finds the table of functions freed.

use super::{
    bindings::kstrtouint_from_user,
    series::THIS_MODULE, //
};
use core::{
    marker::PhantomPinned,
    ptr, //
};
use kernel::{
    bindings,
    error::to_result,
    ffi::{
        c_char,
        c_int,
        c_void, //
    },
    fmt,
    prelude::*,
    seq_file::SeqFile,
    seq_print, //
};

/// A directory. Dropping it removes it, with all that is in it; whoever reads one of its files is
/// waited for, whoever has one open only gets an error from then on.
///
/// # Invariants
///
/// What `debugfs_create_dir` returned, which may stand for a failure: then all that is done with
/// it does nothing.
pub(crate) struct Dir(*mut bindings::dentry);

// SAFETY: The functions for a directory may be called from any thread.
unsafe impl Send for Dir {}

// SAFETY: As above.
unsafe impl Sync for Dir {}

impl Dir {
    /// A directory in `parent`, or in debugfs itself. Nobody needs to know whether there is one.
    pub(crate) fn new(name: &CStr, parent: Option<&Dir>) -> Self {
        let parent = parent.map_or(ptr::null_mut(), |dir| dir.0);
        // SAFETY: `name` is a C string, `parent` a directory or the root by the type invariant.
        // INVARIANT: As returned.
        Self(unsafe { bindings::debugfs_create_dir(name.as_char_ptr(), parent) })
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        // SAFETY: By the type invariant.
        unsafe { bindings::debugfs_remove(self.0) };
    }
}

/// What a file shows.
type Show<T> = fn(&T, &mut fmt::Formatter<'_>) -> fmt::Result;

/// What a file does with a number that is written to it.
type Store<T> = fn(&T, u32) -> Result;

/// One file's contents.
struct Text<T> {
    data: T,
    show: Show<T>,
    store: Option<Store<T>>,
    _pin: PhantomPinned,
}

impl<T> fmt::Display for Text<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.show)(&self.data, f)
    }
}

/// Files of a directory of their own. Field order is drop order: the files go before what they
/// show.
pub(crate) struct Files<T> {
    dir: Dir,
    texts: KVec<Pin<KBox<Text<T>>>>,
}

impl<T: Clone + Send + Sync + 'static> Files<T> {
    /// A directory `name` in `parent` with a file for each of `files`, which shows `data`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(
        name: &CStr,
        parent: &Dir,
        data: &T,
        files: &[(&CStr, Show<T>, Option<Store<T>>)],
    ) -> Result<Self> {
        let mut this = Self {
            dir: Dir::new(name, Some(parent)),
            texts: KVec::with_capacity(files.len(), GFP_KERNEL)?,
        };
        let ops: &'static bindings::file_operations = &Table::<T>::OPS;
        for &(name, show, store) in files {
            let text = KBox::pin(
                Text {
                    data: data.clone(),
                    show,
                    store,
                    _pin: PhantomPinned,
                },
                GFP_KERNEL,
            )?;
            let arg = ptr::from_ref(&*text).cast_mut().cast::<c_void>();
            this.texts.push(text, GFP_KERNEL)?;
            // SAFETY: `name` is a C string, the directory is one by the type invariant of `Dir`.
            // The functions of `Table` expect a `Text<T>`, which is pinned, and is dropped after
            // the file is removed.
            unsafe {
                bindings::debugfs_create_file_full(
                    name.as_char_ptr(),
                    if store.is_some() { 0o600 } else { 0o400 },
                    this.dir.0,
                    arg,
                    ptr::null(),
                    ops,
                )
            };
        }
        Ok(this)
    }
}

/// The functions for a file that shows a `T`.
struct Table<T>(T);

impl<T: Send + Sync + 'static> Table<T> {
    const OPS: bindings::file_operations = bindings::file_operations {
        owner: THIS_MODULE.as_ptr(),
        open: Some(Self::open),
        read: Some(bindings::seq_read),
        write: Some(Self::write),
        llseek: Some(bindings::seq_lseek),
        release: Some(bindings::single_release),
        ..pin_init::zeroed()
    };

    /// # Safety
    ///
    /// Called by debugfs for a file of [`Files<T>`] that is not removed before it returns.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: By the function's contract.
        unsafe { bindings::single_open(file, Some(Self::show), (*inode).i_private) }
    }

    /// # Safety
    ///
    /// Called by debugfs for a file that [`Self::open`] has opened, and that is not removed before it returns, with
    /// `count` bytes at `from` in user space, which may be wrong.
    unsafe extern "C" fn write(
        file: *mut bindings::file,
        from: *const c_char,
        count: usize,
        _: *mut bindings::loff_t,
    ) -> isize {
        // SAFETY: `single_open` put the `seq_file` there; for the rest see `show`.
        let text = unsafe {
            &*(*(*file).private_data.cast::<bindings::seq_file>())
                .private
                .cast::<Text<T>>()
        };
        let mut value = 0;
        let result = match text.store {
            // SAFETY: The function checks the memory in user space.
            Some(store) => to_result(unsafe { kstrtouint_from_user(from, count, 0, &mut value) })
                .and_then(|()| store(&text.data, value)),
            // Root may open what nobody may write.
            None => Err(EPERM),
        };
        match result {
            Ok(()) => count as isize,
            Err(error) => error.to_errno() as isize,
        }
    }

    /// # Safety
    ///
    /// Called by `seq_read` for a file that [`Self::open`] has opened, and that is not removed
    /// before it returns.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _: *mut c_void) -> c_int {
        // SAFETY: `open` put the argument of `Files::new` there. It is dropped after the file is
        // removed, which waits for this function.
        let text = unsafe { &*(*seq).private.cast::<Text<T>>() };
        // SAFETY: By the function's contract; the core serializes the uses of one `seq_file`.
        let seq = unsafe { SeqFile::from_raw(seq) };
        seq_print!(seq, "{text}");
        0
    }
}
