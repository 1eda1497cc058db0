// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A driver that writes anything anywhere: the peer survives, touches nothing but what is its own
//! and the pool, does a bounded amount of work, and serves the next driver.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::echo::Echo;
use common::{Rig, Ring, LOOKED, RANG, SIZE, TICK};
use hvl_device::device::Device;
use hvl_device::net::{Net, FRAME_MAX};
use hvl_device::proto::layout::{link, PAGE};
use hvl_device::proto::virtio::feature;
use hvl_device::shared::{Shared, BUDGET};
use hvl_device::transport::RINGS;
use hvl_device::vsock::{Buffers, Vsock, CONNECTIONS};
use proptest::prelude::*;

/// Words that only the driver writes: in the header, and in the one window.
const DRIVERS: [core::ops::Range<u32>; 5] = [
    0x080..0x400,
    0x880..0x1000,
    0x1800..0x1940,
    0x19c0..0x1c00,
    0x1d00..0x2000,
];
/// Where the pool begins.
const POOL: u32 = 2 * PAGE;
/// Where indirect tables are.
const TABLES: u32 = SIZE - PAGE;

/// What the driver does next.
#[derive(Clone, Debug)]
enum Step {
    /// Writes a word to one of its lines.
    Line(usize, u32, u32),
    /// Writes a word to the first pages of the pool, where the queues are.
    Ring(u32, u32),
    /// Offers a chain of a queue, properly but for what it names.
    Offer(usize, u16, u64, u32, u16, u16),
    /// Writes a descriptor where indirect tables are.
    Table(u32, u64, u32, u16, u16),
    /// Lets the peer work.
    Pass(u8),
    /// Starts over, properly.
    Recover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let small = prop_oneof![0u32..20, any::<u32>()];
    let step = prop_oneof![
        2 => (0usize..5, 0u32..0x400, small.clone()).prop_map(|(a, b, c)| Step::Line(a, b, c)),
        2 => (0u32..0x1000, small).prop_map(|(a, b)| Step::Ring(a, b)),
        6 => (0usize..2, 0u16..16, prop_oneof![
                3 => (0u64..u64::from(SIZE)).prop_map(|at| common::BASE + at),
                2 => (0u64..64).prop_map(|at| common::BASE + u64::from(TABLES) + at),
                2 => (0u64..u64::from(POOL)).prop_map(|at| common::BASE + at),
                1 => any::<u64>(),
            ], prop_oneof![0u32..5000, (0u32..20).prop_map(|count| count * 16)], 0u16..9, 0u16..18)
            .prop_map(|(a, b, c, d, e, f)| Step::Offer(a, b, c, d, e, f)),
        2 => (0u32..400, prop_oneof![
                4 => (0u64..u64::from(SIZE)).prop_map(|at| common::BASE + at),
                1 => any::<u64>(),
            ], 0u32..5000, 0u16..5, 0u16..18)
            .prop_map(|(a, b, c, d, e)| Step::Table(a, b, c, d, e)),
        4 => (0u8..3).prop_map(Step::Pass),
        1 => Just(Step::Recover),
    ];
    prop::collection::vec(step, 1..120)
}

/// One pass of a device model's own work.
trait Work: Device + Sized {
    fn work(&mut self, shared: &Shared);
}

impl Work for Net {
    fn work(&mut self, shared: &Shared) {
        let mut frame = vec![0; FRAME_MAX];
        let mut port = self.port(shared);
        let mut count = 0;
        while port.can_send() {
            let Some(len) = port.receive(&mut frame) else {
                break;
            };
            port.send(&mut frame[..len.min(9000)]);
            count += 1;
        }
        assert!(count <= BUDGET);
        // And one of its own, room or not.
        port.send(&mut [0xee; 200]);
    }
}

impl Work for Vsock<'static> {
    fn work(&mut self, shared: &Shared) {
        self.poll(shared, &mut Echo, 0);
        assert!(self.connections() <= CONNECTIONS);
    }
}

fn drivers_words<D: Device>(rig: &Rig<D>) -> Vec<u32> {
    let all = DRIVERS.into_iter().flat_map(|lines| lines.step_by(4));
    all.map(|at| rig.mem().read32(at)).collect()
}

