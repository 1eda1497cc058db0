// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network services, reached as Linux reaches them: by another stack behind the driver's side
//! of the network device.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

#[path = "../../../device/tests/common/mod.rs"]
mod common;
#[path = "../common/dhcp.rs"]
mod dhcp;
mod drops;
mod frames;
mod hostile;
mod iperf;
mod ipv6;
mod limits;
mod neighbours;
mod offload;
mod ping;
mod schedule;
mod world;

use hvl_services::chargen;
use hvl_services::crc::Crc32;
use smoltcp::socket::{tcp, udp};
use smoltcp::wire::{
    DhcpMessageType, DhcpPacket, DhcpRepr, EthernetAddress, IpEndpoint, Ipv4Address,
};
use world::{with_room, World, LINUX, PEER};

fn crc(data: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(data);
    crc.value()
}

#[test]
fn tcp_echo_returns_what_it_gets_and_keeps_account() {
    with_room(|| {
        let mut world = World::new();
        let data: Vec<u8> = (0..300_000u32).map(|i| (i * 7 % 253) as u8).collect();
        let handle = world.connect(7, 40_001);
        assert!(world.converse(handle, &data) == data);
        // Until the last acknowledgement is through.
        let mut steps = 0;
        world.until(|_| {
            steps += 1;
            (steps == 50).then_some(())
        });
        let (_, entry) = world
            .peer
            .sums
            .iter()
            .next()
            .expect("a finished connection");
        assert_eq!((entry.remote, entry.received), (40_001, 300_000));
        assert_eq!(entry.received_crc, crc(&data));
        assert_eq!((entry.sent, entry.sent_crc), (300_000, crc(&data)));
    });
}

#[test]
fn more_connections_than_sockets_one_after_the_other() {
    with_room(|| {
        let mut world = World::new();
        for number in 0..20 {
            let handle = world.connect(7, 41_000 + number);
            assert_eq!(world.converse(handle, b"again"), b"again");
        }
    });
}

#[test]
fn chargen_gives_the_pattern_until_it_is_closed() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.connect(19, 40_002);
        let mut got = Vec::new();
        world.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_recv() {
                socket
                    .recv(|bytes| {
                        got.extend_from_slice(bytes);
                        (bytes.len(), ())
                    })
                    .unwrap();
            }
            (got.len() > 100_000).then_some(())
        });
        let mut want = vec![0; got.len()];
        chargen::fill(0, &mut want);
        assert!(got == want);
    });
}

#[test]
fn http_has_a_status_page_and_no_other() {
    with_room(|| {
        let mut world = World::new();
        let sent = world.connect(7, 41_999);
        assert_eq!(world.converse(sent, b"count me"), b"count me");
        let sums = format!(
            "0 tcp echo port 41999 received 8 crc32 {0:08x} sent 8 crc32 {0:08x}\n",
            crc(b"count me")
        );
        for (number, request, status, text) in [
            (0, "GET /", "200 OK", "virtio-hvl peer 9.8.7\n"),
            (1, "GET /sums", "200 OK", sums.as_str()),
            (2, "GET /what", "404 Not Found", "not here"),
            (3, "HEAD /sums", "200 OK", ""),
            (4, "BREW /", "404 Not Found", "not here"),
        ] {
            let handle = world.connect(80, 42_000 + number);
            let line = format!("{request} HTTP/1.1\r\nHost: peer\r\n\r\n");
            let page = String::from_utf8(world.converse(handle, line.as_bytes())).unwrap();
            assert!(
                page.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{page}"
            );
            let (head, body) = page.split_once("\r\n\r\n").unwrap();
            assert!(body.contains(text), "{page}");
            let whole = if request.starts_with("HEAD") {
                assert_eq!(body, "");
                sums.len()
            } else {
                body.len()
            };
            let length = format!("Content-Length: {whole}\r\n");
            assert!(head.contains(length.trim_end()), "{page}");
        }
    });
}

