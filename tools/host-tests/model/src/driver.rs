// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The driver: what the threads of `rust/virtio_hvl/link` do, a step at a time. What they decide is their own code,
//! [`crate::algo::link`], [`crate::algo::handshake`] and [`crate::algo::sequence`].

use crate::algo::handshake::{driver_epoch, test_request, Tally, Verdict};
use crate::algo::link::{Action as Next, Link as LifeCycle, Patience, View};
use crate::devices::{At, Dev, Kind};
use crate::model::World;
use crate::mutation::Mutation;
use crate::proto::layout::{link, window, VERSION};
use crate::proto::{DriverState, Identity, PeerState, TestCause, Vector};
use crate::ring::PLACES;
use crate::state::State;
use crate::{DEADLINE, DEVICES, REGION, RETRY, TICK_MS};

/// What the link's thread is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// It looks now and then.
    Looks,
    /// It has copied the header of the peer of an epoch, and that was one.
    Copied(u32, bool),
    /// It writes its own words for the peer of that epoch; so many were written.
    Announces(u32, u8),
    /// It begins a link test.
    Tests(u32, Tally),
    /// It has chosen the test's number.
    Asks(u32, Tally),
    /// It waits for the answer, until then.
    Waits(u32, Tally, u8),
    /// It waits to be adopted, until then; whether it was a right answer.
    Adopts(u32, u8, bool),
}

/// The driver, while it is loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Driver {
    cycle: LifeCycle,
    pub(crate) phase: Phase,
    /// Epoch of the attached peer, 0: none.
    pub(crate) up: u32,
    /// Number of this attachment.
    own: u32,
    /// It is to be unloaded.
    pub(crate) leaves: bool,
    /// The last request for a link test, and the last answer that an interrupt has found.
    pub(crate) request: u32,
    pub(crate) found: u32,
    pub(crate) devices: [Dev; DEVICES],
}

impl Driver {
    pub(crate) fn new() -> Self {
        Self {
            cycle: LifeCycle::new(),
            phase: Phase::Looks,
            up: 0,
            own: 0,
            leaves: false,
            request: 0,
            found: 0,
            devices: [Dev::NEW; DEVICES],
        }
    }

    /// Whether one of its threads waits for the peer.
    pub(crate) fn waits(&self) -> bool {
        self.phase != Phase::Looks || self.devices.iter().any(|device| device.at.waits())
    }

    /// Whether it would listen to somebody who wants a new attachment: at other times that is noted and has no
    /// effect, or one that is later.
    pub(crate) fn may_be_asked(&self) -> bool {
        self.phase == Phase::Looks && self.up != 0 && !self.leaves
    }

    /// Whether it begins a link test.
    pub(crate) fn tests(&self) -> bool {
        matches!(self.phase, Phase::Tests(..))
    }

    /// Whether the link is up and all devices are at work, but for those of `without`.
    pub(crate) fn is_up(&self, without: &[bool; DEVICES]) -> bool {
        let works = |(device, left_out): (&Dev, &bool)| *left_out || device.works();
        self.up != 0
            && !self.leaves
            && self.cycle.name() == "up"
            && self.devices.iter().zip(without).all(works)
    }
}

/// `Wire::view`
fn view(state: &State) -> View {
    View {
        state: PeerState::from_word(state.memory.get(link::PEER_STATE)),
        epoch: state.memory.get(link::EPOCH),
        heartbeat: state.memory.get(link::HEARTBEAT),
    }
}

/// `Link::shows`
fn shows(state: &State, epoch: u32) -> bool {
    let view = view(state);
    view.epoch == epoch && view.state == Some(PeerState::Ready)
}

/// Milliseconds, as the driver counts them.
fn now_ms(clock: u8) -> u64 {
    u64::from(clock) * TICK_MS
}

impl World {
    /// The link's thread takes a step; `false`: there is none to take.
    pub(crate) fn step_life(&self, state: &mut State) -> bool {
        let Some(driver) = &state.driver else {
            return false;
        };
        match driver.phase.clone() {
            Phase::Looks => self.look(state),
            Phase::Copied(epoch, whole) => {
                if whole && shows(state, epoch) {
                    self.enter(state, Phase::Announces(epoch, 0));
                } else {
                    self.refuse(state, epoch, false);
                }
                true
            }
            Phase::Announces(epoch, step) => {
                self.announce(state, epoch, step);
                true
            }
            Phase::Tests(epoch, tally) => {
                self.choose(state, epoch, tally);
                true
            }
            Phase::Asks(epoch, tally) => {
                let Some(driver) = &mut state.driver else {
                    return false;
                };
                driver.phase = Phase::Waits(epoch, tally, state.clock + DEADLINE);
                state.memory.set(link::TEST_REQUEST, driver.request);
                state.ghost.ask();
                state.bells.to_peer = true;
                true
            }
            Phase::Waits(epoch, tally, until) => self.wait_answer(state, epoch, tally, until),
            Phase::Adopts(epoch, until, tested) => self.wait_adopted(state, epoch, until, tested),
        }
    }

