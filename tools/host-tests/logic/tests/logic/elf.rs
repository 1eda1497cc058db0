// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What psci_rproc accepts as firmware.

use std::ops::Range;

use hvl_logic::elf::{
    resources::{self, find, stop_request},
    Error, Image, Table,
};
use proptest::prelude::*;

const MEMORY: Range<u64> = 0x7800_0000..0x7900_0000;
const TEXT: u64 = 0x7800_0000;
const DATA: u64 = 0x7800_1000;
/// A trace buffer and the stop request.
const TABLE: [u32; 24] = [
    1,
    2,
    0,
    0,
    24,
    72, // header, offsets
    2,
    0x7800_0080,
    0x1000,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    0, // trace
    128,
    1,
    0,
    0,
    0, // stop request
    0, // behind it
];
const NAMES: &[u8] = b"\0.shstrtab\0.resource_table\0.bss\0";

/// What a test changes of a good file.
#[derive(Clone)]
struct Elf {
    ident: [u8; 6],
    kind: u16,
    machine: u16,
    entry: u64,
    program_header_size: u16,
    /// Type, flags, offset, address, size in the file, in memory.
    segments: Vec<(u32, u32, u64, u64, u64, u64)>,
    /// Name, address, offset, size.
    sections: Vec<(u32, u64, u64, u64)>,
    names: Vec<u8>,
    names_index: u16,
}

