/*
 * crvideo.hpp: crvideo.h for C++11 and later, and nothing but that: objects that end what they began, functions with
 * captures as callbacks, and no exception that leaves a callback. Header only; link libcrvideo.
 *
 * Errors     Constructors throw crvideo::Error. Every other call returns the code of the C function.
 * Callbacks  session.on_...(function) takes any callable; an empty one unsets. A function may do everything, also
 *            replace itself or destroy its Session. What it throws is caught, counted (callback_exceptions) and given
 *            to on_exception. When on_... has returned outside callbacks, the former function runs no more and
 *            is gone; inside a callback it is gone when it has returned.
 * Lifetimes  Outside callbacks, ~Session and destroy() return when every event that was due has been handled; no
 *            function is called after that, and all are gone. Inside a callback they return at once: each send still
 *            gets its one ...Rlst, so the functions, with what they capture, are kept by the library until the last
 *            event (on_released), and then are gone. So capture by shared_ptr what must be there for those events, or
 *            check in them. A Session that owns what its functions capture is no cycle that stays: the last
 *            event cuts it.
 * Threads    A const member function may be called from every thread at any time, as may destroy and the on_...
 *            functions; moving and destruction want to be alone, as with every object.
 */
#ifndef CRVIDEO_HPP
#define CRVIDEO_HPP

#include "crvideo.h"

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <utility>

namespace crvideo {

typedef CRVideo_Err Err;

/* What constructors throw. */
class Error : public std::runtime_error {
public:
    explicit Error(Err code) : std::runtime_error(CRVideo_ErrText(code)), code_(code) {}
    Err code() const noexcept { return code_; }

private:
    Err code_;
};

/* The structs of crvideo.h, with their sizes and defaults set. The texts that they point to stay the caller's. */
struct Config : CRVideo_Config {
    Config() noexcept { CRVideo_ConfigInitSized(this, sizeof(CRVideo_Config)); }
};
struct LoginInfo : CRVideo_LoginInfo {
    LoginInfo() noexcept { CRVideo_LoginInfoInitSized(this, sizeof(CRVideo_LoginInfo)); }
};
struct SendOptions : CRVideo_SendOptions {
    SendOptions() noexcept { CRVideo_SendOptionsInit(this); }
};

/*
 * An event queue of the application's own. Its sessions must be destroyed before it, and it must not be destroyed
 * inside one of its callbacks: the queue would stay behind in the library.
 */
class Queue {
public:
    typedef std::function<void()> Wake;

    Queue() : handle_(0) {
        const Err err = CRVideo_CreateQueue(&handle_);
        if (err != CRVideo_NOERR) throw Error(err);
    }
    ~Queue() { close(); }
    Queue(const Queue &) = delete;
    Queue &operator=(const Queue &) = delete;
    Queue(Queue &&other) noexcept : handle_(other.handle_), wake_(std::move(other.wake_)) { other.handle_ = 0; }
    Queue &operator=(Queue &&other) noexcept {
        if (this != &other) {
            close();
            handle_ = other.handle_;
            wake_ = std::move(other.wake_);
            other.handle_ = 0;
        }
        return *this;
    }

    CRVideo_Queue handle() const noexcept { return handle_; }
    /* timeout_ms: 0 does not wait, UINT32_MAX waits for ever. */
    Err poll(std::uint32_t timeout_ms, std::uint32_t *handled = nullptr) const noexcept {
        return CRVideo_PollEvents(handle_, timeout_ms, handled);
    }
    Err fd(std::intptr_t *fd_or_handle) const noexcept { return CRVideo_GetQueueFd(handle_, fd_or_handle); }
    /* May only say "wake up", on any thread, and must not call the library. What it throws is dropped. */
    Err on_wake(Wake wake) {
        std::unique_ptr<Wake> fresh(wake ? new Wake(std::move(wake)) : nullptr);
        const Err err = CRVideo_SetWakeCallback(handle_, fresh ? &Queue::call_wake : nullptr, fresh.get());
        if (err == CRVideo_NOERR) wake_ = std::move(fresh);
        return err;
    }

private:
    static void call_wake(void *user) noexcept {
        try {
            (*static_cast<Wake *>(user))();
        } catch (...) {
        }
    }
    void close() noexcept {
        if (handle_ == 0) return;
        if (wake_) CRVideo_SetWakeCallback(handle_, nullptr, nullptr);
        CRVideo_DestroyQueue(handle_);
    }

