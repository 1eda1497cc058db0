// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer's command line.

use hvl_services::config::Config;

pub(crate) fn run(data: &[u8]) {
    let line = String::from_utf8_lossy(data);
    let mut bad = 0;
    let config = Config::parse(&line, |_| bad += 1);
    assert!(bad <= line.split_ascii_whitespace().count());
    assert!(config.usable_mtu() <= config.mtu);
    assert_ne!(config.linux_ip(), config.ip);
}
