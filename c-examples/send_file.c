/*
 * send_file: sends a file of any size to another user, with a progress line and the rate.
 *
 * Shows: progress (at most 20 events a second), and what the result means: "delivered" is said only when the target
 * has the whole file and has compared its hash.
 *
 * Usage: send_file RELAY PROJECT SECRET USER TARGET FILE
 *        send_file 127.0.0.1:13325 1 @secret.txt alice bob holiday.mp4
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <time.h>
#include <unistd.h>

/* Only the callback thread uses this after the file has been sent off, so it needs no lock. */
struct progress {
    struct timespec began;
    int last_percent;
};

static double seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) / 1e9;
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    struct progress *progress = (struct progress *)user;
    int percent = total == 0 ? 100 : (int)((double)sent * 100.0 / (double)total);
    double seconds = seconds_since(&progress->began);
    double rate = seconds > 0 ? (double)sent / 1e6 / seconds : 0;
    (void)task_id;
    (void)cookie;

    if (isatty(STDOUT_FILENO)) {
        printf("\r%3d %%  %.1f of %.1f MB  %.1f MB/s   ", percent, (double)sent / 1e6, (double)total / 1e6, rate);
        fflush(stdout);
    } else if (percent != progress->last_percent) { /* a log wants lines, and not too many of them */
        printf("%d %%  %.1f MB/s\n", percent, rate);
    }
    progress->last_percent = percent;
}

static void on_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)file_name;
    if (isatty(STDOUT_FILENO))
        printf("\n");
    example_deliver((struct example_result *)cookie, err);
}

int main(int argc, char **argv)
{
    struct example_result result = EXAMPLE_RESULT_INIT;
    struct progress progress;
    CRVideo_Session session;
    CRVideo_Err err;

    if (argc != 7) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER TARGET FILE\n", argv[0]);
        return EXIT_FAILURE;
    }

    err = CRVideo_Create(NULL, &session);
    if (err != CRVideo_NOERR)
        return example_failed("create", err);
    CRVideo_SetSendProgressCallback(session, on_progress, &progress);
    CRVideo_SetSendFileRlstCallback(session, on_result, NULL);

    err = example_login(session, argv);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(session);
        return example_failed("login", err);
    }

    clock_gettime(CLOCK_MONOTONIC, &progress.began);
    progress.last_percent = -1;
    err = CRVideo_SendFile(session, argv[5], argv[6], NULL, &result, NULL);
    if (err == CRVideo_NOERR)
        err = example_wait(&result);

    CRVideo_Destroy(session);

    if (err != CRVideo_NOERR)
        return example_failed(argv[6], err);
    printf("delivered in %.1f s\n", seconds_since(&progress.began));
    return EXIT_SUCCESS;
}