    fn enter(&self, state: &mut State, phase: Phase) {
        if let Some(driver) = &mut state.driver {
            driver.phase = phase;
        }
    }

    /// `Life::run`, once round, or `Life::leave`
    fn look(&self, state: &mut State) -> bool {
        let (view, now) = (view(state), now_ms(state.clock));
        let Some(driver) = &mut state.driver else {
            return false;
        };
        let before = driver.clone();
        if driver.leaves {
            for device in &mut driver.devices {
                device.dismiss();
            }
            if driver.devices.iter().all(Dev::is_gone) {
                if driver.up != 0 {
                    self.depart(state);
                }
                state.driver = None;
                state.ghost.attach();
                return true;
            }
            if driver.up == 0 {
                return *driver != before;
            }
        }
        if self.mutation == Mutation::PeerNotWatched && driver.up != 0 {
            return *driver != before;
        }
        match driver.cycle.look(view, now) {
            Next::Attach(epoch) if !driver.leaves && driver.devices.iter().all(Dev::is_gone) => {
                // `Link::copy_header`: what it takes is looked at again in the next step.
                let words = core::array::from_fn(|index| {
                    state.memory.get(link::IDENTITY + 4 * index as u32)
                });
                let identity = Identity::parse(&words, REGION.into());
                let whole = identity.is_ok_and(|identity| identity.epoch == epoch);
                driver.phase = Phase::Copied(epoch, whole);
                state.ghost.attached_to = state.ghost.boots;
            }
            Next::Detach(_) => self.detach(state),
            _ => {}
        }
        state.driver.as_ref() != Some(&before)
    }

    /// `Life::run`, when a new attachment is asked for
    pub(crate) fn begin_afresh(&self, state: &mut State) {
        let gives_up = |driver: &mut Driver| driver.cycle.give_up();
        if state.driver.as_mut().is_some_and(gives_up) {
            self.detach(state);
        }
    }

    /// `Life::detach`
    fn detach(&self, state: &mut State) {
        if let Some(driver) = &mut state.driver {
            for device in &mut driver.devices {
                device.lose();
            }
        }
        self.depart(state);
    }

    /// `Link::depart`
    fn depart(&self, state: &mut State) {
        if let Some(driver) = &mut state.driver {
            driver.up = 0;
        }
        state
            .memory
            .set(link::DRIVER_STATE, DriverState::Absent as u32);
        state.bells.to_peer = true;
    }

    /// The attachment has failed. `later`: it is tried again.
    fn refuse(&self, state: &mut State, epoch: u32, later: bool) {
        let at = now_ms(state.clock + RETRY);
        if let Some(driver) = &mut state.driver {
            driver.cycle.refused(epoch, later.then_some(at));
            driver.phase = Phase::Looks;
        }
    }

    /// `Link::greet` has failed.
    fn give_up(&self, state: &mut State, epoch: u32, later: bool) {
        self.depart(state);
        self.refuse(state, epoch, later);
    }

    /// `Link::announce`: the words before the next one that is published may be seen in any order, and so in the worst.
    fn announce(&self, state: &mut State, epoch: u32, step: u8) {
        let memory = &mut state.memory;
        let Some(driver) = &mut state.driver else {
            return;
        };
        driver.phase = Phase::Announces(epoch, step + 1);
        match step {
            0 => {
                let (seen, shown) = (
                    memory.get(link::DRIVER_EPOCH_SEEN),
                    memory.get(link::DRIVER_EPOCH),
                );
                let shown = match self.mutation {
                    Mutation::EpochTwice => 0,
                    _ => shown,
                };
                // As small as can be: then it is one of an earlier driver's, if that is allowed.
                driver.own = driver_epoch(1, seen, shown);
                state.ghost.attach();
                memory.set(link::DRIVER_VERSION, VERSION);
                memory.set(link::EPOCH_ACK, epoch);
            }
            1 => {
                for vector in 0..DEVICES * PLACES {
                    let words = Vector::Doorbell(vector as u32 + 1).emit();
                    for (at, word) in (link::vector_entry(vector)..).step_by(4).zip(words) {
                        memory.set(at, word);
                    }
                }
                memory.set(link::VECTOR_COUNT, (DEVICES * PLACES) as u32);
                memory.set(link::DRIVER_FEATURES, 0);
                memory.set(link::RINGS_SEEN, memory.get(link::RINGS));
            }
            2 => {
                memory.set(link::DRIVER_EPOCH, driver.own);
                state.ghost.announce();
            }
            _ => {
                memory.set(link::DRIVER_STATE, DriverState::Attached as u32);
                driver.phase = Phase::Tests(epoch, Tally::new());
            }
        }
    }

