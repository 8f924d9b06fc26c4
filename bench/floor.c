/*
 * floor: the least that the kernel allows. One thread in each process, no acknowledgements, no check of anything, and
 * nothing that a real system needs: it measures what sockets cost, so that others can be compared with it.
 *
 * Usage: floor relay                    says "ready port=N" and passes frames on until it is killed
 *        floor ask|answer PORT PAIRS    "ask" is driven by lines as drive.h tells; "answer" answers until it is killed
 *
 * A frame is a header and its payload. A connection's first frame says whose it is.
 */
#define _GNU_SOURCE

#include "drive.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_USERS 1024
/* Users of the process that answers are so far behind their partners. */
#define ANSWERS_FROM (MAX_USERS / 2)
#define READ_SIZE (256u * 1024)

struct header {
    uint32_t len, from, to, tag;
};

/* Bytes that wait: for the rest of their frame, or for a socket that is full. */
struct buffer {
    char *data;
    size_t len, capacity;
};

struct connection {
    int fd; /* 0 without one */
    struct buffer in, out;
    int dirty, blocked;
};

static struct connection connections[MAX_USERS];
/* Those for whom something waits that has not been written yet. */
static uint32_t dirty[MAX_USERS];
static size_t dirty_count;

static void append(struct buffer *buffer, const void *data, size_t len)
{
    if (len == 0)
        return;
    if (buffer->len + len > buffer->capacity) {
        buffer->capacity = 2 * (buffer->len + len);
        buffer->data = (char *)realloc(buffer->data, buffer->capacity);
        if (buffer->data == NULL)
            drive_die("memory");
    }
    memcpy(buffer->data + buffer->len, data, len);
    buffer->len += len;
}

static void make_dirty(uint32_t user)
{
    if (!connections[user].dirty) {
        connections[user].dirty = 1;
        dirty[dirty_count++] = user;
    }
}

static void send_later(uint32_t user, struct header header, const void *payload)
{
    append(&connections[user].out, &header, sizeof header);
    append(&connections[user].out, payload, header.len);
    make_dirty(user);
}

/* Writes what waits; what the socket does not take stays. */
static void flush(struct connection *connection)
{
    size_t written = 0;
    while (written < connection->out.len) {
        ssize_t n = write(connection->fd, connection->out.data + written, connection->out.len - written);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0 && errno != EINTR)
            drive_die("write");
        written += n > 0 ? (size_t)n : 0;
    }
    connection->out.len -= written;
    if (written > 0)
        memmove(connection->out.data, connection->out.data + written, connection->out.len);
}

typedef void (*frame_handler)(struct header header, const char *payload);

/* Reads once and hands over all frames that are complete; 0 when the connection has ended. */
static int take(struct connection *connection, frame_handler handle)
{
    static char fresh[READ_SIZE];
    struct buffer *in = &connection->in;
    struct header header;
    const char *at = fresh;
    ssize_t n = read(connection->fd, fresh, sizeof fresh);
    size_t left;
    if (n <= 0)
        return n < 0 && (errno == EAGAIN || errno == EINTR);
    left = (size_t)n;
    if (in->len > 0) {
        append(in, fresh, left);
        at = in->data;
        left = in->len;
    }
    while (left >= sizeof header) {
        memcpy(&header, at, sizeof header);
        if (left - sizeof header < header.len)
            break;
        handle(header, at + sizeof header);
        at += sizeof header + header.len;
        left -= sizeof header + header.len;
    }
    if (in->len == 0)
        append(in, at, left);
    else
        memmove(in->data, at, in->len = left);
    return 1;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons((uint16_t)port);
    return address;
}

static void no_delay(int fd)
{
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        drive_die("TCP_NODELAY");
}

static void watch(int epoll, int operation, int fd, uint32_t events, uint32_t user)
{
    struct epoll_event event = { 0, { 0 } };
    event.events = events;
    event.data.u32 = user;
    if (epoll_ctl(epoll, operation, fd, &event) != 0)
        drive_die("epoll_ctl");
}

/* ---- the relay ---------------------------------------------------------------------------------------------- */

/* Reads the first frame of a connection, which comes at once, and answers it. */
static void accept_user(int listener, int epoll)
{
    struct header hello;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || recv(fd, &hello, sizeof hello, MSG_WAITALL) != (ssize_t)sizeof hello || hello.from >= MAX_USERS ||
        write(fd, &hello, sizeof hello) != (ssize_t)sizeof hello || fcntl(fd, F_SETFL, O_NONBLOCK) != 0)
        drive_die("accept");
    no_delay(fd);
    connections[hello.from].fd = fd;
    watch(epoll, EPOLL_CTL_ADD, fd, EPOLLIN, hello.from);
}

static void pass_on(struct header header, const char *payload)
{
    if (header.to < MAX_USERS && connections[header.to].fd > 0)
        send_later(header.to, header, payload);
}

