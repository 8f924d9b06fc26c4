/*
 * fault_shim: loaded by LD_PRELOAD, lets the Nth fallible call that libcrvideo makes fail once, with an error that the
 * kernel could give there. A call is the library's when its return address lies in libcrvideo.so, whatever the thread;
 * the host's own calls, and libc's inside other functions, are never touched.
 *
 * The program under test drives it: fault_arm(n, variant), fault_disarm(), fault_calls(), fault_what().
 * Allocations count from 64 KiB on; smaller ones may end the process, and the library says so.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define LARGE 65536

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long countdown; /* the next call fails when it comes to 1; 0: none does */
static atomic_long calls;
static atomic_int counting;
static atomic_uint variant;
static const char *volatile fired_call;
static volatile int fired_errno;
static atomic_uintptr_t text_start, text_end;

static int is_library(struct dl_phdr_info *info, size_t size, void *data)
{
    int i;
    (void)size;
    (void)data;
    if (info->dlpi_name == NULL || strstr(info->dlpi_name, "libcrvideo") == NULL)
        return 0;
    for (i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X)) {
            uintptr_t start = info->dlpi_addr + part->p_vaddr;
            atomic_store(&text_end, start + part->p_memsz);
            atomic_store(&text_start, start);
            return 1;
        }
    }
    return 0;
}

/* Arms the shim: the nth call from now on fails; 0: calls are only counted. */
EXPORT void fault_arm(long nth, unsigned which)
{
    dl_iterate_phdr(is_library, NULL);
    if (atomic_load(&text_start) == 0) {
        fprintf(stderr, "fault_shim: libcrvideo.so is not loaded\n");
        _exit(2);
    }
    fired_call = NULL;
    fired_errno = 0;
    atomic_store(&calls, 0);
    atomic_store(&variant, which);
    atomic_store(&countdown, nth);
    atomic_store(&counting, 1);
}

EXPORT void fault_disarm(void)
{
    atomic_store(&counting, 0);
    atomic_store(&countdown, 0);
}

EXPORT long fault_calls(void)
{
    return atomic_load(&calls);
}

/* The call that has failed, NULL while none has. */
EXPORT const char *fault_what(int *error)
{
    *error = fired_errno;
    return fired_call;
}

/* The error that this call fails with now; 0: it does not. */
static int fails(const char *name, void *caller, const int *errors)
{
    uintptr_t at = (uintptr_t)caller;
    unsigned count = 0;
    if (!atomic_load_explicit(&counting, memory_order_relaxed))
        return 0;
    if (at < atomic_load(&text_start) || at >= atomic_load(&text_end))
        return 0;
    atomic_fetch_add(&calls, 1);
    if (atomic_load(&countdown) <= 0 || atomic_fetch_sub(&countdown, 1) != 1)
        return 0;
    while (errors[count] != 0)
        count++;
    fired_errno = errors[atomic_load(&variant) % count];
    fired_call = name;
    return fired_errno;
}

#define CALLER __builtin_return_address(0)
#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
/* Fails with one of these errors when it is this call's turn. */
#define FAULT(name, result, ...) \
    do { \
        static const int errors_[] = { __VA_ARGS__, 0 }; \
        int error_ = fails(name, CALLER, errors_); \
        if (error_ != 0) { \
            errno = error_; \
            return result; \
        } \
    } while (0)

EXPORT int socket(int domain, int type, int protocol)
{
    REAL(socket);
    FAULT("socket", -1, EMFILE, ENFILE, ENOBUFS, ENOMEM);
    return real(domain, type, protocol);
}

EXPORT int connect(int fd, const struct sockaddr *to, socklen_t len)
{
    REAL(connect);
    FAULT("connect", -1, ENETUNREACH, ECONNREFUSED, EADDRNOTAVAIL, ETIMEDOUT);
    return real(fd, to, len);
}

EXPORT ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    REAL(sendmsg);
    FAULT("sendmsg", -1, ECONNRESET, EINTR, EPIPE, ENOBUFS);
    return real(fd, message, flags);
}

EXPORT ssize_t send(int fd, const void *data, size_t len, int flags)
{
    REAL(send);
    FAULT("send", -1, ECONNRESET, EINTR, EPIPE, ENOBUFS);
    return real(fd, data, len, flags);
}

EXPORT ssize_t recv(int fd, void *data, size_t len, int flags)
{
    REAL(recv);
    FAULT("recv", -1, ECONNRESET, EINTR, ETIMEDOUT, ENOMEM);
    return real(fd, data, len, flags);
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *len)
{
    REAL(getsockopt);
    FAULT("getsockopt", -1, ENOBUFS);
    return real(fd, level, name, value, len);
}

EXPORT int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    REAL(setsockopt);
    FAULT("setsockopt", -1, ENOMEM, ENOBUFS);
    return real(fd, level, name, value, len);
}

EXPORT int getpeername(int fd, struct sockaddr *address, socklen_t *len)
{
    REAL(getpeername);
    FAULT("getpeername", -1, ENOBUFS);
    return real(fd, address, len);
}

