// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts: our own redistributor or CPU interface, and the SPIs that are
//! ours.
//!
//! The distributor is Linux's. Nothing in it is read, changed and written back; all that is ever
//! written are the routing, priority, enable and pending bits of the SPIs that the device tree
//! gives to us, each by an access that touches nothing else. What Linux has left enabled in the
//! registers of this core is turned off first.

#![expect(unsafe_code, reason = "device registers")]

use crate::cpu::{
    affinity, barrier, isb, mask_interrupts, read32, read_register, unmask_interrupts, write32,
    write8, write_barrier, write_register, Span,
};
use crate::time::{self, Alarm};
use arm_gic::gicv3::GicCpuInterface;
use arm_gic::InterruptGroup;
use hvl_device::device::{Bells, Doorbell};
use hvl_device::proto::Vector;
use hvl_services::spis::Spis;

/// Registers of the distributor.
mod gicd {
    pub(super) const ISENABLER: usize = 0x100;
    pub(super) const ICENABLER: usize = 0x180;
    pub(super) const ISPENDR: usize = 0x200;
    pub(super) const ICPENDR: usize = 0x280;
    pub(super) const ICACTIVER: usize = 0x380;
    pub(super) const IPRIORITYR: usize = 0x400;
    pub(super) const ITARGETSR: usize = 0x800;
    pub(super) const CPENDSGIR: usize = 0xf10;
    pub(super) const IROUTER: usize = 0x6000;
    pub(super) const SIZE: usize = 0x1_0000;
}

/// Registers of a GICv2 CPU interface.
mod gicc {
    pub(super) const CTLR: usize = 0x00;
    pub(super) const PMR: usize = 0x04;
    pub(super) const IAR: usize = 0x0c;
    pub(super) const EOIR: usize = 0x10;
    pub(super) const HPPIR: usize = 0x18;
    pub(super) const SIZE: usize = 0x1_0000;
    pub(super) const ENABLE: u32 = 1;
    /// Bits of CTLR that pass interrupts on when the interface is off; as firmware left them.
    pub(super) const BYPASS: u32 = 0x1e0;
}

/// Registers of a GICv3 redistributor.
mod gicr {
    pub(super) const TYPER_LOW: usize = 0x08;
    pub(super) const TYPER_HIGH: usize = 0x0c;
    pub(super) const WAKER: usize = 0x14;
    /// In the second half: what the distributor has for SPIs.
    pub(super) const SGI_FRAME: usize = 0x1_0000;
    pub(super) const IGROUPR0: usize = 0x80;
    /// Space of a redistributor, and of one that knows virtual interrupts.
    pub(super) const SIZE: usize = 0x2_0000;
    pub(super) const SIZE_V4: usize = 0x4_0000;
    pub(super) const TYPER_VLPIS: u32 = 1 << 1;
    pub(super) const TYPER_LAST: u32 = 1 << 4;
    pub(super) const WAKER_SLEEP: u32 = 1 << 1;
    pub(super) const WAKER_ASLEEP: u32 = 1 << 2;
}

/// Redistributors that are looked at to find our own.
const CORES: usize = 256;
/// How often a redistributor is looked at to see it awake.
const WAKE_TRIES: usize = 1_000_000;

/// The priority that Linux gives to everything.
const PRIORITY: u8 = 0xa0;
/// That of the control loop's timer, and what has only that come through; and what has all do.
const PRIORITY_CONTROL: u8 = 0x40;
const MASK_CONTROL: u8 = 0x80;
const MASK_NONE: u8 = 0xff;
/// Interrupt numbers from here on mean that there is none.
const SPECIAL: u32 = 1020;
/// Interrupts of an earlier owner that are thrown away at most.
const DRAIN: usize = 1024;

/// Where the interrupt controller is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) gicd: usize,
    pub(crate) gicr: usize,
    pub(crate) gicc: usize,
}

/// Rings Linux: sets its interrupt pending.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ringer {
    gicd: usize,
    /// `None`: Linux looks by itself.
    intid: Option<u32>,
}

impl Ringer {
    pub(crate) const fn new(place: &Place, intid: Option<u32>) -> Self {
        Self {
            gicd: place.gicd,
            intid,
        }
    }
}

