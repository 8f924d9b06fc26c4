/*
 * reentry: every exported function is called from inside every callback that the library has, with the callback thread
 * and with a queue of our own. No call may take three seconds (a watchdog names the pair that does), and what it
 * returns must fit the place. In a second pass the callback ends by logging out and destroying its own session.
 *
 * A fourth argument is a token of user "alice" that ends in less than 30 seconds, for TokenWillExpire, which is first.
 */
#define _POSIX_C_SOURCE 200809L

#include "exports.h"
#include "proxy.h"

#define CALLBACKS(X) \
    X(TokenWillExpire) X(LoginRslt) X(LogoutRslt) X(LineOff) X(LineOn) X(SendCmdRlst) X(SendBufferRlst) \
    X(SendFileRlst) X(SendProgress) X(CancelSendRlst) X(NotifyCmdData) X(NotifyBufferData) X(NotifyFileData) \
    X(NotifyCancelSend) X(TransferOffer) X(ReceiveProgress) X(UserStatus) X(UserStatusRslt) X(StatusPushRslt) \
    X(Released) X(Log) X(RtmEnded)
#define CALLBACK_NUMBER(name) IN_##name,
enum place { CALLBACKS(CALLBACK_NUMBER) PLACE_COUNT };
#define CALLBACK_NAME(name) #name,
static const char *const place_names[PLACE_COUNT + 1] = { CALLBACKS(CALLBACK_NAME) NULL };

struct party {
    const char *name;
    CRVideo_Session session;
    struct check_answer login;
};

static struct {
    enum place place; /* where the calls are to be made */
    int destroy;      /* end by destroying the session that the callback is of */
    int fired;        /* guarded by being read and written where callbacks run only */
    struct counter done;
    CRVideo_Queue queue;       /* of the sessions; 0: the callback thread */
    CRVideo_Queue other_queue; /* nobody's */
    struct party alice;
    struct party bob;
    struct party carol;
    RTM_Client client; /* nobody serves its gate */
    RTM_Client caller; /* whose call ends, for RtmEnded */
    CRVideo_LoginInfo info;
    struct counter pushes; /* StatusPushRslt */
} stage;

/* ---- the watchdog ---- */

static struct {
    pthread_mutex_t lock;
    const char *call; /* NULL: none is running */
    const char *place;
    double began;
} watch = { PTHREAD_MUTEX_INITIALIZER, NULL, NULL, 0 };

static void watch_call(const char *call)
{
    pthread_mutex_lock(&watch.lock);
    watch.call = call;
    watch.place = place_names[stage.place];
    watch.began = check_now();
    pthread_mutex_unlock(&watch.lock);
}

static void *watchdog(void *unused)
{
    for (;;) {
        struct timespec pause = { 0, 50000000 };
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&watch.lock);
        if (watch.call != NULL && check_now() - watch.began > 3.0 * check_slow())
            FAIL("%s inside %s does not return", watch.call, watch.place);
        pthread_mutex_unlock(&watch.lock);
    }
    return unused;
}

/* ---- inside a callback ---- */

