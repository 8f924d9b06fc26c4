//! The library's own directory for received files: private, below the system's temporary directory.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crvideo_proto::code;

use super::Code;
use crate::sys::Dir;

/// The directory, held open, and the path that the application is told.
type Place = (Arc<Dir>, PathBuf);

static DIR: Mutex<Option<Place>> = Mutex::new(None);

fn lock() -> MutexGuard<'static, Option<Place>> {
    DIR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `create` with the directory, which is made when it is first needed or when somebody has removed it, and which
/// is not removed meanwhile.
pub fn create_in<T>(create: impl FnOnce(Arc<Dir>, &Path) -> Result<T, Code>) -> Result<T, Code> {
    let mut place = lock();
    if let Some((dir, path)) = place.take_if(|(dir, _)| dir.is_removed() || !dir.is_open())
        && !dir.is_open()
    {
        // The host has closed the descriptor; the directory, and what is in it, may well be there.
        *place = Dir::reopen_private(&path).ok().map(|dir| (Arc::new(dir), path));
    }
    if let Some((dir, path)) = place.as_ref() {
        return create(dir.clone(), path);
    }
    let parent = std::env::temp_dir();
    let (dir, path) = Dir::make_private(&parent, "crvideo-").map_err(|error| {
        log::error!("cannot make a directory for received files below {}: {error}", parent.display());
        code::FILE_WRITE_ERR
    })?;
    let (dir, path) = place.insert((Arc::new(dir), path));
    create(dir.clone(), path)
}

/// Removes the directory if no received file is left in it; the last session does this when it ends.
pub fn remove_if_empty() {
    let mut place = lock();
    let Some((dir, path)) = place.as_ref() else { return };
    // Once more: what fails for a moment must not leave a directory behind.
    let again = |_| std::fs::remove_dir(path);
    if std::fs::remove_dir(path).or_else(again).is_ok() || dir.is_removed() {
        *place = None;
    }
}
