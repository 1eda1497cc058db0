// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The limits of TCP connections while others come and go: whoever keeps to them is never refused,
//! whoever does not is refused soon. Linux opens and closes without waiting for the peer, what it says on one
//! connection may overtake what it has said on another, and it may ask twice.

use crate::hostile::{arp, tcp, SEGMENT};
use crate::world::{with_room, World, LINUX};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use smoltcp::wire::{
    ArpOperation, EthernetFrame, EthernetProtocol, Ipv4Packet, TcpControl, TcpPacket, TcpRepr,
    TcpSeqNumber,
};
use std::collections::{BTreeMap, VecDeque};

/// Services, and the connections that each may have.
const SERVICES: [(u16, usize); 4] = [(7, 8), (9, 8), (19, 8), (80, 4)];

/// What users of Linux's do, to one of the connections that they have.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(usize),
    OpenTooMany(usize),
    /// Linux has no answer yet, and asks again.
    Again(usize),
    Write(usize),
    Close(usize),
    /// What is said last on the next connection to be closed is said in the next pass only.
    Delay,
    Reset(usize),
    Pass,
    /// Linux takes so many frames.
    Take(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        16 => (0usize..4).prop_map(Step::Open),
        2 => (0usize..4).prop_map(Step::OpenTooMany),
        2 => any::<usize>().prop_map(Step::Again),
        2 => Just(Step::Delay),
        4 => any::<usize>().prop_map(Step::Write),
        8 => any::<usize>().prop_map(Step::Close),
        1 => any::<usize>().prop_map(Step::Reset),
        4 => Just(Step::Pass),
        4 => (1usize..40).prop_map(Step::Take),
    ]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Asked,
    Open,
    /// Linux has closed it.
    Closed,
}

#[derive(Clone, Copy, Debug)]
struct Client {
    state: State,
    /// One too many; and whether another has gone since.
    extra: Option<bool>,
    seq: i32,
    /// What of it the peer has acknowledged.
    acked: i32,
    ack: i32,
    unread: bool,
}

struct Clients {
    world: World,
    next: u16,
    /// By Linux's port and the peer's.
    all: BTreeMap<(u16, u16), Client>,
    queue: VecDeque<Vec<u8>>,
    delay: bool,
    late: Vec<((u16, u16), Vec<u8>)>,
    refused: usize,
}

impl Clients {
    fn flush(&mut self) -> bool {
        let mut any = false;
        while !self.queue.is_empty() && self.world.driver.can_send() {
            self.world
                .driver
                .send_frame(&self.queue.pop_front().unwrap());
            any = true;
        }
        any
    }

    fn say(&mut self, ports: (u16, u16), control: TcpControl, payload: &[u8]) {
        let client = self.all.get_mut(&ports).unwrap();
        let syn = control == TcpControl::Syn;
        let frame = tcp(
            LINUX,
            &TcpRepr {
                src_port: ports.0,
                dst_port: ports.1,
                control,
                seq_number: TcpSeqNumber(client.seq),
                ack_number: (!syn).then_some(TcpSeqNumber(client.ack)),
                window_scale: syn.then_some(7),
                max_seg_size: syn.then_some(1460),
                payload,
                ..SEGMENT
            },
        );
        let ends = control == TcpControl::Fin;
        client.seq += payload.len() as i32 + i32::from(ends || syn);
        // One connection's frames stay in order.
        let behind = self.late.iter().any(|(other, _)| *other == ports);
        if behind || (ends && std::mem::take(&mut self.delay)) {
            self.late.push((ports, frame));
        } else {
            self.queue.push_back(frame);
            self.flush();
        }
    }

    /// Connections to `port` that users have or ask for.
    fn live(&self, port: u16) -> usize {
        let of = |(ports, client): &(&(u16, u16), &Client)| {
            ports.1 == port && client.state != State::Closed
        };
        self.all.iter().filter(of).count()
    }

    fn open(&mut self, port: u16, extra: Option<bool>) {
        self.next += 1;
        let seq = 1000 * i32::from(self.next);
        let client = Client {
            state: State::Asked,
            extra,
            seq,
            acked: seq,
            ack: 0,
            unread: false,
        };
        self.all.insert((self.next, port), client);
        self.say((self.next, port), TcpControl::Syn, &[]);
    }

    /// A user has one connection to `port` less.
    fn gone(&mut self, port: u16) {
        for (ports, client) in &mut self.all {
            if ports.1 == port {
                client.extra = client.extra.map(|_| true);
            }
        }
    }

    fn pick(&self, which: usize, of: impl Fn(&Client) -> bool) -> Option<(u16, u16)> {
        let some: Vec<_> = self.all.iter().filter(|(_, client)| of(client)).collect();
        (!some.is_empty()).then(|| *some[which % some.len()].0)
    }

