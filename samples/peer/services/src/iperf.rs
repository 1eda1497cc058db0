// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The other end of iperf3's client.
//!
//! A test has a control connection and some streams. Each connection begins with a cookie: the first one
//! with a new cookie controls a test, those with its cookie are its streams. There is one test at a time;
//! who comes meanwhile is told so. Streams may be of datagrams instead ([`udp`]). Whatever the client does,
//! each state has a deadline, what it says a limit, and a pass a bounded amount of work.

mod test;
mod udp;
mod wire;

use self::test::{Phase, Test};
use self::wire::{state, Message, Params, Refusal, COOKIE, PARAMS_MAX, RESULTS_MAX, RESULTS_TEXT};
use crate::session::Env;
use hvl_device::stream::Stream;
use smoltcp::wire::{IPV4_HEADER_LEN, IPV6_HEADER_LEN, UDP_HEADER_LEN};

pub(crate) use self::udp::Ends;

/// Streams of one test at most.
pub(crate) const STREAMS: usize = 8;
/// Connections at a time: one that controls, the streams, and one more, so that who comes meanwhile is told.
pub(crate) const CONNECTIONS: usize = 1 + STREAMS + 1;

/// Most bytes that a stream moves in one pass.
const BUDGET: usize = 64 * 1024;
/// Milliseconds for a cookie.
const HELLO: u64 = 5_000;
/// Milliseconds for each answer of the client's.
const ANSWER: u64 = 10_000;
/// Milliseconds that a test may take longer than asked for, and those that it may stand still.
const GRACE: u64 = 40_000;
const STANDSTILL: u64 = 60_000;
/// Milliseconds in which nothing has come, after which all is there; and those that are waited for that.
const QUIET: u64 = 50;
const ENDING: u64 = 2_000;
/// Milliseconds until who has nothing to say any more is rid of.
const LINGER: u64 = 10_000;

/// What has been measured, and what not.
#[derive(Clone, Copy, Debug, Default)]
pub struct IperfStats {
    /// Tests that have begun.
    pub begun: u64,
    /// Those that came to their end.
    pub done: u64,
    /// Clients that came during a test of somebody else's.
    pub denied: u64,
    /// Those that asked for what is not measured here.
    pub refused: u64,
    /// Those that said nothing for too long.
    pub expired: u64,
    /// Those that made no sense, or went away before the end.
    pub broken: u64,
}

/// What a connection has to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing, until something comes or is due.
    Idle,
    /// There may be more at once.
    Busy,
    /// It is to be reset.
    Reset,
}

/// What a connection is.
#[derive(Clone, Copy, Debug)]
enum Role {
    /// Nobody knows yet.
    New,
    /// Controls the test of that number.
    Control(u32),
    /// Is a stream of it.
    Stream(u32, usize),
    /// Has had its answer.
    Over,
}

/// One connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conn {
    role: Role,
    /// It is by IPv6.
    six: bool,
    /// Milliseconds at which it is reset, if it is new or over.
    until: u64,
}

impl Conn {
    pub(crate) const fn new(now: u64, six: bool) -> Self {
        Self {
            role: Role::New,
            six,
            until: now.saturating_add(HELLO),
        }
    }

    /// Whether it carries more than a few words.
    pub(crate) const fn is_bulk(&self) -> bool {
        matches!(self.role, Role::Stream(..))
    }

    fn over(&mut self, now: u64) {
        self.role = Role::Over;
        self.until = now.saturating_add(LINGER);
    }
}

/// Why a test comes to nothing.
enum Failure {
    Refused(Refusal),
    Expired,
    Broken,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Iperf {
    test: Option<Test>,
    number: u32,
    pub(crate) stats: IperfStats,
    text: [u8; PARAMS_MAX],
    /// Bytes of the largest IP packet.
    mtu: u16,
    /// Milliseconds at which somebody is to be looked after.
    due: Option<u64>,
}

/// Sends all of `bytes`; `false` if there is not as much room.
fn say(stream: &mut dyn Stream, bytes: &[u8]) -> bool {
    let mut left = bytes;
    // The room may lie in two pieces.
    for _ in 0..2 {
        let sent = stream.send(&mut |room| {
            let count = room.len().min(left.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), left.get(..count)) {
                to.copy_from_slice(from);
            }
            count
        });
        left = left.get(sent..).unwrap_or(&[]);
    }
    left.is_empty()
}

/// Takes at most [`BUDGET`] bytes of what has come.
fn drain(stream: &mut dyn Stream) -> usize {
    let mut taken = 0;
    while taken < BUDGET {
        let count = stream.peek().len().min(BUDGET - taken);
        if count == 0 {
            break;
        }
        stream.consume(count);
        taken += count;
    }
    taken
}

const fn count(counter: &mut u64) {
    *counter = counter.wrapping_add(1);
}

