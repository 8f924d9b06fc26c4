/*
 * fan: one message of an RTM server to many users of our library.
 *
 * Usage: fan RELAY PROJECT @SECRET_FILE users COUNT
 *            logs in users 1 to COUNT on one queue, and says "ready"; then "heard count=N ns=N" whenever all have heard
 *            of a message; ns is the date of the last
 *        fan RELAY PROJECT @SECRET_FILE server GATE
 *            says "ready", and does what lines say:
 *                group COUNT          makes users 1 to COUNT members of a group; says "group failed=N"
 *                send BYTES all|group sends a message to everybody or to the group; says "sent failed=N ns=N", the date
 *                                     of the call
 */
#define _POSIX_C_SOURCE 200809L

#include "bench.h"

#include <unistd.h>

#define SENDER INT64_C(2000000000)
#define GROUP INT64_C(77)
/* A relay takes no more members at once. */
#define MEMBERS_AT_ONCE 100
#define TEXT_TYPE 51 /* any type of the program's own */

static struct bench_latch deaf = BENCH_LATCH_INIT;
static long users;

static void on_message(void *user, const CRVideo_RtmMessage *message)
{
    (void)user;
    (void)message;
    /* The library's callback thread is the only one that counts. */
    if (--deaf.left > 0)
        return;
    deaf.left = users;
    printf("heard count=%ld ns=%llu\n", users, (unsigned long long)bench_date_ns());
    fflush(stdout);
}

static void hears(CRVideo_Session session, long number)
{
    (void)number;
    CRVideo_SetNotifyRtmMessageCallback(session, on_message, NULL);
}

static void log_in(char **argv, long count)
{
    long failed;
    deaf.left = users = count;
    failed = bench_log_in_all(argv, count, hears);
    if (failed > 0) {
        fprintf(stderr, "%ld logins have failed\n", failed);
        exit(EXIT_FAILURE);
    }
}

static long make_group(RTM_Client client, long count)
{
    int64_t members[MEMBERS_AT_ONCE];
    long first, failed = 0;
    for (first = 1; first <= count; first += MEMBERS_AT_ONCE) {
        long size = count - first + 1 < MEMBERS_AT_ONCE ? count - first + 1 : MEMBERS_AT_ONCE, i;
        RTM_Result result;
        RTM_ResultInit(&result);
        for (i = 0; i < size; i++)
            members[i] = first + i;
        failed += RTM_AddGroupMembers(client, GROUP, members, (size_t)size, NULL, NULL, NULL, &result) != CRVideo_NOERR;
    }
    return failed;
}

static void send_message(RTM_Client client, size_t bytes, int everybody)
{
    static char payload[65536];
    unsigned long long date = (unsigned long long)bench_date_ns();
    RTM_SendResult result;
    CRVideo_Err err;
    memset(payload, 'x', sizeof payload);
    RTM_SendResultInit(&result);
    if (everybody)
        err = RTM_BroadcastMsg(client, SENDER, TEXT_TYPE, payload, bytes, NULL, NULL, NULL, NULL, &result);
    else
        err = RTM_SendGroupMsg(client, SENDER, GROUP, TEXT_TYPE, payload, bytes, NULL, NULL, NULL, NULL, &result);
    if (err != CRVideo_NOERR)
        fprintf(stderr, "the message was not sent: %d %s\n", err, result.text);
    printf("sent failed=%d ns=%llu\n", err != CRVideo_NOERR, date);
}

static void serve(char **argv)
{
    RTM_Config config;
    RTM_Client client;
    char line[64], whom[8];
    long number;
    bench_rtm_config(argv, argv[5], 60000, &config);
    bench_need("create a client", RTM_Create(&config, &client));
    printf("ready\n");
    fflush(stdout);
    while (fgets(line, (int)sizeof line, stdin) != NULL) {
        if (sscanf(line, "group %ld", &number) == 1) {
            printf("group failed=%ld\n", make_group(client, number));
        } else if (sscanf(line, "send %ld %7s", &number, whom) == 2 && number >= 0 && number <= 65536) {
            send_message(client, (size_t)number, strcmp(whom, "all") == 0);
        } else {
            fprintf(stderr, "not understood: %s", line);
            exit(EXIT_FAILURE);
        }
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    if (argc == 6 && strcmp(argv[4], "users") == 0 && atol(argv[5]) >= 1) {
        log_in(argv, atol(argv[5]));
        printf("ready\n");
        fflush(stdout);
        for (;;)
            pause();
    }
    if (argc == 6 && strcmp(argv[4], "server") == 0) {
        serve(argv);
        return EXIT_SUCCESS;
    }
    fprintf(stderr, "usage: %s RELAY PROJECT @SECRET_FILE users COUNT | server GATE\n", argv[0]);
    return EXIT_FAILURE;
}
