//! Content on its way in: small in memory, larger in a temporary file, hashed while it arrives.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use crvideo_proto::rtm::sign::FileHasher;
use tracing::warn;

use super::disk::Disk;
use super::tree::{Tree, TreeHasher};

/// So many bytes wait in memory for a write; content that is not larger touches the disk only when it is kept.
pub(crate) const MAX_IN_MEMORY: usize = 256 * 1024;
/// What was written is brought to the disk in steps of this size, so that the last step is short however large the
/// content is.
const SYNC_EVERY: usize = 8 * 1024 * 1024;

/// A file that vanishes unless it is kept.
#[derive(Debug)]
pub(crate) struct TempFile {
    pub(super) file: File,
    path: PathBuf,
    kept: bool,
}

impl TempFile {
    pub(super) fn create(directory: &Path) -> io::Result<Self> {
        let path = directory.join(super::blobs::random_hex()?);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(&path)?, path, kept: false })
    }

    /// Gives it its final name, once its content is on the disk.
    pub(super) fn keep(mut self, to: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        std::fs::rename(&self.path, to)?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            warn!(path = %self.path.display(), %error, "a temporary file cannot be removed; the next start does it");
        }
    }
}

/// What grows on the disk, with the hashes over all that was handed on.
#[derive(Debug, Default)]
struct Written {
    file: Option<TempFile>,
    md5: FileHasher,
    tree: TreeHasher,
    unsynced: usize,
}

impl Written {
    fn hash(&mut self, bytes: &[u8]) {
        self.md5.update(bytes);
        self.tree.update(bytes);
    }

    fn write(&mut self, directory: &Path, bytes: &[u8]) -> io::Result<()> {
        self.hash(bytes);
        if self.file.is_none() {
            self.file = Some(TempFile::create(directory)?);
        }
        let Some(temp) = &mut self.file else { return Ok(()) };
        temp.file.write_all(bytes)?;
        self.unsynced += bytes.len();
        if self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            temp.file.sync_data()?;
        }
        Ok(())
    }
}

/// A write under way; it gives the buffer back.
type Writing = tokio::task::JoinHandle<io::Result<(Written, BytesMut)>>;

/// Content that grows. Dropped before it is finished, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: Arc<Path>,
    disk: Disk,
    buffer: BytesMut,
    /// `None` while a write is under way or after one has failed.
    written: Option<Written>,
    writing: Option<Writing>,
    len: u64,
}

/// Content that is complete.
#[derive(Debug)]
pub(crate) struct Spooled {
    /// Its bytes.
    pub(crate) len: u64,
    /// 32 lower-case hexadecimal digits.
    pub(crate) md5: String,
    /// What it is checked by when it is read again.
    pub(super) tree: Tree,
    /// What is not in the file.
    pub(super) memory: BytesMut,
    /// Content that did not stay in memory, all of it.
    pub(super) file: Option<TempFile>,
}

impl Spool {
    /// Empty content, whose temporary file would stand in `directory`.
    pub(super) fn new(directory: Arc<Path>, disk: Disk) -> Self {
        let written = Some(Written::default());
        Self { directory, disk, buffer: BytesMut::new(), written, writing: None, len: 0 }
    }

    /// Bytes of heap for what is not on the disk yet.
    pub(crate) fn memory(&self) -> usize {
        self.buffer.capacity() + if self.writing.is_some() { MAX_IN_MEMORY } else { 0 }
    }

    /// Takes more. Waits while the disk is behind, and so does whoever brings the bytes.
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.buffer.len() == MAX_IN_MEMORY {
                self.flush().await?;
            }
            let count = bytes.len().min(MAX_IN_MEMORY - self.buffer.len());
            if self.buffer.capacity() - self.buffer.len() < count && self.len > MAX_IN_MEMORY as u64 / 4 {
                // Doubling would overshoot from here on.
                self.buffer.reserve(MAX_IN_MEMORY - self.buffer.len());
            }
            self.buffer.extend_from_slice(bytes.get(..count).unwrap_or_default());
            self.len += count as u64;
            bytes.advance(count);
        }
        Ok(())
    }

    /// Waits for the write before, and hands the buffer on.
    async fn flush(&mut self) -> io::Result<()> {
        let (mut written, empty) = self.settle().await?;
        let full = std::mem::replace(&mut self.buffer, empty);
        let (directory, disk) = (self.directory.clone(), self.disk.clone());
        self.writing = Some(tokio::spawn(async move {
            disk.run(move || {
                written.write(&directory, &full)?;
                let mut buffer = full;
                buffer.clear();
                Ok((written, buffer))
            })
            .await
        }));
        Ok(())
    }

    /// What has been written, after a write under way is done, and a buffer that it no longer needs.
    async fn settle(&mut self) -> io::Result<(Written, BytesMut)> {
        if let Some(writing) = self.writing.take() {
            return writing.await.unwrap_or_else(|error| Err(io::Error::other(error)));
        }
        let written = self.written.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        Ok((written, BytesMut::new()))
    }

    /// The content as a whole. It is not safe on the disk yet.
    pub(crate) async fn finish(mut self) -> io::Result<Spooled> {
        let (mut written, _) = self.settle().await?;
        let (len, memory, directory) = (self.len, std::mem::take(&mut self.buffer), self.directory.clone());
        self.disk
            .run(move || {
                let memory = if written.file.is_some() {
                    written.write(&directory, &memory)?;
                    BytesMut::new()
                } else {
                    written.hash(&memory);
                    memory
                };
                let Written { file, md5, tree, .. } = written;
                Ok(Spooled { len, md5: md5.finish(), tree: tree.finish(), memory, file })
            })
            .await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    fn spool(directory: &Path) -> Spool {
        Spool::new(directory.into(), Disk::new())
    }

    fn files(directory: &Path) -> usize {
        std::fs::read_dir(directory).unwrap().count()
    }

    #[tokio::test]
    async fn small_content_stays_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = spool(directory.path());
        spool.write(b"hello rtm").await.unwrap();
        spool.write(b" file\n").await.unwrap();
        let done = spool.finish().await.unwrap();
        assert_eq!((done.len, done.memory.as_ref()), (15, b"hello rtm file\n".as_slice()));
        // From md5sum.
        assert_eq!(done.md5, "92d3b4e32597cf4bab06247657021de5");
        assert_eq!(done.tree.root(), blake3::hash(b"hello rtm file\n"));
        assert_eq!(files(directory.path()), 0);
    }

    #[tokio::test]
    async fn large_content_goes_to_a_file_that_vanishes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * MAX_IN_MEMORY + 5).map(|at| (at % 251) as u8).collect();
        let mut spool = spool(directory.path());
        for piece in content.chunks(100_000) {
            spool.write(piece).await.unwrap();
        }
        let done = spool.finish().await.unwrap();
        assert_eq!(done.tree.root(), blake3::hash(&content));
        assert!(done.memory.is_empty());
        assert_eq!(std::fs::read(&done.file.as_ref().unwrap().path).unwrap(), content);
        drop(done);
        assert_eq!(files(directory.path()), 0);
    }

    #[tokio::test]
    async fn a_write_that_fails_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = spool(&directory.path().join("missing"));
        let piece = vec![0; MAX_IN_MEMORY];
        let mut failed = false;
        for _ in 0..3 {
            failed |= spool.write(&piece).await.is_err();
        }
        assert!(failed || spool.finish().await.is_err());
    }
}
