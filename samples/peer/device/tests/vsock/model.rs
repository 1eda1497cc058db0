// SPDX-License-Identifier: GPL-2.0 OR MIT

//! One vsock socket of Linux's as `net/vmw_vsock/virtio_transport_common.c` of 7.3 has it: what it
//! sends, takes, refuses and announces, and when it wakes who waits to send.

use crate::linux::{packet, Linux, LARGE, POSTED, SLOT, TX};
use hvl_device::vsock::packet::{
    op, Header, HEADER, SEQ_EOM, SEQ_EOR, TYPE_SEQPACKET, TYPE_STREAM,
};
use std::collections::VecDeque;

/// `SKB_TRUESIZE(0)`.
pub(crate) const OVERHEAD: u32 = 576;
/// `VIRTIO_VSOCK_MAX_PKT_BUF_SIZE`.
const MAX_PACKET: usize = 65_536;
/// `MAX_COLLAPSE_LEN`, about.
const MAX_COLLAPSE: usize = 32_000;
/// `GOOD_COPY_LEN`.
const GOOD_COPY: usize = 128;

/// A packet that waits to be read.
struct Skb {
    data: Vec<u8>,
    offset: usize,
    tailroom: usize,
    flags: u32,
}

/// A socket.
pub(crate) struct Socket {
    ports: (u32, u32),
    kind: u16,
    /// Whole messages that wait to be read.
    pub(crate) messages: usize,
    pub(crate) buf_alloc: u32,
    rx: VecDeque<Skb>,
    rx_bytes: u32,
    buf_used: u32,
    fwd_cnt: u32,
    last_fwd_cnt: u32,
    pub(crate) tx_cnt: u32,
    peer_alloc: u32,
    peer_fwd: u32,
    /// Who sends waits for `sk_write_space`.
    asleep: bool,
    /// Packets that wait for room in the ring.
    queue: VecDeque<(Header, Vec<u8>)>,
    large_under_way: bool,
    pub(crate) established: bool,
    /// Why the connection has ended.
    pub(crate) dead: Option<&'static str>,
    /// Packets of the peer's that were for nothing but credit.
    pub(crate) updates: usize,
}

impl Socket {
    pub(crate) fn new(ports: (u32, u32), buf_alloc: u32) -> Self {
        Self {
            ports,
            kind: TYPE_STREAM,
            messages: 0,
            buf_alloc,
            rx: VecDeque::new(),
            rx_bytes: 0,
            buf_used: 0,
            fwd_cnt: 0,
            last_fwd_cnt: 0,
            tx_cnt: 0,
            peer_alloc: 0,
            peer_fwd: 0,
            asleep: false,
            queue: VecDeque::new(),
            large_under_way: false,
            established: false,
            dead: None,
            updates: 0,
        }
    }

    /// One for messages.
    pub(crate) fn of_messages(ports: (u32, u32), buf_alloc: u32) -> Self {
        Self {
            kind: TYPE_SEQPACKET,
            ..Self::new(ports, buf_alloc)
        }
    }

    /// The largest message that `send()` takes; for a larger one it has EMSGSIZE.
    pub(crate) fn largest(&self) -> usize {
        self.peer_alloc.min(self.buf_alloc) as usize
    }

    /// `virtio_transport_has_space`
    fn space(&self) -> usize {
        let most = i64::from(self.peer_alloc.min(self.buf_alloc));
        let flying = i64::from(self.tx_cnt.wrapping_sub(self.peer_fwd));
        usize::try_from(most - flying).unwrap_or(0)
    }

    /// `virtio_transport_send_pkt_info`
    pub(crate) fn emit(&mut self, op: u16, flags: u32, data: &[u8]) {
        self.last_fwd_cnt = self.fwd_cnt;
        let header = Header {
            flags,
            kind: self.kind,
            buf_alloc: self.buf_alloc,
            fwd_cnt: self.fwd_cnt,
            ..packet(self.ports, op, data.len())
        };
        self.queue.push_back((header, data.to_vec()));
    }

