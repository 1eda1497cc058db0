// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The devices with drivers that others wrote, for bare-metal guests: what they ask of a transport
//! is done by the link, their queues are split, with indirect descriptors and event index.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that panics has failed"
)]

mod common;

use common::echo::Echo;
use common::*;
use hvl_device::blk::{Blk, Shape, SEG_MAX, SIZE_MAX};
use hvl_device::checksum;
use hvl_device::device::Device;
use hvl_device::net::{Net, Setup, FRAME_MAX, PAIRS};
use hvl_device::proto::layout::window;
use hvl_device::proto::virtio::{feature, reg};
use hvl_device::rng::{Entropy, Rng};
use hvl_device::shared::Shared;
use hvl_device::vsock::{Buffers, Vsock, CONNECTIONS};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;
use virtio_drivers::device::blk::VirtIOBlk;
use virtio_drivers::device::net::VirtIONetRaw;
use virtio_drivers::device::rng::VirtIORng;
use virtio_drivers::device::socket::{
    VirtIOSocket, VsockAddr, VsockConnectionManager, VsockEventType,
};
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

const PAGE: usize = 4096;
/// Bytes of a place for a buffer or an indirect table, and where those begin.
const PLACE: u32 = 8192;
const PLACES: u32 = SIZE / 2;

/// The region, as the driver sees it.
struct Arena {
    base: NonNull<u8>,
    region: hvl_device::mem::Region,
    /// Where the next page comes from.
    page: usize,
    places: Vec<u32>,
}

thread_local! {
    static ARENA: RefCell<Option<Arena>> = const { RefCell::new(None) };
}

fn arena<R>(f: impl FnOnce(&mut Arena) -> R) -> R {
    ARENA.with_borrow_mut(|arena| f(arena.as_mut().unwrap()))
}

/// Gives out memory of the pool, and copies buffers there and back.
struct Bounce;

// SAFETY: Pages are given out once, and lie in memory that lives as long as the test.
unsafe impl Hal for Bounce {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        arena(|arena| {
            let at = arena.page;
            arena.page += pages * PAGE;
            assert!(arena.page <= PLACES as usize);
            assert!(arena.region.write_bytes(at as u32, &vec![0; pages * PAGE]));
            // SAFETY: Inside the region.
            (BASE + at as u64, unsafe { arena.base.add(at) })
        })
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("there are no registers")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        arena(|arena| {
            assert!(buffer.len() <= PLACE as usize);
            let place = arena.places.pop().unwrap();
            // SAFETY: The caller's buffer, which nobody else has.
            let bytes = unsafe { buffer.as_ref() };
            assert!(arena.region.write_bytes(place, bytes));
            BASE + u64::from(place)
        })
    }

    unsafe fn unshare(address: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        arena(|arena| {
            let place = (address - BASE) as u32;
            if direction != BufferDirection::DriverToDevice {
                // SAFETY: The caller's buffer, which nobody else has.
                let bytes = unsafe { buffer.as_mut() };
                assert!(arena.region.read_bytes(place, bytes));
            }
            arena.places.push(place);
        });
    }
}

/// A device model at work.
trait Work: Device + Sized {
    const TYPE: DeviceType;

    fn work(&mut self, shared: &Shared);
}

/// The link as the drivers' transport.
struct Bus<D: Work> {
    rig: Rc<RefCell<Rig<D>>>,
    rung: Rc<RefCell<u32>>,
}

impl<D: Work> Bus<D> {
    fn new(device: D) -> Self {
        let mut rig = Rig::new(device);
        rig.attach(1);
        ARENA.set(Some(Arena {
            base: NonNull::new(rig.memory.base()).unwrap(),
            region: rig.memory.region,
            page: 2 * PAGE,
            places: (PLACES..SIZE).step_by(PLACE as usize).collect(),
        }));
        Self {
            rig: Rc::new(RefCell::new(rig)),
            rung: Rc::default(),
        }
    }
}

/// The device works until it would sleep.
fn work<D: Work>(rig: &mut Rig<D>) {
    for _ in 0..100 {
        rig.link.poll(RANG, &mut [&mut rig.device]);
        let shared = *rig.link.shared();
        rig.device.work(&shared);
        rig.finish();
        rig.look();
        if !rig.link.listen(&mut [&mut rig.device]) {
            return;
        }
    }
    panic!("there is no end of work");
}

impl<D: Work> Transport for Bus<D> {
    fn device_type(&self) -> DeviceType {
        D::TYPE
    }

    fn read_device_features(&mut self) -> u64 {
        self.rig.borrow_mut().offered()
    }

    fn write_driver_features(&mut self, features: u64) {
        // Where addresses are is this transport's matter.
        let features = features | feature::MANDATORY;
        self.rig.borrow_mut().set(&[
            (reg::DRIVER_FEATURES_SEL, 0),
            (reg::DRIVER_FEATURES, features as u32),
            (reg::DRIVER_FEATURES_SEL, 1),
            (reg::DRIVER_FEATURES, (features >> 32) as u32),
        ]);
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        let mut rig = self.rig.borrow_mut();
        rig.set(&[(reg::QUEUE_SEL, queue.into())]);
        rig.view(reg::QUEUE_SIZE_MAX)
    }

