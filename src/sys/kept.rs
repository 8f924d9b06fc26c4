//! Descriptors in a process that is not ours alone.

use std::io;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

/// A file, as the system tells it from others.
type Identity = (libc::dev_t, libc::ino_t);

fn identity(fd: RawFd) -> io::Result<Identity> {
    // SAFETY: an all-zero stat is valid, and fstat fills it.
    let mut info: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a stat that lives through the call; a descriptor that is not open is an error.
    match unsafe { libc::fstat(fd, &mut info) } {
        0 => Ok((info.st_dev, info.st_ino)),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Something with a descriptor that the host may close behind our back, as daemons do that close all they find. Then the
/// number may be another file's by now, so it is closed only while it still stands for what it was opened for.
#[derive(Debug)]
pub struct Kept<T: AsRawFd> {
    value: ManuallyDrop<T>,
    identity: Option<Identity>,
    /// It has been lost once: what has its number now is not ours, even if it is the same file, opened again.
    lost: AtomicBool,
}

impl<T: AsRawFd> Kept<T> {
    /// Keeps something that has just been opened.
    pub fn new(value: T) -> Self {
        let identity = identity(value.as_raw_fd()).ok();
        Self { value: ManuallyDrop::new(value), identity, lost: AtomicBool::new(false) }
    }

    /// Whether the descriptor still stands for what it was opened for.
    pub fn is_ours(&self) -> bool {
        let same = match identity(self.value.as_raw_fd()) {
            // What could not be found out then is not doubted now.
            Ok(now) => self.identity.is_none_or(|then| then == now),
            // Only this says that nothing is open; anything else says that something is.
            Err(error) => error.raw_os_error() != Some(libc::EBADF),
        };
        if !same {
            self.lost.store(true, Ordering::SeqCst);
        }
        !self.lost.load(Ordering::SeqCst)
    }

    /// Closes it, and says whether that went well. Some file systems say only now that they could not keep what they
    /// took.
    pub fn close(self) -> io::Result<()> {
        let this = ManuallyDrop::new(self);
        if !this.is_ours() {
            return Err(io::Error::from_raw_os_error(libc::EBADF));
        }
        // SAFETY: the value is never dropped, so nobody else closes its descriptor.
        match unsafe { libc::close(this.value.as_raw_fd()) } {
            0 => Ok(()),
            _ => match io::Error::last_os_error() {
                // Linux has closed it all the same.
                error if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                error => Err(error),
            },
        }
    }
}

impl<T: AsRawFd> Deref for Kept<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: AsRawFd> DerefMut for Kept<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T: AsRawFd> Drop for Kept<T> {
    fn drop(&mut self) {
        if self.is_ours() {
            // SAFETY: dropped here once, and not used any more.
            unsafe { ManuallyDrop::drop(&mut self.value) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_number_that_has_become_another_files_is_left_alone() {
        let kept = Kept::new(File::open("/dev/null").unwrap());
        assert!(kept.is_ours());
        let number = kept.as_raw_fd();
        let other = File::open("/dev/zero").unwrap();
        // SAFETY: dup2 takes no pointers. The host does this.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), number) }, number);
        assert!(!kept.is_ours());
        let same = File::open("/dev/null").unwrap();
        // SAFETY: dup2 takes no pointers.
        assert_eq!(unsafe { libc::dup2(same.as_raw_fd(), number) }, number);
        assert!(!kept.is_ours(), "the same file, but opened by somebody else");
        drop(kept);
        assert!(identity(number).is_ok(), "another file was closed");
        // SAFETY: the number is this test's.
        unsafe { libc::close(number) };
        assert!(Kept::new(File::open("/dev/null").unwrap()).close().is_ok());
    }
}
