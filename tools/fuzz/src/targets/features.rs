// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Feature bits and configuration space of a device.

use crate::input::Input;
use hvl_logic::algo::config::Limits;
use hvl_logic::algo::features::{self, filter, fit, Shape};
use hvl_logic::algo::ring::Features;
use hvl_logic::algo::share::Plan;
use hvl_logic::algo::{config, console, drivers};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let (device, offered) = (input.byte().into(), input.wide());
    let (send, receive) = (input.word(), input.word());
    // As many as a device can have.
    let queues = 1 + u32::from(input.byte() % 64);
    let shape = Shape {
        device,
        queues,
        // What is right, as often as not.
        pairs: match input.byte() {
            byte if byte < 128 => byte.into(),
            _ => features::pairs_of(queues).unwrap_or(u16::MAX),
        },
        ports: console::ports_of(queues).unwrap_or(send),
    };
    let shown = filter(shape, offered, |dropped| drop(dropped.to_string()));
    assert_eq!(shown & !offered, 0);
    // What a driver sees has all that it needs.
    assert_eq!(
        filter(shape, shown, |_| panic!("a bit that was shown")),
        shown
    );
    let rings = Features::from_bits(offered);
    let entries = 1 << (input.byte() % 16);
    let fitting = match (
        Plan::new(send, entries, rings),
        Plan::new(receive, entries, rings),
    ) {
        (Some(sent), Some(received)) => fit(
            device,
            shown,
            (send, &sent),
            (receive, &received),
            |dropped| drop(dropped.to_string()),
        ),
        _ => shown,
    };
    assert_eq!(fitting & !shown, 0);
    if drivers::refusal(device, true).is_some() {
        assert!(drivers::refusal(device, false).is_some());
    }
    drivers::spins(device, queues, fitting, u32::from(input.byte()) % queues);

    let mut words: Vec<u32> = Vec::new();
    while !input.is_empty() && words.len() < 448 {
        words.push(input.word());
    }
    let limits = Limits {
        pairs: features::pairs_of(queues),
        mtu: Some(send as u16),
        announce: features::may_announce(fitting),
        ports: console::ports_of(queues),
        segment: (send & 1 != 0).then_some(receive),
    };
    config::fit(device, &limits, &mut words);
    let once = words.clone();
    config::fit(device, &limits, &mut words);
    // How many segments there are is told once, in those of the device.
    if limits.segment.is_none() {
        assert_eq!(words, once);
    }
}
