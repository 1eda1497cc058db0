// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control queue (VIRTIO 5.1.6.5): what Linux asks of the device, and what the device has to say of
//! the link.
//!
//! Linux's driver spins for the answer to a command, so each is answered in the pass in which it is seen.

#![forbid(unsafe_code)]

use super::filter::{is_group, Address, Filter, List};
use super::{
    Net, ADDRESS, ANNOUNCE, F_CTRL_GUEST_OFFLOADS, F_CTRL_MAC_ADDR, F_CTRL_RX, F_CTRL_RX_EXTRA,
    F_CTRL_VLAN, F_CTRL_VQ, F_GUEST_ANNOUNCE, F_MQ, GUEST_OFFLOADS, LINK_UP, STATUS,
};
use crate::queue::Chain;
use crate::shared::Shared;

/// Commands that are answered in one pass; Linux has one at a time.
const COMMANDS: usize = 4;
/// Bytes before a command's data: its class and number.
const HEAD: u32 = 2;
/// Answers.
const OK: u8 = 0;
const ERROR: u8 = 1;

/// Classes of commands.
const RX: u8 = 0;
const MAC: u8 = 1;
const MAC_TABLE_SET: u8 = 0;
const MAC_ADDR_SET: u8 = 1;
const VLAN: u8 = 2;
const VLAN_ADD: u8 = 0;
const VLAN_DEL: u8 = 1;
const ANNOUNCEMENT: u8 = 3;
const ANNOUNCE_ACK: u8 = 0;
const MQ: u8 = 4;
const MQ_VQ_PAIRS_SET: u8 = 0;
const OFFLOADS: u8 = 5;
const OFFLOADS_SET: u8 = 0;

/// The data of a command.
struct Data<'a> {
    chain: &'a Chain,
    shared: &'a Shared,
}

impl Data<'_> {
    fn len(&self) -> usize {
        self.chain.readable_len().saturating_sub(HEAD) as usize
    }

    /// `N` bytes at `at`.
    fn get<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let skip = u32::try_from(at).ok()?.checked_add(HEAD)?;
        (self.chain.read(&self.shared.mem, skip, &mut bytes) == N).then_some(bytes)
    }

    /// All of it, which is `N` bytes.
    fn all<const N: usize>(&self) -> Option<[u8; N]> {
        self.get(0).filter(|_| self.len() == N)
    }

    /// The addresses of a list that begins at `at`, and where it ends.
    fn list(&self, at: usize) -> Option<(List, usize)> {
        let count = u32::from_le_bytes(self.get(at)?) as usize;
        let start = at.checked_add(4)?;
        let end = start.checked_add(count.checked_mul(6)?)?;
        if end > self.len() {
            return None;
        }
        let mut list = List::EMPTY;
        // What the chain has is at most what the protocol allows a chain to have.
        for at in (start..end).step_by(6) {
            list.add(self.get(at)?);
        }
        Some((list, end))
    }
}

impl Net {
    /// The control queue, if Linux has taken one.
    pub(super) fn control_queue(&self) -> Option<usize> {
        // It comes after all pairs that there are, or after the one without several.
        let several = self.transport.has_feature(F_MQ);
        let pairs = if several { self.setup.pairs } else { 1 };
        let served = self.transport.has_feature(F_CTRL_VQ) && !self.leaves_commands();
        served.then_some(2 * pairs)
    }

    /// Answers commands; `true` if there was any.
    pub(super) fn answer(&mut self, shared: &Shared) -> bool {
        let Some(queue) = self.control_queue() else {
            return false;
        };
        let mut busy = false;
        for _ in 0..COMMANDS {
            if self.transport.chains(shared, queue) == 0
                || !self.transport.pop(shared, queue, &mut self.chain)
            {
                break;
            }
            busy = true;
            let chain = core::mem::take(&mut self.chain);
            let data = Data {
                chain: &chain,
                shared,
            };
            let done = !self.lies_of_answers() && self.command(shared, &data).is_some();
            let commands = &mut self.stats.commands;
            *commands = commands.wrapping_add(1);
            if !done {
                self.stats.refused = self.stats.refused.wrapping_add(1);
            }
            let answer = self.lie_answer(if done { OK } else { ERROR });
            let written = chain.write(&shared.mem, 0, &[answer]);
            self.transport.push(shared, queue, &chain, written as u32);
        }
        busy
    }

