// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between processors: what the peer sends, on its way to a driver that believes it; and what Linux sends,
//! in chains of any shape.

use crate::input::Input;
use crate::rig::{Buffer, Rig};
use hvl_device::rpmsg::{App, Channel, Rpmsg, PAYLOAD};
use hvl_logic::algo::rpmsg::{self, Channels, CHANNELS, HEADER, MESSAGE_MAX};
use std::collections::BTreeSet;

/// Where names are announced to, and the bytes of that.
const NAMES: u32 = 53;
const ANNOUNCEMENT: usize = 40;

/// What got through, beside a plain model of it.
pub(crate) fn names(data: &[u8]) {
    let mut input = Input::new(data);
    let mut channels = Channels::new(vec![rpmsg::Channel::NONE; CHANNELS]);
    let mut known = BTreeSet::new();
    let (mut now, mut times) = (0u64, Vec::new());
    while !input.is_empty() {
        let how = input.byte();
        if how == 0xff {
            channels.reset();
            known.clear();
            continue;
        }
        now += u64::from(how >> 4) * 100;
        let mut message = [0; MESSAGE_MAX];
        let to = if how & 1 == 0 { NAMES } else { input.word() };
        let said = match how & 6 {
            0 => input.half(),
            _ => ANNOUNCEMENT as u16,
        };
        message[4..8].copy_from_slice(&to.to_le_bytes());
        message[12..14].copy_from_slice(&said.to_le_bytes());
        let count = usize::from(input.byte()) % (ANNOUNCEMENT + 1);
        let bytes = input.bytes(count);
        message[HEADER..HEADER + bytes.len()].copy_from_slice(bytes);
        // Few addresses and flags, so that names come and go.
        if how & 8 != 0 {
            message[HEADER + 32..].fill(0);
            message[HEADER + 32] = input.byte() & 3;
            message[HEADER + 36] = input.byte() & 1;
        }
        let len = match input.byte() {
            0 => u32::from(input.half()),
            _ => MESSAGE_MAX as u32,
        };
        let verdict = channels.judge(&message, len, now);
        if let Err(wrong) = verdict {
            drop(wrong.to_string());
        } else {
            assert!(u32::from(said) + HEADER as u32 <= len.max(HEADER as u32));
            if to == NAMES {
                assert_eq!(usize::from(said), ANNOUNCEMENT);
                let name = &message[HEADER..HEADER + 32];
                let end = name.iter().position(|byte| *byte == 0).expect("an end");
                let name = &name[..end];
                assert!(!name.is_empty());
                assert!(name.iter().all(|byte| (b' '..=b'~').contains(byte)));
                assert!(!name.contains(&b'/'));
                let address = &message[HEADER + 32..HEADER + 36];
                assert_ne!(address, [0xff; 4]);
                let channel = (name.to_vec(), address.to_vec());
                if message[HEADER + 36] & 1 != 0 {
                    known.remove(&channel);
                } else {
                    known.insert(channel);
                }
                times.push(now);
                let minute = times.iter().filter(|time| now - **time < 60_000);
                assert!(minute.count() <= 256, "lines of the log without an end");
            }
        }
        assert_eq!(channels.count(), known.len());
        assert!(known.len() <= CHANNELS);
    }
}

/// Answers with what it got, or with some bytes.
struct Answers;

const OURS: &[Channel] = &[
    Channel {
        name: "echo",
        address: 0x400,
    },
    Channel {
        name: "fixed",
        address: 0x401,
    },
];

impl App for Answers {
    fn channels(&self) -> &'static [Channel] {
        OURS
    }

    fn message(&mut self, to: u32, bytes: &[u8], answer: &mut [u8; PAYLOAD]) -> Option<usize> {
        answer[..bytes.len()].copy_from_slice(bytes);
        Self::answers(to, bytes.len())
    }
}

impl Answers {
    /// How many bytes come back, if any do.
    fn answers(to: u32, len: usize) -> Option<usize> {
        match to {
            0x400 => Some(len),
            0x401 => (len != 0).then_some(PAYLOAD),
            _ => None,
        }
    }
}

const ENTRIES: u16 = 8;
const BUFFER: u32 = 512;

/// What Linux sends: each chain comes back, and as much is answered as there is to answer.
pub(crate) fn served(data: &[u8]) {
    let mut input = Input::new(data);
    let mut rig = Rig::new(Rpmsg::new());
    rig.attach(1);
    let features = u64::from(input.word()) & rig.offered() & 0x0fff_ffff;
    let mut rings = rig.bring_up(features, &[ENTRIES; 2]);
    let at = rig.alloc((u32::from(ENTRIES) + 2) * BUFFER);
    let sent = at + u32::from(ENTRIES) * BUFFER;
    let mut free: Vec<u16> = (0..ENTRIES).collect();
    let mut rooms = [0; ENTRIES as usize];
    while !input.is_empty() {
        // Room for some answers, of any size.
        let room = BUFFER.min(u32::from(input.half()) % (BUFFER + 64));
        if let Some(slot) = free.pop_if(|_| room != 0) {
            rooms[usize::from(slot)] = room;
            rings[0].add(slot, &[(at + u32::from(slot) * BUFFER, room, true)]);
        }
        let to = 0x400 + u32::from(input.byte() % 3);
        let said = u32::from(input.half()) % 1024;
        let mut bytes = Vec::new();
        for word in [0x500, to, 0, said] {
            bytes.extend(word.to_le_bytes());
        }
        let count = usize::from(input.half()) % 600;
        bytes.extend(input.bytes(count));
        bytes.truncate(usize::from(input.half()) % (2 * BUFFER as usize) + 1);
        assert!(rig.mem().write_bytes(sent, &bytes));
        let (len, cut) = (bytes.len() as u32, u32::from(input.byte()));
        let cut = cut.min(len);
        let pieces: [Buffer; 2] = [(sent, cut, false), (sent + cut, len - cut, false)];
        let pieces: Vec<Buffer> = pieces.into_iter().filter(|piece| piece.1 != 0).collect();
        rings[1].add(0, &pieces);
        let shared = *rig.link.shared();
        rig.device.pass(&shared, &mut Answers);
        rig.finish();
        // It waits for as long as there is no room for an answer.
        let done = rings[1].take();
        while let Some((slot, len)) = rings[0].take() {
            assert!(len <= rooms[slot as usize], "{len} bytes in buffer {slot}");
            free.push(slot as u16);
            if len >= HEADER as u32 {
                let mut header = [0; HEADER];
                let place = at + slot * BUFFER;
                assert!(rig.mem().read_bytes(place, &mut header));
                assert_eq!(
                    u32::from(u16::from_le_bytes([header[12], header[13]])),
                    len - HEADER as u32
                );
            }
        }
        if done.is_none() {
            return;
        }
    }
}
