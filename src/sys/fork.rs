//! Whether this process is a child that was forked off the one which uses the library.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use once_cell::sync::OnceCell;

/// Knows the process that it was made in, and costs next to nothing to ask.
///
/// The kernel wipes a page of memory in every child (`MADV_WIPEONFORK`, Linux 4.14 and later), also where the child was
/// not made by the C library. Where it does not, each question is a system call.
pub struct ForkMark {
    page: OnceCell<Option<Page>>,
    owner: AtomicU32,
}

/// A page of which the first word is 1 in the process that made it, and 0 in its children.
#[derive(Clone, Copy)]
struct Page(NonNull<AtomicU32>);

// SAFETY: the page is never unmapped, and its only use is as an atomic number.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn new() -> Option<Self> {
        // SAFETY: sysconf takes no pointers.
        let size = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping wherever the kernel likes; nothing else is touched.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), size, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the mapping is ours, `size` bytes long, and nobody has a pointer into it yet.
        unsafe {
            if libc::madvise(start, size, libc::MADV_WIPEONFORK) != 0 {
                libc::munmap(start, size);
                return None;
            }
        }
        let page = Self(NonNull::new(start.cast())?);
        page.word().store(1, Ordering::Relaxed);
        Some(page)
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping is large enough, aligned to a page, made of zeros at first, and is never unmapped.
        unsafe { self.0.as_ref() }
    }
}

impl ForkMark {
    /// One that belongs to nobody yet.
    pub const fn new() -> Self {
        Self { page: OnceCell::new(), owner: AtomicU32::new(0) }
    }

    /// Whether another process than this one asked first. Whoever asks first is the owner.
    pub fn is_forked_child(&self) -> bool {
        match self.page.get() {
            Some(Some(page)) => page.word().load(Ordering::Relaxed) == 0,
            Some(None) => self.owner.load(Ordering::Relaxed) != std::process::id(),
            None => self.begin(),
        }
    }

    #[cold]
    fn begin(&self) -> bool {
        // A child that was forked while another thread was in here finds the owner's number, and goes no further: the
        // cell may be locked for ever.
        let me = std::process::id();
        if let Err(owner) = self.owner.compare_exchange(0, me, Ordering::Relaxed, Ordering::Relaxed)
            && owner != me
        {
            return true;
        }
        self.page.get_or_init(Page::new);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a child that is forked now says when it is asked.
    fn in_a_child(mark: &ForkMark) -> bool {
        // SAFETY: the child does nothing but look at memory and end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let code = i32::from(mark.is_forked_child());
            // SAFETY: ends the child without running anything of the parent's.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `status` is a number that waitpid may write to.
        let waited = unsafe { libc::waitpid(child, &mut status, 0) };
        assert_eq!(waited, child);
        assert!(libc::WIFEXITED(status));
        libc::WEXITSTATUS(status) == 1
    }

    #[test]
    fn the_first_process_owns_a_mark_and_its_children_do_not() {
        let mark = ForkMark::new();
        assert!(!mark.is_forked_child());
        assert!(!mark.is_forked_child());
        assert!(in_a_child(&mark));
        assert!(!mark.is_forked_child());
    }

    #[test]
    fn it_is_the_same_where_the_kernel_wipes_no_page() {
        let mark = ForkMark::new();
        assert!(!mark.is_forked_child());
        let plain = ForkMark { page: OnceCell::with_value(None), owner: AtomicU32::new(std::process::id()) };
        assert!(!plain.is_forked_child());
        assert!(in_a_child(&plain));
    }

    #[test]
    fn a_child_may_be_the_first_to_ask() {
        let mark = ForkMark::new();
        assert!(!in_a_child(&mark), "the child owns its copy");
        assert!(!mark.is_forked_child());
    }
}
