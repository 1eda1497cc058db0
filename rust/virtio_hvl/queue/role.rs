// SPDX-License-Identifier: GPL-2.0

//! What the driver of some devices needs that most do not: what it believes is looked at on its way, by
//! [`crate::algo::console`] and [`crate::algo::rpmsg`]; a callback that sleeps is called by a thread.

use super::Queue;
use crate::{
    algo::{
        console::{
            self,
            ports_of,
            Ports, //
        },
        drivers,
        rpmsg::{
            self,
            Channel,
            Channels, //
        },
        shadow::Shadow, //
    },
    proto::{
        virtio::device,
        DeviceEntry, //
    },
    sys::{
        event::Event,
        series::{
            new_spinlock_irq,
            SpinLockIrq, //
        }, //
    },
    virtio_hvl::{
        buffer::Buffer,
        fault::Fault, //
    },
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// What is known of the ports of a console, if it has several.
type PortsLock = SpinLockIrq<Ports>;
/// What is known of the channels of a device for messages between processors.
type ChannelsLock = SpinLockIrq<Channels<KVec<Channel>>>;

/// What is looked at.
#[derive(Clone)]
pub(crate) enum Watch {
    /// The control messages of a console.
    Ports(Arc<PortsLock>),
    /// Messages between processors.
    Channels(Arc<ChannelsLock>),
}

impl Watch {
    /// That of the device that `entry` describes, if there is any for its kind.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new(entry: &DeviceEntry) -> Result<Option<Self>> {
        match entry.device_id {
            device::CONSOLE if ports_of(entry.queue_count).is_some() => {
                let ports = Ports::new(entry.queue_count);
                let lock = Arc::pin_init(new_spinlock_irq!(ports), GFP_KERNEL)?;
                Ok(Some(Self::Ports(lock)))
            }
            device::RPMSG => {
                let list = KVec::from_elem(Channel::NONE, rpmsg::CHANNELS, GFP_KERNEL)?;
                let channels = Channels::new(list);
                let lock = Arc::pin_init(new_spinlock_irq!(channels), GFP_KERNEL)?;
                Ok(Some(Self::Channels(lock)))
            }
            _ => Ok(None),
        }
    }

    /// Whether something is to be known of what goes through queue `index`.
    fn watches(&self, index: u32) -> bool {
        match self {
            Self::Ports(_) => index == console::CONTROL_TO || index == console::CONTROL_FROM,
            Self::Channels(_) => index == rpmsg::RECEIVE,
        }
    }

    /// The driver has reset the device.
    pub(crate) fn reset(&self) {
        match self {
            Self::Ports(ports) => ports.lock().reset(),
            Self::Channels(channels) => channels.lock().reset(),
        }
    }

    /// Whether the driver may spin for queue `index`, for all that is known.
    pub(crate) fn spins(&self, index: u32) -> bool {
        match self {
            Self::Ports(ports) => ports.lock().spins(index),
            Self::Channels(_) => true,
        }
    }

    /// A port that is to go, see [`Ports::leaving`].
    pub(crate) fn leaving(&self) -> Option<u32> {
        match self {
            Self::Ports(ports) => ports.lock().leaving(),
            Self::Channels(_) => None,
        }
    }

    /// The first bytes of `buffer`, which the driver gets with `len` bytes at `now_ms`. Nothing, if they are wrong.
    fn judge(&self, index: u32, buffer: &Buffer, len: u32, now_ms: u64) -> Result<(), Fault> {
        match self {
            Self::Ports(ports) => {
                let Some(message) = buffer.read(0) else {
                    return Ok(());
                };
                let verdict = ports.lock().judge(&message, len, now_ms);
                let instead = verdict.unwrap_or(Some(console::NOTHING));
                if let Some(instead) = instead {
                    buffer.write(0, &instead);
                }
                let said = verdict.map(|_| ());
                said.map_err(|wrong| Fault::Control(index, wrong))
            }
            Self::Channels(channels) => {
                let Some(message) = buffer.read(0) else {
                    return Ok(());
                };
                let verdict = channels.lock().judge(&message, len, now_ms);
                verdict.map_err(|wrong| {
                    buffer.write(0, &rpmsg::NOTHING);
                    Fault::Message(index, wrong)
                })
            }
        }
    }
}

/// What a device, or one of its queues, has of this.
#[derive(Clone)]
pub(crate) struct Role {
    pub(crate) watch: Option<Watch>,
    /// Wakes the thread that calls the driver.
    pub(crate) caller: Option<Arc<Event>>,
}

impl Role {
    /// That of the device that `entry` describes; `copied`: what goes through its queues is.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(entry: &DeviceEntry, copied: bool) -> Result<Self> {
        let sleeps = (0..entry.queue_count).any(|index| drivers::sleeps(entry.device_id, index));
        Ok(Self {
            // Where nothing is copied there is nothing to look at.
            watch: if copied { Watch::new(entry)? } else { None },
            caller: if sleeps {
                Some(Arc::pin_init(Event::new(), GFP_KERNEL)?)
            } else {
                None
            },
        })
    }

    /// What of it is for queue `index`.
    pub(crate) fn of_queue(&self, device: u32, index: u32) -> Self {
        let Self { watch, caller } = self.clone();
        Self {
            watch: watch.filter(|watch| watch.watches(index)),
            caller: caller.filter(|_| drivers::sleeps(device, index)),
        }
    }
}

impl Queue {
    /// Whether what goes through it is looked at. Mostly it is not, and is to cost no more for that.
    #[inline]
    pub(super) fn is_watched(&self) -> bool {
        self.role.watch.is_some()
    }

    /// Whether the driver may have to be told something by it that the peer has not said.
    pub(super) fn keeps_one(&self) -> bool {
        matches!(self.role.watch, Some(Watch::Ports(_))) && self.index == console::CONTROL_TO
    }

    /// The driver is going to send what is in `buffer`.
    #[inline(never)]
    pub(super) fn hear(&self, buffer: &Buffer) {
        let Some(Watch::Ports(ports)) = &self.role.watch else {
            return;
        };
        if self.index != console::CONTROL_FROM {
            return;
        }
        if let Some(message) = buffer.read(0) {
            ports.lock().hear(&message);
        }
    }

    /// The buffer at `address` with how many bytes the peer has written to it, if that is to be looked at.
    pub(super) fn told(&self, address: u64) -> Option<(Buffer, u32)> {
        if self.index == console::CONTROL_FROM {
            return None;
        }
        let state = self.state.lock();
        let shadow: &Shadow<_> = state.shadow.as_ref()?;
        let (buffer, _) = shadow.buffer(address)?;
        // What comes back unused, when the driver goes, says nothing.
        let len = shadow.written(address);
        (len != 0).then_some((buffer, len))
    }

    /// The driver gets `len` bytes in `buffer`, which are its own by now: nothing, if they are wrong.
    pub(super) fn judge(&self, buffer: &Buffer, len: u32) {
        let Some(watch) = &self.role.watch else {
            return;
        };
        let Err(fault) = watch.judge(self.index, buffer, len, self.wire.now_ms()) else {
            if watch.leaving().is_some() {
                // Which has the device's keeper see to it.
                self.wire.wake();
            }
            return;
        };
        let mut state = self.state.lock();
        let first = state.fault.is_none();
        state.fault = state.fault.or(Some(fault));
        drop(state);
        if first {
            // The link's thread says what is wrong.
            self.wire.wake();
        }
    }
}