    CRVideo_Queue handle_;
    std::unique_ptr<Wake> wake_;
};

/* Called with what another function has thrown, on the thread that it was thrown on. */
typedef std::function<void(std::exception_ptr exception)> ExceptionHook;

namespace detail {

template <typename Function> using Slot = std::shared_ptr<const Function>;

/* What the library's `user` pointers point to: the functions of a session or an RTM client. It owns itself until the last
   event. `Functions` has a `released` and an `exception` among its slots. */
template <typename Functions> struct State {
    State() : exceptions(0) {}

    std::mutex mutex;
    Functions functions;         /* under mutex */
    std::shared_ptr<State> self; /* under mutex */
    std::atomic<unsigned long> exceptions;

    template <typename Function> Slot<Function> get(Slot<Function> Functions::*slot) {
        std::lock_guard<std::mutex> lock(mutex);
        return functions.*slot;
    }

    /* The slot's function is held while it runs, so that it may replace itself. */
    template <typename Function, typename... Args>
    void call(Slot<Function> Functions::*slot, Args... args) noexcept {
        try {
            const Slot<Function> function = get(slot);
            if (function) (*function)(args...);
        } catch (...) {
            note(std::current_exception());
        }
    }

    void note(std::exception_ptr exception) noexcept {
        ++exceptions;
        try {
            const Slot<ExceptionHook> hook = get(&Functions::exception);
            if (hook) (*hook)(exception);
        } catch (...) {
            ++exceptions;
        }
    }

    /* The last event: nothing is called after it, so the functions go, and the state unless an object has it. */
    static void release(void *user) noexcept {
        State *state = static_cast<State *>(user);
        state->call(&Functions::released);
        std::shared_ptr<State> self;
        Functions gone;
        std::lock_guard<std::mutex> lock(state->mutex);
        self.swap(state->self);
        std::swap(gone, state->functions);
    }

    /* The former function is let go when `tell` has told the library, and without the lock. */
    template <typename Function, typename Tell>
    static Err exchange(const std::shared_ptr<State> &state, Slot<Function> Functions::*slot, Function function,
                        Tell tell) {
        if (!state) return CRVideo_NOT_INIT;
        Slot<Function> other;
        if (function) other = std::make_shared<const Function>(std::move(function));
        state->swap(slot, other);
        const Err err = tell();
        if (err != CRVideo_NOERR) state->swap(slot, other);
        return err;
    }

    Err alive() {
        std::lock_guard<std::mutex> lock(mutex);
        return self ? CRVideo_NOERR : CRVideo_NOT_INIT;
    }

private:
    template <typename Function> void swap(Slot<Function> Functions::*slot, Slot<Function> &other) {
        std::lock_guard<std::mutex> lock(mutex);
        (functions.*slot).swap(other);
    }
};

} // namespace detail

/* One user's login. Can be moved, not copied; a Session that was moved from answers CRVideo_NOT_INIT. */
class Session {
public:
    typedef std::function<void(Err err, void *cookie)> Rslt;
    typedef std::function<void(Err err)> LineOff;
    typedef std::function<void()> Notice;
    typedef std::function<void(const char *task_id, Err err, void *cookie)> SendRlst;
    typedef std::function<void(const char *task_id, const char *file_name, Err err, void *cookie)> SendFileRlst;
    typedef std::function<void(const char *task_id, std::uint64_t sent, std::uint64_t total, void *cookie)>
        SendProgress;
    typedef std::function<void(const char *source, const char *task_id, const void *data, std::size_t len)>
        NotifyData;
    typedef std::function<void(const char *source, const char *task_id, const char *tmp_file,
                               const char *org_file_name)> NotifyFile;
    typedef std::function<void(const char *source, const char *task_id, Err err)> NotifyCancelSend;
    typedef std::function<void(const char *source, const char *task_id, int kind, const char *name,
                               std::uint64_t size)> TransferOffer;
    typedef std::function<void(const char *source, const char *task_id, std::uint64_t received,
                               std::uint64_t total)> ReceiveProgress;
    typedef std::function<void(const CRVideo_RtmMessage *message)> NotifyRtmMessage;
    typedef std::function<void(const char *user_id, int online)> UserStatus;
    typedef std::function<void(Err err, const char *const *user_ids, std::size_t count, void *cookie)> UserStatusRslt;
    typedef crvideo::ExceptionHook ExceptionHook;

