// SPDX-License-Identifier: GPL-2.0 OR MIT

//! UDP datagrams that Linux hands over as one frame (VIRTIO 5.1.6.2, `VIRTIO_NET_HDR_GSO_UDP_L4`),
//! and that are taken one by one.

#![forbid(unsafe_code)]

use super::port::HEADER;
use crate::mem::Region;
use crate::queue::Chain;
use crate::segment::{Cutter, Segment, HEADERS_MAX};

/// Datagrams of one frame that were not taken yet. Its chain stays with the device meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Train {
    /// The queue that the chain is of, and how often that was made ready: a chain of before is not
    /// given back.
    pub(super) queue: usize,
    pub(super) life: u32,
    cutter: Cutter,
    segment: Segment,
    /// Bytes of each datagram but the last.
    size: usize,
    /// Bytes that were taken.
    at: usize,
}

impl Train {
    /// Finds the datagrams of `size` bytes in the frame that `chain` holds, which is of that queue and life;
    /// `None`: there are none.
    pub(super) fn find(
        mem: &Region,
        chain: &Chain,
        size: u16,
        (queue, life): (usize, u32),
    ) -> Option<Self> {
        let len = (chain.readable_len() as usize).checked_sub(HEADER)?;
        let mut headers = [0; HEADERS_MAX];
        let headers = headers.get_mut(..len.min(HEADERS_MAX))?;
        if chain.read(mem, HEADER as u32, headers) != headers.len() {
            return None;
        }
        let segment = Segment::behind(headers, len)?;
        let datagrams = !segment.kind.is_tcp() && segment.payload != 0 && size != 0;
        datagrams.then(|| Self {
            queue,
            life,
            cutter: Cutter::new(headers, segment),
            segment,
            size: size.into(),
            at: 0,
        })
    }

    /// Takes the next datagram out of `chain`; how many bytes its frame has.
    pub(super) fn next(&mut self, mem: &Region, chain: &Chain, to: &mut [u8]) -> Option<usize> {
        let headers = self.segment.headers;
        let len = self.segment.payload.checked_sub(self.at)?.min(self.size);
        let part = to.get_mut(..headers + len)?;
        let skip = HEADER + headers + self.at;
        let body = part.get_mut(headers..)?;
        if chain.read(mem, skip as u32, body) != len {
            return None;
        }
        self.cutter.head(part, self.at)?;
        self.at += len;
        Some(headers + len)
    }

    /// Whether all were taken.
    pub(super) const fn is_over(&self) -> bool {
        self.at >= self.segment.payload
    }
}
