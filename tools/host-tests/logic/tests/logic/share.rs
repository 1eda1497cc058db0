// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The pool's division among virtqueues, and that of a part into a ring and chunks.

use hvl_logic::algo::ring::{Features, Layout};
use hvl_logic::algo::setting::{self, Setting};
use hvl_logic::algo::shadow::SEGMENTS_MAX;
use hvl_logic::algo::share::{longest, Plan, Shares, Sum, Want, BULK};
use hvl_logic::proto::layout::{
    CHAIN_BYTES_MAX, DEVICES_MAX, PAGE, QUEUES_MAX, QUEUE_SIZE_MAX, SHARE_MIN,
};
use hvl_logic::proto::virtio::device;
use proptest::prelude::*;

type Devices = Vec<(u32, u32)>;

fn sum(devices: &Devices) -> Sum {
    devices.iter().fold(Sum::default(), |sum, &(kind, queues)| {
        sum.and(Sum::of_device(kind, queues))
    })
}

/// All parts, in order: that of a queue of which device type, where, how large.
fn parts(shares: &Shares, devices: &Devices) -> Vec<(u32, Want, u32, u32)> {
    let mut before = Sum::default();
    let mut parts = Vec::new();
    for &(kind, queues) in devices {
        for index in 0..queues {
            let want = Want::of(kind, index, queues);
            let (start, size) = shares.part(before, want).expect("a part");
            parts.push((kind, want, start, size));
            before = before.with(want);
        }
    }
    assert_eq!(before, sum(devices));
    parts
}

fn check(offset: u32, size: u32, devices: &Devices) {
    let all = sum(devices);
    let Some(shares) = Shares::new(offset, size, all) else {
        assert!(all.need() > u64::from(size) || offset.checked_add(size).is_none());
        return;
    };
    let mut next = offset;
    let mut weights = 0u64;
    for (_, want, start, bytes) in parts(&shares, devices) {
        // In order and without a gap, so disjoint.
        assert_eq!(start, next);
        assert_eq!(bytes % PAGE, 0);
        assert!(bytes >= want.need && want.need >= SHARE_MIN);
        next = start + bytes;
        weights += u64::from(want.weight);
    }
    assert!(next <= offset + size);
    if weights != 0 {
        assert!(offset + size - next < PAGE, "something is left over");
    }
    assert_eq!(
        shares.part(
            all,
            Want {
                need: PAGE,
                weight: 0
            }
        ),
        None
    );
    assert_eq!(shares.part(all, Want { need: 0, weight: 1 }), None);
}

proptest! {
    #[test]
    fn any_division(
        start in 1u32..0xf_ffff,
        pages in any::<u32>(),
        devices in prop::collection::vec((0u32..45, 0..=QUEUES_MAX as u32), 0..=DEVICES_MAX),
    ) {
        check(start * PAGE, pages % (0xf_ffff - start + 1) * PAGE, &devices);
    }

    /// Whatever is planned fits into the part, and holds a chain of the size that is promised.
    #[test]
    fn any_plan(bytes in any::<u32>(), size in any::<u32>(), bits in 0u8..32) {
        plan(bytes, size % 40_000, bits);
    }

    #[test]
    fn usual_plans(pages in 1u32..4096, order in 0u32..16, bits in 0u8..32) {
        plan(pages * PAGE, 1 << order, bits);
    }
}

