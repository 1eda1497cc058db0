// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Control messages of a console (VIRTIO 5.3.6.2): what Linux says of the ports, and what it is
//! still to be told of them. That is a set, not a list: it does not grow with what Linux says.

#![forbid(unsafe_code)]

use super::{PortKind, PORTS};
use crate::faults::Faults;
use crate::proto::virtio::console as event;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Event {
    /// Linux has found the device.
    Device = event::DEVICE_READY,
    /// There is this port.
    Add = event::DEVICE_ADD,
    /// There is no such port any more.
    Remove = event::DEVICE_REMOVE,
    /// Linux has made the port.
    Ready = event::PORT_READY,
    /// The port is a terminal.
    Terminal = event::CONSOLE_PORT,
    /// The terminal has another size.
    Resize = event::RESIZE,
    /// The port was opened or closed.
    Open = event::PORT_OPEN,
    /// The port has a name.
    Name = event::PORT_NAME,
    /// Nothing that there is, for a deliberate fault.
    Bogus = 0x7fff,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) port: u32,
    pub(super) event: Event,
    pub(super) value: u16,
}

impl Message {
    pub(super) const SIZE: usize = 8;

    /// What Linux says, if it is something that it may say.
    pub(super) fn parse(bytes: &[u8; Self::SIZE]) -> Option<Self> {
        let [p0, p1, p2, p3, e0, e1, v0, v1] = *bytes;
        let event = match u16::from_le_bytes([e0, e1]) {
            event::DEVICE_READY => Event::Device,
            event::PORT_READY => Event::Ready,
            event::PORT_OPEN => Event::Open,
            _ => return None,
        };
        Some(Self {
            port: u32::from_le_bytes([p0, p1, p2, p3]),
            event,
            value: u16::from_le_bytes([v0, v1]),
        })
    }

    pub(super) fn emit(self) -> [u8; Self::SIZE] {
        let [p0, p1, p2, p3] = self.port.to_le_bytes();
        let [e0, e1] = (self.event as u16).to_le_bytes();
        let [v0, v1] = self.value.to_le_bytes();
        [p0, p1, p2, p3, e0, e1, v0, v1]
    }
}

/// A message to Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) message: Message,
    /// How long it is said to be, if not as long as it is.
    pub(super) claim: Option<u32>,
}

/// What there is to say of a port that Linux knows, in this order: it has to be a terminal before it has a
/// size, and who finds it by its name and reads takes it for closed until it is open.
const SAY: [Event; 4] = [Event::Terminal, Event::Resize, Event::Open, Event::Name];
const RESIZE: u8 = 1 << 1;

/// A deliberate fault: a message that is no true one.
type Untrue = (Faults, u32, Event, Option<u32>);

/// Those that are told once Linux knows the last port, and those once somebody has opened it.
const UNTRUE: [Untrue; 5] = [
    (Faults::CONSOLE_RANGE, PORTS as u32, Event::Add, None),
    (Faults::CONSOLE_TWICE, 1, Event::Add, None),
    (Faults::CONSOLE_EVENT, 1, Event::Bogus, None),
    (Faults::CONSOLE_SHORT, 1, Event::Open, Some(3)),
    (Faults::CONSOLE_RESIZE, 0, Event::Resize, Some(8)),
];
const UNTRUE_LATE: [Untrue; 2] = [
    (Faults::CONSOLE_LENGTH, 1, Event::Name, Some(1 << 20)),
    (Faults::CONSOLE_LATE, 1, Event::Terminal, None),
];

fn untrue(list: &[Untrue], faults: Faults) -> Option<Note> {
    let (_, port, event, claim) = *list.iter().find(|untrue| faults.has(untrue.0))?;
    let message = Message {
        port,
        event,
        value: 1,
    };
    Some(Note { message, claim })
}

/// What Linux knows of a port.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// It was told that there is one, and not that there is none any more.
    told: bool,
    /// A bit for each of [`SAY`].
    due: u8,
    /// Somebody has it open.
    open: bool,
}

/// The state of the ports.
#[derive(Clone, Copy, Debug)]
pub(super) struct Control {
    /// Linux has found the device.
    found: bool,
    ports: [State; PORTS],
    /// Those that are plugged in, whatever Linux knows.
    there: [bool; PORTS],
    size: (u16, u16),
    /// A deliberate fault that is due, and whether one was.
    lie: Option<Note>,
    lied: bool,
}

