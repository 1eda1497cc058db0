// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Interrupts of Linux's for single queues (protocol.rst, "Vectors").

#![forbid(unsafe_code)]

use super::Transport;
use crate::mask::each;
use crate::proto::layout::{link, window};
use crate::proto::Vector;
use crate::shared::Shared;

impl Transport {
    /// What the entry of the vector table says that is named by the word at `offset` of the window; `None`
    /// if it names none, or the link's doorbell.
    pub(super) fn vector(&self, shared: &Shared, offset: u32) -> Option<Vector> {
        let number = self.read(shared, offset) as usize;
        let count = shared.mem.read32(link::VECTOR_COUNT) as usize;
        if number >= count.min(link::VECTORS_MAX) {
            return None;
        }
        let mut words = [0; link::VECTOR_ENTRY_WORDS];
        for (word, at) in words
            .iter_mut()
            .zip((link::vector_entry(number)..).step_by(4))
        {
            *word = shared.mem.read32(at);
        }
        match Vector::parse(&words) {
            Vector::Doorbell(0) => None,
            vector => Some(vector),
        }
    }

    /// The driver is ready.
    pub(crate) fn take_config_vector(&mut self, shared: &Shared) {
        self.config_vector = self.vector(shared, window::CONFIG_VECTOR);
    }

    /// Whether there is something that the doorbell does not ring for.
    pub(crate) const fn has_vectors_due(&self) -> bool {
        self.vectors_due != 0 || self.config_due
    }

    /// Has `ring` ring each vector that has something to say, once. It returns `false` for one that it
    /// cannot ring, which is forgotten; then the result is `true`, and the doorbell has to.
    pub(crate) fn ring_vectors(&mut self, mut ring: impl FnMut(Vector) -> bool) -> bool {
        let due = core::mem::take(&mut self.vectors_due);
        let config = core::mem::take(&mut self.config_due);
        let (mut last, mut refused) = (None, false);
        let of_queues = each(due).map(Some);
        for index in of_queues.chain(config.then_some(None)) {
            let slot = match index {
                Some(index) => self.queues.get_mut(index).map(|queue| &mut queue.vector),
                None => Some(&mut self.config_vector),
            };
            let Some(slot) = slot else {
                continue;
            };
            // One that several queues have in common.
            if slot.is_none() || *slot == last {
                continue;
            }
            last = *slot;
            if !slot.is_some_and(&mut ring) {
                *slot = None;
                last = None;
                refused = true;
            }
        }
        if refused && self.quota.take() {
            log::warn!(
                "{}: a vector of Linux's cannot be rung, the doorbell is",
                self.model.name
            );
        }
        refused
    }
}
