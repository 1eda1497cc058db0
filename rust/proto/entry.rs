// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Entries of the device table (protocol.rst, "Device table").

use super::error::{FieldError, Kind};
use super::header::Identity;
use super::layout::{link::DEVICE_ENTRY_WORDS, window::CONFIG_MAX, PAGE, QUEUES_MAX};

/// One device that the peer publishes, checked.
///
/// # Invariants
///
/// A value made by [`DeviceEntry::parse`] has its window inside the region, page-aligned, outside
/// the header and outside the pool; `device_id != 0`; `queue_count <= QUEUES_MAX`;
/// `config_length <= CONFIG_MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// Start of the window, bytes from the start of the region.
    pub window: u32,
    /// VIRTIO device type (VIRTIO 5).
    pub device_id: u32,
    /// Virtqueues that the device has.
    pub queue_count: u32,
    /// Bytes of configuration space.
    pub config_length: u32,
    /// VIRTIO vendor id.
    pub vendor_id: u32,
}

impl DeviceEntry {
    /// Checks a private copy of one entry against the region that `identity` describes.
    ///
    /// # Errors
    ///
    /// [`Kind::Range`] for a window outside the region or a number over its limit,
    /// [`Kind::Malformed`] for a misaligned window, one that overlaps the pool, or device id 0.
    pub fn parse(
        words: &[u32; DEVICE_ENTRY_WORDS],
        identity: &Identity,
    ) -> Result<Self, FieldError> {
        let [window, device_id, queue_count, config_length, vendor_id, ..] = *words;

        let bad = |kind, field, value: u32, want, bound: u32| {
            Err(FieldError::new(
                kind,
                field,
                u64::from(value),
                want,
                u64::from(bound),
            ))
        };

        if window % PAGE != 0 {
            return bad(
                Kind::Malformed,
                "WindowOffset",
                window,
                "a multiple of",
                PAGE,
            );
        }
        // The region has at least `REGION_MIN` bytes, so this cannot wrap.
        let last = identity.region_size.saturating_sub(PAGE);
        if window > last {
            return bad(Kind::Range, "WindowOffset", window, "at most", last);
        }
        if window < PAGE {
            return bad(Kind::Range, "WindowOffset", window, "at least", PAGE);
        }
        let pool_end = identity.pool_offset.saturating_add(identity.pool_size);
        if window.saturating_add(PAGE) > identity.pool_offset && window < pool_end {
            return bad(
                Kind::Malformed,
                "WindowOffset",
                window,
                "outside the pool, which begins at",
                identity.pool_offset,
            );
        }
        if device_id == 0 {
            return bad(Kind::Malformed, "DeviceId", device_id, "at least", 1);
        }
        if queue_count as usize > QUEUES_MAX {
            return bad(
                Kind::Range,
                "QueueCount",
                queue_count,
                "at most",
                QUEUES_MAX as u32,
            );
        }
        if config_length > CONFIG_MAX {
            return bad(
                Kind::Range,
                "ConfigLength",
                config_length,
                "at most",
                CONFIG_MAX,
            );
        }

        // INVARIANT: Each part was checked above.
        Ok(Self {
            window,
            device_id,
            queue_count,
            config_length,
            vendor_id,
        })
    }

    /// Checks that this device's window is not also that of one of `others`.
    ///
    /// # Errors
    ///
    /// [`Kind::Malformed`] naming the shared window.
    pub fn check_distinct(&self, others: &[DeviceEntry]) -> Result<(), FieldError> {
        match others.iter().position(|other| other.window == self.window) {
            None => Ok(()),
            Some(index) => Err(FieldError::new(
                Kind::Malformed,
                "WindowOffset",
                u64::from(self.window),
                "another than that of device",
                index as u64,
            )),
        }
    }

    /// The words to publish, reserved ones zero.
    pub fn emit(&self) -> [u32; DEVICE_ENTRY_WORDS] {
        [
            self.window,
            self.device_id,
            self.queue_count,
            self.config_length,
            self.vendor_id,
            0,
            0,
            0,
        ]
    }
}
