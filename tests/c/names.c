/*
 * names: sends itself the list under each name of a list, and tells what it is shown. Started as
 * names RELAY PROJECT SECRET LIST, where LIST has a name in hexadecimal on each line; prints "name HEX" for each.
 */
#define _POSIX_C_SOURCE 200809L

#include "check.h"

#include <sys/stat.h>

static struct counter ended = COUNTER_INIT;
static struct counter received = COUNTER_INIT;

static void on_result(void *user, const char *task_id, const char *file_name, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)file_name;
    (void)cookie;
    CHECK_OK(err);
    counter_add(&ended, 1);
}

static void on_file(void *user, const char *source, const char *task_id, const char *tmp_file, const char *name)
{
    const char *tmp = getenv("TMPDIR");
    const char *rest = tmp_file + strlen(tmp);
    const unsigned char *at;
    struct stat info;
    (void)user;
    (void)source;
    (void)task_id;
    /* TMPDIR/crvideo-XXXXXX/32 hexadecimal digits, and nothing of the name. */
    CHECK(strncmp(tmp_file, tmp, strlen(tmp)) == 0 && strncmp(rest, "/crvideo-", 9) == 0 && rest[15] == '/');
    CHECK_EQ(strlen(rest), 16 + 32);
    CHECK_EQ(strspn(rest + 16, "0123456789abcdef"), 32);
    CHECK(lstat(tmp_file, &info) == 0 && S_ISREG(info.st_mode) && (info.st_mode & 07777) == 0600);
    CHECK(unlink(tmp_file) == 0);
    fputs("name ", stdout);
    for (at = (const unsigned char *)name; *at != '\0'; at++)
        printf("%02x", *at);
    putchar('\n');
    counter_add(&received, 1);
}

int main(int argc, char **argv)
{
    CRVideo_Session alice;
    CRVideo_SendOptions options;
    char line[1024], name[512];
    long count = 0;
    FILE *list;
    CHECK(argc == 5);
    check_begin(argc, argv);
    alice = check_session(0);
    CHECK_OK(CRVideo_SetSendFileRlstCallback(alice, on_result, NULL));
    CHECK_OK(CRVideo_SetNotifyFileDataCallback(alice, on_file, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));
    CRVideo_SendOptionsInit(&options);
    options.display_name = name;
    list = fopen(argv[4], "r");
    CHECK(list != NULL);
    while (fgets(line, sizeof line, list) != NULL) {
        size_t i, len = strcspn(line, "\n") / 2;
        for (i = 0; i < len; i++) {
            unsigned byte;
            CHECK(sscanf(line + 2 * i, "%2x", &byte) == 1);
            name[i] = (char)byte;
        }
        name[len] = '\0';
        CHECK_OK(CRVideo_SendFile(alice, "alice", argv[4], &options, NULL, NULL));
        count++;
        WAIT_FOR(ended, count);
        WAIT_FOR(received, count);
    }
    fclose(list);
    CHECK_OK(CRVideo_Destroy(alice));
    return 0;
}
