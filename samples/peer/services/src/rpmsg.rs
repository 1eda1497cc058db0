// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The services for messages between processors: channels that echo, and one that has another come and go.

use hvl_device::rpmsg::{App, Channel, PAYLOAD};

/// The names are those that drivers of Linux's look for: its sample, which sends a hundred messages; `rpmsg_char`,
/// which makes `/dev/rpmsg0` and the like; `rpmsg_tty`, which makes `/dev/ttyRPMSG0`.
const CHANNELS: [Channel; 4] = [
    Channel {
        name: "rpmsg-client-sample",
        address: 0x400,
    },
    Channel {
        name: "rpmsg-raw",
        address: 0x401,
    },
    Channel {
        name: "rpmsg-raw",
        address: CONTROL,
    },
    Channel {
        name: "rpmsg-tty",
        address: 0x403,
    },
];
/// Here `hide` has the first channel go, and `show` has it come again.
const CONTROL: u32 = 0x402;

/// The services of one device.
#[derive(Clone, Copy, Debug, Default)]
pub struct RpmsgServices {
    /// There is no first channel.
    hidden: bool,
}

impl App for RpmsgServices {
    fn channels(&self) -> &'static [Channel] {
        &CHANNELS
    }

    fn is_there(&self, index: usize) -> bool {
        index != 0 || !self.hidden
    }

    fn message(&mut self, to: u32, bytes: &[u8], answer: &mut [u8; PAYLOAD]) -> Option<usize> {
        let bytes = match bytes.trim_ascii_end() {
            _ if to != CONTROL => bytes,
            wish @ (b"hide" | b"show") => {
                self.hidden = wish == b"hide";
                b"ok\n"
            }
            _ => b"say: hide, or show\n",
        };
        for (to, from) in answer.iter_mut().zip(bytes) {
            *to = *from;
        }
        Some(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::indexing_slicing, reason = "a test that panics has failed")]

    use super::*;

    #[test]
    fn what_is_said_comes_back_and_a_channel_comes_and_goes() {
        let mut services = RpmsgServices::default();
        let mut answer = [0; PAYLOAD];
        let names: Vec<_> = services
            .channels()
            .iter()
            .map(|channel| (channel.address, channel.name))
            .collect();
        assert_eq!(names[0], (0x400, "rpmsg-client-sample"));
        for (to, said, want, there) in [
            (0x401, &b"hide"[..], &b"hide"[..], true),
            (CONTROL, b"hide\n", b"ok\n", false),
            (CONTROL, b"hide", b"ok\n", false),
            (CONTROL, b"hi", b"say: hide, or show\n", false),
            (0x400, b"show", b"show", false),
            (CONTROL, b"show", b"ok\n", true),
            (0x403, &[7; PAYLOAD], &[7; PAYLOAD], true),
        ] {
            let len = services.message(to, said, &mut answer);
            assert_eq!(len.map(|len| &answer[..len]), Some(want));
            assert_eq!(services.is_there(0), there);
            assert!((1..names.len()).all(|index| services.is_there(index)));
        }
    }
}
