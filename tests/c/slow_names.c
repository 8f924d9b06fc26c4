/*
 * slow_names: name servers that answer late or never. This program's own getaddrinfo takes the place of the C library's
 * for names below "invalid": one that begins with "hang" never gets an answer, "late" gets it when it is let go, and
 * "moody" only when it is asked for the second time. All are this machine.
 *
 * A login at such a name must end by its deadline and with the right code, a Destroy must not wait for the name, and
 * nobody else may be held up: neither logins at an address, nor logins at other names, however many names hang.
 */
#define _GNU_SOURCE

#include "check.h"

#include <dlfcn.h>
#include <netdb.h>
#include <sys/socket.h>

enum { HANGING = 6, CROWD = 40 };

static struct counter hanging = COUNTER_INIT;   /* look-ups that hang */
static struct counter late_asked = COUNTER_INIT;
static struct counter late_let_go = COUNTER_INIT;
static struct counter moody_asked = COUNTER_INIT;
static struct counter good_asked = COUNTER_INIT;
static struct counter never = COUNTER_INIT;
static const char *port; /* the relay's */

typedef int (*resolver)(const char *, const char *, const struct addrinfo *, struct addrinfo **);

static int begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **found)
{
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    resolver next;
    memcpy(&next, &symbol, sizeof next);
    if (name == NULL || strstr(name, ".invalid") == NULL)
        return next(name, service, hints, found);
    if (begins(name, "hang")) {
        counter_add(&hanging, 1);
        for (;;)
            counter_reaches(&never, 1, 1000);
    } else if (begins(name, "late")) {
        counter_add(&late_asked, 1);
        while (!counter_reaches(&late_let_go, 1, 1000))
            ;
    } else if (begins(name, "moody")) {
        counter_add(&moody_asked, 1);
        while (counter_get(&moody_asked) == 1)
            counter_reaches(&never, 1, 1);
    } else {
        counter_add(&good_asked, 1);
    }
    return next("127.0.0.1", service, hints, found);
}

struct attempt {
    CRVideo_Session session;
    struct check_answer answer;
};

/* Logs `user_id` in at `host`, with the relay's port; `more` is added to the list of servers. */
static void begin(struct attempt *attempt, const char *user_id, const char *host, const char *more)
{
    char servers[256];
    CRVideo_LoginInfo info;
    attempt->session = check_session(0);
    counter_init(&attempt->answer.there);
    check_login_info(&info, user_id);
    snprintf(servers, sizeof servers, "%s:%s%s", host, port, more);
    info.servers = servers;
    CHECK_OK(CRVideo_SetLoginRsltCallback(attempt->session, check_on_answer, NULL));
    CHECK_OK(CRVideo_Login(attempt->session, &info, &attempt->answer));
}

static CRVideo_Err outcome(struct attempt *attempt)
{
    WAIT_FOR(attempt->answer.there, 1);
    return attempt->answer.err;
}

static void login_at(const char *user_id, const char *host, CRVideo_Err expected)
{
    struct attempt attempt;
    begin(&attempt, user_id, host, "");
    CHECK_EQ(outcome(&attempt), expected);
    CHECK_OK(CRVideo_Destroy(attempt.session));
    CHECK_EQ(counter_get(&attempt.answer.there), 1);
}

static struct counter buffers = COUNTER_INIT;

static void on_buffer_result(void *user, const char *task_id, CRVideo_Err err, void *cookie)
{
    (void)user;
    (void)task_id;
    (void)cookie;
    CHECK_OK(err);
    counter_add(&buffers, 1);
}

int main(int argc, char **argv)
{
    static struct attempt hung[HANGING], crowd[CROWD], patient, second_choice, moody;
    char relay[128];
    char name[64];
    int i;

    check_begin(argc, argv);
    port = strrchr(argv[1], ':') + 1;
    snprintf(relay, sizeof relay, ",%s", argv[1]);

    /* Names hang, each asked for by one session, and one of them by a crowd. */
    for (i = 0; i < HANGING; i++) {
        snprintf(name, sizeof name, "hang-%d.invalid", i);
        begin(&hung[i], name, name, "");
    }
    for (i = 0; i < CROWD; i++) {
        snprintf(name, sizeof name, "crowd-%d", i);
        begin(&crowd[i], name, "hang-0.invalid", "");
    }
    WAIT_FOR(hanging, HANGING);
    begin(&second_choice, "second-choice", "hang-0.invalid", relay);
    begin(&moody, "moody", "moody.invalid", "");

    /* Meanwhile others log in. */
    login_at("by-address", "127.0.0.1", CRVideo_NOERR);
    login_at("by-name", "good.invalid", CRVideo_NOERR);

    /* An answer that comes late, but in time. */
    begin(&patient, "patient", "late.invalid", "");
    WAIT_FOR(late_asked, 1);
    counter_add(&late_let_go, 1);
    CHECK_OK(outcome(&patient));

    /* A transfer's connection goes where the session's own went: the name is not asked for again. */
    CHECK_OK(CRVideo_SetSendBufferRlstCallback(patient.session, on_buffer_result, NULL));
    CHECK_OK(CRVideo_SendBuffer(patient.session, "patient", "x", 1, NULL, NULL, NULL));
    WAIT_FOR(buffers, 1);
    CHECK_EQ(counter_get(&late_asked), 1);
    CHECK_OK(CRVideo_Destroy(patient.session));

    /* Destroy and logout do not wait for a name. */
    CHECK_OK(CRVideo_Destroy(crowd[0].session));
    CHECK_EQ(counter_get(&crowd[0].answer.there), 1);
    CHECK_EQ(crowd[0].answer.err, CRVideo_NOT_LOGIN);
    CHECK_OK(CRVideo_Logout(crowd[1].session, NULL));
    CHECK_EQ(outcome(&crowd[1]), CRVideo_NOT_LOGIN);
    CHECK_OK(CRVideo_Destroy(crowd[1].session));

    /* Everybody else is told by the deadline. */
    for (i = 0; i < HANGING; i++)
        CHECK_EQ(outcome(&hung[i]), CRVideo_NO_SERVERINFO);
    for (i = 2; i < CROWD; i++)
        CHECK_EQ(outcome(&crowd[i]), CRVideo_NO_SERVERINFO);
    CHECK_OK(outcome(&second_choice));
    CHECK_EQ(outcome(&moody), CRVideo_NO_SERVERINFO);
    CHECK(counter_get(&hanging) <= HANGING + 1); /* a crowd asks once, or twice if that takes it long */

    /* A name whose look-up hangs is not lost for ever: another one may do better. */
    login_at("moody", "moody.invalid", CRVideo_NOERR);

    for (i = 0; i < HANGING; i++)
        CHECK_OK(CRVideo_Destroy(hung[i].session));
    for (i = 2; i < CROWD; i++)
        CHECK_OK(CRVideo_Destroy(crowd[i].session));
    CHECK_OK(CRVideo_Destroy(second_choice.session));
    /* The look-ups still hang: the last session's end does not wait for them, and neither does the process's. */
    CHECK_OK(CRVideo_Destroy(moody.session));
    return 0;
}
