// hpp_use: every member of crvideo.hpp is used here, with its exact arguments. Compiled, not run.
#include "crvideo.hpp"

#include <type_traits>

static_assert(!std::is_copy_constructible<crvideo::Session>::value, "a session is not copied");
static_assert(!std::is_copy_assignable<crvideo::Session>::value, "a session is not copied");
static_assert(std::is_nothrow_move_constructible<crvideo::Session>::value, "a session is moved");
static_assert(std::is_nothrow_move_assignable<crvideo::Session>::value, "a session is moved");
static_assert(!std::is_copy_constructible<crvideo::Queue>::value, "a queue is not copied");
static_assert(std::is_nothrow_move_constructible<crvideo::Queue>::value, "a queue is moved");
static_assert(!std::is_copy_constructible<crvideo::RtmClient>::value, "an RTM client is not copied");
static_assert(std::is_nothrow_move_constructible<crvideo::RtmClient>::value, "an RTM client is moved");
static_assert(std::is_nothrow_move_assignable<crvideo::RtmClient>::value, "an RTM client is moved");
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

Err rtm_events(crvideo::RtmClient &client) {
    return client.on_push_msg([](const RTM_Push &) {}) | client.on_push_group_msg([](const RTM_Push &) {}) |
           client.on_push_room_msg([](const RTM_Push &) {}) |
           client.on_push_event([](const char *, std::int64_t, std::int64_t, const char *, const char *) {}) |
           client.on_line([](Err, const char *) {}) |
           client.on_recipient_result([](const RTM_RecipientResult &) {}) | client.on_released([] {}) |
           client.on_exception([](std::exception_ptr) {}) | client.on_line(nullptr);
}

Err rtm_calls(const crvideo::RtmClient &client) {
    const std::int64_t uids[] = {1, 2};
    std::int64_t found[2];
    crvideo::RtmFile file;
    crvideo::RtmListen listen;
    crvideo::RtmCallOptions options;
    file.path = "x";
    const RTM_SendResult sent = client.wait<RTM_SendResult>(RTM_SendFiles, 1, uids, 2, RTM_MTYPE_FILE, &file, &options);
    const RTM_TokenResult token = client.wait<RTM_TokenResult>(RTM_GetToken, 1, nullptr);
    const RTM_Result plain = client.wait<RTM_Result>(RTM_SetListen, &listen, nullptr);
    const RTM_ListResult list = client.wait_for_list(found, 2, RTM_GetOnlineUsers, uids, 2, &options);
    Err err = sent.err | token.err | plain.err | list.err;
    err |= client.start<RTM_SendResult>([](const RTM_SendResult &) {}, RTM_SendMsg, 1, 2, 66, "x", 1, nullptr, &options);
    err |= client.start<RTM_ListResult>([](const RTM_ListResult &) {}, RTM_GetUserGroups, 1, nullptr);
    err |= client.start<RTM_Result>(nullptr, RTM_Kickout, 1, nullptr);
    return err | client.destroy() | static_cast<Err>(client.handle() + client.callback_exceptions());
}

} // namespace

int main() {
    try {
        crvideo::Queue queue;
        crvideo::Config config;
        config.queue = queue.handle();
        crvideo::Session own, with_queue(queue), configured(config), moved(std::move(own));
        moved = std::move(with_queue);
        crvideo::RtmConfig rtm;
        rtm.endpoint = "127.0.0.1:1";
        crvideo::RtmClient client(rtm), another(std::move(client));
        client = std::move(another);
        return queues() | events(configured) | calls(moved) | rtm_events(client) | rtm_calls(client);
    } catch (const crvideo::Error &error) {
        return error.code();
    }
}
