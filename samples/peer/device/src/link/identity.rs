// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the link says of itself (protocol.rst, "Link header").

#![forbid(unsafe_code)]

use super::{pool_offset, Params};
use crate::faults::Faults;
use crate::proto::layout::{link, HEARTBEAT_PERIOD_MAX, VERSION, VERSION_MAJOR};
use crate::proto::Identity;
use crate::shared::Shared;

/// How many doorbells there are where `more` are beside the link's; 0, as one, for that alone.
const fn with_link(more: u32) -> u32 {
    match more {
        0 => 0,
        more => more.saturating_add(1),
    }
}

/// The words of the identity line, for `count` devices with a pool of `pool_size` bytes. `notify`: DeviceNotify
/// is looked at.
pub(super) fn words(
    shared: &Shared,
    params: &Params,
    count: usize,
    pool_size: u32,
    notify: bool,
) -> [u32; link::IDENTITY_WORDS] {
    let offset = pool_offset(count);
    let features = [
        (params.bells.msi, link::FEATURE_MSI),
        (!shared.mem.windows().is_empty(), link::FEATURE_MEMORY),
        (notify, link::FEATURE_NOTIFY),
    ];
    let mut identity = Identity {
        version: VERSION,
        epoch: shared.epoch,
        region_size: offset + pool_size,
        peer_base: params.peer_base,
        device_count: count as u32,
        pool_offset: offset,
        pool_size,
        heartbeat_ms: params.heartbeat_ms.min(HEARTBEAT_PERIOD_MAX),
        features: features
            .iter()
            .map(|(has, feature)| if *has { *feature } else { 0 })
            .sum(),
        doorbells: with_link(params.bells.more),
        own_doorbells: with_link(params.bells.own),
    };
    let faults = params.faults;
    if faults.has(Faults::VERSION) {
        identity.version = (VERSION_MAJOR + 1) << 16;
    }
    if faults.has(Faults::COUNT) {
        identity.device_count = 1000;
    }
    if faults.has(Faults::POOLSIZE) {
        identity.pool_size = identity.region_size;
    }
    if faults.has(Faults::BASE) {
        identity.peer_base = identity.peer_base.wrapping_add(0x10);
    }
    let mut words = identity.emit();
    if let (true, Some(magic)) = (faults.has(Faults::MAGIC), words.first_mut()) {
        *magic = !*magic;
    }
    words
}
