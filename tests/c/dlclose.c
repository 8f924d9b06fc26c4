/*
 * dlclose: a host that unloads its plugins carelessly. The library is loaded, used and closed while its threads work;
 * it stays in memory, and what was begun ends as it should. This program is not linked with the library.
 *
 * The environment's CRVIDEO_LIBRARY is the path of libcrvideo.so; a fourth argument is the number of rounds.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <dlfcn.h>

enum { SIZE = 8 * 1024 * 1024 };

static struct counter progressed = COUNTER_INIT;
static struct counter ended = COUNTER_INIT;

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)sent;
    (void)total;
    (void)cookie;
    counter_add(&progressed, 1);
}

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    CHECK_OK(err);
    counter_add(&ended, 1);
}

/* ISO C has no cast from an object pointer to a function pointer; POSIX promises that the bytes are the same. */
static void load(void *library, const char *name, void *function)
{
    void *symbol = dlsym(library, name);
    if (symbol == NULL)
        FAIL("%s", dlerror());
    memcpy(function, &symbol, sizeof symbol);
}

int main(int argc, char **argv)
{
    static unsigned char content[SIZE];
    const char *path = getenv("CRVIDEO_LIBRARY");
    int rounds = argc > 4 ? atoi(argv[4]) : 1;
    int round;

    check_begin(argc, argv);
    CHECK(path != NULL);
    for (round = 1; round <= rounds; round++) {
        CRVideo_Err (*create)(const CRVideo_Config *, CRVideo_Session *);
        CRVideo_Err (*login)(CRVideo_Session, const CRVideo_LoginInfo *, void *);
        CRVideo_Err (*set_login)(CRVideo_Session, CRVideo_RsltCallback, void *);
        CRVideo_Err (*set_progress)(CRVideo_Session, CRVideo_SendProgressCallback, void *);
        CRVideo_Err (*set_result)(CRVideo_Session, CRVideo_SendRlstCallback, void *);
        CRVideo_Err (*send)(CRVideo_Session, const char *, const void *, size_t, const CRVideo_SendOptions *, void *,
                            char *);
        CRVideo_Err (*destroy)(CRVideo_Session);
        void (*info_init)(CRVideo_LoginInfo *);
        struct check_answer answer = { COUNTER_INIT, 0 };
        CRVideo_LoginInfo info;
        CRVideo_Session session;
        long before;
        void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (library == NULL)
            FAIL("%s", dlerror());
        load(library, "CRVideo_Create", &create);
        load(library, "CRVideo_Login", &login);
        load(library, "CRVideo_LoginInfoInit", &info_init);
        load(library, "CRVideo_SetLoginRsltCallback", &set_login);
        load(library, "CRVideo_SetSendProgressCallback", &set_progress);
        load(library, "CRVideo_SetSendBufferRlstCallback", &set_result);
        load(library, "CRVideo_SendBuffer", &send);
        load(library, "CRVideo_Destroy", &destroy);

        CHECK_OK(create(NULL, &session));
        CHECK_OK(set_login(session, check_on_answer, NULL));
        CHECK_OK(set_progress(session, on_progress, NULL));
        CHECK_OK(set_result(session, on_result, NULL));
        info_init(&info);
        info.servers = argv[1];
        info.project = atoi(argv[2]);
        info.secret = argv[3];
        info.user_id = "self";
        CHECK_OK(login(session, &info, &answer));
        WAIT_FOR(answer.there, 1);
        CHECK_OK(answer.err);

        before = counter_get(&progressed);
        CHECK_OK(send(session, "self", content, SIZE, NULL, NULL, NULL));
        WAIT_FOR(progressed, before + 1);
        CHECK_EQ(dlclose(library), 0);

        /* Its threads go on, its callbacks come, and its functions are still where they were. */
        WAIT_FOR(ended, round);
        CHECK_OK(destroy(session));
        CHECK_EQ(destroy(session), CRVideo_NOT_INIT);
    }
    return 0;
}
