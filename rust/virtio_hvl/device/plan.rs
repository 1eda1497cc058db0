// SPDX-License-Identifier: GPL-2.0

//! What becomes of the memory of a device's queues, by what the peer says that they may be.

use super::HvlDevice;
use crate::{
    algo::{
        config::{
            self,
            Limits, //
        },
        drivers,
        features::{
            self,
            OWN, //
        },
        ring::Features,
        share::{
            self,
            Plan, //
        }, //
    },
    proto::{
        layout::{
            window,
            QUEUE_SIZE_MAX, //
        },
        virtio::reg,
        Entry,
        FieldError,
        Kind, //
    },
    virtio::Transport,
    virtio_hvl::fault::Fault, //
};
use kernel::{
    prelude::*,
    sync::atomic::Relaxed, //
};

/// How a queue's memory is planned, and how few entries will do.
type MakePlan = fn(u32, u32, Features) -> Option<Plan>;
type LeastSize = fn(u32, Features, (u32, u32)) -> Option<u32>;

impl HvlDevice {
    /// The bytes and the plan of that queue of a network device with the features `shown` which has the
    /// fewest, of its pairs' first or second ones.
    ///
    /// # Errors
    ///
    /// Those of [`HvlDevice::plan`].
    pub(super) fn narrowest(&self, first: u32, shown: u64) -> Result<(u32, Plan)> {
        let pairs = features::pairs_in_use(shown, self.entry.queue_count);
        let mut least = (self.queue(first)?.bytes(), self.plan(first)?);
        for index in (first..).step_by(2).take(pairs.into()).skip(1) {
            let other = (self.queue(index)?.bytes(), self.plan(index)?);
            if other.0 < least.0 || other.1.chain_max() < least.1.chain_max() {
                least = other;
            }
        }
        Ok(least)
    }

    /// What the configuration of a network device says of its queues, and of the largest packet.
    pub(super) fn pairs_and_mtu(&self) -> (u16, u16) {
        config::pairs_and_mtu(self.config_word(config::PAIRS_AND_MTU))
    }

    /// The word at `offset` of its configuration.
    pub(super) fn config_word(&self, offset: u32) -> u32 {
        let mut word = [0; 4];
        self.config_read(offset, &mut word);
        u32::from_le_bytes(word)
    }

    /// What a block device with the features `shown` may say of its requests.
    ///
    /// # Errors
    ///
    /// Those of [`HvlDevice::plan`]; `ERANGE` for segments that are smaller than those it is sent.
    pub(super) fn block_limits(&self, shown: u64) -> Result<Limits> {
        let (mut least, mut most) = (u32::MAX, config::SEGMENT);
        for index in 0..self.entry.queue_count {
            let chunk = self.plan(index)?.chunk;
            (least, most) = (least.min(chunk), most.max(chunk));
        }
        // As the peer has it: the copy is one that Linux can live with.
        let at = window::CONFIG + config::BLOCK_SEGMENT;
        let size_max = self.window.page().read(at);
        if shown & config::SIZE_MAX != 0 && size_max < most {
            let (size_max, most) = (size_max.into(), most.into());
            let wrong = FieldError::new(Kind::Range, "size_max", size_max, "at least", most);
            return Err(self.fail(Fault::Field(wrong)));
        }
        Ok(Limits {
            segment: (shown & config::SEG_MAX != 0).then_some(least),
            ..Limits::default()
        })
    }

    /// What the rings of its queues can be.
    pub(super) fn ring_features(&self) -> Features {
        Features::from_bits(self.offered.load(Relaxed) & OWN)
    }

    /// What the driver and the peer have agreed on about the rings.
    pub(crate) fn agreed_rings(&self) -> Features {
        Features::from_bits(self.features.load(Relaxed))
    }

    /// Most entries of queue `index`, which do not change: the peer is asked once.
    ///
    /// # Errors
    ///
    /// An earlier failure.
    fn size_max(&self, index: u32) -> Result<u32> {
        let known = &self.queue(index)?.size_max;
        match known.load(Relaxed) {
            0 => {
                let size_max = self
                    .transact(&[Entry::register(reg::QUEUE_SEL, index)], |page| {
                        page.read(reg::QUEUE_SIZE_MAX)
                    })?;
                known.store(size_max, Relaxed);
                Ok(size_max)
            }
            size_max => Ok(size_max),
        }
    }

    /// What becomes of the memory of queue `index`.
    ///
    /// # Errors
    ///
    /// `ERANGE` for a size that cannot be, `ENOSPC` for memory that is too small; an earlier failure.
    pub(super) fn plan(&self, index: u32) -> Result<Plan> {
        self.plan_within(index, QUEUE_SIZE_MAX)
    }

    /// The same where the driver's own ring has `entries`. A device that waits for more buffers than a driver
    /// ever posts waits for good: it is told of no more.
    ///
    /// # Errors
    ///
    /// Those of [`HvlDevice::plan`].
    pub(super) fn plan_within(&self, index: u32, entries: u32) -> Result<Plan> {
        let size_max = self.size_max(index)?;
        let features = self.ring_features();
        // 0, which other transports take for a queue that is not there, contradicts QueueCount.
        let right = if features.packed {
            (1..=QUEUE_SIZE_MAX).contains(&size_max)
        } else {
            size_max.is_power_of_two() && size_max <= QUEUE_SIZE_MAX
        };
        if !right {
            return Err(self.fail(Fault::Field(FieldError::new(
                Kind::Range,
                "QueueSizeMax",
                u64::from(size_max),
                if features.packed {
                    "from 1 to"
                } else {
                    "a power of two, at most"
                },
                u64::from(QUEUE_SIZE_MAX),
            ))));
        }
        let bytes = self.queue(index)?.bytes();
        let direct = self.wire.dma().is_some();
        let (new, least) = if direct {
            (Plan::direct as MakePlan, Plan::least_direct as LeastSize)
        } else {
            (Plan::new as MakePlan, Plan::least_size as LeastSize)
        };
        let mut plan = new(bytes, size_max.min(entries), features)
            .ok_or_else(|| self.fail(Fault::Pool(bytes)))?;
        if let Some(entries) = drivers::entries(self.entry.device_id) {
            plan.private = entries;
        }
        let longest = share::longest(self.entry.device_id, index, self.entry.queue_count);
        if !plan.holds(longest) {
            let least = least(bytes, features, longest).unwrap_or(QUEUE_SIZE_MAX);
            return Err(self.fail(Fault::Small(index, size_max, least)));
        }
        Ok(plan)
    }
}
