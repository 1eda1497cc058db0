// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Documentation/virtio-hvl/ordering.rst names places that there are, and all of the device library's
//! and the rings' barriers.

use crate::rst::{Document, Row};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A place: its file as the document has it, a function, a barrier.
type Place = (String, String, String);

/// The file that the document means.
fn file(name: &str) -> PathBuf {
    let part = |name: &str| top().join("samples/peer").join(name);
    match name.split_once('/') {
        Some(("device", rest)) => part("device/src").join(rest),
        Some(("machine", rest)) => part("machine/src").join(rest),
        _ => top().join("rust").join(name),
    }
}

/// The functions of a file that have this name.
fn functions<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let heads = [format!("fn {name}("), format!("fn {name}<")];
    let found = heads.iter().flat_map(|head| text.match_indices(head));
    found
        .map(|(at, _)| {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let indent: String = text[line..].chars().take_while(|c| *c == ' ').collect();
            let end = text[at..].find(&format!("\n{indent}}}\n"));
            &text[at..at + end.expect("the end of a function")]
        })
        .collect()
}

fn place(cell: &str) -> Place {
    let words: Vec<_> = cell.split(' ').map(str::to_owned).collect();
    let [file, function, barrier] = &words[..] else {
        panic!("no place: {cell:?}");
    };
    (file.clone(), function.clone(), barrier.clone())
}

/// All rows of the tables in which places stand.
fn rows() -> Vec<Row> {
    let document = Document::open("ordering.rst");
    let mut rows = Vec::new();
    for (title, tables) in [
        ("A side that has published", 5),
        ("A side that goes to sleep", 1),
        ("Doorbells", 1),
    ] {
        for table in 0..tables {
            rows.extend(document.table(title, table));
        }
    }
    rows
}

fn places() -> BTreeSet<Place> {
    let cells = rows().into_iter().flatten();
    let cells = cells.filter(|cell| cell.contains(".rs "));
    cells.map(|cell| place(&cell)).collect()
}

#[test]
fn each_place_is_there() {
    let places = places();
    assert!(places.len() > 20, "{}", places.len());
    for (name, function, barrier) in places {
        let text = read(&file(&name));
        let found = functions(&text, &function);
        assert!(!found.is_empty(), "{name} has no function {function}");
        let call = [format!("{barrier}("), format!("{barrier}::<")];
        assert!(
            found
                .iter()
                .any(|text| call.iter().any(|c| text.contains(c))),
            "{name}: {function} has no {barrier}"
        );
    }
}

#[test]
fn each_test_is_there() {
    let mut named = 0;
    for row in rows() {
        let Some((file, module)) = row.last().and_then(|cell| cell.split_once("::")) else {
            continue;
        };
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ordering");
        let text = read(&path.join(format!("{file}.rs")));
        let model = format!("litmus!({module}: ");
        assert!(text.contains(&model), "no test {file}::{module}");
        named += 1;
    }
    assert!(named > 20, "{named}");
}

/// A barrier that the document does not name is one that nobody has thought about.
#[test]
fn each_barrier_of_a_ring_is_named() {
    let places = places();
    let barriers = [
        "write_barrier",
        "read_barrier",
        "full_barrier",
        "barrier",
        "publish16",
        "publish32",
        "observe16",
    ];
    for name in [
        "algo/ring/split.rs",
        "algo/ring/packed.rs",
        "device/queue/split.rs",
        "device/queue/packed.rs",
        "device/transport/transaction.rs",
    ] {
        let text = read(&file(name));
        let named: usize = places
            .iter()
            .filter(|(file, ..)| file == name)
            .map(|(_, function, barrier)| calls(functions(&text, function)[0], barrier))
            .sum();
        let all: usize = barriers.iter().map(|barrier| calls(&text, barrier)).sum();
        assert!(
            named >= all && all > 0,
            "{name}: {named} of {all} are named"
        );
    }
}

/// How often `text` calls the function `name`.
fn calls(text: &str, name: &str) -> usize {
    let call = format!("{name}(");
    let own = |c: char| c.is_alphanumeric() || c == '_';
    let found = text.match_indices(&call);
    found.filter(|(at, _)| !text[..*at].ends_with(own)).count()
}
