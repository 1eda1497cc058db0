// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A console device with several ports (VIRTIO 5.3): terminals and named ports, each a stream.
//!
//! Linux's driver spins, with interrupts off, until what it sends to a terminal was taken. So that is taken
//! at once, and what there is no room for is lost, and counted. What it sends to any other port waits for room.

#![forbid(unsafe_code)]

mod control;

use self::control::{Control, Event, Message, Note};
use crate::device::Device;
use crate::faults::Faults;
use crate::proto::virtio::device;
use crate::queue::Chain;
use crate::shared::{Shared, BUDGET};
use crate::stream::{Ring, Stream};
use crate::transport::{Model, Queue, Transport};

/// Most ports.
pub const PORTS: usize = 2;
/// Longest name of a port.
pub const NAME_MAX: usize = 32;

/// Feature bits (VIRTIO 5.3.3).
const F_SIZE: u32 = 0;
const F_MULTIPORT: u32 = 1;
/// Bytes of the configuration space (VIRTIO 5.3.4): columns, rows, the number of ports.
const CONFIG: usize = 8;

const CONTROL_TO: usize = 2;
const CONTROL_FROM: usize = 3;
const SIZE: u16 = 64;
const SIZES: [u16; 2 * (PORTS + 1)] = [SIZE; 2 * (PORTS + 1)];
const _: () = assert!(SIZE as usize <= BUDGET);

/// The queues of a port, to Linux and from it.
const fn queues(port: usize) -> (usize, usize) {
    if port == 0 {
        (0, 1)
    } else {
        (2 * port + 2, 2 * port + 3)
    }
}

/// What a port is.
#[derive(Clone, Copy, Debug)]
pub struct PortKind {
    /// A terminal (hvc), and not only a port.
    pub terminal: bool,
    /// Its name, of [`NAME_MAX`] bytes at most; none if it is empty.
    pub name: &'static str,
}

/// What the device has done since the peer's boot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsoleStats {
    /// Bytes from Linux.
    pub received: u64,
    /// Bytes to Linux.
    pub sent: u64,
    /// Bytes of Linux's that a port had no room for.
    pub lost: u64,
    /// Control messages from Linux.
    pub messages: u64,
    /// Those that make no sense.
    pub bad: u64,
}

/// A port.
#[derive(Debug)]
pub struct Port<'a> {
    kind: PortKind,
    /// What Linux sent, and what it is to be sent.
    from: Ring<'a>,
    to: Ring<'a>,
}

impl<'a> Port<'a> {
    /// A port with `from` for what waits to be taken of what Linux sent, and `to` for what it is to be sent.
    ///
    /// What Linux sends at once has to fit into `from`, or is cut, unless it may be lost anyway: 32 KiB by a
    /// write, and as much as a pipe has by a splice.
    pub fn new(kind: PortKind, from: &'a mut [u8], to: &'a mut [u8]) -> Self {
        Self {
            kind,
            from: Ring::new(from),
            to: Ring::new(to),
        }
    }

    /// Whether a chain of so many bytes can be taken now.
    fn takes(&self, len: u32) -> bool {
        self.kind.terminal || self.from.is_empty() || len as usize <= self.from.room()
    }

    /// Whether something has come that an answer has room for.
    fn is_waiting(&self) -> bool {
        !self.from.is_empty() && self.to.room() != 0
    }

    fn clear(&mut self) {
        self.from.clear();
        self.to.clear();
    }
}

impl Stream for Port<'_> {
    fn peek(&mut self) -> &[u8] {
        self.from.readable()
    }

    fn consume(&mut self, count: usize) {
        self.from.consume(count);
    }

    fn room(&self) -> usize {
        self.to.room()
    }

    fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
        let room = self.to.writable();
        if room.is_empty() {
            return 0;
        }
        let count = fill(room).min(room.len());
        self.to.commit(count);
        count
    }

    fn is_heard(&self) -> bool {
        true
    }

    fn at_end(&self) -> bool {
        false
    }

    fn finish(&mut self) {}
}

/// The device.
#[derive(Debug)]
pub struct Console<'a> {
    transport: Transport<[Queue; SIZES.len()]>,
    chain: Chain,
    ports: [Port<'a>; PORTS],
    control: Control,
    stats: ConsoleStats,
}

impl<'a> Console<'a> {
    /// A console with these ports, of which terminals have `size` columns and rows.
    pub fn new(ports: [Port<'a>; PORTS], size: (u16, u16)) -> Self {
        let mut config = [0; CONFIG];
        let (columns, rows) = size;
        let count = (PORTS as u32).to_le_bytes();
        let words = columns.to_le_bytes().into_iter().chain(rows.to_le_bytes());
        for (to, from) in config.iter_mut().zip(words.chain(count)) {
            *to = from;
        }
        let model = Model {
            name: "console",
            id: device::CONSOLE,
            features: 1 << F_SIZE | 1 << F_MULTIPORT,
            in_order: true,
            queues: &SIZES,
        };
        Self {
            transport: Transport::new(model, &config),
            chain: Chain::new(),
            ports,
            control: Control::new(size),
            stats: ConsoleStats::default(),
        }
    }

    /// What it has done.
    pub const fn stats(&self) -> &ConsoleStats {
        &self.stats
    }

    /// Port `index`, to read what has come and to send.
    pub fn port(&mut self, index: usize) -> Option<&mut Port<'a>> {
        self.ports.get_mut(index)
    }