    /// Does what a command says; `None` if there is no such command, or it makes no sense.
    fn command(&mut self, shared: &Shared, data: &Data<'_>) -> Option<()> {
        let mut head = [0; HEAD as usize];
        if data.chain.read(&shared.mem, 0, &mut head) != head.len() {
            return None;
        }
        let [class, command] = head;
        let has = |bit| self.transport.has_feature(bit);
        match (class, command) {
            (RX, 0..=1) if has(F_CTRL_RX) => self.switch(command, data),
            (RX, 2..=5) if has(F_CTRL_RX_EXTRA) => self.switch(command, data),
            (MAC, MAC_TABLE_SET) if has(F_CTRL_RX) => {
                let (unicast, end) = data.list(0)?;
                let (multicast, end) = data.list(end)?;
                if end != data.len() {
                    return None;
                }
                self.filter.unicast = unicast;
                self.filter.multicast = multicast;
                Some(())
            }
            (MAC, MAC_ADDR_SET) if has(F_CTRL_MAC_ADDR) => {
                let address: Address = data.all()?;
                if is_group(address) || address == [0; 6] {
                    return None;
                }
                self.set_address(shared, address);
                Some(())
            }
            (VLAN, VLAN_ADD | VLAN_DEL) if has(F_CTRL_VLAN) => {
                let id = u16::from_le_bytes(data.all()?);
                self.filter.set_vlan(id, command == VLAN_ADD).then_some(())
            }
            (ANNOUNCEMENT, ANNOUNCE_ACK) if has(F_GUEST_ANNOUNCE) => {
                if data.len() != 0 || self.status & ANNOUNCE == 0 {
                    return None;
                }
                self.set_status(shared, self.status & !ANNOUNCE);
                Some(())
            }
            (MQ, MQ_VQ_PAIRS_SET) if has(F_MQ) => {
                let pairs = usize::from(u16::from_le_bytes(data.all()?));
                if !(1..=self.setup.pairs).contains(&pairs) {
                    return None;
                }
                self.enabled = pairs;
                // What Linux has sent on others before still comes.
                self.served = self.served.max(pairs);
                Some(())
            }
            (OFFLOADS, OFFLOADS_SET) if has(F_CTRL_GUEST_OFFLOADS) => {
                let on = u64::from_le_bytes(data.all()?);
                let could = self.transport.features() & GUEST_OFFLOADS;
                if on & !could != 0 {
                    return None;
                }
                self.off = could & !on;
                Some(())
            }
            _ => None,
        }
    }

    fn switch(&mut self, mode: u8, data: &Data<'_>) -> Option<()> {
        let [on] = data.all()?;
        if on > 1 {
            return None;
        }
        self.filter.switch(mode, on == 1);
        Some(())
    }

    /// Forgets what Linux has asked for: the device was reset.
    pub(super) fn forget_commands(&mut self) {
        self.filter = Filter::new();
        self.off = 0;
        self.enabled = 1;
        self.served = 1;
        self.next = 0;
        // What Linux reads of it is put right in the next pass.
        self.stale |= self.address != self.setup.mac || self.status & ANNOUNCE != 0;
        self.address = self.setup.mac;
        self.status &= !ANNOUNCE;
    }

    /// Has the configuration say what it should after a reset.
    pub(super) fn refresh(&mut self, shared: &Shared) {
        self.stale = false;
        self.set_address(shared, self.address);
        self.set_status(shared, self.status);
    }

    fn set_address(&mut self, shared: &Shared, address: Address) {
        self.address = address;
        self.transport.change_config(shared, |config| {
            for (to, from) in config.iter_mut().skip(ADDRESS).zip(address) {
                *to = from;
            }
        });
    }

    pub(super) fn set_status(&mut self, shared: &Shared, status: u16) {
        self.status = status;
        self.transport.change_config(shared, |config| {
            for (to, from) in config.iter_mut().skip(STATUS).zip(status.to_le_bytes()) {
                *to = from;
            }
        });
    }

    /// Tells Linux that the link is up, or that it is down: then no frame goes either way.
    pub fn set_link(&mut self, shared: &Shared, up: bool) {
        if up != self.link_is_up() {
            self.set_status(shared, self.status ^ LINK_UP);
        }
    }

    /// Whether it is up.
    pub const fn link_is_up(&self) -> bool {
        self.status & LINK_UP != 0
    }

    /// Asks Linux to tell the neighbours of its addresses; `false`: it does not do that, or has not yet
    /// done so since it was asked last.
    pub fn announce(&mut self, shared: &Shared) -> bool {
        let able = self.transport.has_feature(F_GUEST_ANNOUNCE) && self.status & ANNOUNCE == 0;
        if able {
            self.set_status(shared, self.status | ANNOUNCE);
        }
        able
    }

    /// Whether Linux was asked and has not answered.
    pub const fn announcing(&self) -> bool {
        self.status & ANNOUNCE != 0
    }

    /// Whether Linux gets a frame at all.
    pub(super) fn wants(&mut self, frame: &[u8]) -> bool {
        if !self.link_is_up() {
            self.stats.down = self.stats.down.wrapping_add(1);
            return false;
        }
        let features = self.transport.features();
        let by_address = features & (1 << F_CTRL_RX) != 0;
        let by_vlan = features & (1 << F_CTRL_VLAN) != 0;
        let wants = (!by_address || self.filter.takes(self.address, frame))
            && (!by_vlan || self.filter.takes_vlan(frame));
        if !wants {
            self.stats.filtered = self.stats.filtered.wrapping_add(1);
        }
        wants
    }
}
