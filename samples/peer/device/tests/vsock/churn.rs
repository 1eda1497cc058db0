// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The limit of connections while others come and go: whoever keeps to it is never refused, whoever
//! does not is refused at once. Linux opens and closes without waiting for the peer.

use crate::linux::{packet, room, shutdown, Linux, LARGE, SLOT, TX};
use hvl_device::vsock::packet::{op, Header, HEADER};
use hvl_device::vsock::CONNECTIONS;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What users of Linux's do, to one of the connections that they have.
#[derive(Clone, Copy, Debug)]
enum Step {
    Open(u32),
    /// One more than there may be.
    OpenTooMany,
    Close(usize),
    /// Sends no more, and waits for the end.
    Half(usize),
    Write(usize, usize),
    /// Gives up before there was an answer.
    Abort(usize),
    Pass,
    /// Linux takes so many packets, and gives the buffers back only if told to.
    Take(usize, bool),
    /// Linux gives back the buffers that it has kept.
    Post,
}

fn step() -> impl Strategy<Value = Step> {
    let port = || prop_oneof![Just(7u32), Just(9), Just(19)];
    prop_oneof![
        16 => port().prop_map(Step::Open),
        2 => Just(Step::OpenTooMany),
        8 => any::<usize>().prop_map(Step::Close),
        2 => any::<usize>().prop_map(Step::Half),
        6 => (any::<usize>(), prop_oneof![1usize..100, 1usize..65_536])
            .prop_map(|(which, len)| Step::Write(which, len)),
        1 => any::<usize>().prop_map(Step::Abort),
        4 => Just(Step::Pass),
        4 => (1usize..80, any::<bool>()).prop_map(|(count, post)| Step::Take(count, post)),
        1 => Just(Step::Post),
    ]
}

/// A connection that a user of Linux's has.
#[derive(Default)]
struct User {
    open: bool,
    half: bool,
    sent: usize,
    got: u32,
}

struct World<'a> {
    linux: Linux<'a>,
    next: u32,
    /// By Linux's port and the peer's.
    users: BTreeMap<(u32, u32), User>,
    /// Linux has closed them, and they may get anything.
    closing: BTreeSet<(u32, u32)>,
    /// Given up before there was an answer; each answer is answered by a reset.
    aborted: BTreeSet<(u32, u32)>,
    /// They have to be refused, unless somebody else goes before they are answered.
    too_many: BTreeMap<(u32, u32), bool>,
    queue: VecDeque<(Header, Vec<u8>)>,
    kept: Vec<u16>,
    refused: usize,
}

