// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The protocol document's layout is that of the constants: neither can change alone.

use crate::rst::{number, number_after, Document, Field};
use hvl_logic::proto::layout::{self, link, window};
use hvl_logic::proto::{DeviceEntry, Entry, Identity, TestCause};

fn fields(title: &str) -> Vec<Field> {
    Document::protocol()
        .table(title, 0)
        .iter()
        .map(Field::parse)
        .collect()
}

/// Every name of the table with its offset, in the table's order.
fn names(fields: &[Field]) -> Vec<(&str, u32)> {
    fields
        .iter()
        .flat_map(|field| &field.names)
        .map(|(name, offset)| (name.as_str(), *offset))
        .collect()
}

fn text_of<'a>(fields: &'a [Field], name: &str) -> &'a str {
    let row = fields
        .iter()
        .find(|field| field.names.iter().any(|(n, _)| n == name));
    &row.unwrap_or_else(|| panic!("no field {name}")).text
}

/// Rows ascend, what ends with "up to" ends where the next row begins, `size_of` fits into its
/// row, and no line has two writers.
fn check_shape(fields: &[Field], end: u32, size_of: impl Fn(&Field) -> u32) {
    let ends = fields.iter().skip(1).map(|field| field.offset).chain([end]);
    let mut line_writer: Option<(u32, Option<char>)> = None;
    for (field, end) in fields.iter().zip(ends) {
        let offset = field.offset;
        assert!(offset % 4 == 0 && offset < end, "{offset:#x} to {end:#x}");
        if let Some(last) = field.last {
            assert_eq!(last + 1, end, "end of the row at {offset:#x}");
        }
        let size = size_of(field);
        assert!(size == end - offset, "row {offset:#x} has {size:#x} bytes");
        for line in (offset / layout::LINE)..end.div_ceil(layout::LINE) {
            if let Some((_, writer)) = line_writer.filter(|(other, _)| *other == line) {
                assert_eq!(writer, field.writer, "line of {offset:#x} has two writers");
            }
            line_writer = Some((line, field.writer));
        }
    }
}

/// Bytes of a row without elements: its words, or what it reserves.
fn plain_size(field: &Field) -> u32 {
    match field.last {
        Some(last) => last + 1 - field.offset,
        None => 4 * field.names.len() as u32,
    }
}

#[test]
fn limits() {
    let rows = Document::protocol().table("Limits", 0);
    let limit = |name: &str| {
        let row = rows.iter().find(|row| row[0] == name);
        row.unwrap_or_else(|| panic!("no limit {name}"))[1].clone()
    };
    let value = |name| number(limit(name).split(' ').next().unwrap()).unwrap();

    assert_eq!(rows.len(), 11, "a limit was added: test it here");
    assert_eq!(
        value("Descriptors of a chain"),
        layout::CHAIN_DESCRIPTORS_MAX as u64
    );
    assert_eq!(
        value("Bytes of a chain"),
        u64::from(layout::CHAIN_BYTES_MAX)
    );
    assert_eq!(limit("Region"), "73728 bytes to 4 GiB - 4 KiB");
    assert_eq!(value("Region"), u64::from(layout::REGION_MIN));
    assert_eq!(
        value("Pool for each virtqueue of the link"),
        u64::from(layout::SHARE_MIN)
    );
    assert_eq!((4 << 30) - (4 << 10), u64::from(layout::REGION_MAX));
    assert_eq!(value("Devices of a link"), layout::DEVICES_MAX as u64);
    assert_eq!(value("Virtqueues of a device"), layout::QUEUES_MAX as u64);
    assert_eq!(
        value("Entries of a virtqueue"),
        u64::from(layout::QUEUE_SIZE_MAX)
    );
    assert_eq!(
        value("Configuration space of a device"),
        u64::from(window::CONFIG_MAX)
    );
    assert_eq!(
        value("Register writes of a transaction"),
        window::TXN_MAX as u64
    );
    assert_eq!(
        limit("Heartbeat period"),
        format!("{} ms", layout::HEARTBEAT_PERIOD_MAX)
    );
    assert_eq!(
        limit("Vector table"),
        format!("{} entries", link::VECTORS_MAX as u64)
    );
}

