/*
 * count.h: sessions of which it counts how many tasks have ended and how many things have come.
 */
#ifndef COUNT_H
#define COUNT_H

#include "check.h"

static struct counter ended = COUNTER_INIT;
static struct counter failed = COUNTER_INIT;
static struct counter received = COUNTER_INIT;
/* The code of the last task, and of the last one that has failed. */
static CRVideo_Err last_err, failed_err;
/* Whether a task may fail; where it may not, the first one that does ends the program. */
static int may_fail;

static inline void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    last_err = err;
    if (err != CRVideo_NOERR) {
        if (!may_fail)
            CHECK_OK(err);
        failed_err = err;
        counter_add(&failed, 1);
    }
    counter_add(&ended, 1);
}

static inline void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    (void)file_name;
    on_result(user, task_id, err, cookie);
}

static inline void on_data(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    counter_add(&received, 1);
}

static inline void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    (void)user;
    (void)source;
    (void)task_id;
    (void)name;
    CHECK_EQ(unlink(tmp_file), 0);
    counter_add(&received, 1);
}

/* Counts what becomes of a session's tasks, and what comes. */
static inline void count(CRVideo_Session session)
{
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(session, on_result, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(session, on_result, NULL));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(session, on_file_result, NULL));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(session, on_file, NULL));
}

/* A session of that user, whose events queue gets (0: the library's own thread), counted and logged in. */
static inline CRVideo_Session count_session(CRVideo_Queue queue, const char *user)
{
    CRVideo_Session session = check_session(queue);
    count(session);
    CHECK_OK(check_login(session, queue, user));
    return session;
}

#endif
