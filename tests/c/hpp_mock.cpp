// hpp_mock: crvideo.hpp over a library of one session that this file plays, so that each turn of the two lives, the
// object's and the session's, can be tried by itself.
#include "crvideo.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #condition); \
            std::exit(1); \
        } \
    } while (0)

namespace {

// The library: at most one session; destroyed inside a callback it waits with its last event until `finish`.
struct Library {
    CRVideo_Session session;
    CRVideo_Session last;
    bool dying;
    int depth;
    CRVideo_Err next_create, next_set_released;
    CRVideo_NoticeCallback released, line_on;
    void *released_user, *line_on_user;
    CRVideo_SendRlstCallback rlst;
    void *rlst_user;
    CRVideo_WakeCallback wake;
    void *wake_user;
    CRVideo_Queue queue;
} library;

void fire_line_on() {
    CHECK(!library.dying);
    ++library.depth;
    if (library.line_on) library.line_on(library.line_on_user);
    --library.depth;
}

void fire_rlst() {
    ++library.depth;
    if (library.rlst) library.rlst(library.rlst_user, "id", CRVideo_SENDFAIL, nullptr);
    --library.depth;
}

// The terminal events and the last one.
void finish() {
    CHECK(library.dying);
    fire_rlst();
    const CRVideo_NoticeCallback released = library.released;
    void *user = library.released_user;
    const CRVideo_Session last = library.last;
    library = Library();
    library.last = last;
    if (released) released(user);
}

bool alive(CRVideo_Session session) { return session != 0 && session == library.session; }

} // namespace

extern "C" {
const char *CRVideo_ErrText(CRVideo_Err err) { return err == CRVideo_OUTOF_MEM ? "no memory" : "other"; }
void CRVideo_ConfigInitSized(CRVideo_Config *config, uintptr_t struct_size) { std::memset(config, 0, struct_size); }
CRVideo_Err CRVideo_Create(const CRVideo_Config *, CRVideo_Session *session) {
    if (library.next_create != 0) return library.next_create;
    CHECK(library.session == 0 && !library.dying);
    *session = library.session = ++library.last;
    return 0;
}
CRVideo_Err CRVideo_Destroy(CRVideo_Session session) {
    if (!alive(session)) return CRVideo_NOT_INIT;
    library.session = 0;
    library.dying = true;
    if (library.depth == 0) finish();
    return 0;
}
CRVideo_Err CRVideo_SetReleasedCallback(CRVideo_Session session, CRVideo_NoticeCallback cb, void *user) {
    if (library.next_set_released != 0) return library.next_set_released;
    if (!alive(session)) return CRVideo_NOT_INIT;
    library.released = cb;
    library.released_user = user;
    return 0;
}
CRVideo_Err CRVideo_SetLineOnCallback(CRVideo_Session session, CRVideo_NoticeCallback cb, void *user) {
    if (!alive(session)) return CRVideo_NOT_INIT;
    library.line_on = cb;
    library.line_on_user = user;
    return 0;
}
CRVideo_Err CRVideo_SetSendCmdRlstCallback(CRVideo_Session session, CRVideo_SendRlstCallback cb, void *user) {
    if (!alive(session)) return CRVideo_NOT_INIT;
    library.rlst = cb;
    library.rlst_user = user;
    return 0;
}
CRVideo_Err CRVideo_SendCmd(CRVideo_Session session, const char *, const void *, size_t len,
                            const CRVideo_SendOptions *, void *, char *task_id) {
    if (!alive(session)) return CRVideo_NOT_INIT;
    if (len != 0) return CRVideo_PARAM_ERR;
    if (task_id) std::memcpy(task_id, "00112233-4455-6677-8899-aabbccddeeff", CRVIDEO_TASK_ID_SIZE);
    return 0;
}
CRVideo_Err CRVideo_CreateQueue(CRVideo_Queue *queue) {
    *queue = library.queue = 7;
    return 0;
}
CRVideo_Err CRVideo_DestroyQueue(CRVideo_Queue queue) {
    CHECK(queue == library.queue && !library.wake);
    library.queue = 0;
    return 0;
}
CRVideo_Err CRVideo_SetWakeCallback(CRVideo_Queue queue, CRVideo_WakeCallback cb, void *user) {
    if (queue != library.queue) return CRVideo_NOT_INIT;
    library.wake = cb;
    library.wake_user = user;
    return 0;
}
}

