/*
 * defect: does on purpose what valgrind and AddressSanitizer are there to find, so that a test can prove that they are
 * on. A fourth argument says what: "read" past the end of a text that the library passes to a callback; "leak".
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

static struct counter received = COUNTER_INIT;
static volatile unsigned char sink;
static void *volatile leaked;

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)task_id;
    (void)data;
    (void)len;
    if (strcmp((const char *)user, "read") == 0)
        sink = (unsigned char)source[strlen(source) + 1];
    if (strcmp((const char *)user, "leak") == 0) {
        leaked = malloc(12345);
        leaked = NULL;
    }
    counter_add(&received, 1);
}

int main(int argc, char **argv)
{
    CRVideo_Session session;
    check_begin(argc, argv);
    CHECK_EQ(argc, 5);
    session = check_session(0);
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(session, on_cmd, argv[4]));
    CHECK_OK(check_login(session, 0, "self"));
    CHECK_OK(CRVideo_SendCmd(session, "self", "0123456789", 10, NULL, NULL, NULL));
    WAIT_FOR(received, 1);
    CHECK_OK(CRVideo_Destroy(session));
    return 0;
}
