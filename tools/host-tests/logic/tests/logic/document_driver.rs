// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What the document about the driver's side says is what its code says.

use crate::rst::{number, Document};
use hvl_logic::algo::ring::Features;
use hvl_logic::algo::share::{Plan, Sum, BULK};
use hvl_logic::proto::layout::{PAGE, REGION_MIN, SHARE_MIN};
use hvl_logic::proto::virtio::device;
use std::path::Path;

#[test]
fn region_sizes() {
    let document = Document::driver();
    let rows = document.table("Memory", 0);
    assert_eq!(rows.len(), 3);
    for row in &rows {
        let devices: Vec<_> = row[0]
            .split(", ")
            .map(|name| match name {
                "net" => Sum::of_device(device::NET, 2),
                "vsock" => Sum::of_device(device::VSOCK, 3),
                other => panic!("{other:?}"),
            })
            .collect();
        let all = devices
            .iter()
            .fold(Sum::default(), |all, own| all.and(*own));
        // The header, and a window for each.
        let pages = u64::from(PAGE) * (1 + devices.len() as u64);
        let least = (all.need() + pages).max(REGION_MIN.into());
        let plenty = (all.plenty() + pages).next_multiple_of(PAGE.into());
        let documented = [number(&row[1]), number(&row[2])];
        assert_eq!(documented, [Some(least), Some(plenty)], "{row:?}");
    }

    let text = document.text("Memory");
    let kib = |bytes: u32| format!("{} KiB", bytes >> 10);
    assert!(text.contains(&format!("({} where vsock", kib(BULK))));
    assert!(text.contains(&format!("{} for others)", kib(SHARE_MIN))));
    assert!(text.contains(&format!("has less than {},", kib(BULK))));
}

#[test]
fn chunks() {
    let text = Document::driver().text("Memory");
    let features = Features::default();
    let small = Plan::new(SHARE_MIN, 16, features).unwrap().chunk;
    let large = Plan::new(64 * PAGE, 64, features).unwrap().chunk;
    assert!(Plan::new(63 * PAGE, 64, features).unwrap().chunk == small);
    assert!(text.contains(&format!(
        "chunks of {large} bytes, or of {small} where there are fewer than 64 of the others"
    )));
}

/// The literals of a source file, what is filled in as `*`, and lines that go on joined.
fn source(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let mut joined = String::new();
    let mut rest = text.as_str();
    while let Some((line, more)) = rest.split_once("\\\n") {
        joined += line;
        rest = more.trim_start();
    }
    joined += rest;
    let mut plain = String::new();
    let mut pieces = joined.split('{');
    plain += pieces.next().unwrap();
    for piece in pieces {
        // A block of code is not something to be filled in.
        match piece.split_once('}') {
            Some((what, after)) if !what.contains(char::is_whitespace) => {
                plain.push('*');
                plain += after;
            }
            _ => {
                plain.push('{');
                plain += piece;
            }
        }
    }
    plain
}

fn sources(folder: &Path, all: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            *all += &source(&path);
        }
    }
}

#[test]
fn messages() {
    let rust = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../rust");
    let mut code = String::new();
    sources(&rust.join("virtio_hvl"), &mut code);
    sources(&rust.join("algo"), &mut code);
    let rows = Document::driver().table("Messages", 0);
    assert!(rows.len() > 15);
    for row in rows {
        let message = row[0].split("``").nth(1).unwrap();
        let words: Vec<_> = message
            .split(' ')
            .map(|word| match word.trim_end_matches([':', ')']) {
                "N" | "T" => word.replace(['N', 'T'], "*"),
                _ => word.to_owned(),
            })
            .collect();
        // What comes after a colon is often the sentence of another file.
        let message = words.join(" ");
        let parts = message.split(": ");
        for part in parts {
            // "more than 200 messages" has its number from a constant.
            let part = part.replace("200", "*");
            assert!(code.contains(&part), "no message begins {part:?}");
        }
    }
}

#[test]
fn debugfs() {
    let rust = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../rust");
    let code = std::fs::read_to_string(rust.join("virtio_hvl/debugfs.rs")).unwrap();
    let text = Document::driver().text("debugfs");
    // The files, the words of `status`, and the counters of `stats`, as they are written.
    let mut names: Vec<&str> = Vec::new();
    for line in code.lines().map(str::trim_start) {
        if let Some((name, _)) = line.strip_prefix("(c\"").and_then(|l| l.split_once('"')) {
            names.push(name);
        } else if let Some((name, _)) = line.strip_prefix("(\"").and_then(|l| l.split_once('"')) {
            names.push(name);
        } else if let Some((_, rest)) = line.split_once("\"") {
            if let Some((name, _)) = rest.split_once(": {") {
                names.push(name);
            }
        }
    }
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let quoted = text.contains(&format!("``{name}``"));
        // One of several words in a field, which stand there by themselves.
        let word = name.strip_prefix(',');
        let quoted = quoted || word.is_some_and(|word| text.contains(&format!("``{word}``")));
        // The first words of a line a device or queue.
        assert!(quoted || name.contains([' ', '{']), "{name} is not there");
    }
    // The words of a queue's line.
    let line: String = source(&rust.join("virtio_hvl/debugfs.rs"));
    let (_, line) = line.split_once("queue *: ").unwrap();
    let (line, _) = line.split_once('"').unwrap();
    for word in line.split(' ').filter(|word| !word.contains('*')) {
        assert!(text.contains(&format!("{word} (")) || text.contains(&format!("{word},")));
    }
}
