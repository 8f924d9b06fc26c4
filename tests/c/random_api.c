/*
 * random_api: threads, and the callbacks themselves, that call whatever the library exports in any order, with handles
 * that live, are dead, are of another kind or were never given, with NULL, odd lengths and odd sizes of structs. Started as
 *
 *     random_api RELAY PROJECT SECRET GATE DIR SEED CALLS
 *
 * GATE: the relay's RTM gate; DIR: an empty directory; CALLS: how many calls in all, at least.
 *
 * No call may return 3 (a fault that the library has caught), each accepted task has one result, and in the end all is
 * given back and a new session works. Run it against a library with AddressSanitizer for the rest.
 */
#define _GNU_SOURCE

#include "exports.h"

#include <limits.h>
#include <sys/stat.h>

enum { SESSIONS = 6, QUEUES = 3, CLIENTS = 2, WORKERS = 3 };
enum { CONTENT = 70000, BUFFER_LIMIT = 1 << 20, FILE_SIZE = 300000 };
#define FORBIDDEN ((void *)1)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t state;       /* of the random numbers */
static long calls, wanted;   /* made, and to be made */
static int in_order;         /* the end has come: callbacks call nothing any more */
static const char *dir;
static unsigned char content[CONTENT];
static char source_file[512];

static uint64_t any(void)
{
    uint64_t mixed;
    pthread_mutex_lock(&lock);
    /* SplitMix64. */
    mixed = state += 0x9e3779b97f4a7c15u;
    pthread_mutex_unlock(&lock);
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u;
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return mixed ^ (mixed >> 31);
}

static unsigned below(unsigned limit)
{
    return (unsigned)(any() % limit);
}

/* ---- the ledger --------------------------------------------------------------------------------------------- */

struct entry {
    int accepted, ended;
};
static struct entry *entries;
static long entry_count, entry_room, open_entries;

static void *open_entry(void)
{
    long at;
    pthread_mutex_lock(&lock);
    at = entry_count++;
    if (entry_count > entry_room)
        FAIL("more tasks than calls");
    pthread_mutex_unlock(&lock);
    return (void *)(intptr_t)(at + 1);
}

static void accepted(void *cookie)
{
    struct entry *entry = &entries[(intptr_t)cookie - 1];
    pthread_mutex_lock(&lock);
    entry->accepted = 1;
    open_entries++;
    pthread_mutex_unlock(&lock);
}

static void ended(void *cookie)
{
    struct entry *entry;
    if (cookie == NULL)
        FAIL("a result without its cookie");
    entry = &entries[(intptr_t)cookie - 1];
    pthread_mutex_lock(&lock);
    if (entry->ended++ != 0)
        FAIL("task %ld has a second result", (long)(intptr_t)cookie);
    open_entries--;
    pthread_mutex_unlock(&lock);
}

/* ---- handles ------------------------------------------------------------------------------------------------ */

static uint64_t sessions[SESSIONS], queues[QUEUES], clients[CLIENTS];

static uint64_t pick(const uint64_t *handles, unsigned count)
{
    unsigned how = below(40);
    uint64_t handle;
    if (how == 0)
        return 0;
    if (how == 1)
        return any(); /* of no kind, or not given for a very long time */
    if (how == 2)
        return (uint64_t)(1 + below(4)) << 56 | 1 << 30 | below(1u << 20);
    pthread_mutex_lock(&lock);
    if (how == 3)
        handle = sessions[(state >> 7) % SESSIONS];
    else
        handle = handles[(state >> 11) % count];
    pthread_mutex_unlock(&lock);
    return handle;
}

static void replace(uint64_t *handles, unsigned count, uint64_t old, uint64_t new)
{
    unsigned i;
    pthread_mutex_lock(&lock);
    for (i = 0; i < count && handles[i] != old; i++)
        ;
    if (i < count)
        handles[i] = new;
    pthread_mutex_unlock(&lock);
    if (i == count)
        FAIL("%llx is nobody's handle", (unsigned long long)old);
}

