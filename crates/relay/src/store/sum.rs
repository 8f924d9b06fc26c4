//! Checksums of rows: SQLite notices a damaged page only where its structure breaks, so each row of which nothing else
//! would say that a bit of it has changed has a column with the hash of all its others.

use rusqlite::Connection;
use rusqlite::functions::FunctionFlags;
use rusqlite::types::ValueRef;

/// The SQL function that makes a checksum of its arguments, whatever their types.
pub(crate) const ROW_SUM: &str = "row_sum";

/// What a number takes among the bytes that are hashed.
const FEW_BYTES: usize = 17;

/// What a row's checksum covers, in the order of the function's arguments.
pub(crate) const MESSAGE: &str = "unique_id, project, kind, place, sender, mid, mtype, mtime, body, attrs, blob, watch";
/// See [`MESSAGE`].
pub(crate) const PENDING: &str = "project, user, kind, conversation, message, want, told";
/// See [`MESSAGE`].
pub(crate) const RECEIPT: &str = "project, watch, kind, place, sender, mid, user, standing, code, time";
/// See [`MESSAGE`].
pub(crate) const BLOB: &str = "id, project, size, name, hash, expires";
/// See [`MESSAGE`].
pub(crate) const REVOKED: &str = "project, user, until";

/// Makes the function known to a connection.
pub(crate) fn install(connection: &Connection) -> rusqlite::Result<()> {
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    connection.create_scalar_function(ROW_SUM, -1, flags, |row| {
        // Hashing many small strings takes longer than putting them together.
        let mut all = Vec::with_capacity(row.len() * FEW_BYTES);
        for at in 0..row.len() {
            add(&mut all, row.get_raw(at));
        }
        let hash = blake3::hash(&all);
        Ok(i64::from_le_bytes(*hash.as_bytes().first_chunk().unwrap_or(&[0; 8])))
    })
}

/// Adds a value with its type and length, so that no two rows look the same.
fn add(all: &mut Vec<u8>, value: ValueRef<'_>) {
    let mut bytes = |kind: u8, bytes: &[u8]| {
        all.push(kind);
        all.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        all.extend_from_slice(bytes);
    };
    match value {
        ValueRef::Null => bytes(0, &[]),
        ValueRef::Integer(number) => bytes(1, &number.to_le_bytes()),
        ValueRef::Real(number) => bytes(2, &number.to_le_bytes()),
        ValueRef::Text(text) => bytes(3, text),
        ValueRef::Blob(blob) => bytes(4, blob),
    }
}
