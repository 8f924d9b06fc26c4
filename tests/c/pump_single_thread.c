/*
 * pump_single_thread: everything on one thread, without a lock. Callbacks run inside CRVideo_PollEvents only, on its
 * thread; the queue's descriptor is readable exactly while events wait; the wake function tells when a queue stops
 * being empty; what may not be polled says 9.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <poll.h>

static pthread_t main_thread;
static int polling; /* inside CRVideo_PollEvents of main */
static CRVideo_Queue queue;
static long events;
static struct counter wakes = COUNTER_INIT;

static void event(void)
{
    CHECK(pthread_equal(pthread_self(), main_thread));
    CHECK(polling);
    events++;
}

static CRVideo_Err poll_queue(uint32_t timeout_ms, uint32_t *handled)
{
    CRVideo_Err err;
    long before = events;
    uint32_t count = 0;
    polling = 1;
    err = CRVideo_PollEvents(queue, timeout_ms, &count);
    polling = 0;
    if (err == CRVideo_NOERR && events - before > (long)count)
        FAIL("%ld callbacks, but %lu events", events - before, (unsigned long)count);
    if (handled != NULL)
        *handled = count;
    return err;
}

static int readable(int timeout_ms)
{
    struct pollfd fd;
    intptr_t number = -1;
    CHECK_OK(CRVideo_GetQueueFd(queue, &number));
    CHECK(number >= 0);
    fd.fd = (int)number;
    fd.events = POLLIN;
    fd.revents = 0;
    CHECK(poll(&fd, 1, timeout_ms * check_slow()) >= 0);
    return fd.revents != 0;
}

/* Waits by the descriptor, as an event loop does; CRVideo_PollEvents itself never waits. */
#define LOOP_UNTIL(condition) \
    do { \
        while (!(condition)) { \
            if (!readable(30000)) \
                FAIL("no event comes, and not yet: %s", #condition); \
            CHECK_OK(poll_queue(0, NULL)); \
        } \
    } while (0)

static long logged_in;
static long logged_out;
static long results;
static long commands;
static long buffers;
static long files;
static long progress;
static uint64_t last_sent;

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    CHECK(cookie == &logged_in);
    event();
    CHECK_OK(err);
    logged_in++;
    CHECK_EQ(CRVideo_PollEvents(queue, 0, NULL), CRVideo_LOGINSTATE_ERROR);
    CHECK_EQ(CRVideo_DestroyQueue(queue), CRVideo_LOGINSTATE_ERROR);
}

static void on_logout(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)cookie;
    event();
    CHECK_OK(err);
    logged_out++;
}

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)cookie;
    event();
    CHECK_EQ(strlen(task_id), CRVIDEO_TASK_ID_SIZE - 1);
    CHECK_OK(err);
    if (user != NULL) /* a transfer: the last progress was the whole */
        CHECK_EQ(last_sent, *(const size_t *)user);
    results++;
}

static void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    CHECK(strcmp(file_name, (const char *)user) == 0);
    on_result(NULL, task_id, err, cookie);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    event();
    if (progress == 0)
        CHECK_EQ(sent, 0);
    else
        CHECK(sent >= last_sent);
    CHECK(sent <= total);
    last_sent = sent;
    progress++;
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    uint32_t number = (uint32_t)commands;
    (void)user;
    (void)task_id;
    event();
    CHECK(strcmp(source, "alice") == 0);
    CHECK_EQ(len, sizeof number);
    CHECK(memcmp(data, &number, sizeof number) == 0); /* in order: each carries its number */
    commands++;
}

static void on_buffer(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    (void)user;
    (void)source;
    (void)task_id;
    event();
    CHECK(len > 0 && bytes[0] == 'a' && bytes[len - 1] == 'z');
    buffers++;
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    (void)user;
    (void)source;
    (void)task_id;
    event();
    CHECK(strcmp(name, "pump_single_thread") == 0);
    CHECK_EQ(unlink(tmp_file), 0);
    files++;
}

static void on_wake(void *user)
{
    counter_add((struct counter *)user, 1);
}

static void *poll_for_ever(void *result)
{
    CRVideo_Err err;
    do { /* the other thread may be polling at this very moment */
        err = CRVideo_PollEvents(queue, UINT32_MAX, NULL);
    } while (err == CRVideo_LOGINSTATE_ERROR);
    *(CRVideo_Err *)result = err;
    return NULL;
}

