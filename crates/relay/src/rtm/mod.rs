//! The RTM dialect at the relay: servers with a project's secret send messages and files to its users.
//!
//! * `message`: what travels, and why it may be refused.

mod message;

pub use message::{Message, Refusal, Target};
