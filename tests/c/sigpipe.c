/*
 * sigpipe: a host that has left SIGPIPE at its default would be killed by a write to a broken connection. Sessions
 * send without a pause while their connections are cut after random numbers of bytes, by FIN and by RST; then the
 * relay is killed. The process must live, every send must end once, and after the cuts everything must work again.
 */
#define _POSIX_C_SOURCE 200809L

#include "proxy.h"

#include <signal.h>

enum { PAIRS = 6, SIZE = 1024 * 1024, CUTS = 150 };

static unsigned char content[SIZE];
static struct counter accepted = COUNTER_INIT;
static struct counter ended = COUNTER_INIT;
static struct counter line_off = COUNTER_INIT;
static pthread_mutex_t stop_lock = PTHREAD_MUTEX_INITIALIZER;
static int stopping;
static char names[PAIRS * 2][16];
static CRVideo_Session sessions[PAIRS * 2];

static int stopped(void)
{
    int result;
    pthread_mutex_lock(&stop_lock);
    result = stopping;
    pthread_mutex_unlock(&stop_lock);
    return result;
}

static void send_one(long i, int buffer)
{
    CRVideo_Err err = buffer
        ? CRVideo_SendBuffer(sessions[i], names[i ^ 1], content, SIZE, NULL, (void *)(names[i]), NULL)
        : CRVideo_SendCmd(sessions[i], names[i ^ 1], content, 5000, NULL, (void *)(names[i]), NULL);
    if (err == CRVideo_NOERR)
        counter_add(&accepted, 1);
    else
        CHECK(err == CRVideo_NOT_LOGIN || err == CRVideo_SEND_QUEUE_FULL || err == CRVideo_NOT_INIT);
}

static void on_cmd_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    long i = (long)((char(*)[16])cookie - names);
    (void)user;
    (void)task_id;
    (void)err;
    if (!stopped())
        send_one(i, 0);
    counter_add(&ended, 1); /* last, so that equal counts mean that no callback is about to send */
}

static void on_buffer_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    long i = (long)((char(*)[16])cookie - names);
    (void)user;
    (void)task_id;
    (void)err;
    if (!stopped())
        send_one(i, 1);
    counter_add(&ended, 1); /* last, so that equal counts mean that no callback is about to send */
}

static void on_line_off(void *user, CRVideo_Err err)
{
    (void)user;
    (void)err;
    counter_add(&line_off, 1);
}

static void on_last_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    struct check_answer *answer = (struct check_answer *)cookie;
    (void)user;
    (void)task_id;
    if (answer != NULL) {
        answer->err = err;
        counter_add(&answer->there, 1);
    }
}

int main(int argc, char **argv)
{
    struct sigaction action;
    char *relay;
    long i;
    long offs;
    long sends;

    check_begin(argc, argv);
    CHECK_EQ(sigaction(SIGPIPE, NULL, &action), 0);
    CHECK(action.sa_handler == SIG_DFL);
    relay = argv[1];
    proxy_start(relay);
    argv[1] = proxy.address;

    for (i = 0; i < PAIRS * 2; i++) {
        snprintf(names[i], sizeof names[i], "user%ld", i);
        sessions[i] = check_session(0);
        CHECK_OK(CRVideo_SetSendCmdRlstCallback(sessions[i], on_cmd_result, NULL));
        CHECK_OK(CRVideo_SetSendBufferRlstCallback(sessions[i], on_buffer_result, NULL));
        CHECK_OK(CRVideo_SetLineOffCallback(sessions[i], on_line_off, NULL));
        CHECK_OK(check_login(sessions[i], 0, names[i]));
    }

    /* Cut. */
    proxy_cut_after(2 * SIZE);
    for (i = 0; i < PAIRS * 2; i++) {
        send_one(i, 1);
        send_one(i, 1);
        send_one(i, 0);
        send_one(i, 0);
    }
    proxy_cut_now();
    if (!counter_reaches(&proxy.cuts, CUTS, 90))
        FAIL("only %ld cuts", counter_get(&proxy.cuts));
    proxy_cut_after(0);
    pthread_mutex_lock(&stop_lock);
    stopping = 1;
    pthread_mutex_unlock(&stop_lock);
    proxy_cut_now(); /* also those connections whose end was drawn before */
    printf("%ld cuts, %ld lines lost, %ld sends\n", counter_get(&proxy.cuts), counter_get(&line_off),
           counter_get(&accepted));
    do { /* a callback that has not seen the wish to stop may send once more */
        sends = counter_get(&accepted);
        if (!counter_reaches(&ended, sends, 120))
            FAIL("%ld sends, but %ld ends", sends, counter_get(&ended));
    } while (counter_get(&accepted) != sends);
    CHECK_EQ(counter_get(&ended), counter_get(&accepted));

    /* Everything works again. */
    for (i = 0; i < PAIRS * 2; i++) {
        double deadline = check_now() + 30 * check_slow();
        CRVideo_Err err;
        CHECK_OK(CRVideo_SetSendCmdRlstCallback(sessions[i], on_last_result, NULL));
        do {
            struct check_answer answer = { COUNTER_INIT, 0 };
            err = CRVideo_SendCmd(sessions[i], names[i ^ 1], "x", 1, NULL, &answer, NULL);
            if (err == CRVideo_NOERR) {
                WAIT_FOR(answer.there, 1);
                err = answer.err;
            }
        } while (err != CRVideo_NOERR && check_now() < deadline);
        CHECK_OK(err);
        CHECK_OK(CRVideo_SetSendCmdRlstCallback(sessions[i], on_cmd_result, NULL));
    }

    /* The relay dies in the middle of writes. */
    pthread_mutex_lock(&stop_lock);
    stopping = 0;
    pthread_mutex_unlock(&stop_lock);
    for (i = 0; i < PAIRS * 2; i++) {
        send_one(i, 1);
        send_one(i, 0);
    }
    offs = counter_get(&line_off);
    printf("kill the relay\n");
    WAIT_FOR(line_off, offs + PAIRS * 2);
    pthread_mutex_lock(&stop_lock);
    stopping = 1;
    pthread_mutex_unlock(&stop_lock);
    for (i = 0; i < PAIRS * 2; i++)
        CHECK_OK(CRVideo_Destroy(sessions[i]));
    CHECK_EQ(counter_get(&ended), counter_get(&accepted));
    return 0;
}
