/*
 * leave: threads that end, and callbacks that are left, where they must not. Started as leave RELAY PROJECT SECRET WHAT.
 *
 * exit         a callback ends the library's callback thread: the process ends, with a message
 * exit-poll    a callback ends the thread that polls: the same
 * jump         a callback of a queue is left by longjmp: sessions elsewhere go on, and the next call of the thread that
 *              has jumped ends the process, with a message
 * fiber        a callback calls the library on a stack of its own, which is no jump
 * cancel       a callback's thread, the library's own, is cancelled from inside and outside: nothing happens
 * cancel-poll  a thread that polls is cancelled: the call returns as ever, the thread ends after it, and nothing is lost
 * cancel-calls threads are cancelled while they make calls of all kinds: each call is made whole or not at all
 */
#define _GNU_SOURCE

#include "count.h"

#include <setjmp.h>
#include <ucontext.h>

/* A command to oneself arrives, and its sender hears so. */
static void works(CRVideo_Session session, const char *user)
{
    long before = counter_get(&ended), arrived = counter_get(&received);
    CHECK_OK(CRVideo_SendCmd(session, user, "hello", 5, NULL, NULL, NULL));
    WAIT_FOR(ended, before + 1);
    WAIT_FOR(received, arrived + 1);
}

/* ---- callbacks that do not return ----------------------------------------------------------------------------- */

static void on_data_exits(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    on_data(user, source, task_id, data, len);
    pthread_exit(NULL);
}

static void exit_thread(void)
{
    CRVideo_Session alice = count_session(0, "alice");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(alice, on_data_exits, NULL));
    CHECK_OK(CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL));
    WAIT_FOR(ended, 1);
    FAIL("the callback thread has ended, and the process goes on");
}

static void exit_poll(void)
{
    CRVideo_Queue queue;
    CRVideo_Session alice;
    CHECK_OK(CRVideo_CreateQueue(&queue));
    alice = count_session(queue, "alice");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(alice, on_data_exits, NULL));
    CHECK_OK(CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL));
    PUMP_UNTIL(queue, counter_get(&ended) == 1);
    FAIL("a callback has ended the thread that polls, and the call has returned");
}

static void *works_of_bob(void *bob)
{
    works(*(CRVideo_Session *)bob, "bob");
    return NULL;
}

static jmp_buf back;

static void on_data_jumps(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    on_data(user, source, task_id, data, len);
    longjmp(back, 1);
}

static void jump(void)
{
    static CRVideo_Queue queue; /* not in a register that the jump puts back */
    static CRVideo_Session alice, bob;
    static int i;
    bob = count_session(0, "bob");
    CHECK_OK(CRVideo_CreateQueue(&queue));
    alice = count_session(queue, "alice");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(alice, on_data_jumps, NULL));
    CHECK_OK(CRVideo_SendCmd(bob, "alice", "hello", 5, NULL, NULL, NULL));
    if (setjmp(back) == 0) {
        /* The result of the command is for bob, and may come before the callback. */
        PUMP_UNTIL(queue, counter_get(&received) == 1);
        FAIL("the callback was not left");
    }
    /* This thread must not call any more; another one may. */
    for (i = 0; i < 3; i++) {
        pthread_t other;
        CHECK(pthread_create(&other, NULL, works_of_bob, &bob) == 0);
        CHECK(pthread_join(other, NULL) == 0);
    }
    printf("others work\n");
    fflush(stdout);
    CRVideo_PollEvents(queue, 0, NULL);
    FAIL("the call after the jump has returned");
}

/* ---- what is no jump ------------------------------------------------------------------------------------------ */

static ucontext_t fiber, around_fiber;
static CRVideo_Session of_fiber;

static void on_fiber(void)
{
    CHECK_OK(CRVideo_SendBuffer(of_fiber, "alice", "from a fiber", 12, NULL, NULL, NULL));
}

/* Runs the library on two stacks of its own inside a callback, one below and one above the thread's, if there are any. */
static void on_data_switches(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    static char low[256 * 1024]; /* main's stack is above this, that of the callback thread below */
    char *stack = (char *)malloc(sizeof low);
    int i;
    CHECK(stack != NULL);
    for (i = 0; i < 2; i++) {
        CHECK(getcontext(&fiber) == 0);
        fiber.uc_stack.ss_sp = i == 0 ? low : stack;
        fiber.uc_stack.ss_size = sizeof low;
        fiber.uc_link = &around_fiber;
        makecontext(&fiber, on_fiber, 0);
        CHECK(swapcontext(&around_fiber, &fiber) == 0);
    }
    free(stack);
    on_data(user, source, task_id, data, len);
}

static void with_fiber(void)
{
    CRVideo_Queue queue;
    of_fiber = count_session(0, "alice");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(of_fiber, on_data_switches, NULL));
    CHECK_OK(CRVideo_SendCmd(of_fiber, "alice", "hello", 5, NULL, NULL, NULL));
    WAIT_FOR(ended, 3);
    WAIT_FOR(received, 3);
    CHECK_OK(CRVideo_Destroy(of_fiber));
    CHECK_OK(CRVideo_CreateQueue(&queue));
    of_fiber = count_session(queue, "alice");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(of_fiber, on_data_switches, NULL));
    CHECK_OK(CRVideo_SendCmd(of_fiber, "alice", "hello", 5, NULL, NULL, NULL));
    PUMP_UNTIL(queue, counter_get(&ended) == 6 && counter_get(&received) == 6);
    CHECK_OK(CRVideo_Destroy(of_fiber));
    CHECK_OK(CRVideo_DestroyQueue(queue));
}

