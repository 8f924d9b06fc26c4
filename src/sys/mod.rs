//! The few system calls that need libc, each behind a safe function.

mod event_fd;
mod file;
mod kept;
mod process;
mod socket;

pub use event_fd::EventFd;
pub use file::{Dir, reserve};
pub use kept::Kept;
pub use process::{Uncancelled, are_on_own_stack, spawn_quiet};
pub use socket::{keep_alive, recv_into, send_vectored};
