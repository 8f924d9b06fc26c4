//! Bits that change and files that are cut off while the relay is stopped: whatever is stored is then what it was, or
//! missing with words in the log. `CRVIDEO_STORED_FLIPS` sets how often that is tried, `CRVIDEO_SEED` repeats a run.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use tracing_subscriber::filter::LevelFilter;

use super::*;

const PROJECT: i64 = 1;
const FOREVER: Duration = Duration::from_secs(7 * 24 * 3600);
const WATCH: Watch = [9; 16];

/// What the store logs.
static SAID: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Pen;

impl std::io::Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        SAID.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn said() -> String {
    String::from_utf8_lossy(&SAID.lock().unwrap()).into_owned()
}

/// Random numbers that a seed repeats (splitmix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }
}

/// All that can be read back.
#[derive(Debug, Default, PartialEq, Eq)]
struct Held {
    /// By what they wait for, or where they stand in history; and their number.
    messages: BTreeMap<(String, i64), Stored>,
    files: BTreeMap<String, (Blob, Vec<u8>)>,
    members: BTreeMap<i64, Vec<i64>>,
    revoked: BTreeSet<String>,
    receipts: BTreeMap<i64, Receipt>,
}

fn limits() -> Limits {
    Limits { keep: FOREVER, project_quota: 0, min_free_percent: 0 }
}

async fn fill(directory: &Path, dice: &mut Dice) -> (Database, Vec<String>) {
    let database = Database::open(Some(directory)).unwrap();
    let blobs = LocalBlobs::open(Some(directory), database.clone(), limits()).await.unwrap();
    let mut ids = Vec::new();
    for len in [5, 300_000] {
        let mut spool = blobs.spool();
        spool.write(&dice.bytes(len)).await.unwrap();
        let about = About { project: PROJECT, name: format!("of {len} bytes.bin") };
        ids.push(blobs.keep(spool.finish().await.unwrap(), about).await.unwrap().id.as_str().to_owned());
    }
    let messages = Messages::new(database.clone(), MessageLimits::default());
    let now = i64::try_from(crate::shared::unix_micros() / 1_000).unwrap();
    for mid in 0..24 {
        let kind = [Kind::User, Kind::Group, Kind::Room, Kind::Everyone][mid as usize % 4];
        let place = if kind == Kind::Everyone { 0 } else { 8 };
        let (len, blob) = (dice.below(3_000), (mid < 2).then(|| ids[mid as usize].clone()));
        let body = Bytes::from(dice.bytes(len));
        let (mtype, attrs) = (30 + mid as i8, format!("{{\"n\":{mid}}}"));
        let draft = Draft { project: PROJECT, kind, place, from: 7, mid, mtype, mtime: now, body, attrs, blob };
        let users = vec![(8, mid as u8 % 4), (9, 0)];
        messages.put(vec![(draft, users)], (mid % 3 == 0).then_some(WATCH)).await.unwrap();
    }
    for id in [5, 6] {
        let bounds = Bounds { members: 100, groups: 100 };
        let users = (0..20).map(|user| user * id * 1_000).collect();
        database.add_members(Group { project: PROJECT, id }, users, bounds).await.unwrap();
    }
    let until = u64::try_from(now / 1_000).unwrap();
    database.revoke(Revoked { project: PROJECT, user: "mallory".to_owned(), until }).await.unwrap();
    database.revoke_id(RevokedId { project: PROJECT, id: "token".to_owned(), expires: until + 9 }).await.unwrap();
    (database, ids)
}

