/*
 * header_use: everything that crvideo.h has is used here, by its exact type, number, size and offset, as C99, C++98 and
 * C++11. The numbers are the contract's, and those of the first header that was shipped: a line may be added here, none
 * changed. Linked and run, it compares header and library.
 */
#include "crvideo.h"

#include <string.h>

/* A typedef, because C99 and C++98 have no static assertion. */
#define JOIN2(a, b) a##b
#define JOIN(a, b) JOIN2(a, b)
#define ASSERT(condition) typedef char JOIN(assertion_in_line_, __LINE__)[(condition) ? 1 : -1]

/* Macros. */
#if CRVIDEO_VERSION_MAJOR < 0 || CRVIDEO_VERSION_MINOR < 0 || CRVIDEO_VERSION_PATCH < 0
#error "the version is not a number for the preprocessor"
#endif
ASSERT(sizeof(CRVIDEO_VERSION) >= sizeof("0.0.0"));
ASSERT(CRVIDEO_USER_ID_MAX == 128);
ASSERT(CRVIDEO_TASK_ID_SIZE == 37);
ASSERT(CRVIDEO_CMD_MAX == 65536);
ASSERT(CRVIDEO_CONFIG_DURABLE == 1);
ASSERT(CRVIDEO_KIND_BUFFER == 1);
ASSERT(CRVIDEO_KIND_FILE == 2);
ASSERT(CRVIDEO_RTM_TO_USER == 1);
ASSERT(CRVIDEO_RTM_TO_GROUP == 2);
ASSERT(CRVIDEO_RTM_TO_ROOM == 3);
ASSERT(CRVIDEO_RTM_TO_ALL == 4);
ASSERT(CRVIDEO_LOG_OFF == 0);
ASSERT(CRVIDEO_LOG_ERROR == 1);
ASSERT(CRVIDEO_LOG_WARN == 2);
ASSERT(CRVIDEO_LOG_INFO == 3);
ASSERT(CRVIDEO_LOG_DEBUG == 4);
ASSERT(CRVIDEO_LOG_TRACE == 5);

/* Codes. */
ASSERT(CRVideo_NOERR == 0);
ASSERT(CRVideo_UNKNOWNERR == 1);
ASSERT(CRVideo_OUTOF_MEM == 2);
ASSERT(CRVideo_INNER_ERR == 3);
ASSERT(CRVideo_MISMATCHCLIENTVER == 4);
ASSERT(CRVideo_PARAM_ERR == 5);
ASSERT(CRVideo_ERR_DATA == 6);
ASSERT(CRVideo_ANCTPSWD_ERR == 7);
ASSERT(CRVideo_SERVER_EXCEPTION == 8);
ASSERT(CRVideo_LOGINSTATE_ERROR == 9);
ASSERT(CRVideo_KICKOUT_BY_RELOGIN == 10);
ASSERT(CRVideo_NOT_INIT == 11);
ASSERT(CRVideo_NOT_LOGIN == 12);
ASSERT(CRVideo_TOKEN_TIMEOUT == 18);
ASSERT(CRVideo_TOKEN_AUTHINFOERR == 19);
ASSERT(CRVideo_TOKEN_APPIDNOTEXIST == 20);
ASSERT(CRVideo_TOKEN_AUTH_FAILED == 21);
ASSERT(CRVideo_TOKEN_NOTTOKENTYPE == 22);
ASSERT(CRVideo_API_NO_PERMISSION == 23);
ASSERT(CRVideo_ACCOUNT_EXPIRED == 24);
ASSERT(CRVideo_NETWORK_INITFAILED == 200);
ASSERT(CRVideo_NO_SERVERINFO == 201);
ASSERT(CRVideo_NOSERVER_RSP == 202);
ASSERT(CRVideo_CREATE_CONN_FAILED == 203);
ASSERT(CRVideo_SOCKETEXCEPTION == 204);
ASSERT(CRVideo_SOCKETTIMEOUT == 205);
ASSERT(CRVideo_FORCEDCLOSECONNECTION == 206);
ASSERT(CRVideo_CONNECTIONLOST == 207);
ASSERT(CRVideo_SSL_ERR == 209);
ASSERT(CRVideo_RSPDAT_ERR == 210);
ASSERT(CRVIDEO_TLS_AUTO == 0);
ASSERT(CRVIDEO_TLS_ALWAYS == 1);
ASSERT(CRVIDEO_TLS_NEVER == 2);
ASSERT(CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE == 1);
ASSERT(CRVideo_PEER_REFUSE == 606);
ASSERT(CRVideo_SENDFAIL == 1000);
ASSERT(CRVideo_SENDCMD_LARGE == 1100);
ASSERT(CRVideo_SENDBUFFER_LARGE == 1101);
ASSERT(CRVideo_SENDDATA_TARGETINVALID == 1102);
ASSERT(CRVideo_SENDFILE_FILEINERROR == 1103);
ASSERT(CRVideo_TRANSID_INVALID == 1104);
ASSERT(CRVideo_SEND_CANCELLED == 1105);
ASSERT(CRVideo_SEND_QUEUE_FULL == 1106);
ASSERT(CRVideo_SEND_OUTCOME_UNKNOWN == 1107);
ASSERT(CRVideo_FILE_NOT_EXIST == 1400);
ASSERT(CRVideo_FILE_READ_ERR == 1401);
ASSERT(CRVideo_FILE_WRITE_ERR == 1402);
ASSERT(CRVideo_FILE_ALREADY_EXIST == 1403);
ASSERT(CRVideo_FILE_OPERATOR_ERR == 1404);
ASSERT(CRVideo_FILE_SIZE_UNSUPPORT == 1405);

