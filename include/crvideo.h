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
 *            ...Init function first. Sessions and queues are numbers: an old or wrong one gives CRVideo_NOT_INIT.
 * Callbacks  One function for each event; set them before CRVideo_Login. They may call every function of this header.
 *            They must not leave by a C++ exception or longjmp (the process ends; crvideo.hpp catches exceptions) and
 *            must not end their thread. One that takes long delays the events behind it, never the network.
 * Threads    Every function may be called from every thread at any time. Callbacks run one at a time and in order: on
 *            the library's own callback thread, or, for sessions created with a queue of yours, on the thread
 *            that calls CRVideo_PollEvents, and only while it does. An event may come before the call that it
 *            belongs to has returned.
 * Shutdown   CRVideo_Destroy outside callbacks returns when every event that was due has been delivered; after it no
 *            callback of the session runs or will run. Inside a callback it returns at once, and the Released
 *            callback is the last one. Then destroy your queues. exit() may be called at any time. In a child
 *            after fork() every call returns CRVideo_NOT_INIT; exec is fine.
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
     * Must be 0.
     */
    uint32_t reserved;
} CRVideo_Config;

/**
 * Who logs in, and where. Fill it by `CRVideo_LoginInfoInit`, then set everything, but of `token` and `secret` exactly
 * one.
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
 * What a code means and who must act, as one English sentence. Never NULL, for a number that is no code neither.
 *
 * Any thread, callbacks and a forked child included. The text is static: do not free it, it stays for ever.
 */
const char *CRVideo_ErrText(CRVideo_Err err);

/**
 * Fills a configuration with its size and the defaults; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void CRVideo_ConfigInit(struct CRVideo_Config *config);

/**
 * Fills login information with its size and zeros; NULL is ignored. What was in it is overwritten, not read.
 *
 * Any thread, callbacks included. The pointer is not touched after the call.
 */
void CRVideo_LoginInfoInit(struct CRVideo_LoginInfo *info);

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
 * Ends a session, whatever it is doing. Every send that has not ended gets its terminal event; `Notify...` events that
 * have not been handled are discarded.
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
 * (anything in `info` is missing, too long or malformed; both or none of `token` and `secret` are set),
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

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* CRVIDEO_H */
