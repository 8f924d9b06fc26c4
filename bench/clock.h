/*
 * clock.h: the clock, and a number that threads count down while another one waits.
 */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <pthread.h>
#include <stdint.h>
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

static inline void bench_latch_count(struct bench_latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    if (--latch->left == 0)
        pthread_cond_broadcast(&latch->zero);
    pthread_mutex_unlock(&latch->lock);
}

static inline void bench_latch_wait(struct bench_latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    while (latch->left > 0)
        pthread_cond_wait(&latch->zero, &latch->lock);
    pthread_mutex_unlock(&latch->lock);
}

#endif
