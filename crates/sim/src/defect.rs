//! Faults that are planted between the code under test and the ledger. A checker that does not find them proves
//! nothing.

/// What is wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Defect {
    /// A command reaches the application twice.
    DeliverTwice,
    /// A command never reaches the application.
    SwallowCommand,
    /// Two commands change places.
    SwapCommands,
    /// A byte of a command changes on the way.
    FlipCommandByte,
    /// A byte of a chunk changes on the way, and nobody compares hashes.
    FlipChunkByte,
    /// The last byte of what a sink holds is missing.
    CutContent,
    /// A terminal event is lost.
    SwallowResult,
    /// A terminal event comes twice.
    RepeatResult,
    /// A terminal event comes too late.
    DelayResult,
    /// A failure is told as a success.
    ClaimSuccess,
    /// An unknown outcome is told as a certain failure.
    ClaimFailure,
    /// Progress goes back.
    ProgressBack,
    /// The first progress is lost.
    SwallowFirstProgress,
    /// A cancel's result is lost.
    SwallowCancelResult,
    /// The end of a transfer is not told to its receiver.
    SwallowTransferEnded,
    /// A sink that was to be removed stays.
    KeepSink,
    /// The application handles a command, and nobody says so.
    LoseReceipt,
    /// After a while, the relay routes nothing.
    DeafRelay,
    /// A list of users lacks one.
    ForgetUser,
    /// Nobody is told that a user has come or gone.
    SwallowStatus,
    /// A link is back, and the application does not hear so.
    SwallowLineOn,
    /// A login that was refused is told as a success.
    ClaimLogin,
    /// Progress of a transfer is told at its beginning and its end alone.
    SwallowProgress,
}

impl Defect {
    /// All of them, each with what the ledger must say.
    pub const ALL: [(Self, &'static str); 23] = [
        (Self::DeliverTwice, "delivered more than once"),
        (Self::SwallowCommand, "ended with 0, delivered 0 times"),
        (Self::SwapCommands, "came out of order"),
        (Self::FlipCommandByte, "came with other content"),
        (Self::FlipChunkByte, "came with other content"),
        (Self::CutContent, "came with other content"),
        (Self::SwallowResult, "has not ended"),
        (Self::RepeatResult, "ended twice"),
        (Self::DelayResult, "due by"),
        (Self::ClaimSuccess, "ended with 0, delivered 0 times"),
        (Self::ClaimFailure, "ended with 207, delivered 1 times"),
        (Self::ProgressBack, "backwards"),
        (Self::SwallowFirstProgress, "not from 0"),
        (Self::SwallowCancelResult, "no cancel result"),
        (Self::SwallowTransferEnded, "never of its end"),
        (Self::KeepSink, "waits for"),
        (Self::LoseReceipt, "for nothing"),
        (Self::DeafRelay, "I12"),
        (Self::ForgetUser, "and there are"),
        (Self::SwallowStatus, "has not heard that"),
        (Self::SwallowLineOn, "not everybody is there"),
        (Self::ClaimLogin, "its credential is due"),
        (Self::SwallowProgress, "told nothing of it"),
    ];
}
