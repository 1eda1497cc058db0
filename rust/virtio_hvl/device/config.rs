// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a device: a private copy, which drivers may read as often as they
//! like.
//!
//! The peer may write its own at any time. It is copied whole, under its generation
//! ([`crate::algo::snapshot`]), and only when that has changed; so a driver that reads a field twice
//! reads the same.

use crate::{
    algo::{
        config::{
            self,
            Limits, //
        },
        snapshot::{
            self,
            Space,
            Torn, //
        },
        storm::Storm, //
    },
    proto::{
        layout::window,
        virtio::reg,
        DeviceEntry, //
    },
    virtio_hvl::{
        fault::Fault,
        shmem::Page,
        wire::Wire, //
    }, //
};
use core::mem::swap;
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex,
    time::{
        delay::fsleep,
        Delta, //
    }, //
};

/// Changes of the configuration that are followed in one second.
const GENERATIONS_PER_S: u32 = 64;
/// Announcements that a network device may ask for in [`ANNOUNCE_MS`]: Linux's driver tells the network
/// of each, and the log of each that the device does not take the answer to.
const ANNOUNCEMENTS: u32 = 10;
const ANNOUNCE_MS: u64 = 10_000;
/// How often it is looked whether a change is over, in ms.
const PAUSE_MS: i64 = 1;

struct Copy {
    /// Type of the device.
    device: u32,
    words: KVVec<u32>,
    /// Where the next copy is made: one that is not whole leaves the last one as it is.
    next: KVVec<u32>,
    /// The generation that the copy was made under; `None`: there is none yet, or the driver has
    /// written since.
    generation: Option<u32>,
    storm: Storm,
    limits: Limits,
    announcements: Storm,
}

/// The private copy.
#[pin_data]
pub(super) struct Config {
    length: u32,
    #[pin]
    copy: Mutex<Copy>,
}

/// The peer's own.
struct Window<'a>(&'a Page);

impl Space for Window<'_> {
    fn generation(&self) -> u32 {
        self.0.observe(reg::CONFIG_GENERATION)
    }

    fn word(&self, index: usize) -> u32 {
        // `Page` knows where it ends.
        self.0
            .read(window::CONFIG.saturating_add((index as u32).saturating_mul(4)))
    }

    fn read_barrier(&self) {
        self.0.read_barrier();
    }
}

/// Whose configuration space it is.
pub(super) struct Source<'a> {
    pub(super) page: &'a Page,
    pub(super) wire: &'a Wire,
    /// Epoch of the peer.
    pub(super) epoch: u32,
}

impl Config {
    /// A copy of what is in the window `page` of the device that `entry` describes.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(page: &Page, entry: &DeviceEntry) -> Result<impl PinInit<Self>> {
        let length = entry.config_length;
        let count = length.div_ceil(4) as usize;
        let mut copy = Copy {
            device: entry.device_id,
            words: KVVec::from_elem(0, count, GFP_KERNEL)?,
            next: KVVec::from_elem(0, count, GFP_KERNEL)?,
            generation: None,
            storm: Storm::new(GENERATIONS_PER_S, 1000),
            limits: Limits::default(),
            announcements: Storm::new(ANNOUNCEMENTS, ANNOUNCE_MS),
        };
        // One that changes just now is copied when it is read: the link's thread does not wait.
        let _ = copy.take(page, 0, || false);
        Ok(pin_init!(Self {
            length,
            copy <- new_mutex!(copy),
        }))
    }

    /// The generation of what is read next. Sleeps while a change is under way. With no `source` the
    /// copy is not brought up to date.
    ///
    /// # Errors
    ///
    /// [`Fault::Storm`], [`Fault::Unsettled`]; the copy is what it was.
    pub(super) fn generation(&self, source: Option<&Source<'_>>) -> (u32, Result<(), Fault>) {
        let mut copy = self.copy.lock();
        let result = source.map_or(Ok(()), |source| copy.update(source));
        (copy.generation.unwrap_or(0), result)
    }

    /// Reads from `offset` on. `data` is zeroed, and stays so where there is nothing to read. Sleeps
    /// while a change is under way. With no `source` the copy is not brought up to date.
    ///
    /// # Errors
    ///
    /// [`Fault::Storm`], [`Fault::Unsettled`]; what is read is the copy as it was.
    pub(super) fn read(
        &self,
        source: Option<&Source<'_>>,
        offset: u32,
        data: &mut [u8],
    ) -> Result<(), Fault> {
        let mut copy = self.copy.lock();
        let result = source.map_or(Ok(()), |source| copy.update(source));
        for (at, byte) in (offset..self.length).zip(data.iter_mut()) {
            let word = copy.words.get((at / 4) as usize).copied().unwrap_or(0);
            *byte = (word >> (8 * (at % 4))) as u8;
        }
        result
    }

    /// From here on it says nothing beyond `limits`.
    pub(super) fn limit(&self, limits: Limits) {
        let mut copy = self.copy.lock();
        if copy.limits != limits {
            copy.limits = limits;
            copy.generation = None;
        }
    }

    /// Has the whole of it copied again when it is read: the driver has written to it.
    pub(super) fn forget(&self) {
        self.copy.lock().generation = None;
    }
}

impl Copy {
    /// Brings the copy up to date.
    fn update(&mut self, source: &Source<'_>) -> Result<(), Fault> {
        let (page, wire) = (source.page, source.wire);
        if self.generation == Some(page.observe(reg::CONFIG_GENERATION)) {
            return Ok(());
        }
        let begin = wire.now_ms();
        if !self.storm.allow(begin) {
            return Err(Fault::Storm);
        }
        let limit = wire.timeout_ms();
        let pause = || {
            let goes_on =
                wire.is_up(source.epoch) && wire.now_ms().saturating_sub(begin) < u64::from(limit);
            if goes_on {
                fsleep(Delta::from_millis(PAUSE_MS));
            }
            goes_on
        };
        self.take(page, begin, pause).map_err(|torn| {
            if !wire.is_up(source.epoch) {
                return Fault::Down;
            }
            match torn {
                Torn::UnderWay => Fault::Unsettled(limit),
                Torn::Changed => Fault::Storm,
            }
        })
    }

    /// Copies all of it, or keeps what there is.
    fn take(&mut self, page: &Page, now: u64, pause: impl FnMut() -> bool) -> Result<(), Torn> {
        let generation = snapshot::take(&Window(page), &mut self.next, pause)?;
        let mut limits = self.limits;
        limits.announce &=
            !config::announces(self.device, &self.next) || self.announcements.allow(now);
        config::fit(self.device, &limits, &mut self.next);
        swap(&mut self.words, &mut self.next);
        self.generation = Some(generation);
        Ok(())
    }
}
