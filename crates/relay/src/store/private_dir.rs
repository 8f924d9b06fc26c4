//! A directory below the system's temporary one, for a relay that keeps nothing.
//!
//! It vanishes with the relay. One that was killed cannot do that; the next one that needs such a directory removes
//! those whose owner is gone, which it knows by a lock that ends with its process.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use tracing::{debug, warn};

use super::blobs::random_hex;

/// What their names begin with.
const PREFIX: &str = "crvideo-relay-";
/// The file in it that its owner has locked.
const LOCK: &str = "lock";

/// The directory. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct PrivateDir {
    path: PathBuf,
    _lock: File,
}

impl PrivateDir {
    /// A new one below `parent`.
    pub(super) fn create(parent: &Path) -> io::Result<Self> {
        remove_left(parent);
        let path = parent.join(format!("{PREFIX}{}", random_hex()?));
        // Only the parent is there already: this one must be new, or somebody else has made it for us.
        let mut builder = DirBuilder::new();
        private(&mut builder).create(&path)?;
        // It gets its name when it is locked, so nobody finds it free.
        let unlocked = path.join("unlocked");
        let lock = OpenOptions::new().write(true).create_new(true).open(&unlocked)?;
        lock.lock()?;
        fs::rename(&unlocked, path.join(LOCK))?;
        Ok(Self { path, _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PrivateDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            warn!(path = %self.path.display(), %error, "a temporary directory cannot be removed; remove it");
        }
    }
}

/// Makes directories that other users of the machine cannot look into.
pub(super) fn private(builder: &mut DirBuilder) -> &mut DirBuilder {
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(builder, 0o700);
    builder
}

/// Removes directories whose owner is gone. What cannot be read or removed belongs to somebody else.
fn remove_left(parent: &Path) {
    let entries = match fs::read_dir(parent) {
        Ok(entries) => entries,
        Err(error) => return debug!(path = %parent.display(), %error, "what was left behind cannot be looked for"),
    };
    for entry in entries.flatten() {
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let free = OpenOptions::new().write(true).open(entry.path().join(LOCK)).map(|lock| lock.try_lock().is_ok());
        if free.unwrap_or(false) {
            let removed = fs::remove_dir_all(entry.path());
            debug!(path = %entry.path().display(), ?removed, "left behind by a relay that was killed");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_vanishes_with_its_owner_or_when_the_next_one_comes() {
        let parent = tempfile::tempdir().unwrap();
        let first = PrivateDir::create(parent.path()).unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o700);
        }
        // What a killed relay leaves: a lock that nobody holds.
        let left = parent.path().join("crvideo-relay-left");
        fs::create_dir_all(left.join("ab")).unwrap();
        fs::write(left.join(LOCK), "").unwrap();
        let other = parent.path().join("crvideo-relay-without-a-lock");
        fs::create_dir(&other).unwrap();
        let second = PrivateDir::create(parent.path()).unwrap();
        assert!(first.path().exists() && second.path().exists() && other.exists() && !left.exists());
        let path = first.path().to_owned();
        drop(first);
        assert!(!path.exists() && second.path().exists());
    }
}
