/*
 * peer: one user, who does what lines on the standard input say and tells what happened in lines of key=value words.
 *
 * Usage: peer RELAY PROJECT @SECRET_FILE USER DIRECTORY thread|pump keep|discard [durable] [ca=FILE]
 *        Received files go to DIRECTORY, where they are kept or deleted at once. In "pump" mode a thread of this program
 *        sits in CRVideo_PollEvents. With "durable" a file counts as received when it is on the disk; with "ca" all
 *        connections are encrypted. Ends when the standard input does.
 *
 * Lines in:  commands TARGET BYTES IN_FLIGHT MILLISECONDS FILE
 *                sends commands for so long, the next one inside the callback of a result; FILE gets the time from each
 *                call to its result in nanoseconds, as 64-bit numbers
 *            file TARGET PATH     sends a file
 *            flood TARGET PATH    sends a file again and again
 *            dry                  ends the flood when the file that travels has arrived
 *            batch TARGET COUNT PATH
 *                sends a file so many times at once
 * Lines out: ready
 *            commands done=N failed=N ns=N
 *            progress sent=N
 *            file code=N ns=N date=N          the one result of a file; date is the wall clock in nanoseconds
 *            flooded files=N failed=N ns=N
 *            batch done=N failed=N ns=N first_ns=N     until the last of them has its result, and until the first has
 *            received path=P
 *            line-off code=N, line-on
 */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <unistd.h>

#define MAX_IN_FLIGHT 4096
#define MAX_TIMES (8u * 1024 * 1024)

static CRVideo_Session session;
static CRVideo_Queue queue;
static int keeps;
static struct bench_latch login_latch = BENCH_LATCH_INIT;

/* The run of commands that is on; behind its lock because the first ones are sent by main() and the others in callbacks. */
static struct {
    pthread_mutex_t lock;
    char target[CRVIDEO_USER_ID_MAX + 1];
    char payload[CRVIDEO_CMD_MAX];
    size_t len;
    uint64_t end;
    uint64_t began[MAX_IN_FLIGHT];
    uint64_t *times;
    size_t done, failed;
    struct bench_latch slots;
} run = { PTHREAD_MUTEX_INITIALIZER, "", "", 0, 0, { 0 }, NULL, 0, 0, BENCH_LATCH_INIT };

/* The file that is being sent, or the flood. */
static struct {
    pthread_mutex_t lock;
    char target[CRVIDEO_USER_ID_MAX + 1];
    char path[4097];
    uint64_t began;
    int floods, dries;
    size_t files, failed;
} job = { PTHREAD_MUTEX_INITIALIZER, "", "", 0, 0, 0, 0, 0 };

/* Sends the next command of a slot, or gives the slot up. With the lock held. */
static void send_command(uint64_t *slot)
{
    CRVideo_Err err;
    *slot = bench_now_ns();
    err = *slot < run.end ? CRVideo_SendCmd(session, run.target, run.payload, run.len, NULL, slot, NULL) : -1;
    if (err > 0)
        run.failed++;
    if (err != CRVideo_NOERR)
        bench_latch_count(&run.slots);
}

static void on_command_sent(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    uint64_t *slot = (uint64_t *)cookie;
    (void)user;
    (void)task_id;
    pthread_mutex_lock(&run.lock);
    if (err != CRVideo_NOERR)
        run.failed++;
    else if (run.done < MAX_TIMES)
        run.times[run.done++] = bench_now_ns() - *slot;
    send_command(slot);
    pthread_mutex_unlock(&run.lock);
}