/* RTM: macros and the servers' numbers that have names. */
ASSERT(RTM_MTYPE_IMAGE == 40);
ASSERT(RTM_MTYPE_AUDIO == 41);
ASSERT(RTM_MTYPE_VIDEO == 42);
ASSERT(RTM_MTYPE_FILE == 50);
ASSERT(RTM_MESSAGE_MAX == 20480);
ASSERT(RTM_ATTRS_MAX == 2048);
ASSERT(RTM_IDS_MAX == 20000);
ASSERT(RTM_TEXT_SIZE == 256);
ASSERT(RTM_TOKEN_SIZE == 1024);
ASSERT(RTM_ENDPOINT_SIZE == 264);
ASSERT(RTM_LISTEN_USERS == 1);
ASSERT(RTM_LISTEN_GROUPS == 2);
ASSERT(RTM_LISTEN_ROOMS == 4);
ASSERT(RTM_LISTEN_EVENTS == 8);
ASSERT(RTM_TARGET_USER == 1);
ASSERT(RTM_TARGET_GROUP == 2);
ASSERT(RTM_TARGET_ROOM == 3);
ASSERT(RTM_TARGET_ALL == 4);
ASSERT(RTM_RECIPIENT_ACCEPTED == 1);
ASSERT(RTM_RECIPIENT_STORED == 2);
ASSERT(RTM_RECIPIENT_DELIVERED == 3);
ASSERT(RTM_RECIPIENT_FAILED == 4);
ASSERT(RTM_RECIPIENT_ERR_EXPIRED == 20003);
ASSERT(RTM_RECIPIENT_ERR_CROWDED_OUT == 20011);
ASSERT(RTM_RECIPIENT_ERR_DELETED == 200070);
ASSERT(RTM_ERR_CLOSED == 20002);
ASSERT(RTM_ERR_TIMEOUT == 20003);
ASSERT(RTM_ERR_CONNECTION == 20012);
ASSERT(RTM_ERR_CANCELLED == 20015);
ASSERT(RTM_ERR_MTYPE == 200005);
ASSERT(RTM_ERR_FILE_MTYPE == 200007);
ASSERT(RTM_ERR_MESSAGE_LARGE == 200030);
ASSERT(RTM_ERR_LARGE == 200031);
ASSERT(RTM_ERR_TOO_MANY == 200032);
ASSERT(RTM_ERR_EMPTY == 200033);

/* Types. */
ASSERT(sizeof(CRVideo_Err) == sizeof(int));
ASSERT((CRVideo_Err)-1 < 0);
ASSERT(sizeof(CRVideo_Session) == 8);
ASSERT((CRVideo_Session)-1 > 0);
ASSERT(sizeof(CRVideo_Queue) == 8);
ASSERT((CRVideo_Queue)-1 > 0);
ASSERT(sizeof(RTM_Client) == 8);
ASSERT((RTM_Client)-1 > 0);

/* Structs, where pointers have 64 bits. */
#define ASSERT64(condition) ASSERT(sizeof(void *) != 8 || (condition))
#define AT(type, field, offset, size) \
    ASSERT64(offsetof(type, field) == (offset) && sizeof(((type *)0)->field) == (size))
