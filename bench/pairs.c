/*
 * pairs: users of our library who send commands to their partners in another process.
 *
 * Usage: pairs RELAY PROJECT @SECRET_FILE ask|answer PAIRS thread|pump
 *        "ask" is driven by lines as drive.h tells; "answer" takes what comes until it is killed. The answer to a
 *        command is its result, which is there when the target's library has taken it over for its program. In "pump"
 *        mode main() polls, so the program has no thread of its own beside it.
 */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"
#include "drive.h"

#include <unistd.h>

#define MAX_PAIRS 512

static CRVideo_Session sessions[MAX_PAIRS];
static CRVideo_Queue queue; /* 0 in THREAD mode */
static struct bench_latch logins = BENCH_LATCH_INIT;

static void ask(long slot)
{
    long pair = slot / drive.in_flight;
    char target[32];
    CRVideo_Err err;
    if (!drive_goes_on(slot))
        return;
    snprintf(target, sizeof target, "b%ld", pair);
    err = CRVideo_SendCmd(sessions[pair], target, drive.payload, (size_t)drive.bytes, NULL, &drive.slots[slot], NULL);
    if (err != CRVideo_NOERR) {
        drive_failed(slot);
        drive_close();
    }
}

static void on_command_sent(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    long slot = (long)((struct drive_slot *)cookie - drive.slots);
    (void)user;
    (void)task_id;
    if (err == CRVideo_NOERR)
        drive_answered(slot);
    else
        drive_failed(slot);
    ask(slot);
}

static void on_command(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
}

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)cookie;
    bench_need("login", err);
    bench_latch_count(&logins);
}

/* Until a latch that callbacks count has reached 0; a queue of one's own is polled by this thread alone. */
static void await(struct bench_latch *latch)
{
    while (queue != 0 && latch->left > 0)
        bench_need("poll", CRVideo_PollEvents(queue, UINT32_MAX, NULL));
    bench_latch_wait(latch);
}

static void log_in(char **argv, char role, long pairs)
{
    CRVideo_LoginInfo info;
    CRVideo_Config config;
    char user_id[16];
    long pair;
    CRVideo_ConfigInit(&config);
    config.queue = queue;
    bench_login_info(argv, &info);
    info.user_id = user_id;
    bench_latch_set(&logins, pairs);
    for (pair = 0; pair < pairs; pair++) {
        bench_need("create", CRVideo_Create(&config, &sessions[pair]));
        CRVideo_SetLoginRsltCallback(sessions[pair], on_login, NULL);
        CRVideo_SetSendCmdRlstCallback(sessions[pair], on_command_sent, NULL);
        CRVideo_SetNotifyCmdDataCallback(sessions[pair], on_command, NULL);
        snprintf(user_id, sizeof user_id, "%c%ld", role, pair);
        bench_need("login", CRVideo_Login(sessions[pair], &info, NULL));
    }
    await(&logins);
    printf("ready\n");
    fflush(stdout);
}

static void answer(void)
{
    for (;;) {
        if (queue != 0)
            bench_need("poll", CRVideo_PollEvents(queue, UINT32_MAX, NULL));
        else
            pause();
    }
}

static void be_driven(long pairs)
{
    long slot;
    while (drive_next(pairs)) {
        for (slot = 0; slot < drive.pairs * drive.in_flight; slot++)
            ask(slot);
        await(&drive.open);
        drive_report();
    }
}

int main(int argc, char **argv)
{
    long pairs = argc == 7 ? atol(argv[5]) : 0;
    int asks = argc == 7 && strcmp(argv[4], "ask") == 0;
    if (pairs < 1 || pairs > MAX_PAIRS || (!asks && strcmp(argv[4], "answer") != 0)) {
        fprintf(stderr, "usage: %s RELAY PROJECT @SECRET_FILE ask|answer PAIRS thread|pump\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (bench_is_pump(argv[6]))
        bench_need("create a queue", CRVideo_CreateQueue(&queue));
    log_in(argv, asks ? 'a' : 'b', pairs);
    if (asks)
        be_driven(pairs);
    else
        answer();
    return EXIT_SUCCESS;
}
