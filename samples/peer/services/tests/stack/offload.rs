// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames that Linux has to cut, and what becomes of them where it does not.

use crate::world::{with_room, World, GUEST_CSUM, GUEST_TSO4};
use hvl_services::chargen;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp;

/// Takes that many bytes of chargen, and closes the connection.
fn pattern(world: &mut World, handle: SocketHandle, count: usize) {
    let mut got = Vec::new();
    world.until(|sockets| {
        let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
        while socket.can_recv() {
            socket
                .recv(|bytes| {
                    got.extend_from_slice(bytes);
                    (bytes.len(), ())
                })
                .unwrap();
        }
        (got.len() > count).then_some(())
    });
    let mut want = vec![0; got.len()];
    chargen::fill(0, &mut want);
    assert!(got == want);
    world.sockets.get_mut::<tcp::Socket<'_>>(handle).abort();
}

/// Frames that Linux was to cut, and that were cut here.
fn large(world: &World) -> (u64, u64) {
    let stats = world.peer.rig.device.stats();
    (stats.large_sent, stats.cut)
}

#[test]
fn linux_cuts_what_it_says_it_can() {
    with_room(|| {
        for (features, mtu, linux_mtu) in [
            (GUEST_CSUM | GUEST_TSO4, 1500, 1500),
            // Its interface was told to keep to less than the device.
            (GUEST_CSUM | GUEST_TSO4, 9000, 1400),
            (GUEST_CSUM | GUEST_TSO4, 1500, 600),
        ] {
            let mut world = World::with_features(mtu, features);
            world.driver.mtu = linux_mtu;
            world.rewire();
            let handle = world.connect(19, 40_000);
            pattern(&mut world, handle, 300_000);
            let (sent, cut) = large(&world);
            assert!(
                sent > 10,
                "{sent} of {}",
                world.peer.rig.device.stats().sent
            );
            assert_eq!(cut, 0);
            // A quarter of the ring's 32 buffers.
            let most = (8 * 1400).min((linux_mtu as usize - 40) * 46);
            assert_eq!(world.driver.largest_frame, 54 + most);
            assert_eq!(world.driver.largest_segment, usize::from(linux_mtu) - 40);
        }
    });
}

#[test]
fn without_that_frames_are_not_larger_than_the_links() {
    with_room(|| {
        for features in [0, GUEST_CSUM] {
            let mut world = World::with_features(1500, features);
            let handle = world.connect(19, 40_000);
            pattern(&mut world, handle, 300_000);
            assert_eq!(large(&world), (0, 0));
            assert_eq!(world.driver.largest_frame, 1514);
            // Nor than Linux says that it takes.
            let mut world = World::with_features(1500, features);
            world.driver.mtu = 600;
            world.rewire();
            let handle = world.connect(19, 40_001);
            pattern(&mut world, handle, 100_000);
            assert_eq!(world.driver.largest_frame, 614);
        }
    });
}

#[test]
fn with_too_few_buffers_they_are_cut_here_and_still_arrive() {
    with_room(|| {
        let mut world = World::with_features(1500, GUEST_CSUM | GUEST_TSO4);
        let handle = world.connect(19, 40_000);
        pattern(&mut world, handle, 10_000);
        let handle = world.connect(19, 40_001);
        // Four buffers hold no frame of the size that was agreed on when there were more.
        world.peer.ticks = true;
        world.driver.hoard = 28;
        pattern(&mut world, handle, 100_000);
        let (_, cut) = large(&world);
        assert!(cut > 0);
    });
}

#[test]
fn what_comes_large_reaches_the_service_whole() {
    with_room(|| {
        let mut world = World::with_features(16_000, GUEST_CSUM | GUEST_TSO4);
        let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7 % 253) as u8).collect();
        // Linux takes packets of any size, as it does when it leaves cutting to the device.
        world.driver.mtu = 65_535;
        world.driver.leaves_cutting = true;
        world.rewire();
        let handle = world.connect(7, 40_000);
        assert!(world.converse(handle, &data) == data);
        assert!(world.peer.rig.device.stats().large_received > 0);
    });
}