/* ---- what is passed ----------------------------------------------------------------------------------------- */

static const char *user(void)
{
    static const char *const users[] = { "r0", "r1", "r2", "r3", "r4", "r5", "nobody", "", "\xff", NULL };
    unsigned at = below(60);
    return at < 10 ? users[at] : users[at % 6];
}

static const char *task_id(void)
{
    static const char *const ids[] = { UNKNOWN_TASK, "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9", "", "1", NULL,
                                       "0F1E2D3C-4b5a-4978-8695-a4b3c2d1e0f9" };
    return ids[below(6)];
}

static size_t length(const void **data, size_t large)
{
    static const size_t odd[] = { INT_MAX, (size_t)INT_MAX + 1, UINT_MAX, SIZE_MAX / 2, SIZE_MAX };
    static const size_t sound[] = { 0, 1, 2, 100, 1000, 65535, 65536, 65537 };
    unsigned how = below(20);
    *data = content;
    if (how == 0) {
        *data = FORBIDDEN; /* the limit is looked at first */
        return odd[below(5)];
    }
    if (how == 1)
        *data = NULL;
    if (how == 2)
        return large;
    return sound[below(how < 16 ? 5 : 8)];
}

/* A struct's size as some caller might give it, with room for the largest. */
static uint32_t struct_size(uint32_t right)
{
    static const uint32_t odd[] = { 0, 1, 3, 4, 0 };
    unsigned how = below(30);
    return how < 4 ? odd[how] : how == 4 ? right - 4 : how == 5 ? right + 32 : right;
}

#define STRUCT(type, name) \
    struct { \
        type it; \
        unsigned char later[32]; \
    } name

/* ---- callbacks ---------------------------------------------------------------------------------------------- */

static void one_call(void);

static void perhaps_call(void)
{
    int go;
    pthread_mutex_lock(&lock);
    go = !in_order && calls < wanted;
    pthread_mutex_unlock(&lock);
    if (go && below(4) == 0)
        one_call();
}

static void on_rslt(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)err;
    ended(cookie);
    perhaps_call();
}
static void on_send(void *user, const char *id, CRVideo_Err err, void *cookie)
{
    if (strlen(id) != 36)
        FAIL("a task's id is %s", id);
    on_rslt(user, err, cookie);
}
static void on_send_file(void *user, const char *id, const char *name, CRVideo_Err err, void *cookie)
{
    if (name == NULL)
        FAIL("a file's result without its path");
    on_send(user, id, err, cookie);
}
static void on_users(void *user, CRVideo_Err err, const char *const *ids, size_t count, void *cookie)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (ids[i][0] == '\0')
            FAIL("a user without a name is online");
    on_rslt(user, err, cookie);
}
static void on_progress(void *user, const char *id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)id;
    if (sent > total || cookie == NULL)
        FAIL("progress of %lu in %lu", (unsigned long)sent, (unsigned long)total);
    perhaps_call();
}
static void on_data(void *user, const char *source, const char *id, const void *data, size_t len)
{
    (void)user;
    (void)id;
    if (source[0] == '\0' || len > BUFFER_LIMIT || (len > 0 && memcmp(data, content, len < CONTENT ? len : CONTENT) != 0))
        FAIL("what arrives is not what was sent");
    perhaps_call();
}
static void on_file(void *user, const char *source, const char *id, const char *path, const char *name)
{
    struct stat info;
    (void)user;
    (void)source;
    (void)id;
    (void)name;
    if (stat(path, &info) == 0 && info.st_size != FILE_SIZE && info.st_size != 0)
        FAIL("%s has %ld bytes", path, (long)info.st_size);
    if (below(2) == 0)
        unlink(path);
    perhaps_call();
}
static void on_offer(void *user, const char *source, const char *id, int kind, const char *name, uint64_t size)
{
    uint64_t session = (uint64_t)(uintptr_t)user;
    unsigned how = below(6);
    char path[600];
    (void)kind;
    (void)name;
    (void)size;
    snprintf(path, sizeof path, "%s/own-%u", dir, below(5));
    pthread_mutex_lock(&lock);
    session = sessions[session];
    pthread_mutex_unlock(&lock);
    if (how < 3)
        CRVideo_AcceptTransfer(session, source, id, how == 0 ? path : NULL);
    else if (how == 3)
        CRVideo_RefuseTransfer(session, source, id);
    else if (how == 4)
        CRVideo_CancelReceive(session, source, id);
    perhaps_call();
}
static void on_log(void *user, int level, const char *target, const char *message)
{
    (void)user;
    (void)target;
    if (level <= CRVIDEO_LOG_ERROR && strstr(message, "panick") != NULL)
        FAIL("the library says: %s", message);
}
static void on_notice(void *user)
{
    (void)user;
    perhaps_call();
}
#define ON_RTM(name, type) \
    static void name(void *cookie, const type *result) \
    { \
        if (result->struct_size < 8) \
            FAIL("a result without a size"); \
        ended(cookie); \
        perhaps_call(); \
    }
