// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The pattern of the chargen services (RFC 864), the same for TCP, UDP and vsock.
//!
//! Lines of 72 of the 95 printable ASCII characters in their order, each line starting one
//! character further than the one before, ended by CR LF. After 95 lines it repeats.

/// Characters from which lines are made: ' ' to '~'.
const PRINTABLE: usize = 95;
/// Characters of a line.
const WIDTH: usize = 72;
/// Bytes of a line.
const LINE: usize = WIDTH + 2;
/// Bytes after which the pattern repeats.
pub const PERIOD: usize = LINE * PRINTABLE;

static PATTERN: [u8; PERIOD] = pattern();

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn pattern() -> [u8; PERIOD] {
    let mut out = [0; PERIOD];
    let mut at = 0;
    while at < PERIOD {
        let column = at % LINE;
        out[at] = if column == WIDTH {
            b'\r'
        } else if column == WIDTH + 1 {
            b'\n'
        } else {
            b' ' + ((at / LINE + column) % PRINTABLE) as u8
        };
        at += 1;
    }
    out
}

/// Fills `to` with the pattern from byte `position` of the stream on.
pub fn fill(position: u64, to: &mut [u8]) {
    // The remainder is below PERIOD.
    let mut from = (position % PERIOD as u64) as usize;
    let mut to = to;
    while !to.is_empty() {
        let piece = PATTERN.get(from..).unwrap_or(&PATTERN);
        let count = piece.len().min(to.len());
        let (now, later) = to.split_at_mut(count);
        if let Some(piece) = piece.get(..count) {
            now.copy_from_slice(piece);
        }
        to = later;
        from = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_lines_are_those_of_the_rfc() {
        let mut out = [0; 3 * LINE];
        fill(0, &mut out);
        let text = core::str::from_utf8(&out).unwrap();
        let lines: Vec<&str> = text.split("\r\n").collect();
        assert!(lines[0].starts_with(" !\"#$%&'()*+"));
        assert!(lines[1].starts_with("!\"#$%&'()*+,"));
        assert_eq!(lines[0].len(), WIDTH);
    }

    #[test]
    fn any_piece_is_a_piece_of_the_whole() {
        let mut whole = vec![0; 3 * PERIOD];
        fill(0, &mut whole);
        for (start, len) in [
            (0, 1),
            (73, 200),
            (PERIOD - 1, 2),
            (PERIOD + 5, PERIOD),
            (7, 64),
        ] {
            let mut piece = vec![0; len];
            fill(start as u64, &mut piece);
            assert_eq!(piece, whole[start..start + len]);
        }
    }
}
