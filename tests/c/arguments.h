/*
 * arguments.h: what drives the program that tests/arguments.rs makes from the header: every exported function with every
 * special value of every argument, and with every two of them. Started as PROGRAM RELAY PROJECT SECRET HANDLES; HANDLES:
 * how many handles that were never given are tried.
 */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include "check.h"

#include <limits.h>

enum { ANY_CODE = -1, ANY_ERROR = -2 };

/* A value of one argument, and what a call must return that is sound but for it. */
struct value {
    const char *what;
    uint64_t number;
    const void *pointer;
    void (*function)(void);
    CRVideo_Err expected;
};

struct parameter {
    const char *name;
    const struct value *values; /* the first is sound */
    int count;
    size_t out;   /* bytes that are written on success, and on success only */
    size_t limit; /* of a length: what lies behind the pointer before it is not touched above */
};

enum { PARAMETERS = 16 };
struct function {
    const char *name;
    CRVideo_Err (*call)(const struct value *values);
    const struct parameter *parameters;
    int count;
};

/* An address that must not be read or written: the limit is looked at first. */
#define FORBIDDEN ((const void *)1)
#define BUFFER_LIMIT (1 << 20)
#define UNKNOWN_TASK "00000000-0000-4000-8000-000000000000"

/* ---- what is sound, and what is not ------------------------------------------------------------------------- */

static struct value session_values[] = { { "live", 0, NULL, NULL, ANY_CODE },
                                         { "0", 0, NULL, NULL, CRVideo_NOT_INIT },
                                         { "dead", 0, NULL, NULL, CRVideo_NOT_INIT },
                                         { "a queue", 0, NULL, NULL, CRVideo_NOT_INIT },
                                         { "a client", 0, NULL, NULL, CRVideo_NOT_INIT },
                                         { "never given", 0x0100ffffffffffff, NULL, NULL, CRVideo_NOT_INIT },
                                         { "the largest", UINT64_MAX, NULL, NULL, CRVideo_NOT_INIT } };
static struct value queue_values[] = { { "live", 0, NULL, NULL, ANY_CODE },
                                       { "0", 0, NULL, NULL, ANY_CODE },
                                       { "dead", 0, NULL, NULL, CRVideo_NOT_INIT },
                                       { "a session", 0, NULL, NULL, CRVideo_NOT_INIT },
                                       { "never given", 0x0200ffffffffffff, NULL, NULL, CRVideo_NOT_INIT },
                                       { "the largest", UINT64_MAX, NULL, NULL, CRVideo_NOT_INIT } };
static struct value client_values[] = { { "live", 0, NULL, NULL, ANY_CODE },
                                        { "0", 0, NULL, NULL, CRVideo_NOT_INIT },
                                        { "dead", 0, NULL, NULL, CRVideo_NOT_INIT },
                                        { "a session", 0, NULL, NULL, CRVideo_NOT_INIT },
                                        { "never given", 0x0300ffffffffffff, NULL, NULL, CRVideo_NOT_INIT },
                                        { "the largest", UINT64_MAX, NULL, NULL, CRVideo_NOT_INIT } };

static unsigned char content[BUFFER_LIMIT];
static int64_t ids[RTM_IDS_MAX];
static char long_text[5001];
static unsigned char outs[PARAMETERS][2048];

/* A struct that is right but for its size, with room for what a later header might add. */
#define SIZED(type, name) \
    static struct { \
        type it; \
        unsigned char later[32]; \
    } name[5]
SIZED(CRVideo_Config, CRVideo_Config_values);
SIZED(CRVideo_LoginInfo, CRVideo_LoginInfo_values);
SIZED(CRVideo_SendOptions, CRVideo_SendOptions_values);
SIZED(RTM_Config, RTM_Config_values);
SIZED(RTM_CallOptions, RTM_CallOptions_values);
SIZED(RTM_File, RTM_File_values);
SIZED(RTM_Listen, RTM_Listen_values);

/* The sizes of the five: right, 0, too small, larger, the largest. */
#define FILL(values, init, size, more) \
    do { \
        uint32_t at_; \
        for (at_ = 0; at_ < 5; at_++) { \
            init(&(values)[at_].it); \
            more; \
            (values)[at_].it.struct_size = at_ == 0 ? (uint32_t)(size) : at_ == 1 ? 0 : at_ == 2 ? 4 \
                                         : at_ == 3 ? (uint32_t)(size) + 32 : UINT32_MAX; \
        } \
    } while (0)