ON_RTM(on_rtm, RTM_Result)
ON_RTM(on_rtm_sent, RTM_SendResult)
ON_RTM(on_rtm_token, RTM_TokenResult)
ON_RTM(on_rtm_list, RTM_ListResult)

/* ---- calls -------------------------------------------------------------------------------------------------- */

static void create_session(void)
{
    STRUCT(CRVideo_Config, config);
    CRVideo_Session session = 0;
    unsigned at = below(SESSIONS);
    void *slot = (void *)(uintptr_t)at;
    uint64_t old;
    CRVideo_Err err;
    memset(&config, 0, sizeof config);
    CRVideo_ConfigInit(&config.it);
    config.it.struct_size = struct_size(sizeof config.it);
    config.it.queue = below(2) == 0 ? 0 : pick(queues, QUEUES);
    config.it.buffer_limit = BUFFER_LIMIT;
    config.it.task_limit = 200;
    config.it.cmd_timeout_ms = 1000;
    config.it.transfer_timeout_ms = 1500;
    config.it.offer_timeout_ms = 300;
    config.it.file_ttl_s = 1;
    config.it.download_dir = below(3) == 0 ? dir : NULL;
    err = CRVideo_Create(&config.it, below(50) == 0 ? NULL : &session);
    if (err != CRVideo_NOERR)
        return;
    CHECK_OK(CRVideo_SetLoginRsltCallback(session, on_rslt, NULL));
    CHECK_OK(CRVideo_SetLogoutRsltCallback(session, on_rslt, NULL));
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(session, on_send, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(session, on_send, NULL));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(session, on_send_file, NULL));
    CHECK_OK(CRVideo_SetCancelSendRlstCallback(session, on_send, NULL));
    CHECK_OK(CRVideo_SetUserStatusRsltCallback(session, on_users, NULL));
    CHECK_OK(CRVideo_SetStatusPushRsltCallback(session, on_rslt, NULL));
    CHECK_OK(CRVideo_SetSendProgressCallback(session, on_progress, NULL));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(session, on_file, NULL));
    CHECK_OK(CRVideo_SetReleasedCallback(session, on_notice, NULL));
    if (below(2) == 0)
        CHECK_OK(CRVideo_SetTransferOfferCallback(session, on_offer, slot));
    pthread_mutex_lock(&lock);
    old = sessions[at];
    sessions[at] = session;
    pthread_mutex_unlock(&lock);
    if (old != 0)
        CRVideo_Destroy(old); /* dead already, or not */
}

static CRVideo_Err login(uint64_t session)
{
    STRUCT(CRVideo_LoginInfo, info);
    void *cookie = open_entry();
    CRVideo_Err err;
    memset(&info, 0, sizeof info);
    check_login_info(&info.it, user());
    if (below(20) == 0)
        info.it.secret = "wrong";
    if (below(20) == 0)
        info.it.servers = "127.0.0.1:1,localhost:1";
    if (below(20) == 0)
        info.it.token = "neither";
    info.it.struct_size = struct_size(sizeof info.it);
    err = CRVideo_Login(session, below(50) == 0 ? NULL : &info.it, cookie);
    if (err == CRVideo_NOERR)
        accepted(cookie);
    return err;
}

