// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What time it is here when something is answered: how long the answer takes to whoever asked is what the other side's
//! clock says then, where both read the same counter.

use crate::session::Clock;
use hvl_device::stream::Stream;

/// Bytes of an answer: the counter, least byte first.
const LEN: usize = 8;
/// Most answers in a pass.
const BUDGET: usize = 64;

/// Answers each byte with the counter; `true` if there was any.
pub(crate) fn answer(stream: &mut dyn Stream, clock: &dyn Clock) -> bool {
    let mut busy = false;
    for _ in 0..BUDGET {
        if stream.peek().is_empty() || stream.room() < LEN {
            break;
        }
        stream.consume(1);
        busy = true;
        let stamp = clock.counter().to_le_bytes();
        let mut at = 0;
        // The room may lie in two pieces.
        while at < LEN {
            let left = stamp.get(at..).unwrap_or(&[]);
            let sent = stream.send(&mut |room| {
                let count = room.len().min(left.len());
                for (to, from) in room.iter_mut().zip(left) {
                    *to = *from;
                }
                count
            });
            if sent == 0 {
                break;
            }
            at += sent;
        }
    }
    busy
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream whose room comes in pieces of five.
    struct Pieces {
        from: Vec<u8>,
        to: Vec<u8>,
        most: usize,
    }

    impl Stream for Pieces {
        fn peek(&mut self) -> &[u8] {
            &self.from
        }
        fn consume(&mut self, count: usize) {
            self.from.drain(..count);
        }
        fn room(&self) -> usize {
            self.most - self.to.len()
        }
        fn send(&mut self, write: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
            let mut room = vec![0; self.room().min(5)];
            let count = write(&mut room);
            self.to.extend(&room[..count]);
            count
        }
        fn is_heard(&self) -> bool {
            true
        }
        fn at_end(&self) -> bool {
            false
        }
        fn finish(&mut self) {}
    }

    #[derive(Debug)]
    struct At(u64);

    impl Clock for At {
        fn micros(&self) -> u64 {
            unreachable!("it is too coarse")
        }
        fn counter(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn each_byte_has_an_answer_and_those_without_room_wait() {
        let mut stream = Pieces {
            from: vec![1, 2, 3],
            to: Vec::new(),
            most: 20,
        };
        let at = At(0x0123_4567_89ab_cdef);
        assert!(answer(&mut stream, &at));
        assert_eq!(stream.from, [3]);
        assert_eq!(stream.to, at.0.to_le_bytes().repeat(2));
        assert!(!answer(&mut stream, &at));
        stream.most = 24;
        assert!(answer(&mut stream, &at));
        assert_eq!((stream.from.len(), stream.to.len()), (0, 24));
        assert!(!answer(&mut stream, &at));
    }
}
