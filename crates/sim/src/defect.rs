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
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::DeliverTwice,
        Self::SwallowCommand,
        Self::SwapCommands,
        Self::FlipCommandByte,
        Self::FlipChunkByte,
        Self::CutContent,
        Self::SwallowResult,
        Self::RepeatResult,
        Self::DelayResult,
        Self::ClaimSuccess,
        Self::ClaimFailure,
        Self::ProgressBack,
        Self::SwallowFirstProgress,
        Self::SwallowCancelResult,
        Self::SwallowTransferEnded,
        Self::KeepSink,
        Self::LoseReceipt,
        Self::DeafRelay,
    ];
}
