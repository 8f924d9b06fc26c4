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

/* Counts one that has ended so, and whether it has failed. */
static inline void bench_latch_end(struct bench_latch *latch, long *failed, CRVideo_Err err)
{
    pthread_mutex_lock(&latch->lock);
    *failed += err != CRVideo_NOERR;
    pthread_mutex_unlock(&latch->lock);
    bench_latch_count(latch);
}

#endif
