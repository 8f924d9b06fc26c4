/*
 * drive.h: how every system is measured. One process asks, another one answers, and what is asked is told by lines on
 * the standard input of the first, in the same words for every system:
 *
 *     run PAIRS BYTES IN_FLIGHT MILLISECONDS FILE
 *         the first PAIRS users of this process send payloads of so many bytes to their partners in the other process,
 *         each with IN_FLIGHT of them unanswered, the next one when an answer has come. With one in flight altogether
 *         FILE gets the time from each call to its answer in nanoseconds, as 64-bit numbers
 *     ran done=N failed=N ns=N
 *
 * Whatever is in flight has a slot, which is either on its way there or on its way back, so one thread at a time has it
 * and it needs no lock, in whatever threads a system calls back.
 */
#ifndef BENCH_DRIVE_H
#define BENCH_DRIVE_H

#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRIVE_MAX_SLOTS 4096
#define DRIVE_MAX_BYTES 65536
#define DRIVE_MAX_TIMES (8u * 1024 * 1024)
/* The clock costs as much as a whole answer of the fastest system, so a slot looks at it once in so many. */
#define DRIVE_CLOCK_EVERY 8

struct drive_slot {
    uint64_t began, done, failed;
    char apart[64 - 3 * sizeof(uint64_t)]; /* from the next one, which another thread may have */
};

static struct {
    long pairs, bytes, in_flight, milliseconds;
    char path[4097];
    char payload[DRIVE_MAX_BYTES];
    uint64_t began, end;
    uint64_t *times; /* of the only slot, or NULL */
    struct drive_slot slots[DRIVE_MAX_SLOTS];
    struct bench_latch open;
} drive;

static inline void drive_die(const char *what)
{
    perror(what);
    exit(EXIT_FAILURE);
}

/* Reads the next line and is ready to begin; 0 when the input has ended. `pairs` is how many this process has. */
static inline int drive_next(long pairs)
{
    static uint64_t *times;
    char line[8192];
    long slots;
    if (fgets(line, (int)sizeof line, stdin) == NULL)
        return 0;
    if (sscanf(line, "run %ld %ld %ld %ld %4096s", &drive.pairs, &drive.bytes, &drive.in_flight, &drive.milliseconds,
               drive.path) != 5) {
        fprintf(stderr, "not understood: %s", line);
        exit(EXIT_FAILURE);
    }
    slots = drive.pairs * drive.in_flight;
    if (drive.pairs < 1 || drive.pairs > pairs || drive.bytes < 0 || drive.bytes > DRIVE_MAX_BYTES || slots < 1 ||
        slots > DRIVE_MAX_SLOTS) {
        fprintf(stderr, "out of range: %s", line);
        exit(EXIT_FAILURE);
    }
    if (times == NULL && (times = (uint64_t *)malloc(DRIVE_MAX_TIMES * sizeof *times)) == NULL)
        drive_die("times");
    drive.times = slots == 1 ? times : NULL;
    memset(drive.slots, 0, sizeof drive.slots);
    memset(drive.payload, 'x', sizeof drive.payload);
    bench_latch_set(&drive.open, slots);
    drive.began = bench_now_ns();
    drive.end = drive.began + (uint64_t)drive.milliseconds * 1000000u;
    return 1;
}

/* Gives a slot up: nothing will be sent for it any more. */
static inline void drive_close(void)
{
    bench_latch_count(&drive.open);
}

/* Whether the slot's next payload is to be sent now; if not, the slot is given up. */
static inline int drive_goes_on(long slot)
{
    struct drive_slot *it = &drive.slots[slot];
    if (drive.times != NULL || it->done % DRIVE_CLOCK_EVERY == 0) {
        it->began = bench_now_ns();
        if (it->began >= drive.end) {
            drive_close();
            return 0;
        }
    }
    return 1;
}

/* An answer has come. */
static inline void drive_answered(long slot)
{
    struct drive_slot *it = &drive.slots[slot];
    if (drive.times != NULL && it->done < DRIVE_MAX_TIMES)
        drive.times[it->done] = bench_now_ns() - it->began;
    it->done++;
}

/* The system has said that the payload has not arrived. */
static inline void drive_failed(long slot)
{
    drive.slots[slot].failed++;
}

/* Waits until every slot is given up, and says how the run went. */
static inline void drive_report(void)
{
    uint64_t done = 0, failed = 0, ns;
    long slot;
    bench_latch_wait(&drive.open);
    ns = bench_now_ns() - drive.began;
    for (slot = 0; slot < drive.pairs * drive.in_flight; slot++) {
        done += drive.slots[slot].done;
        failed += drive.slots[slot].failed;
    }
    if (drive.times != NULL) {
        size_t count = done < DRIVE_MAX_TIMES ? (size_t)done : DRIVE_MAX_TIMES;
        FILE *file = fopen(drive.path, "wb");
        if (file == NULL || fwrite(drive.times, sizeof *drive.times, count, file) != count || fclose(file) != 0)
            drive_die(drive.path);
    }
    printf("ran done=%llu failed=%llu ns=%llu\n", (unsigned long long)done, (unsigned long long)failed,
           (unsigned long long)ns);
    fflush(stdout);
}

#endif
