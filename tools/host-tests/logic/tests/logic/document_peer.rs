// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the document says a peer does is what the sample peer's device library does.

use crate::rig::{Rig, Ring, BASE, SIZE};
use crate::rst::{Document, Field, Row};
use hvl_device::net::Net;
use hvl_device::proto::virtio::{feature, reg, status};
use hvl_device::proto::{Entry, Status};
use hvl_logic::algo::ring::Lie;
use hvl_logic::proto::layout::window;

/// Features with which a ring is split, and queues can be reset or not.
const WITH_RESET: u64 = 1 << feature::RING_RESET;

/// The states of a device that the table of register writes knows, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Start,
    Idle,
    Ready,
    None,
}

const STAGES: [Stage; 4] = [Stage::Start, Stage::Idle, Stage::Ready, Stage::None];

/// A device in a state, and the memory of a queue for it.
fn device(stage: Stage, reset: bool) -> (Rig<Net>, Ring) {
    let mut rig = Rig::new(Net::new([2, 0, 0, 0, 0, 2], 1500, true));
    rig.attach(1);
    if stage == Stage::Start {
        rig.set(&[(reg::STATUS, 1), (reg::STATUS, 3)]);
    } else {
        let own = if reset { WITH_RESET } else { 0 };
        assert!(rig.negotiate(feature::MANDATORY | own));
    }
    let ring = Ring {
        size: 8,
        desc: rig.alloc(128),
        avail: rig.alloc(64),
        used: rig.alloc(128),
        avail_index: 0,
        used_seen: 0,
        region: rig.memory.region,
    };
    if stage == Stage::Ready {
        rig.set(&Rig::<Net>::queue_registers(0, &ring));
    }
    if stage == Stage::None {
        rig.set(&[(reg::QUEUE_SEL, 2)]);
    }
    (rig, ring)
}

/// The offset of the register with this name in VIRTIO 4.2.2.
fn writable(name: &str) -> Option<u32> {
    Some(match name {
        "DeviceFeaturesSel" => reg::DEVICE_FEATURES_SEL,
        "DriverFeatures" => reg::DRIVER_FEATURES,
        "DriverFeaturesSel" => reg::DRIVER_FEATURES_SEL,
        "QueueSel" => reg::QUEUE_SEL,
        "QueueSize" => reg::QUEUE_SIZE,
        "QueueReady" => reg::QUEUE_READY,
        "QueueNotify" => reg::QUEUE_NOTIFY,
        "InterruptACK" => reg::INTERRUPT_ACK,
        "Status" => reg::STATUS,
        "QueueDescLow" => reg::QUEUE_DESC_LOW,
        "QueueDescHigh" => reg::QUEUE_DESC_HIGH,
        "QueueDriverLow" => reg::QUEUE_DRIVER_LOW,
        "QueueDriverHigh" => reg::QUEUE_DRIVER_HIGH,
        "QueueDeviceLow" => reg::QUEUE_DEVICE_LOW,
        "QueueDeviceHigh" => reg::QUEUE_DEVICE_HIGH,
        "SHMSel" => reg::SHM_SEL,
        "QueueReset" => reg::QUEUE_RESET,
        _ => return None,
    })
}

const READ_ONLY: [u32; 13] = [
    reg::MAGIC,
    reg::VERSION,
    reg::DEVICE_ID,
    reg::VENDOR_ID,
    reg::DEVICE_FEATURES,
    reg::QUEUE_SIZE_MAX,
    reg::INTERRUPT_STATUS,
    reg::SHM_LEN_LOW,
    reg::SHM_LEN_HIGH,
    reg::SHM_BASE_LOW,
    reg::SHM_BASE_HIGH,
    reg::CONFIG_GENERATION,
    // A reserved one of the MMIO transport's first version.
    0x028,
];

const SOME: [u32; 6] = [0, 1, 2, 64, 0x8000_0000, u32::MAX];

/// The writes that a row is about; what has to come before each, and for which features.
struct Case {
    before: Vec<(u32, u32)>,
    writes: Vec<(u32, u32)>,
    reset: bool,
}

fn plain(offset: u32, values: impl IntoIterator<Item = u32>) -> Case {
    Case {
        before: vec![],
        writes: values.into_iter().map(|value| (offset, value)).collect(),
        reset: true,
    }
}

