// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From the first line of Rust to a machine that a peer can run on.

#![expect(unsafe_code, reason = "the command line and the region are not Rust's")]

use crate::cell::Once;
use crate::cpu::{self, Span};
use crate::devices::Named;
use crate::gic::{self, Gic, Place, Quiet, Ringer, Ringers};
use crate::mmu::{PageTables, Use};
use crate::time::{Clock, Stamper};
use crate::{console, leave, VERSION};
use hvl_device::faults::Faults;
use hvl_device::mem::{Region, Window};
use hvl_device::proto::layout::link;
use hvl_device::proto::PeerState;
use hvl_services::config::{Conduit, Config, Disk, GicKind, DIRECTS, DISKS};
use hvl_services::spis::Spis;
use smccc::{psci, Hvc, Smc};

/// Bytes of the section that holds the command line, and what it begins with.
const CMDLINE: usize = 256;
const MARKER: &[u8] = b"HVL-CMDLINE:";

/// Tests find the marker in the file and overwrite what follows; an empty line is the default.
#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
#[used]
#[link_section = ".cmdline"]
static LINE: [u8; CMDLINE] = {
    let mut line = [0; CMDLINE];
    let mut at = 0;
    while at < MARKER.len() {
        line[at] = MARKER[at];
        at += 1;
    }
    line
};

/// A machine that a peer can run on.
pub(crate) struct Machine {
    pub(crate) clock: Clock,
    pub(crate) stamper: Stamper,
    pub(crate) gic: Gic,
    pub(crate) ringer: Ringers,
    /// `None` if the command line names none that can be used.
    pub(crate) region: Option<Region>,
    /// Memory of disks, as far as the command line names any that can be used.
    pub(crate) disks: Named,
    pub(crate) config: Config,
    /// In a few words.
    pub(crate) name: &'static str,
}

/// Copies the command line out of the image.
fn command_line(buffer: &mut [u8; CMDLINE]) -> &str {
    let mut len = 0;
    for (to, from) in buffer.iter_mut().zip(&LINE).skip(MARKER.len()) {
        // SAFETY: A byte of the image. The compiler must not think that it knows its value.
        let byte = unsafe { cpu::patched(from) };
        if byte == 0 {
            break;
        }
        *to = byte;
        len += 1;
    }
    let line = buffer.get(MARKER.len()..MARKER.len() + len).unwrap_or(&[]);
    core::str::from_utf8(line).unwrap_or("")
}

/// The firmware's memory.
fn image() -> Span {
    let start = cpu::symbol::text_begin();
    start..start + cpu::symbol::image_size()
}

/// The region's place, as far as it makes sense.
fn region_span(config: &Config) -> Option<Span> {
    let start = usize::try_from(config.region).ok()?;
    let end = start.checked_add(usize::try_from(config.size).ok()?)?;
    let image = image();
    (start < end && (end <= image.start || start >= image.end)).then_some(start..end)
}

/// Places of disks that the command line names, as far as they make sense: in no other use.
fn disk_spans(config: &Config) -> [Option<Span>; DISKS] {
    let image = image();
    let apart = |a: &Span, b: &Span| a.end <= b.start || a.start >= b.end;
    let region = region_span(config);
    let mut spans = [const { None }; DISKS];
    for (at, disk) in config.disks.iter().enumerate() {
        let Some(Disk {
            address: Some(address),
            size,
        }) = *disk
        else {
            continue;
        };
        let span = address as usize..address as usize + size as usize;
        let free = {
            let mut others = spans.iter().flatten().chain(&region).chain([&image]);
            others.all(|other| apart(&span, other))
        };
        if let Some(slot) = spans.get_mut(at) {
            *slot = free.then_some(span);
        }
    }
    spans
}

/// The parts of `span` that lie outside of `own`, which are sorted and do not overlap.
fn without(span: Span, own: &[Span]) -> impl Iterator<Item = Span> + '_ {
    let mut from = span.start;
    let end = own
        .iter()
        .cloned()
        .chain(core::iter::once(span.end..span.end));
    end.filter_map(move |own| {
        let piece = from..own.start.min(span.end);
        from = from.max(own.end);
        (piece.start < piece.end).then_some(piece)
    })
}