/* What a call may return there; the session is alive, and logged in or not. */
static int fits(enum export which, CRVideo_Err err, int own_queue, int alive)
{
    switch (which) {
    case EXPORT_CRVideo_PollEvents:
    case EXPORT_CRVideo_DestroyQueue:
        if (own_queue)
            return err == (stage.queue == 0 ? CRVideo_NOT_INIT : CRVideo_LOGINSTATE_ERROR);
        return err == CRVideo_NOERR;
    case EXPORT_CRVideo_GetQueueFd:
    case EXPORT_CRVideo_SetWakeCallback:
        return err == (own_queue && stage.queue == 0 ? CRVideo_NOT_INIT : CRVideo_NOERR);
    case EXPORT_CRVideo_Create:
    case EXPORT_CRVideo_CreateQueue:
    case EXPORT_CRVideo_SetLogCallback:
        return err == CRVideo_NOERR;
    default:
        break;
    }
    if (which >= EXPORT_RTM_Create && which <= EXPORT_RTM_RemoveListen)
        return err == CRVideo_NOERR;
    if (!alive)
        return err == CRVideo_NOT_INIT;
    switch (which) {
    case EXPORT_CRVideo_Login:
        return err == CRVideo_NOERR || err == CRVideo_LOGINSTATE_ERROR;
    case EXPORT_CRVideo_AcceptTransfer:
    case EXPORT_CRVideo_RefuseTransfer:
    case EXPORT_CRVideo_CancelReceive:
        return err == CRVideo_TRANSID_INVALID;
    default:
        if (which >= EXPORT_CRVideo_SetLoginRsltCallback && which <= EXPORT_CRVideo_SetReleasedCallback)
            return err == CRVideo_NOERR;
        /* Sends and questions: no callback says whether the session is logged in at this moment. */
        return err == CRVideo_NOERR || err == CRVideo_NOT_LOGIN || err == CRVideo_LOGINSTATE_ERROR;
    }
}

static void call(enum export which, const struct export_args *args, int own_queue, int alive)
{
    CRVideo_Err err;
    watch_call(export_names[which]);
    err = export_call(which, args);
    watch_call(NULL);
    if (!fits(which, err, own_queue, alive))
        FAIL("%s inside %s returned %d", export_names[which], place_names[stage.place], err);
}

static void inside(enum place place, struct party *party)
{
    CRVideo_Session spare = 0;
    RTM_Client client = 0;
    struct export_args args;
    int alive = place != IN_Released && party->session != 0;
    int which;

    if (place != stage.place || stage.fired)
        return;
    stage.fired = 1;
    args.session = party->session;
    args.client = stage.client;
    args.login = &stage.info;
    args.target = "carol"; /* exists, and takes everything */
    args.file = check_args[0];

    /* With the queue that this callback runs on, then with another one; DestroyQueue comes with each. */
    args.queue = stage.queue;
    for (which = 0; which < EXPORT_CRVideo_Logout; which++)
        call((enum export)which, &args, 1, alive);
    call(EXPORT_CRVideo_DestroyQueue, &args, 1, alive);
    args.queue = stage.other_queue;
    call(EXPORT_CRVideo_PollEvents, &args, 0, alive);
    call(EXPORT_CRVideo_GetQueueFd, &args, 0, alive);
    call(EXPORT_CRVideo_SetWakeCallback, &args, 0, alive);
    watch_call("CRVideo_Create and CRVideo_Destroy of a session that is logging in");
    spare = check_session(stage.queue);
    CHECK_OK(CRVideo_Login(spare, &stage.info, NULL));
    CHECK_OK(CRVideo_Destroy(spare));
    watch_call(NULL);
    watch_call("RTM_Create and RTM_Destroy of a client that is calling");
    CHECK_OK(export_client(stage.queue, &client));
    CHECK_OK(RTM_GetToken(client, 1, NULL, export_on_token, NULL, NULL));
    CHECK_OK(RTM_Destroy(client));
    watch_call("an RTM call that would wait");
    CHECK_EQ(RTM_GetToken(stage.client, 1, NULL, NULL, NULL, NULL), CRVideo_LOGINSTATE_ERROR);
    watch_call(NULL);
    call(EXPORT_CRVideo_DestroyQueue, &args, 0, alive);
    CHECK_OK(CRVideo_CreateQueue(&stage.other_queue));

    if (stage.destroy) {
        call(EXPORT_CRVideo_Logout, &args, 1, alive);
        call(EXPORT_CRVideo_Destroy, &args, 1, alive);
        if (party->session != 0 && alive)
            for (which = EXPORT_CRVideo_SetLoginRsltCallback; which <= EXPORT_CRVideo_SetReleasedCallback; which++)
                call((enum export)which, &args, 1, 0);
        party->session = 0;
    }
    counter_add(&stage.done, 1);
}

/* ---- the callbacks ---- */

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)err;
    inside(IN_LoginRslt, (struct party *)user);
    check_on_answer(NULL, err, cookie);
}

