// SPDX-License-Identifier: GPL-2.0 OR MIT

//! iperf3's client, as far as the server sees it: tests of each kind, clients that are too many, that ask
//! for too much, that stop in the middle, and that say anything at all.

mod udp;

use crate::world::{with_room, World};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};

const PORT: u16 = 5201;
const TEST_START: u8 = 1;
const TEST_RUNNING: u8 = 2;
const TEST_END: u8 = 4;
const PARAM_EXCHANGE: u8 = 9;
const CREATE_STREAMS: u8 = 10;
const EXCHANGE_RESULTS: u8 = 13;
const DISPLAY_RESULTS: u8 = 14;
const IPERF_DONE: u8 = 16;
const ACCESS_DENIED: u8 = 0xff;
const SERVER_ERROR: u8 = 0xfe;

/// What a client says of its own test.
const RESULTS: &str = r#"{"cpu_util_total":1.5,"cpu_util_user":0,"cpu_util_system":0,"sender_has_retransmits":0,"streams":[{"id":1,"bytes":1,"retransmits":0,"jitter":0,"errors":0,"packets":0}]}"#;

fn message(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u32).to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

fn params(more: &str) -> Vec<u8> {
    message(&format!(
        r#"{{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"len":131072,"pacing_timer":1000,"client_version":"3.18"{more}}}"#
    ))
}

/// The number behind `name`, of the stream `id` if that is not 0.
fn figure(text: &str, id: u32, name: &str) -> f64 {
    let from = match id {
        0 => text,
        id => {
            text.split_once(&format!("\"id\":{id},"))
                .expect("a stream")
                .1
        }
    };
    let rest = from.split_once(&format!("\"{name}\":")).expect(name).1;
    let end = rest.find([',', '}']).unwrap();
    rest[..end].parse().unwrap()
}

/// A client.
struct Client {
    cookie: Vec<u8>,
    local: u16,
    control: SocketHandle,
    streams: Vec<SocketHandle>,
}

impl World {
    fn begin(&mut self, local: u16) -> Client {
        let control = self.connect(PORT, local);
        let cookie = format!("{local:036}\0").into_bytes();
        self.say(control, &cookie);
        Client {
            cookie,
            local,
            control,
            streams: Vec::new(),
        }
    }

    /// Sends all of it.
    fn say(&mut self, handle: SocketHandle, bytes: &[u8]) {
        let mut sent = 0;
        self.until(|sockets| {
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_send() && sent < bytes.len() {
                sent += socket.send_slice(&bytes[sent..]).unwrap();
            }
            (sent == bytes.len() && socket.send_queue() == 0).then_some(())
        });
    }

    /// Takes `count` bytes, or what comes before the end.
    fn hear(&mut self, handle: SocketHandle, count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        self.until(|sockets| {
            let socket = sockets.get_mut::<Socket<'_>>(handle);
            if socket.can_recv() {
                let mut bytes = vec![0; count - got.len()];
                let taken = socket.recv_slice(&mut bytes).unwrap();
                got.extend(&bytes[..taken]);
            }
            let open = socket.may_recv() || socket.state() == State::SynSent;
            (got.len() == count || !open).then_some(())
        });
        got
    }

    fn rest(&mut self, millis: u64) {
        let end = self.now + millis;
        let mut now = self.now;
        self.until(|_| {
            now += 1;
            (now >= end).then_some(())
        });
    }

    /// Up to where the test runs, with what stands in `more` besides.
    fn start(&mut self, client: &mut Client, streams: u16, more: &str) {
        self.start_as(client, streams, &params(more));
    }

    fn start_as(&mut self, client: &mut Client, streams: u16, params: &[u8]) {
        assert_eq!(self.hear(client.control, 1), [PARAM_EXCHANGE]);
        self.say(client.control, params);
        assert_eq!(self.hear(client.control, 1), [CREATE_STREAMS]);
        for number in 0..streams {
            let stream = self.connect(PORT, client.local + 1 + number);
            self.say(stream, &client.cookie);
            client.streams.push(stream);
        }
        let told = self.hear(client.control, 2);
        assert_eq!(told, [TEST_START, TEST_RUNNING]);
    }

    /// Has the test end, and returns what the server says of it.
    fn end(&mut self, client: &Client) -> String {
        self.say(client.control, &[TEST_END]);
        self.results(client)
    }