impl Control {
    /// All ports are there, and terminals have this size.
    pub(super) const fn new(size: (u16, u16)) -> Self {
        Self {
            found: false,
            ports: [State {
                told: false,
                due: 0,
                open: false,
            }; PORTS],
            there: [true; PORTS],
            size,
            lie: None,
            lied: false,
        }
    }

    /// Forgets what Linux knows.
    pub(super) fn reset(&mut self) {
        *self = Self {
            there: self.there,
            ..Self::new(self.size)
        };
    }

    /// Plugs a port in or takes it away. `false`: there is no such port.
    pub(super) fn plug(&mut self, port: usize, there: bool) -> bool {
        let Some(slot) = self.there.get_mut(port) else {
            return false;
        };
        *slot = there;
        true
    }

    /// Columns and rows of terminals.
    pub(super) const fn size(&self) -> (u16, u16) {
        self.size
    }

    /// Gives terminals another size.
    pub(super) fn resize(&mut self, kinds: &[PortKind; PORTS], size: (u16, u16)) {
        self.size = size;
        for (port, kind) in self.ports.iter_mut().zip(kinds) {
            if port.told && kind.terminal {
                port.due |= RESIZE;
            }
        }
    }

    /// Takes the last port away, or plugs it in, once Linux knows how it was. `true`: so it is.
    pub(super) fn churn(&mut self) -> bool {
        let (Some(port), Some(there)) = (self.ports.last(), self.there.last_mut()) else {
            return false;
        };
        let over = self.found && port.told == *there && port.due == 0;
        *there ^= over;
        over
    }

    /// Linux says `message`, of a port that is of `kind` if there is one. `false`: that makes no
    /// sense.
    pub(super) fn hear(
        &mut self,
        message: Message,
        kind: Option<PortKind>,
        faults: Faults,
    ) -> bool {
        if message.event == Event::Device {
            self.found |= message.value == 1;
            return true;
        }
        let index = message.port as usize;
        let (Some(kind), Some(port)) = (kind, self.ports.get_mut(index)) else {
            return false;
        };
        let last = index + 1 == PORTS;
        match message.event {
            Event::Ready if message.value == 1 => {
                // That may come after the port was taken away.
                if !port.told {
                    return true;
                }
                let terminal = u8::from(kind.terminal) * (1 | RESIZE);
                let name = u8::from(!kind.name.is_empty()) << 3;
                port.due |= terminal | 1 << 2 | name;
                if last && !self.lied {
                    // Once: Linux may answer by the same message.
                    self.lied = true;
                    self.lie = untrue(&UNTRUE, faults);
                }
            }
            // Linux could not make it.
            Event::Ready => port.due = 0,
            _ => {
                port.open = message.value != 0;
                if last && port.open {
                    self.lie = untrue(&UNTRUE_LATE, faults);
                }
            }
        }
        true
    }

    /// Whether Linux was told of the port.
    pub(super) fn is_known(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|port| port.told)
    }

    /// Whether somebody in Linux has the port open.
    pub(super) fn is_open(&self, port: usize) -> bool {
        self.ports.get(port).is_some_and(|port| port.open)
    }

    /// What Linux is to be told next.
    pub(super) fn next(&self) -> Option<Note> {
        if !self.found {
            return None;
        }
        let each = (0..).zip(self.ports.iter().zip(self.there));
        for (port, (state, there)) in each {
            let event = match (state.told, there) {
                (false, true) => Some(&Event::Add),
                (true, false) => Some(&Event::Remove),
                (false, false) => None,
                (true, true) => SAY.get(state.due.trailing_zeros() as usize),
            };
            if let Some(event) = event {
                let message = Message {
                    port,
                    event: *event,
                    value: 1,
                };
                return Some(Note {
                    message,
                    claim: None,
                });
            }
        }
        self.lie
    }

    /// It was told.
    pub(super) fn said(&mut self) {
        for (state, there) in self.ports.iter_mut().zip(self.there) {
            if state.told != there {
                *state = State {
                    told: there,
                    ..State::default()
                };
                return;
            }
            if state.told && state.due != 0 {
                // The lowest one.
                state.due &= state.due - 1;
                return;
            }
        }
        self.lie = None;
    }
}