static void on_logout(void *user, CRVideo_Err err, void *cookie)
{
    (void)err;
    (void)cookie;
    inside(IN_LogoutRslt, (struct party *)user);
}

static void on_line_off(void *user, CRVideo_Err err)
{
    (void)err;
    inside(IN_LineOff, (struct party *)user);
}

static void on_line_on(void *user)
{
    inside(IN_LineOn, (struct party *)user);
}

static void on_token_will_expire(void *user)
{
    inside(IN_TokenWillExpire, (struct party *)user);
}

static void on_cmd_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)err;
    (void)cookie;
    inside(IN_SendCmdRlst, (struct party *)user);
}

static void on_buffer_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)err;
    (void)cookie;
    inside(IN_SendBufferRlst, (struct party *)user);
}

static void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)file_name;
    (void)err;
    (void)cookie;
    inside(IN_SendFileRlst, (struct party *)user);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    struct party *party = (struct party *)user;
    (void)total;
    (void)cookie;
    inside(IN_SendProgress, party);
    if (sent > 0 && stage.place == IN_NotifyCancelSend && party->session != 0)
        CHECK_OK(CRVideo_CancelSend(party->session, task_id, NULL));
}

static void on_cancel_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)err;
    (void)cookie;
    inside(IN_CancelSendRlst, (struct party *)user);
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    inside(IN_NotifyCmdData, (struct party *)user);
}

static void on_buffer(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    inside(IN_NotifyBufferData, (struct party *)user);
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    (void)source;
    (void)task_id;
    (void)name;
    CHECK_EQ(unlink(tmp_file), 0);
    inside(IN_NotifyFileData, (struct party *)user);
}

static void on_notify_cancel(void *user, const char *source, const char *task_id, CRVideo_Err err)
{
    (void)source;
    (void)task_id;
    (void)err;
    inside(IN_NotifyCancelSend, (struct party *)user);
}

static void on_offer(void *user, const char *source, const char *task_id, int kind, const char *name, uint64_t size)
{
    struct party *party = (struct party *)user;
    (void)kind;
    (void)name;
    (void)size;
    inside(IN_TransferOffer, party);
    if (party->session != 0) {
        CRVideo_Err err = CRVideo_AcceptTransfer(party->session, source, task_id, NULL);
        CHECK(err == CRVideo_NOERR || err == CRVideo_TRANSID_INVALID);
    }
}

static void on_receive_progress(void *user, const char *source, const char *task_id, uint64_t received, uint64_t total)
{
    (void)source;
    (void)task_id;
    (void)received;
    (void)total;
    inside(IN_ReceiveProgress, (struct party *)user);
}

static void on_user_status(void *user, const char *user_id, int online)
{
    (void)user_id;
    (void)online;
    inside(IN_UserStatus, (struct party *)user);
}

static void on_user_status_rslt(void *user, CRVideo_Err err, const char *const *user_ids, size_t count, void *cookie)
{
    (void)err;
    (void)user_ids;
    (void)count;
    (void)cookie;
    inside(IN_UserStatusRslt, (struct party *)user);
}

static void on_push_rslt(void *user, CRVideo_Err err, void *cookie)
{
    (void)err;
    (void)cookie;
    inside(IN_StatusPushRslt, (struct party *)user);
    counter_add(&stage.pushes, 1);
}

static void on_released(void *user)
{
    inside(IN_Released, (struct party *)user);
}

static void on_rtm_ended(void *cookie, const RTM_TokenResult *result)
{
    CHECK_EQ(result->err, RTM_ERR_CONNECTION);
    inside(IN_RtmEnded, (struct party *)cookie);
}

static void on_log(void *user, int level, const char *target, const char *message)
{
    (void)level;
    (void)target;
    (void)message;
    inside(IN_Log, (struct party *)user);
}

/* ---- what provokes them ---- */

static void pump(void)
{
    if (stage.queue != 0)
        CHECK_OK(CRVideo_PollEvents(stage.queue, 10, NULL));
}

