/*
 * destroy_inside: CRVideo_Destroy from inside a callback, of the session that the callback belongs to and of another
 * one, while both have sends in flight and things coming in; with the callback thread, with one queue of our own, and
 * with two. Every send that was accepted must end exactly once, and nothing but such ends may be heard of the
 * destroyed session.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

enum { COMMANDS = 40, BUFFERS = 3 };
enum occasion { IN_PROGRESS, IN_CMD_RESULT, IN_NOTIFY_CMD, OCCASIONS };
static const char *const occasion_names[OCCASIONS] = { "SendProgress", "SendCmdRlst", "NotifyCmdData" };

struct task {
    int accepted;
    int ended; /* under `state.lock` */
};

struct party {
    const char *name;
    CRVideo_Session session;
    CRVideo_Queue queue;
    int destroyed; /* Destroy has returned; under `state.lock` */
    struct task tasks[COMMANDS + BUFFERS];
    struct counter ended;
    long accepted;
};

static struct {
    pthread_mutex_t lock;
    enum occasion occasion;
    struct party *actor;  /* in whose callback it happens */
    struct party *victim; /* who is destroyed */
    int done;
} state = { PTHREAD_MUTEX_INITIALIZER, IN_PROGRESS, NULL, NULL, 0 };

static unsigned char *content;
static size_t content_len; /* enough to be under way for a while */

/* In a callback of `party`: is it time? Then destroys the victim. */
static void maybe_destroy(struct party *party, enum occasion occasion)
{
    int now;
    pthread_mutex_lock(&state.lock);
    now = !state.done && party == state.actor && occasion == state.occasion;
    state.done |= now;
    pthread_mutex_unlock(&state.lock);
    if (!now)
        return;
    CHECK_OK(CRVideo_Destroy(state.victim->session));
    pthread_mutex_lock(&state.lock);
    state.victim->destroyed = 1;
    pthread_mutex_unlock(&state.lock);
    CHECK_EQ(CRVideo_Destroy(state.victim->session), CRVideo_NOT_INIT);
    CHECK_EQ(CRVideo_SendCmd(state.victim->session, "bob", "x", 1, NULL, NULL, NULL), CRVideo_NOT_INIT);
}

static void not_after_destroy(struct party *party, const char *what)
{
    int destroyed;
    pthread_mutex_lock(&state.lock);
    destroyed = party->destroyed;
    pthread_mutex_unlock(&state.lock);
    if (destroyed)
        FAIL("%s of %s after its Destroy", what, party->name);
}

static void end_task(struct party *party, void *cookie)
{
    struct task *task = (struct task *)cookie;
    pthread_mutex_lock(&state.lock);
    task->ended++;
    pthread_mutex_unlock(&state.lock);
    counter_add(&party->ended, 1);
}

static void on_cmd_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    struct party *party = (struct party *)user;
    (void)task_id;
    (void)err;
    end_task(party, cookie);
    maybe_destroy(party, IN_CMD_RESULT);
}

static void on_buffer_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)task_id;
    (void)err;
    end_task((struct party *)user, cookie);
}

static void on_progress(void *user, const char *task_id, uint64_t sent, uint64_t total, void *cookie)
{
    struct party *party = (struct party *)user;
    (void)task_id;
    (void)sent;
    (void)total;
    (void)cookie;
    not_after_destroy(party, "SendProgress");
    maybe_destroy(party, IN_PROGRESS);
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    struct party *party = (struct party *)user;
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    not_after_destroy(party, "NotifyCmdData");
    maybe_destroy(party, IN_NOTIFY_CMD);
}

static void on_buffer(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)source;
    (void)task_id;
    (void)data;
    (void)len;
    not_after_destroy((struct party *)user, "NotifyBufferData");
}

static void enter(struct party *party)
{
    party->session = check_session(party->queue);
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(party->session, on_cmd_result, party));
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(party->session, on_buffer_result, party));
    CHECK_OK(CRVideo_SetSendProgressCallback(party->session, on_progress, party));
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(party->session, on_cmd, party));
    CHECK_OK(CRVideo_SetNotifyBufferDataCallback(party->session, on_buffer, party));
    CHECK_OK(check_login(party->session, party->queue, party->name));
}

/* Sends everything to `target`. The party may be destroyed meanwhile: then the rest is refused. */
static void send_all(struct party *party, const char *target)
{
    int i;
    for (i = 0; i < COMMANDS + BUFFERS; i++) {
        struct task *task = &party->tasks[i];
        CRVideo_Err err = i < BUFFERS
            ? CRVideo_SendBuffer(party->session, target, content, content_len, NULL, task, NULL)
            : CRVideo_SendCmd(party->session, target, content, 100, NULL, task, NULL);
        if (err == CRVideo_NOERR) {
            task->accepted = 1;
            party->accepted++;
        } else {
            CHECK_EQ(err, CRVideo_NOT_INIT);
        }
    }
}

static void check_tasks(const struct party *party)
{
    int i;
    pthread_mutex_lock(&state.lock);
    for (i = 0; i < COMMANDS + BUFFERS; i++)
        if (party->tasks[i].ended != party->tasks[i].accepted)
            FAIL("%s: send %d ended %d times", party->name, i, party->tasks[i].ended);
    pthread_mutex_unlock(&state.lock);
}

