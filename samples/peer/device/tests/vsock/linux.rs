// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Linux's side of the socket device, and services for the peer's.

use crate::common::{Rig, Ring};
use hvl_device::messages::{End, Messages};
use hvl_device::stream::Stream;
use hvl_device::vsock::packet::{op, Header, HEADER, TYPE_SEQPACKET, TYPE_STREAM};
use hvl_device::vsock::{App, Buffers, SocketType, Vsock, CONNECTIONS};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const GUEST: u64 = 3;
/// Bytes of each buffer that Linux posts for packets to it.
pub(crate) const POSTED: u32 = 1024;
/// Buffers that Linux has posted and packets that it has under way.
pub(crate) const RX: u16 = 64;
pub(crate) const TX: u16 = 64;

/// Room for a large packet, and for each small one.
pub(crate) const LARGE: u32 = 0x1_0000;
pub(crate) const SLOT: u32 = 0x1000;

/// The byte at a position of every stream.
pub(crate) const fn pattern(position: usize) -> u8 {
    (position % 251) as u8
}

/// Echoes on port 7, takes on port 9, never reads on port 11, sends without end on port 19, as streams
/// and as messages. (Those that it sends are as large as `sizes` says, in turn.)
#[derive(Default)]
pub(crate) struct Services {
    pub(crate) open: Vec<(usize, u32)>,
    pub(crate) closed: Vec<usize>,
    pub(crate) taken: usize,
    /// Messages that were taken.
    pub(crate) ends: usize,
    pub(crate) connect: VecDeque<u32>,
    pub(crate) connect_type: Option<SocketType>,
    pub(crate) finish_at_once: bool,
    pub(crate) sizes: Vec<usize>,
    /// Messages that each connection of port 19 has begun, and the bytes that the last one lacks.
    begun: BTreeMap<usize, (usize, usize)>,
    /// Bytes that each connection of port 19 has sent.
    made: BTreeMap<usize, usize>,
}

impl App for Services {
    fn accept(&mut self, id: usize, _: SocketType, port: u32, _remote: u32) -> bool {
        assert!(id < CONNECTIONS);
        assert!(
            self.open.iter().all(|(other, _)| *other != id),
            "opened twice"
        );
        let known = [7, 9, 11, 19].contains(&port);
        if known {
            self.open.push((id, port));
        }
        known
    }

    fn poll(&mut self, id: usize, stream: &mut dyn Stream) -> bool {
        let (_, port) = *self.open.iter().find(|(other, _)| *other == id).unwrap();
        if self.finish_at_once {
            stream.finish();
            return false;
        }
        let bytes = stream.peek().to_vec();
        let mut count = 0;
        match port {
            11 => return false,
            19 => {
                let made = self.made.entry(id).or_default();
                let sent = stream.send(&mut |room| {
                    for (byte, position) in room.iter_mut().zip(*made..) {
                        *byte = pattern(position);
                    }
                    room.len()
                });
                *made += sent;
                if stream.at_end() || !stream.is_heard() {
                    stream.finish();
                }
                return sent != 0;
            }
            _ if !stream.is_heard() => count = bytes.len(),
            9 => count = bytes.len(),
            _ => {
                while count < bytes.len() {
                    let rest = &bytes[count..];
                    let sent = stream.send(&mut |room| {
                        let count = room.len().min(rest.len());
                        room[..count].copy_from_slice(&rest[..count]);
                        count
                    });
                    if sent == 0 {
                        break;
                    }
                    count += sent;
                }
            }
        }
        stream.consume(count);
        self.taken += count;
        if stream.at_end() {
            stream.finish();
        }
        count != 0
    }