ASSERT64(sizeof(CRVideo_Config) == 80);
AT(CRVideo_Config, struct_size, 0, 4);
AT(CRVideo_Config, flags, 4, 4);
AT(CRVideo_Config, queue, 8, 8);
AT(CRVideo_Config, download_dir, 16, 8);
AT(CRVideo_Config, buffer_limit, 24, 8);
AT(CRVideo_Config, inbound_limit, 32, 8);
AT(CRVideo_Config, outbound_limit, 40, 8);
AT(CRVideo_Config, task_limit, 48, 4);
AT(CRVideo_Config, cmd_timeout_ms, 52, 4);
AT(CRVideo_Config, transfer_timeout_ms, 56, 4);
AT(CRVideo_Config, offer_timeout_ms, 60, 4);
AT(CRVideo_Config, file_ttl_s, 64, 4);
AT(CRVideo_Config, max_send_bytes_per_s, 68, 4);
AT(CRVideo_Config, download_quota, 72, 8);
ASSERT64(sizeof(CRVideo_LoginInfo) == 64);
AT(CRVideo_LoginInfo, struct_size, 0, 4);
AT(CRVideo_LoginInfo, project, 4, 4);
AT(CRVideo_LoginInfo, servers, 8, 8);
AT(CRVideo_LoginInfo, user_id, 16, 8);
AT(CRVideo_LoginInfo, token, 24, 8);
AT(CRVideo_LoginInfo, secret, 32, 8);
AT(CRVideo_LoginInfo, tls, 40, 4);
AT(CRVideo_LoginInfo, tls_flags, 44, 4);
AT(CRVideo_LoginInfo, ca_file, 48, 8);
AT(CRVideo_LoginInfo, pinned_key, 56, 8);
ASSERT64(sizeof(CRVideo_SendOptions) == 24);
AT(CRVideo_SendOptions, struct_size, 0, 4);
AT(CRVideo_SendOptions, timeout_ms, 4, 4);
AT(CRVideo_SendOptions, task_id, 8, 8);
AT(CRVideo_SendOptions, display_name, 16, 8);
ASSERT64(sizeof(CRVideo_RtmMessage) == 80);
AT(CRVideo_RtmMessage, struct_size, 0, 4);
AT(CRVideo_RtmMessage, mtype, 4, 4);
AT(CRVideo_RtmMessage, from, 8, 8);
AT(CRVideo_RtmMessage, mid, 16, 8);
AT(CRVideo_RtmMessage, mtime_ms, 24, 8);
AT(CRVideo_RtmMessage, place, 32, 8);
AT(CRVideo_RtmMessage, kind, 40, 4);
AT(CRVideo_RtmMessage, len, 44, 4);
AT(CRVideo_RtmMessage, source, 48, 8);
AT(CRVideo_RtmMessage, task_id, 56, 8);
AT(CRVideo_RtmMessage, attrs, 64, 8);
AT(CRVideo_RtmMessage, data, 72, 8);
ASSERT64(sizeof(RTM_CallOptions) == 16);
AT(RTM_CallOptions, struct_size, 0, 4);
AT(RTM_CallOptions, timeout_ms, 4, 4);
AT(RTM_CallOptions, mid, 8, 8);
ASSERT64(sizeof(RTM_Result) == 272);
AT(RTM_Result, struct_size, 0, 4);
AT(RTM_Result, err, 4, 4);
AT(RTM_Result, number, 8, 8);
AT(RTM_Result, text, 16, 256);
ASSERT64(sizeof(RTM_SendResult) == 288);
AT(RTM_SendResult, struct_size, 0, 4);
AT(RTM_SendResult, err, 4, 4);
AT(RTM_SendResult, mid, 8, 8);
AT(RTM_SendResult, mtime, 16, 8);
AT(RTM_SendResult, text, 24, 256);
AT(RTM_SendResult, recipient_results, 280, 4);
AT(RTM_SendResult, reserved, 284, 4);
ASSERT64(sizeof(RTM_TokenResult) == 1552);
AT(RTM_TokenResult, struct_size, 0, 4);
AT(RTM_TokenResult, err, 4, 4);
AT(RTM_TokenResult, token, 8, 1024);
AT(RTM_TokenResult, endpoint, 1032, 264);
AT(RTM_TokenResult, text, 1296, 256);
ASSERT64(sizeof(RTM_ListResult) == 288);
AT(RTM_ListResult, struct_size, 0, 4);
AT(RTM_ListResult, err, 4, 4);
AT(RTM_ListResult, ids, 8, 8);
AT(RTM_ListResult, capacity, 16, 8);
AT(RTM_ListResult, count, 24, 8);
AT(RTM_ListResult, text, 32, 256);
ASSERT64(sizeof(RTM_Config) == 40);
AT(RTM_Config, struct_size, 0, 4);
AT(RTM_Config, project, 4, 4);
AT(RTM_Config, queue, 8, 8);
AT(RTM_Config, secret, 16, 8);
AT(RTM_Config, endpoint, 24, 8);
AT(RTM_Config, timeout_ms, 32, 4);
AT(RTM_Config, reserved, 36, 4);
ASSERT64(sizeof(RTM_File) == 48);
AT(RTM_File, struct_size, 0, 4);
AT(RTM_File, reserved, 4, 4);
AT(RTM_File, path, 8, 8);
AT(RTM_File, data, 16, 8);
AT(RTM_File, len, 24, 8);
AT(RTM_File, name, 32, 8);
AT(RTM_File, attrs, 40, 8);
ASSERT64(sizeof(RTM_Listen) == 72);
AT(RTM_Listen, struct_size, 0, 4);
AT(RTM_Listen, flags, 4, 4);
AT(RTM_Listen, uids, 8, 8);
AT(RTM_Listen, uid_count, 16, 8);
AT(RTM_Listen, gids, 24, 8);
AT(RTM_Listen, gid_count, 32, 8);
AT(RTM_Listen, rids, 40, 8);
AT(RTM_Listen, rid_count, 48, 8);
AT(RTM_Listen, events, 56, 8);
AT(RTM_Listen, event_count, 64, 8);
ASSERT64(sizeof(RTM_Push) == 104);
AT(RTM_Push, struct_size, 0, 4);
AT(RTM_Push, mtype, 4, 4);
AT(RTM_Push, from, 8, 8);
AT(RTM_Push, target, 16, 8);
AT(RTM_Push, mid, 24, 8);
AT(RTM_Push, mtime, 32, 8);
AT(RTM_Push, msg, 40, 8);
AT(RTM_Push, msg_len, 48, 8);
AT(RTM_Push, attrs, 56, 8);
AT(RTM_Push, url, 64, 8);
AT(RTM_Push, thumbnail_url, 72, 8);
AT(RTM_Push, size, 80, 8);
AT(RTM_Push, file_name, 88, 8);
AT(RTM_Push, custom, 96, 8);
ASSERT64(sizeof(RTM_RecipientResult) == 48);
AT(RTM_RecipientResult, struct_size, 0, 4);
AT(RTM_RecipientResult, state, 4, 4);
AT(RTM_RecipientResult, target_kind, 8, 4);
AT(RTM_RecipientResult, err, 12, 4);
AT(RTM_RecipientResult, from, 16, 8);
AT(RTM_RecipientResult, target, 24, 8);
AT(RTM_RecipientResult, mid, 32, 8);
AT(RTM_RecipientResult, uid, 40, 8);

