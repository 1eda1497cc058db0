// SPDX-License-Identifier: GPL-2.0 OR MIT

//! An entropy device (VIRTIO 5.4).
//!
//! The shortest of all models: one queue, no configuration space, no features. README.md goes through it.

#![forbid(unsafe_code)]

use crate::device::Device;
use crate::faults::Faults;
use crate::proto::virtio::device;
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport};

/// Most bytes that one chain gets; who wants more asks again.
pub const MOST: usize = 1024;

const REQUESTS: usize = 0;
const SIZES: [u16; 1] = [16];

/// Where random numbers come from.
pub trait Entropy {
    /// Fills `bytes` with random ones.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// The device.
#[derive(Debug)]
pub struct Rng {
    transport: Transport<[Queue; SIZES.len()]>,
    chain: Chain,
}

impl Default for Rng {
    fn default() -> Self {
        Self::new()
    }
}

impl Rng {
    /// A device.
    pub fn new() -> Self {
        let model = Model {
            name: "rng",
            id: device::ENTROPY,
            features: 0,
            in_order: true,
            queues: &SIZES,
        };
        Self {
            transport: Transport::new(model, &[]),
            chain: Chain::new(),
        }
    }

    /// Fills what Linux has room for; how many chains that were.
    pub fn pass(&mut self, shared: &Shared, source: &mut dyn Entropy) -> u64 {
        let mut served = 0;
        for _ in 0..BUDGET {
            if !self.transport.pop(shared, REQUESTS, &mut self.chain) {
                break;
            }
            // What Linux may have written for us has no meaning.
            let mut bytes = [0; MOST];
            let len = (self.chain.writable_len() as usize).min(MOST);
            let mut written = 0;
            if let Some(part) = bytes.get_mut(..len) {
                if !self.transport.has_fault(Faults::RNG_EMPTY) {
                    source.fill(part);
                    self.chain.write(&shared.mem, 0, part);
                }
                written = part.len() as u32;
            }
            self.transport.push(shared, REQUESTS, &self.chain, written);
            served += 1;
        }
        served
    }
}

impl Device for Rng {
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
        least.fill(1);
    }
}