/// The word among those at `register` that has the bit of `intid`, and that bit.
const fn bit(gicd: usize, register: usize, intid: u32) -> (usize, u32) {
    (
        gicd + register + 4 * (intid as usize / 32),
        1 << (intid % 32),
    )
}

/// Sets one interrupt's bit in a register where zeros do nothing.
fn set(gicd: usize, register: usize, intid: u32) {
    let (at, mask) = bit(gicd, register, intid);
    // SAFETY: A register of the distributor, which is mapped; zeros leave other interrupts alone.
    unsafe { write32(at, mask) }
}

impl Doorbell for Ringer {
    fn ring(&mut self) {
        write_barrier();
        if let Some(intid) = self.intid {
            set(self.gicd, gicd::ISPENDR, intid);
        }
    }
}

/// Registers of a GICv2m frame.
mod v2m {
    pub(super) const SETSPI_NS: u64 = 0x40;
    pub(super) const SIZE: usize = 0x1000;
}

/// What has to be mapped to write MSIs to the frame at `address`.
pub(crate) fn msi_span(address: u64) -> Span {
    let address = address as usize;
    address..address + v2m::SIZE
}

/// Rings Linux by whatever it asks for that this machine was built with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ringers {
    pub(crate) link: Ringer,
    more: Spis,
    /// The MSI frame, which is mapped.
    msi: Option<u64>,
}

impl Ringers {
    pub(crate) const fn new(link: Ringer, more: Spis, msi: Option<u64>) -> Self {
        Self { link, more, msi }
    }

    /// What the other side is told of it, and of `own` further interrupts of ours.
    pub(crate) const fn bells(&self, own: usize) -> Bells {
        Bells {
            more: self.more.len() as u32,
            msi: self.msi.is_some(),
            own: own as u32,
        }
    }
}

impl Doorbell for Ringers {
    fn ring(&mut self) {
        self.link.ring();
    }

    fn ring_vector(&mut self, vector: Vector) -> bool {
        match vector {
            Vector::Doorbell(number) => {
                // Number 0 is the link's.
                let index = (number as usize).checked_sub(1);
                let Some(intid) = index.and_then(|index| self.more.get(index)) else {
                    return false;
                };
                write_barrier();
                set(self.link.gicd, gicd::ISPENDR, intid);
            }
            Vector::Msi { address, data } => {
                let Some(frame) = self.msi.filter(|frame| frame + v2m::SETSPI_NS == address) else {
                    return false;
                };
                write_barrier();
                // SAFETY: A register of the frame, which is mapped; it takes any word, and raises one of
                // the frame's own interrupts or none.
                unsafe { write32((frame + v2m::SETSPI_NS) as usize, data) }
            }
        }
        true
    }
}

/// What has to be turned off before the core is given back: Linux takes an interrupt of ours that
/// is still on for an unexpected one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quiet {
    gicd: usize,
    spis: Spis,
    v3: bool,
}

impl Quiet {
    pub(crate) const fn new(place: &Place, v3: bool, spis: Spis) -> Self {
        Self {
            gicd: place.gicd,
            spis,
            v3,
        }
    }

    /// Turns our interrupts off.
    pub(crate) fn silence(&self) {
        for intid in self.spis.iter() {
            set(self.gicd, gicd::ICENABLER, intid);
        }
        if self.v3 {
            GicCpuInterface::enable_group1(false);
        }
    }
}

/// How interrupts come to the core.
#[derive(Clone, Copy, Debug)]
enum Interface {
    V2 { gicc: usize },
    V3,
}

/// The interrupts of this core.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gic {
    gicd: usize,
    interface: Interface,
    /// The SPIs that are on.
    on: Spis,
}

/// What has to be mapped for it.
pub(crate) fn spans(place: &Place, v3: bool) -> [Span; 2] {
    let second = if v3 {
        place.gicr..place.gicr + CORES * gicr::SIZE
    } else {
        place.gicc..place.gicc + gicc::SIZE
    };
    [place.gicd..place.gicd + gicd::SIZE, second]
}

