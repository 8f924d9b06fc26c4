/*
 * crvideo.h: commands, memory buffers and files from user to user.    Generated from src/ffi by cbindgen; do not edit.
 *
 * Errors     Every call returns CRVideo_NOERR (0) or a CRVideo_ code; CRVideo_ErrText explains it. What can be known at
 *            once (bad argument, not logged in, too large) is the call's own result, and then nothing else happens.
 *            After CRVideo_NOERR, an event tells the rest: a send gets exactly one ...Rlst event, whatever happens to
 *            it. Out-parameters are written on success only.
 * Memory     You free nothing of the library's, it frees nothing of yours. Pointers that you pass are needed until the
 *            call returns; pointers that a callback gets live until it returns, so copy what you keep. Texts are UTF-8
 *            and end with a NUL. A cookie is yours: it is never read, and comes back in the events of its call; a
 *            send's cookie is done with when its ...Rlst has come. A struct with a struct_size is filled by its
 *            ...Init function first. Sessions, RTM clients and queues are numbers: an old or wrong one gives
 *            CRVideo_NOT_INIT.
 * Callbacks  One function for each event; set them before CRVideo_Login. They may call every function of this header.
 *            They must not leave by a C++ exception, longjmp or pthread_exit: the process ends with a message, after
 *            a longjmp by the thread's next call (crvideo.hpp catches exceptions). One that takes long delays the
 *            events behind it, never the network.
 * Threads    Every function may be called from every thread at any time. Callbacks run one at a time and in order: on
 *            the library's own callback thread, or, for sessions created with a queue of yours, on the thread
 *            that calls CRVideo_PollEvents, and only while it does. An event may come before the call that it
 *            belongs to has returned. A pthread_cancel takes effect after the call that it meets, callbacks included;
 *            asynchronous cancellation (PTHREAD_CANCEL_ASYNCHRONOUS) is not for threads that call the library.
 * Shutdown   CRVideo_Destroy outside callbacks returns when every event that was due has been delivered; after it no
 *            callback of the session runs or will run. Inside a callback it returns at once, and the Released
 *            callback is the last one. Then destroy your queues. exit() may be called at any time. In a child
 *            after fork() every call returns CRVideo_NOT_INIT; exec is fine.
 *
 * RTM        A server that sends to users of an RTM gate creates an RTM_Client. Its calls wait when they are given no
 *            callback, else that callback is called exactly once; results hold the server's own numbers and words.
 *            The rules above hold for it as well, with RTM_Destroy.
 *
 * A program that sends one file and waits for the result, in short:
 *
 *     static void on_sent(void *user, const char *task_id, const char *file, CRVideo_Err err, void *done) {
 *         printf("%s: %s\n", file, CRVideo_ErrText(err)); *(int *)done = 1; (void)user; (void)task_id;
 *     }
 *     static void on_login(void *user, CRVideo_Err err, void *done) {
 *         if (!err) err = CRVideo_SendFile(*(CRVideo_Session *)user, "bob", "a.txt", NULL, done, NULL);
 *         if (err) on_sent(NULL, NULL, "a.txt", err, done);
 *     }
 *     int main(void) {
 *         CRVideo_Session session; CRVideo_Config config; CRVideo_LoginInfo info; int done = 0;
 *         CRVideo_ConfigInit(&config); CRVideo_LoginInfoInit(&info);
 *         info.project = 1; info.servers = "127.0.0.1:13001"; info.user_id = "alice"; info.secret = "secret";
 *         if (CRVideo_CreateQueue(&config.queue) || CRVideo_Create(&config, &session)) return 1;
 *         CRVideo_SetLoginRsltCallback(session, on_login, &session);
 *         CRVideo_SetSendFileRlstCallback(session, on_sent, NULL);
 *         if (CRVideo_Login(session, &info, &done)) return 1;
 *         while (!done) CRVideo_PollEvents(config.queue, 1000, NULL);
 *         return CRVideo_Destroy(session) || CRVideo_DestroyQueue(config.queue);
 *     }
 */


#ifndef CRVIDEO_H
#define CRVIDEO_H

#include <stddef.h>
#include <stdint.h>

/** The version of this header; `CRVideo_Version` tells the library's. */
#define CRVIDEO_VERSION "0.1.0"
#define CRVIDEO_VERSION_MAJOR 0
#define CRVIDEO_VERSION_MINOR 1
#define CRVIDEO_VERSION_PATCH 0

/**
 * A user id has 1 to this many bytes of UTF-8, the NUL not counted; letter case counts.
 */
#define CRVIDEO_USER_ID_MAX 128

/**
 * Flag of `CRVideo_Config`: a received file is synced to the disk before its sender hears of success. Slower, and then
 * no power failure takes it back.
 */
#define CRVIDEO_CONFIG_DURABLE 1

/**
 * Value of `tls` in `CRVideo_LoginInfo`: every connection is encrypted, but for those to loopback addresses (127.0.0.0/8
 * and ::1), which counts when the name has been resolved. The default.
 */
#define CRVIDEO_TLS_AUTO 0

/**
 * Value of `tls` in `CRVideo_LoginInfo`: every connection is encrypted.
 */
#define CRVIDEO_TLS_ALWAYS 1

/**
 * Value of `tls` in `CRVideo_LoginInfo`: nothing is encrypted. Everybody on the way can read and change everything, the
 * token as well.
 */
#define CRVIDEO_TLS_NEVER 2

/**
 * Flag of `tls_flags` in `CRVideo_LoginInfo`: every certificate is taken. INSECURE: it protects against nobody who can
 * change what is on the way. Each login with it is a warning in the log.
 */
#define CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE 1

/**
 * The size of a task id's text: 36 characters (a UUID) and a NUL.
 */
#define CRVIDEO_TASK_ID_SIZE 37

/**
 * The largest command in bytes, inclusive.
 */
#define CRVIDEO_CMD_MAX 65536

/**
 * Kind of a transfer: a buffer.
 */
#define CRVIDEO_KIND_BUFFER 1

/**
 * Kind of a transfer: a file.
 */
#define CRVIDEO_KIND_FILE 2

/**
 * Kind of an RTM message: to this user.
 */
#define CRVIDEO_RTM_TO_USER 1

/**
 * Kind of an RTM message: to a group that the user belongs to.
 */
#define CRVIDEO_RTM_TO_GROUP 2

/**
 * Kind of an RTM message: to a room that the user is in.
 */
#define CRVIDEO_RTM_TO_ROOM 3

/**
 * Kind of an RTM message: to everybody of the project.
 */
#define CRVIDEO_RTM_TO_ALL 4

/**
 * Log level: nothing.
 */
#define CRVIDEO_LOG_OFF 0

/**
 * Log level: something failed, and someone must act.
 */
#define CRVIDEO_LOG_ERROR 1

/**
 * Log level: something is odd, and the library goes on.
 */
#define CRVIDEO_LOG_WARN 2

/**
 * Log level: a session's life: logins, lost links, ends.
 */
#define CRVIDEO_LOG_INFO 3

/**
 * Log level: each task.
 */
#define CRVIDEO_LOG_DEBUG 4

/**
 * Log level: each message on the wire. No level shows content, tokens or secrets.
 */
#define CRVIDEO_LOG_TRACE 5

/**
 * Type of a file: an image.
 */
#define RTM_MTYPE_IMAGE 40

/**
 * Type of a file: audio.
 */
#define RTM_MTYPE_AUDIO 41

/**
 * Type of a file: video.
 */
#define RTM_MTYPE_VIDEO 42

/**
 * Type of a file: any other.
 */
#define RTM_MTYPE_FILE 50

/**
 * The largest message in bytes, inclusive.
 */
#define RTM_MESSAGE_MAX 20480

/**
 * The largest attributes in bytes, inclusive. For a file this counts what the library adds (name and signature).
 */
#define RTM_ATTRS_MAX 2048

/**
 * The most ids in a list of a call.
 */
#define RTM_IDS_MAX 20000

/**
 * Bytes of a result's text with its NUL. A longer text of the server is cut.
 */
#define RTM_TEXT_SIZE 256

/**
 * Bytes of a token with its NUL.
 */
#define RTM_TOKEN_SIZE 1024

/**
 * Bytes of an endpoint with its NUL.
 */
#define RTM_ENDPOINT_SIZE 264

/**
 * Flag of `RTM_Listen`: all messages between users.
 */
#define RTM_LISTEN_USERS 1

/**
 * Flag of `RTM_Listen`: all messages in groups.
 */
#define RTM_LISTEN_GROUPS 2

/**
 * Flag of `RTM_Listen`: all messages in rooms.
 */
#define RTM_LISTEN_ROOMS 4

/**
 * Flag of `RTM_Listen`: all events.
 */
#define RTM_LISTEN_EVENTS 8

/**
 * It was sent to a user, or to several.
 */
#define RTM_TARGET_USER 1

/**
 * It was sent to a group.
 */
#define RTM_TARGET_GROUP 2

/**
 * It was sent to a room.
 */
#define RTM_TARGET_ROOM 3

/**
 * It was sent to everybody.
 */
#define RTM_TARGET_ALL 4

/**
 * The recipient is there, and it is being delivered.
 */
#define RTM_RECIPIENT_ACCEPTED 1

/**
 * The recipient is not there (any more); it is kept until he logs in.
 */
#define RTM_RECIPIENT_STORED 2

/**
 * The recipient's program has confirmed it: the message was handled, or the file is there and was verified.
 */
#define RTM_RECIPIENT_DELIVERED 3

/**
 * It will never be delivered; `err` says why.
 */
#define RTM_RECIPIENT_FAILED 4

/**
 * The result of a call or of a task: `CRVideo_NOERR` (0) or one of the codes below. Later versions may add codes:
 * treat one you do not know as a failure and show `CRVideo_ErrText`.
 */
typedef int CRVideo_Err;

/**
 * An event queue. 0 is the library's own, which its callback thread serves. A number is never used again: a call with
 * a queue that has been destroyed returns `CRVideo_NOT_INIT`.
 */
typedef uint64_t CRVideo_Queue;

/**
 * A session's settings. Fill it by `CRVideo_ConfigInit`, then change what you like. In every number but `struct_size`
 * and `flags` a 0 means the default.
 */
