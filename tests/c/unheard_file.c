/*
 * unheard_file: received files of which no application hears. Without a NotifyFileData callback, and when the session is
 * destroyed before its queue has been polled, the file must go with its event. After each part the program says what
 * it has done and waits for a line, so that whoever started it can look at the temporary directory.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

static struct counter sent = COUNTER_INIT;
static struct counter commands = COUNTER_INIT;

static void on_file_result(void *user, const char *task_id, const char *file, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)file;
    (void)cookie;
    CHECK_OK(err);
    counter_add(&sent, 1);
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    counter_add(&commands, 1);
}

static void on_file(void *user, const char *source, const char *task_id, const char *file, const char *name)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)name;
    FAIL("heard of %s", file);
}

static void pause_after(const char *what)
{
    char line[16];
    printf("%s\n", what);
    CHECK(fgets(line, sizeof line, stdin) != NULL);
}

int main(int argc, char **argv)
{
    CRVideo_Session alice;
    CRVideo_Session bob;
    CRVideo_Queue queue;

    check_begin(argc, argv);
    alice = check_session(0);
    CHECK_OK(CRVideo_SetSendFileRlstCallback(alice, on_file_result, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));

    bob = check_session(0);
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(bob, on_cmd, NULL));
    CHECK_OK(check_login(bob, 0, "bob"));
    CHECK_OK(CRVideo_SendFile(alice, "bob", argv[0], NULL, NULL, NULL));
    WAIT_FOR(sent, 1);
    /* Events are handled in order: when the command is heard, the file's event is done with. */
    CHECK_OK(CRVideo_SendCmd(alice, "bob", "x", 1, NULL, NULL, NULL));
    WAIT_FOR(commands, 1);
    pause_after("nobody listens");
    CHECK_OK(CRVideo_Destroy(bob));

    CHECK_OK(CRVideo_CreateQueue(&queue));
    bob = check_session(queue);
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(bob, on_file, NULL));
    CHECK_OK(check_login(bob, queue, "bob"));
    CHECK_OK(CRVideo_SendFile(alice, "bob", argv[0], NULL, NULL, NULL));
    WAIT_FOR(sent, 2);
    /* The last session of the process: the directory goes, too. */
    CHECK_OK(CRVideo_Destroy(alice));
    CHECK_OK(CRVideo_Destroy(bob));
    pause_after("destroyed unheard");
    CHECK_OK(CRVideo_DestroyQueue(queue));
    return 0;
}
