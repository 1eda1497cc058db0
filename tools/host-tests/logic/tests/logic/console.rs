// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control messages of a console, on their way to a driver that believes them.

use hvl_logic::algo::console::{Ports, Wrong, NOTHING};
use hvl_logic::algo::drivers::spins;
use hvl_logic::proto::virtio::device;
use proptest::prelude::*;

const ADD: u16 = 1;
const REMOVE: u16 = 2;
const TERMINAL: u16 = 4;
const RESIZE: u16 = 5;
const OPEN: u16 = 6;
const NAME: u16 = 7;
const MULTIPORT: u64 = 1 << 1;

fn message(port: u32, event: u16, value: u16) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&port.to_le_bytes());
    bytes[4..6].copy_from_slice(&event.to_le_bytes());
    bytes[6..].copy_from_slice(&value.to_le_bytes());
    bytes
}

/// What is said to each message of the device's, one a second.
fn judged(ports: &mut Ports, messages: &[(u32, u16, u32)]) -> Vec<Result<(), Wrong>> {
    let each = messages.iter().zip(0..);
    each.map(|(&(port, event, len), now)| ports.judge(&message(port, event, 1), len, now * 1000))
        .collect()
}

#[test]
fn what_an_honest_device_says() {
    let mut ports = Ports::new(6);
    let said = [
        (0, ADD, 8),
        (1, ADD, 8),
        (0, TERMINAL, 8),
        (0, RESIZE, 12),
        (0, OPEN, 8),
        (1, NAME, 14),
        (1, OPEN, 8),
        (1, REMOVE, 8),
        (1, ADD, 8),
        (1, NAME, 14),
        // Of a later version: the driver passes over what it does not know.
        (1, 0x7fff, 8),
    ];
    assert!(judged(&mut ports, &said).iter().all(Result::is_ok));
}

#[test]
fn what_is_wrong() {
    let cases = [
        (2, ADD, 8, Wrong::Port(2, 2)),
        (u32::MAX, NAME, 14, Wrong::Port(u32::MAX, 2)),
        (0, RESIZE, 8, Wrong::Short(RESIZE, 8, 12)),
        (0, RESIZE, 11, Wrong::Short(RESIZE, 11, 12)),
        (1, OPEN, 7, Wrong::Short(OPEN, 7, 8)),
    ];
    for (port, event, len, want) in cases {
        let mut ports = Ports::new(6);
        assert_eq!(judged(&mut ports, &[(port, event, len)]), [Err(want)]);
        assert!(!want.to_string().is_empty());
    }
    // What is put in its place is wrong itself, whatever there is: no driver has such a port.
    let (most, now) = (&mut Ports::new(64), 0);
    let want = Wrong::Port(u32::MAX, 31);
    assert_eq!(most.judge(&NOTHING, 12, now), Err(want));
    // Nor is there any where there are no queues for them.
    assert_eq!(
        judged(&mut Ports::new(2), &[(0, ADD, 8)]),
        [Err(Wrong::Port(0, 0))]
    );
}

#[test]
fn an_open_port_does_not_become_a_terminal() {
    let open = |value| message(1, OPEN, value);
    let mut ports = Ports::new(6);
    ports.hear(&open(1));
    let wrong = [Err(Wrong::Open(1))];
    assert_eq!(judged(&mut ports, &[(1, TERMINAL, 8)]), wrong);
    // Said of a terminal that there is already it means nothing.
    ports.hear(&open(0));
    assert_eq!(judged(&mut ports, &[(1, TERMINAL, 8)]), [Ok(())]);
    ports.hear(&open(1));
    assert_eq!(judged(&mut ports, &[(1, TERMINAL, 8)]), [Ok(())]);
    // Another port of that number; who had the old one open does not say that he has closed it.
    let said = [(1, REMOVE, 8), (1, ADD, 8), (1, TERMINAL, 8)];
    assert_eq!(judged(&mut ports, &said), [Ok(()); 3]);
    ports.hear(&open(1));
    ports.reset();
    assert_eq!(judged(&mut ports, &[(1, TERMINAL, 8)]), [Ok(())]);
    // Of others, and of other events, nothing is remembered.
    let mut ports = Ports::new(6);
    ports.hear(&message(0, OPEN, 1));
    ports.hear(&message(1, 3, 1));
    ports.hear(&message(u32::MAX, OPEN, 1));
    assert_eq!(judged(&mut ports, &[(1, TERMINAL, 8)]), [Ok(())]);
}

#[test]
fn the_driver_spins_for_terminals() {
    let mut ports = Ports::new(8);
    let list = |ports: &Ports| {
        (0..8)
            .filter(|&index| ports.spins(index))
            .collect::<Vec<_>>()
    };
    assert_eq!(list(&ports), [3]);
    judged(&mut ports, &[(0, TERMINAL, 8), (2, TERMINAL, 8)]);
    assert_eq!(list(&ports), [1, 3, 7]);
    // Never more than is known to be possible.
    assert!((0..8).all(|index| !ports.spins(index) || spins(device::CONSOLE, 8, MULTIPORT, index)));
    judged(&mut ports, &[(2, REMOVE, 8)]);
    assert_eq!(list(&ports), [1, 3]);
    ports.reset();
    assert_eq!(list(&ports), [3]);
}

#[test]
fn there_is_an_end_to_messages() {
    let mut ports = Ports::new(6);
    let open = message(1, OPEN, 1);
    assert!((0..2000).all(|_| ports.judge(&open, 8, 5).is_ok()));
    let often = Wrong::Often(2000);
    assert_eq!(ports.judge(&open, 8, 11_249), Err(often));
    assert!(ports.judge(&open, 8, 11_250).is_ok());
    assert_eq!(often.to_string(), "more than 2000 control messages in 10 s");
    let mut ports = Ports::new(6);
    let cycle = [message(1, ADD, 1), message(1, REMOVE, 1)];
    assert!((0..100).all(|at| ports.judge(&cycle[at % 2], 8, 5).is_ok()));
    let changes = Wrong::Changes(100);
    assert_eq!(ports.judge(&cycle[0], 8, 9999), Err(changes));
    assert_eq!(ports.judge(&open, 8, 9999), Ok(()));
    assert_eq!(ports.judge(&cycle[0], 8, 11_250), Ok(()));
    assert_eq!(
        changes.to_string(),
        "more than 100 ports added or removed in 10 s"
    );
}

proptest! {
    #[test]
    fn any_messages(
        queues in 0u32..66,
        steps in prop::collection::vec(
            (any::<bool>(), prop_oneof![0u32..40, any::<u32>()], 0u16..9, 0u16..3, 0u32..16), 0..100)
    ) {
        let mut ports = Ports::new(queues);
        for (device, port, event, value, len) in steps {
            let message = message(port, event, value);
            if device {
                if ports.judge(&message, len, 0).is_ok() {
                    prop_assert!(2 * (port + 1) < queues);
                }
            } else {
                ports.hear(&message);
            }
            for index in 0..queues {
                prop_assert!(!ports.spins(index) || spins(device::CONSOLE, queues, MULTIPORT, index));
            }
        }
    }
}