impl World<'_> {
    /// Puts into the ring what there is room for; one large packet at a time.
    fn flush(&mut self) -> bool {
        let mut any = false;
        while let Some((header, data)) = self.queue.front() {
            let len = (HEADER + data.len()) as u32;
            assert!(len <= LARGE + SLOT);
            let large = len > SLOT;
            if self.linux.under_way() == TX || (large && self.linux.under_way() > 0) {
                break;
            }
            self.linux.send_raw(header, data);
            self.queue.pop_front();
            any = true;
            // The next large one overwrites this one, so it has to go alone.
            if large {
                break;
            }
        }
        any
    }

    fn emit(&mut self, header: Header, data: Vec<u8>) {
        let ports = (header.src_port, header.dst_port);
        let fwd_cnt = self.users.get(&ports).map_or(0, |user| user.got);
        self.queue.push_back((Header { fwd_cnt, ..header }, data));
        self.flush();
    }

    fn open(&mut self, port: u32) -> (u32, u32) {
        self.next += 1;
        let ports = (self.next, port);
        self.emit(packet(ports, op::REQUEST, 0), Vec::new());
        ports
    }

    /// A user has one connection less.
    fn gone(&mut self, ports: (u32, u32)) {
        self.users.remove(&ports);
        self.too_many.values_mut().for_each(|room| *room = true);
    }

    /// The connection that a step is about, if it is one `of` those.
    fn pick(&self, which: usize, of: impl Fn(&User) -> bool) -> Option<(u32, u32)> {
        let some: Vec<_> = self.users.iter().filter(|(_, user)| of(user)).collect();
        (!some.is_empty()).then(|| *some[which % some.len()].0)
    }

    fn step(&mut self, step: Step) -> bool {
        match step {
            Step::Open(port) => {
                if self.users.len() + self.too_many.len() < CONNECTIONS {
                    let ports = self.open(port);
                    self.users.insert(ports, User::default());
                }
            }
            Step::OpenTooMany => {
                if self.users.len() == CONNECTIONS {
                    let ports = self.open(9);
                    self.too_many.insert(ports, false);
                }
            }
            Step::Close(which) => {
                if let Some(ports) = self.pick(which, |user| user.open) {
                    self.emit(shutdown(ports, 3), Vec::new());
                    self.gone(ports);
                    self.closing.insert(ports);
                }
            }
            Step::Half(which) => {
                if let Some(ports) = self.pick(which, |user| user.open && !user.half) {
                    self.emit(shutdown(ports, 2), Vec::new());
                    self.users.get_mut(&ports).unwrap().half = true;
                }
            }
            Step::Write(which, len) => {
                // As much as there is credit for without asking.
                let can = |user: &User| user.open && !user.half && user.sent + len <= 0x1_0000;
                if let Some(ports) = self.pick(which, can) {
                    self.emit(packet(ports, op::RW, len), vec![1; len]);
                    self.users.get_mut(&ports).unwrap().sent += len;
                }
            }
            Step::Abort(which) => {
                if let Some(ports) = self.pick(which, |user| !user.open) {
                    self.gone(ports);
                    self.aborted.insert(ports);
                }
            }
            Step::Pass => return self.linux.pass() | self.flush(),
            Step::Take(count, post) => {
                let mut any = false;
                for _ in 0..count {
                    let Some((header, _, head)) = self.linux.take() else {
                        break;
                    };
                    if post {
                        self.linux.post(head);
                    } else {
                        self.kept.push(head);
                    }
                    self.deliver(&header);
                    any = true;
                }
                return any;
            }
            Step::Post => {
                for head in std::mem::take(&mut self.kept) {
                    self.linux.post(head);
                }
            }
        }
        false
    }

    fn deliver(&mut self, header: &Header) {
        let ports = (header.dst_port, header.src_port);
        if let Some(room) = self.too_many.remove(&ports) {
            if header.op == op::RST {
                self.refused += 1;
            } else {
                assert!(room, "one too many was let in");
                assert_eq!(header.op, op::RESPONSE);
                self.users.insert(ports, User::default());
                self.users.get_mut(&ports).unwrap().open = true;
            }
            return;
        }
        if self.aborted.contains(&ports) {
            if header.op == op::RST {
                self.aborted.remove(&ports);
            } else {
                self.emit(packet(ports, op::RST, 0), Vec::new());
            }
            return;
        }
        if self.closing.contains(&ports) {
            // Linux has no such socket any more once it was reset.
            match header.op {
                op::RST => drop(self.closing.remove(&ports)),
                op::SHUTDOWN => {
                    self.closing.remove(&ports);
                    self.emit(packet(ports, op::RST, 0), Vec::new());
                }
                _ => {}
            }
            return;
        }
        let Some(user) = self.users.get_mut(&ports) else {
            assert_eq!(header.op, op::RST, "{header:?} for nobody");
            return;
        };
        match header.op {
            op::RESPONSE => user.open = true,
            op::RW => user.got += header.len,
            op::SHUTDOWN => {
                self.emit(packet(ports, op::RST, 0), Vec::new());
                self.gone(ports);
            }
            op::CREDIT_REQUEST => self.emit(packet(ports, op::CREDIT_UPDATE, 0), Vec::new()),
            op::CREDIT_UPDATE => {}
            _ => panic!("{header:?} to one of {}", self.users.len()),
        }
    }
}