    /// `send()` of some of `data`: how many bytes went, 0 if it has to wait to be woken.
    pub(crate) fn write(&mut self, data: &[u8]) -> usize {
        if self.asleep || !self.established || self.dead.is_some() {
            return 0;
        }
        let count = data.len().min(self.space());
        if count == 0 {
            self.asleep = true;
            return 0;
        }
        self.tx_cnt = self.tx_cnt.wrapping_add(count as u32);
        for part in data[..count].chunks(MAX_PACKET) {
            self.emit(op::RW, 0, part);
        }
        count
    }

    /// The same of what is left of a message, which ends a record or not: `virtio_transport_alloc_skb`
    /// marks the last packet.
    pub(crate) fn write_message(&mut self, rest: &[u8], record: bool) -> usize {
        let before = self.queue.len();
        let count = self.write(rest);
        if count > 0 && count == rest.len() {
            assert!(self.queue.len() > before);
            let (header, _) = self.queue.back_mut().unwrap();
            header.flags |= SEQ_EOM | if record { SEQ_EOR } else { 0 };
        }
        count
    }

    /// `virtio_transport_seqpacket_do_dequeue`: a message, and whether it ends a record.
    pub(crate) fn read_message(&mut self) -> Option<(Vec<u8>, bool)> {
        if self.messages == 0 {
            return None;
        }
        self.messages -= 1;
        let mut message = Vec::new();
        loop {
            let skb = self.rx.pop_front().expect("the end of a message");
            self.rx_bytes -= skb.data.len() as u32;
            self.buf_used -= skb.data.len() as u32;
            self.fwd_cnt = self.fwd_cnt.wrapping_add(skb.data.len() as u32);
            message.extend(skb.data);
            if skb.flags & SEQ_EOM != 0 {
                self.emit(op::CREDIT_UPDATE, 0, &[]);
                return Some((message, skb.flags & SEQ_EOR != 0));
            }
        }
    }

    /// `virtio_transport_stream_do_dequeue`: at most `count` bytes.
    pub(crate) fn read(&mut self, count: usize) -> Vec<u8> {
        let mut got = Vec::new();
        while got.len() < count {
            let Some(skb) = self.rx.front_mut() else {
                break;
            };
            let rest = &skb.data[skb.offset..];
            let part = rest.len().min(count - got.len());
            got.extend_from_slice(&rest[..part]);
            skb.offset += part;
            self.rx_bytes -= part as u32;
            if skb.offset == skb.data.len() {
                self.buf_used -= skb.data.len() as u32;
                self.fwd_cnt = self.fwd_cnt.wrapping_add(skb.data.len() as u32);
                self.rx.pop_front();
            }
        }
        let delta = self.fwd_cnt.wrapping_sub(self.last_fwd_cnt);
        let free = self.buf_alloc.wrapping_sub(delta);
        if delta != 0 && (free < MAX_PACKET as u32 || self.rx_bytes == 0) {
            self.emit(op::CREDIT_UPDATE, 0, &[]);
        }
        got
    }

    /// `setsockopt(SO_VM_SOCKETS_BUFFER_SIZE)`
    pub(crate) fn resize(&mut self, size: u32) {
        if size != self.buf_alloc {
            self.buf_alloc = size;
            self.emit(op::CREDIT_UPDATE, 0, &[]);
        }
    }

    /// Whether nothing of the peer's waits to be read.
    pub(crate) fn drained(&self) -> bool {
        self.rx.is_empty()
    }

    /// Puts into the ring what there is room for; `true` if there was any.
    pub(crate) fn flush(&mut self, linux: &mut Linux<'_>) -> bool {
        let mut any = false;
        self.large_under_way &= linux.under_way() > 0;
        while linux.under_way() < TX {
            let Some((header, data)) = self.queue.front() else {
                break;
            };
            let len = (HEADER + data.len()) as u32;
            assert!(len <= LARGE + SLOT);
            // There is one place for the large ones.
            if len > SLOT && self.large_under_way {
                break;
            }
            self.large_under_way |= len > SLOT;
            linux.send_raw(header, data);
            self.queue.pop_front();
            any = true;
        }
        any
    }