    /* With the library's own queue and its callback thread. */
    Session() : handle_(0) { open(nullptr); }
    explicit Session(const CRVideo_Config &config) : handle_(0) { open(&config); }
    explicit Session(const Queue &queue) : handle_(0) {
        Config config;
        config.queue = queue.handle();
        open(&config);
    }
    /* See "Lifetimes" above. */
    ~Session() { close(); }
    Session(const Session &) = delete;
    Session &operator=(const Session &) = delete;
    Session(Session &&other) noexcept : handle_(other.handle_), state_(std::move(other.state_)) { other.handle_ = 0; }
    Session &operator=(Session &&other) noexcept {
        if (this != &other) {
            close();
            handle_ = other.handle_;
            state_ = std::move(other.state_);
            other.handle_ = 0;
        }
        return *this;
    }

    CRVideo_Session handle() const noexcept { return handle_; }
    /* Ends the session and keeps the object; every later call returns CRVideo_NOT_INIT. */
    Err destroy() const noexcept { return CRVideo_Destroy(handle_); }

    Err login(const CRVideo_LoginInfo &info, void *cookie = nullptr) const noexcept {
        return CRVideo_Login(handle_, &info, cookie);
    }
    Err logout(void *cookie = nullptr) const noexcept { return CRVideo_Logout(handle_, cookie); }
    Err update_token(const char *token) const noexcept { return CRVideo_UpdateToken(handle_, token); }

    /* `task_id`, if given, receives the id on success. The events may come before the call returns. */
    Err send_cmd(const char *target, const void *data, std::size_t len, void *cookie = nullptr,
                 std::string *task_id = nullptr, const CRVideo_SendOptions *options = nullptr) const {
        TaskId id(task_id);
        return id.done(CRVideo_SendCmd(handle_, target, data, len, options, cookie, id.place()));
    }
    Err send_buffer(const char *target, const void *data, std::size_t len, void *cookie = nullptr,
                    std::string *task_id = nullptr, const CRVideo_SendOptions *options = nullptr) const {
        TaskId id(task_id);
        return id.done(CRVideo_SendBuffer(handle_, target, data, len, options, cookie, id.place()));
    }
    Err send_file(const char *target, const char *path, void *cookie = nullptr, std::string *task_id = nullptr,
                  const CRVideo_SendOptions *options = nullptr) const {
        TaskId id(task_id);
        return id.done(CRVideo_SendFile(handle_, target, path, options, cookie, id.place()));
    }
    Err cancel_send(const char *task_id, void *cookie = nullptr) const noexcept {
        return CRVideo_CancelSend(handle_, task_id, cookie);
    }

    Err accept_transfer(const char *source, const char *task_id, const char *path = nullptr) const noexcept {
        return CRVideo_AcceptTransfer(handle_, source, task_id, path);
    }
    Err refuse_transfer(const char *source, const char *task_id) const noexcept {
        return CRVideo_RefuseTransfer(handle_, source, task_id);
    }
    Err cancel_receive(const char *source, const char *task_id) const noexcept {
        return CRVideo_CancelReceive(handle_, source, task_id);
    }

    /* `user_id` NULL: everyone who is online. */
    Err get_user_status(const char *user_id, void *cookie = nullptr) const noexcept {
        return CRVideo_GetUserStatus(handle_, user_id, cookie);
    }
    Err start_user_status_push(void *cookie = nullptr) const noexcept {
        return CRVideo_StartUserStatusPush(handle_, cookie);
    }
    Err stop_user_status_push(void *cookie = nullptr) const noexcept {
        return CRVideo_StopUserStatusPush(handle_, cookie);
    }