impl Gic {
    /// Takes over what belongs to this core and turns on the timer's interrupt and `spis`;
    /// `None` if no redistributor is ours.
    pub(crate) fn start(place: &Place, v3: bool, spis: &Spis) -> Option<Self> {
        let interface = if v3 {
            start_v3(place)?;
            Interface::V3
        } else {
            start_v2(place);
            Interface::V2 { gicc: place.gicc }
        };
        let gic = Self {
            gicd: place.gicd,
            interface,
            on: Spis::NONE,
        };
        for _ in 0..DRAIN {
            if gic.take().is_none() {
                break;
            }
        }
        for intid in spis.iter() {
            gic.route(intid);
            // A peer that crashed may have left it half handled; it would not come again.
            set(gic.gicd, gicd::ICACTIVER, intid);
            set(gic.gicd, gicd::ICPENDR, intid);
        }
        Some(gic)
    }

    /// Has an SPI come to this core. What is pending stays so.
    fn route(&self, intid: u32) {
        let number = intid as usize;
        // SAFETY: Registers of the distributor that only say what becomes of this SPI.
        unsafe {
            write8(self.gicd + gicd::IPRIORITYR + number, PRIORITY);
            match self.interface {
                Interface::V2 { .. } => {
                    write8(self.gicd + gicd::ITARGETSR + number, own_mask(self.gicd));
                }
                Interface::V3 => {
                    let affinity = affinity();
                    let at = self.gicd + gicd::IROUTER + 8 * number;
                    write32(at, affinity as u32);
                    write32(at + 4, (affinity >> 32) as u32);
                }
            }
        }
    }

    /// Turns one of our SPIs on.
    pub(crate) fn enable(&mut self, intid: u32) {
        self.on = self.on.with(intid).unwrap_or(self.on);
        set(self.gicd, gicd::ISENABLER, intid);
    }

    /// Takes our SPIs back from a Linux that has booted since: it turns all off, and has them come to itself.
    #[inline(never)]
    pub(crate) fn retake(&self) {
        for intid in self.on.iter() {
            let (at, mask) = bit(self.gicd, gicd::ISENABLER, intid);
            // SAFETY: A register of the distributor; reading it has no effect.
            if unsafe { read32(at) } & mask == 0 {
                self.route(intid);
                set(self.gicd, gicd::ISENABLER, intid);
                log::info!("interrupt {intid} was off: Linux has booted");
            }
        }
    }

    /// From now on the control loop's interrupt comes at any time, and no other does.
    pub(crate) fn open(&self) {
        self.set_mask(MASK_CONTROL);
        unmask_interrupts();
    }

    /// Nothing comes any more, and all can be taken.
    pub(crate) fn close(&self) {
        mask_interrupts();
        self.set_mask(MASK_NONE);
    }

    fn set_mask(&self, mask: u8) {
        match self.interface {
            // SAFETY: A register of our own CPU interface.
            Interface::V2 { gicc } => unsafe { write32(gicc + gicc::PMR, mask.into()) },
            Interface::V3 => GicCpuInterface::set_priority_mask(mask),
        }
        // Before the interrupt is let in, or the next one is taken.
        barrier();
        isb();
    }

    /// What [`Gic::take`] would take next.
    pub(crate) fn next(&self) -> Option<u32> {
        let intid = match self.interface {
            // SAFETY: A register of our own CPU interface.
            Interface::V2 { gicc } => unsafe { read32(gicc + gicc::HPPIR) & 0x3ff },
            // ICC_HPPIR1_EL1
            Interface::V3 => read_register!("s3_0_c12_c12_2") as u32 & 0xff_ffff,
        };
        (!(SPECIAL..1024).contains(&intid)).then_some(intid)
    }

    /// Takes one pending interrupt and ends it; its cause is looked for afterwards.
    pub(crate) fn take(&self) -> Option<u32> {
        match self.interface {
            Interface::V2 { gicc } => {
                // SAFETY: A register of our own CPU interface.
                let value = unsafe { read32(gicc + gicc::IAR) };
                let intid = value & 0x3ff;
                if intid >= SPECIAL {
                    return None;
                }
                // SAFETY: As above; the value is the one that was read.
                unsafe { write32(gicc + gicc::EOIR, value) };
                Some(intid)
            }
            Interface::V3 => {
                let group = InterruptGroup::Group1;
                let intid = GicCpuInterface::get_and_acknowledge_interrupt(group)?;
                let number = u32::from(intid);
                if (SPECIAL..1024).contains(&number) {
                    return None;
                }
                GicCpuInterface::end_interrupt(intid, group);
                Some(number)
            }
        }
    }
}