/// Headers at 0, program headers at 64, data at 0x400 (text) and 0x500 (data), names at 0x600,
/// section headers at 0x700.
fn good() -> Elf {
    Elf {
        ident: *b"\x7fELF\x02\x01",
        kind: 2,
        machine: 183,
        entry: TEXT,
        program_header_size: 56,
        segments: vec![
            (1, 5, 0x400, TEXT, 0x100, 0x100),
            (4, 4, 0, 0, 0, 0),
            (1, 6, 0x500, DATA, 0x80, 0x1000),
        ],
        sections: vec![
            (0, 0, 0, 0),
            (1, 0, 0x600, NAMES.len() as u64),
            (11, DATA + 0x10, 0x510, 0x60),
            (27, DATA + 0x80, 0x580, 0xf80),
        ],
        names: NAMES.to_vec(),
        names_index: 1,
    }
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Elf {
    fn file(&self) -> Vec<u8> {
        let mut file = vec![0xa5; 0x700];
        let mut put = |at: usize, bytes: &[u8]| file[at..at + bytes.len()].copy_from_slice(bytes);

        put(0, &[0; 64]);
        put(0, &self.ident);
        put(16, &self.kind.to_le_bytes());
        put(18, &self.machine.to_le_bytes());
        put(24, &self.entry.to_le_bytes());
        put(32, &64u64.to_le_bytes());
        put(40, &0x700u64.to_le_bytes());
        put(54, &self.program_header_size.to_le_bytes());
        put(56, &(self.segments.len() as u16).to_le_bytes());
        put(58, &64u16.to_le_bytes());
        put(60, &(self.sections.len() as u16).to_le_bytes());
        put(62, &self.names_index.to_le_bytes());
        for (index, (kind, flags, offset, address, file, memory)) in
            self.segments.iter().enumerate()
        {
            let at = 64 + 56 * index;

            put(at, &kind.to_le_bytes());
            put(at + 4, &flags.to_le_bytes());
            for (field, value) in [offset, address, address, file, memory, &4]
                .into_iter()
                .enumerate()
            {
                put(at + 8 + 8 * field, &value.to_le_bytes());
            }
        }
        put(0x510, &bytes(&TABLE));
        put(0x600, &self.names);
        for (name, address, offset, size) in &self.sections {
            let mut header = [0; 64];

            header[..4].copy_from_slice(&name.to_le_bytes());
            header[16..24].copy_from_slice(&address.to_le_bytes());
            header[24..32].copy_from_slice(&offset.to_le_bytes());
            header[32..40].copy_from_slice(&size.to_le_bytes());
            file.extend(header);
        }
        file
    }

    fn error(&self) -> Error {
        Image::parse(&self.file(), MEMORY)
            .err()
            .expect("it is wrong")
    }
}

/// `good()` changed by `change` is refused with an error that `expected` knows, and whose sentence
/// has these words.
#[track_caller]
fn refused(change: impl FnOnce(&mut Elf), expected: impl Fn(&Error) -> bool, words: &str) {
    let mut elf = good();
    change(&mut elf);
    let error = elf.error();

    assert!(expected(&error), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
    assert!(!error.to_string().contains('\n'));
}

#[test]
fn a_good_file() {
    let file = good().file();
    let image = Image::parse(&file, MEMORY).map_err(|e| e.to_string());
    let image = image.expect("it is good");
    let segments: Vec<_> = image.segments().collect();

    assert_eq!(image.entry, TEXT);
    assert_eq!(
        image.table,
        Table {
            address: DATA + 0x10,
            data: &bytes(&TABLE),
            stop_request: DATA + 0x10 + 80,
        }
    );
    assert_eq!(segments.len(), 2);
    assert_eq!(segments[0].address, TEXT);
    assert_eq!(segments[0].data, &file[0x400..0x500]);
    assert_eq!(segments[1].address, DATA);
    assert_eq!(segments[1].data, &file[0x500..0x580]);
    assert_eq!(segments[1].size, 0x1000);
}

#[test]
fn headers() {
    refused(
        |e| e.ident[0] = 0,
        |e| matches!(e, Error::Magic(_)),
        "not with 7f 45 4c 46",
    );
    refused(
        |e| e.ident[4] = 1,
        |e| *e == Error::Class(1),
        "class is 1, not 2",
    );
    refused(
        |e| e.ident[5] = 2,
        |e| *e == Error::Endianness(2),
        "encoding is 2, not 1",
    );
    refused(
        |e| e.machine = 40,
        |e| *e == Error::Machine(40),
        "machine is 40, not 183",
    );
    refused(|e| e.kind = 3, |e| *e == Error::Type(3), "type is 3, not 2");
    refused(
        |e| e.program_header_size = 32,
        |e| {
            matches!(
                e,
                Error::EntrySize {
                    size: 32,
                    expected: 56,
                    ..
                }
            )
        },
        "each program header has 32 bytes, not 56",
    );
}

#[test]
fn segments() {
    refused(
        |e| e.segments.clear(),
        |e| *e == Error::NoSegment,
        "no loadable segment",
    );
    refused(
        |e| e.segments[2].4 = 0x1001,
        |e| {
            matches!(
                e,
                Error::SegmentSize {
                    index: 2,
                    file: 0x1001,
                    memory: 0x1000
                }
            )
        },
        "segment 2 has 4097 bytes in the file",
    );
    refused(
        |e| e.segments[0].2 = u64::MAX - 4,
        |e| matches!(e, Error::Truncated { end: u64::MAX, .. }),
        "truncated: its segments would end",
    );
    // Right up to both ends is inside, one byte further is not.
    for (address, size, inside) in [
        (MEMORY.start, 0x100_0000, true),
        (MEMORY.end - 0x1000, 0x1000, true),
        (MEMORY.start - 1, 0x100, false),
        (MEMORY.end - 0x1000, 0x1001, false),
        (u64::MAX - 0xff, 0x100, false),
        (0, u64::MAX, false),
    ] {
        let mut elf = good();
        elf.segments.push((1, 6, 0, address, 0, size));
        match Image::parse(&elf.file(), MEMORY) {
            Ok(_) => assert!(inside, "{address:#x}"),
            Err(Error::SegmentOutside { index: 3, .. }) => assert!(!inside, "{address:#x}"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn entry() {
    for (entry, inside) in [
        (TEXT, true),
        (TEXT + 0xfc, true),
        (TEXT + 0x100, false),
        (TEXT + 2, false),
        (TEXT - 4, false),
        (DATA, false),
        (u64::MAX - 3, false),
    ] {
        let mut elf = good();
        elf.entry = entry;
        match Image::parse(&elf.file(), MEMORY) {
            Ok(_) => assert!(inside, "{entry:#x}"),
            Err(Error::Entry { .. }) => assert!(!inside, "{entry:#x}"),
            Err(e) => panic!("{e}"),
        }
    }
}

#[test]
fn resource_table() {
    refused(
        |e| e.sections.clear(),
        |e| *e == Error::NoTable,
        "no .resource_table",
    );
    refused(
        |e| e.sections[2].0 = 1,
        |e| *e == Error::NoTable,
        "no .resource_table",
    );
    refused(
        |e| e.names_index = 9,
        |e| *e == Error::SectionNames,
        "section names",
    );
    refused(
        |e| e.sections[3].0 = 0x1000,
        |e| *e == Error::SectionNames,
        "section names",
    );
    refused(
        |e| e.sections[1].3 = 10,
        |e| *e == Error::SectionNames,
        "section names",
    );
    refused(
        |e| e.sections[2].1 = DATA + 0x24,
        |e| matches!(e, Error::TableNotLoaded { .. }),
        "is in no segment that is loaded",
    );
    refused(
        |e| e.sections[2].1 = DATA + 0x12,
        |e| matches!(e, Error::TableSize { .. }),
        "aligned",
    );
    refused(
        |e| e.sections[2].3 = 15,
        |e| matches!(e, Error::Resources(_)),
        "has 15 bytes, too few",
    );
    refused(
        |e| e.sections[2].3 = 0x1000,
        |e| {
            matches!(
                e,
                Error::Truncated {
                    what: "resource table",
                    ..
                }
            )
        },
        "truncated: its resource table",
    );
}

#[test]
fn resources() {
    use resources::Error;

    // Which words of the table are what, and what is said of them.
    let refused = |changes: &[(usize, u32)], expected: Error, words: &str| {
        let mut table = TABLE;
        for (at, value) in changes {
            table[*at] = *value;
        }
        let error = stop_request(&bytes(&table)).expect_err(words);

        assert_eq!(error, expected);
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains('\n'));
    };

    assert_eq!(stop_request(&bytes(&TABLE)), Ok(80));
    refused(&[(0, 2)], Error::Version(2), "version 2, not 1");
    refused(&[(2, 1)], Error::Reserved, "reserved words in its header");
    refused(&[(3, 1)], Error::Reserved, "reserved words in its header");
    refused(
        &[(1, 21)],
        Error::Offsets {
            count: 21,
            size: 96,
        },
        "has 96 bytes, too few for the offsets of 21 entries",
    );
    refused(
        &[(1, u32::MAX)],
        Error::Offsets {
            count: u32::MAX,
            size: 96,
        },
        "too few",
    );
    for offset in [93, 96, 97, 0x8000_0000, u32::MAX] {
        refused(
            &[(5, offset)],
            Error::Truncated {
                index: 1,
                offset,
                size: 96,
            },
            "entry 1 of its resource table",
        );
    }
    for (kind, name) in [
        (0, "type 0 (carveout), which cannot be had"),
        (1, "type 1 (devmem)"),
        (3, "type 3 (vdev)"),
        (4, "type 4, which"),
        (127, "type 127, which"),
        (129, "type 129 (vendor)"),
        (u32::MAX, "type 4294967295, which"),
    ] {
        refused(&[(6, kind)], Error::Kind { index: 0, kind }, name);
    }
    refused(
        &[(9, 1)],
        Error::TraceReserved { index: 0 },
        "a trace buffer, has a reserved word",
    );
    refused(&[(19, 9)], Error::StopVersion(9), "version 9, not 1");
    refused(&[(1, 1)], Error::NoStop, "has no stop request");
    refused(&[(1, 0)], Error::NoStop, "has no stop request");
    refused(&[(4, 72)], Error::SeveralStops, "more than one");

    // The last word belongs to the request; what is behind it does not.
    let all = bytes(&TABLE);
    assert_eq!(stop_request(&all[..92]), Ok(80));
    // What is found in memory has something behind it.
    assert_eq!(find(&all).map(|found| found.end), Ok(92));
    assert_eq!(find(&[0; 4096]), Err(Error::Version(0)));
    for length in 0..92 {
        assert!(stop_request(&all[..length]).is_err(), "{length}");
    }
    // One byte further on.
    let mut table = all.clone();
    table.insert(72, 0);
    table[20] = 73;
    assert_eq!(
        stop_request(&table),
        Err(Error::StopAlignment { offset: 73 })
    );
}

#[test]
fn every_truncation() {
    let file = good().file();

    for length in 0..file.len() {
        assert!(Image::parse(&file[..length], MEMORY).is_err(), "{length}");
    }
}

/// Whatever is accepted can be loaded without leaving the memory or the file.
fn safe(file: &[u8]) {
    let Ok(image) = Image::parse(file, MEMORY) else {
        return;
    };
    let mut entry = false;
    let mut table = false;

    for segment in image.segments() {
        let end = segment
            .address
            .checked_add(segment.size)
            .expect("no overflow");
        assert!(segment.address >= MEMORY.start && end <= MEMORY.end);
        assert!(segment.data.len() as u64 <= segment.size);
        entry |= (segment.address..end).contains(&image.entry);
        let loaded = segment.address + segment.data.len() as u64;
        let end = image.table.address + image.table.data.len() as u64;
        table |= image.table.address >= segment.address
            && end <= loaded
            && image.table.stop_request % 4 == 0
            && image.table.stop_request > image.table.address
            && image.table.stop_request + 4 <= end;
    }
    assert!(entry && table);
}

#[test]
fn every_byte_changed() {
    let good = good().file();

    for at in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut file = good.clone();
            file[at] = value;
            safe(&file);
        }
    }
}

proptest! {
    #[test]
    fn table_words_changed(
        changes in prop::collection::vec((0usize..TABLE.len(), prop_oneof![any::<u32>(), 0u32..140]), 1..6),
        length in 0usize..=96,
    ) {
        let mut table = TABLE;
        for (at, value) in changes {
            table[at] = value;
        }
        if let Ok(at) = stop_request(&bytes(&table)[..length]) {
            prop_assert!(at % 4 == 0 && at + 4 <= length);
        }
    }

    #[test]
    fn several_bytes_changed(
        changes in prop::collection::vec((0usize..0x800, any::<u8>()), 1..12),
    ) {
        let mut file = good().file();
        for (at, value) in changes {
            file[at] = value;
        }
        safe(&file);
    }

    #[test]
    fn words_changed(changes in prop::collection::vec((0usize..0x100, any::<u64>()), 1..4)) {
        let mut file = good().file();
        for (at, value) in changes {
            file[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
        }
        safe(&file);
    }
}
