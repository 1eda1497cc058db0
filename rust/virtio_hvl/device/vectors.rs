// SPDX-License-Identifier: GPL-2.0

//! The interrupts of a device's queues (protocol.rst, "Vectors"): which they have, from the time when its
//! driver asks for queues to that when it deletes them.
//!
//! As on PCI: each queue that has a callback has one of its own if there are enough, else one serves all of
//! the device, else the link's doorbell does. A handler knows what it is for and never has to look for
//! that: what it does is the same however many queues and devices there are.

use super::HvlDevice;
use crate::{
    algo::vectors::{
        shares,
        Use, //
    },
    proto::{
        layout::{
            link,
            window, //
        },
        Vector, //
    },
    sys::irq::{
        Cpus,
        Handler,
        Irq, //
    },
    virtio::{
        Device,
        Spread,
        Wanted, //
    },
    virtio_hvl::{
        interrupts::Kind,
        queue::Queue, //
    }, //
};
use kernel::{
    bindings,
    cpumask::Cpumask,
    fmt,
    new_mutex,
    prelude::*,
    str::CString,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc,
        Mutex, //
    }, //
};

/// What an interrupt is for. It is there only while the interrupt is requested, so that nothing has to be
/// locked to read it.
pub(crate) struct Target {
    device: Arc<Device<HvlDevice>>,
    /// A queue; `None`: all of them, and the configuration.
    queue: Option<usize>,
    /// The event counter of the queue, or of the device, at the last time.
    seen: Atomic<u32>,
    /// How often it came.
    count: Atomic<u64>,
}

impl Target {
    fn event(&self) -> u32 {
        let transport = self.device.transport();
        match self.queue {
            // Pairs with the peer's increment after it published the used index.
            Some(queue) => transport.window.page().observe(window::queue_event(queue)),
            None => transport
                .wire
                .header()
                .observe(link::device_event(transport.index)),
        }
    }
}

impl Handler for Target {
    fn handle(&self) -> bool {
        let transport = self.device.transport();
        if !transport.wire.is_up(transport.window.epoch()) {
            return false;
        }
        self.count.add(1, Relaxed);
        // Whoever else has looked meanwhile: the peer had a reason to ring.
        let event = self.event();
        let is_new = self.seen.xchg(event, Relaxed) != event;
        match self.queue {
            Some(queue) => transport.interrupt_one(&self.device, queue),
            None => transport.interrupt(&self.device, true),
        }
        is_new
    }
}

/// One that is requested.
struct Line {
    irq: Irq<Target>,
    /// Its entry in the vector table.
    vector: usize,
    /// CPUs that its queue is meant for.
    spread: Option<Cpus>,
}

/// What a device's queues have at this time.
struct Held {
    choice: Use,
    lines: KVec<Line>,
    /// For each queue with a callback the number of its line.
    queues: KVec<Option<usize>>,
}

impl Held {
    const fn none() -> Self {
        Self {
            choice: Use::Link,
            lines: KVec::new(),
            queues: KVec::new(),
        }
    }

    /// The line of queue `index`.
    fn line(&mut self, index: u32) -> Option<&mut Line> {
        let line = self.queues.get(index as usize).copied().flatten()?;
        self.lines.get_mut(line)
    }
}

/// The vectors of a device.
#[pin_data]
pub(super) struct Vectors {
    /// Entries of the vector table that are for this device.
    own: KVec<usize>,
    #[pin]
    held: Mutex<Held>,
}

impl Vectors {
    /// Those of a device that has these entries of the table for itself.
    pub(super) fn new(own: KVec<usize>) -> impl PinInit<Self> {
        pin_init!(Self {
            own,
            held <- new_mutex!(Held::none()),
        })
    }
}

/// What is shown of a queue's interrupt.
pub(crate) struct Shown {
    pub(crate) name: CString,
    pub(crate) irq: u32,
    pub(crate) count: u64,
}

