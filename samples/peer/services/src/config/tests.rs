// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What command lines say.

use super::*;
use hvl_device::adversary::Strategy;
use proptest::prelude::*;

fn parse(line: &str) -> (Config, Vec<String>) {
    let mut bad = Vec::new();
    let config = Config::parse(line, |word| bad.push(word.0.to_string()));
    (config, bad)
}

#[test]
fn empty_line_is_the_default() {
    assert_eq!(parse(""), (Config::default(), vec![]));
}

#[test]
fn words_are_understood() {
    let (config, bad) = parse(
        "devices=vsock region=0x80000000 size=0x100000 gic=2 gicd=0x1000 irq-out=140 \
         uart=none ip=192.168.7.9/29 cid=42 fault=deaf,noring delay=250 psci=smc coherent=no \
         spin=0 irqs=150-151,160 irqs-in=170 msi=0x8020000",
    );
    assert_eq!(bad, Vec::<String>::new());
    assert_eq!(Some(config.devices), devices::parse("vsock"));
    assert_eq!((config.region, config.size), (0x8000_0000, 0x10_0000));
    assert_eq!((config.gic, config.gicd), (GicKind::V2, 0x1000));
    assert_eq!(config.irq_out, Some(140));
    assert_eq!(config.irqs.iter().collect::<Vec<_>>(), [150, 151, 160]);
    assert_eq!(config.irqs_in.get(0), Some(170));
    assert_eq!(config.msi, Some(0x802_0000));
    assert_eq!(config.uart, None);
    assert_eq!((config.ip, config.prefix), ([192, 168, 7, 9], 29));
    assert_eq!((config.cid, config.delay_ms), (42, 250));
    assert_eq!((config.spin_us, Config::default().spin_us), (0, 128));
    assert!(config.faults.has(Faults::DEAF) && config.faults.has(Faults::NORING));
    assert!(!config.faults.has(Faults::MAGIC));
    assert_eq!((config.psci, config.coherent), (Conduit::Smc, false));
}

#[test]
fn memory_of_linuxs_is_named() {
    let (config, bad) = parse("direct=0x40000000+0x40000000 direct=0+0x1000,0x80000000");
    assert!(bad.is_empty());
    let memory = |address, size, here| {
        Some(Memory {
            address,
            size,
            here,
        })
    };
    let want = [
        memory(0x4000_0000, 0x4000_0000, 0x4000_0000),
        memory(0, 0x1000, 0x8000_0000),
    ];
    assert_eq!(config.direct, want);
    let line =
        "direct=0+0x1000 direct=0x1000 direct=0x1000+0 direct=0x1000+0x800 direct=0x800+0x1000 \
                direct=0x1000+0x1000,0 direct=0x1000+0x1000,0x1001";
    assert_eq!(
        parse(line),
        (
            Config::default(),
            line.split_whitespace().map(str::to_string).collect()
        )
    );
    let (_, bad) = parse("direct=0x1000+0x1000 direct=0x2000+0x1000 direct=0x3000+0x1000");
    assert_eq!(bad, ["direct=0x3000+0x1000"]);
}

#[test]
fn either_doorbell_may_be_missing() {
    let (config, bad) = parse("irq-in=none irq-out=none poll=20,900");
    assert!(bad.is_empty());
    assert_eq!((config.irq_in, config.irq_out), (None, None));
    assert_eq!(Some(config.poll), Bounds::new(20, 900));
    let line = "poll=20 poll=9,900 poll=900,20 poll=20,1000001 poll=,20 irq-in=no";
    let (config, bad) = parse(line);
    assert_eq!(config, Config::default());
    assert_eq!(bad, line.split(' ').collect::<Vec<_>>());
}

#[test]
fn each_feature_of_the_rings_can_be_left_out() {
    assert_eq!(Config::default().offer, Offer::ALL);
    let words = [
        ("packed", 34),
        ("indirect", 28),
        ("in-order", 35),
        ("event-index", 29),
        ("notification-data", 38),
        ("queue-reset", 40),
    ];
    for (word, bit) in words {
        let (config, bad) = parse(&format!("without={word} queue=100"));
        assert_eq!(bad, Vec::<String>::new());
        assert_eq!(config.offer.rings, Offer::ALL.rings & !(1u64 << bit));
        assert_eq!(config.offer.size, 100);
    }
    let all = words.map(|(word, _)| word).join(",");
    assert_eq!(parse(&format!("without={all}")).0.offer.rings, 0);
    let line = "without=packed,what without= queue=0 queue=32769 queue=0x10";
    let (config, bad) = parse(line);
    assert_eq!(config, Config::default());
    assert_eq!(bad, line.split(' ').collect::<Vec<_>>());
}

#[test]
fn nonsense_is_named_and_ignored() {
    let line = "region=0x123 irq-in=31 devices=net,net cid=2 fault=crash,what ip=1.2.3.4 hello \
                spin=10001 irqs=150,31 irqs-in= msi=0x8020040";
    let (config, bad) = parse(line);
    assert_eq!(config, Config::default());
    assert_eq!(bad, line.split(' ').collect::<Vec<_>>());
}

