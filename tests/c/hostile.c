/*
 * hostile: surroundings that a library does not choose. Started as hostile RELAY PROJECT SECRET WHAT NUMBER.
 *
 * cycles N    N times a session is created, logs in, sends everything there is, and is destroyed with all of it in
 *             flight; afterwards there are as many descriptors and threads as before, and no more memory.
 * umask N     receives a file under the umask N (octal): the file is 0600, its directory 0700.
 * bare N      works with standard input, output and error closed, and with descriptors from N on.
 * signals N   works with a timer that interrupts the host's threads N times a second.
 * full N      receives a file of N bytes where there is no room for it: its sender hears 1402 and nothing is left.
 * swap N      receives N files while another thread replaces the download directory by a link to an empty one: nothing
 *             is ever written there, and each sender hears the truth.
 * closed N    N times the host closes all descriptors that it finds, in the middle of transfers: each task has one
 *             result, and after another login all is well.
 * scarce N    the host has N KiB of address space left for a session that does everything; each call and task tells how
 *             that ends, and when there is more all is well.
 * exec N      N times the host starts another program in the middle of transfers, which finds no descriptor too many.
 */
#define _GNU_SOURCE

#include "count.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

static int keeps_files;
static int hurried; /* sessions have short time-outs */
static struct stat file_info, dir_info;

static void on_stored_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    char dir[4096];
    (void)user;
    (void)source;
    (void)task_id;
    (void)name;
    snprintf(dir, sizeof dir, "%s", tmp_file);
    *strrchr(dir, '/') = '\0';
    if (stat(tmp_file, &file_info) == 0 && stat(dir, &dir_info) == 0 && !keeps_files)
        unlink(tmp_file);
    counter_add(&received, 1);
}

static CRVideo_Session enter(const char *user, const char *download_dir)
{
    CRVideo_Config config;
    CRVideo_Session session;
    CRVideo_ConfigInit(&config);
    config.download_dir = download_dir;
    if (hurried) {
        config.cmd_timeout_ms = 5000;
        config.transfer_timeout_ms = 5000;
    }
    CHECK_OK(CRVideo_Create(&config, &session));
    count(session);
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(session, on_stored_file, NULL));
    CHECK_OK(check_login(session, 0, user));
    return session;
}

static int entries(const char *path)
{
    DIR *open = opendir(path);
    struct dirent *entry;
    int count = 0;
    if (open == NULL)
        return -1;
    while ((entry = readdir(open)) != NULL)
        count += entry->d_name[0] != '.' || strcspn(entry->d_name + 1, ".") > 0;
    closedir(open);
    return count;
}