static CRVideo_Session new_session(void)
{
    CRVideo_Config config;
    CRVideo_Session session;
    CRVideo_ConfigInit(&config);
    config.buffer_limit = BUFFER_LIMIT;
    CHECK_OK(CRVideo_Create(&config, &session));
    return session;
}

static RTM_Client new_client(void)
{
    RTM_Client client;
    CHECK_OK(RTM_Create(&RTM_Config_values[0].it, &client));
    return client;
}

static CRVideo_Queue new_queue(void)
{
    CRVideo_Queue queue;
    CHECK_OK(CRVideo_CreateQueue(&queue));
    return queue;
}

static void arguments_begin(void)
{
    int i;
    memset(long_text, 'a', sizeof long_text - 1);
    for (i = 0; i < RTM_IDS_MAX; i++)
        ids[i] = i + 1;
    FILL(CRVideo_Config_values, CRVideo_ConfigInit, sizeof(CRVideo_Config), (void)0);
    FILL(CRVideo_LoginInfo_values, CRVideo_LoginInfoInit, sizeof(CRVideo_LoginInfo),
         check_login_info(&CRVideo_LoginInfo_values[at_].it, "dave"));
    FILL(CRVideo_SendOptions_values, CRVideo_SendOptionsInit, sizeof(CRVideo_SendOptions), (void)0);
    /* Nobody serves that port: calls end at once. */
    FILL(RTM_Config_values, RTM_ConfigInit, sizeof(RTM_Config),
         (RTM_Config_values[at_].it.project = 1, RTM_Config_values[at_].it.secret = "secret",
          RTM_Config_values[at_].it.endpoint = "127.0.0.1:1"));
    FILL(RTM_CallOptions_values, RTM_CallOptionsInit, sizeof(RTM_CallOptions), (void)0);
    FILL(RTM_File_values, RTM_FileInit, sizeof(RTM_File), RTM_File_values[at_].it.path = check_args[0]);
    FILL(RTM_Listen_values, RTM_ListenInit, sizeof(RTM_Listen),
         (RTM_Listen_values[at_].it.uids = ids, RTM_Listen_values[at_].it.uid_count = 2));
    session_values[0].number = new_session();
    CHECK_OK(check_login(session_values[0].number, 0, "alice"));
    queue_values[0].number = new_queue();
    client_values[0].number = new_client();
    session_values[2].number = new_session();
    CHECK_OK(CRVideo_Destroy(session_values[2].number));
    queue_values[2].number = new_queue();
    CHECK_OK(CRVideo_DestroyQueue(queue_values[2].number));
    client_values[2].number = new_client();
    CHECK_OK(RTM_Destroy(client_values[2].number));
    session_values[3].number = queue_values[0].number;
    session_values[4].number = client_values[0].number;
    queue_values[3].number = session_values[0].number;
    client_values[3].number = session_values[0].number;
}

/* ---- one case ----------------------------------------------------------------------------------------------- */

static long cases;

