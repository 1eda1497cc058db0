// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What is wrong with a word that the other side wrote.

use core::fmt;

/// Class of a defect, from which a caller picks its error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not a virtio-hvl region (kernel: `ENODEV`).
    NotHvl,
    /// Another major version (kernel: `EPROTONOSUPPORT`).
    Version,
    /// Outside the region, or over a limit (kernel: `ERANGE`).
    Range,
    /// Misaligned or contradictory (kernel: `EINVAL`).
    Malformed,
}

/// A field of the region with an illegal value.
///
/// `Display` gives one line that names the field, its value and what would be right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldError {
    /// Class of the defect.
    pub kind: Kind,
    /// Name of the field as in the protocol document.
    pub field: &'static str,
    /// The value found.
    pub value: u64,
    /// What would be right.
    pub want: &'static str,
    /// The number that `want` speaks of.
    pub bound: u64,
}

impl FieldError {
    /// Describes a bad value of `field`.
    pub const fn new(
        kind: Kind,
        field: &'static str,
        value: u64,
        want: &'static str,
        bound: u64,
    ) -> Self {
        Self {
            kind,
            field,
            value,
            want,
            bound,
        }
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} is {:#x}, must be {} {:#x}",
            self.field, self.value, self.want, self.bound
        )
    }
}
