// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Parts of the pool that whoever describes the machine has set, queue by queue.

use super::super::proto::layout::{PAGE, SHARE_MIN};
use super::share::Want;

/// What one virtqueue is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Number of the device in the device table.
    pub device: u32,
    /// Number of the queue.
    pub queue: u32,
    /// Bytes of the pool, as [`check`] wants them.
    pub bytes: u32,
}

/// Whether a part may have `bytes`, whatever queue it is for.
///
/// # Errors
///
/// The number of bytes that comes next and would do, where there is one.
pub fn check(bytes: u32) -> Result<(), Option<u32>> {
    if bytes >= SHARE_MIN && bytes % PAGE == 0 {
        return Ok(());
    }
    Err(bytes.max(SHARE_MIN).checked_next_multiple_of(PAGE))
}

/// Bytes of all of `settings` together.
pub fn sum(settings: &[Setting]) -> u64 {
    let bytes = settings.iter().map(|setting| u64::from(setting.bytes));
    bytes.fold(0, u64::saturating_add)
}

/// What is set for a queue.
pub fn find(settings: &[Setting], device: u32, queue: u32) -> Option<u32> {
    let mut of = settings.iter();
    of.find(|setting| (setting.device, setting.queue) == (device, queue))
        .map(|setting| setting.bytes)
}

/// A part that was set to less than its queue needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The queue.
    pub queue: u32,
    /// What is set.
    pub bytes: u32,
    /// What would do.
    pub least: u32,
}

/// The first queue of device number `device`, which is of type `kind` and has `queues`, that has less
/// than it needs.
pub fn lack(settings: &[Setting], device: u32, kind: u32, queues: u32) -> Option<Lack> {
    (0..queues).find_map(|queue| {
        let bytes = find(settings, device, queue)?;
        let least = Want::of(kind, queue, queues).need;
        (bytes < least).then_some(Lack {
            queue,
            bytes,
            least,
        })
    })
}
