// SPDX-License-Identifier: GPL-2.0

//! What a firmware may ask for in its resource table, and where it wants to be asked to stop.
//!
//! The framework knows more types of resources than can be had here: a carveout would be memory of
//! Linux's that it frees while a firmware that does not stop still uses it, a virtio device needs
//! notifications that there are none of.

use core::fmt;

/// Version, number of entries, two reserved words; then the offset of each entry.
const HEADER_SIZE: usize = 16;
const VERSION: u32 = 1;

/// Address, length, a reserved word, 32 bytes of name.
mod trace {
    pub(super) const KIND: u32 = 2;
    pub(super) const SIZE: usize = 44;
    pub(super) const RESERVED_OFFSET: usize = 8;
}

/// The vendor resource by which a firmware says where it wants to be asked to stop: version, stop
/// request, two reserved words.
pub mod stop {
    /// Its type.
    pub const KIND: u32 = 128;
    pub(super) const VERSION: u32 = 1;
    pub(super) const SIZE: usize = 16;
    pub(super) const REQUEST_OFFSET: usize = 4;
}

/// Why a resource table cannot be used. Offsets are those in the table.
#[allow(
    missing_docs,
    reason = "what the fields are is what the sentences below say; `expect` would fail where the lint is off"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is of another version.
    Version(u32),
    /// Its header has reserved words that are not zero.
    Reserved,
    /// It ends before its list of entries does.
    Offsets { count: u32, size: usize },
    /// An entry does not begin in the table, or it ends behind it.
    Truncated {
        index: u32,
        offset: u32,
        size: usize,
    },
    /// It asks for something that cannot be had.
    Kind { index: u32, kind: u32 },
    /// A trace buffer has a reserved word that is not zero.
    TraceReserved { index: u32 },
    /// The stop request is of another version.
    StopVersion(u32),
    /// The stop request is where it cannot be written as a word.
    StopAlignment { offset: u32 },
    /// It is not clear which of several requests the firmware looks at.
    SeveralStops,
    /// The firmware could not be asked to stop.
    NoStop,
}

fn name(kind: u32) -> &'static str {
    match kind {
        0 => " (carveout)",
        1 => " (devmem)",
        3 => " (vdev)",
        128..=512 => " (vendor)",
        _ => "",
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stop = stop::KIND;

        match self {
            Error::Version(version) => {
                write!(f, "its resource table has version {version}, not {VERSION}")
            }
            Error::Reserved => write!(
                f,
                "its resource table has reserved words in its header that are not zero"
            ),
            Error::Offsets { count, size } => write!(
                f,
                "its resource table has {size} bytes, too few for the offsets of {count} entries"
            ),
            Error::Truncated {
                index,
                offset,
                size,
            } => write!(
                f,
                "entry {index} of its resource table, at {offset}, is not within its {size} bytes"
            ),
            Error::Kind { index, kind } => write!(
                f,
                "entry {index} of its resource table has type {kind}{}, which cannot be had here: allowed are trace buffers ({}) and the stop request ({stop})",
                name(*kind),
                trace::KIND
            ),
            Error::TraceReserved { index } => write!(
                f,
                "entry {index} of its resource table, a trace buffer, has a reserved word that is not zero"
            ),
            Error::StopVersion(version) => write!(
                f,
                "its stop request (resource {stop}) has version {version}, not {}",
                stop::VERSION
            ),
            Error::StopAlignment { offset } => write!(
                f,
                "its stop request (resource {stop}) is at {offset} of the resource table, not at a multiple of 4"
            ),
            Error::SeveralStops => write!(
                f,
                "its resource table has more than one stop request (resource {stop})"
            ),
            Error::NoStop => write!(
                f,
                "its resource table has no stop request (resource {stop}): it could not be stopped"
            ),
        }
    }
}

fn word(data: &[u8], at: usize) -> Option<u32> {
    let bytes = data.get(at..at.checked_add(4)?)?;

    bytes.try_into().ok().map(u32::from_le_bytes)
}

/// Checks a resource table. Returns the offset of the word that is the stop request.
pub fn stop_request(table: &[u8]) -> Result<usize, Error> {
    find(table).map(|found| found.stop_request)
}

/// What a resource table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The offset of the word that is the stop request.
    pub stop_request: usize,
    /// Where the last of its entries ends: its length.
    pub end: usize,
}

/// Checks the resource table that `table` begins with. What is behind its last entry is nothing of it.
pub fn find(table: &[u8]) -> Result<Found, Error> {
    let size = table.len();
    // One that has no header has no entries either, of which it needs one.
    let header = |at| word(table, at).ok_or(Error::Offsets { count: 1, size });

    if header(0)? != VERSION {
        return Err(Error::Version(header(0)?));
    }
    if header(8)? != 0 || header(12)? != 0 {
        return Err(Error::Reserved);
    }
    let count = header(4)?;
    let offsets = usize::try_from(count)
        .ok()
        .and_then(|count| count.checked_mul(4)?.checked_add(HEADER_SIZE))
        .and_then(|end| table.get(HEADER_SIZE..end))
        .ok_or(Error::Offsets { count, size })?;

    let mut found = None;
    let mut end = HEADER_SIZE + offsets.len();
    for (offset, index) in offsets.chunks_exact(4).zip(0..) {
        let offset = word(offset, 0).unwrap_or(u32::MAX);
        let truncated = Error::Truncated {
            index,
            offset,
            size,
        };
        let entry = usize::try_from(offset).ok().and_then(|at| table.get(at..));
        let (entry, at) = match entry {
            Some(entry) => (entry, size - entry.len()),
            None => return Err(truncated),
        };
        let Some(kind) = word(entry, 0) else {
            return Err(truncated);
        };
        let payload = |length| entry.get(4..4 + length).ok_or(truncated.clone());

        match kind {
            trace::KIND => {
                if word(payload(trace::SIZE)?, trace::RESERVED_OFFSET) != Some(0) {
                    return Err(Error::TraceReserved { index });
                }
                end = end.max(at + 4 + trace::SIZE);
            }
            stop::KIND => {
                let version = word(payload(stop::SIZE)?, 0).unwrap_or_default();

                if version != stop::VERSION {
                    return Err(Error::StopVersion(version));
                }
                if offset % 4 != 0 {
                    return Err(Error::StopAlignment { offset });
                }
                if found.is_some() {
                    return Err(Error::SeveralStops);
                }
                found = Some(at + 4 + stop::REQUEST_OFFSET);
                end = end.max(at + 4 + stop::SIZE);
            }
            _ => return Err(Error::Kind { index, kind }),
        }
    }
    let stop_request = found.ok_or(Error::NoStop)?;
    Ok(Found { stop_request, end })
}