impl HvlDevice {
    /// Requests what the queues of `wanted` need, and tells the peer.
    ///
    /// # Errors
    ///
    /// `ENOMEM`. That there are too few interrupts, or one cannot be requested, is none.
    pub(super) fn request_vectors(
        &self,
        device: &Arc<Device<Self>>,
        name: &CStr,
        wanted: &[Wanted<'_>],
        spread: Option<Spread>,
    ) -> Result {
        let callbacks = wanted.iter().filter(|queue| queue.callback).count();
        let mut choice = Use::best(self.vectors.own.len(), callbacks);
        let held = loop {
            match self.request_all(choice, device, name, wanted) {
                Ok(held) => break held,
                Err(ENOMEM) => return Err(ENOMEM),
                // It was said why; what was requested is given back.
                Err(_) => choice = choice.next(),
            }
        };
        let held = self.spread(held, spread)?;
        self.tell(&held);
        let old = core::mem::replace(&mut *self.vectors.held.lock(), held);
        // Not under the lock: that waits for handlers.
        drop(old);
        Ok(())
    }

    /// Gives back what [`HvlDevice::request_vectors`] has requested.
    pub(super) fn release_vectors(&self) {
        let old = core::mem::replace(&mut *self.vectors.held.lock(), Held::none());
        for queue in self.queues() {
            queue.set_vector(false);
        }
        // As above.
        drop(old);
    }

    fn request_all(
        &self,
        choice: Use,
        device: &Arc<Device<Self>>,
        name: &CStr,
        wanted: &[Wanted<'_>],
    ) -> Result<Held> {
        let mut held = Held {
            choice,
            lines: KVec::new(),
            queues: KVec::with_capacity(wanted.len(), GFP_KERNEL)?,
        };
        let mut vectors = self.vectors.own.iter().copied();
        let mut request = |queue: Option<usize>, title: CString| {
            let vector = vectors.next().ok_or(ENOENT)?;
            self.request_one(device, vector, queue, title)
        };
        if choice == Use::Device {
            let title = CString::try_from_fmt(fmt!("{}-virtqueues", Text(name)))?;
            held.lines.push(request(None, title)?, GFP_KERNEL)?;
        }
        for (index, queue) in wanted.iter().enumerate() {
            let line = match choice {
                _ if !queue.callback => None,
                Use::Link => None,
                Use::Device => Some(0),
                Use::Queues => {
                    let title = CString::try_from_fmt(fmt!("{}-{}", Text(name), Text(queue.name)))?;
                    held.lines.push(request(Some(index), title)?, GFP_KERNEL)?;
                    Some(held.lines.len() - 1)
                }
            };
            held.queues.push(line, GFP_KERNEL)?;
        }
        Ok(held)
    }

    /// Requests the interrupt of entry `vector`, for a queue or for all.
    fn request_one(
        &self,
        device: &Arc<Device<Self>>,
        vector: usize,
        queue: Option<usize>,
        name: CString,
    ) -> Result<Line> {
        let interrupt = self.wire.interrupts().get(vector).ok_or(ENOENT)?;
        let target = Arc::new(
            Target {
                device: device.clone(),
                queue,
                seen: Atomic::new(0),
                count: Atomic::new(0),
            },
            GFP_KERNEL,
        )?;
        target.seen.store(target.event(), Relaxed);
        let irq = Irq::request(interrupt.number, name, target).inspect_err(|error| {
            if self.wire.may_say() {
                dev_warn!(
                    self.wire.dev(),
                    "device {} (virtio type {}): vector {vector}, interrupt {} of Linux's, cannot be \
                     requested ({error:?}): must be an edge-triggered interrupt that nobody else uses; its \
                     queues share another one\n",
                    self.index,
                    self.entry.device_id,
                    interrupt.number
                );
            }
        })?;
        if interrupt.kind == Kind::Message {
            // Linux knows it from when it is requested on.
            let (address, data) = irq
                .message()
                .filter(|(address, _)| *address != 0)
                .ok_or(EIO)?;
            self.wire.set_vector(vector, Vector::Msi { address, data });
        }
        Ok(Line {
            irq,
            vector,
            spread: None,
        })
    }

    /// Divides the CPUs among queues, if the driver asks for that: only those that are online, as a queue for a
    /// peer's core would be one too few for Linux.
    fn spread(&self, mut held: Held, spread: Option<Spread>) -> Result<Held> {
        let Some(Spread { before, after }) = spread else {
            return Ok(held);
        };
        let count = held.lines.len().saturating_sub(before + after);
        if held.choice != Use::Queues || count == 0 {
            return Ok(held);
        }
        let groups = Cpus::groups(count, shares)?;
        for (line, cpus) in held.lines.iter_mut().skip(before).zip(groups) {
            // Where none of the CPUs is online the interrupt goes where all do, until one is and
            // somebody says so.
            let _ = line.irq.set_affinity(Some(cpus.mask()));
            line.spread = Some(cpus);
        }
        Ok(held)
    }

    /// Writes to the window which vectors there are; the peer looks when a queue becomes ready.
    fn tell(&self, held: &Held) {
        let mut all = self.wire.interrupts().iter();
        if !all.any(|interrupt| interrupt.is_usable(&self.peer.identity)) {
            // Then it does not look.
            return;
        }
        let page = self.window.page();
        let vector = |line: Option<usize>| {
            let line = line.and_then(|line| held.lines.get(line));
            line.map_or(window::NO_VECTOR, |line| line.vector as u32)
        };
        for (index, queue) in self.queues().iter().enumerate() {
            let word = vector(held.queues.get(index).copied().flatten());
            page.write(window::queue_vector(index), word);
            queue.set_vector(word != window::NO_VECTOR);
        }
        let config = (held.choice == Use::Device).then_some(0);
        page.write(window::CONFIG_VECTOR, vector(config));
    }

    /// See [`crate::virtio::Transport::set_queue_affinity`].
    pub(super) fn set_affinity(&self, index: u32, cpus: Option<&Cpumask>) -> Result {
        match self.vectors.held.lock().line(index) {
            Some(line) => line.irq.set_affinity(cpus),
            // As on PCI: there is nothing to set, and nothing wrong.
            None => Ok(()),
        }
    }

    /// See [`crate::virtio::Transport::queue_affinity`].
    pub(super) fn affinity(&self, index: u32) -> Option<*const bindings::cpumask> {
        let mut held = self.vectors.held.lock();
        Some(held.line(index)?.spread.as_ref()?.as_raw())
    }

    /// What its queues' interrupts are.
    pub(crate) fn vector_use(&self) -> Use {
        self.vectors.held.lock().choice
    }

    /// The interrupt of queue `index`, if that has one. Process context.
    pub(crate) fn vector(&self, index: u32) -> Option<Shown> {
        let mut held = self.vectors.held.lock();
        let irq = &held.line(index)?.irq;
        Some(Shown {
            name: CString::try_from(irq.name()).ok()?,
            irq: irq.number(),
            count: irq.handler().count.load(Relaxed),
        })
    }

    /// Says that a queue's vector never comes.
    pub(super) fn report_mute(&self, queue: &Queue) {
        let Some(vector) = self.vector(queue.index()) else {
            return;
        };
        if self.wire.may_say() {
            dev_warn!(
                self.wire.dev(),
                "device {} (virtio type {}): queue {}: events are counted, but their interrupt {} ({}) does \
                 not come, they are looked for once a second: check the node's interrupts, and which one the \
                 peer rings\n",
                self.index,
                self.entry.device_id,
                queue.index(),
                vector.irq,
                Text(&vector.name)
            );
        }
    }
}

/// Text of C's, for messages.
struct Text<'a>(&'a CStr);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or("?"))
    }
}
