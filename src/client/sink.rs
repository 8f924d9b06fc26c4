//! Where a transfer's bytes go: memory or a file. Written and hashed on the helper pool.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use crvideo_proto::code;

use super::Code;
use super::fault;
use super::pool::{FILES, Strand};
use super::private_dir;
use super::quota::{Charge, Quota};
use crate::sys::{self, Dir, Kept};

/// Where a file is to be put.
#[derive(Debug, Clone)]
pub enum Place {
    /// In memory.
    Memory,
    /// Under an unguessable name in the library's own directory.
    Private,
    /// Under an unguessable name in this directory.
    Directory(PathBuf),
    /// Under this very name, which must not exist yet.
    Path(PathBuf),
}

/// What has been taken so far.
enum Content {
    /// Nothing is open (not yet, or not any more).
    Closed,
    Memory(Vec<u8>),
    File(Kept<File>),
}

struct Writing {
    content: Content,
    hasher: blake3::Hasher,
    written: u64,
}

/// A file of ours, by the directory that it was made in: whoever swaps the path for another one meanwhile misleads
/// nobody.
struct Entry {
    dir: Arc<Dir>,
    name: OsString,
    /// What the application is told.
    path: PathBuf,
}

impl Entry {
    fn remove(&self) {
        if !self.dir.is_open() {
            // The host has closed the directory.
            return remove(&self.path);
        }
        log_unless_removed(&self.path, self.dir.remove(&self.name).or_else(|_| self.dir.remove(&self.name)));
    }
}

/// Names on disk. Held only for the moment of creating, renaming and removing, so that an abort never waits for a
/// write or a sync.
struct Names {
    /// The file as it is written.
    part: Option<Entry>,
    /// The file once it is complete.
    complete: Option<Entry>,
    aborted: bool,
    /// The file's place in the session's quota, until it is the application's.
    charge: Option<Charge>,
}

