/*
 * file_floor: the least that a file costs from one process through a second to a third. Not ours: what ours is measured
 * against. The sender hands the file to the kernel (sendfile), the relay is one thread with epoll and one buffer, the
 * receiver reads and writes. No frames, no acknowledgements, no hash, no encryption.
 *
 * Usage: file_floor FILE COPY
 * Prints: floor ns=N cpu_us=N sender_us=N relay_us=N receiver_us=N relay_kib=N
 *         ns from the first byte until the sender knows that the last one is written; processor time of the three
 */
#define _GNU_SOURCE

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (256 * 1024)

static void need(const char *what, int good)
{
    if (!good) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int listening(struct sockaddr_in *address)
{
    socklen_t len = sizeof *address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address->sin_family = AF_INET;
    address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address->sin_port = 0;
    need("bind", fd >= 0 && bind(fd, (struct sockaddr *)address, len) == 0 && listen(fd, 8) == 0);
    need("getsockname", getsockname(fd, (struct sockaddr *)address, &len) == 0);
    return fd;
}

static int connected(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    need("connect", fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) == 0);
    return fd;
}

/* Passes what comes from `from` on to `to`, and one byte back. */
static void relay(int from, int to)
{
    static char buffer[BUFFER];
    struct epoll_event event = { EPOLLIN, { 0 } }, events[2];
    int poll = epoll_create1(0), i, count;
    event.data.fd = from;
    need("epoll", poll >= 0 && epoll_ctl(poll, EPOLL_CTL_ADD, from, &event) == 0);
    event.data.fd = to;
    need("epoll", epoll_ctl(poll, EPOLL_CTL_ADD, to, &event) == 0);
    while ((count = epoll_wait(poll, events, 2, -1)) >= 0 || errno == EINTR) {
        for (i = 0; i < count; i++) {
            int in = events[i].data.fd, out = in == from ? to : from;
            ssize_t got = read(in, buffer, sizeof buffer), at = 0, sent;
            if (got <= 0)
                exit(got < 0);
            for (; at < got; at += sent) {
                sent = write(out, buffer + at, (size_t)(got - at));
                need("relay: write", sent > 0);
            }
        }
    }
}

static void receive(int fd, const char *path, off_t size)
{
    static char buffer[BUFFER];
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    off_t left = size;
    need(path, file >= 0);
    while (left > 0) {
        ssize_t got = read(fd, buffer, sizeof buffer);
        need("receive", got > 0 && write(file, buffer, (size_t)got) == got);
        left -= got;
    }
    need("close", close(file) == 0 && write(fd, "", 1) == 1);
    exit(EXIT_SUCCESS);
}

static void send_file(int fd, const char *path, off_t size, int out)
{
    int file = open(path, O_RDONLY);
    off_t at = 0;
    char done;
    uint64_t began = now_ns();
    need(path, file >= 0);
    while (at < size)
        need("sendfile", sendfile(fd, file, &at, (size_t)(size - at)) > 0);
    need("the answer", read(fd, &done, 1) == 1);
    began = now_ns() - began;
    need("pipe", write(out, &began, sizeof began) == sizeof began);
    exit(EXIT_SUCCESS);
}

static unsigned long us(const struct rusage *usage)
{
    return (unsigned long)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) * 1000000u
           + (unsigned long)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec);
}

int main(int argc, char **argv)
{
    struct sockaddr_in to_relay = { 0 }, to_receiver = { 0 };
    struct rusage usage[3];
    struct stat info;
    pid_t pids[3];
    int entry, exit_to, out[2], i, status;
    uint64_t ns;

    if (argc != 3) {
        fprintf(stderr, "usage: %s FILE COPY\n", argv[0]);
        return EXIT_FAILURE;
    }
    need(argv[1], stat(argv[1], &info) == 0);
    need("pipe", pipe(out) == 0);
    entry = listening(&to_relay);
    exit_to = listening(&to_receiver);
    if ((pids[2] = fork()) == 0)
        receive(accept(exit_to, NULL, NULL), argv[2], info.st_size);
    if ((pids[1] = fork()) == 0)
        relay(accept(entry, NULL, NULL), connected(&to_receiver));
    if ((pids[0] = fork()) == 0)
        send_file(connected(&to_relay), argv[1], info.st_size, out[1]);
    for (i = 0; i < 3; i++) {
        need("wait", wait4(pids[i], &status, 0, &usage[i]) == pids[i]);
        if (status != 0)
            return EXIT_FAILURE;
    }
    need("pipe", read(out[0], &ns, sizeof ns) == sizeof ns);
    printf("floor ns=%llu cpu_us=%lu sender_us=%lu relay_us=%lu receiver_us=%lu relay_kib=%ld\n", (unsigned long long)ns,
           us(&usage[0]) + us(&usage[1]) + us(&usage[2]), us(&usage[0]), us(&usage[1]), us(&usage[2]), usage[1].ru_maxrss);
    return EXIT_SUCCESS;
}
