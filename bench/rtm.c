/*
 * rtm: a server that sends files by RTM functions, and users who get them, to measure what that costs the relay.
 *
 * Usage: rtm RELAY PROJECT @SECRET_FILE GATE
 *
 * It says "ready", and then does what lines of its standard input say, answering each by a line:
 *     users COUNT          logs in users 1 to COUNT, who refuse files once they have heard of them
 *                          users count=N failed=N
 *     uploads COUNT SIZE   sends COUNT files of SIZE bytes at once, each by a client of its own, to a user who is away
 *                          uploads failed=N ns=N
 *     file SIZE            sends one file of SIZE bytes to a user who is away, and waits for the answer
 *                          file failed=N ns=N
 *     store COUNT USERS    sends COUNT small files, one after the other, each to USERS users who are away
 *                          store failed=N
 *     fan SIZE many|all    sends one file of SIZE bytes to all users in one call
 *                          fan failed=N answer_ns=N heard=N late_ns=N ended=N end_ns=N
 *                          heard is how many users have heard of it, late_ns how long after the answer the last one did
 *     fan SIZE many|all watched
 *                          the same with results of each recipient: ended is for how many users they have ended, end_ns
 *                          how long after the answer those of the last one did
 */
#define _DEFAULT_SOURCE

#include "bench.h"

#include <errno.h>

#define AWAY INT64_C(1000000000)
#define SENDER INT64_C(2000000000)

static struct bench_results sent = BENCH_RESULTS_INIT;
static struct bench_latch heard = BENCH_LATCH_INIT;
static struct bench_latch ended = BENCH_LATCH_INIT;
static uint64_t last_heard;
static uint64_t last_ended;
static long users;
static CRVideo_Session *sessions;
static RTM_Config rtm_config;

static void on_message(void *user, const CRVideo_RtmMessage *message)
{
    (void)user;
    (void)message;
    last_heard = bench_now_ns();
    bench_latch_count(&heard);
}

static void on_offer(void *user, const char *source, const char *task_id, int kind, const char *name, uint64_t size)
{
    (void)kind;
    (void)name;
    (void)size;
    CRVideo_RefuseTransfer(*(CRVideo_Session *)user, source, task_id);
}

static void on_sent(void *cookie, const RTM_SendResult *result)
{
    (void)cookie;
    if (result->err != CRVideo_NOERR)
        fprintf(stderr, "a file was not sent: %d %s\n", result->err, result->text);
    bench_result(&sent, result->err);
}

static void on_result(void *user, const RTM_RecipientResult *result)
{
    (void)user;
    if (result->state != RTM_RECIPIENT_DELIVERED && result->state != RTM_RECIPIENT_FAILED)
        return;
    last_ended = bench_now_ns();
    bench_latch_count(&ended);
}

static void receives(CRVideo_Session session, long number)
{
    sessions[number - 1] = session;
    CRVideo_SetNotifyRtmMessageCallback(session, on_message, NULL);
    CRVideo_SetTransferOfferCallback(session, on_offer, &sessions[number - 1]);
}

static void log_in(char **argv, long wanted)
{
    sessions = (CRVideo_Session *)calloc((size_t)wanted, sizeof *sessions);
    if (sessions == NULL)
        exit(EXIT_FAILURE);
    users = wanted;
    printf("users count=%ld failed=%ld\n", wanted, bench_log_in_all(argv, wanted, receives));
}

/* Bytes that differ from one file to the next. */
static void *bytes_of(size_t size)
{
    unsigned char *bytes = (unsigned char *)malloc(size);
    size_t at;
    uint64_t state = bench_now_ns() | 1;
    if (bytes == NULL)
        exit(EXIT_FAILURE);
    for (at = 0; at < size; at++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[at] = (unsigned char)state;
    }
    return bytes;
}

static void upload(long wanted, size_t size, const char *word)
{
    RTM_Client *clients = (RTM_Client *)calloc((size_t)wanted, sizeof *clients);
    RTM_File file;
    void *bytes = bytes_of(size);
    uint64_t began;
    long number;
    if (clients == NULL)
        exit(EXIT_FAILURE);
    RTM_FileInit(&file);
    file.data = bytes;
    file.len = size;
    file.name = "bench.bin";
    for (number = 0; number < wanted; number++)
        bench_need("create a client", RTM_Create(&rtm_config, &clients[number]));
    bench_expect(&sent, wanted);
    began = bench_now_ns();
    for (number = 0; number < wanted; number++)
        bench_need("send", RTM_SendFile(clients[number], SENDER, AWAY + number, 50, &file, NULL, on_sent, NULL, NULL));
    bench_latch_wait(&sent.latch);
    printf("%s failed=%ld ns=%llu\n", word, sent.failed, (unsigned long long)(bench_now_ns() - began));
    for (number = 0; number < wanted; number++)
        RTM_Destroy(clients[number]);
    free(clients);
    free(bytes);
}

