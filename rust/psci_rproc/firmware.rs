// SPDX-License-Identifier: GPL-2.0

//! The life of a firmware: loaded, started, looked after, stopped.

use kernel::{
    device::Device,
    io::Io,
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        msecs_to_jiffies,
        Delta,
        Jiffies, //
    },
};

use super::{
    cpu::{
        Core,
        Taken, //
    },
    elf,
    image::Image, //
};
use crate::{
    remoteproc::{
        mem::Memory,
        Handled,
        Locked,
        Ops,
        Rproc, //
    },
    series::DevresIoMem, //
};

/// How often it is looked whether the firmware's core is still on: PSCI does not tell by itself.
const WATCH_MS: u32 = 500;

/// A register that makes the firmware look at its stop request.
pub struct Doorbell {
    /// The register.
    pub register: DevresIoMem<4>,
    /// What is written to it.
    pub value: u32,
}

impl Doorbell {
    fn ring(&self) {
        // Without access the device is being unbound; a firmware that polls stops all the same.
        if let Some(register) = self.register.try_access() {
            register.write32(self.value, 0);
        }
    }
}

/// A firmware that runs.
struct Running {
    core: Taken,
    /// The address of the stop request.
    request: u64,
    /// Whether it was asked to stop: then its core is expected to go off.
    asked: bool,
    /// Whether Linux has found it running. Then it has not to end with Linux.
    found: bool,
}

#[derive(Default)]
struct State {
    image: Image,
    running: Option<Running>,
    /// Whether Linux is going down.
    closed: bool,
}

/// A core and the memory of the firmware that it runs.
#[pin_data(PinnedDrop)]
pub struct Firmware {
    core: Core,
    memory: Memory,
    doorbell: Option<Doorbell>,
    stop_timeout_ms: u32,
    /// Where the resource table is of whatever somebody else starts: its address.
    table: Option<u64>,
    #[pin]
    state: Mutex<State>,
}

impl Firmware {
    /// A core without a firmware.
    pub fn new(
        core: Core,
        memory: Memory,
        doorbell: Option<Doorbell>,
        stop_timeout_ms: u32,
        table: Option<u64>,
    ) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            core,
            memory,
            doorbell,
            stop_timeout_ms,
            table,
            state <- new_mutex!(State::default(), "psci_rproc::State"),
        })
    }

    /// Whether the core runs a firmware that somebody else has started and that can be used.
    pub fn is_running(&self, dev: &Device) -> bool {
        let image = |table| Image::running(dev, &self.core, &self.memory, table);

        self.table
            .is_some_and(|table| self.core.occupied() && image(table).is_ok())
    }

    /// Checks a firmware file against the memory, with a line in the log if it does not do.
    fn parse<'a>(rproc: &Locked<'_, Self>, file: &'a [u8]) -> Result<elf::Image<'a>> {
        elf::Image::parse(file, rproc.data().memory.range()).map_err(|e| {
            dev_err!(rproc.device(), "{}: {e}\n", rproc.firmware());
            ENOEXEC
        })
    }

    fn try_load(rproc: &Locked<'_, Self>, known: &mut Image, file: &[u8]) -> Result {
        let this = rproc.data();
        let image = Self::parse(rproc, file)?;

        // In a recovery the framework has a new file started at the entry point of the one before,
        // with the resource table of that.
        if !known.describes(&image) {
            dev_err!(
                rproc.device(),
                "{}: its entry point or its resource table has changed since it was started\n",
                rproc.firmware()
            );
            return Err(ENOEXEC);
        }
        known.entry = Some(image.entry);
        this.memory.discard_caches();
        // What an earlier one has left there is not this one's, should that be looked for once.
        if let Some(table) = this.table {
            this.memory.write32(table, 0)?;
        }
        for segment in image.segments() {
            let length = segment.data.len();

            this.memory.write(segment.address, segment.data)?;
            // `parse` has checked both ends of the segment.
            this.memory.zero(
                segment.address + length as u64,
                usize::try_from(segment.size)? - length,
            )?;
        }
        Ok(())
    }

    fn try_start(rproc: &Locked<'_, Self>, image: &Image) -> Result<Running> {
        let this = rproc.data();
        let dev = rproc.device();
        let core = this.core.take(dev)?;

        this.memory.flush();
        let entry = image.entry.ok_or(EINVAL)?;

        // SAFETY: `load` has just been there: it has found this to be the entry point, in an
        // executable segment, and has loaded it. All of it lies in memory that is reserved for it.
        // That the firmware keeps to its memory is up to who has chosen it, as it is with a
        // kernel module.
        unsafe { core.start(dev, entry) }.inspect_err(|e| {
            // The core may still come on. Then nobody would know of its firmware: have it end.
            if *e == ETIMEDOUT {
                let _ = this.request_stop(image.request);
            }
        })?;
        Ok(Running {
            core,
            request: image.request,
            asked: false,
            found: false,
        })
    }

    /// Asks a firmware to switch its core off, and waits for that.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`: it still runs.
    fn ask_to_stop(&self, running: &mut Running) -> Result {
        running.asked = true;
        if running.core.is_off() {
            return Ok(());
        }
        self.request_stop(running.request)?;
        running
            .core
            .wait_off(Delta::from_millis(self.stop_timeout_ms.into()))
    }

    /// Sets the stop request, and has the firmware look at it.
    fn request_stop(&self, request: u64) -> Result {
        self.memory.write32(request, 1)?;
        self.memory.flush();
        if let Some(doorbell) = &self.doorbell {
            doorbell.ring();
        }
        Ok(())
    }
}

