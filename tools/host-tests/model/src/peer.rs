// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The peer: the device library of the sample peer as it is, two devices, and a loop around it.

use crate::device::{Bells, Device, Doorbell};
use crate::faults::Faults;
use crate::link::{Link, Params, Wake};
use crate::mem::{beside, Done, Region};
use crate::mutation::Mutation;
use crate::proto::layout::{link, window};
use crate::proto::{PeerState, Vector};
use crate::queue::Chain;
use crate::ring::{ANSWER, ENTRIES};
use crate::shared::{Quota, Shared};
use crate::transport::{Model, Offer, Queue, Transport};
use crate::{BASE, DEVICES, REGION};

/// Device type of an entropy source.
const ENTROPY: u32 = 4;

/// A device with one queue, which fills each buffer with a word.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Probe {
    transport: Transport<[Queue; 1]>,
}

impl Probe {
    fn new() -> Self {
        let model = Model {
            name: "probe",
            id: ENTROPY,
            features: 0,
            in_order: true,
            queues: &[ENTRIES as u16],
        };
        Self {
            transport: Transport::new(model, &[]),
        }
    }

    fn serve(&mut self, shared: &Shared) {
        let mut chain = Chain::new();
        while self.transport.pop(shared, 0, &mut chain) {
            let written = chain.write(&shared.mem, 0, &ANSWER.to_le_bytes());
            self.transport.push(shared, 0, &chain, written as u32);
        }
    }
}

impl Device for Probe {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn is_active(&self) -> bool {
        false
    }

    fn wanted(&self, least: &mut [u16]) {
        least.fill(1);
    }
}

/// Why the peer looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// Its loop has come round.
    Look,
    /// Its doorbell has rung.
    Bell,
    /// A heartbeat period is over.
    Tick,
    /// It is asked to stop.
    Stop,
}

/// The way to Linux.
struct Bell;

impl Doorbell for Bell {
    fn ring(&mut self) {
        beside(|running| running.rung = true);
    }

    fn ring_vector(&mut self, vector: Vector) -> bool {
        let Vector::Doorbell(data) = vector else {
            return false;
        };
        // The driver looks at the queue; its interrupt has nothing else to do.
        beside(|running| running.ghost.ring_vector(data - 1));
        true
    }
}

/// A peer that has booted.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Machine {
    link: Link,
    devices: [Probe; DEVICES],
}

/// The peer.
#[derive(Clone, Debug, Hash)]
pub(crate) enum Peer {
    /// It is not there, or no more.
    Off,
    /// It boots.
    Boots(Done),
    /// It runs; some of a pass may be done.
    Runs(Box<Machine>, Option<(Why, Done)>),
}

impl Machine {
    /// Boots: all of it, or up to where it pauses.
    pub(crate) fn boot(heartbeat_ms: u32) -> Self {
        let params = Params {
            peer_base: BASE,
            heartbeat_ms,
            polled: false,
            offer: Offer {
                size: ENTRIES as u16,
                ..Offer::ALL
            },
            bells: Bells {
                more: (DEVICES * crate::ring::PLACES) as u32,
                ..Bells::default()
            },
            faults: Faults::NONE,
        };
        let mut devices: [Probe; DEVICES] = core::array::from_fn(|_| Probe::new());
        let mem = Region { len: REGION };
        let mut link = Link::start(mem, &params, &mut devices.each_mut()).expect("it can start");
        link.finish(&mut devices.each_mut(), &mut Bell);
        Self { link, devices }
    }

    /// A pass of its loop: all of it, or up to where it pauses.
    pub(crate) fn pass(&mut self, why: Why, mutation: Mutation) {
        let wake = Wake {
            doorbell: why == Why::Bell,
            tick: why == Why::Tick,
            ..Wake::default()
        };
        if why == Why::Stop {
            self.link.stop(PeerState::Stopped, &mut Bell);
            return;
        }
        let shared = *self.link.shared();
        self.mutate(&shared, mutation);
        self.link.poll(wake, &mut self.devices.each_mut());
        for index in self.link.live() {
            if let Some(device) = self.devices.get_mut(index) {
                device.serve(&shared);
            }
        }
        self.link.finish(&mut self.devices.each_mut(), &mut Bell);
        self.link.listen(&mut self.devices.each_mut());
    }

    /// What the loop of a peer that does not keep the rules does before.
    fn mutate(&mut self, shared: &Shared, mutation: Mutation) {
        let mem = shared.mem;
        match mutation {
            Mutation::SeenBeforeDrop if self.link.attached => {
                let epoch = mem.observe32(link::DRIVER_EPOCH);
                if epoch != self.link.driver_epoch {
                    mem.publish32(link::DRIVER_EPOCH_SEEN, epoch);
                }
            }
            Mutation::ResetAcknowledgedEarly if self.link.attached => {
                for index in 0..DEVICES {
                    let at = crate::mem::window_of(index);
                    let (seq, done) = (
                        mem.observe32(at + window::TXN_SEQ),
                        mem.read32(at + window::DONE_SEQ),
                    );
                    if seq != done && mem.read32(at + window::TXN_COUNT) == 1 {
                        mem.write32(at + window::DONE_STATUS, 0);
                        mem.publish32(at + window::DONE_SEQ, seq);
                    }
                }
            }
            _ => return,
        }
        for device in &mut self.devices {
            device.serve(shared);
        }
    }

    /// Whether it has adopted a driver, and uses a queue of each device, but for those of `without`.
    pub(crate) fn serves(&self, without: &[bool; DEVICES]) -> bool {
        let serves = |(device, left_out): (&Probe, &bool)| {
            let transport = &*device.transport;
            *left_out || (transport.may_use_queues() && transport.queue_size(0) != 0)
        };
        self.link.attached && self.devices.iter().zip(without).all(serves)
    }

    /// Takes `base` off its count of the answers of device `index`.
    pub(crate) fn count_from(&mut self, index: usize, base: u32) {
        let done = &mut self.devices[index].transport.done_seq;
        *done = done.wrapping_sub(base);
    }

    /// The same of link tests and of rings; and what only is to be told or to be looked up is forgotten.
    pub(crate) fn settle(&mut self, tests: u32, rings: u32) {
        let link = &mut self.link;
        link.test_ack = link.test_ack.wrapping_sub(tests);
        link.test_seen = link.test_seen.wrapping_sub(tests);
        link.numbered = link.numbered.wrapping_sub(rings);
        (link.rung, link.rings, link.merged) = (0, 0, 0);
        (link.missed, link.woken) = (false, false);
        link.quota = Quota::new();
        for device in &mut self.devices {
            let transport = &mut *device.transport;
            transport.reset_stats();
            transport.transactions = 0;
            transport.quota = Quota::new();
            (transport.device_event, transport.config_event) = (0, 0);
            transport.notified = [0; crate::transport::QUEUES];
            for queue in &mut transport.queues {
                (queue.event, queue.life) = (0, 0);
            }
        }
    }
}
