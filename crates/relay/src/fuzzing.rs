//! Ways for the fuzzer into what has no public door: the RTM gate without its sockets, and what the store reads back
//! from a disk that was damaged. Compiled with the feature `fuzzing` only.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};
use tokio::runtime::{Builder, Runtime};

use crate::config::{Config, Project};
use crate::core::{Epochs, Now};
use crate::epoch_file::EpochFile;
use crate::rtm::fuzzing::{Visitor, gate};
use crate::rtm::{Door, Gate, RtmConfig};
use crate::store::{
    BlobId, Blobs, Conversation, Database, Directory, Group, Kind, Limits, LocalBlobs, MessageLimits, Messages, Query,
    Revoked, sum,
};

/// The gate's project, and its secret.
pub const PROJECT: i64 = 11_000_001;
/// The project's secret.
pub const SECRET: &str = "mock-secret-0000";

fn runtime() -> Result<Runtime, String> {
    Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())
}

/// An RTM gate with a store in memory, and up to three connections.
pub struct RtmGate {
    runtime: Runtime,
    gate: std::sync::Arc<Gate>,
    visitors: Vec<Option<Visitor>>,
}

impl RtmGate {
    /// A gate at which nobody is; the error says what the system did not give.
    pub fn new() -> Result<Self, String> {
        let runtime = runtime()?;
        let project = Project { id: PROJECT, secrets: vec![SECRET.to_owned()], max_file_size: 1_000_000 };
        let config = Config { projects: vec![project], rtm: RtmConfig::default(), ..Config::default() };
        let gate = runtime.block_on(gate(&config))?;
        Ok(Self { runtime, gate, visitors: Vec::new() })
    }

    /// A connection comes to a door: 0 servers, 1 files, 2 users. Its number, if it is let in.
    pub fn come(&mut self, door: usize) -> Option<usize> {
        let door = [Door::Servers, Door::Files, Door::Users][door % 3];
        let _context = self.runtime.enter();
        self.visitors.push(Some(Visitor::come(&self.gate, door)?));
        Some(self.visitors.len() - 1)
    }

    /// Bytes come on a connection. Whether they may go on; if not, it is to be ended.
    pub fn hear(&mut self, visitor: usize, bytes: &[u8]) -> bool {
        match self.visitors.get_mut(visitor) {
            Some(Some(visitor)) => self.runtime.block_on(visitor.hear(bytes)).is_ok(),
            _ => false,
        }
    }

    /// A connection ends: everything that was said to it, or `None` when there is none.
    pub fn end(&mut self, visitor: usize) -> Option<Vec<u8>> {
        let visitor = self.visitors.get_mut(visitor)?.take()?;
        Some(self.runtime.block_on(visitor.end()))
    }
}

/// Writes a data directory as a relay leaves it behind: users in groups, messages, a revoked token, and what it knows
/// of a stored file.
pub fn fill(directory: &Path) -> Result<(), String> {
    let words = |error: rusqlite::Error| error.to_string();
    runtime()?.block_on(async {
        let database = Database::open(Some(directory)).map_err(|error| error.to_string())?;
        database.revoke(Revoked { project: 1, user: "7".to_owned(), until: 5 }).await.map_err(|error| error.to_string())
    })?;
    let database = open(directory)?;
    let hash = blake3::hash(b"12345").to_hex();
    database
        .execute_batch(&format!(
            "INSERT INTO group_member VALUES (1, 1, 7), (1, 1, 8), (1, 2, 7);
             INSERT INTO message (id, unique_id, project, kind, place, sender, mid, mtype, mtime, body, attrs, blob) VALUES
                 (1, x'000102030405060708090a0b0c0d0e0f', 1, 1, 7, 8, 5, 51, 1795000000000, x'68656c6c6f', '', NULL),
                 (2, x'100102030405060708090a0b0c0d0e0f', 1, 2, 1, 8, 6, 50, 1795000000000, x'66696c65', '{{}}',
                  '0123456789abcdef0123456789abcdef');
             INSERT INTO pending (project, user, kind, conversation, message, want)
                 VALUES (1, 7, 1, 8, 1, 3), (1, 7, 2, 1, 2, 0);
             INSERT INTO blob (id, project, size, name, hash, expires)
                 VALUES ('0123456789abcdef0123456789abcdef', 1, 5, 'a.txt', '{hash}', 9000000000);"
        ))
        .map_err(words)?;
    renew_sums(&database).and_then(|()| database.execute_batch("PRAGMA wal_checkpoint(TRUNCATE);")).map_err(words)
}

fn open(directory: &Path) -> Result<Connection, String> {
    let database = Connection::open(directory.join("relay.sqlite")).map_err(|error| error.to_string())?;
    sum::install(&database).map_err(|error| error.to_string())?;
    Ok(database)
}

/// Gives all rows the checksums that fit them.
fn renew_sums(database: &Connection) -> rusqlite::Result<()> {
    let columns =
        [("message", sum::MESSAGE), ("pending", sum::PENDING), ("blob", sum::BLOB), ("revoked_token", sum::REVOKED)];
    columns.iter().try_for_each(|(table, columns)| {
        database.execute(&format!("UPDATE {table} SET sum = {}({columns})", sum::ROW_SUM), []).map(drop)
    })
}

/// A value of any of SQLite's types.
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// The tables, and how many columns each has beside its checksum.
pub const TABLES: [(&str, usize); 5] =
    [("group_member", 3), ("message", 13), ("pending", 7), ("revoked_token", 3), ("blob", 6)];