typedef struct CRVideo_Config {
    /**
     * The size of this struct in bytes, as the caller knows it; `CRVideo_ConfigInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `CRVIDEO_CONFIG_...` flags, or-ed.
     */
    uint32_t flags;
    /**
     * The queue that the session's events go to; 0: the library's own, served by its callback thread.
     */
    CRVideo_Queue queue;
    /**
     * Where received files are put, a directory that exists, a path of up to 4,096 bytes; NULL: a private directory of
     * the library's own below the system's temporary directory.
     */
    const char *download_dir;
    /**
     * The largest buffer that is sent or taken, in bytes. Default: 104,857,600 (100 MiB).
     */
    uint64_t buffer_limit;
    /**
     * How many bytes of commands and buffers may wait for the callbacks before senders are held back. Default: 256
     * MiB.
     */
    uint64_t inbound_limit;
    /**
     * How many bytes of commands and buffers may be accepted and not ended; above it a send returns
     * `CRVideo_SEND_QUEUE_FULL`. Default: 256 MiB.
     */
    uint64_t outbound_limit;
    /**
     * How many sends may be accepted and not ended; above it a send returns `CRVideo_SEND_QUEUE_FULL`. Default:
     * 65,536.
     */
    uint32_t task_limit;
    /**
     * How long a command may take, in milliseconds. Default: 30,000.
     */
    uint32_t cmd_timeout_ms;
    /**
     * How long a buffer or a file may go without progress that the target confirms, in milliseconds. Default: 60,000.
     */
    uint32_t transfer_timeout_ms;
    /**
     * How long the application may take to answer an offer, in milliseconds; after it the offer is refused.
     * Default: 30,000.
     */
    uint32_t offer_timeout_ms;
    /**
     * After how many seconds a received file that is still where the library put it is deleted. Default: 86,400 (a
     * day).
     */
    uint32_t file_ttl_s;
    /**
     * How many bytes of buffers and files the session sends in a second, all transfers together; what is below 16,384
     * counts as that. Choose time-outs that fit. Default: no limit.
     */
    uint32_t max_send_bytes_per_s;
    /**
     * How many bytes of received files may be where the library put them, or be on their way there; the sender of one
     * that would go beyond it hears `CRVideo_FILE_WRITE_ERR`. Files that you have moved away or deleted do not count, nor
     * do those that you accept to a path of your own. Default: 0, no limit.
     */
    uint64_t download_quota;
} CRVideo_Config;

/**
 * Who logs in, and where. Fill it by `CRVideo_LoginInfoInit`, then set `project` to `secret`, but of `token` and
 * `secret` exactly one; what follows may stay as it is.
 *
 * There is no way from encryption back to plain text: a server that cannot be reached or whose certificate cannot be
 * trusted as it is said here ends the login with `CRVideo_SSL_ERR`, and the log says which check failed. The name in
 * `servers` must stand in the certificate; an address must stand there as an IP address.
 */
typedef struct CRVideo_LoginInfo {
    /**
     * The size of this struct in bytes, as the caller knows it; `CRVideo_LoginInfoInit` sets it.
     */
    uint32_t struct_size;
    /**
     * The project's id, above 0.
     */
    int32_t project;
    /**
     * Relay addresses that are tried in turn, `host:port,[v6]:port`; up to 4,096 bytes.
     */
    const char *servers;
    /**
     * The user, 1 to `CRVIDEO_USER_ID_MAX` bytes of UTF-8.
     */
    const char *user_id;
    /**
     * A token that the application's backend made for this user, up to 3,072 bytes; or NULL.
     */
    const char *token;
    /**
     * The project's secret, up to 1,024 bytes, in a program that may be trusted with it; or NULL. The library makes
     * tokens from it, and it does not leave the process.
     */
    const char *secret;
    /**
     * Which connections are encrypted: `CRVIDEO_TLS_AUTO`, `CRVIDEO_TLS_ALWAYS` or `CRVIDEO_TLS_NEVER`.
     */
    uint32_t tls;
    /**
     * `CRVIDEO_TLS_INSECURE_...` flags, or-ed.
     */
    uint32_t tls_flags;
    /**
     * File in PEM form with the certificates of the authorities that are trusted instead of the system's, a path of up
     * to 4,096 bytes, read at each login; or NULL: the system's.
     */
    const char *ca_file;
    /**
     * The SHA-256 of the only public key that the relay may have (of its DER form, SubjectPublicKeyInfo), 64
     * hexadecimal digits or base64, `sha256//` may stand before it; or NULL: any key. Without `ca_file` the key stands
     * for the chain and the dates of the certificate, which may then be self-signed; with it both must be right.
     */
    const char *pinned_key;
} CRVideo_LoginInfo;

/**
 * One user's login. 0 is never a session. A number is never used again: a call with a session that has been destroyed
 * returns `CRVideo_NOT_INIT`.
 */
typedef uint64_t CRVideo_Session;

/**
 * What can be set for one send. Fill it by `CRVideo_SendOptionsInit`, then change what you like.
 */
typedef struct CRVideo_SendOptions {
    /**
     * The size of this struct in bytes, as the caller knows it; `CRVideo_SendOptionsInit` sets it.
     */
    uint32_t struct_size;
    /**
     * The time-out in milliseconds, of the kind that the session's configuration has for commands or for transfers;
     * 0: the session's.
     */
    uint32_t timeout_ms;
    /**
     * A task id of the caller's own, the text of a UUID; NULL: the library makes one. The same id again while its task
     * runs is `CRVideo_LOGINSTATE_ERROR`; soon after its end the stored outcome is told again and nothing is sent.
     */
    const char *task_id;
    /**
     * The name that the target is shown for a buffer or a file, 1 to 255 bytes of UTF-8; NULL: the last part of the
     * file's path. Needed where the path is not UTF-8.
     */
    const char *display_name;
} CRVideo_SendOptions;

/**
 * Tells the result of the call that gave `cookie`: `LoginRslt`, `LogoutRslt`, `StatusPushRslt`.
 */
typedef void (*CRVideo_RsltCallback)(void *user, CRVideo_Err err, void *cookie);

/**
 * Tells that the link is lost, and why.
 */
typedef void (*CRVideo_LineOffCallback)(void *user, CRVideo_Err err);

/**
 * Says that something has happened that has no particulars: `LineOn`, `TokenWillExpire`, `Released`.
 */
typedef void (*CRVideo_NoticeCallback)(void *user);

/**
 * Tells the result of a task or of cancelling one: `SendCmdRlst`, `SendBufferRlst`, `CancelSendRlst`. The text lives
 * until it returns.
 */
typedef void (*CRVideo_SendRlstCallback)(void *user, const char *task_id, CRVideo_Err err, void *cookie);

/**
 * Tells the result of sending a file. `file_name` is the path as the caller gave it. The texts live until it returns.
 */
typedef void (*CRVideo_SendFileRlstCallback)(void *user,
                                             const char *task_id,
                                             const char *file_name,
                                             CRVideo_Err err,
                                             void *cookie);

/**
 * Tells how many bytes of a buffer or file the target has confirmed. The text lives until it returns.
 */
typedef void (*CRVideo_SendProgressCallback)(void *user,
                                             const char *task_id,
                                             uint64_t sent,
                                             uint64_t total,
                                             void *cookie);

/**
 * Brings a command or a buffer. `data` is never NULL, and has `len` bytes; do not count on a NUL behind them. Content
 * and texts live until it returns.
 */
typedef void (*CRVideo_NotifyDataCallback)(void *user,
                                           const char *source,
                                           const char *task_id,
                                           const void *data,
                                           size_t len);

/**
 * Brings a file: complete, checked and closed under the path `tmp_file`. Move it away or it is deleted after
 * `file_ttl_s`, unless you accepted it to a path of your own. `org_file_name` is for display; never build a path from it. The texts live until it returns.
 */
typedef void (*CRVideo_NotifyFileCallback)(void *user,
                                           const char *source,
                                           const char *task_id,
                                           const char *tmp_file,
                                           const char *org_file_name);

/**
 * Tells that a transfer that the application has heard of will not arrive: `CRVideo_SEND_CANCELLED` when its sender
 * cancelled it, else why. The texts live until it returns.
 */
typedef void (*CRVideo_NotifyCancelSendCallback)(void *user, const char *source, const char *task_id, CRVideo_Err err);

/**
 * Offers a transfer of `size` bytes. `kind` is `CRVIDEO_KIND_BUFFER` or `CRVIDEO_KIND_FILE`; `name` is for display and
 * may be empty. The texts live until it returns.
 */
typedef void (*CRVideo_TransferOfferCallback)(void *user,
                                              const char *source,
                                              const char *task_id,
                                              int kind,
                                              const char *name,
                                              uint64_t size);

/**
 * Tells how many bytes of a transfer have come in. The texts live until it returns.
 */
typedef void (*CRVideo_ReceiveProgressCallback)(void *user,
                                                const char *source,
                                                const char *task_id,
                                                uint64_t received,
                                                uint64_t total);

/**
 * A message that a server has sent by an RTM function. The library fills it; it and its texts live until the callback
 * returns. Later versions may add fields at the end: `struct_size` tells which are there.
 */
typedef struct CRVideo_RtmMessage {
    /**
     * The size of this struct in bytes, as the library knows it.
     */
    uint32_t struct_size;
    /**
     * Message type, 1 to 127. 40 to 50 are files: the file itself comes by `NotifyFileData` with the same source and
     * task id.
     */
    int32_t mtype;
    /**
     * The sender's number.
     */
    int64_t from;
    /**
     * The sender's own number of the message. Not unique.
     */
    int64_t mid;
    /**
     * When the relay took it, in milliseconds since 1970.
     */
    int64_t mtime_ms;
    /**
     * The group or room; 0 for other kinds.
     */
    int64_t place;
    /**
     * `CRVIDEO_RTM_TO_...`.
     */
    int32_t kind;
    /**
     * Bytes of `data`.
     */
    uint32_t len;
    /**
     * The sender as a user id, the source of a file: the number in decimal.
     */
    const char *source;
    /**
     * Names the message to this user, and the transfer that brings a file. The same message may come again after the
     * program has been started anew; its id tells.
     */
    const char *task_id;
    /**
     * JSON text with `rtm` and `custom`, or empty.
     */
    const char *attrs;
    /**
     * The message: text in most cases, JSON with `url` and `size` for a file. Never NULL; do not count on a NUL.
     */
    const void *data;
} CRVideo_RtmMessage;

