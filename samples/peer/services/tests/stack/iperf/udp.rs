// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Its tests by UDP.

use super::{figure, message, Client, CREATE_STREAMS, IDS, PARAM_EXCHANGE, PORT, TEST_END};
use super::{TEST_RUNNING, TEST_START};
use crate::world::{with_room, World, PEER};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::udp::Socket;
use smoltcp::wire::IpEndpoint;

const HELLO: [u8; 4] = [0x39, 0x38, 0x37, 0x36];
const WELCOME: [u8; 4] = [0x36, 0x37, 0x38, 0x39];
/// Bytes of a datagram.
const LEN: usize = 1000;

fn params(more: &str) -> Vec<u8> {
    message(&format!(r#"{{"udp":true,"time":5,"len":{LEN}{more}}}"#))
}

/// The `number`th datagram, sent at `micros`.
fn datagram(number: u32, micros: u32) -> Vec<u8> {
    let mut bytes = [0, micros, number].map(u32::to_be_bytes).concat();
    bytes.resize(LEN, 7);
    bytes
}

impl World {
    fn send(&mut self, handle: SocketHandle, bytes: &[u8]) {
        let to = IpEndpoint::new(PEER.into(), PORT);
        self.until(|sockets| {
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            socket.send_slice(bytes, to).ok()
        });
        // Out of the socket and taken.
        self.rest(2);
    }

    /// All that comes in `millis`.
    fn receive(&mut self, handle: SocketHandle, millis: u64) -> Vec<Vec<u8>> {
        let (mut got, end) = (Vec::new(), self.now + millis);
        let mut now = self.now;
        self.until(|sockets| {
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            while let Ok((bytes, _)) = socket.recv() {
                got.push(bytes.to_vec());
            }
            now += 1;
            (now >= end).then_some(())
        });
        got
    }

    /// Up to where the test runs, with so many streams.
    fn start_udp(&mut self, local: u16, more: &str, count: u16) -> (Client, Vec<SocketHandle>) {
        let client = self.begin(local);
        assert_eq!(self.hear(client.control, 1), [PARAM_EXCHANGE]);
        self.say(client.control, &params(more));
        assert_eq!(self.hear(client.control, 1), [CREATE_STREAMS]);
        let streams: Vec<_> = (0..count)
            .map(|number| {
                let handle = self.udp(local + number);
                let to = IpEndpoint::new(PEER.into(), PORT);
                let socket = self.sockets.get_mut::<Socket<'_>>(handle);
                socket.send_slice(&HELLO, to).unwrap();
                // More may come at once.
                let first = self.until(|sockets| {
                    let socket = sockets.get_mut::<Socket<'_>>(handle);
                    socket.recv().ok().map(|(bytes, _)| bytes.to_vec())
                });
                assert_eq!(first, WELCOME);
                handle
            })
            .collect();
        let told = self.hear(client.control, 2);
        assert_eq!(told, [TEST_START, TEST_RUNNING]);
        (client, streams)
    }
}

#[test]
fn what_comes_and_what_does_not_is_counted() {
    with_room(|| {
        let mut world = World::new();
        let (client, streams) = world.start_udp(30_000, r#","parallel":3"#, 3);
        for (index, stream) in streams.iter().enumerate() {
            for number in 1..=10 * (1 + index as u32) {
                if number != 4 {
                    let micros = world.now as u32 * 1000;
                    world.send(*stream, &datagram(number, micros));
                }
            }
        }
        // Nobody's, and nothing.
        let stranger = world.udp(29_000);
        world.send(stranger, &HELLO);
        world.send(stranger, &datagram(1, 0));
        world.send(streams[0], b"short");
        assert_eq!(world.receive(stranger, 5), [[0; 0]; 0]);
        // Whoever did not hear it.
        world.send(streams[0], &HELLO);
        assert_eq!(world.receive(streams[0], 5), [WELCOME]);
        let results = world.end(&client);
        for (index, id) in IDS.into_iter().take(3).enumerate() {
            let packets = 10.0 * (1 + index) as f64;
            assert_eq!(figure(&results, id, "packets"), packets, "{results}");
            assert_eq!(figure(&results, id, "errors"), 1.0);
            assert_eq!(figure(&results, id, "bytes"), (packets - 1.0) * LEN as f64);
            assert!(figure(&results, id, "jitter") < 0.01);
        }
        // Nobody listens any more, and whoever comes next is served.
        world.send(streams[0], &HELLO);
        assert_eq!(world.receive(streams[0], 5), [[0; 0]; 0]);
        world.works(30_100);
        let stats = world.peer.stack.iperf_stats();
        assert_eq!((stats.begun, stats.done), (2, 2));
    });
}

#[test]
fn datagrams_are_sent_at_a_rate_with_times_and_numbers() {
    with_room(|| {
        let mut world = World::new();
        for (local, long) in [(31_000, 0), (31_100, 1)] {
            let more = format!(
                r#","parallel":1,"reverse":true,"bandwidth":800000,"udp_counters_64bit":{long}"#
            );
            let (client, streams) = world.start_udp(local, &more, 1);
            // Hundred in a second.
            let got = world.receive(streams[0], 2_000);
            assert!((190..=210).contains(&got.len()), "{}", got.len());
            let word = |bytes: &[u8], at: usize| {
                u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
            };
            let mut last = 0;
            for (index, bytes) in got.iter().enumerate() {
                assert_eq!(bytes.len(), LEN);
                let number = word(bytes, if long == 0 { 8 } else { 12 });
                assert_eq!(number, index + 1);
                assert!(long == 0 || word(bytes, 8) == 0);
                let time = word(bytes, 0) * 1_000_000 + word(bytes, 4);
                assert!(time > last);
                last = time;
            }
            world.say(client.control, &[TEST_END]);
            let results = world.results(&client);
            let packets = figure(&results, 1, "packets");
            assert!(packets >= got.len() as f64, "{results}");
            assert_eq!(figure(&results, 1, "bytes"), packets * LEN as f64);
            assert_eq!(figure(&results, 1, "errors"), 0.0);
        }
    });
}

#[test]
fn both_ways_by_datagrams() {
    with_room(|| {
        let mut world = World::new();
        let more = r#","parallel":1,"bidirectional":true,"bandwidth":800000"#;
        let (client, streams) = world.start_udp(32_000, more, 2);
        for number in 1..=20 {
            world.send(streams[0], &datagram(number, 0));
        }
        let got = world.receive(streams[1], 100);
        assert!(got.len() > 5);
        let results = world.end(&client);
        assert_eq!(figure(&results, 1, "packets"), 20.0, "{results}");
        assert!(figure(&results, 3, "packets") >= got.len() as f64);
    });
}

#[test]
fn a_client_that_never_opens_its_stream_is_not_waited_for() {
    with_room(|| {
        let mut world = World::new();
        let client = world.begin(33_000);
        world.hear(client.control, 1);
        world.say(client.control, &params(r#","parallel":1"#));
        assert_eq!(world.hear(client.control, 1), [CREATE_STREAMS]);
        world.rest(11_000);
        world.works(33_100);
        assert_eq!(world.peer.stack.iperf_stats().expired, 1);
    });
}

#[test]
fn as_many_as_go_where_no_rate_is_asked_for() {
    with_room(|| {
        let mut world = World::new();
        let (client, streams) = world.start_udp(34_000, r#","parallel":1,"reverse":true"#, 1);
        let got = world.receive(streams[0], 200).len();
        assert!(got > 400, "{got}");
        world.say(client.control, &[TEST_END]);
        world.results(&client);
        world.works(34_100);
    });
}