    fn results(&mut self, client: &Client) -> String {
        assert_eq!(self.hear(client.control, 1), [EXCHANGE_RESULTS]);
        self.say(client.control, &message(RESULTS));
        let len = self.hear(client.control, 4);
        let len = u32::from_be_bytes(len.try_into().unwrap());
        let text = self.hear(client.control, len as usize);
        assert_eq!(self.hear(client.control, 1), [DISPLAY_RESULTS]);
        self.say(client.control, &[IPERF_DONE]);
        for handle in client.streams.iter().chain([&client.control]) {
            self.sockets.get_mut::<Socket<'_>>(*handle).close();
        }
        String::from_utf8(text).unwrap()
    }

    /// All of a test of which nothing is measured.
    fn works(&mut self, local: u16) {
        let mut client = self.begin(local);
        self.start(&mut client, 1, r#","parallel":1"#);
        self.say(client.streams[0], &[7; 10_000]);
        let results = self.end(&client);
        assert_eq!(figure(&results, 1, "bytes"), 10_000.0);
    }
}

/// The client's numbers of its streams.
const IDS: [u32; 8] = [1, 3, 4, 5, 6, 7, 8, 9];

#[test]
fn what_is_sent_is_counted() {
    with_room(|| {
        let mut world = World::new();
        for (local, streams) in [(30_000, 1), (30_100, 4), (30_200, 8)] {
            let mut client = world.begin(local);
            world.start(&mut client, streams, &format!(r#","parallel":{streams}"#));
            for (index, stream) in client.streams.clone().into_iter().enumerate() {
                world.say(stream, &vec![1; 50_000 * (1 + index)]);
            }
            let results = world.end(&client);
            for (index, id) in IDS.into_iter().take(streams.into()).enumerate() {
                let bytes = 50_000 * (1 + index);
                assert_eq!(figure(&results, id, "bytes"), bytes as f64, "{results}");
            }
            assert!(figure(&results, 1, "end_time") > 0.0);
        }
        let stats = world.peer.stack.iperf_stats();
        assert_eq!((stats.begun, stats.done), (3, 3));
    });
}

/// Takes what comes on all streams until that are `enough` bytes, or `millis` have passed.
fn take(world: &mut World, streams: &[SocketHandle], enough: usize, millis: u64) -> Vec<usize> {
    let mut got = vec![0; streams.len()];
    let mut left = millis;
    world.until(|sockets| {
        for (handle, got) in streams.iter().zip(&mut got) {
            let socket = sockets.get_mut::<Socket<'_>>(*handle);
            while socket.can_recv() {
                *got += socket.recv(|bytes| (bytes.len(), bytes.len())).unwrap();
            }
        }
        left -= 1;
        (got.iter().sum::<usize>() >= enough || left == 0).then_some(())
    });
    got
}

#[test]
fn the_other_way_it_is_sent_until_the_client_has_enough() {
    with_room(|| {
        let mut world = World::new();
        for (local, streams) in [(31_000, 1), (31_100, 4)] {
            let mut client = world.begin(local);
            let more = format!(r#","parallel":{streams},"reverse":true"#);
            world.start(&mut client, streams, &more);
            let before = take(&mut world, &client.streams, 500_000, 20_000);
            world.say(client.control, &[TEST_END]);
            // What is on its way still comes, and then the end.
            let after = take(&mut world, &client.streams, usize::MAX, 3_000);
            let results = world.results(&client);
            for ((id, before), after) in IDS.into_iter().zip(before).zip(after) {
                assert_eq!(figure(&results, id, "bytes"), (before + after) as f64);
            }
        }
    });
}

#[test]
fn a_rate_is_kept_to() {
    with_room(|| {
        let mut world = World::new();
        let mut client = world.begin(32_000);
        let more = r#","parallel":1,"reverse":true,"bandwidth":8000000"#;
        world.start(&mut client, 1, more);
        // A million bytes in a second, by blocks.
        let got = take(&mut world, &client.streams, usize::MAX, 2_000)[0];
        assert!((1_900_000..2_300_000).contains(&got), "{got}");
        world.end(&client);
    });
}

#[test]
fn both_ways_at_once() {
    with_room(|| {
        let mut world = World::new();
        let mut client = world.begin(33_000);
        let more = r#","parallel":1,"bidirectional":true"#;
        world.start(&mut client, 2, more);
        world.say(client.streams[0], &[5; 70_000]);
        let got = take(&mut world, &client.streams[1..], 300_000, 20_000);
        let results = world.end(&client);
        assert_eq!(figure(&results, 1, "bytes"), 70_000.0);
        assert!(figure(&results, 3, "bytes") >= got[0] as f64, "{results}");
    });
}

#[test]
fn the_first_seconds_can_be_left_out() {
    with_room(|| {
        let mut world = World::new();
        let mut client = world.begin(33_500);
        let said = message(r#"{"tcp":true,"parallel":1,"len":1000,"omit":1,"time":5}"#);
        world.start_as(&mut client, 1, &said);
        let stream = client.streams[0];
        world.say(stream, &[5; 70_000]);
        world.rest(1500);
        world.say(stream, &[5; 30_000]);
        let results = world.end(&client);
        assert_eq!(figure(&results, 1, "bytes"), 30_000.0);
        assert!(figure(&results, 1, "end_time") < 1.0);
    });
}

#[test]
fn one_test_at_a_time() {
    with_room(|| {
        let mut world = World::new();
        let mut first = world.begin(34_000);
        for (local, when) in [(34_100, "before"), (34_200, "during")] {
            let other = world.begin(local);
            assert_eq!(world.hear(other.control, 2), [ACCESS_DENIED], "{when}");
            world.sockets.get_mut::<Socket<'_>>(other.control).close();
            if when == "before" {
                world.start(&mut first, 4, r#","parallel":4"#);
            }
        }
        world.say(first.streams[3], b"still here");
        let results = world.end(&first);
        assert_eq!(figure(&results, 5, "bytes"), 10.0);
        // At once.
        world.works(34_300);
        let stats = world.peer.stack.iperf_stats();
        assert_eq!((stats.begun, stats.done, stats.denied), (2, 2, 2));
    });
}

#[test]
fn what_is_not_measured_is_refused_at_once() {
    with_room(|| {
        let mut world = World::new();
        for (local, text, code) in [
            (35_000, r#"{"tcp":true,"parallel":9,"len":1000}"#, 6),
            (35_010, r#"{"sctp":true,"parallel":1,"len":1000}"#, 131),
            (35_020, r#"{"tcp":true,"parallel":1,"len":0}"#, 7),
            (35_030, r#"{"udp":true,"parallel":1,"len":1473}"#, 20),
            (35_040, r#"{"tcp":1}"#, 114),
            (35_050, "hello", 114),
        ] {
            let client = world.begin(local);
            assert_eq!(world.hear(client.control, 1), [PARAM_EXCHANGE]);
            world.say(client.control, &message(text));
            let told = world.hear(client.control, 10);
            assert_eq!(told, [SERVER_ERROR, 0, 0, 0, code, 0, 0, 0, 0], "{text}");
            world.sockets.get_mut::<Socket<'_>>(client.control).close();
        }
        // A text that is too long is not waited for.
        let client = world.begin(35_060);
        world.hear(client.control, 1);
        world.say(client.control, &[0, 1, 0, 0]);
        assert_eq!(world.hear(client.control, 10)[0], SERVER_ERROR);
        world.works(35_100);
        assert_eq!(world.peer.stack.iperf_stats().refused, 7);
    });
}

/// Whether Linux's end of the connection was reset.
fn is_reset(world: &mut World, handle: SocketHandle) -> bool {
    world.sockets.get_mut::<Socket<'_>>(handle).state() == State::Closed
}

#[test]
fn nobody_is_waited_for_for_long() {
    with_room(|| {
        let mut world = World::new();
        // Without a cookie.
        let silent = world.connect(PORT, 36_000);
        world.rest(4_500);
        assert!(!is_reset(&mut world, silent));
        world.rest(1_000);
        assert!(is_reset(&mut world, silent));
        // In each of the other states.
        for stage in 0..4u16 {
            let local = 36_100 + 100 * stage;
            let mut client = world.begin(local);
            match stage {
                0 => assert_eq!(world.hear(client.control, 1), [PARAM_EXCHANGE]),
                1 => {
                    world.hear(client.control, 1);
                    world.say(client.control, &params(r#","parallel":2"#));
                    assert_eq!(world.hear(client.control, 1), [CREATE_STREAMS]);
                }
                2 => world.start(&mut client, 1, r#","parallel":1"#),
                _ => {
                    world.start(&mut client, 1, r#","parallel":1,"reverse":true"#);
                    world.say(client.control, &[TEST_END]);
                    assert_eq!(world.hear(client.control, 1), [EXCHANGE_RESULTS]);
                }
            }
            let limit = if stage == 2 { 41_000 } else { 10_000 };
            world.rest(limit - 500);
            assert!(!is_reset(&mut world, client.control), "stage {stage}");
            world.rest(1_000);
            assert!(is_reset(&mut world, client.control), "stage {stage}");
            world.works(local + 50);
            // Streams of it are closed, and after a while reset.
            world.rest(15_000);
        }
        assert_eq!(world.peer.stack.iperf_stats().expired, 5);
    });
}

#[test]
fn a_client_that_is_gone_leaves_room_for_the_next() {
    with_room(|| {
        let mut world = World::new();
        for stage in 0..3u16 {
            let local = 37_000 + 100 * stage;
            let mut client = world.begin(local);
            match stage {
                0 => {}
                1 => world.start(&mut client, 2, r#","parallel":2"#),
                _ => world.start(&mut client, 2, r#","parallel":2,"reverse":true"#),
            }
            for handle in client.streams.iter().chain([&client.control]) {
                world.sockets.get_mut::<Socket<'_>>(*handle).abort();
            }
            world.rest(10);
            world.works(local + 50);
        }
        assert_eq!(world.peer.stack.iperf_stats().broken, 3);
    });
}

/// What a client says or does that knows no rules.
#[derive(Clone, Debug)]
enum Step {
    Connect,
    Cookie(usize, u8),
    Params(usize, bool, u32, u32),
    State(usize, u8),
    Bytes(usize, Vec<u8>),
    Results(usize),
    Close(usize),
    Abort(usize),
    Rest(u16),
}

fn step() -> impl Strategy<Value = Step> {
    let which = || 0usize..8;
    prop_oneof![
        3 => Just(Step::Connect),
        4 => (which(), 0u8..3).prop_map(|(a, b)| Step::Cookie(a, b)),
        3 => (which(), any::<bool>(), 0u32..5, 0u32..70_000)
            .prop_map(|(a, b, c, d)| Step::Params(a, b, c, d)),
        3 => (which(), prop_oneof![Just(TEST_END), any::<u8>()]).prop_map(|(a, b)| Step::State(a, b)),
        1 => (which(), prop::collection::vec(any::<u8>(), 0..3000)).prop_map(|(a, b)| Step::Bytes(a, b)),
        2 => which().prop_map(Step::Results),
        1 => which().prop_map(Step::Close),
        1 => which().prop_map(Step::Abort),
        3 => prop_oneof![1u16..5, 1u16..3000].prop_map(Step::Rest),
    ]
}

impl World {
    fn anything(&mut self, steps: Vec<Step>, local: u16) {
        let mut handles: Vec<SocketHandle> = Vec::new();
        for (number, step) in (0u16..).zip(steps) {
            let mut send = |which: usize, bytes: &[u8]| {
                if let Some(handle) = handles.get(which) {
                    let _ = self
                        .sockets
                        .get_mut::<Socket<'_>>(*handle)
                        .send_slice(bytes);
                }
            };
            match step {
                Step::Connect => {
                    if handles.len() == 8 {
                        let old = handles.remove(0);
                        self.sockets.get_mut::<Socket<'_>>(old).abort();
                    }
                    let handle = self.connect(PORT, local + number);
                    handles.push(handle);
                }
                Step::Cookie(which, cookie) => send(which, &[b'a' + cookie; 37]),
                Step::Params(which, reverse, parallel, len) => send(
                    which,
                    &message(&format!(
                        r#"{{"tcp":true,"time":1,"parallel":{parallel},"reverse":{reverse},"len":{len}}}"#
                    )),
                ),
                Step::State(which, state) => send(which, &[state]),
                Step::Bytes(which, bytes) => send(which, &bytes),
                Step::Results(which) => send(which, &message(RESULTS)),
                Step::Close(which) => {
                    if let Some(handle) = handles.get(which) {
                        self.sockets.get_mut::<Socket<'_>>(*handle).close();
                    }
                }
                Step::Abort(which) => {
                    if let Some(handle) = handles.get(which) {
                        self.sockets.get_mut::<Socket<'_>>(*handle).abort();
                    }
                }
                Step::Rest(millis) => self.rest(u64::from(millis)),
            }
            self.rest(1);
        }
        for handle in handles {
            self.sockets.get_mut::<Socket<'_>>(handle).abort();
        }
        self.rest(10);
    }
}

#[test]
fn whatever_a_client_says_the_next_one_is_served() {
    with_room(|| {
        let config = ProptestConfig {
            cases: ProptestConfig::default().cases / 4,
            failure_persistence: None,
            max_shrink_iters: 100,
            ..ProptestConfig::default()
        };
        TestRunner::new(config)
            .run(&prop::collection::vec(step(), 1..40), |steps| {
                let mut world = World::new();
                world.anything(steps, 40_000);
                world.works(50_000);
                Ok(())
            })
            .unwrap();
    });
}
