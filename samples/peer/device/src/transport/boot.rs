// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What a device shows of itself when the peer boots, deliberate faults included.

#![forbid(unsafe_code)]

use super::{Offer, Transport};
use crate::faults::Faults;
use crate::proto::layout::{link, window, LINE};
use crate::proto::virtio::{device, feature};
use crate::proto::DeviceEntry;
use crate::shared::Shared;

/// Network devices: there is a control queue, which takes receive modes (VIRTIO 5.1.3). For
/// [`Faults::CONTROL`] only.
const NET_F_CTRL_VQ: u32 = 17;
const NET_F_CTRL_RX: u32 = 18;
/// What makes no sense without a control queue: receive modes, VLANs, announcements, several queues,
/// addresses, statistics, coalescing, steering. For [`Faults::NOCONTROL`] only.
const NET_NEEDS_CTRL_VQ: u64 =
    1 << 18 | 1 << 19 | 1 << 21 | 1 << 22 | 1 << 23 | 1 << 50 | 1 << 53 | 1 << 57 | 1 << 60;
/// Where max_virtqueue_pairs and mtu are in its configuration space (VIRTIO 5.1.4).
const NET_PAIRS: usize = 8;
const NET_MTU: usize = 10;
/// Bits that no network device has.
const NET_UNKNOWN: u64 = 1 << 4 | 1 << 49;

impl Transport {
    /// Fills the window and the device table's entry at the peer's boot.
    pub(crate) fn publish(
        &mut self,
        shared: &Shared,
        index: usize,
        base: u32,
        offer: Offer,
        faults: Faults,
    ) {
        self.index = index;
        self.base = base;
        self.offer = offer;
        self.faults = faults;
        if let Some((features, config, len)) = self.truth.take() {
            (self.model.features, self.config, self.config_len) = (features, config, len);
        }
        if faults.has(Faults::CONTROL) && self.model.id == device::NET {
            self.model.features |= (1 << NET_F_CTRL_VQ) | (1 << NET_F_CTRL_RX);
            self.model.queues = &[256, 256, 64];
            for queue in self.queues.iter_mut().skip(2) {
                queue.size_max = 64;
            }
        }
        if self.model.id == device::NET {
            self.lie_config(faults);
        }
        if faults.has(Faults::CONSOLE_PORTS) && self.model.id == device::CONSOLE {
            if let Some(ports) = self.config.get_mut(4..8) {
                ports.copy_from_slice(&0xffffu32.to_le_bytes());
            }
        }
        if faults.has(Faults::CONSOLE) && index == 0 {
            self.model.id = device::CONSOLE;
            self.model.features = 0;
        }
        if faults.has(Faults::IOMMU) && index == 0 {
            self.model.id = device::IOMMU;
        }
        if faults.has(Faults::BALLOON) && index == 0 {
            self.model.id = device::BALLOON;
        }
        if faults.has(Faults::NOCONTROL) && self.model.id == device::NET {
            self.model.features |= NET_NEEDS_CTRL_VQ | NET_UNKNOWN;
        }
        if faults.lies() && !faults.has(Faults::LIE_NOISE) && !faults.has(Faults::LIE_REWRITE) {
            // The lies are about split rings whose elements stand for one chain each.
            self.offer.rings &= (1 << feature::EVENT_IDX) | (1 << feature::RING_RESET);
        }
        let most = self.size_max();
        for queue in &mut self.queues {
            queue.size_max = queue.size_max.min(most);
        }
        let absurd = if faults.has(Faults::QSIZE) {
            // Nothing is wrong with that for the other kind.
            self.offer.rings &= !(1 << feature::RING_PACKED);
            Some(3)
        } else if faults.has(Faults::QSIZE0) {
            Some(0)
        } else if faults.has(Faults::QSIZEMAX) {
            Some(65535)
        } else {
            None
        };
        if let Some(size) = absurd {
            for queue in &mut self.queues {
                queue.size_max = size;
            }
        }

        self.claimed = faults.claimed(index).unwrap_or(self.model.id);
        if faults.invents() {
            self.invent();
        }

        // What Linux writes in the window stays as it is: those lines are its own.
        let ours = [
            0..window::TXN_SEQ,
            window::DONE_SEQ..window::CONFIG_EVENT + LINE,
            window::QUEUE_EVENTS..window::QUEUE_VECTORS,
        ];
        for offset in ours.into_iter().flat_map(|lines| lines.step_by(4)) {
            shared.mem.write32(base.wrapping_add(offset), 0);
        }
        self.config_generation = u32::from(faults.has(Faults::CONFIG_ODD) && index == 0);
        let config = self.config.get(..self.config_len).unwrap_or(&[]);
        for (offset, byte) in (window::CONFIG..).zip(config) {
            shared.mem.write8(base.wrapping_add(offset), *byte);
        }
        // At boot there is nothing to be answered, and nothing stale.
        self.drop_pending(shared);
        self.write(shared, window::DONE_STATUS, 0);
        self.show_view(shared);

        let mut entry = DeviceEntry {
            window: base,
            device_id: self.claimed,
            queue_count: self.model.queues.len() as u32,
            config_length: self.config_len as u32,
            vendor_id: crate::shared::VENDOR,
        };
        if index == 0 {
            if faults.has(Faults::TABLE) {
                entry.window = shared.mem.len();
            }
            if faults.has(Faults::OVERLAP) {
                entry.window = shared.mem.len().saturating_sub(crate::proto::layout::PAGE);
            }
            if faults.has(Faults::MANYQUEUES) {
                entry.queue_count = 4096;
            }
        }
        let at = link::device_entry(index);
        for (offset, word) in (at..).step_by(4).zip(entry.emit()) {
            shared.mem.write32(offset, word);
        }
        shared.mem.write32(link::device_event(index), 0);
    }

    /// Features and configuration of no device at all, for [`Faults::claiming`].
    fn invent(&mut self) {
        self.truth = Some((self.model.features, self.config, self.config_len));
        let mut noise = u64::from(self.claimed) << 8 | 1;
        let mut next = || {
            noise = noise.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            noise >> 33
        };
        self.model.features = next() & next();
        self.config_len = self.config.len();
        for byte in &mut self.config {
            // Many fields are small numbers in one that is larger.
            *byte = if next() % 2 == 0 { 0 } else { next() as u8 };
        }
    }

    /// Deliberate faults of a network device.
    fn lie_config(&mut self, faults: Faults) {
        let pairs = (self.model.queues.len() / 2) as u16;
        for (fault, at, value) in [
            (Faults::NET_PAIRS_NONE, NET_PAIRS, 0),
            (Faults::NET_PAIRS_MORE, NET_PAIRS, pairs + 1),
            (Faults::NET_PAIRS_MOST, NET_PAIRS, u16::MAX),
            (Faults::NET_MTU, NET_MTU, 60),
        ] {
            let bytes = self.config.iter_mut().skip(at).zip(value.to_le_bytes());
            for (to, from) in bytes.filter(|_| faults.has(fault)) {
                *to = from;
            }
        }
    }

    /// Most entries of any queue.
    fn size_max(&self) -> u32 {
        let size = u32::from(self.offer.size.clamp(1, 1 << 15));
        if self.offer.rings & (1 << feature::RING_PACKED) != 0 {
            size
        } else {
            // A power of two.
            1 << size.ilog2()
        }
    }
}
