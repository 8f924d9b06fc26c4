//! What is damaged on the disk when the relay starts. A damaged database is not opened: nothing that is made of it could
//! be trusted, and nothing that is in it may be overwritten before a person has looked.

use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tracing::{error, info, warn};

use super::StoreError;
use super::schema::STEPS;
use super::sum::{PENDING, RECEIPT, REVOKED, ROW_SUM, install};

/// A check that takes longer is mentioned.
const SLOW: Duration = Duration::from_secs(2);
/// A copy of a damaged write-ahead log has this name, with that of the database before it.
const COPY: &str = "-wal.damaged";

/// What an operator is told about a damaged database.
pub(super) fn damaged(how: &str) -> StoreError {
    StoreError(format!(
        "it is damaged ({how}); restore it from a backup, or move it away to start without what it holds"
    ))
}

/// Before SQLite sees the files: what it would pass over without a word.
pub(super) fn check_files(database: &Path) -> Result<(), StoreError> {
    if fs::metadata(database).is_ok_and(|it| it.len() == 0) {
        error!(database = %database.display(), "the database is an empty file; unless the relay was killed in its very first start, what it held is lost");
    }
    let failed = |error: io::Error| StoreError(format!("its write-ahead log cannot be read ({error})"));
    let name = database.file_name().unwrap_or_default().to_string_lossy();
    let log = database.with_file_name(format!("{name}-wal"));
    let Some(at) = damage_of_log(&log).map_err(failed)? else { return Ok(()) };
    let copy = database.with_file_name(format!("{name}{COPY}"));
    fs::copy(&log, &copy).map_err(|error| StoreError(format!("{} cannot be written ({error})", copy.display())))?;
    let copy = copy.display();
    warn!(at, %copy, "the database's write-ahead log is damaged or incomplete from this byte on, and what was stored last may be missing; after a loss of power that was not confirmed to anybody, otherwise the copy may help");
    Ok(())
}

/// The structure of the database, and that its tables agree with their indexes.
pub(super) fn check_structure(connection: &Connection) -> Result<(), StoreError> {
    let start = Instant::now();
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found != "ok" {
        // The last line names what is wrong.
        return Err(damaged(found.lines().next_back().unwrap_or_default()));
    }
    if start.elapsed() > SLOW {
        info!(seconds = start.elapsed().as_secs(), "checked the database");
    }
    Ok(())
}

/// The tables, as this program would make them.
pub(super) fn check_schema(connection: &Connection) -> Result<(), StoreError> {
    let made = Connection::open_in_memory()?;
    install(&made)?;
    STEPS.iter().try_for_each(|step| made.execute_batch(step))?;
    let (made, there) = (schema(&made)?, schema(connection)?);
    match made.iter().find(|it| !there.contains(it)) {
        None => Ok(()),
        Some((name, _)) => Err(damaged(&format!("{name:?} is not as this program makes it"))),
    }
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut query = connection.prepare("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")?;
    query.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// Rows whose damage nobody would notice later. Those of messages, files and receipts are checked whenever they are read.
pub(super) fn check_rows(connection: &Connection) -> Result<(), StoreError> {
    let mut void = connection.prepare(&format!(
        "SELECT project, CAST(user AS TEXT) FROM revoked_token WHERE sum IS NOT {ROW_SUM}({REVOKED})
         UNION ALL
         SELECT project, CAST(id AS TEXT) FROM revoked_token_id WHERE sum IS NOT {ROW_SUM}(project, id, expires)"
    ))?;
    let pair = |row: &rusqlite::Row<'_>| Ok((row.get::<_, rusqlite::types::Value>(0)?, row.get::<_, String>(1)?));
    for damaged in void.query_map([], pair)? {
        let (project, name) = damaged?;
        error!(?project, name, "the entry of a revoked user or token is damaged in the database; revoke it again");
    }
    let lies = format!("SELECT count(*) FROM receipt WHERE sum IS NOT {ROW_SUM}({RECEIPT})");
    let lies: i64 = connection.query_row(&lies, [], |row| row.get(0))?;
    if lies > 0 {
        error!(lies, "receipts of messages are damaged in the database; they are not told to anybody");
    }
    // A row's key is checked with the structure, so it is known what is to be delivered to whom, but not how.
    let anew = "want = 0, told = CASE WHEN (SELECT watch FROM message WHERE id = message) IS NULL THEN 0 ELSE 2 END";
    let mended = connection
        .execute(&format!("UPDATE pending SET {anew}, sum = NULL WHERE sum IS NOT {ROW_SUM}({PENDING})"), [])?;
    if mended > 0 {
        connection.execute(&format!("UPDATE pending SET sum = {ROW_SUM}({PENDING}) WHERE sum IS NULL"), [])?;
        error!(
            mended,
            "how messages are to be delivered was damaged in the database; they go by the first way that comes"
        );
    }
    Ok(())
}

/// Where a write-ahead log of SQLite is not what was written. It ends where SQLite says so: frames behind that belong to
/// an earlier round and have other salts.
fn damage_of_log(path: &Path) -> io::Result<Option<u64>> {
    const HEADER: usize = 32;
    const FRAME: usize = 24;
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let len = file.metadata()?.len();
    let mut file = BufReader::new(file);
    let mut header = [0; HEADER];
    if len < HEADER as u64 {
        return Ok((len > 0).then_some(0));
    }
    file.read_exact(&mut header)?;
    let big = match word(&header, 0) {
        0x377f_0683 => true,
        0x377f_0682 => false,
        _ => return Ok(Some(0)),
    };
    let mut sum = checksum(big, (0, 0), header.get(..24).unwrap_or_default());
    if sum != (word(&header, 24), word(&header, 28)) {
        return Ok(Some(0));
    }
    let (page, salts) = (word(&header, 8) as usize, (word(&header, 16), word(&header, 20)));
    if !page.is_power_of_two() || !(512..=65_536).contains(&page) {
        return Ok(Some(8));
    }
    let mut frame = vec![0; FRAME + page];
    let (mut at, mut good_until) = (HEADER as u64, None);
    while at + frame.len() as u64 <= len {
        file.read_exact(&mut frame)?;
        let its = (word(&frame, 8), word(&frame, 12));
        let (head, content) = (frame.get(..8).unwrap_or_default(), frame.get(FRAME..).unwrap_or_default());
        let next = checksum(big, checksum(big, sum, head), content);
        let good = its == salts && next == (word(&frame, 16), word(&frame, 20));
        if good && good_until.is_none() {
            sum = next;
        } else {
            let end = *good_until.get_or_insert(at);
            // Of an earlier round both salts differ.
            if its.0 == salts.0 || its.1 == salts.1 {
                return Ok(Some(end));
            }
        }
        at += frame.len() as u64;
    }
    // A frame that was cut off; where frames of an earlier round follow, there is none.
    Ok((at < len && good_until.is_none()).then_some(at))
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |four| u32::from_be_bytes(*four))
}

