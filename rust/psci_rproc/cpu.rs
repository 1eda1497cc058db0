// SPDX-License-Identifier: GPL-2.0

//! Taking a core from Linux, and giving it back.

use kernel::{
    bindings as kbindings,
    device::Device,
    error::to_result,
    io::poll::read_poll_timeout,
    prelude::*,
    sync::atomic::{
        Acquire,
        AtomicFlag,
        Full,
        Relaxed,
        Release, //
    },
    time::Delta,
    types::NotThreadSafe, //
};

use super::psci::{
    Power,
    Psci, //
};
use crate::{
    remoteproc::bindings,
    series::EOPNOTSUPP, //
};

/// How long PSCI may take to switch a core off or on that Linux or a firmware asked for.
const SWITCH_TIMEOUT: Delta = Delta::from_millis(1000);

/// How long a core has to stay on to count as started.
const SETTLE: Delta = Delta::from_millis(10);

/// What one of Linux's cores is used for.
struct Use {
    /// A [`Taken`] has it.
    taken: AtomicFlag,
    /// It was taken when Linux was using it, which has not had it again since. It outlives the
    /// [`Taken`]: that may be unable to give the core back, because a firmware still runs there, or
    /// because Linux cannot have it just then.
    owed: AtomicFlag,
}

impl Use {
    const fn new() -> Self {
        Self {
            taken: AtomicFlag::new(false),
            owed: AtomicFlag::new(false),
        }
    }

    fn of(cpu: u32) -> Option<&'static Self> {
        USE.get(usize::try_from(cpu).ok()?)
    }
}

static USE: [Use; kbindings::NR_CPUS as usize] =
    [const { Use::new() }; kbindings::NR_CPUS as usize];

/// A step of CPU hotplug.
struct Step(bindings::cpuhp_state);

impl Step {
    /// # Safety
    ///
    /// `startup` has to be right for a step in section `section`.
    unsafe fn new(
        section: bindings::cpuhp_state,
        name: &'static CStr,
        startup: extern "C" fn(c_uint) -> c_int,
    ) -> Result<Self> {
        // SAFETY: The name and the function live as long as the module, and the step is removed
        // before that ends. It is not invoked for the cores that are online now.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                section,
                name.as_char_ptr(),
                false,
                Some(startup),
                None,
                false,
            )
        };

        // A positive number is that of a step in a section where the kernel chooses it.
        to_result(state)?;
        Ok(Self(state))
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        // SAFETY: The step was registered with this number.
        unsafe { bindings::__cpuhp_remove_state(self.0, false) };
    }
}

/// Keeps Linux from using a core that was taken from it, and takes note when it has one again.
pub struct Hotplug {
    _prepare: Step,
    _online: Step,
}

impl Hotplug {
    /// Registers with CPU hotplug.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM`.
    pub fn register() -> Result<Self> {
        // SAFETY: Both functions only use atomic variables and write to the log, which can be done
        // anywhere.
        unsafe {
            Ok(Self {
                _prepare: Step::new(
                    bindings::cpuhp_state_CPUHP_BP_PREPARE_DYN,
                    c"psci_rproc:prepare",
                    Self::prepare,
                )?,
                _online: Step::new(
                    bindings::cpuhp_state_CPUHP_AP_ONLINE_DYN,
                    c"psci_rproc:online",
                    Self::online,
                )?,
            })
        }
    }

    extern "C" fn prepare(cpu: c_uint) -> c_int {
        match Use::of(cpu) {
            // One that was left to a firmware is PSCI's to refuse, until that has ended.
            Some(usage) if usage.taken.load(Acquire) => {
                pr_info!("cpu{cpu} belongs to a firmware: stop that before onlining it\n");
                // Not EBUSY, which the caller takes for passing: it would try six times.
                EPERM.to_errno()
            }
            _ => 0,
        }
    }

    extern "C" fn online(cpu: c_uint) -> c_int {
        if let Some(usage) = Use::of(cpu) {
            usage.owed.store(false, Relaxed);
        }
        0
    }
}

/// While this exists, no core is on its way to be used by Linux, or to be given up.
struct HotplugLock(NotThreadSafe);

impl HotplugLock {
    fn new() -> Self {
        // SAFETY: No requirements beyond process context.
        unsafe { bindings::cpus_read_lock() };
        Self(NotThreadSafe)
    }
}

impl Drop for HotplugLock {
    fn drop(&mut self) {
        // SAFETY: It was locked when this was made, by this thread.
        unsafe { bindings::cpus_read_unlock() };
    }
}

/// A core of Linux's that can be taken.
#[derive(Copy, Clone)]
pub struct Core {
    cpu: u32,
    mpidr: u64,
    psci: Psci,
}

