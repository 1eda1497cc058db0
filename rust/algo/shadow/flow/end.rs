// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An end for what a device that is gone will not give back.

use super::super::super::ring::Memory;
use super::super::maps::Maps;
use super::super::{Data, Store};
use super::Flow;

/// What [`Flow::end`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Chains that the driver has got back.
    pub chains: u16,
    /// There are more, or may be.
    pub more: bool,
}

impl<S: Store> Flow<S> {
    /// Gives the driver back what it has made available, whoever has it, `most` chains at most, each as one of which
    /// the device has written `word` into the last byte that it may, and nothing else. The shared ring
    /// is not looked at, now or later: from here on nothing but this is to be called.
    pub(in super::super) fn end<P, D>(
        &mut self,
        maps: &Maps<S::Maps>,
        private: &P,
        data: &D,
        word: u8,
        most: u16,
    ) -> Ended
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let mut chains = 0;
        while chains < most {
            let Some(head) = self.next_to_end(private) else {
                break;
            };
            self.write_last(maps, private, data, head, word);
            self.private.push(private, head, 0);
            chains += 1;
        }
        // Whether the driver wants to be called does not matter: whoever waits is to look.
        self.private.show(private);
        Ended {
            chains,
            more: chains == most,
        }
    }

    /// Gives the driver one chain back as one to which the device has written `bytes`: the one that was kept, or, with
    /// `last`, any: then like [`Flow::end`]. `false`: there is none, or it has no room for them.
    pub(in super::super) fn tell<P, D>(
        &mut self,
        maps: &Maps<S::Maps>,
        private: &P,
        data: &D,
        bytes: &[u8],
        last: bool,
    ) -> bool
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let mut head = self.kept.take();
        if head.is_none() && last {
            head = self.next_to_end(private);
        }
        let Some(head) = head else {
            return false;
        };
        let desc = self.private.desc(private, head);
        let room = desc.writable && desc.part.len as usize >= bytes.len();
        let place = maps.within(desc.part).filter(|_| room);
        if let Some((buffer, at)) = place {
            for (at, byte) in (at..).zip(bytes) {
                data.put(&buffer, at, *byte);
            }
        }
        let len = if place.is_some() { bytes.len() } else { 0 };
        self.private.push(private, head, len as u32);
        self.private.show(private);
        place.is_some()
    }

    /// Whether the driver has put all its buffers into the ring, and holds none of what it was given.
    pub(in super::super) fn is_home<P: Memory + ?Sized>(&self, private: &P) -> bool {
        self.private.is_home(private)
    }

    /// The next chain that the driver waits for: of those that the device has, the one that was on its way, those
    /// that are still to be taken.
    fn next_to_end<P: Memory + ?Sized>(&mut self, private: &P) -> Option<u16> {
        if let Some((number, head)) = self.ring.abandon(self.abandoned) {
            self.abandoned = number;
            return Some(head);
        }
        self.abandoned = self.ring.size();
        if let Some(job) = self.job.take() {
            return Some(job.head);
        }
        let head = self.private.peek(private)?;
        self.private.take();
        Some(head)
    }

    /// Writes `word` into the last byte of the chain at `head` that the device may write, if there is one.
    fn write_last<P, D>(&self, maps: &Maps<S::Maps>, private: &P, data: &D, head: u16, word: u8)
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let (mut last, mut number) = (None, Some(head));
        // No chain is longer than the ring.
        for _ in 0..self.private.size() {
            let Some(at) = number else {
                break;
            };
            let desc = self.private.desc(private, at);
            number = desc.next;
            if desc.writable && desc.part.len != 0 {
                last = Some(desc.part);
            }
        }
        let place = last.and_then(|part| Some((maps.within(part)?, part.len)));
        if let Some(((buffer, at), len)) = place {
            data.put(&buffer, at.saturating_add(len - 1), word);
        }
    }
}
