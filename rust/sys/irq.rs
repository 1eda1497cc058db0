// SPDX-License-Identifier: GPL-2.0

//! Interrupts that are requested while the driver runs, by number, under a name that is made then.
//!
//! Those of `kernel::irq` belong to what a device is bound with, and have names that are constants.

use super::{
    bindings as sys,
    series::irqreturn, //
};
use kernel::{
    bindings,
    cpu::{
        self,
        CpuId, //
    },
    cpumask::{
        Cpumask,
        CpumaskVar, //
    },
    error::to_result,
    ffi::{
        c_int,
        c_void, //
    },
    prelude::*,
    str::CString,
    sync::Arc, //
};

/// What is done about an interrupt.
pub(crate) trait Handler: Send + Sync + 'static {
    /// It came. Hard interrupt context. `false`: it was none of ours.
    fn handle(&self) -> bool;
}

/// A set of CPUs that stays where it is.
pub(crate) struct Cpus(KBox<CpumaskVar>);

// SAFETY: It is memory, and changed by nobody.
unsafe impl Send for Cpus {}

// SAFETY: As above.
unsafe impl Sync for Cpus {}

impl Cpus {
    /// A copy of `cpus`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn copy(cpus: &Cpumask) -> Result<Self> {
        Ok(Self(KBox::new(CpumaskVar::try_clone(cpus)?, GFP_KERNEL)?))
    }

    /// All CPUs in `count` groups. Those that are online as `shares` says, of which CPU, of how many, and which
    /// group, of how many; those that are not in turn, since they belong to a peer, maybe for ever.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn groups(
        count: usize,
        shares: impl Fn(usize, usize, usize, usize) -> bool,
    ) -> Result<KVec<Self>> {
        // SAFETY: Both are masks that the kernel has always; they change while they are read, as a set of bits
        // does.
        let (possible, online) = unsafe {
            (
                Cpumask::from_raw(&raw const bindings::__cpu_possible_mask),
                Cpumask::from_raw(&raw const bindings::__cpu_online_mask),
            )
        };
        let mut cpus = KVec::new();
        let numbers = (0..cpu::nr_cpu_ids()).filter_map(CpuId::from_u32);
        for number in numbers.filter(|number| possible.test(*number)) {
            cpus.push((number, online.test(number)), GFP_KERNEL)?;
        }
        let mut groups = KVec::with_capacity(count, GFP_KERNEL)?;
        for group in 0..count {
            let mut mask = CpumaskVar::new_zero(GFP_KERNEL)?;
            for is_online in [true, false] {
                let those = cpus.iter().filter(|(_, online)| *online == is_online);
                let all = those.clone().count();
                let members = those.enumerate().filter(|(place, _)| {
                    if is_online {
                        shares(*place, all, group, count)
                    } else {
                        place.checked_rem(count) == Some(group)
                    }
                });
                members.for_each(|(_, (number, _))| mask.set(*number));
            }
            groups.push(Self(KBox::new(mask, GFP_KERNEL)?), GFP_KERNEL)?;
        }
        Ok(groups)
    }

    /// The set itself.
    pub(crate) fn mask(&self) -> &Cpumask {
        &self.0
    }

    /// The mask, which is valid as long as `self`.
    pub(crate) fn as_raw(&self) -> *const bindings::cpumask {
        self.0.as_raw()
    }
}

/// A requested interrupt; dropping it gives it back, and waits until its handler is not running.
///
/// # Invariants
///
/// Interrupt `number` is ours, requested with the address of `*handler` as its cookie.
pub(crate) struct Irq<T: Handler> {
    number: u32,
    handler: Arc<T>,
    /// What the kernel shows of it, which it keeps a pointer to.
    name: CString,
    /// Where it should go, which it keeps a pointer to as well.
    hint: Option<Cpus>,
}

impl<T: Handler> Irq<T> {
    /// Requests interrupt `number`, with the trigger that the device tree says. The handler may run before
    /// this returns.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody has it, `EINVAL` if the controller refuses it, `ENOMEM`.
    pub(crate) fn request(number: u32, name: CString, handler: Arc<T>) -> Result<Self> {
        let cookie = Arc::as_ptr(&handler).cast_mut().cast::<c_void>();
        // SAFETY: `entry::<T>` expects a pointer to a `T`, which is alive until the interrupt is given
        // back, as is the name.
        to_result(unsafe {
            bindings::request_irq(number, Some(entry::<T>), 0, name.as_char_ptr(), cookie)
        })?;
        // INVARIANT: It was requested so.
        Ok(Self {
            number,
            handler,
            name,
            hint: None,
        })
    }

    /// Its number.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// Its name.
    pub(crate) fn name(&self) -> &CStr {
        &self.name
    }

    /// What handles it.
    pub(crate) fn handler(&self) -> &T {
        &self.handler
    }

    /// Has it go to one of `cpus`, and user space told that this is right; `None`: nothing is said any more.
    ///
    /// # Errors
    ///
    /// `EINVAL` where none of them is online, or the controller cannot; `ENOMEM`.
    pub(crate) fn set_affinity(&mut self, cpus: Option<&Cpumask>) -> Result {
        let hint = cpus.map(Cpus::copy).transpose()?;
        let mask = hint.as_ref().map_or(core::ptr::null(), Cpus::as_raw);
        // SAFETY: The interrupt is ours. The mask that it keeps lives until it keeps another one, or none.
        let result = to_result(unsafe { sys::hvl_irq_set_affinity(self.number, mask) });
        // Also after a failure: the pointer was set before the CPUs were.
        self.hint = hint;
        result
    }

    /// The message by which a device raises it, address and data; `None` if it is no message.
    pub(crate) fn message(&self) -> Option<(u64, u32)> {
        let (mut address, mut data) = (0, 0);
        // SAFETY: The interrupt is ours; both can be written.
        let found = unsafe { sys::hvl_irq_message(self.number, &mut address, &mut data) };
        found.then_some((address, data))
    }
}

impl<T: Handler> Drop for Irq<T> {
    fn drop(&mut self) {
        let cookie = Arc::as_ptr(&self.handler).cast_mut().cast::<c_void>();
        // SAFETY: Requested with this cookie by the type invariant; without a mask the function can be
        // called for any interrupt of ours. Afterwards the kernel has no pointer into `self`.
        unsafe {
            sys::hvl_irq_set_affinity(self.number, core::ptr::null());
            bindings::free_irq(self.number, cookie);
        }
    }
}

/// # Safety
///
/// `cookie` points to a `T` that is alive while the interrupt is requested.
unsafe extern "C" fn entry<T: Handler>(
    _number: c_int,
    cookie: *mut c_void,
) -> bindings::irqreturn_t {
    // SAFETY: By the function's contract.
    let handler = unsafe { &*cookie.cast::<T>() };
    if handler.handle() {
        irqreturn::IRQ_HANDLED
    } else {
        irqreturn::IRQ_NONE
    }
}