/* Callbacks. */
void (*c_RsltCallback)(void *, int, void *) = (CRVideo_RsltCallback)0;
void (*c_LineOffCallback)(void *, int) = (CRVideo_LineOffCallback)0;
void (*c_NoticeCallback)(void *) = (CRVideo_NoticeCallback)0;
void (*c_SendRlstCallback)(void *, const char *, int, void *) = (CRVideo_SendRlstCallback)0;
void (*c_SendFileRlstCallback)(void *, const char *, const char *, int, void *) = (CRVideo_SendFileRlstCallback)0;
void (*c_SendProgressCallback)(void *, const char *, uint64_t, uint64_t, void *) = (CRVideo_SendProgressCallback)0;
void (*c_NotifyDataCallback)(void *, const char *, const char *, const void *, size_t) =
    (CRVideo_NotifyDataCallback)0;
void (*c_NotifyFileCallback)(void *, const char *, const char *, const char *, const char *) =
    (CRVideo_NotifyFileCallback)0;
void (*c_NotifyCancelSendCallback)(void *, const char *, const char *, int) = (CRVideo_NotifyCancelSendCallback)0;
void (*c_TransferOfferCallback)(void *, const char *, const char *, int, const char *, uint64_t) =
    (CRVideo_TransferOfferCallback)0;
void (*c_ReceiveProgressCallback)(void *, const char *, const char *, uint64_t, uint64_t) =
    (CRVideo_ReceiveProgressCallback)0;
void (*c_NotifyRtmMessageCallback)(void *, const CRVideo_RtmMessage *) = (CRVideo_NotifyRtmMessageCallback)0;
void (*c_UserStatusCallback)(void *, const char *, int) = (CRVideo_UserStatusCallback)0;
void (*c_UserStatusRsltCallback)(void *, int, const char *const *, size_t, void *) =
    (CRVideo_UserStatusRsltCallback)0;
