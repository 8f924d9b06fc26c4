/*
 * exports.h: every exported function that returns a code, callable by number, for programs that call all of them in
 * some unusual place. A test compares the list with the header.
 */
#ifndef EXPORTS_H
#define EXPORTS_H

#include "check.h"

#define SETTERS(X) \
    X(CRVideo_SetLoginRsltCallback) \
    X(CRVideo_SetLogoutRsltCallback) \
    X(CRVideo_SetLineOffCallback) \
    X(CRVideo_SetLineOnCallback) \
    X(CRVideo_SetTokenWillExpireCallback) \
    X(CRVideo_SetSendCmdRlstCallback) \
    X(CRVideo_SetSendBufferRlstCallback) \
    X(CRVideo_SetSendFileRlstCallback) \
    X(CRVideo_SetSendProgressCallback) \
    X(CRVideo_SetCancelSendRlstCallback) \
    X(CRVideo_SetNotifyCmdDataCallback) \
    X(CRVideo_SetNotifyBufferDataCallback) \
    X(CRVideo_SetNotifyFileDataCallback) \
    X(CRVideo_SetNotifyCancelSendCallback) \
    X(CRVideo_SetTransferOfferCallback) \
    X(CRVideo_SetReceiveProgressCallback) \
    X(CRVideo_SetNotifyRtmMessageCallback) \
    X(CRVideo_SetUserStatusCallback) \
    X(CRVideo_SetUserStatusRsltCallback) \
    X(CRVideo_SetStatusPushRsltCallback) \
    X(CRVideo_SetReleasedCallback)

/* In an order in which each works although those before it have been called: what ends something comes last. */
#define EXPORTS(X) \
    X(CRVideo_Create) \
    SETTERS(X) \
    X(CRVideo_SetLogCallback) \
    X(CRVideo_CreateQueue) \
    X(CRVideo_PollEvents) \
    X(CRVideo_GetQueueFd) \
    X(CRVideo_SetWakeCallback) \
    X(CRVideo_Login) \
    X(CRVideo_UpdateToken) \
    X(CRVideo_SendCmd) \
    X(CRVideo_SendBuffer) \
    X(CRVideo_SendFile) \
    X(CRVideo_CancelSend) \
    X(CRVideo_AcceptTransfer) \
    X(CRVideo_RefuseTransfer) \
    X(CRVideo_CancelReceive) \
    X(CRVideo_GetUserStatus) \
    X(CRVideo_StartUserStatusPush) \
    X(CRVideo_StopUserStatusPush) \
    X(CRVideo_Logout) \
    X(CRVideo_DestroyQueue) \
    X(CRVideo_Destroy)

#define EXPORT_NUMBER(name) EXPORT_##name,
enum export { EXPORTS(EXPORT_NUMBER) EXPORT_COUNT };
#define EXPORT_NAME(name) #name,
static const char *const export_names[EXPORT_COUNT + 1] = { EXPORTS(EXPORT_NAME) NULL };

#define UNKNOWN_TASK "00000000-0000-4000-8000-000000000000"

/* What the calls are made with: handles that may be dead, and otherwise sound arguments. */
struct export_args {
    CRVideo_Session session;
    CRVideo_Queue queue;
    const CRVideo_LoginInfo *login;
    const char *target;
    const char *file; /* readable */
};

/* Makes one call; callbacks are unset by it, and what it creates is gone again unless the code is an error. */
static inline CRVideo_Err export_call(enum export which, const struct export_args *args)
{
    CRVideo_Session session = 0;
    CRVideo_Queue queue = 0;
    CRVideo_Err err = CRVideo_NOERR;
    intptr_t fd;

    switch (which) {
    case EXPORT_CRVideo_Create:
        err = CRVideo_Create(NULL, &session);
        return err != CRVideo_NOERR ? err : CRVideo_Destroy(session);
    case EXPORT_CRVideo_CreateQueue:
        err = CRVideo_CreateQueue(&queue);
        return err != CRVideo_NOERR ? err : CRVideo_DestroyQueue(queue);
#define CALL_SETTER(name) case EXPORT_##name: return name(args->session, NULL, NULL);
    SETTERS(CALL_SETTER)
#undef CALL_SETTER
    case EXPORT_CRVideo_SetLogCallback: return CRVideo_SetLogCallback(0, CRVIDEO_LOG_OFF, NULL, NULL);
    case EXPORT_CRVideo_PollEvents: return CRVideo_PollEvents(args->queue, 0, NULL);
    case EXPORT_CRVideo_GetQueueFd: return CRVideo_GetQueueFd(args->queue, &fd);
    case EXPORT_CRVideo_SetWakeCallback: return CRVideo_SetWakeCallback(args->queue, NULL, NULL);
    case EXPORT_CRVideo_Login: return CRVideo_Login(args->session, args->login, NULL);
    case EXPORT_CRVideo_UpdateToken: return CRVideo_UpdateToken(args->session, "not a token");
    case EXPORT_CRVideo_SendCmd: return CRVideo_SendCmd(args->session, args->target, "x", 1, NULL, NULL, NULL);
    case EXPORT_CRVideo_SendBuffer: return CRVideo_SendBuffer(args->session, args->target, "x", 1, NULL, NULL, NULL);
    case EXPORT_CRVideo_SendFile:
        return CRVideo_SendFile(args->session, args->target, args->file, NULL, NULL, NULL);
    case EXPORT_CRVideo_CancelSend: return CRVideo_CancelSend(args->session, UNKNOWN_TASK, NULL);
    case EXPORT_CRVideo_AcceptTransfer:
        return CRVideo_AcceptTransfer(args->session, args->target, UNKNOWN_TASK, NULL);
    case EXPORT_CRVideo_RefuseTransfer: return CRVideo_RefuseTransfer(args->session, args->target, UNKNOWN_TASK);
    case EXPORT_CRVideo_CancelReceive: return CRVideo_CancelReceive(args->session, args->target, UNKNOWN_TASK);
    case EXPORT_CRVideo_GetUserStatus: return CRVideo_GetUserStatus(args->session, NULL, NULL);
    case EXPORT_CRVideo_StartUserStatusPush: return CRVideo_StartUserStatusPush(args->session, NULL);
    case EXPORT_CRVideo_StopUserStatusPush: return CRVideo_StopUserStatusPush(args->session, NULL);
    case EXPORT_CRVideo_Logout: return CRVideo_Logout(args->session, NULL);
    case EXPORT_CRVideo_DestroyQueue: return CRVideo_DestroyQueue(args->queue);
    case EXPORT_CRVideo_Destroy: return CRVideo_Destroy(args->session);
    case EXPORT_COUNT: break;
    }
    FAIL("no such export: %d", (int)which);
    return err;
}

#endif
