//! Who sends quests with wrong signatures, and when to stop looking at them. A secret cannot be guessed; this keeps those
//! who try all the same from costing others anything.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crvideo_proto::rtm::code;

use super::Refusal;
use crate::guard::{Block, Failures, GuardSettings};

/// Wrong signatures of one address for one project that are looked at in a second, when there were too many already.
const PROJECT_FAILURES_PER_S: u64 = 1;
/// The same of one address for all projects together.
const ADDRESS_FAILURES_PER_S: u64 = 10;

struct State {
    by_block: Failures<Block>,
    by_project: Failures<(Block, i64)>,
}

/// What is remembered of wrong signatures.
pub(super) struct Signatures {
    started: Instant,
    state: Mutex<State>,
}

impl Signatures {
    pub(super) fn new(settings: &GuardSettings) -> Self {
        let state = State {
            by_block: Failures::new(ADDRESS_FAILURES_PER_S, settings.address_failures),
            by_project: Failures::new(PROJECT_FAILURES_PER_S, settings.user_failures),
        };
        Self { started: Instant::now(), state: Mutex::new(state) }
    }

    /// Whether a signature of `project` that has come from `block` is to be looked at.
    pub(super) fn may_try(&self, project: i64, block: Option<Block>) -> Result<(), Refusal> {
        let Some(block) = block else { return Ok(()) };
        let now = self.started.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.by_block.may_try(&block, now) && state.by_project.may_try(&(block, project), now) {
            return Ok(());
        }
        let text = "too many wrong signatures have come from your address; check the project and its secret, and try again \
                    later";
        Err(Refusal::new(code::QUEUE_FULL, text))
    }

    /// A signature was wrong.
    pub(super) fn failed(&self, project: i64, block: Option<Block>) {
        let Some(block) = block else { return };
        let now = self.started.elapsed();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.by_block.failed(block, now);
        state.by_project.failed((block, project), now);
    }
}