void (*c_WakeCallback)(void *) = (CRVideo_WakeCallback)0;
void (*c_LogCallback)(void *, int, const char *, const char *) = (CRVideo_LogCallback)0;
void (*c_RTM_TokenCallback)(void *, const RTM_TokenResult *) = (RTM_TokenCallback)0;
void (*c_RTM_SendCallback)(void *, const RTM_SendResult *) = (RTM_SendCallback)0;
void (*c_RTM_Callback)(void *, const RTM_Result *) = (RTM_Callback)0;
void (*c_RTM_ListCallback)(void *, const RTM_ListResult *) = (RTM_ListCallback)0;
void (*c_RTM_PushCallback)(void *, const RTM_Push *) = (RTM_PushCallback)0;
void (*c_RTM_PushEventCallback)(void *, const char *, int64_t, int64_t, const char *, const char *) = (RTM_PushEventCallback)0;
void (*c_RTM_RecipientResultCallback)(void *, const RTM_RecipientResult *) = (RTM_RecipientResultCallback)0;
void (*c_RTM_LineCallback)(void *, int, const char *) = (RTM_LineCallback)0;

/* Functions. */
const char *(*p_Version)(void) = CRVideo_Version;
const char *(*p_ErrText)(int) = CRVideo_ErrText;
void (*p_ConfigInit)(CRVideo_Config *) = CRVideo_ConfigInit;
void (*p_ConfigInitSized)(CRVideo_Config *, size_t) = CRVideo_ConfigInitSized;
void (*p_LoginInfoInit)(CRVideo_LoginInfo *) = CRVideo_LoginInfoInit;
void (*p_LoginInfoInitSized)(CRVideo_LoginInfo *, size_t) = CRVideo_LoginInfoInitSized;
int (*p_Create)(const CRVideo_Config *, uint64_t *) = CRVideo_Create;
int (*p_Destroy)(uint64_t) = CRVideo_Destroy;
int (*p_Login)(uint64_t, const CRVideo_LoginInfo *, void *) = CRVideo_Login;
int (*p_Logout)(uint64_t, void *) = CRVideo_Logout;
int (*p_UpdateToken)(uint64_t, const char *) = CRVideo_UpdateToken;
void (*p_SendOptionsInit)(CRVideo_SendOptions *) = CRVideo_SendOptionsInit;
int (*p_SendCmd)(uint64_t, const char *, const void *, size_t, const CRVideo_SendOptions *, void *, char *) =
    CRVideo_SendCmd;
int (*p_SendBuffer)(uint64_t, const char *, const void *, size_t, const CRVideo_SendOptions *, void *, char *) =
    CRVideo_SendBuffer;
int (*p_SendFile)(uint64_t, const char *, const char *, const CRVideo_SendOptions *, void *, char *) =
    CRVideo_SendFile;
int (*p_CancelSend)(uint64_t, const char *, void *) = CRVideo_CancelSend;
int (*p_AcceptTransfer)(uint64_t, const char *, const char *, const char *) = CRVideo_AcceptTransfer;
int (*p_RefuseTransfer)(uint64_t, const char *, const char *) = CRVideo_RefuseTransfer;
int (*p_CancelReceive)(uint64_t, const char *, const char *) = CRVideo_CancelReceive;
int (*p_GetUserStatus)(uint64_t, const char *, void *) = CRVideo_GetUserStatus;
int (*p_StartUserStatusPush)(uint64_t, void *) = CRVideo_StartUserStatusPush;
int (*p_StopUserStatusPush)(uint64_t, void *) = CRVideo_StopUserStatusPush;
int (*p_SetLoginRsltCallback)(uint64_t, CRVideo_RsltCallback, void *) = CRVideo_SetLoginRsltCallback;
int (*p_SetLogoutRsltCallback)(uint64_t, CRVideo_RsltCallback, void *) = CRVideo_SetLogoutRsltCallback;
int (*p_SetLineOffCallback)(uint64_t, CRVideo_LineOffCallback, void *) = CRVideo_SetLineOffCallback;
int (*p_SetLineOnCallback)(uint64_t, CRVideo_NoticeCallback, void *) = CRVideo_SetLineOnCallback;
int (*p_SetTokenWillExpireCallback)(uint64_t, CRVideo_NoticeCallback, void *) = CRVideo_SetTokenWillExpireCallback;
int (*p_SetSendCmdRlstCallback)(uint64_t, CRVideo_SendRlstCallback, void *) = CRVideo_SetSendCmdRlstCallback;
int (*p_SetSendBufferRlstCallback)(uint64_t, CRVideo_SendRlstCallback, void *) = CRVideo_SetSendBufferRlstCallback;
int (*p_SetSendFileRlstCallback)(uint64_t, CRVideo_SendFileRlstCallback, void *) = CRVideo_SetSendFileRlstCallback;
int (*p_SetSendProgressCallback)(uint64_t, CRVideo_SendProgressCallback, void *) = CRVideo_SetSendProgressCallback;
int (*p_SetCancelSendRlstCallback)(uint64_t, CRVideo_SendRlstCallback, void *) = CRVideo_SetCancelSendRlstCallback;
int (*p_SetNotifyCmdDataCallback)(uint64_t, CRVideo_NotifyDataCallback, void *) = CRVideo_SetNotifyCmdDataCallback;
int (*p_SetNotifyBufferDataCallback)(uint64_t, CRVideo_NotifyDataCallback, void *) =
    CRVideo_SetNotifyBufferDataCallback;