EXPORT int epoll_create1(int flags)
{
    REAL(epoll_create1);
    FAULT("epoll_create1", -1, EMFILE, ENFILE, ENOMEM);
    return real(flags);
}

EXPORT int epoll_ctl(int fd, int op, int other, struct epoll_event *event)
{
    REAL(epoll_ctl);
    FAULT("epoll_ctl", -1, ENOMEM, ENOSPC);
    return real(fd, op, other, event);
}

EXPORT int epoll_wait(int fd, struct epoll_event *events, int count, int timeout)
{
    REAL(epoll_wait);
    FAULT("epoll_wait", -1, EINTR);
    return real(fd, events, count, timeout);
}

EXPORT int eventfd(unsigned start, int flags)
{
    __typeof__(&eventfd) real = (__typeof__(&eventfd))dlsym(RTLD_NEXT, "eventfd");
    FAULT("eventfd", -1, EMFILE, ENFILE, ENOMEM);
    return real(start, flags);
}

/* open and its kin take a mode only where a file may be created. */
#define OPENER(name, declared, given) \
    EXPORT int name declared \
    { \
        mode_t mode = 0; \
        REAL(name); \
        if (flags & (O_CREAT | O_TMPFILE)) { \
            va_list args; \
            va_start(args, flags); \
            mode = va_arg(args, mode_t); \
            va_end(args); \
        } \
        FAULT("open", -1, EMFILE, EACCES, EIO, ENOSPC, ENFILE, EROFS); \
        return real given; \
    }
OPENER(open, (const char *path, int flags, ...), (path, flags, mode))
OPENER(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENER(openat, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))
OPENER(openat64, (int dir, const char *path, int flags, ...), (dir, path, flags, mode))

EXPORT ssize_t read(int fd, void *data, size_t len)
{
    REAL(read);
    FAULT("read", -1, EIO, EINTR);
    return real(fd, data, len);
}

EXPORT ssize_t readv(int fd, const struct iovec *parts, int count)
{
    REAL(readv);
    FAULT("readv", -1, EIO, EINTR);
    return real(fd, parts, count);
}

/* The system's list of authorities may be a directory. */
EXPORT DIR *opendir(const char *path)
{
    REAL(opendir);
    FAULT("opendir", NULL, EMFILE, EACCES, ENOMEM);
    return real(path);
}

EXPORT struct dirent64 *readdir64(DIR *dir)
{
    REAL(readdir64);
    FAULT("readdir", NULL, EIO);
    return real(dir);
}

EXPORT ssize_t pread64(int fd, void *data, size_t len, off64_t at)
{
    REAL(pread64);
    FAULT("pread", -1, EIO, EINTR);
    return real(fd, data, len, at);
}

EXPORT ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    REAL(pread);
    FAULT("pread", -1, EIO, EINTR);
    return real(fd, data, len, at);
}

EXPORT int fstatfs(int fd, struct statfs *out)
{
    REAL(fstatfs);
    FAULT("fstatfs", -1, EIO);
    return real(fd, out);
}

EXPORT void *mmap(void *start, size_t len, int access, int kind, int fd, off_t at)
{
    REAL(mmap);
    FAULT("mmap", MAP_FAILED, ENOMEM);
    return real(start, len, access, kind, fd, at);
}

EXPORT int madvise(void *start, size_t len, int advice)
{
    REAL(madvise);
    FAULT("madvise", -1, EINVAL, ENOMEM);
    return real(start, len, advice);
}

EXPORT ssize_t write(int fd, const void *data, size_t len)
{
    REAL(write);
    if (len == 8) /* an eventfd: it only wakes */
        FAULT("write to eventfd", -1, EINTR);
    else
        FAULT("write", -1, ENOSPC, EIO, EINTR, EDQUOT);
    return real(fd, data, len);
}

EXPORT ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev);
    FAULT("writev", -1, ENOSPC, EIO, EINTR, EDQUOT);
    return real(fd, parts, count);
}

EXPORT int fallocate(int fd, int mode, off_t at, off_t len)
{
    REAL(fallocate);
    FAULT("fallocate", -1, ENOSPC, EDQUOT, EIO, EOPNOTSUPP, EINTR);
    return real(fd, mode, at, len);
}

EXPORT int fallocate64(int fd, int mode, off64_t at, off64_t len)
{
    REAL(fallocate64);
    FAULT("fallocate", -1, ENOSPC, EDQUOT, EIO, EOPNOTSUPP, EINTR);
    return real(fd, mode, at, len);
}

EXPORT int fsync(int fd)
{
    REAL(fsync);
    FAULT("fsync", -1, EIO, ENOSPC, EDQUOT);
    return real(fd);
}

/* The kernel closes a descriptor even where close() fails. */
EXPORT int close(int fd)
{
    REAL(close);
    int done = real(fd);
    FAULT("close", -1, EIO, EINTR, ENOSPC);
    return done;
}