/// A sink, shared by the io thread and the pool.
pub struct Sink {
    place: Place,
    durable: bool,
    quota: Arc<Quota>,
    writing: Mutex<Writing>,
    names: Mutex<Names>,
    /// Nothing more is to be written.
    stopped: AtomicBool,
    finished: Mutex<Option<Bytes>>,
    strand: Arc<Strand>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Sink {
    /// A sink that is not open yet.
    pub fn new(place: Place, durable: bool, quota: Arc<Quota>) -> Arc<Self> {
        Arc::new(Self {
            place,
            durable,
            quota,
            writing: Mutex::new(Writing { content: Content::Closed, hasher: blake3::Hasher::new(), written: 0 }),
            names: Mutex::new(Names { part: None, complete: None, aborted: false, charge: None }),
            stopped: AtomicBool::new(false),
            finished: Mutex::new(None),
            strand: Arc::default(),
        })
    }

    /// Makes room for `size` bytes; `failed` hears if that cannot be.
    pub fn open(self: &Arc<Self>, size: u64, failed: impl FnOnce(Code) + Send + 'static) {
        let sink = self.clone();
        self.strand.run(move || {
            if let Err(err) = sink.open_now(size) {
                sink.stopped.store(true, Ordering::SeqCst);
                failed(err);
            }
        });
    }

    /// Appends; `done` hears how much has been written in all.
    pub fn write(self: &Arc<Self>, data: Bytes, done: impl FnOnce(Result<u64, Code>) + Send + 'static) {
        let sink = self.clone();
        self.strand.run(move || {
            if !sink.stopped.load(Ordering::SeqCst) {
                let written = sink.write_now(&data);
                if written.is_err() {
                    sink.stopped.store(true, Ordering::SeqCst);
                }
                done(written);
            }
        });
    }

    /// Compares the hash and completes the content.
    pub fn finish(self: &Arc<Self>, hash: [u8; 32], done: impl FnOnce(Result<(), Code>) + Send + 'static) {
        let sink = self.clone();
        self.strand.run(move || {
            if !sink.stopped.swap(true, Ordering::SeqCst) {
                done(sink.finish_now(&hash));
            }
        });
    }

    /// Removes everything, without waiting for a write that is under way.
    pub fn abort(self: &Arc<Self>, done: impl FnOnce() + Send + 'static) {
        self.stopped.store(true, Ordering::SeqCst);
        let sink = self.clone();
        FILES.run(move || {
            let mut names = lock(&sink.names);
            names.aborted = true;
            for entry in [names.part.take(), names.complete.take()].into_iter().flatten() {
                entry.remove();
            }
            names.charge = None;
            drop(names);
            *lock(&sink.finished) = None;
            // Memory is let go here unless a write still holds it; then with the last job of the strand.
            if let Ok(mut writing) = sink.writing.try_lock() {
                writing.content = Content::Closed;
            }
            done();
        });
    }

    /// The content of a finished sink in memory.
    pub fn take_buffer(&self) -> Bytes {
        lock(&self.finished).take().unwrap_or_default()
    }

    /// Where a finished file is; from now on it is the application's.
    pub fn take_path(&self) -> PathBuf {
        let mut names = lock(&self.names);
        let path = names.complete.take().map(|entry| entry.path).unwrap_or_default();
        if let Some(charge) = names.charge.take() {
            charge.keep(&path);
        }
        path
    }

    // ---- on the pool --------------------------------------------------------------------------------------

    fn open_now(&self, size: u64) -> Result<(), Code> {
        fault::point("opening a sink");
        let content = match &self.place {
            Place::Memory => {
                let size = usize::try_from(size).map_err(|_| code::OUTOF_MEM)?;
                let mut memory = Vec::new();
                // A peer's number must not abort the host: ask, do not demand.
                memory.try_reserve_exact(size).map_err(|_| code::OUTOF_MEM)?;
                Content::Memory(memory)
            }
            Place::Private => Content::File(private_dir::create_in(|dir, path| self.create(dir, path, "", size))?),
            Place::Directory(path) => Content::File(self.create(open_dir(path)?, path, "crvideo-", size)?),
            Place::Path(path) => {
                let parent = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
                let dir = open_dir(parent)?;
                if path.file_name().is_some_and(|name| dir.has(name)) {
                    return Err(code::FILE_ALREADY_EXIST);
                }
                Content::File(self.create(dir, parent, ".crvideo-part-", size)?)
            }
        };
        lock(&self.writing).content = content;
        Ok(())
    }

    fn create(&self, dir: Arc<Dir>, dir_path: &Path, prefix: &str, size: u64) -> Result<Kept<File>, Code> {
        let name = OsString::from(format!("{prefix}{}", random_name()?));
        let path = dir_path.join(&name);
        let mut names = lock(&self.names);
        if names.aborted {
            return Err(code::SEND_CANCELLED);
        }
        // What goes to a path of the application's own is the application's business.
        if !matches!(self.place, Place::Path(_)) {
            names.charge = Some(self.quota.charge(size)?);
        }
        let file = Kept::new(dir.create(&name).map_err(|error| cannot_write(&path, &error))?);
        names.part = Some(Entry { dir, name, path: path.clone() });
        drop(names);
        sys::reserve(&file, size).map_err(|error| cannot_write(&path, &error))?;
        Ok(file)
    }

    fn write_now(&self, data: &[u8]) -> Result<u64, Code> {
        fault::point("writing to a sink");
        let mut writing = lock(&self.writing);
        let writing = &mut *writing;
        match &mut writing.content {
            Content::Closed => return Err(code::INNER_ERR),
            Content::Memory(memory) => memory.extend_from_slice(data),
            Content::File(file) => file.write_all(data).map_err(|error| {
                log::error!("cannot write a received file: {error}");
                code::FILE_WRITE_ERR
            })?,
        }
        writing.hasher.update(data);
        writing.written += data.len() as u64;
        Ok(writing.written)
    }

    fn finish_now(&self, hash: &[u8; 32]) -> Result<(), Code> {
        fault::point("finishing a sink");
        let mut writing = lock(&self.writing);
        // blake3 compares hashes in constant time; here only the result counts.
        if writing.hasher.finalize() != blake3::Hash::from_bytes(*hash) {
            log::error!("received content fails its hash check");
            return Err(code::ERR_DATA);
        }
        match std::mem::replace(&mut writing.content, Content::Closed) {
            Content::Closed => Err(code::INNER_ERR),
            Content::Memory(memory) => {
                *lock(&self.finished) = Some(Bytes::from(memory));
                Ok(())
            }
            Content::File(file) => self.complete_file(file),
        }
    }

    /// Whatever can fail comes before the file gets its own name, but for a sync of the directory: who is told of a failure
    /// must find nothing there.
    fn complete_file(&self, file: Kept<File>) -> Result<(), Code> {
        fault::point("completing a file");
        let failed = |error| cannot_write(Path::new("a received file"), &error);
        if self.durable {
            file.sync_all().map_err(failed)?;
        }
        file.close().map_err(failed)?;
        let mut names = lock(&self.names);
        // An abort that came first has removed the part.
        let Some(part) = names.part.take() else { return Err(code::SEND_CANCELLED) };
        let complete = match self.renamed(&part) {
            Ok(complete) => complete,
            Err(err) => {
                names.part = Some(part);
                return Err(err);
            }
        };
        let dir = complete.dir.clone();
        names.complete = Some(complete);
        drop(names);
        if !self.durable {
            return Ok(());
        }
        dir.sync().map_err(|error| cannot_write(Path::new("the directory of a received file"), &error))
    }

    /// The complete file under the name that it is to have.
    fn renamed(&self, part: &Entry) -> Result<Entry, Code> {
        let Place::Path(path) = &self.place else {
            return Ok(Entry { dir: part.dir.clone(), name: part.name.clone(), path: part.path.clone() });
        };
        let name = path.file_name().ok_or(code::FILE_WRITE_ERR)?;
        part.dir.rename_no_replace(&part.name, name).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => code::FILE_ALREADY_EXIST,
            _ => cannot_write(path, &error),
        })?;
        Ok(Entry { dir: part.dir.clone(), name: name.to_owned(), path: path.clone() })
    }
}

fn open_dir(path: &Path) -> Result<Arc<Dir>, Code> {
    Dir::open(path).map(Arc::new).map_err(|error| cannot_write(path, &error))
}

/// Removes a received file whose time is over. By its path, so that no directory is held open for a day: the file's
/// name is 128 random bits, so nobody can put another one in its place unseen.
pub fn remove(path: &Path) {
    log_unless_removed(path, std::fs::remove_file(path).or_else(|_| std::fs::remove_file(path)));
}

/// That a file is gone already is no error.
fn log_unless_removed(path: &Path, removed: io::Result<()>) {
    if let Err(error) = removed
        && error.kind() != io::ErrorKind::NotFound
    {
        log::warn!("cannot remove {}: {error}", path.display());
    }
}

fn cannot_write(path: &Path, error: &io::Error) -> Code {
    log::error!("cannot write {}: {error}", path.display());
    code::FILE_WRITE_ERR
}

fn random_name() -> Result<String, Code> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).map_err(|_| code::INNER_ERR)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
