// hpp_use: every member of crvideo.hpp is used here, with its exact arguments. Compiled, not run.
#include "crvideo.hpp"

#include <type_traits>

static_assert(!std::is_copy_constructible<crvideo::Session>::value, "a session is not copied");
static_assert(!std::is_copy_assignable<crvideo::Session>::value, "a session is not copied");
static_assert(std::is_nothrow_move_constructible<crvideo::Session>::value, "a session is moved");
static_assert(std::is_nothrow_move_assignable<crvideo::Session>::value, "a session is moved");
static_assert(!std::is_copy_constructible<crvideo::Queue>::value, "a queue is not copied");
static_assert(std::is_nothrow_move_constructible<crvideo::Queue>::value, "a queue is moved");
static_assert(std::is_base_of<std::runtime_error, crvideo::Error>::value, "an error is a runtime_error");

using crvideo::Err;

namespace {

Err queues() {
    crvideo::Queue queue;
    crvideo::Queue other(std::move(queue));
    queue = std::move(other);
    std::uint32_t handled;
    std::intptr_t fd;
    const CRVideo_Queue handle = queue.handle();
    Err err = queue.on_wake([handle] { (void)handle; });
    err |= queue.on_wake(nullptr);
    return err | queue.poll(0) | queue.poll(UINT32_MAX, &handled) | queue.fd(&fd);
}

Err events(crvideo::Session &session) {
    return session.on_login_rslt([](Err, void *) {}) | session.on_logout_rslt([](Err, void *) {}) |
           session.on_line_off([](Err) {}) | session.on_line_on([] {}) | session.on_token_will_expire([] {}) |
           session.on_send_cmd_rlst([](const char *, Err, void *) {}) |
           session.on_send_buffer_rlst([](const char *, Err, void *) {}) |
           session.on_send_file_rlst([](const char *, const char *, Err, void *) {}) |
           session.on_send_progress([](const char *, std::uint64_t, std::uint64_t, void *) {}) |
           session.on_cancel_send_rlst([](const char *, Err, void *) {}) |
           session.on_notify_cmd_data([](const char *, const char *, const void *, std::size_t) {}) |
           session.on_notify_buffer_data([](const char *, const char *, const void *, std::size_t) {}) |
           session.on_notify_file_data([](const char *, const char *, const char *, const char *) {}) |
           session.on_notify_cancel_send([](const char *, const char *, Err) {}) |
           session.on_transfer_offer([](const char *, const char *, int, const char *, std::uint64_t) {}) |
           session.on_receive_progress([](const char *, const char *, std::uint64_t, std::uint64_t) {}) |
           session.on_notify_rtm_message([](const CRVideo_RtmMessage *) {}) |
           session.on_user_status([](const char *, int) {}) |
           session.on_user_status_rslt([](Err, const char *const *, std::size_t, void *) {}) |
           session.on_status_push_rslt([](Err, void *) {}) | session.on_released([] {}) |
           session.on_exception([](std::exception_ptr) {}) | session.on_line_on(nullptr);
}

Err calls(const crvideo::Session &session) {
    crvideo::LoginInfo info;
    crvideo::SendOptions options;
    std::string id;
    int cookie;
    Err err = session.login(info) | session.login(info, &cookie) | session.logout() | session.logout(&cookie);
    err |= session.update_token("a.b.c");
    err |= session.send_cmd("bob", "x", 1) | session.send_cmd("bob", "x", 1, &cookie, &id, &options);
    err |= session.send_buffer("bob", "x", 1) | session.send_buffer("bob", "x", 1, &cookie, &id, &options);
    err |= session.send_file("bob", "x") | session.send_file("bob", "x", &cookie, &id, &options);
    err |= session.cancel_send(id.c_str()) | session.cancel_send(id.c_str(), &cookie);
    err |= session.accept_transfer("bob", id.c_str()) | session.accept_transfer("bob", id.c_str(), "path");
    err |= session.refuse_transfer("bob", id.c_str()) | session.cancel_receive("bob", id.c_str());
    err |= session.get_user_status("bob") | session.get_user_status(nullptr, &cookie);
    err |= session.start_user_status_push() | session.start_user_status_push(&cookie);
    err |= session.stop_user_status_push() | session.stop_user_status_push(&cookie);
    return err | session.destroy() | static_cast<Err>(session.handle() + session.callback_exceptions());
}

} // namespace

int main() {
    try {
        crvideo::Queue queue;
        crvideo::Config config;
        config.queue = queue.handle();
        crvideo::Session own, with_queue(queue), configured(config), moved(std::move(own));
        moved = std::move(with_queue);
        return queues() | events(configured) | calls(moved);
    } catch (const crvideo::Error &error) {
        return error.code();
    }
}