#[test]
fn terms_and_sizes() {
    let document = Document::protocol();
    assert!(document
        .text("Terms")
        .contains(&format!("{0} bytes, aligned to {0} bytes", layout::LINE)));
    assert_eq!(layout::PAGE, 4 << 10);
    assert!(document
        .text("Terms")
        .contains("The 4 KiB page of the region"));
    assert!(document
        .text("Link header")
        .contains("The first line is the *identity*"));
    assert_eq!(link::IDENTITY, 0);
    assert_eq!(link::IDENTITY_WORDS as u32 * 4, layout::LINE);
}

#[test]
fn link_header() {
    let fields = fields("Link header");
    let identity: Vec<_> = names(&fields)
        .into_iter()
        .filter(|(_, offset)| *offset < layout::LINE)
        .collect();
    let others: Vec<_> = names(&fields)
        .into_iter()
        .filter(|(_, offset)| *offset >= layout::LINE)
        .collect();

    let words = Identity {
        version: 1,
        epoch: 2,
        region_size: 3,
        peer_base: 0x0000_0005_0000_0004,
        device_count: 6,
        pool_offset: 7,
        pool_size: 8,
        heartbeat_ms: 9,
        features: 10,
        doorbells: 11,
        own_doorbells: 12,
    }
    .emit();
    let expect = [
        ("Magic", layout::MAGIC),
        ("Version", 1),
        ("Epoch", 2),
        ("RegionSize", 3),
        ("PeerBaseLow", 4),
        ("PeerBaseHigh", 5),
        ("DeviceCount", 6),
        ("PoolOffset", 7),
        ("PoolSize", 8),
        ("HeartbeatPeriod", 9),
        ("LinkFeatures", 10),
        ("DoorbellCount", 11),
        ("OwnDoorbellCount", 12),
    ];
    let emitted: Vec<_> = identity
        .iter()
        .map(|&(name, offset)| (name, words[(link::IDENTITY + offset) as usize / 4]))
        .collect();
    assert_eq!(emitted, expect);
    let named = identity.len();
    assert!(words[named..].iter().all(|&word| word == 0), "{words:x?}");

    assert_eq!(
        others,
        [
            ("PeerState", link::PEER_STATE),
            ("Heartbeat", link::HEARTBEAT),
            ("TestAck", link::TEST_ACK),
            ("TestCause", link::TEST_CAUSE),
            ("DriverEpochSeen", link::DRIVER_EPOCH_SEEN),
            ("Rings", link::RINGS),
            ("BootEpoch", link::BOOT_EPOCH),
            ("DriverVersion", link::DRIVER_VERSION),
            ("DriverEpoch", link::DRIVER_EPOCH),
            ("EpochAck", link::EPOCH_ACK),
            ("DriverState", link::DRIVER_STATE),
            ("TestRequest", link::TEST_REQUEST),
            ("VectorCount", link::VECTOR_COUNT),
            ("RingsSeen", link::RINGS_SEEN),
            ("DriverFeatures", link::DRIVER_FEATURES),
            ("Device table", link::DEVICE_TABLE),
            ("DeviceEvent", link::DEVICE_EVENTS),
            ("DeviceNotify", link::DEVICE_NOTIFIES),
            ("Vector table", link::VECTOR_TABLE),
        ]
    );
    assert!(identity.contains(&("Epoch", link::EPOCH)));
}

#[test]
fn link_header_has_one_writer_a_line() {
    let fields = fields("Link header");
    check_shape(&fields, layout::PAGE, |field| {
        match field.names.first().map(|(name, _)| name.as_str()) {
            Some("Device table") => link::device_entry(layout::DEVICES_MAX) - link::DEVICE_TABLE,
            Some("DeviceEvent") => link::device_event(layout::DEVICES_MAX) - link::DEVICE_EVENTS,
            Some("DeviceNotify") => {
                link::device_notify(layout::DEVICES_MAX) - link::DEVICE_NOTIFIES
            }
            Some("Vector table") => link::VECTORS_MAX as u32 * link::VECTOR_ENTRY,
            _ => plain_size(field),
        }
    });
}

