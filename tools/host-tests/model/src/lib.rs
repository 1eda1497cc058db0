// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The life cycle of a link (protocol.rst, "States") as a model, of which all states within some bounds are visited.
//! Documentation/virtio-hvl/model.rst has the bounds, the figures, and what was found.
//!
//! Two devices, and two sides in one region:
//!
//! * *The peer* ([`peer`]) is the device library of the sample peer as it is, file by file, with another `mem` ([`mem`]),
//!   and a loop as the sample's. It may crash between any two words that it publishes while it boots and, where that is
//!   looked at ([`mem::Grain::Word`]), between any two words that it reads or publishes in a pass.
//! * *The driver* ([`driver`], [`devices`]) needs the kernel, so its threads are written down a second time, a step for
//!   each word that is published or observed; each function is named after the kernel's that it stands for. What they
//!   decide is the kernel's own code: `algo::link`, `algo::handshake`, `algo::sequence`, and `proto`.
//!
//! Which of them does what next is open, as is when a doorbell comes, if it does, and how much time passes
//! ([`model::Action`]).
//!
//! What is left out, and why nothing is missed by that:
//!
//! * *The order of accesses* is that of the program. What a compiler, a CPU or a bus may make of it is the matter of
//!   the tests `ordering`, which have each pair of barriers by itself. Words before one that is published are written in
//!   one step, since nobody may look at them before; those of an attachment are not, as an earlier driver's may stand
//!   beside them.
//! * *Time* passes in ticks of half a second, of which a deadline has two. Nothing is done by the clock, but may be
//!   done at any later time, so that a slow side is one that is not chosen. A wait that ends at its deadline may
//!   end then or later.
//! * *Rings* are a bit each way. One that is late stays; the driver looks at all there is whenever it is chosen, whether
//!   it was rung or not, but for the link test. Events of queues, NotifyCount and DeviceEvent, which only tell where to
//!   look, have no influence, and are 0.
//! * *A virtqueue* has one buffer, once. What devices do beside that, the configuration space and direct mode have no part
//!   in the life cycle. DeviceNotify is not counted for two devices.
//! * *Registers* are written in three transactions where the kernel has six: what is read between them does not matter.
//! * *Checks of a lying peer* (the driver's look at Status) find nothing, as the peer is honest.
//! * *Numbers* of which only differences have a meaning begin with 0 in each state ([`state::State::settle`]): sequence
//!   numbers, link tests, merged rings. Words that nobody reads before they are written again are 0. That states which
//!   are alike by this behave alike is a test (`alike`). Epochs are counted up by the rules, the driver's as slowly as they
//!   allow, so that a number comes again as soon as it can.
//! * *The two devices* are set up one after the other, as the kernel has it, so that there is no symmetry between them to
//!   make use of.
//!
//! Whose a virtqueue or an answer is, is noted beside the two ([`ghost`]), and has no influence on what they do. Two of
//! the properties are about the future of a state: it is run, by one fair schedule without any fault, and by one in
//! which the peer does nothing any more ([`fair`]). That is more than that it comes to a good end in some way.

mod devices;
mod driver;
pub mod fair;
mod ghost;
pub mod mem;
pub mod model;
pub mod mutation;
mod peer;
mod ring;
pub mod state;

pub use hvl_logic::{algo, proto};
pub use peer::Why;

#[path = "../../../../samples/peer/device/src"]
#[allow(dead_code, reason = "what the device models use is not here")]
mod library {
    pub mod device;
    pub mod faults;
    pub(crate) mod liar;
    pub mod link;
    pub(crate) mod mask;
    pub mod mishaps;
    pub mod queue;
    mod registers;
    pub mod shared;
    pub mod transport;
}

pub use library::{device, faults, link, mishaps, queue, shared, transport};
use library::{liar, mask};

/// Devices of the link.
pub const DEVICES: usize = 2;
/// Address at which the peer sees the region.
const BASE: u64 = 0x7a00_0000;
/// Where the pool begins, and the region ends.
const POOL: u32 = (1 + DEVICES as u32) * proto::layout::PAGE;
const REGION: u32 = POOL + 0x1_0000;

/// Milliseconds of a tick.
const TICK_MS: u64 = 500;
/// Milliseconds of a heartbeat period.
pub const PERIOD_MS: u32 = 250;
/// The driver's deadline for an answer, in milliseconds and in ticks.
const DEADLINE_MS: u32 = 1000;
const DEADLINE: u8 = 2;
/// After how many ticks a peer is tried again (`RETRY_MS` in `rust/virtio_hvl/link/life.rs`).
const RETRY: u8 = 20;
