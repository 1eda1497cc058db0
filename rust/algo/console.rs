// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control messages of a console with several ports (VIRTIO 5.3.6.2), on their way to a driver that
//! believes them.
//!
//! virtio_console lets nobody who reads or writes a port know that the port goes: it frees what they use. So a port that
//! somebody has open is closed before it is removed, and all are closed before the device goes.
//!
//! virtio_console writes a line to the log for each port that there cannot be, takes the size of a
//! terminal from behind the end of a message, and makes a port a terminal while somebody reads from it: then two
//! readers use one buffer. It makes and removes ports as often as it is told.

use super::super::proto::virtio::console as event;
use super::storm::Storm;
use core::fmt;

/// Bytes of a message, without what follows it.
pub const MESSAGE: usize = 8;
/// What is read of one: with the size of a terminal.
pub const MESSAGE_MAX: usize = 12;
/// One that says nothing, about a port that there cannot be.
pub const NOTHING: [u8; MESSAGE] = [0xff; MESSAGE];
/// The queue for them to the driver.
pub const CONTROL_TO: u32 = 2;
/// The queue for them from the driver.
pub const CONTROL_FROM: u32 = 3;

/// The queue by which the driver receives for a port.
pub const fn receive(port: u32) -> u32 {
    if port == 0 {
        0
    } else {
        port.saturating_mul(2).saturating_add(2)
    }
}

/// How many messages a device may send in this many seconds: whoever draws the window of a terminal larger with
/// a mouse makes a hundred a second. And how many of them may add or remove a port, which takes the driver long: as
/// many as for all ports that there can be, three times.
const MESSAGES: u32 = 2000;
const CHANGES: u32 = 100;
const SECONDS: u64 = 10;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The port has this number, and there can be so many.
    Port(u32, u32),
    /// A message of this kind has so many bytes, and must have so many.
    Short(u16, u32, u32),
    /// This port is to become a terminal, and somebody has it open.
    Open(u32),
    /// There are more than so many.
    Often(u32),
    /// There are more than so many that add or remove a port.
    Changes(u32),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Port(port, most) => {
                write!(f, "control message of port {port}: must be below {most}")
            }
            Self::Short(event, len, least) => write!(
                f,
                "control message {event} has {len} bytes: must have {least} at least"
            ),
            Self::Open(port) => write!(
                f,
                "port {port} is to be a terminal, and is open: that must be said before it has a name"
            ),
            Self::Often(most) => write!(f, "more than {most} control messages in {SECONDS} s"),
            Self::Changes(most) => {
                write!(f, "more than {most} ports added or removed in {SECONDS} s")
            }
        }
    }
}

/// What the driver has been told of the ports, and what it has said.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    count: u32,
    /// A bit for each port that the driver knows of, that is a terminal, and that somebody has open.
    known: u64,
    terminals: u64,
    open: u64,
    /// And for each that is closed and has to go.
    leaving: u64,
    messages: Storm,
    changes: Storm,
}

/// The parts of a message: its port, what it is about, its value.
fn parts(message: &[u8; MESSAGE]) -> (u32, u16, u16) {
    let [p0, p1, p2, p3, e0, e1, v0, v1] = *message;
    (
        u32::from_le_bytes([p0, p1, p2, p3]),
        u16::from_le_bytes([e0, e1]),
        u16::from_le_bytes([v0, v1]),
    )
}

/// A message about `what` with the value 0, which is for its opening that the other end is closed.
fn message(port: u32, what: u16) -> [u8; MESSAGE] {
    let [p0, p1, p2, p3] = port.to_le_bytes();
    let [e0, e1] = what.to_le_bytes();
    [p0, p1, p2, p3, e0, e1, 0, 0]
}

/// How many ports a console with so many queues has, if it has several.
pub fn ports_of(queues: u32) -> Option<u32> {
    let ports = (queues / 2).checked_sub(1)?;
    (ports >= 1 && queues % 2 == 0).then_some(ports)
}

impl Ports {
    /// Those of a device with so many queues that the driver has just found.
    pub fn new(queues: u32) -> Self {
        Self {
            count: ports_of(queues).unwrap_or(0).min(u64::BITS),
            known: 0,
            terminals: 0,
            open: 0,
            leaving: 0,
            messages: Storm::new(MESSAGES, SECONDS * 1000),
            changes: Storm::new(CHANGES, SECONDS * 1000),
        }
    }

