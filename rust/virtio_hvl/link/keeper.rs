// SPDX-License-Identifier: GPL-2.0

//! One device in the hands of the virtio core.
//!
//! A driver's probe and remove functions run inside of registration and removal, and can wait for
//! the device in ways that only a broken queue ends: virtio_net spins for an answer of its control
//! queue, virtio_blk sleeps until a partition table is read. Whoever watches the peer must not be
//! the one who waits. So each device has a thread of its own for this: its keeper.

use super::state::{
    HvlVirtio,
    Link, //
};
use crate::{
    sys::{
        event::Event,
        series,
        thread::{
            Run,
            Thread, //
        }, //
    },
    virtio::Registration,
    virtio_hvl::device::{
        Caller,
        HvlDevice, //
    }, //
};
use kernel::{
    device,
    faux,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            AtomicFlag,
            Release, //
        },
        Arc, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// What keeps a device registered.
type HvlRegistration = Registration<HvlDevice>;

/// What there is while the device is registered, beside that: who calls its driver, if an interrupt must not, and
/// its parent. Field order is drop order.
struct Beside {
    _caller: Option<Thread<Caller>>,
    _parent: faux::Registration,
}

/// How long a keeper with nothing to do sleeps before it looks whether that is still so, in ms.
const IDLE_MS: u32 = 600_000;

/// How far a device is. It only goes forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It is being registered; its driver's probe may be running.
    Starting,
    /// It is registered.
    Held,
    /// It is being removed; its driver's remove may be running.
    Removing,
    /// No driver uses it or its memory any more, but somebody still holds it open.
    Released,
    /// The keeper is at its end.
    Done,
}

impl Stage {
    const ALL: [Self; 5] = [
        Self::Starting,
        Self::Held,
        Self::Removing,
        Self::Released,
        Self::Done,
    ];
}

/// Registers a device, and removes it when told to.
#[pin_data]
pub(super) struct Keeper {
    link: Arc<Link>,
    device: Arc<HvlVirtio>,
    stage: Atomic<u32>,
    asked: AtomicFlag,
    #[pin]
    leave: Event,
}

impl Keeper {
    /// A keeper of `device`, to be run by a thread.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(link: &Arc<Link>, device: Arc<HvlVirtio>) -> Result<Arc<Self>> {
        Arc::pin_init(
            pin_init!(Self {
                link: link.clone(),
                device,
                stage: Atomic::new(Stage::Starting as u32),
                asked: AtomicFlag::new(false),
                leave <- Event::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// The device.
    pub(super) fn device(&self) -> &Arc<HvlVirtio> {
        &self.device
    }

    /// How far it is.
    pub(super) fn stage(&self) -> Stage {
        let stage = self.stage.load(Acquire) as usize;
        Stage::ALL.get(stage).copied().unwrap_or(Stage::Done)
    }

    /// Has the device removed, as soon as it is registered.
    pub(super) fn dismiss(&self) {
        self.asked.store(true, Release);
        self.leave.signal();
    }

    /// Has it look after its device, which has something for a thread that may wait.
    pub(super) fn nudge(&self) {
        self.leave.signal();
    }

    fn advance(&self, stage: Stage) {
        self.stage.store(stage as u32, Release);
        self.link.wire().wake();
    }

    /// Registers the device under a parent of its own, which the virtio core wants.
    fn register(&self) -> Result<(HvlRegistration, Beside)> {
        let transport = self.device.transport();
        let begin = Instant::<Monotonic>::now();
        let name = CString::try_from(transport.name())?;
        let parent = faux::Registration::new(&name, Some(self.link.wire().dev()))?;
        let caller = Caller::start(&self.device)?;
        // Its transactions are answered by interrupts from here on.
        self.link.fill_slot(transport.index(), &self.device);
        let bound: &device::Device<device::Bound> = series::bound(&parent);
        let registration = HvlRegistration::new(self.device.clone(), bound)?;
        transport.note_set_up(u64::try_from(begin.elapsed().as_micros_ceil()).unwrap_or(0));
        // What changed while the virtio core did not know the device.
        self.link.look_at(transport.index());
        let beside = Beside {
            _caller: caller,
            _parent: parent,
        };
        Ok((registration, beside))
    }
}

impl Run for Keeper {
    fn run(&self) {
        let transport = self.device.transport();
        match self.register() {
            Ok((registration, beside)) => {
                self.advance(Stage::Held);
                while !self.asked.load(Acquire) {
                    self.leave.wait_idle(IDLE_MS);
                    transport.see_off(&self.device);
                }
                self.advance(Stage::Removing);
                transport.farewell(&self.device);
                let last_user = registration.unregister();
                drop(beside);
                self.link.clear_slot(transport.index(), &self.device);
                self.advance(Stage::Released);
                // Waits until nobody holds the device open.
                drop(last_user);
            }
            Err(error) => {
                self.link.clear_slot(transport.index(), &self.device);
                self.link.wire().complain(fmt!(
                    "device {} (virtio type {}) is not registered: {error:?}",
                    transport.index(),
                    transport.entry().device_id
                ));
            }
        }
        self.advance(Stage::Done);
    }

    fn stop(&self) {
        self.dismiss();
    }
}
