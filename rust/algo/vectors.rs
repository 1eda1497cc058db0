// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Which interrupts the queues of a link's devices have: one each if there are enough, else one for all
//! of a device, else the link's doorbell.

/// The vectors of one device: so many of them, one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Part {
    /// Number of the first.
    pub first: usize,
    /// How many there are.
    pub count: usize,
}

/// Divides `vectors` among devices that could each use as many as are `wanted`, in that order.
///
/// A device gets all that it wants if that leaves one for each that comes later; else one, if there is
/// one; else none.
pub fn parts(vectors: usize, wanted: &[usize]) -> impl Iterator<Item = Part> + '_ {
    let mut first = 0usize;
    let mut later = wanted.iter().filter(|want| **want != 0).count();
    wanted.iter().map(move |&want| {
        later = later.saturating_sub(usize::from(want != 0));
        let left = vectors.saturating_sub(first);
        let count = if want <= left.saturating_sub(later) {
            want
        } else {
            left.min(1)
        };
        let part = Part { first, count };
        first = first.saturating_add(count);
        part
    })
}

/// Whether CPU number `place` of `cpus` is in `group` of `groups`, which share them evenly: neighbours with
/// neighbours. Each group has one at least, and where there are no more groups than CPUs, each CPU has one.
pub fn shares(place: usize, cpus: usize, group: usize, groups: usize) -> bool {
    if place >= cpus || group >= groups {
        return false;
    }
    let (many, few, of_many, of_few) = if cpus < groups {
        (groups, cpus, group, place)
    } else {
        (cpus, groups, place, group)
    };
    let share = of_many
        .checked_mul(few)
        .and_then(|all| all.checked_div(many));
    share == Some(of_few)
}

/// What the interrupts of a device's queues are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Each queue that has a callback has a vector of its own.
    Queues,
    /// One vector serves all queues, and changes of the configuration.
    Device,
    /// The link's doorbell serves all.
    Link,
}

impl Use {
    /// The best for a device with `callbacks` queues that have one, and so many `vectors`.
    pub const fn best(vectors: usize, callbacks: usize) -> Self {
        if callbacks == 0 || vectors == 0 {
            Self::Link
        } else if callbacks <= vectors {
            Self::Queues
        } else {
            Self::Device
        }
    }

    /// What is tried next where this cannot be had.
    pub const fn next(self) -> Self {
        match self {
            Self::Queues => Self::Device,
            Self::Device | Self::Link => Self::Link,
        }
    }

    /// Name for debugfs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Queues => "queues",
            Self::Device => "device",
            Self::Link => "link",
        }
    }
}

/// Which of the peer's own doorbells is rung for the queue that is number `queue` of the link, where
/// there are `doorbells` of them, the link's among them: the others in turn, or the link's.
pub const fn doorbell_of(queue: u32, doorbells: u32) -> u32 {
    match doorbells.saturating_sub(1) {
        0 => 0,
        others => 1 + queue % others,
    }
}
