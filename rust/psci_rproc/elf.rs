// SPDX-License-Identifier: GPL-2.0

//! What a firmware file has to be, checked before any of it is used.
//!
//! The framework's own loader looks at single fields when it needs them. Here the whole file is
//! looked at first, its resource table included, so that a firmware that cannot run is refused
//! before a core is taken from Linux, with a sentence that says what is wrong, where, and what would
//! be right.
//!
//! Nothing here depends on the kernel, so that its tests run on the host (tools/host-tests).

// Beside this file for whoever includes that by its path, too.
#[path = "resources.rs"]
pub mod resources;

use core::{
    fmt,
    ops::Range, //
};

const HEADER_SIZE: usize = 64;
const PROGRAM_HEADER_SIZE: usize = 56;
const SECTION_HEADER_SIZE: usize = 64;

const CLASS_64: u8 = 2;
const DATA_LITTLE_ENDIAN: u8 = 1;
const TYPE_EXECUTABLE: u16 = 2;
const MACHINE_AARCH64: u16 = 183;
const SEGMENT_LOAD: u32 = 1;
const FLAG_EXECUTABLE: u32 = 1;

const TABLE_NAME: &[u8] = b".resource_table\0";

/// Why a file cannot be used as firmware. Addresses are those of the running firmware.
#[allow(
    missing_docs,
    reason = "what the fields are is what the sentences below say; `expect` would fail where the lint is off"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It ends before something that it has to have.
    Truncated {
        what: &'static str,
        end: u64,
        size: u64,
    },
    /// It does not begin like an ELF file.
    Magic([u8; 4]),
    /// It is not for 64-bit processors.
    Class(u8),
    /// It is not little-endian.
    Endianness(u8),
    /// It is for another processor.
    Machine(u16),
    /// It is not a linked program at fixed addresses.
    Type(u16),
    /// The entries of a table have a size that ELF does not give them.
    EntrySize {
        what: &'static str,
        size: u16,
        expected: usize,
    },
    /// There is nothing to load.
    NoSegment,
    /// More of a segment is in the file than in memory.
    SegmentSize { index: u16, file: u64, memory: u64 },
    /// A segment does not fit into the memory.
    SegmentOutside {
        index: u16,
        start: u64,
        size: u64,
        memory: Range<u64>,
    },
    /// The entry point is not in an executable segment.
    Entry { entry: u64, memory: Range<u64> },
    /// The section names are not usable.
    SectionNames,
    /// There is no resource table.
    NoTable,
    /// The resource table is not loaded with the firmware.
    TableNotLoaded { start: u64, size: u64 },
    /// The resource table is too large, or not aligned.
    TableSize { start: u64, size: u64 },
    /// The resource table has something in it that cannot be.
    Resources(resources::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Truncated { what, end, size } => write!(
                f,
                "truncated: its {what} would end at byte {end}, the file has {size}"
            ),
            Error::Magic(magic) => write!(
                f,
                "not an ELF file: it begins with {:02x} {:02x} {:02x} {:02x}, not with 7f 45 4c 46",
                magic[0], magic[1], magic[2], magic[3]
            ),
            Error::Class(class) => {
                write!(f, "not a 64-bit ELF file: its class is {class}, not {CLASS_64}")
            }
            Error::Endianness(data) => write!(
                f,
                "not a little-endian ELF file: its data encoding is {data}, not {DATA_LITTLE_ENDIAN}"
            ),
            Error::Machine(machine) => write!(
                f,
                "not an arm64 ELF file: its machine is {machine}, not {MACHINE_AARCH64}"
            ),
            Error::Type(kind) => write!(
                f,
                "not an executable at fixed addresses: its ELF type is {kind}, not {TYPE_EXECUTABLE}"
            ),
            Error::EntrySize {
                what,
                size,
                expected,
            } => write!(f, "each {what} has {size} bytes, not {expected}"),
            Error::NoSegment => write!(f, "has no loadable segment"),
            Error::SegmentSize {
                index,
                file,
                memory,
            } => write!(
                f,
                "segment {index} has {file} bytes in the file, more than its {memory} in memory"
            ),
            Error::SegmentOutside {
                index,
                start,
                size,
                memory,
            } => write!(
                f,
                "segment {index}, {size} bytes at {start:#x}, is outside of the memory-region {:#x}-{:#x}",
                memory.start, memory.end
            ),
            Error::Entry { entry, memory } => write!(
                f,
                "its entry point {entry:#x} is not in an executable segment in the memory-region {:#x}-{:#x}",
                memory.start, memory.end
            ),
            Error::SectionNames => write!(f, "its section names are malformed"),
            Error::NoTable => write!(
                f,
                "has no .resource_table section, without which it could not be stopped"
            ),
            Error::TableNotLoaded { start, size } => write!(
                f,
                "its resource table, {size} bytes at {start:#x}, is in no segment that is loaded from the file"
            ),
            Error::TableSize { start, size } => write!(
                f,
                "its resource table, {size} bytes at {start:#x}, is too large or not aligned to 4"
            ),
            Error::Resources(e) => e.fmt(f),
        }
    }
}

