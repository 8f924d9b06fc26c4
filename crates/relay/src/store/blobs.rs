//! Stored files, as whoever uses them sees them. Another place for content implements [`Blobs`].

use std::fmt;
use std::fs::File;
use std::io;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::disk::Disk;
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
    fn open(&self, id: BlobId) -> Later<'_, io::Result<Content>>;

    /// Removes a file; who is reading it may finish.
    fn remove(&self, id: BlobId) -> Later<'_, Result<(), StoreError>>;

    /// Removes what has expired and returns how many files that were.
    fn sweep(&self) -> Later<'_, Result<usize, StoreError>>;

    /// Puts into quarantine what a crash has left behind, and returns how much that was. Takes as long as there are files, so it
    /// runs beside everything else.
    fn clear_orphans(&self) -> Later<'_, Result<usize, BlobError>>;
}

/// Content that is being read; clones read the same file.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    file: Arc<File>,
    disk: Disk,
}

impl Content {
    pub(super) fn new(file: Arc<File>, disk: Disk) -> Self {
        Self { file, disk }
    }

    /// Whether both read the same open file.
    #[cfg(test)]
    pub(crate) fn shares_file_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }

    /// Reads `len` bytes from offset `at` on and gives itself back.
    pub(crate) async fn read(self, at: u64, len: usize) -> io::Result<(Self, Bytes)> {
        let file = self.file.clone();
        let read = move || {
            let mut bytes = BytesMut::zeroed(len);
            read_at(&file, &mut bytes, at)?;
            Ok(bytes.freeze())
        };
        let bytes = self.disk.run(read).await?;
        Ok((self, bytes))
    }
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
