// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control messages of a console, on their way to a driver that believes them.

use hvl_logic::algo::console::{receive, Ports, Wrong, NOTHING};
use hvl_logic::algo::drivers::{breaks, spins};
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
    each.map(|(&(port, event, len), now)| {
        let verdict = ports.judge(&message(port, event, 1), len, now * 1000)?;
        assert_eq!(verdict, None, "the driver is told something else");
        Ok(())
    })
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
fn an_open_port_is_closed_before_it_goes() {
    let closed = |port| message(port, OPEN, 0);
    let remove = message(1, REMOVE, 1);
    let mut ports = Ports::new(6);
    judged(&mut ports, &[(1, ADD, 8)]);
    // One that nobody has open goes at once.
    assert_eq!(ports.judge(&remove, 8, 0), Ok(None));
    assert_eq!((ports.leaving(), ports.leave(1)), (None, None));
    judged(&mut ports, &[(1, ADD, 8)]);
    ports.hear(&message(1, OPEN, 1));
    assert!(ports.is_open());
    assert_eq!(ports.judge(&remove, 8, 0), Ok(Some(closed(1))));
    assert_eq!(ports.leaving(), Some(1));
    // Whoever had it open does not say that he has closed it, and the next port of that number may be a terminal.
    assert_eq!(ports.leave(1), Some(message(1, REMOVE, 0)));
    assert!(!ports.is_open());
    assert_eq!(
        (ports.leaving(), ports.leave(1), ports.farewell(None)),
        (None, None, None)
    );
    assert_eq!(
        judged(&mut ports, &[(1, ADD, 8), (1, TERMINAL, 8)]),
        [Ok(()); 2]
    );
    // One that is there again before it has gone stays.
    let mut ports = Ports::new(6);
    judged(&mut ports, &[(1, ADD, 8)]);
    ports.hear(&message(1, OPEN, 1));
    assert_eq!(ports.judge(&remove, 8, 0), Ok(Some(closed(1))));
    judged(&mut ports, &[(1, ADD, 8)]);
    assert_eq!((ports.leaving(), ports.leave(1)), (None, None));
    assert!(ports.is_open());
    // Nothing is left of it after a reset.
    assert_eq!(ports.judge(&remove, 8, 0), Ok(Some(closed(1))));
    ports.reset();
    assert_eq!((ports.leaving(), ports.is_open()), (None, false));
}

#[test]
fn all_ports_are_closed_before_the_device_goes() {
    let mut ports = Ports::new(10);
    judged(
        &mut ports,
        &[(0, ADD, 8), (1, ADD, 8), (3, ADD, 8), (0, TERMINAL, 8)],
    );
    let first = ports.farewell(None);
    assert_eq!(first, Some((1, message(1, OPEN, 0))));
    assert_eq!(ports.farewell(Some(1)), Some((3, message(3, OPEN, 0))));
    assert_eq!(ports.farewell(Some(3)), None);
    assert_eq!(ports.farewell(Some(u32::MAX)), None);
    assert_eq!(Ports::new(64).farewell(None), None);
    assert_eq!([0, 1, 2, 30].map(receive), [0, 4, 6, 62]);
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
    assert_eq!(ports.judge(&open, 8, 9999), Ok(None));
    assert_eq!(ports.judge(&cycle[0], 8, 11_250), Ok(None));
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
                // Whoever spins is let go.
                prop_assert!(!ports.spins(index) || breaks(device::CONSOLE, index));
            }
            prop_assert!(ports.leaving().is_none_or(|port| 2 * (port + 1) < queues));
        }
    }
}
