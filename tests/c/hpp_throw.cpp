/*
 * hpp_throw: functions that throw, given to crvideo.hpp for every event that can be provoked. The process lives, each
 * exception is counted and told, every send still ends once, and the session goes on. Also: a function that destroys its
 * own Session, and one that replaces itself.
 */
#include "check.h"

#include <crvideo.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Odd {}; /* not derived from std::exception */

struct Meter {
    Meter() { counter_init(&calls), counter_init(&told), counter_init(&ends); }
    counter calls; /* functions that threw */
    counter told;  /* exceptions that the hook has heard of */
    counter ends;  /* terminal events */
};

[[noreturn]] void throw_something(Meter &meter) {
    counter_add(&meter.calls, 1);
    switch (counter_get(&meter.calls) % 3) {
    case 0: throw std::runtime_error("thrown by the application");
    case 1: throw Odd();
    default: throw 42;
    }
}

void everything_throws(crvideo::Session &session, Meter &meter) {
    CHECK_OK(session.on_login_rslt([&](crvideo::Err, void *) { throw_something(meter); }));
    CHECK_OK(session.on_logout_rslt([&](crvideo::Err, void *) { throw_something(meter); }));
    CHECK_OK(session.on_line_off([&](crvideo::Err) { throw_something(meter); }));
    CHECK_OK(session.on_line_on([&] { throw_something(meter); }));
    CHECK_OK(session.on_token_will_expire([&] { throw_something(meter); }));
    auto end = [&](const char *, crvideo::Err, void *) { counter_add(&meter.ends, 1), throw_something(meter); };
    CHECK_OK(session.on_send_cmd_rlst(end));
    CHECK_OK(session.on_send_buffer_rlst(end));
    CHECK_OK(session.on_send_file_rlst(
        [&](const char *, const char *, crvideo::Err, void *) { counter_add(&meter.ends, 1), throw_something(meter); }));
    CHECK_OK(session.on_send_progress([&](const char *, uint64_t, uint64_t, void *) { throw_something(meter); }));
    CHECK_OK(session.on_cancel_send_rlst([&](const char *, crvideo::Err, void *) { throw_something(meter); }));
    auto data = [&](const char *, const char *, const void *, size_t) { throw_something(meter); };
    CHECK_OK(session.on_notify_cmd_data(data));
    CHECK_OK(session.on_notify_buffer_data(data));
    CHECK_OK(session.on_notify_file_data([&](const char *, const char *, const char *file, const char *) {
        unlink(file);
        throw_something(meter);
    }));
    CHECK_OK(session.on_notify_cancel_send([&](const char *, const char *, crvideo::Err) { throw_something(meter); }));
    CHECK_OK(session.on_receive_progress(
        [&](const char *, const char *, uint64_t, uint64_t) { throw_something(meter); }));
    CHECK_OK(session.on_user_status([&](const char *, int) { throw_something(meter); }));
    CHECK_OK(session.on_user_status_rslt(
        [&](crvideo::Err, const char *const *, size_t, void *) { throw_something(meter); }));
    CHECK_OK(session.on_status_push_rslt([&](crvideo::Err, void *) { throw_something(meter); }));
    CHECK_OK(session.on_released([&] { throw_something(meter); }));
    /* The hook that is told of exceptions may throw as well. */
    CHECK_OK(session.on_exception([&](std::exception_ptr exception) {
        CHECK(exception != nullptr);
        counter_add(&meter.told, 1);
        throw Odd();
    }));
}

void log_in(crvideo::Session &session, const char *user, Meter &meter) {
    CRVideo_LoginInfo info;
    check_login_info(&info, user);
    const long calls = counter_get(&meter.calls);
    CHECK_OK(session.login(info));
    WAIT_FOR(meter.calls, calls + 1);
}

void throw_everywhere() {
    Meter alices;
    Meter bobs;
    {
        crvideo::Session alice;
        crvideo::Session bob;
        everything_throws(alice, alices);
        everything_throws(bob, bobs);
        log_in(alice, "alice", alices);
        log_in(bob, "bob", bobs);
        const std::vector<char> content(300000, 'x');
        std::string task;
        for (int i = 0; i < 10; i++) CHECK_OK(alice.send_cmd("bob", "x", 1));
        CHECK_OK(alice.send_buffer("bob", content.data(), content.size(), nullptr, &task));
        CHECK_EQ(task.size(), CRVIDEO_TASK_ID_SIZE - 1);
        CHECK_OK(alice.send_file("bob", check_args[0]));
        CHECK_OK(alice.cancel_send("00000000-0000-4000-8000-000000000000"));
        CHECK_OK(alice.get_user_status(nullptr));
        CHECK_OK(alice.start_user_status_push());
        WAIT_FOR(alices.ends, 12);
        /* login, 12 ends, at least 4 of progress, cancel, status, push */
        WAIT_FOR(alices.calls, 20);
        WAIT_FOR(bobs.calls, 13);
        CHECK_OK(alice.logout());
        CHECK_OK(alice.destroy());
        CHECK_EQ(counter_get(&alices.ends), 12);
        CHECK_EQ(counter_get(&alices.told), counter_get(&alices.calls));
        /* The hook's own exceptions are counted as well. */
        CHECK_EQ(alice.callback_exceptions(), 2 * counter_get(&alices.calls));
        CHECK_EQ(alice.send_cmd("bob", "x", 1), CRVideo_NOT_INIT);
    }
    CHECK_EQ(counter_get(&bobs.told), counter_get(&bobs.calls));
}