/// Pieces of memory that are no buffers of Linux's whatever it says: the firmware's, the region, disks.
const OWN: usize = 2 + DISKS;

/// Linux's memory, as far as it is to be reached: what Linux calls the first byte of each piece, and where
/// it is.
fn direct_spans(
    config: &Config,
    region: &Option<Span>,
    disks: &[Option<Span>; DISKS],
) -> heapless::Vec<(u64, Span), DIRECT> {
    let image = image();
    let own = disks.iter().chain([region]).flatten().chain([&image]);
    let pages = |span: &Span| span.start..span.end.next_multiple_of(4096);
    // There is room for all.
    let mut own: heapless::Vec<Span, OWN> = own.map(pages).collect();
    own.sort_unstable_by_key(|span| span.start);
    let mut spans = heapless::Vec::new();
    for memory in config.direct.iter().flatten() {
        // Addresses are of 39 bits at most.
        let here = memory.here as usize;
        let span = here..here + memory.size as usize;
        for piece in without(span, &own) {
            let address = memory.address + (piece.start - here) as u64;
            // There is room for all that there can be.
            let _ = spans.push((address, piece));
        }
    }
    spans
}

/// Most pieces: each that is named may have all of those in it.
const DIRECT: usize = DIRECTS * (OWN + 1);

static WINDOWS: Once<heapless::Vec<Window, DIRECT>> = Once::new(heapless::Vec::new());

/// The pieces of Linux's memory, which are mapped.
fn windows(direct: &[(u64, Span)]) -> &'static [Window] {
    let Some(list) = WINDOWS.take() else {
        return &[];
    };
    for (address, span) in direct {
        log::info!(
            "Linux's memory {address:#x} is reached at {:#x}+{:#x}",
            span.start,
            span.end - span.start
        );
        let base = core::ptr::with_exposed_provenance_mut::<u8>(span.start);
        // SAFETY: The command line says that this is Linux's memory; it was mapped, and nothing of this
        // program's own is in it.
        let window = unsafe { Window::new(*address, base, (span.end - span.start) as u64) };
        // There is room for each.
        list.extend(window);
    }
    list
}

/// A doorbell's interrupt in words.
struct Bell(Option<u32>);

impl core::fmt::Display for Bell {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0 {
            Some(intid) => write!(f, "{intid}"),
            None => f.write_str("none"),
        }
    }
}

/// All interrupts that are to come to us. What is named twice counts once.
fn all_spis(config: &Config) -> Spis {
    let own = config.irq_in.into_iter().chain([config.irq_stop]);
    own.fold(config.irqs_in, |spis, intid| {
        spis.with(intid).unwrap_or(spis)
    })
}

