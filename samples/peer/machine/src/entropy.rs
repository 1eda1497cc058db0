// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Random numbers: the core's own where it makes any, else those of a generator that is seeded with
//! what little differs from boot to boot. Those of the second kind are no secret from who can guess
//! when the program started; Linux does not count on them alone.

use crate::cpu;
use hvl_device::rng::Entropy;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;

/// Tries for a number of the core's before there is none.
const TRIES: usize = 8;

/// Where random numbers come from.
pub(crate) struct Source {
    generator: ChaCha20Rng,
    own: bool,
}

impl Source {
    /// The best that this core has.
    pub(crate) fn new() -> Self {
        let own = cpu::has_random();
        let mut seed = [0; 32];
        for part in seed.chunks_exact_mut(8) {
            part.copy_from_slice(&random(own).to_le_bytes());
        }
        Self {
            generator: ChaCha20Rng::from_seed(seed),
            own,
        }
    }
}

/// A number of the core's or, without one, of the clock's.
fn random(own: bool) -> u64 {
    let tries = if own { TRIES } else { 0 };
    let found = (0..tries).find_map(|_| cpu::random());
    found.unwrap_or_else(cpu::entropy)
}

impl Entropy for Source {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.generator.fill_bytes(bytes);
        if self.own {
            for part in bytes.chunks_mut(8) {
                for (byte, own) in part.iter_mut().zip(random(true).to_le_bytes()) {
                    *byte ^= own;
                }
            }
        }
    }
}