fn churn(steps: &[Step]) -> usize {
    let mut room = room();
    let mut world = World {
        linux: Linux::new(&mut room),
        next: 5000,
        users: BTreeMap::new(),
        closing: BTreeSet::new(),
        aborted: BTreeSet::new(),
        too_many: BTreeMap::new(),
        queue: VecDeque::new(),
        kept: Vec::new(),
        refused: 0,
    };
    for step in steps {
        world.step(*step);
    }
    let mut idle = 0;
    while idle < 3 {
        world.step(Step::Post);
        let any = world.step(Step::Take(100, true)) | world.step(Step::Pass);
        idle = if any { 0 } else { idle + 1 };
    }
    assert!(world.queue.is_empty());
    assert!(world.users.values().all(|user| user.open), "no answer");
    assert!(world.too_many.is_empty(), "silence in place of a refusal");
    assert!(world.closing.is_empty());
    assert_eq!(world.linux.rig.device.connections(), world.users.len());
    world.refused
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases * 4 / 5))]

    #[test]
    fn the_limit_is_exact_while_others_come_and_go(
        steps in prop::collection::vec(step(), 0..600),
    ) {
        churn(&steps);
    }
}

#[test]
fn who_comes_right_after_another_has_gone_is_let_in() {
    let mut steps = vec![Step::Open(9); CONNECTIONS];
    steps.extend([Step::Pass, Step::Take(100, true)]);
    for round in 0..200 {
        // Everything that there is credit for waits to be looked at.
        steps.extend([
            Step::Write(round, 60_000),
            Step::Close(round),
            Step::Open(9),
        ]);
        if round % 7 == 0 {
            steps.extend([Step::OpenTooMany, Step::OpenTooMany]);
            for _ in 0..100 {
                steps.extend([Step::Pass, Step::Take(100, true)]);
            }
        }
    }
    assert_eq!(churn(&steps), 58);
}

#[test]
fn an_unknown_port_and_a_full_table_are_refused() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    linux.send((5000, 8), op::REQUEST, &[]);
    let (header, _) = linux.expect(op::RST);
    assert_eq!((header.src_port, header.dst_port), (8, 5000));
    for port in 0..CONNECTIONS as u32 {
        linux.open((6000 + port, 9));
        linux.send((6000 + port, 9), op::RW, b"here");
    }
    linux.send((9000, 9), op::REQUEST, &[]);
    linux.expect(op::RST);
    // One goes, another can come.
    linux.send((6003, 9), op::RST, &[]);
    assert_eq!(linux.app.closed.len(), 1);
    linux.open((9000, 9));
}

#[test]
fn who_may_have_given_up_is_asked_before_another_is_refused() {
    for (gone, answer) in [(None, op::RST), (Some(6003), op::RESPONSE)] {
        let mut room = room();
        let mut linux = Linux::new(&mut room);
        let all = (6000..).take(CONNECTIONS).map(|port| (port, 9));
        for ports in all.clone() {
            linux.open(ports);
        }
        linux.send((9000, 9), op::REQUEST, &[]);
        for ports in all.clone() {
            let (header, _) = linux.expect(op::CREDIT_REQUEST);
            assert_eq!((header.dst_port, header.src_port), ports);
        }
        linux.silence();
        for ports in all {
            let there = gone != Some(ports.0);
            let op = if there { op::CREDIT_UPDATE } else { op::RST };
            linux.send_raw(&packet(ports, op, 0), &[]);
        }
        linux.pass();
        assert_eq!(linux.expect(answer).0.dst_port, 9000);
        linux.silence();
    }
}

#[test]
fn who_is_not_told_whether_others_are_there_is_refused() {
    let mut room = room();
    let mut linux = Linux::new(&mut room);
    for port in 0..CONNECTIONS as u32 {
        linux.open((6000 + port, 9));
    }
    linux.send((9000, 9), op::REQUEST, &[]);
    while linux.receive().is_some() {}
    linux.now = 4999;
    linux.silence();
    linux.now = 5000;
    linux.pass();
    linux.expect(op::RST);
    linux.silence();
}
