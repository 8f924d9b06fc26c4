//! A descriptor that is readable while a flag is up.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::Kept;

/// A Linux eventfd.
#[derive(Debug)]
pub struct EventFd(Kept<OwnedFd>);

impl EventFd {
    /// A descriptor that is not readable, non-blocking and closed on exec.
    pub fn new() -> io::Result<Self> {
        // SAFETY: eventfd takes no pointers.
        let fd = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has just given us this descriptor, and nobody else has it.
        Ok(Self(Kept::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// The descriptor's number.
    pub fn number(&self) -> i32 {
        self.0.as_raw_fd()
    }

    /// Makes it readable.
    pub fn raise(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: the buffer is eight bytes long, as eventfd wants. The only error, a full counter, leaves it readable.
        unsafe { libc::write(self.number(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes it not readable.
    pub fn lower(&self) {
        let mut count = [0u8; 8];
        // SAFETY: the buffer is eight bytes long, as eventfd wants. The only error means that it was not readable.
        unsafe { libc::read(self.number(), count.as_mut_ptr().cast(), count.len()) };
    }
}