/// How long it takes, in milliseconds, until a connection that the peer has closed first is over
/// for Linux as well.
#[test]
fn the_last_acknowledgement_is_sent() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.connect(80, 43_000);
        let mut asked = false;
        world.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            if socket.can_send() && !asked {
                asked = true;
                socket.send_slice(b"GET / HTTP/1.1\r\n\r\n").unwrap();
            }
            (socket.state() == tcp::State::CloseWait).then_some(())
        });
        let before = world.now;
        world.sockets.get_mut::<tcp::Socket<'_>>(handle).close();
        world.until(|sockets| {
            let socket = sockets.get_mut::<tcp::Socket<'_>>(handle);
            (socket.state() == tcp::State::Closed).then_some(())
        });
        assert!(world.now - before < 20, "{} ms", world.now - before);
    });
}

#[test]
fn udp_echo_and_chargen_answer() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.udp(5000);
        for (port, want) in [
            (7, b"datagram".to_vec()),
            (19, {
                let mut pattern = vec![0; 512];
                chargen::fill(0, &mut pattern);
                pattern
            }),
        ] {
            let to = IpEndpoint::new(PEER.into(), port);
            let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(b"datagram", to).unwrap();
            let got = world.until(|sockets| {
                let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
                socket.recv().ok().map(|(data, _)| data.to_vec())
            });
            assert_eq!(got, want);
        }
        assert_eq!(world.peer.stack.udp_stats()[0].sent, 1);
        assert_eq!(world.peer.stack.udp_stats()[2].received, 1);
    });
}

#[test]
fn the_largest_datagram_comes_back_and_a_larger_one_is_counted() {
    with_room(|| {
        let mut world = World::with_mtu(16_000);
        let handle = world.udp(5000);
        let data: Vec<u8> = (0..15_972u32).map(|i| (i * 3 % 251) as u8).collect();
        let to = IpEndpoint::new(PEER.into(), 7);
        // Those that cannot be answered do not keep the others waiting.
        world.until(|_| Some(()));
        for len in [20_000, 40_000] {
            let frame = hostile::udp(LINUX, (5000, 7), &vec![1; len]);
            world.driver.send_frame(&frame);
        }
        for len in [15_972, 2049, 1, 15_972] {
            let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.send_slice(&data[..len], to).unwrap();
            let before = world.now;
            let got = world.until(|sockets| {
                let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
                socket.recv().ok().map(|(data, _)| data.to_vec())
            });
            assert!(got == data[..len]);
            assert!(world.now - before < 10);
        }
        // The one of 40000 bytes is more than the socket's buffer takes.
        let stats = world.peer.stack.udp_stats()[0];
        assert_eq!((stats.received, stats.sent, stats.dropped), (5, 4, 1));
    });
}

#[test]
fn dhcp_offers_an_address() {
    with_room(|| {
        let mut world = World::new();
        let handle = world.udp(68);
        let mac = EthernetAddress([2, 0, 0, 0, 0, 2]);
        let bytes = dhcp::bytes(&dhcp::request(DhcpMessageType::Discover, mac));
        let everybody = IpEndpoint::new(Ipv4Address::BROADCAST.into(), 67);
        let socket = world.sockets.get_mut::<udp::Socket<'_>>(handle);
        socket.send_slice(&bytes, everybody).unwrap();
        let answer = world.until(|sockets| {
            let socket = sockets.get_mut::<udp::Socket<'_>>(handle);
            socket.recv().ok().map(|(data, _)| data.to_vec())
        });
        let packet = DhcpPacket::new_checked(&answer[..]).unwrap();
        let offer = DhcpRepr::parse(&packet).unwrap();
        assert_eq!(offer.message_type, DhcpMessageType::Offer);
        assert_eq!(
            (offer.transaction_id, offer.your_ip),
            (dhcp::TRANSACTION, LINUX)
        );
    });
}
