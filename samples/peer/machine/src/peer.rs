// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The main loop: link, devices, services, sleep.

use crate::devices::{Devices, Scratch, LINUX_MAC};
use crate::ears::Ears;
use crate::machine::Machine;
use crate::mortal::{After, Mortal};
use crate::spin::Spin;
use crate::time::{self, Alarm};
use crate::{control, cpu, leave, memory, VERSION};
use hvl_device::adversary::Adversary;
use hvl_device::device::Devices as _;
use hvl_device::faults::Faults;
use hvl_device::link::{Link, Params, Wake};
use hvl_device::mem::Region;
use hvl_device::poll::{Bounds, Interval};
use hvl_device::proto::virtio::status::DRIVER_OK;
use hvl_device::proto::PeerState;
use hvl_services::devices::DEVICES;
use hvl_services::report::{DeviceSnapshot, Snapshot, Sums, Text};
use hvl_services::session::Env;
use hvl_services::stack::{Addresses, Frames, Stack};
use hvl_services::vsock::VsockServices;

/// Milliseconds between two heartbeats.
const HEARTBEAT: u64 = 100;
/// Heartbeats for which all devices are in use, after which a peer that is to crash does.
const CRASH_AT: u32 = 30;
/// How soon Linux is looked at again after a ring of its got lost, in microseconds, and how soon when all is
/// well: with each heartbeat, as ever.
const LOST: Bounds = match Bounds::new(2000, 100_000) {
    Some(bounds) => bounds,
    None => Bounds::DEFAULT,
};
/// Milliseconds by which a ring is late that is late on purpose.
const LATE: u64 = 2;
/// Interrupts that are taken in one pass at most.
const INTERRUPTS: usize = 16;
/// Frames in one pass from which on more are expected at once, for which Linux need not ring.
pub(crate) const MANY: u64 = 4;

/// Ethernet address of our end.
const OWN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What a pass has found to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// All of it is done.
    All,
    /// There may be more to do at once.
    More,
}

/// What comes after a turn of the loop.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Another one.
    Turn,
    /// Sleep, until there is something to do, or for no more than the next heartbeat.
    Rest,
    Beat,
}

/// The peer.
pub(crate) struct Peer {
    machine: Machine,
    devices: Devices,
    stack: Option<Stack>,
    services: VsockServices,
    frames: &'static mut Frames,
    text: &'static mut Text,
    scratch: Scratch,
    seen: &'static mut [DeviceSnapshot; DEVICES],
    sums: &'static mut Sums,
    snapshot_wanted: bool,
    next_beat: u64,
    /// Heartbeats for which Linux's drivers have been using all the devices.
    beats_in_use: u32,
    spin: Spin,
    /// How long to sleep at most: where there is no doorbell, or rings get lost. And whether since the last
    /// sleep something was found that nobody had rung for.
    interval: Interval,
    busy: bool,
    /// The pass begins with the end of a sleep.
    slept: bool,
    ears: Ears,
    adversary: Option<Adversary>,
    mortal: Mortal,
    passes: u64,
    sleeps: u64,
    slept_us: u64,
}

impl Peer {
    /// A peer on `machine`, with the devices that its command line names.
    #[expect(clippy::expect_used, reason = "each is taken once, here")]
    pub(crate) fn new(mut machine: Machine) -> Self {
        let disks = core::mem::take(&mut machine.disks);
        let config = &machine.config;
        let mtu = config.usable_mtu();
        if mtu != config.mtu {
            log::warn!(
                "net: mtu {mtu} in place of {}: the region is small, or the queues are",
                config.mtu
            );
        }
        let devices = Devices::new(config, mtu, disks);
        let stack = devices.net.is_some().then(|| {
            let addresses = Addresses {
                own_mac: OWN_MAC,
                linux_mac: LINUX_MAC,
                own: config.ip,
                prefix: config.prefix,
                linux: config.linux_ip(),
                own6: config.ip6,
                mtu,
            };
            let seed = cpu::entropy();
            let memory = memory::TCP.take().expect("taken once");
            let books = memory::BOOKS.take().expect("taken once");
            Stack::new(&addresses, seed, memory, books)
        });
        Self {
            devices,
            services: VsockServices::new(),
            frames: memory::FRAMES.take().expect("taken once"),
            scratch: Scratch::new(),
            seen: memory::SEEN.take().expect("taken once"),
            text: memory::TEXT.take().expect("taken once"),
            sums: memory::SUMS.take().expect("taken once"),
            snapshot_wanted: false,
            stack,
            next_beat: 0,
            spin: Spin::new(config.spin_us),
            beats_in_use: 0,
            interval: match config.irq_in {
                Some(_) => Interval::rested(LOST),
                None => Interval::new(config.poll),
            },
            busy: false,
            slept: false,
            ears: Ears::new(config.faults),
            adversary: config.adversary.map(Adversary::new),
            mortal: Mortal::new(config.death),
            passes: 0,
            sleeps: 0,
            slept_us: 0,
            machine,
        }
    }