/* Resident memory in KiB. */
static long resident(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%*d %ld", &pages) == 1);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static char *source_file(size_t size)
{
    static char path[512];
    FILE *file;
    size_t i;
    snprintf(path, sizeof path, "%s/source-XXXXXX", getenv("SOURCES"));
    file = fdopen(mkstemp(path), "wb");
    CHECK(file != NULL);
    for (i = 0; i < size; i++)
        CHECK(putc((int)(i * 7), file) != EOF);
    CHECK(fclose(file) == 0);
    return path;
}

static void cycle(const char *path)
{
    static char content[300000];
    CRVideo_Session bob = enter("bob", NULL), alice = enter("alice", NULL);
    long before = counter_get(&ended);
    double begun;
    int i;
    for (i = 0; i < 5; i++)
        CHECK_OK(CRVideo_SendCmd(alice, "bob", "hello", 5, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, sizeof content, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendFile(alice, "bob", path, NULL, NULL, NULL));
    begun = check_now();
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_EQ(counter_get(&ended), before + 7);
    CHECK_OK(CRVideo_Destroy(bob));
    if (check_now() - begun > 5.0 * check_slow())
        FAIL("two destroys take %.1f s", check_now() - begun);
}

/* Cycles after which caches, arenas and helper threads are as they stay. */
enum { WARM_UP = 60, GROWTH_KIB = 4096 };

static void cycles(long count)
{
    const char *path = source_file(200000);
    int fds = 0, threads = 0;
    long memory = 0, i;
    for (i = 0; i < WARM_UP + count; i++) {
        cycle(path);
        if (i == WARM_UP - 1) {
            fds = entries("/proc/self/fd");
            threads = entries("/proc/self/task");
            memory = resident();
        }
    }
    unlink(path);
    CHECK_EQ(entries("/proc/self/fd"), fds);
    /* The pool has up to four threads, and starts them when it has use for them. */
    CHECK(entries("/proc/self/task") <= 7 && threads <= 7);
    CHECK_EQ(entries(getenv("TMPDIR")), 0);
    if (resident() > memory + GROWTH_KIB * check_slow())
        FAIL("%ld cycles take memory from %ld KiB to %ld KiB", count, memory, resident());
    printf("%ld cycles: descriptors %d, threads %d, memory %ld KiB, was %ld KiB\n", count, fds, threads, resident(),
           memory);
}

/* A file to oneself; the code that its sender hears. */
static CRVideo_Err send_file(CRVideo_Session alice, size_t size)
{
    const char *path = source_file(size);
    long before = counter_get(&ended), arrived = counter_get(&received);
    CHECK_OK(CRVideo_SendFile(alice, "alice", path, NULL, NULL, NULL));
    WAIT_FOR(ended, before + 1);
    if (last_err == CRVideo_NOERR)
        WAIT_FOR(received, arrived + 1);
    else
        CHECK_EQ(counter_get(&received), arrived);
    unlink(path);
    return last_err;
}

static void with_umask(long mask)
{
    CRVideo_Session alice;
    char *path = source_file(10);
    alice = enter("alice", NULL);
    umask((mode_t)mask);
    CHECK_OK(CRVideo_SendFile(alice, "alice", path, NULL, NULL, NULL));
    WAIT_FOR(ended, 1);
    CHECK_OK(last_err);
    WAIT_FOR(received, 1);
    CHECK_EQ(file_info.st_mode & 07777, 0600);
    CHECK_EQ(dir_info.st_mode & 07777, 0700);
    CHECK(file_info.st_uid == geteuid() && dir_info.st_uid == geteuid());
    unlink(path);
    CHECK_OK(CRVideo_Destroy(alice));
}

static void bare(long first)
{
    struct rlimit limit;
    CRVideo_Session alice;
    int fd, count = 0;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_max >= (rlim_t)first + 100);
    limit.rlim_cur = (rlim_t)first + 100;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (fd = open("/dev/null", O_RDONLY | O_CLOEXEC); fd >= 0 && fd < first; fd = dup(fd))
        count++;
    CHECK(count > 0 && fd >= first);
    /* Now the library is given the lowest of these, which are also those of the standard streams, and high ones. */
    close(0);
    close(1);
    alice = enter("alice", NULL);
    CHECK_OK(send_file(alice, 100000));
    CHECK_OK(CRVideo_Destroy(alice));
}

static volatile sig_atomic_t ticked;

static void on_tick(int signal)
{
    (void)signal;
    ticked++;
}

static void signals(long frequency)
{
    struct itimerval timer;
    struct sigaction action;
    CRVideo_Session alice;
    int i;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_tick; /* without SA_RESTART: calls are interrupted */
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    memset(&timer, 0, sizeof timer);
    timer.it_interval.tv_usec = timer.it_value.tv_usec = 1000000 / frequency;
    alice = enter("alice", NULL);
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    for (i = 0; i < 5; i++)
        CHECK_OK(send_file(alice, 1000000));
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK(ticked > 10);
}

static void full(long size)
{
    CRVideo_Session alice = enter("alice", NULL);
    CHECK_EQ(send_file(alice, (size_t)size), CRVideo_FILE_WRITE_ERR);
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_EQ(entries(getenv("TMPDIR")), 0);
}

static struct counter swap_stops = COUNTER_INIT;
static char inbox[512], aside[512], decoy[512];
static long swaps;

static void *swap(void *unused)
{
    (void)unused;
    while (counter_get(&swap_stops) == 0) {
        CHECK(rename(inbox, aside) == 0 && symlink(decoy, inbox) == 0);
        CHECK(unlink(inbox) == 0 && rename(aside, inbox) == 0);
        swaps++;
    }
    return NULL;
}

static int is_empty(void)
{
    int left = entries(decoy);
    return left == 0;
}

/*
 * The directory that the library has made for itself is swapped: whatever the path leads to meanwhile, files are made,
 * written and removed in the directory that it has opened. A file that is to be heard of may be out of reach by its path.
 */
static void swap_links(long rounds)
{
    const char *tmp = getenv("TMPDIR");
    char *path;
    pthread_t attacker;
    CRVideo_Session alice = enter("alice", NULL);
    DIR *open;
    struct dirent *entry;
    long i;
    keeps_files = 1;
    CHECK_OK(send_file(alice, 10)); /* makes the directory */
    open = opendir(tmp);
    CHECK(open != NULL);
    while ((entry = readdir(open)) != NULL)
        if (strncmp(entry->d_name, "crvideo-", 8) == 0)
            snprintf(inbox, sizeof inbox, "%s/%s", tmp, entry->d_name);
    closedir(open);
    CHECK(inbox[0] != '\0');
    snprintf(aside, sizeof aside, "%s/aside", getenv("SOURCES"));
    snprintf(decoy, sizeof decoy, "%s/decoy", getenv("SOURCES"));
    CHECK(mkdir(decoy, 0700) == 0);
    CHECK(pthread_create(&attacker, NULL, swap, NULL) == 0);
    path = source_file(20000);
    for (i = 0; i < rounds || (rounds > 0 && swaps < rounds * 20); i++) {
        long before = counter_get(&ended);
        CHECK_OK(CRVideo_SendFile(alice, "alice", path, NULL, NULL, NULL));
        WAIT_FOR(ended, before + 1);
        CHECK_OK(last_err);
        CHECK(is_empty());
    }
    counter_add(&swap_stops, 1);
    pthread_join(attacker, NULL);
    WAIT_FOR(received, i + 1);
    CHECK(is_empty());
    CHECK_EQ(entries(inbox), i + 1);
    unlink(path);
    CHECK_OK(CRVideo_Destroy(alice));
    printf("%ld files, %ld swaps, none won\n", i, swaps);
}

/* Sends a bit of everything to oneself; how many tasks that are. */
static long send_all(CRVideo_Session alice, const char *path)
{
    static char content[4000000];
    int i;
    for (i = 0; i < 5; i++)
        CHECK_OK(CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendBuffer(alice, "alice", content, sizeof content, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendFile(alice, "alice", path, NULL, NULL, NULL));
    return 7;
}

static void closed(long rounds)
{
    const char *path = source_file(4000000);
    long i, tasks;
    hurried = 1;
    for (i = 0; i < rounds; i++) {
        CRVideo_Session alice = enter("alice", NULL);
        int fd;
        long before = counter_get(&ended), arrived = counter_get(&received);
        tasks = send_all(alice, path);
        WAIT_FOR(received, arrived + 1 + i % 5);
        for (fd = 3; fd < 1024; fd++)
            close(fd);
        WAIT_FOR(ended, before + tasks);
        CHECK_OK(CRVideo_Destroy(alice));
        CHECK_EQ(counter_get(&ended), before + tasks);
        /* Everything works again. */
        alice = enter("alice", NULL);
        before = counter_get(&ended);
        tasks = send_all(alice, path);
        counter_init(&failed);
        WAIT_FOR(ended, before + tasks);
        if (counter_get(&failed) != 0)
            FAIL("after another login a task ends with %d", failed_err);
        CHECK_OK(CRVideo_Destroy(alice));
    }
    unlink(path);
    CHECK_EQ(entries(getenv("TMPDIR")), 0);
}

/* How many descriptors another program finds open. */
static int seen_by_another_program(void)
{
    int ends[2], lines = 0, letter, status;
    pid_t child;
    FILE *listed;
    CHECK(pipe(ends) == 0);
    child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        execlp("ls", "ls", "/proc/self/fd", (char *)NULL);
        _exit(127);
    }
    close(ends[1]);
    listed = fdopen(ends[0], "r");
    CHECK(listed != NULL);
    while ((letter = getc(listed)) != EOF)
        lines += letter == '\n';
    fclose(listed);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return lines;
}

static void exec(long rounds)
{
    const char *path = source_file(4000000);
    int without = seen_by_another_program();
    CRVideo_Session alice = enter("alice", NULL);
    long i;
    CHECK(without >= 4); /* 0, 1, 2 and the directory itself */
    for (i = 0; i < rounds; i++) {
        long before = counter_get(&ended), tasks = send_all(alice, path);
        CHECK_EQ(seen_by_another_program(), without);
        WAIT_FOR(ended, before + tasks);
    }
    CHECK_EQ(counter_get(&failed), 0);
    unlink(path);
    CHECK_OK(CRVideo_Destroy(alice));
}

/* A call may fail for want of memory, threads or descriptors; what was accepted must still end. */
static long accepted_of(CRVideo_Err err, long *refused)
{
    if (err != CRVideo_NOERR) {
        printf("refused with %d\n", err);
        ++*refused;
    }
    return err == CRVideo_NOERR;
}

static CRVideo_Err login_err;
static struct counter logins = COUNTER_INIT;

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)cookie;
    login_err = err;
    counter_add(&logins, 1);
}

