// SPDX-License-Identifier: GPL-2.0 OR MIT

//! What either side could do wrong. Each is found by the property that it breaks, or that property is worth nothing.

/// A rule that one side does not keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// All are kept.
    None,

    // The peer.
    /// DriverEpochSeen is published before the rings of the earlier driver are dropped.
    SeenBeforeDrop,
    /// The answer to a reset is published before the device is reset.
    ResetAcknowledgedEarly,
    /// DoneSeq is published before what the answer is.
    DoneBeforeAnswer,
    /// Neither EpochAck nor TransactionEpoch is compared with its own epoch.
    EpochNotCompared,
    /// At an adoption DoneSeq keeps its value.
    StaleKept,
    /// A boot that does not come to its end leaves no trace of its epoch. (Version 2.1 as it was.)
    BootForgotten,
    /// It is not looked whether a driver has gone, or is another, once one is adopted.
    DriverNotWatched,

    // The driver.
    /// Any change of DoneSeq is taken for the answer.
    AnyAnswer,
    /// An answer is taken without a look at Epoch after it. (As it was.)
    AnswerOfAnyEpoch,
    /// The same of the link's end, after which the peer lets the driver go. (As it was.)
    AnswerWhileDown,
    /// The requests of link tests begin with 1 in each incarnation. (As it was.)
    TestsFromOne,
    /// Any change of TestAck is taken for the answer.
    AnyTestAck,
    /// DriverEpoch may be what stands there already. (As it was.)
    EpochTwice,
    /// Transactions are started before DriverEpochSeen says that the driver is adopted.
    NotAdopted,
    /// Memory of a virtqueue counts as the driver's again when a reset was not answered in time.
    ResetUnanswered,
    /// The wait for the answer to a link test has no deadline.
    TestWithoutEnd,
    /// The wait for the adoption has no deadline.
    AdoptionWithoutEnd,
    /// The wait for an answer to a transaction has no deadline.
    AnswerWithoutEnd,
    /// A peer that has not answered while the driver attached is not tried again.
    NotTriedAgain,
    /// A peer whose doorbell was dead is not tried again. (As it was.)
    DoorbellGivenUp,
    /// What the peer shows is not looked at while the link is up.
    PeerNotWatched,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Self; 22] = [
        Self::None,
        Self::SeenBeforeDrop,
        Self::ResetAcknowledgedEarly,
        Self::DoneBeforeAnswer,
        Self::EpochNotCompared,
        Self::StaleKept,
        Self::BootForgotten,
        Self::DriverNotWatched,
        Self::AnyAnswer,
        Self::AnswerOfAnyEpoch,
        Self::AnswerWhileDown,
        Self::TestsFromOne,
        Self::AnyTestAck,
        Self::EpochTwice,
        Self::NotAdopted,
        Self::ResetUnanswered,
        Self::TestWithoutEnd,
        Self::AdoptionWithoutEnd,
        Self::AnswerWithoutEnd,
        Self::NotTriedAgain,
        Self::DoorbellGivenUp,
        Self::PeerNotWatched,
    ];
}
