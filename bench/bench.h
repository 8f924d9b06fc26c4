/*
 * bench.h: what the programs of `cargo xtask bench` share: the clock, arguments, and a user who logs in with events on
 * the library's thread ("thread") or on one of this program's ("pump").
 */
#ifndef BENCH_H
#define BENCH_H

#include <crvideo.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static inline uint64_t bench_clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* For durations. */
static inline uint64_t bench_now_ns(void)
{
    return bench_clock_ns(CLOCK_MONOTONIC);
}

/* For points in time that another process is to compare with its own. */
static inline uint64_t bench_date_ns(void)
{
    return bench_clock_ns(CLOCK_REALTIME);
}

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
    FILE *file = argv[3][0] == '@' ? fopen(argv[3] + 1, "r") : NULL;
    if (file == NULL || fgets(secret, (int)sizeof secret, file) == NULL) {
        fprintf(stderr, "%s: not a file with a secret\n", argv[3]);
        exit(EXIT_FAILURE);
    }
    fclose(file);
    secret[strcspn(secret, "\r\n")] = '\0';
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

/* A number that callbacks count down to 0 while main() waits for it. */
struct bench_latch {
    pthread_mutex_t lock;
    pthread_cond_t zero;
    long left;
};
#define BENCH_LATCH_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 }

static inline void bench_latch_set(struct bench_latch *latch, long left)
{
    pthread_mutex_lock(&latch->lock);
    latch->left = left;
    pthread_mutex_unlock(&latch->lock);
}

/* Counts one that has ended so, and whether it has failed. */
static inline void bench_latch_end(struct bench_latch *latch, long *failed, CRVideo_Err err)
{
    pthread_mutex_lock(&latch->lock);
    *failed += err != CRVideo_NOERR;
    if (--latch->left == 0)
        pthread_cond_broadcast(&latch->zero);
    pthread_mutex_unlock(&latch->lock);
}

static inline void bench_latch_count(struct bench_latch *latch)
{
    long failed = 0;
    bench_latch_end(latch, &failed, CRVideo_NOERR);
}

static inline void bench_latch_wait(struct bench_latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (latch->left > 0)
        pthread_cond_wait(&latch->zero, &latch->lock);
    pthread_mutex_unlock(&latch->lock);
}

#endif