/* ---- threads that are cancelled ------------------------------------------------------------------------------- */

static pthread_t callback_thread;

static void on_data_is_cancelled(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    callback_thread = pthread_self();
    CHECK(pthread_cancel(pthread_self()) == 0);
    pthread_testcancel();
    usleep(1);
    on_data(user, source, task_id, data, len);
}

static void cancel(void)
{
    CRVideo_Session alice = count_session(0, "alice"), bob = count_session(0, "bob");
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(alice, on_data_is_cancelled, NULL));
    works(alice, "alice");
    CHECK(pthread_cancel(callback_thread) == 0);
    works(bob, "bob");
    works(alice, "alice");
    CHECK_OK(CRVideo_Destroy(alice));
    works(bob, "bob");
    CHECK_OK(CRVideo_Destroy(bob));
}

static struct counter polls = COUNTER_INIT;

static void *poll_for_ever(void *queue)
{
    for (;;) {
        counter_add(&polls, 1);
        CHECK_OK(CRVideo_PollEvents(*(CRVideo_Queue *)queue, UINT32_MAX, NULL));
        pthread_testcancel();
    }
    return NULL;
}

static void cancel_poll(void)
{
    CRVideo_Queue queue;
    CRVideo_Session alice, bob = count_session(0, "bob");
    int i;
    CHECK_OK(CRVideo_CreateQueue(&queue));
    alice = count_session(queue, "alice");
    for (i = 0; i < 20; i++) {
        long before = counter_get(&ended), arrived = counter_get(&received), polled = counter_get(&polls);
        pthread_t thread;
        void *value;
        CHECK(pthread_create(&thread, NULL, poll_for_ever, &queue) == 0);
        WAIT_FOR(polls, polled + 1);
        CHECK(pthread_cancel(thread) == 0);
        CHECK_OK(CRVideo_SendCmd(bob, "alice", "hello", 5, NULL, NULL, NULL));
        CHECK(pthread_join(thread, &value) == 0 && value == PTHREAD_CANCELED);
        PUMP_UNTIL(queue, counter_get(&received) == arrived + 1 && counter_get(&ended) == before + 1);
    }
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_OK(CRVideo_Destroy(bob));
    CHECK_OK(CRVideo_DestroyQueue(queue));
}

/* A number and not a callback's counter: a thread may be cancelled between any two of its lines. */
static volatile long accepted;

static void *call_for_ever(void *session)
{
    static char content[100000];
    CRVideo_Session alice = *(CRVideo_Session *)session;
    for (;;) {
        CRVideo_Session other;
        CRVideo_Queue queue;
        CRVideo_Config config;
        accepted += CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL) == CRVideo_NOERR;
        accepted += CRVideo_SendBuffer(alice, "alice", content, sizeof content, NULL, NULL, NULL) == CRVideo_NOERR;
        CRVideo_ConfigInit(&config);
        CHECK_OK(CRVideo_CreateQueue(&queue));
        config.queue = queue;
        CHECK_OK(CRVideo_Create(&config, &other));
        CHECK_OK(CRVideo_PollEvents(queue, 0, NULL));
        CHECK_OK(CRVideo_Destroy(other));
        CHECK_OK(CRVideo_DestroyQueue(queue));
        pthread_testcancel(); /* the only place at which it may end */
    }
    return NULL;
}

static void cancel_calls(void)
{
    CRVideo_Session alice = count_session(0, "alice"), bob = count_session(0, "bob");
    unsigned seed = 1;
    int i;
    for (i = 0; i < 200; i++) {
        pthread_t thread;
        void *value;
        CHECK(pthread_create(&thread, NULL, call_for_ever, &alice) == 0);
        usleep((unsigned)rand_r(&seed) % 2000);
        CHECK(pthread_cancel(thread) == 0);
        CHECK(pthread_join(thread, &value) == 0 && value == PTHREAD_CANCELED);
        WAIT_FOR(ended, accepted);
    }
    works(bob, "bob");
    works(alice, "alice");
    CHECK_EQ(counter_get(&ended), accepted + 2);
    CHECK(accepted > 0);
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_OK(CRVideo_Destroy(bob));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } all[] = { { "exit", exit_thread },  { "exit-poll", exit_poll },     { "jump", jump },
                { "fiber", with_fiber },  { "cancel", cancel },           { "cancel-poll", cancel_poll },
                { "cancel-calls", cancel_calls } };
    size_t i;
    CHECK(argc == 5);
    check_begin(argc, argv);
    for (i = 0; i < sizeof all / sizeof all[0]; i++)
        if (strcmp(all[i].name, argv[4]) == 0) {
            all[i].run();
            return 0;
        }
    FAIL("there is no %s", argv[4]);
    return 1;
}
