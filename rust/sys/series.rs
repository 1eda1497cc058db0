// SPDX-License-Identifier: GPL-2.0

//! What is otherwise in the kernel crate of another series; what both modules need of that is in
//! `crate::series`, which tells how this is meant.

#[cfg(hvl_before_7_3)]
pub(crate) use self::before_7_3::*;
#[cfg(not(hvl_before_7_3))]
pub(crate) use self::since_7_3::*;

#[cfg(not(hvl_before_7_3))]
mod since_7_3 {
    use kernel::{
        device,
        faux, //
    };

    pub(crate) use kernel::{
        bindings::{
            dma_data_direction,
            irqreturn, //
        },
        error::code::EPROTONOSUPPORT,
        irq::{
            Handler,
            Registration, //
        },
        new_spinlock_irq,
        sync::{
            barrier::{
                dma_mb,
                mb,
                smp_mb,
                Full,
                Read,
                Write, //
            },
            lock::spinlock::SpinLockIrqBackend,
            SpinLockIrq, //
        }, //
    };

    /// What a type must be, and `device` is not, where a driver of this series does not bear a wrong peer.
    pub(crate) fn refusal(_: u32) -> Option<&'static str> {
        None
    }

    /// This module.
    pub(crate) const THIS_MODULE: kernel::ThisModule =
        <crate::LocalModule as kernel::ModuleMetadata>::THIS_MODULE;

    /// The device, which is bound for as long as it is registered.
    pub(crate) fn bound(parent: &faux::Registration) -> &device::Device<device::Bound> {
        parent.as_ref().as_ref()
    }
}

#[cfg(hvl_before_7_3)]
mod before_7_3 {
    use crate::{
        proto::virtio::device::CONSOLE,
        series::error,
        sys::bindings as sys, //
    };
    use core::marker::PhantomData;
    use kernel::{
        bindings,
        device::{
            Bound,
            Device, //
        },
        faux,
        ffi::c_char,
        irq::{
            self,
            Flags,
            IrqRequest,
            IrqReturn, //
        },
        prelude::*,
        sync::{
            barrier,
            lock::{
                spinlock::SpinLockBackend,
                Backend,
                Lock, //
            }, //
        }, //
    };

