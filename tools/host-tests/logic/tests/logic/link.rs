// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The link's life cycle: a walk over all short sequences of what a peer can show, and what the
//! driver can answer, against the rules written down a second time.

use hvl_logic::algo::link::{
    Action, Cause, Link, Patience, View, HANG_MIN_MS, HANG_PERIODS, LOOK_MS,
};
use hvl_logic::proto::PeerState;
use proptest::prelude::*;
use std::collections::HashSet;

fn view(state: PeerState, epoch: u32, heartbeat: u32) -> View {
    View {
        state: Some(state),
        epoch,
        heartbeat,
    }
}

fn ready(epoch: u32, heartbeat: u32) -> View {
    view(PeerState::Ready, epoch, heartbeat)
}

/// What the rules remember of the past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Past {
    /// Nothing stands against attaching to a peer that is ready.
    Open,
    /// This epoch was refused, and nothing has changed since.
    Refused { epoch: u32 },
    /// This epoch hung at this heartbeat, and nothing has changed since.
    Hung { epoch: u32, heartbeat: u32 },
    /// Attached. The heartbeat was last seen to move at `since`; silent for the first of `limits`,
    /// that is to be said (it was at `said`), for the second, it counts as hung.
    Up {
        epoch: u32,
        heartbeat: u32,
        since: u64,
        limits: Option<(u64, u64)>,
        said: Option<u64>,
    },
}

impl Past {
    fn name(self) -> &'static str {
        match self {
            Past::Open => "waiting",
            Past::Refused { .. } => "refused",
            Past::Hung { .. } => "hung",
            Past::Up { .. } => "up",
        }
    }

    /// The only right action, and the past after it.
    fn rule(self, view: View, now: u64) -> (Action, Past) {
        let ready = view.state == Some(PeerState::Ready) && view.epoch != 0;
        match self {
            Past::Up {
                epoch,
                heartbeat,
                since,
                limits,
                said,
            } => {
                let down = match view.state {
                    _ if view.epoch != epoch => Some(Cause::Restarted),
                    Some(PeerState::Ready) => None,
                    Some(PeerState::Init) => Some(Cause::Restarted),
                    Some(PeerState::Stopped) => Some(Cause::Stopped),
                    Some(PeerState::Absent | PeerState::Failed) | None => Some(Cause::Failed),
                };
                if let Some(cause) = down {
                    return (Action::Detach(cause), Past::Open);
                }
                let moved = view.heartbeat != heartbeat;
                let since = if moved { now } else { since };
                let heartbeat = view.heartbeat;
                let silent = now - since;
                let (action, said) = match (limits, said) {
                    (_, Some(at)) if moved => (Action::Relief(now - at), None),
                    (Some((_, hang)), _) if silent >= hang => {
                        let hung = Past::Hung { epoch, heartbeat };
                        return (Action::Detach(Cause::Hung), hung);
                    }
                    (Some((notice, _)), None) if silent >= notice => {
                        (Action::Notice(silent), Some(now))
                    }
                    _ => (Action::None, said),
                };
                let up = Past::Up {
                    epoch,
                    heartbeat,
                    since,
                    limits,
                    said,
                };
                (action, up)
            }
            _ if !ready => (Action::None, Past::Open),
            Past::Refused { epoch } if view.epoch == epoch => (Action::None, self),
            Past::Hung { epoch, heartbeat }
                if (view.epoch, view.heartbeat) == (epoch, heartbeat) =>
            {
                (Action::None, self)
            }
            _ => (Action::Attach(view.epoch), self),
        }
    }
}

/// How the driver answers an [`Action::Attach`].
#[derive(Clone, Copy, Debug)]
enum Answer {
    /// The handshake succeeds with a peer that has this heartbeat period, and may take so long for
    /// an answer.
    Attached(u32, u32),
    Refused,
}

const ANSWERS: [Answer; 5] = [
    Answer::Attached(0, 5000),
    Answer::Attached(1, 10),
    Answer::Attached(300, 10),
    Answer::Attached(1, 2000),
    Answer::Refused,
];

#[derive(Clone, Copy, Debug)]
struct World {
    link: Link,
    past: Past,
    now: u64,
}

