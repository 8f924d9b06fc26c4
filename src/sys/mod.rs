//! The few system calls that need libc, each behind a safe function.

mod event_fd;
mod file;
mod fork;
mod kept;
mod process;
mod prompt;
mod socket;

pub use event_fd::EventFd;
pub use file::{Dir, read_exact_into, reserve};
pub use fork::ForkMark;
pub use kept::Kept;
pub use process::{Uncancelled, are_on_own_stack, spawn_quiet};
pub use prompt::be_prompt;
pub use socket::{keep_alive, recv_into, send_vectored};