    /* One for each event of crvideo.h, which says when it comes. */
    Err on_login_rslt(Rslt function) {
        return set(&Functions::login_rslt, &CRVideo_SetLoginRsltCallback,
                   &Thunk<Rslt>::call<&Functions::login_rslt>, std::move(function));
    }
    Err on_logout_rslt(Rslt function) {
        return set(&Functions::logout_rslt, &CRVideo_SetLogoutRsltCallback,
                   &Thunk<Rslt>::call<&Functions::logout_rslt>, std::move(function));
    }
    Err on_line_off(LineOff function) {
        return set(&Functions::line_off, &CRVideo_SetLineOffCallback,
                   &Thunk<LineOff>::call<&Functions::line_off>, std::move(function));
    }
    Err on_line_on(Notice function) {
        return set(&Functions::line_on, &CRVideo_SetLineOnCallback,
                   &Thunk<Notice>::call<&Functions::line_on>, std::move(function));
    }
    Err on_token_will_expire(Notice function) {
        return set(&Functions::token_will_expire, &CRVideo_SetTokenWillExpireCallback,
                   &Thunk<Notice>::call<&Functions::token_will_expire>, std::move(function));
    }
    Err on_send_cmd_rlst(SendRlst function) {
        return set(&Functions::send_cmd_rlst, &CRVideo_SetSendCmdRlstCallback,
                   &Thunk<SendRlst>::call<&Functions::send_cmd_rlst>, std::move(function));
    }
    Err on_send_buffer_rlst(SendRlst function) {
        return set(&Functions::send_buffer_rlst, &CRVideo_SetSendBufferRlstCallback,
                   &Thunk<SendRlst>::call<&Functions::send_buffer_rlst>, std::move(function));
    }
    Err on_send_file_rlst(SendFileRlst function) {
        return set(&Functions::send_file_rlst, &CRVideo_SetSendFileRlstCallback,
                   &Thunk<SendFileRlst>::call<&Functions::send_file_rlst>, std::move(function));
    }
    Err on_send_progress(SendProgress function) {
        return set(&Functions::send_progress, &CRVideo_SetSendProgressCallback,
                   &Thunk<SendProgress>::call<&Functions::send_progress>, std::move(function));
    }
    Err on_cancel_send_rlst(SendRlst function) {
        return set(&Functions::cancel_send_rlst, &CRVideo_SetCancelSendRlstCallback,
                   &Thunk<SendRlst>::call<&Functions::cancel_send_rlst>, std::move(function));
    }
    Err on_notify_cmd_data(NotifyData function) {
        return set(&Functions::notify_cmd_data, &CRVideo_SetNotifyCmdDataCallback,
                   &Thunk<NotifyData>::call<&Functions::notify_cmd_data>, std::move(function));
    }
    Err on_notify_buffer_data(NotifyData function) {
        return set(&Functions::notify_buffer_data, &CRVideo_SetNotifyBufferDataCallback,
                   &Thunk<NotifyData>::call<&Functions::notify_buffer_data>, std::move(function));
    }
    Err on_notify_file_data(NotifyFile function) {
        return set(&Functions::notify_file_data, &CRVideo_SetNotifyFileDataCallback,
                   &Thunk<NotifyFile>::call<&Functions::notify_file_data>, std::move(function));
    }
    Err on_notify_cancel_send(NotifyCancelSend function) {
        return set(&Functions::notify_cancel_send, &CRVideo_SetNotifyCancelSendCallback,
                   &Thunk<NotifyCancelSend>::call<&Functions::notify_cancel_send>, std::move(function));
    }
    Err on_transfer_offer(TransferOffer function) {
        return set(&Functions::transfer_offer, &CRVideo_SetTransferOfferCallback,
                   &Thunk<TransferOffer>::call<&Functions::transfer_offer>, std::move(function));
    }
    Err on_receive_progress(ReceiveProgress function) {
        return set(&Functions::receive_progress, &CRVideo_SetReceiveProgressCallback,
                   &Thunk<ReceiveProgress>::call<&Functions::receive_progress>, std::move(function));
    }
    Err on_notify_rtm_message(NotifyRtmMessage function) {
        return set(&Functions::notify_rtm_message, &CRVideo_SetNotifyRtmMessageCallback,
                   &Thunk<NotifyRtmMessage>::call<&Functions::notify_rtm_message>, std::move(function));
    }
    Err on_user_status(UserStatus function) {
        return set(&Functions::user_status, &CRVideo_SetUserStatusCallback,
                   &Thunk<UserStatus>::call<&Functions::user_status>, std::move(function));
    }
    Err on_user_status_rslt(UserStatusRslt function) {
        return set(&Functions::user_status_rslt, &CRVideo_SetUserStatusRsltCallback,
                   &Thunk<UserStatusRslt>::call<&Functions::user_status_rslt>, std::move(function));
    }
    Err on_status_push_rslt(Rslt function) {
        return set(&Functions::status_push_rslt, &CRVideo_SetStatusPushRsltCallback,
                   &Thunk<Rslt>::call<&Functions::status_push_rslt>, std::move(function));
    }
    /* Called last of all, when the session is destroyed and no other function of it runs or will run. */
    Err on_released(Notice function) {
        return State::exchange(state_, &Functions::released, std::move(function), [this] { return state_->alive(); });
    }