    /// Serves Linux until it asks us to stop.
    pub(crate) fn run(mut self) -> ! {
        if let Some(hz) = self.machine.config.control_hz {
            control::start(self.machine.gic, self.machine.clock, hz);
        }
        self.wait(self.machine.config.delay_ms);
        let config = &self.machine.config;
        let mut params = Params {
            peer_base: config.region,
            heartbeat_ms: HEARTBEAT as u32,
            polled: config.irq_in.is_none(),
            offer: config.offer,
            bells: self.machine.ringer.bells(config.irqs_in.len()),
            faults: config.faults,
        };
        let Some(region) = self.machine.region else {
            self.idle();
        };
        if let Some(adversary) = &mut self.adversary {
            params.faults = adversary.begin();
        }
        self.step();
        let mut link = self.link(region, &params);
        self.step();
        log::info!(
            "link: ready, epoch {:#x}, {} devices, region {:#x}+{:#x}",
            link.epoch(),
            link.devices(),
            self.machine.config.region,
            region.len()
        );
        self.next_beat = self.machine.clock.millis() + HEARTBEAT;

        loop {
            let over = |it: &&mut Adversary| it.is_over(link.heartbeats());
            let adversary = self.adversary.as_mut().filter(over);
            if let Some(adversary) = adversary {
                params.faults = adversary.live_on();
                self.mortal.revive();
            }
            if self.mortal.is_anew() {
                link.abandon(&mut self.devices);
                link = self.link(region, &params);
            }
            let begin = control::begin();
            let next = self.turn(&mut link);
            control::end(begin);
            control::tell(link.heartbeats());
            match next {
                Next::Turn => {}
                Next::Rest => self.rest(&link),
                Next::Beat => self.sleep(self.next_beat),
            }
        }
    }

    /// A turn of the loop.
    fn turn(&mut self, link: &mut Link) -> Next {
        let deaf = self.machine.config.faults.has(Faults::DEAF);
        let mut wake = self.take_interrupts(link);
        if deaf && !wake.tick {
            return Next::Beat;
        }
        let slept = core::mem::take(&mut self.slept);
        if !self.ears.hears(&mut wake, slept, link) {
            return Next::Rest;
        }
        let found = self.pass(link, wake);
        self.busy |= if self.machine.config.irq_in.is_none() {
            found != Found::Nothing
        } else {
            link.has_missed()
        };
        let awake = match found {
            _ if self.adversary.as_ref().is_some_and(Adversary::is_awake) => true,
            Found::More => true,
            // Whoever is to look around anyway does so before it asks Linux to ring.
            Found::All => self.spin.is_any(),
            Found::Nothing => false,
        };
        if awake {
            self.spin.found();
            link.quieten(&mut self.devices);
            Next::Turn
        } else if found == Found::Nothing && !deaf && self.spin.goes_on(&self.machine.clock) {
            core::hint::spin_loop();
            Next::Turn
        } else if link.listen(&mut self.devices) {
            Next::Turn
        } else {
            Next::Rest
        }
    }

    /// A step of its life, after which it may be at its end.
    fn step(&mut self) {
        match self.mortal.step() {
            After::Life => {}
            After::Nothing => self.idle(),
            After::Pause(ms) => self.pause(ms),
        }
    }

