//! What outlives a connection, and with a data directory the process: groups, revoked tokens, stored files.
//!
//! * `database`: SQLite on a thread of its own.
//! * `schema`: its tables.

mod database;
mod schema;

pub use database::{Database, StoreError};