static void run_commands(long bytes, long in_flight, long milliseconds, const char *path)
{
    uint64_t began;
    FILE *file;
    long i;
    if (bytes < 0 || bytes > CRVIDEO_CMD_MAX || in_flight < 1 || in_flight > MAX_IN_FLIGHT) {
        fprintf(stderr, "commands: the size or the number in flight is out of range\n");
        exit(EXIT_FAILURE);
    }
    bench_latch_set(&run.slots, in_flight);
    began = bench_now_ns();
    pthread_mutex_lock(&run.lock);
    run.len = (size_t)bytes;
    run.done = run.failed = 0;
    run.end = began + (uint64_t)milliseconds * 1000000u;
    pthread_mutex_unlock(&run.lock);
    for (i = 0; i < in_flight; i++) {
        pthread_mutex_lock(&run.lock);
        send_command(&run.began[i]);
        pthread_mutex_unlock(&run.lock);
    }
    bench_latch_wait(&run.slots);
    began = bench_now_ns() - began;
    file = fopen(path, "wb");
    if (file == NULL || fwrite(run.times, sizeof *run.times, run.done, file) != run.done || fclose(file) != 0) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    printf("commands done=%zu failed=%zu ns=%llu\n", run.done, run.failed, (unsigned long long)began);
}

static void send_file(void)
{
    bench_need("send a file", CRVideo_SendFile(session, job.target, job.path, NULL, NULL, NULL));
}

/* The batch that is being sent. */
static struct {
    pthread_mutex_t lock;
    uint64_t began, first;
    long left, done, failed;
} batch = { PTHREAD_MUTEX_INITIALIZER, 0, 0, 0, 0, 0 };

/* One file of the batch has its result. With the lock held. */
static void count_in_batch(CRVideo_Err err)
{
    uint64_t ns = bench_now_ns() - batch.began;
    batch.first = batch.first == 0 ? ns : batch.first;
    batch.done += err == CRVideo_NOERR;
    batch.failed += err != CRVideo_NOERR;
    if (--batch.left == 0)
        printf("batch done=%ld failed=%ld ns=%llu first_ns=%llu\n", batch.done, batch.failed, (unsigned long long)ns,
               (unsigned long long)batch.first);
}

static void on_file_sent(void *user, const char *task_id, const char *path, CRVideo_Err err, void *cookie)
{
    uint64_t date = bench_date_ns(), ns;
    (void)user;
    (void)task_id;
    (void)path;
    if (cookie == &batch) {
        pthread_mutex_lock(&batch.lock);
        count_in_batch(err);
        pthread_mutex_unlock(&batch.lock);
        return;
    }
    pthread_mutex_lock(&job.lock);
    ns = bench_now_ns() - job.began;
    job.files += err == CRVideo_NOERR;
    job.failed += err != CRVideo_NOERR;
    if (!job.floods)
        printf("file code=%d ns=%llu date=%llu\n", err, (unsigned long long)ns, (unsigned long long)date);
    else if (!job.dries && err == CRVideo_NOERR)
        send_file();
    else
        printf("flooded files=%zu failed=%zu ns=%llu\n", job.files, job.failed, (unsigned long long)ns);
    pthread_mutex_unlock(&job.lock);
}

static void start_file(int floods)
{
    pthread_mutex_lock(&job.lock);
    job.floods = floods;
    job.dries = 0;
    job.files = job.failed = 0;
    job.began = bench_now_ns();
    send_file();
    pthread_mutex_unlock(&job.lock);
}

static void send_batch(long count)
{
    long i;
    pthread_mutex_lock(&batch.lock);
    batch.first = 0;
    batch.done = batch.failed = 0;
    batch.left = count;
    batch.began = bench_now_ns();
    for (i = 0; i < count; i++) {
        CRVideo_Err err = CRVideo_SendFile(session, job.target, job.path, NULL, &batch, NULL);
        if (err != CRVideo_NOERR)
            count_in_batch(err);
    }
    pthread_mutex_unlock(&batch.lock);
}

static void dry(void)
{
    pthread_mutex_lock(&job.lock);
    job.dries = 1;
    pthread_mutex_unlock(&job.lock);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)total;
    if (cookie == &batch)
        return;
    printf("progress sent=%llu\n", (unsigned long long)sent);
}

static void on_command(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    char kept[4200];
    (void)user;
    (void)source;
    (void)task_id;
    (void)name;
    snprintf(kept, sizeof kept, "%s.kept", tmp_file);
    if (keeps ? rename(tmp_file, kept) != 0 : unlink(tmp_file) != 0)
        perror(tmp_file);
    else if (keeps)
        printf("received path=%s\n", kept);
}

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)cookie;
    bench_need("login", err);
    bench_latch_count(&login_latch);
}

