/*
 * torture: one scenario with one fault in it, or none. Started with fault_shim loaded as
 *
 *     torture RELAY PROJECT SECRET SCENARIO NTH VARIANT GATE BASE TOKEN DIR
 *
 * NTH: which call of the library's fails (0: none); VARIANT: with which of its errors. GATE: the relay's RTM gate. BASE:
 * users are named BASEa, BASEb …; TOKEN is one of BASEa. DIR: an empty directory; TMPDIR is another one.
 *
 * Whatever fails, each accepted task has one result, NOERR means that the target has the content and every other code
 * but 1107 that it never had it, no code is one that nobody can act on, nothing hangs, and afterwards sessions work as
 * if nothing had happened. Prints the fault, the codes, and what is left: "left fds=N threads=N".
 */
#define _GNU_SOURCE

#include "check.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Nothing takes longer than this unless it hangs: time-outs are set far below. */
#define PATIENCE 10.0

static void (*fault_arm)(long, unsigned);
static void (*fault_disarm)(void);
static long (*fault_calls)(void);
static const char *(*fault_what)(int *);

static const char *scenario, *base, *gate, *token, *dir;

/* ---- the watchdog ------------------------------------------------------------------------------------------- */

static pthread_mutex_t step_lock = PTHREAD_MUTEX_INITIALIZER;
static const char *step_name = "start";
static double step_until;

static void step(const char *name)
{
    pthread_mutex_lock(&step_lock);
    step_name = name;
    step_until = check_now() + PATIENCE * check_slow();
    pthread_mutex_unlock(&step_lock);
}

static void hang(const char *what)
{
    char command[200];
    int error = 0;
    const char *call = fault_what(&error);
    fprintf(stderr, "hangs: %s (fault: %s %d)\n", what, call == NULL ? "none" : call, error);
    unsetenv("LD_PRELOAD");
    snprintf(command, sizeof command, "gdb -batch -ex 'thread apply all bt' -p %d 2>/dev/null >&2", (int)getpid());
    if (system(command) != 0)
        fprintf(stderr, "no stacks without gdb\n");
    fflush(NULL);
    _exit(3);
}

static void *watch(void *unused)
{
    (void)unused;
    for (;;) {
        int late;
        usleep(100000);
        pthread_mutex_lock(&step_lock);
        late = check_now() > step_until;
        pthread_mutex_unlock(&step_lock);
        if (late)
            hang(step_name);
    }
    return NULL;
}

static void await(struct counter *counter, long value, const char *what)
{
    step(what);
    while (!counter_reaches(counter, value, 1))
        ;
}

/* ---- the ledger --------------------------------------------------------------------------------------------- */

enum kind { COMMAND, BUFFER, FILE_ };
struct task {
    enum kind kind;
    size_t len;
    int accepted;
    CRVideo_Err err;
    struct counter results, delivered;
    int cancels;
    struct counter cancelled;
};
enum { TASKS = 64 };
static struct task tasks[TASKS];
static int task_count;

static int first_progress_cancels;
static const char *download_dir;

/* A code that tells nobody what to do is a fault of the library's. */
static CRVideo_Err sensible(const char *what, CRVideo_Err err)
{
    static const CRVideo_Err senseless[] = { CRVideo_UNKNOWNERR,      CRVideo_INNER_ERR,   CRVideo_MISMATCHCLIENTVER,
                                             CRVideo_PARAM_ERR,       CRVideo_ERR_DATA,    CRVideo_ANCTPSWD_ERR,
                                             CRVideo_SERVER_EXCEPTION, CRVideo_NOT_INIT,   CRVideo_RSPDAT_ERR,
                                             CRVideo_SENDFAIL };
    int error = 0;
    size_t i;
    const char *call = fault_what(&error);
    /* A download directory that cannot be looked at is a wrong argument. */
    if (err == CRVideo_PARAM_ERR && download_dir != NULL && strcmp(what, "create") == 0)
        return err;
    for (i = 0; i < sizeof senseless / sizeof senseless[0]; i++)
        if (err == senseless[i])
            FAIL("%s ends with %d after %s failed with %d", what, err, call == NULL ? "nothing" : call, error);
    if (err != CRVideo_NOERR)
        printf("code %s %d\n", what, err);
    return err;
}