/* A second thread that polls while another one does is refused, and the other one is not disturbed. */
static void check_two_threads(CRVideo_Session session)
{
    double deadline = check_now() + 30.0 * check_slow();
    CRVideo_Err first = -1;
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, poll_for_ever, &first), 0);
    while (CRVideo_PollEvents(queue, 0, NULL) != CRVideo_LOGINSTATE_ERROR)
        CHECK(check_now() < deadline);
    CHECK_OK(CRVideo_CancelSend(session, "00000000-0000-4000-8000-000000000000", NULL)); /* an event for it */
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_OK(first);
}

int main(int argc, char **argv)
{
    static unsigned char content[2000000];
    static size_t content_len = sizeof content;
    CRVideo_LoginInfo info;
    CRVideo_Session alice;
    CRVideo_Session bob;
    uint32_t handled = 77;
    double began;
    uint32_t i;

    check_begin(argc, argv);
    main_thread = pthread_self();
    content[0] = 'a';
    content[sizeof content - 1] = 'z';

    /* An empty queue. */
    CHECK_OK(CRVideo_CreateQueue(&queue));
    CHECK_OK(CRVideo_SetWakeCallback(queue, on_wake, &wakes));
    CHECK(!readable(0));
    CHECK_OK(poll_queue(0, &handled));
    CHECK_EQ(handled, 0);
    began = check_now();
    CHECK_OK(poll_queue(200, &handled));
    CHECK_EQ(handled, 0);
    CHECK(check_now() - began >= 0.19);
    CHECK_EQ(counter_get(&wakes), 0);

    /* Nothing is called while nobody polls, and the descriptor and the wake function say that something waits. */
    alice = check_session(queue);
    bob = check_session(queue);
    CHECK_EQ(CRVideo_DestroyQueue(queue), CRVideo_LOGINSTATE_ERROR);
    CHECK_OK(CRVideo_SetLoginRsltCallback(alice, on_login, NULL));
    CHECK_OK(CRVideo_SetLoginRsltCallback(bob, on_login, NULL));
    check_login_info(&info, "alice");
    CHECK_OK(CRVideo_Login(alice, &info, &logged_in));
    CHECK(readable(30000));
    WAIT_FOR(wakes, 1);
    CHECK_EQ(logged_in, 0);
    CHECK_OK(poll_queue(0, &handled));
    CHECK_EQ(handled, 1);
    CHECK_EQ(logged_in, 1);
    CHECK(!readable(0));
    check_login_info(&info, "bob");
    CHECK_OK(CRVideo_Login(bob, &info, &logged_in));
    LOOP_UNTIL(logged_in == 2);
    WAIT_FOR(wakes, 2);

    /* Commands in order, a buffer, a file. */
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(alice, on_result, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(alice, on_result, &content_len));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(alice, on_file_result, argv[0]));
    CHECK_OK(CRVideo_SetSendProgressCallback(alice, on_progress, NULL));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(bob, on_cmd, NULL));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(bob, on_buffer, NULL));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(bob, on_file, NULL));
    for (i = 0; i < 1000; i++)
        CHECK_OK(CRVideo_SendCmd(alice, "bob", &i, sizeof i, NULL, NULL, NULL));
    LOOP_UNTIL(results == 1000 && commands == 1000);
    CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, sizeof content, NULL, NULL, NULL));
    LOOP_UNTIL(results == 1001 && buffers == 1);
    CHECK(progress >= 2);
    progress = 0;
    CHECK_OK(CRVideo_SendFile(alice, "bob", argv[0], NULL, NULL, NULL));
    LOOP_UNTIL(results == 1002 && files == 1);
    CHECK(progress >= 2);
    CHECK(!readable(0));

    /* Two threads. The callbacks above must not run on the second one. */
    CHECK_OK(CRVideo_SetCancelSendRlstCallback(alice, NULL, NULL));
    check_two_threads(alice);

    /* The end. */
    CHECK_OK(CRVideo_SetLogoutRsltCallback(alice, on_logout, NULL));
    CHECK_OK(CRVideo_Logout(alice, NULL));
    LOOP_UNTIL(logged_out == 1);
    CHECK_EQ(CRVideo_SendCmd(alice, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_LOGIN);
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_OK(CRVideo_Destroy(bob));
    CHECK_OK(CRVideo_DestroyQueue(queue));
    CHECK_EQ(CRVideo_PollEvents(queue, 0, NULL), CRVideo_NOT_INIT);
    CHECK_EQ(CRVideo_DestroyQueue(queue), CRVideo_NOT_INIT);
    printf("%ld events, %ld wakes\n", events, counter_get(&wakes));
    return 0;
}