/// Sets the machine up. What is wrong with it is reported by a panic, which turns the core off.
#[expect(clippy::panic, reason = "there is no machine to go on with")]
pub(crate) fn start(el: u64) -> Machine {
    let clock = Clock::new();
    let mut buffer = [0; CMDLINE];
    let line = command_line(&mut buffer);
    let config = Config::parse(line, |_| {});

    let hvc = match config.psci {
        Conduit::Hvc => true,
        Conduit::Smc => false,
        // From EL2 there is only firmware below; from EL1 there is a hypervisor (or QEMU in its
        // place), unless the core has firmware and no hypervisor.
        Conduit::Auto => el == 1 && (cpu::has_el2() || !cpu::has_el3()),
    };
    let v3 = match config.gic {
        GicKind::Auto => cpu::has_gic_registers(),
        GicKind::V2 => false,
        GicKind::V3 => true,
    };
    let place = Place {
        gicd: config.gicd as usize,
        gicr: config.gicr as usize,
        gicc: config.gicc as usize,
    };
    leave::prepare(leave::Way {
        hvc,
        region: None,
        ringer: None,
        quiet: None,
    });

    let Some(mut tables) = PageTables::new() else {
        panic!("the image cannot be mapped");
    };
    let region_use = if config.coherent {
        Use::Data
    } else {
        Use::Uncached
    };
    let region_span = region_span(&config);
    let mut mapped = true;
    for span in gic::spans(&place, v3) {
        mapped &= tables.map(span, Use::Device).is_ok();
    }
    if let Some(address) = config.uart {
        mapped &= tables.map(console::uart_span(address), Use::Device).is_ok();
    }
    if let Some(address) = config.msi {
        mapped &= tables.map(gic::msi_span(address), Use::Device).is_ok();
    }
    if let Some(span) = region_span.clone() {
        mapped &= tables.map(span, region_use).is_ok();
    }
    let disk_spans = disk_spans(&config).map(|span| {
        let pages = |span: &Span| span.start..span.end & !0xfff;
        span.filter(|span| tables.map(pages(span), Use::Data).is_ok())
    });
    let direct = direct_spans(&config, &region_span, &disk_spans);
    for (_, span) in &direct {
        mapped &= tables.map(span.clone(), region_use).is_ok();
    }
    tables.activate();

    console::start(clock);
    if let Some(address) = config.uart.filter(|_| mapped) {
        console::start_uart(address);
    }
    log::info!("virtio-hvl peer {VERSION}");
    Config::parse(line, |bad| log::warn!("{bad}"));
    if !line.is_empty() {
        log::info!("command line: {line}");
    }
    if config.faults != Faults::NONE {
        log::warn!("with deliberate faults: {:?}", config.faults);
    }

    let version = if hvc {
        psci::version::<Hvc>()
    } else {
        psci::version::<Smc>()
    };
    let conduit = if hvc { "HVC" } else { "SMC" };
    match version {
        Ok(version) => log::info!("PSCI {version} by {conduit}, core came from EL{el}"),
        Err(error) => log::warn!("PSCI by {conduit} does not answer: {error}"),
    }

    let region = region_span.filter(|_| mapped).and_then(|span| {
        let base = core::ptr::with_exposed_provenance_mut::<u8>(span.start);
        // SAFETY: The region is reserved for this link by the device tree, was mapped above and
        // lies outside the image; what is written there is for the other side.
        unsafe { Region::new(base, (span.end - span.start) as u32) }
    });
    let region = region.map(|region| region.with_windows(windows(&direct)));
    match &region {
        Some(region) => region.publish32(link::PEER_STATE, PeerState::Init as u32),
        None => log::error!(
            "region={:#x} size={:#x} cannot be used",
            config.region,
            config.size
        ),
    }
    let disks = disk_spans.map(|span| {
        let span = span?;
        let base = core::ptr::with_exposed_provenance_mut::<u8>(span.start);
        // SAFETY: The memory was given for this by whoever wrote the command line, was mapped above, is
        // in no other use (`disk_spans`) and, as a span of bytes, in any state valid.
        Some(unsafe { core::slice::from_raw_parts_mut(base, (span.end & !0xfff) - span.start) })
    });
    for (disk, memory) in config.disks.iter().zip(&disks) {
        if let (
            Some(Disk {
                address: Some(at),
                size,
            }),
            None,
        ) = (disk, memory)
        {
            log::error!("disk={at:#x}+{size:#x} cannot be used");
        }
    }
    let ringer = Ringer::new(&place, config.irq_out);
    let spis = all_spis(&config);
    leave::prepare(leave::Way {
        hvc,
        region,
        ringer: Some(ringer),
        quiet: Some(Quiet::new(&place, v3, spis)),
    });

    let Some(mut gic) = Gic::start(&place, v3, &spis) else {
        panic!("no redistributor at {:#x} is this core's", place.gicr);
    };
    let name = if v3 { "arm64, GICv3" } else { "arm64, GICv2" };
    log::info!(
        "{name}: core {:#x}, doorbell {}, stop {}, Linux's {}",
        cpu::affinity(),
        Bell(config.irq_in),
        config.irq_stop,
        Bell(config.irq_out)
    );
    gic.enable(config.irq_stop);
    if !config.faults.has(Faults::DEAF) {
        for intid in config.irq_in.into_iter().chain(config.irqs_in.iter()) {
            gic.enable(intid);
        }
    }
    if config.irq_in.is_none() {
        log::info!(
            "Linux is looked at every {} to {} us",
            config.poll.min_us(),
            config.poll.max_us()
        );
    }
    let stamps = config.stamp_irq.map(|irq| Ringer::new(&place, Some(irq)));
    Machine {
        clock,
        stamper: Stamper::new(clock, stamps),
        gic,
        ringer: Ringers::new(ringer, config.irqs, config.msi),
        region,
        disks,
        config,
        name,
    }
}