    fn poll_messages(&mut self, id: usize, messages: &mut dyn Messages) -> bool {
        let (_, port) = *self.open.iter().find(|(other, _)| *other == id).unwrap();
        if self.finish_at_once {
            messages.finish();
            return false;
        }
        let mut busy = false;
        match port {
            11 => return false,
            19 => busy = self.make_messages(id, messages),
            // By small steps, so that a message does not come whole.
            _ => {
                for _ in 0..40 {
                    let bytes = messages.peek().to_vec();
                    let mut count = bytes.len();
                    if port == 7 && messages.is_heard() {
                        count = messages.send(&mut |room| {
                            let count = room.len().min(bytes.len()).min(5000);
                            room[..count].copy_from_slice(&bytes[..count]);
                            count
                        });
                    }
                    messages.consume(count);
                    self.taken += count;
                    busy |= count > 0;
                    let echoed = port == 7 && messages.is_heard();
                    if count < bytes.len() || (echoed && !messages.can_end()) {
                        continue;
                    }
                    if let Some(end) = messages.take_end() {
                        if echoed {
                            messages.end(end);
                        }
                        self.ends += 1;
                        busy = true;
                    }
                }
            }
        }
        if messages.at_end() || (port == 19 && !messages.is_heard()) {
            messages.finish();
        }
        busy
    }

    fn closed(&mut self, id: usize) {
        self.open.retain(|(other, _)| *other != id);
        self.made.remove(&id);
        self.begun.remove(&id);
        self.closed.push(id);
    }

    fn wants_connection(&mut self) -> Option<(SocketType, u32)> {
        let kind = self.connect_type.unwrap_or(SocketType::Stream);
        Some((kind, self.connect.pop_front()?))
    }

    fn waits(&self) -> bool {
        !self.connect.is_empty()
    }

    fn connecting(&mut self, id: usize, _: SocketType, _remote: u32) {
        self.open.push((id, 7));
    }
}

impl Services {
    fn make_messages(&mut self, id: usize, messages: &mut dyn Messages) -> bool {
        let made = self.made.entry(id).or_default();
        let (begun, lacks) = self.begun.entry(id).or_default();
        let mut busy = false;
        while *lacks > 0 || (*begun < self.sizes.len() && messages.can_end()) {
            if *lacks == 0 {
                *lacks = self.sizes[*begun];
                *begun += 1;
            }
            let sent = messages.send(&mut |room| {
                let count = room.len().min(*lacks);
                for (byte, position) in room[..count].iter_mut().zip(*made..) {
                    *byte = pattern(position);
                }
                count
            });
            *made += sent;
            *lacks -= sent;
            if *lacks > 0 && sent == 0 {
                break;
            }
            busy = true;
            if *lacks == 0 {
                let record = *begun % 3 == 0;
                messages.end(End { record });
            }
        }
        busy
    }
}

/// Linux's side of the socket device.
pub(crate) struct Linux<'a> {
    pub(crate) rig: Rig<Vsock<'a>>,
    pub(crate) rings: Vec<Ring>,
    pub(crate) app: Services,
    pub(crate) rx: Vec<u32>,
    pub(crate) tx: u32,
    pub(crate) next_tx: u16,
    pub(crate) now: u64,
}

/// The memory of a device.
pub(crate) fn room() -> Box<[Buffers; CONNECTIONS]> {
    let buffers: Vec<Buffers> = (0..CONNECTIONS).map(|_| Buffers::new()).collect();
    buffers.into_boxed_slice().try_into().unwrap()
}

impl<'a> Linux<'a> {
    pub(crate) fn new(room: &'a mut [Buffers; CONNECTIONS]) -> Self {
        // VIRTIO_VSOCK_F_SEQPACKET, and no other, as Linux has it.
        Self::with_features(room, 1 << 1)
    }

    pub(crate) fn with_features(room: &'a mut [Buffers; CONNECTIONS], features: u64) -> Self {
        let mut rig = Rig::new(Vsock::new(GUEST, room));
        rig.attach(1);
        let rings = rig.bring_up(features, &[RX, TX, 8]);
        let rx: Vec<u32> = (0..RX).map(|_| rig.alloc(POSTED)).collect();
        let tx = rig.alloc(LARGE + SLOT * (1 + u32::from(TX)));
        let mut linux = Self {
            rig,
            rings,
            app: Services::default(),
            rx,
            tx,
            next_tx: 0,
            now: 0,
        };
        for head in 0..RX {
            linux.post(head);
        }
        linux
    }

    /// Packets of Linux's that the peer has not given back.
    pub(crate) fn under_way(&self) -> u16 {
        let ring = &self.rings[1];
        ring.avail_index.wrapping_sub(ring.used_seen)
    }

    pub(crate) fn post(&mut self, head: u16) {
        let at = self.rx[usize::from(head)];
        self.rings[0].add(head, &[(at, POSTED, true)]);
    }