    /// The driver has reset the device.
    pub fn reset(&mut self) {
        (self.known, self.terminals, self.open, self.leaving) = (0, 0, 0, 0);
    }

    fn bit(&self, port: u32) -> u64 {
        if port < self.count {
            1 << port
        } else {
            0
        }
    }

    /// The driver sends `message`.
    pub fn hear(&mut self, message: &[u8; MESSAGE]) {
        let (port, what, value) = parts(message);
        if what != event::PORT_OPEN {
            return;
        }
        let bit = self.bit(port);
        if value != 0 {
            self.open |= bit;
        } else {
            self.open &= !bit;
        }
    }

    /// Whether somebody has one open.
    pub fn is_open(&self) -> bool {
        self.open != 0
    }

    /// A port that is closed, which the device has taken away while it was open.
    pub fn leaving(&self) -> Option<u32> {
        (self.leaving != 0).then(|| self.leaving.trailing_zeros())
    }

    /// What the driver is to be told now of a port that was leaving, if it still is: that it is gone.
    pub fn leave(&mut self, port: u32) -> Option<[u8; MESSAGE]> {
        let bit = self.bit(port) & self.leaving;
        if bit == 0 {
            return None;
        }
        // Whoever has it open has no port any more, and does not say that it is closed.
        for bits in [
            &mut self.known,
            &mut self.terminals,
            &mut self.open,
            &mut self.leaving,
        ] {
            *bits &= !bit;
        }
        Some(message(port, event::DEVICE_REMOVE))
    }

    /// What the driver is to be told of the port behind `after` (`None`: of the first) before the device goes: that its other
    /// end is closed. Who reads it comes to its end, and nobody may write to it. (A terminal has no other end.)
    pub fn farewell(&self, after: Option<u32>) -> Option<(u32, [u8; MESSAGE])> {
        let first = after.map_or(0, |port| port.saturating_add(1));
        let port =
            (first..self.count).find(|&port| self.known & !self.terminals & self.bit(port) != 0)?;
        Some((port, message(port, event::PORT_OPEN)))
    }

    /// The device has `said` a message, which has `len` bytes with what follows it, at `now_ms`. What the driver is told
    /// instead, if it is not to be told that.
    ///
    /// # Errors
    ///
    /// It is [`Wrong`], and not for the driver.
    pub fn judge(
        &mut self,
        said: &[u8; MESSAGE],
        len: u32,
        now_ms: u64,
    ) -> Result<Option<[u8; MESSAGE]>, Wrong> {
        let (port, what, value) = parts(said);
        let bit = self.bit(port);
        if bit == 0 {
            return Err(Wrong::Port(port, self.count));
        }
        let least = if what == event::RESIZE {
            MESSAGE_MAX
        } else {
            MESSAGE
        } as u32;
        if len < least {
            return Err(Wrong::Short(what, len, least));
        }
        if !self.messages.allow(now_ms) {
            return Err(Wrong::Often(MESSAGES));
        }
        let changes = what == event::DEVICE_ADD || what == event::DEVICE_REMOVE;
        if changes && !self.changes.allow(now_ms) {
            return Err(Wrong::Changes(CHANGES));
        }
        match what {
            event::DEVICE_REMOVE if self.open & bit != 0 => {
                self.leaving |= bit;
                return Ok(Some(message(port, event::PORT_OPEN)));
            }
            event::DEVICE_REMOVE => {
                self.known &= !bit;
                self.terminals &= !bit;
            }
            // One that had to go may stay: the driver takes it for the same.
            event::DEVICE_ADD => {
                self.known |= bit;
                self.leaving &= !bit;
            }
            event::CONSOLE_PORT if value != 0 && self.terminals & bit == 0 => {
                if self.open & bit != 0 {
                    return Err(Wrong::Open(port));
                }
                self.terminals |= bit;
            }
            _ => {}
        }
        Ok(None)
    }

    /// Whether the driver spins for queue `index`: it is that of control, or the output of a terminal.
    pub fn spins(&self, index: u32) -> bool {
        let port = match index {
            CONTROL_FROM => return true,
            1 => 0,
            _ if index >= 5 && index % 2 == 1 => (index - 3) / 2,
            _ => return false,
        };
        self.terminals & self.bit(port) != 0
    }
}