/// Reads all there is. What cannot be read is said in the list.
async fn read(directory: &Path, ids: &[String], complaints: &mut Vec<String>) -> Held {
    let mut held = Held::default();
    let mut note = |error: &dyn std::fmt::Display| complaints.push(error.to_string());
    let database = match Database::open(Some(directory)) {
        Ok(database) => database,
        Err(error) => {
            note(&error);
            return held;
        }
    };
    let messages = Messages::new(database.clone(), MessageLimits::default());
    for of in [Conversation::Between(7, 8), Conversation::Group(8), Conversation::Room(8), Conversation::Everyone] {
        match messages.history(PROJECT, of, Query { count: 100, ..Query::default() }).await {
            Ok(found) => held.messages.extend(found.into_iter().map(|it| ((format!("{of:?}"), it.draft.mid), it))),
            Err(error) => note(&error),
        }
    }
    for (user, dialect) in [(8, CR), (8, RTM), (9, CR)] {
        let name = format!("waits for {user} by {dialect}");
        match messages.waiting(PROJECT, user, dialect, dialect, 0, 100).await {
            Ok(found) => held.messages.extend(found.messages.into_iter().map(|it| ((name.clone(), it.draft.mid), it))),
            Err(error) => note(&error),
        }
    }
    match messages.receipts(PROJECT, WATCH, 0, 1_000).await {
        Ok(found) => held.receipts = found.into_iter().map(|it| (it.number, it)).collect(),
        Err(error) => note(&error),
    }
    for id in [5, 6] {
        match database.members(Group { project: PROJECT, id }).await {
            Ok(members) => drop(held.members.insert(id, members)),
            Err(error) => note(&error),
        }
    }
    match (database.revoked().await, database.revoked_ids().await) {
        (Ok(users), Ok(tokens)) => {
            held.revoked.extend(users.iter().map(|it| format!("{it:?}")));
            held.revoked.extend(tokens.iter().map(|it| format!("{it:?}")));
        }
        (Err(error), _) | (_, Err(error)) => note(&error),
    }
    match LocalBlobs::open(Some(directory), database, limits()).await {
        Ok(blobs) => {
            for id in ids {
                match read_file(&blobs, id).await {
                    Ok(Some(file)) => drop(held.files.insert(id.clone(), file)),
                    Ok(None) => {}
                    Err(error) => note(&error),
                }
            }
            if let Err(error) = blobs.clear_orphans().await {
                note(&error);
            }
            if let Err(error) = blobs.sweep().await {
                note(&error);
            }
        }
        Err(error) => note(&error),
    }
    held
}

async fn read_file(blobs: &LocalBlobs, id: &str) -> Result<Option<(Blob, Vec<u8>)>, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let Some(blob) = blobs.find(BlobId::parse(id).unwrap()).await.map_err(|error| words(&error))? else {
        return Ok(None);
    };
    let mut content = blobs.open(blob.clone()).await.map_err(|error| words(&error))?;
    let mut all = Vec::new();
    while (all.len() as u64) < blob.size {
        // Not in step with the parts of the tree.
        let len = (blob.size - all.len() as u64).min(100_000) as usize;
        let (again, bytes) = content.read(all.len() as u64, len).await.map_err(|error| words(&error))?;
        content = again;
        all.extend_from_slice(&bytes);
    }
    Ok(Some((blob, all)))
}

/// The files below a directory, by their paths in it.
fn files(root: &Path, at: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(at).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(root, &path, found);
        } else if !path.ends_with("relay.sqlite-shm")
            // The database's thread may be just closing it, and then removes its write-ahead log.
            && let Ok(content) = fs::read(&path)
        {
            found.insert(path.strip_prefix(root).unwrap().to_owned(), content);
        }
    }
}

fn all_files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    files(root, root, &mut found);
    found
}

fn lay_out(root: &Path, all: &BTreeMap<PathBuf, Vec<u8>>) {
    for (path, content) in all {
        fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
        fs::write(root.join(path), content).unwrap();
    }
}

fn scratch() -> tempfile::TempDir {
    // A file system in memory is fast, and what is tried here is no loss of power.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn number_of(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |text| text.parse().expect("a number"))
}

/// Every difference between what is held and what was stored that is not a silent or a wrong one.
fn compare(before: &Held, after: &Held, detected: bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for (key, message) in &after.messages {
        let same = before.messages.get(key).is_some_and(|it| it == message);
        // What was to be delivered by one dialect may go by another one after damage that was told.
        let moved = detected && before.messages.iter().any(|(other, it)| other.1 == key.1 && it == message);
        if !same && !moved {
            wrong.push(format!("wrong message {key:?}"));
        }
    }
    for (id, file) in &after.files {
        if before.files.get(id) != Some(file) {
            wrong.push(format!("wrong file {id}"));
        }
    }
    for (number, receipt) in &after.receipts {
        let same = |it: &Receipt| Receipt { number: *number, ..it.clone() } == *receipt;
        let failed = detected && receipt.standing == 4;
        if !failed && !before.receipts.values().any(same) {
            wrong.push(format!("wrong receipt {receipt:?}"));
        }
    }
    if !detected && before != after {
        wrong.push("something is missing, and nobody says so".to_owned());
    }
    wrong
}