static unsigned char byte_at(int index, size_t at)
{
    return at < 2 ? (unsigned char)(at == 0 ? 'T' : index) : (unsigned char)(at * 31 + at / 251 + (size_t)index);
}

static unsigned char *content_of(int index, size_t len)
{
    unsigned char *content = malloc(len + 1);
    size_t i;
    CHECK(content != NULL);
    for (i = 0; i < len; i++)
        content[i] = byte_at(index, i);
    return content;
}

static void delivered(const unsigned char *data, size_t len)
{
    size_t i;
    int index;
    CHECK(len >= 2 && data[0] == 'T');
    index = data[1];
    CHECK(index < task_count && tasks[index].len == len);
    for (i = 0; i < len; i++)
        if (data[i] != byte_at(index, i))
            FAIL("task %d arrived changed at byte %lu", index, (unsigned long)i);
    counter_add(&tasks[index].delivered, 1);
}

static void on_data(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)source;
    (void)task_id;
    delivered(data, len);
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    FILE *file = fopen(tmp_file, "rb");
    struct stat info;
    unsigned char *data;
    (void)user;
    (void)source;
    (void)task_id;
    (void)name;
    if (file == NULL)
        FAIL("%s: %s", tmp_file, strerror(errno));
    CHECK(fstat(fileno(file), &info) == 0 && (info.st_mode & 07777) == 0600);
    data = malloc((size_t)info.st_size + 1);
    CHECK(data != NULL && fread(data, 1, (size_t)info.st_size, file) == (size_t)info.st_size);
    fclose(file);
    CHECK(unlink(tmp_file) == 0);
    delivered(data, (size_t)info.st_size);
    free(data);
}

static void on_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    struct task *task = cookie;
    (void)user;
    (void)task_id;
    task->err = err;
    counter_add(&task->results, 1);
}

static void on_file_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    CHECK(file_name != NULL);
    on_result(user, task_id, err, cookie);
}

static void on_cancel_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    struct task *task = cookie;
    (void)user;
    (void)task_id;
    (void)err;
    counter_add(&task->cancelled, 1);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    struct task *task = cookie;
    CRVideo_Session session = *(CRVideo_Session *)user;
    CHECK(sent <= total && total == task->len);
    CHECK(counter_get(&task->results) == 0);
    if (first_progress_cancels && task->cancels == 0 && CRVideo_CancelSend(session, task_id, task) == CRVideo_NOERR)
        task->cancels = 1;
}

static struct task *new_task(enum kind kind, size_t len)
{
    struct task *task = &tasks[task_count++];
    CHECK(task_count <= TASKS);
    memset(task, 0, sizeof *task);
    task->kind = kind;
    task->len = len;
    counter_init(&task->results);
    counter_init(&task->delivered);
    counter_init(&task->cancelled);
    return task;
}

/* Sends content that says which task it belongs to. */
static void send_one(CRVideo_Session session, const char *target, enum kind kind, size_t len, const char *task_id)
{
    int index = task_count;
    struct task *task = new_task(kind, len);
    unsigned char *content = content_of(index, len);
    CRVideo_SendOptions options;
    CRVideo_Err err;
    CRVideo_SendOptionsInit(&options);
    options.task_id = task_id;
    step("a send");
    if (kind == COMMAND) {
        err = CRVideo_SendCmd(session, target, content, len, &options, task, NULL);
    } else if (kind == BUFFER) {
        err = CRVideo_SendBuffer(session, target, content, len, &options, task, NULL);
    } else {
        char path[512];
        FILE *file;
        snprintf(path, sizeof path, "%s/source", dir);
        file = fopen(path, "wb");
        CHECK(file != NULL && fwrite(content, 1, len, file) == len && fclose(file) == 0);
        err = CRVideo_SendFile(session, target, path, &options, task, NULL);
        CHECK(unlink(path) == 0); /* the library has it open */
    }
    free(content);
    task->accepted = err == CRVideo_NOERR;
    if (!task->accepted)
        sensible("call", err);
}

