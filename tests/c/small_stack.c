/*
 * small_stack: old programs give their threads 64 KiB. Everything is called from such a thread here: a whole life of
 * two sessions on a queue of our own, so that the callbacks run on that stack as well, and every exported function.
 */
#define _POSIX_C_SOURCE 200809L

#include "count.h"
#include "exports.h"

static void *live(void *program)
{
    static unsigned char content[300000];
    struct export_args args;
    CRVideo_LoginInfo info;
    CRVideo_Queue queue;
    int which;

    CHECK_OK(CRVideo_CreateQueue(&queue));
    args.queue = queue;
    args.session = count_session(queue, "bob");
    args.login = &info;
    args.target = "bob";
    args.file = (const char *)program;
    CHECK_OK(export_client(queue, &args.client));
    check_login_info(&info, "bob");

    CHECK_OK(CRVideo_SendCmd(args.session, "bob", content, CRVIDEO_CMD_MAX, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendBuffer(args.session, "bob", content, sizeof content, NULL, NULL, NULL));
    CHECK_OK(CRVideo_SendFile(args.session, "bob", args.file, NULL, NULL, NULL));
    PUMP_UNTIL(queue, counter_get(&ended) == 3 && counter_get(&received) == 3);

    for (which = 0; which < EXPORT_COUNT; which++)
        export_call((enum export)which, &args);
    CHECK_OK(CRVideo_DestroyQueue(queue));
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_attr_t attributes;
    pthread_t thread;

    check_begin(argc, argv);
    CHECK_EQ(pthread_attr_init(&attributes), 0);
    CHECK_EQ(pthread_attr_setstacksize(&attributes, 64 * 1024), 0);
    CHECK_EQ(pthread_create(&thread, &attributes, live, argv[0]), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(pthread_attr_destroy(&attributes), 0);
    return 0;
}
