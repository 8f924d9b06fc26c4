/*
 * proxy.h: a TCP proxy on a free port of this machine that stands between the library and the relay, and cuts
 * connections. Relays of tests listen on IPv4.
 */
#ifndef PROXY_H
#define PROXY_H

#include "check.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

enum { PROXY_CONNECTIONS = 256 };

struct proxy_link {
    struct proxy *proxy;
    int client; /* -1: free */
    int relay;
    long budget; /* bytes until the cut; negative: no cut */
    int reset;   /* cut by RST instead of FIN */
};

static struct proxy {
    pthread_mutex_t lock;
    struct sockaddr_in relay;
    int listener;
    char address[32]; /* "127.0.0.1:port" */
    long cut_after;   /* budget of a new connection is random below this; 0: no cuts */
    unsigned seed;
    struct counter cuts;
    struct proxy_link links[PROXY_CONNECTIONS];
} proxy = { PTHREAD_MUTEX_INITIALIZER, { 0, 0, { 0 }, { 0 } }, -1, "", 0, 1, COUNTER_INIT, { { NULL, 0, 0, 0, 0 } } };

static inline unsigned proxy_random(void)
{
    proxy.seed = proxy.seed * 1103515245u + 12345u;
    return proxy.seed >> 8 & 0x3fffff;
}

static inline void proxy_close(struct proxy_link *link)
{
    if (link->reset) {
        struct linger linger = { 1, 0 };
        setsockopt(link->client, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
        setsockopt(link->relay, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(link->client);
    close(link->relay);
    pthread_mutex_lock(&proxy.lock);
    link->client = -1;
    pthread_mutex_unlock(&proxy.lock);
}

/* Passes what can be read from one side to the other; returns 0 when the connection is to end. */
static inline int proxy_pass(struct proxy_link *link, int from, int to)
{
    char bytes[65536];
    long budget;
    ssize_t got = recv(from, bytes, sizeof bytes, 0);
    ssize_t done = 0;
    if (got <= 0)
        return 0;
    pthread_mutex_lock(&proxy.lock);
    budget = link->budget;
    if (budget >= 0) {
        if (got > budget)
            got = budget;
        link->budget -= got;
    }
    pthread_mutex_unlock(&proxy.lock);
    while (done < got) {
        ssize_t sent = send(to, bytes + done, (size_t)(got - done), MSG_NOSIGNAL);
        if (sent <= 0)
            return 0;
        done += sent;
    }
    if (budget >= 0 && budget - got == 0) {
        counter_add(&proxy.cuts, 1);
        return 0;
    }
    return 1;
}

static inline void *proxy_link_thread(void *argument)
{
    struct proxy_link *link = (struct proxy_link *)argument;
    int alive = 1;
    while (alive) {
        struct pollfd fds[2];
        fds[0].fd = link->client;
        fds[1].fd = link->relay;
        fds[0].events = fds[1].events = POLLIN;
        fds[0].revents = fds[1].revents = 0;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            break;
        if (fds[0].revents != 0)
            alive = proxy_pass(link, link->client, link->relay);
        if (alive && fds[1].revents != 0)
            alive = proxy_pass(link, link->relay, link->client);
    }
    proxy_close(link);
    return NULL;
}

static inline void *proxy_listen_thread(void *unused)
{
    for (;;) {
        int client = accept(proxy.listener, NULL, NULL);
        int relay = socket(AF_INET, SOCK_STREAM, 0);
        struct proxy_link *link = NULL;
        pthread_t thread;
        int i;
        if (client < 0 || relay < 0 || connect(relay, (struct sockaddr *)&proxy.relay, sizeof proxy.relay) != 0) {
            if (client >= 0)
                close(client);
            if (relay >= 0)
                close(relay);
            continue;
        }
        pthread_mutex_lock(&proxy.lock);
        for (i = 0; i < PROXY_CONNECTIONS && link == NULL; i++)
            if (proxy.links[i].client < 0)
                link = &proxy.links[i];
        if (link != NULL) {
            link->client = client;
            link->relay = relay;
            link->budget = proxy.cut_after > 0 ? 1 + (long)(proxy_random() % (unsigned)proxy.cut_after) : -1;
            link->reset = (int)(proxy_random() & 1);
        }
        pthread_mutex_unlock(&proxy.lock);
        CHECK(link != NULL);
        CHECK_EQ(pthread_create(&thread, NULL, proxy_link_thread, link), 0);
        pthread_detach(thread);
    }
    return unused;
}

/* Starts the proxy in front of "a.b.c.d:port". */
static inline void proxy_start(const char *relay)
{
    struct sockaddr_in own;
    socklen_t size = sizeof own;
    pthread_t thread;
    char host[64];
    const char *colon = strrchr(relay, ':');
    int i;

    CHECK(colon != NULL && (size_t)(colon - relay) < sizeof host);
    memcpy(host, relay, (size_t)(colon - relay));
    host[colon - relay] = '\0';
    proxy.relay.sin_family = AF_INET;
    proxy.relay.sin_port = htons((unsigned short)atoi(colon + 1));
    CHECK_EQ(inet_pton(AF_INET, host, &proxy.relay.sin_addr), 1);
    for (i = 0; i < PROXY_CONNECTIONS; i++)
        proxy.links[i].client = -1;

    memset(&own, 0, sizeof own);
    own.sin_family = AF_INET;
    own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    proxy.listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(proxy.listener >= 0);
    CHECK_EQ(bind(proxy.listener, (struct sockaddr *)&own, sizeof own), 0);
    CHECK_EQ(listen(proxy.listener, 128), 0);
    CHECK_EQ(getsockname(proxy.listener, (struct sockaddr *)&own, &size), 0);
    snprintf(proxy.address, sizeof proxy.address, "127.0.0.1:%d", ntohs(own.sin_port));
    CHECK_EQ(pthread_create(&thread, NULL, proxy_listen_thread, NULL), 0);
    pthread_detach(thread);
}

/* Connections from now on are cut after a random number of bytes below `bytes`; 0: never. */
static inline void proxy_cut_after(long bytes)
{
    pthread_mutex_lock(&proxy.lock);
    proxy.cut_after = bytes;
    pthread_mutex_unlock(&proxy.lock);
}

/* Breaks every connection that there is now. */
static inline void proxy_cut_now(void)
{
    int i;
    pthread_mutex_lock(&proxy.lock);
    for (i = 0; i < PROXY_CONNECTIONS; i++)
        if (proxy.links[i].client >= 0)
            shutdown(proxy.links[i].client, SHUT_RDWR);
    pthread_mutex_unlock(&proxy.lock);
}

#endif