fn array<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(data: &[u8], at: usize) -> u16 {
    array(data, at).map_or(0, u16::from_le_bytes)
}

fn u32_at(data: &[u8], at: usize) -> u32 {
    array(data, at).map_or(0, u32::from_le_bytes)
}

fn u64_at(data: &[u8], at: usize) -> u64 {
    array(data, at).map_or(0, u64::from_le_bytes)
}

/// `size` bytes at `offset` of the file.
fn part<'a>(file: &'a [u8], offset: u64, size: u64, what: &'static str) -> Result<&'a [u8], Error> {
    let end = offset.saturating_add(size);
    let truncated = Error::Truncated {
        what,
        end,
        size: file.len() as u64,
    };

    match (usize::try_from(offset), usize::try_from(end)) {
        (Ok(offset), Ok(end)) => file.get(offset..end).ok_or(truncated),
        _ => Err(truncated),
    }
}

/// Whether `size` bytes at `start` are within `range`.
fn within(range: &Range<u64>, start: u64, size: u64) -> bool {
    start >= range.start && start.checked_add(size).is_some_and(|end| end <= range.end)
}

/// A part of the firmware that is loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    index: u16,
    executable: bool,
    /// Where it goes.
    pub address: u64,
    /// What goes there.
    pub data: &'a [u8],
    /// How much there is in all; what is behind the data is zero.
    pub size: u64,
}

/// The resource table.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Table<'a> {
    /// Its address.
    pub address: u64,
    /// What is there in the file.
    pub data: &'a [u8],
    /// The address of the stop request, a word in it.
    pub stop_request: u64,
}

/// A firmware file that can be loaded to the memory it was checked against.
pub struct Image<'a> {
    file: &'a [u8],
    program_headers: &'a [u8],
    /// The resource table.
    pub table: Table<'a>,
    /// Where the firmware begins.
    pub entry: u64,
}

impl<'a> Image<'a> {
    /// Checks that `file` is a firmware for `memory`.
    pub fn parse(file: &'a [u8], memory: Range<u64>) -> Result<Self, Error> {
        let header = part(file, 0, HEADER_SIZE as u64, "ELF header")?;
        let magic = array(header, 0).unwrap_or_default();

        if &magic != b"\x7fELF" {
            return Err(Error::Magic(magic));
        }
        if header[4] != CLASS_64 {
            return Err(Error::Class(header[4]));
        }
        if header[5] != DATA_LITTLE_ENDIAN {
            return Err(Error::Endianness(header[5]));
        }
        if u16_at(header, 18) != MACHINE_AARCH64 {
            return Err(Error::Machine(u16_at(header, 18)));
        }
        if u16_at(header, 16) != TYPE_EXECUTABLE {
            return Err(Error::Type(u16_at(header, 16)));
        }

        let mut image = Image {
            file,
            program_headers: table(
                file,
                "program header",
                u64_at(header, 32),
                (u16_at(header, 56), u16_at(header, 54)),
                PROGRAM_HEADER_SIZE,
            )?,
            table: Table::default(),
            entry: u64_at(header, 24),
        };

        image.check_segments(memory)?;
        image.table = image.find_table(header)?;
        Ok(image)
    }

    /// The segments to load, in the order of the file.
    pub fn segments(&self) -> impl Iterator<Item = Segment<'a>> + '_ {
        self.all_segments().filter_map(Result::ok)
    }

