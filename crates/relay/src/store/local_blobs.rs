//! Stored files in a directory: content in files, what is known of it in the database.
//!
//! A file is written under a temporary name, brought to the disk, renamed, and only then entered in the database. It
//! is removed in the opposite order. So whatever the database knows is whole, and what a crash leaves behind is
//! unknown to everybody. After the next start it is put into quarantine, and not deleted at once: should the database
//! be damaged, or another one than that of these files, they can still be had back.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, params};
use tracing::{error, warn};

use super::blobs::{Opened, damaged};
use super::disk::{Disk, sync_directory};
use super::private_dir::{PrivateDir, private};
use super::spool::TempFile;
use super::sum::{BLOB, ROW_SUM};
use super::tree::Tree;
use super::{About, Blob, BlobError, BlobId, Blobs, Content, Database, Later, Spool, Spooled, StoreError};

/// Below the data directory.
const DIRECTORY: &str = "files";
/// Below that: content on its way in. It is emptied at each start.
const TEMPORARY: &str = "tmp";
/// Below that, too: content that the database did not know, for as long as files are kept.
const QUARANTINE: &str = "quarantine";
/// Files that one step of a sweep removes.
const SWEEP_STEP: usize = 256;

/// Files that are remembered as opened, before those are forgotten that nobody reads any more.
const MAX_OPENED: usize = 256;

/// What may be stored.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// How long a file is kept.
    pub(crate) keep: Duration,
    /// Bytes of one project; 0 is no limit.
    pub(crate) project_quota: u64,
    /// This much of the disk stays free, in hundredths.
    pub(crate) min_free_percent: u8,
}

/// Stored files in a directory.
pub(crate) struct LocalBlobs {
    root: Arc<Path>,
    temporary: Arc<Path>,
    /// Removes the directory with the store, when nothing is to be kept.
    _private: Option<PrivateDir>,
    disk: Disk,
    database: Database,
    limits: Limits,
    state: Arc<Mutex<State>>,
    /// Files that are being read.
    opened: Mutex<HashMap<BlobId, Weak<Opened>>>,
}

#[derive(Default)]
struct State {
    used_by_project: HashMap<i64, u64>,
    /// Files that have, or are about to get, their final name, and are not in the database yet.
    pending: HashSet<BlobId>,
}