#[test]
fn link_header_numbers() {
    let fields = fields("Link header");
    let after = |name, words| number_after(text_of(&fields, name), words);

    assert_eq!(after("Magic", "**Magic**:"), u64::from(layout::MAGIC));
    assert_eq!(&layout::MAGIC.to_le_bytes(), b"vHVL");
    assert!(text_of(&fields, "Magic").contains("(\"vHVL\", first byte at the lowest address)"));
    assert_eq!(
        after("Version", "bits 15:0."),
        u64::from(layout::VERSION),
        "version word"
    );
    assert_eq!(layout::VERSION >> 16, layout::VERSION_MAJOR);
    assert_eq!(layout::VERSION & 0xffff, layout::VERSION_MINOR);
    for name in ["RegionSize", "PeerBaseLow", "PoolOffset", "PoolSize"] {
        assert_eq!(
            after(name, "a multiple of"),
            u64::from(layout::PAGE),
            "{name}"
        );
    }
    assert_eq!(after("DeviceCount", "at most"), layout::DEVICES_MAX as u64);
    assert_eq!(after("VectorCount", "at most"), link::VECTORS_MAX as u64);
    assert!(text_of(&fields, "Device table").ends_with(&format!(
        "{} entries of {} bytes",
        layout::DEVICES_MAX,
        link::DEVICE_ENTRY
    )));
    assert!(text_of(&fields, "Vector table").ends_with(&format!(
        "{} entries of {} bytes: AddressLow, AddressHigh, Data, reserved",
        link::VECTORS_MAX,
        link::VECTOR_ENTRY
    )));
    for offset in [link::DEVICE_EVENTS, link::DEVICE_NOTIFIES] {
        let counters = fields.iter().find(|field| field.offset == offset).unwrap();
        assert_eq!(counters.elements, Some(layout::DEVICES_MAX as u32));
    }

    assert!(text_of(&fields, "LinkFeatures").contains("Bit 0: the peer can ring by MSI"));
    assert_eq!(link::FEATURE_MSI, 1 << 0);
    let memory = "bit 1: it reaches Linux's memory";
    assert!(text_of(&fields, "LinkFeatures").contains(memory));
    let memory = "bit 1: addresses of Linux's memory are given";
    assert!(text_of(&fields, "DriverFeatures").contains(memory));
    assert_eq!(link::FEATURE_MEMORY, 1 << 1);
    assert!(text_of(&fields, "LinkFeatures").contains("bit 2: it looks at DeviceNotify"));
    assert!(text_of(&fields, "DriverFeatures").contains("bit 2: DeviceNotify is counted"));
    assert_eq!(link::FEATURE_NOTIFY, 1 << 2);
    let chains = Document::protocol().text("Virtqueues");
    assert!(chains.contains(&format!(
        "A chain has 1 to {} descriptors",
        layout::CHAIN_DESCRIPTORS_MAX
    )));
    assert!(chains.contains(&format!(
        "together are at most {}.",
        layout::CHAIN_BYTES_MAX
    )));
    assert!(Document::protocol()
        .text("Vectors")
        .contains(&format!("(a driver writes {:#x})", window::NO_VECTOR)));

    let cause = text_of(&fields, "TestCause");
    assert!(cause.contains("1: it was seen because the doorbell rang; 2: by looking"));
    assert_eq!(TestCause::Doorbell as u32, 1);
    assert_eq!(TestCause::Poll as u32, 2);
    for word in 0..5 {
        assert_eq!(
            TestCause::from_word(word).map(|cause| cause as u32),
            (1..=2).contains(&word).then_some(word)
        );
    }
}