impl Iperf {
    pub(crate) const fn new(mtu: u16) -> Self {
        Self {
            mtu,
            test: None,
            number: 0,
            stats: IperfStats {
                begun: 0,
                done: 0,
                denied: 0,
                refused: 0,
                expired: 0,
                broken: 0,
            },
            text: [0; PARAMS_MAX],
            due: None,
        }
    }

    /// Serves a connection.
    pub(crate) fn serve(
        &mut self,
        conn: &mut Conn,
        stream: &mut dyn Stream,
        env: &Env<'_>,
    ) -> Next {
        let (now, micros) = (env.now, env.clock.micros());
        match conn.role {
            Role::New => self.meet(conn, stream, now),
            Role::Control(number) => self.control(number, conn, stream, now, micros),
            Role::Stream(number, index) => self.stream(number, index, conn, stream, now, micros),
            Role::Over => self.rid(conn, stream, now),
        }
    }

    /// Looks after the test when all connections have been served; milliseconds at which that has to be
    /// done again.
    pub(crate) fn settle(&mut self) -> Option<u64> {
        if let Some(test) = &mut self.test {
            if !core::mem::take(&mut test.seen) {
                // Its control connection is gone.
                self.test = None;
                count(&mut self.stats.broken);
            }
        }
        self.due.take()
    }

    /// Bytes of the largest datagram that goes in one packet.
    const fn datagram(&self, six: bool) -> u32 {
        let head = if six {
            IPV6_HEADER_LEN
        } else {
            IPV4_HEADER_LEN
        };
        (self.mtu as u32).saturating_sub((head + UDP_HEADER_LEN) as u32)
    }

