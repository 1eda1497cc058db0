// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The identity line of the link header (protocol.rst, "Link header").

use super::error::{FieldError, Kind};
use super::layout::{
    link::{FEATURE_MEMORY, FEATURE_NOTIFY, IDENTITY_WORDS},
    DEVICES_MAX, HEARTBEAT_PERIOD_MAX, MAGIC, PAGE, REGION_MAX, REGION_MIN, VERSION, VERSION_MAJOR,
};

/// What a peer says of itself and of the region, checked.
///
/// # Invariants
///
/// A value made by [`Identity::parse`] describes a region of at least [`REGION_MIN`] bytes that
/// fits into what the parser was told is there; the pool lies behind the header and inside the
/// region, page-aligned and not empty; `device_count <= DEVICES_MAX`; `epoch != 0`;
/// `peer_base + region_size` does not overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Version word: major in the upper, minor in the lower half.
    pub version: u32,
    /// Number of this boot of the peer.
    pub epoch: u32,
    /// Bytes of the region that the peer uses.
    pub region_size: u32,
    /// Address at which the peer sees the region's first byte.
    pub peer_base: u64,
    /// Devices in the table.
    pub device_count: u32,
    /// Start of the pool, bytes from the start of the region.
    pub pool_offset: u32,
    /// Bytes of the pool.
    pub pool_size: u32,
    /// Milliseconds between two heartbeats; 0: no heartbeat.
    pub heartbeat_ms: u32,
    /// Optional link features: [`link::FEATURE_MSI`](super::layout::link::FEATURE_MSI),
    /// [`link::FEATURE_MEMORY`](super::layout::link::FEATURE_MEMORY),
    /// [`link::FEATURE_NOTIFY`](super::layout::link::FEATURE_NOTIFY).
    pub features: u32,
    /// Interrupts of the driver's that the peer can ring, the link's doorbell first; 0 counts as 1.
    pub doorbells: u32,
    /// Interrupts of the peer's own that it takes, the link's doorbell first; 0 counts as 1.
    pub own_doorbells: u32,
}

impl Identity {
    /// Checks a private copy of the identity line against a region of `available` bytes.
    ///
    /// # Errors
    ///
    /// [`Kind::NotHvl`] for another magic, [`Kind::Version`] for another major version,
    /// [`Kind::Range`] for what lies outside the region or over a limit, [`Kind::Malformed`] for
    /// what is misaligned or zero where it must not be.
    pub fn parse(words: &[u32; IDENTITY_WORDS], available: u64) -> Result<Self, FieldError> {
        let [magic, version, epoch, region_size, base_low, base_high, device_count, pool_offset, pool_size, heartbeat_ms, features, doorbells, own_doorbells, ..] =
            *words;

        let bad = |kind, field, value: u32, want, bound: u32| {
            Err(FieldError::new(
                kind,
                field,
                u64::from(value),
                want,
                u64::from(bound),
            ))
        };

        if magic != MAGIC {
            return bad(Kind::NotHvl, "Magic", magic, "equal to", MAGIC);
        }
        if version >> 16 != VERSION_MAJOR {
            return bad(
                Kind::Version,
                "Version",
                version,
                "of the major version of",
                VERSION,
            );
        }
        if epoch == 0 {
            return bad(Kind::Malformed, "Epoch", epoch, "at least", 1);
        }
        if region_size % PAGE != 0 {
            return bad(
                Kind::Malformed,
                "RegionSize",
                region_size,
                "a multiple of",
                PAGE,
            );
        }
        if region_size < REGION_MIN {
            return bad(
                Kind::Range,
                "RegionSize",
                region_size,
                "at least",
                REGION_MIN,
            );
        }
        if u64::from(region_size) > available || region_size > REGION_MAX {
            return Err(FieldError::new(
                Kind::Range,
                "RegionSize",
                u64::from(region_size),
                "at most the size of the reserved memory,",
                available,
            ));
        }
        let peer_base = u64::from(base_low) | (u64::from(base_high) << 32);
        if base_low % PAGE != 0 {
            return Err(FieldError::new(
                Kind::Malformed,
                "PeerBase",
                peer_base,
                "a multiple of",
                u64::from(PAGE),
            ));
        }
        if peer_base.checked_add(u64::from(region_size)).is_none() {
            return Err(FieldError::new(
                Kind::Range,
                "PeerBase",
                peer_base,
                "at most",
                u64::MAX - u64::from(region_size),
            ));
        }
        if device_count as usize > DEVICES_MAX {
            return bad(
                Kind::Range,
                "DeviceCount",
                device_count,
                "at most",
                DEVICES_MAX as u32,
            );
        }
        if pool_offset % PAGE != 0 {
            return bad(
                Kind::Malformed,
                "PoolOffset",
                pool_offset,
                "a multiple of",
                PAGE,
            );
        }
        if pool_offset < PAGE {
            return bad(Kind::Range, "PoolOffset", pool_offset, "at least", PAGE);
        }
        if pool_size % PAGE != 0 || pool_size == 0 {
            return bad(
                Kind::Malformed,
                "PoolSize",
                pool_size,
                "a multiple, not 0, of",
                PAGE,
            );
        }
        match pool_offset.checked_add(pool_size) {
            Some(end) if end <= region_size => {}
            _ => {
                return bad(
                    Kind::Range,
                    "PoolSize",
                    pool_size,
                    "at most, from PoolOffset on,",
                    region_size.saturating_sub(pool_offset),
                )
            }
        }
        if heartbeat_ms > HEARTBEAT_PERIOD_MAX {
            return bad(
                Kind::Range,
                "HeartbeatPeriod",
                heartbeat_ms,
                "at most",
                HEARTBEAT_PERIOD_MAX,
            );
        }

        // INVARIANT: Each part was checked above.
        Ok(Self {
            version,
            epoch,
            region_size,
            peer_base,
            device_count,
            pool_offset,
            pool_size,
            heartbeat_ms,
            features,
            doorbells,
            own_doorbells,
        })
    }

    /// Whether the peer says that it reaches Linux's memory; before version 2.1 nobody could.
    pub const fn reaches_memory(&self) -> bool {
        self.version & 0xffff >= 1 && self.features & FEATURE_MEMORY != 0
    }

    /// Whether the peer says that it looks at DeviceNotify.
    pub const fn looks_at_notifies(&self) -> bool {
        self.version & 0xffff >= 1 && self.features & FEATURE_NOTIFY != 0
    }

    /// The words to publish, reserved ones zero.
    ///
    /// The peer writes word 2, the epoch, after all others (protocol.rst, "Peer start").
    pub fn emit(&self) -> [u32; IDENTITY_WORDS] {
        [
            MAGIC,
            self.version,
            self.epoch,
            self.region_size,
            self.peer_base as u32,
            (self.peer_base >> 32) as u32,
            self.device_count,
            self.pool_offset,
            self.pool_size,
            self.heartbeat_ms,
            self.features,
            self.doorbells,
            self.own_doorbells,
            0,
            0,
            0,
        ]
    }
}
