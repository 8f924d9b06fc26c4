/*
 * store_shim: loaded into the relay by LD_PRELOAD. Of the calls that change something below a directory, the Nth does
 * not do what it should. The environment drives it:
 *
 *   CRVIDEO_STORE_DIR   the directory
 *   CRVIDEO_STORE_AT    which call, from 1 on; 0: none
 *   CRVIDEO_STORE_HOW   "eio", "enospc": it fails; "short": it writes half; "kill", "killed": the process dies before
 *                       or after it
 *   CRVIDEO_STORE_LOG   a file that is given a line about the call when it has come
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum how { NOTHING, FAILS, SHORT, DIES, HAS_DIED };

static atomic_long calls;
static long at;
static int error_number;
static enum how how;
static const char *directory, *log_path;

__attribute__((constructor)) static void read_environment(void)
{
    const char *number = getenv("CRVIDEO_STORE_AT"), *word = getenv("CRVIDEO_STORE_HOW");
    directory = getenv("CRVIDEO_STORE_DIR");
    log_path = getenv("CRVIDEO_STORE_LOG");
    if (number == NULL || word == NULL || directory == NULL || log_path == NULL)
        return;
    at = strtol(number, NULL, 10);
    error_number = strcmp(word, "enospc") == 0 ? ENOSPC : EIO;
    how = strcmp(word, "short") == 0 ? SHORT : strcmp(word, "kill") == 0 ? DIES : strcmp(word, "killed") == 0 ? HAS_DIED : FAILS;
}

static void say(const char *name, const char *path)
{
    char line[600];
    int len = snprintf(line, sizeof line, "%s %s\n", name, path);
    long fd = syscall(SYS_openat, AT_FDCWD, log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (fd >= 0 && len > 0) {
        syscall(SYS_write, fd, line, (size_t)len);
        syscall(SYS_close, fd);
    }
}

/* What becomes of a call that changes something at this path. */
static enum how turn(const char *name, const char *path)
{
    if (at == 0 || directory == NULL || strncmp(path, directory, strlen(directory)) != 0)
        return NOTHING;
    if (atomic_fetch_add(&calls, 1) + 1 != at)
        return NOTHING;
    say(name, path);
    if (how == DIES)
        syscall(SYS_kill, getpid(), SIGKILL);
    return how;
}

static enum how turn_of_fd(const char *name, int fd)
{
    char link[64], path[512];
    ssize_t len;
    if (at == 0)
        return NOTHING;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, sizeof path - 1);
    if (len <= 0)
        return NOTHING;
    path[len] = 0;
    /* The index of the write-ahead log is memory that is shared; nothing that counts is in it. */
    if (len > 4 && strcmp(path + len - 4, "-shm") == 0)
        return NOTHING;
    return turn(name, path);
}

static void after(enum how it)
{
    if (it == HAS_DIED)
        syscall(SYS_kill, getpid(), SIGKILL);
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)
#define FAIL_IF(it) \
    if ((it) == FAILS) { \
        errno = error_number; \
        return -1; \
    }
#define WRITES(name, arguments, call_whole, call_half) \
    EXPORT ssize_t name arguments \
    { \
        REAL(name); \
        enum how it = turn_of_fd(#name, fd); \
        ssize_t done; \
        FAIL_IF(it) \
        done = it == SHORT && count > 1 ? call_half : call_whole; \
        after(it); \
        return done; \
    }

WRITES(write, (int fd, const void *bytes, size_t count), real(fd, bytes, count), real(fd, bytes, count / 2))
WRITES(pwrite, (int fd, const void *bytes, size_t count, off_t to), real(fd, bytes, count, to), real(fd, bytes, count / 2, to))
WRITES(pwrite64, (int fd, const void *bytes, size_t count, off64_t to), real(fd, bytes, count, to), real(fd, bytes, count / 2, to))

#define CHANGES(name, arguments, the_turn, call) \
    EXPORT int name arguments \
    { \
        REAL(name); \
        enum how it = the_turn; \
        int done; \
        FAIL_IF(it) \
        done = call; \
        after(it); \
        return done; \
    }

CHANGES(fsync, (int fd), turn_of_fd("fsync", fd), real(fd))
CHANGES(fdatasync, (int fd), turn_of_fd("fdatasync", fd), real(fd))
CHANGES(ftruncate, (int fd, off_t len), turn_of_fd("ftruncate", fd), real(fd, len))
CHANGES(ftruncate64, (int fd, off64_t len), turn_of_fd("ftruncate64", fd), real(fd, len))
CHANGES(rename, (const char *from, const char *to), turn("rename", to), real(from, to))
CHANGES(unlink, (const char *path), turn("unlink", path), real(path))
CHANGES(mkdir, (const char *path, mode_t mode), turn("mkdir", path), real(path, mode))

/* Only those that make a file change something. */
#define OPENS(name, arguments, call) \
    EXPORT int name arguments \
    { \
        REAL(name); \
        enum how it = NOTHING; \
        mode_t mode = 0; \
        int done; \
        if (flags & O_CREAT) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
            it = turn(#name, path); \
        } \
        FAIL_IF(it) \
        done = call; \
        after(it); \
        return done; \
    }

OPENS(open, (const char *path, int flags, ...), real(path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), real(path, flags, mode))
