/*
 * copies: three copies of the library in one process: the one that the program is linked with, and two that it loads,
 * one of them for everybody to see. Started as copies RELAY PROJECT SECRET ONE TWO. Each has sessions of its own, threads
 * of its own, and events of its own; users of different copies send each other everything.
 */
#define _GNU_SOURCE

#include "check.h"

#include <dlfcn.h>

#define FUNCTIONS(DO) \
    DO(CRVideo_Create) DO(CRVideo_Destroy) DO(CRVideo_Login) \
    DO(CRVideo_SetLoginRsltCallback) DO(CRVideo_SetSendCmdRlstCallback) DO(CRVideo_SetSendBufferRlstCallback) \
    DO(CRVideo_SetNotifyCmdDataCallback) DO(CRVideo_SetNotifyBufferDataCallback) DO(CRVideo_SendCmd) \
    DO(CRVideo_SendBuffer)

struct copy {
#define FIELD(name) __typeof__(&name) name;
    FUNCTIONS(FIELD)
    const char *user;
    CRVideo_Session session;
    struct counter ended, received;
};

static void find(struct copy *copy, void *library)
{
    void *found;
#define FIND(name) \
    found = library == NULL ? NULL : dlsym(library, #name); \
    CHECK(library == NULL || found != NULL); \
    if (library == NULL) \
        copy->name = name; \
    else \
        memcpy(&copy->name, &found, sizeof found);
    FUNCTIONS(FIND)
}

static void on_result(void *copy, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)cookie;
    CHECK_OK(err);
    counter_add(&((struct copy *)copy)->ended, 1);
}

static void on_data(void *copy, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    counter_add(&((struct copy *)copy)->received, 1);
}

static void enter(struct copy *copy, const char *user)
{
    struct check_answer answer = { COUNTER_INIT, 0 };
    CRVideo_Config config;
    CRVideo_LoginInfo info;
    counter_init(&copy->ended);
    counter_init(&copy->received);
    copy->user = user;
    CRVideo_ConfigInit(&config);
    CHECK_OK(copy->CRVideo_Create(&config, &copy->session));
    CHECK_OK(copy->CRVideo_SetLoginRsltCallback(copy->session, check_on_answer, NULL));
    CHECK_OK(copy->CRVideo_SetSendCmdRlstCallback(copy->session, on_result, copy));
    CHECK_OK(copy->CRVideo_SetSendBufferRlstCallback(copy->session, on_result, copy));
    CHECK_OK(copy->CRVideo_SetNotifyCmdDataCallback(copy->session, on_data, copy));
    CHECK_OK(copy->CRVideo_SetNotifyBufferDataCallback(copy->session, on_data, copy));
    check_login_info(&info, user);
    CHECK_OK(copy->CRVideo_Login(copy->session, &info, &answer));
    WAIT_FOR(answer.there, 1);
    CHECK_OK(answer.err);
}

int main(int argc, char **argv)
{
    static struct copy copies[3];
    static const char *const users[] = { "alice", "bob", "carol" };
    static char content[1000000];
    void *one, *two;
    int from, to;
    CHECK(argc == 6);
    check_begin(argc, argv);
    one = dlopen(argv[4], RTLD_NOW | RTLD_GLOBAL);
    two = dlopen(argv[5], RTLD_NOW | RTLD_LOCAL);
    if (one == NULL || two == NULL)
        FAIL("a copy cannot be loaded: %s", dlerror());
    find(&copies[0], NULL);
    find(&copies[1], one);
    find(&copies[2], two);
    CHECK(copies[0].CRVideo_Create != copies[1].CRVideo_Create);
    CHECK(copies[1].CRVideo_Create != copies[2].CRVideo_Create);
    for (from = 0; from < 3; from++)
        enter(&copies[from], users[from]);
    for (from = 0; from < 3; from++)
        for (to = 0; to < 3; to++) {
            struct copy *copy = &copies[from];
            CHECK_OK(copy->CRVideo_SendCmd(copy->session, users[to], "hello", 5, NULL, NULL, NULL));
            CHECK_OK(copy->CRVideo_SendBuffer(copy->session, users[to], content, sizeof content, NULL, NULL, NULL));
        }
    for (from = 0; from < 3; from++) {
        WAIT_FOR(copies[from].ended, 6);
        WAIT_FOR(copies[from].received, 6);
    }
    /* The end of one is not the end of the others. */
    CHECK_OK(copies[1].CRVideo_Destroy(copies[1].session));
    CHECK_EQ(copies[1].CRVideo_Destroy(copies[1].session), CRVideo_NOT_INIT);
    CHECK(dlclose(one) == 0);
    CHECK_OK(copies[0].CRVideo_SendCmd(copies[0].session, "carol", "hello", 5, NULL, NULL, NULL));
    WAIT_FOR(copies[0].ended, 7);
    WAIT_FOR(copies[2].received, 7);
    CHECK_OK(copies[0].CRVideo_Destroy(copies[0].session));
    CHECK_OK(copies[2].CRVideo_Destroy(copies[2].session));
    CHECK(dlclose(two) == 0);
    return 0;
}
