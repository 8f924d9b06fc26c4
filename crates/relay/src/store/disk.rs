//! Work on files, away from the threads that serve sockets.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::Semaphore;

/// Jobs that use the disk at once. A disk that hangs holds so many threads and no more.
const MAX_JOBS: usize = 16;

/// Brings the names in a directory to the disk: what was made in it, renamed or removed survives a loss of power.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    // Elsewhere a directory cannot be opened as a file, and its names are not kept back.
    if cfg!(unix) { std::fs::File::open(path)?.sync_all() } else { Ok(()) }
}

/// Runs work that waits for a disk. Clones share their limit.
#[derive(Debug, Clone)]
pub(crate) struct Disk(Arc<Semaphore>);

impl Disk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(MAX_JOBS)))
    }

    /// Does `work` on a thread of its own. It is done to its end even when nobody waits for it any more.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let place = self.0.clone().acquire_owned().await.map_err(io::Error::other)?;
        let job = tokio::task::spawn_blocking(move || {
            let outcome = work();
            drop(place);
            outcome
        });
        job.await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
