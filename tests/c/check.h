/*
 * check.h: what the programs in tests/c share. Each is started by tests/c_programs.rs as PROGRAM RELAY PROJECT SECRET,
 * ends with status 0 when everything was as documented, and otherwise says what was not.
 *
 * Nothing in here is meant to be copied by a user of the library; c-examples/ is.
 */
#ifndef CHECK_H
#define CHECK_H

#include <crvideo.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Ends the program at once, without the clean-up that may be what hangs. */
static inline void check_failed(const char *file, int line, const char *format, ...)
{
    va_list args;
    fprintf(stderr, "%s:%d: ", file, line);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    fflush(NULL);
    _exit(1);
}

#define FAIL(...) check_failed(__FILE__, __LINE__, __VA_ARGS__)
#define CHECK(condition) \
    do { \
        if (!(condition)) \
            FAIL("not true: %s", #condition); \
    } while (0)
/* Two codes or numbers that fit a long. */
#define CHECK_EQ(actual, expected) \
    do { \
        long actual_ = (long)(actual), expected_ = (long)(expected); \
        if (actual_ != expected_) \
            FAIL("%s is %ld, not %ld", #actual, actual_, expected_); \
    } while (0)
#define CHECK_OK(call) CHECK_EQ(call, CRVideo_NOERR)

/* How much slower than usual this run is (valgrind, sanitizers): time limits are multiplied by it. */
static inline int check_slow(void)
{
    const char *text = getenv("CRVIDEO_SLOW");
    int factor = text == NULL ? 1 : atoi(text);
    return factor < 1 ? 1 : factor;
}

static inline double check_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* A number that callbacks raise and that a test waits for. */
struct counter {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    long value;
};
#define COUNTER_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0 }

static inline void counter_init(struct counter *counter)
{
    pthread_mutex_init(&counter->lock, NULL);
    pthread_cond_init(&counter->changed, NULL);
    counter->value = 0;
}

static inline void counter_add(struct counter *counter, long n)
{
    pthread_mutex_lock(&counter->lock);
    counter->value += n;
    pthread_cond_broadcast(&counter->changed);
    pthread_mutex_unlock(&counter->lock);
}

static inline long counter_get(struct counter *counter)
{
    long value;
    pthread_mutex_lock(&counter->lock);
    value = counter->value;
    pthread_mutex_unlock(&counter->lock);
    return value;
}

/* Whether the number reached `value` within `seconds` (of an ordinary run); below 0: whether it has by now. */
static inline int counter_reaches(struct counter *counter, long value, double seconds)
{
    struct timespec until;
    int reached;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)(seconds * check_slow()) + 1;
    pthread_mutex_lock(&counter->lock);
    while (counter->value < value && seconds >= 0)
        if (pthread_cond_timedwait(&counter->changed, &counter->lock, &until) == ETIMEDOUT)
            break;
    reached = counter->value >= value;
    pthread_mutex_unlock(&counter->lock);
    return reached;
}

#define WAIT_FOR(counter, value) \
    do { \
        if (!counter_reaches(&(counter), (value), 30)) \
            FAIL("%s is %ld, and does not become %ld", #counter, counter_get(&(counter)), (long)(value)); \
    } while (0)

/* PUMP mode: handles events of `queue` until `condition` holds. */
#define PUMP_UNTIL(queue, condition) \
    do { \
        double deadline_ = check_now() + 30.0 * check_slow(); \
        while (!(condition)) { \
            CHECK_OK(CRVideo_PollEvents((queue), 100, NULL)); \
            if (check_now() > deadline_) \
                FAIL("time is up, and not yet: %s", #condition); \
        } \
    } while (0)

/* argv of the program: RELAY PROJECT SECRET. */
static char **check_args;

static inline void check_begin(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET\n", argv[0]);
        exit(2);
    }
    check_args = argv;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
}

static inline void check_login_info(CRVideo_LoginInfo *info, const char *user_id)
{
    CRVideo_LoginInfoInit(info);
    info->servers = check_args[1];
    info->project = atoi(check_args[2]);
    info->secret = check_args[3];
    info->user_id = user_id;
    /* Where the relay encrypts, the environment names the authority of its certificate. */
    if (getenv("CRVIDEO_TEST_CA") != NULL) {
        info->tls = CRVIDEO_TLS_ALWAYS;
        info->ca_file = getenv("CRVIDEO_TEST_CA");
    }
}

struct check_answer {
    struct counter there;
    CRVideo_Err err;
};

static inline void check_on_answer(void *user, CRVideo_Err err, void *cookie)
{
    struct check_answer *answer = (struct check_answer *)cookie;
    (void)user;
    if (answer == NULL)
        return;
    answer->err = err;
    counter_add(&answer->there, 1);
}

/* Logs in a session; `queue` is 0 when the callback thread serves it, else the queue is pumped here. */
static inline CRVideo_Err check_login(CRVideo_Session session, CRVideo_Queue queue, const char *user_id)
{
    struct check_answer answer = { COUNTER_INIT, 0 };
    CRVideo_LoginInfo info;
    CRVideo_Err err;
    check_login_info(&info, user_id);
    CHECK_OK(CRVideo_SetLoginRsltCallback(session, check_on_answer, NULL));
    err = CRVideo_Login(session, &info, &answer);
    if (err != CRVideo_NOERR)
        return err;
    if (queue == 0)
        WAIT_FOR(answer.there, 1);
    else
        PUMP_UNTIL(queue, counter_get(&answer.there) == 1);
    return answer.err;
}

/* A session on `queue` (0: the library's own) with everything else at its default, not logged in. */
static inline CRVideo_Session check_session(CRVideo_Queue queue)
{
    CRVideo_Config config;
    CRVideo_Session session = 0;
    CRVideo_ConfigInit(&config);
    config.queue = queue;
    CHECK_OK(CRVideo_Create(&config, &session));
    CHECK(session != 0);
    return session;
}

#endif
