// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the core counts of itself: cycles, and instructions where it does (PMUv3).

#![expect(unsafe_code, reason = "the core's registers")]

use crate::cpu::{isb, read_register, write_register};

/// The event "instruction architecturally executed", and that cycles count, with 64 bits.
const INST_RETIRED: u64 = 8;
const CYCLES: u64 = 1 << 31;
/// Enabled, all counters at 0, the cycle counter of 64 bits.
const START: u64 = 1 | 2 | 4 | 0x40;

/// The counters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pmu {
    cycles: bool,
    instructions: bool,
}

/// What they say.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) cycles: u64,
    /// Of 32 bits.
    pub(crate) instructions: u32,
}

impl Counts {
    /// What there is more of than `before`.
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            cycles: self.cycles.wrapping_sub(before.cycles),
            instructions: self.instructions.wrapping_sub(before.instructions),
        }
    }
}

impl Pmu {
    /// None is looked at.
    pub(crate) const NONE: Self = Self {
        cycles: false,
        instructions: false,
    };

    /// Has them count, as far as there are any; no interrupt comes of that.
    pub(crate) fn start() -> Self {
        let version = (read_register!("id_aa64dfr0_el1") >> 8) & 0xf;
        if version == 0 || version == 0xf {
            return Self::NONE;
        }
        let counters = (read_register!("pmcr_el0") >> 11) & 0x1f;
        let instructions = counters != 0 && read_register!("pmceid0_el0") >> INST_RETIRED & 1 != 0;
        write_register!("pmintenclr_el1", u64::from(u32::MAX));
        write_register!("pmccfiltr_el0", 0);
        if instructions {
            write_register!("pmevtyper0_el0", INST_RETIRED);
        }
        write_register!("pmcntenset_el0", CYCLES | u64::from(instructions));
        write_register!("pmcr_el0", START);
        isb();
        Self {
            cycles: true,
            instructions,
        }
    }

    /// Whether instructions are counted.
    pub(crate) const fn has_instructions(self) -> bool {
        self.instructions
    }

    /// What they say now.
    pub(crate) fn read(self) -> Counts {
        let mut counts = Counts::default();
        if self.cycles {
            isb();
            counts.cycles = read_register!("pmccntr_el0");
        }
        if self.instructions {
            counts.instructions = read_register!("pmevcntr0_el0") as u32;
        }
        counts
    }
}