/* Writes to all who have got something, and waits for those who cannot take it all. */
static void flush_all(int epoll)
{
    size_t i, count = dirty_count;
    dirty_count = 0;
    for (i = 0; i < count; i++) {
        struct connection *it = &connections[dirty[i]];
        it->dirty = 0;
        if (it->fd == 0)
            continue;
        flush(it);
        if ((it->out.len > 0) != it->blocked) {
            it->blocked = !it->blocked;
            watch(epoll, EPOLL_CTL_MOD, it->fd, it->blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, dirty[i]);
        }
    }
}

static void hang_up(struct connection *connection)
{
    close(connection->fd); /* which takes it out of the epoll set */
    connection->fd = 0;
    connection->in.len = connection->out.len = 0;
    connection->blocked = 0;
}

static void relay(void)
{
    struct epoll_event events[64];
    struct sockaddr_in address = loopback(0);
    socklen_t size = sizeof address;
    int epoll = epoll_create1(0), listener = socket(AF_INET, SOCK_STREAM, 0), count, i;
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 || listen(listener, MAX_USERS) != 0 ||
        getsockname(listener, (struct sockaddr *)&address, &size) != 0)
        drive_die("listen");
    watch(epoll, EPOLL_CTL_ADD, listener, EPOLLIN, MAX_USERS);
    printf("ready port=%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while ((count = epoll_wait(epoll, events, 64, -1)) >= 0 || errno == EINTR) {
        for (i = 0; i < count; i++) {
            uint32_t user = events[i].data.u32;
            if (user == MAX_USERS) {
                accept_user(listener, epoll);
                continue;
            }
            if ((events[i].events & EPOLLOUT) != 0)
                make_dirty(user);
            if ((events[i].events & ~(uint32_t)EPOLLOUT) != 0 && !take(&connections[user], pass_on))
                hang_up(&connections[user]);
        }
        flush_all(epoll);
    }
    drive_die("epoll_wait");
}

/* ---- the clients -------------------------------------------------------------------------------------------- */

static void connect_user(uint32_t user, int port)
{
    struct sockaddr_in address = loopback(port);
    struct header hello = { 0, 0, 0, 0 };
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    hello.from = user;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        write(fd, &hello, sizeof hello) != (ssize_t)sizeof hello ||
        recv(fd, &hello, sizeof hello, MSG_WAITALL) != (ssize_t)sizeof hello)
        drive_die("connect");
    no_delay(fd);
    connections[user].fd = fd;
}

static void answer(struct header header, const char *payload)
{
    struct header back = { 0, 0, 0, 0 };
    (void)payload;
    back.from = header.to;
    back.to = header.from;
    back.tag = header.tag;
    send_later(header.to, back, "");
}

static void ask(uint32_t slot)
{
    struct header header = { 0, 0, 0, 0 };
    if (!drive_goes_on((long)slot))
        return;
    header.len = (uint32_t)drive.bytes;
    header.from = slot / (uint32_t)drive.in_flight;
    header.to = header.from + ANSWERS_FROM;
    header.tag = slot;
    send_later(header.from, header, drive.payload);
}

static void answered(struct header header, const char *payload)
{
    (void)payload;
    drive_answered((long)header.tag);
    ask(header.tag);
}

static void flush_clients(void)
{
    size_t i;
    for (i = 0; i < dirty_count; i++) {
        connections[dirty[i]].dirty = 0;
        flush(&connections[dirty[i]]);
    }
    dirty_count = 0;
}

/* Takes what has come and writes what follows from it. Sockets block: the relay always reads. */
static void turn(int epoll, uint32_t first, long pairs, frame_handler handle)
{
    struct epoll_event events[64];
    int count = 1, i;
    if (pairs > 1 && (count = epoll_wait(epoll, events, 64, -1)) < 0)
        drive_die("epoll_wait");
    for (i = 0; i < count; i++) {
        uint32_t user = pairs > 1 ? events[i].data.u32 : first;
        if (!take(&connections[user], handle))
            drive_die("the relay has ended");
    }
    flush_clients();
}

static void client(int asks, int port, long pairs)
{
    uint32_t first = asks ? 0 : ANSWERS_FROM, i;
    int epoll = epoll_create1(0);
    for (i = 0; i < (uint32_t)pairs; i++) {
        connect_user(first + i, port);
        watch(epoll, EPOLL_CTL_ADD, connections[first + i].fd, EPOLLIN, first + i);
    }
    printf("ready\n");
    fflush(stdout);
    while (!asks)
        turn(epoll, first, pairs, answer);
    while (drive_next(pairs)) {
        for (i = 0; i < (uint32_t)(drive.pairs * drive.in_flight); i++)
            ask(i);
        flush_clients();
        while (drive.open.left > 0)
            turn(epoll, first, pairs, answered);
        drive_report();
    }
}

int main(int argc, char **argv)
{
    long pairs = argc == 4 ? atol(argv[3]) : 0;
    if (argc == 2 && strcmp(argv[1], "relay") == 0) {
        relay();
    } else if (pairs >= 1 && pairs <= ANSWERS_FROM && (strcmp(argv[1], "ask") == 0 || strcmp(argv[1], "answer") == 0)) {
        client(strcmp(argv[1], "ask") == 0, atoi(argv[2]), pairs);
    } else {
        fprintf(stderr, "usage: %s relay | ask|answer PORT PAIRS\n", argv[0]);
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