impl World {
    fn new(now: u64) -> Self {
        Self {
            link: Link::new(),
            past: Past::Open,
            now,
        }
    }

    /// Looks once after `wait` and compares with the rule.
    fn look(&mut self, view: View, wait: u64) -> Action {
        let before = *self;
        self.now = self.now.saturating_add(wait);
        let action = self.link.look(view, self.now);
        let (right, past) = self.past.rule(view, self.now);
        assert_eq!(action, right, "{view:?} after {wait} ms in {before:?}");
        self.past = past;
        self.check();
        action
    }

    fn answer(&mut self, view: View, answer: Answer) {
        match answer {
            Answer::Attached(period, deadline) => {
                let View {
                    epoch, heartbeat, ..
                } = view;
                self.link
                    .attached(epoch, heartbeat, Patience::with(period, deadline), self.now);
                self.past = Past::Up {
                    epoch,
                    heartbeat,
                    since: self.now,
                    limits: match u64::from(period) {
                        0 => None,
                        period => {
                            let notice = (4 * period).max(1000);
                            Some((notice, notice.max(u64::from(deadline))))
                        }
                    },
                    said: None,
                };
            }
            Answer::Refused => {
                self.link.refused(view.epoch, None);
                self.past = Past::Refused { epoch: view.epoch };
            }
        }
        self.check();
    }

    fn check(&self) {
        assert_eq!(self.link.name(), self.past.name(), "{self:?}");
        let again = self.link.look_again_ms();
        assert!((100..=LOOK_MS).contains(&again), "{again} ms in {self:?}");
    }
}

/// Walks all sequences of `length` observations, each after one of `waits`, with every answer to
/// every attachment. Worlds that came to be equal behave alike, so each is followed once.
fn walk(length: usize, views: &[View], waits: &[u64]) -> (usize, HashSet<&'static str>) {
    let mut worlds = vec![World::new(5)];
    let mut states = HashSet::new();
    let mut steps = 0;
    for _ in 0..length {
        let mut known = HashSet::new();
        let mut next = Vec::new();
        for world in &worlds {
            for &view in views {
                for &wait in waits {
                    let mut after = *world;
                    let action = after.look(view, wait);
                    steps += 1;
                    let mut add = |world: World| {
                        states.insert(world.link.name());
                        // The debug text shows every field.
                        if known.insert(format!("{world:?}")) {
                            next.push(world);
                        }
                    };
                    if let Action::Attach(epoch) = action {
                        assert_eq!(epoch, view.epoch);
                        for answer in ANSWERS {
                            let mut answered = after;
                            answered.answer(view, answer);
                            add(answered);
                        }
                    } else {
                        add(after);
                    }
                }
            }
        }
        worlds = next;
    }
    (steps, states)
}

fn all_views(epochs: &[u32], heartbeats: &[u32]) -> Vec<View> {
    let states = (0..6).map(PeerState::from_word);
    states
        .flat_map(|state| {
            epochs.iter().flat_map(move |&epoch| {
                heartbeats.iter().map(move |&heartbeat| View {
                    state,
                    epoch,
                    heartbeat,
                })
            })
        })
        .collect()
}

#[test]
fn all_sequences() {
    // Six states (one reserved) by three epochs (0, never valid) by two heartbeats, at once or
    // after a while that is a hang for one period and not for another.
    let views = all_views(&[0, 1, u32::MAX], &[0, u32::MAX]);
    let (steps, states) = walk(7, &views, &[0, 600, 1200]);
    assert_eq!(states.len(), 4, "not all states were reached: {states:?}");
    assert!(steps > 100_000, "only {steps} steps");
}

#[test]
fn long_sequences() {
    // Fewer sights, and more of them.
    let views = [
        ready(1, 0),
        ready(1, 1),
        ready(2, 0),
        view(PeerState::Init, 1, 0),
        view(PeerState::Failed, 1, 1),
    ];
    let (_, states) = walk(12, &views, &[250, 1000]);
    assert_eq!(states.len(), 4, "not all states were reached: {states:?}");
}

