// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Frames of Linux's to the network services: the guard before them, smoltcp, the services.

use crate::input::Input;
use crate::rig::{Rig, RANG, TICK};
use hvl_device::net::Net;
use hvl_services::report::{Sums, Text};
use hvl_services::session::{Clock, Env};
use hvl_services::stack::{Addresses, Books, Frames, Memory, Stack};
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, Icmpv6Packet, IpProtocol, Ipv4Packet, Ipv6Address, Ipv6Packet,
    TcpPacket,
};

const ENTRIES: u16 = 16;
const BUFFER: u32 = 2048;
const HEADER: usize = 12;
const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const LINUX: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A time, in milliseconds.
#[derive(Debug)]
struct At(u64);

impl Clock for At {
    fn micros(&self) -> u64 {
        1000 * self.0
    }
}

/// Made anew for each input; some MiB of zeros.
struct Room {
    memory: *mut Memory,
    books: *mut Books,
}

impl Room {
    fn new() -> Self {
        let layout = std::alloc::Layout::new::<Memory>();
        // SAFETY: It has a size. All its fields are bytes, of which any are right.
        let memory = unsafe { std::alloc::alloc_zeroed(layout) }.cast::<Memory>();
        assert!(!memory.is_null());
        Self {
            memory,
            books: Box::into_raw(Box::new(Books::new())),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: Both were made by `new`, and whoever used them is gone.
        unsafe {
            drop(Box::from_raw(self.memory));
            drop(Box::from_raw(self.books));
        }
    }
}

/// Gives a frame the headers that let it get further: addresses, versions, lengths.
fn dress(frame: &mut [u8], how: u8) {
    if how & 1 != 0 && frame.len() >= 14 {
        let mut ethernet = EthernetFrame::new_unchecked(&mut *frame);
        ethernet.set_src_addr(EthernetAddress(LINUX));
        ethernet.set_dst_addr(EthernetAddress(if how & 16 != 0 { [0xff; 6] } else { OWN }));
    }
    if how & 2 != 0 && frame.len() >= 54 {
        frame[12..14].copy_from_slice(&[8, 0]);
        let len = (frame.len() - 14) as u16;
        let mut ip = Ipv4Packet::new_unchecked(&mut frame[14..]);
        ip.set_version(4);
        ip.set_header_len(20);
        ip.set_total_len(len);
        ip.clear_flags();
        ip.set_frag_offset(0);
        ip.set_src_addr([10, 77, 0, 2].into());
        ip.set_dst_addr([10, 77, 0, 1].into());
        if how & 4 != 0 {
            ip.set_next_header(IpProtocol::Tcp);
            let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
            tcp.set_dst_port([7, 5201, 19, 80][usize::from(how >> 6)]);
            tcp.set_src_port(5000);
            if how & 8 != 0 {
                tcp.set_header_len(20);
            }
        }
        ip.fill_checksum();
    } else if how & 4 != 0 && frame.len() >= 74 {
        dress6(frame, how);
    }
}

/// The same for IPv6.
fn dress6(frame: &mut [u8], how: u8) {
    let linux = Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 2);
    let peer = if how & 8 != 0 {
        Ipv6Address::new(0xfe80, 0, 0, 0, 0, 0xff, 0xfe00, 1)
    } else {
        Ipv6Address::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 1)
    };
    frame[12..14].copy_from_slice(&[0x86, 0xdd]);
    let len = (frame.len() - 54) as u16;
    let mut ip = Ipv6Packet::new_unchecked(&mut frame[14..]);
    ip.set_version(6);
    ip.set_payload_len(len);
    ip.set_src_addr(linux);
    ip.set_dst_addr(peer);
    match how >> 6 {
        0 => {
            ip.set_next_header(IpProtocol::Tcp);
            let mut tcp = TcpPacket::new_unchecked(ip.payload_mut());
            tcp.set_dst_port(7);
            tcp.set_header_len(20);
        }
        1 => ip.set_next_header(IpProtocol::Udp),
        2 => {
            ip.set_next_header(IpProtocol::Icmpv6);
            ip.set_hop_limit(255);
            let mut icmp = Icmpv6Packet::new_unchecked(ip.payload_mut());
            icmp.fill_checksum(&linux, &peer);
        }
        _ => {}
    }
}