static CRVideo_Err send_something(enum export which, uint64_t session)
{
    STRUCT(CRVideo_SendOptions, options);
    const CRVideo_SendOptions *passed = below(3) == 0 ? &options.it : NULL;
    void *cookie = open_entry();
    char id[CRVIDEO_TASK_ID_SIZE], *out = below(2) == 0 ? id : NULL;
    const char *target = user(), *path;
    const void *data;
    size_t len;
    CRVideo_Err err;
    memset(&options, 0, sizeof options);
    CRVideo_SendOptionsInit(&options.it);
    options.it.struct_size = struct_size(sizeof options.it);
    options.it.task_id = below(2) == 0 ? task_id() : NULL;
    options.it.display_name = below(2) == 0 ? user() : NULL;
    if (which == EXPORT_CRVideo_SendCmd) {
        len = length(&data, CRVIDEO_CMD_MAX);
        err = CRVideo_SendCmd(session, target, data, len, passed, cookie, out);
    } else if (which == EXPORT_CRVideo_SendBuffer) {
        len = length(&data, CONTENT);
        err = CRVideo_SendBuffer(session, target, data, len, passed, cookie, out);
    } else {
        path = below(10) == 0 ? dir : below(10) == 0 ? NULL : source_file;
        err = CRVideo_SendFile(session, target, path, passed, cookie, out);
    }
    if (err == CRVideo_NOERR) {
        accepted(cookie);
        if (out != NULL && strlen(out) != 36)
            FAIL("a new task's id is %s", out);
        if (out != NULL && below(4) == 0) {
            cookie = open_entry();
            if (CRVideo_CancelSend(session, out, cookie) == CRVideo_NOERR)
                accepted(cookie);
        }
    }
    return err;
}

static CRVideo_Err create_client(void)
{
    STRUCT(RTM_Config, config);
    RTM_Client client = 0;
    unsigned at = below(CLIENTS);
    uint64_t old;
    CRVideo_Err err;
    memset(&config, 0, sizeof config);
    RTM_ConfigInit(&config.it);
    config.it.struct_size = struct_size(sizeof config.it);
    config.it.project = below(30) == 0 ? -1 : atoi(check_args[2]);
    config.it.secret = below(30) == 0 ? NULL : check_args[3];
    config.it.endpoint = below(30) == 0 ? "127.0.0.1:1" : check_args[4];
    config.it.queue = below(2) == 0 ? 0 : pick(queues, QUEUES);
    config.it.timeout_ms = 500;
    err = RTM_Create(&config.it, &client);
    if (err != CRVideo_NOERR)
        return err;
    pthread_mutex_lock(&lock);
    old = clients[at];
    clients[at] = client;
    pthread_mutex_unlock(&lock);
    if (old != 0)
        RTM_Destroy(old);
    return err;
}