    fn notify(&mut self, _: u16) {
        *self.rung.borrow_mut() += 1;
        work(&mut self.rig.borrow_mut());
    }

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::from_bits_truncate(self.rig.borrow().view(reg::STATUS))
    }

    fn set_status(&mut self, status: DeviceStatus) {
        self.rig.borrow_mut().set(&[(reg::STATUS, status.bits())]);
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(&mut self, queue: u16, size: u32, desc: u64, driver: u64, device: u64) {
        self.rig.borrow_mut().set(&[
            (reg::QUEUE_SEL, queue.into()),
            (reg::QUEUE_SIZE, size),
            (reg::QUEUE_DESC_LOW, desc as u32),
            (reg::QUEUE_DESC_HIGH, (desc >> 32) as u32),
            (reg::QUEUE_DRIVER_LOW, driver as u32),
            (reg::QUEUE_DRIVER_HIGH, (driver >> 32) as u32),
            (reg::QUEUE_DEVICE_LOW, device as u32),
            (reg::QUEUE_DEVICE_HIGH, (device >> 32) as u32),
            (reg::QUEUE_READY, 1),
        ]);
    }

    fn queue_unset(&mut self, queue: u16) {
        self.rig
            .borrow_mut()
            .set(&[(reg::QUEUE_SEL, queue.into()), (reg::QUEUE_READY, 0)]);
    }

    fn queue_used(&mut self, queue: u16) -> bool {
        let mut rig = self.rig.borrow_mut();
        rig.set(&[(reg::QUEUE_SEL, queue.into())]);
        rig.view(reg::QUEUE_READY) != 0
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::QUEUE_INTERRUPT
    }

    fn read_config_generation(&self) -> u32 {
        self.rig.borrow().view(reg::CONFIG_GENERATION)
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T, Error> {
        let rig = self.rig.borrow();
        let mut value = T::new_zeroed();
        let at = rig.window + window::CONFIG + offset as u32;
        assert!(rig.mem().read_bytes(at, value.as_mut_bytes()));
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(
        &mut self,
        _: usize,
        _: T,
    ) -> Result<(), Error> {
        Err(Error::ConfigSpaceMissing)
    }
}

fn violations<D: Work>(rig: &Rc<RefCell<Rig<D>>>) -> u64 {
    let rig = rig.borrow();
    rig.device
        .transport()
        .stats()
        .map(|queue| queue.faults)
        .sum()
}

impl Work for Net {
    const TYPE: DeviceType = DeviceType::Network;

    /// Each frame goes back.
    fn work(&mut self, shared: &Shared) {
        let mut frame = vec![0; FRAME_MAX];
        let mut port = self.port(shared);
        while port.can_send() {
            let Some(len) = port.receive(&mut frame) else {
                break;
            };
            port.send(&mut frame[..len]);
        }
    }
}

/// A frame with a UDP datagram and a right checksum.
fn frame(len: usize, seed: usize) -> Vec<u8> {
    let mut frame = vec![0; 42];
    frame[12..14].copy_from_slice(&[8, 0]);
    frame[14] = 0x45;
    frame[16..18].copy_from_slice(&((28 + len) as u16).to_be_bytes());
    frame[22..24].copy_from_slice(&[64, 17]);
    frame[38..40].copy_from_slice(&((8 + len) as u16).to_be_bytes());
    frame.extend((0..len).map(|i| (i * 7 + seed) as u8));
    let place = checksum::find(&frame).unwrap();
    checksum::complete(&mut frame, &place);
    frame
}

#[test]
fn frames_go_there_and_back() {
    let one = Setup::new([2, 0, 0, 0, 0, 2], 1500, true);
    there_and_back(one);
    // For a driver that knows of one pair there is one, and no queue for control.
    there_and_back(Setup {
        pairs: PAIRS,
        speed: Some(1000),
        ..one
    });
}

fn there_and_back(setup: Setup) {
    let bus = Bus::new(Net::with(setup));
    let (rig, rung) = (Rc::clone(&bus.rig), Rc::clone(&bus.rung));
    let mut net = VirtIONetRaw::<Bounce, _, 16>::new(bus).unwrap();
    assert_eq!(net.mac_address(), [2, 0, 0, 0, 0, 2]);
    let features = rig.borrow().device.transport().features();
    let wanted = (1 << feature::INDIRECT_DESC) | (1 << feature::EVENT_IDX);
    assert_eq!(features & (wanted | 1 << feature::RING_PACKED), wanted);

    for turn in 0..5000 {
        let want = frame(turn * 13 % 1400, turn);
        let mut buffer = vec![0; 2048];
        // SAFETY: The buffer stays until it is completed below.
        let token = unsafe { net.receive_begin(&mut buffer) }.unwrap();
        net.send(&want).unwrap();
        assert_eq!(net.poll_receive(), Some(token));
        // SAFETY: The buffer that began.
        let (header, len) = unsafe { net.receive_complete(token, &mut buffer) }.unwrap();
        assert!(buffer[header..header + len] == want);
    }
    assert!(*rung.borrow() >= 5000);
    assert_eq!(violations(&rig), 0);
}

impl Work for Vsock<'static> {
    const TYPE: DeviceType = DeviceType::Socket;

    fn work(&mut self, shared: &Shared) {
        self.poll(shared, &mut Echo, 0);
    }
}

#[test]
fn bytes_go_there_and_back() {
    let buffers: Vec<Buffers> = (0..CONNECTIONS).map(|_| Buffers::new()).collect();
    let buffers: Box<[Buffers; CONNECTIONS]> = buffers.into_boxed_slice().try_into().unwrap();
    let bus = Bus::new(Vsock::new(3, Box::leak(buffers)));
    let rig = Rc::clone(&bus.rig);
    let socket = VirtIOSocket::<Bounce, _>::new(bus).unwrap();
    assert_eq!(socket.guest_cid(), 3);
    let features = rig.borrow().device.transport().features();
    let wanted = (1 << feature::INDIRECT_DESC) | (1 << feature::EVENT_IDX);
    assert_eq!(features & (wanted | 1 << feature::RING_PACKED), wanted);
    let mut manager = VsockConnectionManager::new_with_capacity(socket, 8192);
    let peer = VsockAddr { cid: 2, port: 7 };
    manager.connect(peer, 1234).unwrap();
    let event = manager.poll().unwrap().unwrap();
    assert_eq!(event.event_type, VsockEventType::Connected);

    for turn in 0..3000usize {
        let want: Vec<u8> = (0..1 + turn * 11 % 4000)
            .map(|i| (i * 3 + turn) as u8)
            .collect();
        manager.send(peer, 1234, &want).unwrap();
        let mut got: Vec<u8> = Vec::new();
        while got.len() < want.len() {
            let mut part = [0; 1024];
            let len = manager.recv(peer, 1234, &mut part).unwrap();
            got.extend(&part[..len]);
            if len == 0 {
                manager.update_credit(peer, 1234).unwrap();
                manager.poll().unwrap();
            }
        }
        assert!(got == want);
        manager.update_credit(peer, 1234).unwrap();
    }
    manager.shutdown(peer, 1234).unwrap();
    assert_eq!(violations(&rig), 0);
}

/// Bytes that are all alike, of another value each time.
struct Turns(u8);

impl Entropy for Turns {
    fn fill(&mut self, bytes: &mut [u8]) {
        self.0 += 1;
        bytes.fill(self.0);
    }
}

impl Work for Rng {
    const TYPE: DeviceType = DeviceType::EntropySource;

    fn work(&mut self, shared: &Shared) {
        self.pass(shared, &mut Turns(6));
    }
}

#[test]
fn random_numbers_come() {
    let bus = Bus::new(Rng::new());
    let rig = Rc::clone(&bus.rig);
    let mut rng = VirtIORng::<Bounce, _>::new(bus).unwrap();
    for len in [1, 64, 500] {
        let mut bytes = vec![0; len];
        assert_eq!(rng.request_entropy(&mut bytes).unwrap(), len);
        assert_eq!(bytes, vec![7; len]);
    }
    assert_eq!(violations(&rig), 0);
}

impl Work for Blk<'static> {
    const TYPE: DeviceType = DeviceType::Block;

    fn work(&mut self, shared: &Shared) {
        self.pass(shared);
    }
}

