// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The network device as smoltcp sees it.

use crate::dhcp::{self, Server};
use crate::guard::{For, Guard, Key};
use crate::hold::Hold;
use hvl_device::net::{Port, FRAME_MAX};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetAddress;

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

/// Private copies of the frames at hand.
#[derive(Debug)]
pub struct Frames {
    rx: [u8; FRAME_MAX],
    tx: [u8; FRAME_MAX],
}

impl Frames {
    /// Room for one frame each way, all zero so that it costs nothing in a program's image.
    pub const fn new() -> Self {
        Self {
            rx: [0; FRAME_MAX],
            tx: [0; FRAME_MAX],
        }
    }
}

impl Default for Frames {
    fn default() -> Self {
        Self::new()
    }
}

/// The frames of one pass.
pub(crate) struct Phy<'a, 'p> {
    pub(crate) port: &'a mut Port<'p>,
    pub(crate) frames: &'a mut Frames,
    pub(crate) guard: &'a mut Guard,
    pub(crate) dhcp: &'a mut Server,
    pub(crate) mac: EthernetAddress,
    /// Milliseconds since boot.
    pub(crate) now: u64,
    /// A frame came that may be for a socket, or that one waits for.
    pub(crate) for_sockets: bool,
    /// Length of the frame that the stack is shown next.
    pub(crate) staged: Option<usize>,
}

impl Phy<'_, '_> {
    /// Takes the next frame that the stack may see; `false` if there is none, or no room for an answer.
    pub(crate) fn stage(&mut self) -> bool {
        self.staged = self.next();
        self.staged.is_some()
    }

    /// Takes a SYN that does not have to wait any more in place of the next frame; `None` if there is none, or
    /// no room for an answer.
    pub(crate) fn restage(
        &mut self,
        hold: &mut Hold,
        has_room: impl Fn(u16) -> bool,
    ) -> Option<Key> {
        if hold.due().is_none() || !self.port.can_send() {
            return None;
        }
        let (len, key) = hold.take(self.now, has_room, &mut self.frames.rx)?;
        self.for_sockets = true;
        self.staged = Some(len);
        Some(key)
    }

    /// Has the frame at hand, which asks for `key`, wait; `false` if it cannot.
    pub(crate) fn keep(&mut self, hold: &mut Hold, key: Key) -> bool {
        let frame = self.staged.and_then(|len| self.frames.rx.get(..len));
        frame.is_some_and(|frame| hold.keep(key, frame, self.now))
    }

    fn next(&mut self) -> Option<usize> {
        loop {
            // A frame may have to be answered.
            if !self.port.can_send() {
                return None;
            }
            // The port's budget bounds this.
            let len = self.port.receive(&mut self.frames.rx)?;
            let frame = self.frames.rx.get_mut(..len)?;
            match self.guard.admit(frame) {
                None => {}
                Some(For::Dhcp) => {
                    let (now, mac) = (self.now, self.mac);
                    let packet = frame.get(ETHERNET..)?;
                    let answer = self.dhcp.serve(now, mac, packet, &mut self.frames.tx);
                    if let Some(answer) = answer.and_then(|len| self.frames.tx.get_mut(..len)) {
                        self.port.send(answer);
                    }
                }
                Some(receiver) => {
                    self.for_sockets |= receiver == For::Sockets;
                    return Some(len);
                }
            }
        }
    }
}

/// What smoltcp has to know of the device.
///
/// It may make packets of any size. Those of TCP are as large as the other end is said to take,
/// which [`Guard`] decides, and are cut where they are too large for the link.
pub(crate) fn capabilities() -> DeviceCapabilities {
    let mut checksum = ChecksumCapabilities::default();
    // The device model fills these in and checks them, as far as Linux does not.
    checksum.tcp = Checksum::None;
    checksum.udp = Checksum::None;
    // The guard has checked these.
    checksum.ipv4 = Checksum::Tx;
    checksum.icmpv4 = Checksum::Tx;
    checksum.icmpv6 = Checksum::Tx;
    let mut capabilities = DeviceCapabilities::default();
    capabilities.medium = Medium::Ethernet;
    capabilities.max_transmission_unit = FRAME_MAX;
    capabilities.checksum = checksum;
    capabilities
}

/// A frame of Linux's.
pub(crate) struct RxToken<'a>(&'a [u8]);

/// Room for a frame to Linux.
pub(crate) struct TxToken<'a, 'p> {
    port: &'a mut Port<'p>,
    guard: &'a mut Guard,
    buffer: &'a mut [u8],
}

impl<'p> Device for Phy<'_, 'p> {
    type RxToken<'a>
        = RxToken<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxToken<'a, 'p>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(Self::RxToken<'_>, Self::TxToken<'_>)> {
        let frame = self.frames.rx.get_mut(..self.staged.take()?)?;
        let port = &*self.port;
        self.guard.grow(frame, |mss| port.burst(mss));
        let tx = TxToken {
            port: self.port,
            guard: self.guard,
            buffer: &mut self.frames.tx,
        };
        Some((RxToken(frame), tx))
    }

    fn transmit(&mut self, _now: Instant) -> Option<Self::TxToken<'_>> {
        self.port.can_send().then_some(TxToken {
            port: self.port,
            guard: self.guard,
            buffer: &mut self.frames.tx,
        })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        capabilities()
    }
}

impl smoltcp::phy::RxToken for RxToken<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(self.0)
    }
}

impl smoltcp::phy::TxToken for TxToken<'_, '_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, f: F) -> R {
        // smoltcp keeps to what it was told, so the frame always fits.
        let len = len.min(self.buffer.len());
        let (frame, _) = self.buffer.split_at_mut(len);
        let result = f(frame);
        if let Some(mss) = self.guard.note(frame) {
            self.port.send_segment(frame, mss);
        }
        result
    }
}

impl Drop for TxToken<'_, '_> {
    fn drop(&mut self) {
        self.guard.settle();
    }
}

const _: () = assert!(dhcp::FRAME_MAX <= ETHERNET + hvl_device::net::MTU_MIN);