/* A function that replaces itself keeps its captures while it runs; a Session may be destroyed by its own function. */
void destroy_inside() {
    counter logged_in = COUNTER_INIT;
    counter ends = COUNTER_INIT;
    counter released = COUNTER_INIT;
    counter go = COUNTER_INIT;
    std::unique_ptr<crvideo::Session> session(new crvideo::Session);
    CHECK_OK(session->on_released([&] { counter_add(&released, 1); }));
    const std::shared_ptr<std::string> kept = std::make_shared<std::string>(1000, 'x');
    std::weak_ptr<std::string> watched = kept;
    CHECK_OK(session->on_login_rslt([&, kept](crvideo::Err err, void *) {
        CHECK_OK(err);
        CHECK_OK(session->on_login_rslt(nullptr));
        CHECK_EQ(kept->size(), 1000);
        counter_add(&logged_in, 1);
    }));
    CHECK_OK(session->on_send_cmd_rlst([&](const char *, crvideo::Err err, void *) {
        CHECK_OK(err);
        WAIT_FOR(go, 1); /* until main() has done with the object */
        counter_add(&ends, 1);
        session.reset();
        throw Odd();
    }));
    CRVideo_LoginInfo info;
    check_login_info(&info, "self");
    CHECK_OK(session->login(info));
    WAIT_FOR(logged_in, 1);
    CHECK_OK(session->send_cmd("self", "x", 1));
    counter_add(&go, 1);
    WAIT_FOR(released, 1);
    CHECK_EQ(counter_get(&ends), 1);
    CHECK_EQ(watched.use_count(), 1); /* ours alone */
}

/* An RTM client whose gate nobody serves: what its functions throw is caught, and each is called once and let go. */
void rtm_functions_throw() {
    Meter meter;
    const std::shared_ptr<int> kept = std::make_shared<int>(7);
    {
        crvideo::RtmConfig config;
        config.project = 1;
        config.secret = "secret";
        config.endpoint = "127.0.0.1:1";
        crvideo::RtmClient first(config);
        CHECK_OK(first.on_exception([&](std::exception_ptr exception) {
            CHECK(exception != nullptr);
            counter_add(&meter.told, 1);
            throw Odd();
        }));
        CHECK_OK(first.on_released([&] { throw_something(meter); }));
        crvideo::RtmClient client(std::move(first));
        for (int i = 0; i < 10; i++)
            CHECK_OK(client.start<RTM_TokenResult>(
                [&meter, kept](const RTM_TokenResult &result) {
                    CHECK_EQ(result.err, RTM_ERR_CONNECTION);
                    counter_add(&meter.ends, 1);
                    throw_something(meter);
                },
                RTM_GetToken, 1, nullptr));
        WAIT_FOR(meter.ends, 10);
        CHECK_EQ(client.wait<RTM_Result>(RTM_Kickout, 1, nullptr).err, RTM_ERR_CONNECTION);
        CHECK_EQ(client.start<RTM_Result>(nullptr, RTM_AddGroupMembers, 1, nullptr, 0, nullptr), RTM_ERR_EMPTY);
        CHECK_EQ(first.handle(), 0);
        CHECK_OK(client.destroy());
        /* The hook's own exceptions are counted as well. */
        CHECK_EQ(client.callback_exceptions(), 22);
        CHECK_EQ(client.wait<RTM_Result>(RTM_Kickout, 1, nullptr).err, CRVideo_NOT_INIT);
    }
    CHECK_EQ(counter_get(&meter.calls), 11);
    CHECK_EQ(counter_get(&meter.told), 11);
    CHECK_EQ(kept.use_count(), 1);
    crvideo::RtmConfig bad;
    try {
        crvideo::RtmClient client(bad);
        FAIL("no exception");
    } catch (const crvideo::Error &error) {
        CHECK_EQ(error.code(), CRVideo_PARAM_ERR);
    }
}

void constructors_throw() {
    crvideo::Config config;
    config.flags = 0x80000000u;
    try {
        crvideo::Session session(config);
        FAIL("no exception");
    } catch (const crvideo::Error &error) {
        CHECK_EQ(error.code(), CRVideo_PARAM_ERR);
        CHECK(std::string(error.what()) == CRVideo_ErrText(CRVideo_PARAM_ERR));
    }
}

} // namespace

int main(int argc, char **argv) {
    check_begin(argc, argv);
    constructors_throw();
    rtm_functions_throw();
    throw_everywhere();
    destroy_inside();
    return 0;
}
