// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A machine without a machine: each input is a number that the compiler cannot know.

#![expect(
    unsafe_code,
    reason = "memory from nowhere, and a function that there is not"
)]

use core::hint::black_box;
use core::panic::PanicInfo;
use hvl_device::bench::{Bench, QUEUES_USUAL, ROOM};
use hvl_device::blk::{Blk, Shape, SERIAL};
use hvl_device::console::{Console, Port, PortKind};
use hvl_device::device::{Bells, Device, Doorbell};
use hvl_device::faults::Faults;
use hvl_device::link::{Link, Params, Wake};
use hvl_device::mem::{Region, Window};
use hvl_device::messages::{End, Messages};
use hvl_device::net::{Net, Setup, FRAME_MAX};
use hvl_device::proto::{PeerState, Vector};
use hvl_device::rng::{Entropy, Rng};
use hvl_device::rpmsg::{self, Channel, Rpmsg, PAYLOAD};
use hvl_device::shared::Shared;
use hvl_device::stream::Stream;
use hvl_device::transport::Offer;
use hvl_device::vsock::{self, Buffers, SocketType, Vsock, CONNECTIONS};

extern "C" {
    /// There is none: whoever calls it cannot be linked.
    fn a_panic_can_be_reached() -> !;
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: It is never called: the program would not be there.
    unsafe { a_panic_can_be_reached() }
}

/// Anything.
fn any<T: Copy>(value: T) -> T {
    black_box(value)
}

/// Memory of somewhere.
fn memory<T>() -> &'static mut T {
    let address = core::ptr::without_provenance_mut::<T>(any(0x1000_0000));
    // SAFETY: This never runs.
    unsafe { &mut *address }
}

/// Memory of somewhere, of any length.
fn bytes() -> &'static mut [u8] {
    let address = core::ptr::without_provenance_mut::<u8>(any(0x1000_0000));
    // SAFETY: This never runs.
    unsafe { core::slice::from_raw_parts_mut(address, any(4096) & 0xff_ffff) }
}

struct Bell;

impl Doorbell for Bell {
    fn ring(&mut self) {
        let _ = black_box(&self);
    }

    fn ring_vector(&mut self, vector: Vector) -> bool {
        black_box(vector);
        any(true)
    }
}

struct Source;

impl Entropy for Source {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(any(1));
    }
}

/// Moves bytes as a service does.
fn serve(stream: &mut (impl Stream + ?Sized)) -> bool {
    let have = black_box(stream.peek()).len();
    stream.consume(any(have));
    if stream.is_heard() && stream.room() != 0 {
        stream.send(&mut |room| {
            room.fill(any(1));
            any(room.len())
        });
    }
    if stream.at_end() {
        stream.finish();
    }
    have != 0
}

struct Services;

impl vsock::App for Services {
    fn accept(&mut self, _: usize, _: SocketType, _: u32, _: u32) -> bool {
        any(true)
    }

    fn poll(&mut self, _: usize, stream: &mut dyn Stream) -> bool {
        serve(stream)
    }

    fn poll_messages(&mut self, _: usize, messages: &mut dyn Messages) -> bool {
        if messages.take_end().is_some() && messages.can_end() {
            messages.end(End { record: any(true) });
        }
        serve(messages)
    }

    fn closed(&mut self, _: usize) {}

    fn wants_connection(&mut self) -> Option<(SocketType, u32)> {
        any(Some((SocketType::Stream, 1)))
    }

    fn waits(&self) -> bool {
        any(true)
    }

    fn connecting(&mut self, _: usize, _: SocketType, _: u32) {}
}

impl rpmsg::App for Services {
    fn channels(&self) -> &'static [Channel] {
        const CHANNEL: Channel = Channel {
            name: "rpmsg-raw",
            address: 0x400,
        };
        any(&[CHANNEL])
    }

    fn is_there(&self, index: usize) -> bool {
        any(index) == 0
    }

    fn message(&mut self, _: u32, bytes: &[u8], answer: &mut [u8; PAYLOAD]) -> Option<usize> {
        for (to, from) in answer.iter_mut().zip(bytes) {
            *to = *from;
        }
        any(Some(bytes.len()))
    }
}

/// Each device.
struct All {
    net: Net,
    vsock: Vsock<'static>,
    blk: Blk<'static>,
    console: Console<'static>,
    rng: Rng,
    rpmsg: Rpmsg,
    bench: Bench,
}