#[pinned_drop]
impl PinnedDrop for Firmware {
    fn drop(self: Pin<&mut Self>) {
        let mut state = self.state.lock();

        // The framework has not called `stop`, see there.
        if let Some(running) = state
            .running
            .as_mut()
            .filter(|running| !running.asked && !running.found)
        {
            // Whether it has worked is seen, and said, when the core is given back.
            let _ = self.ask_to_stop(running);
        }
        // As long as the memory is still claimed.
        state.running = None;
    }
}

impl Ops for Firmware {
    fn memory(&self) -> &Memory {
        &self.memory
    }

    /// # Errors
    ///
    /// `EBUSY`: the core runs something else; `ENOEXEC`: it is no firmware for this memory, or asks
    /// for resources that cannot be had; `ENOMEM`.
    fn sanity_check(rproc: &Locked<'_, Self>, file: &[u8]) -> Result {
        let this = rproc.data();

        // What it runs may well lie in the memory that would be written next.
        if this.core.occupied() {
            dev_err!(
                rproc.device(),
                "cpu{} already runs something that is not Linux: nothing is loaded\n",
                this.core.cpu()
            );
            return Err(EBUSY);
        }
        let image = Image::new(&Self::parse(rproc, file)?)?;

        this.state.lock().image = image;
        Ok(())
    }

    /// # Errors
    ///
    /// `ENOEXEC`: it is not the firmware that was looked at.
    fn load(rproc: &Locked<'_, Self>, file: &[u8]) -> Result {
        let image = &mut rproc.data().state.lock().image;

        image.recovery = core::mem::replace(&mut image.loaded, true);
        Self::try_load(rproc, image, file).inspect_err(|_| image.explain(rproc.device()))
    }

    fn handle_resource(_rproc: &Locked<'_, Self>, kind: u32) -> Handled {
        // Looked at with the whole table, before anything was loaded.
        if kind == elf::resources::stop::KIND {
            Handled::Yes
        } else {
            Handled::No
        }
    }

    /// # Errors
    ///
    /// `EBUSY`: Linux is going down; else what [`Core::take`] and [`Taken::start`] return.
    fn start(rproc: &Locked<'_, Self>) -> Result {
        let mut state = rproc.data().state.lock();

        if state.closed {
            dev_err!(rproc.device(), "Linux is going down: nothing is started\n");
            return Err(EBUSY);
        }
        // The framework takes the processor for stopped even if a stop of its own failed, halfway
        // through a start. What was left then has ended since.
        state.running.take_if(|running| running.core.is_off());
        state.running = Some(
            Self::try_start(rproc, &state.image)
                .inspect_err(|_| state.image.explain(rproc.device()))?,
        );
        rproc.watch_after(msecs_to_jiffies(WATCH_MS));
        Ok(())
    }