/* All that a session can do, as far as there is memory; how often that was refused or failed. */
static long whatever_is_possible(const char *path)
{
    static char content[4000000];
    CRVideo_Config config;
    CRVideo_Session alice;
    CRVideo_LoginInfo info;
    long refused = 0, tasks = 0, before = counter_get(&ended), answered = counter_get(&logins);
    CRVideo_ConfigInit(&config);
    config.cmd_timeout_ms = config.transfer_timeout_ms = 10000;
    if (!accepted_of(CRVideo_Create(&config, &alice), &refused))
        return refused;
    CHECK_OK(CRVideo_SetLoginRsltCallback(alice, on_login, NULL));
    count(alice);
    check_login_info(&info, "alice");
    if (accepted_of(CRVideo_Login(alice, &info, NULL), &refused)) {
        WAIT_FOR(logins, answered + 1);
        if (login_err != CRVideo_NOERR) {
            printf("login ends with %d\n", login_err);
            refused++;
        } else {
            tasks += accepted_of(CRVideo_SendCmd(alice, "alice", content, CRVIDEO_CMD_MAX, NULL, NULL, NULL), &refused);
            tasks += accepted_of(CRVideo_SendBuffer(alice, "alice", content, sizeof content, NULL, NULL, NULL), &refused);
            tasks += accepted_of(CRVideo_SendFile(alice, "alice", path, NULL, NULL, NULL), &refused);
        }
    }
    WAIT_FOR(ended, before + tasks);
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_EQ(counter_get(&ended), before + tasks);
    return refused;
}