#define UNTIL(counter, number) \
    do { \
        if (stage.queue == 0) \
            WAIT_FOR(counter, number); \
        else \
            PUMP_UNTIL(stage.queue, counter_get(&(counter)) >= (number)); \
    } while (0)

static void leave(struct party *party)
{
    if (party->session != 0)
        CHECK_OK(CRVideo_Destroy(party->session));
    party->session = 0;
}

static void enter(struct party *party, const char *name, const char *token)
{
    CRVideo_Session session = check_session(stage.queue);
    CRVideo_LoginInfo info;

    counter_init(&party->login.there);
    party->name = name;
    party->session = session;
    CHECK_OK(CRVideo_SetLoginRsltCallback(session, on_login, party));
    CHECK_OK(CRVideo_SetLogoutRsltCallback(session, on_logout, party));
    CHECK_OK(CRVideo_SetLineOffCallback(session, on_line_off, party));
    CHECK_OK(CRVideo_SetLineOnCallback(session, on_line_on, party));
    CHECK_OK(CRVideo_SetTokenWillExpireCallback(session, on_token_will_expire, party));
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(session, on_cmd_result, party));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(session, on_buffer_result, party));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(session, on_file_result, party));
    CHECK_OK(CRVideo_SetSendProgressCallback(session, on_progress, party));
    CHECK_OK(CRVideo_SetCancelSendRlstCallback(session, on_cancel_result, party));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(session, on_cmd, party));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(session, on_buffer, party));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(session, on_file, party));
    CHECK_OK(CRVideo_SetNotifyCancelSendCallback(session, on_notify_cancel, party));
    if (stage.place == IN_TransferOffer)
        CHECK_OK(CRVideo_SetTransferOfferCallback(session, on_offer, party));
    CHECK_OK(CRVideo_SetReceiveProgressCallback(session, on_receive_progress, party));
    CHECK_OK(CRVideo_SetUserStatusCallback(session, on_user_status, party));
    CHECK_OK(CRVideo_SetUserStatusRsltCallback(session, on_user_status_rslt, party));
    CHECK_OK(CRVideo_SetStatusPushRsltCallback(session, on_push_rslt, party));
    CHECK_OK(CRVideo_SetReleasedCallback(session, on_released, party));
    check_login_info(&info, name);
    if (token != NULL) {
        info.token = token;
        info.secret = NULL;
    }
    CHECK_OK(CRVideo_Login(session, &info, &party->login));
    if (stage.place == IN_LoginRslt) {
        UNTIL(stage.done, 1); /* the calls inside have unset the callback or ended the session */
        leave(party);
        return;
    }
    UNTIL(party->login.there, 1);
    CHECK_OK(party->login.err);
}

