//! The highest epoch that may be in use, on disk, so that epochs grow even when the clock goes back over a restart.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::store::sync_directory;

/// How far ahead of what is used epochs are reserved, in microseconds of the clock that they follow.
pub(crate) const RESERVE_MICROS: u64 = 600_000_000;
/// How often the reservation is renewed: often enough that it never runs out.
pub(crate) const RENEW_EVERY: Duration = Duration::from_secs(300);

/// The file's name in the data directory.
const NAME: &str = "epoch";
/// It is written under this name and renamed when complete.
const NEW_NAME: &str = "epoch.new";

/// The file with the highest epoch that may be in use.
#[derive(Debug, Clone)]
pub(crate) struct EpochFile {
    directory: PathBuf,
}

impl EpochFile {
    /// The file in `directory`, which is made when it is missing.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let new: Vec<_> = directory.ancestors().take_while(|path| !path.exists()).collect();
        fs::create_dir_all(directory)?;
        // A directory that is new must outlive a loss of power for what is in it to do so.
        for parent in new.into_iter().filter_map(Path::parent) {
            sync_directory(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })?;
        }
        Ok(Self { directory: directory.to_owned() })
    }

    /// The highest epoch that an earlier run may have given, 0 if there was none.
    pub(crate) fn read(&self) -> io::Result<u64> {
        match fs::read_to_string(self.directory.join(NAME)) {
            Ok(text) => text.trim().parse().map_err(|_| {
                io::Error::new(io::ErrorKind::InvalidData, format!("the file {NAME:?} in it does not hold a number"))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// Replaces the number. After a crash at any point either the old or the new one is there.
    pub(crate) fn write(&self, ceiling: u64) -> io::Result<()> {
        let new = self.directory.join(NEW_NAME);
        let mut file = File::create(&new)?;
        writeln!(file, "{ceiling}")?;
        file.sync_all()?;
        fs::rename(&new, self.directory.join(NAME))?;
        sync_directory(&self.directory)
    }
}
