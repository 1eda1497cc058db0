// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between processors (rpmsg, device type 7): small ones, between addresses.
//!
//! VIRTIO gives the type a number and no more; what is here is what Linux's `virtio_rpmsg_bus` speaks. A
//! message has a header of 16 bytes and up to 496 more. Linux makes a device of each name that is
//! announced to it, sends to the address that was announced with it, and takes the device away when it is told that the
//! name is gone.

#![forbid(unsafe_code)]

use crate::device::Device;
use crate::faults::Faults;
use crate::proto::virtio::{device, status};
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::transport::{Model, Queue, Transport};

/// Bytes of a header: source, destination, a reserved word, length and flags.
const HEADER: usize = 16;
/// Bytes of a message without its header.
pub const PAYLOAD: usize = 496;
/// Names are announced to this address (VIRTIO_RPMSG_F_NS).
const NAMES: u32 = 53;
const F_NS: u32 = 0;
/// Bytes of a name, and of an announcement: name, address, flags.
const NAME: usize = 32;
const ANNOUNCEMENT: usize = NAME + 8;
/// In the flags of an announcement: the name is gone.
const GONE: u32 = 1;
/// Most channels.
pub const CHANNELS: usize = 32;
/// Messages before a deliberate lie is told.
const HONEST: u32 = 8;
/// Where those begin that are announced as a lie.
const LIES: u32 = 0x1000;

/// Linux receives from the first queue and sends by the second.
const RXQ: usize = 0;
const TXQ: usize = 1;
/// As many as Linux has buffers for.
const SIZES: [u16; 2] = [256; 2];

/// What is served at an address.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// At most 31 bytes; those beyond are cut off.
    pub name: &'static str,
    /// Its address.
    pub address: u32,
}

/// What serves the channels.
pub trait App {
    /// All that there may be, [`CHANNELS`] at most; the same at each call.
    fn channels(&self) -> &'static [Channel];

    /// Whether there is channel `index` of them now.
    fn is_there(&self, _index: usize) -> bool {
        true
    }

    /// A message has come to one of them; how many bytes of `answer` go back, if any do.
    fn message(&mut self, to: u32, bytes: &[u8], answer: &mut [u8; PAYLOAD]) -> Option<usize>;
}

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default)]
pub struct RpmsgStats {
    /// Messages from Linux.
    pub received: u64,
    /// Messages to Linux.
    pub sent: u64,
    /// Messages of Linux's that were shorter than they say, or to nobody.
    pub bad: u64,
}

/// The device.
#[derive(Debug)]
pub struct Rpmsg {
    transport: Transport<[Queue; SIZES.len()]>,
    chain: Chain,
    /// A bit for each channel that Linux was told of.
    announced: u32,
    /// Something waits for a buffer of Linux's.
    starved: bool,
    /// Messages to Linux since the last reset.
    count: u32,
    /// The last one, for who lies that it comes again and again.
    last: Option<(u32, u32)>,
    stats: RpmsgStats,
}

/// The word at `at` of a private copy.
fn word(bytes: &[u8], at: usize) -> u32 {
    let mut four = [0; 4];
    for (to, from) in four.iter_mut().zip(bytes.iter().skip(at)) {
        *to = *from;
    }
    u32::from_le_bytes(four)
}

impl Rpmsg {
    /// A device.
    pub fn new() -> Self {
        let model = Model {
            name: "rpmsg",
            id: device::RPMSG,
            features: 1 << F_NS,
            in_order: true,
            queues: &SIZES,
        };
        Self {
            transport: Transport::new(model, &[]),
            chain: Chain::new(),
            announced: 0,
            starved: false,
            count: 0,
            last: None,
            stats: RpmsgStats::default(),
        }
    }

    /// Counters.
    pub const fn stats(&self) -> &RpmsgStats {
        &self.stats
    }

    /// Announces what Linux was not told of, and answers; how many chains were served.
    pub fn pass(&mut self, shared: &Shared, app: &mut dyn App) -> u64 {
        self.starved = false;
        let mut served = self.announce(shared, app) + self.lie(shared);
        for _ in 0..BUDGET {
            if self.transport.chains(shared, TXQ) == 0 || self.is_storm() {
                break;
            }
            // Each message can have an answer.
            if self.transport.chains(shared, RXQ) == 0 {
                self.starved = true;
                break;
            }
            if !self.transport.pop(shared, TXQ, &mut self.chain) {
                break;
            }
            let mut bytes = [0; HEADER + PAYLOAD];
            let got = self.chain.read(&shared.mem, 0, &mut bytes);
            let len = self.chain.readable_len();
            self.transport.push(shared, TXQ, &self.chain, len);
            served += 1;
            self.stats.received = self.stats.received.wrapping_add(1);
            let bytes = bytes.get(..got).unwrap_or(&[]);
            served += u64::from(self.message(shared, app, bytes));
        }
        // One of the messages may have had channels come or go.
        served + self.announce(shared, app)
    }

    /// Handles one message; whether it was answered.
    fn message(&mut self, shared: &Shared, app: &mut dyn App, bytes: &[u8]) -> bool {
        let (from, to) = (word(bytes, 0), word(bytes, 4));
        let len = word(bytes, 12) as usize & 0xffff;
        let served = app.channels().iter().any(|channel| channel.address == to);
        let payload = HEADER
            .checked_add(len)
            .and_then(|end| bytes.get(HEADER..end))
            .filter(|_| served);
        let Some(payload) = payload else {
            self.stats.bad = self.stats.bad.wrapping_add(1);
            if self.transport.quota.take() {
                log::warn!("rpmsg: {len} bytes for {to:#x}, of {} in all", bytes.len());
            }
            return false;
        };
        let mut answer = [0; PAYLOAD];
        let Some(count) = app.message(to, payload, &mut answer) else {
            return false;
        };
        self.send(shared, to, from, answer.get(..count).unwrap_or(&answer))
    }

