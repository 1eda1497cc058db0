// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A test: where it is, and what has been counted.

use super::udp;
use super::wire::{Message, Params, Results, StreamResults, COOKIE, RESULTS_TEXT};
use super::STREAMS;

/// Where a test is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    /// The client is to say what it wants.
    Params(Message),
    /// It is to open the streams.
    Streams,
    /// It is to say when it has enough.
    Running,
    /// It has said so. What is on its way still counts.
    Ending,
    /// It is to say what it has measured.
    Results(Message),
}

/// What has gone over a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count {
    pub(super) bytes: u64,
    /// Those of the beginning, which do not count.
    pub(super) omitted: u64,
    /// Of datagrams, and how many of them do not count.
    pub(super) datagrams: udp::Count,
    pub(super) omitted_packets: u64,
    pub(super) omitted_lost: u64,
}

/// A test.
#[derive(Clone, Copy, Debug)]
pub(super) struct Test {
    /// Tells it from others.
    pub(super) number: u32,
    pub(super) cookie: [u8; COOKIE],
    pub(super) phase: Phase,
    /// Milliseconds at which it is given up.
    pub(super) deadline: u64,
    pub(super) params: Params,
    /// How many streams are there.
    pub(super) attached: usize,
    /// Microseconds at which it began, and at which something came or went last.
    pub(super) began: u64,
    pub(super) moved: u64,
    /// The beginning that does not count is over.
    pub(super) counts: bool,
    pub(super) streams: [Count; STREAMS],
    /// Its control connection is there.
    pub(super) seen: bool,
}

impl Test {
    /// One that begins with `cookie`.
    pub(super) fn new(number: u32, cookie: [u8; COOKIE], deadline: u64) -> Self {
        Self {
            number,
            cookie,
            phase: Phase::Params(Message::default()),
            deadline,
            params: Params::default(),
            attached: 0,
            began: 0,
            moved: 0,
            counts: false,
            streams: [Count::default(); STREAMS],
            seen: true,
        }
    }

    /// How long it has been going on, in microseconds without those that do not count.
    pub(super) const fn elapsed(&self, micros: u64) -> u64 {
        let omit = if self.counts {
            self.params.omit as u64 * 1_000_000
        } else {
            0
        };
        micros.saturating_sub(self.began).saturating_sub(omit)
    }

    /// From now on it counts, if it has been going on for long enough.
    pub(super) fn mature(&mut self, micros: u64) {
        let omit = u64::from(self.params.omit) * 1_000_000;
        if !self.counts && self.elapsed(micros) >= omit {
            self.counts = true;
            for stream in &mut self.streams {
                stream.omitted = stream.bytes;
                stream.omitted_packets = stream.datagrams.packets;
                stream.omitted_lost = stream.datagrams.lost;
            }
        }
    }

    /// How many bytes more may be sent on the stream now.
    pub(super) fn allowance(&self, stream: usize, micros: u64) -> u64 {
        let Some(sent) = self.streams.get(stream).map(|stream| stream.bytes) else {
            return 0;
        };
        if self.params.bandwidth == 0 {
            return u64::MAX;
        }
        let since = u128::from(micros.saturating_sub(self.began));
        let due = since * u128::from(self.params.bandwidth) / 8_000_000;
        match u64::try_from(due).unwrap_or(u64::MAX).checked_sub(sent) {
            None | Some(0) => 0,
            // Whole blocks.
            Some(due) => due.max(u64::from(self.params.len)),
        }
    }

    pub(super) fn add(&mut self, stream: usize, bytes: usize, micros: u64) {
        if let Some(stream) = self.streams.get_mut(stream) {
            stream.bytes = stream.bytes.saturating_add(bytes as u64);
        }
        self.moved = micros;
    }

    /// What there is to say of it.
    pub(super) fn results<'t>(&self, text: &'t mut [u8; RESULTS_TEXT]) -> Option<&'t [u8]> {
        let seconds = self.elapsed(self.moved) as f64 / 1e6;
        let mut all = [StreamResults::default(); STREAMS];
        for ((index, to), from) in (0..).zip(&mut all).zip(&self.streams) {
            *to = StreamResults {
                // The client's second one is its third.
                id: if index == 0 { 1 } else { index + 2 },
                bytes: from.bytes.saturating_sub(from.omitted),
                retransmits: -1,
                jitter: from.datagrams.jitter(),
                // In all, of which the client takes off those that do not count.
                errors: from.datagrams.lost as i64,
                omitted_errors: from.omitted_lost as i64,
                packets: from.datagrams.packets,
                omitted_packets: from.omitted_packets,
                end_time: seconds,
                ..StreamResults::default()
            };
        }
        Results::new(all.get(..self.params.streams())?).write(text)
    }
}