/* The sender has logged out, which may end a task before it meets the fault. */
static int logged_out;

/* Which codes a fault may have, where it is one that only one part of a task can meet. */
static void fits_the_fault(struct task *task)
{
    static const struct {
        const char *call;
        enum kind kind;
        CRVideo_Err err;
    } fitting[] = {
        { "pread", FILE_, CRVideo_SENDFILE_FILEINERROR }, { "write", FILE_, CRVideo_FILE_WRITE_ERR },
        { "fallocate", FILE_, CRVideo_FILE_WRITE_ERR },   { "fsync", FILE_, CRVideo_FILE_WRITE_ERR },
        { "renameat2", FILE_, CRVideo_FILE_WRITE_ERR },   { "mkdtemp", FILE_, CRVideo_FILE_WRITE_ERR },
        { "mkdirat", FILE_, CRVideo_FILE_WRITE_ERR },
    };
    size_t i;
    int error = 0;
    const char *call = fault_what(&error);
    if (logged_out && (task->err == CRVideo_NOT_LOGIN || task->err == CRVideo_SEND_OUTCOME_UNKNOWN))
        call = NULL;
    for (i = 0; call != NULL && i < sizeof fitting / sizeof fitting[0]; i++)
        if (strcmp(call, fitting[i].call) == 0 && task->kind == fitting[i].kind && task->err != CRVideo_NOERR
            && task->err != fitting[i].err && task->err != CRVideo_SEND_CANCELLED && task->err != CRVideo_PEER_REFUSE)
            FAIL("a task ends with %d after %s failed with %d, not with %d", task->err, call, error, fitting[i].err);
    sensible(task->kind == COMMAND ? "command" : task->kind == BUFFER ? "buffer" : "file", task->err);
}

/* Every accepted task ends, and what ended well arrives. */
static void settle(void)
{
    int i;
    for (i = 0; i < task_count; i++) {
        struct task *task = &tasks[i];
        if (task->accepted)
            await(&task->results, 1, "waiting for a task's result");
        if (task->cancels)
            await(&task->cancelled, 1, "waiting for a cancel's result");
        if (task->accepted && task->err == CRVideo_NOERR)
            await(&task->delivered, 1, "waiting for what was delivered");
    }
}

static void judge(void)
{
    int i, error = 0;
    const char *call = fault_what(&error) == NULL ? "nothing" : fault_what(&error);
    for (i = 0; i < task_count; i++) {
        struct task *task = &tasks[i];
        long results = counter_get(&task->results), arrived = counter_get(&task->delivered);
        CHECK_EQ(results, task->accepted);
        CHECK_EQ(counter_get(&task->cancelled), task->cancels);
        if (!task->accepted || (task->err != CRVideo_NOERR && task->err != CRVideo_SEND_OUTCOME_UNKNOWN))
            if (arrived != 0)
                FAIL("a task that ended with %d has arrived after %s failed with %d", task->err, call, error);
        CHECK(arrived <= 1);
        if (task->accepted)
            fits_the_fault(task);
    }
    task_count = 0;
}

/* ---- sessions ----------------------------------------------------------------------------------------------- */

struct peer {
    CRVideo_Session session;
    char name[64];
    struct counter logins, logouts, line_on, status, pushes, released;
    CRVideo_Err login_err;
    int logged_in;
};

static CRVideo_Queue queue;
static uint32_t config_flags;
static const char *servers;
static int use_token;

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    struct peer *peer = user;
    (void)cookie;
    peer->login_err = err;
    counter_add(&peer->logins, 1);
}

static void on_logout(void *user, CRVideo_Err err, void *cookie)
{
    (void)err;
    (void)cookie;
    counter_add(&((struct peer *)user)->logouts, 1);
}

static void on_line_on(void *user)
{
    counter_add(&((struct peer *)user)->line_on, 1);
}

