// SPDX-License-Identifier: GPL-2.0 OR MIT

//! Copying a configuration space that the other side may change meanwhile, so that no copy has a part
//! from before a change and another from after it (protocol.rst, "Configuration").
//!
//! It is a sequence lock whose writer is not trusted: whoever reads never waits for longer than it
//! chooses to.

use super::super::proto::generation::is_settled;

/// How often a copy is made anew at once because there was a change meanwhile.
pub const AT_ONCE: u32 = 4;

/// A configuration space that the other side writes.
pub trait Space {
    /// Observes the generation: what is read later is read after it.
    fn generation(&self) -> u32;
    /// Reads word `index`.
    fn word(&self, index: usize) -> u32;
    /// What was read before comes before what is read after.
    fn read_barrier(&self);
}

/// Why there is no whole copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Torn {
    /// A change was under way, and did not end.
    UnderWay,
    /// There was a change while the copy was made.
    Changed,
}

/// Copies `space` to `words`, once: the generation of the copy.
///
/// # Errors
///
/// [`Torn`]; what is in `words` then means nothing.
pub fn attempt<S: Space + ?Sized>(space: &S, words: &mut [u32]) -> Result<u32, Torn> {
    let before = space.generation();
    if !is_settled(before) {
        return Err(Torn::UnderWay);
    }
    for (index, word) in words.iter_mut().enumerate() {
        *word = space.word(index);
    }
    // Pairs with the other side's between the odd generation and the first word of a change.
    space.read_barrier();
    // A change that began and ended meanwhile has made it another one.
    if space.generation() == before {
        Ok(before)
    } else {
        Err(Torn::Changed)
    }
}

/// Copies `space` to `words` as soon as that can be done: the generation of the copy. `pause` waits a
/// moment; `false`: the time is up.
///
/// # Errors
///
/// [`Torn`], as it was last; what is in `words` then means nothing.
pub fn take<S: Space + ?Sized>(
    space: &S,
    words: &mut [u32],
    mut pause: impl FnMut() -> bool,
) -> Result<u32, Torn> {
    let mut at_once = AT_ONCE;
    loop {
        let torn = match attempt(space, words) {
            Ok(generation) => return Ok(generation),
            Err(torn) => torn,
        };
        if torn == Torn::Changed && at_once > 0 {
            at_once -= 1;
        } else if !pause() {
            return Err(torn);
        }
    }
}
