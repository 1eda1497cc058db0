// SPDX-License-Identifier: GPL-2.0

//! What is otherwise in the kernel crate of another series.
//!
//! The modules are written for the newest series that `Kbuild` names. There all of this is another
//! name for what the kernel crate has. Before 7.3 it is the same, made of what there is.
//!
//! This is what both modules need; `sys/series.rs` has what rests on helpers in C, which are those
//! of `virtio_hvl`.

#[cfg(hvl_before_7_3)]
pub use self::before_7_3::*;
#[cfg(not(hvl_before_7_3))]
pub use kernel::{
    error::code::EOPNOTSUPP,
    io::mem::DevresIoMem,
    of_device_table, //
};

#[cfg(hvl_before_7_3)]
mod before_7_3 {
    use core::mem;
    use kernel::{
        bindings,
        devres::Devres,
        error::code::EINVAL,
        io::mem::IoMem,
        prelude::*, //
    };

    /// Registers that can be accessed until their device is unbound.
    pub type DevresIoMem<const SIZE: usize = 0> = Devres<IoMem<'static, SIZE>>;

    /// Operation not supported.
    pub const EOPNOTSUPP: Error = error(bindings::EOPNOTSUPP);

    /// The error of an `errno` that the kernel crate has no name for.
    ///
    /// A constant, which patterns need, and the kernel crate makes none for others.
    pub(crate) const fn error(errno: u32) -> Error {
        assert!(errno > 0 && errno <= bindings::MAX_ERRNO);
        // SAFETY: An `Error` is its negative number, as the assertion below shows, which is in the range that
        // it has to be in.
        unsafe { mem::transmute(-(errno as i32)) }
    }

    // SAFETY: Any 32 bits are a number.
    const _: () =
        assert!(unsafe { mem::transmute::<Error, i32>(EINVAL) } == -(bindings::EINVAL as i32));

    /// The device tree nodes of a driver: the name of their table, the type of what is known of each, and these.
    macro_rules! of_device_table {
        ($table:ident, $info:ty, $nodes:expr $(,)?) => {
            kernel::of_device_table!($table, MODULE_OF_TABLE, $info, $nodes);
        };
    }
    pub(crate) use of_device_table;
}
