/*
 * send_cmd: sends one command (up to 65,536 bytes, in one piece) to another user and says whether it has arrived.
 *
 * Shows the shortest correct program: create a session, log in, send, wait for the one result, destroy.
 *
 * Usage: send_cmd RELAY PROJECT SECRET USER TARGET TEXT
 *        send_cmd 127.0.0.1:13325 1 @secret.txt alice bob "open door 4"
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

/* Comes exactly once for each send that was accepted, on the library's callback thread. */
static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    example_deliver((struct example_result *)cookie, err);
}

int main(int argc, char **argv)
{
    struct example_result result = EXAMPLE_RESULT_INIT;
    char task_id[CRVIDEO_TASK_ID_SIZE];
    CRVideo_Session session;
    CRVideo_Err err;

    if (argc != 7) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER TARGET TEXT\n", argv[0]);
        return EXIT_FAILURE;
    }

    err = CRVideo_Create(NULL, &session);
    if (err != CRVideo_NOERR)
        return example_failed("create", err);
    CRVideo_SetSendCmdRlstCallback(session, on_result, NULL);

    err = example_login(session, argv);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(session);
        return example_failed("login", err);
    }

    /* An error that the call itself returns is final: no result will follow. */
    err = CRVideo_SendCmd(session, argv[5], argv[6], strlen(argv[6]), NULL, &result, task_id);
    if (err == CRVideo_NOERR) {
        printf("task %s\n", task_id);
        err = example_wait(&result);
    }

    /* Logs out, too. When it has returned, no callback runs or will run, and `result` may go out of scope. */
    CRVideo_Destroy(session);

    if (err != CRVideo_NOERR)
        return example_failed("send", err);
    printf("delivered\n");
    return EXIT_SUCCESS;
}
