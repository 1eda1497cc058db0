// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Packets of Linux's sockets, and what a service makes of them.

use crate::input::Input;
use crate::rig::{Rig, RANG, TICK};
use hvl_device::messages::Messages;
use hvl_device::stream::Stream;
use hvl_device::vsock::packet::{Header, HEADER};
use hvl_device::vsock::{App, Buffers, SocketType, Vsock, CONNECTIONS};

const GUEST: u64 = 3;
const ENTRIES: u16 = 16;
const BUFFER: u32 = 0x1000;

/// Echoes on every port, and calls back when it is told to, by turns for bytes and for messages.
struct Echo(Option<u32>);

impl App for Echo {
    fn accept(&mut self, _: usize, _: SocketType, port: u32, _: u32) -> bool {
        port != 99
    }

    fn poll(&mut self, _: usize, stream: &mut dyn Stream) -> bool {
        let bytes = stream.peek().to_vec();
        let sent = stream.send(&mut |room| {
            let count = room.len().min(bytes.len());
            room[..count].copy_from_slice(&bytes[..count]);
            count
        });
        stream.consume(sent);
        if stream.at_end() {
            stream.finish();
        }
        sent != 0
    }

    fn poll_messages(&mut self, id: usize, messages: &mut dyn Messages) -> bool {
        let mut busy = self.poll(id, messages);
        // As many as there are, if it did not do what it says.
        for _ in 0..1000 {
            let Some(end) = messages.can_end().then(|| messages.take_end()).flatten() else {
                return busy;
            };
            assert!(messages.can_end());
            messages.end(end);
            busy = true;
        }
        panic!("messages without an end");
    }

    fn closed(&mut self, _: usize) {}

    fn wants_connection(&mut self) -> Option<(SocketType, u32)> {
        let kinds = [SocketType::Stream, SocketType::Seqpacket];
        self.0.take().map(|port| (kinds[port as usize % 2], port))
    }

    fn waits(&self) -> bool {
        self.0.is_some()
    }

    fn connecting(&mut self, _: usize, _: SocketType, _: u32) {}
}

pub(crate) fn run(data: &[u8]) {
    // Some hundred KiB, the same for all inputs: what it holds means nothing.
    thread_local! {
        static BUFFERS: *mut [Buffers; CONNECTIONS] = {
            let buffers: Vec<Buffers> = (0..CONNECTIONS).map(|_| Buffers::new()).collect();
            let buffers: Box<[Buffers; CONNECTIONS]> =
                buffers.into_boxed_slice().try_into().ok().unwrap();
            Box::into_raw(buffers)
        };
    }
    // SAFETY: Never freed, and the device of the run before is gone.
    let buffers = BUFFERS.with(|buffers| unsafe { &mut **buffers });
    let mut input = Input::new(data);
    let mut rig = Rig::new(Vsock::new(GUEST, buffers));
    rig.attach(1);
    let mut rings = rig.bring_up(1 << 1, &[ENTRIES; 3]);
    let place = rig.alloc(2 * u32::from(ENTRIES) * BUFFER);
    let at = |slot: u16| place + u32::from(slot) * BUFFER;
    for slot in 0..ENTRIES {
        rings[0].add(slot, &[(at(slot), BUFFER, true)]);
    }
    let mut app = Echo(None);
    let (mut sent, mut now) = (0u16, 0u64);
    while !input.is_empty() {
        match input.byte() % 8 {
            0..=4 => {
                while rings[1].take().is_some() {}
                if sent.wrapping_sub(rings[1].used_seen) >= ENTRIES {
                    return;
                }
                let strange = input.byte();
                let (ports, len) = ((input.below(4), 7 + input.below(3)), input.byte());
                // Of either type.
                let what = u16::from(input.byte());
                let mut header = Header {
                    src_cid: GUEST,
                    dst_cid: 2,
                    src_port: ports.0,
                    dst_port: ports.1,
                    len: u32::from(len),
                    kind: 1 + what / 9 % 2,
                    op: what % 9,
                    flags: input.below(4),
                    buf_alloc: u32::from(input.half()),
                    fwd_cnt: u32::from(input.half()),
                };
                match strange {
                    0 => header.src_cid = input.wide(),
                    1 => header.dst_cid = input.wide(),
                    2 => header.kind = input.half(),
                    3 => header.flags = input.word(),
                    4 => header.buf_alloc = input.word(),
                    5 => header.fwd_cnt = input.word(),
                    6 => header.dst_port = 99,
                    _ => {}
                }
                let mut packet = header.emit().to_vec();
                packet.resize(HEADER + header.len as usize, 0x5a);
                if strange == 7 {
                    header.len = input.word();
                    packet[..HEADER].copy_from_slice(&header.emit());
                    packet.truncate(usize::from(input.byte()));
                }
                let slot = sent % ENTRIES;
                rig.mem().write_bytes(at(ENTRIES + slot), &packet);
                rings[1].add(slot, &[(at(ENTRIES + slot), packet.len() as u32, false)]);
                sent = sent.wrapping_add(1);
            }
            5 => {
                while let Some((head, _)) = rings[0].take() {
                    let head = head as u16;
                    rings[0].add(head, &[(at(head), BUFFER, true)]);
                }
            }
            6 => app.0 = Some(input.byte().into()),
            _ => {
                now += u64::from(input.half());
                let shared = *rig.link.shared();
                rig.device.poll(&shared, &mut app, now);
                assert!(rig.device.connections() <= CONNECTIONS);
                rig.pass(if input.byte() & 1 != 0 { RANG } else { TICK });
            }
        }
    }
}
