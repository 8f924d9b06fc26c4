/*
 * rtm_send_files_async: a server sends several files to several users, all at once, and none of it waits. Then it tells
 * what has become of each file at each user, until the file is there, or waits for a user who is not, or has failed.
 *
 * Shows: calls with a callback, which comes exactly once for each call that was accepted, and cookies that tell which
 * call it was. Each user gets a message of its own; the bytes of a file travel once. And results of each recipient, which
 * this project's relay can tell; with another server the program ends when the files are sent.
 *
 * Usage: rtm_send_files_async GATE PROJECT SECRET FROM TO[,TO...] FILE...
 */
#define _POSIX_C_SOURCE 200809L

#include "rtm.h"

enum { MAX_USERS = 1000, MAX_FILES = 100 };

/* One file on its way to all users. */
struct sending {
    const char *path;
    int64_t mid; /* 0 until it is sent */
    unsigned char is_settled[MAX_USERS];
};

/* What main() waits for. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int running;
    int failed;
    long unsettled; /* files times users of whom there is no result yet that can be waited for */
    size_t user_count;
    int64_t users[MAX_USERS];
    int file_count;
    struct sending files[MAX_FILES];
} state = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

/* On the library's callback thread. The cookie is the file. */
static void on_sent(void *cookie, const RTM_SendResult *result)
{
    struct sending *file = (struct sending *)cookie;
    pthread_mutex_lock(&state.lock);
    if (result->err == CRVideo_NOERR) {
        printf("%s: mid %lld, mtime %lld\n", file->path, (long long)result->mid, (long long)result->mtime);
        file->mid = result->mid;
        if (result->recipient_results)
            state.unsettled += (long)state.user_count;
    } else {
        state.failed = rtm_failed(file->path, result->err, result->text);
    }
    state.running--;
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

/* Notes that nothing more need be waited for; state.lock is held. */
static void settle(struct sending *file, int64_t uid)
{
    size_t i;
    for (i = 0; i < state.user_count; i++) {
        if (state.users[i] == uid && !file->is_settled[i]) {
            file->is_settled[i] = 1;
            state.unsettled--;
            pthread_cond_signal(&state.changed);
            return;
        }
    }
}

/* On the same thread; never before the on_sent of its file. */
static void on_recipient_result(void *user, const RTM_RecipientResult *result)
{
    static const char *const names[] = { "?", "accepted", "stored", "delivered", "failed" };
    int i;
    (void)user;
    pthread_mutex_lock(&state.lock);
    for (i = 0; i < state.file_count && state.files[i].mid != result->mid; i++)
        ;
    if (i < state.file_count) {
        printf("%s for %lld: %s", state.files[i].path, (long long)result->uid,
               names[result->state <= RTM_RECIPIENT_FAILED ? result->state : 0]);
        if (result->state == RTM_RECIPIENT_FAILED)
            printf(" (error %d: %s)", result->err, CRVideo_ErrText(result->err));
        printf("\n");
        if (result->state != RTM_RECIPIENT_ACCEPTED)
            settle(&state.files[i], result->uid);
    }
    pthread_mutex_unlock(&state.lock);
}

/* Whether a user is among the first `count`. */
static int is_known(const int64_t *users, size_t count, int64_t uid)
{
    size_t i;
    for (i = 0; i < count; i++)
        if (users[i] == uid)
            return 1;
    return 0;
}

/* Reads "1,2,3", each once; returns how many. */
static size_t read_users(char *list, int64_t *users)
{
    size_t count = 0;
    char *part = strtok(list, ",");
    for (; part != NULL && count < MAX_USERS; part = strtok(NULL, ",")) {
        users[count] = rtm_number(part);
        count += !is_known(users, count, users[count]);
    }
    return count;
}

int main(int argc, char **argv)
{
    RTM_Client client;
    int64_t from;
    CRVideo_Err err;
    int i;

    if (argc < 7 || argc - 6 > MAX_FILES) {
        fprintf(stderr, "usage: %s GATE PROJECT SECRET FROM TO[,TO...] FILE...\n", argv[0]);
        return EXIT_FAILURE;
    }
    client = rtm_client(argv);
    from = rtm_number(argv[4]);
    state.user_count = read_users(argv[5], state.users);
    err = RTM_SetRecipientResultCallback(client, on_recipient_result, NULL);
    if (err != CRVideo_NOERR)
        return example_failed("recipient results", err);

    for (i = 6; i < argc; i++) {
        struct sending *sending = &state.files[i - 6];
        RTM_File file;
        RTM_FileInit(&file);
        file.path = argv[i];
        pthread_mutex_lock(&state.lock);
        sending->path = argv[i];
        state.file_count++;
        state.running++; /* before the call, because its end may come before it returns */
        pthread_mutex_unlock(&state.lock);
        err = RTM_SendFiles(client, from, state.users, state.user_count, RTM_MTYPE_FILE, &file, NULL, on_sent, sending,
                            NULL);
        if (err != CRVideo_NOERR) { /* refused: on_sent will not come */
            pthread_mutex_lock(&state.lock);
            state.running--;
            state.failed = example_failed(argv[i], err);
            pthread_mutex_unlock(&state.lock);
        }
    }

    pthread_mutex_lock(&state.lock);
    while (state.running > 0 || state.unsettled > 0)
        pthread_cond_wait(&state.changed, &state.lock);
    pthread_mutex_unlock(&state.lock);
    RTM_Destroy(client);
    return state.failed;
}
