// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The identity line and the device table; how the pool of what passes is divided.

use crate::input::Input;
use hvl_logic::algo::ring::Features;
use hvl_logic::algo::share::{Plan, Shares, Sum, Want};
use hvl_logic::proto::layout::{link, DEVICES_MAX, PAGE};
use hvl_logic::proto::{DeviceEntry, Identity};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let available = u64::from(input.word()) << input.below(8);
    let words: [u32; link::IDENTITY_WORDS] = core::array::from_fn(|_| input.word());
    let identity = match Identity::parse(&words, available) {
        Ok(identity) => identity,
        Err(error) => return drop(error.to_string()),
    };
    let end = identity.pool_offset + identity.pool_size;
    assert!(end <= identity.region_size && u64::from(identity.region_size) <= available);
    assert!(identity.pool_offset >= PAGE && identity.pool_size != 0);
    assert_eq!(Identity::parse(&identity.emit(), available), Ok(identity));

    let mut devices: Vec<DeviceEntry> = Vec::new();
    for _ in 0..identity.device_count.min(DEVICES_MAX as u32) {
        let words = core::array::from_fn(|_| input.word());
        match DeviceEntry::parse(&words, &identity) {
            Ok(entry) if entry.check_distinct(&devices).is_ok() => {
                let window = entry.window..entry.window + PAGE;
                assert!(window.start >= PAGE && window.end <= identity.region_size);
                assert!(window.end <= identity.pool_offset || window.start >= end);
                assert_eq!(DeviceEntry::parse(&entry.emit(), &identity), Ok(entry));
                devices.push(entry);
            }
            Ok(_) => {}
            Err(error) => drop(error.to_string()),
        }
    }
    divide(
        &identity,
        &devices,
        Features::from_bits(input.wide()),
        input.word(),
    );
}

/// Each queue gets a part of the pool for itself, and what is in it stays in it.
fn divide(identity: &Identity, devices: &[DeviceEntry], features: Features, size: u32) {
    let all = devices.iter().fold(Sum::default(), |sum, entry| {
        sum.and(Sum::of_device(entry.device_id, entry.queue_count))
    });
    let Some(shares) = Shares::new(identity.pool_offset, identity.pool_size, all) else {
        return;
    };
    let mut before = Sum::default();
    let mut next = identity.pool_offset;
    for entry in devices {
        for queue in 0..entry.queue_count {
            let want = Want::of(entry.device_id, queue, entry.queue_count);
            let (start, bytes) = shares.part(before, want).unwrap();
            assert_eq!(start, next);
            next = start + bytes;
            before = before.with(want);
            if let Some(plan) = Plan::new(bytes, size, features) {
                let chunks = u64::from(plan.chunks) * u64::from(plan.chunk);
                assert!(plan.layout.bytes() <= plan.first);
                assert!(u64::from(plan.first) + chunks <= u64::from(bytes));
            }
        }
    }
    assert!(next <= identity.pool_offset + identity.pool_size);
}