static void on_status(void *user, CRVideo_Err err, const char *const *ids, size_t count, void *cookie)
{
    (void)err;
    (void)ids;
    (void)count;
    (void)cookie;
    counter_add(&((struct peer *)user)->status, 1);
}

static void on_push(void *user, CRVideo_Err err, void *cookie)
{
    (void)err;
    (void)cookie;
    counter_add(&((struct peer *)user)->pushes, 1);
}

static void on_released(void *user)
{
    counter_add(&((struct peer *)user)->released, 1);
}

/* A session of BASE and `suffix`, logged in if nothing fails. */
static int enter(struct peer *peer, const char *suffix)
{
    CRVideo_Config config;
    CRVideo_LoginInfo info;
    CRVideo_Err err;
    memset(peer, 0, sizeof *peer);
    snprintf(peer->name, sizeof peer->name, "%s%s", base, suffix);
    counter_init(&peer->logins);
    counter_init(&peer->logouts);
    counter_init(&peer->line_on);
    counter_init(&peer->status);
    counter_init(&peer->pushes);
    counter_init(&peer->released);
    CRVideo_ConfigInit(&config);
    config.queue = queue;
    config.flags = config_flags;
    config.download_dir = download_dir;
    config.cmd_timeout_ms = 2500;
    config.transfer_timeout_ms = 2500;
    config.offer_timeout_ms = 2000;
    step("a login");
    if (sensible("create", CRVideo_Create(&config, &peer->session)) != CRVideo_NOERR)
        return 0;
    CHECK_OK(CRVideo_SetLoginRsltCallback(peer->session, on_login, peer));
    CHECK_OK(CRVideo_SetLogoutRsltCallback(peer->session, on_logout, peer));
    CHECK_OK(CRVideo_SetLineOnCallback(peer->session, on_line_on, peer));
    CHECK_OK(CRVideo_SetReleasedCallback(peer->session, on_released, peer));
    CHECK_OK(CRVideo_SetUserStatusRsltCallback(peer->session, on_status, peer));
    CHECK_OK(CRVideo_SetStatusPushRsltCallback(peer->session, on_push, peer));
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(peer->session, on_result, NULL));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(peer->session, on_result, NULL));
    CHECK_OK(CRVideo_SetSendFileRlstCallback(peer->session, on_file_result, NULL));
    CHECK_OK(CRVideo_SetCancelSendRlstCallback(peer->session, on_cancel_result, NULL));
    CHECK_OK(CRVideo_SetSendProgressCallback(peer->session, on_progress, &peer->session));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(peer->session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(peer->session, on_data, NULL));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(peer->session, on_file, NULL));
    check_login_info(&info, peer->name);
    info.servers = servers;
    if (use_token && strcmp(suffix, "a") == 0) {
        info.secret = NULL;
        info.token = token;
    }
    err = sensible("login call", CRVideo_Login(peer->session, &info, NULL));
    if (err != CRVideo_NOERR)
        return 0;
    await(&peer->logins, 1, "waiting for the result of a login");
    peer->logged_in = sensible("login", peer->login_err) == CRVideo_NOERR;
    return peer->logged_in;
}

static void leave(struct peer *peer)
{
    int entered = peer->session != 0;
    step("a destroy");
    if (!entered)
        return;
    CHECK_OK(CRVideo_Destroy(peer->session));
    CHECK_EQ(counter_get(&peer->released), 1);
    peer->session = 0;
}

static struct peer alice, bob;

static int both(void)
{
    int there = enter(&bob, "b");
    return enter(&alice, "a") && there;
}

/* ---- what bob does with offers ------------------------------------------------------------------------------ */

enum decision { ACCEPT, ACCEPT_TO_PATH, REFUSE, CANCEL_AT_FIRST_BYTES };
static enum decision decision;

static void on_offer(void *user, const char *source, const char *task_id, int32_t kind, const char *name, uint64_t size)
{
    char path[512];
    (void)user;
    (void)name;
    (void)size;
    snprintf(path, sizeof path, "%s/own", dir);
    if (decision == REFUSE)
        CRVideo_RefuseTransfer(bob.session, source, task_id);
    else
        CRVideo_AcceptTransfer(bob.session, source, task_id,
                               decision == ACCEPT_TO_PATH && kind == CRVIDEO_KIND_FILE ? path : NULL);
}