pub(crate) fn run(data: &[u8]) {
    let room = Room::new();
    let mut input = Input::new(data);
    let mut rig = Rig::new(Net::new(LINUX, 1500, true));
    rig.attach(1);
    // Buffers that are merged.
    let mut rings = rig.bring_up(1 << 15, &[ENTRIES, ENTRIES]);
    let place = rig.alloc(2 * u32::from(ENTRIES) * BUFFER);
    let at = |slot: u16| place + u32::from(slot) * BUFFER;
    for slot in 0..ENTRIES {
        rings[0].add(slot, &[(at(slot), BUFFER, true)]);
    }
    let addresses = Addresses {
        own_mac: OWN,
        linux_mac: LINUX,
        own: [10, 77, 0, 1],
        prefix: 24,
        linux: [10, 77, 0, 2],
        own6: None,
        mtu: 1500,
    };
    // SAFETY: Both live until `room` is dropped, which was made before the stack.
    let (memory, books) = unsafe { (&mut *room.memory, &mut *room.books) };
    let mut stack = Stack::new(&addresses, 1, memory, books);
    let mut frames = Box::new(Frames::new());
    let (mut text, mut sums) = (Box::new(Text::new()), Sums::new());
    let (mut sent, mut now) = (0u16, 0u64);
    // What the peer has said last on a connection.
    let (mut theirs, mut acked) = (0u32, 0u32);
    let mut steps = 0;
    while !input.is_empty() && steps < 200 {
        steps += 1;
        let how = input.byte();
        let len = usize::from(input.half()) % 1514;
        let mut frame = input.bytes(len).to_vec();
        if how & 32 != 0 && frame.len() >= 54 {
            // Goes on where the peer was.
            let mut tcp = TcpPacket::new_unchecked(&mut frame[34..]);
            tcp.set_ack_number(smoltcp::wire::TcpSeqNumber(theirs as i32));
            tcp.set_seq_number(smoltcp::wire::TcpSeqNumber(acked as i32));
        }
        dress(&mut frame, how);
        while rings[1].take().is_some() {}
        if sent.wrapping_sub(rings[1].used_seen) < ENTRIES {
            let slot = sent % ENTRIES;
            // Its checksum is not complete, so that nobody looks at it.
            let mut bytes = vec![0; HEADER];
            bytes[0] = 1;
            bytes.extend(&frame);
            rig.mem().write_bytes(at(ENTRIES + slot), &bytes);
            rings[1].add(slot, &[(at(ENTRIES + slot), bytes.len() as u32, false)]);
            sent = sent.wrapping_add(1);
        }
        now += u64::from(input.byte()) << (how & 7);
        let shared = *rig.link.shared();
        let mut wanted = false;
        stack.pass(
            &mut rig.device,
            &shared,
            &mut frames,
            &mut Env {
                now,
                clock: &At(now),
                snapshot: None,
                snapshot_wanted: &mut wanted,
                sums: &mut sums,
                text: &mut text,
                wish: &mut None,
            },
        );
        rig.pass(if how & 128 != 0 { TICK } else { RANG });
        while let Some((head, len)) = rings[0].take() {
            let head = head as u16;
            let mut bytes = vec![0; len as usize];
            rig.mem().read_bytes(at(head), &mut bytes);
            if bytes.len() >= HEADER + 54 && bytes[HEADER + 23] == 6 {
                let tcp = TcpPacket::new_unchecked(&bytes[HEADER + 34..]);
                theirs = (tcp.seq_number() + 1).0 as u32;
                acked = tcp.ack_number().0 as u32;
            }
            rings[0].add(head, &[(at(head), BUFFER, true)]);
        }
    }
    drop(stack);
}