impl LocalBlobs {
    /// The store below a data directory; without one it is a private directory that vanishes with the relay.
    pub(crate) async fn open(data: Option<&Path>, database: Database, limits: Limits) -> Result<Self, BlobError> {
        let (private, root) = match data {
            Some(data) => (None, data.join(DIRECTORY)),
            None => {
                let private = PrivateDir::create(&std::env::temp_dir())?;
                let root = private.path().join(DIRECTORY);
                (Some(private), root)
            }
        };
        let temporary = root.join(TEMPORARY);
        make_private_directory(&root)?;
        make_private_directory(&temporary)?;
        if let Some(data) = data {
            // Whatever will be stored is lost with a directory that is.
            sync_directory(data)?;
        }
        for left in fs::read_dir(&temporary)? {
            fs::remove_file(left?.path())?;
        }
        let used = database.run(load_usage).await?;
        let state = State { used_by_project: used, pending: HashSet::new() };
        Ok(Self {
            root: root.into(),
            temporary: temporary.into(),
            _private: private,
            disk: Disk::new(),
            database,
            limits,
            state: Arc::new(Mutex::new(state)),
            opened: Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a file's content stands. Ids are random, so their first digits spread files evenly.
    fn path(&self, id: &BlobId) -> PathBuf {
        let (first, rest) = id.as_str().split_at(2);
        let (second, _) = rest.split_at(2);
        self.root.join(first).join(second).join(id.as_str())
    }

    /// Counts bytes to a project until the reservation is dropped or made final.
    fn reserve(&self, project: i64, len: u64) -> Result<Reservation, BlobError> {
        let mut state = self.state();
        let used = state.used_by_project.entry(project).or_default();
        let quota = self.limits.project_quota;
        if quota > 0 && used.saturating_add(len) > quota {
            return Err(BlobError::Quota(quota));
        }
        *used += len;
        drop(state);
        Ok(Reservation { state: self.state.clone(), project, len, id: None })
    }

    async fn store(&self, content: Spooled, about: About) -> Result<Blob, BlobError> {
        let Spooled { len, tree, memory, file, .. } = content;
        let mut reservation = self.reserve(about.project, len)?;
        let id = BlobId::random()?;
        let blob = Blob {
            id: id.clone(),
            project: about.project,
            size: len,
            name: about.name,
            hash: tree.root().to_hex().to_string(),
            expires: unix_seconds().saturating_add(self.limits.keep.as_secs() as i64),
        };
        self.state().pending.insert(id.clone());
        reservation.id = Some(id.clone());
        let (root, temporary, to) = (self.root.clone(), self.temporary.clone(), self.path(&id));
        let floor = self.limits.min_free_percent;
        let work = move || {
            check_free(&root, floor, memory.len() as u64)?;
            let file = file.map_or_else(|| write(&temporary, &memory), Ok)?;
            move_into_place(file, &root, &to)
        };
        if let Err(error) = self.disk.run(work).await {
            // A directory that could not be brought to the disk may hold it already.
            self.unlink(id).await;
            return Err(error.into());
        }
        let row = blob.clone();
        if let Err(error) = self.database.run(move |db| insert(db, &row, &tree)).await {
            self.unlink(id).await;
            return Err(error.into());
        }
        reservation.settle();
        Ok(blob)
    }

    async fn delete(&self, id: BlobId) -> Result<(), StoreError> {
        let key = id.clone();
        let found = self.database.run(move |db| delete(db, &key)).await?;
        if let Some((project, size)) = found {
            self.give_back(project, size);
            self.unlink(id).await;
        }
        Ok(())
    }

    fn give_back(&self, project: i64, size: u64) {
        if let Some(used) = self.state().used_by_project.get_mut(&project) {
            *used = used.saturating_sub(size);
        }
    }

    /// Opens content together with what its bytes are checked by.
    async fn open_checked(&self, blob: Blob) -> io::Result<Opened> {
        let id = blob.id.clone();
        let hash = blake3::Hash::from_hex(&blob.hash).map_err(|_| damaged(&id, 0))?;
        let key = id.clone();
        let stored = self.database.run(move |db| tree_of(db, &key)).await.map_err(io::Error::other)?;
        let known = Tree::from_bytes(&stored.unwrap_or_default(), blob.size, hash);
        let (path, size, made_before) = (self.path(&id), blob.size, known.is_none());
        let open = move || {
            let mut file = File::open(path)?;
            if file.metadata()?.len() != size {
                return Err(damaged(&id, size));
            }
            // A file that an earlier version has stored has no tree, and another one is damaged; the content makes up
            // for both, if it is what the hash says.
            let tree = known.map_or_else(|| Tree::of_file(&mut file), Ok)?;
            if tree.root() == hash { Ok((file, tree)) } else { Err(damaged(&id, 0)) }
        };
        let (file, tree) = self.disk.run(open).await?;
        if made_before {
            let (id, bytes) = (blob.id.clone(), tree.to_bytes());
            if let Err(error) = self.database.run(move |db| set_tree(db, &id, &bytes)).await {
                warn!(id = %blob.id, %error, "what a stored file is checked by cannot be stored; it is made again");
            }
        }
        Ok(Opened { file, id: blob.id, size: blob.size, tree })
    }

    /// Removes content that the database does not know.
    async fn unlink(&self, id: BlobId) {
        let path = self.path(&id);
        if let Err(error) = self.disk.run(move || fs::remove_file(path)).await
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(%id, %error, "content cannot be removed; a later start does it");
        }
    }

    async fn remove_expired(&self) -> Result<usize, StoreError> {
        let mut count = 0;
        loop {
            let now = unix_seconds();
            let expired = self.database.run(move |db| delete_expired(db, now)).await?;
            if expired.is_empty() {
                self.end_quarantine().await;
                return Ok(count);
            }
            count += expired.len();
            for (id, project, size) in expired {
                self.give_back(project, size);
                self.unlink(id).await;
            }
        }
    }

    /// Puts content that the database does not know into quarantine: a crash came between the two, or the database is
    /// not the one of these files.
    async fn quarantine_unknown(&self) -> Result<usize, BlobError> {
        let root = self.root.clone();
        let mut count = 0;
        for first in self.disk.run(move || directories(&root)).await? {
            let found = self.disk.run(move || ids_below(&first)).await?;
            // Whoever is pending now may be known a moment later, so this is asked before the database.
            let found: Vec<_> = {
                let state = self.state();
                found.into_iter().filter(|id| !state.pending.contains(id)).collect()
            };
            let orphans = self.database.run(move |db| unknown(db, found)).await?;
            count += orphans.len();
            for id in orphans {
                let (root, path) = (self.root.clone(), self.path(&id));
                self.disk.run(move || quarantine(&root, &path)).await?;
            }
        }
        if count > 0 {
            let place = self.root.join(QUARANTINE);
            let place = place.display();
            warn!(count, %place, "files that the database does not know are in quarantine; after a crash they are no loss");
        }
        Ok(count)
    }

    /// Removes what has been in quarantine for as long as files are kept.
    async fn end_quarantine(&self) {
        let (place, keep) = (self.root.join(QUARANTINE), self.limits.keep);
        if let Err(error) = self.disk.run(move || remove_older(&place, keep)).await {
            warn!(%error, "what is in quarantine stays a little longer");
        }
    }
}

impl Blobs for LocalBlobs {
    fn spool(&self) -> Spool {
        Spool::new(self.temporary.clone(), self.disk.clone())
    }

    fn check_room(&self, project: i64, len: u64) -> Later<'_, Result<(), BlobError>> {
        Box::pin(async move {
            drop(self.reserve(project, len)?);
            let (root, floor) = (self.root.clone(), self.limits.min_free_percent);
            Ok(self.disk.run(move || check_free(&root, floor, len)).await?)
        })
    }

    fn keep(&self, content: Spooled, about: About) -> Later<'_, Result<Blob, BlobError>> {
        Box::pin(self.store(content, about))
    }

