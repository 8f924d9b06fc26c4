/*
 * cancel_send: starts to send a file and cancels it when a given part of it has arrived.
 *
 * Shows: a cancelled task still ends with its own result (CRVideo_SEND_CANCELLED), after the result of the cancel
 * call; each of the two carries its own cookie. Every function may be called from inside a callback.
 *
 * Usage: cancel_send RELAY PROJECT SECRET USER TARGET FILE PERCENT
 * Exit status: 0 cancelled in time, 2 the file was faster, 1 anything else.
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

struct transfer {
    CRVideo_Session session;
    int percent;                  /* cancel from here on */
    int cancelled;                /* used by the callback thread only */
    struct example_result cancel; /* cookie of CRVideo_CancelSend */
    struct example_result file;   /* cookie of CRVideo_SendFile */
};

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    struct transfer *transfer = (struct transfer *)user;
    CRVideo_Err err;
    (void)cookie;

    if (transfer->cancelled || (double)sent * 100.0 < (double)total * transfer->percent)
        return;
    transfer->cancelled = 1;
    printf("cancelling\n");
    err = CRVideo_CancelSend(transfer->session, task_id, &transfer->cancel);
    if (err != CRVideo_NOERR) /* refused at once: no result will follow */
        example_deliver(&transfer->cancel, err);
}

static void on_cancel_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    printf("cancel: %s\n", CRVideo_ErrText(err));
    example_deliver((struct example_result *)cookie, err);
}

static void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    struct transfer *transfer = (struct transfer *)user;
    (void)task_id;
    (void)file_name;
    printf("file: %s\n", CRVideo_ErrText(err));
    if (!transfer->cancelled) /* the file ended before the cancel was due: nobody will answer that one */
        example_deliver(&transfer->cancel, CRVideo_TRANSID_INVALID);
    example_deliver((struct example_result *)cookie, err);
}

int main(int argc, char **argv)
{
    struct transfer transfer = { 0, 0, 0, EXAMPLE_RESULT_INIT, EXAMPLE_RESULT_INIT };
    CRVideo_Err cancel_err = CRVideo_NOERR;
    CRVideo_Err err;

    if (argc != 8) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER TARGET FILE PERCENT\n", argv[0]);
        return EXIT_FAILURE;
    }
    transfer.percent = atoi(argv[7]);

    err = CRVideo_Create(NULL, &transfer.session);
    if (err != CRVideo_NOERR)
        return example_failed("create", err);
    CRVideo_SetSendProgressCallback(transfer.session, on_progress, &transfer);
    CRVideo_SetSendFileRlstCallback(transfer.session, on_file_result, &transfer);
    CRVideo_SetCancelSendRlstCallback(transfer.session, on_cancel_result, NULL);

    err = example_login(transfer.session, argv);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(transfer.session);
        return example_failed("login", err);
    }

    err = CRVideo_SendFile(transfer.session, argv[5], argv[6], NULL, &transfer.file, NULL);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(transfer.session);
        return example_failed(argv[6], err);
    }
    cancel_err = example_wait(&transfer.cancel);
    err = example_wait(&transfer.file);

    CRVideo_Destroy(transfer.session);

    if (err == CRVideo_SEND_CANCELLED && cancel_err == CRVideo_NOERR)
        return EXIT_SUCCESS;
    return err == CRVideo_NOERR ? 2 : EXIT_FAILURE;
}