namespace {

using crvideo::Err;
using crvideo::Session;

// Tells by `use_count` whether a function that captured it is still there.
std::shared_ptr<int> witness() { return std::make_shared<int>(0); }

void an_exception_stays_inside_and_is_counted() {
    Session session;
    int hooked = 0;
    CHECK(session.on_line_on([] { throw 1; }) == 0);
    fire_line_on();
    CHECK(session.callback_exceptions() == 1);
    CHECK(session.on_exception([&](std::exception_ptr exception) {
        ++hooked;
        std::rethrow_exception(exception);
    }) == 0);
    fire_line_on();
    CHECK(hooked == 1 && session.callback_exceptions() == 3);
}

void a_replaced_function_is_gone_when_the_setter_returns() {
    Session session;
    const std::shared_ptr<int> first = witness();
    CHECK(session.on_line_on([first] { ++*first; }) == 0);
    CHECK(first.use_count() == 2);
    fire_line_on();
    CHECK(session.on_line_on([] {}) == 0);
    CHECK(*first == 1 && first.use_count() == 1);
    CHECK(session.on_line_on([first] {}) == 0);
    CHECK(session.on_line_on(nullptr) == 0);
    CHECK(first.use_count() == 1 && !library.line_on);
}

void a_function_may_replace_itself() {
    Session session;
    const std::shared_ptr<int> inside = witness();
    CHECK(session.on_line_on([inside, &session] {
        CHECK(session.on_line_on(nullptr) == 0);
        CHECK(inside.use_count() > 1);
        ++*inside;
    }) == 0);
    fire_line_on();
    fire_line_on();
    CHECK(*inside == 1 && inside.use_count() == 1);
}

void outside_callbacks_everything_is_gone_with_the_object() {
    const std::shared_ptr<int> captured = witness();
    {
        Session session;
        CHECK(session.on_send_cmd_rlst([captured](const char *, Err err, void *) { *captured += err; }) == 0);
        CHECK(session.on_released([captured] { *captured += 1; }) == 0);
    }
    CHECK(*captured == CRVideo_SENDFAIL + 1 && captured.use_count() == 1);
}

void inside_a_callback_terminal_events_still_come_and_then_everything_is_gone() {
    const std::shared_ptr<int> captured = witness();
    std::unique_ptr<Session> session(new Session);
    CHECK(session->on_send_cmd_rlst([captured](const char *, Err err, void *) { *captured += err; }) == 0);
    CHECK(session->on_line_on([captured, &session] {
        session.reset();
        *captured += 1;
        throw 1;
    }) == 0);
    fire_line_on();
    CHECK(!session && *captured == 1 && captured.use_count() == 3);
    finish();
    CHECK(*captured == 1 + CRVideo_SENDFAIL && captured.use_count() == 1);
}

void an_owner_that_its_functions_capture_is_no_cycle() {
    struct Owner {
        Session session;
        std::shared_ptr<int> witness;
    };
    const std::shared_ptr<int> held = witness();
    {
        const std::shared_ptr<Owner> owner = std::make_shared<Owner>();
        owner->witness = held;
        CHECK(owner->session.on_line_on([owner] { CHECK(owner->session.destroy() == 0); }) == 0);
    }
    CHECK(held.use_count() == 2);
    fire_line_on();
    CHECK(held.use_count() == 2);
    finish();
    CHECK(held.use_count() == 1);
}

void a_destroyed_session_answers_with_a_code() {
    Session session;
    CHECK(session.destroy() == 0);
    CHECK(session.destroy() == CRVideo_NOT_INIT);
    CHECK(session.on_line_on([] {}) == CRVideo_NOT_INIT);
    CHECK(session.on_released([] {}) == CRVideo_NOT_INIT);
    CHECK(session.on_exception([](std::exception_ptr) {}) == CRVideo_NOT_INIT);
    CHECK(session.callback_exceptions() == 0);
}

void a_session_moves_with_its_functions() {
    const std::shared_ptr<int> captured = witness();
    Session first;
    CHECK(first.on_line_on([captured] { ++*captured; }) == 0);
    Session second(std::move(first));
    CHECK(first.handle() == 0 && first.callback_exceptions() == 0);
    CHECK(first.on_line_on([] {}) == CRVideo_NOT_INIT && first.destroy() == CRVideo_NOT_INIT);
    fire_line_on();
    CHECK(*captured == 1);
    CHECK(second.destroy() == 0);
    CHECK(captured.use_count() == 1);
    second = Session();
    CHECK(second.on_line_on([captured] { ++*captured; }) == 0);
    fire_line_on();
    CHECK(*captured == 2);
}

void a_constructor_that_fails_throws_and_leaves_nothing() {
    for (CRVideo_Err *failing : {&library.next_create, &library.next_set_released}) {
        *failing = CRVideo_OUTOF_MEM;
        bool thrown = false;
        try {
            Session session;
        } catch (const crvideo::Error &error) {
            thrown = error.code() == CRVideo_OUTOF_MEM && std::strcmp(error.what(), "no memory") == 0;
        }
        *failing = 0;
        CHECK(thrown && library.session == 0);
    }
}

void a_task_id_is_written_on_success_only() {
    Session session;
    std::string id("before");
    CHECK(session.send_cmd("bob", "x", 1, nullptr, &id) == CRVideo_PARAM_ERR);
    CHECK(id == "before");
    CHECK(session.send_cmd("bob", nullptr, 0, nullptr, &id) == 0);
    CHECK(id == "00112233-4455-6677-8899-aabbccddeeff");
    CHECK(session.send_cmd("bob", nullptr, 0) == 0);
}

void a_queue_lets_its_wake_function_go() {
    const std::shared_ptr<int> captured = witness();
    {
        crvideo::Queue queue;
        CHECK(queue.on_wake([captured] {
            ++*captured;
            throw 1;
        }) == 0);
        crvideo::Queue moved(std::move(queue));
        library.wake(library.wake_user);
        CHECK(*captured == 1 && queue.handle() == 0 && moved.handle() == 7);
        CHECK(queue.on_wake([] {}) == CRVideo_NOT_INIT);
    }
    CHECK(captured.use_count() == 1 && library.queue == 0);
}

} // namespace

int main() {
    an_exception_stays_inside_and_is_counted();
    a_replaced_function_is_gone_when_the_setter_returns();
    a_function_may_replace_itself();
    outside_callbacks_everything_is_gone_with_the_object();
    inside_a_callback_terminal_events_still_come_and_then_everything_is_gone();
    an_owner_that_its_functions_capture_is_no_cycle();
    a_destroyed_session_answers_with_a_code();
    a_session_moves_with_its_functions();
    a_constructor_that_fails_throws_and_leaves_nothing();
    a_task_id_is_written_on_success_only();
    a_queue_lets_its_wake_function_go();
    return 0;
}
