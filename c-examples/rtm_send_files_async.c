/*
 * rtm_send_files_async: a server sends several files to several users, all at once, and none of it waits.
 *
 * Shows: calls with a callback, which comes exactly once for each call that was accepted, and cookies that tell which
 * call it was. Each user gets a message of its own; the bytes of a file travel once.
 *
 * Usage: rtm_send_files_async GATE PROJECT SECRET FROM TO[,TO...] FILE...
 */
#define _POSIX_C_SOURCE 200809L

#include "rtm.h"

enum { MAX_USERS = 1000 };

/* What main() waits for. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int running;
    int failed;
} state = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0 };

/* On the library's callback thread. The cookie is the path. */
static void on_sent(void *cookie, const RTM_SendResult *result)
{
    const char *path = (const char *)cookie;
    pthread_mutex_lock(&state.lock);
    if (result->err == CRVideo_NOERR)
        printf("%s: mid %lld, mtime %lld\n", path, (long long)result->mid, (long long)result->mtime);
    else
        state.failed = rtm_failed(path, result->err, result->text);
    state.running--;
    pthread_cond_signal(&state.changed);
    pthread_mutex_unlock(&state.lock);
}

/* Reads "1,2,3"; returns how many. */
static size_t read_users(char *list, int64_t *users)
{
    size_t count = 0;
    char *part = strtok(list, ",");
    for (; part != NULL && count < MAX_USERS; part = strtok(NULL, ","))
        users[count++] = rtm_number(part);
    return count;
}

int main(int argc, char **argv)
{
    static int64_t users[MAX_USERS];
    RTM_Client client;
    int64_t from;
    size_t count;
    int i;

    if (argc < 7) {
        fprintf(stderr, "usage: %s GATE PROJECT SECRET FROM TO[,TO...] FILE...\n", argv[0]);
        return EXIT_FAILURE;
    }
    client = rtm_client(argv);
    from = rtm_number(argv[4]);
    count = read_users(argv[5], users);

    for (i = 6; i < argc; i++) {
        RTM_File file;
        CRVideo_Err err;
        RTM_FileInit(&file);
        file.path = argv[i];
        pthread_mutex_lock(&state.lock);
        state.running++; /* before the call, because its end may come before it returns */
        pthread_mutex_unlock(&state.lock);
        err = RTM_SendFiles(client, from, users, count, RTM_MTYPE_FILE, &file, NULL, on_sent, argv[i], NULL);
        if (err != CRVideo_NOERR) { /* refused: on_sent will not come */
            pthread_mutex_lock(&state.lock);
            state.running--;
            state.failed = example_failed(argv[i], err);
            pthread_mutex_unlock(&state.lock);
        }
    }

    pthread_mutex_lock(&state.lock);
    while (state.running > 0)
        pthread_cond_wait(&state.changed, &state.lock);
    pthread_mutex_unlock(&state.lock);
    RTM_Destroy(client);
    return state.failed;
}
