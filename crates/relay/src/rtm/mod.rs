//! The RTM dialect at the relay: servers with a project's secret send messages and files to its users.
//!
//! * `message`: what travels, and why it may be refused.
//! * `files`: files that servers send.

#[allow(dead_code, unused_imports)]
pub(crate) mod files;
mod message;

pub use message::{Message, Refusal, Target};
