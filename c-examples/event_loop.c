/*
 * event_loop: one thread, one poll(2): standard input and the library's events side by side.
 *
 * Shows PUMP mode: an event queue of our own has a descriptor that is readable while events wait; callbacks run
 * inside CRVideo_PollEvents, on this thread, so nothing here needs a lock. The same three lines fit into any other
 * event loop: epoll, libuv, GLib, Qt, a window system's.
 *
 * Each line of standard input is sent to TARGET as a command; received commands are printed. End of input ends the
 * program, after the last result has come.
 *
 * Usage: event_loop RELAY PROJECT SECRET USER TARGET
 * Prints "ready" when it is logged in.
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <poll.h>
#include <unistd.h>

struct state {
    CRVideo_Session session;
    const char *target;
    int logged_in;
    int ended;      /* logged out, or the session is lost */
    int failed;     /* exit status */
    long in_flight; /* commands whose result is still to come */
    char line[65536];
    size_t used;    /* bytes of a line that is not complete yet */
};

static void on_login(void *user, CRVideo_Err err, void *cookie)
{
    struct state *state = (struct state *)user;
    (void)cookie;
    if (err != CRVideo_NOERR) {
        state->failed = example_failed("login", err);
        state->ended = 1;
        return;
    }
    state->logged_in = 1;
    printf("ready\n");
}

static void on_logout(void *user, CRVideo_Err err, void *cookie)
{
    struct state *state = (struct state *)user;
    (void)err;
    (void)cookie;
    state->ended = 1;
}

static void on_line_off(void *user, CRVideo_Err err)
{
    struct state *state = (struct state *)user;
    printf("line off: %s\n", CRVideo_ErrText(err));
    if (example_session_ended(err)) {
        state->ended = 1;
        state->failed = EXIT_FAILURE;
    }
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)user;
    (void)task_id;
    example_print_text(stdout, source);
    printf(": ");
    example_print_bytes(stdout, data, len);
    printf("\n");
}

static void on_cmd_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    struct state *state = (struct state *)user;
    (void)cookie;
    state->in_flight--;
    if (err != CRVideo_NOERR)
        state->failed = example_failed(task_id, err);
}

static void send_line(struct state *state, const char *line, size_t len)
{
    char task_id[CRVIDEO_TASK_ID_SIZE];
    CRVideo_Err err = CRVideo_SendCmd(state->session, state->target, line, len, NULL, NULL, task_id);
    if (err == CRVideo_NOERR)
        state->in_flight++;
    else
        state->failed = example_failed("send", err);
}

/* Sends every complete line that has come. Returns 0 at the end of input. */
static int take_input(struct state *state)
{
    char *begin = state->line;
    char *newline;
    ssize_t got = read(STDIN_FILENO, state->line + state->used, sizeof state->line - state->used);

    if (got < 0)
        return errno == EINTR || errno == EAGAIN;
    if (got == 0) {
        if (state->used > 0)
            send_line(state, state->line, state->used);
        state->used = 0;
        return 0;
    }
    state->used += (size_t)got;
    while ((newline = (char *)memchr(begin, '\n', state->used)) != NULL) {
        send_line(state, begin, (size_t)(newline - begin));
        state->used -= (size_t)(newline + 1 - begin);
        begin = newline + 1;
    }
    if (state->used == sizeof state->line) { /* one line fills the whole room: send it in parts */
        send_line(state, begin, state->used);
        state->used = 0;
    }
    memmove(state->line, begin, state->used);
    return 1;
}

/* Waits for standard input and for events, and handles what has come. Returns 0, or an error of poll(2). */
static int run(struct state *state, CRVideo_Queue queue, int queue_fd)
{
    int input_open = 1;
    int logging_out = 0;

    while (!state->ended) {
        struct pollfd fds[2];
        fds[0].fd = queue_fd;
        fds[0].events = POLLIN;
        fds[1].fd = input_open && state->logged_in ? STDIN_FILENO : -1; /* poll(2) skips negative ones */
        fds[1].events = POLLIN;
        fds[0].revents = fds[1].revents = 0;
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return errno;

        if (fds[0].revents != 0)
            CRVideo_PollEvents(queue, 0, NULL); /* 0: handle what is there, do not wait */
        if (fds[1].revents != 0)
            input_open = take_input(state);
        if (!input_open && state->in_flight == 0 && !logging_out) {
            logging_out = 1;
            if (CRVideo_Logout(state->session, NULL) != CRVideo_NOERR)
                state->ended = 1;
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    static struct state state;
    CRVideo_LoginInfo info;
    CRVideo_Config config;
    CRVideo_Queue queue;
    CRVideo_Err err;
    intptr_t queue_fd;

    if (argc != 6) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER TARGET\n", argv[0]);
        return EXIT_FAILURE;
    }
    state.target = argv[5];
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);

    err = CRVideo_CreateQueue(&queue);
    if (err != CRVideo_NOERR)
        return example_failed("queue", err);
    CRVideo_GetQueueFd(queue, &queue_fd);

    CRVideo_ConfigInit(&config);
    config.queue = queue;
    err = CRVideo_Create(&config, &state.session);
    if (err != CRVideo_NOERR) {
        CRVideo_DestroyQueue(queue);
        return example_failed("create", err);
    }
    CRVideo_SetLoginRsltCallback(state.session, on_login, &state);
    CRVideo_SetLogoutRsltCallback(state.session, on_logout, &state);
    CRVideo_SetLineOffCallback(state.session, on_line_off, &state);
    CRVideo_SetNotifyCmdDataCallback(state.session, on_cmd, &state);
    CRVideo_SetSendCmdRlstCallback(state.session, on_cmd_result, &state);

    example_login_info(argv, &info);
    err = CRVideo_Login(state.session, &info, NULL);
    if (err != CRVideo_NOERR) {
        state.failed = example_failed("login", err);
    } else {
        int error = run(&state, queue, (int)queue_fd);
        if (error != 0) {
            fprintf(stderr, "poll: %s\n", strerror(error));
            state.failed = EXIT_FAILURE;
        }
    }

    /* The session first: a queue cannot go while something is attached to it. */
    CRVideo_Destroy(state.session);
    CRVideo_DestroyQueue(queue);
    return state.failed;
}