fn columns_of(table: &str) -> String {
    match table {
        "message" => format!("id, {}", sum::MESSAGE),
        "pending" => sum::PENDING.to_owned(),
        "revoked_token" => sum::REVOKED.to_owned(),
        "blob" => sum::BLOB.to_owned(),
        _ => "project, grp, user".to_owned(),
    }
}

/// Puts a row of any values into a table, as an older program or a hand may have done. What the table's own rules
/// forbid is not put in.
pub fn put_row(directory: &Path, table: usize, cells: Vec<Cell>) -> Result<(), String> {
    let (table, columns) = TABLES[table % TABLES.len()];
    let words = |error: rusqlite::Error| error.to_string();
    let database = open(directory)?;
    database.pragma_update(None, "foreign_keys", false).map_err(words)?;
    let values = cells.into_iter().take(columns).map(|cell| match cell {
        Cell::Null => Value::Null,
        Cell::Integer(value) => Value::Integer(value),
        Cell::Real(value) => Value::Real(value),
        Cell::Text(value) => Value::Text(value),
        Cell::Blob(value) => Value::Blob(value),
    });
    let places = vec!["?"; columns].join(", ");
    let sql = format!("INSERT OR REPLACE INTO {table} ({}) VALUES ({places})", columns_of(table));
    database.execute(&sql, params_from_iter(values)).map_err(words)?;
    renew_sums(&database).map_err(words)
}

/// Reads everything back from a data directory, as a relay does at its start and later. What could not be read is said
/// in the list, a sentence each.
///
/// # Panics
/// When a thread of the store has panicked: whatever is on the disk, that must not be.
pub fn read_back(directory: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    match runtime() {
        Ok(runtime) => runtime.block_on(read_all(directory, &mut complaints)),
        Err(error) => complaints.push(error),
    }
    let died = complaints.iter().find(|complaint| complaint.contains("thread has ended"));
    assert_eq!(died, None, "the store's thread has died");
    complaints
}

fn note<T>(complaints: &mut Vec<String>, outcome: Result<T, impl std::fmt::Display>) -> Option<T> {
    outcome.map_err(|error| complaints.push(error.to_string())).ok()
}

async fn read_all(directory: &Path, complaints: &mut Vec<String>) {
    read_epoch(directory, complaints);
    let Some(database) = note(complaints, Database::open(Some(directory))) else { return };
    read_messages(&Messages::new(database.clone(), MessageLimits::default()), complaints).await;
    let group = Group { project: 1, id: 1 };
    note(complaints, database.members(group).await);
    note(complaints, database.count(group).await);
    note(complaints, database.is_member(group, 7).await);
    note(complaints, database.groups_of(1, 7).await);
    note(complaints, database.revoked().await);
    let limits = Limits { keep: std::time::Duration::from_secs(60), project_quota: 0, min_free_percent: 0 };
    match LocalBlobs::open(Some(directory), database, limits).await {
        Ok(blobs) => read_blobs(&blobs, complaints).await,
        Err(error) => complaints.push(format!("{error:?}")),
    }
}

/// The epoch file: a number that is read is one that is there, and what is written next is above it.
fn read_epoch(directory: &Path, complaints: &mut Vec<String>) {
    let Some(file) = note(complaints, EpochFile::open(directory)) else { return };
    let Some(used) = note(complaints, file.read()) else { return };
    let text = std::fs::read_to_string(directory.join("epoch")).unwrap_or_else(|_| "0".to_owned());
    assert_eq!(text.trim().parse(), Ok(used), "the epoch file says something else");
    let now = Now::default();
    let epochs = Epochs::after(used, now.unix_micros, used.saturating_add(1_000));
    assert!(epochs.last() >= used, "an epoch may be given twice");
    let next = used.saturating_add(5);
    if note(complaints, file.write(next)).is_some() {
        assert_eq!(file.read().ok(), Some(next), "the epoch file does not keep what is written");
    }
}

async fn read_messages(messages: &Messages, complaints: &mut Vec<String>) {
    for dialect in [1, 2] {
        note(complaints, messages.waiting(1, 7, dialect, dialect, 0, 100).await);
    }
    for of in [Conversation::Between(7, 8), Conversation::Group(1), Conversation::Room(1), Conversation::Everyone] {
        note(complaints, messages.history(1, of, Query { count: 100, ..Query::default() }).await);
    }
    note(complaints, messages.find(1, Kind::User, 8, 7, 5).await);
    note(complaints, messages.delivered(1, 7, vec![1, 2], 1).await);
    note(complaints, messages.sweep(0).await);
}

async fn read_blobs(blobs: &LocalBlobs, complaints: &mut Vec<String>) {
    if let Some(id) = BlobId::parse("0123456789abcdef0123456789abcdef") {
        let Some(found) = note(complaints, blobs.find(id).await).flatten() else { return };
        if let Some(content) = note(complaints, blobs.open(found.clone()).await) {
            // As much as an HTTP answer reads in one piece.
            let len = usize::try_from(found.size).unwrap_or(usize::MAX).min(64 * 1024);
            note(complaints, content.read(0, len).await.map(drop));
        }
    }
    note(complaints, blobs.check_room(1, 1).await.map_err(|error| format!("{error:?}")));
    note(complaints, blobs.sweep().await);
    note(complaints, blobs.clear_orphans().await.map_err(|error| format!("{error:?}")));
}
