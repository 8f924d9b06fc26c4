/*
 * abuse_args: every exported function with every kind of wrong argument: NULL, empty, overlong, not UTF-8, a dead
 * handle, a handle of another kind, lengths at, above and far above a limit. Each call must return the documented
 * code, touch nothing, and leave the library working.
 *
 * Prints "covers NAME" for each function it has called; a test compares that with the header.
 */
#define _POSIX_C_SOURCE 200809L

#include "exports.h"

#include <sys/stat.h>

static long cases;
static const char *covered[128];

static void expect(int line, const char *call, CRVideo_Err actual, CRVideo_Err expected)
{
    size_t length = strcspn(call, "(");
    int i;
    cases++;
    if (actual != expected)
        check_failed(__FILE__, line, "%s is %d, not %d (case %ld)", call, actual, expected, cases);
    for (i = 0; covered[i] != NULL; i++)
        if (strcspn(covered[i], "(") == length && strncmp(covered[i], call, length) == 0)
            return;
    CHECK(i < 127);
    covered[i] = call;
}
#define EXPECT(call, code) expect(__LINE__, #call, call, code)
/* A function that returns nothing or something else. */
#define COVER(call) expect(__LINE__, #call, CRVideo_NOERR, CRVideo_NOERR)

/* An address that must not be read or written: the limit is looked at first. */
#define FORBIDDEN ((void *)1)
#define TASK "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"

static char *repeat(char with, size_t length)
{
    char *text = (char *)malloc(length + 1);
    CHECK(text != NULL);
    memset(text, with, length);
    text[length] = '\0';
    return text;
}

/* Texts that no function takes where a user is named. */
static const char *bad_users[] = {
    NULL,
    "",
    NULL,                     /* 129 bytes */
    NULL,                     /* 1 MiB */
    "\xff",                   /* never in UTF-8 */
    "bob\x80",                /* a continuation out of place */
    "\xe4\xbd",               /* cut off */
    "\xc0\x80",               /* an overlong NUL */
    "\xed\xa0\x80",           /* half of a surrogate pair */
    "\xf4\x90\x80\x80",       /* above U+10FFFF */
    "\xce\xc4\xbc\xfe"        /* GBK */
};
enum { BAD_USERS = (int)(sizeof bad_users / sizeof bad_users[0]) };

static const char *const bad_tasks[] = {
    NULL,
    "",
    "1",
    "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f",
    "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f90",
    "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0fg",
    "0f1e2d3c+4b5a-4978-8695-a4b3c2d1e0f9",
    "0f1e2d3c04b5a0497808695-a4b3c2d1e0f9",
    "{0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0}",
    "\xff\xff\xff\xff"
};
enum { BAD_TASKS = (int)(sizeof bad_tasks / sizeof bad_tasks[0]) };

static struct counter ended = COUNTER_INIT;
static struct counter cancels = COUNTER_INIT;
static struct counter others = COUNTER_INIT;
static CRVideo_Err last_err; /* written before `ended` is raised */
static long accepted;

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    last_err = err;
    counter_add(&ended, 1);
}

static void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    (void)file_name;
    on_result(user, task_id, err, cookie);
}

static void on_cancel_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)cookie;
    CHECK(strcmp(task_id, TASK) == 0);
    CHECK_EQ(err, CRVideo_TRANSID_INVALID);
    counter_add(&cancels, 1);
}

static void on_rslt(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)err;
    (void)cookie;
    counter_add(&others, 1);
}

static void on_status_rslt(void *user, CRVideo_Err err, const char *const *user_ids, size_t count, void *cookie)
{
    (void)user;
    (void)err;
    (void)cookie;
    CHECK(user_ids != NULL);
    (void)count;
    counter_add(&others, 1);
}

