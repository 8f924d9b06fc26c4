//! What outlives a connection, and with a data directory the process: groups, revoked tokens, stored files.
//!
//! * `database`: SQLite on a thread of its own.
//! * `directory`: groups and revoked tokens.
//! * `schema`: its tables.

mod database;
mod directory;
mod schema;

pub use database::{Database, StoreError};
pub(crate) use directory::{Added, Bounds, Directory, Group, Revoked};