/// The bit by which a GICv2 distributor knows this core: a banked register says it.
fn own_mask(gicd: usize) -> u8 {
    // SAFETY: A register of the distributor, read-only for the first 32 interrupts.
    let word = unsafe { read32(gicd + gicd::ITARGETSR) };
    word.to_le_bytes()
        .into_iter()
        .fold(0, |mask, byte| mask | byte)
}

/// Throws away what an earlier owner left for SGIs and PPIs in `base`, and turns the timers on. (That of the control loop
/// stands still if there is none.)
fn clean_private(base: usize) {
    write_register!("cntp_ctl_el0", 0);
    // SAFETY: The words for the first 32 interrupts, which are this core's own: banked in a
    // GICv2 distributor, in the redistributor of a GICv3.
    unsafe {
        write32(base + gicd::ICENABLER, u32::MAX);
        write32(base + gicd::ICPENDR, u32::MAX);
        write32(base + gicd::ICACTIVER, u32::MAX);
        write8(base + gicd::IPRIORITYR + time::INTID as usize, PRIORITY);
        write8(
            base + gicd::IPRIORITYR + Alarm::INTID as usize,
            PRIORITY_CONTROL,
        );
        write32(base + gicd::ISENABLER, 1 << time::INTID | 1 << Alarm::INTID);
    }
}

fn start_v2(place: &Place) {
    // SAFETY: Registers of our own CPU interface, and banked ones of the distributor.
    unsafe {
        let bypass = read32(place.gicc + gicc::CTLR) & gicc::BYPASS;
        write32(place.gicc + gicc::CTLR, bypass);
        for register in 0..4 {
            write32(place.gicd + gicd::CPENDSGIR + 4 * register, u32::MAX);
        }
        clean_private(place.gicd);
        write32(place.gicc + gicc::PMR, 0xff);
        write32(place.gicc + gicc::CTLR, bypass | gicc::ENABLE);
    }
}

fn start_v3(place: &Place) -> Option<()> {
    let own = affinity();
    let own = (own as u32 & 0xff_ffff) | (((own >> 32) as u32) << 24);
    let mut base = place.gicr;
    for _ in 0..CORES {
        // SAFETY: Redistributors follow one another up to the one that says it is the last.
        let (typer, affinity) = unsafe {
            (
                read32(base + gicr::TYPER_LOW),
                read32(base + gicr::TYPER_HIGH),
            )
        };
        if affinity == own {
            take_redistributor(base);
            return Some(());
        }
        if typer & gicr::TYPER_LAST != 0 {
            return None;
        }
        base += if typer & gicr::TYPER_VLPIS != 0 {
            gicr::SIZE_V4
        } else {
            gicr::SIZE
        };
    }
    None
}

/// Takes over the redistributor at `base`, our own, and the core's interface.
fn take_redistributor(base: usize) {
    // ICC_SRE_EL1: the interface is reached by system registers.
    write_register!("s3_0_c12_c12_5", 7);
    isb();
    GicCpuInterface::enable_group1(false);
    // SAFETY: Registers of our own redistributor.
    unsafe {
        let waker = read32(base + gicr::WAKER);
        if waker & gicr::WAKER_ASLEEP != 0 {
            write32(base + gicr::WAKER, waker & !gicr::WAKER_SLEEP);
            let awake =
                (0..WAKE_TRIES).any(|_| read32(base + gicr::WAKER) & gicr::WAKER_ASLEEP == 0);
            if !awake {
                log::warn!("redistributor at {base:#x} does not wake up");
            }
        }
    }
    // Where Linux never ran, nobody has moved these to the group that is taken here. (Where secure
    // firmware decides on groups, the register ignores this.)
    // SAFETY: A register of our own redistributor.
    unsafe { write32(base + gicr::SGI_FRAME + gicr::IGROUPR0, u32::MAX) }
    clean_private(base + gicr::SGI_FRAME);
    // ICC_CTLR_EL1: one write ends an interrupt and deactivates it.
    write_register!("s3_0_c12_c12_4", 0);
    GicCpuInterface::set_priority_mask(0xff);
    GicCpuInterface::enable_group1(true);
    isb();
}
