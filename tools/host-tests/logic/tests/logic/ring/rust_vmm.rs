// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Split rings against the device side that Rust's virtual machine monitors share.

use super::memory::BASE;
use super::others::{bytes, Other, Talk, World};
use hvl_logic::algo::ring::{Layout, Memory};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;
use std::io::Write;
use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;
use virtio_queue::{DescriptorChain, Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

type Guest = GuestMemoryMmap<()>;

/// Guest memory from [`BASE`] on.
#[derive(Debug)]
struct Machine(Arc<Guest>);

fn address(at: u32) -> GuestAddress {
    GuestAddress(BASE + u64::from(at))
}

impl Memory for Machine {
    fn read16(&self, at: u32) -> u16 {
        u16::from_le(self.0.load(address(at), Ordering::Relaxed).unwrap())
    }

    fn read32(&self, at: u32) -> u32 {
        u32::from_le(self.0.load(address(at), Ordering::Relaxed).unwrap())
    }

    fn write16(&self, at: u32, value: u16) {
        let result = self.0.store(value.to_le(), address(at), Ordering::Relaxed);
        result.unwrap();
    }

    fn write32(&self, at: u32, value: u32) {
        let result = self.0.store(value.to_le(), address(at), Ordering::Relaxed);
        result.unwrap();
    }

    fn write_barrier(&self) {
        fence(Ordering::Release);
    }

    fn read_barrier(&self) {
        fence(Ordering::Acquire);
    }

    fn full_barrier(&self) {
        fence(Ordering::SeqCst);
    }
}

impl World for Machine {
    fn load(&self, at: u32, to: &mut [u8]) {
        self.0.read_slice(to, address(at)).unwrap();
    }

    fn store(&self, at: u32, from: &[u8]) {
        self.0.write_slice(from, address(at)).unwrap();
    }
}

struct Device {
    queue: Queue,
    held: BTreeMap<u16, DescriptorChain<Arc<Guest>>>,
}

impl Device {
    fn new(layout: &Layout, event_idx: bool, machine: &Machine) -> Self {
        let mut queue = Queue::new(layout.size()).unwrap();
        let halves = |at| {
            let GuestAddress(address) = address(at);
            (Some(address as u32), Some((address >> 32) as u32))
        };
        let (low, high) = halves(layout.descriptors());
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(layout.driver());
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(layout.device());
        queue.set_used_ring_address(low, high);
        queue.set_event_idx(event_idx);
        queue.set_ready(true);
        assert!(queue.is_valid(&*machine.0));
        Self {
            queue,
            held: BTreeMap::new(),
        }
    }
}

impl Other<Machine> for Device {
    fn pop(&mut self, machine: &Machine) -> Option<(u16, Vec<u8>, u32)> {
        let chain = self.queue.pop_descriptor_chain(Arc::clone(&machine.0))?;
        let mut question = Vec::new();
        let mut reader = chain.clone().reader(&*machine.0).unwrap();
        reader.read_to_end(&mut question).unwrap();
        let room = chain.clone().writer(&*machine.0).unwrap().available_bytes();
        let id = chain.head_index();
        let other = self.held.insert(id, chain);
        assert!(other.is_none(), "id {id} is there twice");
        Some((id, question, room as u32))
    }

    fn give(&mut self, machine: &Machine, id: u16, bytes: &[u8]) {
        let chain = self.held.remove(&id).unwrap();
        let mut writer = chain.writer(&*machine.0).unwrap();
        writer.write_all(bytes).unwrap();
        self.queue
            .add_used(&*machine.0, id, bytes.len() as u32)
            .unwrap();
    }

    fn wants(&mut self, machine: &Machine) -> bool {
        self.queue.needs_notification(&*machine.0).unwrap()
    }

    fn listen(&mut self, machine: &Machine) -> bool {
        self.queue.enable_notification(&*machine.0).unwrap()
    }

    fn quieten(&mut self, machine: &Machine) {
        self.queue.disable_notification(&*machine.0).unwrap();
    }
}

fn run(number: u8, size: u16, table: u16, seed: u64, chains: u64) {
    let layout = Layout::new(size, false, table).unwrap();
    let ranges = [(address(0), bytes(&layout) as usize)];
    let machine = Machine(Arc::new(Guest::from_ranges(&ranges).unwrap()));
    let event_idx = number & 8 != 0;
    let new = |machine: &Machine| Device::new(&layout, event_idx, machine);
    Talk::new(layout, number, BASE, machine, seed, new).run(chains);
}

proptest! {
    #[test]
    fn any_talk(
        bits in 0u8..16,
        entries in 0u32..7,
        table in 0u16..10,
        seed in any::<u64>(),
        chains in 1u64..1000,
    ) {
        run(bits << 1, 1 << entries, table, seed, chains);
    }
}

#[test]
fn longer_than_the_indices() {
    for bits in 0..8 {
        run(bits << 1, 64, 8, 1, 70_000);
    }
}
