// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Messages between processors, on their way to a driver that believes them.

use hvl_logic::algo::rpmsg::{Channel, Channels, Wrong, CHANNELS, HEADER, MESSAGE_MAX, NOTHING};
use proptest::prelude::*;

const NAMES: u32 = 53;
const ANNOUNCED: u32 = HEADER as u32 + 40;
const GONE: u32 = 1;

fn channels() -> Channels<Vec<Channel>> {
    Channels::new(vec![Channel::NONE; CHANNELS])
}

/// A message to `to` that says that it has `said` bytes; what follows the header is `rest`.
fn message(to: u32, said: u32, rest: &[u8]) -> [u8; MESSAGE_MAX] {
    let mut bytes = [0; MESSAGE_MAX];
    let header = [0x400, to, 0, said].map(u32::to_le_bytes).concat();
    let all = header.iter().chain(rest);
    for (to, from) in bytes.iter_mut().zip(all) {
        *to = *from;
    }
    bytes
}

fn announcement(name: &[u8], address: u32, flags: u32) -> [u8; MESSAGE_MAX] {
    let mut rest = [0; 40];
    rest[..name.len()].copy_from_slice(name);
    rest[32..36].copy_from_slice(&address.to_le_bytes());
    rest[36..].copy_from_slice(&flags.to_le_bytes());
    message(NAMES, 40, &rest)
}

/// What is said to each announcement, one in ten seconds.
fn judged(
    channels: &mut Channels<Vec<Channel>>,
    said: &[(&[u8], u32, u32)],
) -> Vec<Result<(), Wrong>> {
    let each = said.iter().zip(1..);
    each.map(|(&(name, address, flags), at)| {
        channels.judge(&announcement(name, address, flags), ANNOUNCED, at * 10_000)
    })
    .collect()
}

#[test]
fn what_an_honest_device_says() {
    let mut channels = channels();
    let longest = [b'x'; 31];
    let said: [(&[u8], u32, u32); 9] = [
        (b"rpmsg-raw", 0x400, 0),
        (b"rpmsg-raw", 0x401, 0),
        (&longest, 0, 0),
        (b"with a space", 53, 0),
        // Twice, and what there is not: the driver says so.
        (b"rpmsg-raw", 0x400, 0),
        (b"rpmsg-raw", 0x402, GONE),
        (b"another", 0x400, GONE),
        // Flags of a later version.
        (b"rpmsg-raw", 0x400, !0),
        (b"tty", 0xffff_fffe, !1),
    ];
    assert!(judged(&mut channels, &said).iter().all(Result::is_ok));
    assert_eq!(channels.count(), 4);
    // What lies behind the end of a name is none of it.
    assert_eq!(
        judged(&mut channels, &[(b"tty\0\n\xff", 0xffff_fffe, GONE)]),
        [Ok(())]
    );
    assert_eq!(channels.count(), 3);
    channels.reset();
    assert_eq!(channels.count(), 0);
    // Messages to anybody else may have anything in them.
    for len in [0, 1, 40, 496] {
        assert_eq!(
            channels.judge(&message(0x400, len, &[0xff; 40]), 16 + len, 0),
            Ok(())
        );
        assert_eq!(channels.judge(&message(!0, len, &[]), 512, 0), Ok(()));
    }
    // Flags of a message stand behind its length.
    assert_eq!(channels.judge(&message(1, 0xffff_0004, &[]), 20, 0), Ok(()));
    assert_eq!(channels.count(), 0);
}

