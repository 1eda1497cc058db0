// SPDX-License-Identifier: GPL-2.0

//! `/sys/kernel/debug/virtio_hvl/<link>/`: what a link is doing.

use crate::{
    algo::{
        ring::Features,
        rtt::summarize, //
    },
    proto::{
        layout::DEVICES_MAX,
        PeerState, //
    },
    sys::debugfs::{
        Dir,
        Files as DirFiles, //
    },
    virtio_hvl::{
        interrupts::Kind,
        link::Link, //
    }, //
};
use kernel::{
    fmt,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        global_lock,
        Arc, //
    }, //
};

/// Round trips that are measured for one reading of `doorbell_rtt`.
const SAMPLES: usize = 1000;

global_lock! {
    // SAFETY: `Root::create` initializes it before anything else uses it.
    unsafe(uninit) static ROOT: Mutex<Option<Dir>> = None;
}

/// The directory of the module; dropping it removes the directory.
pub(crate) struct Root(());

impl Root {
    /// Makes the directory.
    ///
    /// # Safety
    ///
    /// To be called once, before any other use of this file.
    pub(crate) unsafe fn create() -> Self {
        // SAFETY: Called once, by the function's contract.
        unsafe { ROOT.init() };
        *ROOT.lock() = Some(Dir::new(c"virtio_hvl", None));
        Self(())
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        *ROOT.lock() = None;
    }
}

/// The files of a link; dropping it removes them.
pub(crate) struct Files {
    _files: Option<DirFiles<Arc<Link>>>,
}

impl Files {
    /// Makes the files of `link`.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(link: &Arc<Link>) -> Result<Self> {
        let root = ROOT.lock();
        let Some(root) = &*root else {
            return Ok(Self { _files: None });
        };
        let files = DirFiles::new(
            link.wire().name(),
            root,
            link,
            &[
                (c"status", status, None),
                (c"devices", devices, None),
                (c"stats", stats, None),
                (c"last-transaction", last_transaction, None),
                (c"doorbell_rtt", doorbell_rtt, None),
                (c"watchdog-ms", watchdog_ms, Some(set_watchdog_ms)),
                (c"recover", recoveries, Some(recover)),
            ],
        )?;
        Ok(Self {
            _files: Some(files),
        })
    }
}

fn get(counter: &Atomic<u64>) -> u64 {
    counter.load(Relaxed)
}

/// State of the link and what the peer says of itself.
fn status(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let view = link.wire().view();
    let state = link.state();
    writeln!(f, "state: {state}")?;
    writeln!(f, "epoch: {}", link.wire().epoch())?;
    writeln!(
        f,
        "peer-state: {}",
        view.state.map_or("reserved", PeerState::name)
    )?;
    writeln!(f, "peer-epoch: {}", view.epoch)?;
    writeln!(f, "heartbeat: {}", view.heartbeat)?;
    writeln!(f, "doorbell: {}", link.wire().doorbell().name())?;
    let vectors = link.wire().interrupts();
    let lines = vectors.iter().filter(|vector| vector.kind != Kind::Message);
    writeln!(f, "vectors-wired: {}", lines.count())?;
    let messages = vectors.iter().filter(|vector| vector.kind == Kind::Message);
    writeln!(f, "vectors-msi: {}", messages.count())?;
    writeln!(f, "polled: {}", link.wire().polled().unwrap_or("no"))?;
    if let Some(bounds) = link.wire().poll() {
        writeln!(
            f,
            "poll-interval-us: {} {}",
            bounds.min_us(),
            bounds.max_us()
        )?;
    }
    writeln!(f, "timeout-ms: {}", link.wire().timeout_ms())?;
    let trusted = if link.wire().trusts() { "yes" } else { "no" };
    writeln!(f, "trusted-peer: {trusted}")?;
    writeln!(f, "region-start: {:#x}", link.wire().region().start())?;
    writeln!(f, "region-size: {:#x}", link.wire().region().size())?;
    match link.wire().dma() {
        None => writeln!(f, "mode: isolated")?,
        Some(dma) => {
            writeln!(f, "mode: direct")?;
            writeln!(f, "address-bits: {}", dma.bits())?;
            writeln!(f, "dma-mapped: {}", dma.mapped())?;
        }
    }
    let Some(peer) = link.peer() else {
        return Ok(());
    };
    let identity = peer.identity;
    writeln!(
        f,
        "protocol: {}.{}",
        identity.version >> 16,
        identity.version & 0xffff
    )?;
    writeln!(f, "peer-base: {:#x}", identity.peer_base)?;
    writeln!(f, "pool-offset: {:#x}", identity.pool_offset)?;
    writeln!(f, "pool-size: {:#x}", identity.pool_size)?;
    writeln!(f, "heartbeat-ms: {}", identity.heartbeat_ms)?;
    let usable = vectors.iter().filter(|vector| vector.is_usable(&identity));
    writeln!(f, "vectors-usable: {}", usable.count())?;
    writeln!(f, "link-test-ns: {}", get(&link.selftest.first_ns))
}

/// What the rings in the region are, as words.
struct RingFeatures(Features);

