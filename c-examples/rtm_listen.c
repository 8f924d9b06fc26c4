/*
 * rtm_listen: prints every message, file and event of a project, until it has printed COUNT of them.
 *
 * Shows: listening, with an event queue of our own and one thread. The library keeps the connection, and listens again
 * after it was lost. A file comes as a message with its address; fetch it by HTTP.
 *
 * Usage: rtm_listen GATE PROJECT SECRET [COUNT]
 * Prints "ready" when it listens.
 */
#define _POSIX_C_SOURCE 200809L

#include "rtm.h"

struct state {
    long left; /* below 0: for ever */
    int failed;
};

static void print_push(const char *where, const RTM_Push *push)
{
    printf("%s %lld from %lld, type %d, mid %lld: ", where, (long long)push->target, (long long)push->from,
           (int)push->mtype, (long long)push->mid);
    if (push->url != NULL) {
        printf("file \"");
        example_print_text(stdout, push->file_name);
        printf("\" of %llu bytes at ", (unsigned long long)push->size);
        example_print_text(stdout, push->url);
        printf(", attributes ");
        example_print_text(stdout, push->custom);
    } else {
        example_print_bytes(stdout, push->msg, push->msg_len);
    }
    printf("\n");
}

static void on_msg(void *user, const RTM_Push *push)
{
    print_push("to user", push);
    ((struct state *)user)->left--;
}

static void on_group_msg(void *user, const RTM_Push *push)
{
    print_push("in group", push);
    ((struct state *)user)->left--;
}

static void on_room_msg(void *user, const RTM_Push *push)
{
    print_push("in room", push);
    ((struct state *)user)->left--;
}

static void on_event(void *user, const char *event, int64_t uid, int64_t time, const char *endpoint, const char *data)
{
    (void)time;
    (void)data;
    printf("user %lld: ", (long long)uid);
    example_print_text(stdout, event);
    printf(" at ");
    example_print_text(stdout, endpoint);
    printf("\n");
    ((struct state *)user)->left--;
}

static void on_line(void *user, CRVideo_Err err, const char *text)
{
    (void)user;
    printf("line: %s %s\n", CRVideo_ErrText(err), text);
}

static void on_listening(void *cookie, const RTM_Result *result)
{
    struct state *state = (struct state *)cookie;
    if (result->err == CRVideo_NOERR) {
        printf("ready\n");
        return;
    }
    state->failed = rtm_failed("listen", result->err, result->text);
    state->left = 0;
}

int main(int argc, char **argv)
{
    struct state state = { -1, EXIT_SUCCESS };
    RTM_Config config;
    RTM_Listen listen;
    RTM_Client client;
    CRVideo_Queue queue;
    CRVideo_Err err;

    if (argc < 4 || argc > 5) {
        fprintf(stderr, "usage: %s GATE PROJECT SECRET [COUNT]\n", argv[0]);
        return EXIT_FAILURE;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    if (argc == 5)
        state.left = (long)rtm_number(argv[4]);
    err = CRVideo_CreateQueue(&queue);
    if (err != CRVideo_NOERR)
        return example_failed("queue", err);

    RTM_ConfigInit(&config);
    config.queue = queue; /* callbacks run inside CRVideo_PollEvents below, so nothing here needs a lock */
    config.endpoint = argv[1];
    config.project = (int32_t)rtm_number(argv[2]);
    config.secret = argv[3][0] == '@' ? example_first_line(argv[3] + 1) : argv[3];
    err = RTM_Create(&config, &client);
    if (err != CRVideo_NOERR) {
        CRVideo_DestroyQueue(queue);
        return example_failed("create", err);
    }
    RTM_SetPushMsgCallback(client, on_msg, &state);
    RTM_SetPushGroupMsgCallback(client, on_group_msg, &state);
    RTM_SetPushRoomMsgCallback(client, on_room_msg, &state);
    RTM_SetPushEventCallback(client, on_event, &state);
    RTM_SetLineCallback(client, on_line, &state);

    RTM_ListenInit(&listen);
    listen.flags = RTM_LISTEN_USERS | RTM_LISTEN_GROUPS | RTM_LISTEN_ROOMS | RTM_LISTEN_EVENTS;
    err = RTM_SetListen(client, &listen, NULL, on_listening, &state, NULL);
    if (err != CRVideo_NOERR)
        state.failed = example_failed("listen", err);
    while (err == CRVideo_NOERR && state.left != 0)
        CRVideo_PollEvents(queue, UINT32_MAX, NULL);

    RTM_Destroy(client); /* the client first: a queue cannot go while something is attached to it */
    CRVideo_DestroyQueue(queue);
    return state.failed;
}
