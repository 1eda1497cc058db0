// SPDX-License-Identifier: GPL-2.0 OR MIT

//! A connection that carries messages, as services see it.

#![forbid(unsafe_code)]

use crate::stream::Stream;

/// How a message ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// It is the last one of a record: MSG_EOR of POSIX.
    pub record: bool,
}

/// One end of a connection whose bytes come and go in messages, each of which can have none.
///
/// A message need not be there as a whole, nor fit into any buffer: its bytes are those of the
/// stream. [`Stream::peek`] shows those of the first message only, and nothing while its end was
/// not taken; what [`Stream::send`] writes belongs to one message until [`Messages::end`].
pub trait Messages: Stream {
    /// Takes the end of the first message, if it has come and all bytes before it were taken.
    fn take_end(&mut self) -> Option<End>;

    /// Whether [`Messages::end`] has an effect. It has none where as many messages wait as can.
    fn can_end(&self) -> bool;

    /// Ends the message that what was sent since the last end is of.
    fn end(&mut self, end: End);
}
