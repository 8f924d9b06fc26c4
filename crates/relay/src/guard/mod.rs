//! What keeps one client, one address or one project from taking what others need.
//!
//! * `settings`: what an operator can set about it.
//! * `budget`: bytes that many share, given back when they are done with; the memory of all that is under way.
//! * `block`: the addresses that count as one client's.
//! * `crowd`: places for connections and uploads, counted for each block of addresses.
//! * `failures`: who has failed how often.
//! * `rate`: how much of something may come in a second.
//! * `pace`: how fast one connection is read.
//! * `spare`: a descriptor that is kept for the time when there are no others.

mod block;
mod budget;
mod crowd;
mod failures;
mod pace;
mod rate;
mod settings;
mod spare;

pub use block::Block;
pub(crate) use budget::{Budget, Changing, Charged, Memory, Pressure, Share, Unused, hold, keep};
pub(crate) use crowd::{Crowd, Place};
pub(crate) use failures::Failures;
pub(crate) use pace::{Pace, Paces};
pub(crate) use rate::Rate;
pub use settings::GuardSettings;
pub(crate) use settings::Section;
pub(crate) use spare::Spare;