EXPORT int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    REAL(renameat2);
    FAULT("renameat2", -1, EIO, ENOSPC, EINVAL, EACCES);
    return real(from_dir, from, to_dir, to, flags);
}

EXPORT int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    REAL(linkat);
    FAULT("linkat", -1, EIO, ENOSPC, EPERM);
    return real(from_dir, from, to_dir, to, flags);
}

EXPORT int unlink(const char *path)
{
    REAL(unlink);
    FAULT("unlink", -1, EIO, EBUSY);
    return real(path);
}

EXPORT int unlinkat(int dir, const char *path, int flags)
{
    REAL(unlinkat);
    FAULT("unlinkat", -1, EIO, EBUSY);
    return real(dir, path, flags);
}

EXPORT int rmdir(const char *path)
{
    REAL(rmdir);
    FAULT("rmdir", -1, EIO, EBUSY);
    return real(path);
}

EXPORT int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    FAULT("mkdir", -1, ENOSPC, EACCES, EROFS, EDQUOT);
    return real(path, mode);
}

EXPORT int mkdirat(int dir, const char *path, mode_t mode)
{
    REAL(mkdirat);
    FAULT("mkdirat", -1, ENOSPC, EACCES, EROFS, EDQUOT);
    return real(dir, path, mode);
}

EXPORT char *mkdtemp(char *path)
{
    REAL(mkdtemp);
    FAULT("mkdtemp", NULL, ENOSPC, EACCES, EROFS, EDQUOT);
    return real(path);
}

EXPORT int fchmod(int fd, mode_t mode)
{
    REAL(fchmod);
    FAULT("fchmod", -1, EIO, EPERM);
    return real(fd, mode);
}

EXPORT int fstat64(int fd, struct stat64 *out)
{
    REAL(fstat64);
    FAULT("fstat", -1, EIO);
    return real(fd, out);
}

EXPORT int fstat(int fd, struct stat *out)
{
    REAL(fstat);
    FAULT("fstat", -1, EIO);
    return real(fd, out);
}

EXPORT int fstatat(int dir, const char *restrict path, struct stat *restrict out, int flags)
{
    REAL(fstatat);
    FAULT("fstatat", -1, EIO, EACCES);
    return real(dir, path, out, flags);
}

EXPORT int chmod(const char *path, mode_t mode)
{
    REAL(chmod);
    FAULT("chmod", -1, EIO, EPERM);
    return real(path, mode);
}

EXPORT int fstatat64(int dir, const char *restrict path, struct stat64 *restrict out, int flags)
{
    REAL(fstatat64);
    FAULT("fstatat", -1, EIO, EACCES);
    return real(dir, path, out, flags);
}

EXPORT int stat64(const char *restrict path, struct stat64 *restrict out)
{
    REAL(stat64);
    FAULT("stat", -1, EIO, EACCES);
    return real(path, out);
}

EXPORT int lstat64(const char *restrict path, struct stat64 *restrict out)
{
    REAL(lstat64);
    FAULT("lstat", -1, EIO, EACCES);
    return real(path, out);
}

EXPORT int statx(int dir, const char *restrict path, int flags, unsigned mask, struct statx *restrict out)
{
    REAL(statx);
    FAULT("statx", -1, EIO, EACCES);
    return real(dir, path, flags, mask, out);
}

EXPORT int getaddrinfo(const char *restrict host, const char *restrict service, const struct addrinfo *restrict hints,
                       struct addrinfo **restrict found)
{
    static const int errors[] = { EAI_AGAIN, EAI_NONAME, EAI_MEMORY, EAI_FAIL, 0 };
    REAL(getaddrinfo);
    int error = fails("getaddrinfo", CALLER, errors);
    return error != 0 ? error : real(host, service, hints, found);
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    static const int errors[] = { EAGAIN, 0 };
    REAL(pthread_create);
    int error = fails("pthread_create", CALLER, errors);
    return error != 0 ? error : real(thread, attributes, start, argument);
}

EXPORT ssize_t getrandom(void *data, size_t len, unsigned flags)
{
    REAL(getrandom);
    FAULT("getrandom", -1, EINTR);
    return real(data, len, flags);
}

/* An allocation of ours that fails leaves what was there as it is. */
EXPORT void *malloc(size_t size)
{
    if (size >= LARGE)
        FAULT("malloc", NULL, ENOMEM);
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
    if (size != 0 && count >= LARGE / size + (LARGE % size != 0))
        FAULT("calloc", NULL, ENOMEM);
    return __libc_calloc(count, size);
}

EXPORT void *realloc(void *old, size_t size)
{
    if (size >= LARGE)
        FAULT("realloc", NULL, ENOMEM);
    return __libc_realloc(old, size);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t size)
{
    static const int errors[] = { ENOMEM, 0 };
    int error = size >= LARGE ? fails("posix_memalign", CALLER, errors) : 0;
    if (error != 0)
        return error;
    *out = __libc_memalign(alignment, size);
    return *out == NULL ? ENOMEM : 0;
}
