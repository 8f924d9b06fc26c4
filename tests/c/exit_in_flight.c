/*
 * exit_in_flight: the process ends while commands, buffers and a file are on their way. Whatever ends it must end it
 * with its own exit status, without a crash and without a wait.
 *
 * A fourth argument says how it ends: "return" from main, "exit" in main, "callback" (exit in a callback), or
 * "thread" (exit on a second thread while main is inside the library).
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

enum { SIZE = 4 * 1024 * 1024, STATUS = 42 };

static struct counter progressed = COUNTER_INIT;
static int exit_in_callback;

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)total;
    (void)cookie;
    if (sent == 0)
        return;
    if (exit_in_callback)
        exit(STATUS);
    counter_add(&progressed, 1);
}

static void *exit_soon(void *unused)
{
    WAIT_FOR(progressed, 1);
    exit(STATUS);
    return unused;
}

int main(int argc, char **argv)
{
    static unsigned char content[SIZE];
    CRVideo_Config config;
    CRVideo_Session alice;
    CRVideo_Session bob;
    pthread_t thread;
    const char *how;
    int i;

    check_begin(argc, argv);
    CHECK_EQ(argc, 5);
    how = argv[4];
    exit_in_callback = strcmp(how, "callback") == 0;

    CRVideo_ConfigInit(&config);
    config.task_limit = 200;
    CHECK_OK(CRVideo_Create(&config, &alice));
    bob = check_session(0);
    CHECK_OK(CRVideo_SetSendProgressCallback(alice, on_progress, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));
    CHECK_OK(check_login(bob, 0, "bob"));
    for (i = 0; i < 100; i++)
        CHECK_OK(CRVideo_SendCmd(alice, "bob", content, 1000, NULL, NULL, NULL));
    for (i = 0; i < 4; i++) {
        CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, SIZE, NULL, NULL, NULL));
        CHECK_OK(CRVideo_SendBuffer(bob, "alice", content, SIZE, NULL, NULL, NULL));
    }
    CHECK_OK(CRVideo_SendFile(alice, "bob", argv[0], NULL, NULL, NULL));

    if (strcmp(how, "thread") == 0) {
        CHECK_EQ(pthread_create(&thread, NULL, exit_soon, NULL), 0);
        for (;;) {
            CRVideo_Err err = CRVideo_SendCmd(alice, "bob", content, 1000, NULL, NULL, NULL);
            CHECK(err == CRVideo_NOERR || err == CRVideo_SEND_QUEUE_FULL);
        }
    }
    if (exit_in_callback) {
        WAIT_FOR(progressed, 1); /* never: the process is gone before */
        return 1;
    }
    WAIT_FOR(progressed, 1);
    if (strcmp(how, "exit") == 0)
        exit(STATUS);
    return STATUS;
}