static void on_received(void *user, const char *source, const char *task_id, uint64_t received, uint64_t total)
{
    (void)user;
    CHECK(received <= total);
    if (decision == CANCEL_AT_FIRST_BYTES)
        CRVideo_CancelReceive(bob.session, source, task_id);
}

static void decide(enum decision what)
{
    decision = what;
    CHECK_OK(CRVideo_SetTransferOfferCallback(bob.session, on_offer, NULL));
    CHECK_OK(CRVideo_SetReceiveProgressCallback(bob.session, on_received, NULL));
}

/* ---- scenarios ---------------------------------------------------------------------------------------------- */

/* The network breaks: every socket of the process is shut. */
static void cut(void)
{
    int fd;
    for (fd = 3; fd < 1024; fd++) {
        struct stat info;
        if (fstat(fd, &info) == 0 && S_ISSOCK(info.st_mode))
            shutdown(fd, SHUT_RDWR);
    }
}

static void log_in(void) { both(); }
static void log_in_by_name(void)
{
    static char named[128];
    snprintf(named, sizeof named, "localhost:%s", strrchr(check_args[1], ':') + 1);
    servers = named;
    if (both())
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
}
static void log_in_by_token(void)
{
    use_token = 1;
    if (both()) {
        sensible("update", CRVideo_UpdateToken(alice.session, token));
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
    }
}
static void command(void)
{
    if (both())
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
}
static void largest_command(void)
{
    if (both())
        send_one(alice.session, bob.name, COMMAND, CRVIDEO_CMD_MAX, NULL);
}
static void commands_both_ways(void)
{
    int i;
    if (both())
        for (i = 0; i < 10; i++)
            send_one(i % 2 ? alice.session : bob.session, i % 2 ? bob.name : alice.name, COMMAND, 50, NULL);
}
static void buffer(void)
{
    if (both())
        send_one(alice.session, bob.name, BUFFER, 100000, NULL);
}
static void large_buffer(void)
{
    if (both())
        send_one(alice.session, bob.name, BUFFER, 3000000, NULL);
}
static void file(void)
{
    if (both())
        send_one(alice.session, bob.name, FILE_, 50000, NULL);
}
static void large_file(void)
{
    if (both())
        send_one(alice.session, bob.name, FILE_, 2000000, NULL);
}
static void file_to_directory(void)
{
    download_dir = dir;
    file();
}
static void durable_file(void)
{
    config_flags = CRVIDEO_CONFIG_DURABLE;
    file();
}
static void offered(enum decision what, enum kind kind, size_t len)
{
    if (both()) {
        decide(what);
        send_one(alice.session, bob.name, kind, len, NULL);
    }
}
static void accept_file(void) { offered(ACCEPT, FILE_, 50000); }
static void accept_file_to_path(void) { offered(ACCEPT_TO_PATH, FILE_, 300000); }
static void accept_durable_file_to_path(void)
{
    config_flags = CRVIDEO_CONFIG_DURABLE;
    offered(ACCEPT_TO_PATH, FILE_, 50000);
}
static void refuse_buffer(void) { offered(REFUSE, BUFFER, 50000); }
static void cancel_receiving(void) { offered(CANCEL_AT_FIRST_BYTES, FILE_, 4000000); }
static void cancel_buffer(void)
{
    first_progress_cancels = 1;
    if (both())
        send_one(alice.session, bob.name, BUFFER, 8000000, NULL);
}
static void cancel_file(void)
{
    first_progress_cancels = 1;
    if (both())
        send_one(alice.session, bob.name, FILE_, 8000000, NULL);
}
static void reconnect(void)
{
    if (both()) {
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
        cut();
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
    }
}
static void reconnect_in_transfers(void)
{
    if (both()) {
        send_one(alice.session, bob.name, FILE_, 4000000, NULL);
        send_one(alice.session, bob.name, BUFFER, 1000000, NULL);
        cut();
    }
}
/* run() gives these a queue that a thread of its own polls. */
static void pump(void)
{
    if (both()) {
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
        send_one(alice.session, bob.name, BUFFER, 200000, NULL);
    }
}
static void pump_file(void)
{
    file();
}
/* The sender ends in the middle. */
static void in_flight(void)
{
    if (both()) {
        send_one(alice.session, bob.name, COMMAND, 100, NULL);
        send_one(alice.session, bob.name, BUFFER, 4000000, NULL);
        send_one(alice.session, bob.name, FILE_, 4000000, NULL);
    }
}
static void destroy_in_flight(void)
{
    in_flight();
    leave(&alice);
}
static void destroy_receiver_in_flight(void)
{
    in_flight();
    settle();
}
static void log_out_in_flight(void)
{
    in_flight();
    if (alice.logged_in && sensible("logout call", CRVideo_Logout(alice.session, NULL)) == CRVideo_NOERR) {
        logged_out = 1;
        await(&alice.logouts, 1, "waiting for the result of a logout");
    }
}
static void log_in_twice(void)
{
    if (enter(&alice, "a")) {
        if (sensible("logout call", CRVideo_Logout(alice.session, NULL)) == CRVideo_NOERR)
            await(&alice.logouts, 1, "waiting for the result of a logout");
        leave(&alice);
        enter(&alice, "a");
    }
}
static void kick_out(void)
{
    struct peer newer;
    if (both()) {
        send_one(alice.session, bob.name, BUFFER, 1000000, NULL);
        if (enter(&newer, "a"))
            send_one(newer.session, bob.name, COMMAND, 100, NULL);
        settle();
        leave(&newer);
    }
}
static void many_sessions(void)
{
    struct peer peers[10];
    int i;
    memset(peers, 0, sizeof peers);
    if (enter(&bob, "b"))
        for (i = 0; i < 10; i++) {
            char suffix[16];
            snprintf(suffix, sizeof suffix, "m%d", i);
            if (enter(&peers[i], suffix))
                send_one(peers[i].session, bob.name, COMMAND, 100, NULL);
        }
    settle();
    for (i = 0; i < 10; i++)
        leave(&peers[i]);
}
static void chosen_ids(void)
{
    if (both()) {
        send_one(alice.session, bob.name, COMMAND, 100, "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9");
        send_one(alice.session, bob.name, BUFFER, 100, "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0fa");
    }
}
static void who_is_there(void)
{
    if (both()) {
        if (sensible("status", CRVideo_GetUserStatus(alice.session, NULL, NULL)) == CRVideo_NOERR)
            await(&alice.status, 1, "waiting for who is there");
        if (sensible("push", CRVideo_StartUserStatusPush(alice.session, NULL)) == CRVideo_NOERR)
            await(&alice.pushes, 1, "waiting for the status push");
    }
}
static void to_nobody(void)
{
    if (enter(&alice, "a")) {
        send_one(alice.session, "nobody", COMMAND, 100, NULL);
        send_one(alice.session, "nobody", FILE_, 100000, NULL);
    }
}
static void to_myself(void)
{
    if (enter(&alice, "a")) {
        send_one(alice.session, alice.name, COMMAND, 100, NULL);
        send_one(alice.session, alice.name, FILE_, 100000, NULL);
    }
}
static void several_files(void)
{
    int i;
    if (both())
        for (i = 0; i < 6; i++)
            send_one(alice.session, bob.name, FILE_, 70000, NULL);
}

