// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Prints `Documentation/virtio-hvl/virtio-hvl.h`: the protocol's offsets and values for C.
//! `tools/host-tests/make-header` writes the file, a test compares it.

use hvl_logic::proto::layout::{self, link, window};
use hvl_logic::proto::virtio::{console, device, feature, reg, status, MMIO_MAGIC, MMIO_VERSION};
use hvl_logic::proto::{DriverState, PeerState, Status, TestCause};

/// A group of constants: its heading, the prefix in C, what each is in Rust and in C.
type Group = (
    &'static str,
    &'static str,
    Vec<(&'static str, &'static str, u64)>,
);

/// The constants of a module, by their names there and, where that has to be another, in C.
macro_rules! group {
    ($title:literal, $prefix:literal, [$($($path:ident)::+ $(as $name:literal)?),* $(,)?]) => {
        ($title, $prefix, vec![$({
            let path = stringify!($($path)::+).rsplit("::").next().unwrap_or_default().trim();
            let names: &[&str] = &[path, $($name)?];
            (path, names[names.len() - 1], $($path)::+ as u64)
        }),*])
    };
}

/// All constants of `rust/proto/`, in the order of the file.
#[expect(
    clippy::cast_lossless,
    reason = "of a word, a count, or the number of an enumeration"
)]
pub(crate) fn groups() -> Vec<Group> {
    vec![
        group!(
            "Sizes and limits",
            "HVL_",
            [
                layout::PAGE,
                layout::LINE,
                layout::REGION_MIN,
                layout::REGION_MAX,
                layout::DEVICES_MAX,
                layout::QUEUES_MAX,
                layout::SHARE_MIN,
                layout::QUEUE_SIZE_MAX,
                layout::CHAIN_DESCRIPTORS_MAX,
                layout::CHAIN_BYTES_MAX,
                layout::HEARTBEAT_PERIOD_MAX,
                link::VECTORS_MAX,
                window::CONFIG_MAX,
                window::TXN_MAX,
            ]
        ),
        group!(
            "Identity",
            "HVL_",
            [
                layout::MAGIC,
                layout::VERSION_MAJOR,
                layout::VERSION_MINOR,
                layout::VERSION,
                link::FEATURE_MSI,
                link::FEATURE_MEMORY,
                link::FEATURE_NOTIFY,
            ]
        ),
        group!(
            "Link header, offsets in the region",
            "HVL_LINK_",
            [
                link::IDENTITY,
                link::EPOCH,
                link::PEER_STATE,
                link::HEARTBEAT,
                link::TEST_ACK,
                link::TEST_CAUSE,
                link::DRIVER_EPOCH_SEEN,
                link::RINGS,
                link::BOOT_EPOCH,
                link::DRIVER_VERSION,
                link::DRIVER_EPOCH,
                link::EPOCH_ACK,
                link::DRIVER_STATE,
                link::TEST_REQUEST,
                link::VECTOR_COUNT,
                link::RINGS_SEEN,
                link::DRIVER_FEATURES,
                link::DEVICE_TABLE,
                link::DEVICE_ENTRY,
                link::DEVICE_EVENTS,
                link::DEVICE_NOTIFIES,
                link::VECTOR_TABLE,
                link::VECTOR_ENTRY,
                link::IDENTITY_WORDS,
                link::DEVICE_ENTRY_WORDS,
                link::VECTOR_ENTRY_WORDS,
            ]
        ),
        group!(
            "Device window, offsets in the window",
            "HVL_WINDOW_",
            [
                window::VIEW_SIZE,
                window::CONFIG,
                window::TXN_SEQ,
                window::TXN_COUNT,
                window::TXN_EPOCH,
                window::CONFIG_VECTOR,
                window::NO_VECTOR,
                window::TXN_ENTRIES,
                window::TXN_ENTRY,
                window::DONE_SEQ,
                window::DONE_STATUS,
                window::DONE_INDEX,
                window::CONFIG_EVENT,
                window::QUEUE_DOORBELLS,
                window::NOTIFY,
                window::NOTIFY_SLOT,
                window::QUEUE_EVENTS,
                window::QUEUE_VECTORS,
            ]
        ),
        group!("PeerState", "HVL_PEER_", [
            PeerState::Absent as "ABSENT", PeerState::Init as "INIT", PeerState::Ready as "READY",
            PeerState::Stopped as "STOPPED", PeerState::Failed as "FAILED",
        ]),
        group!("DriverState", "HVL_DRIVER_", [
            DriverState::Absent as "ABSENT", DriverState::Attached as "ATTACHED",
        ]),
        group!("TestCause", "HVL_TEST_", [
            TestCause::Doorbell as "DOORBELL", TestCause::Poll as "POLL",
        ]),
        group!("DoneStatus", "HVL_DONE_", [
            Status::Ok as "OK", Status::BadOffset as "BAD_OFFSET",
            Status::BadLength as "BAD_LENGTH", Status::BadValue as "BAD_VALUE",
            Status::Stale as "STALE", Status::BadCount as "BAD_COUNT", Status::Failed as "FAILED",
        ]),
        group!(
            "Registers of the view (VIRTIO 4.2.2)",
            "HVL_REG_",
            [
                reg::MAGIC,
                reg::VERSION,
                reg::DEVICE_ID,
                reg::VENDOR_ID,
                reg::DEVICE_FEATURES,
                reg::DEVICE_FEATURES_SEL,
                reg::DRIVER_FEATURES,
                reg::DRIVER_FEATURES_SEL,
                reg::QUEUE_SEL,
                reg::QUEUE_SIZE_MAX,
                reg::QUEUE_SIZE,
                reg::QUEUE_READY,
                reg::QUEUE_NOTIFY,
                reg::INTERRUPT_STATUS,
                reg::INTERRUPT_ACK,
                reg::STATUS,
                reg::QUEUE_DESC_LOW,
                reg::QUEUE_DESC_HIGH,
                reg::QUEUE_DRIVER_LOW,
                reg::QUEUE_DRIVER_HIGH,
                reg::QUEUE_DEVICE_LOW,
                reg::QUEUE_DEVICE_HIGH,
                reg::SHM_SEL,
                reg::SHM_LEN_LOW,
                reg::SHM_LEN_HIGH,
                reg::SHM_BASE_LOW,
                reg::SHM_BASE_HIGH,
                reg::QUEUE_RESET,
                reg::CONFIG_GENERATION,
            ]
        ),
        group!("What two of them show", "HVL_", [MMIO_MAGIC, MMIO_VERSION]),
        group!(
            "Device status (VIRTIO 2.1)",
            "HVL_STATUS_",
            [
                status::ACKNOWLEDGE,
                status::DRIVER,
                status::DRIVER_OK,
                status::FEATURES_OK,
                status::NEEDS_RESET,
                status::FAILED,
            ]
        ),
        group!(
            "Feature bits (VIRTIO 6), numbers but for the last",
            "HVL_F_",
            [
                feature::INDIRECT_DESC,
                feature::EVENT_IDX,
                feature::VERSION_1,
                feature::ACCESS_PLATFORM,
                feature::RING_PACKED,
                feature::IN_ORDER,
                feature::ORDER_PLATFORM,
                feature::NOTIFICATION_DATA,
                feature::RING_RESET,
                feature::MANDATORY,
            ]
        ),
        group!(
            "Device types (VIRTIO 5)",
            "HVL_DEVICE_",
            [
                device::NET,
                device::BLOCK,
                device::CONSOLE,
                device::ENTROPY,
                device::BALLOON,
                device::RPMSG,
                device::SCSI,
                device::P9,
                device::GPU,
                device::VSOCK,
                device::CRYPTO,
                device::IOMMU,
                device::MEM,
                device::SOUND,
                device::FS,
                device::PMEM,
                device::SCMI,
                device::I2C,
                device::CAN,
                device::BLUETOOTH,
                device::GPIO,
            ]
        ),
        group!(
            "Events of a console's control queues (VIRTIO 5.3.6.2)",
            "HVL_CONSOLE_",
            [
                console::DEVICE_READY,
                console::DEVICE_ADD,
                console::DEVICE_REMOVE,
                console::PORT_READY,
                console::CONSOLE_PORT as "IS_CONSOLE",
                console::RESIZE,
                console::PORT_OPEN,
                console::PORT_NAME,
            ]
        ),
    ]
}

