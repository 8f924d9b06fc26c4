//! The library's own directory for received files: private, below the system's temporary directory.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crvideo_proto::code;

use super::Code;
use crate::sys::make_private_dir;

static DIR: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Runs `create` with the directory, which is made when it is first needed or when somebody has removed it, and which
/// is not removed meanwhile.
pub fn create_in<T>(create: impl FnOnce(&Path) -> Result<T, Code>) -> Result<T, Code> {
    let mut dir = DIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(dir) = dir.as_ref().filter(|dir| dir.is_dir()) {
        return create(dir);
    }
    let parent = std::env::temp_dir();
    let made = make_private_dir(&parent, "crvideo-").map_err(|error| {
        log::error!("cannot make a directory for received files below {}: {error}", parent.display());
        code::FILE_WRITE_ERR
    })?;
    create(dir.insert(made))
}

/// Removes the directory if no received file is left in it; the last session does this when it ends.
pub fn remove_if_empty() {
    let mut dir = DIR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = dir.take()
        && std::fs::remove_dir(&path).is_err()
        && path.is_dir()
    {
        *dir = Some(path);
    }
}