    fn find(&self, id: BlobId) -> Later<'_, Result<Option<Blob>, StoreError>> {
        let now = unix_seconds();
        Box::pin(self.database.run(move |db| find(db, &id, now)))
    }

    fn open(&self, blob: Blob) -> Later<'_, io::Result<Content>> {
        Box::pin(async move {
            // A file that is on its way to thousands needs one descriptor.
            let opened =
                self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(&blob.id).and_then(Weak::upgrade);
            let opened = match opened {
                Some(opened) => opened,
                None => {
                    let (id, new) = (blob.id.clone(), Arc::new(self.open_checked(blob).await?));
                    let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
                    if opened.len() >= MAX_OPENED {
                        opened.retain(|_, file| file.strong_count() > 0);
                    }
                    opened.insert(id, Arc::downgrade(&new));
                    new
                }
            };
            Ok(Content::new(opened, self.disk.clone()))
        })
    }

    fn remove(&self, id: BlobId) -> Later<'_, Result<(), StoreError>> {
        Box::pin(self.delete(id))
    }

    fn sweep(&self) -> Later<'_, Result<usize, StoreError>> {
        Box::pin(self.remove_expired())
    }

    fn clear_orphans(&self) -> Later<'_, Result<usize, BlobError>> {
        Box::pin(self.quarantine_unknown())
    }
}

/// Bytes that count to a project while its file is being stored.
struct Reservation {
    state: Arc<Mutex<State>>,
    project: i64,
    len: u64,
    id: Option<BlobId>,
}

impl Reservation {
    /// The file is stored: the bytes stay counted.
    fn settle(mut self) {
        self.len = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(used) = state.used_by_project.get_mut(&self.project) {
            *used = used.saturating_sub(self.len);
        }
        if let Some(id) = &self.id {
            state.pending.remove(id);
        }
    }
}

fn unix_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() as i64)
}

/// A directory that other users of the machine cannot look into.
fn make_private_directory(path: &Path) -> io::Result<()> {
    private(DirBuilder::new().recursive(true)).create(path)
}

/// An error when `len` more bytes would take from the disk what must stay free.
fn check_free(path: &Path, min_free_percent: u8, len: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        let space = rustix::fs::statvfs(path)?;
        let (free, all) = (u128::from(space.f_bavail), u128::from(space.f_blocks));
        let unit = u128::from(space.f_frsize);
        let floor = all * unit * u128::from(min_free_percent) / 100;
        if free * unit < floor + u128::from(len) {
            return Err(io::ErrorKind::StorageFull.into());
        }
    }
    #[cfg(not(unix))]
    let _ = (path, min_free_percent, len);
    Ok(())
}

/// Content that stayed in memory until now, in a temporary file.
fn write(directory: &Path, content: &[u8]) -> io::Result<TempFile> {
    let mut temp = TempFile::create(directory)?;
    temp.file.write_all(content)?;
    Ok(temp)
}

/// Gives content its final name, in a directory that is made when it is missing. When this returns both survive a
/// loss of power.
fn move_into_place(file: TempFile, root: &Path, to: &Path) -> io::Result<()> {
    let directory = to.parent().unwrap_or(root);
    make_private_directory(directory)?;
    file.keep(to)?;
    let mut at = Some(directory);
    while let Some(path) = at.filter(|path| path.starts_with(root)) {
        // Whether a directory is new is not known, so each is brought to the disk up to the root.
        sync_directory(path)?;
        at = path.parent();
    }
    Ok(())
}

