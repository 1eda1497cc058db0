// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A device for measurements: what a virtqueue costs with nothing on top of it.
//!
//! No type of VIRTIO's; only the benchmark's own driver knows it. Its data is copied once on this side,
//! as that of any device is.

#![forbid(unsafe_code)]

use crate::device::Device;
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport, QUEUES};

/// A type that VIRTIO gives to none.
pub const ID: u32 = 63;
/// Fewest queues: one that echoes, one that takes, one that gives. Others are there and idle.
pub const QUEUES_LEAST: usize = 3;
/// Bytes of the largest buffer.
pub const ROOM: usize = 64 * 1024;

const ECHO: usize = 0;
const SINK: usize = 1;
const SOURCE: usize = 2;

const SIZES: [u16; QUEUES] = [256; QUEUES];

/// Queues of one that need not have as many as there can be.
pub const QUEUES_USUAL: usize = 9;

/// The device, with at most `N` queues.
#[derive(Debug)]
pub struct Bench<const N: usize = QUEUES_USUAL> {
    transport: Transport<[Queue; N]>,
    chain: Chain,
}

impl<const N: usize> Bench<N> {
    const ENOUGH: () = assert!(N >= QUEUES_LEAST && N <= QUEUES);

    /// A device with so many queues.
    pub fn new(queues: usize) -> Self {
        let () = Self::ENOUGH;
        let queues = queues.clamp(QUEUES_LEAST, N);
        let model = Model {
            name: "bench",
            id: ID,
            features: 0,
            in_order: true,
            queues: SIZES.get(..queues).unwrap_or(&SIZES),
        };
        Self {
            transport: Transport::new(model, &[]),
            chain: Chain::new(),
        }
    }

    /// Serves each queue; how many chains that were. What comes in goes to `room`, and what goes out is
    /// what is there.
    pub fn pass(&mut self, shared: &Shared, room: &mut [u8; ROOM]) -> u64 {
        let mut served = 0;
        for queue in [ECHO, SINK, SOURCE] {
            for _ in 0..BUDGET {
                if !self.transport.pop(shared, queue, &mut self.chain) {
                    break;
                }
                let len = self.serve(shared, queue, room);
                self.transport.push(shared, queue, &self.chain, len);
                served += 1;
            }
        }
        served
    }

    /// Copies what a chain has or wants; how many bytes.
    fn serve(&self, shared: &Shared, queue: usize, room: &mut [u8]) -> u32 {
        let (from, to) = (self.chain.readable_len(), self.chain.writable_len());
        let len = match queue {
            ECHO => from.min(to),
            SINK => from,
            _ => to,
        };
        let most = room.len() as u32;
        let Some(part) = room.get_mut(..len.min(most) as usize) else {
            return 0;
        };
        if queue != SOURCE {
            self.chain.read(&shared.mem, 0, part);
        }
        if queue != SINK {
            self.chain.write(&shared.mem, 0, part);
        }
        len.min(most)
    }
}

impl<const N: usize> Device for Bench<N> {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn is_active(&self) -> bool {
        false
    }

    fn wanted(&self, least: &mut [u16]) {
        for least in least.iter_mut().take(QUEUES_LEAST) {
            *least = 1;
        }
    }
}
