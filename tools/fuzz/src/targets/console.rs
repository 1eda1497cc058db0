// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The control messages of a console with several ports, and what the driver says meanwhile.

use crate::input::Input;
use hvl_logic::algo::console::{ports_of, Ports, Wrong, MESSAGE, MESSAGE_MAX};
use hvl_logic::proto::virtio::console as event;

/// As the table of the model is 64 bits.
const PORTS: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let queues = 2 + u32::from(input.byte() % 64);
    let most = ports_of(queues).unwrap_or(0);
    let mut ports = Ports::new(queues);
    let (mut open, mut terminal) = ([false; PORTS], [false; PORTS]);
    let mut leaving = [false; PORTS];
    let mut now = 0;
    while !input.is_empty() {
        let [how, port, what, value] = [(); 4].map(|()| input.byte());
        // Mostly one that there is.
        let port = match u32::from(port) {
            port @ 0xf0.. => u32::MAX - port,
            port => port % (most + 1),
        };
        let (what, value) = (u16::from(what % 10), u16::from(value % 3));
        let [p0, p1, p2, p3] = port.to_le_bytes();
        let ([w0, w1], [v0, v1]) = (what.to_le_bytes(), value.to_le_bytes());
        let message: [u8; MESSAGE] = [p0, p1, p2, p3, w0, w1, v0, v1];
        let place = port as usize % PORTS;
        match how {
            0..0x10 => {
                ports.reset();
                (open, terminal) = ([false; PORTS], [false; PORTS]);
                leaving = [false; PORTS];
            }
            0x10..0x18 => {
                let is_leaving = port < most && leaving[place];
                let gone = ports.leave(port);
                assert_eq!(gone.is_some(), is_leaving, "port {port}");
                if is_leaving {
                    (open[place], terminal[place], leaving[place]) = (false, false, false);
                }
            }
            0x18..0x60 => {
                ports.hear(&message);
                if what == event::PORT_OPEN && port < most {
                    open[place] = value != 0;
                }
            }
            _ => {
                now += u64::from(how & 7);
                let len = if how & 0x80 != 0 {
                    MESSAGE
                } else {
                    MESSAGE_MAX
                };
                let verdict = ports.judge(&message, len as u32, now);
                let becomes = what == event::CONSOLE_PORT && value != 0;
                match verdict {
                    Ok(instead) => {
                        assert!(port < most, "port {port} of {most}");
                        assert!(len == MESSAGE_MAX || what != event::RESIZE);
                        assert!(!becomes || terminal[place] || !open[place]);
                        terminal[place] |= becomes;
                        let closes = what == event::DEVICE_REMOVE && open[place];
                        assert_eq!(instead.is_some(), closes);
                        leaving[place] |= closes;
                        if what == event::DEVICE_ADD {
                            leaving[place] = false;
                        }
                        if what == event::DEVICE_REMOVE && !closes {
                            terminal[place] = false;
                        }
                    }
                    Err(Wrong::Port(..)) => assert!(port >= most),
                    Err(Wrong::Open(_)) => assert!(becomes && open[place] && !terminal[place]),
                    Err(Wrong::Short(..)) => assert!(what == event::RESIZE && len == MESSAGE),
                    Err(wrong) => drop(wrong.to_string()),
                }
            }
        }
        let first = leaving.iter().position(|is_leaving| *is_leaving);
        assert_eq!(ports.leaving().map(|port| port as usize), first);
        for queue in 0..queues {
            let output = queue % 2 == 1 && queue != 3;
            let port = if queue == 1 {
                0
            } else {
                queue.saturating_sub(3) / 2
            };
            let is_terminal = output && port < most && terminal[port as usize];
            assert_eq!(
                ports.spins(queue),
                queue == 3 || is_terminal,
                "queue {queue}"
            );
        }
    }
}
