// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What iperf3's client and server say to each other on the control connection: states of one byte, and
//! JSON behind its length.

use super::udp::{HEAD as DATAGRAM, HEAD_LONG as DATAGRAM_LONG};
use hvl_device::stream::Stream;
use serde::{Deserialize, Serialize};

/// Bytes that every connection of one test begins with.
pub(super) const COOKIE: usize = 37;
/// Longest text of what is asked for.
pub(super) const PARAMS_MAX: usize = 2048;
/// Longest text of the client's results, which nobody reads.
pub(super) const RESULTS_MAX: u32 = 64 * 1024;
/// Objects and lists in a text: the parser goes down into each.
const NESTED: usize = 8;
/// Bytes before a text that tell its length.
const HEAD: usize = 4;

/// States, by the byte that announces them.
pub(super) mod state {
    pub(crate) const TEST_START: u8 = 1;
    pub(crate) const TEST_RUNNING: u8 = 2;
    pub(crate) const TEST_END: u8 = 4;
    pub(crate) const PARAM_EXCHANGE: u8 = 9;
    pub(crate) const CREATE_STREAMS: u8 = 10;
    pub(crate) const EXCHANGE_RESULTS: u8 = 13;
    pub(crate) const DISPLAY_RESULTS: u8 = 14;
    pub(crate) const ACCESS_DENIED: u8 = 0xff;
    pub(crate) const SERVER_ERROR: u8 = 0xfe;
}

/// Why a test is not made, with the number by which the client finds a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// More streams than there are.
    Streams = 6,
    /// Blocks of a size that is not sent or taken.
    Block = 7,
    /// Both one way and both ways.
    Ways = 24,
    /// What nobody can read.
    Params = 114,
    /// Datagrams of a size that is not sent or taken.
    Datagram = 20,
    /// Neither TCP nor UDP.
    Protocol = 131,
}

impl Refusal {
    /// What the client is told.
    pub(super) const fn message(self) -> [u8; 9] {
        let [a, b, c, d] = (self as u32).to_be_bytes();
        [state::SERVER_ERROR, a, b, c, d, 0, 0, 0, 0]
    }
}

/// What the client wants to have measured. There is more that it says, of its own end, and it says by itself
/// when it has enough: so many bytes or blocks are its affair also where they are sent from here.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Params {
    tcp: bool,
    pub(super) udp: bool,
    /// Datagrams are numbered with 8 bytes in place of 4.
    udp_counters_64bit: u32,
    /// Seconds at the beginning that do not count.
    pub(super) omit: u32,
    /// Seconds that do; 0: until so many bytes or blocks have gone.
    pub(super) time: u32,
    pub(super) parallel: u32,
    pub(super) reverse: bool,
    pub(super) bidirectional: bool,
    /// Bytes of a block.
    pub(super) len: u32,
    /// Bits in a second of each stream; 0: as many as go.
    pub(super) bandwidth: u64,
}

/// Most bytes of a block.
const BLOCK_MAX: u32 = 1 << 20;
/// Longest time.
const DAY: u32 = 86_400;

impl Params {
    /// Reads a text.
    pub(super) fn read(text: &[u8]) -> Result<Self, Refusal> {
        let opens = text.iter().filter(|byte| matches!(byte, b'{' | b'['));
        if opens.count() > NESTED {
            return Err(Refusal::Params);
        }
        match serde_json_core::from_slice::<Self>(text) {
            Ok((params, _)) => Ok(params),
            Err(_) => Err(Refusal::Params),
        }
    }

    /// Looks whether that can be measured with `streams` streams, and datagrams of up to `datagram` bytes.
    pub(super) fn check(&self, streams: usize, datagram: u32) -> Result<(), Refusal> {
        if self.tcp == self.udp {
            return Err(Refusal::Protocol);
        }
        if self.reverse && self.bidirectional {
            return Err(Refusal::Ways);
        }
        let wanted = usize::try_from(self.parallel).unwrap_or(usize::MAX);
        let each = if self.bidirectional { 2 } else { 1 };
        if !(1..=streams / each).contains(&wanted) {
            return Err(Refusal::Streams);
        }
        if !self.udp && !(1..=BLOCK_MAX).contains(&self.len) {
            return Err(Refusal::Block);
        }
        let head = if self.long() { DATAGRAM_LONG } else { DATAGRAM };
        if self.udp && !(head as u32..=datagram).contains(&self.len) {
            return Err(Refusal::Datagram);
        }
        if self.time > DAY || self.omit > DAY {
            return Err(Refusal::Params);
        }
        Ok(())
    }