    /// `SelfTest::once`, up to the number of its request.
    fn choose(&self, state: &mut State, epoch: u32, tally: Tally) {
        let (ack, shown) = (
            state.memory.get(link::TEST_ACK),
            state.memory.get(link::TEST_REQUEST),
        );
        let Some(driver) = &mut state.driver else {
            return;
        };
        let shown = match self.mutation {
            Mutation::TestsFromOne => driver.request,
            _ => shown,
        };
        driver.request = test_request(shown, ack, driver.found);
        driver.phase = Phase::Asks(epoch, tally);
    }

    /// The rest of it, and `SelfTest::run`
    fn wait_answer(&self, state: &mut State, epoch: u32, tally: Tally, until: u8) -> bool {
        let (ack, cause) = (
            state.memory.get(link::TEST_ACK),
            state.memory.get(link::TEST_CAUSE),
        );
        let tested = state.ghost.is_tested();
        let now = state.clock;
        let Some(driver) = &mut state.driver else {
            return false;
        };
        if driver.leaves {
            self.give_up(state, epoch, false);
            return true;
        }
        let any = self.mutation == Mutation::AnyTestAck;
        let rung = driver.found == driver.request || (any && driver.found == ack);
        let answered = ack == driver.request || any;
        let endless = self.mutation == Mutation::TestWithoutEnd && !answered;
        if !rung && (now < until || endless) {
            // A quarter of the deadline is left for the interrupt, which is less than a tick.
            let sooner = until.min(now + 1);
            if answered && sooner < until {
                driver.phase = Phase::Waits(epoch, tally, sooner);
                return true;
            }
            return false;
        }
        let mut tally = tally;
        let verdict = answered.then(|| tally.note(TestCause::from_word(cause), rung, true));
        match verdict {
            // No answer at all.
            None => self.give_up(state, epoch, self.mutation != Mutation::NotTriedAgain),
            Some(None) => driver.phase = Phase::Tests(epoch, tally),
            Some(Some(Verdict::Works)) => {
                driver.phase = Phase::Adopts(epoch, now + DEADLINE, tested);
            }
            Some(Some(Verdict::ToPeer | Verdict::ToDriver)) => {
                self.give_up(state, epoch, self.mutation != Mutation::DoorbellGivenUp);
            }
        }
        true
    }

    /// `Link::wait_adopted`, and the rest of `Link::greet`
    fn wait_adopted(&self, state: &mut State, epoch: u32, until: u8, tested: bool) -> bool {
        let now = state.clock;
        let seen = state.memory.get(link::DRIVER_EPOCH_SEEN);
        let live = shows(state, epoch);
        let heartbeat = state.memory.get(link::HEARTBEAT);
        let Some(driver) = &mut state.driver else {
            return false;
        };
        if seen == driver.own || self.mutation == Mutation::NotAdopted {
            state.ghost.adopt(tested);
            let patience = Patience::with(self.period_ms, crate::DEADLINE_MS);
            driver
                .cycle
                .attached(epoch, heartbeat, patience, now_ms(now));
            driver.up = epoch;
            driver.phase = Phase::Looks;
            for (index, device) in driver.devices.iter_mut().enumerate() {
                let done = crate::mem::window_of(index) + window::DONE_SEQ;
                *device = Dev::queued(state.memory.get(done));
            }
            return true;
        }
        let later = now >= until && self.mutation != Mutation::AdoptionWithoutEnd;
        if !live || driver.leaves || later {
            let again = live && !driver.leaves && self.mutation != Mutation::NotTriedAgain;
            self.give_up(state, epoch, again);
            return true;
        }
        false
    }

    /// The link's interrupt: `Link::take`
    pub(crate) fn interrupt(&self, state: &mut State) {
        let rings = state.memory.get(link::RINGS);
        state.memory.set(link::RINGS_SEEN, rings);
        if let Some(driver) = &mut state.driver {
            driver.found = state.memory.get(link::TEST_ACK);
        }
    }

    /// Device `index` is removed and probed again by its driver, or a queue of it is.
    pub(crate) fn again(&self, state: &mut State, index: usize, kind: Kind) {
        if let Some(driver) = &mut state.driver {
            driver.devices[index].at = At::Begins(kind);
        }
    }
}