#[test]
fn blocks_go_there_and_back() {
    let disk: &'static mut [u8] = vec![0; 64 * 512].leak();
    let shape = Shape {
        block: 512,
        queues: 1,
        read_only: false,
        physical_exp: 0,
        size_max: SIZE_MAX,
        seg_max: SEG_MAX,
        serial: *b"a serial number of20",
    };
    let bus = Bus::new(Blk::new(disk, &shape));
    let rig = Rc::clone(&bus.rig);
    let mut blk = VirtIOBlk::<Bounce, _>::new(bus).unwrap();
    assert_eq!((blk.capacity(), blk.readonly()), (64, false));
    let mut id = [0; 20];
    assert_eq!(blk.device_id(&mut id), Ok(20));
    assert_eq!(&id, b"a serial number of20");
    for turn in 0..2000usize {
        let block = turn * 7 % 56;
        let want: Vec<u8> = (0..512 * (1 + turn % 8))
            .map(|i| (i * 5 + turn) as u8)
            .collect();
        blk.write_blocks(block, &want).unwrap();
        let mut got = vec![0; want.len()];
        blk.read_blocks(block, &mut got).unwrap();
        assert!(got == want);
    }
    blk.flush().unwrap();
    assert_eq!(blk.read_blocks(64, &mut [0; 512]), Err(Error::IoError));
    assert_eq!(violations(&rig), 0);
}