    /// Whether datagrams are numbered with 8 bytes.
    pub(super) const fn long(&self) -> bool {
        self.udp_counters_64bit != 0
    }

    /// Streams in all.
    pub(super) const fn streams(&self) -> usize {
        let parallel = self.parallel as usize;
        if self.bidirectional {
            2 * parallel
        } else {
            parallel
        }
    }

    /// Whether we are the one who sends on the stream.
    pub(super) const fn sends(&self, stream: usize) -> bool {
        if self.bidirectional {
            stream >= self.parallel as usize
        } else {
            self.reverse
        }
    }
}

/// What is said of one stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(super) struct StreamResults {
    pub(super) id: u32,
    pub(super) bytes: u64,
    pub(super) retransmits: i32,
    pub(super) jitter: f64,
    pub(super) errors: i64,
    pub(super) omitted_errors: i64,
    pub(super) packets: u64,
    pub(super) omitted_packets: u64,
    pub(super) start_time: f64,
    pub(super) end_time: f64,
}

/// What is said of a test. How busy the core was is not known.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Results<'a> {
    cpu_util_total: f32,
    cpu_util_user: f32,
    cpu_util_system: f32,
    sender_has_retransmits: i32,
    streams: &'a [StreamResults],
}

/// Bytes of one stream's results at most, and of what stands around them.
const STREAM_TEXT: usize = 320;
const AROUND_TEXT: usize = 160;
/// The longest results, with their length in front.
pub(super) const RESULTS_TEXT: usize = HEAD + AROUND_TEXT + super::STREAMS * STREAM_TEXT;

impl<'a> Results<'a> {
    pub(super) const fn new(streams: &'a [StreamResults]) -> Self {
        Self {
            cpu_util_total: 0.0,
            cpu_util_user: 0.0,
            cpu_util_system: 0.0,
            sender_has_retransmits: -1,
            streams,
        }
    }

    /// Writes them behind their length; `None` if they do not fit.
    pub(super) fn write<'t>(&self, to: &'t mut [u8; RESULTS_TEXT]) -> Option<&'t [u8]> {
        let (head, body) = to.split_at_mut(HEAD);
        let len = serde_json_core::to_slice(self, body).ok()?;
        head.copy_from_slice(&u32::try_from(len).ok()?.to_be_bytes());
        to.get(..HEAD + len)
    }
}

/// A text that is coming in behind its length.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Message {
    len: u32,
    /// Bytes that have come, those of the length among them.
    have: usize,
}

/// A text that is empty or too long.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadLength;