    /* Called with what another function has thrown, on the thread that it was thrown on. */
    Err on_exception(ExceptionHook function) {
        return State::exchange(state_, &Functions::exception, std::move(function), [this] { return state_->alive(); });
    }
    /* How many exceptions have left functions of this session. */
    unsigned long callback_exceptions() const noexcept { return state_ ? state_->exceptions.load() : 0; }

private:
    template <typename Function> using Slot = detail::Slot<Function>;

    struct Functions {
        Slot<Rslt> login_rslt;
        Slot<Rslt> logout_rslt;
        Slot<LineOff> line_off;
        Slot<Notice> line_on;
        Slot<Notice> token_will_expire;
        Slot<SendRlst> send_cmd_rlst;
        Slot<SendRlst> send_buffer_rlst;
        Slot<SendFileRlst> send_file_rlst;
        Slot<SendProgress> send_progress;
        Slot<SendRlst> cancel_send_rlst;
        Slot<NotifyData> notify_cmd_data;
        Slot<NotifyData> notify_buffer_data;
        Slot<NotifyFile> notify_file_data;
        Slot<NotifyCancelSend> notify_cancel_send;
        Slot<TransferOffer> transfer_offer;
        Slot<ReceiveProgress> receive_progress;
        Slot<NotifyRtmMessage> notify_rtm_message;
        Slot<UserStatus> user_status;
        Slot<UserStatusRslt> user_status_rslt;
        Slot<Rslt> status_push_rslt;
        Slot<Notice> released;
        Slot<ExceptionHook> exception;
    };
    typedef detail::State<Functions> State;

    /* What the library calls. */
    template <typename Function> struct Thunk;
    template <typename... Args> struct Thunk<std::function<void(Args...)>> {
        template <Slot<std::function<void(Args...)>> Functions::*slot>
        static void call(void *user, Args... args) noexcept {
            static_cast<State *>(user)->call(slot, args...);
        }
    };

    /* The place that a send's task id goes to. It is there before the send, so that nothing can fail after it. */
    class TaskId {
    public:
        explicit TaskId(std::string *wanted) : wanted_(wanted), text_(wanted ? CRVIDEO_TASK_ID_SIZE : 0, '\0') {}
        char *place() noexcept { return wanted_ ? &text_[0] : nullptr; }
        Err done(Err err) noexcept {
            if (wanted_ && err == CRVideo_NOERR) {
                text_.resize(CRVIDEO_TASK_ID_SIZE - 1);
                wanted_->swap(text_);
            }
            return err;
        }

    private:
        std::string *wanted_;
        std::string text_;
    };

    void open(const CRVideo_Config *config) {
        state_ = std::make_shared<State>();
        Err err = CRVideo_Create(config, &handle_);
        if (err != CRVideo_NOERR) throw Error(err);
        state_->self = state_;
        err = CRVideo_SetReleasedCallback(handle_, &State::release, state_.get());
        if (err != CRVideo_NOERR) {
            state_->self.reset();
            CRVideo_Destroy(handle_);
            throw Error(err);
        }
    }

    void close() noexcept {
        if (handle_ != 0) CRVideo_Destroy(handle_);
    }

    /* A type that is given, not deduced. */
    template <typename Type> struct Given { typedef Type type; };
    template <typename Callback>
    using Setter = CRVideo_Err (*)(CRVideo_Session session, Callback callback, void *user);

    template <typename Function, typename Callback>
    Err set(Slot<Function> Functions::*slot, Setter<Callback> setter, typename Given<Callback>::type thunk,
            Function function) {
        const bool wanted = static_cast<bool>(function);
        return State::exchange(state_, slot, std::move(function), [&] {
            return setter(handle_, wanted ? thunk : nullptr, wanted ? state_.get() : nullptr);
        });
    }

