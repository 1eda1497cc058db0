// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A shell for a terminal, and an echo for any other port of a console.
//!
//! A terminal of Linux's that nobody has told otherwise sends back what it gets. So that the shell
//! does not take its own answers for commands, each of their lines begins with a blank, and what
//! begins with one is no command. For the same reason there is no prompt.

use crate::control::Wish;
use crate::report::{self, Page, Text};
use crate::session::Env;
use core::fmt::{self, Write};
use hvl_device::stream::Stream;

/// Longest command.
const LINE: usize = 120;
/// Commands that are served in a pass at most, and bytes that are sent back.
const COMMANDS: usize = 4;
const ECHO: usize = 64 * 1024;

/// Writes the end of the log.
pub type Log = fn(&mut dyn Write) -> fmt::Result;

const HELP: &str = "help            these lines
link            the link: doorbells, passes, uptime
devices         the devices in the order of the table
queues [N]      the queues of device N, or of all
stats           the status page
log             the end of the log
reset-counters  the queues' counters begin at 0
echo TEXT       TEXT
link up|down    the network's link goes up, or down
announce        Linux announces itself on the network
plug N          port N of this console is there
unplug N        port N is not
resize C R      terminals have C columns and R rows
";

/// The state of a shell: a command that has come in part.
#[derive(Debug)]
pub struct Shell {
    line: [u8; LINE],
    len: usize,
    /// It is longer than any command.
    long: bool,
    /// All of it is there.
    whole: bool,
}

impl Default for Shell {
    fn default() -> Self {
        Self::new()
    }
}

impl Shell {
    /// Nothing has come.
    pub const fn new() -> Self {
        Self {
            line: [0; LINE],
            len: 0,
            long: false,
            whole: false,
        }
    }

    /// Forgets what has come.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// Answers what has come; `true` if there was any.
    pub fn pass(&mut self, stream: &mut dyn Stream, env: &mut Env<'_>, log: Log) -> bool {
        let mut busy = false;
        for _ in 0..COMMANDS {
            busy |= self.take(stream);
            if !self.whole {
                break;
            }
            if !self.answer(stream, env, log) {
                break;
            }
            self.clear();
            busy = true;
        }
        busy
    }

    /// Takes bytes up to the end of a line.
    fn take(&mut self, stream: &mut dyn Stream) -> bool {
        let mut busy = false;
        while !self.whole {
            let bytes = stream.peek();
            if bytes.is_empty() {
                break;
            }
            let mut count = 0;
            for byte in bytes {
                count += 1;
                match byte {
                    b'\r' | b'\n' => {
                        self.whole = true;
                        break;
                    }
                    // Backspace, and what terminals send for it.
                    8 | 127 => self.len = self.len.saturating_sub(1),
                    _ => match self.line.get_mut(self.len) {
                        Some(slot) => {
                            *slot = *byte;
                            self.len += 1;
                        }
                        None => self.long = true,
                    },
                }
            }
            stream.consume(count);
            busy = true;
        }
        busy
    }

    /// Answers the command; `false`: it has to wait, for figures or for what was asked before.
    fn answer(&self, stream: &mut dyn Stream, env: &mut Env<'_>, log: Log) -> bool {
        let line = self.line.get(..self.len).unwrap_or(&[]);
        // Blank lines, and what comes back from a terminal.
        if self.len == 0 || line.starts_with(b" ") {
            return true;
        }
        let line = core::str::from_utf8(line).unwrap_or("");
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let wish = Wish::parse(line).filter(|_| !self.long);
        if wish.is_some() {
            if env.wish.is_some() {
                return false;
            }
            *env.wish = wish;
            env.text.clear();
            // A text buffer cannot fail.
            let _ = writeln!(env.text, "done");
            indented(stream, env.text);
            return true;
        }
        let asks = ["link", "devices", "queues", "stats"].contains(&word) && !self.long;
        let Some(snapshot) = env.snapshot.filter(|_| asks) else {
            if asks {
                *env.snapshot_wanted = true;
                return false;
            }
            env.text.clear();
            // A text buffer cannot fail.
            let _ = match word {
                _ if self.long => writeln!(env.text, "no command is as long as that"),
                "help" => env.text.write_str(HELP),
                "echo" => writeln!(env.text, "{rest}"),
                "log" => log(env.text),
                _ => writeln!(env.text, "no such command: try help"),
            };
            indented(stream, env.text);
            return true;
        };
        env.text.clear();
        let _ = match word {
            "link" => report::link(env.text, snapshot),
            "devices" => report::devices(env.text, snapshot),
            "queues" => match rest.trim().parse() {
                Ok(index) => report::queues(env.text, snapshot, Some(index)),
                Err(_) if rest.trim().is_empty() => report::queues(env.text, snapshot, None),
                Err(_) => writeln!(env.text, "queues: of which device?"),
            },
            _ => {
                Page::Status.write(env.text, snapshot, env.sums);
                Ok(())
            }
        };
        indented(stream, env.text);
        true
    }
}