    fn all_segments(&self) -> impl Iterator<Item = Result<Segment<'a>, Error>> + '_ {
        self.program_headers
            .chunks_exact(PROGRAM_HEADER_SIZE)
            .zip(0u16..)
            .filter(|(header, _)| u32_at(header, 0) == SEGMENT_LOAD && u64_at(header, 40) != 0)
            .map(|(header, index)| {
                let (file, memory) = (u64_at(header, 32), u64_at(header, 40));

                if file > memory {
                    return Err(Error::SegmentSize {
                        index,
                        file,
                        memory,
                    });
                }
                Ok(Segment {
                    index,
                    executable: u32_at(header, 4) & FLAG_EXECUTABLE != 0,
                    address: u64_at(header, 24),
                    data: part(self.file, u64_at(header, 8), file, "segments")?,
                    size: memory,
                })
            })
    }

    fn check_segments(&self, memory: Range<u64>) -> Result<(), Error> {
        let mut any = false;
        let mut entry_found = false;

        for segment in self.all_segments() {
            let segment = segment?;

            if !within(&memory, segment.address, segment.size) {
                return Err(Error::SegmentOutside {
                    index: segment.index,
                    start: segment.address,
                    size: segment.size,
                    memory,
                });
            }
            any = true;
            // `within` has shown that the sum does not overflow. An instruction has four bytes.
            entry_found |= segment.executable
                && self.entry % 4 == 0
                && within(
                    &(segment.address..segment.address + segment.size),
                    self.entry,
                    4,
                );
        }
        if !any {
            return Err(Error::NoSegment);
        }
        if !entry_found {
            return Err(Error::Entry {
                entry: self.entry,
                memory,
            });
        }
        Ok(())
    }

    fn find_table(&self, header: &[u8]) -> Result<Table<'a>, Error> {
        let sections = table(
            self.file,
            "section header",
            u64_at(header, 40),
            (u16_at(header, 60), u16_at(header, 58)),
            SECTION_HEADER_SIZE,
        )?;
        if sections.is_empty() {
            return Err(Error::NoTable);
        }
        let names = sections
            .chunks_exact(SECTION_HEADER_SIZE)
            .nth(u16_at(header, 62).into())
            .ok_or(Error::SectionNames)?;
        let names = part(
            self.file,
            u64_at(names, 24),
            u64_at(names, 32),
            "section names",
        )?;

        // The framework compares the names as strings that end somewhere.
        if names.last() != Some(&0) {
            return Err(Error::SectionNames);
        }

        let mut found = None;
        for section in sections.chunks_exact(SECTION_HEADER_SIZE) {
            let name = usize::try_from(u32_at(section, 0))
                .ok()
                .and_then(|at| names.get(at..))
                .filter(|name| !name.is_empty())
                .ok_or(Error::SectionNames)?;

            if found.is_none() && name.starts_with(TABLE_NAME) {
                found = Some(section);
            }
        }

        let section = found.ok_or(Error::NoTable)?;
        let (address, size) = (u64_at(section, 16), u64_at(section, 32));

        let data = part(self.file, u64_at(section, 24), size, "resource table")?;
        if size > u64::from(u16::MAX) || address % 4 != 0 {
            return Err(Error::TableSize {
                start: address,
                size,
            });
        }
        // It has to be the bytes of a segment: the framework writes to where it says it is.
        let loaded = self.segments().any(|segment| {
            within(
                &(segment.address..segment.address.saturating_add(segment.data.len() as u64)),
                address,
                size,
            )
        });
        if !loaded {
            return Err(Error::TableNotLoaded {
                start: address,
                size,
            });
        }
        let offset = resources::stop_request(data).map_err(Error::Resources)?;
        Ok(Table {
            address,
            data,
            // Within the segment, as the whole table is.
            stop_request: address + offset as u64,
        })
    }
}

/// A table of `count` entries of `size` bytes; an empty one may be anywhere.
fn table<'a>(
    file: &'a [u8],
    what: &'static str,
    offset: u64,
    (count, size): (u16, u16),
    expected: usize,
) -> Result<&'a [u8], Error> {
    if count == 0 {
        return Ok(&[]);
    }
    if usize::from(size) != expected {
        return Err(Error::EntrySize {
            what,
            size,
            expected,
        });
    }
    part(file, offset, u64::from(count) * u64::from(size), what)
}