/// A field of a structure: its name, its C type and number of elements, its offset.
type Field = (&'static str, &'static str, usize, u32);

const WORD: &str = "uint32_t";

/// The structures with their sizes; what lies between the fields is reserved.
fn structures() -> Vec<(&'static str, u32, Vec<Field>)> {
    let word = |name, at| (name, WORD, 1, at);
    vec![
        (
            "hvl_device_entry",
            link::DEVICE_ENTRY,
            [
                "window_offset",
                "device_id",
                "queue_count",
                "config_length",
                "vendor_id",
            ]
            .into_iter()
            .zip((0..).step_by(4))
            .map(|(name, at)| word(name, at))
            .collect(),
        ),
        (
            "hvl_vector_entry",
            link::VECTOR_ENTRY,
            vec![
                word("address_low", 0),
                word("address_high", 4),
                word("data", 8),
            ],
        ),
        (
            "hvl_link",
            layout::PAGE,
            vec![
                word("magic", link::IDENTITY),
                word("version", link::IDENTITY + 4),
                word("epoch", link::EPOCH),
                word("region_size", link::IDENTITY + 12),
                word("peer_base_low", link::IDENTITY + 16),
                word("peer_base_high", link::IDENTITY + 20),
                word("device_count", link::IDENTITY + 24),
                word("pool_offset", link::IDENTITY + 28),
                word("pool_size", link::IDENTITY + 32),
                word("heartbeat_period", link::IDENTITY + 36),
                word("link_features", link::IDENTITY + 40),
                word("doorbell_count", link::IDENTITY + 44),
                word("own_doorbell_count", link::IDENTITY + 48),
                word("peer_state", link::PEER_STATE),
                word("heartbeat", link::HEARTBEAT),
                word("test_ack", link::TEST_ACK),
                word("test_cause", link::TEST_CAUSE),
                word("driver_epoch_seen", link::DRIVER_EPOCH_SEEN),
                word("rings", link::RINGS),
                word("boot_epoch", link::BOOT_EPOCH),
                word("driver_version", link::DRIVER_VERSION),
                word("driver_epoch", link::DRIVER_EPOCH),
                word("epoch_ack", link::EPOCH_ACK),
                word("driver_state", link::DRIVER_STATE),
                word("test_request", link::TEST_REQUEST),
                word("vector_count", link::VECTOR_COUNT),
                word("rings_seen", link::RINGS_SEEN),
                word("driver_features", link::DRIVER_FEATURES),
                (
                    "device_table",
                    "struct hvl_device_entry",
                    layout::DEVICES_MAX,
                    link::DEVICE_TABLE,
                ),
                (
                    "device_event",
                    WORD,
                    layout::DEVICES_MAX,
                    link::DEVICE_EVENTS,
                ),
                (
                    "device_notify",
                    WORD,
                    layout::DEVICES_MAX,
                    link::DEVICE_NOTIFIES,
                ),
                (
                    "vector_table",
                    "struct hvl_vector_entry",
                    link::VECTORS_MAX,
                    link::VECTOR_TABLE,
                ),
            ],
        ),
        (
            "hvl_transaction_entry",
            window::TXN_ENTRY,
            vec![word("offset", 0), word("length", 4), word("value", 8)],
        ),
        (
            "hvl_notify",
            window::NOTIFY_SLOT,
            vec![
                word("count", window::notify_count(0) - window::NOTIFY),
                word("data", window::notify_data(0) - window::NOTIFY),
            ],
        ),
        (
            "hvl_window",
            layout::PAGE,
            vec![
                ("view", WORD, window::VIEW_SIZE as usize / 4, 0),
                (
                    "config",
                    "uint8_t",
                    window::CONFIG_MAX as usize,
                    window::CONFIG,
                ),
                word("transaction_seq", window::TXN_SEQ),
                word("transaction_count", window::TXN_COUNT),
                word("transaction_epoch", window::TXN_EPOCH),
                word("config_vector", window::CONFIG_VECTOR),
                (
                    "transaction",
                    "struct hvl_transaction_entry",
                    window::TXN_MAX,
                    window::TXN_ENTRIES,
                ),
                word("done_seq", window::DONE_SEQ),
                word("done_status", window::DONE_STATUS),
                word("done_index", window::DONE_INDEX),
                word("config_event", window::CONFIG_EVENT),
                (
                    "queue_doorbell",
                    "uint8_t",
                    layout::QUEUES_MAX,
                    window::QUEUE_DOORBELLS,
                ),
                (
                    "notify",
                    "struct hvl_notify",
                    layout::QUEUES_MAX,
                    window::NOTIFY,
                ),
                (
                    "queue_event",
                    WORD,
                    layout::QUEUES_MAX,
                    window::QUEUE_EVENTS,
                ),
                (
                    "queue_vector",
                    WORD,
                    layout::QUEUES_MAX,
                    window::QUEUE_VECTORS,
                ),
            ],
        ),
    ]
}

