// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Streams of datagrams. Each begins with the time at which it was sent, and its number.
//!
//! The socket is bound while a test has need of it: who sends at another time is told that nobody
//! listens.

use super::test::{Phase, Test};
use super::{Iperf, STREAMS};
use crate::session::Env;
use crate::udp::answer_to;
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::udp::{Socket, UdpMetadata};
use smoltcp::wire::IpEndpoint;

/// Datagrams that are taken in one pass, and those that one stream sends in one.
const TAKEN: usize = 128;
const SENT: usize = 16;

/// What a stream begins with, and what it is told then: each a number in the order of the client's bytes,
/// which all the machines that this runs beside have alike.
const HELLO: [u8; 4] = 0x3637_3839_u32.to_le_bytes();
const WELCOME: [u8; 4] = 0x3938_3736_u32.to_le_bytes();

/// Seconds and microseconds, and behind them the number, in 4 bytes or 8.
const TIME: usize = 8;
pub(super) const HEAD: usize = TIME + 4;
pub(super) const HEAD_LONG: usize = TIME + 8;

const MICROS: u64 = 1_000_000;

/// What a stream of datagrams has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    /// The last number, of those that were sent or have come.
    pub(super) packets: u64,
    /// Numbers that have not come.
    pub(super) lost: u64,
    /// Microseconds between the other side's clock and ours at the last one.
    transit: Option<i64>,
    /// The mean of how much that differs from one to the next (RFC 3550 6.4.1), in 16ths of a microsecond.
    jitter: u64,
}

impl Count {
    /// A datagram has come with `number`, sent at `sent` by the other side's clock and taken at `now` by
    /// ours.
    fn take(&mut self, number: u64, sent: u64, now: u64) {
        if number > self.packets {
            self.lost = self.lost.saturating_add(number - self.packets - 1);
            self.packets = number;
        } else {
            // It was taken for lost.
            self.lost = self.lost.saturating_sub(1);
        }
        let transit = now.wrapping_sub(sent) as i64;
        if let Some(before) = self.transit.replace(transit) {
            let differs = transit.wrapping_sub(before).unsigned_abs();
            self.jitter = (self.jitter - self.jitter / 16).saturating_add(differs);
        }
    }

    /// Seconds.
    pub(super) fn jitter(&self) -> f64 {
        self.jitter as f64 / 16.0 / MICROS as f64
    }
}

/// A datagram's time in microseconds, and its number; `None` if it is too short for that.
fn read(bytes: &[u8], long: bool) -> Option<(u64, u64)> {
    let word = |at: usize| {
        let word = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(u64::from(u32::from_be_bytes(word)))
    };
    let sent = word(0)?.wrapping_mul(MICROS).wrapping_add(word(4)?);
    let number = if long {
        word(TIME)? << 32 | word(TIME + 4)?
    } else {
        word(TIME)?
    };
    Some((sent, number))
}

/// Writes them, as far as there is room.
fn write(to: &mut [u8], long: bool, now: u64, number: u64) {
    let seconds = (now / MICROS) as u32;
    let micros = (now % MICROS) as u32;
    let [high, low] = [(number >> 32) as u32, number as u32];
    let words = if long {
        [seconds, micros, high, low]
    } else {
        [seconds, micros, low, 0]
    };
    let len = if long { HEAD_LONG } else { HEAD };
    for (to, from) in to
        .iter_mut()
        .zip(words.map(u32::to_be_bytes).as_flattened())
        .take(len)
    {
        *to = *from;
    }
}

/// The other ends of a test's streams.
#[derive(Debug)]
pub(crate) struct Ends {
    handle: SocketHandle,
    port: u16,
    /// The number of the test that the socket is bound for.
    test: Option<u32>,
    streams: [Option<UdpMetadata>; STREAMS],
}

