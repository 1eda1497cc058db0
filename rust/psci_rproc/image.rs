// SPDX-License-Identifier: GPL-2.0

//! What is known of a firmware: from its file, or, where somebody else has started it, from memory.

use kernel::{
    device::Device,
    fmt,
    prelude::*, //
};

use super::{
    cpu::Core,
    elf, //
};
use crate::remoteproc::mem::Memory;

// `elf` knows nothing of the kernel, whose macros print with a trait of their own.
impl fmt::Display for elf::Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

/// Most bytes of a resource table that is found in memory.
const TABLE_MAX: usize = 4096;

/// What is known of the firmware that was looked at last.
#[derive(Default)]
pub(super) struct Image {
    /// Where it begins; not known of one that was found running.
    pub(super) entry: Option<u64>,
    /// The address of its resource table.
    pub(super) table: u64,
    /// What the file has there, of which the framework keeps a copy for the recovery.
    pub(super) table_data: KVec<u8>,
    /// The address of the stop request.
    pub(super) request: u64,
    /// Whether it was loaded once: the next time is a recovery.
    pub(super) loaded: bool,
    /// Whether this is a recovery.
    pub(super) recovery: bool,
}

impl Image {
    pub(super) fn new(image: &elf::Image<'_>) -> Result<Self> {
        let mut table_data = KVec::new();

        table_data.extend_from_slice(image.table.data, GFP_KERNEL)?;
        Ok(Self {
            entry: Some(image.entry),
            table: image.table.address,
            table_data,
            request: image.table.stop_request,
            ..Self::default()
        })
    }

    /// The firmware that `core` runs already, by its resource table at `table`.
    ///
    /// # Errors
    ///
    /// After a line in the log that says why: `ENOEXEC`: there is no such table; `EBUSY`: it was asked to stop. `ENOMEM`.
    pub(super) fn running(dev: &Device, core: &Core, memory: &Memory, table: u64) -> Result<Self> {
        let cpu = core.cpu();
        let room = memory.range().end.saturating_sub(table);
        let size = usize::try_from(room).map_or(TABLE_MAX, |room| room.min(TABLE_MAX));
        let mut data = KVec::from_elem(0, size, GFP_KERNEL)?;

        memory.read(table, &mut data)?;
        let found = elf::resources::find(&data).map_err(|e| {
            dev_err!(
                dev,
                "cpu{cpu} already runs something that has no resource table at {table:#x}: {}\n",
                elf::Error::Resources(e)
            );
            ENOEXEC
        })?;
        let request = data.get(found.stop_request..);
        if request.is_some_and(|request| !request.starts_with(&[0; 4])) {
            dev_err!(
                dev,
                "the firmware on cpu{cpu} was asked to stop before: it is not attached to\n"
            );
            return Err(EBUSY);
        }
        data.truncate(found.end);
        Ok(Self {
            table,
            table_data: data,
            request: table + found.stop_request as u64,
            // If it is loaded, that is in a recovery.
            loaded: true,
            ..Self::default()
        })
    }

    /// Whether what the framework remembers of this one is right for that one as well.
    pub(super) fn describes(&self, other: &elf::Image<'_>) -> bool {
        let (known, data) = (&*self.table_data, other.table.data);

        self.table == other.table.address
            && match self.entry {
                Some(entry) => entry == other.entry && known == data,
                // What is behind the last entry, to the end of the file's section, is not known of one in memory.
                None => data.starts_with(known),
            }
    }

    /// After a failed recovery the framework neither starts nor stops: it takes the processor for
    /// being in use, but off.
    pub(super) fn explain(&self, dev: &Device) {
        if self.recovery {
            dev_err!(
                dev,
                "the restart failed: the device has to be unbound and bound before it can be started again\n"
            );
        }
    }
}
