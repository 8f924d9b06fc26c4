//! File calls that std does not offer.

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Makes a new directory `prefixXXXXXX` below `parent` that only this user may enter.
pub fn make_private_dir(parent: &Path, prefix: &str) -> io::Result<PathBuf> {
    let template = c_path(&parent.join(format!("{prefix}XXXXXX")))?.into_bytes_with_nul();
    let mut template = template;
    // SAFETY: the template is a writable, NUL-terminated string that ends with six X.
    if unsafe { libc::mkdtemp(template.as_mut_ptr().cast()) }.is_null() {
        return Err(io::Error::last_os_error());
    }
    template.pop();
    Ok(PathBuf::from(OsString::from_vec(template)))
}

/// Renames a file unless the new name exists.
pub fn rename_no_replace(from: &Path, to: &Path) -> io::Result<()> {
    let (c_from, c_to) = (c_path(from)?, c_path(to)?);
    // SAFETY: both are NUL-terminated strings that live through the call.
    let done = unsafe {
        libc::renameat2(libc::AT_FDCWD, c_from.as_ptr(), libc::AT_FDCWD, c_to.as_ptr(), libc::RENAME_NOREPLACE)
    };
    if done == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        // File systems without that flag still have hard links, which never replace either.
        Some(libc::EINVAL | libc::ENOSYS) => {
            std::fs::hard_link(from, to)?;
            std::fs::remove_file(from)
        }
        _ => Err(error),
    }
}

/// Reserves disk space, so that a full disk shows before the bytes come. File systems that cannot are no error.
pub fn reserve(file: &File, size: u64) -> io::Result<()> {
    let Ok(len) = libc::off_t::try_from(size) else { return Err(io::ErrorKind::StorageFull.into()) };
    if len == 0 {
        return Ok(());
    }
    // SAFETY: fallocate takes no pointers. The size of the file stays as it is.
    if unsafe { libc::fallocate(file.as_raw_fd(), libc::FALLOC_FL_KEEP_SIZE, 0, len) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::EINTR) => Ok(()),
        _ => Err(error),
    }
}

/// Makes a directory's entries survive a power loss.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}
