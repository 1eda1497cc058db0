// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Transactions (protocol.rst, "Transactions").

use super::Transport;
use crate::faults::Faults;
use crate::proto::layout::window;
use crate::proto::{Entry, Status};
use crate::shared::Shared;

impl Transport {
    /// Answers the transaction in the window, if there is a new one; `true` if there was.
    pub(crate) fn poll_transaction(&mut self, shared: &Shared) -> bool {
        if self.faults.has(Faults::NOREPLY) {
            return false;
        }
        let seq = shared
            .mem
            .observe32(self.base.wrapping_add(window::TXN_SEQ));
        if seq == self.done_seq {
            return false;
        }

        let count = self.read(shared, window::TXN_COUNT) as usize;
        let epoch = self.read(shared, window::TXN_EPOCH);
        let mut entries = [[0u32; Entry::WORDS]; window::TXN_MAX];
        for (index, entry) in entries.iter_mut().enumerate() {
            for (word, at) in entry
                .iter_mut()
                .zip((window::txn_entry(index)..).step_by(4))
            {
                *word = self.read(shared, at);
            }
        }

        let mut done = 0;
        let outcome = if epoch != shared.epoch {
            Status::Stale
        } else {
            match entries.get(..count) {
                None | Some([]) => Status::BadCount,
                Some(entries) => {
                    let mut outcome = Status::Ok;
                    for entry in entries {
                        if let Err(status) = Entry::parse(entry).and_then(|e| self.apply(shared, e))
                        {
                            outcome = status;
                            break;
                        }
                        done += 1;
                    }
                    outcome
                }
            }
        };
        if outcome != Status::Ok && self.quota.take() {
            log::warn!(
                "{}: transaction {seq:#x}: entry {done}: {}",
                self.model.name,
                outcome.name()
            );
        }

        self.show_view(shared);
        self.write(shared, window::DONE_STATUS, outcome as u32);
        self.write(shared, window::DONE_INDEX, done);
        shared
            .mem
            .publish32(self.base.wrapping_add(window::DONE_SEQ), seq);
        self.done_seq = seq;
        self.transactions = self.transactions.wrapping_add(1);
        self.event_pending = true;
        true
    }
}
