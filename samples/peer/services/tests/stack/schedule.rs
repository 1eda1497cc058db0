// SPDX-License-Identifier: GPL-2.0 OR MIT

//! When the stack looks at what: at once when there is something to do, and not at all otherwise.

use crate::hostile::{arp, tcp, udp, Raw, SEGMENT};
use crate::world::{with_room, World, LINUX};
use smoltcp::wire::{ArpOperation, TcpControl};

/// Lets `millis` pass; returns the frames that came, with the time of the last.
fn wait(world: &mut World, millis: u64) -> (usize, u64) {
    let (mut count, mut last) = (0, 0);
    for passed in 0..millis {
        world.peer.run(world.now, world.driver.rings());
        world.now += 1;
        while world.driver.receive_frame().is_some() {
            count += 1;
            last = passed;
        }
    }
    (count, last)
}

/// A peer that knows Linux's address and sleeps.
fn acquainted() -> World {
    let mut world = World::new();
    wait(&mut world, 10);
    world.driver.send_frame(&arp(ArpOperation::Request, LINUX));
    assert_eq!(wait(&mut world, 10).0, 1);
    world
}

#[test]
fn an_idle_peer_sleeps() {
    with_room(|| {
        let mut world = acquainted();
        let before = world.peer.passes;
        wait(&mut world, 10_000);
        // One look a heartbeat.
        assert!(world.peer.passes - before <= 101);
    });
}

#[test]
fn a_datagram_is_answered_at_once() {
    with_room(|| {
        let mut world = acquainted();
        for _ in 0..50 {
            world.driver.send_frame(&udp(LINUX, (5000, 7), b"now"));
            let (count, last) = wait(&mut world, 13);
            assert_eq!(count, 1);
            assert!(last <= 1, "after {last} ms");
        }
    });
}

#[test]
fn what_waits_for_room_goes_out_when_there_is_some() {
    with_room(|| {
        for phase in [0, 20, 50, 95] {
            let mut world = acquainted();
            world.driver.stingy = true;
            let mut count = 0;
            for _ in 0..4 {
                for _ in 0..10 {
                    world.driver.send_frame(&udp(LINUX, (5000, 7), b"burst"));
                }
                count += wait(&mut world, 2).0;
            }
            assert!(count < 40, "the peer has to run out of buffers");
            wait(&mut world, 200 + phase);
            world.driver.relent();
            let (rest, last) = wait(&mut world, 300);
            assert_eq!(count + rest, 40);
            assert!(last <= 2, "after {last} ms");
        }
    });
}

#[test]
fn who_waits_for_an_address_goes_on_when_it_comes() {
    with_room(|| {
        let mut world = World::new();
        wait(&mut world, 10);
        let syn = tcp(
            LINUX,
            &smoltcp::wire::TcpRepr {
                control: TcpControl::Syn,
                ..SEGMENT
            },
        );
        world.driver.send_frame(&syn);
        // It asks for the address.
        assert_eq!(wait(&mut world, 20).0, 1);
        world.driver.send_frame(&arp(ArpOperation::Reply, LINUX));
        let (count, last) = wait(&mut world, 300);
        assert_eq!(count, 1);
        assert!(last <= 2, "after {last} ms");
    });
}

#[test]
fn buffers_that_trickle_in_are_for_all() {
    with_room(|| {
        let mut raw = Raw::with_mtu(1500);
        let mut got = [0; 8];
        let all = 5000..5008;
        let open = |port| raw.open_to((port, 19), 1000, 0);
        let conns: Vec<_> = all.clone().map(open).collect();
        raw.listen();
        // From here on Linux gives two buffers at a time.
        raw.world.driver.stingy = true;
        for (port, conn) in all.zip(conns) {
            raw.say((port, 19), conn.acked, conn.next, 0xffff, &[]);
        }
        for _ in 0..150 {
            let rung = raw.world.driver.rings();
            raw.world.now += 1;
            raw.world.peer.run(raw.world.now, rung);
            for (port, _, len) in raw.listen() {
                got[usize::from(port - 5000)] += len;
            }
            raw.world.driver.give(2);
        }
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        assert!(*least > 0 && *most < 4 * *least, "{got:?}");
    });
}
