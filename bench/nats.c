/*
 * nats: users who send to each other through a nats-server, with nats.c: a connection for each, requests with a subject
 * for the reply.
 *
 * Usage: nats ask|answer URL PAIRS asap|buffered|call
 *            "ask" is driven by lines as drive.h tells; "answer" answers until it is killed. asap: each message is
 *            written to the socket in the call that publishes it; buffered: a thread of the library writes them;
 *            call: asap, and a thread for each request in flight calls natsConnection_Request, which waits for it
 *        nats flood URL
 *            asks for one pair like "ask", and meanwhile sends its partner messages of FLOOD_BYTES on the same
 *            connection, FLOOD_WINDOW of them unanswered; says "flooded messages=N ns=N" at the end of each run
 *        nats subscribe URL COUNT
 *            so many users who subscribe to the same subject, each on a connection; says "heard count=N ns=N" when all
 *            have heard of a message; ns is the date of the last
 *        nats publish URL
 *            publishes a message to that subject for each line "publish BYTES"; says "published ns=N", its date
 */
#define _POSIX_C_SOURCE 200809L

#include "drive.h"

#include <nats/nats.h>

#include <unistd.h>

#define MAX_PAIRS 512
/* The server takes no more than 1 MiB. */
#define FLOOD_BYTES 1000000
#define FLOOD_WINDOW 4
#define SOON_MS 60000
#define FAN "fan"
#define PING_MS (3600 * 1000)

static natsConnection *connections[MAX_PAIRS];
static int buffered;

static void need(const char *what, natsStatus status)
{
    if (status != NATS_OK) {
        fprintf(stderr, "%s: %s\n", what, natsStatus_GetText(status));
        exit(EXIT_FAILURE);
    }
}

static natsConnection *connect_to(const char *url, int asap, int pooled)
{
    natsOptions *options;
    natsConnection *connection;
    need("options", natsOptions_Create(&options));
    need("options", natsOptions_SetURL(options, url));
    need("options", natsOptions_SetSendAsap(options, asap));
    need("options", natsOptions_UseGlobalMessageDelivery(options, pooled));
    /* Pings of thousands of idle connections are no part of what is measured. */
    need("options", natsOptions_SetPingInterval(options, PING_MS));
    need("connect", natsConnection_Connect(&connection, options));
    natsOptions_Destroy(options);
    return connection;
}

static void subscribe(natsConnection *connection, const char *subject, natsMsgHandler handler, void *closure)
{
    natsSubscription *subscription;
    need("subscribe", natsConnection_Subscribe(&subscription, connection, subject, handler, closure));
    need("subscribe", natsSubscription_SetPendingLimits(subscription, -1, -1));
}

/* ---- asking and answering ----------------------------------------------------------------------------------- */

static void on_request(natsConnection *connection, natsSubscription *subscription, natsMsg *request, void *closure)
{
    (void)subscription;
    (void)closure;
    need("answer", natsConnection_Publish(connection, natsMsg_GetReply(request), "", 0));
    natsMsg_Destroy(request);
}

static void ask(long slot)
{
    char subject[32], reply[32];
    long pair = slot / drive.in_flight;
    if (!drive_goes_on(slot))
        return;
    snprintf(subject, sizeof subject, "b.%ld", pair);
    snprintf(reply, sizeof reply, "a.%ld.%ld", pair, slot);
    need("ask", natsConnection_PublishRequest(connections[pair], subject, reply, drive.payload, (int)drive.bytes));
}

static void on_reply(natsConnection *connection, natsSubscription *subscription, natsMsg *reply, void *closure)
{
    long slot = atol(strrchr(natsMsg_GetSubject(reply), '.') + 1);
    (void)connection;
    (void)subscription;
    (void)closure;
    natsMsg_Destroy(reply);
    drive_answered(slot);
    ask(slot);
}

/* One request after the other, as a program with threads writes it. */
static void *call_again(void *first)
{
    long slot = (long)((struct drive_slot *)first - drive.slots), pair = slot / drive.in_flight;
    char subject[32];
    natsMsg *reply;
    snprintf(subject, sizeof subject, "b.%ld", pair);
    while (drive_goes_on(slot)) {
        need("call",
             natsConnection_Request(&reply, connections[pair], subject, drive.payload, (int)drive.bytes, SOON_MS));
        natsMsg_Destroy(reply);
        drive_answered(slot);
    }
    return NULL;
}

static void start_calls(void)
{
    pthread_t thread;
    long slot;
    for (slot = 0; slot < drive.pairs * drive.in_flight; slot++)
        if (pthread_create(&thread, NULL, call_again, &drive.slots[slot]) != 0 || pthread_detach(thread) != 0)
            drive_die("thread");
}

static void start_asking(void)
{
    long slot;
    for (slot = 0; slot < drive.pairs * drive.in_flight; slot++)
        ask(slot);
    if (buffered) /* or the first ones wait for the library's timer */
        for (slot = 0; slot < drive.pairs; slot++)
            need("flush", natsConnection_Flush(connections[slot]));
}

static void connect_pairs(const char *url, long pairs, char role, natsMsgHandler handler)
{
    char subject[32];
    long pair;
    for (pair = 0; pair < pairs; pair++) {
        connections[pair] = connect_to(url, !buffered, 0);
        snprintf(subject, sizeof subject, role == 'a' ? "a.%ld.*" : "b.%ld", pair);
        subscribe(connections[pair], subject, handler, NULL);
        need("flush", natsConnection_Flush(connections[pair]));
    }
}

static void wait_for_ever(void)
{
    for (;;)
        pause();
}