impl Ends {
    /// Adds `socket`, to be bound to `port`.
    pub(crate) fn new<'s>(sockets: &mut SocketSet<'s>, socket: Socket<'s>, port: u16) -> Self {
        Self {
            handle: sockets.add(socket),
            port,
            test: None,
            streams: [None; STREAMS],
        }
    }

    /// Which stream comes from there.
    fn find(&self, from: IpEndpoint) -> Option<usize> {
        let is_it = |end: &Option<UdpMetadata>| end.is_some_and(|end| end.endpoint == from);
        self.streams.iter().position(is_it)
    }

    /// Binds the socket for the test `wanted`, or for none: what waits in it is gone.
    fn bind(&mut self, socket: &mut Socket<'_>, wanted: Option<u32>) {
        if self.test != wanted {
            self.test = wanted;
            self.streams = [None; STREAMS];
            socket.close();
            if wanted.is_some() {
                // It fails for port 0 or a socket that is open.
                let _ = socket.bind(self.port);
            }
        }
    }

    /// Takes what has come; whether there was anything.
    fn take(&mut self, socket: &mut Socket<'_>, test: &mut Test, micros: u64) -> bool {
        let mut busy = false;
        for _ in 0..TAKEN {
            let Ok((bytes, from)) = socket.recv() else {
                break;
            };
            busy = true;
            let (hello, len) = (bytes == HELLO, bytes.len());
            let head = read(bytes, test.params.long());
            let answer = answer_to(&from);
            let mut known = self.find(from.endpoint);
            if hello && known.is_none() && matches!(test.phase, Phase::Streams) {
                known = Some(test.attached).filter(|_| test.attached < test.params.streams());
                if let Some(slot) = known.and_then(|index| self.streams.get_mut(index)) {
                    *slot = Some(answer);
                    test.attached += 1;
                }
            }
            let Some(index) = known else {
                continue;
            };
            if hello {
                // Whoever says it again has not heard it; without room for it, it is heard then.
                let _ = socket.send_slice(&WELCOME, answer);
                continue;
            }
            let counts = matches!(test.phase, Phase::Running | Phase::Ending);
            if let (true, Some((sent, number))) = (counts && !test.params.sends(index), head) {
                test.add(index, len, micros);
                if let Some(stream) = test.streams.get_mut(index) {
                    stream.datagrams.take(number, sent, micros);
                }
            }
        }
        busy
    }

    /// Sends on stream `index` what it is time for; whether there may be more at once, and whether there will
    /// be some in a moment.
    fn send(
        &self,
        socket: &mut Socket<'_>,
        test: &mut Test,
        index: usize,
        micros: u64,
    ) -> (bool, bool) {
        let Some(to) = self.streams.get(index).copied().flatten() else {
            return (false, false);
        };
        let (len, long) = (test.params.len as usize, test.params.long());
        for _ in 0..SENT {
            if test.allowance(index, micros) == 0 {
                return (false, true);
            }
            let Ok(room) = socket.send(len, to) else {
                return (false, true);
            };
            let number = test
                .streams
                .get(index)
                .map_or(0, |stream| stream.datagrams.packets.wrapping_add(1));
            // What else is in it goes: words of this service's.
            write(room, long, micros, number);
            test.add(index, len, micros);
            if let Some(stream) = test.streams.get_mut(index) {
                stream.datagrams.packets = number;
            }
        }
        (true, false)
    }
}

impl Iperf {
    /// Serves the streams of a test by UDP, if there is one; whether there was anything to do.
    pub(crate) fn datagrams(
        &mut self,
        ends: &mut Ends,
        sockets: &mut SocketSet<'_>,
        env: &Env<'_>,
    ) -> bool {
        let mut test = self.test.filter(|test| test.params.udp);
        let wanted = test.map(|test| test.number);
        if wanted.is_none() && ends.test.is_none() {
            return false;
        }
        let socket = sockets.get_mut::<Socket<'_>>(ends.handle);
        ends.bind(socket, wanted);
        let Some(test) = &mut test else {
            return false;
        };
        let micros = env.clock.micros();
        let mut busy = ends.take(socket, test, micros);
        if matches!(test.phase, Phase::Running) {
            for index in 0..test.params.streams() {
                if test.params.sends(index) {
                    let (more, soon) = ends.send(socket, test, index, micros);
                    busy |= more;
                    if soon {
                        self.wake(env.now.saturating_add(1));
                    }
                }
            }
        }
        self.test = Some(*test);
        busy
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_does_not_come_is_lost_and_what_comes_late_is_not() {
        let mut count = Count::default();
        for number in [1, 2, 5, 4, 6] {
            count.take(number, 0, 0);
        }
        assert_eq!((count.packets, count.lost), (6, 1));
    }

    #[test]
    fn jitter_is_the_mean_difference_whatever_the_clocks_say() {
        let mut count = Count::default();
        // 1 ms apart by their clock, by turns 0.9 and 1.1 ms by ours.
        for number in 0..1000 {
            let sent = (u64::MAX - 5000).wrapping_add(number * 1000);
            count.take(number + 1, sent, number * 1000 + number % 2 * 100);
        }
        assert!((count.jitter() - 100e-6).abs() < 1e-6, "{}", count.jitter());
        let mut steady = Count::default();
        for number in 0..1000 {
            steady.take(number + 1, number * 1000, 7 + number * 1000);
        }
        assert_eq!(steady.jitter(), 0.0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(now in 0..1u64 << 50, number: u64, long: bool, more in 0usize..20) {
            let mut bytes = vec![0xaa; HEAD_LONG + more];
            write(&mut bytes, long, now, number);
            let number = if long { number } else { number & 0xffff_ffff };
            let seconds = (now / MICROS) & 0xffff_ffff;
            prop_assert_eq!(read(&bytes, long), Some((seconds * MICROS + now % MICROS, number)));
            let head = if long { HEAD_LONG } else { HEAD };
            prop_assert!(bytes[head..].iter().all(|byte| *byte == 0xaa));
            prop_assert_eq!(read(&bytes[..head - 1], long), None);
        }

        #[test]
        fn any_numbers_and_times(seen in prop::collection::vec(any::<(u64, u64, u64)>(), 0..50)) {
            let mut count = Count::default();
            for (number, sent, now) in seen {
                count.take(number, sent, now);
                prop_assert!(count.lost <= count.packets);
                prop_assert!(count.jitter() >= 0.0);
            }
        }
    }
}