    /// What a type must be, and `device` is not, where a driver of this series does not bear a wrong peer.
    ///
    /// `virtio_console` frees what it has sent when its queue is broken, and leaves it there, to be freed again when the
    /// device goes.
    pub(crate) fn refusal(device: u32) -> Option<&'static str> {
        (device == CONSOLE).then_some(
            "other than a console, whose driver in this kernel frees memory twice, unless \
             virtio-hvl,trusted-peer is in the node",
        )
    }

    pub(crate) use crate::THIS_MODULE;
    pub(crate) use kernel::sync::atomic::Full;

    /// Protocol not supported.
    pub(crate) const EPROTONOSUPPORT: Error = error(bindings::EPROTONOSUPPORT);

    /// What a handler of interrupts returns.
    pub(crate) mod irqreturn {
        pub(crate) use kernel::bindings::{
            irqreturn_IRQ_HANDLED as IRQ_HANDLED,
            irqreturn_IRQ_NONE as IRQ_NONE, //
        };
    }

    /// Which way data goes.
    pub(crate) mod dma_data_direction {
        pub(crate) use kernel::bindings::{
            dma_data_direction_DMA_BIDIRECTIONAL as DMA_BIDIRECTIONAL,
            dma_data_direction_DMA_FROM_DEVICE as DMA_FROM_DEVICE,
            dma_data_direction_DMA_TO_DEVICE as DMA_TO_DEVICE, //
        };
    }

    /// The device, which is bound for as long as it is registered.
    pub(crate) fn bound(parent: &faux::Registration) -> &Device<Bound> {
        let parent: &Device = parent.as_ref();
        // SAFETY: The bus of such devices has bound it before it was registered, and user space cannot unbind
        // it.
        unsafe { parent.as_bound() }
    }

    // --- locks ---

    /// A spinlock for what interrupts need as well: they are off while it is held.
    pub(crate) type SpinLockIrq<T> = Lock<T, SpinLockIrqBackend>;

    /// What such a lock is made of: a spinlock, and C helpers that count how many keep interrupts off.
    pub(crate) struct SpinLockIrqBackend;

    // SAFETY: All about the lock itself is done by the backend of spinlocks. Interrupts are off from before it is
    // owned until after it is given back.
    unsafe impl Backend for SpinLockIrqBackend {
        type State = <SpinLockBackend as Backend>::State;
        type GuardState = <SpinLockBackend as Backend>::GuardState;

        unsafe fn init(
            ptr: *mut Self::State,
            name: *const c_char,
            key: *mut bindings::lock_class_key,
        ) {
            // SAFETY: By the function's contract.
            unsafe { SpinLockBackend::init(ptr, name, key) }
        }

        #[inline]
        unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
            // SAFETY: Undone by `unlock`; the rest by the function's contract.
            unsafe {
                sys::hvl_interrupts_off();
                SpinLockBackend::lock(ptr)
            }
        }

        #[inline]
        unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
            // SAFETY: Undone by `unlock`, or here; the rest by the function's contract.
            unsafe {
                sys::hvl_interrupts_off();
                let state = SpinLockBackend::try_lock(ptr);
                if state.is_none() {
                    sys::hvl_interrupts_on();
                }
                state
            }
        }

        #[inline]
        unsafe fn unlock(ptr: *mut Self::State, state: &Self::GuardState) {
            // SAFETY: By the function's contract; whoever owns the lock has interrupts off.
            unsafe {
                SpinLockBackend::unlock(ptr, state);
                sys::hvl_interrupts_on();
            }
        }

        #[inline]
        unsafe fn assert_is_held(ptr: *mut Self::State) {
            // SAFETY: By the function's contract.
            unsafe { SpinLockBackend::assert_is_held(ptr) }
        }
    }

    /// Makes such a lock of what it protects.
    macro_rules! new_spinlock_irq {
        ($inner:expr) => {
            $crate::sys::series::SpinLockIrq::new(
                $inner,
                kernel::optional_name!(),
                kernel::static_lock_class!(),
            )
        };
    }
    pub(crate) use new_spinlock_irq;

    // --- barriers ---

    /// Loads before loads.
    pub(crate) struct Read;

    /// Stores before stores.
    pub(crate) struct Write;

    /// What a barrier keeps in order, and the three kinds of barriers that do.
    pub(crate) trait Ordering {
        fn mb();
        fn dma_mb();
        fn smp_mb();
    }

    macro_rules! ordering {
        ($name:ty, $mb:ident, $dma_mb:ident, $smp_mb:ident) => {
            impl Ordering for $name {
                #[inline]
                fn mb() {
                    // SAFETY: No requirements.
                    unsafe { sys::$mb() }
                }

                #[inline]
                fn dma_mb() {
                    // SAFETY: No requirements.
                    unsafe { sys::$dma_mb() }
                }

                #[inline]
                fn smp_mb() {
                    barrier::$smp_mb()
                }
            }
        };
    }

    ordering!(Full, hvl_mb, hvl_dma_mb, smp_mb);
    ordering!(Read, hvl_rmb, hvl_dma_rmb, smp_rmb);
    ordering!(Write, hvl_wmb, hvl_dma_wmb, smp_wmb);

    /// For whoever there is in the system.
    #[inline]
    pub(crate) fn mb<T: Ordering>(_: T) {
        T::mb()
    }

    /// For what is coherent with the caches, devices included.
    #[inline]
    pub(crate) fn dma_mb<T: Ordering>(_: T) {
        T::dma_mb()
    }

    /// For other CPUs.
    #[inline]
    pub(crate) fn smp_mb<T: Ordering>(_: T) {
        T::smp_mb()
    }

    // --- interrupts ---

    /// What is done about an interrupt.
    pub(crate) trait Handler: Sync + 'static {
        /// It came. Hard interrupt context.
        fn handle(&self) -> IrqReturn;
    }

    /// A handler, as the kernel crate calls it: with the device, which ours know.
    #[pin_data]
    struct WithDevice<T> {
        #[pin]
        handler: T,
    }

    impl<T: Handler> irq::Handler for WithDevice<T> {
        fn handle(&self, _device: &Device<Bound>) -> IrqReturn {
            self.handler.handle()
        }
    }

    /// A requested interrupt of a device that is bound meanwhile.
    #[pin_data]
    pub(crate) struct Registration<'a, T: Handler> {
        #[pin]
        inner: irq::Registration<WithDevice<T>>,
        _device: PhantomData<&'a Device<Bound>>,
    }

    impl<'a, T: Handler> Registration<'a, T> {
        /// Requests it.
        ///
        /// # Safety
        ///
        /// None here. With 7.3 it has to be dropped.
        pub(crate) unsafe fn new(
            request: IrqRequest<'a>,
            flags: Flags,
            name: &'static CStr,
            handler: impl PinInit<T, Error> + 'a,
        ) -> impl PinInit<Self, Error> + 'a {
            let handler = try_pin_init!(WithDevice { handler <- handler }? Error);
            try_pin_init!(Self {
                inner <- irq::Registration::new(request, flags, name, handler),
                _device: PhantomData,
            }? Error)
        }

        /// Waits until the handler is not running.
        pub(crate) fn synchronize(&self) {
            // Without the device being bound it never runs again.
            let _ = self.inner.try_synchronize();
        }
    }
}