/* Waits until every send of a party has ended; both queues are polled meanwhile, if there are any. */
static void wait_for_ends(struct party *party, CRVideo_Queue queue, CRVideo_Queue other_queue)
{
    double deadline = check_now() + 45.0 * check_slow();
    int i;
    while (!counter_reaches(&party->ended, party->accepted, -1)) {
        if (queue == 0 ? !counter_reaches(&party->ended, party->accepted, 45) : check_now() > deadline) {
            for (i = 0; i < COMMANDS + BUFFERS; i++)
                if (party->tasks[i].ended < party->tasks[i].accepted)
                    fprintf(stderr, "%s: %s %d has no end\n", party->name, i < BUFFERS ? "buffer" : "command", i);
            FAIL("%s: %ld sends, but %ld ends", party->name, party->accepted, counter_get(&party->ended));
        }
        if (queue != 0)
            CHECK_OK(CRVideo_PollEvents(queue, 10, NULL));
        if (other_queue != queue)
            CHECK_OK(CRVideo_PollEvents(other_queue, 10, NULL));
    }
}

/* Everything that was put into a queue before has been handled when this returns. */
static void flush_queue(CRVideo_Queue queue)
{
    CRVideo_Session session = check_session(queue);
    CHECK_OK(check_login(session, queue, "last"));
    CHECK_OK(CRVideo_Destroy(session));
}

static void play(enum occasion occasion, int destroy_self, CRVideo_Queue queue, CRVideo_Queue other_queue)
{
    struct party alice = { "alice", 0, 0, 0, { { 0, 0 } }, COUNTER_INIT, 0 };
    struct party bob = { "bob", 0, 0, 0, { { 0, 0 } }, COUNTER_INIT, 0 };
    struct party carol = { "carol", 0, 0, 0, { { 0, 0 } }, COUNTER_INIT, 0 };

    printf("in %s, of %s session, queues %d\n", occasion_names[occasion], destroy_self ? "this" : "another",
           queue == 0 ? 0 : queue == other_queue ? 1 : 2);
    alice.queue = bob.queue = queue;
    carol.queue = other_queue;
    enter(&alice);
    enter(&bob);
    enter(&carol);
    pthread_mutex_lock(&state.lock);
    state.occasion = occasion;
    state.actor = &alice;
    state.victim = destroy_self ? &alice : &carol;
    state.done = 0;
    pthread_mutex_unlock(&state.lock);

    send_all(&carol, "bob");
    send_all(&bob, destroy_self ? "alice" : "carol");
    CHECK_OK(CRVideo_SendCmd(carol.session, "alice", "x", 1, NULL, &carol.tasks[0], NULL));
    carol.tasks[0].accepted++;
    carol.accepted++;
    send_all(&alice, "bob");

    wait_for_ends(&alice, queue, other_queue);
    wait_for_ends(&bob, queue, other_queue);
    wait_for_ends(&carol, queue, other_queue);
    CHECK(state.done);
    flush_queue(queue);
    if (other_queue != queue)
        flush_queue(other_queue);
    CHECK_OK(CRVideo_Destroy(bob.session));
    CHECK_OK(CRVideo_Destroy(destroy_self ? carol.session : alice.session));
    check_tasks(&alice);
    check_tasks(&bob);
    check_tasks(&carol);
}

/* Destroy outside a callback returns when every send has ended: no waiting, no polling after it. */
static void play_outside(CRVideo_Queue queue)
{
    struct party alice = { "alice", 0, 0, 0, { { 0, 0 } }, COUNTER_INIT, 0 };
    struct party bob = { "bob", 0, 0, 0, { { 0, 0 } }, COUNTER_INIT, 0 };

    printf("outside, queues %d\n", queue != 0);
    alice.queue = bob.queue = queue;
    pthread_mutex_lock(&state.lock);
    state.actor = state.victim = NULL;
    pthread_mutex_unlock(&state.lock);
    enter(&alice);
    enter(&bob);
    send_all(&alice, "bob");
    send_all(&bob, "alice");
    CHECK_OK(CRVideo_Destroy(alice.session));
    pthread_mutex_lock(&state.lock);
    alice.destroyed = 1;
    pthread_mutex_unlock(&state.lock);
    check_tasks(&alice);
    CHECK_EQ(counter_get(&alice.ended), alice.accepted);
    CHECK_OK(CRVideo_Destroy(bob.session));
    check_tasks(&bob);
    CHECK_EQ(counter_get(&alice.ended), alice.accepted);
}

int main(int argc, char **argv)
{
    CRVideo_Queue queue;
    CRVideo_Queue other_queue;
    int occasion;
    int self;

    check_begin(argc, argv);
    content_len = 8 * 1024 * 1024 / (size_t)check_slow();
    content = (unsigned char *)calloc(1, content_len);
    CHECK(content != NULL);
    CHECK_OK(CRVideo_CreateQueue(&queue));
    CHECK_OK(CRVideo_CreateQueue(&other_queue));

    for (occasion = 0; occasion < OCCASIONS; occasion++) {
        for (self = 0; self <= 1; self++) {
            play((enum occasion)occasion, self, 0, 0);
            play((enum occasion)occasion, self, queue, queue);
            play((enum occasion)occasion, self, queue, other_queue);
        }
    }
    play_outside(0);
    play_outside(queue);

    CHECK_OK(CRVideo_DestroyQueue(queue));
    CHECK_OK(CRVideo_DestroyQueue(other_queue));
    free(content);
    return 0;
}
