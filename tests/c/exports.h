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

#define RTM_SETTERS(X) \
    X(RTM_SetPushMsgCallback) \
    X(RTM_SetPushGroupMsgCallback) \
    X(RTM_SetPushRoomMsgCallback) \
    X(RTM_SetPushEventCallback) \
    X(RTM_SetLineCallback) \
    X(RTM_SetRecipientResultCallback) \
    X(RTM_SetReleasedCallback)

/* Calls of an RTM client, by what they have between the client and the options. */
#define RTM_FILES(X) \
    X(RTM_SendFile, 2 COMMA 50 COMMA &file) \
    X(RTM_SendFiles, ids COMMA 2 COMMA 50 COMMA &file) \
    X(RTM_SendGroupFile, 2 COMMA 50 COMMA &file) \
    X(RTM_SendRoomFile, 2 COMMA 50 COMMA &file) \
    X(RTM_BroadcastFile, 50 COMMA &file)
#define RTM_MESSAGES(X) \
    X(RTM_SendMsg, 2 COMMA 66 COMMA "x" COMMA 1 COMMA NULL) \
    X(RTM_SendMsgs, ids COMMA 2 COMMA 66 COMMA "x" COMMA 1 COMMA NULL) \
    X(RTM_SendGroupMsg, 2 COMMA 66 COMMA "x" COMMA 1 COMMA NULL) \
    X(RTM_SendRoomMsg, 2 COMMA 66 COMMA "x" COMMA 1 COMMA NULL) \
    X(RTM_BroadcastMsg, 66 COMMA "x" COMMA 1 COMMA NULL)
#define RTM_TOKENS(X) \
    X(RTM_FileToken, 1 COMMA "sendfile" COMMA ids COMMA 1) \
    X(RTM_GetToken, 1)
#define RTM_LISTS(X) \
    X(RTM_GetOnlineUsers, ids COMMA 2) \
    X(RTM_GetGroupMembers, 1) \
    X(RTM_GetUserGroups, 1) \
    X(RTM_GetRoomMembers, 1)
#define RTM_PLAIN(X) \
    X(RTM_RemoveToken, 1) \
    X(RTM_Kickout, 1) \
    X(RTM_AddGroupMembers, 1 COMMA ids COMMA 2) \
    X(RTM_DelGroupMembers, 1 COMMA ids COMMA 2) \
    X(RTM_DelGroup, 1) \
    X(RTM_GetGroupCount, 1) \
    X(RTM_IsGroupMember, 1 COMMA 2) \
    X(RTM_AddRoomMember, 1 COMMA 2) \
    X(RTM_DelRoomMember, 1 COMMA 2) \
    X(RTM_GetRoomCount, 1) \
    X(RTM_SetListen, &listen) \
    X(RTM_AddListen, &lists) \
    X(RTM_RemoveListen, &lists)
#define COMMA ,

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
    X(RTM_Create) \
    RTM_SETTERS(X) \
    X(RTM_SendFile) \
    X(RTM_SendFiles) \
    X(RTM_SendGroupFile) \
    X(RTM_SendRoomFile) \
    X(RTM_BroadcastFile) \
    X(RTM_SendMsg) \
    X(RTM_SendMsgs) \
    X(RTM_SendGroupMsg) \
    X(RTM_SendRoomMsg) \
    X(RTM_BroadcastMsg) \
    X(RTM_FileToken) \
    X(RTM_GetToken) \
    X(RTM_GetOnlineUsers) \
    X(RTM_GetGroupMembers) \
    X(RTM_GetUserGroups) \
    X(RTM_GetRoomMembers) \
    X(RTM_RemoveToken) \
    X(RTM_Kickout) \
    X(RTM_AddGroupMembers) \
    X(RTM_DelGroupMembers) \
    X(RTM_DelGroup) \
    X(RTM_GetGroupCount) \
    X(RTM_IsGroupMember) \
    X(RTM_AddRoomMember) \
    X(RTM_DelRoomMember) \
    X(RTM_GetRoomCount) \
    X(RTM_SetListen) \
    X(RTM_AddListen) \
    X(RTM_RemoveListen) \
    X(CRVideo_Logout) \
    X(CRVideo_DestroyQueue) \
    X(CRVideo_Destroy) \
    X(RTM_Destroy)

