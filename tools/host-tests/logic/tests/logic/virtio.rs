// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The constants of the VIRTIO specification against the headers that Linux gives to user space.

use hvl_logic::proto::virtio::{device, feature, reg, status, MMIO_MAGIC, MMIO_VERSION};
use std::collections::HashMap;

/// The numbers that a header of `/usr/include/linux` defines.
fn defines(header: &str) -> HashMap<String, u32> {
    let path = format!("/usr/include/linux/{header}");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path} (package linux-libc-dev): {error}"));
    let value = |line: &str| {
        let mut words = line.strip_prefix("#define")?.split_whitespace();
        let (name, value) = (words.next()?, words.next()?);
        let value = match value.strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).ok()?,
            None => value.parse().ok()?,
        };
        Some((name.to_owned(), value))
    };
    text.lines().filter_map(value).collect()
}

fn check(header: &str, prefix: &str, ours: &[(&str, u32)]) {
    let theirs = defines(header);
    for (name, value) in ours {
        let name = format!("{prefix}{name}");
        assert_eq!(theirs.get(&name), Some(value), "{name} of {header}");
    }
}

#[test]
fn registers() {
    check(
        "virtio_mmio.h",
        "VIRTIO_MMIO_",
        &[
            ("MAGIC_VALUE", reg::MAGIC),
            ("VERSION", reg::VERSION),
            ("DEVICE_ID", reg::DEVICE_ID),
            ("VENDOR_ID", reg::VENDOR_ID),
            ("DEVICE_FEATURES", reg::DEVICE_FEATURES),
            ("DEVICE_FEATURES_SEL", reg::DEVICE_FEATURES_SEL),
            ("DRIVER_FEATURES", reg::DRIVER_FEATURES),
            ("DRIVER_FEATURES_SEL", reg::DRIVER_FEATURES_SEL),
            ("QUEUE_SEL", reg::QUEUE_SEL),
            ("QUEUE_NUM_MAX", reg::QUEUE_SIZE_MAX),
            ("QUEUE_NUM", reg::QUEUE_SIZE),
            ("QUEUE_READY", reg::QUEUE_READY),
            ("QUEUE_NOTIFY", reg::QUEUE_NOTIFY),
            ("INTERRUPT_STATUS", reg::INTERRUPT_STATUS),
            ("INTERRUPT_ACK", reg::INTERRUPT_ACK),
            ("STATUS", reg::STATUS),
            ("QUEUE_DESC_LOW", reg::QUEUE_DESC_LOW),
            ("QUEUE_DESC_HIGH", reg::QUEUE_DESC_HIGH),
            ("QUEUE_AVAIL_LOW", reg::QUEUE_DRIVER_LOW),
            ("QUEUE_AVAIL_HIGH", reg::QUEUE_DRIVER_HIGH),
            ("QUEUE_USED_LOW", reg::QUEUE_DEVICE_LOW),
            ("QUEUE_USED_HIGH", reg::QUEUE_DEVICE_HIGH),
            ("SHM_SEL", reg::SHM_SEL),
            ("SHM_LEN_LOW", reg::SHM_LEN_LOW),
            ("SHM_LEN_HIGH", reg::SHM_LEN_HIGH),
            ("SHM_BASE_LOW", reg::SHM_BASE_LOW),
            ("SHM_BASE_HIGH", reg::SHM_BASE_HIGH),
            ("CONFIG_GENERATION", reg::CONFIG_GENERATION),
        ],
    );
    // Linux has no names for these (VIRTIO 4.2.2).
    assert_eq!(reg::QUEUE_RESET, 0x0c0);
    assert_eq!((MMIO_MAGIC, MMIO_VERSION), (0x7472_6976, 2));
}

#[test]
fn status_and_features() {
    check(
        "virtio_config.h",
        "VIRTIO_CONFIG_S_",
        &[
            ("ACKNOWLEDGE", status::ACKNOWLEDGE),
            ("DRIVER", status::DRIVER),
            ("DRIVER_OK", status::DRIVER_OK),
            ("FEATURES_OK", status::FEATURES_OK),
            ("NEEDS_RESET", status::NEEDS_RESET),
            ("FAILED", status::FAILED),
        ],
    );
    check(
        "virtio_config.h",
        "VIRTIO_F_",
        &[
            ("VERSION_1", feature::VERSION_1),
            ("ACCESS_PLATFORM", feature::ACCESS_PLATFORM),
            ("RING_PACKED", feature::RING_PACKED),
            ("IN_ORDER", feature::IN_ORDER),
            ("ORDER_PLATFORM", feature::ORDER_PLATFORM),
            ("NOTIFICATION_DATA", feature::NOTIFICATION_DATA),
            ("RING_RESET", feature::RING_RESET),
        ],
    );
    check(
        "virtio_ring.h",
        "VIRTIO_RING_F_",
        &[
            ("INDIRECT_DESC", feature::INDIRECT_DESC),
            ("EVENT_IDX", feature::EVENT_IDX),
        ],
    );
}

#[test]
fn device_types() {
    check(
        "virtio_ids.h",
        "VIRTIO_ID_",
        &[
            ("NET", device::NET),
            ("BLOCK", device::BLOCK),
            ("CONSOLE", device::CONSOLE),
            ("RNG", device::ENTROPY),
            ("VSOCK", device::VSOCK),
        ],
    );
}
