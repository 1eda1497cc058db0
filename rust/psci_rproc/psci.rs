// SPDX-License-Identifier: GPL-2.0

//! The calls of the Power State Coordination Interface that start a core and tell its state.
//!
//! Arm DEN0022, "Arm Power State Coordination Interface".

use kernel::{
    bindings as kbindings,
    error::code::*,
    error::Error,
    fmt,
    prelude::*, //
};

use crate::{
    remoteproc::bindings,
    series::EOPNOTSUPP, //
};

const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;

/// What a call returned instead of success.
#[derive(Copy, Clone, PartialEq, Eq)]
pub struct Refused(i32);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = match self.0 {
            -1 => "not supported",
            -2 => "invalid parameters",
            -3 => "denied",
            -4 => "already on",
            -5 => "already being switched on",
            -6 => "internal failure",
            -7 => "not present",
            -8 => "disabled",
            -9 => "invalid address",
            _ => "unknown error",
        };

        write!(f, "PSCI says \"{words}\" ({})", self.0)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        match refused.0 {
            -1 => EOPNOTSUPP,
            -2 => EINVAL,
            -3 => EPERM,
            -4 | -5 => EBUSY,
            -7 | -8 => ENODEV,
            -9 => EFAULT,
            _ => EIO,
        }
    }
}

/// The state of a core.
#[derive(Copy, Clone, PartialEq, Eq)]
pub enum Power {
    /// It runs something.
    On,
    /// It is off.
    Off,
    /// It will be on soon.
    Pending,
}

/// How the firmware of the machine is called.
#[derive(Copy, Clone)]
enum Conduit {
    Hvc,
    Smc,
}

/// The PSCI implementation of this machine.
#[derive(Copy, Clone)]
pub struct Psci(Conduit);

impl Psci {
    /// Finds out from the device tree how PSCI is called here.
    ///
    /// # Errors
    ///
    /// `ENODEV`, `EOPNOTSUPP` or `EINVAL`, with a sentence that says why.
    pub fn of_machine() -> Result<Self, (Error, &'static str)> {
        // SAFETY: No requirements.
        let conduit = unsafe { bindings::psci_rproc_conduit() };

        match u32::try_from(conduit) {
            Ok(kbindings::arm_smccc_conduit_SMCCC_CONDUIT_HVC) => Ok(Self(Conduit::Hvc)),
            Ok(kbindings::arm_smccc_conduit_SMCCC_CONDUIT_SMC) => Ok(Self(Conduit::Smc)),
            _ => Err(match Error::from_errno(conduit) {
                ENODEV => (
                    ENODEV,
                    "psci: no such node in the device tree: only cores started by PSCI can be taken",
                ),
                EOPNOTSUPP => (
                    EOPNOTSUPP,
                    "psci: this is version 0.1, but 0.2 or later is needed (\"arm,psci-0.2\")",
                ),
                _ => (EINVAL, "psci: method is neither \"hvc\" nor \"smc\""),
            }),
        }
    }

    /// # Safety
    ///
    /// What the call does must not break anything that safe code relies on.
    unsafe fn call(self, function: u64, args: [u64; 3]) -> i32 {
        let call = match self.0 {
            Conduit::Hvc => kbindings::__arm_smccc_hvc,
            Conduit::Smc => kbindings::__arm_smccc_smc,
        };
        let [a1, a2, a3] = args.map(|arg| arg as usize);
        let mut result = kbindings::arm_smccc_res::default();

        // SAFETY: `result` is valid for the call, and no quirk is what most machines need; the rest is
        // as the caller promises.
        unsafe {
            call(
                function as usize,
                a1,
                a2,
                a3,
                0,
                0,
                0,
                0,
                &mut result,
                core::ptr::null_mut(),
            )
        };
        // PSCI's results are 32-bit values whatever the registers are.
        result.a0 as i32
    }

    /// Starts the core `mpidr` at `entry`, with `context` in its first register.
    ///
    /// # Safety
    ///
    /// The core must not be one that Linux uses or is about to use, and what it then runs must use only
    /// memory and registers that are set aside for it.
    pub unsafe fn cpu_on(self, mpidr: u64, entry: u64, context: u64) -> Result<(), Refused> {
        // SAFETY: As the caller promises.
        match unsafe { self.call(CPU_ON, [mpidr, entry, context]) } {
            0 => Ok(()),
            code => Err(Refused(code)),
        }
    }

    /// The state of the core `mpidr`.
    pub fn power(self, mpidr: u64) -> Result<Power, Refused> {
        // SAFETY: It has no effect.
        match unsafe { self.call(AFFINITY_INFO, [mpidr, 0, 0]) } {
            0 => Ok(Power::On),
            1 => Ok(Power::Off),
            2 => Ok(Power::Pending),
            code => Err(Refused(code)),
        }
    }
}