#define EXPORT_NUMBER(name) EXPORT_##name,
enum export { EXPORTS(EXPORT_NUMBER) EXPORT_COUNT };
#define EXPORT_NAME(name) #name,
static const char *const export_names[EXPORT_COUNT + 1] = { EXPORTS(EXPORT_NAME) NULL };

#define UNKNOWN_TASK "00000000-0000-4000-8000-000000000000"

/* What the calls are made with: handles that may be dead, and otherwise sound arguments. */
struct export_args {
    CRVideo_Session session;
    CRVideo_Queue queue;
    RTM_Client client;
    const CRVideo_LoginInfo *login;
    const char *target;
    const char *file; /* readable */
};

/* An RTM client whose gate nobody serves, on `queue`. */
static inline CRVideo_Err export_client(CRVideo_Queue queue, RTM_Client *client)
{
    RTM_Config config;
    RTM_ConfigInit(&config);
    config.project = 1;
    config.secret = "secret";
    config.endpoint = "127.0.0.1:1";
    config.queue = queue;
    return RTM_Create(&config, client);
}

#define ON_EXPORT(name, result) \
    static inline void name(void *cookie, const result *ended) \
    { \
        (void)cookie; \
        (void)ended; \
    }
ON_EXPORT(export_on_ended, RTM_Result)
ON_EXPORT(export_on_sent, RTM_SendResult)
ON_EXPORT(export_on_token, RTM_TokenResult)
ON_EXPORT(export_on_list, RTM_ListResult)

/* Makes one call of an RTM client, with a callback: nothing waits. */
static inline CRVideo_Err export_rtm_call(enum export which, const struct export_args *args)
{
    static const int64_t ids[2] = { 1, 2 };
    RTM_Client client = 0;
    RTM_Listen listen;
    RTM_Listen lists;
    RTM_File file;
    CRVideo_Err err;

    RTM_FileInit(&file);
    file.path = args->file;
    RTM_ListenInit(&listen);
    listen.flags = RTM_LISTEN_USERS;
    RTM_ListenInit(&lists);
    lists.uids = ids;
    lists.uid_count = 2;
    switch (which) {
    case EXPORT_RTM_Create:
        err = export_client(0, &client);
        return err != CRVideo_NOERR ? err : RTM_Destroy(client);
    case EXPORT_RTM_Destroy: return RTM_Destroy(args->client);
#define CALL_SETTER(name) case EXPORT_##name: return name(args->client, NULL, NULL);
    RTM_SETTERS(CALL_SETTER)
#undef CALL_SETTER
#define CALL_SENDING(name, rest) \
    case EXPORT_##name: return name(args->client, 1, rest, NULL, export_on_sent, NULL, NULL);
    RTM_FILES(CALL_SENDING)
    RTM_MESSAGES(CALL_SENDING)
#undef CALL_SENDING
#define CALL_TOKEN(name, rest) \
    case EXPORT_##name: return name(args->client, rest, NULL, export_on_token, NULL, NULL);
    RTM_TOKENS(CALL_TOKEN)
#undef CALL_TOKEN
#define CALL_LIST(name, rest) case EXPORT_##name: return name(args->client, rest, NULL, export_on_list, NULL, NULL);
    RTM_LISTS(CALL_LIST)
#undef CALL_LIST
#define CALL_PLAIN(name, rest) case EXPORT_##name: return name(args->client, rest, NULL, export_on_ended, NULL, NULL);
    RTM_PLAIN(CALL_PLAIN)
#undef CALL_PLAIN
    default: break;
    }
    FAIL("no such export: %d", (int)which);
    return CRVideo_NOERR;
}

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
    default: break;
    }
    return export_rtm_call(which, args);
}

#endif