/* Every function that takes a session, with something that is none. */
static void dead_sessions(CRVideo_Session session)
{
    CRVideo_LoginInfo info;
    check_login_info(&info, "alice");
#define DEAD_SETTER(name) EXPECT(name(session, NULL, NULL), CRVideo_NOT_INIT);
    SETTERS(DEAD_SETTER)
#undef DEAD_SETTER
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_Logout(session, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_UpdateToken(session, "token"), CRVideo_NOT_INIT);
    EXPECT(CRVideo_SendCmd(session, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_SendBuffer(session, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_SendFile(session, "bob", check_args[0], NULL, NULL, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_CancelSend(session, TASK, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_RefuseTransfer(session, "bob", TASK), CRVideo_NOT_INIT);
    EXPECT(CRVideo_CancelReceive(session, "bob", TASK), CRVideo_NOT_INIT);
    EXPECT(CRVideo_GetUserStatus(session, "bob", NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_StartUserStatusPush(session, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_StopUserStatusPush(session, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_Destroy(session), CRVideo_NOT_INIT);
}

/* Every function that takes a queue, with something that is none. `zero`: for some, 0 is the library's own. */
static void dead_queues(CRVideo_Queue queue)
{
    CRVideo_Config config;
    CRVideo_Session session = 77;
    intptr_t fd = 77;
    uint32_t handled = 77;
    EXPECT(CRVideo_PollEvents(queue, 0, &handled), CRVideo_NOT_INIT);
    EXPECT(CRVideo_PollEvents(queue, UINT32_MAX, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_GetQueueFd(queue, &fd), CRVideo_NOT_INIT);
    EXPECT(CRVideo_SetWakeCallback(queue, NULL, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_DestroyQueue(queue), CRVideo_NOT_INIT);
    CHECK(fd == 77 && handled == 77);
    if (queue != 0) {
        CRVideo_ConfigInit(&config);
        config.queue = queue;
        EXPECT(CRVideo_Create(&config, &session), CRVideo_NOT_INIT);
        CHECK(session == 77);
    }
}

static void on_log(void *user, int level, const char *target, const char *message)
{
    (void)user;
    CHECK(level >= CRVIDEO_LOG_ERROR && level <= CRVIDEO_LOG_TRACE);
    CHECK(target != NULL && message != NULL && strchr(message, '\n') == NULL);
}

static void creation(void)
{
    CRVideo_Config config;
    CRVideo_Session session = 77;
    char *long_path = repeat('a', 4097);
    unsigned size;

    EXPECT(CRVideo_Create(NULL, NULL), CRVideo_PARAM_ERR);
    CRVideo_ConfigInit(&config);
    CHECK_EQ(config.struct_size, sizeof config);
    EXPECT(CRVideo_Create(&config, NULL), CRVideo_PARAM_ERR);
    for (size = 0; size < offsetof(CRVideo_Config, download_quota); size += 4) {
        config.struct_size = size;
        EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    }
    CRVideo_ConfigInit(&config);
    config.flags = 0x80000000u;
    EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    CRVideo_ConfigInit(&config);
    config.download_dir = "";
    EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    config.download_dir = long_path;
    EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    config.download_dir = check_args[0]; /* a file */
    EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    config.download_dir = "/nowhere/at/all";
    EXPECT(CRVideo_Create(&config, &session), CRVideo_PARAM_ERR);
    CHECK(session == 77);

    /* A struct from a later header: longer, with things that this library does not know. */
    {
        struct {
            CRVideo_Config config;
            unsigned char later[64];
        } grown;
        memset(&grown, 0xff, sizeof grown);
        CRVideo_ConfigInit(&grown.config);
        grown.config.struct_size = sizeof grown;
        EXPECT(CRVideo_Create(&grown.config, &session), CRVideo_NOERR);
        EXPECT(CRVideo_Destroy(session), CRVideo_NOERR);
    }
    CRVideo_ConfigInitSized(NULL, sizeof config);
    COVER(CRVideo_ConfigInitSized(NULL, sizeof config));
    (CRVideo_ConfigInit)(NULL); /* the function, not the macro */
    COVER(CRVideo_ConfigInit(NULL));
    CRVideo_LoginInfoInitSized(NULL, sizeof(CRVideo_LoginInfo));
    COVER(CRVideo_LoginInfoInitSized(NULL, sizeof(CRVideo_LoginInfo)));
    (CRVideo_LoginInfoInit)(NULL); /* the function, not the macro */
    COVER(CRVideo_LoginInfoInit(NULL));
    CRVideo_SendOptionsInit(NULL);
    COVER(CRVideo_SendOptionsInit(NULL));
    EXPECT(CRVideo_CreateQueue(NULL), CRVideo_PARAM_ERR);
    free(long_path);
}

static void texts_of_the_library(void)
{
    int code;
    CHECK(strcmp(CRVideo_Version(), CRVIDEO_VERSION) == 0);
    COVER(CRVideo_Version());
    for (code = -10; code < 201000; code++) {
        const char *text = CRVideo_ErrText(code);
        CHECK(text != NULL && strlen(text) > 3 && text == CRVideo_ErrText(code));
    }
    CHECK(CRVideo_ErrText((-2147483647 - 1)) != NULL && CRVideo_ErrText(2147483647) != NULL);
    COVER(CRVideo_ErrText(0));
}

static void logging(void)
{
    static const int bad_levels[] = { -1, 6, 256, 257, -2147483647 - 1, 2147483647 };
    size_t i;
    for (i = 0; i < sizeof bad_levels / sizeof bad_levels[0]; i++)
        EXPECT(CRVideo_SetLogCallback(0, bad_levels[i], on_log, NULL), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SetLogCallback(12345, CRVIDEO_LOG_INFO, on_log, NULL), CRVideo_NOT_INIT);
    EXPECT(CRVideo_SetLogCallback(0, CRVIDEO_LOG_TRACE, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, on_log, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SetLogCallback(0, CRVIDEO_LOG_TRACE, on_log, NULL), CRVideo_NOERR);
}

static void logins(void)
{
    static const char *const bad_servers[] = {
        NULL, "", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "host:x", "[::1]", "[::1]:", "[x]:1", "::1:1",
        "a b:1", "h:1,", ",h:1", "h:1,,h:2", "\xff:1", "127.0.0.1:1 127.0.0.1:2"
    };
    char *long_servers = repeat('a', 5000);
    char *long_token = repeat('a', 3073);
    static const char *const bad_pins[] = { "", "x", "sha256//", "\xff" };
    char *long_secret = repeat('a', 1025);
    CRVideo_Session session = check_session(0);
    CRVideo_LoginInfo info;
    unsigned size;
    size_t i;

    EXPECT(CRVideo_Login(session, NULL, NULL), CRVideo_PARAM_ERR);
    CRVideo_LoginInfoInit(&info);
    CHECK_EQ(info.struct_size, sizeof info);
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    for (size = 0; size < offsetof(CRVideo_LoginInfo, tls); size += 4) {
        check_login_info(&info, "alice");
        info.struct_size = size;
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof bad_servers / sizeof bad_servers[0]; i++) {
        check_login_info(&info, "alice");
        info.servers = bad_servers[i];
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < 6; i++) {
        check_login_info(&info, "alice");
        info.tls = i == 0 ? 3 : i == 1 ? CRVIDEO_TLS_NEVER : i == 2 ? 0xffffffffu : CRVIDEO_TLS_ALWAYS;
        info.tls_flags = i == 3 ? 2 : i == 4 ? CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE : 0;
        info.ca_file = i == 5 ? "" : i == 1 || i == 4 ? "/authority.pem" : NULL;
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof bad_pins / sizeof bad_pins[0]; i++) {
        check_login_info(&info, "alice");
        info.pinned_key = bad_pins[i];
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    memcpy(long_servers + 4990, ":1", 3);
    check_login_info(&info, "alice");
    info.servers = long_servers;
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    for (i = 0; i < BAD_USERS; i++) {
        check_login_info(&info, bad_users[i]);
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < 3; i++) {
        check_login_info(&info, "alice");
        info.project = i == 0 ? 0 : i == 1 ? -1 : -2147483647 - 1;
        EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    }
    check_login_info(&info, "alice");
    info.token = "both";
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.secret = NULL;
    info.token = long_token;
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.token = "";
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.token = "\xff";
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.token = NULL;
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.secret = "";
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);
    info.secret = long_secret;
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_PARAM_ERR);

    /* After all that it is still a session that can log in, once. */
    CHECK_OK(check_login(session, 0, "alice"));
    check_login_info(&info, "alice");
    EXPECT(CRVideo_Login(session, &info, NULL), CRVideo_LOGINSTATE_ERROR);
    EXPECT(CRVideo_UpdateToken(session, NULL), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_UpdateToken(session, ""), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_UpdateToken(session, "\xff"), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_UpdateToken(session, long_token), CRVideo_PARAM_ERR);
    CHECK_OK(CRVideo_Destroy(session));
    free(long_servers);
    free(long_token);
    free(long_secret);
}

static void before_login(void)
{
    CRVideo_Session session = check_session(0);
    EXPECT(CRVideo_SendCmd(session, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_SendBuffer(session, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_SendFile(session, "bob", check_args[0], NULL, NULL, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_CancelSend(session, TASK, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_Logout(session, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_UpdateToken(session, "token"), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_GetUserStatus(session, NULL, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_GetUserStatus(session, "bob", NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_StartUserStatusPush(session, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_StopUserStatusPush(session, NULL), CRVideo_NOT_LOGIN);
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, NULL), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_RefuseTransfer(session, "bob", TASK), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_CancelReceive(session, "bob", TASK), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_Destroy(session), CRVideo_NOERR);
    dead_sessions(session);
}

/* The three ways to send have their arguments in common. */
static void sends(CRVideo_Session session, const char *directory)
{
    static unsigned char content[CRVIDEO_CMD_MAX];
    static const size_t huge[] = { 0x7fffffff, 0x80000000u, 0xffffffffu, ((size_t)-1) / 2, ((size_t)-1) / 2 + 1,
                                   (size_t)-2, (size_t)-1 };
    static const char *const bad_names[] = { "", "\xff", "\xe4\xbd", NULL };
    char task[CRVIDEO_TASK_ID_SIZE + 1];
    char *long_name = repeat('n', 256);
    char *longest_user = repeat('u', CRVIDEO_USER_ID_MAX);
    char *long_path = repeat('/', 4097);
    CRVideo_SendOptions options;
    unsigned size;
    size_t i;

    memset(task, '#', sizeof task);
    for (i = 0; i < BAD_USERS; i++) {
        EXPECT(CRVideo_SendCmd(session, bad_users[i], "x", 1, NULL, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendBuffer(session, bad_users[i], "x", 1, NULL, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendFile(session, bad_users[i], check_args[0], NULL, NULL, task), CRVideo_PARAM_ERR);
    }
    /* Every text of one byte: ASCII is UTF-8, all else is not. */
    for (i = 0x80; i <= 0xff; i++) {
        char text[2] = { 0, 0 };
        text[0] = (char)i;
        EXPECT(CRVideo_SendCmd(session, text, "x", 1, NULL, NULL, task), CRVideo_PARAM_ERR);
    }

    EXPECT(CRVideo_SendCmd(session, "bob", NULL, 1, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendCmd(session, "bob", NULL, CRVIDEO_CMD_MAX, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendBuffer(session, "bob", NULL, 1, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendBuffer(session, "bob", NULL, 104857600, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendCmd(session, "bob", FORBIDDEN, CRVIDEO_CMD_MAX + 1, NULL, NULL, task), CRVideo_SENDCMD_LARGE);
    EXPECT(CRVideo_SendBuffer(session, "bob", FORBIDDEN, 104857601, NULL, NULL, task), CRVideo_SENDBUFFER_LARGE);
    for (i = 0; i < sizeof huge / sizeof huge[0]; i++) {
        EXPECT(CRVideo_SendCmd(session, "bob", FORBIDDEN, huge[i], NULL, NULL, task), CRVideo_SENDCMD_LARGE);
        EXPECT(CRVideo_SendBuffer(session, "bob", FORBIDDEN, huge[i], NULL, NULL, task), CRVideo_SENDBUFFER_LARGE);
    }

    EXPECT(CRVideo_SendFile(session, "bob", NULL, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendFile(session, "bob", "", NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendFile(session, "bob", long_path, NULL, NULL, task), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_SendFile(session, "bob", "/nowhere/at/all", NULL, NULL, task), CRVideo_SENDFILE_FILEINERROR);
    EXPECT(CRVideo_SendFile(session, "bob", directory, NULL, NULL, task), CRVideo_SENDFILE_FILEINERROR);
    EXPECT(CRVideo_SendFile(session, "bob", "/dev/zero", NULL, NULL, task), CRVideo_SENDFILE_FILEINERROR);

    CRVideo_SendOptionsInit(&options);
    CHECK_EQ(options.struct_size, sizeof options);
    for (size = 0; size < sizeof options; size += 4) {
        options.struct_size = size;
        EXPECT(CRVideo_SendCmd(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendBuffer(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendFile(session, "bob", check_args[0], &options, NULL, task), CRVideo_PARAM_ERR);
    }
    for (i = 1; i < BAD_TASKS; i++) {
        CRVideo_SendOptionsInit(&options);
        options.task_id = bad_tasks[i];
        EXPECT(CRVideo_SendCmd(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendBuffer(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendFile(session, "bob", check_args[0], &options, NULL, task), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof bad_names / sizeof bad_names[0]; i++) {
        CRVideo_SendOptionsInit(&options);
        options.display_name = bad_names[i] == NULL ? long_name : bad_names[i];
        EXPECT(CRVideo_SendCmd(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendBuffer(session, "bob", "x", 1, &options, NULL, task), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_SendFile(session, "bob", check_args[0], &options, NULL, task), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof task; i++)
        if (task[i] != '#')
            FAIL("an out-parameter was written by a call that failed");

    /* What is just allowed is accepted, and ends. */
    CRVideo_SendOptionsInit(&options);
    options.display_name = long_name + 1;
    EXPECT(CRVideo_SendCmd(session, "bob", NULL, 0, NULL, NULL, task), CRVideo_NOERR);
    CHECK_EQ(strlen(task), CRVIDEO_TASK_ID_SIZE - 1);
    CHECK(task[CRVIDEO_TASK_ID_SIZE] == '#');
    EXPECT(CRVideo_SendCmd(session, "bob", FORBIDDEN, 0, NULL, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SendCmd(session, "bob", content, sizeof content, &options, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SendBuffer(session, "bob", NULL, 0, &options, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SendBuffer(session, "bob", FORBIDDEN, 0, NULL, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SendFile(session, "bob", check_args[0], &options, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SendCmd(session, longest_user, "x", 1, NULL, NULL, NULL), CRVideo_NOERR);
    accepted += 7;
    for (i = 1; i < 0x80; i++) {
        char text[2] = { 0, 0 };
        text[0] = (char)i;
        EXPECT(CRVideo_SendCmd(session, text, "x", 1, NULL, NULL, NULL), CRVideo_NOERR);
        accepted++;
    }
    free(long_name);
    free(longest_user);
    free(long_path);
}

/* The full buffer, and one byte more than a configured limit. */
static void limits(void)
{
    unsigned char *content = (unsigned char *)calloc(1, 104857600);
    CRVideo_Config config;
    CRVideo_Session session;
    int i;

    CHECK(content != NULL);
    CRVideo_ConfigInit(&config);
    config.buffer_limit = 1000;
    config.outbound_limit = 70000;
    config.task_limit = 5;
    CHECK_OK(CRVideo_Create(&config, &session));
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(session, on_result, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(session, on_result, NULL));
    CHECK_OK(check_login(session, 0, "carol"));
    EXPECT(CRVideo_SendBuffer(session, "bob", FORBIDDEN, 1001, NULL, NULL, NULL), CRVideo_SENDBUFFER_LARGE);
    EXPECT(CRVideo_SendBuffer(session, "bob", content, 1000, NULL, NULL, NULL), CRVideo_NOERR);
    accepted++;
    for (i = 0; i < 1000; i++) {
        CRVideo_Err err = CRVideo_SendCmd(session, "bob", content, 60000, NULL, NULL, NULL);
        if (err != CRVideo_NOERR) {
            EXPECT((err), CRVideo_SEND_QUEUE_FULL);
            break;
        }
        accepted++;
    }
    CHECK(i < 1000);
    WAIT_FOR(ended, accepted);
    CHECK_OK(CRVideo_Destroy(session));

    session = check_session(0);
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(session, on_result, NULL));
    CHECK_OK(check_login(session, 0, "dave"));
    EXPECT(CRVideo_SendBuffer(session, "dave", content, 104857600, NULL, NULL, NULL), CRVideo_NOERR);
    accepted++;
    WAIT_FOR(ended, accepted);
    CHECK_OK(CRVideo_Destroy(session));
    free(content);
}

static struct counter offers = COUNTER_INIT;

static void on_offer(void *user, const char *source, const char *task_id, int kind, const char *name, uint64_t size)
{
    (void)user;
    (void)task_id;
    (void)name;
    CHECK(strcmp(source, "alice") == 0);
    CHECK_EQ(kind, CRVIDEO_KIND_BUFFER);
    CHECK_EQ(size, 3);
    counter_add(&offers, 1);
}

/* The same id while its task runs is refused; after its end the outcome is repeated, and nothing is sent. */
static void own_task_ids(CRVideo_Session alice, CRVideo_Session bob)
{
    static const char *const id = "A0B1C2D3-e4f5-4061-8273-8495a6b7c8d9";
    char task[CRVIDEO_TASK_ID_SIZE];
    CRVideo_SendOptions options;

    CHECK_OK(CRVideo_SetTransferOfferCallback(bob, on_offer, NULL));
    CRVideo_SendOptionsInit(&options);
    options.task_id = id;
    EXPECT(CRVideo_SendBuffer(alice, "bob", "abc", 3, &options, NULL, task), CRVideo_NOERR);
    accepted++;
    CHECK(strcmp(task, "a0b1c2d3-e4f5-4061-8273-8495a6b7c8d9") == 0);
    WAIT_FOR(offers, 1);
    EXPECT(CRVideo_SendBuffer(alice, "bob", "abc", 3, &options, NULL, NULL), CRVideo_LOGINSTATE_ERROR);
    EXPECT(CRVideo_SendCmd(alice, "bob", "abc", 3, &options, NULL, NULL), CRVideo_LOGINSTATE_ERROR);
    EXPECT(CRVideo_SendFile(alice, "bob", check_args[0], &options, NULL, NULL), CRVideo_LOGINSTATE_ERROR);
    EXPECT(CRVideo_RefuseTransfer(bob, "Alice", id), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_RefuseTransfer(bob, "alice", id), CRVideo_NOERR);
    WAIT_FOR(ended, accepted);
    CHECK_EQ(last_err, CRVideo_PEER_REFUSE);
    EXPECT(CRVideo_RefuseTransfer(bob, "alice", id), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_SendBuffer(alice, "bob", "abc", 3, &options, NULL, task), CRVideo_NOERR);
    accepted++;
    WAIT_FOR(ended, accepted);
    CHECK_EQ(last_err, CRVideo_PEER_REFUSE);
    CHECK_EQ(counter_get(&offers), 1);
    CHECK_OK(CRVideo_SetTransferOfferCallback(bob, NULL, NULL));
}

static void cancels_and_offers(CRVideo_Session session)
{
    char *long_path = repeat('/', 4097);
    int i;
    for (i = 0; i < BAD_TASKS; i++) {
        EXPECT(CRVideo_CancelSend(session, bad_tasks[i], NULL), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_AcceptTransfer(session, "bob", bad_tasks[i], NULL), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_RefuseTransfer(session, "bob", bad_tasks[i]), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_CancelReceive(session, "bob", bad_tasks[i]), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < BAD_USERS; i++) {
        EXPECT(CRVideo_AcceptTransfer(session, bad_users[i], TASK, NULL), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_RefuseTransfer(session, bad_users[i], TASK), CRVideo_PARAM_ERR);
        EXPECT(CRVideo_CancelReceive(session, bad_users[i], TASK), CRVideo_PARAM_ERR);
        if (bad_users[i] != NULL)
            EXPECT(CRVideo_GetUserStatus(session, bad_users[i], NULL), CRVideo_PARAM_ERR);
    }
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, ""), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, long_path), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, NULL), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_AcceptTransfer(session, "bob", TASK, "/tmp/never"), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_RefuseTransfer(session, "bob", TASK), CRVideo_TRANSID_INVALID);
    EXPECT(CRVideo_CancelReceive(session, "bob", TASK), CRVideo_TRANSID_INVALID);

    EXPECT(CRVideo_CancelSend(session, TASK, NULL), CRVideo_NOERR); /* told by its event */
    WAIT_FOR(cancels, 1);
    EXPECT(CRVideo_GetUserStatus(session, NULL, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_GetUserStatus(session, "nobody", NULL), CRVideo_NOERR);
    EXPECT(CRVideo_StartUserStatusPush(session, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_StopUserStatusPush(session, NULL), CRVideo_NOERR);
    WAIT_FOR(others, 4);
    free(long_path);
}

/* Every function that takes an RTM client, with something that is none. */
static void dead_clients(RTM_Client client)
{
    static const int64_t ids[2] = { 1, 2 };
    RTM_Listen listen;
    RTM_Listen lists;
    RTM_File file;

    RTM_FileInit(&file);
    RTM_ListenInit(&listen);
    RTM_ListenInit(&lists);
    lists.gids = ids;
    lists.gid_count = 2;
#define DEAD_SETTER(name) EXPECT(name(client, NULL, NULL), CRVideo_NOT_INIT);
    RTM_SETTERS(DEAD_SETTER)
#undef DEAD_SETTER
#define DEAD_SENDING(name, rest) EXPECT(name(client, 1, rest, NULL, NULL, NULL, NULL), CRVideo_NOT_INIT);
    RTM_FILES(DEAD_SENDING)
    RTM_MESSAGES(DEAD_SENDING)
#undef DEAD_SENDING
#define DEAD_CALL(name, rest) EXPECT(name(client, rest, NULL, NULL, NULL, NULL), CRVideo_NOT_INIT);
    RTM_TOKENS(DEAD_CALL)
    RTM_LISTS(DEAD_CALL)
    RTM_PLAIN(DEAD_CALL)
#undef DEAD_CALL
    EXPECT(RTM_Destroy(client), CRVideo_NOT_INIT);
}

static void rtm_creation(void)
{
    static const char *const bad_endpoints[] = { NULL, "", "host", "host:", ":1", "host:0", "host:65536", "[x]:1",
                                                 "a b:1", "h:1,", "\xff:1" };
    char *long_secret = repeat('a', 1025);
    RTM_Client client = 77;
    RTM_Config config;
    unsigned size;
    size_t i;

#define FRESH() (RTM_ConfigInit(&config), config.project = 1, config.secret = "s", config.endpoint = "127.0.0.1:1")
    RTM_ConfigInit(NULL);
    COVER(RTM_ConfigInit(NULL));
    EXPECT(RTM_Create(NULL, &client), CRVideo_PARAM_ERR);
    FRESH();
    EXPECT(RTM_Create(&config, NULL), CRVideo_PARAM_ERR);
    for (size = 0; size < sizeof config; size += 4) {
        config.struct_size = size;
        EXPECT(RTM_Create(&config, &client), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof bad_endpoints / sizeof bad_endpoints[0]; i++) {
        FRESH();
        config.endpoint = bad_endpoints[i];
        EXPECT(RTM_Create(&config, &client), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < 4; i++) {
        FRESH();
        config.secret = i == 0 ? NULL : i == 1 ? "" : i == 2 ? "\xff" : long_secret;
        EXPECT(RTM_Create(&config, &client), CRVideo_PARAM_ERR);
    }
    for (i = 0; i < 2; i++) {
        FRESH();
        config.project = i == 0 ? 0 : -1;
        EXPECT(RTM_Create(&config, &client), CRVideo_PARAM_ERR);
    }
    FRESH();
    config.reserved = 1;
    EXPECT(RTM_Create(&config, &client), CRVideo_PARAM_ERR);
    FRESH();
    config.queue = 12345;
    EXPECT(RTM_Create(&config, &client), CRVideo_NOT_INIT);
#undef FRESH
    CHECK(client == 77);
    free(long_secret);
}

/* Each call that waits, with sound arguments and a gate that nobody serves; its result says what the call returned. */
static void rtm_without_gate(RTM_Client client)
{
    static const int64_t ids[2] = { 1, 2 };
    int64_t found[2] = { 7, 7 };
    RTM_TokenResult token;
    RTM_SendResult sent;
    RTM_ListResult list;
    RTM_Result plain;
    RTM_Listen listen;
    RTM_Listen lists;
    RTM_File file;

    RTM_FileInit(&file);
    file.path = check_args[0];
    RTM_ListenInit(&listen);
    RTM_ListenInit(&lists);
    lists.rids = ids;
    lists.rid_count = 2;
#define TOLD(result) CHECK((result).err == RTM_ERR_CONNECTION && (result).text[0] != '\0')
#define SENDING(name, rest) \
    RTM_SendResultInit(&sent); \
    EXPECT(name(client, 1, rest, NULL, NULL, NULL, &sent), RTM_ERR_CONNECTION); \
    TOLD(sent); \
    CHECK(sent.mid != 0 && sent.mtime == 0);
    RTM_FILES(SENDING)
    RTM_MESSAGES(SENDING)
#undef SENDING
#define TOKEN(name, rest) \
    RTM_TokenResultInit(&token); \
    EXPECT(name(client, rest, NULL, NULL, NULL, &token), RTM_ERR_CONNECTION); \
    TOLD(token); \
    CHECK(token.token[0] == '\0' && token.endpoint[0] == '\0');
    RTM_TOKENS(TOKEN)
#undef TOKEN
#define LIST(name, rest) \
    RTM_ListResultInit(&list); \
    list.ids = found; \
    list.capacity = 2; \
    EXPECT(name(client, rest, NULL, NULL, NULL, &list), RTM_ERR_CONNECTION); \
    TOLD(list); \
    CHECK(list.ids == found && list.capacity == 2 && list.count == 0 && found[0] == 7);
    RTM_LISTS(LIST)
#undef LIST
#define PLAIN(name, rest) \
    RTM_ResultInit(&plain); \
    EXPECT(name(client, rest, NULL, NULL, NULL, &plain), RTM_ERR_CONNECTION); \
    TOLD(plain); \
    CHECK(plain.number == 0);
    RTM_PLAIN(PLAIN)
#undef PLAIN
#undef TOLD
}

/* Options and results, which all calls have in common. */
static void rtm_options(RTM_Client client)
{
    RTM_CallOptions options;
    RTM_TokenResult token;
    RTM_SendResult sent;
    RTM_ListResult list;
    RTM_Result plain;
    unsigned size;

    RTM_CallOptionsInit(NULL);
    COVER(RTM_CallOptionsInit(NULL));
    RTM_ResultInit(NULL);
    COVER(RTM_ResultInit(NULL));
    RTM_SendResultInit(NULL);
    COVER(RTM_SendResultInit(NULL));
    RTM_TokenResultInit(NULL);
    COVER(RTM_TokenResultInit(NULL));
    RTM_ListResultInit(NULL);
    COVER(RTM_ListResultInit(NULL));
    RTM_CallOptionsInit(&options);
    for (size = 0; size < sizeof options; size += 4) {
        options.struct_size = size;
        RTM_ResultInit(&plain);
        EXPECT(RTM_Kickout(client, 1, &options, NULL, NULL, &plain), CRVideo_PARAM_ERR);
        CHECK(plain.err == CRVideo_PARAM_ERR && plain.text[0] != '\0');
        EXPECT(RTM_Kickout(client, 1, &options, export_on_ended, NULL, NULL), CRVideo_PARAM_ERR);
    }
#define SIZES(type, first, value, call) \
    for (size = 0; size < (first); size += 4) { \
        memset(&value, '#', sizeof value); \
        value.struct_size = size; \
        EXPECT(call, CRVideo_PARAM_ERR); \
        CHECK(value.err == 0x23232323); \
    }
    SIZES(RTM_Result, sizeof(RTM_Result), plain, RTM_Kickout(client, 1, NULL, NULL, NULL, &plain))
    SIZES(RTM_SendResult, offsetof(RTM_SendResult, recipient_results), sent, RTM_SendMsg(client, 1, 2, 66, "x", 1, NULL, NULL, NULL, NULL, &sent))
    SIZES(RTM_TokenResult, sizeof(RTM_TokenResult), token, RTM_GetToken(client, 1, NULL, NULL, NULL, &token))
    SIZES(RTM_ListResult, sizeof(RTM_ListResult), list, RTM_GetUserGroups(client, 1, NULL, NULL, NULL, &list))
#undef SIZES
    /* A struct from a later header is written as far as this library knows it. */
    {
        struct {
            RTM_Result result;
            unsigned char later[64];
        } grown;
        memset(&grown, '#', sizeof grown);
        grown.result.struct_size = sizeof grown;
        EXPECT(RTM_Kickout(client, 1, NULL, NULL, NULL, &grown.result), RTM_ERR_CONNECTION);
        CHECK(grown.result.err == RTM_ERR_CONNECTION && grown.result.struct_size == sizeof grown);
        for (size = 0; size < sizeof grown.later; size++)
            CHECK(grown.later[size] == '#');
    }
}

static void rtm_files(RTM_Client client)
{
    static const char *const bad_texts[] = { "\xff", "\xe4\xbd", "\xce\xc4\xbc\xfe" };
    static const int bad_mtypes[] = { -2147483647 - 1, -1, 0, 1, 39, 51, 127, 128, 306, 2147483647 };
    static const int64_t one[1] = { 1 };
    char *long_name = repeat('n', 256);
    char *long_attrs = repeat('a', RTM_ATTRS_MAX);
    char *long_path = repeat('/', 4097);
    RTM_SendResult sent;
    RTM_File file;
    unsigned size;
    size_t i;

#define SEND(expected) \
    RTM_SendResultInit(&sent); \
    EXPECT(RTM_SendFile(client, 1, 2, 50, &file, NULL, NULL, NULL, &sent), expected); \
    CHECK(sent.err == (expected)); \
    EXPECT(RTM_BroadcastFile(client, 1, 50, &file, NULL, export_on_sent, NULL, NULL), expected)
#define MEMORY() (RTM_FileInit(&file), file.data = "x", file.len = 1)
    RTM_FileInit(NULL);
    COVER(RTM_FileInit(NULL));
    EXPECT(RTM_SendFile(client, 1, 2, 50, NULL, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
    MEMORY();
    for (size = 0; size < sizeof file; size += 4) {
        file.struct_size = size;
        SEND(CRVideo_PARAM_ERR);
    }
    for (i = 0; i < sizeof bad_mtypes / sizeof bad_mtypes[0]; i++) {
        MEMORY();
        EXPECT(RTM_SendFile(client, 1, 2, bad_mtypes[i], &file, NULL, NULL, NULL, NULL), RTM_ERR_FILE_MTYPE);
        EXPECT(RTM_SendFiles(client, 1, one, 1, bad_mtypes[i], &file, NULL, NULL, NULL, NULL), RTM_ERR_FILE_MTYPE);
        EXPECT(RTM_SendGroupFile(client, 1, 2, bad_mtypes[i], &file, NULL, NULL, NULL, NULL), RTM_ERR_FILE_MTYPE);
        EXPECT(RTM_SendRoomFile(client, 1, 2, bad_mtypes[i], &file, NULL, NULL, NULL, NULL), RTM_ERR_FILE_MTYPE);
        EXPECT(RTM_BroadcastFile(client, 1, bad_mtypes[i], &file, NULL, NULL, NULL, NULL), RTM_ERR_FILE_MTYPE);
    }
    MEMORY();
    file.reserved = 1;
    SEND(CRVideo_PARAM_ERR);
    MEMORY();
    file.path = check_args[0]; /* both */
    SEND(CRVideo_PARAM_ERR);
    MEMORY();
    file.data = NULL;
    SEND(CRVideo_PARAM_ERR);
    file.data = FORBIDDEN;
    file.len = ((size_t)-1) / 2 + 1;
    SEND(RTM_ERR_LARGE);
    file.len = (size_t)-1;
    SEND(RTM_ERR_LARGE);
    RTM_FileInit(&file);
    for (i = 0; i < 5; i++) {
        static const CRVideo_Err codes[5] = { CRVideo_PARAM_ERR, CRVideo_PARAM_ERR, CRVideo_SENDFILE_FILEINERROR,
                                              CRVideo_SENDFILE_FILEINERROR, CRVideo_SENDFILE_FILEINERROR };
        file.path = i == 0 ? "" : i == 1 ? long_path : i == 2 ? "/nowhere/at/all" : i == 3 ? "/" : "/dev/zero";
        SEND(codes[i]);
    }
    for (i = 0; i < 3; i++) {
        MEMORY();
        file.name = bad_texts[i];
        SEND(CRVideo_PARAM_ERR);
        MEMORY();
        file.attrs = bad_texts[i];
        SEND(CRVideo_PARAM_ERR);
    }
    MEMORY();
    file.name = "";
    SEND(CRVideo_PARAM_ERR);
    file.name = long_name;
    SEND(CRVideo_PARAM_ERR);
    MEMORY();
    file.attrs = long_attrs;
    SEND(RTM_ERR_LARGE);
    MEMORY();
    EXPECT(RTM_SendFiles(client, 1, NULL, 0, 50, &file, NULL, NULL, NULL, NULL), RTM_ERR_EMPTY);
    EXPECT(RTM_SendFiles(client, 1, NULL, 1, 50, &file, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
    EXPECT(RTM_SendFiles(client, 1, (const int64_t *)FORBIDDEN, RTM_IDS_MAX + 1, 50, &file, NULL, NULL, NULL, NULL),
           RTM_ERR_TOO_MANY);
    EXPECT(RTM_SendFiles(client, 1, (const int64_t *)FORBIDDEN, (size_t)-1, 50, &file, NULL, NULL, NULL, NULL),
           RTM_ERR_TOO_MANY);
    /* What is just allowed gets as far as the gate. */
    RTM_FileInit(&file);
    EXPECT(RTM_SendFile(client, 1, 2, 40, &file, NULL, NULL, NULL, NULL), RTM_ERR_CONNECTION);
    file.name = long_name + 1;
    file.attrs = "";
    EXPECT(RTM_SendFile(client, 1, 2, 50, &file, NULL, NULL, NULL, NULL), RTM_ERR_CONNECTION);
#undef SEND
#undef MEMORY
    free(long_name);
    free(long_attrs);
    free(long_path);
}

static void rtm_messages(RTM_Client client)
{
    static char content[RTM_MESSAGE_MAX];
    char *long_attrs = repeat('a', RTM_ATTRS_MAX + 1);
    static const int64_t one[1] = { 1 };

#define SEND(mtype, msg, len, attrs, expected) \
    EXPECT(RTM_SendMsg(client, 1, 2, mtype, msg, len, attrs, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_SendMsgs(client, 1, one, 1, mtype, msg, len, attrs, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_SendGroupMsg(client, 1, 2, mtype, msg, len, attrs, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_SendRoomMsg(client, 1, 2, mtype, msg, len, attrs, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_BroadcastMsg(client, 1, mtype, msg, len, attrs, NULL, NULL, NULL, NULL), expected)
    SEND(0, "x", 1, NULL, RTM_ERR_MTYPE);
    SEND(-1, "x", 1, NULL, RTM_ERR_MTYPE);
    SEND(128, "x", 1, NULL, RTM_ERR_MTYPE);
    SEND(66 + 256, "x", 1, NULL, RTM_ERR_MTYPE);
    SEND(66, NULL, 1, NULL, CRVideo_PARAM_ERR);
    SEND(66, FORBIDDEN, RTM_MESSAGE_MAX + 1, NULL, RTM_ERR_MESSAGE_LARGE);
    SEND(66, FORBIDDEN, (size_t)-1, NULL, RTM_ERR_MESSAGE_LARGE);
    SEND(66, "x", 1, "\xff", CRVideo_PARAM_ERR);
    SEND(66, "x", 1, long_attrs, RTM_ERR_LARGE);
    SEND(127, content, sizeof content, long_attrs + 1, RTM_ERR_CONNECTION);
    SEND(1, NULL, 0, "", RTM_ERR_CONNECTION);
#undef SEND
    EXPECT(RTM_SendMsgs(client, 1, NULL, 0, 66, "x", 1, NULL, NULL, NULL, NULL, NULL), RTM_ERR_EMPTY);
    EXPECT(RTM_SendMsgs(client, 1, (const int64_t *)FORBIDDEN, RTM_IDS_MAX + 1, 66, "x", 1, NULL, NULL, NULL, NULL, NULL),
           RTM_ERR_TOO_MANY);
    free(long_attrs);
}

static void rtm_lists_and_tokens(RTM_Client client)
{
    static const int64_t ids[2] = { 1, 2 };
    static const struct {
        const char *cmd;
        size_t count;
        CRVideo_Err err;
    } tokens[] = {
        { "sendfile", 0, CRVideo_PARAM_ERR },      { "sendfile", 2, CRVideo_PARAM_ERR },
        { "sendfiles", 0, RTM_ERR_EMPTY },         { "sendfiles", 2, RTM_ERR_CONNECTION },
        { "sendgroupfile", 2, CRVideo_PARAM_ERR }, { "sendroomfile", 0, CRVideo_PARAM_ERR },
        { "broadcastfile", 1, CRVideo_PARAM_ERR }, { "broadcastfile", 0, RTM_ERR_CONNECTION },
        { "SendFile", 1, CRVideo_PARAM_ERR },      { "", 1, CRVideo_PARAM_ERR },
        { NULL, 1, CRVideo_PARAM_ERR },            { "\xff", 1, CRVideo_PARAM_ERR }
    };
    size_t i;

    for (i = 0; i < sizeof tokens / sizeof tokens[0]; i++)
        EXPECT(RTM_FileToken(client, 1, tokens[i].cmd, ids, tokens[i].count, NULL, NULL, NULL, NULL), tokens[i].err);
    EXPECT(RTM_FileToken(client, 1, "sendfile", NULL, 1, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
#define IDS(name, before) \
    EXPECT(name(client, before NULL, 0, NULL, NULL, NULL, NULL), RTM_ERR_EMPTY); \
    EXPECT(name(client, before NULL, 1, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR); \
    EXPECT(name(client, before (const int64_t *)FORBIDDEN, RTM_IDS_MAX + 1, NULL, NULL, NULL, NULL), RTM_ERR_TOO_MANY)
    IDS(RTM_GetOnlineUsers, );
    IDS(RTM_AddGroupMembers, 1 COMMA);
    IDS(RTM_DelGroupMembers, 1 COMMA);
#undef IDS
}

static void rtm_listening(RTM_Client client)
{
    static const int64_t ids[2] = { 1, 2 };
    const char *events[2] = { "login", NULL };
    RTM_Listen listen;
    unsigned size;

#define LISTEN(expected) \
    EXPECT(RTM_SetListen(client, &listen, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_AddListen(client, &listen, NULL, NULL, NULL, NULL), expected); \
    EXPECT(RTM_RemoveListen(client, &listen, NULL, NULL, NULL, NULL), expected)
    RTM_ListenInit(NULL);
    COVER(RTM_ListenInit(NULL));
    EXPECT(RTM_SetListen(client, NULL, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
    RTM_ListenInit(&listen);
    for (size = 0; size < sizeof listen; size += 4) {
        listen.struct_size = size;
        LISTEN(CRVideo_PARAM_ERR);
    }
    RTM_ListenInit(&listen);
    listen.flags = 16;
    LISTEN(CRVideo_PARAM_ERR);
    RTM_ListenInit(&listen);
    listen.uids = ids;
    listen.uid_count = 2;
    listen.flags = RTM_LISTEN_GROUPS;
    LISTEN(CRVideo_PARAM_ERR);
    listen.flags = 0;
    listen.gid_count = 1; /* and NULL */
    LISTEN(CRVideo_PARAM_ERR);
    listen.gids = (const int64_t *)FORBIDDEN;
    listen.gid_count = RTM_IDS_MAX + 1;
    LISTEN(RTM_ERR_TOO_MANY);
    listen.gid_count = 0;
    listen.events = events;
    listen.event_count = 2; /* the second is NULL */
    LISTEN(CRVideo_PARAM_ERR);
    events[1] = "\xff";
    LISTEN(CRVideo_PARAM_ERR);
    events[1] = "logout";
    LISTEN(RTM_ERR_CONNECTION);
    RTM_ListenInit(&listen);
    EXPECT(RTM_AddListen(client, &listen, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
    EXPECT(RTM_RemoveListen(client, &listen, NULL, NULL, NULL, NULL), CRVideo_PARAM_ERR);
#undef LISTEN
}

static void rtm(CRVideo_Session session, CRVideo_Queue queue)
{
    RTM_Client client;
    RTM_Client destroyed;

    rtm_creation();
    CHECK_OK(export_client(0, &client));
    rtm_without_gate(client);
    rtm_options(client);
    rtm_files(client);
    rtm_messages(client);
    rtm_lists_and_tokens(client);
    rtm_listening(client);
    CHECK_OK(export_client(queue, &destroyed));
    CHECK_OK(RTM_Destroy(destroyed));
    dead_clients(0);
    dead_clients(destroyed);
    dead_clients(session);
    dead_clients(queue);
    dead_sessions(client);
    dead_queues(client);
    EXPECT(RTM_Destroy(client), CRVideo_NOERR);
}

int main(int argc, char **argv)
{
    CRVideo_Session alice;
    CRVideo_Session bob;
    CRVideo_Session destroyed;
    CRVideo_Queue queue;
    uint64_t number;
    intptr_t fd = -1;
    int i;

    check_begin(argc, argv);
    bad_users[2] = repeat('x', CRVIDEO_USER_ID_MAX + 1);
    bad_users[3] = repeat('x', 1048576);

    texts_of_the_library();
    logging();
    creation();
    before_login();
    logins();

    alice = check_session(0);
    bob = check_session(0);
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(alice, on_result, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(alice, on_result, NULL));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(alice, on_file_result, NULL));
    CHECK_OK(CRVideo_SetCancelSendRlstCallback(alice, on_cancel_result, NULL));
    CHECK_OK(CRVideo_SetUserStatusRsltCallback(alice, on_status_rslt, NULL));
    CHECK_OK(CRVideo_SetStatusPushRsltCallback(alice, on_rslt, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));
    CHECK_OK(check_login(bob, 0, "bob"));
    sends(alice, "/");
    WAIT_FOR(ended, accepted);
    own_task_ids(alice, bob);
    cancels_and_offers(alice);
    limits();

    /* Handles: of the other kind, of nobody, of the dead, and guessed ones. */
    EXPECT(CRVideo_CreateQueue(&queue), CRVideo_NOERR);
    EXPECT(CRVideo_GetQueueFd(queue, NULL), CRVideo_PARAM_ERR);
    EXPECT(CRVideo_GetQueueFd(queue, &fd), CRVideo_NOERR);
    CHECK(fd >= 0);
    EXPECT(CRVideo_PollEvents(queue, 0, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_SetWakeCallback(queue, NULL, FORBIDDEN), CRVideo_NOERR);
    destroyed = check_session(0);
    CHECK_OK(CRVideo_Destroy(destroyed));
    dead_sessions(queue);
    dead_sessions(0);
    dead_sessions(destroyed);
    dead_queues(alice);
    dead_queues(0);
    rtm(alice, queue);
    EXPECT(CRVideo_DestroyQueue(queue), CRVideo_NOERR);
    dead_queues(queue);
    number = 1;
    for (i = 0; i < 64; i++, number <<= 1) {
        if (number != alice && number != bob)
            dead_sessions(number);
        if ((alice ^ number) != bob)
            dead_sessions(alice ^ number);
        dead_queues(number);
        dead_queues(~number);
    }
    for (i = 0, number = 88172645463325252u; i < 2000 / check_slow(); i++) {
        number ^= number << 13;
        number ^= number >> 7;
        number ^= number << 17;
        dead_sessions(number);
        dead_queues(number);
    }

    /* And it all still works. */
    WAIT_FOR(ended, accepted);
    EXPECT(CRVideo_SendCmd(alice, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOERR);
    WAIT_FOR(ended, accepted + 1);
    EXPECT(CRVideo_Logout(alice, NULL), CRVideo_NOERR);
    EXPECT(CRVideo_Destroy(alice), CRVideo_NOERR);
    EXPECT(CRVideo_Destroy(bob), CRVideo_NOERR);
    EXPECT(CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, NULL, NULL), CRVideo_NOERR);
    CHECK_EQ(counter_get(&ended), accepted + 1);

    for (i = 0; covered[i] != NULL; i++)
        if (strncmp(covered[i], "CRVideo_", 8) == 0 || strncmp(covered[i], "RTM_", 4) == 0)
            printf("covers %.*s\n", (int)strcspn(covered[i], "("), covered[i]);
    printf("%ld cases\n", cases);
    free((char *)bad_users[2]);
    free((char *)bad_users[3]);
    return 0;
}
