// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The protocol document's trace of an attachment, played to the sample peer's device library: what
//! the driver writes there is written, and what the peer then changes has to be what stands there.

use crate::rig::{params, Bell, Memory, RANG};
use crate::rst::{number, Document, Row};
use hvl_device::device::Device;
use hvl_device::faults::Faults;
use hvl_device::link::{Link, Params};
use hvl_device::proto::layout::REGION_MIN;
use hvl_device::proto::virtio::{device, feature};
use hvl_device::proto::PeerState;
use hvl_device::queue::Chain;
use hvl_device::shared::Shared;
use hvl_device::transport::{Model, Offer, Queue, Transport};
use std::fmt::Write;

/// An entropy source that always says the same.
struct Oracle {
    transport: Transport<[Queue; 1]>,
    chain: Chain,
}

impl Oracle {
    fn new() -> Self {
        let model = Model {
            name: "rng",
            id: device::ENTROPY,
            features: 0,
            queues: &[8],
            in_order: false,
        };
        Self {
            transport: Transport::new(model, &[]),
            chain: Chain::new(),
        }
    }

    fn serve(&mut self, shared: &Shared) {
        while self.transport.pop(shared, 0, &mut self.chain) {
            let len = self.chain.write(&shared.mem, 0, b"vHVL rng");
            self.transport.push(shared, 0, &self.chain, len as u32);
        }
    }
}

impl Device for Oracle {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {}

    fn wanted(&self, least: &mut [u16]) {
        least.fill(1);
    }
}

/// Offsets and values of the words of one row.
fn words(row: &Row) -> Vec<(u32, u32)> {
    let at = number(&row[1]).unwrap_or_else(|| panic!("no offset: {row:?}")) as u32;
    let values = row[2].split_whitespace().map(|word| {
        let value = number(word).unwrap_or_else(|| panic!("no values: {row:?}"));
        u32::try_from(value).unwrap()
    });
    (at..).step_by(4).zip(values).collect()
}

fn snapshot(memory: &Memory) -> Vec<u32> {
    let all = (0..REGION_MIN).step_by(4);
    all.map(|at| memory.region.read32(at)).collect()
}

/// What the peer did in one step: the words that are not what they were, by offset, and its rings.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    words: Vec<(u32, u32)>,
    rings: u32,
}

/// The document's rows of one step of the peer's. A word that is written twice counts as it ends.
fn documented(rows: &[Row]) -> Step {
    let mut last = std::collections::BTreeMap::new();
    let mut rings = 0;
    for row in rows {
        match row[1].as_str() {
            "ring" => rings += 1,
            "stop" | "none" => {}
            _ => last.extend(words(row)),
        }
    }
    Step {
        words: last.into_iter().collect(),
        rings,
    }
}

#[test]
fn the_trace_is_what_happens() {
    let rows = Document::protocol().table("An attachment, word by word", 0);
    let memory = Memory::new(REGION_MIN);
    let mut device = Oracle::new();
    let mut link: Option<Link> = None;
    let mut bell = Bell::default();
    let mut wrong = String::new();
    let mut rest = &rows[..];
    let mut steps = 0;
    while !rest.is_empty() {
        let own = rest.iter().take_while(|row| row[0] == "D").count();
        let (driver, more) = rest.split_at(own);
        // It stops without being asked in the region.
        let stops = more.first().is_some_and(|row| row[1] == "stop");
        let theirs = more
            .iter()
            .enumerate()
            .take_while(|(n, row)| row[0] == "P" && (*n == 0 || row[1] != "stop"))
            .count();
        let (peer, after) = more.split_at(theirs);
        rest = after;

        for row in driver.iter().filter(|row| row[1] != "ring") {
            for (at, value) in words(row) {
                memory.region.write32(at, value);
            }
        }
        let rung = driver.last().is_some_and(|row| row[1] == "ring");
        assert_eq!(rung, link.is_some() && !stops, "{driver:?}");
        let (before, rings) = (snapshot(&memory), bell.0);
        let mut devices: [&mut dyn Device; 1] = [&mut device];
        match &mut link {
            None => {
                // The plainest of rings, as a first implementation has them.
                let rings = (1 << feature::EVENT_IDX) | (1 << feature::RING_RESET);
                let plain = Params {
                    offer: Offer {
                        rings,
                        ..Offer::ALL
                    },
                    ..params(Faults::NONE)
                };
                let mut new = Link::start(memory.region, &plain, &mut devices).unwrap();
                new.finish(&mut devices, &mut bell);
                link = Some(new);
            }
            Some(link) if stops => link.stop(PeerState::Stopped, &mut bell),
            Some(link) => {
                link.poll(RANG, &mut devices);
                let shared = *link.shared();
                device.serve(&shared);
                let mut devices: [&mut dyn Device; 1] = [&mut device];
                link.finish(&mut devices, &mut bell);
                assert!(!link.listen(&mut devices));
            }
        }
        let changed = (0..).step_by(4).zip(before).zip(snapshot(&memory));
        let real = Step {
            words: changed
                .filter(|((_, old), new)| old != new)
                .map(|((at, _), new)| (at, new))
                .collect(),
            rings: bell.0 - rings,
        };
        let documented = documented(peer);
        steps += 1;
        if documented != real {
            write!(wrong, "\nstep {steps}: {} rings:", real.rings).unwrap();
            for (at, word) in &real.words {
                let mark = if documented.words.contains(&(*at, *word)) {
                    ' '
                } else {
                    '*'
                };
                write!(wrong, "\nP {at:#05x} {word:#x} {mark}").unwrap();
            }
            for word in &documented.words {
                if !real.words.contains(word) {
                    write!(wrong, "\nnot {:#05x} {:#x}", word.0, word.1).unwrap();
                }
            }
        }
    }
    assert!(wrong.is_empty(), "the peer changes other words:{wrong}");
    assert!(steps >= 7, "the trace ends early");
}
