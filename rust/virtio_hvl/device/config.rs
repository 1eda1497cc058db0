// SPDX-License-Identifier: GPL-2.0

//! The configuration space of a device: a private copy, which drivers may read as often as they
//! like.
//!
//! The peer may write its own at any time. It is copied whole, under its generation, and only when
//! that has changed; so a driver that reads a field twice reads the same.

use crate::{
    algo::{
        config,
        storm::Storm, //
    },
    proto::{
        layout::window,
        virtio::reg,
        DeviceEntry, //
    },
    virtio_hvl::{
        fault::Fault,
        shmem::Page, //
    }, //
};
use kernel::{
    new_mutex,
    prelude::*,
    sync::Mutex, //
};

/// Changes of the configuration that are followed in one second.
const GENERATIONS_PER_S: u32 = 64;
/// How often a copy is tried that the peer changes meanwhile.
const TRIES: u32 = 8;

struct Copy {
    /// Type of the device.
    device: u32,
    words: KVVec<u32>,
    /// The generation that the copy was made under.
    generation: u32,
    storm: Storm,
}

/// The private copy.
#[pin_data]
pub(super) struct Config {
    length: u32,
    #[pin]
    copy: Mutex<Copy>,
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
            generation: 0,
            storm: Storm::new(GENERATIONS_PER_S, 1000),
        };
        // One that changes just now is copied again when it is read.
        copy.take(page);
        Ok(pin_init!(Self {
            length,
            copy <- new_mutex!(copy),
        }))
    }

    /// Brings the copy up to date.
    ///
    /// # Errors
    ///
    /// [`Fault::Storm`].
    fn update(&self, copy: &mut Copy, page: &Page, now_ms: u64) -> Result<(), Fault> {
        if page.observe(reg::CONFIG_GENERATION) == copy.generation {
            return Ok(());
        }
        if copy.storm.allow(now_ms) && copy.take(page) {
            Ok(())
        } else {
            Err(Fault::Storm)
        }
    }

    /// The generation of what is read next.
    ///
    /// # Errors
    ///
    /// [`Fault::Storm`]; the copy is what it was.
    pub(super) fn generation(&self, page: &Page, now_ms: u64) -> (u32, Result<(), Fault>) {
        let mut copy = self.copy.lock();
        let result = self.update(&mut copy, page, now_ms);
        (copy.generation, result)
    }

    /// Reads from `offset` on. `data` is zeroed, and stays so where there is nothing to read.
    ///
    /// # Errors
    ///
    /// [`Fault::Storm`]; what is read is the copy as it was.
    pub(super) fn read(
        &self,
        page: &Page,
        now_ms: u64,
        offset: u32,
        data: &mut [u8],
    ) -> Result<(), Fault> {
        let mut copy = self.copy.lock();
        let result = self.update(&mut copy, page, now_ms);
        for (at, byte) in (offset..self.length).zip(data.iter_mut()) {
            let word = copy.words.get((at / 4) as usize).copied().unwrap_or(0);
            *byte = (word >> (8 * (at % 4))) as u8;
        }
        result
    }

    /// Has the whole of it copied again: the driver has written to it.
    pub(super) fn refresh(&self, page: &Page) {
        self.copy.lock().take(page);
    }
}

impl Copy {
    /// Copies all of it. `false`: it changed all the time, and the copy is not whole.
    fn take(&mut self, page: &Page) -> bool {
        for _ in 0..TRIES {
            let generation = page.observe(reg::CONFIG_GENERATION);
            for (at, word) in (window::CONFIG..).step_by(4).zip(self.words.iter_mut()) {
                *word = page.read(at);
            }
            // Pairs with the peer's writes of the generation around a change.
            page.read_barrier();
            if page.read(reg::CONFIG_GENERATION) == generation {
                self.generation = generation;
                config::fit(self.device, &mut self.words);
                return true;
            }
        }
        false
    }
}
