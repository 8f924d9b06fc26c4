//! File calls that std does not offer.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bytes::BytesMut;

use super::Kept;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// A directory that is open: what is done in it stays in it, whatever becomes of its path meanwhile.
#[derive(Debug)]
pub struct Dir(Kept<OwnedFd>);

fn done(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

impl Dir {
    /// Opens a directory that exists.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, 0)
    }

    fn open_with(path: &Path, flags: libc::c_int) -> io::Result<Self> {
        let path = c_path(path)?;
        let flags = flags | libc::O_DIRECTORY | libc::O_CLOEXEC;
        // One may write into a directory that one may not list; such a one cannot be synced.
        for access in [libc::O_RDONLY, libc::O_PATH] {
            // SAFETY: the path is a NUL-terminated string that lives through the call.
            let fd = unsafe { libc::open(path.as_ptr(), access | flags) };
            if fd >= 0 {
                // SAFETY: the call has just given us this descriptor, and nobody else has it.
                return Ok(Self(Kept::new(unsafe { OwnedFd::from_raw_fd(fd) })));
            }
            if io::Error::last_os_error().raw_os_error() != Some(libc::EACCES) {
                break;
            }
        }
        Err(io::Error::last_os_error())
    }

    /// Makes a new directory `prefixXXXXXX` below `parent` that only this user may enter, whatever the umask, and
    /// returns its path, too.
    pub fn make_private(parent: &Path, prefix: &str) -> io::Result<(Self, PathBuf)> {
        let mut template = c_path(&parent.join(format!("{prefix}XXXXXX")))?.into_bytes_with_nul();
        // SAFETY: the template is a writable, NUL-terminated string that ends with six X.
        if unsafe { libc::mkdtemp(template.as_mut_ptr().cast()) }.is_null() {
            return Err(io::Error::last_os_error());
        }
        template.pop();
        let path = PathBuf::from(OsString::from_vec(template));
        match Self::take_over(&path) {
            Ok(dir) => Ok((dir, path)),
            Err(error) => {
                let _ = std::fs::remove_dir(&path);
                Err(error)
            }
        }
    }

    /// Opens what has just been made, after a look at whether it is still that.
    fn take_over(path: &Path) -> io::Result<Self> {
        let unmasked = |path: &Path| std::fs::set_permissions(path, Permissions::from_mode(0o700));
        let dir = match Self::open_with(path, libc::O_NOFOLLOW) {
            // A umask of 777 shuts us out of our own directory.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                unmasked(path)?;
                Self::open_with(path, libc::O_NOFOLLOW)?
            }
            opened => opened?,
        };
        let info = dir.info()?;
        // SAFETY: geteuid takes nothing and cannot fail.
        if info.st_uid != unsafe { libc::geteuid() } {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the directory belongs to somebody else"));
        }
        if info.st_mode & 0o777 != 0o700 {
            // SAFETY: fchmod takes no pointers.
            done(unsafe { libc::fchmod(dir.0.as_raw_fd(), 0o700) })?;
        }
        Ok(dir)
    }

    fn info(&self) -> io::Result<libc::stat> {
        // SAFETY: an all-zero stat is valid, and fstat fills it.
        let mut info: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the pointer is to a stat that lives through the call.
        done(unsafe { libc::fstat(self.0.as_raw_fd(), &mut info) })?;
        Ok(info)
    }

    /// Opens a directory again that [`make_private`](Self::make_private) has made, if it still is one.
    pub fn reopen_private(path: &Path) -> io::Result<Self> {
        Self::take_over(path)
    }

    /// Whether its descriptor still is what it was: the host may have closed it.
    pub fn is_open(&self) -> bool {
        self.0.is_ours()
    }

    /// Whether somebody has removed it. What cannot be found out counts as no.
    pub fn is_removed(&self) -> bool {
        self.info().is_ok_and(|info| info.st_nlink == 0)
    }

    /// Creates a file that was not there, for writing, readable by this user alone whatever the umask.
    pub fn create(&self, name: &OsStr) -> io::Result<File> {
        let name = c_path(Path::new(name))?;
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_NOFOLLOW | libc::O_CLOEXEC;
        let mode: libc::c_uint = 0o600;
        // SAFETY: the name is a NUL-terminated string that lives through the call.
        let fd = unsafe { libc::openat(self.0.as_raw_fd(), name.as_ptr(), flags, mode) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just given us this descriptor, and nobody else has it.
        let file = unsafe { File::from_raw_fd(fd) };
        // SAFETY: fchmod takes no pointers.
        if let Err(error) = done(unsafe { libc::fchmod(fd, 0o600) }) {
            let _ = self.remove_c(&name);
            return Err(error);
        }
        Ok(file)
    }

    /// Whether there is something of this name.
    pub fn has(&self, name: &OsStr) -> bool {
        let Ok(name) = c_path(Path::new(name)) else { return false };
        // SAFETY: an all-zero stat is valid, and fstatat fills it.
        let mut info: libc::stat = unsafe { std::mem::zeroed() };
        let fd = self.0.as_raw_fd();
        // SAFETY: the name is a NUL-terminated string and `info` a stat; both live through the call.
        unsafe { libc::fstatat(fd, name.as_ptr(), &mut info, libc::AT_SYMLINK_NOFOLLOW) == 0 }
    }

    /// Removes a file.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        self.remove_c(&c_path(Path::new(name))?)
    }

    fn remove_c(&self, name: &CString) -> io::Result<()> {
        // SAFETY: the name is a NUL-terminated string that lives through the call.
        done(unsafe { libc::unlinkat(self.0.as_raw_fd(), name.as_ptr(), 0) })
    }

    /// Renames a file unless the new name exists.
    pub fn rename_no_replace(&self, from: &OsStr, to: &OsStr) -> io::Result<()> {
        let (from, to, fd) = (c_path(Path::new(from))?, c_path(Path::new(to))?, self.0.as_raw_fd());
        // SAFETY: both are NUL-terminated strings that live through the call.
        let renamed = done(unsafe { libc::renameat2(fd, from.as_ptr(), fd, to.as_ptr(), libc::RENAME_NOREPLACE) });
        match renamed {
            // File systems without that flag still have hard links, which never replace either.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOSYS)) => self.relink(&from, &to),
            renamed => renamed,
        }
    }

    fn relink(&self, from: &CString, to: &CString) -> io::Result<()> {
        let fd = self.0.as_raw_fd();
        // SAFETY: both are NUL-terminated strings that live through the call.
        done(unsafe { libc::linkat(fd, from.as_ptr(), fd, to.as_ptr(), 0) })?;
        // From here on the file is there under its new name, and whoever looks has seen it: an old name that cannot be
        // removed makes no failure of it.
        if let Err(error) = self.remove_c(from).or_else(|_| self.remove_c(from)) {
            log::warn!("{from:?} is complete under its own name, and cannot be removed: {error}");
        }
        Ok(())
    }

    /// Makes its entries survive a power loss.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: fsync takes no pointers.
        done(unsafe { libc::fsync(self.0.as_raw_fd()) })
    }
}