static void on_line_off(void *user, CRVideo_Err err)
{
    (void)user;
    printf("line-off code=%d\n", err);
}

static void on_line_on(void *user)
{
    (void)user;
    printf("line-on\n");
}

static void *pump(void *unused)
{
    (void)unused;
    for (;;)
        bench_need("poll", CRVideo_PollEvents(queue, UINT32_MAX, NULL));
    return NULL;
}

int main(int argc, char **argv)
{
    char line[8192], path[4097];
    long bytes, in_flight, milliseconds, count;
    const char *ca_file = NULL;
    int i;
    CRVideo_LoginInfo info;
    CRVideo_Config config;
    pthread_t thread;

    if (argc < 8) {
        fprintf(stderr, "usage: %s RELAY PROJECT @SECRET_FILE USER DIRECTORY thread|pump keep|discard [durable] "
                        "[ca=FILE]\n", argv[0]);
        return EXIT_FAILURE;
    }
    keeps = strcmp(argv[7], "keep") == 0;
    run.times = (uint64_t *)malloc(MAX_TIMES * sizeof *run.times); /* pages that are never written take no memory */
    if (run.times == NULL)
        return EXIT_FAILURE;
    memset(run.payload, 'x', sizeof run.payload);
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    CRVideo_ConfigInit(&config);
    config.download_dir = argv[5];
    for (i = 8; i < argc; i++) {
        if (strcmp(argv[i], "durable") == 0)
            config.flags |= CRVIDEO_CONFIG_DURABLE;
        else if (strncmp(argv[i], "ca=", 3) == 0)
            ca_file = argv[i] + 3;
        else
            fprintf(stderr, "%s: not understood\n", argv[i]);
    }
    if (bench_is_pump(argv[6])) {
        bench_need("create a queue", CRVideo_CreateQueue(&queue));
        config.queue = queue;
    }
    bench_need("create", CRVideo_Create(&config, &session));
    CRVideo_SetLoginRsltCallback(session, on_login, NULL);
    CRVideo_SetLineOffCallback(session, on_line_off, NULL);
    CRVideo_SetLineOnCallback(session, on_line_on, NULL);
    CRVideo_SetSendCmdRlstCallback(session, on_command_sent, NULL);
    CRVideo_SetSendFileRlstCallback(session, on_file_sent, NULL);
    CRVideo_SetSendProgressCallback(session, on_progress, NULL);
    CRVideo_SetNotifyCmdDataCallback(session, on_command, NULL);
    CRVideo_SetNotifyFileDataCallback(session, on_file, NULL);
    if (config.queue != 0 && pthread_create(&thread, NULL, pump, NULL) != 0)
        return EXIT_FAILURE;
    bench_login_info(argv, &info);
    info.user_id = argv[4];
    if (ca_file != NULL) {
        info.tls = CRVIDEO_TLS_ALWAYS;
        info.ca_file = ca_file;
    }
    bench_latch_set(&login_latch, 1);
    bench_need("login", CRVideo_Login(session, &info, NULL));
    bench_latch_wait(&login_latch);
    printf("ready\n");

    while (fgets(line, (int)sizeof line, stdin) != NULL) {
        if (sscanf(line, "commands %128s %ld %ld %ld %4096s", run.target, &bytes, &in_flight, &milliseconds, path) == 5) {
            run_commands(bytes, in_flight, milliseconds, path);
        } else if (sscanf(line, "file %128s %4096[^\n]", job.target, job.path) == 2) {
            start_file(0);
        } else if (sscanf(line, "flood %128s %4096[^\n]", job.target, job.path) == 2) {
            start_file(1);
        } else if (sscanf(line, "batch %128s %ld %4096[^\n]", job.target, &count, job.path) == 3) {
            send_batch(count);
        } else if (strcmp(line, "dry\n") == 0) {
            dry();
        } else {
            fprintf(stderr, "%s: not understood: %s", argv[0], line);
            return EXIT_FAILURE;
        }
    }
    return EXIT_SUCCESS;
}