#[test]
fn an_ipv6_address_is_one_that_a_host_can_have() {
    let want = [0xfd, 0, 0, 0x77, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let (config, bad) = parse("ip6=fd00:77::1/64");
    assert_eq!((config.ip6, bad), (Some((want, 64)), vec![]));
    for word in [
        "fd00::1",
        "fd00::1/127",
        "::/64",
        "::1/64",
        "fe80::1/64",
        "ff02::1/64",
        "1.2.3.4/24",
    ] {
        let word = format!("ip6={word}");
        assert_eq!(parse(&word), (Config::default(), vec![word.clone()]));
    }
}

#[test]
fn a_small_region_has_small_packets() {
    assert_eq!(parse("size=0x80000").0.usable_mtu(), 16_000);
    assert_eq!(parse("size=0x7f000").0.usable_mtu(), 1500);
    assert_eq!(parse("size=0x7f000 mtu=1400").0.usable_mtu(), 1400);
    assert_eq!(parse("size=0x200000 mtu=65535").0.usable_mtu(), 65_535);
    assert_eq!(parse("size=0x1ff000 mtu=65535").0.usable_mtu(), 16_000);
    assert_eq!(parse("queue=127 mtu=65535").0.usable_mtu(), 16_000);
}

#[test]
fn the_network_device_is_what_is_asked_for() {
    let (config, bad) = parse("net-queues=2 net-control=yes net-speed=10000");
    let got = (config.net_queues, config.net_control, config.net_speed);
    assert_eq!((got, bad.len()), ((2, true, Some(10_000)), 0));
    let line = "net-queues=0 net-queues=32 net-control=2 net-speed=fast";
    let (config, bad) = parse(line);
    assert_eq!(config, Config::default());
    assert_eq!(bad, line.split(' ').collect::<Vec<_>>());
}

#[test]
fn linux_gets_a_neighbour() {
    assert_eq!(Config::default().linux_ip(), [10, 77, 0, 2]);
    let (config, _) = parse("ip=10.0.0.254/24");
    assert_eq!(config.linux_ip(), [10, 0, 0, 253]);
    let (config, _) = parse("ip=10.0.0.6/29");
    assert_eq!(config.linux_ip(), [10, 0, 0, 5]);
}

proptest! {
    #[test]
    fn anything_goes_in(line in ".{0,250}") {
        let _ = parse(&line);
    }
}

#[test]
fn disks_have_memory() {
    let (config, bad) = parse(
        "devices=blk,blk disk=0x70000000+0x400000,65536 blk-queues=4 blk-block=4096 blk-ro=yes",
    );
    let want = [(Some(0x7000_0000), 0x40_0000), (None, 0x1_0000)];
    let want = want.map(|(address, size)| Some(Disk { address, size }));
    assert_eq!(config.disks[..2], want);
    assert_eq!(config.disks[2..], [None; DISKS - 2]);
    assert_eq!((config.blk_queues, config.blk_block), (4, 4096));
    assert!(config.blk_ro && bad.is_empty());
    assert_eq!((config.blk_size_max, config.blk_seg_max), (0x1_0000, 62));
    let (config, bad) = parse("blk-size-max=512 blk-seg-max=5 blk-physical-exp=3");
    assert_eq!(config.blk_physical_exp, 3);
    assert_eq!((config.blk_size_max, config.blk_seg_max), (512, 5));
    assert!(bad.is_empty());
    for line in [
        "disk=0x70000001+65536",
        "disk=65536,65536,65536,65536,65536",
        "disk=4095",
        "disk=",
        "disk=0x70000000+",
        "blk-queues=0",
        "blk-queues=10",
        "blk-block=1024",
        "blk-physical-exp=256",
        "blk-size-max=-1",
        "blk-seg-max=all",
    ] {
        assert_eq!(parse(line), (Config::default(), vec![line.to_string()]));
    }
}

#[test]
fn devices_for_measurements_have_queues() {
    let (config, bad) = parse("devices=vsock,bench,bench bench-queues=8");
    assert_eq!(Some(config.devices), devices::parse("vsock,bench,bench"));
    assert_eq!(config.bench_queues, 8);
    assert!(bad.is_empty());
    for line in ["devices=bench,what", "bench-queues=2", "bench-queues=65"] {
        assert_eq!(parse(line), (Config::default(), vec![line.to_string()]));
    }
}

#[test]
fn attacks_and_deaths_are_named() {
    let (config, wrong) = parse("type=18 type=0 type=64 type=many");
    assert_eq!((config.faults.claimed(0), wrong.len()), (Some(18), 3));
    let (config, wrong) = parse("adversary=7,rings die=17,hang");
    assert_eq!(wrong, Vec::<String>::new());
    let strategy = Strategy::Rings;
    assert_eq!(config.adversary, Some(Plan { seed: 7, strategy }));
    let end = End::Hang;
    assert_eq!(config.death, Some(Death { step: 17, end }));
    let (config, _) = parse("die=17,hold500");
    let end = End::Hold(500);
    assert_eq!(config.death, Some(Death { step: 17, end }));
    let (config, _) = parse("adversary=4000000000");
    let all = Plan {
        seed: 4_000_000_000,
        strategy: Strategy::All,
    };
    assert_eq!((config.adversary, config.death), (Some(all), None));
    for line in [
        "adversary=7,kindly",
        "adversary=",
        "adversary=-1",
        "die=1",
        "die=0,crash",
        "die=1,old",
        "die=1,hold",
        "die=1,hold-1",
        "die=,crash",
    ] {
        assert_eq!(parse(line), (Config::default(), vec![line.to_owned()]));
    }
}

#[test]
fn a_stamp_may_have_an_interrupt() {
    assert_eq!(parse("stamp-irq=151").0.stamp_irq, Some(151));
    for line in ["stamp-irq=31", "stamp-irq=1020", "stamp-irq="] {
        assert_eq!(parse(line), (Config::default(), vec![line.to_owned()]));
    }
}

#[test]
fn a_control_loop_has_a_rate() {
    assert_eq!(parse("control=1000").0.control_hz, Some(1000));
    for line in ["control=0", "control=10001", "control=", "control=fast"] {
        assert_eq!(parse(line), (Config::default(), vec![line.to_owned()]));
    }
}