/* Calls of an RTM client: with a callback, now and then waiting, now and then with neither. */
static CRVideo_Err rtm_call(enum export which, uint64_t client)
{
    static const int64_t ids[2] = { 1, 2 };
    int64_t found[2];
    RTM_SendResult sent;
    RTM_TokenResult token;
    RTM_ListResult list;
    RTM_Result plain;
    RTM_Listen listen, lists;
    RTM_File file;
    unsigned how = below(40);
    int with_callback = how > 1, waits = how == 1 || below(100) == 0;
    void *cookie = with_callback ? open_entry() : NULL;
    CRVideo_Err err;

    RTM_FileInit(&file);
    file.path = below(20) == 0 ? dir : source_file;
    if (below(3) == 0) {
        file.path = NULL;
        file.name = user();
        /* No length is too large by itself, so no memory may be a lie. */
        file.data = below(10) == 0 ? NULL : content;
        file.len = below(10) == 0 && file.data != NULL ? SIZE_MAX : below(CONTENT);
    }
    file.struct_size = below(20) == 0 ? below(sizeof file) : sizeof file;
    RTM_ListenInit(&listen);
    listen.flags = below(20);
    RTM_ListenInit(&lists);
    lists.uids = below(10) == 0 ? NULL : ids;
    lists.uid_count = below(10) == 0 ? SIZE_MAX : 2;
    RTM_SendResultInit(&sent);
    RTM_TokenResultInit(&token);
    RTM_ListResultInit(&list);
    list.ids = found;
    list.capacity = 2;
    RTM_ResultInit(&plain);
    switch (which) {
#define SENDING(name, rest) \
    case EXPORT_##name: \
        err = name(client, 1, rest, NULL, with_callback ? on_rtm_sent : NULL, cookie, waits ? &sent : NULL); \
        break;
    RTM_FILES(SENDING)
    RTM_MESSAGES(SENDING)
#define TOKEN(name, rest) \
    case EXPORT_##name: \
        err = name(client, rest, NULL, with_callback ? on_rtm_token : NULL, cookie, waits ? &token : NULL); \
        break;
    RTM_TOKENS(TOKEN)
#define LIST(name, rest) \
    case EXPORT_##name: \
        err = name(client, rest, NULL, with_callback ? on_rtm_list : NULL, cookie, waits ? &list : NULL); \
        break;
    RTM_LISTS(LIST)
#define PLAIN(name, rest) \
    case EXPORT_##name: \
        err = name(client, rest, NULL, with_callback ? on_rtm : NULL, cookie, waits ? &plain : NULL); \
        break;
    RTM_PLAIN(PLAIN)
    default: FAIL("%s is no call of an RTM client", export_names[which]);
    }
    if (err == CRVideo_NOERR && with_callback)
        accepted(cookie);
    return err;
}

/* What has one result, by a cookie. */
static CRVideo_Err asks(enum export which, uint64_t session)
{
    void *cookie = open_entry();
    CRVideo_Err err = CRVideo_NOERR;
    switch (which) {
    case EXPORT_CRVideo_Logout: err = CRVideo_Logout(session, cookie); break;
    case EXPORT_CRVideo_CancelSend: err = CRVideo_CancelSend(session, task_id(), cookie); break;
    case EXPORT_CRVideo_GetUserStatus: err = CRVideo_GetUserStatus(session, user(), cookie); break;
    case EXPORT_CRVideo_StartUserStatusPush: err = CRVideo_StartUserStatusPush(session, cookie); break;
    case EXPORT_CRVideo_StopUserStatusPush: err = CRVideo_StopUserStatusPush(session, cookie); break;
    default: FAIL("%s asks nothing", export_names[which]);
    }
    if (err == CRVideo_NOERR)
        accepted(cookie);
    return err;
}

static CRVideo_Err on_queue(enum export which)
{
    uint64_t queue = pick(queues, QUEUES), made = 0;
    CRVideo_Err err;
    uint32_t handled;
    intptr_t fd;
    switch (which) {
    case EXPORT_CRVideo_PollEvents: return CRVideo_PollEvents(queue, below(3), below(2) == 0 ? NULL : &handled);
    case EXPORT_CRVideo_GetQueueFd: return CRVideo_GetQueueFd(queue, below(2) == 0 ? NULL : &fd);
    case EXPORT_CRVideo_SetWakeCallback: return CRVideo_SetWakeCallback(queue, NULL, NULL);
    case EXPORT_CRVideo_SetLogCallback:
        return CRVideo_SetLogCallback(below(2) == 0 ? 0 : queue, (int)below(7) - 1, on_log, NULL);
    default: break;
    }
    err = CRVideo_DestroyQueue(queue);
    if (err == CRVideo_NOERR) {
        CHECK_OK(CRVideo_CreateQueue(&made));
        replace(queues, QUEUES, queue, made);
    }
    return err;
}