/* ---- RTM ---------------------------------------------------------------------------------------------------- */

static struct counter rtm_ends = COUNTER_INIT;

static void on_sent(void *cookie, const RTM_SendResult *result)
{
    (void)cookie;
    sensible("rtm result", result->err);
    counter_add(&rtm_ends, 1);
}

/* One call; `file_len` 0: a message, else a file by path. */
static int rtm(size_t file_len, int waits)
{
    RTM_Config config;
    RTM_Client client = 0;
    RTM_SendResult result;
    RTM_File sent;
    CRVideo_Err err;
    char path[512];
    RTM_ConfigInit(&config);
    config.endpoint = gate;
    config.project = atoi(check_args[2]);
    config.secret = check_args[3];
    config.timeout_ms = 3000;
    config.queue = queue;
    step("an RTM call");
    if (sensible("rtm create", RTM_Create(&config, &client)) != CRVideo_NOERR)
        return 0;
    RTM_SendResultInit(&result);
    if (file_len == 0) {
        err = RTM_SendMsg(client, 1, 2, 66, "hello", 5, "", NULL, waits ? NULL : on_sent, NULL, waits ? &result : NULL);
    } else {
        unsigned char *content = content_of(1, file_len);
        FILE *out;
        snprintf(path, sizeof path, "%s/rtm", dir);
        out = fopen(path, "wb");
        CHECK(out != NULL && fwrite(content, 1, file_len, out) == file_len && fclose(out) == 0);
        free(content);
        RTM_FileInit(&sent);
        sent.path = path;
        err = RTM_SendFile(client, 1, 2, RTM_MTYPE_FILE, &sent, NULL, waits ? NULL : on_sent, NULL,
                           waits ? &result : NULL);
        CHECK(unlink(path) == 0);
    }
    sensible("rtm call", err);
    if (!waits && err == CRVideo_NOERR)
        await(&rtm_ends, 1, "waiting for the result of an RTM call");
    step("an RTM client's destroy");
    CHECK_OK(RTM_Destroy(client));
    return err == CRVideo_NOERR;
}
static void rtm_message(void) { rtm(0, 1); }
static void rtm_message_async(void)
{
    rtm(0, 0);
    CHECK(counter_get(&rtm_ends) <= 1);
}
static void rtm_file(void) { rtm(600000, 1); }
static void rtm_file_async(void)
{
    rtm(100000, 0);
    CHECK(counter_get(&rtm_ends) <= 1);
}
static void rtm_chunked(void) { rtm(9 * 1024 * 1024, 1); }