    /// Does nothing for so many milliseconds. (Interrupts stay pending, and are taken afterwards.)
    #[cold]
    #[inline(never)]
    fn pause(&self, ms: u32) {
        let end = self.machine.clock.millis() + u64::from(ms);
        while self.machine.clock.millis() < end {
            core::hint::spin_loop();
        }
        log::info!("lives on");
    }

    /// The link, published. Without one there is nothing to do.
    fn link(&mut self, region: Region, params: &Params) -> Link {
        match Link::start(region, params, &mut self.devices) {
            Ok(link) => link,
            Err(error) => {
                log::error!("no link: {error}");
                self.idle();
            }
        }
    }

    /// Sleeps until there is something to do.
    fn rest(&mut self, link: &Link) {
        let due = self.stack.as_ref().map_or(u64::MAX, Stack::due);
        let late = if link.holds_ring() || self.ears.is_late() || self.adversary.is_some() {
            self.machine.clock.millis() + LATE
        } else {
            u64::MAX
        };
        self.sleep(self.next_beat.min(due).min(late));
    }

    /// Nothing interrupts any more.
    fn close(&self) {
        if self.machine.config.control_hz.is_some() {
            self.machine.gic.close();
        }
    }

    /// The control loop may interrupt.
    fn open(&self) {
        if self.machine.config.control_hz.is_some() {
            self.machine.gic.open();
        }
    }

    /// Waits to be stopped: there is no link.
    fn idle(&mut self) -> ! {
        loop {
            self.wait(u64::MAX);
        }
    }

    /// Waits for `millis` without a link, or to be stopped.
    fn wait(&mut self, millis: u64) {
        let clock = self.machine.clock;
        let end = clock.millis().saturating_add(millis);
        while clock.millis() < end {
            clock.wake_at(end.min(clock.millis() + HEARTBEAT));
            cpu::wait_for_interrupt();
            while let Some(intid) = self.machine.gic.take() {
                match intid {
                    Alarm::INTID => control::run(),
                    _ => clock.silence(),
                }
            }
            self.machine.gic.retake();
            if cpu::stop_requested() {
                log::info!("asked to stop before the link was up");
                leave::failed();
            }
        }
    }

    /// Takes what is pending; stops if Linux asks for that.
    fn take_interrupts(&mut self, link: &mut Link) -> Wake {
        let mut wake = Wake::default();
        let mut look = false;
        self.close();
        for _ in 0..INTERRUPTS {
            let Some(intid) = self.machine.gic.take() else {
                break;
            };
            if intid == Alarm::INTID {
                control::run();
            }
            wake.doorbell |= Some(intid) == self.machine.config.irq_in;
            wake.queues |= self.machine.config.irqs_in.iter().any(|own| own == intid);
            look |= intid == self.machine.config.irq_stop;
            if intid == time::INTID {
                self.machine.clock.silence();
                wake.timer = true;
            }
        }
        self.open();
        let now = self.machine.clock.millis();
        if now >= self.next_beat {
            wake.tick = true;
            self.machine.gic.retake();
            if self.are_in_use() {
                self.beats_in_use = self.beats_in_use.saturating_add(1);
            }
            if self.machine.config.faults.has(Faults::CRASH) && self.beats_in_use == CRASH_AT {
                cpu::crash();
            }
            if self.machine.config.faults.has(Faults::VANISH) && self.beats_in_use == CRASH_AT {
                leave::off();
            }
            self.next_beat = (self.next_beat + HEARTBEAT).max(now + 1);
        }
        if (look || wake.tick) && cpu::stop_requested() {
            log::info!("asked to stop");
            control::tell(u32::MAX);
            link.stop(PeerState::Stopped, &mut self.machine.ringer);
            leave::off();
        }
        wake
    }

    /// Whether Linux's drivers are using all devices.
    fn are_in_use(&mut self) -> bool {
        (0..self.devices.count()).all(|index| {
            let device = self.devices.device(index);
            device.is_some_and(|device| device.transport().status() & DRIVER_OK != 0)
        })
    }