    /// Something is to be done at `at`, in milliseconds.
    fn wake(&mut self, at: u64) {
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A connection that has had its answer goes when the client closes it, or after a while.
    fn rid(&mut self, conn: &Conn, stream: &mut dyn Stream, now: u64) -> Next {
        stream.finish();
        if now >= conn.until {
            return Next::Reset;
        }
        self.wake(conn.until);
        if drain(stream) > 0 {
            Next::Busy
        } else {
            Next::Idle
        }
    }

    /// Sees by its cookie what a new connection is.
    fn meet(&mut self, conn: &mut Conn, stream: &mut dyn Stream, now: u64) -> Next {
        let mut cookie = [0; COOKIE];
        // Nothing was taken before: it lies in one piece.
        let Some(said) = stream.peek().get(..COOKIE) else {
            if stream.at_end() || now >= conn.until {
                let counter = if stream.at_end() {
                    &mut self.stats.broken
                } else {
                    &mut self.stats.expired
                };
                count(counter);
                return Next::Reset;
            }
            self.wake(conn.until);
            return Next::Idle;
        };
        cookie.copy_from_slice(said);
        stream.consume(COOKIE);
        let Some(test) = &mut self.test else {
            self.number = self.number.wrapping_add(1);
            count(&mut self.stats.begun);
            let deadline = now.saturating_add(ANSWER);
            self.test = Some(Test::new(self.number, cookie, deadline));
            conn.role = Role::Control(self.number);
            say(stream, &[state::PARAM_EXCHANGE]);
            return Next::Busy;
        };
        let wanted = matches!(test.phase, Phase::Streams) && !test.params.udp;
        if wanted && test.cookie == cookie && test.attached < test.params.streams() {
            conn.role = Role::Stream(test.number, test.attached);
            test.attached += 1;
        } else {
            count(&mut self.stats.denied);
            say(stream, &[state::ACCESS_DENIED]);
            conn.over(now);
        }
        Next::Busy
    }

    fn control(
        &mut self,
        number: u32,
        conn: &mut Conn,
        stream: &mut dyn Stream,
        now: u64,
        micros: u64,
    ) -> Next {
        let Some(mut test) = self.test.filter(|test| test.number == number) else {
            conn.over(now);
            return Next::Busy;
        };
        test.seen = true;
        let failure = match self.step(&mut test, conn.six, stream, now, micros) {
            Ok(Some(next)) => {
                self.test = Some(test);
                return next;
            }
            Ok(None) => {
                count(&mut self.stats.done);
                None
            }
            Err(failure) => Some(failure),
        };
        self.test = None;
        conn.over(now);
        match failure {
            None => {}
            Some(Failure::Refused(refusal)) => {
                count(&mut self.stats.refused);
                say(stream, &refusal.message());
            }
            Some(Failure::Expired) => {
                count(&mut self.stats.expired);
                return Next::Reset;
            }
            Some(Failure::Broken) => {
                count(&mut self.stats.broken);
                return Next::Reset;
            }
        }
        Next::Busy
    }

    /// Goes on with a test as its control connection says; `None` when it is done.
    fn step(
        &mut self,
        test: &mut Test,
        six: bool,
        stream: &mut dyn Stream,
        now: u64,
        micros: u64,
    ) -> Result<Option<Next>, Failure> {
        let more = !stream.peek().is_empty();
        match &mut test.phase {
            Phase::Params(message) => {
                let taken = message.take(stream, PARAMS_MAX as u32, &mut self.text);
                let len = taken.map_err(|_| Failure::Refused(Refusal::Params))?;
                if let Some(text) = len.and_then(|len| self.text.get(..len)) {
                    let params = Params::read(text).map_err(Failure::Refused)?;
                    params
                        .check(STREAMS, self.datagram(six))
                        .map_err(Failure::Refused)?;
                    test.params = params;
                    test.phase = Phase::Streams;
                    test.deadline = now.saturating_add(ANSWER);
                    Self::tell(stream, &[state::CREATE_STREAMS])?;
                }
            }
            Phase::Streams => {
                if test.attached == test.params.streams() {
                    test.phase = Phase::Running;
                    test.began = micros;
                    test.moved = micros;
                    test.counts = test.params.omit == 0;
                    let seconds = u64::from(test.params.time) + u64::from(test.params.omit);
                    test.deadline = match test.params.time {
                        0 => u64::MAX,
                        _ => now.saturating_add(seconds * 1000 + GRACE),
                    };
                    Self::tell(stream, &[state::TEST_START, state::TEST_RUNNING])?;
                    return Ok(Some(Next::Busy));
                }
                // It has nothing to say.
                if more {
                    return Err(Failure::Broken);
                }
            }
            Phase::Running => {
                test.mature(micros);
                let standstill = test.moved / 1000 + STANDSTILL;
                if now >= standstill {
                    return Err(Failure::Expired);
                }
                self.wake(standstill.min(test.deadline));
                let said = stream.peek().first().copied();
                match said {
                    None => {}
                    Some(state::TEST_END) => {
                        stream.consume(1);
                        test.phase = Phase::Ending;
                        test.deadline = now.saturating_add(ENDING);
                    }
                    Some(_) => return Err(Failure::Broken),
                }
            }
            Phase::Ending => {
                let quiet = test.moved / 1000 + QUIET;
                let receives = !test.params.reverse;
                if !receives || now >= quiet || now >= test.deadline {
                    test.phase = Phase::Results(Message::default());
                    test.deadline = now.saturating_add(ANSWER);
                    Self::tell(stream, &[state::EXCHANGE_RESULTS])?;
                    return Ok(Some(Next::Busy));
                }
                self.wake(quiet.min(test.deadline));
            }
            Phase::Results(message) => {
                let taken = message.take(stream, RESULTS_MAX, &mut []);
                if taken.map_err(|_| Failure::Broken)?.is_some() {
                    let mut text = [0; RESULTS_TEXT];
                    let results = test.results(&mut text).ok_or(Failure::Broken)?;
                    Self::tell(stream, results)?;
                    Self::tell(stream, &[state::DISPLAY_RESULTS])?;
                    return Ok(None);
                }
            }
        }
        if stream.at_end() {
            return Err(Failure::Broken);
        }
        if now >= test.deadline {
            return Err(Failure::Expired);
        }
        self.wake(test.deadline);
        Ok(Some(if more { Next::Busy } else { Next::Idle }))
    }

    fn tell(stream: &mut dyn Stream, bytes: &[u8]) -> Result<(), Failure> {
        // Its buffer holds all that is ever said on it.
        say(stream, bytes).then_some(()).ok_or(Failure::Broken)
    }

    fn stream(
        &mut self,
        number: u32,
        index: usize,
        conn: &mut Conn,
        stream: &mut dyn Stream,
        now: u64,
        micros: u64,
    ) -> Next {
        let test = self.test.as_mut().filter(|test| test.number == number);
        let Some(test) = test else {
            conn.over(now);
            return Next::Busy;
        };
        let sends = test.params.sends(index);
        match test.phase {
            Phase::Running if sends => {
                let allowed = test.allowance(index, micros).min(BUDGET as u64) as usize;
                let mut left = allowed;
                // The room may lie in two pieces. What is in it goes: words of this service's.
                for _ in 0..2 {
                    left -= stream.send(&mut |room| room.len().min(left)).min(left);
                }
                let sent = allowed - left;
                if sent > 0 {
                    test.add(index, sent, micros);
                }
                if test.params.bandwidth != 0 && sent == allowed {
                    self.wake(now.saturating_add(1));
                    return Next::Idle;
                }
                if sent > 0 {
                    Next::Busy
                } else {
                    Next::Idle
                }
            }
            Phase::Running | Phase::Ending if !sends => match drain(stream) {
                0 => Next::Idle,
                taken => {
                    test.add(index, taken, micros);
                    Next::Busy
                }
            },
            Phase::Params(_) | Phase::Streams => Next::Idle,
            Phase::Running | Phase::Ending | Phase::Results(_) => {
                // Whoever has enough says so before it closes this.
                stream.finish();
                if drain(stream) > 0 {
                    Next::Busy
                } else {
                    Next::Idle
                }
            }
        }
    }
}