#[test]
fn device_table() {
    let fields = fields("Device table");
    let words = DeviceEntry {
        window: 1,
        device_id: 2,
        queue_count: 3,
        config_length: 4,
        vendor_id: 5,
    }
    .emit();
    let emitted: Vec<_> = names(&fields)
        .iter()
        .map(|&(name, offset)| (name, words[offset as usize / 4]))
        .collect();
    assert_eq!(
        emitted,
        [
            ("WindowOffset", 1),
            ("DeviceId", 2),
            ("QueueCount", 3),
            ("ConfigLength", 4),
            ("VendorId", 5),
        ]
    );
    assert!(words[5..].iter().all(|&word| word == 0), "{words:x?}");
    assert_eq!(link::DEVICE_ENTRY_WORDS as u32 * 4, link::DEVICE_ENTRY);
    check_shape(&fields, link::DEVICE_ENTRY, plain_size);

    let after = |name, words| number_after(text_of(&fields, name), words);
    assert_eq!(
        after("WindowOffset", "a multiple of"),
        u64::from(layout::PAGE)
    );
    assert_eq!(after("QueueCount", "at most"), layout::QUEUES_MAX as u64);
    assert_eq!(
        after("ConfigLength", "at most"),
        u64::from(window::CONFIG_MAX)
    );
    assert!(Document::protocol().text("Device table").contains(&format!(
        "described by the {} bytes at {:#x} + {} *n*:",
        link::DEVICE_ENTRY,
        link::DEVICE_TABLE,
        link::DEVICE_ENTRY
    )));
}

#[test]
fn device_window() {
    let fields = fields("Device window");
    assert_eq!(
        names(&fields),
        [
            ("View", 0),
            ("Configuration space", window::CONFIG),
            ("TransactionSeq", window::TXN_SEQ),
            ("TransactionCount", window::TXN_COUNT),
            ("TransactionEpoch", window::TXN_EPOCH),
            ("ConfigVector", window::CONFIG_VECTOR),
            ("TransactionEntry", window::TXN_ENTRIES),
            ("DoneSeq", window::DONE_SEQ),
            ("DoneStatus", window::DONE_STATUS),
            ("DoneIndex", window::DONE_INDEX),
            ("ConfigEvent", window::CONFIG_EVENT),
            ("QueueDoorbell", window::QUEUE_DOORBELLS),
            ("Notify", window::NOTIFY),
            ("QueueEvent", window::QUEUE_EVENTS),
            ("QueueVector", window::QUEUE_VECTORS),
        ]
    );
    check_shape(&fields, layout::PAGE, |field| {
        match field.names.first().map(|(name, _)| name.as_str()) {
            Some("View") => window::VIEW_SIZE,
            Some("Configuration space") => window::CONFIG_MAX,
            Some("TransactionEntry") => window::txn_entry(window::TXN_MAX) - window::TXN_ENTRIES,
            Some("QueueDoorbell") => layout::QUEUES_MAX as u32,
            Some("Notify") => window::notify_count(layout::QUEUES_MAX) - window::NOTIFY,
            Some("QueueEvent") => window::queue_event(layout::QUEUES_MAX) - window::QUEUE_EVENTS,
            Some("QueueVector") => window::queue_vector(layout::QUEUES_MAX) - window::QUEUE_VECTORS,
            _ => plain_size(field),
        }
    });

    let count = text_of(&fields, "TransactionCount");
    assert_eq!(number_after(count, "1 to"), window::TXN_MAX as u64);
    let elements = |offset| {
        let field = fields.iter().find(|field| field.offset == offset);
        field.unwrap().elements.map(|count| count as usize)
    };
    assert_eq!(elements(window::TXN_ENTRIES), Some(window::TXN_MAX));
    for offset in [window::NOTIFY, window::QUEUE_EVENTS, window::QUEUE_VECTORS] {
        assert_eq!(elements(offset), Some(layout::QUEUES_MAX), "{offset:#x}");
    }

    let words = Entry {
        offset: 1,
        length: 2,
        value: 3,
    }
    .emit();
    assert_eq!(words, [1, 2, 3, 0]);
    assert!(text_of(&fields, "TransactionEntry").ends_with(&format!(
        "{} bytes each: Offset, Length, Value, reserved",
        window::TXN_ENTRY
    )));
    assert_eq!(Entry::WORDS as u32 * 4, window::TXN_ENTRY);
    assert!(text_of(&fields, "Notify").ends_with(&format!(
        "{} bytes each: NotifyCount, NotifyData",
        window::NOTIFY_SLOT
    )));
    for queue in [0, 1, layout::QUEUES_MAX - 1] {
        let slot = window::NOTIFY + queue as u32 * window::NOTIFY_SLOT;
        assert_eq!(window::notify_count(queue), slot);
        assert_eq!(window::notify_data(queue), slot + 4);
    }
}
