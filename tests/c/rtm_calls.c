/*
 * rtm_calls: an RTM client with a gate that answers, in THREAD and in PUMP mode: every call, waiting and with a callback;
 * what results hold; calls in flight when the client is destroyed, outside callbacks and inside; calls from many
 * threads.
 *
 * Started as rtm_calls GATE PROJECT SECRET. The gate gives even users as online, and the token "token of UID"; it says
 * nothing to `getgroupcount` of group 404.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

static RTM_Client make_client(CRVideo_Queue queue)
{
    RTM_Config config;
    RTM_Client client = 0;
    RTM_ConfigInit(&config);
    config.endpoint = check_args[1];
    config.project = atoi(check_args[2]);
    config.secret = check_args[3];
    config.queue = queue;
    CHECK_OK(RTM_Create(&config, &client));
    return client;
}

static struct counter ends = COUNTER_INIT;
static CRVideo_Err last_err; /* written before `ends` is raised */
static int64_t last_mid;
static int64_t last_number;

static void on_sent(void *cookie, const RTM_SendResult *result)
{
    CHECK_EQ(result->struct_size, sizeof *result);
    CHECK(cookie == &ends);
    CHECK(result->err != CRVideo_NOERR || (result->mid != 0 && result->mtime != 0 && result->text[0] == '\0'));
    last_err = result->err;
    last_mid = result->mid;
    counter_add(&ends, 1);
}

static void on_ended(void *cookie, const RTM_Result *result)
{
    CHECK(cookie == &ends);
    last_err = result->err;
    last_number = result->number;
    counter_add(&ends, 1);
}

static void on_token(void *cookie, const RTM_TokenResult *result)
{
    CHECK(cookie == &ends);
    CHECK(strcmp(result->token, "token of 9") == 0 && result->endpoint[0] == '\0');
    last_err = result->err;
    counter_add(&ends, 1);
}

static void on_list(void *cookie, const RTM_ListResult *result)
{
    CHECK(cookie == &ends);
    CHECK(result->count == 2 && result->capacity == 2 && result->ids[0] == 2 && result->ids[1] == 4);
    last_err = result->err;
    counter_add(&ends, 1);
}

/* Waits for the ends of calls with callbacks. */
static void wait_for(CRVideo_Queue queue, long count)
{
    if (queue == 0)
        WAIT_FOR(ends, count);
    else
        PUMP_UNTIL(queue, counter_get(&ends) >= count);
    CHECK_OK(last_err);
}

static void files(RTM_Client client, CRVideo_Queue queue)
{
    static const int64_t tos[3] = { 2, 3, -4 };
    static unsigned char content[700000];
    RTM_CallOptions options;
    RTM_SendResult result;
    RTM_File memory;
    RTM_File path;
    long before = counter_get(&ends);
    int round;

    RTM_FileInit(&memory);
    memory.data = content;
    memory.len = sizeof content;
    memory.name = "memory.bin";
    RTM_FileInit(&path);
    path.path = check_args[0];
    path.attrs = "{\"k\":1}";
    RTM_CallOptionsInit(&options);
    for (round = 0; round < 2; round++) {
        const RTM_File *file = round == 0 ? &memory : &path;
#define BOTH(name, rest) \
        RTM_SendResultInit(&result); \
        CHECK_OK(name(client, 7, rest, file, &options, NULL, NULL, &result)); \
        CHECK(result.err == CRVideo_NOERR && result.mid != 0 && result.mtime != 0); \
        CHECK_OK(name(client, 7, rest, file, NULL, on_sent, &ends, NULL)); \
        wait_for(queue, ++before)
#define COMMA ,
        BOTH(RTM_SendFile, 2 COMMA 50);
        BOTH(RTM_SendFiles, tos COMMA 3 COMMA 40);
        BOTH(RTM_SendGroupFile, 5 COMMA 41);
        BOTH(RTM_SendRoomFile, 6 COMMA 42);
        BOTH(RTM_BroadcastFile, 45);
#undef BOTH
    }
    options.mid = -77;
    CHECK_OK(RTM_SendFile(client, 7, 2, 50, &memory, &options, on_sent, &ends, NULL));
    wait_for(queue, ++before);
    CHECK_EQ(last_mid, -77);
}

