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
        Atomic,
        Full,
        Release, //
    },
    time::Delta, //
};

use super::psci::{
    Power,
    Psci, //
};
use crate::remoteproc::bindings;

/// How long PSCI may take to switch a core off or on that Linux or a firmware asked for.
const SWITCH_TIMEOUT: Delta = Delta::from_millis(1000);

/// How long a core has to stay on to count as started.
const SETTLE: Delta = Delta::from_millis(10);

/// Linux may use the core.
const FREE: u32 = 0;
/// A [`Taken`] has it.
const TAKEN: u32 = 1;
/// A [`Taken`] had it, and left it when a firmware still ran there.
const LEFT: u32 = 2;

/// What each of Linux's cores is used for.
static USE: [Atomic<u32>; kbindings::NR_CPUS as usize] =
    [const { Atomic::new(FREE) }; kbindings::NR_CPUS as usize];

fn usage(cpu: u32) -> Option<&'static Atomic<u32>> {
    USE.get(usize::try_from(cpu).ok()?)
}

/// Keeps Linux from using a core that it was taken from: a step of CPU hotplug that refuses.
pub struct Hotplug(bindings::cpuhp_state);

impl Hotplug {
    /// Registers the step.
    ///
    /// # Errors
    ///
    /// `ENOSPC` or `ENOMEM`.
    pub fn register() -> Result<Self> {
        // SAFETY: The name and the function live as long as the module, and the step is removed
        // before that ends. It is not invoked for the cores that are online now.
        let state = unsafe {
            bindings::__cpuhp_setup_state(
                bindings::cpuhp_state_CPUHP_BP_PREPARE_DYN,
                c"psci_rproc:taken".as_char_ptr(),
                false,
                Some(Self::prepare),
                None,
                false,
            )
        };

        to_result(state)?;
        Ok(Self(state))
    }

    extern "C" fn prepare(cpu: c_uint) -> c_int {
        match usage(cpu) {
            // One that was left is PSCI's to refuse, until the firmware there has ended.
            Some(usage) if usage.load(Acquire) == TAKEN => {
                pr_info!("cpu{cpu} belongs to a firmware: stop that before onlining it\n");
                // Not EBUSY, which the caller takes for passing: it would try six times.
                EPERM.to_errno()
            }
            _ => 0,
        }
    }
}

impl Drop for Hotplug {
    fn drop(&mut self) {
        // SAFETY: The step was registered with this number.
        unsafe { bindings::__cpuhp_remove_state(self.0, false) };
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
        if !unsafe { bindings::cpu_is_hotpluggable(cpu) } || usage(cpu).is_none() {
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

    fn online(&self) -> bool {
        // SAFETY: The number is that of a core.
        unsafe { bindings::psci_rproc_cpu_online(self.cpu) }
    }

    /// Whether the core runs something that is neither Linux nor ours.
    pub fn occupied(&self) -> bool {
        !self.online() && self.is_on()
    }

    /// Whether the core is on, or will be soon.
    fn is_on(&self) -> bool {
        matches!(self.psci.power(self.mpidr), Ok(Power::On | Power::Pending))
    }

    /// Takes the core from Linux, and waits until it is off.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: `EBUSY` if it has other uses, `ETIMEDOUT` if it does
    /// not go off, and what `remove_cpu` returns.
    pub fn take(&self, dev: &Device) -> Result<Taken> {
        let cpu = self.cpu;
        let usage = usage(cpu).ok_or(ENODEV)?;
        let online = self.online();

        if self.occupied() {
            dev_err!(
                dev,
                "cpu{cpu} already runs something that is not Linux: it cannot be started\n"
            );
            return Err(EBUSY);
        }
        // A core that was left is off now, and it was Linux's before.
        let had_it = usage.cmpxchg(LEFT, TAKEN, Full).is_ok();
        if !had_it && usage.cmpxchg(FREE, TAKEN, Full).is_err() {
            dev_err!(dev, "cpu{cpu} belongs to another remote processor\n");
            return Err(EBUSY);
        }

        // From here on it is given back whatever happens.
        let taken = Taken {
            core: *self,
            online: online || had_it,
        };

        if online {
            // SAFETY: No requirements beyond process context.
            let result = unsafe { bindings::remove_cpu(cpu) };
            if let Err(e) = to_result(result) {
                dev_err!(
                    dev,
                    "cpu{cpu} cannot be taken from Linux: {}\n",
                    match e {
                        EBUSY => "it is the last one, or unplugging is disabled now",
                        EPERM => "it may not be unplugged",
                        EINVAL => "PSCI does not let it be switched off",
                        _ => "unplugging it failed",
                    }
                );
                return Err(e);
            }
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
pub struct Taken {
    core: Core,
    /// Whether Linux was using it.
    online: bool,
}

impl Taken {
    /// Starts the core.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: what PSCI's answer amounts to, `ETIMEDOUT` if the core
    /// does not go on, `ENOEXEC` if it is off: a firmware that ends at once may never be seen on.
    pub fn start(&self, dev: &Device, entry: u64) -> Result {
        let Core { cpu, mpidr, psci } = self.core;

        psci.cpu_on(mpidr, entry, 0).map_err(|refused| {
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
        let Some(usage) = usage(cpu) else { return };

        if self.core.occupied() {
            // Linux would refuse it as well: PSCI does not start a core that is on.
            usage.store(LEFT, Release);
            pr_err!("cpu{cpu} still runs a firmware: it is not given back to Linux\n");
            return;
        }
        usage.store(FREE, Release);
        if self.online {
            // SAFETY: No requirements beyond process context.
            if let Err(e) = to_result(unsafe { bindings::add_cpu(cpu) }) {
                pr_err!(
                    "cpu{cpu} cannot be given back to Linux: error {}\n",
                    e.to_errno()
                );
            }
        }
    }
}
