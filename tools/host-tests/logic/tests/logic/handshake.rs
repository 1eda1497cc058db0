// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The numbers of an attachment and of transactions, and what is made of link tests.

use hvl_logic::algo::handshake::{driver_epoch, test_request, Tally, Verdict, TRIES};
use hvl_logic::algo::sequence::Sequence;
use hvl_logic::proto::state::boot_epoch;
use hvl_logic::proto::TestCause;

/// Few numbers, so that all of them meet, and around the end.
const NUMBERS: [u32; 7] = [0, 1, 2, 3, 4, u32::MAX - 1, u32::MAX];

#[test]
fn a_driver_epoch_is_another() {
    for wish in NUMBERS {
        for seen in NUMBERS {
            for shown in NUMBERS {
                let own = driver_epoch(wish, seen, shown);
                assert!(![0, seen, shown].contains(&own), "{wish} {seen} {shown}");
                // It is the wish where that will do.
                assert!(own == wish || [0, seen, shown].contains(&wish));
            }
        }
    }
}

#[test]
fn a_test_request_is_another() {
    for shown in NUMBERS {
        for ack in NUMBERS {
            for taken in NUMBERS {
                let request = test_request(shown, ack, taken);
                assert!(![shown, ack, taken].contains(&request));
                assert!(request.wrapping_sub(shown) <= 3, "it goes on from there");
            }
        }
    }
}

#[test]
fn a_boot_has_an_epoch_that_none_before_had() {
    assert_eq!(boot_epoch(0, 0), 1);
    assert_eq!(boot_epoch(6, 6), 7);
    assert_eq!(boot_epoch(u32::MAX, 5), 1);
    // One that came to an end before its epoch was shown, and one before it wrote that.
    assert_eq!(boot_epoch(0, 7), 8);
    assert_eq!(boot_epoch(6, 7), 7);
}

#[test]
fn one_good_test_will_do() {
    assert_eq!(
        Tally::new().note(Some(TestCause::Doorbell), true, true),
        Some(Verdict::Works)
    );
    assert_eq!(
        Tally::new().note(Some(TestCause::Poll), true, false),
        Some(Verdict::Works)
    );
}

#[test]
fn a_doorbell_is_dead_after_some_tests() {
    for (cause, rung, verdict) in [
        (Some(TestCause::Poll), true, Verdict::ToPeer),
        (None, true, Verdict::ToPeer),
        (Some(TestCause::Doorbell), false, Verdict::ToDriver),
        (None, false, Verdict::ToDriver),
    ] {
        let mut tally = Tally::new();
        for _ in 1..TRIES {
            assert_eq!(tally.note(cause, rung, true), None);
        }
        let mut other = tally;
        assert_eq!(tally.note(cause, rung, true), Some(verdict));
        let good = other.note(Some(TestCause::Doorbell), true, true);
        assert_eq!(good, Some(Verdict::Works), "up to the last one");
    }
}

/// TestCause is 0 since a peer has booted, and TestAck what TestRequest was.
#[test]
fn what_a_boot_leaves_is_no_answer() {
    assert_eq!(Tally::new().note(None, true, false), None);
}

#[test]
fn no_transaction_follows_one_without_an_answer() {
    let mut sequence = Sequence::new(u32::MAX);
    assert_eq!(sequence.begin(u32::MAX), Some(0));
    assert!(!sequence.is_answered(u32::MAX) && sequence.is_answered(0));
    sequence.end(true);
    assert_eq!(sequence.begin(0), Some(1));
    sequence.end(false);
    assert_eq!(sequence.begin(0), None);
    assert_eq!(sequence.begin(0), None);
    // The answer has come after all.
    assert_eq!(sequence.begin(1), Some(2));
    assert_eq!(sequence.number(), 2);
}