    CRVideo_Session handle_;
    std::shared_ptr<State> state_;
};

/* The structs of an RTM client, with their sizes and defaults set. The texts that they point to stay the caller's. */
struct RtmConfig : RTM_Config {
    RtmConfig() noexcept { RTM_ConfigInit(this); }
};
struct RtmFile : RTM_File {
    RtmFile() noexcept { RTM_FileInit(this); }
};
struct RtmListen : RTM_Listen {
    RtmListen() noexcept { RTM_ListenInit(this); }
};
struct RtmCallOptions : RTM_CallOptions {
    RtmCallOptions() noexcept { RTM_CallOptionsInit(this); }
};

/*
 * An RTM server's client. Can be moved, not copied; one that was moved from answers CRVideo_NOT_INIT. It makes every
 * call of crvideo.h that takes a callback, in two ways:
 *
 *     RTM_SendResult result = client.wait<RTM_SendResult>(RTM_SendFile, from, to, RTM_MTYPE_FILE, &file, nullptr);
 *     Err err = client.start<RTM_SendResult>([](const RTM_SendResult &result) { ... },
 *                                            RTM_SendFile, from, to, RTM_MTYPE_FILE, &file, nullptr);
 *
 * that is: the C function, then what it takes between the client and the callback. `wait` returns when the call has
 * ended (result.err says how), and must not be used inside callbacks. `start` returns at once: CRVideo_NOERR, and
 * the function is called exactly once; or an error, and it is not.
 */
class RtmClient {
public:
    typedef std::function<void(const RTM_Push &push)> Push;
    typedef std::function<void(const char *event, std::int64_t uid, std::int64_t time, const char *endpoint,
                               const char *data)> PushEvent;
    typedef std::function<void(Err err, const char *text)> Line;
    typedef std::function<void(const RTM_RecipientResult &result)> RecipientResult;
    typedef std::function<void()> Notice;
    typedef crvideo::ExceptionHook ExceptionHook;

    explicit RtmClient(const RTM_Config &config) : handle_(0), state_(std::make_shared<State>()) {
        Err err = RTM_Create(&config, &handle_);
        if (err != CRVideo_NOERR) throw Error(err);
        state_->self = state_;
        err = RTM_SetReleasedCallback(handle_, &State::release, state_.get());
        if (err != CRVideo_NOERR) {
            state_->self.reset();
            RTM_Destroy(handle_);
            throw Error(err);
        }
    }
    /* See "Lifetimes" above. */
    ~RtmClient() { close(); }
    RtmClient(const RtmClient &) = delete;
    RtmClient &operator=(const RtmClient &) = delete;
    RtmClient(RtmClient &&other) noexcept : handle_(other.handle_), state_(std::move(other.state_)) {
        other.handle_ = 0;
    }
    RtmClient &operator=(RtmClient &&other) noexcept {
        if (this != &other) {
            close();
            handle_ = other.handle_;
            state_ = std::move(other.state_);
            other.handle_ = 0;
        }
        return *this;
    }

    RTM_Client handle() const noexcept { return handle_; }
    /* Ends the client and keeps the object; every later call returns CRVideo_NOT_INIT. */
    Err destroy() const noexcept { return RTM_Destroy(handle_); }

    template <typename Result, typename Call, typename... Args>
    Result wait(Call call, Args... args) const noexcept {
        Result result;
        init(&result);
        call(handle_, args..., nullptr, nullptr, &result);
        return result;
    }

    /* For a list of ids: `ids` has room for `capacity` of them. */
    template <typename Call, typename... Args>
    RTM_ListResult wait_for_list(std::int64_t *ids, std::size_t capacity, Call call, Args... args) const noexcept {
        RTM_ListResult result;
        init(&result);
        result.ids = ids;
        result.capacity = capacity;
        call(handle_, args..., nullptr, nullptr, &result);
        return result;
    }

    template <typename Result, typename Call, typename... Args>
    Err start(std::function<void(const Result &)> done, Call call, Args... args) const {
        if (!state_) return CRVideo_NOT_INIT;
        std::unique_ptr<Started<Result>> started(new Started<Result>{std::move(done), state_});
        const Err err = call(handle_, args..., &Started<Result>::ended, started.get(), nullptr);
        if (err == CRVideo_NOERR) started.release(); /* `ended` lets it go, perhaps it has already */
        return err;
    }