    /// # Errors
    ///
    /// `ENOENT`: the device tree does not say where it is; `ENOEXEC`: it is not there; `EBUSY`: what runs was asked
    /// to stop; `ENOMEM`.
    fn running_table(rproc: &Locked<'_, Self>) -> Result<(u64, usize)> {
        let this = rproc.data();
        let table = this.table.ok_or(ENOENT)?;
        let image = Image::running(rproc.device(), &this.core, &this.memory, table)?;
        let table = (image.table, image.table_data.len());

        this.state.lock().image = image;
        Ok(table)
    }

    /// # Errors
    ///
    /// `EBUSY`: Linux is going down; else what [`Core::adopt`] returns.
    fn attach(rproc: &Locked<'_, Self>) -> Result {
        let mut state = rproc.data().state.lock();

        if state.closed {
            dev_err!(
                rproc.device(),
                "Linux is going down: nothing is attached to\n"
            );
            return Err(EBUSY);
        }
        state.running = Some(Running {
            core: rproc.data().core.adopt(rproc.device())?,
            request: state.image.request,
            asked: false,
            found: true,
        });
        rproc.watch_after(msecs_to_jiffies(WATCH_MS));
        Ok(())
    }

    fn detach(rproc: &Locked<'_, Self>) -> Result {
        let this = rproc.data();

        this.state.lock().running = None;
        dev_info!(
            rproc.device(),
            "the firmware on cpu{} runs on without Linux\n",
            this.core.cpu()
        );
        Ok(())
    }

    /// # Errors
    ///
    /// `ETIMEDOUT`: the firmware does not stop.
    fn stop(rproc: &Locked<'_, Self>) -> Result {
        let this = rproc.data();
        let mut state = this.state.lock();
        let Some(running) = &mut state.running else {
            return Ok(());
        };

        this.ask_to_stop(running).inspect_err(|_| {
            dev_err!(
                rproc.device(),
                "the firmware did not switch cpu{} off within {} ms of the stop request: it still runs; stop again to wait longer\n",
                this.core.cpu(),
                this.stop_timeout_ms
            );
        })?;
        state.running = None;
        Ok(())
    }

    fn watch(rproc: &Rproc<Self>) -> Option<Jiffies> {
        let this = rproc.data();
        // Whoever has it is starting or stopping the firmware, which may take a while.
        let Some(mut state) = this.state.try_lock() else {
            return Some(msecs_to_jiffies(WATCH_MS));
        };
        if state.closed {
            return None;
        }
        let running = state.running.as_mut()?;

        if !running.core.is_off() {
            return Some(msecs_to_jiffies(WATCH_MS));
        }
        if running.asked {
            // A stop gave up waiting, and has told the user so.
            dev_info!(
                rproc.device(),
                "the firmware has switched cpu{} off now: stop again to have the core back\n",
                this.core.cpu()
            );
            return None;
        }
        running.asked = true;
        dev_err!(
            rproc.device(),
            "the firmware has switched cpu{} off without being asked to\n",
            this.core.cpu()
        );
        rproc.report_crash();
        None
    }

    /// The kernel that comes next, if it is kexec that this is for, expects all cores but one to be
    /// off, and knows nothing of a firmware: neither that it is there nor how it is stopped.
    ///
    /// The core is not given back any more: it would be taken offline again at once.
    fn shutdown(rproc: &Rproc<Self>) {
        let this = rproc.data();
        let mut state = this.state.lock();

        state.closed = true;
        // One that Linux has found is found by the next kernel, too.
        let stopped = state
            .running
            .as_mut()
            .filter(|running| !running.found)
            .map_or(Ok(()), |running| this.ask_to_stop(running));
        if stopped.is_err() {
            dev_err!(
                rproc.device(),
                "the firmware did not switch cpu{} off within {} ms of the stop request: it runs on when Linux has gone\n",
                this.core.cpu(),
                this.stop_timeout_ms
            );
        }
    }
}