impl Message {
    /// Takes what has come, as far as there is room in `to`; the text's length once all of it, at most
    /// `most` bytes, is there.
    pub(super) fn take(
        &mut self,
        stream: &mut dyn Stream,
        most: u32,
        to: &mut [u8],
    ) -> Result<Option<usize>, BadLength> {
        // The length and the text, each in two pieces at most.
        for _ in 0..4 {
            let bytes = stream.peek();
            let missing = match self.have.checked_sub(HEAD) {
                None => HEAD - self.have,
                Some(at) => (self.len as usize).saturating_sub(at),
            };
            let bytes = bytes.get(..missing).unwrap_or(bytes);
            let count = bytes.len();
            match self.have.checked_sub(HEAD) {
                None => {
                    self.len = bytes
                        .iter()
                        .fold(self.len, |len, byte| len << 8 | u32::from(*byte))
                }
                Some(at) => {
                    let room = to.get_mut(at..).unwrap_or(&mut []);
                    for (to, from) in room.iter_mut().zip(bytes) {
                        *to = *from;
                    }
                }
            }
            self.have += count;
            stream.consume(count);
            if self.have < HEAD {
                continue;
            }
            if !(1..=most).contains(&self.len) {
                return Err(BadLength);
            }
            let len = self.len as usize;
            if self.have - HEAD == len {
                return Ok(Some(len));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As iperf 3.18 says it.
    const SAID: &str = r#"{"tcp":true,"omit":0,"time":1,"num":0,"blockcount":0,"parallel":4,"reverse":true,"len":131072,"pacing_timer":1000,"title":"a \"b\" {c}","client_version":"3.18"}"#;

    #[test]
    fn what_the_client_says_is_understood() {
        let params = Params::read(SAID.as_bytes()).unwrap();
        let want = Params {
            tcp: true,
            time: 1,
            parallel: 4,
            reverse: true,
            len: 131_072,
            ..Params::default()
        };
        assert_eq!(params, want);
        assert_eq!(params.check(8, 1472), Ok(()));
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_a_reason() {
        let good = Params {
            tcp: true,
            parallel: 8,
            len: 1000,
            ..Params::default()
        };
        let datagrams = Params {
            tcp: false,
            udp: true,
            len: 1472,
            ..good
        };
        let both = Params {
            bidirectional: true,
            ..good
        };
        let cases = [
            (good, Ok(())),
            (
                Params {
                    parallel: 4,
                    ..both
                },
                Ok(()),
            ),
            (
                Params {
                    parallel: 5,
                    ..both
                },
                Err(Refusal::Streams),
            ),
            (
                Params {
                    parallel: 9,
                    ..good
                },
                Err(Refusal::Streams),
            ),
            (
                Params {
                    parallel: 0,
                    ..good
                },
                Err(Refusal::Streams),
            ),
            (datagrams, Ok(())),
            (
                Params {
                    tcp: true,
                    ..datagrams
                },
                Err(Refusal::Protocol),
            ),
            (
                Params {
                    len: 1473,
                    ..datagrams
                },
                Err(Refusal::Datagram),
            ),
            (
                Params {
                    len: 12,
                    ..datagrams
                },
                Ok(()),
            ),
            (
                Params {
                    len: 12,
                    udp_counters_64bit: 1,
                    ..datagrams
                },
                Err(Refusal::Datagram),
            ),
            (
                Params {
                    len: 11,
                    ..datagrams
                },
                Err(Refusal::Datagram),
            ),
            (Params { tcp: false, ..good }, Err(Refusal::Protocol)),
            (
                Params {
                    reverse: true,
                    parallel: 1,
                    ..both
                },
                Err(Refusal::Ways),
            ),
            (Params { len: 0, ..good }, Err(Refusal::Block)),
            (
                Params {
                    len: BLOCK_MAX + 1,
                    ..good
                },
                Err(Refusal::Block),
            ),
            (
                Params {
                    time: DAY + 1,
                    ..good
                },
                Err(Refusal::Params),
            ),
            (
                Params {
                    omit: DAY + 1,
                    ..good
                },
                Err(Refusal::Params),
            ),
        ];
        for (params, want) in cases {
            assert_eq!(params.check(8, 1472), want, "{params:?}");
        }
    }

    #[test]
    fn the_longest_results_fit() {
        let stream = StreamResults {
            id: u32::MAX,
            bytes: u64::MAX,
            retransmits: i32::MIN,
            jitter: -1.234_567_890_123_456_7e-300,
            errors: i64::MIN,
            omitted_errors: i64::MIN,
            packets: u64::MAX,
            omitted_packets: u64::MAX,
            start_time: -1.234_567_890_123_456_7e-300,
            end_time: -1.234_567_890_123_456_7e-300,
        };
        let mut text = [0; RESULTS_TEXT];
        let streams = [stream; super::super::STREAMS];
        let written = Results::new(&streams).write(&mut text).unwrap();
        let len = u32::from_be_bytes(written[..4].try_into().unwrap());
        assert_eq!(len as usize, written.len() - 4);
        assert!(written[4..].starts_with(b"{\"cpu_util_total\":0.0,"));
    }

    #[test]
    fn deep_texts_are_not_followed() {
        let deep = format!("{{\"x\":{}", "[".repeat(PARAMS_MAX - 5));
        assert_eq!(Params::read(deep.as_bytes()), Err(Refusal::Params));
        let some = r#"{"tcp":true,"x":[[{"y":[]}]]}"#;
        assert!(Params::read(some.as_bytes()).unwrap().tcp);
    }

    proptest! {
        #[test]
        fn any_text(text in ".{0,200}", at in 0..SAID.len(), byte: u8) {
            let _ = Params::read(text.as_bytes());
            let mut said = SAID.as_bytes().to_vec();
            said[at] = byte;
            if let Ok(params) = Params::read(&said) {
                let _ = params.check(8, 1472);
                let _ = params.streams();
            }
        }
    }
}