    /// Plugs port `index` in, or takes it away; Linux is told. `false`: there is no such port.
    pub fn plug(&mut self, index: usize, there: bool) -> bool {
        if !there {
            // Nothing of what was said is for whoever finds it there again.
            self.clear(index);
        }
        self.control.plug(index, there)
    }

    /// Tells Linux how many columns and rows terminals have from here on.
    pub fn resize(&mut self, shared: &Shared, size: (u16, u16)) {
        let kinds = self.ports.each_ref().map(|port| port.kind);
        self.control.resize(&kinds, size);
        // For a driver that does not know of several ports.
        self.transport.change_config(shared, |config| {
            let bytes = [size.0.to_le_bytes(), size.1.to_le_bytes()];
            for (to, from) in config.iter_mut().zip(bytes.as_flattened()) {
                *to = *from;
            }
        });
    }

    /// Whether Linux's driver is there.
    pub fn is_in_use(&self) -> bool {
        self.transport.may_use_queues()
    }

    /// Whether there is something left for another pass.
    pub fn is_waiting(&self) -> bool {
        self.ports.iter().any(Port::is_waiting)
    }

    /// Takes what Linux has sent; how many chains that were.
    pub fn receive(&mut self, shared: &Shared) -> u64 {
        let mut taken = self.receive_control(shared);
        for index in 0..self.count() {
            let (_, queue) = queues(index);
            if self.has_ports() && !self.control.is_known(index) {
                // Sent before the port was taken away.
                taken += self.pass_over(shared, index);
                continue;
            }
            for _ in 0..BUDGET {
                if self.is_full(index) || !self.transport.pop(shared, queue, &mut self.chain) {
                    break;
                }
                let len = self.chain.readable_len();
                let fits = self.ports.get(index).is_none_or(|port| port.takes(len));
                if !fits {
                    // Its turn comes when there is room.
                    self.transport.push(shared, queue, &self.chain, 0);
                    self.transport.undo(shared, queue, 1, 0);
                    break;
                }
                self.take(shared, index);
                self.transport.push(shared, queue, &self.chain, len);
                taken += 1;
            }
        }
        taken
    }

    /// Gives Linux what it is to get; how many chains that were.
    pub fn send(&mut self, shared: &Shared) -> u64 {
        let mut given = self.send_control(shared);
        for index in 0..self.count() {
            let (queue, _) = queues(index);
            for _ in 0..BUDGET {
                let waits = self.has_more(index);
                if !waits || !self.transport.pop(shared, queue, &mut self.chain) {
                    break;
                }
                let len = self.give(shared, index);
                self.transport.push(shared, queue, &self.chain, len);
                given += 1;
            }
        }
        given
    }

    /// Whether Linux has agreed on several ports.
    fn has_ports(&self) -> bool {
        self.transport.has_feature(F_MULTIPORT)
    }

    /// How many it can know of.
    fn count(&self) -> usize {
        if self.has_ports() {
            PORTS
        } else {
            1
        }
    }

    /// Whether what Linux sends to port `index` has to wait, whatever it is.
    fn is_full(&self, index: usize) -> bool {
        let port = self.ports.get(index);
        port.is_some_and(|port| !port.kind.terminal && port.from.room() == 0)
    }

    /// Whether port `index` has something that Linux would not drop.
    fn has_more(&self, index: usize) -> bool {
        let heard = !self.has_ports() || self.control.is_open(index);
        let port = self.ports.get(index);
        port.is_some_and(|port| !port.to.is_empty() && (heard || port.kind.terminal))
    }

    /// Copies the chain into the port, as far as there is room.
    fn take(&mut self, shared: &Shared, index: usize) {
        let Some(port) = self.ports.get_mut(index) else {
            return;
        };
        let mut skip = 0;
        // Twice, where the end of the buffer is in between.
        for _ in 0..2 {
            let count = self.chain.read(&shared.mem, skip, port.from.writable());
            port.from.commit(count);
            skip = skip.saturating_add(count as u32);
        }
        let lost = self.chain.readable_len().saturating_sub(skip);
        self.stats.received = self.stats.received.wrapping_add(skip.into());
        self.stats.lost = self.stats.lost.wrapping_add(lost.into());
    }

