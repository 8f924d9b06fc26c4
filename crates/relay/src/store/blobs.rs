//! Stored files, as whoever uses them sees them. Another place for content implements [`Blobs`].

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tracing::error;

use super::disk::Disk;
use super::tree::{PART, Tree};
use super::{Later, Spool, Spooled, StoreError};

/// The name of a stored file: 128 random bits. Who knows it may read the file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct BlobId(String);

impl BlobId {
    /// A new one.
    pub(crate) fn random() -> io::Result<Self> {
        random_hex().map(Self)
    }

    /// Exactly what [`BlobId::random`] makes; nothing else can reach a path or the database.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let good = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        good.then(|| Self(text.to_owned()))
    }

    /// 32 lower-case hexadecimal digits.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Its beginning alone: enough to find the file, not enough to read it.
impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", self.0.get(..8).unwrap_or_default())
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 16 random bytes in hexadecimal digits.
pub(crate) fn random_hex() -> io::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What a file is kept under.
#[derive(Debug, Clone)]
pub(crate) struct About {
    /// The project that sent it.
    pub(crate) project: i64,
    /// Its name for people, cleaned.
    pub(crate) name: String,
}

/// A stored file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) id: BlobId,
    pub(crate) project: i64,
    pub(crate) size: u64,
    /// Its name for people, cleaned.
    pub(crate) name: String,
    /// The content's BLAKE3, 64 hexadecimal digits.
    pub(crate) hash: String,
    /// When it vanishes, in seconds since 1970.
    pub(crate) expires: i64,
}

/// Why a file is not taken.
#[derive(Debug)]
pub(crate) enum BlobError {
    /// The project has used up its so many bytes.
    Quota(u64),
    /// The disk is nearly full, or full.
    Full,
    /// The disk fails; the log says how.
    Disk(io::Error),
    /// The database fails.
    Store(StoreError),
}

impl fmt::Display for BlobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BlobError::Quota(most) => write!(f, "the project's files would take more than {most} bytes"),
            BlobError::Full => f.write_str("the disk is full"),
            BlobError::Disk(error) => write!(f, "the disk fails: {error}"),
            BlobError::Store(error) => error.fmt(f),
        }
    }
}

impl From<StoreError> for BlobError {
    fn from(error: StoreError) -> Self {
        BlobError::Store(error)
    }
}

impl From<io::Error> for BlobError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => BlobError::Full,
            _ => BlobError::Disk(error),
        }
    }
}

/// Where files are stored.
pub(crate) trait Blobs: Send + Sync {
    /// Room for content on its way in.
    fn spool(&self) -> Spool;

    /// Says early that `len` bytes of a project would not be taken.
    fn check_room(&self, project: i64, len: u64) -> Later<'_, Result<(), BlobError>>;

    /// Stores content. When this returns it survives a crash; until then nobody can find any of it.
    fn keep(&self, content: Spooled, about: About) -> Later<'_, Result<Blob, BlobError>>;

    /// A stored file that has not expired.
    fn find(&self, id: BlobId) -> Later<'_, Result<Option<Blob>, StoreError>>;

    /// The content of a stored file.
    /// Damage is an error of the kind [`io::ErrorKind::InvalidData`], and in the log.
    fn open(&self, blob: Blob) -> Later<'_, io::Result<Content>>;

    /// Removes a file; who is reading it may finish.
    fn remove(&self, id: BlobId) -> Later<'_, Result<(), StoreError>>;

    /// Removes what has expired and returns how many files that were.
    fn sweep(&self) -> Later<'_, Result<usize, StoreError>>;

    /// Puts into quarantine what a crash has left behind, and returns how much that was. Takes as long as there are files, so it
    /// runs beside everything else.
    fn clear_orphans(&self) -> Later<'_, Result<usize, BlobError>>;
}

/// Content that is being read; clones read the same file. Each part of it is checked before anybody sees a byte of it.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    opened: Arc<Opened>,
    disk: Disk,
}

impl Content {
    pub(super) fn new(opened: Arc<Opened>, disk: Disk) -> Self {
        Self { opened, disk }
    }

    /// Whether both read the same open file.
    #[cfg(test)]
    pub(crate) fn shares_file_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.opened, &other.opened)
    }

    /// Bytes of memory that reading so much takes: parts are read and checked as a whole.
    pub(crate) fn memory(&self, at: u64, len: usize) -> usize {
        let part = PART as u64;
        let end = at.saturating_add(len as u64).div_ceil(part).saturating_mul(part).min(self.opened.size);
        usize::try_from(end.saturating_sub(at / part * part)).unwrap_or(usize::MAX)
    }

    /// Reads `len` bytes from offset `at` on and gives itself back. What is not as it was stored is an error of the
    /// kind [`io::ErrorKind::InvalidData`].
    pub(crate) async fn read(self, at: u64, len: usize) -> io::Result<(Self, Bytes)> {
        let opened = self.opened.clone();
        let bytes = self.disk.run(move || opened.read_parts(at, len)).await?;
        Ok((self, bytes))
    }
}

/// A stored file that is open for all who read it, and what its bytes are checked by.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: File,
    pub(super) id: BlobId,
    pub(super) size: u64,
    pub(super) tree: Tree,
}

impl Opened {
    /// Reads and checks all parts that the bytes touch.
    fn read_parts(&self, at: u64, len: usize) -> io::Result<Bytes> {
        let end = at.checked_add(len as u64).filter(|end| *end <= self.size).ok_or(io::ErrorKind::UnexpectedEof)?;
        let part = PART as u64;
        let (first, start) = (at / part, at / part * part);
        let whole = (end.div_ceil(part) * part).min(self.size).saturating_sub(start);
        let mut bytes = BytesMut::zeroed(usize::try_from(whole).map_err(io::Error::other)?);
        match read_at(&self.file, &mut bytes, start) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged(&self.id, start)),
            read => read?,
        }
        for (number, bytes) in (first..).zip(bytes.chunks(PART)) {
            if !self.tree.is_part(number, bytes) {
                return Err(damaged(&self.id, number * part));
            }
        }
        let from = usize::try_from(at - start).unwrap_or_default();
        Ok(bytes.freeze().slice(from..from + len))
    }
}

/// Content that is not as it was stored, from about this byte on. The operator must know.
pub(super) fn damaged(id: &BlobId, at: u64) -> io::Error {
    error!(%id, at, "a stored file is damaged on the disk and is not given to anybody; what was written is not what is read");
    io::Error::new(io::ErrorKind::InvalidData, format!("the stored file {id} is damaged near byte {at}"))
}

/// Fills `bytes` from offset `at` on, wherever others read the same file.
#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], at: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, at)
}

#[cfg(windows)]
fn read_at(file: &File, mut bytes: &mut [u8], mut at: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match std::os::windows::fs::FileExt::seek_read(file, bytes, at)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                at += count as u64;
                bytes = bytes.get_mut(count..).unwrap_or_default();
            }
        }
    }
    Ok(())
}