impl All {
    fn new() -> Self {
        let setup = Setup {
            control: any(true),
            pairs: any(2),
            speed: any(Some(1)),
            ..Setup::new(any([2; 6]), any(1500), any(true))
        };
        let shape = Shape {
            block: any(512),
            queues: any(2),
            read_only: any(false),
            physical_exp: any(0),
            size_max: any(4096),
            seg_max: any(16),
            serial: any([0; SERIAL]),
        };
        let port = || {
            let kind = PortKind {
                terminal: any(true),
                name: any("name"),
            };
            Port::new(kind, bytes(), bytes())
        };
        Self {
            net: Net::with(setup),
            vsock: Vsock::new(any(3), memory::<[Buffers; CONNECTIONS]>()),
            blk: Blk::new(bytes(), &shape),
            console: Console::new([port(), port()], any((80, 25))),
            rng: Rng::new(),
            rpmsg: Rpmsg::new(),
            bench: Bench::new(any(QUEUES_USUAL)),
        }
    }

    fn devices(&mut self) -> [&mut dyn Device; 7] {
        [
            &mut self.net,
            &mut self.vsock,
            &mut self.blk,
            &mut self.console,
            &mut self.rng,
            &mut self.rpmsg,
            &mut self.bench,
        ]
    }

    /// What the machines do between `poll` and `finish`.
    fn pass(&mut self, shared: &Shared) {
        self.network(shared);
        black_box(self.vsock.poll(shared, &mut Services, any(1)));
        black_box(self.blk.pass(shared));
        if self.console.is_in_use() {
            black_box(self.console.receive(shared));
            for index in 0..any(2) {
                if let Some(port) = self.console.port(index) {
                    serve(port);
                }
            }
            black_box(self.console.send(shared));
            black_box(self.console.is_waiting());
        }
        black_box(self.rng.pass(shared, &mut Source));
        black_box(self.rpmsg.pass(shared, &mut Services));
        black_box(self.bench.pass(shared, memory::<[u8; ROOM]>()));
        if any(false) {
            self.net.set_link(shared, any(true));
            black_box(self.net.announce(shared));
            black_box(self.console.plug(any(1), any(true)));
            self.console.resize(shared, any((80, 25)));
        }
    }

    fn network(&mut self, shared: &Shared) {
        let frame = memory::<[u8; FRAME_MAX]>();
        black_box((self.net.take_reset(), self.net.starved()));
        black_box(self.net.pending(shared));
        let mut port = self.net.port(shared);
        while let Some(len) = port.receive(black_box(&mut *frame)) {
            let Some(frame) = frame.get_mut(..any(len)) else {
                continue;
            };
            black_box((port.can_send(), port.burst(any(1000)), port.mss()));
            match any(0) {
                0 => port.send(black_box(frame)),
                1 => port.send_segment(black_box(frame), any(1000)),
                _ => port.send_datagrams(black_box(frame), any(1000)),
            }
        }
    }
}

#[no_mangle]
extern "C" fn _start() -> ! {
    let windows: &'static [Window] = any(&[]);
    // SAFETY: This never runs.
    let region = unsafe { Region::new(core::ptr::without_provenance_mut(any(4096)), any(1 << 20)) };
    let Some(region) = region else {
        loop {
            core::hint::spin_loop();
        }
    };
    let params = Params {
        peer_base: any(4096),
        heartbeat_ms: any(100),
        polled: any(false),
        offer: any(Offer::ALL),
        bells: any(Bells::default()),
        faults: any(Faults::NONE),
    };
    let all = memory::<All>();
    // SAFETY: This never runs.
    unsafe { core::ptr::write(all, All::new()) };
    loop {
        let region = region.with_windows(windows);
        let Ok(mut link) = Link::start(region, &params, &mut all.devices()) else {
            continue;
        };
        while any(true) {
            let wake = Wake {
                doorbell: any(true),
                queues: any(true),
                tick: any(true),
                timer: any(true),
            };
            let busy = link.poll(wake, &mut all.devices());
            #[cfg(feature = "one")]
            #[expect(clippy::indexing_slicing, reason = "to be found")]
            black_box([1, 2, 3][any(2)]);
            let shared = *link.shared();
            all.pass(&shared);
            link.finish(&mut all.devices(), &mut Bell);
            if any(busy) {
                link.quieten(&mut all.devices());
            } else if !link.listen(&mut all.devices()) {
                link.count(&mut all.devices());
            }
        }
        if any(true) {
            link.stop(any(PeerState::Stopped), &mut Bell);
        }
        link.abandon(&mut all.devices());
    }
}
