//! What outlives a connection, and with a data directory the process: groups, revoked tokens, stored files.
//!
//! * `database`: SQLite on a thread of its own.
//! * `messages`: what servers have sent, and to whom it is still to be delivered.
//! * `schema`: its tables.

mod database;
mod messages;
mod schema;

pub use database::{Database, StoreError};
pub use messages::{Conversation, Dialect, Draft, Kind, Limits, Messages, Query, Stored};
