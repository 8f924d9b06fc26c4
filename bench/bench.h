/*
 * bench.h: what the programs of `cargo xtask bench` share that use our library: arguments, and a user who logs in with
 * events on the library's thread ("thread") or on one of this program's ("pump").
 */
#ifndef BENCH_H
#define BENCH_H

#include <crvideo.h>

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the program when a call has failed that must not. */
static inline void bench_need(const char *what, CRVideo_Err err)
{
    if (err != CRVideo_NOERR) {
        fprintf(stderr, "%s: %s (error %d)\n", what, CRVideo_ErrText(err), err);
        exit(EXIT_FAILURE);
    }
}

/* Reads RELAY, PROJECT and SECRET from argv[1] to argv[3]; SECRET is "@FILE", a file whose first line it is. */
static inline void bench_login_info(char **argv, CRVideo_LoginInfo *info)
{
    static char secret[1100];
    /* Thousands of logins read it once. */
    if (secret[0] == '\0') {
        FILE *file = argv[3][0] == '@' ? fopen(argv[3] + 1, "r") : NULL;
        if (file == NULL || fgets(secret, (int)sizeof secret, file) == NULL) {
            fprintf(stderr, "%s: not a file with a secret\n", argv[3]);
            exit(EXIT_FAILURE);
        }
        fclose(file);
        secret[strcspn(secret, "\r\n")] = '\0';
    }
    CRVideo_LoginInfoInit(info);
    info->servers = argv[1];
    info->project = atoi(argv[2]);
    info->secret = secret;
}

/* 1 for "pump", 0 for "thread". */
static inline int bench_is_pump(const char *mode)
{
    if (strcmp(mode, "pump") != 0 && strcmp(mode, "thread") != 0) {
        fprintf(stderr, "%s: must be thread or pump\n", mode);
        exit(EXIT_FAILURE);
    }
    return mode[0] == 'p';
}

/* Results that callbacks count while main() waits for all of them. */
struct bench_results {
    struct bench_latch latch;
    long failed;
};
#define BENCH_RESULTS_INIT { BENCH_LATCH_INIT, 0 }

/* From now on so many are waited for. */
static inline void bench_expect(struct bench_results *results, long count)
{
    results->failed = 0;
    bench_latch_set(&results->latch, count);
}

/* One has come. */
static inline void bench_result(struct bench_results *results, CRVideo_Err err)
{
    pthread_mutex_lock(&results->latch.lock);
    results->failed += err != CRVideo_NOERR;
    pthread_mutex_unlock(&results->latch.lock);
    bench_latch_count(&results->latch);
}

/* A callback whose `user` are the results that it counts. */
static inline void bench_on_rslt(void *user, CRVideo_Err err, void *cookie)
{
    (void)cookie;
    bench_result((struct bench_results *)user, err);
}

/* A relay takes no more strangers at once than it is configured for. */
#define BENCH_LOGINS_AT_ONCE 1000

/* Logs in users "1" to "count" on the library's own queue, in turns; set_up sets the callbacks of each, by its number.
   Returns how many have failed. */
static inline long bench_log_in_all(char **argv, long count, void (*set_up)(CRVideo_Session session, long number))
{
    static struct bench_results logins = BENCH_RESULTS_INIT;
    CRVideo_LoginInfo info;
    long number, failed = 0;
    bench_login_info(argv, &info);
    for (number = 0; number < count; number++) {
        char user_id[32];
        CRVideo_Session session;
        if (number % BENCH_LOGINS_AT_ONCE == 0)
            bench_expect(&logins, count - number < BENCH_LOGINS_AT_ONCE ? count - number : BENCH_LOGINS_AT_ONCE);
        bench_need("create", CRVideo_Create(NULL, &session));
        CRVideo_SetLoginRsltCallback(session, bench_on_rslt, &logins);
        set_up(session, number + 1);
        snprintf(user_id, sizeof user_id, "%ld", number + 1);
        info.user_id = user_id;
        bench_need("login", CRVideo_Login(session, &info, NULL));
        if (number % BENCH_LOGINS_AT_ONCE == BENCH_LOGINS_AT_ONCE - 1 || number == count - 1) {
            bench_latch_wait(&logins.latch);
            failed += logins.failed;
        }
    }
    return failed;
}

/* How an RTM client of the project that argv[1] to argv[3] name reaches a gate. */
static inline void bench_rtm_config(char **argv, const char *gate, uint32_t timeout_ms, RTM_Config *config)
{
    CRVideo_LoginInfo info;
    bench_login_info(argv, &info);
    RTM_ConfigInit(config);
    config->project = info.project;
    config->secret = info.secret;
    config->endpoint = gate;
    config->timeout_ms = timeout_ms;
}

#endif
