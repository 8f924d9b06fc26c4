/*
 * receiver: prints the commands and buffers that come in, and keeps the files that come in.
 *
 * Shows: the three Notify callbacks; how to take over a received file under a name that cannot hurt anybody and
 * without ever overwriting another file; an orderly end on Ctrl-C, SIGTERM, or after N things have been received.
 *
 * Usage: receiver RELAY PROJECT SECRET USER DIRECTORY [--count N]
 *        receiver 127.0.0.1:13325 1 @secret.txt bob ./inbox
 * Prints "ready" when it is logged in.
 */
#define _POSIX_C_SOURCE 200809L

#include "example.h"

#include <signal.h>

struct inbox {
    const char *directory;
    long wanted;   /* stop after this many; 0 = never */
    long received; /* used by the callback thread only */
};

/*
 * main() sleeps in read(2) on this pipe; whoever wants it to stop writes a letter. A pipe, because this is the one
 * way of waking a thread that is allowed in a signal handler as well as in a callback.
 */
static int stop_pipe[2];

static void stop(char why)
{
    ssize_t written = write(stop_pipe[1], &why, 1);
    (void)written; /* the pipe can only be full of earlier wishes to stop */
}

static void on_signal(int number)
{
    (void)number;
    stop('s');
}

static void count(struct inbox *inbox)
{
    inbox->received++;
    if (inbox->received == inbox->wanted)
        stop('n');
}

static void print_content(const char *kind, const char *source, const void *data, size_t len)
{
    printf("%s from ", kind);
    example_print_text(stdout, source);
    printf(": %zu bytes: ", len);
    example_print_bytes(stdout, data, len);
    printf("\n");
}

static void on_cmd(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)task_id;
    print_content("command", source, data, len);
    count((struct inbox *)user);
}

static void on_buffer(void *user, const char *source, const char *task_id, const void *data, size_t len)
{
    (void)task_id;
    print_content("buffer", source, data, len);
    count((struct inbox *)user);
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *org_file_name)
{
    struct inbox *inbox = (struct inbox *)user;
    char kept[4096];
    (void)task_id;

    if (example_keep_file(inbox->directory, tmp_file, org_file_name, kept, sizeof kept) != 0) {
        fprintf(stderr, "%s: cannot be moved to %s: %s\n", tmp_file, inbox->directory, strerror(errno));
        return;
    }
    printf("file from ");
    example_print_text(stdout, source);
    printf(": ");
    example_print_text(stdout, kept);
    printf("\n");
    count(inbox);
}

/* A transfer that we had heard of will not come. */
static void on_cancelled(void *user, const char *source, const char *task_id, CRVideo_Err err)
{
    (void)user;
    printf("transfer %s from ", task_id);
    example_print_text(stdout, source);
    printf(" ended: %s\n", CRVideo_ErrText(err));
}

static void on_line_off(void *user, CRVideo_Err err)
{
    (void)user;
    printf("line off: %s\n", CRVideo_ErrText(err));
    if (example_session_ended(err))
        stop('k');
}

static void on_line_on(void *user)
{
    (void)user;
    printf("line on\n");
}

int main(int argc, char **argv)
{
    struct inbox inbox = { NULL, 0, 0 };
    struct sigaction action;
    CRVideo_Config config;
    CRVideo_Session session;
    CRVideo_Err err;
    char incoming[4096];
    char why;

    if ((argc != 6 && argc != 8) || (argc == 8 && strcmp(argv[6], "--count") != 0)) {
        fprintf(stderr, "usage: %s RELAY PROJECT SECRET USER DIRECTORY [--count N]\n", argv[0]);
        return EXIT_FAILURE;
    }
    inbox.directory = argv[5];
    inbox.wanted = argc == 8 ? atol(argv[7]) : 0;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* whole lines, also into a pipe */

    if (pipe(stop_pipe) != 0) {
        perror("pipe");
        return EXIT_FAILURE;
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);

    if (example_make_inbox(inbox.directory, incoming, sizeof incoming) != 0) {
        perror(inbox.directory);
        return EXIT_FAILURE;
    }
    CRVideo_ConfigInit(&config);
    config.download_dir = incoming;

    err = CRVideo_Create(&config, &session);
    if (err != CRVideo_NOERR)
        return example_failed("create", err);
    /* Before the login, or the first things to come would find nobody at home. */
    CRVideo_SetNotifyCmdDataCallback(session, on_cmd, &inbox);
    CRVideo_SetNotifyBufferDataCallback(session, on_buffer, &inbox);
    CRVideo_SetNotifyFileDataCallback(session, on_file, &inbox);
    CRVideo_SetNotifyCancelSendCallback(session, on_cancelled, NULL);
    CRVideo_SetLineOffCallback(session, on_line_off, NULL);
    CRVideo_SetLineOnCallback(session, on_line_on, NULL);

    err = example_login(session, argv);
    if (err != CRVideo_NOERR) {
        CRVideo_Destroy(session);
        return example_failed("login", err);
    }
    printf("ready\n");

    while (read(stop_pipe[0], &why, 1) < 0 && errno == EINTR)
        ;

    CRVideo_Destroy(session); /* logs out; no callback runs after it */
    return why == 'k' ? EXIT_FAILURE : EXIT_SUCCESS;
}