/* Does what makes the callback come in which the calls are to be made. */
static void provoke(const char *token)
{
    static unsigned char content[20000000];
    CRVideo_Session alice;

    if (stage.place == IN_LoginRslt) {
        enter(&stage.alice, "alice", NULL);
        return;
    }
    if (stage.place == IN_Log) { /* nobody listens on port 1: that is worth a line */
        CRVideo_LoginInfo info;
        CHECK_OK(CRVideo_SetLogCallback(stage.queue, CRVIDEO_LOG_TRACE, on_log, &stage.carol));
        check_login_info(&info, "alice");
        info.servers = "127.0.0.1:1";
        stage.alice.session = check_session(stage.queue);
        CHECK_OK(CRVideo_Login(stage.alice.session, &info, NULL));
        return;
    }
    if (stage.place == IN_RtmEnded) {
        CHECK_OK(export_client(stage.queue, &stage.caller));
        CHECK_OK(RTM_GetToken(stage.caller, 1, NULL, on_rtm_ended, &stage.carol, NULL));
        return;
    }
    if (stage.place == IN_TokenWillExpire) {
        enter(&stage.alice, "alice", token);
        return;
    }
    enter(&stage.alice, "alice", NULL);
    enter(&stage.bob, "bob", NULL);
    alice = stage.alice.session;
    switch (stage.place) {
    case IN_LogoutRslt:
        CHECK_OK(CRVideo_Logout(alice, NULL));
        break;
    case IN_LineOff:
    case IN_LineOn:
        proxy_cut_now();
        break;
    case IN_SendCmdRlst:
    case IN_NotifyCmdData:
        CHECK_OK(CRVideo_SendCmd(alice, "bob", "x", 1, NULL, NULL, NULL));
        break;
    case IN_SendFileRlst:
    case IN_NotifyFileData:
        CHECK_OK(CRVideo_SendFile(alice, "bob", check_args[0], NULL, NULL, NULL));
        break;
    case IN_SendBufferRlst:
    case IN_SendProgress:
    case IN_NotifyBufferData:
    case IN_ReceiveProgress:
    case IN_TransferOffer:
        CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, 500000, NULL, NULL, NULL));
        break;
    case IN_CancelSendRlst:
        CHECK_OK(CRVideo_CancelSend(alice, UNKNOWN_TASK, NULL));
        break;
    case IN_NotifyCancelSend: /* on_progress cancels */
        CHECK_OK(CRVideo_SendBuffer(alice, "bob", content, sizeof content, NULL, NULL, NULL));
        break;
    case IN_UserStatus:
        CHECK_OK(CRVideo_StartUserStatusPush(alice, NULL));
        UNTIL(stage.pushes, 1);
        enter(&stage.carol, "carol", NULL);
        break;
    case IN_UserStatusRslt:
        CHECK_OK(CRVideo_GetUserStatus(alice, NULL, NULL));
        break;
    case IN_StatusPushRslt:
        CHECK_OK(CRVideo_StartUserStatusPush(alice, NULL));
        break;
    case IN_Released:
        leave(&stage.alice);
        break;
    default:
        break;
    }
}

static void play(enum place place, int destroy, CRVideo_Queue queue, const char *token)
{
    printf("%s, %s%s\n", place_names[place], queue == 0 ? "callback thread" : "own queue", destroy ? ", destroy" : "");
    stage.place = place;
    stage.destroy = destroy;
    stage.fired = 0;
    stage.queue = queue;
    counter_init(&stage.done);
    counter_init(&stage.pushes);
    stage.alice.session = stage.bob.session = stage.carol.session = 0;
    check_login_info(&stage.info, "dora");
    provoke(token);
    UNTIL(stage.done, 1);
    CHECK_OK(CRVideo_SetLogCallback(queue, CRVIDEO_LOG_OFF, NULL, NULL));
    leave(&stage.alice);
    leave(&stage.bob);
    leave(&stage.carol);
    if (stage.place == IN_RtmEnded)
        CHECK_OK(RTM_Destroy(stage.caller));
    pump();
}

int main(int argc, char **argv)
{
    CRVideo_Queue queue;
    pthread_t thread;
    int place;
    int destroy;

    check_begin(argc, argv);
    CHECK_EQ(argc, 5);
    proxy_start(argv[1]);
    argv[1] = proxy.address;
    CHECK_EQ(pthread_create(&thread, NULL, watchdog, NULL), 0);
    pthread_detach(thread);
    CHECK_OK(CRVideo_CreateQueue(&stage.other_queue));
    CHECK_OK(CRVideo_CreateQueue(&queue));
    CHECK_OK(export_client(0, &stage.client));

    for (place = 0; place < PLACE_COUNT; place++) {
        for (destroy = 0; destroy <= 1; destroy++) {
            play((enum place)place, destroy, 0, argv[4]);
            play((enum place)place, destroy, queue, argv[4]);
        }
    }
    CHECK_OK(RTM_Destroy(stage.client));
    PUMP_UNTIL(queue, CRVideo_DestroyQueue(queue) == CRVideo_NOERR);
    CHECK_OK(CRVideo_DestroyQueue(stage.other_queue));
    printf("%d callbacks, %d functions\n", PLACE_COUNT, EXPORT_COUNT);
    return 0;
}
