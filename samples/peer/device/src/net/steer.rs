// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which pair of queues a frame goes to: the one on which Linux sends the frames of the same flow
//! (automatic receive steering, VIRTIO 5.1.6.5.5).

#![forbid(unsafe_code)]

const ETHERNET: usize = 14;
/// Flows that are told apart; those that share a slot share a pair.
const SLOTS: usize = 256;
/// A slot for which Linux has not sent anything.
const NONE: u8 = u8::MAX;

/// The pairs of the flows.
#[derive(Clone, Debug)]
pub(super) struct Steer {
    pairs: [u8; SLOTS],
}

/// Four bytes of the frame, 0 where it ends.
fn word(frame: &[u8], at: usize) -> u32 {
    let bytes: Option<[u8; 4]> = frame.get(at..at + 4).and_then(|four| four.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

/// The slot of a frame's flow: the same for both directions.
fn slot(frame: &[u8]) -> usize {
    let (addresses, protocol, ports) = match (word(frame, 12) >> 16, word(frame, ETHERNET) >> 28) {
        (0x0800, 4) => {
            let header = ((word(frame, ETHERNET) >> 24) & 0xf) as usize * 4;
            // All fragments of a packet, of which only the first has ports, are of one flow.
            let whole = word(frame, ETHERNET + 4) & 0x3fff == 0;
            (
                word(frame, ETHERNET + 12) ^ word(frame, ETHERNET + 16),
                word(frame, ETHERNET + 8) >> 16 & 0xff,
                whole.then_some(ETHERNET + header),
            )
        }
        (0x86dd, 6) => (
            (ETHERNET + 8..ETHERNET + 40)
                .step_by(4)
                .fold(0, |sum, at| sum ^ word(frame, at)),
            word(frame, ETHERNET + 4) >> 8 & 0xff,
            Some(ETHERNET + 40),
        ),
        _ => (0, 0, None),
    };
    let ports = match (protocol, ports) {
        (6 | 17, Some(at)) => word(frame, at) ^ (word(frame, at) >> 16),
        _ => 0,
    };
    let mixed = addresses
        .wrapping_mul(0x9e37_79b1)
        .wrapping_add((ports & 0xffff).wrapping_mul(0x85eb_ca6b))
        .wrapping_add(protocol);
    (mixed.wrapping_mul(0x9e37_79b1) >> 24) as usize
}

impl Steer {
    /// Linux has sent nothing.
    pub(super) const fn new() -> Self {
        Self {
            pairs: [NONE; SLOTS],
        }
    }

    /// From here on frames of the same flow as `frame` go to `pair`.
    pub(super) fn set(&mut self, frame: &[u8], pair: usize) {
        if let Some(slot) = self.pairs.get_mut(slot(frame)) {
            *slot = u8::try_from(pair).unwrap_or(NONE);
        }
    }

    /// The pair for `frame`, of those that there are.
    pub(super) fn pair(&self, frame: &[u8], pairs: usize) -> usize {
        let slot = slot(frame);
        match self.pairs.get(slot) {
            Some(pair) if usize::from(*pair) < pairs => usize::from(*pair),
            _ => slot.checked_rem(pairs).unwrap_or(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A TCP segment's headers, and those of one the other way.
    fn both_ways(six: bool, near: u16, far: u16) -> [Vec<u8>; 2] {
        let frame = |ports: [u16; 2], swap: bool| {
            let mut frame = vec![0; ETHERNET];
            let (ours, theirs) = if six {
                ([3; 16], [9; 16])
            } else {
                ([1; 16], [2; 16])
            };
            let (from, to) = if swap { (theirs, ours) } else { (ours, theirs) };
            let len = if six { 16 } else { 4 };
            if six {
                frame[12..14].copy_from_slice(&[0x86, 0xdd]);
                frame.extend([0x60, 0, 0, 0, 0, 20, 6, 64]);
            } else {
                frame[12..14].copy_from_slice(&[0x08, 0x00]);
                frame.extend([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            }
            frame.extend_from_slice(&from[..len]);
            frame.extend_from_slice(&to[..len]);
            frame.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
            frame.resize(frame.len() + 16, 0);
            frame
        };
        [frame([near, far], false), frame([far, near], true)]
    }

    proptest! {
        /// What comes on a pair is answered on it, whatever else comes on others.
        #[test]
        fn answers_go_where_the_flow_came_from(
            six in any::<bool>(),
            near in any::<u16>(),
            far in any::<u16>(),
            pair in 0usize..8,
        ) {
            let [there, back] = both_ways(six, near, far);
            let mut steer = Steer::new();
            prop_assert_eq!(steer.pair(&there, 8), steer.pair(&back, 8));
            steer.set(&there, pair);
            prop_assert_eq!(steer.pair(&back, 8), pair);
            // Where there are not as many pairs any more it goes to one of those.
            prop_assert!(steer.pair(&back, 1 + pair / 2) <= pair / 2);
            prop_assert_eq!(steer.pair(&back, 0), 0);
        }

        #[test]
        fn anything_goes_in(frame in prop::collection::vec(any::<u8>(), 0..80), pairs in 1usize..9) {
            prop_assert!(Steer::new().pair(&frame, pairs) < pairs);
        }
    }

    #[test]
    fn flows_spread() {
        let steer = Steer::new();
        let mut seen = [0; 4];
        for port in 40_000..40_256 {
            seen[steer.pair(&both_ways(false, port, 9)[0], 4)] += 1;
        }
        assert!(seen.iter().all(|count| *count > 32), "{seen:?}");
    }

    #[test]
    fn fragments_stay_together() {
        let [mut first, _] = both_ways(false, 1, 2);
        let [mut second, _] = both_ways(false, 77, 78);
        first[20] = 0x20;
        second[21] = 185;
        assert_eq!(slot(&first), slot(&second));
    }
}