    /// `virtio_transport_collapse_rx_queue`
    fn collapse(&mut self, least: usize) {
        let may = |skb: &Skb| {
            skb.offset == 0 && skb.flags & SEQ_EOM == 0 && skb.data.len() < MAX_COLLAPSE
        };
        let old: Vec<Skb> = self.rx.drain(..).collect();
        let mut saved = 0isize;
        let mut open: Option<Skb> = None;
        let mut at = 0;
        while at < old.len() {
            let skb = &old[at];
            let keep = |skb: &Skb| Skb {
                data: skb.data.clone(),
                offset: skb.offset,
                tailroom: skb.tailroom,
                flags: skb.flags,
            };
            if !may(skb) || open.as_ref().is_some_and(|o| skb.data.len() > o.tailroom) {
                if let Some(full) = open.take() {
                    self.rx.push_back(full);
                    saved -= 1;
                }
            }
            if !may(skb) {
                self.rx.push_back(keep(skb));
                at += 1;
                continue;
            }
            if open.is_none() {
                if saved >= least as isize {
                    break;
                }
                let mut size = skb.data.len();
                for next in old[at + 1..].iter().take_while(|next| may(next)) {
                    if next.data.len() > MAX_COLLAPSE - size {
                        break;
                    }
                    size += next.data.len();
                }
                if size <= skb.data.len() {
                    self.rx.push_back(keep(skb));
                    at += 1;
                    continue;
                }
                open = Some(Skb {
                    data: Vec::new(),
                    offset: 0,
                    tailroom: size,
                    flags: skb.flags,
                });
            }
            if let Some(open) = &mut open {
                open.data.extend_from_slice(&skb.data);
                open.tailroom -= skb.data.len();
                saved += 1;
            }
            at += 1;
        }
        self.rx.extend(open);
        self.rx.extend(old.into_iter().skip(at));
    }

    /// `virtio_transport_recv_enqueue`
    fn enqueue(&mut self, data: Vec<u8>, flags: u32) -> bool {
        let most = (self.buf_alloc / OVERHEAD) as usize;
        if self.rx.len() >= most {
            self.collapse(self.rx.len() + 2 - most);
        }
        let len = data.len() as u32;
        if self.buf_used + len > self.buf_alloc
            || (self.rx.len() as u32 + 1) * OVERHEAD > self.buf_alloc
        {
            return false;
        }
        self.rx_bytes += len;
        self.buf_used += len;
        self.messages += usize::from(flags & SEQ_EOM != 0);
        match self.rx.back_mut() {
            Some(last)
                if data.len() <= GOOD_COPY
                    && data.len() < last.tailroom
                    && last.flags & SEQ_EOM == 0 =>
            {
                last.tailroom -= data.len();
                last.flags |= flags;
                last.data.extend(data);
            }
            _ => self.rx.push_back(Skb {
                tailroom: POSTED as usize - HEADER - data.len(),
                data,
                offset: 0,
                flags,
            }),
        }
        true
    }

    /// `virtio_transport_recv_pkt`
    pub(crate) fn deliver(&mut self, header: &Header, data: Vec<u8>) {
        assert_eq!((header.dst_port, header.src_port), self.ports);
        assert_eq!(header.kind, self.kind);
        assert!(header.op == op::RW || data.is_empty());
        self.peer_alloc = header.buf_alloc;
        self.peer_fwd = header.fwd_cnt;
        if self.space() > 0 {
            self.asleep = false;
        }
        match header.op {
            op::REQUEST => {
                self.established = true;
                self.emit(op::RESPONSE, 0, &[]);
            }
            op::RESPONSE => self.established = true,
            op::RW => {
                if !self.enqueue(data, header.flags) {
                    self.dead = Some("more than there is room for");
                    self.emit(op::RST, 0, &[]);
                }
            }
            op::CREDIT_UPDATE => self.updates += 1,
            op::CREDIT_REQUEST => self.emit(op::CREDIT_UPDATE, 0, &[]),
            op::RST => self.dead = Some("reset"),
            other => panic!("operation {other}"),
        }
    }
}
