/*
 * throw: a C++ function, given to the C interface, throws. The process ends with a message; crvideo.hpp is what catches.
 */
#include "check.h"

namespace {

counter ended = COUNTER_INIT;

void on_data(void *, const char *, const char *, const void *, size_t) {
    throw 42;
}

void on_result(void *, const char *, CRVideo_Err, void *) {
    counter_add(&ended, 1);
}

} // namespace

int main(int argc, char **argv) {
    check_begin(argc, argv);
    CRVideo_Session alice = check_session(0);
    CHECK_OK(CRVideo_SetNotifyCmdDataCallback(alice, on_data, NULL));
    CHECK_OK(CRVideo_SetSendCmdRlstCallback(alice, on_result, NULL));
    CHECK_OK(check_login(alice, 0, "alice"));
    CHECK_OK(CRVideo_SendCmd(alice, "alice", "hello", 5, NULL, NULL, NULL));
    WAIT_FOR(ended, 1);
    FAIL("a callback has thrown, and the process goes on");
}