static void scarce(long kib)
{
    const char *path = source_file(1000000);
    struct rlimit limit, before;
    long pages = 0, refused;
    FILE *statm = fopen("/proc/self/statm", "r");
    CHECK(statm != NULL && fscanf(statm, "%ld", &pages) == 1);
    fclose(statm);
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    limit = before;
    limit.rlim_cur = (rlim_t)pages * (rlim_t)sysconf(_SC_PAGESIZE) + (rlim_t)kib * 1024;
    CHECK(setrlimit(RLIMIT_AS, &limit) == 0);
    refused = whatever_is_possible(path);
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    printf("%ld KiB: %ld refused, %ld failed\n", kib, refused, counter_get(&failed));
    counter_init(&failed);
    CHECK_EQ(whatever_is_possible(path), 0);
    CHECK_EQ(counter_get(&failed), 0);
    unlink(path);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(long);
    } all[] = { { "cycles", cycles }, { "umask", with_umask }, { "bare", bare },
                { "signals", signals }, { "full", full },       { "swap", swap_links },
                { "closed", closed },   { "exec", exec },
                { "scarce", scarce } };
    size_t i;
    CHECK(argc == 6);
    may_fail = 1;
    check_begin(argc, argv);
    for (i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, argv[4]) == 0) {
            all[i].run(strtol(argv[5], NULL, 0));
            return 0;
        }
    FAIL("there is no %s", argv[4]);
    return 1;
}