fn size_of(kind: &str) -> u32 {
    match kind {
        "uint8_t" => 1,
        WORD => 4,
        other => structures()
            .iter()
            .find(|(name, ..)| other.ends_with(name))
            .map_or(0, |(_, size, _)| *size),
    }
}

/// What follows the name of a field.
fn elements(count: usize) -> String {
    if count == 1 {
        String::new()
    } else {
        format!("[{count}]")
    }
}

const HEAD: &str = "\
/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * virtio-hvl: the offsets and values of protocol.rst, for C.
 *
 * Made from rust/proto/ by tools/host-tests/make-header: change that, not this.
 * All words are little-endian. What the structures describe is memory that
 * somebody else writes at the same time: use them by volatile accesses, one word
 * at a time, and copy before checking.
 */
#ifndef VIRTIO_HVL_H
#define VIRTIO_HVL_H

#include <stddef.h>
#include <stdint.h>

";

/// The whole header.
pub(crate) fn text() -> String {
    let mut text = HEAD.to_owned();
    for (title, prefix, constants) in groups() {
        text += &format!("/* {title} */\n");
        for (_, name, value) in constants {
            let name = format!("{prefix}{name}");
            let value = match u32::try_from(value) {
                Ok(small) if small < 10 => format!("{small}u"),
                Ok(word) => format!("{word:#x}u"),
                Err(_) => format!("UINT64_C({value:#x})"),
            };
            text += &format!("#define {name:<34} {value}\n");
        }
        text.push('\n');
    }
    let mut asserts = String::new();
    for (name, size, fields) in structures() {
        text += &format!("struct {name} {{\n");
        let (mut at, mut gaps) = (0, 0);
        let gap = |text: &mut String, from: u32, to: u32, gaps: &mut u32| {
            if from < to {
                let elements = elements((to - from) as usize / 4);
                *text += &format!("\tuint32_t reserved{gaps}{elements};\n");
                *gaps += 1;
            }
        };
        for (field, kind, count, offset) in fields {
            gap(&mut text, at, offset, &mut gaps);
            let elements = elements(count);
            text += &format!("\t{kind} {field}{elements};\n");
            at = offset + size_of(kind) * count as u32;
            let test = format!("offsetof(struct {name}, {field}) == {offset:#x}");
            asserts += &format!("HVL_ASSERT({name}_{field}, {test});\n");
        }
        gap(&mut text, at, size, &mut gaps);
        text += "};\n\n";
        asserts += &format!("HVL_ASSERT({name}_size, sizeof(struct {name}) == {size:#x});\n");
    }
    text += "\
#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L
#define HVL_ASSERT(name, what) _Static_assert(what, #name)
#else
#define HVL_ASSERT(name, what) struct hvl_assert_##name { unsigned int yes:(what) ? 1 : -1; }
#endif

";
    text += &asserts;
    text += "\n#undef HVL_ASSERT\n\n#endif\n";
    text
}

#[allow(dead_code, reason = "of the test that includes this file")]
fn main() {
    print!("{}", text());
}