/// Reserves disk space, so that a full disk shows before the bytes come. File systems that cannot are no error.
pub fn reserve(file: &File, size: u64) -> io::Result<()> {
    let Ok(len) = libc::off_t::try_from(size) else { return Err(io::ErrorKind::StorageFull.into()) };
    if len == 0 {
        return Ok(());
    }
    if let Some(free) = free_memory(file) {
        return if free < size { Err(io::Error::from_raw_os_error(libc::ENOSPC)) } else { Ok(()) };
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

/// How many bytes are free in a file system in memory, which would fill what is reserved with zeros; `None` for others,
/// and where there is no limit.
fn free_memory(file: &File) -> Option<u64> {
    // SAFETY: an all-zero statfs is valid, and fstatfs fills it.
    let mut info: libc::statfs = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a statfs that lives through the call.
    let known = unsafe { libc::fstatfs(file.as_raw_fd(), &mut info) } == 0;
    (known && info.f_type == libc::TMPFS_MAGIC && info.f_blocks > 0)
        .then(|| (info.f_bavail as u64).saturating_mul(info.f_bsize as u64))
}

/// Reads `len` bytes at `offset` into an empty buffer, without filling that with zeros first.
pub fn read_exact_into(file: &File, buffer: &mut BytesMut, len: usize, offset: u64) -> io::Result<()> {
    buffer.clear();
    buffer.reserve(len);
    while buffer.len() < len {
        let at = offset + buffer.len() as u64;
        let Ok(at) = libc::off_t::try_from(at) else { return Err(io::ErrorKind::InvalidInput.into()) };
        let missing = len - buffer.len();
        let spare = buffer.spare_capacity_mut();
        let room = missing.min(spare.len());
        // SAFETY: the kernel writes at most `room` bytes into memory that is ours and needs no initial value.
        let read = unsafe { libc::pread(file.as_raw_fd(), spare.as_mut_ptr().cast(), room, at) };
        match usize::try_from(read) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // SAFETY: the kernel has just filled `read` bytes behind the present length, within the capacity.
            Ok(read) => unsafe { buffer.set_len(buffer.len() + read) },
            Err(_) => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_from_anywhere_into_a_buffer_that_was_used_before_and_its_end_is_an_error() {
        let path = std::env::temp_dir().join(format!("crvideo-read-{}", std::process::id()));
        let content: Vec<u8> = (0..100_000_u32).map(|at| (at * 7 / 3) as u8).collect();
        std::fs::write(&path, &content).unwrap();
        let file = File::open(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut buffer = BytesMut::from(&b"old bytes"[..]);
        for (offset, len) in [(0, 100_000), (99_999, 1), (31, 40_000), (100_000, 0)] {
            read_exact_into(&file, &mut buffer, len, offset as u64).unwrap();
            assert_eq!(buffer, content[offset..offset + len]);
        }
        let error = read_exact_into(&file, &mut buffer, 2, 99_999).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_reserved_in_memory_is_not_filled_and_what_is_not_there_is_refused() {
        use std::os::unix::fs::MetadataExt;
        let path = PathBuf::from(format!("/dev/shm/crvideo-reserve-{}", std::process::id()));
        // Not everybody has this directory, and not everywhere is it in memory.
        let Ok(file) = File::create(&path) else { return };
        std::fs::remove_file(&path).unwrap();
        let Some(free) = free_memory(&file) else { return };
        reserve(&file, free.min(1 << 20)).unwrap();
        assert_eq!(file.metadata().unwrap().blocks(), 0);
        assert_eq!(reserve(&file, u64::MAX / 4).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_file_system_without_a_flag_for_it_replaces_nothing_either() {
        let scratch = std::env::temp_dir().join(format!("crvideo-relink-{}", std::process::id()));
        std::fs::create_dir(&scratch).unwrap();
        let dir = Dir::open(&scratch).unwrap();
        let [part, own] = ["part", "own"].map(|name| CString::new(name).unwrap());
        std::fs::write(scratch.join("part"), "new").unwrap();
        std::fs::write(scratch.join("own"), "old").unwrap();
        assert_eq!(dir.relink(&part, &own).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(scratch.join("own")).unwrap(), "old");
        std::fs::remove_file(scratch.join("own")).unwrap();
        dir.relink(&part, &own).unwrap();
        assert_eq!(std::fs::read_to_string(scratch.join("own")).unwrap(), "new");
        assert!(!scratch.join("part").exists());
        std::fs::remove_dir_all(&scratch).unwrap();
    }
}