#[test]
fn bits_that_change_in_what_is_stored_are_noticed_or_do_no_harm() {
    let subscriber = tracing_subscriber::fmt().with_max_level(LevelFilter::WARN).with_ansi(false).with_writer(|| Pen);
    let _ = subscriber.try_init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (trials, seed) = (number_of("CRVIDEO_STORED_FLIPS", 400), number_of("CRVIDEO_SEED", 1));
    let mut dice = Dice(seed);
    let (mut laid, mut ids) = (Vec::new(), Vec::new());
    // A relay that was stopped in order, and one that was killed, so that its write-ahead log is there.
    for in_order in [true, false] {
        let place = scratch();
        let (database, its) = runtime.block_on(fill(place.path(), &mut dice));
        let killed = all_files(place.path());
        drop(database);
        if in_order {
            let path = place.path().join("relay.sqlite");
            let connection = rusqlite::Connection::open(path).unwrap();
            while connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)) != Ok(0) {}
        }
        laid.push(if in_order { all_files(place.path()) } else { killed });
        ids.push(its);
    }
    let mut counts = BTreeMap::<&str, u64>::new();
    let mut bad = Vec::new();
    let mut truths: Vec<Option<Held>> = vec![None, None];
    for trial in 0..trials + 2 {
        let which = trial as usize % 2;
        let (all, ids) = (&laid[which], &ids[which]);
        let place = scratch();
        let mut damaged = all.clone();
        let what = if trial < 2 { "nothing".to_owned() } else { damage(&mut damaged, &mut dice) };
        lay_out(place.path(), &damaged);
        SAID.lock().unwrap().clear();
        let mut complaints = Vec::new();
        let after = runtime.block_on(read(place.path(), ids, &mut complaints));
        let said = said();
        let detected = !complaints.is_empty() || !said.is_empty();
        let Some(before) = &truths[which] else {
            assert!(!detected && after.messages.len() > 40 && after.files.len() == 2, "{complaints:?} {said}");
            truths[which] = Some(after);
            continue;
        };
        let mut wrong = compare(before, &after, detected);
        let left = all_files(place.path());
        for (path, content) in all.iter().filter(|(path, content)| damaged.get(*path) == Some(*content)) {
            // What was not damaged is still there, in its place or in quarantine.
            if path.starts_with("files")
                && !left.iter().any(|it| it.0.file_name() == path.file_name() && it.1 == content)
            {
                wrong.push(format!("{} was deleted", path.display()));
            }
        }
        *counts.entry(if detected { "noticed" } else { "harmless" }).or_default() += 1;
        if !wrong.is_empty() {
            bad.push(format!("trial {trial} of seed {seed}, {what}: {wrong:?}; {complaints:?} {said}"));
        }
    }
    eprintln!("{trials} flips and truncations: {counts:?}, {} wrong", bad.len());
    assert!(bad.is_empty(), "{}", bad.join("\n"));
    assert!(counts.get("noticed").copied() > Some(trials / 4), "{counts:?}: the damage does not reach what counts");
}

/// Changes one bit, or cuts a file off; what was done.
fn damage(all: &mut BTreeMap<PathBuf, Vec<u8>>, dice: &mut Dice) -> String {
    let database = dice.below(4) > 0;
    let of_kind: Vec<_> = all.keys().filter(|path| path.starts_with("files") != database).cloned().collect();
    let path = of_kind[dice.below(of_kind.len())].clone();
    let content = all.get_mut(&path).unwrap();
    if content.is_empty() {
        return format!("nothing in {}", path.display());
    }
    let at = dice.below(content.len());
    if dice.below(10) == 0 {
        content.truncate(at);
        return format!("{} cut off at {at}", path.display());
    }
    let bit = dice.below(8);
    content[at] ^= 1 << bit;
    format!("bit {bit} of byte {at} of {}", path.display())
}