    pub(crate) fn pass(&mut self) -> bool {
        let shared = *self.rig.link.shared();
        let busy = self.rig.device.poll(&shared, &mut self.app, self.now);
        self.rig.finish();
        while self.rings[1].take().is_some() {}
        busy
    }

    pub(crate) fn send_raw(&mut self, header: &Header, data: &[u8]) {
        let len = (HEADER + data.len()) as u32;
        // A place of its own for each packet, but for the large ones.
        let small = len <= SLOT;
        let at = self.tx
            + if small {
                SLOT * u32::from(1 + self.next_tx)
            } else {
                0
            };
        let at = if small { at + LARGE } else { at };
        self.rig.mem().write_bytes(at, &header.emit());
        self.rig.mem().write_bytes(at + HEADER as u32, data);
        self.rings[1].add(self.next_tx, &[(at, len, false)]);
        self.next_tx = (self.next_tx + 1) % TX;
    }

    /// Sends a packet of the connection from port `from` to port `to`, and lets the peer work.
    pub(crate) fn send(&mut self, ports: (u32, u32), op: u16, data: &[u8]) {
        self.send_raw(&packet(ports, op, data.len()), data);
        self.pass();
    }

    /// The next packet to Linux; its buffer is posted again.
    pub(crate) fn receive(&mut self) -> Option<(Header, Vec<u8>)> {
        let (header, data, head) = self.take()?;
        self.post(head);
        Some((header, data))
    }

    /// The next packet to Linux, and its buffer.
    pub(crate) fn take(&mut self) -> Option<(Header, Vec<u8>, u16)> {
        let (head, len) = self.rings[0].take()?;
        let mut bytes = vec![0; len as usize];
        assert!(self
            .rig
            .mem()
            .read_bytes(self.rx[head as usize], &mut bytes));
        let (header, data) = bytes.split_at(HEADER);
        let header = Header::parse(header.try_into().unwrap());
        assert_eq!((header.src_cid, header.dst_cid), (2, GUEST));
        assert_eq!(header.len as usize, data.len());
        let data = data.to_vec();
        Some((header, data, head as u16))
    }

    /// The next packet, which has to be `op`.
    pub(crate) fn expect(&mut self, op: u16) -> (Header, Vec<u8>) {
        let (header, data) = self.receive().expect("a packet");
        assert_eq!(header.op, op, "{header:?}");
        (header, data)
    }

    /// Takes all that comes, until nothing does: every packet was given back, and both sides know of the
    /// same connections. (A reset of one that is over goes out in the pass after the one that ends it.)
    pub(crate) fn settle(&mut self) {
        while self.pass() {
            while self.receive().is_some() {}
        }
        assert_eq!(self.receive(), None);
        assert_eq!(self.rig.device.connections(), self.app.open.len());
        assert_eq!(self.rings[1].avail_index, self.rings[1].used_seen);
    }

    pub(crate) fn silence(&mut self) {
        self.pass();
        assert_eq!(self.receive(), None);
    }

    /// Opens a connection.
    pub(crate) fn open(&mut self, ports: (u32, u32)) -> Header {
        self.send(ports, op::REQUEST, &[]);
        let (header, _) = self.expect(op::RESPONSE);
        assert_eq!((header.src_port, header.dst_port), (ports.1, ports.0));
        header
    }
}

pub(crate) fn packet(ports: (u32, u32), op: u16, len: usize) -> Header {
    Header {
        src_cid: GUEST,
        dst_cid: 2,
        src_port: ports.0,
        dst_port: ports.1,
        len: len as u32,
        kind: TYPE_STREAM,
        op,
        flags: 0,
        buf_alloc: 0x1_0000,
        fwd_cnt: 0,
    }
}

/// The same of a socket for messages.
pub(crate) fn seqpacket(ports: (u32, u32), op: u16, len: usize) -> Header {
    Header {
        kind: TYPE_SEQPACKET,
        ..packet(ports, op, len)
    }
}

pub(crate) fn shutdown(ports: (u32, u32), flags: u32) -> Header {
    Header {
        flags,
        ..packet(ports, op::SHUTDOWN, 0)
    }
}