static void messages_and_the_rest(RTM_Client client, CRVideo_Queue queue)
{
    static const int64_t uids[4] = { 1, 2, 3, 4 };
    int64_t found[2] = { 0, 77 };
    RTM_TokenResult token;
    RTM_SendResult sent;
    RTM_ListResult list;
    RTM_Result plain;
    long before = counter_get(&ends);

    RTM_SendResultInit(&sent);
    CHECK_OK(RTM_SendMsg(client, 7, 2, 66, "hello", 5, NULL, NULL, NULL, NULL, &sent));
    CHECK(sent.mid != 0 && sent.mtime != 0);
    CHECK_OK(RTM_SendMsgs(client, 7, uids, 4, 66, "hello", 5, "a", NULL, on_sent, &ends, NULL));
    CHECK_OK(RTM_SendGroupMsg(client, 7, 5, 66, "", 0, "a", NULL, on_sent, &ends, NULL));
    CHECK_OK(RTM_SendRoomMsg(client, 7, 6, 66, "\xff", 1, "", NULL, on_sent, &ends, NULL));
    CHECK_OK(RTM_BroadcastMsg(client, 7, 66, "x", 1, NULL, NULL, on_sent, &ends, NULL));
    wait_for(queue, before += 4);

    RTM_TokenResultInit(&token);
    CHECK_OK(RTM_FileToken(client, 7, "sendgroupfile", uids, 1, NULL, NULL, NULL, &token));
    CHECK(token.token[0] != '\0' && strchr(token.endpoint, ':') != NULL);
    CHECK_OK(RTM_GetToken(client, 9, NULL, on_token, &ends, NULL));
    wait_for(queue, ++before);
    RTM_ResultInit(&plain);
    CHECK_OK(RTM_RemoveToken(client, 9, NULL, NULL, NULL, &plain));
    CHECK_OK(RTM_Kickout(client, 9, NULL, NULL, NULL, NULL));

    RTM_ListResultInit(&list);
    CHECK_OK(RTM_GetOnlineUsers(client, uids, 4, NULL, NULL, NULL, &list));
    CHECK(list.count == 2 && list.ids == NULL);
    list.ids = found;
    list.capacity = 1;
    CHECK_OK(RTM_GetOnlineUsers(client, uids, 4, NULL, NULL, NULL, &list));
    CHECK(list.count == 2 && list.capacity == 1 && found[0] == 2 && found[1] == 77);
    CHECK_OK(RTM_GetOnlineUsers(client, uids, 4, NULL, on_list, &ends, NULL));
    wait_for(queue, ++before);

    CHECK_OK(RTM_AddGroupMembers(client, 5, uids, 3, NULL, NULL, NULL, &plain));
    CHECK_OK(RTM_DelGroupMembers(client, 5, uids, 1, NULL, NULL, NULL, NULL));
    CHECK_OK(RTM_GetGroupCount(client, 5, NULL, NULL, NULL, &plain));
    CHECK_EQ(plain.number, 2);
    CHECK_OK(RTM_IsGroupMember(client, 5, 3, NULL, on_ended, &ends, NULL));
    wait_for(queue, ++before);
    CHECK_EQ(last_number, 1);
    CHECK_OK(RTM_GetGroupMembers(client, 5, NULL, NULL, NULL, &list));
    CHECK(list.count == 2 && found[0] == 2);
    CHECK_OK(RTM_GetUserGroups(client, 3, NULL, NULL, NULL, &list));
    CHECK(list.count == 1 && found[0] == 5);
    CHECK_OK(RTM_DelGroup(client, 5, NULL, NULL, NULL, NULL));
    CHECK_OK(RTM_AddRoomMember(client, 6, 1, NULL, NULL, NULL, NULL));
    CHECK_OK(RTM_GetRoomMembers(client, 6, NULL, NULL, NULL, &list));
    CHECK(list.count == 1 && found[0] == 1);
    CHECK_OK(RTM_GetRoomCount(client, 6, NULL, NULL, NULL, &plain));
    CHECK_EQ(plain.number, 1);
    CHECK_OK(RTM_DelRoomMember(client, 6, 1, NULL, NULL, NULL, NULL));
}

static void on_recipient(void *user, const RTM_RecipientResult *result)
{
    (void)user;
    (void)result;
    CHECK(!"the gate tells nothing of recipients");
}

/* A gate that is not this project's relay cannot tell what becomes of what is sent, and sending goes on without. */
static void no_recipient_results(RTM_Client client)
{
    RTM_SendResult sent;
    RTM_File file;

    CHECK_OK(RTM_SetRecipientResultCallback(client, on_recipient, NULL));
    RTM_SendResultInit(&sent);
    sent.recipient_results = 77;
    CHECK_OK(RTM_SendMsg(client, 7, 2, 66, "hello", 5, NULL, NULL, NULL, NULL, &sent));
    CHECK(sent.mid != 0 && sent.recipient_results == 0);
    RTM_FileInit(&file);
    file.data = "abc";
    file.len = 3;
    RTM_SendResultInit(&sent);
    CHECK_OK(RTM_SendFile(client, 7, 2, 50, &file, NULL, NULL, NULL, &sent));
    CHECK(sent.mid != 0 && sent.recipient_results == 0);
    CHECK_OK(RTM_SetRecipientResultCallback(client, NULL, NULL));
}

static struct counter pushes = COUNTER_INIT;

static void on_push(void *user, const RTM_Push *push)
{
    static const char *const name = "memory.bin";
    CHECK(user == &pushes);
    CHECK_EQ(push->struct_size, sizeof *push);
    CHECK(push->from == 7 && push->mtype == 50 && push->mid != 0 && push->mtime != 0);
    CHECK(push->msg_len > 0 && push->attrs[0] == '{');
    CHECK(push->url != NULL && strncmp(push->url, "http://", 7) == 0 && push->thumbnail_url[0] == '\0');
    CHECK(push->size == 3 && strcmp(push->file_name, name) == 0 && strcmp(push->custom, "mine") == 0);
    counter_add(&pushes, 1);
}

