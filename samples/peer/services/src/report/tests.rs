// SPDX-License-Identifier: GPL-2.0 OR MIT

use super::*;
use crate::devices::DEVICES;
use hvl_device::transport::QUEUES;

#[test]
fn sums_keep_the_last() {
    let mut sums = Sums::new();
    for number in 0..100u32 {
        sums.add(Finished {
            kind: Kind::Discard,
            carrier: Carrier::Tcp,
            remote: number,
            received: 0,
            received_crc: 0,
            sent: 0,
            sent_crc: 0,
            messages: None,
        });
    }
    let kept: Vec<(u64, u32)> = sums.iter().map(|(n, entry)| (n, entry.remote)).collect();
    assert_eq!(kept.len(), FINISHED);
    assert_eq!(kept[0], (36, 36));
    assert_eq!(kept[63], (99, 99));
}

#[test]
fn a_full_buffer_cuts_off() {
    let mut text = Buffer::<8>::new();
    text.write_str("0123456789").unwrap();
    write!(text, "more").unwrap();
    assert_eq!(text.bytes(), b"01234567");
}

#[test]
fn the_largest_page_fits() {
    let mut text = Text::new();
    let mut sums = Sums::new();
    for _ in 0..FINISHED {
        sums.add(Finished {
            kind: Kind::Discard,
            carrier: Carrier::SeqpacketOut,
            remote: u32::MAX,
            received: u64::MAX >> 10,
            received_crc: 0,
            sent: u64::MAX >> 10,
            sent_crc: 0,
            messages: Some((u64::MAX >> 10, u64::MAX >> 10)),
        });
    }
    let most = u64::MAX;
    let queue = QueueStats {
        kicks: most >> 10,
        notify_data: u32::MAX,
        chains: most >> 10,
        bytes: most >> 10,
        events: most >> 10,
        outside: 1,
        faults: 1,
    };
    let device = |name, queue_count| DeviceSnapshot {
        name,
        status: u32::MAX,
        features: most,
        transactions: most,
        queue_count,
        queues: [queue; QUEUE_LINES],
        total: queue,
    };
    let udp = UdpStats {
        received: most,
        sent: most,
        dropped: most,
        lost: most,
    };
    let mut devices = [device("sixteen-letters.", QUEUES); DEVICES];
    devices[0] = device("net", 2);
    devices[1] = device("vsock", 3);
    let snapshot = Snapshot {
        devices: &devices,
        net: Some(NetStats {
            received: most,
            sent: most,
            length: most,
            checksum: 0,
            dropped: most,
            large_received: most,
            large_sent: most,
            cut: most,
            trains: most,
            header: 0,
            filtered: most,
            down: most,
            commands: most,
            refused: most,
        }),
        vsock: Some(VsockStats::default()),
        drops: Drops::MOST,
        dhcp: DhcpStats {
            used: LEASES,
            offered: most,
            lent: most,
            refused: most,
            informed: most,
            released: most,
            declined: most,
            full: most,
            elsewhere: most,
            bad: most,
        },
        udp: [udp; 3],
        iperf: IperfStats {
            begun: most,
            done: most,
            denied: most,
            refused: most,
            expired: most,
            broken: most,
        },
        ..Snapshot::default()
    };
    Page::Status.write(&mut text, &snapshot, &sums);
    assert!(text.bytes().ends_with(b"\n"));
    assert!(text.bytes().len() < PAGE_MAX - 1024);
}

#[test]
fn devices_of_a_kind_are_told_apart() {
    let queue = |kicks| QueueStats {
        kicks,
        ..QueueStats::NONE
    };
    let device = |name, queue_count| {
        let mut device = DeviceSnapshot {
            name,
            ..DeviceSnapshot::NONE
        };
        for kicks in 1..=queue_count {
            device.add(&queue(kicks as u64));
        }
        device
    };
    let devices = [
        device("rng", 1),
        device("net", 2),
        device("bench", QUEUES),
        device("rng", 1),
        device("bench", QUEUES),
    ];
    let snapshot = Snapshot {
        devices: &devices,
        ..Snapshot::default()
    };
    let mut text = Text::new();
    Page::Status.write(&mut text, &snapshot, &Sums::new());
    let page = std::str::from_utf8(text.bytes()).unwrap();
    for line in ["rng 0: ", "net: ", "bench 2: ", "rng 3: ", "bench 4: "] {
        assert!(page.contains(&format!("\n\n{line}status ")), "{page}");
    }
    let in_one_line = format!(
        "bench 4: status 0x0, features 0x0, transactions 0\n  {QUEUES} queues: kicks {} ",
        QUEUES * (QUEUES + 1) / 2
    );
    assert!(page.contains(&in_one_line), "{page}");
}
