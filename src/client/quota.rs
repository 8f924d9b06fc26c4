//! How many bytes of received files a session may have where the library put them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crvideo_proto::code;

use super::Code;

/// One session's quota, shared by its sinks.
pub struct Quota {
    limit: u64,
    used: Mutex<Used>,
}

#[derive(Default)]
struct Used {
    /// Bytes of files that are coming in.
    coming: u64,
    /// Files that are complete, with their sizes. One that the application has moved away or deleted, or whose time was
    /// over, counts until somebody looks.
    there: Vec<(PathBuf, u64)>,
}

impl Used {
    fn bytes(&self) -> u64 {
        self.there.iter().fold(self.coming, |sum, (_, size)| sum.saturating_add(*size))
    }
}

impl Quota {
    /// A quota of so many bytes; 0 is no limit.
    pub fn new(limit: u64) -> Arc<Self> {
        Arc::new(Self { limit, used: Mutex::default() })
    }

    fn used(&self) -> MutexGuard<'_, Used> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for a file that begins to come in, or says that there is none. Looks at the disk: for a helper thread.
    pub fn charge(self: &Arc<Self>, size: u64) -> Result<Charge, Code> {
        let mut used = self.used();
        if self.limit > 0 && used.bytes().saturating_add(size) > self.limit {
            used.there.retain(|(path, _)| path.symlink_metadata().is_ok());
            let bytes = used.bytes();
            if bytes.saturating_add(size) > self.limit {
                log::error!(
                    "a file of {size} bytes is refused: {bytes} of the {} bytes for files are taken",
                    self.limit
                );
                return Err(code::FILE_WRITE_ERR);
            }
        }
        used.coming = used.coming.saturating_add(size);
        Ok(Charge { quota: self.clone(), size })
    }
}

/// The room of one file while it comes in, given back when this goes.
pub struct Charge {
    quota: Arc<Quota>,
    size: u64,
}

impl Charge {
    /// The file is complete, and counts for as long as it is there.
    pub fn keep(self, path: &Path) {
        if self.quota.limit > 0 {
            self.quota.used().there.push((path.to_owned(), self.size));
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut used = self.quota.used();
        used.coming = used.coming.saturating_sub(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_count_while_they_come_in_and_as_long_as_they_are_there() {
        let path = std::env::temp_dir().join(format!("crvideo-quota-{}", std::process::id()));
        std::fs::write(&path, "content").unwrap();
        let quota = Quota::new(100);
        assert!(quota.charge(101).is_err());
        let first = quota.charge(60).unwrap();
        assert!(quota.charge(41).is_err());
        let second = quota.charge(40).unwrap();
        drop(second);
        assert!(quota.charge(40).is_ok(), "what has ended is given back");
        first.keep(&path);
        assert!(quota.charge(41).is_err(), "a complete file counts");
        std::fs::remove_file(&path).unwrap();
        assert!(quota.charge(100).is_ok(), "one that has been taken away does not");
        assert!(quota.charge(u64::MAX).is_err());
        assert!(Quota::new(0).charge(u64::MAX).is_ok(), "0 is no limit");
    }
}
