// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Headers that wait for something, the oldest first.

#![forbid(unsafe_code)]

use super::packet::Header;

/// At most `N` headers.
///
/// # Invariants
///
/// `len <= N`.
#[derive(Debug)]
pub(super) struct List<const N: usize> {
    items: [Header; N],
    len: usize,
}

/// Drops the first `count` of the `len` items that `items` begins with: those behind them move up. (Not by
/// `copy_within`, which panics where a range does not fit.)
pub(super) fn move_up<T: Copy>(items: &mut [T], count: usize, len: usize) {
    for at in count..len {
        let Some(item) = items.get(at).copied() else {
            break;
        };
        if let Some(slot) = items.get_mut(at - count) {
            *slot = item;
        }
    }
}

impl<const N: usize> List<N> {
    pub(super) fn new() -> Self {
        Self {
            items: [Header::default(); N],
            len: 0,
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) const fn is_full(&self) -> bool {
        self.len == N
    }

    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// The oldest.
    pub(super) fn first(&self) -> Option<Header> {
        self.items.get(..self.len)?.first().copied()
    }

    /// Adds a header; without room it is lost.
    pub(super) fn push(&mut self, header: Header) {
        if let Some(slot) = self.items.get_mut(self.len) {
            *slot = header;
            self.len += 1;
        }
    }

    /// Drops the oldest.
    pub(super) fn drop_first(&mut self) {
        if self.len > 0 {
            move_up(&mut self.items, 1, self.len);
            self.len -= 1;
        }
    }

    /// Drops what is of the connection between the ports of `other`, in the same direction.
    pub(super) fn forget(&mut self, other: &Header) {
        let ends = |header: &Header| (header.src_port, header.dst_port);
        let mut kept = 0;
        for index in 0..self.len {
            let Some(header) = self.items.get(index).copied() else {
                break;
            };
            if ends(&header) != ends(other) {
                if let Some(slot) = self.items.get_mut(kept) {
                    *slot = header;
                    kept += 1;
                }
            }
        }
        self.len = kept;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn list_is_a_queue(steps in prop::collection::vec((0u8..4, 0u32..5), 0..60)) {
            let mut list = List::<4>::new();
            let mut model = Vec::new();
            for (number, (step, port)) in (0..).zip(steps) {
                let header = Header { src_port: port, len: number, ..Header::default() };
                match step {
                    0 | 1 => {
                        list.push(header);
                        model.push(header);
                        model.truncate(4);
                    }
                    2 => {
                        list.drop_first();
                        model.drain(..model.len().min(1));
                    }
                    _ => {
                        list.forget(&header);
                        model.retain(|other| other.src_port != port);
                    }
                }
                prop_assert_eq!(list.first(), model.first().copied());
                prop_assert_eq!(list.is_empty(), model.is_empty());
                prop_assert_eq!(list.is_full(), model.len() == 4);
                prop_assert_eq!(list.items.get(..list.len), model.get(..));
            }
        }
    }
}
