//! The real library and the real relay under faults. Not shipped.
//!
//! [`proxy`] breaks connections, [`relay`] and [`peer`] are processes that are killed and stopped, [`party`] is an
//! application that notes all that it does and hears, and [`ledger`] judges the notes by the contract. The scenarios
//! put them together; [`command`] runs as many of them as its caller wants.
#![forbid(unsafe_code)]
// It is a test: what cannot go on ends with a message.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

pub mod command;
pub mod crowd;
pub mod flips;
pub mod full;
pub mod herd;
pub mod image;
pub mod journal;
pub mod kills;
pub mod ledger;
pub mod outcome;
pub mod party;
pub mod peer;
pub mod power;
pub mod proxy;
pub mod relay;
pub mod rng;
pub mod store;
pub mod storm;
pub mod troubled;

mod frames;
mod pump;
#[path = "../../../tests/common/relay_process.rs"]
mod relay_process;

pub use frames::FrameFault;