static const struct {
    const char *name;
    void (*run)(void);
} scenarios[] = {
#define SCENARIO(name) { #name, name }
    SCENARIO(log_in), SCENARIO(log_in_by_name), SCENARIO(log_in_by_token), SCENARIO(log_in_twice), SCENARIO(command),
    SCENARIO(largest_command), SCENARIO(commands_both_ways), SCENARIO(buffer), SCENARIO(large_buffer), SCENARIO(file),
    SCENARIO(large_file), SCENARIO(file_to_directory), SCENARIO(durable_file), SCENARIO(accept_file),
    SCENARIO(accept_file_to_path), SCENARIO(accept_durable_file_to_path), SCENARIO(refuse_buffer),
    SCENARIO(cancel_receiving), SCENARIO(cancel_buffer), SCENARIO(cancel_file), SCENARIO(reconnect),
    SCENARIO(reconnect_in_transfers), SCENARIO(pump), SCENARIO(pump_file), SCENARIO(destroy_in_flight),
    SCENARIO(destroy_receiver_in_flight), SCENARIO(log_out_in_flight), SCENARIO(kick_out), SCENARIO(many_sessions),
    SCENARIO(chosen_ids), SCENARIO(who_is_there), SCENARIO(to_nobody), SCENARIO(to_myself), SCENARIO(several_files),
    SCENARIO(rtm_message), SCENARIO(rtm_message_async), SCENARIO(rtm_file), SCENARIO(rtm_file_async),
    SCENARIO(rtm_chunked),
};
enum { SCENARIOS = (int)(sizeof scenarios / sizeof scenarios[0]) };

/* ---- the run ------------------------------------------------------------------------------------------------ */

static struct counter pump_stops = COUNTER_INIT;

static void *pump_events(void *unused)
{
    (void)unused;
    while (counter_get(&pump_stops) == 0) {
        CRVideo_Err err = CRVideo_PollEvents(queue, 20, NULL);
        if (err != CRVideo_NOERR && err != CRVideo_LOGINSTATE_ERROR)
            FAIL("polling ends with %d", err);
    }
    return NULL;
}