/// SQLite's checksum of a write-ahead log, over pairs of words, from the sum of what stands before.
fn checksum(big: bool, sum: (u32, u32), bytes: &[u8]) -> (u32, u32) {
    let read = |four: &[u8; 4]| if big { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) };
    let (words, _) = bytes.as_chunks::<4>();
    words.as_chunks::<2>().0.iter().fold(sum, |(first, second), [one, other]| {
        let first = first.wrapping_add(read(one)).wrapping_add(second);
        (first, second.wrapping_add(read(other)).wrapping_add(first))
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    /// A database whose write-ahead log holds a few commits, as SQLite leaves it when its process is killed; the bytes of
    /// the log.
    fn killed(path: &Path) -> Vec<u8> {
        let log = path.with_file_name("a.sqlite-wal");
        let _ = (fs::remove_file(path), fs::remove_file(&log));
        let connection = Connection::open(path).unwrap();
        connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (n INTEGER, b BLOB);").unwrap();
        // An earlier round, so that old frames stand behind the new ones.
        for n in 0..20 {
            connection.execute("INSERT INTO t VALUES (?, randomblob(3000))", [n]).unwrap();
        }
        connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        for n in 0..5 {
            connection.execute("INSERT INTO t VALUES (?, randomblob(10))", [n]).unwrap();
        }
        let bytes = fs::read(&log).unwrap();
        drop(connection);
        bytes
    }

    #[test]
    fn every_bit_of_a_write_ahead_log_that_counts_is_missed_when_it_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let bytes = killed(&directory.path().join("a.sqlite"));
        let log = directory.path().join("log");
        let damage = |bytes: &[u8]| {
            fs::write(&log, bytes).unwrap();
            damage_of_log(&log).unwrap()
        };
        assert_eq!(damage(&bytes), None, "the log is whole, with old frames behind new ones");
        assert_eq!(damage(&[]), None);
        assert_eq!(damage_of_log(&directory.path().join("none")).unwrap(), None);
        // Five commits of one page or more each stand in it.
        let (header, frame) = (32, 24 + 4_096);
        for at in (0..header).chain((0..5).flat_map(|n| {
            let start = header + n * frame;
            (start..start + 24).chain([start + 24, start + 2_000, start + frame - 1])
        })) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(damage(&changed).is_some(), "byte {at}");
        }
        assert!(damage(&bytes[..header + frame + 100]).is_some(), "the second frame is cut off");
    }

    #[test]
    fn a_damaged_log_is_kept_aside() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sqlite");
        let mut bytes = killed(&path);
        bytes[32 + 24 + 5] ^= 1;
        fs::write(directory.path().join("a.sqlite-wal"), &bytes).unwrap();
        check_files(&path).unwrap();
        assert_eq!(fs::read(directory.path().join("a.sqlite-wal.damaged")).unwrap(), bytes);
    }
}