int (*p_SetNotifyFileDataCallback)(uint64_t, CRVideo_NotifyFileCallback, void *) = CRVideo_SetNotifyFileDataCallback;
int (*p_SetNotifyCancelSendCallback)(uint64_t, CRVideo_NotifyCancelSendCallback, void *) =
    CRVideo_SetNotifyCancelSendCallback;
int (*p_SetTransferOfferCallback)(uint64_t, CRVideo_TransferOfferCallback, void *) = CRVideo_SetTransferOfferCallback;
int (*p_SetReceiveProgressCallback)(uint64_t, CRVideo_ReceiveProgressCallback, void *) =
    CRVideo_SetReceiveProgressCallback;
int (*p_SetNotifyRtmMessageCallback)(uint64_t, CRVideo_NotifyRtmMessageCallback, void *) =
    CRVideo_SetNotifyRtmMessageCallback;
int (*p_SetUserStatusCallback)(uint64_t, CRVideo_UserStatusCallback, void *) = CRVideo_SetUserStatusCallback;
int (*p_SetUserStatusRsltCallback)(uint64_t, CRVideo_UserStatusRsltCallback, void *) =
    CRVideo_SetUserStatusRsltCallback;
int (*p_SetStatusPushRsltCallback)(uint64_t, CRVideo_RsltCallback, void *) = CRVideo_SetStatusPushRsltCallback;
int (*p_SetReleasedCallback)(uint64_t, CRVideo_NoticeCallback, void *) = CRVideo_SetReleasedCallback;
int (*p_CreateQueue)(uint64_t *) = CRVideo_CreateQueue;
int (*p_DestroyQueue)(uint64_t) = CRVideo_DestroyQueue;
int (*p_PollEvents)(uint64_t, uint32_t, uint32_t *) = CRVideo_PollEvents;
int (*p_GetQueueFd)(uint64_t, intptr_t *) = CRVideo_GetQueueFd;
int (*p_SetWakeCallback)(uint64_t, CRVideo_WakeCallback, void *) = CRVideo_SetWakeCallback;
int (*p_SetLogCallback)(uint64_t, int32_t, CRVideo_LogCallback, void *) = CRVideo_SetLogCallback;
void (*p_RTM_CallOptionsInit)(RTM_CallOptions *) = RTM_CallOptionsInit;
void (*p_RTM_ResultInit)(RTM_Result *) = RTM_ResultInit;
void (*p_RTM_SendResultInit)(RTM_SendResult *) = RTM_SendResultInit;
void (*p_RTM_TokenResultInit)(RTM_TokenResult *) = RTM_TokenResultInit;
void (*p_RTM_ListResultInit)(RTM_ListResult *) = RTM_ListResultInit;
void (*p_RTM_ConfigInit)(RTM_Config *) = RTM_ConfigInit;
int (*p_RTM_Create)(const RTM_Config *, uint64_t *) = RTM_Create;
int (*p_RTM_Destroy)(uint64_t) = RTM_Destroy;
int (*p_RTM_SetReleasedCallback)(uint64_t, CRVideo_NoticeCallback, void *) = RTM_SetReleasedCallback;
void (*p_RTM_FileInit)(RTM_File *) = RTM_FileInit;
int (*p_RTM_FileToken)(uint64_t, int64_t, const char *, const int64_t *, size_t, const RTM_CallOptions *,
    RTM_TokenCallback, void *, RTM_TokenResult *) =
    RTM_FileToken;
