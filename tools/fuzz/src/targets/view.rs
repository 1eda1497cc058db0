// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer's status words, at any time, and the outcome of a transaction.

use crate::input::Input;
use hvl_logic::algo::link::{Action, Link, Patience, View};
use hvl_logic::proto::{DriverState, Entry, PeerState, Status, TestCause};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mut link = Link::new();
    let mut now = 0u64;
    let mut up = None;
    while !input.is_empty() {
        let steps = input.byte();
        now = now.saturating_add(u64::from(input.half()) << (steps >> 4));
        let view = View {
            state: PeerState::from_word(u32::from(steps & 7)),
            epoch: input.byte().into(),
            heartbeat: input.byte().into(),
        };
        match link.look(view, now) {
            Action::Attach(epoch) => {
                assert!(up.is_none() && epoch != 0 && view.state == Some(PeerState::Ready));
                if steps & 8 == 0 {
                    let patience = Patience::with(input.word(), input.word());
                    assert!(patience.is_none_or(|p| p.notice_ms <= p.hang_ms));
                    link.attached(epoch, view.heartbeat, patience, now);
                    up = Some(epoch);
                } else {
                    let retry = (steps & 16 == 0).then(|| now.saturating_add(1000));
                    link.refused(epoch, retry);
                }
            }
            Action::Detach(cause) => {
                assert!(up.take().is_some(), "{}", cause.text());
            }
            Action::Notice(_) | Action::Relief(_) => assert!(up.is_some()),
            Action::None => {
                let live = view.state == Some(PeerState::Ready);
                assert!(up.is_none_or(|epoch| epoch == view.epoch && live));
            }
        }
        assert!(link.look_again_ms() != 0);
    }
    // What else is a word of the other side's.
    let word = u32::from(data.first().copied().unwrap_or(0));
    for word in [word, word << 24, !word] {
        DriverState::from_word(word);
        TestCause::from_word(word);
        Status::from_word(word).map(Status::name);
        let entry = Entry::parse(&[word, word & 7, word, 0]);
        assert!(entry.map_or(true, |entry| entry.offset == word));
    }
}