fn plan(bytes: u32, size: u32, bits: u8) {
    let features = crate::ring::memory::features(bits);
    let Some(plan) = Plan::new(bytes, size, features) else {
        let legal = u16::try_from(size).is_ok_and(|s| Layout::new(s, features.packed, 0).is_some());
        assert!(
            !legal || bytes < SHARE_MIN,
            "{size} entries in {bytes:#x} bytes"
        );
        return;
    };
    let end = u64::from(plan.first) + u64::from(plan.chunks) * u64::from(plan.chunk);
    assert!(plan.layout.bytes() <= plan.first && end <= u64::from(bytes));
    assert_eq!(plan.first % 64, 0);
    assert!(plan.layout.bytes() <= bytes / 8);
    assert!(u32::from(plan.layout.size()) <= size);
    assert!(plan.private.is_power_of_two() && plan.private <= plan.layout.size().max(128));
    assert!(plan.private >= 128 && plan.chunk % 64 == 0 && plan.chunk <= 0x8000);
    assert!(plan.chain_max() <= CHAIN_BYTES_MAX);
    // Not smaller than it has to be.
    let twice = u16::try_from(u32::from(plan.layout.size()) * 2).ok();
    if let Some(layout) = twice.and_then(|size| Layout::new(size, features.packed, 0)) {
        assert!(u32::from(layout.size()) > size || layout.bytes() > bytes / 8);
    }
    let segments = plan.chain_max() / plan.chunk;
    assert!(segments as usize <= SEGMENTS_MAX && segments <= plan.layout.size().into());
}

#[test]
fn what_drivers_send_always_fits() {
    for size in [4, 8, 16, 32, 64, 256, 1024, QUEUE_SIZE_MAX] {
        for bits in 0..32 {
            let features = crate::ring::memory::features(bits);
            let plan = Plan::new(BULK, size, features).unwrap();
            // 64 KiB, a virtio header, and those of Ethernet, IP and TCP.
            assert!(
                plan.chain_max() >= 0x1_0000 + 128,
                "{size} entries: {plan:?}"
            );
        }
    }
}

/// Queues of any size: whatever is not refused holds all that a driver sends at once, in whatever part
/// of the pool, and what is refused is told a size that would do.
#[test]
fn small_rings() {
    let kinds = [
        (device::NET, 0, 2),
        (device::NET, 1, 2),
        (device::NET, 2, 3),
        (device::VSOCK, 0, 3),
        (device::VSOCK, 1, 3),
        (device::VSOCK, 2, 3),
        (device::BLOCK, 0, 1),
    ];
    let mut refused = Vec::new();
    for (kind, index, queues) in kinds {
        let chain = longest(kind, index, queues);
        let need = Want::of(kind, index, queues).need;
        for bytes in (need..need + 64 * PAGE).step_by(PAGE as usize) {
            for size in 1..=256 {
                for bits in 0..32 {
                    let features = crate::ring::memory::features(bits);
                    let Some(plan) = Plan::new(bytes, size, features) else {
                        assert!(!features.packed && !size.is_power_of_two());
                        continue;
                    };
                    if plan.holds(chain) {
                        let most = plan.chain_max();
                        assert!(chain.0 + chain.1 <= most, "{size} in {bytes:#x}: {plan:?}");
                        continue;
                    }
                    let least = Plan::least_size(bytes, features, chain).unwrap();
                    assert!(
                        least > size,
                        "{kind} {index}: {size} in {bytes:#x}: {least}"
                    );
                    refused.push((kind, index, features.packed, size));
                }
            }
        }
    }
    refused.sort_unstable();
    refused.dedup();
    // Nothing of the network but commands with one entry, which have a part each way.
    let is = |kind, index| {
        let of = |at: &&(u32, u32, bool, u32)| (at.0, at.1) == (kind, index);
        refused.iter().filter(of).map(|at| at.3).max()
    };
    assert_eq!((is(device::NET, 0), is(device::NET, 1)), (None, None));
    assert_eq!(is(device::NET, 2), Some(1));
    assert_eq!((is(device::VSOCK, 0), is(device::VSOCK, 2)), (None, None));
    assert_eq!(is(device::VSOCK, 1), Some(2));
    assert_eq!(is(device::BLOCK, 0), Some(5));
}

#[test]
fn a_place_for_each_event() {
    // As many as Linux's driver posts, each in a chunk of its own.
    for bits in 0..32 {
        let need = Want::of(device::VSOCK, 2, 3).need;
        let plan = Plan::new(need, 16, crate::ring::memory::features(bits)).unwrap();
        assert!(plan.chunks >= 8 && plan.layout.size() >= 8, "{plan:?}");
    }
}

