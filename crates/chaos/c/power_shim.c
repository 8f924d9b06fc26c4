/*
 * power_shim: loaded into the relay by LD_PRELOAD. Writes down, in their order, all calls that change something below a
 * directory or bring it to the disk, so that what a loss of power leaves can be made from it. The environment drives it:
 *
 *   CRVIDEO_POWER_DIR       the directory, which is empty at first
 *   CRVIDEO_POWER_JOURNAL   the file that it is written to, record after record, as `crates/chaos/src/power.rs` reads it
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

enum kind { CREATE = 1, MKDIR, WRITE, TRUNCATE, SYNC, SYNC_DIR, RENAME, UNLINK, RMDIR };

struct record {
    uint32_t kind, path_len, to_len, data_len;
    uint64_t inode, offset;
};

/* Held from before a call to the end of its record, so that their order is one. */
static pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;
static const char *directory;
static long journal = -1;

__attribute__((constructor)) static void read_environment(void)
{
    const char *path = getenv("CRVIDEO_POWER_JOURNAL");
    directory = getenv("CRVIDEO_POWER_DIR");
    if (directory != NULL && path != NULL)
        journal = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The index of the write-ahead log is memory that is shared: it is made anew after a crash. */
static int counts(const char *path)
{
    size_t len = strlen(path);
    if (journal < 0 || strncmp(path, directory, strlen(directory)) != 0)
        return 0;
    return len < 4 || strcmp(path + len - 4, "-shm") != 0;
}

/* Whether the descriptor's file counts; if so, its facts. */
static int counts_fd(int fd, struct stat *facts, char *path, size_t size)
{
    char link[64];
    ssize_t len;
    if (journal < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    len = readlink(link, path, size - 1);
    if (len <= 0)
        return 0;
    path[len] = 0;
    return counts(path) && fstat(fd, facts) == 0;
}

static void note(enum kind kind, const char *path, const char *to, uint64_t inode, uint64_t offset, const void *data, size_t len)
{
    struct record record = { kind, (uint32_t)strlen(path), (uint32_t)strlen(to), (uint32_t)len, inode, offset };
    struct iovec parts[4] = { { &record, sizeof record },
                              { (void *)path, record.path_len },
                              { (void *)to, record.to_len },
                              { (void *)data, len } };
    int before = errno;
    if (syscall(SYS_writev, journal, parts, 4) != (long)(sizeof record + record.path_len + record.to_len + len))
        abort();
    errno = before;
}

#define REAL(name) \
    static __typeof__(&name) real; \
    if (real == NULL) \
        real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* A call on a file: `result` is what it returns, and `noted` what is written down when that is not below 0. */
#define ON_FILE(type, name, arguments, call, noted) \
    EXPORT type name arguments \
    { \
        REAL(name); \
        struct stat facts; \
        char path[512]; \
        type done; \
        if (!counts_fd(fd, &facts, path, sizeof path)) \
            return call; \
        pthread_mutex_lock(&order); \
        done = call; \
        if (done >= 0) \
            noted; \
        pthread_mutex_unlock(&order); \
        return done; \
    }

#define WROTE(at) note(WRITE, "", "", facts.st_ino, (uint64_t)(at), bytes, (size_t)done)
#define SYNCED \
    S_ISDIR(facts.st_mode) ? note(SYNC_DIR, path, "", 0, 0, "", 0) : note(SYNC, "", "", facts.st_ino, 0, "", 0)
#define CUT note(TRUNCATE, "", "", facts.st_ino, (uint64_t)len, "", 0)

ON_FILE(ssize_t, write, (int fd, const void *bytes, size_t count), real(fd, bytes, count), WROTE(lseek(fd, 0, SEEK_CUR) - done))
ON_FILE(ssize_t, pwrite, (int fd, const void *bytes, size_t count, off_t to), real(fd, bytes, count, to), WROTE(to))
ON_FILE(ssize_t, pwrite64, (int fd, const void *bytes, size_t count, off64_t to), real(fd, bytes, count, to), WROTE(to))
ON_FILE(int, fsync, (int fd), real(fd), SYNCED)
ON_FILE(int, fdatasync, (int fd), real(fd), SYNCED)
ON_FILE(int, ftruncate, (int fd, off_t len), real(fd, len), CUT)
ON_FILE(int, ftruncate64, (int fd, off64_t len), real(fd, len), CUT)

/* A call on names. */
#define ON_NAME(name, arguments, the_path, call, noted) \
    EXPORT int name arguments \
    { \
        REAL(name); \
        int done; \
        if (!counts(the_path)) \
            return call; \
        pthread_mutex_lock(&order); \
        done = call; \
        if (done >= 0) \
            noted; \
        pthread_mutex_unlock(&order); \
        return done; \
    }

ON_NAME(rename, (const char *from, const char *to), to, real(from, to), note(RENAME, from, to, 0, 0, "", 0))
ON_NAME(unlink, (const char *path), path, real(path), note(UNLINK, path, "", 0, 0, "", 0))
ON_NAME(rmdir, (const char *path), path, real(path), note(RMDIR, path, "", 0, 0, "", 0))
ON_NAME(mkdir, (const char *path, mode_t mode), path, real(path, mode), note(MKDIR, path, "", 0, 0, "", 0))

/* Removing a directory with what is in it removes each part by its directory's descriptor. */
EXPORT int unlinkat(int dir, const char *name, int flags)
{
    REAL(unlinkat);
    char link[64], path[1024];
    ssize_t len;
    int done;
    snprintf(link, sizeof link, "/proc/self/fd/%d", dir);
    len = dir == AT_FDCWD || name[0] == '/' ? 0 : readlink(link, path, 512);
    snprintf(path + (len > 0 ? len : 0), 512, len > 0 ? "/%s" : "%s", name);
    if (!counts(path))
        return real(dir, name, flags);
    pthread_mutex_lock(&order);
    done = real(dir, name, flags);
    if (done == 0)
        note(flags & AT_REMOVEDIR ? RMDIR : UNLINK, path, "", 0, 0, "", 0);
    pthread_mutex_unlock(&order);
    return done;
}

static void note_opened(int fd, const char *path, int flags, int was_there)
{
    struct stat facts;
    if (fd < 0 || fstat(fd, &facts) != 0)
        return;
    if ((flags & O_CREAT) && !was_there)
        note(CREATE, path, "", facts.st_ino, 0, "", 0);
    else if (flags & O_TRUNC)
        note(TRUNCATE, "", "", facts.st_ino, 0, "", 0);
}

#define OPENS(name) \
    EXPORT int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        mode_t mode = 0; \
        int done, was_there; \
        if (flags & O_CREAT) { \
            va_list more; \
            va_start(more, flags); \
            mode = va_arg(more, mode_t); \
            va_end(more); \
        } \
        if (!(flags & (O_CREAT | O_TRUNC)) || !counts(path)) \
            return real(path, flags, mode); \
        pthread_mutex_lock(&order); \
        was_there = access(path, F_OK) == 0; \
        done = real(path, flags, mode); \
        note_opened(done, path, flags, was_there); \
        pthread_mutex_unlock(&order); \
        return done; \
    }

OPENS(open)
OPENS(open64)
