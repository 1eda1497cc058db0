// SPDX-License-Identifier: GPL-2.0 OR MIT

//! The C header is what its generator prints, names everything of `rust/proto/`, and compiles.

#[path = "../../examples/c_header.rs"]
mod generator;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..")
}

fn read(path: &str) -> String {
    let path = tree().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn it_is_up_to_date() {
    let file = read("Documentation/virtio-hvl/virtio-hvl.h");
    assert!(
        file == generator::text(),
        "virtio-hvl.h is not what rust/proto/ says: run tools/host-tests/make-header"
    );
}

#[test]
fn it_is_complete() {
    let groups = generator::groups();
    let listed = |name: &str| {
        let lists = groups.iter().flat_map(|(_, _, list)| list);
        lists.filter(|(rust, _, _)| *rust == name).count()
    };
    let sources = ["layout.rs", "virtio.rs"].map(|file| read(&format!("rust/proto/{file}")));
    let mut declared = std::collections::BTreeMap::new();
    for line in sources.iter().flat_map(|source| source.lines()) {
        let constant = line.trim_start().strip_prefix("pub const ");
        let name = constant.and_then(|rest| rest.split_once(':'));
        if let Some((name, _)) = name.filter(|(name, _)| !name.contains('(')) {
            *declared.entry(name).or_insert(0) += 1;
        }
    }
    assert!(declared.len() > 100, "{declared:?}");
    // Some names are those of several modules.
    for (name, count) in declared {
        assert_eq!(listed(name), count, "{name}, in rust/proto/ and the header");
    }
    // The enumerations by their numbers: each is as long as what it can be read from.
    use hvl_logic::proto::{DriverState, PeerState, Status, TestCause};
    let count = |prefix: &str| {
        let group = groups.iter().find(|(_, known, _)| *known == prefix);
        group.map_or(0, |(_, _, list)| list.len())
    };
    let values = |is: &dyn Fn(u32) -> bool| (0..1000).filter(|&word| is(word)).count();
    assert_eq!(
        count("HVL_PEER_"),
        values(&|word| PeerState::from_word(word).is_some())
    );
    assert_eq!(
        count("HVL_DRIVER_"),
        values(&|word| DriverState::from_word(word).is_some())
    );
    assert_eq!(
        count("HVL_TEST_"),
        values(&|word| TestCause::from_word(word).is_some())
    );
    assert_eq!(
        count("HVL_DONE_"),
        values(&|word| Status::from_word(word).is_some())
    );
    // No name means two things.
    let mut names: Vec<_> = groups
        .iter()
        .flat_map(|(_, prefix, list)| {
            list.iter()
                .map(move |(_, name, _)| format!("{prefix}{name}"))
        })
        .collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

/// Compiles a program that includes the header and nothing else; what the compiler says.
fn compile(compiler: &str, standard: &str, header: &str) -> Result<(), String> {
    let mut child = Command::new(compiler)
        .args(["-x", "c", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"])
        .args(["-pedantic", &format!("-std={standard}"), "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let program = format!("{header}\n{header}\nint main(void) {{ return HVL_DONE_OK; }}\n");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(program.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    if output.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn it_compiles() {
    let header = read("Documentation/virtio-hvl/virtio-hvl.h");
    for compiler in ["gcc", "aarch64-linux-gnu-gcc"] {
        for standard in ["c99", "c11"] {
            compile(compiler, standard, &header)
                .unwrap_or_else(|error| panic!("{compiler} -std={standard}: {error}"));
            // And it is compiled at all: a structure of another size is found out.
            let wrong = header.replacen("\tuint32_t region_size;\n", "", 1);
            assert_ne!(wrong, header);
            assert!(compile(compiler, standard, &wrong).is_err(), "{compiler}");
        }
    }
}
