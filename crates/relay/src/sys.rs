//! What only the C library can do. The one place of the relay with unsafe code.

/// Gives memory that was freed back to the system. glibc keeps what lies below something that lives on, which after a
/// flood of connections is nearly all of it. It takes some milliseconds, so it is not for a thread that serves sockets.
pub(crate) fn give_back_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes no pointers, and may come from any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}

// The same for the library's threads and the relay's.
#[path = "../../../src/sys/prompt.rs"]
mod prompt;

pub use prompt::be_prompt;
