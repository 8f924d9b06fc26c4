/*
 * example.h: what the examples share and none of them is about.
 *
 *   - reading the arguments that all of them take: RELAY PROJECT SECRET USER
 *   - waiting in main() for a result that comes on the library's callback thread
 *   - logging in and waiting for the answer
 *   - printing text that a stranger may have written
 *   - keeping a file that a stranger has sent
 *
 * Copy it together with an example, or copy the few lines that you need.
 */
#ifndef EXAMPLE_H
#define EXAMPLE_H

#include <crvideo.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * One result. The library delivers it on its callback thread while main() waits on its own, hence the mutex and
 * the condition. Must live until the event has come, so give its address as the cookie of one call only.
 */
struct example_result {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int there;
    CRVideo_Err err;
};
#define EXAMPLE_RESULT_INIT { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, CRVideo_NOERR }

/* Called from a callback. */
static inline void example_deliver(struct example_result *result, CRVideo_Err err)
{
    pthread_mutex_lock(&result->lock);
    result->there = 1;
    result->err = err;
    pthread_cond_broadcast(&result->changed);
    pthread_mutex_unlock(&result->lock);
}

/* Called from main(); returns what was delivered. */
static inline CRVideo_Err example_wait(struct example_result *result)
{
    CRVideo_Err err;
    pthread_mutex_lock(&result->lock);
    while (!result->there)
        pthread_cond_wait(&result->changed, &result->lock);
    err = result->err;
    pthread_mutex_unlock(&result->lock);
    return err;
}

/* Prints what went wrong, in words; returns the exit status for main(). */
static inline int example_failed(const char *what, CRVideo_Err err)
{
    fprintf(stderr, "%s: %s (error %d)\n", what, CRVideo_ErrText(err), err);
    return EXIT_FAILURE;
}

/* The first line of a file, for secrets that should not stand in the process list. Never returns NULL. */
static inline const char *example_first_line(const char *path)
{
    static char line[8192];
    FILE *file = fopen(path, "r");
    if (file == NULL || fgets(line, (int)sizeof line, file) == NULL) {
        fprintf(stderr, "%s: %s\n", path, file == NULL ? strerror(errno) : "empty");
        exit(EXIT_FAILURE);
    }
    fclose(file);
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

/*
 * Reads argv[1] to argv[4]: RELAY ("host:port"), PROJECT (a number), SECRET and USER.
 * SECRET is the project's secret, or "token:..." with a token that your backend has made, or "@FILE" for a file
 * whose first line is one of these. A program that leaves your house should only ever hold a token.
 */
static inline void example_login_info(char **argv, CRVideo_LoginInfo *info)
{
    const char *credential = argv[3][0] == '@' ? example_first_line(argv[3] + 1) : argv[3];
    char *end;
    long project = strtol(argv[2], &end, 10);
    if (end == argv[2] || *end != '\0' || project < INT_MIN || project > INT_MAX) {
        fprintf(stderr, "%s: the project is a number\n", argv[2]);
        exit(EXIT_FAILURE);
    }
    CRVideo_LoginInfoInit(info);
    info->servers = argv[1];
    info->project = (int)project;
    info->user_id = argv[4];
    if (strncmp(credential, "token:", 6) == 0)
        info->token = credential + 6;
    else
        info->secret = credential;
}

static inline void example_on_login(void *user, CRVideo_Err err, void *cookie)
{
    (void)user;
    example_deliver((struct example_result *)cookie, err);
}

/* Logs in with argv[1] to argv[4] and waits for the answer. For sessions whose events come on the callback thread. */
static inline CRVideo_Err example_login(CRVideo_Session session, char **argv)
{
    struct example_result login = EXAMPLE_RESULT_INIT;
    CRVideo_LoginInfo info;
    CRVideo_Err err;

    example_login_info(argv, &info);
    err = CRVideo_SetLoginRsltCallback(session, example_on_login, NULL);
    if (err == CRVideo_NOERR)
        err = CRVideo_Login(session, &info, &login);
    return err == CRVideo_NOERR ? example_wait(&login) : err;
}

/* Whether LineOff with this code is the end of the session; with any other the library connects again by itself. */
static inline int example_session_ended(CRVideo_Err err)
{
    return err == CRVideo_KICKOUT_BY_RELOGIN || err == CRVideo_ANCTPSWD_ERR ||
           (err >= CRVideo_TOKEN_TIMEOUT && err <= CRVideo_ACCOUNT_EXPIRED);
}

/* Prints text from the network. Control characters become '?', so that nobody can steer your terminal. */
static inline void example_print_text(FILE *out, const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    for (; *at != '\0'; at++) {
        int c1 = at[0] == 0xc2 && at[1] >= 0x80 && at[1] <= 0x9f; /* U+0080 to U+009F are controls, too */
        putc(*at < 0x20 || *at == 0x7f || c1 ? '?' : *at, out);
        at += c1;
    }
}

/* Prints the first bytes of some content: printable ASCII as it is, every other byte as \xNN. */
static inline void example_print_bytes(FILE *out, const void *data, size_t len)
{
    const unsigned char *bytes = (const unsigned char *)data;
    size_t shown = len < 64 ? len : 64;
    size_t i;
    for (i = 0; i < shown; i++) {
        if (bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\')
            putc(bytes[i], out);
        else
            fprintf(out, "\\x%02x", bytes[i]);
    }
    if (shown < len)
        fputs("...", out);
}

/*
 * Creates a directory for received files, and in it the one that a session's `download_dir` should name, whose path is
 * put into `incoming`: next to where files will stay, so that keeping one is a rename(2) and never a copy. Returns 0, or
 * -1 with errno.
 */
static inline int example_make_inbox(const char *directory, char *incoming, size_t size)
{
    int needed = snprintf(incoming, size, "%s/.incoming", directory);
    if (needed < 0 || (size_t)needed >= size) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if ((mkdir(directory, 0700) != 0 && errno != EEXIST) || (mkdir(incoming, 0700) != 0 && errno != EEXIST))
        return -1;
    return 0;
}

/*
 * Moves a received file to DIRECTORY/name, or to DIRECTORY/1-name and so on when that is taken; never over another
 * file. `kept` receives the path. The library has cleaned the name already; looking once more for what would leave or
 * hide in the directory costs nothing. Returns 0, or -1 with errno.
 */
static inline int example_keep_file(const char *directory, const char *tmp_file, const char *name, char *kept, size_t size)
{
    int attempt;

    if (name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL)
        name = "unnamed";
    for (attempt = 0; attempt < 10000; attempt++) {
        int needed = attempt == 0 ? snprintf(kept, size, "%s/%s", directory, name)
                                  : snprintf(kept, size, "%s/%d-%s", directory, attempt, name);
        int place;
        if (needed < 0 || (size_t)needed >= size) {
            errno = ENAMETOOLONG;
            return -1;
        }
        /* O_EXCL takes the name only if nobody has it; rename(2) then replaces our own empty file, nobody else's. */
        place = open(kept, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (place >= 0) {
            int saved;
            close(place);
            if (rename(tmp_file, kept) == 0)
                return 0;
            saved = errno;
            unlink(kept);
            errno = saved;
            return -1;
        }
        if (errno != EEXIST)
            return -1;
    }
    return -1;
}

#endif