impl Core {
    /// The core that the `cpus` property of a device names.
    ///
    /// # Errors
    ///
    /// `EINVAL`, `ENODEV`, `EBUSY` or `EOPNOTSUPP`, after a line in the log that says why.
    pub fn of(dev: &Device) -> Result<Self> {
        let psci = Psci::of_machine().map_err(|(e, why)| {
            dev_err!(dev, "{why}\n");
            e
        })?;
        let mut mpidr = 0;

        // SAFETY: `dev` is a valid device, and `Device` a transparent wrapper of it.
        let cpu =
            unsafe { bindings::psci_rproc_cpu(core::ptr::from_ref(dev).cast(), &raw mut mpidr) };
        let Ok(cpu) = u32::try_from(cpu) else {
            let e = Error::from_errno(cpu);
            let (e, why) = match e {
                ENOENT => (
                    EINVAL,
                    "missing: it has to name the core that runs the firmware",
                ),
                E2BIG => (EINVAL, "names more than one core"),
                ENXIO => (EINVAL, "names a cpu node whose reg is not its MPIDR"),
                EOPNOTSUPP => (
                    EOPNOTSUPP,
                    "names a core whose enable-method is not \"psci\"",
                ),
                _ => (ENODEV, "does not name one of the cores that Linux knows"),
            };
            dev_err!(dev, "cpus: {why}\n");
            return Err(e);
        };

        if cpu == 0 {
            dev_err!(
                dev,
                "cpus: names cpu0, the boot core, which Linux cannot do without: name another\n"
            );
            return Err(EBUSY);
        }
        // SAFETY: No requirements.
        if !unsafe { bindings::cpu_is_hotpluggable(cpu) } || Use::of(cpu).is_none() {
            dev_err!(
                dev,
                "cpus: names cpu{cpu}, which cannot be unplugged: name another\n"
            );
            return Err(EBUSY);
        }
        let core = Self { cpu, mpidr, psci };

        // Taking a core that PSCI has another name for would lose it.
        if let Err(refused) = psci.power(mpidr) {
            dev_err!(
                dev,
                "cpus: names cpu{cpu} with reg {mpidr:#x}: asked for its state, {refused}\n"
            );
            return Err(refused.into());
        }
        Ok(core)
    }

    /// Linux's number of the core.
    pub fn cpu(&self) -> u32 {
        self.cpu
    }

    /// Whether the core runs something that is not Linux.
    pub fn occupied(&self) -> bool {
        let _lock = HotplugLock::new();

        // SAFETY: The number is that of a core.
        let online = unsafe { bindings::psci_rproc_cpu_online(self.cpu) };

        !online && self.is_on()
    }

    /// Whether the core is on, or will be soon.
    fn is_on(&self) -> bool {
        matches!(self.psci.power(self.mpidr), Ok(Power::On | Power::Pending))
    }

    /// Takes the core with what runs there, which somebody else has started. Linux does not get it when that ends: it
    /// has not had it.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: `EBUSY` if it has other uses, `ENODEV` if nothing runs there.
    pub fn adopt(&self, dev: &Device) -> Result<Taken> {
        let cpu = self.cpu;
        let usage = Use::of(cpu).ok_or(ENODEV)?;

        // From here on Linux does not bring it online, and who had begun to has done so below.
        if usage.taken.xchg(true, Full) {
            dev_err!(dev, "cpu{cpu} belongs to another remote processor\n");
            return Err(EBUSY);
        }
        // INVARIANT: As just done.
        let taken = Taken { core: *self };

        if !self.occupied() {
            dev_err!(
                dev,
                "cpu{cpu} runs nothing but Linux by now: there is nothing to attach to\n"
            );
            return Err(ENODEV);
        }
        Ok(taken)
    }

