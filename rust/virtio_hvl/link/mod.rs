// SPDX-License-Identifier: GPL-2.0

//! A link: its life with one peer after the other, and the devices of the one that is attached.

mod attach;
mod crew;
mod keeper;
mod life;
mod poller;
mod selftest;
mod state;

pub(crate) use self::{
    life::Life,
    poller::Poller,
    state::Link, //
};