/// Two attachments have a detachment between them, if the first one succeeded: the same walk with
/// nothing but the actions in view.
#[test]
fn attachments_alternate() {
    let views = all_views(&[1, 2], &[0, 1]);
    let mut open: Vec<(Link, bool, u64)> = vec![(Link::new(), false, 0)];
    for _ in 0..6 {
        let mut known = HashSet::new();
        let mut next = Vec::new();
        for &(link, up, now) in &open {
            for &view in &views {
                let (mut link, now) = (link, now + 700);
                let up = match link.look(view, now) {
                    Action::None | Action::Notice(_) | Action::Relief(_) => up,
                    Action::Attach(_) => {
                        assert!(!up, "attached twice: {view:?} {link:?}");
                        link.attached(view.epoch, view.heartbeat, Patience::with(100, 0), now);
                        true
                    }
                    Action::Detach(_) => {
                        assert!(up, "detached without being attached: {view:?} {link:?}");
                        false
                    }
                };
                assert_eq!(link.name() == "up", up);
                if known.insert(format!("{link:?}")) {
                    next.push((link, up, now));
                }
            }
        }
        open = next;
    }
}

#[test]
fn refused_until_something_changes() {
    let refuse = || {
        let mut world = World::new(0);
        assert_eq!(world.look(ready(3, 0), 0), Action::Attach(3));
        world.answer(ready(3, 0), Answer::Refused);
        for beat in 0..100 {
            assert_eq!(world.look(ready(3, beat), 1000), Action::None);
        }
        world
    };
    assert_eq!(refuse().look(ready(4, 0), 0), Action::Attach(4));
    for word in [0, 1, 3, 4, 5] {
        let mut world = refuse();
        let state = PeerState::from_word(word);
        let other = View {
            state,
            epoch: 3,
            heartbeat: 0,
        };
        assert_eq!(world.look(other, 0), Action::None);
        assert_eq!(world.look(ready(3, 0), 0), Action::Attach(3), "{state:?}");
    }
}

#[test]
fn hung_until_it_moves() {
    let mut world = World::new(0);
    world.look(ready(3, 9), 0);
    world.answer(ready(3, 9), Answer::Attached(300, 0));
    let limit = 300 * HANG_PERIODS;
    assert_eq!(world.look(ready(3, 9), limit - 1), Action::None);
    assert_eq!(world.look(ready(3, 9), 1), Action::Detach(Cause::Hung));
    for _ in 0..100 {
        assert_eq!(world.look(ready(3, 9), 1000), Action::None);
    }
    assert_eq!(world.look(ready(3, 10), 0), Action::Attach(3));
    world.answer(ready(3, 10), Answer::Attached(1, 0));
    // A short period does not make a hang of less than a second.
    assert_eq!(world.look(ready(3, 10), HANG_MIN_MS - 1), Action::None);
    assert_eq!(world.look(ready(3, 10), 1), Action::Detach(Cause::Hung));
    assert_eq!(world.look(ready(4, 10), 0), Action::Attach(4));
}

#[test]
fn texts() {
    let causes = [Cause::Restarted, Cause::Stopped, Cause::Failed, Cause::Hung];
    let texts: HashSet<_> = causes.map(Cause::text).into_iter().collect();
    assert_eq!(texts.len(), causes.len());
    assert_eq!(Link::default().name(), "waiting");
}

fn any_view() -> impl Strategy<Value = View> {
    (
        prop_oneof![4 => Just(2u32), 1 => 0u32..6],
        prop_oneof![0u32..3, any::<u32>()],
        prop_oneof![0u32..3, any::<u32>()],
    )
        .prop_map(|(state, epoch, heartbeat)| View {
            state: PeerState::from_word(state),
            epoch,
            heartbeat,
        })
}