int (*p_RTM_SendFile)(uint64_t, int64_t, int64_t, int32_t, const RTM_File *, const RTM_CallOptions *,
    RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendFile;
int (*p_RTM_SendFiles)(uint64_t, int64_t, const int64_t *, size_t, int32_t, const RTM_File *,
    const RTM_CallOptions *, RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendFiles;
int (*p_RTM_SendGroupFile)(uint64_t, int64_t, int64_t, int32_t, const RTM_File *, const RTM_CallOptions *,
    RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendGroupFile;
int (*p_RTM_SendRoomFile)(uint64_t, int64_t, int64_t, int32_t, const RTM_File *, const RTM_CallOptions *,
    RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendRoomFile;
int (*p_RTM_BroadcastFile)(uint64_t, int64_t, int32_t, const RTM_File *, const RTM_CallOptions *, RTM_SendCallback,
    void *, RTM_SendResult *) =
    RTM_BroadcastFile;
int (*p_RTM_SendMsg)(uint64_t, int64_t, int64_t, int32_t, const void *, size_t, const char *,
    const RTM_CallOptions *, RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendMsg;
int (*p_RTM_SendMsgs)(uint64_t, int64_t, const int64_t *, size_t, int32_t, const void *, size_t, const char *,
    const RTM_CallOptions *, RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendMsgs;
int (*p_RTM_SendGroupMsg)(uint64_t, int64_t, int64_t, int32_t, const void *, size_t, const char *,
    const RTM_CallOptions *, RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendGroupMsg;
int (*p_RTM_SendRoomMsg)(uint64_t, int64_t, int64_t, int32_t, const void *, size_t, const char *,
    const RTM_CallOptions *, RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_SendRoomMsg;
int (*p_RTM_BroadcastMsg)(uint64_t, int64_t, int32_t, const void *, size_t, const char *, const RTM_CallOptions *,
    RTM_SendCallback, void *, RTM_SendResult *) =
    RTM_BroadcastMsg;
int (*p_RTM_GetToken)(uint64_t, int64_t, const RTM_CallOptions *, RTM_TokenCallback, void *, RTM_TokenResult *) =
    RTM_GetToken;
int (*p_RTM_RemoveToken)(uint64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_RemoveToken;
int (*p_RTM_Kickout)(uint64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) = RTM_Kickout;
int (*p_RTM_GetOnlineUsers)(uint64_t, const int64_t *, size_t, const RTM_CallOptions *, RTM_ListCallback, void *,
    RTM_ListResult *) =
    RTM_GetOnlineUsers;
int (*p_RTM_AddGroupMembers)(uint64_t, int64_t, const int64_t *, size_t, const RTM_CallOptions *, RTM_Callback,
    void *, RTM_Result *) =
    RTM_AddGroupMembers;
int (*p_RTM_DelGroupMembers)(uint64_t, int64_t, const int64_t *, size_t, const RTM_CallOptions *, RTM_Callback,
    void *, RTM_Result *) =
    RTM_DelGroupMembers;
int (*p_RTM_DelGroup)(uint64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_DelGroup;
int (*p_RTM_GetGroupMembers)(uint64_t, int64_t, const RTM_CallOptions *, RTM_ListCallback, void *,
    RTM_ListResult *) =
    RTM_GetGroupMembers;
int (*p_RTM_GetGroupCount)(uint64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_GetGroupCount;
int (*p_RTM_IsGroupMember)(uint64_t, int64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *,
    RTM_Result *) =
    RTM_IsGroupMember;
int (*p_RTM_GetUserGroups)(uint64_t, int64_t, const RTM_CallOptions *, RTM_ListCallback, void *, RTM_ListResult *) =
    RTM_GetUserGroups;
int (*p_RTM_AddRoomMember)(uint64_t, int64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *,
    RTM_Result *) =
    RTM_AddRoomMember;
int (*p_RTM_DelRoomMember)(uint64_t, int64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *,
    RTM_Result *) =
    RTM_DelRoomMember;
int (*p_RTM_GetRoomMembers)(uint64_t, int64_t, const RTM_CallOptions *, RTM_ListCallback, void *,
    RTM_ListResult *) =
    RTM_GetRoomMembers;
int (*p_RTM_GetRoomCount)(uint64_t, int64_t, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_GetRoomCount;
void (*p_RTM_ListenInit)(RTM_Listen *) = RTM_ListenInit;
int (*p_RTM_SetListen)(uint64_t, const RTM_Listen *, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_SetListen;
int (*p_RTM_AddListen)(uint64_t, const RTM_Listen *, const RTM_CallOptions *, RTM_Callback, void *, RTM_Result *) =
    RTM_AddListen;
int (*p_RTM_RemoveListen)(uint64_t, const RTM_Listen *, const RTM_CallOptions *, RTM_Callback, void *,
    RTM_Result *) =
    RTM_RemoveListen;
int (*p_RTM_SetPushMsgCallback)(uint64_t, RTM_PushCallback, void *) = RTM_SetPushMsgCallback;
int (*p_RTM_SetPushGroupMsgCallback)(uint64_t, RTM_PushCallback, void *) = RTM_SetPushGroupMsgCallback;
int (*p_RTM_SetPushRoomMsgCallback)(uint64_t, RTM_PushCallback, void *) = RTM_SetPushRoomMsgCallback;
int (*p_RTM_SetPushEventCallback)(uint64_t, RTM_PushEventCallback, void *) = RTM_SetPushEventCallback;
int (*p_RTM_SetLineCallback)(uint64_t, RTM_LineCallback, void *) = RTM_SetLineCallback;
int (*p_RTM_SetRecipientResultCallback)(uint64_t, RTM_RecipientResultCallback, void *) =
    RTM_SetRecipientResultCallback;

static int same_config(const CRVideo_Config *config)
{
    return config->struct_size == sizeof *config && config->flags == 0 && config->queue == 0 &&
           config->download_dir == NULL && config->buffer_limit == 104857600 && config->inbound_limit == 268435456 &&
           config->outbound_limit == 268435456 && config->task_limit == 65536 && config->cmd_timeout_ms == 30000 &&
           config->transfer_timeout_ms == 60000 && config->offer_timeout_ms == 30000 && config->file_ttl_s == 86400 &&
           config->max_send_bytes_per_s == 0 && config->download_quota == 0;
}

/* What is prepared is its size and zeros. */
#define PREPARED(type, init, first) \
    do { \
        type value_; \
        type zero_; \
        memset(&value_, 0xAA, sizeof value_); \
        memset(&zero_, 0, sizeof zero_); \
        init(&value_); \
        zero_.struct_size = sizeof zero_; \
        if (value_.struct_size != sizeof value_ || value_.first != zero_.first) \
            return 7; \
    } while (0)

static int rtm_structs(void)
{
    RTM_Config config;
    memset(&config, 0xAA, sizeof config);
    RTM_ConfigInit(&config);
    if (config.struct_size != sizeof config || config.project || config.queue || config.secret || config.endpoint ||
        config.timeout_ms != 30000 || config.reserved)
        return 7;
    PREPARED(RTM_CallOptions, RTM_CallOptionsInit, mid);
    PREPARED(RTM_File, RTM_FileInit, attrs);
    PREPARED(RTM_Listen, RTM_ListenInit, event_count);
    PREPARED(RTM_Result, RTM_ResultInit, text[RTM_TEXT_SIZE - 1]);
    PREPARED(RTM_SendResult, RTM_SendResultInit, text[RTM_TEXT_SIZE - 1]);
    PREPARED(RTM_TokenResult, RTM_TokenResultInit, text[RTM_TEXT_SIZE - 1]);
    PREPARED(RTM_ListResult, RTM_ListResultInit, text[RTM_TEXT_SIZE - 1]);
    return strcmp(CRVideo_ErrText(RTM_ERR_TIMEOUT), CRVideo_ErrText(-1)) == 0 ? 8 : 0;
}

/* 0, or a number that tells where header and library differ. */
int main(void)
{
    CRVideo_Config config;
    CRVideo_LoginInfo info;
    CRVideo_SendOptions options;
    if (strcmp(CRVideo_Version(), CRVIDEO_VERSION) != 0)
        return 1;
    memset(&config, 0xAA, sizeof config);
    CRVideo_ConfigInit(&config);
    if (!same_config(&config))
        return 2;
    memset(&info, 0xAA, sizeof info);
    CRVideo_LoginInfoInit(&info);
    if (info.struct_size != sizeof info || info.project || info.servers || info.user_id || info.token || info.secret)
        return 3;
    memset(&options, 0xAA, sizeof options);
    CRVideo_SendOptionsInit(&options);
    if (options.struct_size != sizeof options || options.timeout_ms || options.task_id || options.display_name)
        return 4;
    if (strcmp(CRVideo_ErrText(CRVideo_NOERR), "Success.") != 0 || CRVideo_ErrText(-1) == NULL)
        return 5;
    if (CRVideo_Create(NULL, NULL) != CRVideo_PARAM_ERR)
        return 6;
    return rtm_structs();
}
