// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Checksums and segments that are found in a frame.

use crate::input::Input;
use hvl_device::checksum;
use hvl_device::segment::{Cutter, Segment};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mss = 1 + usize::from(input.half());
    let frame = input.rest();
    if let Some(place) = checksum::find(frame) {
        let mut whole = frame.to_vec();
        checksum::complete(&mut whole, &place);
        assert!(checksum::verify(&whole, &place));
    }
    let Some(segment) = Segment::find(frame) else {
        return;
    };
    assert_eq!(segment.headers + segment.payload, frame.len());
    let mut whole = frame.to_vec();
    let cutter = Cutter::new(&whole, segment);
    let mut from = 0;
    while from < segment.payload && from < 64 * mss {
        let part = cutter.part(&mut whole, from, mss).expect("a part of it");
        let len = mss.min(segment.payload - from);
        assert_eq!(part.len(), segment.headers + len);
        let payload = &frame[segment.headers + from..][..len];
        assert!(part[segment.headers..] == *payload);
        from += len;
    }
}