static void ready(void)
{
    printf("ready\n");
    fflush(stdout);
}

static void answer(const char *url, long pairs)
{
    connect_pairs(url, pairs, 'b', on_request);
    ready();
    wait_for_ever();
}

static void be_driven(const char *url, long pairs, int calls)
{
    connect_pairs(url, pairs, 'a', on_reply);
    ready();
    while (drive_next(pairs)) {
        if (calls)
            start_calls();
        else
            start_asking();
        drive_report();
    }
}

/* ---- a flood on the same connection --------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    int flows;
    unsigned long long messages;
    struct bench_latch open;
} flood = { PTHREAD_MUTEX_INITIALIZER, 0, 0, BENCH_LATCH_INIT };

static void flood_once(void)
{
    static char payload[FLOOD_BYTES];
    need("flood", natsConnection_PublishRequest(connections[0], "b.0", "flood.0", payload, FLOOD_BYTES));
}

static void on_flood_reply(natsConnection *connection, natsSubscription *subscription, natsMsg *reply, void *closure)
{
    int flows;
    (void)connection;
    (void)subscription;
    (void)closure;
    natsMsg_Destroy(reply);
    pthread_mutex_lock(&flood.lock);
    flood.messages++;
    flows = flood.flows;
    pthread_mutex_unlock(&flood.lock);
    if (flows)
        flood_once();
    else
        bench_latch_count(&flood.open);
}

static void set_flow(int flows)
{
    pthread_mutex_lock(&flood.lock);
    flood.flows = flows;
    pthread_mutex_unlock(&flood.lock);
}

static void be_driven_in_a_flood(const char *url)
{
    uint64_t began;
    int i;
    connect_pairs(url, 1, 'a', on_reply);
    /* A subscription has a thread of its own, so a reply to a small request does not wait for a large publish. */
    subscribe(connections[0], "flood.0", on_flood_reply, NULL);
    need("flush", natsConnection_Flush(connections[0]));
    ready();
    while (drive_next(1)) {
        flood.messages = 0;
        set_flow(1);
        bench_latch_set(&flood.open, FLOOD_WINDOW);
        began = bench_now_ns();
        for (i = 0; i < FLOOD_WINDOW; i++)
            flood_once();
        start_asking();
        drive_report();
        set_flow(0);
        bench_latch_wait(&flood.open);
        printf("flooded messages=%llu ns=%llu\n", flood.messages, (unsigned long long)(bench_now_ns() - began));
        fflush(stdout);
    }
}

/* ---- one message to many ------------------------------------------------------------------------------------- */

static long subscribers;
static struct bench_latch deaf = BENCH_LATCH_INIT;

static void on_fan(natsConnection *connection, natsSubscription *subscription, natsMsg *message, void *closure)
{
    int all;
    (void)connection;
    (void)subscription;
    (void)closure;
    natsMsg_Destroy(message);
    pthread_mutex_lock(&deaf.lock);
    all = --deaf.left == 0;
    if (all)
        deaf.left = subscribers;
    pthread_mutex_unlock(&deaf.lock);
    if (all) {
        printf("heard count=%ld ns=%llu\n", subscribers, (unsigned long long)bench_date_ns());
        fflush(stdout);
    }
}

static void be_many(const char *url, long count)
{
    natsConnection **all = (natsConnection **)calloc((size_t)count, sizeof *all);
    long i;
    if (all == NULL)
        drive_die("memory");
    subscribers = count;
    bench_latch_set(&deaf, count);
    /* One thread hands messages over for all: with a thread for each of thousands the machine does little else. */
    need("pool", nats_SetMessageDeliveryPoolSize(1));
    for (i = 0; i < count; i++) {
        all[i] = connect_to(url, 1, 1);
        subscribe(all[i], FAN, on_fan, NULL);
    }
    for (i = 0; i < count; i++)
        need("flush", natsConnection_Flush(all[i]));
    ready();
    wait_for_ever();
}

static void publish(const char *url)
{
    natsConnection *connection = connect_to(url, 1, 0);
    char line[64];
    long bytes;
    ready();
    while (fgets(line, (int)sizeof line, stdin) != NULL) {
        if (sscanf(line, "publish %ld", &bytes) != 1 || bytes < 0 || bytes > DRIVE_MAX_BYTES) {
            fprintf(stderr, "not understood: %s", line);
            exit(EXIT_FAILURE);
        }
        printf("published ns=%llu\n", (unsigned long long)bench_date_ns());
        need("publish", natsConnection_Publish(connection, FAN, drive.payload, (int)bytes));
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    const char *role = argc >= 3 ? argv[1] : "", *url = argc >= 3 ? argv[2] : "", *mode = argc == 5 ? argv[4] : "";
    long count = argc >= 4 ? atol(argv[3]) : 0;
    int pairs = argc == 5 && count >= 1 && count <= MAX_PAIRS;
    buffered = strcmp(mode, "buffered") == 0;
    if (pairs && strcmp(role, "answer") == 0) {
        answer(url, count);
    } else if (pairs && strcmp(role, "ask") == 0) {
        be_driven(url, count, strcmp(mode, "call") == 0);
    } else if (strcmp(role, "flood") == 0) {
        be_driven_in_a_flood(url);
    } else if (strcmp(role, "subscribe") == 0 && count >= 1) {
        be_many(url, count);
    } else if (strcmp(role, "publish") == 0) {
        publish(url);
    } else {
        fprintf(stderr,
                "usage: %s ask|answer URL PAIRS asap|buffered|call | flood URL | subscribe URL COUNT | publish URL\n",
                argv[0]);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