static void store(RTM_Client client, long wanted, long away)
{
    int64_t *tos = (int64_t *)calloc((size_t)away, sizeof *tos);
    RTM_File file;
    RTM_SendResult result;
    long number, bad = 0;
    if (tos == NULL)
        exit(EXIT_FAILURE);
    RTM_FileInit(&file);
    file.data = "a small file";
    file.len = 12;
    file.name = "small.txt";
    for (number = 0; number < wanted; number++) {
        long at;
        for (at = 0; at < away; at++)
            tos[at] = AWAY + number * away + at;
        RTM_SendResultInit(&result);
        bad += RTM_SendFiles(client, SENDER, tos, (size_t)away, 50, &file, NULL, NULL, NULL, &result) != CRVideo_NOERR;
    }
    printf("store failed=%ld\n", bad);
    free(tos);
}

/* Waits for a minute at most; how many are still awaited. */
static long wait_a_minute(struct bench_latch *what)
{
    struct timespec until;
    long left;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 60;
    pthread_mutex_lock(&what->lock);
    while (what->left > 0 && pthread_cond_timedwait(&what->zero, &what->lock, &until) != ETIMEDOUT)
        ;
    left = what->left;
    pthread_mutex_unlock(&what->lock);
    return left;
}

static unsigned long long since(uint64_t earlier, uint64_t later)
{
    return later > earlier ? (unsigned long long)(later - earlier) : 0;
}

static void fan_out(RTM_Client client, size_t size, int everybody, int watched)
{
    int64_t *tos = (int64_t *)calloc((size_t)users, sizeof *tos);
    void *bytes = bytes_of(size);
    RTM_File file;
    RTM_SendResult result;
    uint64_t began, answered;
    long number, not_heard, not_ended;
    CRVideo_Err err;
    if (tos == NULL)
        exit(EXIT_FAILURE);
    bench_need("results", RTM_SetRecipientResultCallback(client, watched ? on_result : NULL, NULL));
    for (number = 0; number < users; number++)
        tos[number] = number + 1;
    RTM_FileInit(&file);
    RTM_SendResultInit(&result);
    file.data = bytes;
    file.len = size;
    file.name = "bench.bin";
    bench_latch_set(&heard, users);
    bench_latch_set(&ended, watched ? users : 0);
    began = bench_now_ns();
    err = everybody ? RTM_BroadcastFile(client, SENDER, 50, &file, NULL, NULL, NULL, &result)
                    : RTM_SendFiles(client, SENDER, tos, (size_t)users, 50, &file, NULL, NULL, NULL, &result);
    answered = bench_now_ns();
    if (err != CRVideo_NOERR)
        fprintf(stderr, "the file was not sent: %d %s\n", err, result.text);
    not_heard = wait_a_minute(&heard);
    not_ended = wait_a_minute(&ended);
    printf("fan failed=%d answer_ns=%llu heard=%ld late_ns=%llu ended=%ld end_ns=%llu\n", err != CRVideo_NOERR,
           since(began, answered), users - not_heard, since(answered, last_heard), watched ? users - not_ended : 0,
           since(answered, last_ended));
    free(bytes);
    free(tos);
}

int main(int argc, char **argv)
{
    char line[64];
    RTM_Client client;
    if (argc != 5) {
        fprintf(stderr, "usage: %s RELAY PROJECT @SECRET_FILE GATE\n", argv[0]);
        return EXIT_FAILURE;
    }
    bench_rtm_config(argv, argv[4], 120000, &rtm_config);
    bench_need("create a client", RTM_Create(&rtm_config, &client));
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, (int)sizeof line, stdin) != NULL) {
        long wanted = 0;
        unsigned long long size = 0;
        char whom[8] = "", how[8] = "";
        if (sscanf(line, "users %ld", &wanted) == 1)
            log_in(argv, wanted);
        else if (sscanf(line, "uploads %ld %llu", &wanted, &size) == 2)
            upload(wanted, (size_t)size, "uploads");
        else if (sscanf(line, "file %llu", &size) == 1)
            upload(1, (size_t)size, "file");
        else if (sscanf(line, "store %ld %llu", &wanted, &size) == 2)
            store(client, wanted, (long)size);
        else if (sscanf(line, "fan %llu %7s %7s", &size, whom, how) >= 2)
            fan_out(client, (size_t)size, strcmp(whom, "all") == 0, strcmp(how, "watched") == 0);
        else
            fprintf(stderr, "not understood: %s", line);
        fflush(stdout);
    }
    return EXIT_SUCCESS;
}
