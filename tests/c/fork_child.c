/*
 * fork_child: a child that is forked while the library works gets 11 from every call, at once, and does not disturb
 * its parent, whose transfer goes on.
 */
#define _POSIX_C_SOURCE 200809L

#include "exports.h"

#include <sys/wait.h>

enum { SIZE = 32 * 1024 * 1024, CHILDREN = 20 };

static struct counter ended = COUNTER_INIT;
static struct counter received = COUNTER_INIT;
static struct counter progressed = COUNTER_INIT;
static CRVideo_Err result = -1;

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    result = err;
    counter_add(&ended, 1);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)sent;
    (void)total;
    (void)cookie;
    counter_add(&progressed, 1);
}

static void on_buffer(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t i;
    (void)user;
    (void)source;
    (void)task_id;
    CHECK_EQ(len, SIZE);
    for (i = 0; i < len; i++)
        if (bytes[i] != (unsigned char)(i * 31 + (i >> 8)))
            FAIL("byte %lu is wrong", (unsigned long)i);
    counter_add(&received, 1);
}

/* In the child: stdio belongs to the parent, so only the exit status speaks. */
static int child(const struct export_args *args)
{
    double limit = 0.01 * check_slow();
    int which;

    for (which = 0; which < EXPORT_COUNT; which++) {
        double began = check_now();
        if (export_call((enum export)which, args) != CRVideo_NOT_INIT)
            return 10 + which;
        if (check_now() - began > limit && check_now() - began > 0.2 * check_slow())
            return 100 + which;
    }
    /* These two need nothing of the process and still answer. */
    if (CRVideo_Version()[0] == '\0' || CRVideo_ErrText(CRVideo_NOT_INIT)[0] == '\0')
        return 1;
    return 0;
}

int main(int argc, char **argv)
{
    unsigned char *content = (unsigned char *)malloc(SIZE);
    struct export_args args;
    CRVideo_LoginInfo info;
    CRVideo_Session alice;
    CRVideo_Session bob;
    CRVideo_Queue queue;
    size_t i;
    int n;

    check_begin(argc, argv);
    CHECK(content != NULL);
    for (i = 0; i < SIZE; i++)
        content[i] = (unsigned char)(i * 31 + (i >> 8));

    alice = check_session(0);
    bob = check_session(0);
    CHECK_OK(CRVideo_CreateQueue(&queue));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(alice, on_result, NULL));
    CHECK_OK(CRVideo_SetSendProgressCallback(alice, on_progress, NULL));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(bob, on_buffer, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));
    CHECK_OK(check_login(bob, 0, "bob"));
    check_login_info(&info, "alice");
    args.session = alice;
    args.queue = queue;
    args.login = &info;
    args.target = "bob";
    args.file = argv[0];
    CHECK_OK(export_client(0, &args.client));

    CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, SIZE, NULL, NULL, NULL));
    WAIT_FOR(progressed, 1);
    for (n = 0; n < CHILDREN; n++) {
        int status;
        pid_t pid = fork();
        CHECK(pid >= 0);
        if (pid == 0)
            _exit(child(&args));
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        if (!WIFEXITED(status))
            FAIL("child %d: signal %d", n, WTERMSIG(status));
        if (WEXITSTATUS(status) >= 100)
            FAIL("child %d: %s took too long", n, export_names[WEXITSTATUS(status) - 100]);
        if (WEXITSTATUS(status) >= 10)
            FAIL("child %d: %s did not return 11", n, export_names[WEXITSTATUS(status) - 10]);
        CHECK_EQ(WEXITSTATUS(status), 0);
    }

    WAIT_FOR(ended, 1);
    CHECK_OK(result);
    WAIT_FOR(received, 1);
    CHECK_OK(CRVideo_SendCmd(alice, "bob", "x", 1, NULL, NULL, NULL));
    CHECK_OK(RTM_Destroy(args.client));
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_OK(CRVideo_Destroy(bob));
    CHECK_OK(CRVideo_DestroyQueue(queue));
    free(content);
    return 0;
}