    /* One for each event of crvideo.h, which says when it comes. */
    Err on_push_msg(Push function) {
        return set(&Functions::push_msg, &RTM_SetPushMsgCallback, &RtmClient::push<&Functions::push_msg>,
                   std::move(function));
    }
    Err on_push_group_msg(Push function) {
        return set(&Functions::push_group_msg, &RTM_SetPushGroupMsgCallback,
                   &RtmClient::push<&Functions::push_group_msg>, std::move(function));
    }
    Err on_push_room_msg(Push function) {
        return set(&Functions::push_room_msg, &RTM_SetPushRoomMsgCallback,
                   &RtmClient::push<&Functions::push_room_msg>, std::move(function));
    }
    Err on_push_event(PushEvent function) {
        return set(&Functions::push_event, &RTM_SetPushEventCallback, &RtmClient::event, std::move(function));
    }
    Err on_line(Line function) {
        return set(&Functions::line, &RTM_SetLineCallback, &RtmClient::line, std::move(function));
    }
    Err on_recipient_result(RecipientResult function) {
        return set(&Functions::recipient_result, &RTM_SetRecipientResultCallback, &RtmClient::recipient_result,
                   std::move(function));
    }
    /* Called last of all, when the client is destroyed and no other function of it runs or will run. */
    Err on_released(Notice function) {
        return State::exchange(state_, &Functions::released, std::move(function), [this] { return state_->alive(); });
    }
    /* Called with what another function has thrown, on the thread that it was thrown on. */
    Err on_exception(ExceptionHook function) {
        return State::exchange(state_, &Functions::exception, std::move(function), [this] { return state_->alive(); });
    }
    /* How many exceptions have left functions of this client. */
    unsigned long callback_exceptions() const noexcept { return state_ ? state_->exceptions.load() : 0; }

private:
    template <typename Function> using Slot = detail::Slot<Function>;

    struct Functions {
        Slot<Push> push_msg;
        Slot<Push> push_group_msg;
        Slot<Push> push_room_msg;
        Slot<PushEvent> push_event;
        Slot<Line> line;
        Slot<RecipientResult> recipient_result;
        Slot<Notice> released;
        Slot<ExceptionHook> exception;
    };
    typedef detail::State<Functions> State;

    /* The function of one call, until it has ended. */
    template <typename Result> struct Started {
        std::function<void(const Result &)> done;
        std::shared_ptr<State> state;

        static void ended(void *cookie, const Result *result) noexcept {
            const std::unique_ptr<Started> started(static_cast<Started *>(cookie));
            try {
                if (started->done) started->done(*result);
            } catch (...) {
                started->state->note(std::current_exception());
            }
        }
    };

    static void init(RTM_Result *result) noexcept { RTM_ResultInit(result); }
    static void init(RTM_SendResult *result) noexcept { RTM_SendResultInit(result); }
    static void init(RTM_TokenResult *result) noexcept { RTM_TokenResultInit(result); }
    static void init(RTM_ListResult *result) noexcept { RTM_ListResultInit(result); }

    /* What the library calls. */
    template <Slot<Push> Functions::*slot> static void push(void *user, const RTM_Push *pushed) noexcept {
        static_cast<State *>(user)->template call<Push, const RTM_Push &>(slot, *pushed);
    }
    static void event(void *user, const char *event, std::int64_t uid, std::int64_t time, const char *endpoint,
                      const char *data) noexcept {
        static_cast<State *>(user)->call(&Functions::push_event, event, uid, time, endpoint, data);
    }
    static void line(void *user, Err err, const char *text) noexcept {
        static_cast<State *>(user)->call(&Functions::line, err, text);
    }
    static void recipient_result(void *user, const RTM_RecipientResult *result) noexcept {
        static_cast<State *>(user)->template call<RecipientResult, const RTM_RecipientResult &>(
            &Functions::recipient_result, *result);
    }

    template <typename Function, typename Setter, typename Thunk>
    Err set(Slot<Function> Functions::*slot, Setter setter, Thunk thunk, Function function) {
        const bool wanted = static_cast<bool>(function);
        return State::exchange(state_, slot, std::move(function), [&] {
            return setter(handle_, wanted ? thunk : nullptr, wanted ? state_.get() : nullptr);
        });
    }

    void close() noexcept {
        if (handle_ != 0) RTM_Destroy(handle_);
    }

    RTM_Client handle_;
    std::shared_ptr<State> state_;
};

} // namespace crvideo

#endif /* CRVIDEO_HPP */