static int is_one_of(const char *name, const char *const *names)
{
    while (*names != NULL && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

/* Makes a call with the values with these numbers. */
static CRVideo_Err run_case(const struct function *function, const int *which, char *description, size_t room)
{
    /* What these end or move on is made for each case. */
    static const char *const ending[] = { "CRVideo_Destroy", "CRVideo_Login", "CRVideo_Logout", "CRVideo_DestroyQueue",
                                          "RTM_Destroy", NULL };
    int fresh = is_one_of(function->name, ending), i;
    const struct value session = session_values[0], queue = queue_values[0], client = client_values[0];
    struct value values[PARAMETERS];
    CRVideo_Err err;
    size_t used = 0, at;
    if (fresh) {
        session_values[0].number = new_session();
        queue_values[0].number = new_queue();
        client_values[0].number = new_client();
    }
    memset(outs, '#', sizeof outs);
    memset(values, 0, sizeof values);
    for (i = 0; i < function->count; i++) {
        const struct parameter *parameter = &function->parameters[i];
        values[i] = parameter->values[which[i]];
        if (parameter->out != 0 && which[i] == 0)
            values[i].pointer = outs[i];
        if (parameter->limit != 0 && values[i].number > parameter->limit && values[i - 1].pointer != NULL)
            values[i - 1].pointer = FORBIDDEN;
        if (which[i] != 0 && used < room)
            used += (size_t)snprintf(description + used, room - used, " %s=%s", parameter->name, values[i].what);
    }
    err = function->call(values);
    cases++;
    if (err == CRVideo_INNER_ERR || err == CRVideo_UNKNOWNERR)
        FAIL("%s with%s is %d", function->name, description, err);
    for (i = 0; i < function->count; i++)
        for (at = 0; at < sizeof outs[i]; at++)
            if (outs[i][at] != '#' && (err != CRVideo_NOERR || at >= function->parameters[i].out))
                FAIL("%s with%s is %d and writes byte %lu", function->name, description, err, (unsigned long)at);
    if (err == CRVideo_NOERR && strcmp(function->name, "CRVideo_Create") == 0)
        CHECK_OK(CRVideo_Destroy(*(CRVideo_Session *)(void *)outs[1]));
    if (err == CRVideo_NOERR && strcmp(function->name, "RTM_Create") == 0)
        CHECK_OK(RTM_Destroy(*(RTM_Client *)(void *)outs[1]));
    if (err == CRVideo_NOERR && strcmp(function->name, "CRVideo_CreateQueue") == 0)
        CHECK_OK(CRVideo_DestroyQueue(*(CRVideo_Queue *)(void *)outs[0]));
    if (fresh) {
        CRVideo_Destroy(session_values[0].number);
        CRVideo_DestroyQueue(queue_values[0].number);
        RTM_Destroy(client_values[0].number);
        session_values[0] = session;
        queue_values[0] = queue;
        client_values[0] = client;
    }
    return err;
}

/* One argument after the other is wrong, then every two of them. */
static void abuse(const struct function *function)
{
    int which[PARAMETERS] = { 0 }, i, j, a, b;
    CHECK(function->count <= PARAMETERS);
    for (i = 0; i < function->count; i++)
        for (a = i == 0 ? 0 : 1; a < function->parameters[i].count; a++) {
            char description[300] = "";
            CRVideo_Err expected = function->parameters[i].values[a].expected, err;
            which[i] = a;
            err = run_case(function, which, description, sizeof description);
            if (expected != ANY_CODE && (expected == ANY_ERROR ? err == CRVideo_NOERR : err != expected))
                FAIL("%s with%s is %d, not %d", function->name, description, err, expected);
            for (j = i + 1; a != 0 && j < function->count; j++) {
                for (b = 1; b < function->parameters[j].count; b++) {
                    which[j] = b;
                    run_case(function, which, description, sizeof description);
                }
                which[j] = 0;
            }
            which[i] = 0;
        }
    if (function->count == 0)
        run_case(function, which, (char[1]){ 0 }, 0);
    printf("covers %s\n", function->name);
}

/* ---- handles that were never given -------------------------------------------------------------------------- */

static void forged_handles(long count)
{
    uint64_t state = 42, handle;
    long i;
    for (i = 0; i < count; i++) {
        CRVideo_Err err = CRVideo_NOT_INIT;
        state += 0x9e3779b97f4a7c15u;
        handle = (state ^ (state >> 30)) * 0xbf58476d1ce4e5b9u;
        handle = (handle ^ (handle >> 27)) * 0x94d049bb133111ebu;
        handle ^= handle >> 31;
        /* Half of them look like some that are given one day: of a kind, with a counter of 56 bits. */
        if (i % 2 == 0)
            handle = (handle & 0x00ffffffffffffff) | (uint64_t)(1 + i / 2 % 3) << 56;
        switch (i % 8) {
        case 0: err = CRVideo_Destroy(handle); break;
        case 1: err = CRVideo_DestroyQueue(handle); break;
        case 2: err = RTM_Destroy(handle); break;
        case 3: err = CRVideo_SendCmd(handle, "bob", "x", 1, NULL, NULL, NULL); break;
        case 4: err = CRVideo_PollEvents(handle, UINT32_MAX, NULL); break;
        case 5: err = CRVideo_SetLoginRsltCallback(handle, NULL, NULL); break;
        case 6: err = CRVideo_AcceptTransfer(handle, "bob", UNKNOWN_TASK, NULL); break;
        case 7: err = RTM_Kickout(handle, 1, NULL, NULL, NULL, NULL); break;
        }
        if (err != CRVideo_NOT_INIT)
            FAIL("handle %llx was never given, but function %ld returns %d", (unsigned long long)handle, i % 8, err);
    }
}

static void arguments_end(void)
{
    CRVideo_Session session = new_session();
    CHECK_OK(CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, NULL, NULL));
    CHECK_OK(check_login(session, 0, "last"));
    CHECK_OK(CRVideo_Destroy(session));
    CHECK_OK(CRVideo_Destroy(session_values[0].number));
    CHECK_OK(RTM_Destroy(client_values[0].number));
    CHECK_OK(CRVideo_DestroyQueue(queue_values[0].number));
    printf("cases %ld\n", cases);
}

#endif