    /// Tells Linux which channels have come and gone.
    fn announce(&mut self, shared: &Shared, app: &dyn App) -> u64 {
        let mut served = 0;
        if self.transport.status() & status::DRIVER_OK == 0 {
            return served;
        }
        if !self.transport.has_feature(F_NS) {
            return served;
        }
        for (index, channel) in app.channels().iter().take(CHANNELS).enumerate() {
            let bit = 1 << index;
            let is_there = app.is_there(index);
            if is_there == (self.announced & bit != 0) {
                continue;
            }
            let flags = if is_there { 0 } else { GONE };
            if !self.tell(shared, channel.name, channel.address, flags) {
                self.starved = true;
                break;
            }
            self.announced ^= bit;
            served += 1;
        }
        served
    }

    /// Announces a name, or that it is gone; `false` if Linux has no buffer for that.
    fn tell(&mut self, shared: &Shared, name: &str, address: u32, flags: u32) -> bool {
        let mut bytes = [0; ANNOUNCEMENT];
        let (place, rest) = bytes.split_at_mut(NAME);
        // Its last byte stays 0, but as a lie.
        let endless = self.transport.faults().has(Faults::RPMSG_NAME);
        let most = if endless { NAME } else { NAME - 1 };
        let more = if endless { NAME } else { 0 };
        let source = name.bytes().chain(core::iter::repeat_n(b'x', more));
        for (to, from) in place.iter_mut().take(most).zip(source) {
            *to = from;
        }
        let words = [address, flags].map(u32::to_le_bytes);
        for (to, from) in rest.iter_mut().zip(words.as_flattened()) {
            *to = *from;
        }
        self.send(shared, address, NAMES, &bytes)
    }

    /// Sends a message; `false` if Linux has no buffer for it.
    fn send(&mut self, shared: &Shared, from: u32, to: u32, payload: &[u8]) -> bool {
        if !self.transport.pop(shared, RXQ, &mut self.chain) {
            return false;
        }
        self.count = self.count.saturating_add(1);
        if to != NAMES {
            self.last = Some((from, to));
        }
        let room = self.chain.writable_len() as usize;
        let most = room.saturating_sub(HEADER);
        let payload = payload.get(..payload.len().min(most)).unwrap_or(&[]);
        let mut header = [from, to, 0, payload.len() as u32];
        let mut written = room.min(HEADER + payload.len());
        self.distort(&mut header, &mut written);
        let mut bytes = [0; HEADER];
        for (to, word) in bytes.chunks_exact_mut(4).zip(header) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        self.chain.write(&shared.mem, HEADER as u32, payload);
        self.chain.write(&shared.mem, 0, &bytes);
        self.transport
            .push(shared, RXQ, &self.chain, written as u32);
        self.stats.sent = self.stats.sent.wrapping_add(1);
        true
    }

    /// Deliberate faults: what Linux must bear, once it has seen that it works.
    fn distort(&self, header: &mut [u32; 4], written: &mut usize) {
        let faults = self.transport.faults();
        if self.count < HONEST {
            return;
        }
        let [from, to, _, len] = header;
        if faults.has(Faults::RPMSG_LENGTH) {
            *len = 0xffff;
        }
        if faults.has(Faults::RPMSG_SHORT) {
            // It is there with its length, and shorter than a header.
            *len = 0xffff;
            *written = 14;
        }
        if faults.has(Faults::RPMSG_NOBODY) {
            (*from, *to) = (0x7777, 0x7777);
        }
    }

    /// Whether it only sends by now.
    fn is_storm(&self) -> bool {
        self.transport.faults().has(Faults::RPMSG_STORM) && self.count >= HONEST
    }

    /// What nobody has asked for, as fast as Linux takes it.
    fn lie(&mut self, shared: &Shared) -> u64 {
        let faults = self.transport.faults();
        let mut served = 0;
        if self.transport.status() & status::DRIVER_OK == 0 {
            return served;
        }
        for _ in 0..BUDGET {
            let sent = if faults.has(Faults::RPMSG_FLOOD) {
                self.tell(shared, "rpmsg-raw", LIES.wrapping_add(self.count), 0)
            } else if faults.has(Faults::RPMSG_CHURN) {
                self.tell(shared, "rpmsg-raw", LIES, self.count & GONE)
            } else if let Some((from, to)) = self.last.filter(|_| self.is_storm()) {
                self.send(shared, from, to, b"again")
            } else {
                break;
            };
            if !sent {
                break;
            }
            served += 1;
        }
        served
    }
}

impl Default for Rpmsg {
    fn default() -> Self {
        Self::new()
    }
}

impl Device for Rpmsg {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {
        self.announced = 0;
        self.starved = false;
        self.count = 0;
        self.last = None;
    }

    /// What is to be announced is so in the pass that sees DRIVER_OK, or a message, or a buffer that was missing: of
    /// each Linux notifies.
    fn is_active(&self) -> bool {
        false
    }

    fn wanted(&self, least: &mut [u16]) {
        for (index, least) in least.iter_mut().enumerate() {
            *least = u16::from(index == TXQ || self.starved);
        }
    }
}
