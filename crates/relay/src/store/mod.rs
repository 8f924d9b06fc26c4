//! What outlives a connection, and with a data directory the process: groups, revoked tokens, stored files.
//!
//! * `database`: SQLite on a thread of its own.
//! * `messages`: what servers have sent, and to whom it is still to be delivered.
//! * `receipts`: what has become of them, for those who watch.
//! * `directory`: groups and revoked tokens.
//! * `schema`: its tables.
//! * `blobs`: stored files, as whoever uses them sees them.
//! * `local_blobs`: stored files in a directory.
//! * `private_dir`: a directory for a relay that keeps nothing.
//! * `spool`: content on its way in.
//! * `tree`: what stored content is checked by when it is read.
//! * `sum`, `damage`: checksums of rows; what is damaged when the relay starts.
//! * `disk`: work on files, away from the threads that serve sockets.

mod blobs;
mod damage;
mod database;
mod directory;
mod disk;
mod local_blobs;
mod messages;
mod private_dir;
mod receipts;
mod schema;
mod spool;
pub(crate) mod sum;
#[cfg(test)]
mod tests;
mod tree;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

pub(crate) use blobs::{About, Blob, BlobError, BlobId, Blobs, Content, random_hex};
pub use database::{Database, StoreError};
pub(crate) use directory::{Added, Bounds, Directory, Group, Revoked, RevokedId};
pub(crate) use disk::sync_directory;
pub(crate) use local_blobs::{Limits, LocalBlobs};
pub(crate) use messages::{CR, Conversation, Draft, Kind, MessageLimits, Messages, Query, RTM, Stored};
pub(crate) use receipts::{Receipt, Watch};
pub(crate) use spool::{Spool, Spooled};

/// All that is stored.
#[derive(Clone)]
pub(crate) struct Stores {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) blobs: Arc<dyn Blobs>,
    pub(crate) messages: Messages,
}

/// What a trait of this module answers, later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
