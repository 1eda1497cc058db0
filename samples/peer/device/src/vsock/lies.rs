// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Deliberate lies about sockets: what Linux has to bear of this device's own words.
//!
//! They are told to whoever is connected to one port, from when the connection is open on. The others'
//! connections are honest.

#![forbid(unsafe_code)]

use super::packet::{op, Header, SEQ_EOM, SEQ_EOR};
use super::{Vsock, PEER_CID, RXQ};
use crate::faults::Faults;
use crate::shared::Shared;

/// The port that lies: the sample's echo.
const PORT: u32 = 7;
/// The queue of events (VIRTIO 5.10.2).
const EVENTQ: usize = 2;
/// Bytes of an event: all zero, it says that all connections are gone.
const EVENT: usize = 4;
/// Packets and events that nobody has asked for, in one pass.
const STORM: usize = 16;
/// Buffers that are left for others.
const LEFT: u16 = 32;

/// All that is told here.
const ALL: [Faults; 12] = [
    Faults::VSOCK_CREDIT,
    Faults::VSOCK_BACK,
    Faults::VSOCK_CID,
    Faults::VSOCK_PORT,
    Faults::VSOCK_TYPE,
    Faults::VSOCK_OP,
    Faults::VSOCK_LENGTH,
    Faults::VSOCK_ENDS,
    Faults::VSOCK_RESETS,
    Faults::VSOCK_REQUESTS,
    Faults::VSOCK_EVENTS,
    Faults::VSOCK_NOISE,
];

/// What is known of lies told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Liar {
    told: bool,
    noise: u32,
}

impl Liar {
    /// Numbers that look random (a linear congruential generator's upper bits).
    fn random(&mut self) -> u32 {
        self.noise = self
            .noise
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.noise >> 8) ^ (self.noise << 16)
    }

    /// A number that is near a limit, or any.
    fn odd_number(&mut self, right: u32) -> u32 {
        let random = self.random();
        match random % 7 {
            0 => 0,
            1 => u32::MAX,
            2 => right.wrapping_add(1),
            3 => right.wrapping_sub(1),
            4 => right ^ (1 << 31),
            5 => right.wrapping_sub(1 << 17),
            _ => random,
        }
    }
}

impl Vsock<'_> {
    fn lies(&self, fault: Faults) -> bool {
        self.transport.faults().has(fault)
    }

    fn told(&mut self) {
        if !self.liar.told {
            self.liar.told = true;
            log::warn!("vsock: telling lies");
        }
    }

    /// Changes what a packet says.
    pub(super) fn lie(&mut self, header: &mut Header) {
        if self.transport.faults() == Faults::NONE
            || header.src_port != PORT
            || header.op == op::RESPONSE
            || !ALL.iter().any(|fault| self.lies(*fault))
        {
            return;
        }
        self.told();
        if self.lies(Faults::VSOCK_CREDIT) {
            header.buf_alloc = self.liar.odd_number(header.buf_alloc);
            header.fwd_cnt = self.liar.odd_number(header.fwd_cnt);
        }
        if self.lies(Faults::VSOCK_BACK) {
            header.fwd_cnt = header
                .fwd_cnt
                .wrapping_sub(1 + self.liar.random() % 0x1_0000);
        }
        if self.lies(Faults::VSOCK_CID) {
            let cid = self.liar.odd_number(header.src_cid as u32);
            match self.liar.random() % 3 {
                0 => header.src_cid = cid.into(),
                1 => header.dst_cid = cid.into(),
                _ => header.src_cid |= 1 << 32,
            }
        }
        if self.lies(Faults::VSOCK_PORT) {
            match self.liar.random() % 2 {
                0 => header.src_port = self.liar.odd_number(header.src_port),
                _ => header.dst_port = self.liar.odd_number(header.dst_port),
            }
        }
        if self.lies(Faults::VSOCK_TYPE) {
            header.kind = match self.liar.random() % 3 {
                0 => 3 - header.kind,
                1 => 0,
                _ => self.liar.random() as u16,
            };
        }
        if self.lies(Faults::VSOCK_OP) {
            header.op = match self.liar.random() % 2 {
                0 => (self.liar.random() % 10) as u16,
                _ => self.liar.random() as u16,
            };
        }
        if self.lies(Faults::VSOCK_LENGTH) {
            header.len = match self.liar.random() % 3 {
                // More than the used length says, and than any buffer holds.
                0 => header.len.wrapping_add(1),
                1 => 0x1_0000,
                _ => self.liar.odd_number(header.len),
            };
        }
        if self.lies(Faults::VSOCK_ENDS) && header.op == op::RW {
            header.flags = match self.liar.random() % 4 {
                0 => 0,
                1 => SEQ_EOM | SEQ_EOR,
                2 => SEQ_EOR,
                _ => self.liar.random(),
            };
        }
        if self.lies(Faults::VSOCK_NOISE) && self.liar.random() % 2 == 0 {
            let random = self.liar.random();
            match self.liar.random() % 9 {
                0 => header.src_cid = random.into(),
                1 => header.dst_cid = random.into(),
                2 => header.src_port = random,
                3 => header.dst_port = random,
                4 => header.len = random,
                5 => header.kind = random as u16,
                6 => header.op = random as u16,
                7 => header.flags = random,
                _ => header.fwd_cnt = random,
            }
        }
    }

    /// Sends what nobody has asked for, while there is a connection; `true` if there was any.
    pub(super) fn storm(&mut self, shared: &Shared) -> bool {
        if self.transport.faults() == Faults::NONE || self.used == 0 {
            return false;
        }
        let mut busy = false;
        for round in 0..STORM {
            let op = if self.lies(Faults::VSOCK_RESETS) {
                op::RST
            } else if self.lies(Faults::VSOCK_REQUESTS) {
                op::REQUEST
            } else if self.lies(Faults::VSOCK_ENDS) {
                op::RW
            } else {
                break;
            };
            if self.transport.chains(shared, RXQ) <= LEFT {
                break;
            }
            // To those that are connected, and to others.
            let id = self.liar.random() as usize % self.conns.len();
            let conn = self
                .conns
                .get(id)
                .filter(|conn| conn.alive() && round % 2 == 0);
            let conn = conn.filter(|conn| conn.local == PORT);
            let remote = conn.map(|conn| (conn.remote, conn.kind.number()));
            if op == op::RW && remote.is_none() {
                continue;
            }
            let random = self.liar.random();
            let (dst_port, kind) =
                remote.unwrap_or((random % 0x1_0000, 1 + (random >> 16) as u16 % 2));
            let header = Header {
                src_cid: PEER_CID,
                dst_cid: self.guest_cid,
                src_port: if op == op::REQUEST { random } else { PORT },
                dst_port,
                kind,
                op,
                // Messages without bytes, and nothing at all.
                flags: random >> 24 & SEQ_EOM,
                buf_alloc: 0x1_0000,
                ..Header::default()
            };
            self.told();
            busy |= self.send(shared, &header, None);
        }
        if self.lies(Faults::VSOCK_EVENTS) {
            for _ in 0..STORM {
                if !self.transport.pop(shared, EVENTQ, &mut self.chain) {
                    break;
                }
                self.chain.write(&shared.mem, 0, &[0; EVENT]);
                self.transport
                    .push(shared, EVENTQ, &self.chain, EVENT as u32);
                self.told();
                busy = true;
            }
        }
        busy
    }
}