static CRVideo_Err by_name(enum export which)
{
    uint64_t session = pick(sessions, SESSIONS), client = pick(clients, CLIENTS);
    struct export_args args;
    args.session = session;
    args.client = client;
    args.queue = 0;
    args.login = NULL;
    args.target = user();
    args.file = source_file;
    if (strncmp(export_names[which], "RTM_", 4) == 0 && strstr(export_names[which], "_Set") == NULL
        && which != EXPORT_RTM_Create && which != EXPORT_RTM_Destroy)
        return rtm_call(which, client);
    switch (which) {
    case EXPORT_CRVideo_Create: create_session(); return CRVideo_NOERR;
    case EXPORT_RTM_Create: return create_client();
    /* Without them little would be left for the others to do. */
    case EXPORT_CRVideo_Destroy: return below(8) == 0 ? CRVideo_Destroy(session) : CRVideo_NOERR;
    case EXPORT_RTM_Destroy: return below(8) == 0 ? RTM_Destroy(client) : CRVideo_NOERR;
    case EXPORT_CRVideo_Login: return login(session);
    case EXPORT_CRVideo_SendCmd:
    case EXPORT_CRVideo_SendBuffer:
    case EXPORT_CRVideo_SendFile: return send_something(which, session);
    case EXPORT_CRVideo_Logout: return below(4) == 0 ? asks(which, session) : CRVideo_NOERR;
    case EXPORT_CRVideo_CancelSend:
    case EXPORT_CRVideo_GetUserStatus:
    case EXPORT_CRVideo_StartUserStatusPush:
    case EXPORT_CRVideo_StopUserStatusPush: return asks(which, session);
    case EXPORT_CRVideo_PollEvents:
    case EXPORT_CRVideo_GetQueueFd:
    case EXPORT_CRVideo_SetWakeCallback:
    case EXPORT_CRVideo_SetLogCallback:
    case EXPORT_CRVideo_DestroyQueue: return on_queue(which);
    /* Whoever takes these away hears no results; they are set again as they are. */
    case EXPORT_CRVideo_SetLoginRsltCallback: return CRVideo_SetLoginRsltCallback(session, on_rslt, NULL);
    case EXPORT_CRVideo_SetLogoutRsltCallback: return CRVideo_SetLogoutRsltCallback(session, on_rslt, NULL);
    case EXPORT_CRVideo_SetSendCmdRlstCallback: return CRVideo_SetSendCmdRlstCallback(session, on_send, NULL);
    case EXPORT_CRVideo_SetSendBufferRlstCallback: return CRVideo_SetSendBufferRlstCallback(session, on_send, NULL);
    case EXPORT_CRVideo_SetSendFileRlstCallback: return CRVideo_SetSendFileRlstCallback(session, on_send_file, NULL);
    case EXPORT_CRVideo_SetCancelSendRlstCallback: return CRVideo_SetCancelSendRlstCallback(session, on_send, NULL);
    case EXPORT_CRVideo_SetUserStatusRsltCallback: return CRVideo_SetUserStatusRsltCallback(session, on_users, NULL);
    case EXPORT_CRVideo_SetStatusPushRsltCallback: return CRVideo_SetStatusPushRsltCallback(session, on_rslt, NULL);
    default: return export_call(which, &args);
    }
}

static void one_call(void)
{
    /* What moves the world on is called more often than the rest. */
    static const enum export lively[] = { EXPORT_CRVideo_Login,      EXPORT_CRVideo_SendCmd,  EXPORT_CRVideo_SendCmd,
                                          EXPORT_CRVideo_SendBuffer, EXPORT_CRVideo_SendFile, EXPORT_CRVideo_PollEvents };
    enum export which = below(2) == 0 ? (enum export)below(EXPORT_COUNT) : lively[below(6)];
    CRVideo_Err err;
    pthread_mutex_lock(&lock);
    calls++;
    pthread_mutex_unlock(&lock);
    err = by_name(which);
    if (err == CRVideo_INNER_ERR || err == CRVideo_UNKNOWNERR)
        FAIL("%s returns %d", export_names[which], err);
}