/// Moves content out of the way. Its time becomes that of the quarantine's beginning.
fn quarantine(root: &Path, path: &Path) -> io::Result<()> {
    let place = root.join(QUARANTINE);
    make_private_directory(&place)?;
    File::open(path)?.set_modified(SystemTime::now())?;
    fs::rename(path, place.join(path.file_name().unwrap_or_default()))
}

fn remove_older(directory: &Path, than: Duration) -> io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // A clock that was put back makes no file older.
        if entry.metadata()?.modified()?.elapsed().is_ok_and(|age| age >= than) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The directories of one level, by their two digits.
fn directories(path: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The files below a directory of the first level.
fn ids_below(first: &Path) -> io::Result<Vec<BlobId>> {
    let mut found = Vec::new();
    for second in directories(first)? {
        for entry in fs::read_dir(second)? {
            found.extend(entry?.file_name().to_str().and_then(BlobId::parse));
        }
    }
    Ok(found)
}

fn load_usage(db: &Connection) -> rusqlite::Result<HashMap<i64, u64>> {
    let mut statement = db.prepare("SELECT project, sum(size) FROM blob GROUP BY project")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

fn insert(db: &Connection, blob: &Blob, tree: &Tree) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT INTO blob ({BLOB}, tree, sum)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, {ROW_SUM}(?1, ?2, ?3, ?4, ?5, ?6))"
    );
    let Blob { id, project, size, name, hash, expires } = blob;
    db.prepare_cached(&sql)?.execute(params![id.as_str(), project, size, name, hash, expires, tree.to_bytes()])?;
    Ok(())
}

fn tree_of(db: &Connection, id: &BlobId) -> rusqlite::Result<Option<Vec<u8>>> {
    let mut statement = db.prepare_cached("SELECT tree FROM blob WHERE id = ?")?;
    Ok(statement.query_row([id.as_str()], |row| row.get(0)).optional()?.flatten())
}

fn set_tree(db: &Connection, id: &BlobId, tree: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached("UPDATE blob SET tree = ? WHERE id = ?")?.execute(params![tree, id.as_str()]).map(drop)
}

fn find(db: &Connection, id: &BlobId, now: i64) -> rusqlite::Result<Option<Blob>> {
    let sql = format!(
        "SELECT project, size, name, hash, expires, sum IS {ROW_SUM}({BLOB})
         FROM blob WHERE id = ? AND expires > ?"
    );
    let mut statement = db.prepare_cached(&sql)?;
    let blob = |row: &Row<'_>| {
        if !row.get::<_, bool>(5)? {
            error!(%id, "what the database says of a stored file is damaged; the file is not given to anybody");
            return Ok(None);
        }
        Ok(Some(Blob {
            id: id.clone(),
            project: row.get(0)?,
            size: row.get(1)?,
            name: row.get(2)?,
            hash: row.get(3)?,
            expires: row.get(4)?,
        }))
    };
    Ok(statement.query_row(params![id.as_str(), now], blob).optional()?.flatten())
}

fn delete(db: &Connection, id: &BlobId) -> rusqlite::Result<Option<(i64, u64)>> {
    let mut statement = db.prepare_cached("DELETE FROM blob WHERE id = ? RETURNING project, size")?;
    statement.query_row([id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()
}

fn delete_expired(db: &Connection, now: i64) -> rusqlite::Result<Vec<(BlobId, i64, u64)>> {
    let mut statement = db.prepare_cached(
        "DELETE FROM blob WHERE id IN (SELECT id FROM blob WHERE expires <= ? LIMIT ?) RETURNING id, project, size",
    )?;
    let rows = statement
        .query_map(params![now, SWEEP_STEP as u64], |row| Ok((row.get::<_, String>(0)?, row.get(1)?, row.get(2)?)))?;
    let rows: Vec<(String, i64, u64)> = rows.collect::<rusqlite::Result<_>>()?;
    let parsed = rows.into_iter().filter_map(|(id, project, size)| {
        let Some(id) = BlobId::parse(&id) else {
            error!(id, "the database had a file whose id is none; was it changed by hand?");
            return None;
        };
        Some((id, project, size))
    });
    Ok(parsed.collect())
}

/// Those of `ids` that the database does not know.
fn unknown(db: &Connection, ids: Vec<BlobId>) -> rusqlite::Result<Vec<BlobId>> {
    let mut statement = db.prepare_cached("SELECT 1 FROM blob WHERE id = ?")?;
    let mut unknown = Vec::new();
    for id in ids {
        if !statement.exists([id.as_str()])? {
            unknown.push(id);
        }
    }
    Ok(unknown)
}