/// Where a queue of these places is made ready, without the last write.
fn places(stage: Stage, ring: &Ring, change: Option<(u32, u32)>) -> Vec<(u32, u32)> {
    // A queue that is ready, or none, takes no places: what it would have is judged all the same.
    if matches!(stage, Stage::Ready | Stage::None) {
        return vec![];
    }
    let all = Rig::<Net>::queue_registers(0, ring);
    let (_, places) = all.split_last().unwrap();
    let changed = places.iter().map(|&(offset, value)| match change {
        Some((at, other)) if at == offset => (offset, other),
        _ => (offset, value),
    });
    changed.collect()
}

fn cases(row: &Row, stage: Stage, ring: &Ring) -> Vec<Case> {
    let shown = match stage {
        Stage::Start => 3,
        _ => 0xb,
    };
    let name = row[0].as_str();
    let Some(offset) = writable(name) else {
        return match name {
            "read-only registers" => READ_ONLY.map(|at| plain(at, SOME)).into(),
            "offsets in between" => [0x018, 0x03c, 0x0a8, 0x0c4, 0x0f8]
                .map(|at| plain(at, SOME))
                .into(),
            other => panic!("row {other:?}"),
        };
    };
    let sel = |sel, values: &[u32]| Case {
        before: vec![(reg::DRIVER_FEATURES_SEL, sel)],
        ..plain(offset, values.iter().copied())
    };
    let ready = |change| Case {
        before: places(stage, ring, change),
        ..plain(offset, [1])
    };
    let outside = [BASE as u32 + SIZE - 16, BASE as u32, 0];
    let areas = [
        reg::QUEUE_DESC_LOW,
        reg::QUEUE_DRIVER_LOW,
        reg::QUEUE_DEVICE_LOW,
    ];
    match row[1].as_str() {
        "any" => vec![plain(offset, SOME)],
        "any; DriverFeaturesSel 0 or 1" => vec![sel(0, &SOME), sel(1, &SOME)],
        "0; DriverFeaturesSel above 1" => vec![sel(2, &[0]), sel(u32::MAX, &[0])],
        "not 0; DriverFeaturesSel above 1" => vec![sel(2, &[1]), sel(u32::MAX, &[7])],
        "a size that the ring can have" => vec![plain(offset, [1, 2, 64, 256])],
        "0, above QueueSizeMax" => vec![plain(offset, [0, 512, 0x1_0000, u32::MAX])],
        "no power of two, split ring" => vec![plain(offset, [3, 255])],
        "1, size and places right" => vec![ready(None)],
        "1, a place outside the pool" => areas
            .iter()
            .flat_map(|&at| outside.map(|place| ready(Some((at, place)))))
            .collect(),
        "1, a place misaligned" => {
            let places = [ring.desc + 8, ring.avail + 1, ring.used + 2];
            let places = areas.iter().zip(places);
            places
                .map(|(&at, place)| ready(Some((at, BASE as u32 + place))))
                .collect()
        }
        "1, no size written" => vec![plain(offset, [1])],
        "1, RING_RESET negotiated" => vec![plain(offset, [1])],
        "1, RING_RESET not negotiated" => vec![Case {
            reset: false,
            ..plain(offset, [1])
        }],
        "any other" if offset == reg::QUEUE_RESET => vec![plain(offset, [0, 2, u32::MAX])],
        "any other" => vec![plain(offset, [2, u32::MAX])],
        "0" => vec![plain(offset, [0])],
        "what is set, and more" => vec![plain(offset, [shown, shown | status::FAILED])],
        "what is set, and NEEDS_RESET" => vec![plain(offset, [shown | status::NEEDS_RESET])],
        "lacks a bit that is set" => vec![plain(offset, [1, 2, status::FAILED])],
        "a bit that VIRTIO does not define" => vec![plain(
            offset,
            [shown | 0x10, shown | 0x20, shown | 0x100, u32::MAX],
        )],
        // The device refuses FEATURES_OK of a driver that has accepted nothing.
        "DRIVER_OK without FEATURES_OK" if stage == Stage::Start => vec![plain(offset, [7, 0xf])],
        // There it can only be by taking the other bit back.
        "DRIVER_OK without FEATURES_OK" => vec![plain(offset, [7])],
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn register_writes() {
    let rows = Document::protocol().table("Register writes", 0);
    for row in &rows {
        for (stage, want) in STAGES.into_iter().zip(&row[2..]) {
            let (_, ring) = device(stage, true);
            for case in cases(row, stage, &ring) {
                for &(offset, value) in &case.writes {
                    let (mut rig, _) = device(stage, case.reset);
                    rig.set(&case.before);
                    let (got, _) = rig.transact(&[Entry::register(offset, value)]);
                    let got = crate::document_values::screaming(format!("{got:?}"));
                    let what = format!("{row:?}, {stage:?}: {value:#x} to {offset:#x}");
                    assert_eq!(&got, want, "{what}, after {:x?}", case.before);
                }
            }
        }
    }
    // Each register that can be written has a row.
    let named: Vec<_> = rows.iter().filter_map(|row| writable(&row[0])).collect();
    for at in (0..window::VIEW_SIZE).step_by(4) {
        let (mut rig, _) = device(Stage::Idle, true);
        if rig.transact(&[Entry::register(at, 0)]).0 != Status::BadOffset {
            assert!(named.contains(&at), "register {at:#x} has no row");
        }
    }
}

#[test]
fn which_reason_counts() {
    let rows = Document::protocol().table("Register writes", 1);
    let entry = |offset, length| Entry {
        offset,
        length,
        value: 0,
    };
    for row in &rows {
        let entries: &[Entry] = match row[0].as_str() {
            "Offset 0x800 or above" => &[entry(0x800, 4), entry(u32::MAX, 1), entry(0x1000, 9)],
            "Offset below 0x100 and no multiple of 4" => &[entry(0x071, 4), entry(0x072, 2)],
            "Offset below 0x100, Length other than 4" => {
                &[entry(0x070, 2), entry(0x000, 8), entry(0x018, 0)]
            }
            "Offset from 0x100, Length other than 1, 2 or 4" => {
                &[entry(0x100, 0), entry(0x101, 3), entry(0x7ff, 8)]
            }
            "Offset from 0x100 and no multiple of Length" => &[entry(0x101, 2), entry(0x102, 4)],
            // The configuration space of the library's devices is shorter, and not to be written.
            "any of its bytes at or behind ConfigLength" => &[entry(0x7fc, 4), entry(0x1ff, 1)],
            "a field that the device's type does not let drivers write" => &[entry(0x100, 1)],
            // None of them has a field that can be.
            "a value that the field cannot have" => &[],
            other => panic!("row {other:?}"),
        };
        for entry in entries {
            let (mut rig, _) = device(Stage::Idle, true);
            let (got, done) = rig.transact(&[*entry]);
            let got = crate::document_values::screaming(format!("{got:?}"));
            assert_eq!((got, done), (row[1].clone(), 0), "{row:?}: {entry:?}");
        }
    }
}

#[test]
fn every_word_of_the_driver_is_looked_at() {
    let document = Document::protocol();
    let rows = document.table("What the peer sees and does", 0);
    for title in ["Link header", "Device window"] {
        for row in document.table(title, 0) {
            let field = Field::parse(&row);
            for (name, offset) in field.names.iter().filter(|_| field.writer == Some('D')) {
                // In the table by its name; an array by that of its elements.
                let word = match name.as_str() {
                    "Vector table" | "Notify" => name,
                    other => other,
                };
                assert!(
                    rows.iter()
                        .any(|row| row[0].contains(word) || row[1].contains(word)),
                    "{name} at {offset:#x}: in no row"
                );
            }
        }
    }
}

#[test]
fn lies() {
    let all = [
        Lie::IndexJump {
            by: 5,
            outstanding: 3,
        },
        Lie::IndexBack { from: 7, to: 6 },
        Lie::Idle { position: 4 },
        Lie::IdRange { id: 300, size: 256 },
        Lie::NotOutstanding { id: 9 },
        Lie::Length {
            id: 2,
            len: 5000,
            writable: 4096,
        },
        Lie::Short {
            id: 2,
            len: 0,
            least: 513,
        },
        Lie::Batch {
            id: 6,
            chains: 4,
            shown: 2,
        },
    ];
    let rows = Document::protocol().table("What the driver checks", 0);
    let documented: Vec<_> = rows.iter().map(|row| (&row[0], &row[1])).collect();
    let real: Vec<_> = all
        .iter()
        .map(|lie| {
            // One more kind of lie does not compile here, and belongs into the list.
            match lie {
                Lie::IndexJump { .. }
                | Lie::IndexBack { .. }
                | Lie::Idle { .. }
                | Lie::IdRange { .. }
                | Lie::NotOutstanding { .. }
                | Lie::Length { .. }
                | Lie::Short { .. }
                | Lie::Batch { .. } => (),
            }
            let name = format!("{lie:?}");
            let name = name.split(' ').next().unwrap().to_owned();
            (name, lie.to_string())
        })
        .collect();
    let real: Vec<_> = real.iter().map(|(name, text)| (name, text)).collect();
    assert_eq!(documented, real);
}