/**
 * Brings a message that a server has sent by an RTM function. Everything that `message` points to lives until it
 * returns.
 */
typedef void (*CRVideo_NotifyRtmMessageCallback)(void *user, const struct CRVideo_RtmMessage *message);

/**
 * Tells that a user has come (`online` 1) or gone (0). The text lives until it returns.
 */
typedef void (*CRVideo_UserStatusCallback)(void *user, const char *user_id, int online);

/**
 * Lists the users of whom `CRVideo_GetUserStatus` asked and who are online: `count` texts. `user_ids` is never NULL;
 * it and the texts live until it returns.
 */
typedef void (*CRVideo_UserStatusRsltCallback)(void *user,
                                               CRVideo_Err err,
                                               const char *const *user_ids,
                                               size_t count,
                                               void *cookie);

/**
 * Says that a queue has stopped being empty. It may only pass that on.
 */
typedef void (*CRVideo_WakeCallback)(void *user);

/**
 * Takes one line of the log. `level` is a `CRVIDEO_LOG_...` number, `target` names the part of the library, `message`
 * is one line without its end. The texts live until it returns.
 */
typedef void (*CRVideo_LogCallback)(void *user, int level, const char *target, const char *message);

/**
 * What can be set for one call. Fill it by `RTM_CallOptionsInit`, then change what you like.
 */
typedef struct RTM_CallOptions {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_CallOptionsInit` sets it.
     */
    uint32_t struct_size;
    /**
     * How long the call may take, in milliseconds, all its steps together; 0: what the client's configuration says.
     */
    uint32_t timeout_ms;
    /**
     * For sending: a message id of the caller's own; 0: the library makes one that this process never gives again.
     */
    int64_t mid;
} RTM_CallOptions;

/**
 * How a call has ended that has no particulars, or one number.
 */
typedef struct RTM_Result {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_ResultInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
     */
    CRVideo_Err err;
    /**
     * What was asked for: a count, or 1 for yes and 0 for no; 0 where there is no number.
     */
    int64_t number;
    /**
     * The server's own words, or the library's; empty on success.
     */
    char text[RTM_TEXT_SIZE];
} RTM_Result;

/**
 * How sending has ended.
 */
typedef struct RTM_SendResult {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_SendResultInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
     */
    CRVideo_Err err;
    /**
     * The message's id, also when sending has failed; 0 when the call was refused at once.
     */
    int64_t mid;
    /**
     * The server's time of the message, in milliseconds since 1970; 0 where the server gives none.
     */
    int64_t mtime;
    /**
     * The server's own words, or the library's; empty on success.
     */
    char text[RTM_TEXT_SIZE];
    /**
     * 1: the function of `RTM_SetRecipientResultCallback` hears what becomes of it at each recipient; 0: it does not,
     * because none was set, because the server cannot tell, or because sending has failed.
     */
    uint32_t recipient_results;
    /**
     * 0.
     */
    uint32_t reserved;
} RTM_SendResult;

/**
 * How asking for a token has ended.
 */
typedef struct RTM_TokenResult {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_TokenResultInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
     */
    CRVideo_Err err;
    /**
     * The token; empty on failure.
     */
    char token[RTM_TOKEN_SIZE];
    /**
     * For a file's token: the file gate, `host:port`. Otherwise empty.
     */
    char endpoint[RTM_ENDPOINT_SIZE];
    /**
     * The server's own words, or the library's; empty on success.
     */
    char text[RTM_TEXT_SIZE];
} RTM_TokenResult;

/**
 * How asking for a list of ids has ended.
 */
typedef struct RTM_ListResult {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_ListResultInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `CRVideo_NOERR`, or why it failed: a number of the server's or of this library's. `CRVideo_ErrText` explains both.
     */
    CRVideo_Err err;
    /**
     * The ids. For a call that waits: your memory, set before the call. In a callback: the library's, until it returns.
     */
    int64_t *ids;
    /**
     * How many ids your memory has room for, set before a call that waits. In a callback: the same as `count`.
     */
    size_t capacity;
    /**
     * How many ids there are. Where that is more than `capacity`, only the first `capacity` ones were written.
     */
    size_t count;
    /**
     * The server's own words, or the library's; empty on success.
     */
    char text[RTM_TEXT_SIZE];
} RTM_ListResult;

/**
 * An RTM client's settings. Fill it by `RTM_ConfigInit`, then set `project`, `secret` and `endpoint`.
 */
typedef struct RTM_Config {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_ConfigInit` sets it.
     */
    uint32_t struct_size;
    /**
     * The project's id, above 0.
     */
    int32_t project;
    /**
     * The queue on which callbacks run; 0: the library's own, served by its callback thread.
     */
    CRVideo_Queue queue;
    /**
     * The project's secret, up to 1,024 bytes. It signs each call and does not leave the process.
     */
    const char *secret;
    /**
     * The server gate's addresses, tried in turn, `host:port,[v6]:port`; up to 4,096 bytes.
     */
    const char *endpoint;
    /**
     * How long a call may take, in milliseconds. Default: 30,000.
     */
    uint32_t timeout_ms;
    /**
     * Must be 0.
     */
    uint32_t reserved;
} RTM_Config;

/**
 * A client of an RTM server gate: the side of a server that sends files and messages to users, groups, rooms and
 * everybody, and manages them. It works with this project's relay and with any other RTM server. 0 is never a client. A
 * number is never used again: a call with a client that has been destroyed returns `CRVideo_NOT_INIT`.
 */
typedef uint64_t RTM_Client;

/**
 * A file to send: either `path`, or `data` and `len`. Fill it by `RTM_FileInit`, then set these.
 */