    fn step(&mut self, step: Step) -> bool {
        let open = |client: &Client| client.state == State::Open;
        match step {
            Step::Open(which) => {
                let (port, limit) = SERVICES[which];
                if self.live(port) < limit {
                    self.open(port, None);
                }
            }
            Step::OpenTooMany(which) => {
                let (port, limit) = SERVICES[which];
                let asked = |(ports, client): &(&(u16, u16), &Client)| {
                    ports.1 == port && client.extra.is_some()
                };
                // Those that asked for too much may have their answer already.
                if self.live(port) - self.all.iter().filter(asked).count() == limit {
                    self.open(port, Some(false));
                }
            }
            Step::Again(which) => {
                if let Some(ports) = self.pick(which, |client| client.state == State::Asked) {
                    self.all.get_mut(&ports).unwrap().seq -= 1;
                    self.say(ports, TcpControl::Syn, &[]);
                }
            }
            Step::Delay => self.delay = true,
            Step::Write(which) => {
                if let Some(ports) = self.pick(which, open).filter(|ports| ports.1 != 80) {
                    self.say(ports, TcpControl::Psh, &[1; 100]);
                }
            }
            Step::Close(which) => {
                // With all that was written acknowledged.
                let quiet = |client: &Client| open(client) && client.acked == client.seq;
                if let Some(ports) = self.pick(which, quiet) {
                    let unread = self.all[&ports].unread;
                    if unread {
                        self.say(ports, TcpControl::Rst, &[]);
                        self.all.remove(&ports);
                    } else {
                        self.say(ports, TcpControl::Fin, &[]);
                        self.all.get_mut(&ports).unwrap().state = State::Closed;
                    }
                    self.gone(ports.1);
                }
            }
            Step::Reset(which) => {
                if let Some(ports) = self.pick(which, open) {
                    self.say(ports, TcpControl::Rst, &[]);
                    self.all.remove(&ports);
                    self.gone(ports.1);
                }
            }
            Step::Pass => {
                self.world.now += 1;
                let busy = self.world.peer.pass(self.world.now);
                self.queue
                    .extend(self.late.drain(..).map(|(_, frame)| frame));
                return busy | self.flush();
            }
            Step::Take(count) => {
                let mut any = false;
                for _ in 0..count {
                    let Some(frame) = self.world.driver.receive_frame() else {
                        break;
                    };
                    self.deliver(&frame);
                    any = true;
                }
                return any;
            }
        }
        false
    }

    fn deliver(&mut self, frame: &[u8]) {
        let frame = EthernetFrame::new_checked(frame).unwrap();
        if frame.ethertype() != EthernetProtocol::Ipv4 {
            return;
        }
        let packet = Ipv4Packet::new_checked(frame.payload()).unwrap();
        let tcp = TcpPacket::new_checked(packet.payload()).unwrap();
        let ports = (tcp.dst_port(), tcp.src_port());
        let Some(client) = self.all.get_mut(&ports) else {
            return;
        };
        if tcp.rst() {
            assert_ne!(client.state, State::Open, "{ports:?} was reset");
            if client.state == State::Asked {
                assert!(client.extra.is_some(), "{ports:?} was refused");
                self.refused += 1;
            }
            self.all.remove(&ports);
            return;
        }
        client.acked = tcp.ack_number().0;
        if tcp.syn() {
            assert_ne!(client.extra, Some(false), "one too many was let in");
            client.state = State::Open;
            client.extra = None;
        }
        let len = tcp.segment_len();
        if len == 0 || (client.ack != 0 && client.ack != tcp.seq_number().0) {
            return;
        }
        client.ack = tcp.seq_number().0.wrapping_add(len as i32);
        let bytes = !tcp.payload().is_empty();
        // What comes for nobody is answered by a reset.
        if bytes && client.state == State::Closed {
            self.say(ports, TcpControl::Rst, &[]);
            self.all.remove(&ports);
            return;
        }
        client.unread |= bytes;
        let over = tcp.fin() && client.state == State::Closed;
        self.say(ports, TcpControl::None, &[]);
        if over {
            self.all.remove(&ports);
        }
    }
}

/// Does all that, then what there is to do until nothing moves any more.
fn churn(steps: &[Step]) -> usize {
    let mut clients = Clients {
        world: World::new(),
        next: 10_000,
        all: BTreeMap::new(),
        queue: VecDeque::new(),
        delay: false,
        late: Vec::new(),
        refused: 0,
    };
    clients.step(Step::Pass);
    clients
        .world
        .driver
        .send_frame(&arp(ArpOperation::Request, LINUX));
    clients.step(Step::Pass);
    for step in steps {
        clients.step(*step);
    }
    // Chargen goes on for ever.
    for _ in 0..60 {
        clients.step(Step::Take(1000));
        clients.step(Step::Pass);
    }
    for (ports, client) in &clients.all {
        assert_eq!(client.state, State::Open, "{ports:?}: silence");
    }
    clients.refused
}