/* Runs a scenario to its end, sessions included. */
static void run(void (*body)(void))
{
    pthread_t pumper;
    int pumps = strncmp(scenario, "pump", 4) == 0;
    CRVideo_Queue made = 0;
    if (pumps) {
        if (sensible("queue", CRVideo_CreateQueue(&made)) != CRVideo_NOERR)
            return;
        queue = made;
        CHECK(pthread_create(&pumper, NULL, pump_events, NULL) == 0);
    }
    body();
    settle();
    if (pumps) {
        /* Destroy runs the events that are left on this thread. */
        counter_add(&pump_stops, 1);
        pthread_join(pumper, NULL);
    }
    leave(&alice);
    leave(&bob);
    judge();
    if (pumps)
        CHECK_OK(CRVideo_DestroyQueue(made));
}

/* After the fault everything works: nobody has forgotten anything. */
static void everything_works(void)
{
    queue = 0;
    config_flags = 0;
    download_dir = NULL;
    servers = check_args[1];
    use_token = first_progress_cancels = 0;
    CHECK(both());
    send_one(alice.session, bob.name, COMMAND, 100, NULL);
    send_one(alice.session, bob.name, BUFFER, 100000, NULL);
    send_one(alice.session, bob.name, FILE_, 100000, NULL);
    settle();
    CHECK(tasks[0].err == CRVideo_NOERR && tasks[1].err == CRVideo_NOERR && tasks[2].err == CRVideo_NOERR);
    leave(&alice);
    leave(&bob);
    judge();
    if (strncmp(scenario, "rtm", 3) == 0)
        CHECK(rtm(0, 1) && rtm(600000, 1));
}

static int entries(const char *path)
{
    DIR *open = opendir(path);
    struct dirent *entry;
    int count = 0;
    CHECK(open != NULL);
    while ((entry = readdir(open)) != NULL)
        if (entry->d_name[0] != '.' || strcspn(entry->d_name + 1, ".") > 0) {
            if (strncmp(path, "/proc", 5) != 0)
                fprintf(stderr, "left: %s/%s\n", path, entry->d_name);
            count++;
        }
    closedir(open);
    return count;
}

static void *function(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    if (found == NULL)
        FAIL("%s is not there: start this with fault_shim loaded", name);
    return found;
}

int main(int argc, char **argv)
{
    pthread_t watchdog;
    int i, error = 0;
    const char *call;
    if (argc == 2 && strcmp(argv[1], "--list") == 0) {
        for (i = 0; i < SCENARIOS; i++)
            puts(scenarios[i].name);
        return 0;
    }
    if (argc != 11)
        return 2;
    check_begin(argc, argv);
    scenario = argv[4];
    gate = argv[7];
    base = argv[8];
    token = argv[9];
    dir = argv[10];
    servers = argv[1];
    *(void **)&fault_arm = function("fault_arm");
    *(void **)&fault_disarm = function("fault_disarm");
    *(void **)&fault_calls = function("fault_calls");
    *(void **)&fault_what = function("fault_what");
    step("start");
    CHECK(pthread_create(&watchdog, NULL, watch, NULL) == 0);
    for (i = 0; i < SCENARIOS && strcmp(scenarios[i].name, scenario) != 0; i++)
        ;
    CHECK(i < SCENARIOS);
    fault_arm(atol(argv[5]), (unsigned)atol(argv[6]));
    run(scenarios[i].run);
    fault_disarm();
    printf("calls %ld\n", fault_calls());
    call = fault_what(&error);
    if (call != NULL)
        printf("fired %s %d\n", call, error);
    everything_works();
    CHECK_EQ(entries(dir), 0);
    CHECK_EQ(entries(getenv("TMPDIR")), 0);
    /* A helper may still be closing the file of a transfer that nobody waits for any more. */
    step("waiting until as few descriptors are open as without a fault");
    do {
        usleep(10000);
        i = entries("/proc/self/fd");
    } while (getenv("CRVIDEO_FDS") != NULL && i > atoi(getenv("CRVIDEO_FDS")));
    printf("left fds=%d threads=%d\n", i, entries("/proc/self/task"));
    return 0;
}