proptest! {
    /// The driver looks as often as the link asks it to, or up to 50 ms later. A peer that beats
    /// on time is never taken for dead; one that stops is, soon after the limit.
    #[test]
    fn hang_is_detected_in_time(
        period in 1u32..=60_000,
        start in 0u64..1_000_000,
        alive in 0u64..20,
        first in 0u32..,
        late in prop::collection::vec(0u64..=50, 16),
    ) {
        let limit = (u64::from(period) * HANG_PERIODS).max(HANG_MIN_MS);
        let died = start + alive * u64::from(period);
        let beats = |now: u64| {
            let passed = (now.min(died) - start) / u64::from(period);
            first.wrapping_add(passed as u32)
        };
        let mut world = World::new(start);
        world.look(ready(1, first), 0);
        world.answer(ready(1, first), Answer::Attached(period, 0));
        for n in 0.. {
            let wait = world.link.look_again_ms() + late[n % late.len()];
            let action = world.look(ready(1, beats(world.now + wait)), wait);
            if action != Action::None {
                prop_assert_eq!(action, Action::Detach(Cause::Hung));
                break;
            }
            prop_assert!(world.now < died + limit + 2 * (LOOK_MS + 50), "not detected");
        }
        // The last beat was at `died`, and was seen then or later.
        prop_assert!(world.now >= died + limit, "{} before {died} + {limit}", world.now);
    }

    /// No clock and no words make it panic, not even a clock that runs backwards.
    #[test]
    fn nothing_panics(
        steps in prop::collection::vec(
            (any_view(), prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], any::<u32>(), 0..4),
            0..40,
        ),
    ) {
        let mut link = Link::new();
        for (view, now, period, answer) in steps {
            if let Action::Attach(epoch) = link.look(view, now) {
                prop_assert_ne!(epoch, 0);
                match answer {
                    0 => link.refused(epoch, None),
                    1 | 2 => link.attached(epoch, view.heartbeat, Patience::with(period, period), now),
                    _ => {}
                }
            }
            prop_assert!((100..=LOOK_MS).contains(&link.look_again_ms()));
        }
    }
}

#[test]
fn refused_for_a_time() {
    let mut link = Link::new();
    let view = View {
        state: Some(PeerState::Ready),
        epoch: 7,
        heartbeat: 1,
    };
    assert_eq!(link.look(view, 100), Action::Attach(7));
    link.refused(7, Some(10_100));
    assert_eq!(link.look(view, 10_099), Action::None);
    assert_eq!(link.look(view, 10_100), Action::Attach(7));
    // Not tried again, it is not tried again later either.
    link.refused(7, None);
    assert_eq!(link.look(view, u64::MAX), Action::None);
}

#[test]
fn silence_that_counts() {
    let with = |period, deadline| {
        Patience::with(period, deadline).map(|patience| (patience.notice_ms, patience.hang_ms))
    };
    assert_eq!(with(0, 5000), None);
    assert_eq!(with(1, 10), Some((HANG_MIN_MS, HANG_MIN_MS)));
    assert_eq!(with(100, 5000), Some((HANG_MIN_MS, 5000)));
    assert_eq!(with(300, 5000), Some((300 * HANG_PERIODS, 5000)));
    assert_eq!(with(2000, 5000), Some((8000, 8000)));
    let most = u64::from(u32::MAX) * 4;
    assert_eq!(with(u32::MAX, u32::MAX), Some((most, most)));
}

#[test]
fn silence_is_said_once_and_so_is_its_end() {
    let mut link = Link::new();
    link.look(ready(1, 5), 0);
    link.attached(1, 5, Patience::with(100, 5000), 0);
    assert_eq!(link.look(ready(1, 5), 999), Action::None);
    assert_eq!(link.look(ready(1, 5), 1001), Action::Notice(1001));
    assert_eq!(link.look(ready(1, 5), 3000), Action::None);
    assert_eq!(link.look(ready(1, 6), 3001), Action::Relief(2000));
    assert_eq!(link.look(ready(1, 6), 4001), Action::Notice(1000));
    assert_eq!(link.look(ready(1, 6), 8001), Action::Detach(Cause::Hung));
    // What was said of this attachment is not of the next.
    assert_eq!(link.look(ready(1, 7), 8002), Action::Attach(1));
    link.attached(1, 7, Patience::with(100, 5000), 8002);
    assert_eq!(link.look(ready(1, 8), 8003), Action::None);
}

#[test]
fn given_up_by_hand() {
    let view = view(PeerState::Ready, 7, 1);
    let mut link = Link::new();
    assert!(!link.give_up(), "there is nothing to give up");
    assert_eq!(link.look(view, 0), Action::Attach(7));
    link.attached(7, 1, Patience::with(100, 1000), 0);
    assert_eq!(link.look(view, 10), Action::None);
    assert!(link.give_up());
    assert!(!link.give_up());
    // The same peer is attached to again, at once.
    assert_eq!(link.look(view, 20), Action::Attach(7));
}
