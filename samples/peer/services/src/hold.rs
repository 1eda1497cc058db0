// SPDX-License-Identifier: GPL-2.0 OR MIT

//! SYNs that are one too many, for a moment.
//!
//! Linux keeps the frames of one connection in order, but not those of two: fq_codel, its usual queueing
//! discipline, lets the first frame of a new flow overtake the last of an old one. So the SYN of whoever
//! keeps to the limit may come before the FIN that makes room for it. It waits a little for that.

use crate::guard::Key;

/// Milliseconds for which a SYN waits for room before it is refused.
pub(crate) const PATIENCE: u64 = 50;
/// SYNs that wait at a time; those beyond are refused at once.
const HELD: usize = 16;
/// Longest frame with a SYN that carries no data: Ethernet, IPv4 (or IPv6) and TCP headers with
/// all options.
const FRAME: usize = 14 + 60 + 60;

#[derive(Clone, Copy, Debug)]
struct Held {
    key: Key,
    until: u64,
    len: usize,
    frame: [u8; FRAME],
}

/// The SYNs that wait, those that came first in front.
#[derive(Debug)]
pub(crate) struct Hold {
    held: [Option<Held>; HELD],
    /// When the next one is refused; kept, since nearly always there is none.
    due: Option<u64>,
}

impl Hold {
    pub(crate) const fn new() -> Self {
        Self {
            held: [None; HELD],
            due: None,
        }
    }

    /// Nobody waits any more.
    pub(crate) fn clear(&mut self) {
        *self = Self::new();
    }

    /// Keeps the `frame` that asks for `key`, in the place of an earlier one that did; `false` if there is no
    /// room.
    pub(crate) fn keep(&mut self, key: Key, frame: &[u8], now: u64) -> bool {
        let same = |place: &Option<Held>| place.is_some_and(|held| held.key == key);
        let at = self.held.iter().position(same);
        let at = at.or_else(|| self.held.iter().position(Option::is_none));
        let Some(place) = at.and_then(|at| self.held.get_mut(at)) else {
            return false;
        };
        let mut held = Held {
            key,
            until: place.map_or(now.saturating_add(PATIENCE), |earlier| earlier.until),
            len: frame.len(),
            frame: [0; FRAME],
        };
        let Some(room) = held.frame.get_mut(..frame.len()) else {
            return false;
        };
        room.copy_from_slice(frame);
        *place = Some(held);
        self.plan();
        true
    }

    /// The first one for which there is room, by its port, or that has waited for long enough: it is copied
    /// to `to`. Returns its length and whom it asks for.
    pub(crate) fn take(
        &mut self,
        now: u64,
        has_room: impl Fn(u16) -> bool,
        to: &mut [u8],
    ) -> Option<(usize, Key)> {
        self.due?;
        let ready = |place: &Option<Held>| {
            place.is_some_and(|held| now >= held.until || has_room(held.key.port))
        };
        let at = self.held.iter().position(ready)?;
        let rest = self.held.get_mut(at..)?;
        // The others move up.
        rest.rotate_left(1);
        let held = rest.last_mut()?.take()?;
        self.plan();
        to.get_mut(..held.len)?
            .copy_from_slice(held.frame.get(..held.len)?);
        Some((held.len, held.key))
    }

    /// Milliseconds at which the next one is refused.
    pub(crate) const fn due(&self) -> Option<u64> {
        self.due
    }

    fn plan(&mut self) {
        self.due = self.held.iter().flatten().map(|held| held.until).min();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::IpAddress;

    fn key(remote_port: u16, port: u16) -> Key {
        Key {
            remote: IpAddress::v4(10, 77, 0, 2),
            own: IpAddress::v4(10, 77, 0, 1),
            remote_port,
            port,
        }
    }

    #[test]
    fn whoever_came_first_is_let_in_first() {
        let mut hold = Hold::new();
        let mut frame = [0; 200];
        assert_eq!(hold.due(), None);
        for (at, port) in (0u8..).zip([7, 9, 7]) {
            assert!(hold.keep(key(at.into(), port), &[at; 60], 100 + u64::from(at)));
        }
        assert_eq!(hold.due(), Some(100 + PATIENCE));
        assert_eq!(hold.take(101, |_| false, &mut frame), None);
        for (want, of, next) in [(0, 7, 101), (2, 7, 101), (1, 9, 0)] {
            let found = hold.take(102, |port| port == of, &mut frame);
            assert_eq!(found, Some((60, key(want, of))));
            assert_eq!(frame[..60], [want as u8; 60]);
            assert_eq!(hold.due(), (next != 0).then_some(next + PATIENCE));
        }
    }

    #[test]
    fn nobody_waits_for_long_and_a_repetition_does_not_wait_longer() {
        let mut hold = Hold::new();
        let mut frame = [0; 200];
        assert!(hold.keep(key(1, 7), &[1; 60], 100));
        assert!(hold.keep(key(1, 7), &[2; 62], 100 + PATIENCE / 2));
        assert_eq!(hold.take(99 + PATIENCE, |_| false, &mut frame), None);
        let found = hold.take(100 + PATIENCE, |_| false, &mut frame);
        assert_eq!(found, Some((62, key(1, 7))));
        assert_eq!(frame[..62], [2; 62]);
        assert_eq!(hold.take(u64::MAX, |_| true, &mut frame), None);
    }

    #[test]
    fn what_does_not_fit_is_not_kept() {
        let mut hold = Hold::new();
        assert!(!hold.keep(key(0, 7), &[0; FRAME + 1], 0));
        for port in 0..HELD as u16 {
            assert!(hold.keep(key(port, 7), &[0; FRAME], 0));
        }
        assert!(!hold.keep(key(99, 7), &[0; 60], 0));
        hold.clear();
        assert!(hold.keep(key(99, 7), &[0; 60], 0));
    }
}