/* Files that this program sends are pushed back to it. */
static void listening(RTM_Client client, CRVideo_Queue queue)
{
    static const int64_t tos[3] = { 1, 2, 3 };
    long before = counter_get(&pushes);
    RTM_Listen listen;
    RTM_File file;

    RTM_ListenInit(&listen);
    listen.flags = RTM_LISTEN_USERS;
    CHECK_OK(RTM_SetPushMsgCallback(client, on_push, &pushes));
    CHECK_OK(RTM_SetListen(client, &listen, NULL, NULL, NULL, NULL));
    RTM_FileInit(&file);
    file.data = "abc";
    file.len = 3;
    file.name = "memory.bin";
    file.attrs = "mine";
    CHECK_OK(RTM_SendFiles(client, 7, tos, 3, 50, &file, NULL, NULL, NULL, NULL));
    if (queue == 0)
        WAIT_FOR(pushes, before + 3);
    else
        PUMP_UNTIL(queue, counter_get(&pushes) >= before + 3);
}

/* Calls that nobody answers end once each when the client is destroyed, those that wait as well. */
static struct counter cancelled = COUNTER_INIT;
static struct counter released = COUNTER_INIT;

static void on_cancelled(void *cookie, const RTM_Result *result)
{
    CHECK_EQ(result->err, RTM_ERR_CANCELLED);
    CHECK_EQ(counter_get(&released), 0);
    (void)cookie;
    counter_add(&cancelled, 1);
}

static void on_released(void *user)
{
    (void)user;
    counter_add(&released, 1);
}

static void *waiting_call(void *client)
{
    CRVideo_Err err = RTM_GetGroupCount(*(RTM_Client *)client, 404, NULL, NULL, NULL, NULL);
    CHECK(err == RTM_ERR_CANCELLED || err == CRVideo_NOT_INIT);
    return NULL;
}

static RTM_Client in_flight(CRVideo_Queue queue)
{
    RTM_Client client = make_client(queue);
    int i;
    counter_init(&cancelled);
    counter_init(&released);
    CHECK_OK(RTM_SetReleasedCallback(client, on_released, NULL));
    for (i = 0; i < 100; i++)
        CHECK_OK(RTM_GetGroupCount(client, 404, NULL, on_cancelled, NULL, NULL));
    return client;
}

static void destroy_in_flight(CRVideo_Queue queue)
{
    RTM_Client client = in_flight(queue);
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, waiting_call, &client), 0);
    CHECK_OK(RTM_Destroy(client));
    CHECK_EQ(counter_get(&cancelled), 100);
    CHECK_EQ(counter_get(&released), 1);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(RTM_Destroy(client), CRVideo_NOT_INIT);
}

static void on_answer_destroy(void *cookie, const RTM_Result *result)
{
    RTM_Client client = *(RTM_Client *)cookie;
    CHECK_OK(result->err);
    CHECK_EQ(RTM_Kickout(client, 1, NULL, NULL, NULL, NULL), CRVideo_LOGINSTATE_ERROR);
    CHECK_OK(RTM_Destroy(client));
    CHECK_EQ(RTM_Kickout(client, 1, NULL, on_cancelled, NULL, NULL), CRVideo_NOT_INIT);
}

static void destroy_inside_a_callback(CRVideo_Queue queue)
{
    RTM_Client client = in_flight(queue);
    CHECK_OK(RTM_Kickout(client, 1, NULL, on_answer_destroy, &client, NULL));
    if (queue == 0)
        WAIT_FOR(released, 1);
    else
        PUMP_UNTIL(queue, counter_get(&released) == 1);
    CHECK_EQ(counter_get(&cancelled), 100);
}

static void *many_calls(void *client)
{
    int i;
    for (i = 0; i < 200; i++) {
        RTM_SendResult result;
        RTM_SendResultInit(&result);
        CHECK_OK(RTM_SendMsg(*(RTM_Client *)client, 7, i, 66, "x", 1, NULL, NULL, NULL, NULL, &result));
        CHECK(result.mid != 0);
    }
    return NULL;
}

static void many_threads(RTM_Client client)
{
    pthread_t threads[8];
    int i;
    for (i = 0; i < 8; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, many_calls, &client), 0);
    for (i = 0; i < 8; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

int main(int argc, char **argv)
{
    CRVideo_Queue queue = 0;
    int mode;

    check_begin(argc, argv);
    for (mode = 0; mode < 2; mode++) {
        RTM_Client client;
        if (mode == 1)
            CHECK_OK(CRVideo_CreateQueue(&queue));
        client = make_client(queue);
        files(client, queue);
        messages_and_the_rest(client, queue);
        no_recipient_results(client);
        listening(client, queue);
        many_threads(client);
        CHECK_OK(RTM_Destroy(client));
        destroy_in_flight(queue);
        destroy_inside_a_callback(queue);
    }
    CHECK_OK(CRVideo_DestroyQueue(queue));
    return 0;
}
