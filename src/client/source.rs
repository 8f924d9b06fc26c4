//! Where a transfer's bytes come from: memory or a file. Read and hashed on the helper pool.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use bytes::Bytes;
use crvideo_proto::code;
use crvideo_proto::rtm::sign::FileHasher;
use crvideo_proto::shelf::Shelf;

use super::Code;
use super::fault;
use super::pool::Strand;
use crate::sys::{self, Kept};

/// Bytes of buffers that wait for the next piece of any file.
const SPARE: usize = 2 * 1024 * 1024;
/// The buffers that files are read into.
static BUFFERS: LazyLock<Shelf> = LazyLock::new(|| Shelf::new(SPARE));
/// Files that are open.
static OPEN_FILES: AtomicUsize = AtomicUsize::new(0);

/// The bytes themselves.
enum Content {
    Memory(Bytes),
    File { file: Kept<File>, modified: (i64, i64), _open: Open },
}

/// One of the files that are open. The last one takes the spare buffers with it.
struct Open;

impl Open {
    fn new() -> Self {
        OPEN_FILES.fetch_add(1, Ordering::SeqCst);
        Self
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if OPEN_FILES.fetch_sub(1, Ordering::SeqCst) == 1 {
            BUFFERS.clear();
        }
    }
}

/// How a content's hash is computed, piece by piece.
pub trait Hashing: Clone + Default + Send + 'static {
    /// The hash.
    type Digest: Send;
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]);
    /// The hash of what was taken.
    fn digest(&self) -> Self::Digest;
}

/// Transfers between users.
impl Hashing for blake3::Hasher {
    type Digest = [u8; 32];

    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn digest(&self) -> [u8; 32] {
        *self.finalize().as_bytes()
    }
}

/// Files to an RTM server.
impl Hashing for FileHasher {
    type Digest = String;

    fn take(&mut self, bytes: &[u8]) {
        self.update(bytes);
    }

    fn digest(&self) -> String {
        self.clone().finish()
    }
}

/// The content's hash as far as it has been read, from the start on.
#[derive(Default)]
struct Progress<H> {
    hasher: H,
    hashed: u64,
}

/// A source, shared by the io thread and the pool.
pub struct Source<H: Hashing = blake3::Hasher> {
    content: Content,
    size: u64,
    progress: Mutex<Progress<H>>,
    strand: Arc<Strand>,
}

/// A piece that was read, with the hash where the piece reaches the end.
pub type Piece<D> = Result<(Bytes, Option<D>), Code>;

impl<H: Hashing> Source<H> {
    fn new(content: Content, size: u64) -> Arc<Self> {
        let progress = Mutex::new(Progress::default());
        Arc::new(Self { content, size, progress, strand: Arc::default() })
    }

    /// A source in memory.
    pub fn memory(data: Bytes) -> Arc<Self> {
        let size = data.len() as u64;
        Self::new(Content::Memory(data), size)
    }

    /// A regular file, opened now; its size is the one it has now.
    pub fn file(path: &Path) -> Result<Arc<Self>, Code> {
        // Without O_NONBLOCK, opening a FIFO would wait for a writer.
        let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
        let file = Kept::new(opened.map_err(|error| cannot_open(path, &error))?);
        let metadata = file.metadata().map_err(|error| cannot_open(path, &error))?;
        if !metadata.is_file() {
            log::warn!("{} is not a regular file", path.display());
            return Err(code::SENDFILE_FILEINERROR);
        }
        let modified = modified(&metadata);
        Ok(Self::new(Content::File { file, modified, _open: Open::new() }, metadata.len()))
    }

    /// Bytes in all.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Reads `len` bytes at `offset` on the pool, and gives them to `done` there.
    pub fn read(self: &Arc<Self>, offset: u64, len: usize, done: impl FnOnce(Piece<H::Digest>) + Send + 'static) {
        let source = self.clone();
        self.strand.run(move || done(source.piece(offset, len)));
    }

    fn piece(&self, offset: u64, len: usize) -> Piece<H::Digest> {
        fault::point("reading a source");
        let data = self.bytes(offset, len)?;
        let end = offset + data.len() as u64;
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // A transfer that goes back reads again what is hashed already; it never skips.
        if let Some(fresh) = usize::try_from(progress.hashed.saturating_sub(offset)).ok().and_then(|at| data.get(at..))
            && progress.hashed >= offset
            && !fresh.is_empty()
        {
            progress.hasher.take(fresh);
            progress.hashed = end;
        }
        if end < self.size {
            return Ok((data, None));
        }
        self.must_be_unchanged()?;
        Ok((data, Some(progress.hasher.digest())))
    }

    fn bytes(&self, offset: u64, len: usize) -> Result<Bytes, Code> {
        match &self.content {
            Content::Memory(data) => {
                let start = usize::try_from(offset).map_err(|_| code::INNER_ERR)?;
                let end = start.checked_add(len).filter(|end| *end <= data.len()).ok_or(code::INNER_ERR)?;
                Ok(data.slice(start..end))
            }
            Content::File { file, .. } => {
                let mut buffer = BUFFERS.take(len).map_err(|_| code::OUTOF_MEM)?;
                match sys::read_exact_into(file, &mut buffer, len, offset) {
                    Ok(()) => Ok(BUFFERS.lend(buffer)),
                    Err(error) => {
                        log::warn!("the source file cannot be read to its end: {error}");
                        Err(code::SENDFILE_FILEINERROR)
                    }
                }
            }
        }
    }

    /// Growth is ignored; anything else that happened to the file while it was read spoils it.
    fn must_be_unchanged(&self) -> Result<(), Code> {
        let Content::File { file, modified: before, .. } = &self.content else { return Ok(()) };
        let metadata = file.metadata().map_err(|_| code::SENDFILE_FILEINERROR)?;
        let grown = metadata.len() > self.size;
        if metadata.len() < self.size || (!grown && modified(&metadata) != *before) {
            log::warn!("the source file changed while it was sent");
            return Err(code::SENDFILE_FILEINERROR);
        }
        Ok(())
    }
}

fn modified(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

fn cannot_open(path: &Path, error: &io::Error) -> Code {
    log::warn!("cannot read {}: {error}", path.display());
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => code::SEND_QUEUE_FULL,
        _ => code::SENDFILE_FILEINERROR,
    }
}
