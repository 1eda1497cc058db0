// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Reads the sections and simple tables of the documents.

use std::path::Path;

/// A row of a table: the text of each column, continuation lines joined with one blank.
pub(crate) type Row = Vec<String>;

/// A document, by lines.
pub(crate) struct Document {
    lines: Vec<String>,
}

fn is_rule(line: &str, marks: &str) -> bool {
    line.len() >= 3 && marks.contains(&line[..1]) && line.bytes().all(|b| b == line.as_bytes()[0])
}

/// Columns of a table's border line, as byte ranges; `None` for any other line.
fn border(line: &str) -> Option<Vec<(usize, usize)>> {
    let mut columns = Vec::new();
    let mut at = 0;
    for word in line.split(' ') {
        if !word.is_empty() {
            if word.bytes().any(|b| b != b'=') {
                return None;
            }
            columns.push((at, at + word.len()));
        }
        at += word.len() + 1;
    }
    (columns.len() >= 2).then_some(columns)
}

impl Document {
    /// The protocol document of this tree.
    pub(crate) fn protocol() -> Self {
        Self::open("protocol.rst")
    }

    /// The document about the driver's side.
    pub(crate) fn driver() -> Self {
        Self::open("driver.rst")
    }

    /// The document of that name.
    pub(crate) fn open(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../../Documentation/virtio-hvl")
            .join(name);
        let text = std::fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.is_ascii(), "columns are counted in bytes");
        Self {
            lines: text.lines().map(str::to_owned).collect(),
        }
    }

    fn is_title(&self, at: usize) -> bool {
        let underline = self.lines.get(at + 1).map_or("", String::as_str);
        !self.lines[at].is_empty()
            && is_rule(underline, "=-")
            && underline.len() >= self.lines[at].len()
            && (at == 0 || self.lines[at - 1].is_empty())
    }

    /// The lines of the section `title`, up to the next title of whatever level.
    fn section(&self, title: &str) -> &[String] {
        let titles: Vec<_> = (0..self.lines.len())
            .filter(|&at| self.is_title(at))
            .collect();
        let found: Vec<_> = (0..titles.len())
            .filter(|&n| self.lines[titles[n]] == title)
            .collect();
        assert_eq!(found.len(), 1, "sections with the title {title:?}");
        let end = titles
            .get(found[0] + 1)
            .copied()
            .unwrap_or(self.lines.len());
        &self.lines[titles[found[0]] + 2..end]
    }

    /// The text of a section on one line.
    pub(crate) fn text(&self, title: &str) -> String {
        let words: Vec<_> = self
            .section(title)
            .iter()
            .flat_map(|line| line.split_whitespace())
            .collect();
        words.join(" ")
    }

    /// The rows of table number `index` of a section, without its heading.
    pub(crate) fn table(&self, title: &str, index: usize) -> Vec<Row> {
        let section = self.section(title);
        let mut tables: Vec<Vec<Row>> = Vec::new();
        let mut at = 0;
        while at < section.len() {
            let Some(columns) = border(&section[at]) else {
                at += 1;
                continue;
            };
            // A table has a border above, one below, and one more below its heading if it has one.
            let mut rows: Vec<Row> = Vec::new();
            at += 1;
            while !section[at].is_empty() {
                if border(&section[at]).is_some() {
                    if section.get(at + 1).is_none_or(String::is_empty) {
                        break;
                    }
                    rows.clear();
                } else {
                    Self::add_line(&mut rows, &columns, &section[at]);
                }
                at += 1;
            }
            assert!(border(&section[at]).is_some(), "{title}: table has no end");
            tables.push(rows);
            at += 1;
        }
        assert!(index < tables.len(), "{title}: has no table {index}");
        tables.swap_remove(index)
    }

    fn add_line(rows: &mut Vec<Row>, columns: &[(usize, usize)], line: &str) {
        let cells = columns.iter().enumerate().map(|(n, &(start, end))| {
            let end = if n + 1 == columns.len() {
                line.len()
            } else {
                end.min(line.len())
            };
            line.get(start..end).unwrap_or("").trim().to_owned()
        });
        let cells: Row = cells.collect();
        if cells[0].is_empty() {
            let row = rows.last_mut().expect("a table begins with a full row");
            for (old, new) in row.iter_mut().zip(cells).filter(|(_, new)| !new.is_empty()) {
                *old = format!("{old} {new}").trim().to_owned();
            }
        } else {
            rows.push(cells);
        }
    }
}

/// A number as the document writes it: decimal, or hexadecimal after `0x`.
pub(crate) fn number(text: &str) -> Option<u64> {
    let text = text.trim_end_matches(['.', ',', ':', ';', ')']);
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The first number after `words` in `text`.
pub(crate) fn number_after(text: &str, words: &str) -> u64 {
    let (_, rest) = text
        .split_once(words)
        .unwrap_or_else(|| panic!("{words:?} is not in {text:?}"));
    rest.split_whitespace()
        .next()
        .and_then(number)
        .unwrap_or_else(|| panic!("no number after {words:?} in {text:?}"))
}

/// One row of a table of fields.
pub(crate) struct Field {
    /// First offset.
    pub(crate) offset: u32,
    /// Side that writes it; `None`: nobody.
    pub(crate) writer: Option<char>,
    /// The named words that begin here: name and offset.
    pub(crate) names: Vec<(String, u32)>,
    /// Number of elements, where the row describes an array.
    pub(crate) elements: Option<u32>,
    /// Last offset, for a row that says "up to".
    pub(crate) last: Option<u32>,
    /// The text of the row.
    pub(crate) text: String,
}

impl Field {
    /// Reads a row with the columns offset, writer and field.
    pub(crate) fn parse(row: &Row) -> Self {
        let [offset, writer, text] = &row[..] else {
            panic!("not a row of fields: {row:?}");
        };
        let offset = number(offset).expect("an offset") as u32;
        let writer = match writer.as_str() {
            "P" => Some('P'),
            "D" => Some('D'),
            "" => None,
            other => panic!("unknown writer {other:?}"),
        };
        // Odd pieces are the bold names; a second name has its offset right before it.
        let pieces: Vec<_> = text.split("**").collect();
        let mut names = Vec::new();
        for (n, name) in pieces.iter().enumerate().skip(1).step_by(2) {
            let before = pieces[n - 1].split_whitespace().last();
            let own = match before.filter(|_| n > 1) {
                None => offset,
                Some(word) => number(word).expect("an offset before the second name") as u32,
            };
            names.push((name.to_string(), own));
        }
        let elements = text
            .split_once('[')
            .and_then(|(_, rest)| rest.split_once(']'))
            .and_then(|(count, _)| number(count))
            .map(|count| count as u32);
        let last = text
            .contains("up to 0x")
            .then(|| number_after(text, "up to") as u32);
        Self {
            offset,
            writer,
            names,
            elements,
            last,
            text: text.clone(),
        }
    }
}