impl core::fmt::Display for RingFeatures {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let rings = self.0;
        f.write_str(if rings.packed { "packed" } else { "split" })?;
        for (word, is_on) in [
            (",indirect", rings.indirect),
            (",in-order", rings.in_order),
            (",event-index", rings.event_idx),
            (",notification-data", rings.notification_data),
        ] {
            if is_on {
                f.write_str(word)?;
            }
        }
        Ok(())
    }
}

/// The devices and their queues.
fn devices(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for device in (0..DEVICES_MAX).filter_map(|index| link.device(index)) {
        let transport = device.transport();
        let entry = transport.entry;
        writeln!(
            f,
            "{}: type {} window {:#x} queues {} config {} status {:#x} ring-features {} vectors {} \
             set-up-us {}{}",
            transport.name().to_str().unwrap_or("?"),
            entry.device_id,
            entry.window,
            entry.queue_count,
            entry.config_length,
            transport.shown_status(),
            RingFeatures(transport.agreed_rings()),
            transport.vector_use().name(),
            transport.set_up_us(),
            if transport.has_failed() {
                " failed"
            } else {
                ""
            }
        )?;
        for (index, queue) in transport.queues().iter().enumerate() {
            let (counters, usage) = (&queue.counters, queue.usage());
            write!(
                f,
                "  queue {index}: share {:#x} size {} kicks {} interrupts {} posted {} used {} maps {} pool {}/{} \
                 high-water {} full {} strays {} reclaimed {} doorbell {} books {}",
                queue.bytes(),
                queue.size.load(Relaxed),
                get(&counters.kicks),
                get(&counters.interrupts),
                get(&counters.posted),
                get(&counters.used),
                get(&counters.maps),
                usage.used,
                usage.total,
                usage.high_water,
                get(&counters.full),
                get(&counters.strays),
                get(&counters.reclaimed),
                queue.doorbell(),
                queue.books()
            )?;
            if queue.stall.lock().is_known() {
                write!(f, " stalled")?;
            }
            if let Some(vector) = transport.vector(index as u32) {
                let name = vector.name.to_str().unwrap_or("?");
                write!(f, " vector {name} irq {} came {}", vector.irq, vector.count)?;
            }
            writeln!(f)?;
        }
    }
    Ok(())
}

/// The last transaction of each device.
fn last_transaction(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for device in (0..DEVICES_MAX).filter_map(|index| link.device(index)) {
        let transport = device.transport();
        let Some(last) = transport.last_transaction() else {
            continue;
        };
        let name = transport.name().to_str().unwrap_or("?");
        write!(
            f,
            "{name}: number {} entries {} first {:#x}={:#x} us {} outcome ",
            last.seq, last.count, last.first.offset, last.first.value, last.us
        )?;
        match last.outcome {
            Ok(()) => writeln!(f, "ok")?,
            Err(fault) => {
                fmt::Display::fmt(&fault, f)?;
                writeln!(f)?;
            }
        }
    }
    Ok(())
}

/// Counters of the link.
fn stats(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counters = &link.wire().counters;
    for (name, counter) in [
        ("doorbells", &counters.rings),
        ("interrupts", &counters.interrupts),
        ("polls", &counters.polls),
        ("transactions", &counters.transactions),
        ("attachments", &counters.attachments),
        ("recoveries", &counters.recoveries),
        ("stalled-queues", &counters.stalls),
        ("errors-timeout", &counters.timeouts),
        ("errors-refused", &counters.refusals),
        ("errors-malformed", &counters.malformed),
        ("errors-device-failed", &counters.faults),
        ("messages-left-out", &counters.unsaid),
        ("missed-interrupts", &counters.missed),
        ("lost-interrupts", &counters.lost),
    ] {
        writeln!(f, "{name}: {}", get(counter))?;
    }
    Ok(())
}

/// For how long the peer may give no buffer back.
fn watchdog_ms(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}", link.wire().watchdog_ms())
}

fn set_watchdog_ms(link: &Arc<Link>, ms: u32) -> Result {
    link.wire().set_watchdog_ms(ms)
}

/// How often a new attachment was asked for.
fn recoveries(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "{}", get(&link.wire().counters.recoveries))
}

fn recover(link: &Arc<Link>, word: u32) -> Result {
    if word != 1 {
        return Err(EINVAL);
    }
    link.wire().ask_to_recover()
}

/// Doorbell round trips, measured now: Linux rings, the peer's handler answers, Linux's handler
/// takes the time.
fn doorbell_rtt(link: &Arc<Link>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut samples = match link.selftest.measure(link.wire(), SAMPLES) {
        Ok(samples) => samples,
        Err(_) => return writeln!(f, "no peer is attached"),
    };
    let summary = summarize(&mut samples);
    writeln!(f, "samples: {} of {SAMPLES}", summary.count)?;
    writeln!(f, "min-ns: {}", summary.min)?;
    writeln!(f, "median-ns: {}", summary.median)?;
    writeln!(f, "p99-ns: {}", summary.p99)?;
    writeln!(f, "max-ns: {}", summary.max)
}