typedef struct RTM_File {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_FileInit` sets it.
     */
    uint32_t struct_size;
    /**
     * Must be 0.
     */
    uint32_t reserved;
    /**
     * A file of this machine, a path of up to 4,096 bytes; it is streamed, however large. NULL: the bytes are in memory.
     */
    const char *path;
    /**
     * The bytes, with `path` NULL; they are copied. NULL where `len` is 0.
     */
    const void *data;
    /**
     * How many bytes `data` has.
     */
    size_t len;
    /**
     * The name that receivers are shown, with its extension, 1 to 255 bytes of UTF-8. NULL: the last part of the path.
     */
    const char *name;
    /**
     * Attributes of the application's own, which receivers get: text or a JSON object. NULL: none.
     */
    const char *attrs;
} RTM_File;

/**
 * Tells how asking for a token has ended. See `RTM_Callback`.
 */
typedef void (*RTM_TokenCallback)(void *cookie, const struct RTM_TokenResult *result);

/**
 * Tells how sending has ended. See `RTM_Callback`.
 */
typedef void (*RTM_SendCallback)(void *cookie, const struct RTM_SendResult *result);

/**
 * Tells how a call has ended, once for each call that gave it and returned `CRVideo_NOERR`. `cookie` is that call's.
 * The result lives until it returns.
 */
typedef void (*RTM_Callback)(void *cookie, const struct RTM_Result *result);

/**
 * Tells how asking for a list of ids has ended. See `RTM_Callback`.
 */
typedef void (*RTM_ListCallback)(void *cookie, const struct RTM_ListResult *result);

/**
 * What to listen to: either everything of some kinds (`flags`), or lists. Fill it by `RTM_ListenInit`, then set what you
 * like.
 */
typedef struct RTM_Listen {
    /**
     * The size of this struct in bytes, as the caller knows it; `RTM_ListenInit` sets it.
     */
    uint32_t struct_size;
    /**
     * `RTM_LISTEN_...` flags, or-ed; 0 with lists.
     */
    uint32_t flags;
    /**
     * Users: messages to them.
     */
    const int64_t *uids;
    /**
     * How many.
     */
    size_t uid_count;
    /**
     * Groups: messages in them.
     */
    const int64_t *gids;
    /**
     * How many.
     */
    size_t gid_count;
    /**
     * Rooms: messages in them.
     */
    const int64_t *rids;
    /**
     * How many.
     */
    size_t rid_count;
    /**
     * Names of events ("login", "logout"), each 1 to 64 bytes of UTF-8.
     */
    const char *const *events;
    /**
     * How many.
     */
    size_t event_count;
} RTM_Listen;

/**
 * A message that was pushed. It and everything that it points to live until the callback returns.
 */
typedef struct RTM_Push {
    /**
     * The size of this struct in bytes, as the library knows it.
     */
    uint32_t struct_size;
    /**
     * The message's type; 40 to 50 are files.
     */
    int32_t mtype;
    /**
     * The sender.
     */
    int64_t from;
    /**
     * The user, group or room that it went to.
     */
    int64_t target;
    /**
     * The message's id, as its sender chose it. A message that comes a second time has the same one.
     */
    int64_t mid;
    /**
     * The server's time of the message, in milliseconds since 1970.
     */
    int64_t mtime;
    /**
     * The content; never NULL. Of a file: JSON text with its address.
     */
    const void *msg;
    /**
     * How many bytes it has; do not count on a NUL behind them.
     */
    size_t msg_len;
    /**
     * The attributes as they came; never NULL.
     */
    const char *attrs;
    /**
     * Of a file: the address from which it can be fetched. NULL: this is no file, or one in an unknown form, and all
     * that follows is NULL or 0.
     */
    const char *url;
    /**
     * Of an image: the address of a small version; may be empty.
     */
    const char *thumbnail_url;
    /**
     * Of a file: its bytes.
     */
    uint64_t size;
    /**
     * Of a file: its name for display, cleaned; may be empty. Never build a path from it.
     */
    const char *file_name;
    /**
     * Of a file: what the sender's application gave as attributes, text or JSON; may be empty.
     */
    const char *custom;
} RTM_Push;

/**
 * Brings a message. See `RTM_Push`.
 */
typedef void (*RTM_PushCallback)(void *user, const struct RTM_Push *push);

/**
 * Tells what a user has done: `event` is "login" or "logout", `time` is in seconds since 1970, `endpoint` is where the
 * user came from, `data` is what the server adds. The texts are never NULL, and live until it returns.
 */
typedef void (*RTM_PushEventCallback)(void *user,
                                      const char *event,
                                      int64_t uid,
                                      int64_t time,
                                      const char *endpoint,
                                      const char *data);

/**
 * Tells that the connection that listens is lost (`err`; the library connects again by itself, and what is pushed
 * meanwhile is missed), or that it listens again (`CRVideo_NOERR`). `text` says why; it lives until it returns.
 */
typedef void (*RTM_LineCallback)(void *user, CRVideo_Err err, const char *text);

/**
 * What has become of a message or file at one recipient. It lives until the callback returns.
 */
typedef struct RTM_RecipientResult {
    /**
     * The size of this struct in bytes, as the library knows it.
     */
    uint32_t struct_size;
    /**
     * One of `RTM_RECIPIENT_...`.
     */
    uint32_t state;
    /**
     * What it was sent to: one of `RTM_TARGET_...`.
     */
    uint32_t target_kind;
    /**
     * For `RTM_RECIPIENT_FAILED` why: `RTM_RECIPIENT_ERR_...`, `CRVideo_PEER_REFUSE` (he has refused the file),
     * `CRVideo_FILE_NOT_EXIST` (the server does not have the file any more), or another number; otherwise
     * `CRVideo_NOERR`.
     */
    CRVideo_Err err;
    /**
     * The sender.
     */
    int64_t from;
    /**
     * The user, group or room that it was sent to; 0 for everybody.
     */
    int64_t target;
    /**
     * The message's id, as `RTM_SendResult` tells it.
     */
    int64_t mid;
    /**
     * The recipient.
     */
    int64_t uid;
} RTM_RecipientResult;

/**
 * Tells what has become of a message or file at one recipient. See `RTM_RecipientResult`.
 */
typedef void (*RTM_RecipientResultCallback)(void *user, const struct RTM_RecipientResult *result);

/**
 * Success.
 */
#define CRVideo_NOERR 0

/**
 * An error without a better description; see the log.
 */
#define CRVideo_UNKNOWNERR 1

/**
 * Not enough memory; free some or send less at a time.
 */
#define CRVideo_OUTOF_MEM 2

/**
 * A fault inside the library; please report it with the log.
 */
#define CRVideo_INNER_ERR 3

/**
 * The relay speaks no protocol version that this library speaks; update the older of the two.
 */
#define CRVideo_MISMATCHCLIENTVER 4

/**
 * An argument is wrong: NULL, empty, too long, malformed or not UTF-8; the caller must correct it.
 */
#define CRVideo_PARAM_ERR 5

/**
 * The content failed its check on arrival; send it again.
 */
#define CRVideo_ERR_DATA 6

/**
 * Unknown project or wrong secret; check both against the relay's configuration.
 */
#define CRVideo_ANCTPSWD_ERR 7

/**
 * The relay has a fault or is stopping; its operator must look at its log.
 */
#define CRVideo_SERVER_EXCEPTION 8

/**
 * This call does not fit the present state (for instance a second login); the caller must wait or correct the order.
 */
#define CRVideo_LOGINSTATE_ERROR 9

/**
 * The same user has logged in elsewhere; this session has ended.
 */
#define CRVideo_KICKOUT_BY_RELOGIN 10

/**
 * The handle is dead or not of this kind, or the process was forked; create a new one.
 */
#define CRVideo_NOT_INIT 11

/**
 * The session is not logged in; log in first.
 */
#define CRVideo_NOT_LOGIN 12

/**
 * The token has expired; fetch a new one.
 */
#define CRVideo_TOKEN_TIMEOUT 18

/**
 * The token does not fit this project or user; fetch one for them.
 */
#define CRVideo_TOKEN_AUTHINFOERR 19

/**
 * The relay does not know this project; check the project id.
 */
#define CRVideo_TOKEN_APPIDNOTEXIST 20

/**
 * The token's signature is wrong; whoever mints tokens must use the project's secret.
 */
#define CRVideo_TOKEN_AUTH_FAILED 21

/**
 * This is not a token the relay can read (a JWT signed with HS256).
 */
#define CRVideo_TOKEN_NOTTOKENTYPE 22

/**
 * The project may not use this function; ask the relay's operator.
 */
#define CRVideo_API_NO_PERMISSION 23

/**
 * The project has expired; ask the relay's operator.
 */
#define CRVideo_ACCOUNT_EXPIRED 24

/**
 * The network could not be set up in this process; see the log.
 */
#define CRVideo_NETWORK_INITFAILED 200

/**
 * The server's name could not be resolved; check the address.
 */
#define CRVideo_NO_SERVERINFO 201

/**
 * The server took the connection but did not answer in time.
 */
#define CRVideo_NOSERVER_RSP 202

/**
 * No connection to the server: refused, unreachable or timed out.
 */
#define CRVideo_CREATE_CONN_FAILED 203

/**
 * The connection broke with an error of the operating system.
 */
#define CRVideo_SOCKETEXCEPTION 204

/**
 * Timed out; nothing has arrived at the target.
 */
#define CRVideo_SOCKETTIMEOUT 205

/**
 * The server closed the connection.
 */
#define CRVideo_FORCEDCLOSECONNECTION 206

/**
 * The connection is lost; nothing has arrived at the target.
 */
#define CRVideo_CONNECTIONLOST 207

/**
 * The encrypted connection failed; check the certificate.
 */
#define CRVideo_SSL_ERR 209

/**
 * The server's answer makes no sense; is it a crvideo relay?
 */
#define CRVideo_RSPDAT_ERR 210

/**
 * The target refused or cancelled the transfer.
 */
#define CRVideo_PEER_REFUSE 606

/**
 * Sending failed for a reason without a better code; see the log.
 */
#define CRVideo_SENDFAIL 1000

/**
 * A command has at most 65,536 bytes; send a buffer instead.
 */
#define CRVideo_SENDCMD_LARGE 1100

/**
 * The buffer is larger than the configured limit; send a file instead.
 */
#define CRVideo_SENDBUFFER_LARGE 1101

/**
 * The target is not logged in or not reachable.
 */
#define CRVideo_SENDDATA_TARGETINVALID 1102

/**
 * The source file is missing, unreadable, or changed while it was sent.
 */
#define CRVideo_SENDFILE_FILEINERROR 1103

/**
 * No task with this id can be cancelled: unknown, finished, or a command.
 */
#define CRVideo_TRANSID_INVALID 1104

/**
 * The sender cancelled it.
 */
#define CRVideo_SEND_CANCELLED 1105

/**
 * A limit on what may be queued is reached, or the target takes too slowly; send more later.
 */
#define CRVideo_SEND_QUEUE_FULL 1106

/**
 * The target has got it once or not at all; nobody can tell which.
 */
#define CRVideo_SEND_OUTCOME_UNKNOWN 1107

/**
 * The file does not exist.
 */
#define CRVideo_FILE_NOT_EXIST 1400

/**
 * The file cannot be read.
 */
#define CRVideo_FILE_READ_ERR 1401

/**
 * The file cannot be written at the receiver; is its disk full?
 */
#define CRVideo_FILE_WRITE_ERR 1402

/**
 * A file of this name exists already at the receiver.
 */
#define CRVideo_FILE_ALREADY_EXIST 1403

/**
 * An operation on the file failed; see the log.
 */
#define CRVideo_FILE_OPERATOR_ERR 1404

/**
 * The file is larger than the relay's policy allows.
 */
#define CRVideo_FILE_SIZE_UNSUPPORT 1405

/**
 * The connection ended before the answer came: the server has acted on the call or not, nobody can tell.
 */
#define RTM_ERR_CLOSED 20002

/**
 * No answer in time: the server has acted on the call or not, nobody can tell.
 */
#define RTM_ERR_TIMEOUT 20003

/**
 * There was no connection: the server has not seen the call.
 */
#define RTM_ERR_CONNECTION 20012

/**
 * The client was destroyed before the answer came.
 */
#define RTM_ERR_CANCELLED 20015

/**
 * The type of a message must be from 1 to 127.
 */
#define RTM_ERR_MTYPE 200005

/**
 * The type of a file must be from 40 to 50.
 */
#define RTM_ERR_FILE_MTYPE 200007

/**
 * The message is larger than `RTM_MESSAGE_MAX`.
 */
#define RTM_ERR_MESSAGE_LARGE 200030

/**
 * The file is too large, or its attributes are larger than `RTM_ATTRS_MAX`.
 */
#define RTM_ERR_LARGE 200031

/**
 * A list has more than `RTM_IDS_MAX` ids.
 */
#define RTM_ERR_TOO_MANY 200032

/**
 * A list that must have ids has none.
 */
#define RTM_ERR_EMPTY 200033

/**
 * Why it failed: it has waited for as long as the server keeps messages.
 */
#define RTM_RECIPIENT_ERR_EXPIRED 20003

/**
 * Why it failed: newer messages have pushed it out, because too many wait.
 */
#define RTM_RECIPIENT_ERR_CROWDED_OUT 20011

/**
 * Why it failed: the message was deleted.
 */
#define RTM_RECIPIENT_ERR_DELETED 200070

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library that is running, for instance "1.2.3". `CRVIDEO_VERSION` is the version of the header
 * that the program was compiled with; a library that is newer than the header is fine.
 *
 * Any thread, callbacks and a forked child included. The text is static: do not free it, it stays for ever.
 */
const char *CRVideo_Version(void);

/**
 * What a code means and who must act, as one English sentence; it also knows the numbers of FPNN and RTM servers. Never
 * NULL, for a number that is no code neither.
 *
 * Any thread, callbacks and a forked child included. The text is static: do not free it, it stays for ever.
 */
const char *CRVideo_ErrText(CRVideo_Err err);

/**
 * Fills a configuration with its size and the defaults; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call. In C and C++ the name is a macro for
 * `CRVideo_ConfigInitSized`; the function of this name fills the first form of the struct, which ended with
 * `max_send_bytes_per_s`.
 */
void CRVideo_ConfigInit(struct CRVideo_Config *config);

/**
 * Fills a configuration of `struct_size` bytes with that size and the defaults; NULL, and a size below that of its first
 * form, are ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void CRVideo_ConfigInitSized(struct CRVideo_Config *config,
                             uintptr_t struct_size);

/**
 * Fills login information with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call. In C and C++ the name is a macro for
 * `CRVideo_LoginInfoInitSized`; the function of this name fills the first form of the struct, which ended with
 * `secret`.
 */
void CRVideo_LoginInfoInit(struct CRVideo_LoginInfo *info);

/**
 * Fills login information of `struct_size` bytes with that size and zeros; NULL, and a size below that of its first
 * form, are ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void CRVideo_LoginInfoInitSized(struct CRVideo_LoginInfo *info, uintptr_t struct_size);

/**
 * Creates a session. `config` NULL means the defaults. Set callbacks next, then call `CRVideo_Login`; end it by
 * `CRVideo_Destroy`.
 *
 * Any thread, callbacks included. `config` and its texts are not touched after the call; `session` is written on
 * success only. Errors: `CRVideo_PARAM_ERR` (`session` is NULL, the struct's size is too small, a flag is unknown, a
 * text is malformed, `download_dir` is no directory), `CRVideo_NOT_INIT` (no such queue),
 * `CRVideo_NETWORK_INITFAILED`, `CRVideo_OUTOF_MEM`.
 */
CRVideo_Err CRVideo_Create(const struct CRVideo_Config *config, CRVideo_Session *session);

/**
 * Ends a session, whatever it is doing. Every send that has not ended gets its terminal event; other events that have
 * not been handled, `Notify...` and progress among them, are discarded.
 *
 * Any thread. Outside callbacks it returns when those events have been handled: with the library's own queue by its
 * callback thread, with a queue of the application's by this call itself. After that no callback of the session runs
 * or will run, and what its `user` pointers point to may be freed. Inside a callback (of whatever session) it returns
 * at once and the terminal events follow; the callback of `CRVideo_SetReleasedCallback` is then the last one. In both
 * cases every other call with this session returns `CRVideo_NOT_INIT` from now on. Errors: `CRVideo_NOT_INIT` (no such
 * session, or destroyed already).
 */
CRVideo_Err CRVideo_Destroy(CRVideo_Session session);

/**
 * Logs in. When it returns `CRVideo_NOERR`, one `LoginRslt` event follows and says how it went; a first login is not
 * tried again by the library, but a link that is lost later is (`LineOff`, `LineOn`).
 *
 * Any thread, callbacks included. `info` and its texts are not touched after the call. Errors: `CRVideo_PARAM_ERR`
 * (anything in `info` is missing, too long or malformed; both or none of `token` and `secret` are set; `ca_file` or
 * `pinned_key` together with `CRVIDEO_TLS_NEVER` or `CRVIDEO_TLS_INSECURE_ANY_CERTIFICATE`),
 * `CRVideo_LOGINSTATE_ERROR` (logged in already, or about to), `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_Login(CRVideo_Session session, const struct CRVideo_LoginInfo *info, void *cookie);

/**
 * Logs out. Sends that have not ended end first, each with its terminal event; then one `LogoutRslt` event follows.
 * The session can log in again after that.
 *
 * Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_Logout(CRVideo_Session session, void *cookie);

/**
 * Gives a session a newer token, best when `TokenWillExpire` asks for it (30 s before the end); nothing is
 * interrupted. Without one the session ends with `LineOff(CRVideo_TOKEN_TIMEOUT)`.
 *
 * Any thread, callbacks included. `token` is not touched after the call. Errors: `CRVideo_PARAM_ERR`,
 * `CRVideo_NOT_LOGIN`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_UpdateToken(CRVideo_Session session, const char *token);

/**
 * Fills options with their size and zeros; NULL is ignored. What was in them is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void CRVideo_SendOptionsInit(struct CRVideo_SendOptions *options);

/**
 * Sends a command of up to `CRVIDEO_CMD_MAX` bytes to the user `target`, in one piece; commands to one target arrive
 * in the order of these calls. When it returns `CRVideo_NOERR`, exactly one `SendCmdRlst` event follows, and ends the
 * cookie's life; on an error nothing follows.
 *
 * Any thread, callbacks included; it does not wait. `data` may be NULL where `len` is 0; `options` may be NULL;
 * `task_id` is NULL or has `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The event may
 * come before the call returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never
 * read. Errors: `CRVideo_SENDCMD_LARGE` (`data` has not been looked at), `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`,
 * `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR` (a task with this id runs), `CRVideo_OUTOF_MEM`,
 * `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_SendCmd(CRVideo_Session session,
                            const char *target,
                            const void *data,
                            size_t len,
                            const struct CRVideo_SendOptions *options,
                            void *cookie,
                            char *task_id);

/**
 * Sends a block of memory to the user `target`, in chunks; it is copied before the call returns, and charged to
 * `outbound_limit` until it ends. When it returns `CRVideo_NOERR`, `SendProgress` events and then exactly one
 * `SendBufferRlst` event follow, which ends the cookie's life; on an error nothing follows.
 *
 * Any thread, callbacks included; it does not wait. `data` may be NULL where `len` is 0; `options` may be NULL;
 * `task_id` is NULL or has `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The events may
 * come before the call returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never
 * read. Errors: `CRVideo_SENDBUFFER_LARGE` (above the configured `buffer_limit`; `data` has not been looked at),
 * `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR` (a task with this id
 * runs), `CRVideo_OUTOF_MEM`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_SendBuffer(CRVideo_Session session,
                               const char *target,
                               const void *data,
                               size_t len,
                               const struct CRVideo_SendOptions *options,
                               void *cookie,
                               char *task_id);

/**
 * Sends a file to the user `target`, in chunks. Its size is taken when it is opened: what is appended later is not
 * sent, and a file that shrinks or changes fails with `CRVideo_SENDFILE_FILEINERROR`. When it returns `CRVideo_NOERR`,
 * `SendProgress` events and then exactly one `SendFileRlst` event follow, which ends the cookie's life; on an error
 * nothing follows.
 *
 * Any thread, callbacks included; it does not wait for the network. `path` has 1 to 4,096 bytes: those that open(2)
 * takes on POSIX, UTF-8 on Windows; `SendFileRlst` repeats it. `options` may be NULL; `task_id` is NULL or has
 * `CRVIDEO_TASK_ID_SIZE` bytes that receive the task's id, on success only. The events may come before the call
 * returns. No pointer but `cookie` is kept, none is touched after the call, and `cookie` is never read.
 * Errors: `CRVideo_SENDFILE_FILEINERROR` (missing, unreadable or not a file), `CRVideo_FILE_SIZE_UNSUPPORT` (the
 * relay's policy), `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_LOGINSTATE_ERROR`
 * (a task with this id runs), `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_SendFile(CRVideo_Session session,
                             const char *target,
                             const char *path,
                             const struct CRVideo_SendOptions *options,
                             void *cookie,
                             char *task_id);

/**
 * Cancels a buffer or a file that this session sends. When it returns `CRVideo_NOERR`, one `CancelSendRlst` event with
 * this call's own cookie follows: `CRVideo_NOERR` (the task's own result with `CRVideo_SEND_CANCELLED` comes next),
 * `CRVideo_TRANSID_INVALID` (unknown, ended, or a command), or `CRVideo_CONNECTIONLOST` (the link is down: the wish is
 * recorded, and the task's own result decides).
 *
 * Any thread, callbacks included; it does not wait. `task_id` is not touched after the call. Errors:
 * `CRVideo_PARAM_ERR` (NULL or malformed), `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_CancelSend(CRVideo_Session session, const char *task_id, void *cookie);

/**
 * Accepts a transfer that a `TransferOffer` event has announced, inside that callback or later, within the session's
 * `offer_timeout_ms`. A file goes straight to `path` (1 to 4,096 bytes; nothing may stand there, else the transfer
 * fails with `CRVideo_FILE_ALREADY_EXIST`), where it appears when it is complete and stays; or with NULL to a temporary
 * file in the download directory. A buffer comes as a buffer, whatever `path` says.
 *
 * Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
 * `CRVideo_TRANSID_INVALID` (no such offer is open, or no longer), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_AcceptTransfer(CRVideo_Session session, const char *source, const char *task_id, const char *path);

/**
 * Refuses a transfer that a `TransferOffer` event has announced. Its sender gets `CRVideo_PEER_REFUSE`; here
 * `NotifyCancelSend` with the same code follows, as for every announced transfer that does not arrive.
 *
 * Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
 * `CRVideo_TRANSID_INVALID` (no such offer is open, or no longer), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_RefuseTransfer(CRVideo_Session session, const char *source, const char *task_id);

/**
 * Cancels a transfer that is coming in. Its sender gets `CRVideo_PEER_REFUSE`, what has arrived of it is deleted, and
 * `NotifyCancelSend` with the same code follows here.
 *
 * Any thread, callbacks included; it does not wait. No pointer is touched after the call. Errors:
 * `CRVideo_TRANSID_INVALID` (no such transfer, or it has ended), `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_CancelReceive(CRVideo_Session session, const char *source, const char *task_id);

/**
 * Asks whether `user_id` is online, or with NULL which users of the project are. When it returns `CRVideo_NOERR`, one
 * `UserStatusRslt` event with `cookie` follows; it lists those who are online.
 *
 * Any thread, callbacks included; it does not wait. `user_id` is not touched after the call. Errors:
 * `CRVideo_PARAM_ERR`, `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`, `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_GetUserStatus(CRVideo_Session session, const char *user_id, void *cookie);

/**
 * Asks for `UserStatus` events: one whenever a user of the project comes or goes. When it returns `CRVideo_NOERR`, one
 * `StatusPushRslt` event with `cookie` follows.
 *
 * Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`,
 * `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_StartUserStatusPush(CRVideo_Session session, void *cookie);

/**
 * Asks for no more `UserStatus` events. When it returns `CRVideo_NOERR`, one `StatusPushRslt` event with `cookie`
 * follows, and no `UserStatus` after it.
 *
 * Any thread, callbacks included; it does not wait. Errors: `CRVideo_NOT_LOGIN`, `CRVideo_SEND_QUEUE_FULL`,
 * `CRVideo_NOT_INIT`.
 */
CRVideo_Err CRVideo_StopUserStatusPush(CRVideo_Session session, void *cookie);

/**
 * Sets the function for `LoginRslt`: how a login went. One for each `CRVideo_Login` that returned `CRVideo_NOERR`.
 *
 * For this and all the setters that follow: `cb` NULL unsets the function; `user` comes back in each of its calls, and
 * is never read. After the call has returned outside callbacks, the former function neither runs nor will run, and its
 * `user` pointer is not touched again; inside a callback this holds from the session's next event on. Without a
 * function the event is dropped. Any thread, callbacks included. Errors: `CRVideo_NOT_INIT` (no such session, or
 * destroyed).
 */
CRVideo_Err CRVideo_SetLoginRsltCallback(CRVideo_Session session, CRVideo_RsltCallback cb, void *user);

/**
 * Sets the function for `LogoutRslt`: the session is logged out. One for each `CRVideo_Logout` that returned
 * `CRVideo_NOERR`, after the terminal events of the session's sends.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetLogoutRsltCallback(CRVideo_Session session, CRVideo_RsltCallback cb, void *user);

/**
 * Sets the function for `LineOff`: the link to the relay is lost. With `CRVideo_KICKOUT_BY_RELOGIN`, a login or token
 * code the session is logged out, and its sends have ended; with any other code the library is connecting again by
 * itself, and sends go on when `LineOn` comes.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetLineOffCallback(CRVideo_Session session, CRVideo_LineOffCallback cb, void *user);

/**
 * Sets the function for `LineOn`: the link to the relay works again.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetLineOnCallback(CRVideo_Session session, CRVideo_NoticeCallback cb, void *user);

/**
 * Sets the function for `TokenWillExpire`: the token ends in 30 seconds. Get a new one and call `CRVideo_UpdateToken`.
 * Never called for a session that logged in with a secret.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetTokenWillExpireCallback(CRVideo_Session session, CRVideo_NoticeCallback cb, void *user);

/**
 * Sets the function for `SendCmdRlst`: the end of a command, exactly one for each `CRVideo_SendCmd` that returned
 * `CRVideo_NOERR`. `CRVideo_NOERR`: the target has it. `CRVideo_SEND_OUTCOME_UNKNOWN`: it has it or not. Any other
 * code: it has not, and never will.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetSendCmdRlstCallback(CRVideo_Session session, CRVideo_SendRlstCallback cb, void *user);

/**
 * Sets the function for `SendBufferRlst`: the end of a buffer, exactly one for each `CRVideo_SendBuffer` that returned
 * `CRVideo_NOERR`. The codes mean what they mean for `SendCmdRlst`.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetSendBufferRlstCallback(CRVideo_Session session, CRVideo_SendRlstCallback cb, void *user);

/**
 * Sets the function for `SendFileRlst`: the end of a file, exactly one for each `CRVideo_SendFile` that returned
 * `CRVideo_NOERR`. The codes mean what they mean for `SendCmdRlst`.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetSendFileRlstCallback(CRVideo_Session session, CRVideo_SendFileRlstCallback cb, void *user);

/**
 * Sets the function for `SendProgress`: how much of a buffer or file the target has confirmed. First (0, total), last
 * (total, total) before a successful result, never less than before, at most 20 a second and task.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetSendProgressCallback(CRVideo_Session session, CRVideo_SendProgressCallback cb, void *user);

/**
 * Sets the function for `CancelSendRlst`: one for each `CRVideo_CancelSend` that returned `CRVideo_NOERR`, with the
 * cookie of that call.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetCancelSendRlstCallback(CRVideo_Session session, CRVideo_SendRlstCallback cb, void *user);

/**
 * Sets the function for `NotifyCmdData`: a command has come in.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetNotifyCmdDataCallback(CRVideo_Session session, CRVideo_NotifyDataCallback cb, void *user);

/**
 * Sets the function for `NotifyBufferData`: a buffer has come in whole.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetNotifyBufferDataCallback(CRVideo_Session session, CRVideo_NotifyDataCallback cb, void *user);

/**
 * Sets the function for `NotifyFileData`: a file has come in whole. A file of whose event nobody hears, because no
 * function is set or the session is destroyed before, is deleted with it, unless it was accepted to a path of your own.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetNotifyFileDataCallback(CRVideo_Session session, CRVideo_NotifyFileCallback cb, void *user);

/**
 * Sets the function for `NotifyCancelSend`: a transfer of which there was a `TransferOffer` or a `ReceiveProgress`
 * will not arrive, and what had come in of it is deleted.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetNotifyCancelSendCallback(CRVideo_Session session,
                                                CRVideo_NotifyCancelSendCallback cb,
                                                void *user);

/**
 * Sets the function for `TransferOffer`: somebody wants to send a buffer or a file, and no byte flows before
 * `CRVideo_AcceptTransfer` or `CRVideo_RefuseTransfer` answers, inside the callback or within `offer_timeout_ms`.
 * Without this function everything within the limits is accepted.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetTransferOfferCallback(CRVideo_Session session, CRVideo_TransferOfferCallback cb, void *user);

/**
 * Sets the function for `ReceiveProgress`: how much of a buffer or file has come in, at most 20 times a second and
 * task.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetReceiveProgressCallback(CRVideo_Session session, CRVideo_ReceiveProgressCallback cb, void *user);

/**
 * Sets the function for `NotifyRtmMessage`: a server has sent this user, a group or room of his, or everybody a message
 * or a file by an RTM function. Only users whose id is a whole number in decimal without leading zeros can be reached
 * so. The relay counts the message as delivered when the function has returned.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetNotifyRtmMessageCallback(CRVideo_Session session,
                                                CRVideo_NotifyRtmMessageCallback cb,
                                                void *user);

/**
 * Sets the function for `UserStatus`: a user comes or goes. Called after `CRVideo_StartUserStatusPush`.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetUserStatusCallback(CRVideo_Session session, CRVideo_UserStatusCallback cb, void *user);

/**
 * Sets the function for `UserStatusRslt`: who is online, one for each `CRVideo_GetUserStatus` that returned
 * `CRVideo_NOERR`.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetUserStatusRsltCallback(CRVideo_Session session, CRVideo_UserStatusRsltCallback cb, void *user);

/**
 * Sets the function for `StatusPushRslt`: one for each `CRVideo_StartUserStatusPush` and `CRVideo_StopUserStatusPush`
 * that returned `CRVideo_NOERR`.
 *
 * See `CRVideo_SetLoginRsltCallback` for what holds for all setters.
 */
CRVideo_Err CRVideo_SetStatusPushRsltCallback(CRVideo_Session session, CRVideo_RsltCallback cb, void *user);

/**
 * Sets the function that is called once, last of all, when a session has been destroyed and its terminal events have
 * been handled: no callback of it runs or will run, and what any `user` pointer of it points to may be freed here. It
 * is what a program needs that destroys a session inside a callback; outside, `CRVideo_Destroy` returns after it.
 *
 * It is called where the session's events are handled. `cb` NULL unsets it. Any thread, callbacks included. Errors:
 * `CRVideo_NOT_INIT` (no such session, or destroyed: set it before).
 */
CRVideo_Err CRVideo_SetReleasedCallback(CRVideo_Session session, CRVideo_NoticeCallback cb, void *user);

/**
 * Creates an event queue. Attach sessions by their configuration's `queue`, any number of them; nothing is called
 * until `CRVideo_PollEvents` runs, and then on the thread that runs it, so a single-threaded program needs no lock.
 * End it by `CRVideo_DestroyQueue`.
 *
 * Any thread, callbacks included. `queue` is written on success only. Errors: `CRVideo_PARAM_ERR` (NULL),
 * `CRVideo_NETWORK_INITFAILED` (no descriptor is left).
 */
CRVideo_Err CRVideo_CreateQueue(CRVideo_Queue *queue);

/**
 * Ends an event queue. Its sessions must be destroyed first, and a log function be unset.
 *
 * Any thread, callbacks of other queues included. After it has returned `CRVideo_NOERR` the wake function neither runs
 * nor will run. Errors: `CRVideo_LOGINSTATE_ERROR` (a session or the log is attached, or it is being polled),
 * `CRVideo_NOT_INIT` (no such queue; 0 is not one's own).
 */
CRVideo_Err CRVideo_DestroyQueue(CRVideo_Queue queue);

/**
 * Handles the events that wait on a queue: calls their callbacks, in order, on this thread. Waits for the first one
 * for up to `timeout_ms` milliseconds (0: not at all, UINT32_MAX: for ever), then handles what is there and returns.
 * `handled` receives how many events it was, 0 after a time-out, which is no error; it may be NULL, and is written on
 * success only.
 *
 * Any thread, one at a time. Errors: `CRVideo_LOGINSTATE_ERROR` (from inside one of this queue's callbacks, or another
 * thread is polling it), `CRVideo_NOT_INIT` (no such queue; 0 is not polled).
 */
CRVideo_Err CRVideo_PollEvents(CRVideo_Queue queue, uint32_t timeout_ms, uint32_t *handled);

/**
 * Tells a queue's descriptor, for the program's own poll, epoll or select: it is readable exactly while events wait.
 * On Windows it is an event handle. Only wait for it; never read, write or close it. It is the queue's until
 * `CRVideo_DestroyQueue`.
 *
 * Any thread, callbacks included. `fd_or_handle` is written on success only. Errors: `CRVideo_PARAM_ERR` (NULL),
 * `CRVideo_NOT_INIT` (no such queue; 0 has none).
 */
CRVideo_Err CRVideo_GetQueueFd(CRVideo_Queue queue, intptr_t *fd_or_handle);

/**
 * Sets a function that is called whenever a queue stops being empty; NULL unsets it. It is for event loops that have a
 * "post a message to the main thread" of their own, and may do nothing but that: it runs on any thread, the library's
 * network thread included, must return at once, and must not call the library.
 *
 * Any thread, but not inside the wake function. After the call has returned the former function neither runs nor will
 * run, and its `user` pointer is not touched again. The last one is given up by `CRVideo_DestroyQueue`. Errors:
 * `CRVideo_NOT_INIT` (no such queue; 0 has none).
 */
CRVideo_Err CRVideo_SetWakeCallback(CRVideo_Queue queue, CRVideo_WakeCallback cb, void *user);

/**
 * Sets the process's one log function, for lines up to `level` (a `CRVIDEO_LOG_...` number); NULL or `CRVIDEO_LOG_OFF`
 * unsets it, and nothing is logged, which is the default. It is called as callbacks are: by `CRVideo_PollEvents` of
 * `queue`, or with `queue` 0 on the library's callback thread. Lines that come faster than they are taken are dropped,
 * and a line says how many.
 *
 * Any thread, callbacks included. After the call has returned outside callbacks the former function neither runs nor
 * will run, and its `user` pointer is not touched again. Errors: `CRVideo_PARAM_ERR` (no such level),
 * `CRVideo_NOT_INIT` (no such queue).
 */
CRVideo_Err CRVideo_SetLogCallback(CRVideo_Queue queue, int32_t level, CRVideo_LogCallback cb, void *user);

/**
 * Fills options with their size and zeros; NULL is ignored. What was in them is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_CallOptionsInit(struct RTM_CallOptions *options);

/**
 * Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_ResultInit(struct RTM_Result *result);

/**
 * Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_SendResultInit(struct RTM_SendResult *result);

/**
 * Prepares a result for a call that waits: sets its size, and zeros. NULL is ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_TokenResultInit(struct RTM_TokenResult *result);

/**
 * Prepares a result for a call that waits: sets its size, and zeros; set `ids` and `capacity` next. NULL is ignored.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_ListResultInit(struct RTM_ListResult *result);

/**
 * Fills a configuration with its size and the defaults; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_ConfigInit(struct RTM_Config *config);

/**
 * Creates an RTM client. Nothing is connected before its first call; a connection that is lost is made again when it
 * is needed. End it by `RTM_Destroy`.
 *
 * Any thread, callbacks included. `config` and its texts are not touched after the call; `client` is written on success
 * only. Errors: `CRVideo_PARAM_ERR` (NULL, the struct's size is too small, anything in `config` is missing, too long or
 * malformed), `CRVideo_NOT_INIT` (no such queue), `CRVideo_NETWORK_INITFAILED`.
 */
CRVideo_Err RTM_Create(const struct RTM_Config *config, RTM_Client *client);

/**
 * Ends a client, whatever it is doing. Each call that has not ended ends with `RTM_ERR_CANCELLED`: its callback is
 * called, or it returns. Pushes that have not been handled are discarded.
 *
 * Any thread. Outside callbacks it returns when those callbacks have run: with the library's own queue on its callback
 * thread, with a queue of the application's in this call itself. After that no callback of the client runs or will run,
 * and what its cookies and `user` pointers point to may be freed. Inside a callback (of whatever client or session) it
 * returns at once and the callbacks follow; that of `RTM_SetReleasedCallback` is then the last one. In both cases every
 * other call with this client returns `CRVideo_NOT_INIT` from now on. Errors: `CRVideo_NOT_INIT` (no such client, or
 * destroyed already).
 */
CRVideo_Err RTM_Destroy(RTM_Client client);

/**
 * Sets the function that is called last of all, when the client is destroyed and no other callback of it runs or will
 * run.
 *
 * See `RTM_SetPushMsgCallback` for what holds for all setters.
 */
CRVideo_Err RTM_SetReleasedCallback(RTM_Client client, CRVideo_NoticeCallback cb, void *user);

/**
 * Fills a file with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_FileInit(struct RTM_File *file);

/**
 * Asks for the token of a file, and for the file gate that takes it. The `RTM_Send...File` calls do this themselves;
 * it is for programs that speak to the file gate on their own.
 *
 * `cmd` says what is to be sent, and with it what `targets` are: "sendfile" (one user), "sendfiles" (users),
 * "sendgroupfile" (one group), "sendroomfile" (one room), "broadcastfile" (none: `count` 0).
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `CRVideo_PARAM_ERR` also where `cmd` is none of
 * these or `count` does not fit it.
 */
CRVideo_Err RTM_FileToken(RTM_Client client,
                          int64_t from,
                          const char *cmd,
                          const int64_t *targets,
                          size_t count,
                          const struct RTM_CallOptions *options,
                          RTM_TokenCallback callback,
                          void *cookie,
                          struct RTM_TokenResult *result);

/**
 * Sends a file to the user `to`: asks the server gate for a token, connects to the file gate that it names, and sends
 * the file, all within one time-out.
 *
 * For this and all calls of an RTM client that take a callback: with `callback` NULL the call waits for the end, fills
 * `result` (which may be NULL; prepare it by its `...Init` function) whatever the end is, and returns the same code
 * that is in `result->err`. With a callback it does not wait: when it returns `CRVideo_NOERR`, the callback is called
 * exactly once, with `cookie`, on the queue's thread, and may be so before the call returns; on an error it is not
 * called. `result` is not touched then. `options` may be NULL. No other pointer is touched after the call.
 *
 * Any thread; a call that waits must not be made inside a callback of this library (`CRVideo_LOGINSTATE_ERROR`). Codes
 * of the server come through unchanged, with its words in the result's `text`. Codes of this library:
 * `RTM_ERR_CONNECTION` (the server has not seen it), `RTM_ERR_TIMEOUT` and `RTM_ERR_CLOSED` (nobody can tell whether the
 * server has acted on it; a call is never sent twice), `RTM_ERR_CANCELLED` (the client was destroyed),
 * `CRVideo_SEND_QUEUE_FULL`, `CRVideo_OUTOF_MEM`, `CRVideo_PARAM_ERR`, `CRVideo_NOT_INIT`. For files also:
 * `RTM_ERR_FILE_MTYPE` (`mtype` is not from 40 to 50), `RTM_ERR_LARGE`, `CRVideo_SENDFILE_FILEINERROR` (missing,
 * unreadable, not a file, or changed while it was sent).
 */
CRVideo_Err RTM_SendFile(RTM_Client client,
                         int64_t from,
                         int64_t to,
                         int32_t mtype,
                         const struct RTM_File *file,
                         const struct RTM_CallOptions *options,
                         RTM_SendCallback callback,
                         void *cookie,
                         struct RTM_SendResult *result);

/**
 * Sends a file to several users, of whom each gets a message of its own; the bytes are sent once. `tos` has `count` ids,
 * 1 to `RTM_IDS_MAX`.
 *
 * See `RTM_SendFile`. Errors besides those: `RTM_ERR_EMPTY`, `RTM_ERR_TOO_MANY` (`tos` has not been looked at).
 */
CRVideo_Err RTM_SendFiles(RTM_Client client,
                          int64_t from,
                          const int64_t *tos,
                          size_t count,
                          int32_t mtype,
                          const struct RTM_File *file,
                          const struct RTM_CallOptions *options,
                          RTM_SendCallback callback,
                          void *cookie,
                          struct RTM_SendResult *result);

/**
 * Sends a file to the members of a group.
 *
 * See `RTM_SendFile`.
 */
CRVideo_Err RTM_SendGroupFile(RTM_Client client,
                              int64_t from,
                              int64_t gid,
                              int32_t mtype,
                              const struct RTM_File *file,
                              const struct RTM_CallOptions *options,
                              RTM_SendCallback callback,
                              void *cookie,
                              struct RTM_SendResult *result);

/**
 * Sends a file to those who are in a room.
 *
 * See `RTM_SendFile`.
 */
CRVideo_Err RTM_SendRoomFile(RTM_Client client,
                             int64_t from,
                             int64_t rid,
                             int32_t mtype,
                             const struct RTM_File *file,
                             const struct RTM_CallOptions *options,
                             RTM_SendCallback callback,
                             void *cookie,
                             struct RTM_SendResult *result);

/**
 * Sends a file to every user of the project. Servers may ask that `from` is an administrator's id.
 *
 * See `RTM_SendFile`.
 */
CRVideo_Err RTM_BroadcastFile(RTM_Client client,
                              int64_t from,
                              int32_t mtype,
                              const struct RTM_File *file,
                              const struct RTM_CallOptions *options,
                              RTM_SendCallback callback,
                              void *cookie,
                              struct RTM_SendResult *result);

/**
 * Sends a message of up to `RTM_MESSAGE_MAX` bytes to the user `to`. `mtype` is from 1 to 127; 40 to 50 are files, which
 * have calls of their own, and applications use those above 50. `msg` is UTF-8 text or any other bytes, and may be NULL
 * where `len` is 0. `attrs` is text of up to `RTM_ATTRS_MAX` bytes, or NULL.
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_MTYPE`, `RTM_ERR_MESSAGE_LARGE` (`msg`
 * has not been looked at), `RTM_ERR_LARGE` (`attrs`).
 */
CRVideo_Err RTM_SendMsg(RTM_Client client,
                        int64_t from,
                        int64_t to,
                        int32_t mtype,
                        const void *msg,
                        size_t len,
                        const char *attrs,
                        const struct RTM_CallOptions *options,
                        RTM_SendCallback callback,
                        void *cookie,
                        struct RTM_SendResult *result);

/**
 * Sends a message to several users, of whom each gets a message of its own. `tos` has `count` ids, 1 to `RTM_IDS_MAX`.
 *
 * See `RTM_SendMsg`. Errors besides those: `RTM_ERR_EMPTY`, `RTM_ERR_TOO_MANY` (`tos` has not been looked at).
 */
CRVideo_Err RTM_SendMsgs(RTM_Client client,
                         int64_t from,
                         const int64_t *tos,
                         size_t count,
                         int32_t mtype,
                         const void *msg,
                         size_t len,
                         const char *attrs,
                         const struct RTM_CallOptions *options,
                         RTM_SendCallback callback,
                         void *cookie,
                         struct RTM_SendResult *result);

/**
 * Sends a message to the members of a group.
 *
 * See `RTM_SendMsg`.
 */
CRVideo_Err RTM_SendGroupMsg(RTM_Client client,
                             int64_t from,
                             int64_t gid,
                             int32_t mtype,
                             const void *msg,
                             size_t len,
                             const char *attrs,
                             const struct RTM_CallOptions *options,
                             RTM_SendCallback callback,
                             void *cookie,
                             struct RTM_SendResult *result);

/**
 * Sends a message to those who are in a room.
 *
 * See `RTM_SendMsg`.
 */
CRVideo_Err RTM_SendRoomMsg(RTM_Client client,
                            int64_t from,
                            int64_t rid,
                            int32_t mtype,
                            const void *msg,
                            size_t len,
                            const char *attrs,
                            const struct RTM_CallOptions *options,
                            RTM_SendCallback callback,
                            void *cookie,
                            struct RTM_SendResult *result);

/**
 * Sends a message to every user of the project. Servers may ask that `from` is an administrator's id.
 *
 * See `RTM_SendMsg`.
 */
CRVideo_Err RTM_BroadcastMsg(RTM_Client client,
                             int64_t from,
                             int32_t mtype,
                             const void *msg,
                             size_t len,
                             const char *attrs,
                             const struct RTM_CallOptions *options,
                             RTM_SendCallback callback,
                             void *cookie,
                             struct RTM_SendResult *result);

/**
 * Asks for the token with which the user `uid` logs in.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetToken(RTM_Client client,
                         int64_t uid,
                         const struct RTM_CallOptions *options,
                         RTM_TokenCallback callback,
                         void *cookie,
                         struct RTM_TokenResult *result);

/**
 * Makes the tokens of the user `uid` worthless.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_RemoveToken(RTM_Client client,
                            int64_t uid,
                            const struct RTM_CallOptions *options,
                            RTM_Callback callback,
                            void *cookie,
                            struct RTM_Result *result);

/**
 * Ends the login of the user `uid`.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_Kickout(RTM_Client client,
                        int64_t uid,
                        const struct RTM_CallOptions *options,
                        RTM_Callback callback,
                        void *cookie,
                        struct RTM_Result *result);

/**
 * Asks which of `count` users are online. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 200).
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
 * `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
 */
CRVideo_Err RTM_GetOnlineUsers(RTM_Client client,
                               const int64_t *uids,
                               size_t count,
                               const struct RTM_CallOptions *options,
                               RTM_ListCallback callback,
                               void *cookie,
                               struct RTM_ListResult *result);

/**
 * Adds `count` users to a group. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 100).
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
 * `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
 */
CRVideo_Err RTM_AddGroupMembers(RTM_Client client,
                                int64_t gid,
                                const int64_t *uids,
                                size_t count,
                                const struct RTM_CallOptions *options,
                                RTM_Callback callback,
                                void *cookie,
                                struct RTM_Result *result);

/**
 * Removes `count` users from a group. Servers may have a limit below `RTM_IDS_MAX` (RTM's own: 100).
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `RTM_ERR_EMPTY`,
 * `RTM_ERR_TOO_MANY` (`uids` has not been looked at).
 */
CRVideo_Err RTM_DelGroupMembers(RTM_Client client,
                                int64_t gid,
                                const int64_t *uids,
                                size_t count,
                                const struct RTM_CallOptions *options,
                                RTM_Callback callback,
                                void *cookie,
                                struct RTM_Result *result);

/**
 * Removes a group.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_DelGroup(RTM_Client client,
                         int64_t gid,
                         const struct RTM_CallOptions *options,
                         RTM_Callback callback,
                         void *cookie,
                         struct RTM_Result *result);

/**
 * Asks for the members of a group.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetGroupMembers(RTM_Client client,
                                int64_t gid,
                                const struct RTM_CallOptions *options,
                                RTM_ListCallback callback,
                                void *cookie,
                                struct RTM_ListResult *result);

/**
 * Asks how many members a group has; `number` of the result says it.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetGroupCount(RTM_Client client,
                              int64_t gid,
                              const struct RTM_CallOptions *options,
                              RTM_Callback callback,
                              void *cookie,
                              struct RTM_Result *result);

/**
 * Asks whether a user is a member of a group; `number` of the result is 1 or 0.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_IsGroupMember(RTM_Client client,
                              int64_t gid,
                              int64_t uid,
                              const struct RTM_CallOptions *options,
                              RTM_Callback callback,
                              void *cookie,
                              struct RTM_Result *result);

/**
 * Asks for the groups of a user.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetUserGroups(RTM_Client client,
                              int64_t uid,
                              const struct RTM_CallOptions *options,
                              RTM_ListCallback callback,
                              void *cookie,
                              struct RTM_ListResult *result);

/**
 * Adds a user to a room.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_AddRoomMember(RTM_Client client,
                              int64_t rid,
                              int64_t uid,
                              const struct RTM_CallOptions *options,
                              RTM_Callback callback,
                              void *cookie,
                              struct RTM_Result *result);

/**
 * Removes a user from a room.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_DelRoomMember(RTM_Client client,
                              int64_t rid,
                              int64_t uid,
                              const struct RTM_CallOptions *options,
                              RTM_Callback callback,
                              void *cookie,
                              struct RTM_Result *result);

/**
 * Asks for the users in a room.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetRoomMembers(RTM_Client client,
                               int64_t rid,
                               const struct RTM_CallOptions *options,
                               RTM_ListCallback callback,
                               void *cookie,
                               struct RTM_ListResult *result);

/**
 * Asks how many users are in a room; `number` of the result says it.
 *
 * See `RTM_SendFile` for what holds for all calls.
 */
CRVideo_Err RTM_GetRoomCount(RTM_Client client,
                             int64_t rid,
                             const struct RTM_CallOptions *options,
                             RTM_Callback callback,
                             void *cookie,
                             struct RTM_Result *result);

/**
 * Fills a struct with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void RTM_ListenInit(struct RTM_Listen *listen);

/**
 * Listens to what `listen` says, and to nothing else; with neither flags nor lists to nothing. As long as something is
 * listened to, the client keeps its connection, and says it again on every new one. Flags and lists do not go into one
 * call: set the flags, then add lists of other kinds.
 *
 * See `RTM_SendFile` for what holds for all calls. Errors besides those: `CRVideo_PARAM_ERR` also for unknown flags, and
 * for flags together with lists; `RTM_ERR_TOO_MANY`.
 */
CRVideo_Err RTM_SetListen(RTM_Client client,
                          const struct RTM_Listen *listen,
                          const struct RTM_CallOptions *options,
                          RTM_Callback callback,
                          void *cookie,
                          struct RTM_Result *result);

/**
 * Listens to what the lists of `listen` say, besides what is listened to already. Its flags must be 0, and at least one
 * list must not be empty.
 *
 * See `RTM_SetListen`.
 */
CRVideo_Err RTM_AddListen(RTM_Client client,
                          const struct RTM_Listen *listen,
                          const struct RTM_CallOptions *options,
                          RTM_Callback callback,
                          void *cookie,
                          struct RTM_Result *result);

/**
 * Listens no more to what the lists of `listen` say. Its flags must be 0, and at least one list must not be empty.
 *
 * See `RTM_SetListen`.
 */
CRVideo_Err RTM_RemoveListen(RTM_Client client,
                             const struct RTM_Listen *listen,
                             const struct RTM_CallOptions *options,
                             RTM_Callback callback,
                             void *cookie,
                             struct RTM_Result *result);

/**
 * Sets the function for messages between users. A file may come as well: see `RTM_Push`.
 *
 * For this and all setters of an RTM client: `cb` NULL unsets the function; `user` comes back in each of its calls, and
 * is never read. After the call has returned outside callbacks, the former function neither runs nor will run, and its
 * `user` pointer is not touched again; inside a callback this holds from the client's next event on. Without a function
 * the event is dropped. Any thread, callbacks included. Errors: `CRVideo_NOT_INIT` (no such client, or destroyed).
 */
CRVideo_Err RTM_SetPushMsgCallback(RTM_Client client, RTM_PushCallback cb, void *user);

/**
 * Sets the function for messages in groups.
 *
 * See `RTM_SetPushMsgCallback`.
 */
CRVideo_Err RTM_SetPushGroupMsgCallback(RTM_Client client, RTM_PushCallback cb, void *user);

/**
 * Sets the function for messages in rooms.
 *
 * See `RTM_SetPushMsgCallback`.
 */
CRVideo_Err RTM_SetPushRoomMsgCallback(RTM_Client client, RTM_PushCallback cb, void *user);

/**
 * Sets the function for what users do.
 *
 * See `RTM_SetPushMsgCallback`.
 */
CRVideo_Err RTM_SetPushEventCallback(RTM_Client client, RTM_PushEventCallback cb, void *user);

/**
 * Sets the function that hears when the connection that listens is lost, and when it is there again.
 *
 * See `RTM_SetPushMsgCallback`.
 */
CRVideo_Err RTM_SetLineCallback(RTM_Client client, RTM_LineCallback cb, void *user);

/**
 * Sets the function that hears what becomes, at each recipient, of messages and files that are sent while it is set.
 *
 * It hears of each recipient first `RTM_RECIPIENT_ACCEPTED` or `RTM_RECIPIENT_STORED` (the latter may also follow the
 * former), and last exactly one of `RTM_RECIPIENT_DELIVERED` and `RTM_RECIPIENT_FAILED`, perhaps days later; each state
 * once, in this order, and nothing before the callback of the call that sends it; a call that waits instead may be
 * overtaken just before it returns. Results survive a lost connection, and with the relay's data directory its restart;
 * it keeps them for as long as messages. They end with the client. Members of a group and users in a list are recipients
 * whether they are there or not; of a room and of everybody only those are who are there.
 *
 * This project's relay can tell all this, and other RTM servers cannot. The client asks the server once on each
 * connection, and sends it nothing else that is not RTM's own before it has agreed; `recipient_results` in the
 * `RTM_SendResult` of each call says whether results of it follow. Where the server sends no answer at all, the first call
 * waits for 5 s. From the first such send on until the function is unset the client keeps its connection, as it does to
 * listen.
 *
 * See `RTM_SetPushMsgCallback` for what holds for all setters. While no function is set, sends go without results, and
 * results of earlier ones are dropped. Errors besides those: `CRVideo_INNER_ERR` (the system has no random numbers).
 */
CRVideo_Err RTM_SetRecipientResultCallback(RTM_Client client,
                                           RTM_RecipientResultCallback cb,
                                           void *user);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CRVIDEO_H */

#define CRVideo_ConfigInit(config) CRVideo_ConfigInitSized((config), sizeof(*(config)))
#define CRVideo_LoginInfoInit(info) CRVideo_LoginInfoInitSized((info), sizeof(*(info)))
