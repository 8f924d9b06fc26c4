/*
 * send_buffer: sends the content of memory (up to 100 MiB, in chunks) to another user and shows its progress.
 *
 * Shows: a buffer may be freed as soon as the call has returned, because the library keeps its own copy; progress
 * counts the bytes that the target has confirmed.
 *
 * Usage: send_buffer RELAY PROJECT SECRET USER TARGET FILE      (FILE is read into memory; "-" is standard input)
 *        echo "a long text" | send_buffer 127.0.0.1:13325 1 @secret.txt alice bob -
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <inttypes.h>

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    printf("progress %" PRIu64 " of %" PRIu64 "\n", sent, total);
}

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    example_deliver((struct example_result *)cookie, err);
}

/* All of a stream in memory that the caller frees, or NULL. */
static unsigned char *read_all(FILE *in, size_t *len)
{
    unsigned char *data = NULL;
    size_t used = 0;
    size_t room = 0;

    for (;;) {
        size_t got;
        if (used == room) {
            unsigned char *larger;
            room = room == 0 ? 65536 : room * 2;
            larger = (unsigned char *)realloc(data, room);
            if (larger == NULL)
                break;
            data = larger;
        }
        got = fread(data + used, 1, room - used, in);
        used += got;
        if (got == 0) {
            if (ferror(in))
                break;
            *len = used;
            return data;
        }
    }
    free(data);
    return NULL;
}

int main(int argc, char **argv)
{
    struct example_result result = EXAMPLE_RESULT_INIT;
    char task_id[CRVIDEO_TASK_ID_SIZE];
    CRVideo_Session session;
    CRVideo_Err err;
    unsigned char *data;
    size_t len;
    FILE *in;

    if (argc != 7) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER TARGET FILE\n", argv[0]);
        return EXIT_FAILURE;
    }
    in = strcmp(argv[6], "-") == 0 ? stdin : fopen(argv[6], "rb");
    if (in == NULL || (data = read_all(in, &len)) == NULL) {
        perror(argv[6]);
        return EXIT_FAILURE;
    }
    if (in != stdin)
        fclose(in);

    err = CRVideo_Create(NULL, &session);
    if (err != CRVideo_NOERR) {
        free(data);
        return example_failed("create", err);
    }
    CRVideo_SetSendProgressCallback(session, on_progress, NULL);
    CRVideo_SetSendBufferRlstCallback(session, on_result, NULL);

    err = example_login(session, argv);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(session);
        free(data);
        return example_failed("login", err);
    }

    err = CRVideo_SendBuffer(session, argv[5], data, len, NULL, &result, task_id);
    free(data);
    if (err == CRVideo_NOERR) {
        printf("task %s\n", task_id);
        err = example_wait(&result);
    }

    CRVideo_Destroy(session);

    if (err != CRVideo_NOERR)
        return example_failed("send", err);
    printf("delivered %zu bytes\n", len);
    return EXIT_SUCCESS;
}