#[test]
fn the_limits_are_exact_while_others_come_and_go() {
    with_room(|| {
        let config = ProptestConfig {
            cases: ProptestConfig::default().cases / 10,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        TestRunner::new(config)
            .run(&prop::collection::vec(step(), 0..400), |steps| {
                churn(&steps);
                Ok(())
            })
            .unwrap();
    });
}

#[test]
fn who_comes_right_after_another_has_gone_is_let_in() {
    with_room(|| {
        let mut steps = Vec::new();
        for service in 0..4 {
            steps.extend([Step::Open(service); 8]);
        }
        for _ in 0..50 {
            // Those that were too many are told so.
            steps.extend([Step::Pass; 60]);
            steps.push(Step::Take(100));
            // All go, and as many come, before the peer has looked.
            steps.extend([Step::Close(0); 28]);
            for service in 0..4 {
                steps.extend([Step::Open(service); 8]);
                steps.push(Step::OpenTooMany(service));
            }
        }
        assert!(churn(&steps) > 50);
    });
}

#[test]
fn who_overtakes_the_end_of_another_is_let_in() {
    use Step::{Close, Delay, Open, Pass, Take};
    with_room(|| {
        let mut steps = vec![Open(0); 8];
        for _ in 0..50 {
            steps.extend([Pass, Pass, Take(100), Delay, Close(3), Open(0)]);
        }
        assert_eq!(churn(&steps), 0);
    });
}

#[test]
fn who_asks_twice_has_one_connection() {
    use Step::{Again, Close, Open, Pass, Take};
    with_room(|| {
        let mut steps = Vec::new();
        for _ in 0..8 {
            steps.extend([Open(0), Again(0), Pass, Again(0), Take(100), Pass]);
        }
        // A place becomes free in front of those in use.
        for _ in 0..20 {
            steps.extend([Close(0), Pass, Take(100), Pass]);
            steps.extend([Open(0), Again(0), Pass, Again(0), Take(100), Pass]);
        }
        assert_eq!(churn(&steps), 0);
    });
}

/// Found by the first of these tests: acknowledgements filled the ring after the peer had said its end of some
/// connections, and their places were not given to others.
#[test]
fn who_has_said_its_end_makes_room_whatever_is_said_after_it() {
    use Step::{Close, Open, OpenTooMany, Pass, Take, Write};
    with_room(|| {
        churn(&[
            Open(2),
            Open(0),
            OpenTooMany(0),
            Open(0),
            Open(2),
            Open(0),
            Open(0),
            Open(0),
            Open(3),
            Pass,
            Take(9),
            Open(0),
            Pass,
            Close(11779161897890190412),
            Take(10),
            Open(2),
            Close(6473894387933458385),
            Open(3),
            Open(0),
            Open(3),
            Write(9079688986212682322),
            Open(1),
            Open(1),
            Close(0),
            Open(0),
            Open(0),
            Close(0),
            Open(1),
            Open(3),
            Open(1),
            Close(0),
            Open(0),
            Open(2),
            Close(0),
            Open(0),
            Take(10),
            Open(1),
            Open(2),
            Close(0),
            Open(1),
            Open(0),
            Open(1),
            OpenTooMany(0),
            Open(2),
            Take(1),
            Pass,
            Open(0),
            Open(0),
            Close(0),
            Open(3),
            Open(0),
            Open(0),
            Open(1),
            Open(0),
            Pass,
            Pass,
            Open(0),
            Take(26),
            Write(10043788364853926152),
            Pass,
            Open(0),
            Open(0),
            Open(0),
            Close(8291798187162657568),
            Write(1119743257212876026),
            Close(7371947914424063577),
            Take(28),
            Close(2778624186725537992),
            Close(13958260224162264188),
            Close(3903611414519466999),
            Close(3394879838418932966),
            Pass,
            Open(3),
            Write(4313609414944139899),
            Close(12802617466255963252),
            Close(11822689514300882675),
            Close(1400212380246586434),
            Close(5176796690404598731),
            Close(15555192784507905194),
            Close(15913629608877405019),
            Take(25),
            Close(13939842050137333787),
            Close(7792661364677886755),
            Close(9085711210711517480),
            Take(7),
            Close(11870402363752772564),
            Pass,
            Take(1),
            Close(13266426428572797752),
            Close(14307650162289191279),
            Open(3),
            Close(9946167705439650210),
            Close(2757637208414498189),
            Open(3),
            Write(1354904484442549250),
            Close(10238793347221459404),
            Open(3),
            Open(3),
        ]);
    });
}