/// Sends `text`, each line with a blank before it, as far as there is room.
fn indented(stream: &mut dyn Stream, text: &Text) {
    for line in text.bytes().split_inclusive(|byte| *byte == b'\n') {
        for mut part in [&b" "[..], line] {
            while !part.is_empty() {
                let sent = stream.send(&mut |room| {
                    let count = room.len().min(part.len());
                    if let (Some(to), Some(from)) = (room.get_mut(..count), part.get(..count)) {
                        to.copy_from_slice(from);
                    }
                    count
                });
                match part.get(sent..) {
                    Some(rest) if sent > 0 => part = rest,
                    // Nobody reads.
                    _ => return,
                }
            }
        }
    }
}

/// Sends back what has come, as far as there is room; `true` if there was any.
pub fn echo(stream: &mut dyn Stream) -> bool {
    let mut left = ECHO;
    while left > 0 {
        // A piece at a time, since both ends are the stream's.
        let mut piece = [0; 256];
        let bytes = stream.peek();
        let count = bytes.len().min(piece.len()).min(left);
        for (to, from) in piece.iter_mut().zip(bytes) {
            *to = *from;
        }
        let sent = stream.send(&mut |room| {
            let count = count.min(room.len());
            if let (Some(to), Some(from)) = (room.get_mut(..count), piece.get(..count)) {
                to.copy_from_slice(from);
            }
            count
        });
        if sent == 0 {
            break;
        }
        stream.consume(sent);
        left -= sent;
    }
    left != ECHO
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Snapshot, Sums};
    use crate::session::Clock;
    use proptest::prelude::*;

    #[derive(Default)]
    struct Line {
        from: Vec<u8>,
        to: Vec<u8>,
    }

    impl Stream for Line {
        fn peek(&mut self) -> &[u8] {
            &self.from
        }
        fn consume(&mut self, count: usize) {
            self.from.drain(..count);
        }
        fn room(&self) -> usize {
            1 << 20
        }
        fn send(&mut self, fill: &mut dyn FnMut(&mut [u8]) -> usize) -> usize {
            let mut room = [0; 50];
            let count = fill(&mut room);
            self.to.extend(&room[..count]);
            count
        }
        fn is_heard(&self) -> bool {
            true
        }
        fn at_end(&self) -> bool {
            false
        }
        fn finish(&mut self) {}
    }

    #[derive(Debug)]
    struct Stopped;

    impl Clock for Stopped {
        fn micros(&self) -> u64 {
            0
        }
    }

    fn log(to: &mut dyn Write) -> fmt::Result {
        to.write_str("first\nlast\n")
    }

    /// All that comes back, after as many passes as it takes, and what is wished for.
    fn answers(bytes: &[u8]) -> (String, Vec<Wish>) {
        let (mut shell, mut line) = (Shell::new(), Line::default());
        line.from = bytes.to_vec();
        let mut wanted = false;
        let mut wishes = Vec::new();
        for _ in 0..1000 {
            let snapshot = std::mem::take(&mut wanted).then(|| Snapshot {
                version: "9.8.7",
                ..Snapshot::default()
            });
            let mut wish = None;
            let mut env = Env {
                now: 0,
                clock: &Stopped,
                snapshot: snapshot.as_ref(),
                snapshot_wanted: &mut wanted,
                sums: &mut Sums::new(),
                text: &mut Text::new(),
                wish: &mut wish,
            };
            let busy = shell.pass(&mut line, &mut env, log);
            wishes.extend(wish);
            if !busy && !wanted {
                break;
            }
        }
        assert!(line.from.is_empty());
        (String::from_utf8_lossy(&line.to).into_owned(), wishes)
    }

    #[test]
    fn commands_are_answered() {
        let ask = |line: &str| answers(line.as_bytes()).0;
        assert!(ask("help\n").contains("\n reset-counters  the"));
        assert!(ask("link\r").starts_with(" virtio-hvl peer 9.8.7\n"));
        assert!(ask("stats\n").contains("\n violations: 0\n"));
        assert_eq!(ask("log\n"), " first\n last\n");
        assert_eq!(ask("echo hello, peer\n"), " hello, peer\n");
        assert_eq!(ask("echo\x7f x\n"), " no such command: try help\n");
        assert_eq!(ask("echp\x7fo x\n"), " x\n");
        assert_eq!(ask("queues 7\n"), " no device 7\n");
        assert_eq!(ask("queues x\n"), " queues: of which device?\n");
        let (text, wishes) = answers(b"reset-counters\nunplug 1\nresize 80 25\n");
        assert_eq!(text, " done\n done\n done\n");
        let want = [
            Wish::ResetCounters,
            Wish::Port(1, false),
            Wish::Size(80, 25),
        ];
        assert_eq!(wishes, want);
        assert_eq!(
            ask("echo a\necho b\necho c\necho d\necho e\necho f\n").len(),
            18
        );
        assert_eq!(
            ask(&("x".repeat(500) + "\n")),
            " no command is as long as that\n"
        );
        assert_eq!(ask("\n\n\r\nhel"), "");
    }

    proptest! {
        /// A terminal that sends all back does not keep the shell busy.
        #[test]
        fn an_answer_is_no_command(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let (first, _) = answers(&[&bytes[..], b"\n"].concat());
            prop_assert_eq!(answers(first.as_bytes()), (String::new(), vec![]));
        }
    }

    #[test]
    fn an_echo_gives_all_back() {
        let want: Vec<u8> = (0..5000u32).map(|i| i as u8).collect();
        let mut line = Line {
            from: want.clone(),
            to: vec![],
        };
        assert!(echo(&mut line));
        assert!(line.to == want && !echo(&mut line));
    }
}