/// Brings the device up as a new driver does.
fn recover<D: Work>(rig: &mut Rig<D>, epoch: u32, sizes: &[u16], rings: u64) -> Vec<Ring> {
    rig.free_all(POOL);
    rig.attach(epoch);
    let features = rig.offered() & (!RINGS | rings);
    rig.bring_up(features, sizes)
}

/// Any set of ring features, of which the lower bits of `number` tell.
fn some_rings(number: u8) -> u64 {
    (0..64)
        .filter(|bit| RINGS & (1 << bit) != 0)
        .zip(0..8)
        .filter(|(_, position)| number & (1 << position) != 0)
        .fold(0, |rings, (bit, _)| rings | (1 << bit))
}

fn survive<D: Work>(device: D, sizes: &[u16], number: u8, steps: Vec<Step>) {
    let features = some_rings(number);
    let packed = features & (1 << feature::RING_PACKED) != 0;
    let mut rig = Rig::new(device);
    let mut epoch = 1;
    let mut rings = recover(&mut rig, epoch, sizes, features);
    for step in steps {
        match step {
            Step::Line(lines, offset, value) => {
                let lines = &DRIVERS[lines];
                let at = lines.start + (offset * 4) % (lines.end - lines.start);
                rig.mem().write32(at, value);
            }
            Step::Ring(word, value) => rig.mem().write32(POOL + word * 4, value),
            Step::Offer(queue, head, address, len, flags, next) if packed => {
                // Available in the first lap or the second: mostly in its turn.
                let ring = &mut rings[queue];
                let turn = ring.avail_index;
                ring.avail_index += u16::from(head < 12);
                let lap = if turn / ring.size % 2 == 0 {
                    1 << 7
                } else {
                    1 << 15
                };
                ring.write_desc(turn % ring.size, address, len, next, flags | lap);
            }
            Step::Offer(queue, head, address, len, flags, next) => {
                rings[queue].write_desc(head, address, len, flags, next);
                rings[queue].offer(head);
            }
            Step::Table(at, address, len, low, high) => {
                let mut bytes = [0; 16];
                bytes[..8].copy_from_slice(&address.to_le_bytes());
                bytes[8..12].copy_from_slice(&len.to_le_bytes());
                bytes[12..14].copy_from_slice(&low.to_le_bytes());
                bytes[14..].copy_from_slice(&high.to_le_bytes());
                assert!(rig.mem().write_bytes(TABLES + at, &bytes));
            }
            Step::Pass(wake) => {
                let before = drivers_words(&rig);
                let wake = [RANG, TICK, LOOKED][usize::from(wake)];
                rig.link.poll(wake, &mut [&mut rig.device]);
                let shared = *rig.link.shared();
                rig.device.work(&shared);
                rig.finish();
                rig.link.quieten(&mut [&mut rig.device]);
                rig.link.listen(&mut [&mut rig.device]);
                assert!(
                    before == drivers_words(&rig),
                    "the driver's lines were written"
                );
            }
            Step::Recover => {
                epoch += 1;
                rings = recover(&mut rig, epoch, sizes, features);
            }
        }
    }
    recover(&mut rig, epoch + 1, sizes, features);
    assert_eq!(rig.mem().read32(link::PEER_STATE), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn the_network_device_survives(number in 0u8..64, steps in steps()) {
        survive(Net::new([2, 0, 0, 0, 0, 2], 9000, true), &[16, 16], number, steps);
    }

    #[test]
    fn the_socket_device_survives(number in 0u8..64, steps in steps()) {
        let buffers: Vec<Buffers> = (0..CONNECTIONS).map(|_| Buffers::new()).collect();
        let buffers: Box<[Buffers; CONNECTIONS]> = buffers.into_boxed_slice().try_into().unwrap();
        // Leaked for the device's sake, and taken back when it is gone.
        let raw = Box::into_raw(buffers);
        // SAFETY: Made above, and nobody else has it.
        let device = Vsock::new(3, unsafe { &mut *raw });
        survive(device, &[16, 16, 16], number, steps);
        // SAFETY: `survive` has dropped the device.
        drop(unsafe { Box::from_raw(raw) });
    }
}