#[test]
fn sockets_alone_fit_into_128_kib() {
    let pool = 0x2_0000 - 2 * PAGE;
    assert!(Shares::new(2 * PAGE, pool, sum(&vec![(device::VSOCK, 3)])).is_some());
    assert!(Shares::new(
        2 * PAGE,
        pool,
        sum(&vec![(device::VSOCK, 3), (device::NET, 2)])
    )
    .is_none());
}

#[test]
fn the_rest_goes_where_it_is_of_use() {
    let devices = vec![(device::NET, 3), (device::VSOCK, 3)];
    let shares = Shares::new(PAGE, 0x200_0000 - PAGE, sum(&devices)).unwrap();
    let sizes: Vec<_> = parts(&shares, &devices).iter().map(|part| part.3).collect();
    assert_eq!((sizes[2], sizes[5]), (SHARE_MIN, SHARE_MIN + PAGE));
    for at in [0, 1, 3, 4] {
        assert!(sizes[at] > 7 << 20, "{sizes:x?}");
    }
}

#[test]
fn nonsense() {
    assert_eq!(Plan::new(0, 256, Features::default()), None);
    assert_eq!(Plan::new(u32::MAX, 0, Features::default()), None);
    assert_eq!(Plan::new(u32::MAX, 3, Features::default()), None);
    assert!(Shares::new(u32::MAX, u32::MAX, Sum::default()).is_none());
    let none = Shares::new(PAGE, PAGE, Sum::default()).unwrap();
    assert_eq!(
        none.part(Sum::default(), Want { need: 0, weight: 0 }),
        Some((PAGE, 0))
    );
}

#[test]
fn bytes_that_can_be_set() {
    for bytes in [SHARE_MIN, SHARE_MIN + PAGE, u32::MAX - PAGE + 1] {
        assert_eq!(setting::check(bytes), Ok(()));
    }
    for bytes in [0, 1, SHARE_MIN - 1, SHARE_MIN + 1, 0x1234_5678] {
        let next = setting::check(bytes).unwrap_err().unwrap();
        assert!(next > bytes && setting::check(next).is_ok());
    }
    assert_eq!(setting::check(u32::MAX), Err(None));
}

proptest! {
    /// What is set is had, to the byte; the rest goes to the others, and nothing overlaps.
    #[test]
    fn any_settings(
        pages in prop::collection::vec((0u32..4, 0u32..4, 0u32..200), 0..8),
        pool in 0u32..2000,
        kinds in prop::collection::vec((prop_oneof![Just(1u32), Just(19), Just(3)], 1u32..4), 1..4),
    ) {
        let settings: Vec<_> = pages
            .iter()
            .map(|&(device, queue, pages)| Setting { device, queue, bytes: SHARE_MIN + pages * PAGE })
            .collect();
        prop_assert!(setting::sum(&settings) >= settings.len() as u64 * u64::from(SHARE_MIN));
        let numbered = || (0u32..).zip(&kinds);
        let all = numbered().fold(Sum::default(), |all, (number, &(kind, queues))| {
            all.and(Sum::of_set_device(&settings, number, kind, queues))
        });
        let shares = Shares::new(PAGE, pool * PAGE, all);
        prop_assert_eq!(shares.is_some(), all.need() <= u64::from(pool * PAGE));
        let Some(shares) = shares else {
            return Ok(());
        };
        let (mut before, mut next) = (Sum::default(), PAGE);
        for (number, &(kind, queues)) in numbered() {
            let mut lack = None;
            for queue in 0..queues {
                let want = Want::of_set(&settings, number, kind, queue, queues);
                let (start, bytes) = shares.part(before, want).unwrap();
                prop_assert_eq!(start, next);
                let least = Want::of(kind, queue, queues).need;
                match setting::find(&settings, number, queue) {
                    Some(set) => prop_assert_eq!(bytes, set),
                    None => prop_assert!(bytes >= least),
                }
                if bytes < least && lack.is_none() {
                    lack = Some(setting::Lack { queue, bytes, least });
                }
                (before, next) = (before.with(want), start + bytes);
            }
            prop_assert_eq!(setting::lack(&settings, number, kind, queues), lack);
        }
        prop_assert!(next <= PAGE + pool * PAGE);
    }
}