    /// One pass.
    fn pass(&mut self, link: &mut Link, wake: Wake) -> Found {
        self.passes = self.passes.wrapping_add(1);
        let before = self.received();
        let mut busy = link.poll(wake, &mut self.devices);
        if busy {
            self.step();
        }
        let now = self.machine.clock.millis();
        let wanted = core::mem::take(&mut self.snapshot_wanted);
        if wanted {
            link.count(&mut self.devices);
        }
        let figures = wanted.then(|| self.snapshot(link, now));
        let snapshot = figures.map(|figures| Snapshot {
            devices: self.devices.look(self.seen),
            ..figures
        });
        let mut more = snapshot.is_some();

        let shared = *link.shared();
        let mut wish = None;
        let mut env = Env {
            now,
            clock: &self.machine.stamper,
            snapshot: snapshot.as_ref(),
            snapshot_wanted: &mut self.snapshot_wanted,
            sums: self.sums,
            text: self.text,
            wish: &mut wish,
        };
        if let (Some(net), Some(stack)) = (&mut self.devices.net, &mut self.stack) {
            busy |= stack.pass(net, &shared, self.frames, &mut env);
            more |= stack.due() <= now;
        }
        if let Some(vsock) = &mut self.devices.vsock {
            more |= vsock.poll(&shared, &mut self.services.pass(&mut env), now);
        }
        for index in link.live() {
            if let Some(device) = self.devices.more(index) {
                let served = device.pass(&shared, &mut self.scratch, &mut env);
                busy |= served != 0;
                more |= served >= MANY;
            }
        }
        if let Some(wish) = wish {
            self.devices.grant(wish, &shared);
        }
        if busy || more {
            self.step();
        }
        link.finish(&mut self.devices, &mut self.machine.ringer);
        if busy || more {
            self.step();
        }
        if let Some(adversary) = &mut self.adversary {
            adversary.pass(link, &mut self.devices, &mut self.machine.ringer);
        }
        if more || self.snapshot_wanted || self.received().wrapping_sub(before) >= MANY {
            Found::More
        } else if busy {
            Found::All
        } else {
            Found::Nothing
        }
    }

    /// Frames that Linux has sent.
    fn received(&self) -> u64 {
        let net = self.devices.net.as_ref();
        net.map_or(0, |net| net.stats().received)
    }

    /// Sleeps until there is an interrupt, or until `until`, or until it is time to look.
    fn sleep(&mut self, until: u64) {
        self.sleeps = self.sleeps.wrapping_add(1);
        let clock = self.machine.clock;
        let before = clock.micros();
        let busy = core::mem::take(&mut self.busy);
        let look = before.saturating_add(self.interval.next(busy).into());
        clock.wake_at_micros(until.saturating_mul(1000).min(look));
        self.close();
        cpu::wait_for_interrupt();
        // The control loop's alone is no reason to look at anything else.
        while self.machine.gic.next() == Some(Alarm::INTID) {
            if self.machine.gic.take() == Some(Alarm::INTID) {
                control::run();
            }
            cpu::wait_for_interrupt();
        }
        self.open();
        self.slept_us = self
            .slept_us
            .wrapping_add(clock.micros().wrapping_sub(before));
        self.spin.slept();
        self.slept = true;
    }

    /// The figures of the status page but for those that all devices have.
    fn snapshot(&self, link: &Link, now: u64) -> Snapshot<'static> {
        let net = self.devices.net.as_ref();
        let vsock = self.devices.vsock.as_ref();
        Snapshot {
            version: VERSION,
            machine: self.machine.name,
            uptime_ms: now,
            epoch: link.epoch(),
            doorbells: link.doorbells(),
            passes: (self.passes, self.sleeps),
            slept_ms: self.slept_us / 1000,
            control: control::figures(),
            devices: &[],
            net: net.map(|net| *net.stats()),
            vsock: vsock.map(|vsock| *vsock.stats()),
            console: self.devices.console_stats(),
            drops: self
                .stack
                .as_ref()
                .map_or_else(Default::default, |stack| *stack.drops()),
            dhcp: self
                .stack
                .as_ref()
                .map_or_else(Default::default, |stack| stack.dhcp_stats(now)),
            udp: self
                .stack
                .as_ref()
                .map_or_else(Default::default, Stack::udp_stats),
            iperf: self
                .stack
                .as_ref()
                .map_or_else(Default::default, Stack::iperf_stats),
        }
    }
}
