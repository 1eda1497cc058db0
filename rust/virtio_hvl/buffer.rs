// SPDX-License-Identifier: GPL-2.0

//! What a mapping of a queue's stands for.

use crate::{
    algo::shadow::Mapping,
    virtio::{
        CpuBuffer,
        Direction, //
    },
    virtio_hvl::dma::Mapped, //
};
use core::ptr::NonNull;

/// Memory of the kernel's that a driver has mapped.
#[derive(Clone, Copy)]
pub(crate) struct Buffer(Kind);

/// # Invariants
///
/// `Copied` has what a [`CpuBuffer`] has, and holds what that does; `Direct` has what a [`Mapped`] has.
/// (Both are taken apart, since the whole would be half as large again.)
#[derive(Clone, Copy)]
enum Kind {
    /// Its bytes are copied to and from the region.
    Copied { base: NonNull<u8>, len: u32 },
    /// The peer reaches it where it is.
    Direct {
        address: u64,
        len: u32,
        direction: Direction,
    },
}

// SAFETY: As for `CpuBuffer`.
unsafe impl Send for Buffer {}

// A queue has many: two of them in a line.
const _: () = assert!(size_of::<Mapping<Buffer>>() == 32);

impl Buffer {
    /// One that is copied, and its length; `None`: it is too large.
    pub(crate) fn copied(buffer: CpuBuffer) -> Option<(Self, u32)> {
        let (base, len) = buffer.into_parts();
        let len = u32::try_from(len).ok()?;
        // INVARIANT: Just taken apart.
        Some((Self(Kind::Copied { base, len }), len))
    }

    /// One that the peer reaches.
    pub(crate) fn direct(mapped: Mapped) -> Self {
        // INVARIANT: Just taken apart.
        Self(Kind::Direct {
            address: mapped.address,
            len: mapped.len,
            direction: mapped.direction,
        })
    }

    /// How the peer reaches it, if it does.
    pub(crate) fn mapped(&self) -> Option<Mapped> {
        match self.0 {
            Kind::Copied { .. } => None,
            // INVARIANT: By that of the kind.
            Kind::Direct {
                address,
                len,
                direction,
            } => Some(Mapped {
                address,
                len,
                direction,
            }),
        }
    }

    /// The `N` bytes at `skip` of one that is copied; `None` where they are not all inside.
    pub(crate) fn read<const N: usize>(&self, skip: usize) -> Option<[u8; N]> {
        let part = self.part(skip, N)?;
        let mut bytes = [0; N];
        // SAFETY: Both are valid for `N` bytes, by `part`. Whoever else writes the buffer's at the same time
        // only changes what is read.
        unsafe { part.as_ptr().copy_to_nonoverlapping(bytes.as_mut_ptr(), N) };
        Some(bytes)
    }

    /// Writes `bytes` at `skip` of one that is copied, which the driver does not use while it is mapped;
    /// nothing where there is no room for all of them.
    pub(crate) fn write(&self, skip: usize, bytes: &[u8]) {
        let (from, len) = (bytes.as_ptr(), bytes.len());
        if let Some(part) = self.part(skip, len) {
            // SAFETY: Both are valid for so many bytes, by `part`.
            unsafe { part.as_ptr().copy_from_nonoverlapping(from, len) };
        }
    }

    /// Pointer to the `len` bytes at `skip` of one that is copied; `None` where they are not all inside.
    pub(crate) fn part(&self, skip: usize, len: usize) -> Option<NonNull<u8>> {
        let Kind::Copied { base, len: all } = self.0 else {
            return None;
        };
        match skip.checked_add(len) {
            // SAFETY: Inside of the buffer by the check and the invariant.
            Some(end) if end <= all as usize => Some(unsafe { base.add(skip) }),
            _ => None,
        }
    }
}
