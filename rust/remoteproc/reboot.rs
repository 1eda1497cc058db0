// SPDX-License-Identifier: GPL-2.0

//! Hearing of it that Linux goes down.

use kernel::{
    bindings as kbindings,
    container_of,
    prelude::*,
    types::Opaque, //
};

use super::{
    Ops,
    Private,
    Rproc, //
};

/// The notifier that [`Private`] has a field for.
pub(super) type Block = Opaque<kbindings::notifier_block>;

/// A notifier that calls [`Ops::shutdown`].
pub(super) fn block<T: Ops>() -> Block {
    Opaque::new(kbindings::notifier_block {
        notifier_call: Some(notify::<T>),
        next: core::ptr::null_mut(),
        priority: 0,
    })
}

/// # Safety
///
/// Called for a notifier that is the field of a [`Private<T>`], whose `struct rproc` is registered.
unsafe extern "C" fn notify<T: Ops>(
    block: *mut kbindings::notifier_block,
    _action: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: As the caller promises.
    let rproc = unsafe {
        let private = container_of!(block.cast::<Block>(), Private<T>, reboot);

        Rproc::<T>::from_raw((*private).rproc.as_ptr())
    };

    T::shutdown(rproc);
    kbindings::NOTIFY_DONE as c_int
}
