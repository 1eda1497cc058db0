// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Requests that come while all places are taken.
//!
//! Whoever gives up in Linux before our answer has come says nothing: Linux resets the connection
//! when it gets the answer. Until it has sent anything else, a connection that it has opened can be
//! such a one. So it is asked for its credit, to which it answers if it is there and by a reset if
//! it is not; and a request that finds no place waits for that.

#![forbid(unsafe_code)]

use super::conn::{Conn, State};
use super::packet::Header;
use super::{App, Vsock, CONNECTIONS};

/// Requests that can wait; those beyond are refused.
pub(super) const WAITING: usize = 32;
/// Milliseconds for Linux to say whether its connections are there; then they are.
const DOUBT: u64 = 5000;

impl Vsock<'_> {
    /// Lets a request that finds no place wait, if there may be one; `false` if there is none.
    pub(super) fn wait(&mut self, header: &Header) -> bool {
        if self.waiting.is_full() || !self.conns.iter().any(Conn::doubtful) {
            return false;
        }
        self.waiting.push(*header);
        true
    }

    /// Answers the requests that wait and need not any more, and asks what the others wait for.
    pub(super) fn settle(&mut self, app: &mut dyn App) {
        while let Some(header) = self.waiting.first() {
            let doubt = self.used == CONNECTIONS && self.conns.iter().any(Conn::doubtful);
            // Any of them can be refused.
            if doubt || self.refusals.is_full() {
                for conn in self.conns.iter_mut().filter(|conn| conn.doubtful()) {
                    conn.ask();
                }
                break;
            }
            self.waiting.drop_first();
            // It was looked at when it came.
            if let Some(kind) = self.socket_type(&header) {
                self.request(app, kind, &header);
            }
        }
    }

    /// Ends the waiting if Linux keeps silent about its connections.
    pub(super) fn hurry(&mut self, app: &mut dyn App, now: u64) {
        if self.waiting.is_empty() {
            self.doubt = None;
        } else if now >= *self.doubt.get_or_insert(now.saturating_add(DOUBT)) {
            for conn in &mut self.conns {
                conn.heard |= conn.state == State::Open;
            }
        }
        self.settle(app);
    }
}
