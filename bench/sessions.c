/*
 * sessions: many users in one process, to measure what one of them costs.
 *
 * Usage: sessions RELAY PROJECT @SECRET_FILE COUNT thread|pump [CERTIFICATE]
 *        RELAY may be several addresses of it with commas between them, which sessions use in turn.
 *        All sessions use one queue: the library's own ("thread"), or one that main() polls ("pump"). With a certificate
 *        (a PEM file) all connections are encrypted, and only a relay that has one which this one vouches for is good.
 *
 * It stops after each step, says so in a line, and goes on when it gets a line; it ends with its standard input:
 *     none heap=N                      one session has been there and is gone, so that the library is at work
 *     online count=N failed=N ns=N heap=N
 *                                      all are logged in; ns is the time from the first call to the last result
 *     exchanged count=N failed=N heap=N
 *                                      each has sent the next one a command of 100 bytes
 *     trimmed heap=N                   after malloc_trim(3)
 * heap is what malloc(3) has given out and not got back, in bytes.
 */
#define _DEFAULT_SOURCE /* mallinfo2(3) and malloc_trim(3) are glibc's */

#include "bench.h"

#include <malloc.h>

static CRVideo_Queue queue; /* 0 in THREAD mode */
static struct bench_results results = BENCH_RESULTS_INIT;

static void on_command_sent(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    bench_result(&results, err);
}

/* Until all that is expected has come. A queue of one's own is polled by this thread alone, which may read `left`. */
static void await(void)
{
    while (queue != 0 && results.latch.left > 0)
        bench_need("poll", CRVideo_PollEvents(queue, UINT32_MAX, NULL));
    bench_latch_wait(&results.latch);
}

/* One of the addresses: the kernel finds a free port for a connection slowly when many go to the same one. */
static const char *address(const char *all, long number)
{
    static char one[256];
    const char *from = all;
    long count = 1, turn;
    for (; *from != '\0'; from++)
        count += *from == ',';
    for (from = all, turn = number % count; turn > 0; turn--)
        from = strchr(from, ',') + 1;
    snprintf(one, sizeof one, "%.*s", (int)strcspn(from, ","), from);
    return one;
}

static CRVideo_Session log_in(int argc, char **argv, long number)
{
    char user_id[32];
    CRVideo_Session session;
    CRVideo_Config config;
    CRVideo_LoginInfo info;
    CRVideo_ConfigInit(&config);
    config.queue = queue;
    bench_need("create", CRVideo_Create(&config, &session));
    CRVideo_SetLoginRsltCallback(session, bench_on_rslt, &results);
    CRVideo_SetSendCmdRlstCallback(session, on_command_sent, NULL);
    bench_login_info(argv, &info);
    info.servers = address(argv[1], number);
    snprintf(user_id, sizeof user_id, "user-%ld", number);
    info.user_id = user_id;
    if (argc == 7) {
        info.tls = CRVIDEO_TLS_ALWAYS;
        info.ca_file = argv[6];
    }
    bench_need("login", CRVideo_Login(session, &info, NULL));
    return session;
}

static unsigned long long heap(void)
{
    struct mallinfo2 info = mallinfo2();
    return (unsigned long long)info.uordblks + (unsigned long long)info.hblkhd;
}

/* Ends the program when nobody wants it to go on. */
static void pause_here(void)
{
    char line[16];
    fflush(stdout);
    if (fgets(line, (int)sizeof line, stdin) == NULL)
        exit(EXIT_SUCCESS);
}

int main(int argc, char **argv)
{
    static const char payload[100] = "x";
    CRVideo_Session *sessions;
    uint64_t began;
    long number, wanted;

    if (argc < 6 || argc > 7 || (wanted = atol(argv[4])) < 2) {
        fprintf(stderr, "usage: %s RELAY PROJECT @SECRET_FILE COUNT thread|pump [CERTIFICATE]\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (bench_is_pump(argv[5]))
        bench_need("create a queue", CRVideo_CreateQueue(&queue));
    sessions = (CRVideo_Session *)calloc((size_t)wanted, sizeof *sessions);
    if (sessions == NULL)
        return EXIT_FAILURE;

    bench_expect(&results, 1);
    sessions[0] = log_in(argc, argv, wanted);
    await();
    bench_need("destroy", CRVideo_Destroy(sessions[0]));
    printf("none heap=%llu\n", heap());
    pause_here();

    bench_expect(&results, wanted);
    began = bench_now_ns();
    for (number = 0; number < wanted; number++)
        sessions[number] = log_in(argc, argv, number);
    await();
    began = bench_now_ns() - began;
    printf("online count=%ld failed=%ld ns=%llu heap=%llu\n", wanted, results.failed, (unsigned long long)began, heap());
    pause_here();

    bench_expect(&results, wanted);
    for (number = 0; number < wanted; number++) {
        char target[32];
        snprintf(target, sizeof target, "user-%ld", (number + 1) % wanted);
        bench_need("send", CRVideo_SendCmd(sessions[number], target, payload, sizeof payload, NULL, NULL, NULL));
    }
    await();
    printf("exchanged count=%ld failed=%ld heap=%llu\n", wanted, results.failed, heap());
    pause_here();

    malloc_trim(0);
    printf("trimmed heap=%llu\n", heap());
    pause_here();
    return EXIT_SUCCESS;
}