    /// Takes the core from Linux, and waits until it is off.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: `EBUSY` if it has other uses, `ETIMEDOUT` if it does
    /// not go off, and what `remove_cpu` returns.
    pub fn take(&self, dev: &Device) -> Result<Taken> {
        let cpu = self.cpu;
        let usage = Use::of(cpu).ok_or(ENODEV)?;

        // First of all: from here on Linux does not bring it online.
        if usage.taken.xchg(true, Full) {
            dev_err!(dev, "cpu{cpu} belongs to another remote processor\n");
            return Err(EBUSY);
        }
        // INVARIANT: As just done. From here on it is given back whatever happens.
        let taken = Taken { core: *self };

        // Even if it is offline: whoever is bringing it online, or taking it offline, has done
        // so when this returns.
        //
        // SAFETY: No requirements beyond process context.
        match unsafe { bindings::remove_cpu(cpu) } {
            // It was online.
            0 => usage.owed.store(true, Relaxed),
            // It was offline, so it should be off.
            result if result > 0 => {
                if self.is_on() {
                    dev_err!(
                        dev,
                        "cpu{cpu} already runs something that is not Linux: it cannot be started\n"
                    );
                    return Err(EBUSY);
                }
            }
            result => to_result(result).inspect_err(|e| {
                dev_err!(
                    dev,
                    "cpu{cpu} cannot be taken from Linux: {}\n",
                    match *e {
                        EBUSY => "it is the last one, or the last housekeeping one, or unplugging is disabled now",
                        EPERM => "it may not be unplugged, perhaps because a trusted OS lives there",
                        EOPNOTSUPP => "unplugging is not supported, perhaps because PSCI has no CPU_OFF",
                        EINVAL => "it is not present",
                        _ => "unplugging it failed",
                    }
                )
            })?,
        }
        if taken.wait(Power::Off, SWITCH_TIMEOUT).is_err() {
            dev_err!(
                dev,
                "cpu{cpu} is not off {} ms after Linux left it\n",
                SWITCH_TIMEOUT.as_millis()
            );
            return Err(ETIMEDOUT);
        }
        Ok(taken)
    }
}

/// A core that Linux has given up. Dropped, it is given back, unless something still runs there.
///
/// # Invariants
///
/// `taken` of the core's [`Use`] is set, on behalf of this object.
pub struct Taken {
    core: Core,
}

impl Taken {
    /// Starts the core.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: what PSCI's answer amounts to, `ETIMEDOUT` if the core
    /// does not go on, `ENOEXEC` if it is off: a firmware that ends at once may never be seen on.
    ///
    /// # Safety
    ///
    /// A program has to be at `entry` that uses only memory, and registers, that are set aside for it.
    pub unsafe fn start(&self, dev: &Device, entry: u64) -> Result {
        let Core { cpu, mpidr, psci } = self.core;

        // SAFETY: By the type invariants Linux does not use the core; the rest is as the caller
        // promises.
        unsafe { psci.cpu_on(mpidr, entry, 0) }.map_err(|refused| {
            dev_err!(dev, "cpu{cpu} cannot be started at {entry:#x}: {refused}\n");
            Error::from(refused)
        })?;

        if self.wait(Power::On, SWITCH_TIMEOUT).is_ok() && self.wait(Power::Off, SETTLE).is_err() {
            return Ok(());
        }
        if self.is_off() {
            dev_err!(
                dev,
                "cpu{cpu} is off again: its firmware, started at {entry:#x}, has ended at once\n"
            );
            return Err(ENOEXEC);
        }
        dev_err!(
            dev,
            "cpu{cpu} is not on {} ms after PSCI accepted to start it at {entry:#x}\n",
            SWITCH_TIMEOUT.as_millis()
        );
        Err(ETIMEDOUT)
    }

    /// Whether the core is off.
    pub fn is_off(&self) -> bool {
        self.core.psci.power(self.core.mpidr) == Ok(Power::Off)
    }

    /// Waits, sleeping, for the core to be on or off.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`.
    fn wait(&self, power: Power, timeout: Delta) -> Result {
        read_poll_timeout(
            || Ok(self.core.psci.power(self.core.mpidr)),
            |now| *now == Ok(power),
            Delta::from_millis(1),
            timeout,
        )
        .map(|_| ())
    }

    /// Waits, sleeping, for the core to be off.
    ///
    /// # Errors
    ///
    /// `ETIMEDOUT`.
    pub fn wait_off(&self, timeout: Delta) -> Result {
        self.wait(Power::Off, timeout)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let cpu = self.core.cpu;
        let Some(usage) = Use::of(cpu) else { return };
        let occupied = self.core.occupied();

        usage.taken.store(false, Release);
        if !usage.owed.load(Relaxed) {
            return;
        }
        if occupied {
            // Linux would not get it: PSCI does not start a core that is on.
            pr_err!("cpu{cpu} still runs a firmware: it is not given back to Linux\n");
            return;
        }
        // A positive result is that of a core which somebody else has brought online meanwhile.
        //
        // SAFETY: No requirements beyond process context.
        match to_result(unsafe { bindings::add_cpu(cpu) }) {
            Ok(()) => {}
            // Another remote processor was quicker, and gives it back in its turn.
            Err(EPERM) if usage.taken.load(Acquire) => {}
            Err(e) => pr_err!(
                "cpu{cpu} cannot be given back to Linux now: error {}; it can be brought online later\n",
                e.to_errno()
            ),
        }
    }
}