    /// Fills the chain from the port; how many bytes.
    fn give(&mut self, shared: &Shared, index: usize) -> u32 {
        let Some(port) = self.ports.get_mut(index) else {
            return 0;
        };
        let mut len = 0;
        for _ in 0..2 {
            let count = self.chain.write(&shared.mem, len, port.to.readable());
            port.to.consume(count);
            len = len.saturating_add(count as u32);
        }
        self.stats.sent = self.stats.sent.wrapping_add(len.into());
        len
    }

    /// Takes what Linux has sent to port `index`, for nobody; how many chains that were.
    fn pass_over(&mut self, shared: &Shared, index: usize) -> u64 {
        let (_, queue) = queues(index);
        let mut taken = 0;
        // No queue has more.
        for _ in 0..BUDGET {
            if !self.transport.pop(shared, queue, &mut self.chain) {
                break;
            }
            let len = self.chain.readable_len();
            self.transport.push(shared, queue, &self.chain, len);
            taken += 1;
        }
        taken
    }

    fn clear(&mut self, index: usize) {
        if let Some(port) = self.ports.get_mut(index) {
            port.clear();
        }
    }

    fn receive_control(&mut self, shared: &Shared) -> u64 {
        let mut taken = 0;
        for _ in 0..BUDGET {
            if !self.transport.pop(shared, CONTROL_FROM, &mut self.chain) {
                break;
            }
            let mut bytes = [0; Message::SIZE];
            let whole = self.chain.read(&shared.mem, 0, &mut bytes) == bytes.len();
            self.transport
                .push(shared, CONTROL_FROM, &self.chain, Message::SIZE as u32);
            let message = Message::parse(&bytes).filter(|_| whole);
            self.stats.messages = self.stats.messages.wrapping_add(1);
            match message {
                Some(message) => self.hear(shared, message),
                None => self.stats.bad = self.stats.bad.wrapping_add(1),
            }
            taken += 1;
        }
        taken
    }

    /// Linux says something of a port.
    fn hear(&mut self, shared: &Shared, message: Message) {
        let kind = self.ports.get(message.port as usize).map(|port| port.kind);
        if !self.control.hear(message, kind, self.transport.faults()) {
            // Such as of a port that there is not.
            self.stats.bad = self.stats.bad.wrapping_add(1);
            return;
        }
        if message.event == Event::Open && message.value == 0 {
            // Whoever opens it next gets nothing of what was meant for the one before, nor what that one has
            // sent.
            self.pass_over(shared, message.port as usize);
            self.clear(message.port as usize);
        }
    }

    fn send_control(&mut self, shared: &Shared) -> u64 {
        let mut given = 0;
        for _ in 0..BUDGET {
            let Some(note) = self.control.next() else {
                break;
            };
            if !self.transport.pop(shared, CONTROL_TO, &mut self.chain) {
                break;
            }
            let len = self.write_note(shared, note);
            self.transport.push(shared, CONTROL_TO, &self.chain, len);
            self.control.said();
            if note.message.event == Event::Remove {
                // What came since it was taken away is for nobody, and all that comes from here on is passed over.
                self.clear(note.message.port as usize);
            }
            given += 1;
        }
        given
    }

    /// Writes a message with what follows it; how many bytes.
    fn write_note(&self, shared: &Shared, note: Note) -> u32 {
        let mut len = self.chain.write(&shared.mem, 0, &note.message.emit());
        match note.message.event {
            Event::Name => {
                let port = self.ports.get(note.message.port as usize);
                let name = port.map_or("", |port| port.kind.name).as_bytes();
                let name = name.get(..name.len().min(NAME_MAX)).unwrap_or(&[]);
                len += self.chain.write(&shared.mem, len as u32, name);
            }
            Event::Resize => {
                let (columns, rows) = self.control.size();
                let size = [columns.to_le_bytes(), rows.to_le_bytes()];
                len += self
                    .chain
                    .write(&shared.mem, len as u32, size.as_flattened());
            }
            _ => {}
        }
        note.claim.unwrap_or(len as u32)
    }
}

impl Device for Console<'_> {
    fn transport(&self) -> &Transport {
        &self.transport
    }

    fn transport_mut(&mut self) -> &mut Transport {
        &mut self.transport
    }

    fn reset(&mut self) {
        self.control.reset();
        self.ports.iter_mut().for_each(Port::clear);
    }

    fn wanted(&self, wanted: &mut [u16]) {
        for index in 0..self.count() {
            let (to, from) = queues(index);
            if let Some(least) = wanted.get_mut(from) {
                *least = u16::from(!self.is_full(index));
            }
            if let Some(least) = wanted.get_mut(to) {
                *least = u16::from(self.has_more(index));
            }
        }
        if self.has_ports() {
            let more = self.control.next().is_some();
            for (queue, wants) in [(CONTROL_FROM, true), (CONTROL_TO, more)] {
                if let Some(least) = wanted.get_mut(queue) {
                    *least = u16::from(wants);
                }
            }
        }
    }

    fn attend(&mut self, _: &Shared) -> bool {
        let churns = self.transport.has_fault(Faults::CONSOLE_CHURN);
        churns && self.control.churn()
    }
}