static void *work(void *unused)
{
    (void)unused;
    for (;;) {
        int more;
        pthread_mutex_lock(&lock);
        more = calls < wanted;
        pthread_mutex_unlock(&lock);
        if (!more)
            return NULL;
        one_call();
    }
}

/* ---- the end ------------------------------------------------------------------------------------------------ */

static void poll_all(void)
{
    int i;
    for (i = 0; i < QUEUES; i++) {
        CRVideo_Err err = CRVideo_PollEvents(queues[i], 1, NULL);
        if (err != CRVideo_NOERR)
            FAIL("polling ends with %d", err);
    }
}

static void wind_up(void)
{
    double until = check_now() + 60 * check_slow();
    long at, left;
    int i;
    pthread_mutex_lock(&lock);
    in_order = 1;
    pthread_mutex_unlock(&lock);
    for (i = 0; i < SESSIONS; i++)
        CRVideo_Destroy(sessions[i]);
    for (i = 0; i < CLIENTS; i++)
        RTM_Destroy(clients[i]);
    CHECK_OK(CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, NULL, NULL));
    do {
        poll_all();
        pthread_mutex_lock(&lock);
        left = open_entries;
        pthread_mutex_unlock(&lock);
    } while (left != 0 && check_now() < until);
    for (at = 0; at < entry_count; at++)
        if (entries[at].accepted != entries[at].ended)
            FAIL("task %ld of %ld: accepted %d, results %d", at, entry_count, entries[at].accepted, entries[at].ended);
    for (i = 0; i < QUEUES; i++) {
        /* A session that was destroyed in a callback leaves its last words there. */
        while (CRVideo_DestroyQueue(queues[i]) != CRVideo_NOERR) {
            CHECK(check_now() < until);
            CRVideo_PollEvents(queues[i], 1, NULL);
        }
    }
}

static void still_works(void)
{
    CRVideo_Session session = check_session(0);
    void *cookie = open_entry();
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(session, on_send, NULL));
    CHECK_OK(check_login(session, 0, "last"));
    CHECK_OK(CRVideo_SendCmd(session, "last", "x", 1, NULL, cookie, NULL));
    accepted(cookie);
    CHECK_OK(CRVideo_Destroy(session));
    CHECK_EQ(open_entries, 0);
}

int main(int argc, char **argv)
{
    pthread_t workers[WORKERS];
    FILE *file;
    long tasks = 0, at;
    int i;
    if (argc != 8)
        return 2;
    check_begin(argc, argv);
    dir = argv[5];
    state = strtoull(argv[6], NULL, 10);
    wanted = atol(argv[7]);
    entry_room = wanted * 2 + 1000;
    entries = calloc((size_t)entry_room, sizeof *entries);
    CHECK(entries != NULL);
    for (i = 0; i < CONTENT; i++)
        content[i] = (unsigned char)(i * 7 + i / 256);
    snprintf(source_file, sizeof source_file, "%s/source", dir);
    file = fopen(source_file, "wb");
    CHECK(file != NULL);
    for (i = 0; i < FILE_SIZE / 1000; i++)
        CHECK(fwrite(content, 1, 1000, file) == 1000);
    CHECK(fclose(file) == 0);
    CHECK_OK(CRVideo_SetLogCallback(0, CRVIDEO_LOG_WARN, on_log, NULL));
    for (i = 0; i < QUEUES; i++)
        CHECK_OK(CRVideo_CreateQueue(&queues[i]));
    for (i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&workers[i], NULL, work, NULL) == 0);
    for (i = 0; i < WORKERS; i++)
        pthread_join(workers[i], NULL);
    wind_up();
    still_works();
    for (at = 0; at < entry_count; at++)
        tasks += entries[at].accepted;
    printf("seed %s: %ld calls, %ld tasks with one result each\n", argv[6], calls, tasks);
    free(entries);
    return 0;
}
