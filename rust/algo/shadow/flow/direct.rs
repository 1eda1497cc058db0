// SPDX-License-Identifier: GPL-2.0 OR MIT

//! From the driver to a device that reaches the driver's memory itself.

use super::super::super::super::proto::layout::CHAIN_BYTES_MAX;
use super::super::super::ring::{Memory, Segment};
use super::super::maps::Maps;
use super::super::pool;
use super::super::{Data, Store, SEGMENTS_MAX};
use super::{Flow, Post, Posted};

/// A chain whose parts are listed.
struct Parts {
    /// How many: those that the device reads come first.
    readable: usize,
    count: usize,
    /// And the bytes of either kind.
    readable_len: u64,
    writable_len: u64,
}

impl<S: Store> Flow<S> {
    /// Brings the next chain of the private ring to the shared one, each part as the driver has it.
    #[inline(never)]
    pub(super) fn post_direct<P, M, D>(
        &mut self,
        maps: &Maps<S::Maps>,
        private: &P,
        shared: &M,
        data: &D,
    ) -> Posted
    where
        P: Memory + ?Sized,
        M: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let Some(head) = self.private.peek(private) else {
            self.starved = false;
            return Posted::Idle;
        };
        let parts = match self.list(head, maps, private, data) {
            Ok(parts) => parts,
            Err(posted) => return posted,
        };
        let Parts {
            readable,
            count,
            readable_len,
            writable_len,
        } = parts;
        let bytes = readable_len.saturating_add(writable_len);
        let fits = bytes <= u64::from(CHAIN_BYTES_MAX) && self.ring.fits(count);
        let pieces = self.segments.get(..count).filter(|_| fits);
        let Some((first, second)) = pieces.and_then(|pieces| pieces.split_at_checked(readable))
        else {
            return Posted::Never(bytes);
        };
        if self.ring.post(shared, first, second, head).is_err() {
            (self.starved, self.freed) = (true, false);
            return Posted::Starved;
        }
        self.private.take();
        self.starved = false;
        if let Some(post) = self.posts.get_mut(usize::from(head)) {
            // Neither is more than the limit that was just looked at.
            *post = Post {
                first: pool::NONE,
                readable: readable_len as u32,
                writable: writable_len as u32,
            };
        }
        if writable_len != 0 {
            self.writable = self.writable.saturating_add(1);
        }
        Posted::Chain
    }

    /// Lists the parts of the chain at `head` in [`Flow::segments`], where the device sees them.
    ///
    /// # Errors
    ///
    /// [`Posted::Stray`]; [`Posted::Never`] for more parts than a chain may have, or in no order that
    /// one may have.
    fn list<P, D>(
        &mut self,
        head: u16,
        maps: &Maps<S::Maps>,
        private: &P,
        data: &D,
    ) -> Result<Parts, Posted>
    where
        P: Memory + ?Sized,
        D: Data<S::Buffer> + ?Sized,
    {
        let mut parts = Parts {
            readable: 0,
            count: 0,
            readable_len: 0,
            writable_len: 0,
        };
        let mut well = true;
        let mut number = Some(head);
        // No chain is longer than the ring.
        for _ in 0..self.private.size() {
            let Some(at) = number else {
                break;
            };
            let desc = self.private.desc(private, at);
            number = desc.next;
            let part = desc.part;
            let Some(address) = maps
                .within(part)
                .and_then(|(buffer, at)| data.address(&buffer)?.checked_add(at.into()))
            else {
                return Err(Posted::Stray(part.address));
            };
            if part.len == 0 {
                continue;
            }
            if desc.writable {
                parts.writable_len += u64::from(part.len);
            } else {
                // The virtio core has them first.
                well &= parts.readable == parts.count;
                parts.readable += 1;
                parts.readable_len += u64::from(part.len);
            }
            match self.segments.get_mut(parts.count) {
                Some(slot) if parts.count < SEGMENTS_MAX => {
                    *slot = Segment {
                        address,
                        len: part.len,
                    };
                }
                _ => well = false,
            }
            parts.count += 1;
        }
        if well {
            Ok(parts)
        } else {
            let bytes = parts.readable_len.saturating_add(parts.writable_len);
            Err(Posted::Never(bytes))
        }
    }
}
