/*
 * chat: two people type at each other, and hand each other files. In C++, by crvideo.hpp.
 *
 * Shows: callbacks as lambdas with captures; sessions that end with their scope; what the main thread and the callback
 * thread share stands behind one mutex. A lambda may throw: the header catches it, the program goes on.
 *
 * Usage: chat RELAY PROJECT SECRET USER PEER INBOX
 *        chat 127.0.0.1:13325 1 @secret.txt alice bob ./alice-inbox
 * Type a line to send it, "/file PATH" to send a file; end of input ends the program. Prints "ready" when logged in.
 */
#include "example.h"

#include <crvideo.hpp>

#include <condition_variable>
#include <cstring>
#include <iostream>
#include <mutex>
#include <string>

namespace {

/* What main() and the callbacks share. */
class Shared {
public:
    void say(const std::string &line) {
        std::lock_guard<std::mutex> lock(mutex_);
        std::cout << line << std::endl;
    }
    void send_begins() {
        std::lock_guard<std::mutex> lock(mutex_);
        ++in_flight_;
    }
    void send_ends() {
        std::lock_guard<std::mutex> lock(mutex_);
        --in_flight_;
        changed_.notify_all();
    }
    void wait_for_sends() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return in_flight_ == 0; });
    }
    void login_done(crvideo::Err err) {
        std::lock_guard<std::mutex> lock(mutex_);
        login_ = err;
        login_there_ = true;
        changed_.notify_all();
    }
    crvideo::Err wait_for_login() {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [this] { return login_there_; });
        return login_;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int in_flight_ = 0;
    bool login_there_ = false;
    crvideo::Err login_ = CRVideo_NOERR;
};

/* Text from the network for a terminal: control characters become '?'. */
std::string printable(const char *text, std::size_t len) {
    std::string clean(text, len);
    for (std::size_t i = 0; i < clean.size(); ++i) {
        const unsigned char byte = static_cast<unsigned char>(clean[i]);
        const bool c1 = byte == 0xc2 && i + 1 < clean.size() && static_cast<unsigned char>(clean[i + 1]) < 0xa0;
        if (byte < 0x20 || byte == 0x7f) clean[i] = '?';
        if (c1) clean.replace(i, 2, "?");
    }
    return clean;
}
std::string printable(const char *text) { return printable(text, std::strlen(text)); }

} // namespace

int main(int argc, char **argv) try {
    if (argc != 7) {
        std::cerr << "usage: " << argv[0] << " RELAY PROJECT SECRET USER PEER INBOX" << std::endl;
        return EXIT_FAILURE;
    }
    const char *const peer = argv[5];
    const std::string inbox = argv[6];
    char incoming[4096];
    if (example_make_inbox(argv[6], incoming, sizeof incoming) != 0) {
        std::perror(argv[6]);
        return EXIT_FAILURE;
    }

    /* Before the session, so that it is still there when the session's last callbacks run. */
    Shared shared;

    crvideo::Config config;
    config.download_dir = incoming;
    crvideo::Session session(config);

    session.on_login_rslt([&](crvideo::Err err, void *) { shared.login_done(err); });
    session.on_line_off([&](crvideo::Err err) { shared.say(std::string("* line off: ") + CRVideo_ErrText(err)); });
    session.on_line_on([&] { shared.say("* line on"); });
    session.on_notify_cmd_data([&](const char *source, const char *, const void *data, std::size_t len) {
        shared.say(printable(source) + ": " + printable(static_cast<const char *>(data), len));
    });
    session.on_notify_file_data([&](const char *source, const char *, const char *tmp_file, const char *name) {
        char kept[4096];
        if (example_keep_file(inbox.c_str(), tmp_file, name, kept, sizeof kept) == 0)
            shared.say("* a file from " + printable(source) + ": " + printable(kept));
        else
            shared.say(std::string("* a file cannot be kept: ") + std::strerror(errno));
    });
    session.on_send_cmd_rlst([&](const char *, crvideo::Err err, void *) {
        if (err != CRVideo_NOERR) shared.say(std::string("* not sent: ") + CRVideo_ErrText(err));
        shared.send_ends();
    });
    session.on_send_file_rlst([&](const char *, const char *file_name, crvideo::Err err, void *) {
        shared.say("* " + printable(file_name) + ": " + (err == CRVideo_NOERR ? "delivered" : CRVideo_ErrText(err)));
        shared.send_ends();
    });

    CRVideo_LoginInfo info;
    example_login_info(argv, &info);
    crvideo::Err err = session.login(info);
    if (err == CRVideo_NOERR) err = shared.wait_for_login();
    if (err != CRVideo_NOERR) return example_failed("login", err);
    shared.say("ready");

    std::string line;
    while (std::getline(std::cin, line)) {
        const std::string word = "/file ";
        shared.send_begins();
        if (line.compare(0, word.size(), word) == 0)
            err = session.send_file(peer, line.c_str() + word.size());
        else
            err = session.send_cmd(peer, line.data(), line.size());
        if (err != CRVideo_NOERR) { /* refused at once: no result will follow */
            shared.say(std::string("* not sent: ") + CRVideo_ErrText(err));
            shared.send_ends();
        }
    }
    shared.wait_for_sends();
    return EXIT_SUCCESS; /* ~Session logs out and returns when no callback runs or will run */
} catch (const std::exception &exception) {
    std::cerr << exception.what() << std::endl;
    return EXIT_FAILURE;
}
