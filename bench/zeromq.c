/*
 * zeromq: users who send to each other through a ROUTER, each by a DEALER of its own, with libzmq.
 *
 * Usage: zeromq relay                    says "ready port=N" and passes messages on until it is killed
 *        zeromq ask|answer PORT PAIRS    "ask" is driven by lines as drive.h tells; "answer" answers until it is killed
 *
 * A message has two parts: whom it is for (the ROUTER makes it whom it is from), and 4 bytes of the slot's number with
 * the payload behind them. No limit on waiting messages is set, because a ROUTER drops what is above it.
 */
#define _POSIX_C_SOURCE 200809L

#include "drive.h"

#include <zmq.h>

#define NAME_SIZE 16
#define MAX_PAIRS 512

static void *sockets[MAX_PAIRS];

static void need(const char *what, int bad)
{
    if (bad) {
        fprintf(stderr, "%s: %s\n", what, zmq_strerror(zmq_errno()));
        exit(EXIT_FAILURE);
    }
}

static void without_limit(void *socket)
{
    int zero = 0;
    need("limits", zmq_setsockopt(socket, ZMQ_SNDHWM, &zero, sizeof zero) != 0 ||
                       zmq_setsockopt(socket, ZMQ_RCVHWM, &zero, sizeof zero) != 0 ||
                       zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero) != 0);
}

static void relay(void *context)
{
    void *router = zmq_socket(context, ZMQ_ROUTER);
    zmq_msg_t from, to, body;
    char endpoint[64];
    size_t size = sizeof endpoint;
    without_limit(router);
    need("bind", zmq_bind(router, "tcp://127.0.0.1:*") != 0);
    need("endpoint", zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &size) != 0);
    printf("ready port=%s\n", strrchr(endpoint, ':') + 1);
    fflush(stdout);
    need("message", zmq_msg_init(&from) != 0 || zmq_msg_init(&to) != 0 || zmq_msg_init(&body) != 0);
    for (;;) {
        /* Nothing is copied: each part that has come goes out again. */
        need("receive", zmq_msg_recv(&from, router, 0) < 0 || zmq_msg_recv(&to, router, 0) < 0 ||
                            zmq_msg_recv(&body, router, 0) < 0);
        need("send", zmq_msg_send(&to, router, ZMQ_SNDMORE) < 0 || zmq_msg_send(&from, router, ZMQ_SNDMORE) < 0 ||
                         zmq_msg_send(&body, router, 0) < 0);
    }
}

static void name_of(char *name, char role, long pair)
{
    snprintf(name, NAME_SIZE, "%c%ld", role, pair);
}

static void send_to(void *socket, const char *name, uint32_t tag, const void *payload, size_t len)
{
    zmq_msg_t body;
    char *data;
    need("message", zmq_msg_init_size(&body, sizeof tag + len) != 0);
    data = (char *)zmq_msg_data(&body);
    memcpy(data, &tag, sizeof tag);
    memcpy(data + sizeof tag, payload, len);
    need("send", zmq_send(socket, name, strlen(name), ZMQ_SNDMORE) < 0 || zmq_msg_send(&body, socket, 0) < 0);
}

/* Receives what is there: whom it is from, and the slot. 0 when there is nothing; waits for it when `flags` is 0. */
static int take(void *socket, int flags, char *name, uint32_t *tag)
{
    zmq_msg_t part;
    int len = zmq_recv(socket, name, NAME_SIZE - 1, flags);
    if (len < 0 && zmq_errno() == EAGAIN)
        return 0;
    need("receive", len < 0 || len >= NAME_SIZE);
    name[len] = '\0';
    need("message", zmq_msg_init(&part) != 0);
    need("receive", zmq_msg_recv(&part, socket, 0) < (int)sizeof *tag);
    memcpy(tag, zmq_msg_data(&part), sizeof *tag);
    zmq_msg_close(&part);
    return 1;
}

/* Connects, and waits until the ROUTER knows the name: it drops messages for one that it does not know. */
static void *connect_user(void *context, const char *name, const char *port)
{
    void *socket = zmq_socket(context, ZMQ_DEALER);
    char endpoint[64], from[NAME_SIZE];
    uint32_t tag;
    without_limit(socket);
    snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%s", port);
    need("name", zmq_setsockopt(socket, ZMQ_ROUTING_ID, name, strlen(name)) != 0);
    need("connect", zmq_connect(socket, endpoint) != 0);
    send_to(socket, name, 0, "", 0);
    take(socket, 0, from, &tag);
    return socket;
}

static void answer(long pair)
{
    char name[NAME_SIZE];
    uint32_t tag;
    while (take(sockets[pair], ZMQ_DONTWAIT, name, &tag))
        send_to(sockets[pair], name, tag, "", 0);
}

static void ask(uint32_t slot)
{
    char name[NAME_SIZE];
    long pair = (long)slot / drive.in_flight;
    if (!drive_goes_on((long)slot))
        return;
    name_of(name, 'b', pair);
    send_to(sockets[pair], name, slot, drive.payload, (size_t)drive.bytes);
}

static void take_answers(long pair)
{
    char name[NAME_SIZE];
    uint32_t slot;
    while (take(sockets[pair], ZMQ_DONTWAIT, name, &slot)) {
        drive_answered((long)slot);
        ask(slot);
    }
}

/* Waits until something is there, and handles all that is. */
static void turn(long pairs, void (*handle)(long pair))
{
    static zmq_pollitem_t items[MAX_PAIRS];
    long pair;
    for (pair = 0; pair < pairs; pair++) {
        items[pair].socket = sockets[pair];
        items[pair].events = ZMQ_POLLIN;
    }
    need("poll", zmq_poll(items, (int)pairs, -1) < 0);
    for (pair = 0; pair < pairs; pair++)
        if (items[pair].revents != 0)
            handle(pair);
}

static void client(void *context, int asks, const char *port, long pairs)
{
    char name[NAME_SIZE];
    long pair, slot;
    for (pair = 0; pair < pairs; pair++) {
        name_of(name, asks ? 'a' : 'b', pair);
        sockets[pair] = connect_user(context, name, port);
    }
    printf("ready\n");
    fflush(stdout);
    while (!asks)
        turn(pairs, answer);
    while (drive_next(pairs)) {
        for (slot = 0; slot < drive.pairs * drive.in_flight; slot++)
            ask((uint32_t)slot);
        while (drive.open.left > 0)
            turn(pairs, take_answers);
        drive_report();
    }
}

int main(int argc, char **argv)
{
    void *context = zmq_ctx_new();
    long pairs = argc == 4 ? atol(argv[3]) : 0;
    if (argc == 2 && strcmp(argv[1], "relay") == 0) {
        relay(context);
    } else if (pairs >= 1 && pairs <= MAX_PAIRS && (strcmp(argv[1], "ask") == 0 || strcmp(argv[1], "answer") == 0)) {
        client(context, strcmp(argv[1], "ask") == 0, argv[2], pairs);
    } else {
        fprintf(stderr, "usage: %s relay | ask|answer PORT PAIRS\n", argv[0]);
        return EXIT_FAILURE;
    }
    exit(EXIT_SUCCESS); /* without waiting for sockets of the context */
}