#[test]
fn what_is_wrong_with_a_message() {
    let cases = [
        (message(0x400, 1, &[]), 16, Wrong::Length(1, 0)),
        (message(0x400, 497, &[]), 512, Wrong::Length(497, 496)),
        (message(NAMES, 40, b"raw"), 55, Wrong::Length(40, 39)),
        // Less than a header does not come here, and is as little as none.
        (message(0x400, 0xffff, &[]), 14, Wrong::Length(0xffff, 0)),
        (message(NAMES, 39, b"raw"), 512, Wrong::Size(39)),
        (message(NAMES, 0, b"raw"), 512, Wrong::Size(0)),
        (message(NAMES, 41, b"raw"), 512, Wrong::Size(41)),
        (announcement(&[b'x'; 32], 1, 0), 56, Wrong::Endless),
        (announcement(b"", 1, 0), 56, Wrong::Empty),
        (announcement(b"\0hidden", 1, 0), 56, Wrong::Empty),
        (announcement(b"a/b", 1, 0), 56, Wrong::Byte(b'/')),
        (announcement(b"a\nb", 1, 0), 56, Wrong::Byte(b'\n')),
        (announcement(b"a\x7f", 1, 0), 56, Wrong::Byte(0x7f)),
        (announcement(b"\xc3\xa4", 1, 0), 56, Wrong::Byte(0xc3)),
        (announcement(b"raw", !0, 0), 56, Wrong::Address),
        // The driver would look for a channel of that name with any address.
        (announcement(b"raw", !0, GONE), 56, Wrong::Address),
    ];
    for (message, len, want) in cases {
        let mut channels = channels();
        assert_eq!(channels.judge(&message, len, 0), Err(want));
        assert_eq!(channels.count(), 0);
        assert!(want.to_string().contains("must "));
    }
    // What is put in the place of one is for nobody, and has nothing in it.
    let mut nothing = [0; MESSAGE_MAX];
    nothing[..HEADER].copy_from_slice(&NOTHING);
    assert_eq!(channels().judge(&nothing, 16, 0), Ok(()));
    assert_eq!(nothing[4..8], [0xff; 4]);
}

#[test]
fn there_is_an_end_to_channels() {
    let mut channels = channels();
    let mut now = 0;
    let mut say = |address: u32, flags: u32| {
        now += 1000;
        channels.judge(&announcement(b"many", address, flags), ANNOUNCED, now)
    };
    assert!((0..64).all(|address| say(address, 0).is_ok()));
    assert_eq!(say(64, 0), Err(Wrong::Channels));
    // One that there is already is not one more, and where one went another one may come.
    assert_eq!([say(63, 0), say(7, GONE), say(64, 0)], [Ok(()); 3]);
    assert_eq!(say(7, 0), Err(Wrong::Channels));
    assert_eq!(
        Wrong::Channels.to_string(),
        "more than 64 channels are announced at a time"
    );
}

#[test]
fn there_is_an_end_to_announcements() {
    let mut channels = channels();
    let mut say = |flags: u32, now| channels.judge(&announcement(b"one", 1, flags), ANNOUNCED, now);
    assert!((0..128).all(|at| say(at & 1, 5).is_ok()));
    assert_eq!(say(0, 67_499), Err(Wrong::Often));
    assert_eq!(say(0, 67_500), Ok(()));
    assert_eq!(
        Wrong::Often.to_string(),
        "more than 128 names of channels are announced in 60 s"
    );
    // Messages are not counted.
    let mut channels = self::channels();
    assert!((0..1000).all(|_| channels.judge(&message(0x400, 1, &[]), 17, 5).is_ok()));
}

proptest! {
    /// The books are those of a driver that does what it is told.
    #[test]
    fn any_messages(
        steps in prop::collection::vec(
            (
                prop_oneof![9 => Just(NAMES), 1 => any::<u32>()],
                prop_oneof![9 => Just(40u32), 1 => 0u32..512],
                prop_oneof![9 => Just(512u32), 1 => 0u32..=512],
                prop_oneof![8 => "[a-c]{1,2}", 1 => "[ -~\n]{0,32}"],
                prop_oneof![8 => 0u32..40, 1 => any::<u32>()],
                any::<u32>(),
                0u64..2000,
            ), 0..300)
    ) {
        let mut channels = channels();
        let mut driver: Vec<(String, u32)> = Vec::new();
        let mut now = 0;
        for (to, said, len, name, address, flags, after) in steps {
            now += after;
            let mut bytes = announcement(name.as_bytes(), address, flags);
            bytes[4..8].copy_from_slice(&to.to_le_bytes());
            bytes[12..16].copy_from_slice(&said.to_le_bytes());
            let verdict = channels.judge(&bytes, len, now);
            prop_assert_eq!(said > len.saturating_sub(16), matches!(verdict, Err(Wrong::Length(..))));
            if verdict.is_err() || to != NAMES {
                continue;
            }
            prop_assert_eq!(said, 40);
            prop_assert!(!name.is_empty() && name.len() < 32 && address != u32::MAX);
            prop_assert!(name.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b'/'));
            driver.retain(|channel| *channel != (name.clone(), address));
            if flags & GONE == 0 {
                driver.push((name, address));
            }
            prop_assert_eq!(channels.count(), driver.len());
            prop_assert!(driver.len() <= CHANNELS);
        }
    }
}
